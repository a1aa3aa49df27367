//! Who signed a form: the signature, of version 4 or 2, of its policy as the form carries it (S3 API reference, "Authenticating
//! requests in browser-based uploads using POST").
//!
//! The rules of other signatures hold for these: one signature, of this region and service; a temporary access key with its
//! token, which a condition must cover as any other field; version 2 only where it is accepted.

use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::clock::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use s3s::S3ErrorCode;
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::auth::{
    ALGORITHM, CLOCK_SKEW_SECONDS_MAX, PRESIGNED_SECONDS_MAX, Scope, ScopeError, Secrets, Signer, accept_version_2,
    check_scope, parse_signature_date, session_tokens, v2,
};
use crate::authorize::{Carrier, Signature};
use crate::config::SignatureV2;
use crate::s3::error::Failure;

use super::{Fields, denied};

const TOKEN: &str = "x-amz-security-token";

/// The fields that a signature of version 4 has.
const OF_VERSION_4: [&str; 4] = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];

/// The fields that a signature of version 2 has.
const OF_VERSION_2: [&str; 2] = ["awsaccesskeyid", "signature"];

/// Whose form it is, if anybody's, and how it is signed. A form without any field of a signature is nobody's, and its policy,
/// if it has one, binds nobody.
///
/// # Errors
/// `InvalidArgument` for a signature that is not whole, or of which there are two; `SignatureDoesNotMatch`,
/// `InvalidAccessKeyId`, `InvalidToken`, `ExpiredToken`, and `AccessDenied` for a signature that is too old.
pub fn verify(
    fields: &Fields,
    secrets: &Secrets,
    scope: Scope<'_>,
    accepted: SignatureV2,
    now: Timestamp,
) -> Result<Option<(Signer, Signature)>, Failure> {
    let has_any = |names: &[&str]| names.iter().any(|name| fields.get(name).is_some());
    let (is_version_4, is_version_2) = (has_any(&OF_VERSION_4), has_any(&OF_VERSION_2));
    if is_version_4 && is_version_2 {
        let message = "Only one auth mechanism allowed; the form has fields of signature versions 2 and 4.";
        return Err(Failure::with_message(S3ErrorCode::InvalidArgument, message));
    }
    if !is_version_4 && !is_version_2 {
        return match fields.get(TOKEN) {
            None => Ok(None),
            // A token alone says that its holder meant to sign.
            Some(_) => Err(S3ErrorCode::InvalidToken.into()),
        };
    }
    let (access_key, signature) = if is_version_4 {
        of_version_4(fields, secrets, scope, now)?
    } else {
        of_version_2(fields, secrets, accepted)?
    };
    let session = session_tokens::session(&secrets.sessions, access_key, fields.get(TOKEN), now)?;
    Ok(Some((Signer { access_key: access_key.to_owned(), session }, signature)))
}

fn of_version_4<'f>(
    fields: &'f Fields,
    secrets: &Secrets,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<(&'f str, Signature), Failure> {
    let algorithm = fields.required("X-Amz-Algorithm")?;
    let credential = fields.required("X-Amz-Credential")?;
    let date_text = fields.required("X-Amz-Date")?;
    let signature = fields.required("X-Amz-Signature")?;
    let policy = fields.required("Policy")?;
    if algorithm != ALGORITHM {
        let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
        return Err(Failure::invalid_argument("X-Amz-Algorithm", algorithm, message));
    }
    let access_key = check_scope(credential, scope).map_err(|fault| {
        let is_of_region = matches!(fault, ScopeError::Region);
        let failure = Failure::invalid_argument("X-Amz-Credential", credential, fault.text(scope.region));
        if is_of_region { failure.field("Region", scope.region) } else { failure }
    })?;
    let date = parse_signature_date(date_text).filter(|date| date.0 >= 0);
    let Some(date) = date else {
        let message = "X-Amz-Date must be formated via ISO8601 Long format";
        return Err(Failure::invalid_argument("X-Amz-Date", date_text, message));
    };
    if credential.split('/').nth(1) != date_text.get(..8) {
        let message = "X-Amz-Date must be of the day that X-Amz-Credential names";
        return Err(Failure::invalid_argument("X-Amz-Date", date_text, message));
    }
    check_age(date, now)?;
    let secret = secret(secrets, access_key)?;
    let day = UNIX_EPOCH + Duration::from_millis(date.0.unsigned_abs());
    // The regions that are as good as the server's own are none of S3's, so the scope's is the one that was checked.
    let key = generate_signing_key(secret.expose(), day, scope.region, scope.service);
    let expected = calculate_signature(key, policy.as_bytes());
    if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
        return Err(does_not_match(access_key, policy, signature));
    }
    Ok((access_key, Signature { carrier: Carrier::Form, is_version_2: false, signed_at: Some(date) }))
}

/// A signing key is good for seven days (API reference, "Authenticating requests: using query parameters"); one of tomorrow for
/// none.
fn check_age(signed_at: Timestamp, now: Timestamp) -> Result<(), Failure> {
    let seconds = now.0.saturating_sub(signed_at.0).div_euclid(1_000);
    if seconds < -i64::from(CLOCK_SKEW_SECONDS_MAX) {
        return Err(denied("Request is not yet valid"));
    }
    if seconds > i64::from(PRESIGNED_SECONDS_MAX) {
        return Err(denied("Request has expired"));
    }
    Ok(())
}

fn of_version_2<'f>(
    fields: &'f Fields,
    secrets: &Secrets,
    accepted: SignatureV2,
) -> Result<(&'f str, Signature), Failure> {
    // A form is signed for others to send, as a URL is.
    accept_version_2(v2::Form::Query, accepted)?;
    let access_key = fields.required("AWSAccessKeyId")?;
    let signature = fields.required("Signature")?;
    let policy = fields.required("Policy")?;
    let secret = secret(secrets, access_key)?;
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).map_err(Failure::internal)?;
    mac.update(policy.as_bytes());
    let matches = BASE64.decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok());
    if !matches {
        return Err(does_not_match(access_key, policy, signature));
    }
    Ok((access_key, Signature { carrier: Carrier::Form, is_version_2: true, signed_at: None }))
}

fn secret(secrets: &Secrets, access_key: &str) -> Result<s3s::auth::SecretKey, Failure> {
    secrets
        .secret(access_key)
        .ok_or_else(|| Failure::new(S3ErrorCode::InvalidAccessKeyId).field("AWSAccessKeyId", access_key))
}

fn does_not_match(access_key: &str, policy: &str, signature: &str) -> Failure {
    let bytes: Vec<String> = policy.bytes().map(|byte| format!("{byte:02x}")).collect();
    Failure::with_message(
        S3ErrorCode::SignatureDoesNotMatch,
        "The request signature we calculated does not match the signature you provided. Check your key and signing \
         method.",
    )
    .field("AWSAccessKeyId", access_key)
    .field("StringToSign", policy)
    .field("SignatureProvided", signature)
    .field("StringToSignBytes", bytes.join(" "))
}

#[cfg(test)]
mod tests;
