//! AssumeRole: temporary credentials of a role, for whom its trust policy and its own policies let.

use cairn_iam::principal::Principal;
use http::StatusCode;

use crate::identities::Caller;
use crate::query_api::faults::{fault, validation};
use crate::query_api::permission;
use crate::query_api::{Call, Reply};
use crate::s3::error::Failure;

use super::role::{self, Asked};
use super::session::{Session, Whose};
use super::{StsApi, check_policy_arns, denied, parameters};

const ACTION: &str = "sts:AssumeRole";

/// The longest session of a role that another role assumes (IAM user guide, "Role chaining").
const CHAINED_SECONDS_MAX: u32 = 3_600;

pub(super) async fn assume_role(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let arn = parameters::role_arn(&call.params)?;
    let mfa = parameters::mfa(&call.params)?;
    let external_id = parameters::external_id(&call.params)?;
    let mut asked = Asked::read(&call.params)?;
    let snapshot = sts.identities.snapshot();
    let caller = sts.caller(&snapshot, call)?;
    check_caller(&caller)?;
    if let Some(session) = &caller.session {
        inherit(&mut asked, session)?;
    }
    let Some(wanted) = role::find(&snapshot, arn) else {
        // Whoever may not assume it learns nothing about it.
        return Err(permission::denied(&caller, ACTION, arn, None));
    };
    let mut keys = asked.keys(&wanted);
    if let Some(id) = external_id {
        keys.one("sts:externalid", id);
    }
    if let Some((serial, code)) = mfa {
        sts.use_mfa_code(&caller, serial, code).await?;
        keys.one("aws:multifactorauthpresent", "true");
        keys.one("aws:multifactorauthage", "0");
    }
    for action in std::iter::once(ACTION).chain(asked.further_actions()) {
        let deed = wanted.deed(action);
        let decision = permission::decide(sts.circumstances(call, &caller), deed, &keys);
        if !decision.is_allowed() {
            return Err(permission::denied(&caller, action, arn, None));
        }
    }
    asked.check_duration(&wanted)?;
    check_policy_arns(&snapshot, wanted.account, &asked.bounds.policy_arns)?;
    let (session, packed) = asked.session(sts, &wanted)?;
    let credentials = sts.issue(&session)?;
    Ok(role::reply(&wanted, &session, packed, &credentials, |_| {}))
}

fn check_caller(caller: &Caller) -> Result<(), Failure> {
    match &caller.principal {
        Principal::User { .. } | Principal::RoleSession { .. } => Ok(()),
        Principal::Root(_) => Err(denied("Roles may not be assumed by root accounts.")),
        _ => Err(denied("Roles may not be assumed by federated users.")),
    }
}

/// What a session passes on to those that are made by it: transitive tags, its source identity, and how short it is.
fn inherit(asked: &mut Asked, session: &Session) -> Result<(), Failure> {
    if matches!(session.whose, Whose::Role { .. }) && asked.seconds > CHAINED_SECONDS_MAX {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }
    for (key, value) in &session.tags {
        if !session.transitive_tag_keys.iter().any(|transitive| transitive.eq_ignore_ascii_case(key)) {
            continue;
        }
        if asked.bounds.tags.iter().any(|(asked, _)| asked.eq_ignore_ascii_case(key)) {
            return Err(fault(
                "InvalidParameterValue",
                StatusCode::BAD_REQUEST,
                "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key \
                 from the calling session.",
            ));
        }
        asked.bounds.tags.push((key.clone(), value.clone()));
        asked.bounds.transitive_tag_keys.push(key.clone());
    }
    match (&session.source_identity, &asked.source_identity) {
        (Some(fixed), Some(other)) if fixed != other => {
            Err(denied("The source identity of a session cannot be changed."))
        }
        (Some(fixed), None) => {
            asked.source_identity = Some(fixed.clone());
            Ok(())
        }
        _ => Ok(()),
    }
}
