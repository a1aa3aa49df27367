//! ListParts.

use cairn_storage::StorageError;
use cairn_storage::encryption::Keys as _;
use cairn_storage::ops::multipart::PartsPage;

use crate::authorize::{Authorized, OnObject};

use super::acl::owner_of;
use super::error::Failure;
use super::headers::{document_time, quoted_text};
use super::request::{Answer, Request};
use super::request_keys::RequestKeys;
use super::upload_part::{of_part, upload_id};
use super::xml::Document;
use super::{Edge, checksum};

/// Entries in one page.
const MAX_PARTS: usize = 1_000;

/// The greatest part number that a listing can go on after.
const MARKER_MAX: usize = u16::MAX as usize;

pub(super) async fn list_parts(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let query = &request.query;
    let id = upload_id(query)?;
    let max_parts = query.count("max-parts", MAX_PARTS)?;
    let marker = match query.non_empty("part-number-marker") {
        None => 0,
        Some(_) => u16::try_from(query.count("part-number-marker", MARKER_MAX)?).unwrap_or(u16::MAX),
    };
    let mut page = edge.store.list_parts(authorized.bucket(), authorized.key(), id, marker, max_parts).await?;
    reveal_checksums(edge, &authorized, &request, &mut page).await?;
    let mut document = Document::new("ListPartsResult");
    document.text("Bucket", authorized.bucket().name.as_str());
    document.text("Key", authorized.key().as_str());
    document.value("UploadId", id);
    edge.initiator_element(&page.upload, &mut document);
    edge.account_element("Owner", owner_of(authorized.bucket(), page.upload.owner), &mut document);
    document.text("StorageClass", page.upload.storage_class.name());
    document.value("PartNumberMarker", marker);
    document.value("NextPartNumberMarker", page.parts.last().map_or(0, |part| part.number));
    document.value("MaxParts", max_parts);
    document.value("IsTruncated", page.next.is_some());
    if let Some((algorithm, checksum_type)) = page.upload.checksum {
        document.text("ChecksumAlgorithm", algorithm.as_str());
        document.text("ChecksumType", checksum_type.as_str());
    }
    for part in &page.parts {
        document.element("Part", |element| {
            element.value("PartNumber", part.number);
            element.text("LastModified", &document_time(part.modified));
            element.text("ETag", &quoted_text(&part.etag));
            element.value("Size", part.size_bytes);
            if let Some(checksum) = &part.checksum {
                element.text(checksum::element(checksum.algorithm()), &checksum.to_base64());
            }
        });
    }
    let mut answer = Answer::document(document);
    let (bucket, key) = (authorized.bucket(), authorized.key());
    edge.lifecycle.abort_into_headers(&edge.store, bucket, key, page.upload.initiated, &mut answer.headers).await?;
    Ok(answer)
}

/// Opens the parts' checksums, if they are sealed, for a caller who brings the customer's key, or may use the KMS's; others are
/// not told them (S3 API reference, ListParts: a customer's key is needed where a checksum algorithm was chosen).
async fn reveal_checksums(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
    page: &mut PartsPage,
) -> Result<(), Failure> {
    if page.parts.iter().all(|part| part.sealed_checksum.is_none()) {
        return Ok(());
    }
    let keys = RequestKeys::of_request(edge, authorized, request)?;
    let context = page.upload.wrap_context(authorized.bucket().id);
    let data_key = match keys.open(page.upload.encryption.as_ref(), context).await {
        Ok(data_key) => data_key,
        Err(StorageError::KeyMissing | StorageError::KeyRefused(_)) => None,
        Err(error) => return Err(of_part(error)),
    };
    for part in &mut page.parts {
        part.reveal_checksum(data_key.as_ref())?;
    }
    Ok(())
}
