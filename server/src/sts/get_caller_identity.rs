//! GetCallerIdentity: who signed the call. It needs no permission, and none can be taken away (API reference).

use cairn_iam::principal::Principal;

use crate::query_api::{Call, Reply};
use crate::s3::error::Failure;

use super::StsApi;

pub(super) fn get_caller_identity(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let caller = sts.caller(&sts.identities.snapshot(), call)?;
    Ok(reply(&caller.principal))
}

fn reply(principal: &Principal) -> Reply {
    let values = [
        ("Arn", principal.caller_arn()),
        ("UserId", principal.user_id()),
        ("Account", principal.account().map(|account| account.to_string())),
    ];
    Reply::texts(values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
