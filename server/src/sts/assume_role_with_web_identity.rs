//! AssumeRoleWithWebIdentity: temporary credentials of a role, for whom an identity provider vouches that the role's account has
//! registered. The token is the proof; the call has no signature.

use cairn_iam::principal::Principal;
use http::StatusCode;

use crate::identities::Caller;
use crate::query_api::faults::fault;
use crate::query_api::permission;
use crate::query_api::{Call, Reply};
use crate::s3::error::Failure;

use super::role::{self, Asked};
use super::session::Federation;
use super::session_keys::of_claim;
use super::web_identity::token::{self, Identity, Provider};
use super::{StsApi, check_policy_arns, denied, parameters};

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

pub(super) async fn assume_role_with_web_identity(sts: &StsApi, call: &Call) -> Result<Reply, Failure> {
    let arn = parameters::role_arn(&call.params)?;
    let token = call.params.required("WebIdentityToken")?;
    let mut asked = Asked::read(&call.params)?;
    let snapshot = sts.identities.snapshot();
    let heading = token::heading(token)?;
    // Whether there is such a role is told to nobody whose token is not verified.
    let wanted = role::find(&snapshot, arn).ok_or_else(not_authorized)?;
    let directory = snapshot.directory(wanted.account).ok_or_else(not_authorized)?;
    let provider = directory.providers.get(&heading.issuer.to_lowercase()).ok_or_else(|| {
        token::invalid(format!("No OpenIDConnect provider found in your account for https://{}", heading.issuer))
    })?;
    let trusted = Provider { url: &provider.url, client_ids: &provider.client_ids };
    let identity = sts.issuers.verify(token, &heading, trusted).await?;
    let provider_arn = directory.provider_arn(provider);

    take_over(&mut asked, &identity)?;
    let mut keys = asked.keys(&wanted);
    keys.one("aws:federatedprovider", &provider_arn);
    for (key, values) in &identity.claims {
        match of_claim(key, values) {
            cairn_iam::evaluate::Values::One(value) => keys.one(key, value),
            _ => keys.many(key, values.clone()),
        }
    }
    let caller = Caller { principal: Principal::WebIdentity { provider: provider_arn.clone() }, ..Caller::anonymous() };
    for action in std::iter::once(ACTION).chain(asked.further_actions()) {
        let decision = permission::decide(sts.circumstances(call, &caller), wanted.deed(action), &keys);
        if !decision.is_allowed() {
            return Err(not_authorized());
        }
    }
    asked.check_duration(&wanted)?;
    check_policy_arns(&snapshot, wanted.account, &asked.bounds.policy_arns)?;
    let (mut session, packed) = asked.session(sts, &wanted)?;
    let Identity { subject, audience, claims, .. } = identity;
    session.federation = Some(Federation { provider: provider_arn.clone(), claims });
    let credentials = sts.issue(&session)?;
    Ok(role::reply(&wanted, &session, packed, &credentials, |result| {
        result.text("SubjectFromWebIdentityToken", &subject);
        result.text("Provider", &provider_arn);
        result.text("Audience", &audience);
    }))
}

/// Tags and source identity come from the token, which the caller cannot change.
fn take_over(asked: &mut Asked, identity: &Identity) -> Result<(), Failure> {
    if !asked.bounds.tags.is_empty() || asked.source_identity.is_some() {
        return Err(fault(
            "InvalidParameterValue",
            StatusCode::BAD_REQUEST,
            "Session tags and the source identity are taken from the ID Token.",
        ));
    }
    let bounds = std::mem::take(&mut asked.bounds);
    asked.bounds = bounds.with_tags(identity.tags.clone(), identity.transitive_tag_keys.clone())?;
    asked.source_identity = identity.source_identity.clone();
    Ok(())
}

fn not_authorized() -> Failure {
    denied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
}
