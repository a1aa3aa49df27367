//! UploadPart.

use cairn_storage::StorageError;
use cairn_storage::id::UploadId;
use http::StatusCode;
use http::header::ETAG;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{quoted, value};
use super::put_object::body;
use super::read_object::part_number;
use super::replica;
use super::request::{Answer, Query, Request};
use super::request_keys::RequestKeys;
use super::{Edge, checksum, encryption, object_lock};

pub(super) async fn upload_part(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let id = upload_id(&request.query)?;
    let number = required_part_number(&request.query)?;
    if replica::is_asked(&request.headers) {
        replica::check_upload(edge, &authorized, id, &request.headers).await?;
    }
    encryption::refuse_method(&request.headers)?;
    let keys = RequestKeys::of_part(edge, &authorized, &request)?;
    let answer_to = encryption::named_in(&request.headers);
    let body = body(request)?;
    if authorized.bucket().default_retention.is_some() && !body.is_declared() {
        return Err(object_lock::digest_missing("Put Part"));
    }
    let part = edge.store.upload_part(authorized.bucket(), authorized.key(), id, number, body, &keys).await;
    let part = part.map_err(of_part)?;
    let mut answer = Answer::empty(StatusCode::OK).header(ETAG, quoted(&part.etag));
    if let Some(checksum) = &part.checksum {
        answer.headers.insert(checksum::header(checksum.algorithm()), value(&checksum.to_base64()));
    }
    encryption::into_headers(edge, part.encryption.as_ref(), &answer_to, &mut answer.headers);
    Ok(answer)
}

/// What S3 tells of a part whose key is not the upload's.
pub(super) fn of_part(error: StorageError) -> Failure {
    match error {
        StorageError::KeyMissing => Failure::invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate \
             encryption parameters.",
        ),
        StorageError::KeyWrong => {
            Failure::invalid_request("The provided encryption parameters did not match the ones used originally.")
        }
        StorageError::KeyNeedless => Failure::invalid_request(
            "The multipart upload initiate did not request encryption with the provided encryption parameters.",
        ),
        error => error.into(),
    }
}

/// The upload that `uploadId` names. What is no id of ours names none.
pub fn upload_id(query: &Query) -> Result<UploadId, Failure> {
    let text = query.get("uploadId").unwrap_or_default();
    text.parse().map_err(|_| S3ErrorCode::NoSuchUpload.into())
}

/// `partNumber`, which uploads of parts need.
pub(super) fn required_part_number(query: &Query) -> Result<u16, Failure> {
    part_number(query)?.ok_or_else(|| Failure::invalid_request("A part is uploaded with a partNumber."))
}
