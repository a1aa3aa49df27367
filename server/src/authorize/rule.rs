//! Which permission each action needs (S3 user guide, "Mapping of ACL permissions and access policy permissions"). Pure.

use cairn_iam::acl::{AccountNumber, Acl, Permission, Principal};
use cairn_storage::ops::VersionSelector;

/// What somebody wants to do in a bucket: the actions of S3's policy language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are S3's
pub enum Action {
    AbortMultipartUpload,
    BypassGovernanceRetention,
    DeleteBucket,
    DeleteObject,
    DeleteObjectTagging,
    DeleteObjectVersion,
    DeleteObjectVersionTagging,
    GetAccelerateConfiguration,
    GetBucketAcl,
    GetBucketLocation,
    GetBucketObjectLockConfiguration,
    GetBucketOwnershipControls,
    GetBucketRequestPayment,
    GetBucketTagging,
    GetBucketVersioning,
    GetObject,
    GetObjectAcl,
    GetObjectAttributes,
    GetObjectLegalHold,
    GetObjectRetention,
    GetObjectTagging,
    GetObjectVersion,
    GetObjectVersionAcl,
    GetObjectVersionAttributes,
    GetObjectVersionTagging,
    ListBucket,
    ListBucketMultipartUploads,
    ListBucketVersions,
    ListMultipartUploadParts,
    PutAccelerateConfiguration,
    PutBucketAcl,
    PutBucketObjectLockConfiguration,
    PutBucketOwnershipControls,
    PutBucketRequestPayment,
    PutBucketTagging,
    PutBucketVersioning,
    PutObject,
    PutObjectAcl,
    PutObjectLegalHold,
    PutObjectRetention,
    PutObjectTagging,
    PutObjectVersionAcl,
    PutObjectVersionTagging,
    /// `cairn:RestoreBucket`, of the admin API: to make the bucket look as it did, to watch that and to end it.
    RestoreBucket,
}

impl Action {
    /// To delete a key, or one of its versions.
    pub fn of_delete(version: VersionSelector) -> Self {
        match version {
            VersionSelector::Newest => Self::DeleteObject,
            VersionSelector::Null | VersionSelector::Id(_) => Self::DeleteObjectVersion,
        }
    }
}

/// What decides about an action. The bucket's owner may do whatever does not depend on an object's ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// No ACL can grant it: it is the bucket owner's.
    BucketOwner,
    /// It needs this permission in the bucket's ACL.
    Bucket(Permission),
    /// It needs this permission in the ACL of the version that it finds.
    Object(Permission),
    /// It is for who initiated the multipart upload, which the authorizer looks up.
    Initiator,
}

/// What decides about this action.
///
/// WRITE in a bucket's ACL lets somebody replace and delete what others own, as the table has it (`s3:PutObject` and
/// `s3:DeleteObject`), but remove no version for good: that is for the bucket's owner.
pub(super) fn of(action: Action) -> Rule {
    match action {
        Action::ListBucket | Action::ListBucketMultipartUploads | Action::ListBucketVersions => {
            Rule::Bucket(Permission::Read)
        }
        Action::PutObject | Action::DeleteObject => Rule::Bucket(Permission::Write),
        Action::GetBucketAcl => Rule::Bucket(Permission::ReadAcp),
        Action::PutBucketAcl => Rule::Bucket(Permission::WriteAcp),
        Action::GetObject
        | Action::GetObjectAttributes
        | Action::GetObjectVersion
        | Action::GetObjectVersionAttributes => Rule::Object(Permission::Read),
        Action::GetObjectAcl | Action::GetObjectVersionAcl => Rule::Object(Permission::ReadAcp),
        Action::PutObjectAcl | Action::PutObjectVersionAcl => Rule::Object(Permission::WriteAcp),
        Action::AbortMultipartUpload | Action::ListMultipartUploadParts => Rule::Initiator,
        Action::BypassGovernanceRetention
        | Action::DeleteBucket
        | Action::DeleteObjectTagging
        | Action::DeleteObjectVersion
        | Action::DeleteObjectVersionTagging
        | Action::GetAccelerateConfiguration
        | Action::GetBucketLocation
        | Action::GetBucketObjectLockConfiguration
        | Action::GetBucketOwnershipControls
        | Action::GetBucketRequestPayment
        | Action::GetBucketTagging
        | Action::GetBucketVersioning
        | Action::GetObjectLegalHold
        | Action::GetObjectRetention
        | Action::GetObjectTagging
        | Action::GetObjectVersionTagging
        | Action::PutAccelerateConfiguration
        | Action::PutBucketObjectLockConfiguration
        | Action::PutBucketOwnershipControls
        | Action::PutBucketRequestPayment
        | Action::PutBucketTagging
        | Action::PutBucketVersioning
        | Action::PutObjectLegalHold
        | Action::PutObjectRetention
        | Action::PutObjectTagging
        | Action::PutObjectVersionTagging
        | Action::RestoreBucket => Rule::BucketOwner,
    }
}

