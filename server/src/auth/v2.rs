//! Signature Version 2: an HMAC-SHA1 of the request's head, in presigned URLs (`AWSAccessKeyId`, `Expires`, `Signature`)
//! and in the header `Authorization: AWS <access key>:<signature>`. The rules are S3's, "Signing and authenticating REST
//! requests".
//!
//! Verified here and not by `s3s`, which reads no `x-amz-date` but Version 4's, finds no bucket in the host as this server
//! is set up, and takes whatever is repeated for absent.
//!
//! Version 2 covers only some of the query and of the headers, so a request is refused if what it does could be changed
//! without its signer. Invariants: a query parameter that chooses an operation is signed or refused; in a presigned URL
//! every parameter is; nothing that is signed comes twice with one meaning to the signature and another to the operation.
//! What Version 2 leaves to whoever holds a URL is the body and the headers without `x-amz-`, `Content-MD5` and
//! `Content-Type` excepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_storage::clock::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Uri};
use s3s::S3ErrorCode;
use sha1::Sha1;

use crate::gate::routes;
use crate::s3::error::Failure;
use crate::s3::headers::{self, CONTENT_MD5, CONTENT_SHA256};
use crate::s3::request::Query;

use super::{CLOCK_SKEW_SECONDS_MAX, Secrets, UNSIGNED_PAYLOAD, request_time};

/// The query parameters that the signature covers, in the order in which it covers them.
const SIGNED_PARAMETERS: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// What a presigned URL adds to the query.
const OWN_PARAMETERS: [&str; 3] = ["AWSAccessKeyId", "Expires", "Signature"];

/// The name of the session token, in a header and in a URL.
const TOKEN_NAME: &str = "x-amz-security-token";

const AMZ_PREFIX: &str = "x-amz-";
const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// Where a signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the query: a presigned URL.
    Query,
    /// In the `Authorization` header.
    Header,
}

/// What the signature covers.
#[derive(Clone, Copy, Debug)]
pub struct SignedHead<'r> {
    /// The method.
    pub method: &'r Method,
    /// The path as it was sent, percent-encoded.
    pub path: &'r str,
    /// The bucket that the host names.
    pub host_bucket: Option<&'r str>,
    /// The query.
    pub query: &'r Query,
    /// The headers.
    pub headers: &'r HeaderMap,
}

/// Who signed, until when or at what time, and the signature, none of it verified.
#[derive(Debug)]
struct Claim {
    access_key: String,
    /// The line of the signed text that dates it.
    date: Vec<u8>,
    signature: String,
}

/// Verifies a signature. The answer is the access key that made it.
///
/// # Errors
/// The code that S3 gives each fault; `AccessDenied` for a parameter that the signature does not cover.
pub fn verify(head: &SignedHead<'_>, form: Form, secrets: &Secrets, now: Timestamp) -> Result<String, Failure> {
    check_parameters(head, form)?;
    check_headers(head.headers)?;
    let claim = match form {
        Form::Query => claim_of_query(head.query, now)?,
        Form::Header => claim_of_header(head.headers, now)?,
    };
    let Some(secret) = secrets.secret(&claim.access_key) else {
        return Err(Failure::new(S3ErrorCode::InvalidAccessKeyId).field("AWSAccessKeyId", claim.access_key));
    };
    let text = string_to_sign(head, &claim.date);
    let is_claimed = |text: &[u8]| is_signature(&claim.signature, secret.expose(), text);
    if is_claimed(&text)? {
        return Ok(claim.access_key);
    }
    // botocore sends `/BUCKET` and signs `/BUCKET/`, as S3 wants it (`remove_bucket_from_url_paths_from_model` in its
    // handlers.py).
    if let Some(path) = bucket_with_slash(head)
        && is_claimed(&string_to_sign(&SignedHead { path: &path, ..*head }, &claim.date))?
    {
        return Ok(claim.access_key);
    }
    Err(does_not_match(claim, &text))
}

/// The path of a bucket, if it was sent without the slash at its end.
fn bucket_with_slash(head: &SignedHead<'_>) -> Option<String> {
    let bucket = head.path.strip_prefix('/').filter(|_| head.host_bucket.is_none())?;
    (!bucket.is_empty() && !bucket.contains('/')).then(|| format!("{}/", head.path))
}

