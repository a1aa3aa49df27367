//! Authorization: whether who signed a request, or nobody in particular, may do what it asks for.
//!
//! Invariant: an [`Authorized`] can be made only here, and every operation takes one by value; so a route that forgets
//! to ask does not compile. Everything is decided before a byte of the body is read, except what depends on the version
//! that the operation will find: that goes along as a [`Permit`].
//!
//! The rule, until policies land: an account's root may create buckets, use its own and make admin calls. What others may do
//! in a bucket, and what anybody may do with an object, the ACLs say (`authorize/rule.rs`), unless the bucket's ownership setting
//! switches them off.

mod rule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_iam::acl::{self, Acl, Permission};
use cairn_iam::principal::Principal;
use cairn_storage::StorageError;
use cairn_storage::id::{AccountId, UploadId};
use cairn_storage::index::family::bucket::ObjectOwnership;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::{Bucket, BucketName, Governance, Permit, Store, VersionSelector};
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;

use crate::auth::Signer;
use crate::identities::{Account, Caller, Snapshot};
use crate::s3::acl::{account_number, of_bucket, of_object};
use crate::s3::copy_source::NamedSource;
use crate::s3::error::Failure;
use crate::s3::headers::{
    self, BYPASS_GOVERNANCE_RETENTION, EXPECTED_BUCKET_OWNER, REQUEST_PAYER, SOURCE_EXPECTED_BUCKET_OWNER,
};
use crate::s3::request::Query;

pub use rule::Action;
use rule::{Access, Rule};

/// Who asks.
#[derive(Clone, Debug)]
struct Requester(Caller);

impl Requester {
    fn account(&self) -> Option<&Arc<Account>> {
        self.0.account.as_ref()
    }

    fn owns(&self, bucket: &Bucket) -> bool {
        self.account().is_some_and(|account| account.id == bucket.owner)
    }

    fn in_acls(&self) -> acl::Principal {
        self.account().map_or(acl::Principal::Anonymous, |account| acl::Principal::Account(account.number()))
    }
}

/// Permission to act on one resource.
#[derive(Debug)]
pub struct Authorized<Resource> {
    principal: Requester,
    resource: Resource,
}

/// The server itself.
#[derive(Debug)]
pub struct OnServer {
    account: Arc<Account>,
}

/// The account's list of buckets.
#[derive(Debug)]
pub struct OnService {
    account: Arc<Account>,
}

/// A bucket that is to be created.
#[derive(Debug)]
pub struct OnNewBucket {
    account: Arc<Account>,
    name: BucketName,
}

/// A bucket.
#[derive(Debug)]
pub struct OnBucket(Bucket);

/// A key in a bucket.
#[derive(Debug)]
pub struct OnObject {
    bucket: Bucket,
    key: ObjectKey,
    found: Found,
}

/// A key in a bucket, and what is copied to it.
#[derive(Debug)]
pub struct OnCopy {
    target: OnObject,
    source_bucket: Bucket,
    source: NamedSource,
    found: Found,
}

/// What is decided about the version that an operation will find.
#[derive(Debug)]
struct Found {
    permit: Permit,
    may_list: bool,
}

impl Found {
    /// As S3 has it, who may not list the bucket does not learn what is not in it (API reference, GetObject: "If you don't
    /// have the `s3:ListBucket` permission, Amazon S3 returns an HTTP status code 403 Access Denied error").
    fn failure(&self, error: StorageError) -> Failure {
        match error {
            StorageError::NoSuchKey { .. } | StorageError::NoSuchVersion | StorageError::IsDeleteMarker(_)
                if !self.may_list =>
            {
                S3ErrorCode::AccessDenied.into()
            }
            error => error.into(),
        }
    }
}

/// What lies in a bucket, or is one.
pub trait InBucket {
    /// The bucket.
    fn in_bucket(&self) -> &Bucket;
}

impl InBucket for OnBucket {
    fn in_bucket(&self) -> &Bucket {
        &self.0
    }
}

impl InBucket for OnObject {
    fn in_bucket(&self) -> &Bucket {
        &self.bucket
    }
}

impl InBucket for OnCopy {
    fn in_bucket(&self) -> &Bucket {
        &self.target.bucket
    }
}

impl<Resource: InBucket> Authorized<Resource> {
    /// The bucket; of a copy, the one that is copied to.
    pub fn bucket(&self) -> &Bucket {
        self.resource.in_bucket()
    }

    /// The account that acts; None: nobody in particular.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.principal.account()
    }

    /// Whether the bucket's owner acts.
    pub fn is_bucket_owner(&self) -> bool {
        self.principal.owns(self.bucket())
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

    /// The name of the bucket.
    pub fn name(&self) -> &BucketName {
        &self.resource.name
    }
}

