//! UploadPartCopy.

use cairn_storage::ops::PartCopy;

use crate::authorize::{Authorized, OnCopy};

use super::copy_object::{source, source_version_into_headers};
use super::error::Failure;
use super::headers::{COPY_SOURCE_RANGE, document_time, quoted_text, text};
use super::request::{Answer, Request};
use super::request_keys::RequestKeys;
use super::upload_part::{required_part_number, upload_id};
use super::xml::Document;
use super::{Edge, checksum, encryption, range};

pub(super) async fn upload_part_copy(
    edge: &Edge,
    authorized: Authorized<OnCopy>,
    request: Request,
) -> Result<Answer, Failure> {
    let id = upload_id(&request.query)?;
    let number = required_part_number(&request.query)?;
    let range = text(&request.headers, &COPY_SOURCE_RANGE).map(|text| range::parse_copy_source(&text)).transpose()?;
    encryption::refuse_method(&request.headers)?;
    let keys = RequestKeys::of_part(edge, &authorized, &request)?;
    let copy = PartCopy { source: source(edge, &authorized, &request)?, range, keys: &keys };
    let copied = edge.store.upload_part_copy(copy, authorized.bucket(), authorized.key(), id, number).await;
    let (part, copied) = copied.map_err(|error| authorized.failure(error))?;
    edge.accesses.note(authorized.source_bucket(), &authorized.source().key, &copied);
    let mut document = Document::new("CopyPartResult");
    document.text("ETag", &quoted_text(&part.etag));
    document.text("LastModified", &document_time(part.modified));
    if let Some(checksum) = &part.checksum {
        document.text(checksum::element(checksum.algorithm()), &checksum.to_base64());
    }
    let mut answer = Answer::document(document);
    encryption::into_headers(edge, part.encryption.as_ref(), &request.headers, &mut answer.headers);
    source_version_into_headers(authorized.source_bucket(), &copied, &mut answer.headers);
    Ok(answer)
}
