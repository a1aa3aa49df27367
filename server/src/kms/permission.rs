//! Whether a key may be used or changed: by the caller's policies, the key's policy and its grants (KMS developer guide,
//! "Determining access to AWS KMS keys").
//!
//! The key policy has to allow, itself or by leaving it to the account; a grant takes its place. In an account that the key is
//! not of, the account's own policies have to allow as well, also beside a grant.

use std::borrow::Cow;

use cairn_crypto::kms::EncryptionContext;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Context, Decision, Grant, Outcome, Part, Policies, Request, Values, evaluate};
use cairn_iam::policy::{Policy, PrincipalEntry};
use cairn_storage::clock::Timestamp;

use crate::query_api::permission::Keys;

use super::asker::Asker;
use super::error::{KmsError, KmsFault};
use super::keys::{AccountKeys, Key};
use super::record::{Constraint, GrantRecord};

/// What is done, as policies see it.
#[derive(Debug)]
pub struct Deed<'d> {
    /// `Decrypt`
    pub action: &'d str,
    /// The encryption context that comes with it.
    pub context: Option<&'d EncryptionContext>,
    /// Condition keys of this action, and their values.
    pub keys: Keys,
}

impl<'d> Deed<'d> {
    /// An action that nothing more is said of.
    pub fn of(action: &'d str) -> Self {
        Self { action, context: None, keys: Keys::default() }
    }
}

/// Where and when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Here<'h> {
    /// The server's region.
    pub region: &'h str,
    /// The time.
    pub now: Timestamp,
}

struct KeyContext<'c> {
    asker: Asker<'c>,
    here: Here<'c>,
    deed: &'c Deed<'c>,
    /// The key that it is about, and its account's others.
    key: Option<(&'c AccountKeys, &'c Key)>,
}

impl Context for KeyContext<'_> {
    fn values<'c>(&'c self, name: &str) -> Values<'c> {
        if let Some(values) = self.deed.keys.values(name) {
            return values;
        }
        if let Some(context) = self.deed.context {
            if let Some(pair) = name.strip_prefix("kms:encryptioncontext:") {
                // Names in conditions count in any case, as those of tags do. Of several that differ in nothing else all count, so
                // that none hides another from a deny.
                let found = context.iter().filter(|(name, _)| name.to_lowercase() == pair);
                return many(found.map(|(_, value)| value.into()));
            }
            if name == "kms:encryptioncontextkeys" {
                return many(context.iter().map(|(name, _)| name.into()));
            }
        }
        match self.key.map(|(all, key)| of_key(name, all, key)) {
            None | Some(Values::Absent) => self.asker.condition(name, self.here.region, self.here.now),
            Some(values) => values,
        }
    }
}

fn of_key<'c>(name: &str, all: &'c AccountKeys, key: &'c Key) -> Values<'c> {
    if let Some(tag) = name.strip_prefix("aws:resourcetag/") {
        let found = key.record.tags.iter().find(|pair| pair.name.to_lowercase() == tag);
        return found.map_or(Values::Absent, |pair| Values::One(pair.value.as_str().into()));
    }
    match name {
        "kms:keyspec" | "kms:encryptionalgorithm" => Values::One("SYMMETRIC_DEFAULT".into()),
        "kms:keyusage" => Values::One("ENCRYPT_DECRYPT".into()),
        "kms:keyorigin" => Values::One("AWS_KMS".into()),
        "kms:multiregion" => Values::One("false".into()),
        "kms:resourcealiases" => many(all.aliases_of(&key.record.id).map(|alias| alias.name.as_str().into())),
        _ => Values::Absent,
    }
}

fn many<'c>(values: impl Iterator<Item = Cow<'c, str>>) -> Values<'c> {
    let values: Vec<_> = values.collect();
    if values.is_empty() { Values::Absent } else { Values::Many(values) }
}

/// Lets an action be done to a key if the caller may, and tells by what. The decision goes into the trail.
///
/// # Errors
/// `AccessDeniedException`.
pub fn check(
    asker: Asker<'_>,
    here: Here<'_>,
    (all, key): (&AccountKeys, &Key),
    deed: &Deed<'_>,
) -> Result<Outcome, KmsError> {
    let action = format!("kms:{}", deed.action);
    let decision = decide(asker, here, (all, key), deed, None);
    let is_others = asker.caller.principal.account() != Some(key.account);
    let noted = noted(asker, &action, &key.arn, decision);
    // Whoever may not use somebody else's key is not told that it is there.
    noted.map_err(|error| if is_others { denied_elsewhere(asker, &action) } else { error })
}