/// Takes the signature out of a request, so that `s3s` has none to look at.
///
/// # Errors
/// `InvalidURI` if the path alone is none.
pub fn remove(parts: &mut Parts) -> Result<(), Failure> {
    parts.headers.remove(AUTHORIZATION);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(path_and_query) = &uri.path_and_query {
        let path = PathAndQuery::try_from(path_and_query.path()).map_err(|_| S3ErrorCode::InvalidURI)?;
        uri.path_and_query = Some(path);
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| S3ErrorCode::InvalidURI)?;
    Ok(())
}

fn check_parameters(head: &SignedHead<'_>, form: Form) -> Result<(), Failure> {
    for (index, (name, value)) in head.query.iter().enumerate() {
        let is_signed = SIGNED_PARAMETERS.contains(&name);
        let is_own =
            form == Form::Query && (OWN_PARAMETERS.contains(&name) || repeats_signed_header(head.headers, name, value));
        // A header's signature is used by who made it, and clients list with it; what a listing shows is not signed.
        let may_be_unsigned = form == Form::Header && routes::chooses_nothing(name);
        if !(is_signed || is_own || may_be_unsigned) {
            return Err(denied("A query parameter is not covered by a signature of version 2."));
        }
        if head.query.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(denied("A query parameter is repeated."));
        }
        if is_signed && reads_as_several(value) {
            return Err(denied("The value of a query parameter reads like another parameter."));
        }
    }
    Ok(())
}

/// boto3 repeats in a URL which headers it signed; they count only as headers, except for the session token, which nobody
/// sends in both.
fn repeats_signed_header(headers: &HeaderMap, name: &str, value: &str) -> bool {
    name == TOKEN_NAME
        || is_signed_header(name) && headers.get(name).is_some_and(|header| header.as_bytes() == value.as_bytes())
}

/// Whether a signature covers this header, by its name in lower case. The date is covered in the header form.
fn is_signed_header(name: &str) -> bool {
    [CONTENT_MD5.as_str(), CONTENT_TYPE.as_str()].contains(&name) || name.starts_with(AMZ_PREFIX)
}

/// Values are signed as they are after decoding: `a=1%26acl` and `a=1&acl` have one signature.
fn reads_as_several(value: &str) -> bool {
    value.split('&').skip(1).any(|piece| {
        let name = piece.split_once('=').map_or(piece, |(name, _)| name);
        SIGNED_PARAMETERS.contains(&name)
    })
}

fn check_headers(headers: &HeaderMap) -> Result<(), Failure> {
    for name in headers.keys() {
        let is_signed = is_signed_header(name.as_str()) || *name == DATE;
        // The values of user metadata are joined with commas by the signature and by the store alike.
        let may_repeat = name.as_str().starts_with(USER_METADATA_PREFIX);
        if is_signed && !may_repeat && headers.get_all(name).iter().nth(1).is_some() {
            return Err(Failure::invalid_request(format!("The {name} header is repeated.")));
        }
    }
    // Any other payload would have to be decoded, or verified, with a key of version 4.
    match headers.get(CONTENT_SHA256) {
        Some(value) if value != UNSIGNED_PAYLOAD => Err(Failure::invalid_argument(
            CONTENT_SHA256.as_str(),
            &headers::text_of(value),
            "A signature of version 2 does not cover a payload.",
        )),
        _ => Ok(()),
    }
}

fn claim_of_query(query: &Query, now: Timestamp) -> Result<Claim, Failure> {
    let [access_key, expires, signature] = OWN_PARAMETERS.map(|name| query.non_empty(name));
    let (Some(access_key), Some(expires), Some(signature)) = (access_key, expires, signature) else {
        return Err(denied(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        ));
    };
    let invalid = || denied(format!("Invalid date (should be seconds since epoch): {expires}"));
    if !expires.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let expires_at = expires.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000)).map(Timestamp);
    let expires_at = expires_at.ok_or_else(invalid)?;
    if expires_at < now {
        return Err(denied("Request has expired")
            .field("Expires", headers::document_time(expires_at))
            .field("ServerTime", headers::document_time(now)));
    }
    Ok(Claim { access_key: access_key.to_owned(), date: expires.into(), signature: signature.to_owned() })
}

