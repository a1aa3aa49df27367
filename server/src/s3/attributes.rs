//! An object's system headers and user metadata: from a request's headers, and into an answer's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::object::{ObjectAttributes, StorageClass};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES};
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;

use super::error::Failure;
use super::headers::{self, DEFAULT_CONTENT_TYPE, STORAGE_CLASS, WEBSITE_REDIRECT_LOCATION};

/// The most that names and values of user metadata may have together (user guide, "Working with object metadata").
const USER_METADATA_BYTES_MAX: usize = 2 << 10;

/// The longest redirect location (API reference, PutObject).
const REDIRECT_BYTES_MAX: usize = 2 << 10;

const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// The encoding of a body in chunks is not the object's.
const AWS_CHUNKED: &str = "aws-chunked";

/// What the headers say of the object.
///
/// # Errors
/// As [`check`].
pub fn from_headers(headers: &HeaderMap) -> Result<ObjectAttributes, Failure> {
    let attributes = ObjectAttributes {
        content_type: headers::text(headers, &CONTENT_TYPE),
        cache_control: headers::text(headers, &CACHE_CONTROL),
        content_disposition: headers::text(headers, &CONTENT_DISPOSITION),
        content_encoding: content_encoding(headers),
        content_language: headers::text(headers, &CONTENT_LANGUAGE),
        expires: headers::text(headers, &EXPIRES),
        website_redirect_location: headers::text(headers, &WEBSITE_REDIRECT_LOCATION),
        user_metadata: user_metadata(headers),
    };
    check(&attributes)?;
    Ok(attributes)
}

/// That an object may have them, also one that comes with those of its source.
///
/// # Errors
/// `InvalidRedirectLocation`, `MetadataTooLarge`.
pub fn check(attributes: &ObjectAttributes) -> Result<(), Failure> {
    attributes.website_redirect_location.as_deref().map_or(Ok(()), check_redirect_location)?;
    let size_bytes: usize = attributes.user_metadata.iter().map(|(name, text)| name.len() + text.len()).sum();
    if size_bytes > USER_METADATA_BYTES_MAX {
        return Err(Failure::new(S3ErrorCode::MetadataTooLarge)
            .field("Size", size_bytes.to_string())
            .field("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    Ok(())
}

/// The object's own encodings as they were sent, without the one of the transfer.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let text = headers::text(headers, &CONTENT_ENCODING)?;
    let of_transfer = |encoding: &str| encoding.trim().eq_ignore_ascii_case(AWS_CHUNKED);
    let own: Vec<&str> = text.split(',').filter(|encoding| !of_transfer(encoding)).collect();
    let own = own.join(",").trim().to_owned();
    (!own.is_empty()).then_some(own)
}

/// Where a website sends who asks for the object.
///
/// # Errors
/// `InvalidRedirectLocation`.
pub fn redirect_location(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let location = headers::text(headers, &WEBSITE_REDIRECT_LOCATION);
    location.as_deref().map_or(Ok(()), check_redirect_location)?;
    Ok(location)
}

fn check_redirect_location(location: &str) -> Result<(), Failure> {
    let known_form = ["/", "http://", "https://"].iter().any(|prefix| location.starts_with(prefix));
    if !known_form || location.len() > REDIRECT_BYTES_MAX {
        return Err(Failure::custom(
            "InvalidRedirectLocation",
            StatusCode::BAD_REQUEST,
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/' and at most 2 KB.",
        ));
    }
    Ok(())
}

/// Names without their prefix; a repeated header's values joined by commas, as S3 does.
fn user_metadata(headers: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    let mut metadata = std::collections::BTreeMap::new();
    for header in headers.keys() {
        let Some(name) = header.as_str().strip_prefix(USER_METADATA_PREFIX).filter(|name| !name.is_empty()) else {
            continue;
        };
        let values: Vec<String> = headers.get_all(header).iter().map(headers::text_of).collect();
        metadata.insert(name.to_owned(), values.join(","));
    }
    metadata
}

/// Writes them into an answer.
pub fn into_headers(attributes: &ObjectAttributes, answer: &mut HeaderMap) {
    let content_type = attributes.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE);
    let system = [
        (CONTENT_TYPE, Some(content_type)),
        (CACHE_CONTROL, attributes.cache_control.as_deref()),
        (CONTENT_DISPOSITION, attributes.content_disposition.as_deref()),
        (CONTENT_ENCODING, attributes.content_encoding.as_deref()),
        (CONTENT_LANGUAGE, attributes.content_language.as_deref()),
        (EXPIRES, attributes.expires.as_deref()),
        (WEBSITE_REDIRECT_LOCATION, attributes.website_redirect_location.as_deref()),
    ];
    for (name, text) in system {
        if let Some(text) = text {
            answer.insert(name, headers::value(text));
        }
    }
    for (name, text) in &attributes.user_metadata {
        // The name came from a header, so it makes one again.
        if let Ok(name) = HeaderName::try_from(format!("{USER_METADATA_PREFIX}{name}")) {
            answer.insert(name, headers::value(&encoded_word(text)));
        }
    }
}

/// Metadata beyond ASCII leaves as an RFC 2047 word, as S3 sends it.
fn encoded_word(text: &str) -> std::borrow::Cow<'_, str> {
    if text.is_ascii() { text.into() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(text)).into() }
}

