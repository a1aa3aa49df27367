//! GetFederationToken: temporary credentials for somebody whom a user, or a root, vouches for.

use cairn_iam::principal::Principal;

use crate::query_api::permission::{self, Deed, Keys};
use crate::query_api::{Call, Reply};
use crate::s3::error::Failure;

use super::parameters::{self, Bounds};
use super::session::{Session, Whose};
use super::{StsApi, check_policy_arns, denied, expiry_ms, write_credentials};

const SECONDS_MAX: u32 = 129_600;
const SECONDS_OF_ROOT_MAX: u32 = 3_600;
const SECONDS_DEFAULT: u32 = 43_200;

/// The longest name (API reference).
const NAME_CHARS_MAX: usize = 32;

pub(super) fn get_federation_token(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let name = parameters::name(&call.params, "Name", NAME_CHARS_MAX)?;
    let bounds = Bounds::read(&call.params)?;
    let seconds = parameters::duration_seconds(&call.params, SECONDS_DEFAULT, SECONDS_MAX)?;
    let snapshot = sts.identities.snapshot();
    let caller = sts.caller(&snapshot, call)?;
    if caller.session.is_some() {
        return Err(denied("Cannot call GetFederationToken with session credentials"));
    }
    let (account, user_id, seconds) = match &caller.principal {
        Principal::Root(account) => (*account, None, seconds.min(SECONDS_OF_ROOT_MAX)),
        Principal::User { account, id, .. } => (*account, Some(id.clone()), seconds),
        _ => return Err(denied("Cannot call GetFederationToken with these credentials")),
    };
    let arn = format!("arn:aws:sts::{account}:federated-user/{name}");
    let mut keys = Keys::default();
    keys.one("sts:durationseconds", seconds.to_string());
    keys.request_tags(bounds.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let tagging = (!bounds.tags.is_empty()).then_some("sts:TagSession");
    for action in ["sts:GetFederationToken"].into_iter().chain(tagging) {
        let deed = Deed { action, resource: &arn, account, policy: None };
        permission::check(sts.circumstances(call, &caller), deed, &keys)?;
    }
    check_policy_arns(&snapshot, account, &bounds.policy_arns)?;
    let now = sts.clock.now();
    let whose = Whose::Federated { account: account.0, user_id, name: name.to_owned() };
    let session = Session {
        parent_access_key: call.signer.as_ref().map(|signer| signer.access_key.clone()),
        policy: bounds.policy,
        policy_arns: bounds.policy_arns,
        tags: bounds.tags,
        ..Session::new(whose, now.0, expiry_ms(now, seconds))
    };
    let packed = parameters::packed_per_cent(session.packed_bytes())?;
    let credentials = sts.issue(&session)?;
    Ok(Reply::result(|result| {
        write_credentials(result, &credentials);
        result.element("FederatedUser", |user| {
            user.text("FederatedUserId", &format!("{account}:{name}"));
            user.text("Arn", &arn);
        });
        result.value("PackedPolicySize", packed);
    }))
}
