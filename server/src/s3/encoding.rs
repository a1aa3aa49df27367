//! Percent-encoding: `encoding-type=url` of listings, and names in URLs.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::Failure;
use super::request::Query;

/// What stays as it is, as in S3's answers.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// How the names of a listing are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameEncoding {
    /// As they are.
    Plain,
    /// Percent-encoded.
    Url,
}

impl NameEncoding {
    /// The one that the request asks for.
    ///
    /// # Errors
    /// `InvalidArgument` for any but `url`.
    pub fn of(query: &Query) -> Result<Self, Failure> {
        match query.get("encoding-type") {
            None | Some("") => Ok(Self::Plain),
            Some(name) if name.eq_ignore_ascii_case("url") => Ok(Self::Url),
            Some(name) => {
                Err(Failure::invalid_argument("encoding-type", name, "Invalid Encoding Method specified in Request"))
            }
        }
    }

    /// The name as the answer carries it.
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => name.into(),
            Self::Url => encode(name),
        }
    }

    /// What `EncodingType` says.
    pub fn element(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Url => Some("url"),
        }
    }
}

/// Percent-encodes a name; slashes stay.
pub fn encode(name: &str) -> Cow<'_, str> {
    utf8_percent_encode(name, ENCODED).into()
}

/// Decodes the percent escapes of a path or header. None if an escape is malformed or the result is not UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let malformed = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if malformed { None } else { percent_decode_str(text).decode_utf8().ok() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_encoded_as_s3_encodes_them() {
        for (name, encoded) in
            [("foo+1/bar", "foo%2B1/bar"), ("quux ab/", "quux%20ab/"), ("a\u{1}é", "a%01%C3%A9"), ("a-_.*b", "a-_.*b")]
        {
            assert_eq!(encode(name), encoded);
            assert_eq!(decode(encoded).unwrap(), name);
        }
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for text in ["%", "a%2", "%zz", "%c3%28"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn only_url_is_an_encoding() {
        let encoding = |text: &str| NameEncoding::of(&Query::parse(Some(text)).unwrap());
        assert_eq!(encoding("encoding-type=url").unwrap(), NameEncoding::Url);
        assert_eq!(encoding("prefix=a").unwrap(), NameEncoding::Plain);
        assert_eq!(encoding("encoding-type=rot13").unwrap_err().code(), "InvalidArgument");
    }
}
