//! DecodeAuthorizationMessage: what is in the encoded message of a refusal.
//!
//! S3, IAM and STS tell the reason of a refusal in plain words, at AWS as here (IAM user guide, "Troubleshoot access denied error
//! messages"); only other services encode it. So there is no message that this server could have encoded, and every one is invalid.

use http::StatusCode;

use crate::query_api::permission::{self, Deed, Keys};
use crate::query_api::{Call, Reply, faults};
use crate::s3::error::Failure;

use super::StsApi;

pub(super) fn decode_authorization_message(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    call.params.required("EncodedMessage")?;
    let caller = sts.caller(&sts.identities.snapshot(), call)?;
    let account = caller.principal.account().ok_or_else(faults::invalid_client_token)?;
    let deed = Deed { action: "sts:DecodeAuthorizationMessage", resource: "*", account, policy: None };
    permission::check(sts.circumstances(call, &caller), deed, &Keys::default())?;
    Err(faults::fault(
        "InvalidAuthorizationMessageException",
        StatusCode::BAD_REQUEST,
        "The message was not encoded by this server.",
    ))
}