/// What says what somebody may do in a bucket.
#[derive(Debug)]
pub(super) enum Access {
    /// It is their own.
    Owner,
    /// The bucket's ACL, and those of the objects in it.
    Acl(Acl),
    /// It is somebody else's, and ACLs are off.
    None,
}

impl Access {
    /// Whether what `rule` decides about may be done in a bucket of `owner`'s, as far as the bucket says.
    pub(super) fn permits(&self, rule: Rule, owner: AccountNumber, principal: Principal) -> bool {
        match (self, rule) {
            (Self::Owner, _) => true,
            (Self::None, _) | (Self::Acl(_), Rule::BucketOwner) => false,
            (Self::Acl(acl), Rule::Bucket(needed)) => acl.permits(owner, principal, needed),
            (Self::Acl(_), Rule::Object(_) | Rule::Initiator) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_iam::acl::CannedAcl;

    use super::*;

    const OWNER: AccountNumber = AccountNumber(1);
    const OTHER: Principal = Principal::Account(AccountNumber(2));

    fn permits(access: &Access, action: Action, principal: Principal) -> bool {
        access.permits(of(action), OWNER, principal)
    }

    #[test]
    fn an_owner_may_do_all_that_its_bucket_decides() {
        for action in [Action::DeleteBucket, Action::PutObject, Action::DeleteObjectVersion, Action::PutBucketAcl] {
            assert!(permits(&Access::Owner, action, Principal::Account(OWNER)));
        }
    }

    #[test]
    fn without_acls_nobody_else_may_do_anything() {
        for action in [Action::GetObject, Action::ListBucket, Action::PutObject, Action::AbortMultipartUpload] {
            assert!(!permits(&Access::None, action, OTHER));
            assert!(!permits(&Access::None, action, Principal::Anonymous));
        }
    }

    #[test]
    fn acls_grant_what_the_table_says_and_nothing_else() {
        let access = Access::Acl(CannedAcl::PublicReadWrite.acl(OWNER, OWNER));
        for principal in [OTHER, Principal::Anonymous] {
            for action in [Action::ListBucket, Action::PutObject, Action::DeleteObject, Action::GetObject] {
                assert!(permits(&access, action, principal), "{action:?}");
            }
            for action in [
                Action::DeleteBucket,
                Action::DeleteObjectVersion,
                Action::GetBucketAcl,
                Action::PutBucketAcl,
                Action::PutBucketOwnershipControls,
                Action::PutBucketVersioning,
            ] {
                assert!(!permits(&access, action, principal), "{action:?}");
            }
        }
        let private = Access::Acl(CannedAcl::Private.acl(OWNER, OWNER));
        assert!(!permits(&private, Action::ListBucket, OTHER));
        assert!(!permits(&private, Action::PutObject, OTHER));
    }
}
