//! `x-amz-copy-source`: which version of which object a copy reads.

use cairn_storage::object::ObjectKey;
use cairn_storage::ops::VersionSelector;
use http::HeaderMap;

use super::encoding;
use super::error::Failure;
use super::headers::{self, COPY_SOURCE};
use super::request::parse_version;

/// The header, read.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedSource {
    /// The bucket's name, not yet checked.
    pub bucket: String,
    /// The key.
    pub key: ObjectKey,
    /// The version.
    pub version: VersionSelector,
}

/// Reads the header: `[/]bucket/key[?versionId=id]`, percent-encoded. A `+` stands for a space, as S3 has it: clients
/// that do not escape the `+` of a key get NoSuchKey there, and s5cmd sends spaces that way.
///
/// # Errors
/// `InvalidArgument` for anything else.
pub fn parse(headers: &HeaderMap) -> Result<NamedSource, Failure> {
    let text = headers::text(headers, &COPY_SOURCE).unwrap_or_default();
    let invalid = |message: &'static str| Failure::invalid_argument(COPY_SOURCE.as_str(), &text, message);
    let (path, version) = match text.split_once("?versionId=") {
        Some((path, version)) => (path, parse_version(Some(version))?),
        None => (text.as_str(), VersionSelector::Newest),
    };
    let path = path.replace('+', " ");
    let path = encoding::decode(&path).ok_or_else(|| invalid("The copy source is not percent-encoded UTF-8"))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(|| invalid("The copy source must name a bucket and a key"))?;
    let key = ObjectKey::new(key).ok_or_else(|| invalid("The copy source's key is empty or too long"))?;
    if bucket.is_empty() || bucket.starts_with("arn:") {
        return Err(invalid("The copy source must name a bucket"));
    }
    Ok(NamedSource { bucket: bucket.to_owned(), key, version })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn source(text: &str) -> Result<NamedSource, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(COPY_SOURCE, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        parse(&headers)
    }

    #[test]
    fn bucket_key_and_version_are_read() {
        let id = "0123456789abcdef0123456789abcdef";
        for (text, bucket, key, version) in [
            ("b/k", "b", "k", VersionSelector::Newest),
            ("/b/k", "b", "k", VersionSelector::Newest),
            ("b/a/b", "b", "a/b", VersionSelector::Newest),
            ("b//k", "b", "/k", VersionSelector::Newest),
            ("b/a%20b%3FversionId=x", "b", "a b?versionId=x", VersionSelector::Newest),
            ("b/a+b", "b", "a b", VersionSelector::Newest),
            ("b/a%2Bb", "b", "a+b", VersionSelector::Newest),
            ("b%2Fk", "b", "k", VersionSelector::Newest),
            ("b/k?x", "b", "k?x", VersionSelector::Newest),
            ("b/k?versionId=null", "b", "k", VersionSelector::Null),
            (&format!("b/k?versionId={id}"), "b", "k", VersionSelector::Id(id.parse().unwrap())),
        ] {
            let named = source(text).unwrap();
            assert_eq!((named.bucket.as_str(), named.key.as_str()), (bucket, key), "{text}");
            assert_eq!(named.version, version, "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_invalid_argument() {
        for text in
            ["", "/", "b", "b/", "/b/", "//k", "b/%zz", "b/%ff", "arn:aws:s3:x/k", "b/k?versionId=", "b/k?versionId=7"]
        {
            assert_eq!(source(text).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }
}
