//! Authorization: whether who signed a request, or nobody in particular, may do what it asks for.
//!
//! Invariant: an [`Authorized`] can be made only here, and every operation takes one by value; so a route that forgets
//! to ask does not compile. Everything is decided before a byte of the body is read, except what depends on the version
//! that the operation will find or on the document in its body: the former goes along as a `Permit`, the latter is refused
//! unless the operation asks again.
//!
//! An operation needs the actions of its row in the `table`. Each is asked about by itself (`question`): the caller's
//! policies, the bucket's policy and its ACL (`rule.rs` says which permission of an ACL an action needs), and what is blocked
//! of the latter two, decide by the rule of `cairn_iam::evaluate`. Every answer is noted in the request's [`Trail`].

mod access;
mod action;
mod as_role;
mod authorized;
mod caller;
mod context;
mod policies;
mod question;
mod rule;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_iam::acl::Permission;
use cairn_iam::evaluate::Decision;
use cairn_iam::identity::PublicAccessBlock as AccountBlock;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::{ObjectOwnership, PublicAccessBlock};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{Bucket, BucketName, Governance, Permit, Store, VersionSelector};
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;

use crate::audit::Trail;
use crate::auth::Signer;
use crate::gate::routes::Operation;
pub use crate::identities::Caller;
use crate::identities::{Account, Snapshot};
use crate::s3::acl::{account_number, of_bucket};
use crate::s3::copy_source::NamedSource;
use crate::s3::error::Failure;
use crate::s3::headers::{
    self, BYPASS_GOVERNANCE_RETENTION, EXPECTED_BUCKET_OWNER, REQUEST_PAYER, SOURCE_EXPECTED_BUCKET_OWNER,
};
use crate::s3::replica;
use crate::s3::upload_part::upload_id;

use access::Access;
pub use action::Action;
pub use as_role::AsRole;
pub use authorized::{Authorized, InBucket, OnBucket, OnCopy, OnNewBucket, OnObject, OnServer, OnService};
use authorized::{Found, Unlisted};
pub use context::{Carrier, Connection, Facts, InDocument, Signature};
pub use policies::{
    BucketPolicies, decode as decode_policy, digest_of, encode as encode_policy, parse as parse_policy,
};
use question::{Known, OwnedQuestion, Question, without_resource_policy};
use table::Asked;

/// What listing one's buckets is done to, as policies name it.
const ALL_BUCKETS: &str = "arn:aws:s3:::*";

/// What calls of the admin API are done to.
const SERVER: &str = "arn:aws:cairn:::server";

/// What decides about every request.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// The buckets.
    pub store: &'r Store,
    /// The accounts and their users.
    pub identities: &'r Snapshot,
    /// The buckets' policies.
    pub policies: &'r BucketPolicies,
}

impl Rules<'_> {
    /// Who has signed; None: nobody has.
    ///
    /// # Errors
    /// `InvalidAccessKeyId`.
    pub fn caller(&self, signer: Option<&Signer>) -> Result<Arc<Caller>, Failure> {
        let Some(signer) = signer else { return Ok(Arc::new(Caller::anonymous())) };
        Ok(self.identities.signed_by(signer).ok_or(S3ErrorCode::InvalidAccessKeyId)?)
    }

    /// What a bucket and its owner's account block of public access.
    fn block(&self, bucket: &Bucket) -> PublicAccessBlock {
        bucket.public_access_block.unwrap_or_default().or(self.block_of(bucket.owner))
    }

    /// What an account blocks of public access.
    fn block_of(&self, account: AccountId) -> PublicAccessBlock {
        let block =
            self.identities.directory(account_number(account)).and_then(|directory| directory.public_access_block());
        block.map_or_else(PublicAccessBlock::default, in_storage)
    }
}

/// Decides for one request.
#[derive(Debug)]
pub struct Authorizer<'r> {
    rules: Rules<'r>,
    caller: Arc<Caller>,
    facts: Facts<'r>,
    trail: Trail,
    expected_owner: Option<AccountId>,
    expected_source_owner: Option<AccountId>,
    /// The requester says that it pays for what costs.
    pays: bool,
    /// The requester pays in a bucket that this request touches.
    charged: AtomicBool,
}

