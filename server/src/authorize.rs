//! Authorization: whether who signed a request may do what it asks for.
//!
//! Invariant: an [`Authorized`] can be made only here, and every operation takes one by value; so a route that forgets
//! to ask does not compile. Everything is decided before a byte of the body is read.
//!
//! The rule, until policies land: an account's root may use the account's own buckets and create buckets, and nobody else
//! anything.

use std::sync::Arc;

use cairn_storage::id::AccountId;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{Bucket, BucketName, Governance, Store, VersionSelector};
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;

use crate::accounts::{Account, Accounts};
use crate::s3::copy_source::NamedSource;
use crate::s3::error::Failure;
use crate::s3::headers::{self, BYPASS_GOVERNANCE_RETENTION, EXPECTED_BUCKET_OWNER, SOURCE_EXPECTED_BUCKET_OWNER};

/// What somebody wants to do: the actions of S3's policy language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are S3's
pub enum Action {
    AbortMultipartUpload,
    BypassGovernanceRetention,
    CreateBucket,
    DeleteBucket,
    DeleteObject,
    DeleteObjectTagging,
    DeleteObjectVersion,
    DeleteObjectVersionTagging,
    GetAccelerateConfiguration,
    GetBucketLocation,
    GetBucketObjectLockConfiguration,
    GetBucketTagging,
    GetBucketVersioning,
    GetObject,
    GetObjectAttributes,
    GetObjectLegalHold,
    GetObjectRetention,
    GetObjectTagging,
    GetObjectVersion,
    GetObjectVersionAttributes,
    GetObjectVersionTagging,
    ListAllMyBuckets,
    ListBucket,
    ListBucketMultipartUploads,
    ListBucketVersions,
    ListMultipartUploadParts,
    PutAccelerateConfiguration,
    PutBucketObjectLockConfiguration,
    PutBucketTagging,
    PutBucketVersioning,
    PutObject,
    PutObjectLegalHold,
    PutObjectRetention,
    PutObjectTagging,
    PutObjectVersionTagging,
}

/// Permission to act on one resource.
#[derive(Debug)]
pub struct Authorized<Resource> {
    account: Arc<Account>,
    resource: Resource,
}

/// The account's list of buckets.
#[derive(Debug)]
pub struct OnService(());

/// A bucket that is to be created.
#[derive(Debug)]
pub struct OnNewBucket(BucketName);

/// A bucket.
#[derive(Debug)]
pub struct OnBucket(Bucket);

/// A key in a bucket.
#[derive(Debug)]
pub struct OnObject {
    bucket: Bucket,
    key: ObjectKey,
}

/// A key in a bucket, and what is copied to it.
#[derive(Debug)]
pub struct OnCopy {
    target: OnObject,
    source_bucket: Bucket,
    source: NamedSource,
}

impl<Resource> Authorized<Resource> {
    /// The account that acts.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Authorized<OnNewBucket> {
    /// The name of the bucket.
    pub fn name(&self) -> &BucketName {
        &self.resource.0
    }
}

impl Authorized<OnBucket> {
    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.resource.0
    }
}

impl Authorized<OnObject> {
    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.resource.bucket
    }

    /// The key.
    pub fn key(&self) -> &ObjectKey {
        &self.resource.key
    }
}

impl Authorized<OnCopy> {
    /// The bucket that is copied to.
    pub fn bucket(&self) -> &Bucket {
        &self.resource.target.bucket
    }

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
}

/// Decides for one request.
#[derive(Debug)]
pub struct Authorizer<'r> {
    store: &'r Store,
    /// None: the request is anonymous.
    account: Option<Arc<Account>>,
    expected_owner: Option<AccountId>,
    expected_source_owner: Option<AccountId>,
}

