//! CreateMultipartUpload.

use cairn_crypto::checksum::{ChecksumAlgorithm, ChecksumType};
use cairn_storage::ops::CreateUpload;
use http::{HeaderMap, HeaderValue};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{CHECKSUM_ALGORITHM, CHECKSUM_TYPE};
use super::new_version::new_version;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, encryption, replica};

pub(super) async fn create_upload(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let arriving = replica::arriving(&request.headers)?;
    let new = new_version(edge, &authorized, &request, arriving).await?;
    let create = CreateUpload {
        attributes: new.attributes,
        storage_class: new.storage_class,
        settings: new.settings,
        owner: new.owner,
        initiator: authorized.writer(),
        created_by: authorized.creator(),
        checksum: requested_checksum(&request.headers)?,
        acl_is_public: new.acl_is_public,
        sealing: new.sealing,
        envelope: new.envelope,
        replica: new.replica,
    };
    let upload = edge.store.create_upload(authorized.bucket(), authorized.key(), create).await?;
    let mut document = Document::new("InitiateMultipartUploadResult");
    document.text("Bucket", authorized.bucket().name.as_str());
    document.text("Key", authorized.key().as_str());
    document.value("UploadId", upload.id);
    let mut answer = Answer::document(document);
    let (bucket, key) = (authorized.bucket(), authorized.key());
    edge.lifecycle.abort_into_headers(&edge.store, bucket, key, upload.initiated, &mut answer.headers).await?;
    encryption::of_new_into_headers(edge, upload.encryption.as_ref(), &request.headers, &mut answer.headers);
    if let Some((algorithm, checksum_type)) = upload.checksum {
        answer.headers.insert(CHECKSUM_ALGORITHM, HeaderValue::from_static(algorithm.as_str()));
        answer.headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum_type.as_str()));
    }
    Ok(answer)
}

fn requested_checksum(headers: &HeaderMap) -> Result<Option<(ChecksumAlgorithm, ChecksumType)>, Failure> {
    let algorithm = checksum::requested_algorithm(headers)?;
    let checksum_type = checksum::requested_type(headers)?;
    match (algorithm, checksum_type) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Failure::invalid_request(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )),
        (Some(algorithm), None) => Ok(Some((algorithm, algorithm.default_type()))),
        (Some(algorithm), Some(checksum_type)) if algorithm.permits(checksum_type) => {
            Ok(Some((algorithm, checksum_type)))
        }
        (Some(algorithm), Some(checksum_type)) => Err(Failure::invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            checksum_type.as_str(),
            algorithm.as_str().to_ascii_lowercase(),
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn types_fit_their_algorithm() {
        let requested = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            requested_checksum(&headers)
        };
        let algorithm = "x-amz-checksum-algorithm";
        let of_type = "x-amz-checksum-type";
        assert_eq!(requested(&[]).unwrap(), None);
        assert_eq!(
            requested(&[(algorithm, "CRC64NVME")]).unwrap(),
            Some((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject))
        );
        assert_eq!(
            requested(&[(algorithm, "CRC32"), (of_type, "FULL_OBJECT")]).unwrap(),
            Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject))
        );
        for pairs in [
            &[(of_type, "COMPOSITE")][..],
            &[(algorithm, "SHA256"), (of_type, "FULL_OBJECT")],
            &[(algorithm, "CRC64NVME"), (of_type, "COMPOSITE")],
            &[(algorithm, "SHA256"), (of_type, "PARTIAL")],
            &[(algorithm, "ROT13")],
        ] {
            assert_eq!(requested(pairs).unwrap_err().code(), "InvalidRequest", "{pairs:?}");
        }
    }
}
