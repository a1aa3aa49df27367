//! Authentication: who signed a request.
//!
//! `s3s` verifies signatures of version 4: of headers, of presigned URLs and of each chunk of a chunked body. This module
//! gives it the secrets, and checks before it what it does not: that a request has one signature and not two, that it is
//! of this region and of the service asked, that the host is signed, that a presigned URL lives for at most a week, and that no session
//! token comes along, because there are none. Signatures of version 2, where they are accepted, are verified in [`v2`].

pub mod v2;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_storage::clock::Timestamp;
use http::header::{AUTHORIZATION, DATE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Result};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::config::SignatureV2;
use crate::identities::Identities;
use crate::s3::error::Failure;
use crate::s3::headers::{self, CONTENT_SHA256};
use crate::s3::request::Query;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How long a presigned URL may live (user guide, "Sharing objects with presigned URLs").
const PRESIGNED_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

/// How far a request's date may be from ours.
pub const CLOCK_SKEW_SECONDS_MAX: u32 = 15 * 60;

/// What `x-amz-content-sha256` says of a payload that is not signed.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Everything else that it may say, unless it is a SHA-256 in hexadecimal.
const STREAMED_PAYLOADS: [&str; 5] = [
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
];

/// A date as version 4 writes it.
const SIGNATURE_DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The parameters of a presigned URL, all of which it must have.
const PRESIGNED_PARAMETERS: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature", "X-Amz-SignedHeaders"];

/// Gives `s3s` the secret of an access key.
#[derive(Debug)]
pub struct Secrets(pub Arc<Identities>);

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.snapshot().key(access_key) {
            Some(key) => Ok(SecretKey::from(key.secret.expose())),
            None => Err(S3ErrorCode::InvalidAccessKeyId.into()),
        }
    }
}

/// What a signature must be for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'r> {
    /// The server's region.
    pub region: &'r str,
    /// Another region that is as good.
    pub or_region: Option<&'static str>,
    /// S3, or the service of another API.
    pub service: &'r str,
}

/// The service in the scope of a signature of version 4 in the header, if there is one.
pub fn service_of(headers: &HeaderMap) -> Option<String> {
    let text = headers::text(headers, &AUTHORIZATION)?;
    let fields = text.strip_prefix(ALGORITHM)?.trim_start();
    let credential = fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))?;
    credential.split('/').nth(3).map(str::to_owned)
}

/// Checks everything about a request's signature but the signature. The answer is where a signature of version 2 is, which
/// remains to be verified by [`v2::verify`]; any other is left to `s3s`.
///
/// # Errors
/// The code that S3 gives each fault. A request without any signature passes: it is anonymous.
pub fn check(
    headers: &HeaderMap,
    query: &Query,
    scope: Scope<'_>,
    accepted: SignatureV2,
) -> Result<Option<v2::Form>, Failure> {
    if headers.contains_key(SECURITY_TOKEN) || query.has("X-Amz-Security-Token") {
        return Err(S3ErrorCode::InvalidToken.into());
    }
    let in_header = headers.contains_key(AUTHORIZATION);
    let version_4 = PRESIGNED_PARAMETERS.iter().any(|name| query.has(name));
    let version_2 = query.has("Signature") || query.has("AWSAccessKeyId");
    if usize::from(in_header) + usize::from(version_4) + usize::from(version_2) > 1 {
        return Err(Failure::with_message(
            S3ErrorCode::InvalidArgument,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ));
    }
    if version_2 {
        return accept_version_2(v2::Form::Query, accepted);
    }
    if version_4 {
        return check_presigned(headers, query, scope).map(|()| None);
    }
    if in_header {
        return check_header(headers, scope, accepted);
    }
    Ok(None)
}

fn accept_version_2(form: v2::Form, accepted: SignatureV2) -> Result<Option<v2::Form>, Failure> {
    match (accepted, form) {
        (SignatureV2::All, _) | (SignatureV2::Query, v2::Form::Query) => Ok(Some(form)),
        (SignatureV2::Off, _) | (SignatureV2::Query, v2::Form::Header) => Err(Failure::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )),
    }
}