fn claim_of_header(headers: &HeaderMap, now: Timestamp) -> Result<Claim, Failure> {
    let text = headers::text(headers, &AUTHORIZATION).unwrap_or_default();
    let Some((access_key, signature)) = text.strip_prefix("AWS ").and_then(|fields| fields.split_once(':')) else {
        return Err(Failure::invalid_argument(
            "Authorization",
            &text,
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
        ));
    };
    // With `x-amz-date`, which is signed among its like, the line of the date is empty.
    let date = match headers.contains_key(headers::DATE) {
        true => Vec::new(),
        false => headers.get(DATE).map(|value| value.as_bytes().to_vec()).unwrap_or_default(),
    };
    let requested_at = request_time(headers)?;
    let skew_ms_max = i64::from(CLOCK_SKEW_SECONDS_MAX) * 1_000;
    if now.0.abs_diff(requested_at.0) > skew_ms_max.unsigned_abs() {
        return Err(Failure::with_message(
            S3ErrorCode::RequestTimeTooSkewed,
            "The difference between the request time and the current time is too large.",
        )
        .field("RequestTime", headers::document_time(requested_at))
        .field("ServerTime", headers::document_time(now))
        .field("MaxAllowedSkewMilliseconds", skew_ms_max.to_string()));
    }
    Ok(Claim { access_key: access_key.to_owned(), date, signature: signature.to_owned() })
}

/// Method, `Content-MD5`, `Content-Type` and date, a line each; the `x-amz-` headers; the resource.
fn string_to_sign(head: &SignedHead<'_>, date: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    let value = |name| head.headers.get(name).map_or(&[][..], |value| value.as_bytes());
    for line in [head.method.as_str().as_bytes(), value(CONTENT_MD5), value(CONTENT_TYPE), date] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    push_amz_headers(head, &mut text);
    if let Some(bucket) = head.host_bucket {
        text.push(b'/');
        text.extend_from_slice(bucket.as_bytes());
    }
    text.extend_from_slice(head.path.as_bytes());
    let mut separator = b'?';
    for name in SIGNED_PARAMETERS {
        let Some(value) = head.query.get(name) else { continue };
        text.push(separator);
        separator = b'&';
        text.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
        }
    }
    text
}

fn push_amz_headers(head: &SignedHead<'_>, text: &mut Vec<u8>) {
    let headers = head.headers;
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    // A URL's session token is signed as if it were a header.
    let token = head.query.get(TOKEN_NAME).filter(|_| !headers.contains_key(TOKEN_NAME));
    names.extend(token.map(|_| TOKEN_NAME));
    names.retain(|name| name.starts_with(AMZ_PREFIX));
    names.sort_unstable();
    for name in names {
        if let (Some(token), TOKEN_NAME) = (token, name) {
            text.extend_from_slice(format!("{name}:{}\n", token.trim()).as_bytes());
            continue;
        }
        text.extend_from_slice(name.as_bytes());
        let mut separator = b':';
        for value in headers.get_all(name) {
            text.push(separator);
            separator = b',';
            text.extend_from_slice(value.as_bytes().trim_ascii());
        }
        text.push(b'\n');
    }
}

/// Whether this is the text's signature, in a time that tells nothing about how much of it is right.
fn is_signature(base64_text: &str, secret: &str, text: &[u8]) -> Result<bool, Failure> {
    let Ok(signature) = STANDARD.decode(base64_text) else { return Ok(false) };
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(Failure::internal)?;
    mac.update(text);
    Ok(mac.verify_slice(&signature).is_ok())
}

fn does_not_match(claim: Claim, text: &[u8]) -> Failure {
    let bytes: Vec<String> = text.iter().map(|byte| format!("{byte:02x}")).collect();
    Failure::with_message(
        S3ErrorCode::SignatureDoesNotMatch,
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method.",
    )
    .field("AWSAccessKeyId", claim.access_key)
    .field("StringToSign", String::from_utf8_lossy(text))
    .field("SignatureProvided", claim.signature)
    .field("StringToSignBytes", bytes.join(" "))
}

fn denied(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::with_message(S3ErrorCode::AccessDenied, message)
}

#[cfg(test)]
mod tests;
