//! One question: may the caller do this to that? What is known answers it at once; what depends on the version that the
//! operation will find, or on the document in its body, is asked again then.

use std::sync::Arc;

use cairn_iam::acl::Permission;
use cairn_iam::evaluate::{self, Decision, Policies};
use cairn_storage::id::AccountId;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::VersionSelector;

use crate::audit::Trail;
use crate::gate::routes::Operation;
use crate::s3::acl::account_number;

use super::Action;
use super::Caller;
use super::access::{Access, OfObject};
use super::context::{Facts, InDocument, OwnedFacts, RequestContext};
use super::rule::{self, Rule};
use super::table;

/// How the names of the condition keys begin that depend on the version found.
const EXISTING_TAG: &str = "s3:existingobjecttag/";

/// How those begin that can depend on the document in the body.
const IN_DOCUMENT: [&str; 2] = ["s3:requestobjecttag", "s3:object-lock-"];

/// May the caller do this to that?
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    pub(super) facts: Facts<'q>,
    pub(super) caller: &'q Caller,
    pub(super) access: &'q Access,
    pub(super) action: Action,
    /// The ARN of what it is done to.
    pub(super) resource: &'q str,
    /// The version that is named, where that is not the query's `versionId`.
    pub(super) version: Option<VersionSelector>,
    /// The caller initiated the multipart upload that this is about.
    pub(super) initiated: bool,
}

/// A [`Question`] that can outlive the request.
#[derive(Clone, Debug)]
pub(super) struct OwnedQuestion {
    facts: Arc<OwnedFacts>,
    caller: Arc<Caller>,
    access: Arc<Access>,
    action: Action,
    resource: String,
    version: Option<VersionSelector>,
    initiated: bool,
}

/// What is known besides the request's head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'k> {
    /// The version that was found.
    pub(super) object: Option<&'k ObjectVersion>,
    /// What the document in the body asks for.
    pub(super) in_document: Option<&'k InDocument>,
}

impl Question<'_> {
    /// Whether it is about the version that the operation will find, which asks again then. All else is decided at once.
    fn is_about_version(&self) -> bool {
        self.facts.operation.is_some_and(|operation| table::is_about_version(operation, self.action))
    }

    /// Whether the answer depends on the version that the operation will find.
    pub(super) fn depends_on_version(&self) -> bool {
        let by_acl = self.access.acls_count && matches!(rule::of(self.action), Rule::Object(_));
        self.is_about_version() && (by_acl || self.depends_on_tags())
    }

    /// Whether it depends on the tags of that version.
    pub(super) fn depends_on_tags(&self) -> bool {
        self.is_about_version() && self.asks_for(EXISTING_TAG)
    }

    /// Whether the answer depends on what the operation's body asks for. What a new object is given stands in headers.
    pub(super) fn depends_on_document(&self) -> bool {
        let is_in_document = matches!(
            self.facts.operation,
            Some(Operation::PutObjectTagging | Operation::PutObjectRetention | Operation::PutObjectLegalHold)
        );
        is_in_document && IN_DOCUMENT.iter().any(|prefix| self.asks_for(prefix))
    }

    fn asks_for(&self, prefix: &str) -> bool {
        self.caller.asks_for(prefix) || self.access.policy.as_ref().is_some_and(|policy| policy.policy.asks_for(prefix))
    }

    /// The answer by what is known.
    pub(super) fn answer(&self, known: Known<'_>) -> Decision {
        let of_object = match (rule::of(self.action), known.object) {
            (Rule::Object(needed), Some(object)) => self.access.of_object(object, self.caller, needed),
            // A new object belongs to who writes it where ACLs count, and has no ACL yet that could let anybody.
            (Rule::Object(_), None) if !self.is_about_version() => OfObject { owner: self.writer(), grants: false },
            // As far as can be told without the object: the bucket's owner's, and with an ACL that lets the caller.
            (Rule::Object(_), None) => OfObject { owner: self.access.owner, grants: self.access.acls_count },
            (Rule::Bucket(needed), _) => self.of_bucket(needed),
            (Rule::BucketOwner, _) => OfObject { owner: self.access.owner, grants: false },
            (Rule::Initiator, _) => OfObject { owner: self.access.owner, grants: self.initiated },
        };
        let context = RequestContext {
            facts: self.facts,
            caller: self.caller,
            version: self.version,
            existing_tags: known.object.map(|object| object.settings.tags.as_slice()),
            in_document: known.in_document,
            passed_to: None,
        };
        self.evaluate(of_object, &context)
    }

    fn writer(&self) -> AccountId {
        let account = self.caller.account.as_ref().filter(|_| self.access.acls_count);
        account.map_or(self.access.owner, |account| account.id)
    }

    fn of_bucket(&self, needed: Permission) -> OfObject {
        OfObject { owner: self.access.owner, grants: self.access.acl_grants(self.caller, needed) }
    }

    /// The bucket's policy speaks for its owner: about what is somebody else's it can deny, and not allow (S3 user guide,
    /// "How Amazon S3 authorizes a request for an object operation").
    fn evaluate(&self, of_object: OfObject, context: &RequestContext<'_>) -> Decision {
        let request = evaluate::Request {
            principal: &self.caller.principal,
            action: self.action.name(),
            resource: self.resource,
            resource_account: Some(account_number(of_object.owner)),
            context,
        };
        let policies = Policies {
            identity: &self.caller.policies.identity,
            boundary: self.caller.policies.boundary.as_ref(),
            session: self.caller.session_policies.as_deref(),
            resource: self.access.policy.as_deref(),
            resource_grants: of_object.grants,
        };
        let decision = evaluate::evaluate(&request, &policies);
        let policy_grants = of_object.owner == self.access.owner && self.access.policy_grants(self.caller);
        if policy_grants || policies.resource.is_none() || !decision.is_allowed() {
            return decision;
        }
        evaluate::evaluate(&request, &Policies { resource: None, ..policies })
    }
}

