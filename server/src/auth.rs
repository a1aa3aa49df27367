//! Authentication: who signed a request.
//!
//! `s3s` verifies signatures of version 4: of headers, of presigned URLs and of each chunk of a chunked body. This module
//! gives it the secrets, and checks before it what it does not: that a request has one signature and not two, that it is
//! of this region and of the service asked, that the host is signed, that a presigned URL lives for at most a week, and that the
//! access key has the session token that it must have ([`session_tokens`]). Signatures of version 2, where they are accepted, are
//! verified in [`v2`].
//!
//! What it reads of a signature is a [`Claim`]; [`Claim::confirm`] makes a [`Signer`] of it once the signature is verified.

pub mod session_tokens;
#[cfg(test)]
mod tests;
pub mod v2;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_storage::clock::Timestamp;
use http::header::{AUTHORIZATION, DATE, HOST};
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Result};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::authorize::{Carrier, Signature};
use crate::config::SignatureV2;
use crate::identities::Identities;
use crate::s3::error::Failure;
use crate::s3::headers::{self, CONTENT_SHA256};
use crate::s3::request::Query;
use crate::sts::session::{Session, Sessions};

use session_tokens::Place;

/// The algorithm of version 4.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How long a presigned URL may live (user guide, "Sharing objects with presigned URLs").
pub const PRESIGNED_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;

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

/// The parameters of a presigned URL, all of which it must have.
const PRESIGNED_PARAMETERS: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature", "X-Amz-SignedHeaders"];

/// Who knows the secrets of access keys that last.
pub trait KnowsSecrets: std::fmt::Debug + Send + Sync + 'static {
    /// The secret of a key that requests may be signed with.
    fn secret(&self, access_key: &str) -> Option<SecretKey>;
}

impl KnowsSecrets for Identities {
    fn secret(&self, access_key: &str) -> Option<SecretKey> {
        self.snapshot().key(access_key).map(|key| SecretKey::from(key.secret.expose()))
    }
}

/// The secrets of access keys: those that last, and those of sessions.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Those that last.
    pub keys: Arc<dyn KnowsSecrets>,
    /// Makes those of sessions.
    pub sessions: Sessions,
}

impl Secrets {
    /// The secret of an access key. One of a session is good only together with its token.
    pub fn secret(&self, access_key: &str) -> Option<SecretKey> {
        match self.sessions.secret(access_key) {
            Some(secret) => Some(SecretKey::from(secret.expose())),
            None => self.keys.secret(access_key),
        }
    }
}

#[async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        self.secret(access_key).ok_or_else(|| S3ErrorCode::InvalidAccessKeyId.into())
    }
}

/// Who signed a request.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The access key.
    pub access_key: String,
    /// The session that the key is of; None: the key is one that lasts.
    pub session: Option<Arc<Session>>,
}

/// Who says to have signed a request. The session, if any, is the access key's.
#[derive(Clone, Debug)]
pub struct Claim {
    signer: Signer,
    /// The signature was verified here, and not left to `s3s`.
    is_verified: bool,
}

impl Claim {
    /// That of a signature that was found, with the token that came with it. One of version 2 is verified by `verify_v2`, which
    /// answers its access key.
    ///
    /// # Errors
    /// What is wrong with the token, or with a signature of version 2.
    pub fn of(
        found: Found,
        token: Option<&str>,
        secrets: &Secrets,
        now: Timestamp,
        verify_v2: impl FnOnce(v2::Form) -> Result<String, Failure>,
    ) -> Result<Option<Self>, Failure> {
        let (access_key, is_verified) = match found {
            Found::None => return Ok(None),
            Found::Version4(access_key, _) => (access_key, false),
            Found::Version2(form) => (verify_v2(form)?, true),
        };
        let session = session_tokens::session(&secrets.sessions, &access_key, token, now)?;
        Ok(Some(Self { signer: Signer { access_key, session }, is_verified }))
    }

    /// Whose signature was verified, by the access key of the one that `s3s` has verified.
    ///
    /// # Errors
    /// If both did not read the same signature.
    pub fn confirm(claim: Option<Self>, by_s3s: Option<&str>) -> Result<Option<Signer>, Failure> {
        match (claim, by_s3s) {
            (None, None) => Ok(None),
            (Some(claim), None) if claim.is_verified => Ok(Some(claim.signer)),
            (Some(claim), Some(access_key)) if !claim.is_verified && claim.signer.access_key == access_key => {
                Ok(Some(claim.signer))
            }
            _ => Err(Failure::internal("the gate and s3s read different signatures")),
        }
    }
}