/// Whether this policy, if the key had it, would leave the caller the say: itself, or by leaving it to the account.
pub fn could_with(
    asker: Asker<'_>,
    here: Here<'_>,
    (all, key): (&AccountKeys, &Key),
    deed: &Deed<'_>,
    policy: Policy,
) -> bool {
    match decide(asker, here, (all, key), deed, Some(policy)).outcome {
        Outcome::Allowed(grant) => grant != Grant::KmsGrant,
        Outcome::NotAllowed(part) => part != Part::Resource,
        Outcome::ExplicitDeny => false,
    }
}

fn decide(
    asker: Asker<'_>,
    here: Here<'_>,
    (all, key): (&AccountKeys, &Key),
    deed: &Deed<'_>,
    other_policy: Option<Policy>,
) -> Decision {
    let mut attached = (*key.policy).clone();
    if let Some(policy) = other_policy {
        attached.policy = policy;
    }
    let context = KeyContext { asker, here, deed, key: Some((all, key)) };
    let action = format!("kms:{}", deed.action);
    let request = Request {
        principal: &asker.caller.principal,
        action: &action,
        resource: &key.arn,
        resource_account: Some(key.account),
        context: &context,
    };
    let resource_grants = key.grants.values().any(|grant| grants(grant, asker, key.account, deed));
    evaluate(&request, &Policies { resource: Some(&attached), resource_grants, ..policies_of(asker) })
}

/// Lets an action be done that is about no key, such as CreateKey, or about an alias as such: the caller's own policies decide.
///
/// # Errors
/// `AccessDeniedException`.
pub fn check_without_key(
    asker: Asker<'_>,
    here: Here<'_>,
    (resource, account): (&str, AccountNumber),
    deed: &Deed<'_>,
) -> Result<(), KmsError> {
    let context = KeyContext { asker, here, deed, key: None };
    let action = format!("kms:{}", deed.action);
    let request = Request {
        principal: &asker.caller.principal,
        action: &action,
        resource,
        resource_account: Some(account),
        context: &context,
    };
    noted(asker, &action, resource, evaluate(&request, &policies_of(asker))).map(|_| ())
}

fn policies_of<'p>(asker: Asker<'p>) -> Policies<'p> {
    Policies {
        identity: &asker.caller.policies.identity,
        boundary: asker.caller.policies.boundary.as_ref(),
        session: asker.caller.session_policies.as_deref(),
        resource: None,
        resource_grants: false,
    }
}

fn noted(asker: Asker<'_>, action: &str, resource: &str, decision: Decision) -> Result<Outcome, KmsError> {
    let (because, outcome) = (decision.because(action), decision.outcome);
    asker.trail.decided(action, resource, decision);
    match because {
        None => Ok(outcome),
        Some(because) => Err(denied(asker, action, resource, &because)),
    }
}

/// `AccessDeniedException` as AWS tells it.
pub fn denied(asker: Asker<'_>, action: &str, resource: &str, because: &str) -> KmsError {
    let who = asker.caller.principal.caller_arn().unwrap_or_else(|| "anonymous".to_owned());
    let message = format!("User: {who} is not authorized to perform: {action} on resource: {resource} {because}");
    KmsError::fault(KmsFault::AccessDenied, message)
}

/// `AccessDeniedException` about another account's key, whether it is there or not.
pub fn denied_elsewhere(asker: Asker<'_>, action: &str) -> KmsError {
    let who = asker.caller.principal.caller_arn().unwrap_or_else(|| "anonymous".to_owned());
    let message = format!(
        "User: {who} is not authorized to perform: {action} on this resource because the resource does not exist in this \
         Region, a policy of the user or of the resource does not allow access, or one explicitly denies access"
    );
    KmsError::fault(KmsFault::AccessDenied, message)
}

/// Whether a grant lets the caller do it.
pub fn grants(grant: &GrantRecord, asker: Asker<'_>, owner: AccountNumber, deed: &Deed<'_>) -> bool {
    grant.operations.iter().any(|operation| operation == deed.action)
        && names(&grant.grantee, asker, owner)
        && grant.constraint.as_ref().is_none_or(|constraint| holds(constraint, deed.context))
}

/// Whether a principal of a grant is the caller: it, its role, or, in another account, the account, which then decides who of it.
pub fn names(kept: &str, asker: Asker<'_>, owner: AccountNumber) -> bool {
    let principal = &asker.caller.principal;
    let Some(entry) = PrincipalEntry::parse_aws(kept) else { return false };
    let by_account = entry.account() == principal.account() && entry.account() != Some(owner);
    entry.names(principal) || (by_account && matches!(entry, PrincipalEntry::Account(_)))
}

/// Operations that are asked without a context, such as DescribeKey, no constraint is about (KMS API reference,
/// GrantConstraints).
fn holds(constraint: &Constraint, context: Option<&EncryptionContext>) -> bool {
    let Some(context) = context else { return true };
    let pairs = constraint.pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
    let Ok(wanted) = EncryptionContext::from_pairs(pairs) else { return false };
    if constraint.equals { *context == wanted } else { context.contains(&wanted) }
}