/// On what is not in a bucket: identity policies decide alone.
pub(super) fn without_resource_policy(
    facts: Facts<'_>,
    caller: &Caller,
    (action, resource): (&str, &str),
    resource_owner: Option<AccountId>,
) -> Decision {
    let context =
        RequestContext { facts, caller, version: None, existing_tags: None, in_document: None, passed_to: None };
    alone(&context, (action, resource), resource_owner)
}

/// May the caller hand a role to a service?
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing<'p> {
    /// The role's ARN.
    pub(super) role: &'p str,
    /// The action that it takes.
    pub(super) action: &'p str,
    /// The service.
    pub(super) service: &'static str,
}

impl Passing<'_> {
    pub(super) fn decide(&self, facts: Facts<'_>, caller: &Caller, owner: AccountId) -> Decision {
        let passed_to = Some(self.service);
        let context =
            RequestContext { facts, caller, version: None, existing_tags: None, in_document: None, passed_to };
        alone(&context, (self.action, self.role), Some(owner))
    }
}

fn alone(
    context: &RequestContext<'_>,
    (action, resource): (&str, &str),
    resource_owner: Option<AccountId>,
) -> Decision {
    let caller = context.caller;
    let request = evaluate::Request {
        principal: &caller.principal,
        action,
        resource,
        resource_account: resource_owner.map(account_number),
        context,
    };
    let policies = Policies {
        identity: &caller.policies.identity,
        boundary: caller.policies.boundary.as_ref(),
        session: caller.session_policies.as_deref(),
        resource: None,
        resource_grants: false,
    };
    evaluate::evaluate(&request, &policies)
}

impl OwnedQuestion {
    /// Whether it is allowed by what is known now. The answer goes into the trail.
    pub(super) fn permits(&self, trail: &Trail, known: Known<'_>) -> bool {
        let decision = self.borrow().answer(known);
        let is_allowed = decision.is_allowed();
        trail.decided(self.action.name(), &self.resource, decision);
        is_allowed
    }

    /// The question as it is, with everything that it is about.
    pub(super) fn new(
        question: &Question<'_>,
        facts: Arc<OwnedFacts>,
        caller: Arc<Caller>,
        access: Arc<Access>,
    ) -> Self {
        Self {
            facts,
            caller,
            access,
            action: question.action,
            resource: question.resource.to_owned(),
            version: question.version,
            initiated: question.initiated,
        }
    }

    pub(super) fn borrow(&self) -> Question<'_> {
        Question {
            facts: self.facts.borrow(),
            caller: &self.caller,
            access: &self.access,
            action: self.action,
            resource: &self.resource,
            version: self.version,
            initiated: self.initiated,
        }
    }
}

#[cfg(test)]
mod tests;