impl Authorized<OnBucket> {
    /// Decides about one of several deletions in the bucket.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn check_delete(&self, version: VersionSelector) -> Result<(), Failure> {
        match rule::of(Action::of_delete(version)) {
            Rule::BucketOwner if !self.is_bucket_owner() => Err(S3ErrorCode::AccessDenied.into()),
            _ => Ok(()),
        }
    }
}

impl Authorized<OnObject> {
    /// The key.
    pub fn key(&self) -> &ObjectKey {
        &self.resource.key
    }

    /// What is decided about the version that the operation finds.
    pub fn permit(&self) -> Permit {
        self.resource.found.permit.clone()
    }

    /// What the requester is told when the operation fails on a version that is there or not.
    pub fn failure(&self, error: StorageError) -> Failure {
        self.resource.found.failure(error)
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
        self.resource.found.failure(error)
    }
}

/// Decides for one request.
#[derive(Debug)]
pub struct Authorizer<'r> {
    store: &'r Store,
    principal: Requester,
    expected_owner: Option<AccountId>,
    expected_source_owner: Option<AccountId>,
    /// The requester says that it pays for what costs.
    pays: bool,
    /// The requester pays in a bucket that this request touches.
    charged: AtomicBool,
}

impl<'r> Authorizer<'r> {
    /// For a request that was signed so (None: it has no signature).
    ///
    /// # Errors
    /// `InvalidBucketOwnerAWSAccountID` if the owner that it expects is no account's number; `AccessDenied` to users, who
    /// have no rights until policies decide.
    pub fn new(
        store: &'r Store,
        identities: &Snapshot,
        signer: Option<&Signer>,
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Self, Failure> {
        let caller = match signer {
            None => Caller::anonymous(),
            Some(signer) => identities.signed_by(signer).ok_or(S3ErrorCode::InvalidAccessKeyId)?,
        };
        if !matches!(caller.principal, Principal::Root(_) | Principal::Anonymous) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        let payer = headers::text(headers, &REQUEST_PAYER);
        let payer = payer.as_deref().or_else(|| query.get(REQUEST_PAYER.as_str()));
        Ok(Self {
            store,
            principal: Requester(caller),
            expected_owner: expected_owner(headers, &EXPECTED_BUCKET_OWNER)?,
            expected_source_owner: expected_owner(headers, &SOURCE_EXPECTED_BUCKET_OWNER)?,
            pays: payer.is_some_and(|payer| payer.eq_ignore_ascii_case("requester")),
            charged: AtomicBool::new(false),
        })
    }

    /// Whether the requester pays for what was authorized.
    pub fn charged(&self) -> bool {
        self.charged.load(Ordering::Relaxed)
    }

    /// Refuses who has no signature.
    ///
    /// # Errors
    /// `AccessDenied`, with `message`.
    pub fn refuse_anonymous(&self, message: &'static str) -> Result<(), Failure> {
        self.signer(message).map(|_| ())
    }

    /// On the server itself.
    pub fn server(&self) -> Result<Authorized<OnServer>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        Ok(Authorized { principal: self.principal.clone(), resource: OnServer { account } })
    }