impl<'r> Authorizer<'r> {
    /// For a request whose signature by this access key was verified (None: it has none).
    ///
    /// # Errors
    /// `InvalidBucketOwnerAWSAccountID` if the owner that it expects is no account's number.
    pub fn new(
        store: &'r Store,
        accounts: &Accounts,
        access_key: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, Failure> {
        let account = access_key.and_then(|key| accounts.by_access_key(key)).map(|(account, _)| Arc::clone(account));
        Ok(Self {
            store,
            account,
            expected_owner: expected_owner(headers, &EXPECTED_BUCKET_OWNER)?,
            expected_source_owner: expected_owner(headers, &SOURCE_EXPECTED_BUCKET_OWNER)?,
        })
    }

    /// On the account's buckets as a whole.
    pub fn service(&self, action: Action) -> Result<Authorized<OnService>, Failure> {
        Ok(Authorized { account: self.permitted(action, None)?, resource: OnService(()) })
    }

    /// On a bucket that need not exist.
    pub fn new_bucket(&self, action: Action, name: &str) -> Result<Authorized<OnNewBucket>, Failure> {
        let account = self.permitted(action, None)?;
        Ok(Authorized { account, resource: OnNewBucket(bucket_name(name)?) })
    }

    /// On a bucket.
    pub async fn bucket(&self, action: Action, name: &str) -> Result<Authorized<OnBucket>, Failure> {
        let bucket = self.find(name, self.expected_owner).await?;
        Ok(Authorized { account: self.permitted(action, Some(&bucket))?, resource: OnBucket(bucket) })
    }

    /// On a key in a bucket.
    pub async fn object(&self, action: Action, bucket: &str, key: &ObjectKey) -> Result<Authorized<OnObject>, Failure> {
        let bucket = self.find(bucket, self.expected_owner).await?;
        let account = self.permitted(action, Some(&bucket))?;
        Ok(Authorized { account, resource: OnObject { bucket, key: key.clone() } })
    }

    /// On a key in a bucket, and to read what is copied to it.
    pub async fn copy(
        &self,
        action: Action,
        bucket: &str,
        key: &ObjectKey,
        source: NamedSource,
    ) -> Result<Authorized<OnCopy>, Failure> {
        let target = self.object(action, bucket, key).await?;
        let source_bucket = self.find(&source.bucket, self.expected_source_owner).await?;
        let read = match source.version {
            VersionSelector::Newest => Action::GetObject,
            _ => Action::GetObjectVersion,
        };
        self.permitted(read, Some(&source_bucket))?;
        Ok(Authorized { account: target.account, resource: OnCopy { target: target.resource, source_bucket, source } })
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
        Ok(bucket)
    }

    /// The account, if it may do this; on no bucket in particular, or on this one.
    fn permitted(&self, action: Action, bucket: Option<&Bucket>) -> Result<Arc<Account>, Failure> {
        let account = self.account.as_ref().ok_or(S3ErrorCode::AccessDenied)?;
        if decide(action, account.id, bucket.map(|bucket| bucket.owner)) {
            Ok(Arc::clone(account))
        } else {
            Err(S3ErrorCode::AccessDenied.into())
        }
    }
}

/// Whether an account's root may do this. `owner` is the owner of the bucket that the action is on.
fn decide(action: Action, account: AccountId, owner: Option<AccountId>) -> bool {
    match action {
        Action::CreateBucket | Action::ListAllMyBuckets => owner.is_none(),
        Action::AbortMultipartUpload
        | Action::BypassGovernanceRetention
        | Action::DeleteBucket
        | Action::DeleteObject
        | Action::DeleteObjectTagging
        | Action::DeleteObjectVersion
        | Action::DeleteObjectVersionTagging
        | Action::GetAccelerateConfiguration
        | Action::GetBucketLocation
        | Action::GetBucketObjectLockConfiguration
        | Action::GetBucketTagging
        | Action::GetBucketVersioning
        | Action::GetObject
        | Action::GetObjectAttributes
        | Action::GetObjectLegalHold
        | Action::GetObjectRetention
        | Action::GetObjectTagging
        | Action::GetObjectVersion
        | Action::GetObjectVersionAttributes
        | Action::GetObjectVersionTagging
        | Action::ListBucket
        | Action::ListBucketMultipartUploads
        | Action::ListBucketVersions
        | Action::ListMultipartUploadParts
        | Action::PutAccelerateConfiguration
        | Action::PutBucketObjectLockConfiguration
        | Action::PutBucketTagging
        | Action::PutBucketVersioning
        | Action::PutObject
        | Action::PutObjectLegalHold
        | Action::PutObjectRetention
        | Action::PutObjectTagging
        | Action::PutObjectVersionTagging => owner == Some(account),
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

    #[test]
    fn a_root_may_use_its_own_buckets_and_no_others() {
        let me: AccountId = "000000000001".parse().unwrap();
        let other: AccountId = "000000000002".parse().unwrap();
        for action in [Action::GetObject, Action::PutObject, Action::DeleteBucket, Action::ListBucket] {
            assert!(decide(action, me, Some(me)));
            assert!(!decide(action, me, Some(other)));
            assert!(!decide(action, me, None));
        }
        assert!(decide(Action::CreateBucket, me, None));
        assert!(decide(Action::ListAllMyBuckets, me, None));
    }
}
