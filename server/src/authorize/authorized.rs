//! Permission to act on a resource, by the kind of resource.

use std::sync::Arc;

use cairn_iam::evaluate::{Attached, Decision};
use cairn_iam::policy::Policy;
use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::PublicAccessBlock;
use cairn_storage::index::family::upload::CreatedBy;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{Bucket, BucketName, Governance, Permit, VersionSelector};
use s3s::S3ErrorCode;

use crate::audit::Trail;
use crate::identities::Account;
use crate::s3::copy_source::NamedSource;
use crate::s3::error::Failure;

use super::access::Access;
use super::context::{InDocument, OwnedFacts};
use super::question::{Known, OwnedQuestion, Passing, Question};
use super::{Action, Caller, arn_of_bucket, arn_of_object, asks_for_bypass, policies, refusal, refusal_of};

/// Permission to act on one resource.
#[derive(Debug)]
pub struct Authorized<Resource> {
    pub(super) caller: Arc<Caller>,
    pub(super) trail: Trail,
    pub(super) resource: Resource,
}

/// The server itself.
#[derive(Debug)]
pub struct OnServer {
    pub(super) account: Arc<Account>,
}

/// The account: its list of buckets, and what is set for it as a whole.
#[derive(Debug)]
pub struct OnService {
    pub(super) account: Arc<Account>,
}

/// A bucket that is to be created.
#[derive(Debug)]
pub struct OnNewBucket {
    pub(super) account: Arc<Account>,
    pub(super) name: BucketName,
    pub(super) block: PublicAccessBlock,
}

/// A bucket.
#[derive(Debug)]
pub struct OnBucket {
    pub(super) bucket: Bucket,
    pub(super) access: Arc<Access>,
    /// For an operation that asks further questions when it has read its document.
    pub(super) facts: Option<OwnedFacts>,
}

/// A key in a bucket.
#[derive(Debug)]
pub struct OnObject {
    pub(super) bucket: Bucket,
    pub(super) key: ObjectKey,
    pub(super) found: Found,
    pub(super) block: PublicAccessBlock,
    pub(super) governance: Governance,
    pub(super) may_lift_hold: bool,
}

/// A key in a bucket, and what is copied to it.
#[derive(Debug)]
pub struct OnCopy {
    pub(super) target: OnObject,
    pub(super) source_bucket: Bucket,
    pub(super) source: NamedSource,
    pub(super) found: Found,
}

/// What is decided about the version that an operation will find.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) permit: Permit,
    /// What is not decided before the document in the body is known.
    pub(super) in_document: Vec<OwnedQuestion>,
    /// Why the caller may not list the bucket, if it may not.
    pub(super) unlisted: Option<Unlisted>,
    /// Whose the bucket is.
    pub(super) owner: AccountId,
}

/// The caller may not list the bucket.
#[derive(Debug)]
pub(super) struct Unlisted {
    pub(super) decision: Decision,
    pub(super) resource: String,
}

impl<Resource> Authorized<Resource> {
    /// Who acts.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Where what is decided about the request is noted.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// A version was found that the caller may not use.
    fn not_permitted(&self, found: &Found) -> Failure {
        let refused = self.trail.newest_refusal().and_then(|refused| {
            let is_own = self.caller.is_of(found.owner);
            refusal_of(&refused.decision, &self.caller, &refused.action, &refused.resource, is_own)
        });
        refused.unwrap_or_else(|| S3ErrorCode::AccessDenied.into())
    }

    /// As S3 has it, who may not list the bucket does not learn what is not in it (API reference, GetObject: "If you don't
    /// have the `s3:ListBucket` permission, Amazon S3 returns an HTTP status code 403 Access Denied error").
    fn failure_of(&self, found: &Found, error: StorageError) -> Failure {
        let is_absence = matches!(
            error,
            StorageError::NoSuchKey { .. } | StorageError::NoSuchVersion | StorageError::IsDeleteMarker(_)
        );
        let Some(Unlisted { decision, resource }) = found.unlisted.as_ref().filter(|_| is_absence) else {
            return match error {
                StorageError::NotPermitted => self.not_permitted(found),
                error => error.into(),
            };
        };
        let action = Action::ListBucket.name();
        self.trail.decided(action, resource, decision.clone());
        let told = refusal_of(decision, &self.caller, action, resource, self.caller.is_of(found.owner));
        told.unwrap_or_else(|| S3ErrorCode::AccessDenied.into())
    }
}

