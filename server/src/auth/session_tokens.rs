//! Session tokens: where a request has one, and whether it belongs to the access key that signs.
//!
//! Invariants: a temporary access key comes with its token, another key with none; the token is where the signature is, once,
//! so that the signature covers it; whatever else is refused.

use std::sync::Arc;

use cairn_storage::clock::Timestamp;
use http::{HeaderMap, HeaderName};
use s3s::S3ErrorCode;

use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::Query;
use crate::sts::session::{Session, Sessions, TokenError, is_temporary};

/// The token of a signature in the header; version 2 signs it by this name in a query, too.
pub const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The token of a presigned URL of version 4.
const IN_QUERY: &str = "X-Amz-Security-Token";

/// Where the signature is, and so the token must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is no signature.
    Nowhere,
    /// In the header.
    Header,
    /// In the query, of version 4.
    Query,
    /// In the query, of version 2, which spells the parameter as the header.
    QueryV2,
}

/// The token of a request.
///
/// # Errors
/// `InvalidToken` if it has more than one, or one that the signature does not cover.
pub fn find(headers: &HeaderMap, query: &Query, place: Place) -> Result<Option<String>, Failure> {
    let in_headers = headers.get_all(SECURITY_TOKEN).iter().count();
    let in_query = query.iter().filter(|(name, _)| name.eq_ignore_ascii_case(IN_QUERY)).count();
    let token = match (in_headers, in_query, place) {
        (0, 0, _) => return Ok(None),
        (1, 0, Place::Header) => headers::text(headers, &SECURITY_TOKEN),
        (0, 1, Place::Query) => query.get(IN_QUERY).map(str::to_owned),
        (0, 1, Place::QueryV2) => query.get(SECURITY_TOKEN.as_str()).map(str::to_owned),
        _ => None,
    };
    token.map(Some).ok_or_else(|| S3ErrorCode::InvalidToken.into())
}

/// The session of an access key and what came as its token.
///
/// # Errors
/// The code that S3 gives each fault: `InvalidAccessKeyId` for a temporary key alone, `InvalidToken` for a token that is not
/// the key's, `ExpiredToken`.
pub fn session(
    sessions: &Sessions,
    access_key: &str,
    token: Option<&str>,
    now: Timestamp,
) -> Result<Option<Arc<Session>>, Failure> {
    match (is_temporary(access_key), token) {
        (false, None) => Ok(None),
        (true, None) => Err(Failure::new(S3ErrorCode::InvalidAccessKeyId).field("AWSAccessKeyId", access_key)),
        (false, Some(_)) => Err(S3ErrorCode::InvalidToken.into()),
        (true, Some(token)) => match sessions.open(access_key, token, now) {
            Ok(session) => Ok(Some(Arc::new(session))),
            Err(TokenError::Invalid) => Err(S3ErrorCode::InvalidToken.into()),
            Err(TokenError::Expired) => Err(S3ErrorCode::ExpiredToken.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn found(tokens: &[&'static str], query: &str, place: Place) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for token in tokens {
            headers.append(SECURITY_TOKEN, HeaderValue::from_static(token));
        }
        let query = Query::parse(Some(query)).unwrap();
        find(&headers, &query, place).map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn a_token_is_where_the_signature_is() {
        let token = Ok(Some("t".to_owned()));
        assert_eq!(found(&["t"], "", Place::Header), token);
        assert_eq!(found(&[], "X-Amz-Security-Token=t", Place::Query), token);
        assert_eq!(found(&[], "x-amz-security-token=t", Place::QueryV2), token);
        for place in [Place::Nowhere, Place::Header, Place::Query, Place::QueryV2] {
            assert_eq!(found(&[], "", place), Ok(None), "{place:?}");
        }
    }

    #[test]
    fn a_token_elsewhere_or_a_second_one_is_refused() {
        let invalid = Err("InvalidToken".to_owned());
        for (tokens, query, place) in [
            (&["t"][..], "", Place::Nowhere),
            (&[], "X-Amz-Security-Token=t", Place::Nowhere),
            (&["t"], "", Place::Query),
            (&["t"], "", Place::QueryV2),
            (&[], "X-Amz-Security-Token=t", Place::Header),
            (&["t"], "X-Amz-Security-Token=t", Place::Header),
            (&["t"], "X-Amz-Security-Token=t", Place::Query),
            (&["t", "t"], "", Place::Header),
            (&[], "X-Amz-Security-Token=t&X-Amz-Security-Token=t", Place::Query),
            (&[], "X-Amz-Security-Token=t&x-amz-security-token=u", Place::Query),
            (&[], "x-amz-security-token=t", Place::Query),
            (&[], "X-Amz-Security-Token=t", Place::QueryV2),
        ] {
            assert_eq!(found(tokens, query, place), invalid, "{tokens:?} {query} {place:?}");
        }
    }
}
