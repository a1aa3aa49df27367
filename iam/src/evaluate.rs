//! Whether a request is allowed, and what decided it (IAM user guide, "Policy evaluation logic" and "Cross-account policy
//! evaluation logic").
//!
//! An explicit deny in any policy wins. Then, within the account of who makes the request:
//!
//! | who | allowed by |
//! |---|---|
//! | root | being it |
//! | anybody | the resource's policy naming him, his session, or everybody: no boundary and no session policy bounds that |
//! | a session | the resource's policy naming its role or its user, within boundary and session policies |
//! | anybody | an identity policy, within boundary and session policies |
//!
//! That the resource's policy names the account allows nothing by itself, since the account decides by identity policies. A
//! role's trust policy and a KMS key's have to allow in any case; of a key, a grant is as good. In the account of somebody else
//! both have to allow: the resource's policy, and an identity policy within its bounds. Who has no account is allowed what the
//! resource's policy allows.

mod decision;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use decision::{Attached, Decider, Decision, Grant, Outcome, Part, Source, SourceKind};

use crate::acl::AccountNumber;
use crate::policy::{Effect, Facts, Named, PolicyKind};
use crate::principal::Principal;

/// Values of condition keys, asked only for keys that a statement names.
///
/// What follows from the principal and the resource's account need not be answered: `aws:PrincipalArn`,
/// `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:PrincipalIsAWSService`, `aws:PrincipalServiceName` and
/// `aws:PrincipalServiceNamesList`, `aws:userid`, `aws:username`, `aws:ResourceAccount` and `s3:ResourceAccount`.
pub trait Context {
    /// The values of a key, which is in lower case.
    fn values<'c>(&'c self, key: &str) -> Values<'c>;
}

/// The values of a condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values<'c> {
    /// The request has no such key.
    Absent,
    /// Its value.
    One(Cow<'c, str>),
    /// Its values, if it is a key that may have several. None of them is the same as `Absent`.
    Many(Vec<Cow<'c, str>>),
}

/// What somebody wants to do.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// Who.
    pub principal: &'r Principal,
    /// What, for example `s3:GetObject`.
    pub action: &'r str,
    /// To what: an ARN.
    pub resource: &'r str,
    /// Whose that is. None: nobody's yet, or it has no owner, so the principal's own account decides.
    pub resource_account: Option<AccountNumber>,
    /// Under which circumstances.
    pub context: &'r dyn Context,
}

impl Request<'_> {
    /// Whether a condition key, in lower case, has a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        match Facts::new(self).values(key) {
            Values::Absent => false,
            Values::One(_) => true,
            Values::Many(values) => !values.is_empty(),
        }
    }
}

/// The policies that decide.
#[derive(Clone, Copy, Default)]
pub struct Policies<'p> {
    /// The principal's own, its groups', its role's.
    pub identity: &'p [Attached],
    /// What the identity policies can grant at most. None: it is not bounded.
    pub boundary: Option<&'p Attached>,
    /// What a session can be granted at most: what one of these allows. None: it is not bounded.
    pub session: Option<&'p [Attached]>,
    /// The bucket's, the key's, or a role's trust policy.
    pub resource: Option<&'p Attached>,
    /// An ACL lets the principal do it as somebody of another account, or as anybody. (A grant to the principal's own account
    /// is none: that account decides by identity policies.) Of a KMS key: one of its grants lets the principal do it.
    pub resource_grants: bool,
}

/// Whether it is allowed, and the statements, or the absence, that decided.
#[must_use]
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let facts = Facts::new(request);
    let mut denies = Vec::new();
    let has_boundary = policies.boundary.is_some();
    let mut read = |attached: &[Attached]| Allowing::read(attached, &facts, has_boundary, &mut denies);
    let identity = read(policies.identity);
    let boundary = policies.boundary.map(std::slice::from_ref).map(&mut read);
    let session = policies.session.map(&mut read);
    let resource = read(policies.resource.map_or(&[], std::slice::from_ref));
    if !denies.is_empty() {
        return Decision { outcome: Outcome::ExplicitDeny, deciders: denies };
    }
    Sides { request, policies, identity, boundary, session, resource }.decide()
}

/// What policies of one kind allow.
#[derive(Default)]
struct Allowing {
    /// The statements that allow it.
    deciders: Vec<Decider>,
    /// The most that one of them means the principal as.
    named: Option<Named>,
}

