//! GetSessionToken: temporary credentials of who calls, for MFA above all.

use cairn_iam::principal::Principal;

use crate::query_api::{Call, Reply};
use crate::s3::error::Failure;

use super::session::{Session, Whose};
use super::{StsApi, denied, expiry_ms, parameters, write_credentials};

/// The longest session of a user, and of a root (API reference).
const SECONDS_MAX: u32 = 129_600;
const SECONDS_OF_ROOT_MAX: u32 = 3_600;
const SECONDS_DEFAULT: u32 = 43_200;

pub(super) async fn get_session_token(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let mfa = parameters::mfa(&call.params)?;
    let seconds = parameters::duration_seconds(&call.params, SECONDS_DEFAULT, SECONDS_MAX)?;
    let caller = sts.caller(&sts.identities.snapshot(), call)?;
    if caller.session.is_some() {
        return Err(denied("Cannot call GetSessionToken with session credentials"));
    }
    // It needs no permission: nothing can be done with it that cannot be done without.
    let (whose, seconds) = match &caller.principal {
        Principal::Root(account) => (Whose::Root { account: account.0 }, seconds.min(SECONDS_OF_ROOT_MAX)),
        Principal::User { account, id, .. } => (Whose::User { account: account.0, user_id: id.clone() }, seconds),
        _ => return Err(denied("Cannot call GetSessionToken with these credentials")),
    };
    if let Some((serial, code)) = mfa {
        sts.use_mfa_code(&caller, serial, code).await?;
    }
    let now = sts.clock.now();
    let session = Session {
        parent_access_key: call.signer.as_ref().map(|signer| signer.access_key.clone()),
        mfa_at_ms: mfa.map(|_| now.0),
        ..Session::new(whose, now.0, expiry_ms(now, seconds))
    };
    let credentials = sts.issue(&session)?;
    Ok(Reply::result(|result| write_credentials(result, &credentials)))
}
