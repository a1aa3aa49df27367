//! The checksums of a request: what its headers and trailers declare, and how answers carry what is stored.
//!
//! Nothing is verified here but small bodies held in memory; storage verifies the others before its commit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_storage::object::ObjectChecksum;
use cairn_storage::ops::DeclaredChecksum;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3ErrorCode, TrailingHeaders};

use super::error::Failure;
use super::headers::{self, CHECKSUM_ALGORITHM, CHECKSUM_TYPE, CONTENT_MD5, SDK_CHECKSUM_ALGORITHM, TRAILER};
use super::xml::Document;

/// The header, or trailer, that carries a checksum of this algorithm.
pub fn header(algorithm: ChecksumAlgorithm) -> HeaderName {
    HeaderName::from_static(match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
        ChecksumAlgorithm::Sha512 => "x-amz-checksum-sha512",
        ChecksumAlgorithm::Md5 => "x-amz-checksum-md5",
        ChecksumAlgorithm::Xxhash64 => "x-amz-checksum-xxhash64",
        ChecksumAlgorithm::Xxhash3 => "x-amz-checksum-xxhash3",
        ChecksumAlgorithm::Xxhash128 => "x-amz-checksum-xxhash128",
    })
}

/// What a PUT declares of its body.
///
/// # Errors
/// `InvalidRequest` for more than one checksum, a malformed one, or one that is not of the announced algorithm.
pub fn declared(headers: &HeaderMap, trailers: Option<TrailingHeaders>) -> Result<DeclaredChecksum, Failure> {
    let in_header = in_header(headers)?;
    let announced = announced_trailer(headers)?;
    let algorithm = match (&in_header, announced) {
        (Some(_), Some(_)) => return Err(several()),
        (Some(checksum), None) => Some(checksum.algorithm()),
        (None, announced) => announced,
    };
    check_sdk_algorithm(headers, algorithm)?;
    Ok(match (in_header, announced) {
        (Some(checksum), _) => DeclaredChecksum::Header(checksum),
        (None, Some(algorithm)) => DeclaredChecksum::Trailer(algorithm, trailer(algorithm, trailers)),
        (None, None) => DeclaredChecksum::None,
    })
}

/// The one checksum among the headers.
///
/// # Errors
/// `InvalidRequest` for several, or a malformed one.
pub fn in_header(headers: &HeaderMap) -> Result<Option<Checksum>, Failure> {
    find(headers, |text| text)
}

/// The checksum of a whole multipart object among the headers: one over the parts' checksums may carry their number.
///
/// # Errors
/// As [`in_header`].
pub fn of_multipart_object(headers: &HeaderMap) -> Result<Option<Checksum>, Failure> {
    find(headers, |text| text.split_once('-').map_or(text, |(value, _)| value))
}

fn find(headers: &HeaderMap, value_of: impl Fn(&str) -> &str) -> Result<Option<Checksum>, Failure> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let name = header(algorithm);
        for value in headers.get_all(&name) {
            let checksum = Checksum::from_base64(algorithm, value_of(&headers::text_of(value)))
                .map_err(|_| Failure::invalid_request(format!("Value for {name} header is invalid.")))?;
            if found.replace(checksum).is_some() {
                return Err(several());
            }
        }
    }
    Ok(found)
}

fn several() -> Failure {
    Failure::invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

/// The algorithm of the checksum that `x-amz-trailer` announces.
fn announced_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, Failure> {
    let mut found = None;
    for value in headers.get_all(&TRAILER) {
        for name in headers::text_of(value).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let algorithm = ChecksumAlgorithm::ALL
                .into_iter()
                .find(|algorithm| header(*algorithm).as_str().eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    Failure::invalid_request("The value specified in the x-amz-trailer header is not supported")
                })?;
            if found.replace(algorithm).is_some() {
                return Err(several());
            }
        }
    }
    Ok(found)
}

