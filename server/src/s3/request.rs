//! A request and an answer as operations see them.

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::ops::VersionSelector;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::percent_decode_str;
use s3s::stream::ByteStream as _;
use s3s::{Body, S3ErrorCode, TrailingHeaders};

use crate::authorize::Signature;

use super::error::{Failure, of_body, sha256_mismatch, too_large};
use super::headers::{CONTENT_SHA256, DECODED_CONTENT_LENGTH, text};
use super::xml::{self, Document};

/// Parameters in a query at most; S3's own requests have fewer than twenty.
const PARAMETERS_MAX: usize = 100;

/// The largest document in a body: 10,000 parts with every checksum, or 1,000 keys of 1 KiB that are all escapes.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// The decoded parameters of a query, in their order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query: percent escapes, and plus signs as blanks.
    ///
    /// # Errors
    /// `InvalidURI` if it is not UTF-8, `InvalidRequest` for more parameters than any request has.
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut query = Vec::new();
        for pair in pairs {
            if query.len() == PARAMETERS_MAX {
                return Err(Failure::invalid_request("The query has too many parameters."));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.push((decode(name)?, decode(value)?));
        }
        Ok(Self(query))
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value, if it is not empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A count between 0 and `max`; larger ones become `max`, as in S3.
    ///
    /// # Errors
    /// `InvalidArgument` for what is not a number, or negative.
    pub fn count(&self, name: &'static str, max: usize) -> Result<usize, Failure> {
        self.non_empty(name).map_or(Ok(max), |text| count(name, text, max))
    }
}

/// The count that a parameter or header called `name` gives; above `max` it is `max`.
///
/// # Errors
/// `InvalidArgument` for what is not a number, or negative.
pub fn count(name: &str, text: &str, max: usize) -> Result<usize, Failure> {
    let count: i32 = text.parse().map_err(|_| {
        Failure::invalid_argument(name, text, format!("Provided {name} not an integer or within integer range"))
    })?;
    usize::try_from(count).map(|count| count.min(max)).map_err(|_| {
        Failure::invalid_argument(name, text, format!("Argument {name} must be an integer between 0 and {}", i32::MAX))
    })
}

fn decode(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Failure::new(S3ErrorCode::InvalidURI))
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account's buckets.
    Service,
    /// A bucket, by a name that is not yet checked.
    Bucket(String),
    /// A key in a bucket.
    Object {
        /// The bucket's name, not yet checked.
        bucket: String,
        /// The key, neither empty nor too long.
        key: cairn_storage::object::ObjectKey,
    },
}

/// A request whose signature was verified and whose operation is known.
#[derive(Debug)]
pub struct Request {
    /// The path, as it was sent.
    pub path: String,
    /// It came over an encrypted connection.
    pub secure: bool,
    /// The query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: decoded while it is read.
    pub body: Body,
    /// The body is held to `x-amz-content-sha256` while it is read. If not, [`Request::document`] does it.
    pub is_verified: bool,
    /// Where the trailers of a chunked body will be.
    pub trailers: Option<TrailingHeaders>,
    /// How it is signed; None: not at all.
    pub signature: Option<Signature>,
}

impl Request {
    /// The length that the client declared for the body of a PUT, of at most so many bytes.
    ///
    /// # Errors
    /// `MissingContentLength`, `EntityTooLarge`.
    pub fn body_length(&self, bytes_max: u64) -> Result<u64, Failure> {
        let declared = self.headers.contains_key(CONTENT_LENGTH) || self.headers.contains_key(DECODED_CONTENT_LENGTH);
        let length = self.body.remaining_length().exact().filter(|_| declared);
        let length_bytes = length.ok_or(S3ErrorCode::MissingContentLength)? as u64;
        if length_bytes > bytes_max {
            return Err(too_large(length_bytes, bytes_max));
        }
        Ok(length_bytes)
    }

