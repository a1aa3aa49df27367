//! UpdateObjectEncryption: the key that an object is under becomes another one, and no byte of the object moves.
//!
//! Rules and messages are those of the API reference's page of the operation. Of its permissions those are asked for that are
//! used: to decrypt by the old key, and to have a key issued by the new one.

use cairn_storage::ops::Bucket;
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::{ObjectEncryption, SSEKMSEncryption};

use crate::authorize::{Authorized, OnObject};
use crate::kms::KeyRef;
use crate::s3::acl::account_number;

use super::asked_encryption::KmsMethod;
use super::error::Failure;
use super::kms_keys::{KmsKeys, Wanted};
use super::request::{Answer, Request};
use super::request_keys::RequestKeys;
use super::{Edge, checksum, encryption, version_into_headers, xml};

pub(super) async fn update_object_encryption(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    if request.signature.is_none_or(|signature| signature.is_version_2) {
        return Err(Failure::invalid_request(
            "Requests that modify an object encryption configuration require AWS Signature Version 4. Modify the request to \
             use AWS Signature Version 4, and then try again.",
        ));
    }
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let SSEKMSEncryption { kms_key_arn, bucket_key_enabled } = parse(&document)?;
    let (bucket, key, version) = (authorized.bucket(), authorized.key(), request.version()?);
    check_key(bucket, &kms_key_arn)?;
    let wanted = Wanted {
        method: KmsMethod::Once,
        key: Some(kms_key_arn),
        context: Default::default(),
        bucket_key: bucket_key_enabled.unwrap_or(false),
    };
    let keys = RequestKeys::of_request(edge, &authorized, &request)?;
    let sealing = KmsKeys::of(edge, &authorized, &request).seal(bucket, key, wanted).await?;
    let updated = edge.store.update_encryption(bucket, key, version, &authorized.permit(), &keys, &sealing).await;
    let object = updated.map_err(|error| authorized.failure(error))?;
    let mut answer = Answer::empty(StatusCode::OK);
    version_into_headers(bucket, &object, &mut answer.headers);
    encryption::of_version_into_headers(edge, &object, &request.headers, &mut answer.headers);
    Ok(answer)
}

fn parse(document: &[u8]) -> Result<SSEKMSEncryption, Failure> {
    match xml::parse(document)? {
        ObjectEncryption::SSEKMS(to) => Ok(to),
        _ => Err(Failure::invalid_request(
            "Requests that modify an object encryption configuration require a valid new encryption type. Valid values are \
             SSEKMS. Modify the request to specify SSE-KMS for the updated encryption type, and then try again.",
        )),
    }
}

/// The key is named by its ARN, and of the bucket's account.
fn check_key(bucket: &Bucket, key_arn: &str) -> Result<(), Failure> {
    let key = KeyRef::parse(key_arn).ok().filter(|key| !key.is_alias()).and_then(|key| key.place);
    let Some(place) = key else {
        return Err(Failure::invalid_request(
            "Requests that modify an object's encryption type to SSE-KMS require a valid AWS KMS key Amazon Resource Name \
             (ARN). Confirm that you have a correctly formatted KMS key ARN in your request, and then try again.",
        ));
    };
    if place.account != account_number(bucket.owner) {
        return Err(Failure::with_message(
            S3ErrorCode::AccessDenied,
            "The AWS KMS key in the request must be owned by the same account as the bucket. Modify the request to specify a \
             KMS key from the same account, and then try again.",
        ));
    }
    Ok(())
}
