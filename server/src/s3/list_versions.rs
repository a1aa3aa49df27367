//! ListObjectVersions.

use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::version::VersionSummary;
use cairn_storage::ops::{Bucket, ListVersions, ListedVersion};

use crate::authorize::{Authorized, OnBucket};

use super::acl::owner_of;
use super::encoding::NameEncoding;
use super::error::Failure;
use super::headers::{document_time, quoted_text};
use super::lifecycle::{lists_restores, restore_into_listing};
use super::request::{Answer, Request, parse_version};
use super::xml::Document;
use super::{Edge, version_text};

/// Entries in one page.
const MAX_KEYS: usize = 1_000;

pub(super) async fn list_versions(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let query = &request.query;
    let encoding = NameEncoding::of(query)?;
    let max_keys = query.count("max-keys", MAX_KEYS)?;
    let prefix = query.get("prefix").unwrap_or_default();
    let delimiter = query.non_empty("delimiter");
    let key_marker = query.get("key-marker").unwrap_or_default();
    let version_marker = query.non_empty("version-id-marker");
    if let (true, Some(marker)) = (key_marker.is_empty(), version_marker) {
        return Err(Failure::invalid_argument(
            "version-id-marker",
            marker,
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    let restores_at = lists_restores(&request.headers)?.then(|| edge.store.clock().now());
    let list = ListVersions {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        after: (!key_marker.is_empty()).then(|| key_marker.to_owned()),
        after_version: version_marker.map(|marker| parse_version(Some(marker))).transpose()?,
        max_keys,
    };
    let page = edge.store.list_versions(authorized.bucket(), list).await?;
    let mut document = Document::new("ListVersionsResult");
    document.text("Name", authorized.bucket().name.as_str());
    document.text("Prefix", &encoding.apply(prefix));
    document.text("KeyMarker", &encoding.apply(key_marker));
    document.text("VersionIdMarker", version_marker.unwrap_or_default());
    document.value("MaxKeys", max_keys);
    document.optional("Delimiter", delimiter.map(|delimiter| encoding.apply(delimiter)).as_deref());
    document.value("IsTruncated", page.next.is_some());
    document.optional("EncodingType", encoding.element());
    if let Some(next) = &page.next {
        document.text("NextKeyMarker", &encoding.apply(&next.key));
        document.optional("NextVersionIdMarker", next.version.map(version_text).as_deref());
    }
    for entry in &page.entries {
        match entry {
            ListedVersion::Prefix(prefix) => document.element("CommonPrefixes", |prefixes| {
                prefixes.text("Prefix", &encoding.apply(prefix));
            }),
            ListedVersion::Version { key, is_latest, version } => {
                let entry = Entry { key: &encoding.apply(key.as_str()), is_latest: *is_latest, version, restores_at };
                write_version(edge, authorized.bucket(), &entry, &mut document);
            }
        }
    }
    Ok(Answer::document(document))
}

struct Entry<'v> {
    key: &'v str,
    is_latest: bool,
    version: &'v VersionSummary,
    /// When restores are shown, as they are then; None: they are not.
    restores_at: Option<Timestamp>,
}

fn write_version(edge: &Edge, bucket: &Bucket, entry: &Entry<'_>, document: &mut Document) {
    let version = entry.version;
    let name = match version {
        VersionSummary::Object(_) => "Version",
        VersionSummary::Marker(_) => "DeleteMarker",
    };
    document.element(name, |element| {
        element.text("Key", entry.key);
        element.text("VersionId", &version_text(version.shown()));
        element.value("IsLatest", entry.is_latest);
        match version {
            VersionSummary::Object(object) => {
                element.text("LastModified", &document_time(object.created));
                element.text("ETag", &quoted_text(&object.etag));
                if let Some((algorithm, checksum_type)) = object.checksum_kind() {
                    element.text("ChecksumAlgorithm", algorithm.as_str());
                    element.text("ChecksumType", checksum_type.as_str());
                }
                element.value("Size", object.size_bytes);
                element.text("StorageClass", object.storage_class.name());
                edge.account_element("Owner", owner_of(bucket, object.owner), element);
                if let Some(now) = entry.restores_at {
                    restore_into_listing(object, now, element);
                }
            }
            VersionSummary::Marker(marker) => {
                element.text("LastModified", &document_time(marker.created));
                edge.account_element("Owner", owner_of(bucket, marker.owner), element);
            }
        }
    });
}