    /// On the account's buckets as a whole.
    pub fn service(&self) -> Result<Authorized<OnService>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        Ok(Authorized { principal: self.principal.clone(), resource: OnService { account } })
    }

    /// To create a bucket.
    pub fn new_bucket(&self, name: &str) -> Result<Authorized<OnNewBucket>, Failure> {
        let account = self.signer(ACCESS_DENIED)?;
        let resource = OnNewBucket { account, name: bucket_name(name)? };
        Ok(Authorized { principal: self.principal.clone(), resource })
    }

    /// On a bucket.
    pub async fn bucket(&self, action: Action, name: &str) -> Result<Authorized<OnBucket>, Failure> {
        let bucket = self.find(name, self.expected_owner).await?;
        self.permitted(action, &bucket).await?;
        Ok(Authorized { principal: self.principal.clone(), resource: OnBucket(bucket) })
    }

    /// On a key in a bucket.
    pub async fn object(&self, action: Action, bucket: &str, key: &ObjectKey) -> Result<Authorized<OnObject>, Failure> {
        let bucket = self.find(bucket, self.expected_owner).await?;
        let found = self.permitted(action, &bucket).await?;
        let resource = OnObject { bucket, key: key.clone(), found };
        Ok(Authorized { principal: self.principal.clone(), resource })
    }

    /// On a multipart upload: besides the bucket's owner, only who initiated it may go on with it or end it. `id` may be
    /// none, which only those hear of who may do this.
    pub async fn upload(
        &self,
        action: Action,
        bucket: &str,
        key: &ObjectKey,
        id: Result<UploadId, Failure>,
    ) -> Result<Authorized<OnObject>, Failure> {
        let authorized = self.object(action, bucket, key).await?;
        if !self.principal.owns(authorized.bucket()) {
            let (account, id) = (self.signer(ACCESS_DENIED)?, id?);
            // Looking first is safe here: an upload keeps its initiator for as long as it lives.
            let upload = self.store.upload(authorized.bucket(), key, id).await?;
            if upload.initiator != account.id {
                return Err(S3ErrorCode::AccessDenied.into());
            }
        }
        Ok(authorized)
    }

    /// To read what is copied to a key for which `target` was given. `with_tags`: its tags are copied, too, which takes the
    /// right to read them (API reference, CopyObject) if there are any.
    pub async fn copy(
        &self,
        target: Authorized<OnObject>,
        source: NamedSource,
        with_tags: bool,
    ) -> Result<Authorized<OnCopy>, Failure> {
        let source_bucket = self.find(&source.bucket, self.expected_source_owner).await?;
        let read = match source.version {
            VersionSelector::Newest => Action::GetObject,
            _ => Action::GetObjectVersion,
        };
        let mut found = self.permitted(read, &source_bucket).await?;
        if with_tags && self.permitted(Action::GetObjectTagging, &source_bucket).await.is_err() {
            let may_read = by_acl(self.principal.in_acls(), Permission::Read);
            found.permit = Permit::when(move |object| object.settings.tags.is_empty() && may_read(object));
        }
        let resource = OnCopy { target: target.resource, source_bucket, source, found };
        Ok(Authorized { principal: target.principal, resource })
    }

    /// Whether GOVERNANCE retentions bind the caller: not if it asks to bypass them and may.
    pub async fn governance(&self, headers: &HeaderMap, bucket: &str) -> Governance {
        let asks = headers::text(headers, &BYPASS_GOVERNANCE_RETENTION);
        if asks.is_some_and(|asks| asks.eq_ignore_ascii_case("true"))
            && self.bucket(Action::BypassGovernanceRetention, bucket).await.is_ok()
        {
            Governance::Bypassed
        } else {
            Governance::Heeded
        }
    }

    /// The bucket; as in S3, everybody may learn that a bucket does not exist.
    async fn find(&self, name: &str, expected_owner: Option<AccountId>) -> Result<Bucket, Failure> {
        let name = bucket_name(name)?;
        let no_such_bucket = |failure: Failure| match failure.code() {
            "NoSuchBucket" => failure.field("BucketName", name.as_str()),
            _ => failure,
        };
        let bucket = self.store.bucket(&name).await.map_err(|error| no_such_bucket(error.into()))?;
        if expected_owner.is_some_and(|expected| expected != bucket.owner) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        self.check_payer(&bucket)?;
        Ok(bucket)
    }

    /// Who pays must say so, and can be charged only if known (S3 user guide, "Using Requester Pays buckets").
    fn check_payer(&self, bucket: &Bucket) -> Result<(), Failure> {
        if !bucket.requester_pays || self.principal.owns(bucket) {
            return Ok(());
        }
        if !self.pays || self.principal.account().is_none() {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        self.charged.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the requester may do this in the bucket, as far as it can be told without a version; and what is then
    /// decided about the version.
    async fn permitted(&self, action: Action, bucket: &Bucket) -> Result<Found, Failure> {
        let access = self.access(bucket).await?;
        let (owner, principal) = (account_number(bucket.owner), self.principal.in_acls());
        let rule = rule::of(action);
        if !access.permits(rule, owner, principal) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        let permit = match rule {
            // Everything in it is the bucket owner's, and nobody else gets this far.
            Rule::Object(_) if bucket.ownership == ObjectOwnership::BucketOwnerEnforced => Permit::any(),
            Rule::Object(needed) => Permit::when(by_acl(principal, needed)),
            Rule::BucketOwner | Rule::Bucket(_) | Rule::Initiator => Permit::any(),
        };
        Ok(Found { permit, may_list: access.permits(Rule::Bucket(Permission::Read), owner, principal) })
    }

    /// What says what the requester may do in the bucket. The ACL is read only if it could matter.
    async fn access(&self, bucket: &Bucket) -> Result<Access, Failure> {
        if self.principal.owns(bucket) {
            return Ok(Access::Owner);
        }
        if bucket.ownership == ObjectOwnership::BucketOwnerEnforced {
            return Ok(Access::None);
        }
        let document = self.store.document(bucket, DocumentKind::Acl).await?;
        Ok(Access::Acl(of_bucket(bucket.owner, document.as_deref())?))
    }

    fn signer(&self, message: &'static str) -> Result<Arc<Account>, Failure> {
        let account = self.principal.account().cloned();
        account.ok_or_else(|| Failure::with_message(S3ErrorCode::AccessDenied, message))
    }
}

const ACCESS_DENIED: &str = "Access Denied";

/// Decides about versions by whose they are and by their ACLs.
fn by_acl(principal: acl::Principal, needed: Permission) -> impl Fn(&ObjectVersion) -> bool + Send + Sync + 'static {
    move |object| {
        let owner = account_number(object.owner);
        // An ACL that cannot be read lets nobody in but the owner.
        let acl = of_object(object).unwrap_or_else(|_| Acl::private(owner));
        acl.permits(owner, principal, needed)
    }
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