impl Allowing {
    fn read(attached: &[Attached], facts: &Facts<'_>, has_boundary: bool, denies: &mut Vec<Decider>) -> Self {
        let mut allowing = Self::default();
        for one in attached {
            for (statement, effect, named) in one.policy.covering(facts, has_boundary) {
                match effect {
                    Effect::Deny => denies.push(Decider::new(one, statement)),
                    Effect::Allow => {
                        allowing.deciders.push(Decider::new(one, statement));
                        allowing.named = allowing.named.max(Some(named));
                    }
                }
            }
        }
        allowing
    }

    fn allows(&self) -> bool {
        self.named.is_some()
    }
}

struct Sides<'r> {
    request: &'r Request<'r>,
    policies: &'r Policies<'r>,
    identity: Allowing,
    boundary: Option<Allowing>,
    session: Option<Allowing>,
    resource: Allowing,
}

impl Sides<'_> {
    fn decide(self) -> Decision {
        match (self.request.principal.account(), self.request.resource_account) {
            (None, _) => self.decide_by_resource(),
            (Some(account), Some(owner)) if account != owner => self.decide_across_accounts(),
            (Some(_), _) => self.decide_within_account(),
        }
    }

    fn decide_by_resource(self) -> Decision {
        if self.resource.allows() {
            Decision::allowed(Grant::Policies, self.resource.deciders)
        } else if self.policies.resource_grants {
            Decision::allowed(Grant::Acl, Vec::new())
        } else {
            Decision::not_allowed(Part::Resource)
        }
    }

    fn decide_across_accounts(mut self) -> Decision {
        if !self.resource.allows() && !self.policies.resource_grants {
            return Decision::not_allowed(Part::Resource);
        }
        if let Err(part) = self.identity_allows() {
            return Decision::not_allowed(part);
        }
        let grant = if self.resource.allows() { Grant::Policies } else { self.grant() };
        let mut deciders = self.take_identity_deciders();
        deciders.append(&mut self.resource.deciders);
        Decision::allowed(grant, deciders)
    }

    fn decide_within_account(mut self) -> Decision {
        if self.resource.named == Some(Named::Directly) {
            return Decision::allowed(Grant::Policies, self.resource.deciders);
        }
        let must_allow = self.kind_of_resource().is_some_and(PolicyKind::must_allow);
        if must_allow && !self.resource.allows() && !self.policies.resource_grants {
            return Decision::not_allowed(Part::Resource);
        }
        if matches!(self.request.principal, Principal::Root(_)) {
            return Decision::allowed(Grant::Root, Vec::new());
        }
        if self.policies.resource_grants {
            return self.granted();
        }
        let by_identity = self.resource.named == Some(Named::ByIdentity);
        if let Err(part) = if by_identity { self.is_bounded() } else { self.identity_allows() } {
            return Decision::not_allowed(part);
        }
        let mut deciders = self.take_identity_deciders();
        if by_identity || must_allow {
            deciders.append(&mut self.resource.deciders);
        }
        Decision::allowed(Grant::Policies, deciders)
    }

    fn kind_of_resource(&self) -> Option<PolicyKind> {
        self.policies.resource.map(|resource| resource.policy.kind())
    }

    /// What it is if something beside policies grants it.
    fn grant(&self) -> Grant {
        if self.kind_of_resource() == Some(PolicyKind::Key) { Grant::KmsGrant } else { Grant::Acl }
    }

    /// What a grant of a KMS key lets a session do, bounds bound; it is the caller's own account that set them.
    fn granted(&self) -> Decision {
        match (self.grant(), self.is_bounded()) {
            (Grant::KmsGrant, Err(part)) => Decision::not_allowed(part),
            (grant, _) => Decision::allowed(grant, Vec::new()),
        }
    }

    /// Whether the principal's account allows it, or the first part that does not.
    fn identity_allows(&self) -> Result<(), Part> {
        if matches!(self.request.principal, Principal::Root(_)) {
            return Ok(());
        }
        if !self.identity.allows() {
            return Err(Part::Identity);
        }
        self.is_bounded()
    }

    fn is_bounded(&self) -> Result<(), Part> {
        let allows = |bound: &Option<Allowing>| bound.as_ref().is_none_or(Allowing::allows);
        match () {
            () if !allows(&self.boundary) => Err(Part::Boundary),
            () if !allows(&self.session) => Err(Part::Session),
            () => Ok(()),
        }
    }

    fn take_identity_deciders(&mut self) -> Vec<Decider> {
        let mut deciders = std::mem::take(&mut self.identity.deciders);
        for bound in [&mut self.boundary, &mut self.session].into_iter().flatten() {
            deciders.append(&mut bound.deciders);
        }
        deciders
    }
}