/// The storage class asked for; None if none was.
///
/// # Errors
/// `InvalidStorageClass` for what is no class.
pub fn storage_class(headers: &HeaderMap) -> Result<Option<StorageClass>, Failure> {
    let Some(name) = headers::text(headers, &STORAGE_CLASS) else { return Ok(None) };
    StorageClass::parse(&name)
        .map(Some)
        .ok_or_else(|| Failure::new(S3ErrorCode::InvalidStorageClass).field("StorageClassRequested", name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_transfer_encoding_of_chunks_is_not_stored() {
        for (sent, stored) in [
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, aws-chunked", Some("gzip")),
            ("aws-chunked, deflate, gzip", Some("deflate, gzip")),
            ("gzip", Some("gzip")),
        ] {
            let attributes = from_headers(&headers(&[("content-encoding", sent)])).unwrap();
            assert_eq!(attributes.content_encoding.as_deref(), stored, "{sent}");
        }
    }

    #[test]
    fn metadata_returns_as_it_was_sent() {
        let sent = headers(&[
            ("x-amz-meta-one", "1"),
            ("x-amz-meta-one", "2"),
            ("x-amz-meta-empty", ""),
            ("x-amz-meta-word", "=?UTF-8?Q?caf=C3=A9?="),
            ("x-amz-meta-", "nameless"),
        ]);
        let attributes = from_headers(&sent).unwrap();
        let mut answer = HeaderMap::new();
        into_headers(&attributes, &mut answer);
        assert_eq!(answer["x-amz-meta-one"], "1,2");
        assert_eq!(answer["x-amz-meta-empty"], "");
        assert_eq!(answer["x-amz-meta-word"], "=?UTF-8?Q?caf=C3=A9?=");
        assert_eq!(attributes.user_metadata.len(), 3);
    }

    #[test]
    fn metadata_beyond_ascii_leaves_as_an_encoded_word() {
        let attributes = from_headers(&headers(&[("x-amz-meta-name", "café")])).unwrap();
        let mut answer = HeaderMap::new();
        into_headers(&attributes, &mut answer);
        assert_eq!(answer["x-amz-meta-name"], "=?UTF-8?B?Y2Fmw6k=?=");
    }

    #[test]
    fn metadata_is_bounded_by_two_kibibytes() {
        let fits = "v".repeat(2048 - "key".len());
        assert!(from_headers(&headers(&[("x-amz-meta-key", &fits)])).is_ok());
        let failure = from_headers(&headers(&[("x-amz-meta-key", &format!("{fits}v"))])).unwrap_err();
        assert_eq!(failure.code(), "MetadataTooLarge");
    }

    #[test]
    fn every_class_of_s3_is_accepted_and_nothing_else() {
        for (name, accepted) in [
            ("STANDARD", true),
            ("GLACIER_IR", true),
            ("GLACIER", true),
            ("DEEP_ARCHIVE", true),
            ("EXPRESS_ONEZONE", true),
            ("standard", false),
            ("CHEAP", false),
        ] {
            assert_eq!(storage_class(&headers(&[("x-amz-storage-class", name)])).is_ok(), accepted, "{name}");
        }
    }
}
