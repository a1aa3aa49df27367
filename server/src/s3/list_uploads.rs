//! ListMultipartUploads.

use cairn_storage::ops::{Bucket, ListUploads, ListedUpload, Upload};

use crate::authorize::{Authorized, OnBucket};

use super::Edge;
use super::acl::owner_of;
use super::encoding::NameEncoding;
use super::error::Failure;
use super::headers::document_time;
use super::request::{Answer, Request};
use super::xml::Document;

/// Entries in one page.
const MAX_UPLOADS: usize = 1_000;

pub(super) async fn list_uploads(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let query = &request.query;
    let encoding = NameEncoding::of(query)?;
    let prefix = query.get("prefix").unwrap_or_default();
    let delimiter = query.non_empty("delimiter");
    let key_marker = query.non_empty("key-marker");
    // As in S3, an upload's id says nothing without its key.
    let upload_marker = query.non_empty("upload-id-marker").filter(|_| key_marker.is_some());
    let list = ListUploads {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        after_key: key_marker.map(str::to_owned),
        after_upload: upload_marker.map(parse_marker).transpose()?,
        max_uploads: query.count("max-uploads", MAX_UPLOADS)?,
    };
    let max_uploads = list.max_uploads;
    let page = edge.store.list_uploads(authorized.bucket(), list).await?;
    let mut document = Document::new("ListMultipartUploadsResult");
    document.text("Bucket", authorized.bucket().name.as_str());
    document.text("KeyMarker", &encoding.apply(key_marker.unwrap_or_default()));
    document.text("UploadIdMarker", upload_marker.unwrap_or_default());
    if let Some((key, upload)) = &page.next {
        document.text("NextKeyMarker", &encoding.apply(key));
        document.text("NextUploadIdMarker", &upload.map(|id| id.to_string()).unwrap_or_default());
    }
    document.text("Prefix", &encoding.apply(prefix));
    document.optional("Delimiter", delimiter.map(|delimiter| encoding.apply(delimiter)).as_deref());
    document.optional("EncodingType", encoding.element());
    document.value("MaxUploads", max_uploads);
    document.value("IsTruncated", page.next.is_some());
    for entry in &page.entries {
        match entry {
            ListedUpload::Upload(upload) => {
                document
                    .element("Upload", |element| write_upload(edge, authorized.bucket(), upload, encoding, element));
            }
            ListedUpload::Prefix(prefix) => document.element("CommonPrefixes", |element| {
                element.text("Prefix", &encoding.apply(prefix));
            }),
        }
    }
    Ok(Answer::document(document))
}

fn parse_marker(text: &str) -> Result<cairn_storage::id::UploadId, Failure> {
    text.parse().map_err(|_| Failure::invalid_argument("upload-id-marker", text, "Invalid uploadId marker"))
}

fn write_upload(edge: &Edge, bucket: &Bucket, upload: &Upload, encoding: NameEncoding, element: &mut Document) {
    element.text("Key", &encoding.apply(upload.key.as_str()));
    element.value("UploadId", upload.id);
    edge.initiator_element(upload, element);
    edge.account_element("Owner", owner_of(bucket, upload.owner), element);
    element.text("StorageClass", upload.storage_class.name());
    element.text("Initiated", &document_time(upload.initiated));
    if let Some((algorithm, checksum_type)) = upload.checksum {
        element.text("ChecksumAlgorithm", algorithm.as_str());
        element.text("ChecksumType", checksum_type.as_str());
    }
}