/// Reads the trailer when the body has ended. None if it did not come or is malformed.
fn trailer(algorithm: ChecksumAlgorithm, trailers: Option<TrailingHeaders>) -> cairn_storage::ops::TrailerSource {
    Box::new(move || {
        let trailers = trailers?.take()?;
        let mut values = trailers.get_all(header(algorithm)).iter();
        let value = values.next()?;
        let checksum = Checksum::from_base64(algorithm, &headers::text_of(value)).ok()?;
        values.next().is_none().then_some(checksum)
    })
}

fn check_sdk_algorithm(headers: &HeaderMap, declared: Option<ChecksumAlgorithm>) -> Result<(), Failure> {
    let Some(named) = named(headers, &SDK_CHECKSUM_ALGORITHM)? else { return Ok(()) };
    match declared {
        Some(declared) if declared == named => Ok(()),
        Some(_) => Err(Failure::invalid_request(format!("Value for {SDK_CHECKSUM_ALGORITHM} header is invalid."))),
        None => Err(Failure::invalid_request(format!(
            "{SDK_CHECKSUM_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were \
             found."
        ))),
    }
}

/// The algorithm that a header names.
///
/// # Errors
/// `InvalidRequest` if there is no such algorithm.
fn named(headers: &HeaderMap, name: &HeaderName) -> Result<Option<ChecksumAlgorithm>, Failure> {
    headers::text(headers, name)
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Failure::invalid_request(format!("Value for {name} header is invalid.")))
}

/// The algorithm that a copy or a multipart upload asks for.
///
/// # Errors
/// `InvalidRequest` if there is no such algorithm.
pub fn requested_algorithm(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, Failure> {
    named(headers, &CHECKSUM_ALGORITHM)
}

/// The type that a multipart upload asks for.
///
/// # Errors
/// `InvalidRequest` if there is no such type.
pub fn requested_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, Failure> {
    headers::text(headers, &CHECKSUM_TYPE)
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Failure::invalid_request(format!("Value for {CHECKSUM_TYPE} header is invalid.")))
}

/// `Content-MD5`.
///
/// # Errors
/// `InvalidDigest` for what is not the base64 of 16 bytes.
pub fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, Failure> {
    let Some(value) = headers.get(&CONTENT_MD5) else { return Ok(None) };
    BASE64
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(Some)
        .ok_or_else(|| Failure::new(S3ErrorCode::InvalidDigest).field("Content-MD5", headers::text_of(value)))
}

/// Checks a body held in memory against `Content-MD5` and the checksum header; true if there was any to check.
///
/// # Errors
/// `BadDigest`, and those of reading the headers.
pub fn verify(headers: &HeaderMap, body: &[u8]) -> Result<bool, Failure> {
    let md5 = content_md5(headers)?;
    if let Some(declared) = md5
        && Checksum::of(ChecksumAlgorithm::Md5, body).as_bytes() != declared
    {
        return Err(cairn_storage::StorageError::BadDigest { what: "Content-MD5" }.into());
    }
    let checksum = in_header(headers)?;
    if let Some(declared) = checksum
        && Checksum::of(declared.algorithm(), body) != declared
    {
        return Err(cairn_storage::StorageError::BadDigest { what: declared.algorithm().as_str() }.into());
    }
    Ok(md5.is_some() || checksum.is_some())
}

/// The stored value as text: with the number of parts if it is over their checksums.
pub fn text(checksum: &ObjectChecksum, parts_count: u16) -> String {
    let value = checksum.value.to_base64();
    if checksum.composite { format!("{value}-{parts_count}") } else { value }
}

/// Writes an object's checksum into an answer's headers.
pub fn into_headers(checksum: &ObjectChecksum, parts_count: u16, answer: &mut HeaderMap) {
    answer.insert(header(checksum.value.algorithm()), headers::value(&text(checksum, parts_count)));
    answer.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.checksum_type().as_str()));
}

