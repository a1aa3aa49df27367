//! Which permission each action needs (S3 user guide, "Mapping of ACL permissions and access policy permissions"). Pure.

use cairn_iam::acl::Permission;

use super::Action;

/// Whose ACL can let somebody do an action. Policies can let anybody do anything.
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
        | Action::GetObjectVersionAttributes
        | Action::GetObjectVersionForReplication => Rule::Object(Permission::Read),
        Action::GetObjectAcl | Action::GetObjectVersionAcl => Rule::Object(Permission::ReadAcp),
        Action::PutObjectAcl | Action::PutObjectVersionAcl => Rule::Object(Permission::WriteAcp),
        Action::AbortMultipartUpload | Action::ListMultipartUploadParts => Rule::Initiator,
        Action::BypassGovernanceRetention
        | Action::CreateBucket
        | Action::DeleteBucket
        | Action::DeleteBucketPolicy
        | Action::DeleteBucketWebsite
        | Action::DeleteObjectTagging
        | Action::DeleteObjectVersion
        | Action::DeleteObjectVersionTagging
        | Action::GetAccelerateConfiguration
        | Action::GetAccountPublicAccessBlock
        | Action::GetBucketCORS
        | Action::GetBucketLocation
        | Action::GetBucketObjectLockConfiguration
        | Action::GetBucketOwnershipControls
        | Action::GetBucketPolicy
        | Action::GetBucketPolicyStatus
        | Action::GetBucketPublicAccessBlock
        | Action::GetBucketRequestPayment
        | Action::GetBucketTagging
        | Action::GetBucketVersioning
        | Action::GetBucketWebsite
        | Action::GetEncryptionConfiguration
        | Action::GetIntelligentTieringConfiguration
        | Action::GetLifecycleConfiguration
        | Action::GetObjectLegalHold
        | Action::GetObjectRetention
        | Action::GetObjectTagging
        | Action::GetObjectVersionTagging
        | Action::GetReplication
        | Action::GetReplicationConfiguration
        | Action::ListAllMyBuckets
        | Action::ObjectOwnerOverrideToBucketOwner
        | Action::PlanLifecycle
        | Action::PutAccelerateConfiguration
        | Action::PutAccountPublicAccessBlock
        | Action::PutBucketCORS
        | Action::PutBucketObjectLockConfiguration
        | Action::PutBucketOwnershipControls
        | Action::PutBucketPolicy
        | Action::PutBucketPublicAccessBlock
        | Action::PutBucketRequestPayment
        | Action::PutBucketTagging
        | Action::PutBucketVersioning
        | Action::PutBucketWebsite
        | Action::PutEncryptionConfiguration
        | Action::PutIntelligentTieringConfiguration
        | Action::PutLifecycleConfiguration
        | Action::PutObjectLegalHold
        | Action::PutObjectRetention
        | Action::PutObjectTagging
        | Action::PutObjectVersionTagging
        | Action::PutReplicationConfiguration
        | Action::ReplicateDelete
        | Action::ReplicateObject
        | Action::ReplicateTags
        | Action::RestoreBucket
        | Action::RestoreObject
        | Action::RunLifecycle
        | Action::RunReplication
        | Action::UpdateObjectEncryption => Rule::BucketOwner,
    }
}