/// What a signature must be for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'r> {
    /// The server's region.
    pub region: &'r str,
    /// Other regions that are as good.
    pub or_regions: &'static [&'static str],
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

/// The signature of a request, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none: the request is anonymous.
    None,
    /// One of version 4, by this access key, which is left to `s3s`.
    Version4(String, Place),
    /// One of version 2, which remains to be verified by [`v2::verify`].
    Version2(v2::Form),
}

impl Found {
    /// Where it is.
    pub fn place(&self) -> Place {
        match self {
            Self::None => Place::Nowhere,
            Self::Version4(_, place) => *place,
            Self::Version2(v2::Form::Header) => Place::Header,
            Self::Version2(v2::Form::Query) => Place::QueryV2,
        }
    }
}

/// Checks everything about a request's signature but the signature and the session token.
///
/// # Errors
/// The code that S3 gives each fault. A request without any signature passes.
pub fn check(headers: &HeaderMap, query: &Query, scope: Scope<'_>, accepted: SignatureV2) -> Result<Found, Failure> {
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
        return check_presigned(headers, query, scope).map(|access_key| Found::Version4(access_key, Place::Query));
    }
    if in_header {
        return check_header(headers, scope, accepted);
    }
    Ok(Found::None)
}

/// What policies can ask for of a signature that was found, before it is taken out of the request.
pub fn signature_of(headers: &HeaderMap, query: &Query, found: &Found) -> Option<Signature> {
    let in_header = || request_time(headers).ok();
    let (carrier, is_version_2, signed_at) = match found {
        Found::None => return None,
        Found::Version4(_, Place::Query) => {
            (Carrier::Query, false, query.get("X-Amz-Date").and_then(parse_signature_date))
        }
        Found::Version4(..) => (Carrier::Header, false, in_header()),
        Found::Version2(v2::Form::Query) => (Carrier::Query, true, None),
        Found::Version2(v2::Form::Header) => (Carrier::Header, true, in_header()),
    };
    Some(Signature { carrier, is_version_2, signed_at })
}

/// A signature of version 2 of this form, if it is accepted.
///
/// # Errors
/// `InvalidRequest`.
pub fn accept_version_2(form: v2::Form, accepted: SignatureV2) -> Result<Found, Failure> {
    match (accepted, form) {
        (SignatureV2::All, _) | (SignatureV2::Query, v2::Form::Query) => Ok(Found::Version2(form)),
        (SignatureV2::Off, _) | (SignatureV2::Query, v2::Form::Header) => Err(Failure::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )),
    }
}

fn check_header(headers: &HeaderMap, scope: Scope<'_>, accepted: SignatureV2) -> Result<Found, Failure> {
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
        Ok(access_key) => check_is_signed(HOST.as_str(), signed_headers)
            .map(|()| Found::Version4(access_key.to_owned(), Place::Header)),
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
    let time = headers::parse_http_date(&text).or_else(|| parse_signature_date(&text)).filter(|time| time.0 >= 0);
    time.ok_or_else(|| {
        Failure::with_message(
            S3ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })
}

/// A date as version 4 writes it.
pub fn parse_signature_date(text: &str) -> Option<Timestamp> {
    let time = PrimitiveDateTime::parse(text, SIGNATURE_DATE).ok()?.assume_utc();
    time.unix_timestamp().checked_mul(1_000).map(Timestamp)
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

/// The access key of a presigned URL.
fn check_presigned(headers: &HeaderMap, query: &Query, scope: Scope<'_>) -> Result<String, Failure> {
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
        Ok(access_key) => {
            check_is_signed(HOST.as_str(), parameter("X-Amz-SignedHeaders")).map(|()| access_key.to_owned())
        }
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
#[derive(Debug)]
pub enum ScopeError {
    /// It is of another region.
    Region,
    /// This.
    Other(Cow<'static, str>),
}

impl ScopeError {
    /// In words, on a server of this region.
    pub fn text(self, region: &str) -> Cow<'static, str> {
        match self {
            Self::Region => format!("the region is wrong; expecting '{region}'").into(),
            Self::Other(fault) => fault,
        }
    }
}

/// A credential is `access key/date/region/service/aws4_request`; an access key has no slash. The answer is the access key.
///
/// # Errors
/// What is wrong with the scope.
pub fn check_scope<'c>(credential: &'c str, scope: Scope<'_>) -> Result<&'c str, ScopeError> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, _, named_region, service, terminator] = parts[..] else {
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
    let is_good = named_region == scope.region || scope.or_regions.contains(&named_region);
    if is_good { Ok(access_key) } else { Err(ScopeError::Region) }
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