/// Writes an object's checksum into a document.
pub fn into_document(checksum: &ObjectChecksum, parts_count: u16, document: &mut Document) {
    document.text(element(checksum.value.algorithm()), &text(checksum, parts_count));
    document.text("ChecksumType", checksum.checksum_type().as_str());
}

/// The element that carries a checksum of this algorithm.
pub fn element(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
        ChecksumAlgorithm::Sha512 => "ChecksumSHA512",
        ChecksumAlgorithm::Md5 => "ChecksumMD5",
        ChecksumAlgorithm::Xxhash64 => "ChecksumXXHASH64",
        ChecksumAlgorithm::Xxhash3 => "ChecksumXXHASH3",
        ChecksumAlgorithm::Xxhash128 => "ChecksumXXHASH128",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The CRC32 of `123456789`.
    const CRC32: &str = "y/Q5Jg==";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn code_of(pairs: &[(&'static str, &'static str)]) -> String {
        match declared(&headers(pairs), None) {
            Ok(_) => "accepted".to_owned(),
            Err(failure) => failure.code().to_owned(),
        }
    }

    #[test]
    fn one_well_formed_checksum_is_accepted() {
        assert_eq!(code_of(&[]), "accepted");
        assert_eq!(code_of(&[("x-amz-checksum-crc32", CRC32)]), "accepted");
        assert_eq!(code_of(&[("x-amz-checksum-crc32", CRC32), ("x-amz-sdk-checksum-algorithm", "CRC32")]), "accepted");
        assert_eq!(
            code_of(&[("x-amz-trailer", "x-amz-checksum-crc32c"), ("x-amz-sdk-checksum-algorithm", "CRC32C")]),
            "accepted"
        );
    }

    #[test]
    fn a_malformed_a_second_or_a_contradicting_checksum_is_refused() {
        for pairs in [
            &[("x-amz-checksum-crc32", "y/Q5")][..],
            &[("x-amz-checksum-crc32", "not base64")],
            &[("x-amz-checksum-crc32", "")],
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32", CRC32)],
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-crc32c", CRC32)],
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-trailer", "x-amz-checksum-crc32")],
            &[("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-crc32c")],
            &[("x-amz-trailer", "x-amz-meta-late")],
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-sdk-checksum-algorithm", "SHA1")],
            &[("x-amz-sdk-checksum-algorithm", "SHA1")],
            &[("x-amz-checksum-crc32", CRC32), ("x-amz-sdk-checksum-algorithm", "ROT13")],
        ] {
            assert_eq!(code_of(pairs), "InvalidRequest", "{pairs:?}");
        }
    }

    #[test]
    fn a_malformed_content_md5_is_an_invalid_digest() {
        for value in ["", "AAAA", "not base64", "1B2M2Y8AsgTpgAmY7PhCfg"] {
            assert_eq!(content_md5(&headers(&[("content-md5", value)])).unwrap_err().code(), "InvalidDigest");
        }
        assert!(content_md5(&headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")])).unwrap().is_some());
    }

    #[test]
    fn a_body_in_memory_is_checked_against_every_declared_digest() {
        assert!(verify(&headers(&[("x-amz-checksum-crc32", CRC32)]), b"123456789").unwrap());
        assert!(!verify(&headers(&[]), b"123456789").unwrap());
        for pairs in [("x-amz-checksum-crc32", CRC32), ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")] {
            assert_eq!(verify(&headers(&[pairs]), b"12345678").unwrap_err().code(), "BadDigest");
        }
    }

    #[test]
    fn a_trailer_is_missing_without_a_chunked_body() {
        let Ok(DeclaredChecksum::Trailer(_, source)) =
            declared(&headers(&[("x-amz-trailer", "x-amz-checksum-crc32")]), None)
        else {
            panic!("a trailer was announced");
        };
        assert_eq!(source(), None);
    }
}
