//! MFA delete: codes of the requester's device, in `x-amz-mfa` (S3 user guide, "Configuring MFA delete").
//!
//! A code is looked at, and thereby used up, only where the bucket wants one.

use cairn_iam::principal::Principal;
use http::HeaderMap;

use crate::authorize::{Authorized, InBucket};

use super::Edge;
use super::error::{Failure, mfa_required};
use super::headers::{self, MFA};

/// Whether the request has a good code, as far as its bucket wants one.
///
/// # Errors
/// `AccessDenied` for one that is not good.
pub async fn is_given<Resource: InBucket>(
    edge: &Edge,
    authorized: &Authorized<Resource>,
    headers: &HeaderMap,
) -> Result<bool, Failure> {
    if !authorized.bucket().mfa_delete {
        return Ok(false);
    }
    take(edge, &authorized.caller().principal, headers).await
}

/// Uses the request's code, if it has one.
///
/// # Errors
/// `AccessDenied` for one that is not good.
pub async fn take(edge: &Edge, principal: &Principal, headers: &HeaderMap) -> Result<bool, Failure> {
    let Some(text) = headers::text(headers, &MFA) else { return Ok(false) };
    let (serial, code) = text.trim().split_once(' ').ok_or_else(mfa_required)?;
    edge.identities.use_code(principal, serial, code.trim()).await.map_err(|failure| match failure.code() {
        "InvalidAuthenticationCode" | "NoSuchEntity" => mfa_required(),
        _ => failure,
    })?;
    Ok(true)
}
