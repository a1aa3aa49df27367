//! ListObjects and ListObjectsV2.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::{ObjectKey, ObjectSummary};
use cairn_storage::ops::{Bucket, ListObjects, Listed, ObjectsPage};

use crate::authorize::{Authorized, OnBucket};

use super::acl::owner_of;
use super::encoding::NameEncoding;
use super::error::Failure;
use super::headers::{document_time, quoted_text};
use super::lifecycle::{lists_restores, restore_into_listing};
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, token};

/// Entries in one page.
const MAX_KEYS: usize = 1_000;

/// What both versions of the operation have in common.
struct Listing<'q> {
    prefix: &'q str,
    delimiter: Option<&'q str>,
    max_keys: usize,
    encoding: NameEncoding,
    /// When restores are shown, as they are then; None: they are not.
    restores_at: Option<Timestamp>,
}

impl<'q> Listing<'q> {
    fn of(edge: &Edge, request: &'q Request) -> Result<Self, Failure> {
        let query = &request.query;
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default(),
            // An empty delimiter is none.
            delimiter: query.non_empty("delimiter"),
            max_keys: query.count("max-keys", MAX_KEYS)?,
            encoding: NameEncoding::of(query)?,
            restores_at: lists_restores(&request.headers)?.then(|| edge.store.clock().now()),
        })
    }

    async fn page(
        &self,
        edge: &Edge,
        authorized: &Authorized<OnBucket>,
        after: Option<String>,
    ) -> Result<ObjectsPage, Failure> {
        let list = ListObjects {
            prefix: self.prefix.to_owned(),
            delimiter: self.delimiter.map(str::to_owned),
            after,
            max_keys: self.max_keys,
        };
        Ok(edge.store.list_objects(authorized.bucket(), list).await?)
    }

    /// The elements before the entries.
    fn write_head(&self, authorized: &Authorized<OnBucket>, truncated: bool, document: &mut Document) {
        document.text("Name", authorized.bucket().name.as_str());
        document.text("Prefix", &self.encoding.apply(self.prefix));
        document.value("MaxKeys", self.max_keys);
        document.optional("Delimiter", self.delimiter.map(|delimiter| self.encoding.apply(delimiter)).as_deref());
        document.value("IsTruncated", truncated);
        document.optional("EncodingType", self.encoding.element());
    }

    /// `owned_in` is the bucket if owners are to be shown.
    fn write_entries(&self, edge: &Edge, page: &ObjectsPage, owned_in: Option<&Bucket>, document: &mut Document) {
        for entry in &page.entries {
            match entry {
                Listed::Object(key, object) => document.element("Contents", |contents| {
                    self.write_object(edge, key, object, owned_in, contents);
                }),
                Listed::Prefix(prefix) => document.element("CommonPrefixes", |prefixes| {
                    prefixes.text("Prefix", &self.encoding.apply(prefix));
                }),
            }
        }
    }

    fn write_object(
        &self,
        edge: &Edge,
        key: &ObjectKey,
        object: &ObjectSummary,
        owned_in: Option<&Bucket>,
        contents: &mut Document,
    ) {
        contents.text("Key", &self.encoding.apply(key.as_str()));
        contents.value("LastModified", document_time(object.created));
        contents.text("ETag", &quoted_text(&object.etag));
        if let Some((algorithm, checksum_type)) = object.checksum_kind() {
            contents.value("ChecksumAlgorithm", algorithm.as_str());
            contents.value("ChecksumType", checksum_type.as_str());
        }
        contents.value("Size", object.size_bytes);
        contents.value("StorageClass", object.storage_class.name());
        if let Some(bucket) = owned_in {
            edge.account_element("Owner", owner_of(bucket, object.owner), contents);
        }
        if let Some(now) = self.restores_at {
            restore_into_listing(object, now, contents);
        }
    }
}

pub(super) async fn list_objects(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let listing = Listing::of(edge, &request)?;
    let marker = request.query.get("marker").unwrap_or_default();
    let after = (!marker.is_empty()).then(|| marker.to_owned());
    let page = listing.page(edge, &authorized, after).await?;
    let mut document = Document::new("ListBucketResult");
    listing.write_head(&authorized, page.next.is_some(), &mut document);
    document.text("Marker", &listing.encoding.apply(marker));
    // Without a delimiter the client goes on after the last key.
    let next_marker = page.next.as_deref().filter(|_| listing.delimiter.is_some());
    document.optional("NextMarker", next_marker.map(|marker| listing.encoding.apply(marker)).as_deref());
    listing.write_entries(edge, &page, Some(authorized.bucket()), &mut document);
    Ok(Answer::document(document))
}

pub(super) async fn list_objects_v2(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let query = &request.query;
    let listing = Listing::of(edge, &request)?;
    let token = query.get("continuation-token");
    let start_after = query.non_empty("start-after");
    let after = match token {
        // An empty token is the beginning.
        None | Some("") => start_after.map(str::to_owned),
        Some(token) => Some(token::decode(token)?),
    };
    let with_owner = query.get("fetch-owner").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let page = listing.page(edge, &authorized, after).await?;
    let mut document = Document::new("ListBucketResult");
    listing.write_head(&authorized, page.next.is_some(), &mut document);
    document.value("KeyCount", page.entries.len());
    document.optional("ContinuationToken", token);
    document.optional("NextContinuationToken", page.next.as_deref().map(token::encode).as_deref());
    document.optional("StartAfter", start_after.map(|start| listing.encoding.apply(start)).as_deref());
    listing.write_entries(edge, &page, with_owner.then(|| authorized.bucket()), &mut document);
    Ok(Answer::document(document))
}