/// What lies in a bucket, or is one.
pub trait InBucket {
    /// The bucket.
    fn in_bucket(&self) -> &Bucket;
    /// What it and its owner's account block of public access.
    fn block(&self) -> PublicAccessBlock;
}

impl InBucket for OnBucket {
    fn in_bucket(&self) -> &Bucket {
        &self.bucket
    }

    fn block(&self) -> PublicAccessBlock {
        self.access.block
    }
}

impl InBucket for OnObject {
    fn in_bucket(&self) -> &Bucket {
        &self.bucket
    }

    fn block(&self) -> PublicAccessBlock {
        self.block
    }
}

impl InBucket for OnCopy {
    fn in_bucket(&self) -> &Bucket {
        &self.target.bucket
    }

    fn block(&self) -> PublicAccessBlock {
        self.target.block
    }
}

impl<Resource: InBucket> Authorized<Resource> {
    /// The bucket; of a copy, the one that is copied to.
    pub fn bucket(&self) -> &Bucket {
        self.resource.in_bucket()
    }

    /// What bucket and account block of public access.
    pub fn block(&self) -> PublicAccessBlock {
        self.resource.block()
    }

    /// The account that acts; None: nobody in particular.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.caller.account.as_ref()
    }

    /// Whether somebody of the bucket owner's account acts.
    pub fn is_bucket_owner(&self) -> bool {
        self.caller.is_of(self.bucket().owner)
    }

    /// Who of its account acts, as an upload remembers it; None: the root, or nobody in particular.
    pub fn creator(&self) -> Option<CreatedBy> {
        let principal = &self.caller.principal;
        if self.caller.is_root() {
            return None;
        }
        Some(CreatedBy { id: principal.user_id()?, arn: principal.caller_arn()? })
    }

    /// The account that what is written comes from. What somebody without a signature writes comes from the bucket's
    /// owner, who let them: S3 has an account for strangers, whose objects nobody could ever manage.
    pub fn writer(&self) -> AccountId {
        self.account().map_or(self.bucket().owner, |account| account.id)
    }
}

impl Authorized<OnServer> {
    /// The account whose root acts.
    pub fn account(&self) -> &Arc<Account> {
        &self.resource.account
    }
}

impl Authorized<OnService> {
    /// The account whose buckets they are.
    pub fn account(&self) -> &Arc<Account> {
        &self.resource.account
    }
}

impl Authorized<OnNewBucket> {
    /// The account that the bucket will belong to.
    pub fn account(&self) -> &Arc<Account> {
        &self.resource.account
    }

    /// What the account blocks of public access.
    pub fn block(&self) -> PublicAccessBlock {
        self.resource.block
    }

    /// The name of the bucket.
    pub fn name(&self) -> &BucketName {
        &self.resource.name
    }
}

impl Authorized<OnBucket> {
    /// Whether `policy`, if the bucket had it, would deny the caller what it may do now. The owner's root never loses what is
    /// about the policy itself.
    pub fn would_lose(&self, action: Action, policy: Policy) -> bool {
        let OnBucket { bucket, access, facts } = &self.resource;
        let Some(facts) = facts.as_ref().filter(|_| !(self.caller.is_root() && self.is_bucket_owner())) else {
            return false;
        };
        let attached = Attached { source: policies::source(bucket.name.as_str()), policy };
        let access = Access { policy: Some(Arc::new(attached)), ..Access::clone(access) };
        let resource = arn_of_bucket(bucket.name.as_str());
        let question = self.question(facts, &access, action, &resource);
        !question.answer(Known::default()).is_allowed()
    }

