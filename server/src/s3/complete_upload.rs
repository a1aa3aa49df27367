//! CompleteMultipartUpload.

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::ops::{CompleteUpload, NamedPart};
use http::HeaderMap;
use http::header::HOST;
use s3s::S3ErrorCode;
use s3s::dto::{CompletedMultipartUpload, CompletedPart};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{MP_OBJECT_SIZE, quoted_text, text};
use super::replica;
use super::request::{Answer, Request};
use super::upload_part::{of_part, upload_id};
use super::xml::Document;
use super::{Edge, checksum, conditions, encryption, new_version_into_headers, request_keys, xml};

/// Parts of an object at most.
const PARTS_MAX: usize = 10_000;

pub(super) async fn complete_upload(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let id = upload_id(&request.query)?;
    let document = request.document().await?;
    replica::check_upload(edge, &authorized, id, &request.headers).await?;
    let keys = request_keys::of_complete(edge, &authorized, id, &request).await?;
    let headers = &request.headers;
    let complete = CompleteUpload {
        parts: parts(&document)?,
        checksum: checksum::of_multipart_object(headers)?,
        checksum_type: checksum::requested_type(headers)?,
        size_bytes: size(headers)?,
        conditions: conditions::of_write(headers),
    };
    let completed = edge.store.complete_upload(authorized.bucket(), authorized.key(), id, complete, &keys).await;
    let object = completed.map_err(of_part)?;
    let mut document = Document::new("CompleteMultipartUploadResult");
    let scheme = if request.secure { "https" } else { "http" };
    let host = text(headers, &HOST).unwrap_or_default();
    document.text("Location", &format!("{scheme}://{host}{}", request.path));
    document.text("Bucket", authorized.bucket().name.as_str());
    document.text("Key", authorized.key().as_str());
    document.text("ETag", &quoted_text(&object.etag));
    if let Some(checksum) = &object.checksum {
        checksum::into_document(checksum, object.etag.parts_count, &mut document);
    }
    let mut answer = Answer::document(document);
    new_version_into_headers(&object, &mut answer.headers);
    let (bucket, key) = (authorized.bucket(), authorized.key());
    edge.lifecycle.expiration_into_headers(&edge.store, bucket, key, &object, &mut answer.headers).await?;
    encryption::of_version_into_headers(edge, &object, headers, &mut answer.headers);
    Ok(answer)
}

/// The parts that the document names.
fn parts(document: &[u8]) -> Result<Vec<NamedPart>, Failure> {
    let upload: CompletedMultipartUpload = xml::parse(document)?;
    let parts = upload.parts.unwrap_or_default();
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    parts.into_iter().map(named_part).collect()
}

fn named_part(part: CompletedPart) -> Result<NamedPart, Failure> {
    let (Some(number), Some(etag)) = (part.part_number, &part.e_tag) else {
        return Err(S3ErrorCode::MalformedXML.into());
    };
    let in_range = u16::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(&usize::from(*number)));
    let number = in_range.ok_or_else(|| {
        Failure::invalid_argument(
            "partNumber",
            &number.to_string(),
            "Part number must be an integer between 1 and 10000, inclusive",
        )
    })?;
    Ok(NamedPart { number, etag: etag.value().to_owned(), checksum: part_checksum(&part)? })
}

/// The checksum that the document gives a part.
fn part_checksum(part: &CompletedPart) -> Result<Option<Checksum>, Failure> {
    let values = [
        (ChecksumAlgorithm::Crc32, &part.checksum_crc32),
        (ChecksumAlgorithm::Crc32c, &part.checksum_crc32c),
        (ChecksumAlgorithm::Crc64Nvme, &part.checksum_crc64nvme),
        (ChecksumAlgorithm::Sha1, &part.checksum_sha1),
        (ChecksumAlgorithm::Sha256, &part.checksum_sha256),
        (ChecksumAlgorithm::Sha512, &part.checksum_sha512),
        (ChecksumAlgorithm::Md5, &part.checksum_md5),
        (ChecksumAlgorithm::Xxhash64, &part.checksum_xxhash64),
        (ChecksumAlgorithm::Xxhash3, &part.checksum_xxhash3),
        (ChecksumAlgorithm::Xxhash128, &part.checksum_xxhash128),
    ];
    let mut given = values.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value.as_deref()?)));
    let Some((algorithm, value)) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    let malformed = |_| Failure::invalid_request(format!("Value for {} is invalid.", checksum::element(algorithm)));
    Checksum::from_base64(algorithm, value).map(Some).map_err(malformed)
}

/// The object's size, which a client may declare.
fn size(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(text) = text(headers, &MP_OBJECT_SIZE) else { return Ok(None) };
    let invalid = |_| Failure::invalid_request(format!("Value for {MP_OBJECT_SIZE} header is invalid."));
    text.parse().map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn document(parts: &str) -> Vec<u8> {
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes()
    }

    fn code(parts_text: &str) -> String {
        parts(&document(parts_text)).unwrap_err().code().to_owned()
    }

    #[test]
    fn parts_are_read_with_quoted_or_bare_etags_and_checksums() {
        let text = "<Part><PartNumber>1</PartNumber><ETag>&quot;aa&quot;</ETag></Part>\
                    <Part><ETag>bb</ETag><PartNumber>10000</PartNumber><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part>";
        let parts = parts(&document(text)).unwrap();
        assert_eq!((parts[0].number, parts[0].etag.as_str()), (1, "aa"));
        assert_eq!((parts[1].number, parts[1].etag.as_str()), (10_000, "bb"));
        assert_eq!(parts[1].checksum.unwrap().to_base64(), "y/Q5Jg==");
    }

    #[test]
    fn a_document_without_sound_parts_is_refused() {
        assert_eq!(code(""), "MalformedXML");
        assert_eq!(code("<Part><PartNumber>1</PartNumber></Part>"), "MalformedXML");
        assert_eq!(code("<Part><ETag>aa</ETag></Part>"), "MalformedXML");
        assert_eq!(code("<Part><PartNumber>0</PartNumber><ETag>aa</ETag></Part>"), "InvalidArgument");
        assert_eq!(code("<Part><PartNumber>10001</PartNumber><ETag>aa</ETag></Part>"), "InvalidArgument");
        assert_eq!(code(&"<Part><PartNumber>1</PartNumber><ETag>aa</ETag></Part>".repeat(10_001)), "MalformedXML");
        let bad = "<Part><PartNumber>1</PartNumber><ETag>aa</ETag><ChecksumSHA1>x</ChecksumSHA1></Part>";
        assert_eq!(code(bad), "InvalidRequest");
        assert_eq!(parts(b"").unwrap_err().code(), "MalformedXML");
    }
}
