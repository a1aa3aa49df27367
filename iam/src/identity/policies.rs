//! What policies a user or a role has, put together from its own, its groups', managed ones and its boundary.

use std::sync::Arc;

use crate::evaluate::{Attached, Source, SourceKind};
use crate::managed::{ARN_PREFIX, ManagedPolicy};
use crate::policy::{Policy, PolicyKind};

use super::{Directory, Grants, Group, Role, User};

/// What a document that cannot be read counts as: it may have denied anything.
const DENIES_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// The policies of a user, of a role's sessions, or of nobody in particular.
#[derive(Debug, Default)]
pub struct PrincipalPolicies {
    /// What grants and denies: its own policies, and its groups'.
    pub identity: Vec<Attached>,
    /// What these can grant at most.
    pub boundary: Option<Attached>,
}

pub(super) fn of_user(directory: &Directory, user: &User) -> PrincipalPolicies {
    let arn = directory.user_arn(user);
    let mut identity = attached(directory, SourceKind::User, &arn, &user.grants);
    for group in directory.groups_of(user) {
        identity
            .extend(directory.policies_of_group(&group.name).into_iter().flat_map(|policies| policies.iter().cloned()));
    }
    PrincipalPolicies { identity, boundary: boundary(directory, &arn, user.boundary.as_deref()) }
}

pub(super) fn of_role(directory: &Directory, role: &Role) -> PrincipalPolicies {
    let arn = directory.role_arn(role);
    PrincipalPolicies {
        identity: attached(directory, SourceKind::Role, &arn, &role.grants),
        boundary: boundary(directory, &arn, role.boundary.as_deref()),
    }
}

pub(super) fn of_group(directory: &Directory, group: &Group) -> Vec<Attached> {
    attached(directory, SourceKind::Group, &directory.group_arn(group), &group.grants)
}

fn attached(directory: &Directory, inline: SourceKind, holder: &str, grants: &Grants) -> Vec<Attached> {
    let holder: Arc<str> = holder.into();
    let source = |kind: SourceKind, name: &str| Source { kind, holder: Arc::clone(&holder), name: name.into() };
    let inline =
        grants.inline.iter().map(|(name, document)| Attached { source: source(inline, name), policy: parse(document) });
    let managed = grants.attached.iter().map(|arn| managed(directory, &holder, arn));
    inline.chain(managed).collect()
}

pub(super) fn managed(directory: &Directory, holder: &str, arn: &str) -> Attached {
    let kind = if arn.starts_with(ARN_PREFIX) { SourceKind::AwsManaged } else { SourceKind::UserManaged };
    let source = Source { kind, holder: holder.into(), name: arn.into() };
    Attached { source, policy: managed_policy(directory, arn) }
}

fn boundary(directory: &Directory, holder: &str, arn: Option<&str>) -> Option<Attached> {
    let arn = arn?;
    let source = Source { kind: SourceKind::Boundary, holder: holder.into(), name: arn.into() };
    Some(Attached { source, policy: managed_policy(directory, arn) })
}

/// The version in force of a managed policy, AWS's or the account's own.
fn managed_policy(directory: &Directory, arn: &str) -> Policy {
    find_managed_policy(directory, arn).unwrap_or_else(denies_all)
}

/// As [`managed_policy`]. None: there is none.
pub(super) fn find_managed_policy(directory: &Directory, arn: &str) -> Option<Policy> {
    if let Some(managed) = ManagedPolicy::by_arn(arn) {
        return Some(managed.policy());
    }
    let row = directory.policy_row(arn).ok()?;
    let parsed = directory
        .policies
        .derived(&row, |policy| policy.default_document().map_or_else(denies_all, |version| parse(&version.document)));
    parsed.map(|policy| Policy::clone(policy))
}

/// Documents are validated before they are kept, so only one of a newer version, or of a damaged row, is none.
fn parse(document: &str) -> Policy {
    Policy::parse(document, PolicyKind::Identity).unwrap_or_else(|_| denies_all())
}

fn denies_all() -> Policy {
    Policy::parse(DENIES_ALL, PolicyKind::Identity).expect("the document is a policy")
}