fn check_header(headers: &HeaderMap, scope: Scope<'_>, accepted: SignatureV2) -> Result<Option<v2::Form>, Failure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let text = values.next().map(headers::text_of).unwrap_or_default();
    if values.next().is_some() {
        return Err(Failure::invalid_request("The Authorization header is repeated."));
    }
    if text.trim().is_empty() {
        return Err(S3ErrorCode::AccessDenied.into());
    }
    let (algorithm, fields) = text.split_once(' ').unwrap_or((&text, ""));
    if algorithm == "AWS" {
        return accept_version_2(v2::Form::Header, accepted);
    }
    if algorithm != ALGORITHM {
        return Err(Failure::invalid_argument("Authorization", algorithm, "Unsupported Authorization Type"));
    }
    let field = |name: &str| {
        fields.split(',').filter_map(|field| field.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    };
    let (Some(credential), Some(signed_headers), Some(_)) =
        (field("Credential"), field("SignedHeaders"), field("Signature"))
    else {
        return Err(header_malformed("the Credential, SignedHeaders and Signature fields are required"));
    };
    check_payload_hash(headers)?;
    request_time(headers)?;
    let region = scope.region;
    match check_scope(credential, scope) {
        Ok(()) => check_is_signed(HOST.as_str(), signed_headers).map(|()| None),
        Err(ScopeError::Region) => {
            Err(header_malformed(&format!("the region is wrong; expecting '{region}'")).field("Region", region))
        }
        Err(ScopeError::Other(fault)) => Err(header_malformed(&fault)),
    }
}

/// When a request with a signature in its header says that it was made: an HTTP date, or one of version 4's. A time before
/// 1970 is none.
fn request_time(headers: &HeaderMap) -> Result<Timestamp, Failure> {
    let name = if headers.contains_key(headers::DATE) { headers::DATE } else { DATE };
    let text = headers::text(headers, &name).unwrap_or_default();
    let basic = || {
        let time = PrimitiveDateTime::parse(&text, SIGNATURE_DATE).ok()?.assume_utc();
        time.unix_timestamp().checked_mul(1_000).map(Timestamp)
    };
    let time = headers::parse_http_date(&text).or_else(basic).filter(|time| time.0 >= 0);
    time.ok_or_else(|| {
        Failure::with_message(
            S3ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })
}

/// That the payload hash is one: `s3s` would say of any other that the signature does not match.
fn check_payload_hash(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_SHA256) else { return Ok(()) };
    let text = headers::text_of(value);
    let is_sha256 = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sha256 || text == UNSIGNED_PAYLOAD || STREAMED_PAYLOADS.contains(&text.as_str()) {
        return Ok(());
    }
    Err(Failure::invalid_argument(
        CONTENT_SHA256.as_str(),
        &text,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD or a valid sha256 value.",
    ))
}

fn header_malformed(fault: &str) -> Failure {
    Failure::with_message(
        S3ErrorCode::AuthorizationHeaderMalformed,
        format!("The authorization header is malformed; {fault}."),
    )
}

fn check_presigned(headers: &HeaderMap, query: &Query, scope: Scope<'_>) -> Result<(), Failure> {
    let once = |name: &str| query.iter().filter(|(key, _)| *key == name).count() == 1;
    if !PRESIGNED_PARAMETERS.iter().all(|name| once(name)) {
        return Err(query_malformed(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
             X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ));
    }
    let parameter = |name: &str| query.get(name).unwrap_or_default();
    if parameter("X-Amz-Algorithm") != ALGORITHM {
        return Err(query_malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    match parameter("X-Amz-Expires").parse::<u32>() {
        Ok(1..=PRESIGNED_SECONDS_MAX) => {}
        _ => {
            return Err(
                query_malformed("X-Amz-Expires must be between 1 and 604800 seconds").status(StatusCode::FORBIDDEN)
            );
        }
    }
    // The date of a URL is a parameter. The header is excused from being signed for the sake of the header form alone.
    if headers.contains_key(headers::DATE) {
        check_is_signed(headers::DATE.as_str(), parameter("X-Amz-SignedHeaders"))?;
    }
    let region = scope.region;
    match check_scope(parameter("X-Amz-Credential"), scope) {
        Ok(()) => check_is_signed(HOST.as_str(), parameter("X-Amz-SignedHeaders")),
        Err(ScopeError::Region) => Err(query_malformed(format!(
            "Error parsing the X-Amz-Credential parameter; the region is wrong; expecting '{region}'"
        ))
        .field("Region", region)),
        Err(ScopeError::Other(fault)) => {
            Err(query_malformed(format!("Error parsing the X-Amz-Credential parameter; {fault}")))
        }
    }
}

fn query_malformed(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::with_message(S3ErrorCode::AuthorizationQueryParametersError, message)
}

/// What is wrong with a credential's scope.
enum ScopeError {
    Region,
    Other(Cow<'static, str>),
}

/// A credential is `access key/date/region/service/aws4_request`; an access key has no slash.
fn check_scope(credential: &str, scope: Scope<'_>) -> Result<(), ScopeError> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [_, _, named_region, service, terminator] = parts[..] else {
        return Err(ScopeError::Other(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"".into(),
        ));
    };
    if service != scope.service {
        let fault = format!("incorrect service; this endpoint belongs to \"{}\"", scope.service);
        return Err(ScopeError::Other(fault.into()));
    }
    if terminator != "aws4_request" {
        return Err(ScopeError::Other("incorrect terminal; this endpoint uses \"aws4_request\"".into()));
    }
    let is_good = named_region == scope.region || scope.or_region == Some(named_region);
    if is_good { Ok(()) } else { Err(ScopeError::Region) }
}

/// That the signature covers a header. One that leaves the host out is good for another server, or another bucket.
fn check_is_signed(name: &str, signed_headers: &str) -> Result<(), Failure> {
    if signed_headers.split(';').any(|signed| signed.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Failure::with_message(
        S3ErrorCode::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .field("HeadersNotSigned", name))
}

/// Adds `x-amz-date` to a request that is dated by `Date` alone. The signature covers the date itself, whichever header
/// it comes in.
pub fn complete_date(headers: &mut HeaderMap) {
    if headers.contains_key(headers::DATE) || !headers.contains_key(AUTHORIZATION) {
        return;
    }
    let Some(date) = headers::text(headers, &DATE).and_then(|text| headers::parse_http_date(&text)) else { return };
    if let Some(value) = signature_date(date) {
        headers.insert(headers::DATE, value);
    }
}

fn signature_date(date: Timestamp) -> Option<HeaderValue> {
    let date = OffsetDateTime::from_unix_timestamp(date.0.div_euclid(1_000)).ok()?;
    HeaderValue::try_from(date.format(SIGNATURE_DATE).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const SCOPE_OF_S3: Scope<'_> = Scope { region: "us-east-1", or_region: None, service: "s3" };
    const SCOPE: &str = "AK/20260101/us-east-1/s3/aws4_request";

    fn checked(authorization: &[&str], query: &str, accepted: SignatureV2) -> Result<Option<v2::Form>, Failure> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
        check(&headers, &Query::parse(Some(query)).unwrap(), SCOPE_OF_S3, accepted)
    }

    fn code(authorization: &[&str], query: &str) -> String {
        match checked(authorization, query, SignatureV2::Off) {
            Ok(None) => "ok".to_owned(),
            Ok(Some(form)) => format!("{form:?}"),
            Err(failure) => failure.code().to_owned(),
        }
    }

    fn header(credential: &str, signed: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=00")
    }

    #[test]
    fn a_header_must_be_whole_and_for_this_endpoint() {
        assert_eq!(code(&[], ""), "ok");
        assert_eq!(code(&[&header(SCOPE, "host;x-amz-date")], ""), "ok");
        for (text, expected) in [
            ("", "AccessDenied"),
            ("AWS AK:sig", "InvalidRequest"),
            ("Bearer x", "InvalidArgument"),
            ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
            ("AWS4-HMAC-SHA256 Credential=x", "AuthorizationHeaderMalformed"),
            (&header("AK/20260101/us-east-1/s3", "host"), "AuthorizationHeaderMalformed"),
            (&header("AK/20260101/eu-west-1/s3/aws4_request", "host"), "AuthorizationHeaderMalformed"),
            (&header("AK/20260101/us-east-1/iam/aws4_request", "host"), "AuthorizationHeaderMalformed"),
            (&header("AK/20260101/us-east-1/s3/aws5_request", "host"), "AuthorizationHeaderMalformed"),
            (&header(SCOPE, "x-amz-date"), "AccessDenied"),
        ] {
            assert_eq!(code(&[text], ""), expected, "{text}");
        }
        let good = header(SCOPE, "host");
        assert_eq!(code(&[&good, &good], ""), "InvalidRequest");
    }

    #[test]
    fn a_header_needs_a_date_and_a_payload_hash_that_can_be_read() {
        let code = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&header(SCOPE, "host")).unwrap());
            headers.insert(headers::DATE, HeaderValue::from_static("20260101T000000Z"));
            headers.insert(name, HeaderValue::from_static(value));
            let checked = check(&headers, &Query::default(), SCOPE_OF_S3, SignatureV2::Off);
            checked.err().map(|failure| failure.code().to_owned())
        };
        for date in ["20260101T000000Z", "Thu, 01 Jan 2026 00:00:00 GMT"] {
            assert_eq!(code(headers::DATE, date), None, "{date}");
        }
        for date in ["", "now", "20261301T000000Z", "19691231T235959Z"] {
            assert_eq!(code(headers::DATE, date).as_deref(), Some("AccessDenied"), "{date}");
        }
        for hash in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", SHA256] {
            assert_eq!(code(CONTENT_SHA256, hash), None, "{hash}");
        }
        for hash in ["", "unsigned-payload", "STREAMING", &SHA256[1..]] {
            assert_eq!(code(CONTENT_SHA256, hash).as_deref(), Some("InvalidArgument"), "{hash}");
        }
    }

    fn presigned(replace: &str, with: &str) -> String {
        format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE}&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        )
        .replace(replace, with)
    }

    #[test]
    fn a_presigned_url_must_be_whole_and_short_lived() {
        let invalid = "AuthorizationQueryParametersError";
        assert_eq!(code(&[], &presigned("", "")), "ok");
        assert_eq!(code(&[], &presigned("Expires=60", "Expires=604800")), "ok");
        for (replace, with, expected) in [
            ("Expires=60", "Expires=0", invalid),
            ("Expires=60", "Expires=-1", invalid),
            ("Expires=60", "Expires=604801", invalid),
            ("Expires=60", "Expires=x", invalid),
            ("&X-Amz-Expires=60", "", invalid),
            ("&X-Amz-Signature=00", "", invalid),
            ("&X-Amz-Expires=60", "&X-Amz-Expires=60&X-Amz-Expires=61", invalid),
            ("us-east-1", "eu-west-1", invalid),
            ("/s3/", "/sts/", invalid),
            ("HMAC-SHA256", "HMAC-MD5", invalid),
            ("Headers=host", "Headers=range", "AccessDenied"),
        ] {
            assert_eq!(code(&[], &presigned(replace, with)), expected, "{replace} -> {with}");
        }
    }

    #[test]
    fn a_date_beside_a_presigned_url_must_be_signed() {
        let mut headers = HeaderMap::new();
        headers.insert(headers::DATE, HeaderValue::from_static("20260101T000000Z"));
        let code = |signed: &str| {
            let query = Query::parse(Some(&presigned("Headers=host", signed))).unwrap();
            check(&headers, &query, SCOPE_OF_S3, SignatureV2::Off).map_err(|failure| failure.code().to_owned())
        };
        assert_eq!(code("Headers=host").unwrap_err(), "AccessDenied");
        assert_eq!(code("Headers=host%3Bx-amz-date").unwrap(), None);
    }

    #[test]
    fn only_one_signature_is_allowed() {
        let version_2 = "AWSAccessKeyId=AK&Expires=1&Signature=x";
        assert_eq!(code(&[&header(SCOPE, "host")], &presigned("", "")), "InvalidArgument");
        assert_eq!(code(&[&header(SCOPE, "host")], version_2), "InvalidArgument");
        assert_eq!(code(&["AWS AK:x"], "Signature=x"), "InvalidArgument");
        assert_eq!(code(&[], &format!("{version_2}&{}", presigned("", ""))), "InvalidArgument");
    }

    #[test]
    fn the_setting_says_where_version_2_is_accepted() {
        let query = |accepted| checked(&[], "AWSAccessKeyId=AK&Expires=1&Signature=x", accepted);
        let header = |accepted| checked(&["AWS AK:x"], "", accepted);
        assert_eq!(query(SignatureV2::Off).unwrap_err().code(), "InvalidRequest");
        assert_eq!(header(SignatureV2::Off).unwrap_err().code(), "InvalidRequest");
        assert_eq!(query(SignatureV2::Query).unwrap(), Some(v2::Form::Query));
        assert_eq!(header(SignatureV2::Query).unwrap_err().code(), "InvalidRequest");
        assert_eq!(query(SignatureV2::All).unwrap(), Some(v2::Form::Query));
        assert_eq!(header(SignatureV2::All).unwrap(), Some(v2::Form::Header));
    }

    #[test]
    fn session_tokens_are_refused_wherever_they_are() {
        assert_eq!(code(&[], "X-Amz-Security-Token=t"), "InvalidToken");
        let mut headers = HeaderMap::new();
        headers.insert(SECURITY_TOKEN, HeaderValue::from_static("t"));
        let refused = check(&headers, &Query::default(), SCOPE_OF_S3, SignatureV2::All);
        assert_eq!(refused.unwrap_err().code(), "InvalidToken");
    }

    #[test]
    fn a_request_dated_by_date_alone_gets_the_date_of_signatures() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("x"));
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 -0000"));
        complete_date(&mut headers);
        assert_eq!(headers[headers::DATE], "19941106T084937Z");
    }
}