    /// Reads a document in the body to its end, which verifies its signature.
    ///
    /// # Errors
    /// `MaxMessageLengthExceeded`, `XAmzContentSHA256Mismatch`, and whatever else is wrong with the body.
    pub async fn document(&mut self) -> Result<Vec<u8>, Failure> {
        use futures::StreamExt as _;
        let mut document = Vec::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece.map_err(|error| of_body(error.as_ref()))?;
            if document.len() + piece.len() > DOCUMENT_BYTES_MAX {
                return Err(S3ErrorCode::MaxMessageLengthExceeded.into());
            }
            document.extend_from_slice(&piece);
        }
        if !self.is_verified {
            self.verify(&document)?;
        }
        Ok(document)
    }

    /// Compares the document with the hash that was signed, if one was: what else can be declared is not verified.
    fn verify(&self, document: &[u8]) -> Result<(), Failure> {
        let declared = text(&self.headers, &CONTENT_SHA256).and_then(|text| hex::decode(text).ok());
        let actual = Checksum::of(ChecksumAlgorithm::Sha256, document);
        match declared {
            Some(declared) if declared != actual.as_bytes() => Err(sha256_mismatch()),
            _ => Ok(()),
        }
    }

    /// The version that `versionId` names.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no version id.
    pub fn version(&self) -> Result<VersionSelector, Failure> {
        parse_version(self.query.get("versionId"))
    }
}

/// Reads a version id.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub fn parse_version(text: Option<&str>) -> Result<VersionSelector, Failure> {
    let invalid = |text: &str, message: &'static str| Err(Failure::invalid_argument("versionId", text, message));
    match text {
        None => Ok(VersionSelector::Newest),
        Some("null") => Ok(VersionSelector::Null),
        Some("") => invalid("", "Version id cannot be the empty string"),
        Some(text) => match text.parse() {
            Ok(id) => Ok(VersionSelector::Id(id)),
            Err(_) => invalid(text, "Invalid version id specified"),
        },
    }
}

/// A successful answer, before the headers that every answer has.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Answer {
    /// An answer without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::empty() }
    }

    /// 200 with a document.
    pub fn document(document: Document) -> Self {
        let mut answer = Self::empty(StatusCode::OK);
        answer.headers.insert(CONTENT_TYPE, xml::CONTENT_TYPE);
        answer.body = Body::from(document.finish());
        answer
    }

    /// The answer itself, for who does not send it through `s3s`.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    #[test]
    fn parameters_are_decoded_and_the_first_wins() {
        let query = query("prefix=a%2Fb+c&delete&prefix=z&&empty=");
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!(query.get("delete"), Some(""));
        assert_eq!(query.non_empty("empty"), None);
        assert!(query.has("empty") && !query.has("absent"));
    }

    #[test]
    fn a_query_that_is_not_utf_8_or_too_long_is_refused() {
        assert_eq!(Query::parse(Some("a=%ff")).unwrap_err().code(), "InvalidURI");
        let long = "a&".repeat(PARAMETERS_MAX + 1);
        assert_eq!(Query::parse(Some(&long)).unwrap_err().code(), "InvalidRequest");
    }

    #[test]
    fn counts_are_cut_and_nonsense_is_refused() {
        for (text, expected) in [("", 1000), ("max-keys=", 1000), ("max-keys=0", 0), ("max-keys=2000", 1000)] {
            assert_eq!(query(text).count("max-keys", 1000).unwrap(), expected, "{text}");
        }
        for text in ["max-keys=-1", "max-keys=blah", "max-keys=99999999999", "max-keys=1.5"] {
            assert_eq!(query(text).count("max-keys", 1000).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }

    #[test]
    fn version_ids_are_hexadecimal_or_null() {
        assert_eq!(parse_version(None).unwrap(), VersionSelector::Newest);
        assert_eq!(parse_version(Some("null")).unwrap(), VersionSelector::Null);
        for text in ["", "0", "NULL", "x".repeat(32).as_str()] {
            assert_eq!(parse_version(Some(text)).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }

    #[tokio::test]
    async fn a_document_is_bounded() {
        let mut request = Request {
            path: "/".to_owned(),
            secure: false,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: Body::from(vec![b' '; DOCUMENT_BYTES_MAX + 1]),
            is_verified: true,
            trailers: None,
            signature: None,
        };
        assert_eq!(request.document().await.unwrap_err().code(), "MaxMessageLengthExceeded");
    }
}
