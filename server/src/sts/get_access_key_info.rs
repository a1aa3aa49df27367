//! GetAccessKeyInfo: the account of an access key.
//!
//! Told only of keys that the server knows, and of temporary ones not at all: a key says nothing about its account here, as it
//! does at AWS.

use http::StatusCode;

use crate::query_api::permission::{self, Deed, Keys};
use crate::query_api::{Call, Reply, faults};
use crate::s3::error::Failure;

use super::StsApi;

pub(super) fn get_access_key_info(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let access_key = call.params.required("AccessKeyId")?;
    let snapshot = sts.identities.snapshot();
    let caller = sts.caller(&snapshot, call)?;
    let account = caller.principal.account().ok_or_else(faults::invalid_client_token)?;
    let deed = Deed { action: "sts:GetAccessKeyInfo", resource: "*", account, policy: None };
    permission::check(sts.circumstances(call, &caller), deed, &Keys::default())?;
    let key = snapshot.any_key(access_key).ok_or_else(|| {
        faults::fault("ValidationError", StatusCode::BAD_REQUEST, "The access key is none that this server knows.")
    })?;
    let number = key.account.number().to_string();
    Ok(Reply::result(|result| result.text("Account", &number)))
}