impl<'r> Authorizer<'r> {
    /// For a request that comes from this caller, as its signature showed.
    ///
    /// # Errors
    /// `InvalidBucketOwnerAWSAccountID` if the owner that it expects is no account's number.
    pub fn new(rules: Rules<'r>, caller: Arc<Caller>, facts: Facts<'r>, trail: Trail) -> Result<Self, Failure> {
        trail.caller(&caller);
        let payer = headers::text(facts.headers, &REQUEST_PAYER);
        let payer = payer.as_deref().or_else(|| facts.query.get(REQUEST_PAYER.as_str()));
        let pays = payer.is_some_and(|payer| payer.eq_ignore_ascii_case("requester"));
        Ok(Self {
            rules,
            caller,
            facts,
            trail,
            expected_owner: expected_owner(facts.headers, &EXPECTED_BUCKET_OWNER)?,
            expected_source_owner: expected_owner(facts.headers, &SOURCE_EXPECTED_BUCKET_OWNER)?,
            pays,
            charged: AtomicBool::new(false),
        })
    }

    /// Whether the requester pays for what was authorized.
    pub fn charged(&self) -> bool {
        self.charged.load(Ordering::Relaxed)
    }

    /// On the server itself, which is the first account's, for this action of the admin API.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn server(&self, action: &'static str) -> Result<Authorized<OnServer>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        let owner = self.rules.identities.accounts().first().ok_or(S3ErrorCode::AccessDenied)?;
        self.check_alone(action, SERVER, owner)?;
        Ok(self.authorized(OnServer { account }))
    }

    /// On what belongs to the caller's account, for this action of the admin API.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn account(&self, action: &'static str) -> Result<Authorized<OnService>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        self.check_alone(action, SERVER, account.id)?;
        Ok(self.authorized(OnService { account }))
    }

    /// On a bucket, for this action of the admin API.
    ///
    /// # Errors
    /// As [`Self::bucket`].
    pub async fn bucket_for(&self, action: Action, name: &str) -> Result<Authorized<OnBucket>, Failure> {
        let bucket = self.find(name, self.expected_owner).await?;
        let access = Arc::new(self.access(&bucket).await?);
        self.check(&self.question(&access, action, &arn_of_bucket(bucket.name.as_str())))?;
        Ok(self.authorized(OnBucket { bucket, access, facts: None }))
    }

    /// Refuses who has no signature.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn refuse_anonymous(&self) -> Result<(), Failure> {
        self.signer(ACCESS_DENIED).map(|_| ())
    }

    /// On what belongs to the caller's account and to no bucket: its buckets as a whole, or the account.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn service(&self) -> Result<Authorized<OnService>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        for action in self.actions() {
            self.check_alone(action.name(), ALL_BUCKETS, account.id)?;
        }
        Ok(self.authorized(OnService { account }))
    }

    /// To create a bucket.
    ///
    /// # Errors
    /// `AccessDenied`, `InvalidBucketName`.
    pub fn new_bucket(&self, name: &str) -> Result<Authorized<OnNewBucket>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        let name = bucket_name(name)?;
        for action in self.actions() {
            self.check_alone(action.name(), &arn_of_bucket(name.as_str()), account.id)?;
        }
        let block = self.rules.block_of(account.id);
        Ok(self.authorized(OnNewBucket { account, name, block }))
    }

    /// On a bucket.
    ///
    /// # Errors
    /// `AccessDenied`, `NoSuchBucket`, and the index's.
    pub async fn bucket(&self, name: &str) -> Result<Authorized<OnBucket>, Failure> {
        let bucket = self.find(name, self.expected_owner).await?;
        let access = Arc::new(self.access(&bucket).await?);
        let resource = arn_of_bucket(bucket.name.as_str());
        for action in self.actions() {
            self.check(&self.question(&access, action, &resource))?;
        }
        if self.facts.operation == Some(Operation::DeleteObjects) && !access.knows(&self.caller, Permission::Write) {
            // Each key is asked about by itself; but a stranger who can be let do nothing is refused before its body is read.
            self.check(&self.question(&access, Action::DeleteObject, &format!("{resource}/*")))?;
        }
        if self.is(table::is_about_policy) && !self.caller.is_of(bucket.owner) {
            // Whoever may do it must belong to the owner's account (API reference, PutBucketPolicy, "Permissions").
            return Err(S3ErrorCode::MethodNotAllowed.into());
        }
        let facts = self.is(table::asks_later).then(|| self.facts.to_owned());
        Ok(self.authorized(OnBucket { bucket, access, facts }))
    }

    /// On a key in a bucket.
    ///
    /// # Errors
    /// `AccessDenied`, `NoSuchBucket`, `NoSuchUpload`, and the index's.
    pub async fn object(&self, bucket: &str, key: &ObjectKey) -> Result<Authorized<OnObject>, Failure> {
        let bucket = self.find(bucket, self.expected_owner).await?;
        let access = Arc::new(self.access(&bucket).await?);
        let goes_on = self.is(table::is_of_upload) && !self.caller.is_of(bucket.owner);
        let may_have_initiated = self.is(table::is_for_initiator) && !self.caller.is_root();
        let initiated = if goes_on || may_have_initiated { self.initiated(&bucket, key).await } else { Ok(false) };
        let resource = arn_of_object(bucket.name.as_str(), key);
        let mut found = self.nothing_found(&access, bucket.name.as_str());
        for action in self.actions() {
            let initiated = matches!(initiated, Ok(true));
            let question = Question { initiated, ..self.question(&access, action, &resource) };
            self.ask(&question, &access, &mut found)?;
        }
        // That there is no such upload is only for those to hear who may go on with one.
        if !initiated? && goes_on {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        if self.facts.operation == Some(Operation::CreateMultipartUpload) {
            // A stranger could not be told from another who goes on with the upload.
            self.signer("Anonymous users cannot initiate multipart uploads. Please authenticate.")?;
        }
        let governance = self.governance(&access, &resource);
        let may_lift_hold = self.may_lift_hold(&access, &resource);
        let key = key.clone();
        Ok(self.authorized(OnObject { bucket, key, found, block: access.block, governance, may_lift_hold }))
    }

    /// On a key to which something is copied. `with_tags`: its tags are copied, too, which takes the right to read them (API
    /// reference, CopyObject) if there are any.
    ///
    /// # Errors
    /// As for a key, of either bucket.
    pub async fn copy(
        &self,
        (bucket, key): (&str, &ObjectKey),
        source: NamedSource,
        with_tags: bool,
    ) -> Result<Authorized<OnCopy>, Failure> {
        let target = self.object(bucket, key).await?.resource;
        let source_bucket = self.find(&source.bucket, self.expected_source_owner).await?;
        let access = Arc::new(self.access(&source_bucket).await?);
        let resource = arn_of_object(source_bucket.name.as_str(), &source.key);
        let (read, read_tags) = table::source_row(source.version != VersionSelector::Newest);
        let question = |action| Question { version: Some(source.version), ..self.question(&access, action, &resource) };
        let mut found = self.nothing_found(&access, source_bucket.name.as_str());
        self.ask(&question(read), &access, &mut found)?;
        if with_tags {
            let (tags, trail) = (self.later(&question(read_tags), &access), self.trail.clone());
            found.permit = found.permit.and(Permit::when(move |object| {
                object.settings.tags.is_empty()
                    || tags.permits(&trail, Known { object: Some(object), in_document: None })
            }));
        }
        Ok(self.authorized(OnCopy { target, source_bucket, source, found }))
    }

    fn authorized<Resource>(&self, resource: Resource) -> Authorized<Resource> {
        Authorized { caller: Arc::clone(&self.caller), trail: self.trail.clone(), resource }
    }

    fn actions(&self) -> impl Iterator<Item = Action> + use<> {
        let Facts { operation, headers, query, .. } = self.facts;
        let row = operation.map(|operation| table::row(operation, &Asked { headers, query }));
        row.into_iter().flatten().flatten()
    }

    fn is(&self, of_kind: fn(Operation) -> bool) -> bool {
        self.facts.operation.is_some_and(of_kind)
    }

    fn question<'q>(&'q self, access: &'q Access, action: Action, resource: &'q str) -> Question<'q> {
        Question { facts: self.facts, caller: &self.caller, access, action, resource, version: None, initiated: false }
    }

    /// Asks what is answered at once.
    fn check(&self, question: &Question<'_>) -> Result<(), Failure> {
        let decision = question.answer(Known::default());
        let refusal = refusal(&decision, &self.caller, question);
        self.trail.decided(question.action.name(), question.resource, decision);
        refusal.map_or(Ok(()), Err)
    }

    /// Asks what nobody is told about.
    fn may(&self, question: &Question<'_>) -> bool {
        let decision = question.answer(Known::default());
        let is_allowed = decision.is_allowed();
        self.trail.decided(question.action.name(), question.resource, decision);
        is_allowed
    }

    /// Asks about what lies in a bucket: at once what cannot depend on the version, and later what does.
    fn ask(&self, question: &Question<'_>, access: &Arc<Access>, found: &mut Found) -> Result<(), Failure> {
        if question.depends_on_document() {
            found.in_document.push(self.later(question, access));
            return Ok(());
        }
        if !question.depends_on_version() {
            return self.check(question);
        }
        if !question.depends_on_tags() {
            // Whatever version there is, it could not let the caller.
            let decision = question.answer(Known::default());
            if !decision.is_allowed() {
                return self.check(question);
            }
        }
        found.permit = std::mem::take(&mut found.permit).and(self.permit_of(question, access));
        Ok(())
    }

    fn permit_of(&self, question: &Question<'_>, access: &Arc<Access>) -> Permit {
        let (later, trail) = (self.later(question, access), self.trail.clone());
        Permit::when(move |object| later.permits(&trail, Known { object: Some(object), in_document: None }))
    }

    fn later(&self, question: &Question<'_>, access: &Arc<Access>) -> OwnedQuestion {
        OwnedQuestion::new(question, Arc::new(self.facts.to_owned()), Arc::clone(&self.caller), Arc::clone(access))
    }

    /// What is decided about a version before anything is asked. Whether the caller may list the bucket decides what it is
    /// told of versions that are not there.
    fn nothing_found(&self, access: &Access, bucket: &str) -> Found {
        let unlisted = self.is(table::finds_version).then(|| {
            let resource = arn_of_bucket(bucket);
            let decision = self.question(access, Action::ListBucket, &resource).answer(Known::default());
            (!decision.is_allowed()).then_some(Unlisted { decision, resource })
        });
        Found { permit: Permit::any(), in_document: Vec::new(), unlisted: unlisted.flatten(), owner: access.owner }
    }

    /// Whether GOVERNANCE retentions bind the caller: not if it asks to bypass them, or brings a replica's settings, and may.
    fn governance(&self, access: &Access, resource: &str) -> Governance {
        let asks = self.is(table::may_bypass_governance) && asks_for_bypass(self.facts.headers);
        if (asks || self.brings_settings())
            && self.may(&self.question(access, Action::BypassGovernanceRetention, resource))
        {
            Governance::Bypassed
        } else {
            Governance::Heeded
        }
    }

    fn brings_settings(&self) -> bool {
        self.is(table::brings_settings) && replica::is_asked(self.facts.headers)
    }

    /// Whether the caller brings a replica's settings, and may lift its legal hold.
    fn may_lift_hold(&self, access: &Access, resource: &str) -> bool {
        self.brings_settings() && self.may(&self.question(access, Action::PutObjectLegalHold, resource))
    }

    /// Asks about what is in no bucket: the caller's policies decide alone.
    fn check_alone(&self, action: &str, resource: &str, owner: AccountId) -> Result<(), Failure> {
        let decision = without_resource_policy(self.facts, &self.caller, (action, resource), Some(owner));
        let refusal = refusal_of(&decision, &self.caller, action, resource, self.caller.is_of(owner));
        self.trail.decided(action, resource, decision);
        refusal.map_or(Ok(()), Err)
    }

    /// Whether the caller initiated the upload that the request names. In an account of its own that is whoever created it; to
    /// the owner of another bucket, all of the account that did (S3 user guide, "Multipart upload API and permissions").
    async fn initiated(&self, bucket: &Bucket, key: &ObjectKey) -> Result<bool, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        let id = upload_id(self.facts.query)?;
        // Looking first is safe here: an upload keeps its initiator for as long as it lives.
        let upload = self.rules.store.upload(bucket, key, id).await?;
        if !self.caller.is_of(bucket.owner) {
            return Ok(upload.initiator == account.id);
        }
        let creator = upload.created_by.as_ref().map(|creator| creator.id.as_str());
        Ok(creator.is_some() && creator == self.caller.principal.user_id().as_deref())
    }

    /// The bucket; as in S3, everybody may learn that a bucket does not exist.
    async fn find(&self, name: &str, expected_owner: Option<AccountId>) -> Result<Bucket, Failure> {
        let name = bucket_name(name)?;
        let no_such_bucket = |failure: Failure| match failure.code() {
            "NoSuchBucket" => failure.field("BucketName", name.as_str()),
            _ => failure,
        };
        let bucket = self.rules.store.bucket(&name).await.map_err(|error| no_such_bucket(error.into()))?;
        self.trail.owner(bucket.owner);
        if expected_owner.is_some_and(|expected| expected != bucket.owner) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        self.check_payer(&bucket)?;
        Ok(bucket)
    }

    /// Who pays must say so, and can be charged only if known (S3 user guide, "Using Requester Pays buckets").
    fn check_payer(&self, bucket: &Bucket) -> Result<(), Failure> {
        if !bucket.requester_pays || self.caller.is_of(bucket.owner) {
            return Ok(());
        }
        if !self.pays || self.caller.account.is_none() {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        self.charged.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What the bucket says about who may use it. Its ACL is read only if it could matter.
    async fn access(&self, bucket: &Bucket) -> Result<Access, Failure> {
        let store = self.rules.store;
        let acls_count = bucket.ownership != ObjectOwnership::BucketOwnerEnforced;
        let acl = if acls_count && !(self.caller.is_root() && self.caller.is_of(bucket.owner)) {
            let document = store.document(bucket, DocumentKind::Acl).await?;
            Some(of_bucket(bucket.owner, document.as_deref())?)
        } else {
            None
        };
        // The way back in: no policy keeps the owner's root from the policy (S3 user guide, "Bucket policies").
        let is_way_back = self.caller.is_root() && self.caller.is_of(bucket.owner) && self.is(table::is_about_policy);
        let policy = if is_way_back {
            None
        } else {
            self.rules.policies.of(store, self.rules.identities.accounts(), bucket).await?
        };
        Ok(Access { owner: bucket.owner, policy, acl, acls_count, block: self.rules.block(bucket) })
    }

    fn signer(&self, message: &'static str) -> Result<Arc<Account>, Failure> {
        let account = self.caller.account.clone();
        account.ok_or_else(|| Failure::with_message(S3ErrorCode::AccessDenied, message))
    }
}

const ACCESS_DENIED: &str = "Access Denied";

/// Whether a request asks not to be bound by GOVERNANCE retentions.
fn asks_for_bypass(headers: &HeaderMap) -> bool {
    headers::text(headers, &BYPASS_GOVERNANCE_RETENTION).is_some_and(|asks| asks.eq_ignore_ascii_case("true"))
}

/// What the caller is told of a refusal. None: it is allowed.
fn refusal(decision: &Decision, caller: &Caller, question: &Question<'_>) -> Option<Failure> {
    let is_own = caller.is_of(question.access.owner);
    refusal_of(decision, caller, question.action.name(), question.resource, is_own)
}

/// As AWS does it, only who belongs to the owner's account is told why (S3 user guide, "Troubleshoot access denied (403
/// Forbidden) errors").
fn refusal_of(decision: &Decision, caller: &Caller, action: &str, resource: &str, is_own: bool) -> Option<Failure> {
    let because = decision.because(action)?;
    let Some(arn) = caller.principal.caller_arn().filter(|_| is_own) else {
        return Some(S3ErrorCode::AccessDenied.into());
    };
    let message = format!("User: {arn} is not authorized to perform: {action} on resource: \"{resource}\" {because}");
    Some(Failure::with_message(S3ErrorCode::AccessDenied, message))
}

/// An account's block as a bucket has it.
pub fn in_storage(block: AccountBlock) -> PublicAccessBlock {
    PublicAccessBlock {
        refuse_acls: block.block_public_acls,
        ignore_acls: block.ignore_public_acls,
        refuse_policy: block.block_public_policy,
        restrict: block.restrict_public_buckets,
    }
}

/// A bucket's block as an account has it.
pub fn in_account(block: PublicAccessBlock) -> AccountBlock {
    AccountBlock {
        block_public_acls: block.refuse_acls,
        ignore_public_acls: block.ignore_acls,
        block_public_policy: block.refuse_policy,
        restrict_public_buckets: block.restrict,
    }
}

/// The ARN of a bucket.
pub fn arn_of_bucket(name: &str) -> String {
    format!("arn:aws:s3:::{name}")
}

/// The ARN of a key in a bucket.
pub fn arn_of_object(bucket: &str, key: &ObjectKey) -> String {
    format!("arn:aws:s3:::{bucket}/{}", key.as_str())
}

/// The account that the client believes to own the bucket.
fn expected_owner(headers: &HeaderMap, name: &HeaderName) -> Result<Option<AccountId>, Failure> {
    let Some(text) = headers::text(headers, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Failure::custom(
            "InvalidBucketOwnerAWSAccountID",
            StatusCode::BAD_REQUEST,
            "The value of the expected bucket owner parameter must be an AWS account ID.",
        )
    })
}

fn bucket_name(name: &str) -> Result<BucketName, Failure> {
    BucketName::new(name).ok_or_else(|| Failure::new(S3ErrorCode::InvalidBucketName).field("BucketName", name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_expected_owner_is_an_accounts_number() {
        let read = |text: &'static str| {
            let headers = [(EXPECTED_BUCKET_OWNER, http::HeaderValue::from_static(text))].into_iter().collect();
            expected_owner(&headers, &EXPECTED_BUCKET_OWNER)
        };
        assert_eq!(read("000000000042").unwrap(), Some("000000000042".parse().unwrap()));
        assert_eq!(read("42").unwrap_err().code(), "InvalidBucketOwnerAWSAccountID");
    }
}