    /// That the caller may hand this role to a service of this server's (IAM user guide, "Grant a user permissions to pass a role to an AWS
    /// service").
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn pass_role(&self, arn: &str, service: &'static str) -> Result<(), Failure> {
        const PASS_ROLE: &str = "iam:PassRole";
        let facts = self.resource.facts.as_ref();
        let facts = facts.ok_or_else(|| Failure::internal("a role that nobody asked to pass"))?;
        let passing = Passing { role: arn, action: PASS_ROLE, service };
        let decision = passing.decide(facts.borrow(), &self.caller, self.bucket().owner);
        let refused = refusal_of(&decision, &self.caller, PASS_ROLE, arn, self.is_bucket_owner());
        self.trail.decided(PASS_ROLE, arn, decision);
        refused.map_or(Ok(()), Err)
    }

    fn question<'q>(
        &'q self,
        facts: &'q OwnedFacts,
        access: &'q Access,
        action: Action,
        resource: &'q str,
    ) -> Question<'q> {
        let (facts, caller) = (facts.borrow(), &*self.caller);
        Question { facts, caller, access, action, resource, version: None, initiated: false }
    }

    /// Decides about one of several deletions in the bucket; the answer is whether GOVERNANCE retentions bind it.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn delete(&self, key: &ObjectKey, version: VersionSelector) -> Result<Governance, Failure> {
        let OnBucket { bucket, access, facts } = &self.resource;
        let facts = facts.as_ref().ok_or_else(|| Failure::internal("a deletion that nobody asked for"))?;
        let resource = arn_of_object(bucket.name.as_str(), key);
        let action = Action::of_delete(version);
        let question = Question { version: Some(version), ..self.question(facts, access, action, &resource) };
        let decision = question.answer(Known::default());
        let refused = refusal(&decision, &self.caller, &question);
        self.trail.decided(question.action.name(), &resource, decision);
        if let Some(refused) = refused {
            return Err(refused);
        }
        if !asks_for_bypass(question.facts.headers) {
            return Ok(Governance::Heeded);
        }
        let bypass = Question { action: Action::BypassGovernanceRetention, ..question };
        let decision = bypass.answer(Known::default());
        let governance = if decision.is_allowed() { Governance::Bypassed } else { Governance::Heeded };
        self.trail.decided(bypass.action.name(), &resource, decision);
        Ok(governance)
    }
}

impl Authorized<OnObject> {
    /// The key.
    pub fn key(&self) -> &ObjectKey {
        &self.resource.key
    }

    /// Whether GOVERNANCE retentions bind the caller: not if it asks to bypass them and may.
    pub fn governance(&self) -> Governance {
        self.resource.governance
    }

    /// Whether the caller, who brings a replica's settings, may lift its legal hold.
    pub fn may_lift_hold(&self) -> bool {
        self.resource.may_lift_hold
    }

    /// What is decided about the version that the operation finds. Nothing is permitted if that depends on the document in
    /// the body, for which there is [`Self::permit_with`].
    pub fn permit(&self) -> Permit {
        let Found { permit, in_document, .. } = &self.resource.found;
        if in_document.is_empty() { permit.clone() } else { Permit::when(|_| false) }
    }

    /// What is decided about the version that the operation finds, with what the document in the body asks for.
    pub fn permit_with(&self, document: InDocument) -> Permit {
        let Found { permit, in_document, .. } = &self.resource.found;
        if in_document.is_empty() {
            return permit.clone();
        }
        let (questions, trail) = (in_document.clone(), self.trail.clone());
        permit.clone().and(Permit::when(move |object| {
            let known = Known { object: Some(object), in_document: Some(&document) };
            questions.iter().all(|question| question.permits(&trail, known))
        }))
    }

    /// What the requester is told when the operation fails on a version that is there or not.
    pub fn failure(&self, error: StorageError) -> Failure {
        self.failure_of(&self.resource.found, error)
    }
}

impl Authorized<OnCopy> {
    /// The key that is copied to.
    pub fn key(&self) -> &ObjectKey {
        &self.resource.target.key
    }

    /// The bucket that is copied from.
    pub fn source_bucket(&self) -> &Bucket {
        &self.resource.source_bucket
    }

    /// What is copied.
    pub fn source(&self) -> &NamedSource {
        &self.resource.source
    }

    /// What is decided about the version that is copied.
    pub fn source_permit(&self) -> Permit {
        self.resource.found.permit.clone()
    }

    /// What the requester is told when the copy fails.
    pub fn failure(&self, error: StorageError) -> Failure {
        self.failure_of(&self.resource.found, error)
    }
}
