//! CopyObject.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::object::ObjectAttributes;
use cairn_storage::ops::{Bucket, CopyObject, CopySource, PUT_BYTES_MAX, WriteConditions};
use cairn_storage::settings::ObjectSettings;
use http::HeaderMap;

use crate::authorize::{Authorized, OnCopy};

use super::acl::{OfNewObject, of_new_object};
use super::encryption::OfNewVersion;
use super::error::Failure;
use super::headers::{COPY_SOURCE_VERSION_ID, METADATA_DIRECTIVE, document_time, quoted_text, text};
use super::new_version::settings;
use super::request::{Answer, Request};
use super::request_keys::RequestKeys;
use super::xml::Document;
use super::{Edge, attributes, checksum, conditions, encryption, new_version_into_headers, tags, version_header};

pub(super) async fn copy_object(
    edge: &Edge,
    authorized: Authorized<OnCopy>,
    request: Request,
) -> Result<Answer, Failure> {
    let headers = &request.headers;
    let OfNewObject { owner, acl, acl_is_public } = of_new_object(edge, &authorized, headers)?;
    let sealed = encryption::of_new_version(edge, &authorized, authorized.key(), &request).await?;
    let OfNewVersion { sealing, named } = sealed;
    let copy = CopyObject {
        attributes: replaced_attributes(headers)?,
        redirect_location: attributes::redirect_location(headers)?,
        storage_class: attributes::storage_class(headers)?,
        tags: tags::of_copy(headers)?,
        settings: ObjectSettings { acl, ..settings(headers)? },
        owner,
        checksum: checksum::requested_algorithm(headers)?,
        sealing,
        names_encryption: named,
        conditions: WriteConditions { if_public_acls: acl_is_public, ..conditions::of_write(headers) },
    };
    let source = source(edge, &authorized, &request)?;
    let copied = edge.store.copy_object(source, authorized.bucket(), authorized.key(), copy).await;
    let copied = copied.map_err(|error| match error {
        StorageError::TooLarge { .. } => Failure::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
        )),
        error => authorized.failure(error),
    })?;
    edge.accesses.note(authorized.source_bucket(), &authorized.source().key, &copied.source);
    let mut document = Document::new("CopyObjectResult");
    document.text("ETag", &quoted_text(&copied.object.etag));
    document.text("LastModified", &document_time(copied.object.created));
    if let Some(checksum) = &copied.object.checksum {
        checksum::into_document(checksum, copied.object.etag.parts_count, &mut document);
    }
    let mut answer = Answer::document(document);
    new_version_into_headers(&copied.object, &mut answer.headers);
    let (bucket, key) = (authorized.bucket(), authorized.key());
    edge.lifecycle.expiration_into_headers(&edge.store, bucket, key, &copied.object, &mut answer.headers).await?;
    encryption::of_new_into_headers(edge, copied.object.encryption.as_ref(), headers, &mut answer.headers);
    source_version_into_headers(authorized.source_bucket(), &copied.source, &mut answer.headers);
    Ok(answer)
}

/// What is copied, and under which conditions.
pub(super) fn source<'a>(
    edge: &Edge,
    authorized: &'a Authorized<OnCopy>,
    request: &Request,
) -> Result<CopySource<'a>, Failure> {
    let named = authorized.source();
    Ok(CopySource {
        bucket: authorized.source_bucket(),
        key: &named.key,
        version: named.version,
        permit: authorized.source_permit(),
        conditions: conditions::of_copy_source(&request.headers),
        keys: Arc::new(RequestKeys::of_copy_source(edge, authorized, request)?),
    })
}

/// The copied version's id, if its bucket shows any.
pub(super) fn source_version_into_headers(
    bucket: &Bucket,
    source: &cairn_storage::object::ObjectVersion,
    headers: &mut HeaderMap,
) {
    if bucket.versioning != Versioning::Unversioned {
        headers.insert(COPY_SOURCE_VERSION_ID, version_header(source.shown()));
    }
}

/// The request's own headers and metadata if it replaces the source's.
fn replaced_attributes(headers: &HeaderMap) -> Result<Option<ObjectAttributes>, Failure> {
    match text(headers, &METADATA_DIRECTIVE).as_deref() {
        None | Some("COPY") => Ok(None),
        Some("REPLACE") => attributes::from_headers(headers).map(Some),
        Some(directive) => {
            Err(Failure::invalid_argument(METADATA_DIRECTIVE.as_str(), directive, "Unknown metadata directive."))
        }
    }
}
