//! Which actions each operation needs (S3 user guide, "Required permissions for Amazon S3 API operations"; the API reference's
//! "Permissions" of each operation). Pure.
//!
//! The match over the operations has no wildcard, so that an operation without a row does not compile. All of a row's
//! actions are needed on the one resource that the request names; what a copy reads has a row of its own.

use http::HeaderMap;

use crate::gate::routes::Operation;
use crate::s3::headers::{
    self, ACL, BUCKET_OBJECT_LOCK_ENABLED, GRANT_FULL_CONTROL, GRANT_READ, GRANT_READ_ACP, GRANT_WRITE,
    GRANT_WRITE_ACP, OBJECT_LOCK_LEGAL_HOLD, OBJECT_LOCK_MODE, OBJECT_OWNERSHIP, REPLICA_OWNER, TAGGING,
};
use crate::s3::replica;
use crate::s3::request::Query;

use super::Action;

/// Actions that one request needs on one resource, at most.
const ACTIONS_MAX: usize = 5;

/// The actions that a request needs; the first is the operation's own.
pub type Row = [Option<Action>; ACTIONS_MAX];

/// What of a request, besides its operation, decides which actions it needs.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The request's headers.
    pub headers: &'r HeaderMap,
    /// The request's query.
    pub query: &'r Query,
}

impl Asked<'_> {
    fn has(&self, name: &http::HeaderName) -> bool {
        self.headers.contains_key(name)
    }

    fn names_version(&self) -> bool {
        self.query.get("versionId").is_some()
    }

    fn gives_acl(&self) -> bool {
        [ACL, GRANT_FULL_CONTROL, GRANT_READ, GRANT_READ_ACP, GRANT_WRITE, GRANT_WRITE_ACP]
            .iter()
            .any(|name| self.has(name))
    }

    fn asks_for_object_lock(&self) -> bool {
        headers::text(self.headers, &BUCKET_OBJECT_LOCK_ENABLED).is_some_and(|text| !text.eq_ignore_ascii_case("false"))
    }
}

/// The actions that a request needs on what it names. DeleteObjects needs none on the bucket, but one on each key.
pub fn row(operation: Operation, asked: &Asked<'_>) -> Row {
    if replica::is_asked(asked.headers)
        && let Some(row) = of_replica(operation, asked)
    {
        return row;
    }
    let versioned = |newest, named| if asked.names_version() { named } else { newest };
    let on_version = |newest, named| one(versioned(newest, named));
    match operation {
        Operation::AbortMultipartUpload => one(Action::AbortMultipartUpload),
        Operation::CompleteMultipartUpload | Operation::UploadPart | Operation::UploadPartCopy => {
            one(Action::PutObject)
        }
        Operation::CopyObject | Operation::CreateMultipartUpload | Operation::PostObject | Operation::PutObject => {
            new_object(asked)
        }
        Operation::CreateBucket => new_bucket(asked),
        Operation::DeleteAccountPublicAccessBlock | Operation::PutAccountPublicAccessBlock => {
            one(Action::PutAccountPublicAccessBlock)
        }
        Operation::DeleteBucket => one(Action::DeleteBucket),
        Operation::DeleteBucketCors | Operation::PutBucketCors => one(Action::PutBucketCORS),
        Operation::DeleteBucketEncryption | Operation::PutBucketEncryption => one(Action::PutEncryptionConfiguration),
        Operation::DeleteBucketIntelligentTieringConfiguration
        | Operation::PutBucketIntelligentTieringConfiguration => one(Action::PutIntelligentTieringConfiguration),
        Operation::DeleteBucketLifecycle | Operation::PutBucketLifecycleConfiguration => {
            one(Action::PutLifecycleConfiguration)
        }
        Operation::DeleteBucketOwnershipControls | Operation::PutBucketOwnershipControls => {
            one(Action::PutBucketOwnershipControls)
        }
        Operation::DeleteBucketPolicy => one(Action::DeleteBucketPolicy),
        Operation::DeleteBucketReplication | Operation::PutBucketReplication => {
            one(Action::PutReplicationConfiguration)
        }
        Operation::DeleteBucketTagging | Operation::PutBucketTagging => one(Action::PutBucketTagging),
        Operation::DeleteBucketWebsite => one(Action::DeleteBucketWebsite),
        Operation::DeleteObject => on_version(Action::DeleteObject, Action::DeleteObjectVersion),
        Operation::DeleteObjectTagging => on_version(Action::DeleteObjectTagging, Action::DeleteObjectVersionTagging),
        Operation::DeleteObjects => [None; ACTIONS_MAX],
        Operation::DeletePublicAccessBlock | Operation::PutPublicAccessBlock => one(Action::PutBucketPublicAccessBlock),
        Operation::GetAccountPublicAccessBlock => one(Action::GetAccountPublicAccessBlock),
        Operation::GetBucketAccelerateConfiguration => one(Action::GetAccelerateConfiguration),
        Operation::GetBucketAcl => one(Action::GetBucketAcl),
        Operation::GetBucketCors => one(Action::GetBucketCORS),
        Operation::GetBucketEncryption => one(Action::GetEncryptionConfiguration),
        Operation::GetBucketIntelligentTieringConfiguration | Operation::ListBucketIntelligentTieringConfigurations => {
            one(Action::GetIntelligentTieringConfiguration)
        }
        Operation::GetBucketLifecycleConfiguration => one(Action::GetLifecycleConfiguration),
        Operation::GetBucketLocation => one(Action::GetBucketLocation),
        Operation::GetBucketOwnershipControls => one(Action::GetBucketOwnershipControls),
        Operation::GetBucketPolicy => one(Action::GetBucketPolicy),
        Operation::GetBucketPolicyStatus => one(Action::GetBucketPolicyStatus),
        Operation::GetBucketReplication => one(Action::GetReplicationConfiguration),
        Operation::GetBucketRequestPayment => one(Action::GetBucketRequestPayment),
        Operation::GetBucketTagging => one(Action::GetBucketTagging),
        Operation::GetBucketVersioning => one(Action::GetBucketVersioning),
        Operation::GetBucketWebsite => one(Action::GetBucketWebsite),
        Operation::GetObject | Operation::HeadObject => on_version(Action::GetObject, Action::GetObjectVersion),
        Operation::GetObjectAcl => on_version(Action::GetObjectAcl, Action::GetObjectVersionAcl),
        Operation::GetObjectAttributes => both(
            versioned(Action::GetObjectAttributes, Action::GetObjectVersionAttributes),
            // S3 asks for the right to read the object as well.
            versioned(Action::GetObject, Action::GetObjectVersion),
        ),
        Operation::GetObjectLegalHold => one(Action::GetObjectLegalHold),
        Operation::GetObjectLockConfiguration => one(Action::GetBucketObjectLockConfiguration),
        Operation::GetObjectRetention => one(Action::GetObjectRetention),
        Operation::GetObjectTagging => on_version(Action::GetObjectTagging, Action::GetObjectVersionTagging),
        Operation::GetPublicAccessBlock => one(Action::GetBucketPublicAccessBlock),
        Operation::HeadBucket | Operation::ListObjects | Operation::ListObjectsV2 => one(Action::ListBucket),
        Operation::ListBuckets => one(Action::ListAllMyBuckets),
        Operation::ListMultipartUploads => one(Action::ListBucketMultipartUploads),
        Operation::ListObjectVersions => one(Action::ListBucketVersions),
        Operation::ListParts => one(Action::ListMultipartUploadParts),
        Operation::PutBucketAccelerateConfiguration => one(Action::PutAccelerateConfiguration),
        Operation::PutBucketAcl => one(Action::PutBucketAcl),
        Operation::PutBucketPolicy => one(Action::PutBucketPolicy),
        Operation::PutBucketRequestPayment => one(Action::PutBucketRequestPayment),
        Operation::PutBucketVersioning => one(Action::PutBucketVersioning),
        Operation::PutBucketWebsite => one(Action::PutBucketWebsite),
        Operation::PutObjectAcl => on_version(Action::PutObjectAcl, Action::PutObjectVersionAcl),
        Operation::PutObjectLegalHold => one(Action::PutObjectLegalHold),
        Operation::PutObjectLockConfiguration => one(Action::PutBucketObjectLockConfiguration),
        Operation::PutObjectRetention => one(Action::PutObjectRetention),
        Operation::UpdateObjectEncryption => one(Action::UpdateObjectEncryption),
        Operation::PutObjectTagging => on_version(Action::PutObjectTagging, Action::PutObjectVersionTagging),
        Operation::RestoreObject => one(Action::RestoreObject),
    }
}

/// The actions that a copy needs on what it reads: to read it and, if its tags are copied too, to read them. The latter only
/// matters if it has any.
pub fn source_row(names_version: bool) -> (Action, Action) {
    match names_version {
        false => (Action::GetObject, Action::GetObjectTagging),
        true => (Action::GetObjectVersion, Action::GetObjectVersionTagging),
    }
}

/// Whether an operation may override a GOVERNANCE retention, which takes a header and an action of its own.
pub fn may_bypass_governance(operation: Operation) -> bool {
    matches!(operation, Operation::DeleteObject | Operation::DeleteObjects | Operation::PutObjectRetention)
}

/// Whether an operation brings a replica's settings, if it is about one.
pub fn brings_settings(operation: Operation) -> bool {
    operation == Operation::PutObjectTagging
}

/// Whether an operation is about a version that must be there.
pub fn finds_version(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CopyObject
            | Operation::DeleteObjectTagging
            | Operation::GetObject
            | Operation::GetObjectAcl
            | Operation::GetObjectAttributes
            | Operation::GetObjectLegalHold
            | Operation::GetObjectRetention
            | Operation::GetObjectTagging
            | Operation::HeadObject
            | Operation::PutObjectAcl
            | Operation::PutObjectLegalHold
            | Operation::PutObjectRetention
            | Operation::PutObjectTagging
            | Operation::RestoreObject
            | Operation::UpdateObjectEncryption
            | Operation::UploadPartCopy
    )
}

/// Whether an action is about the version that an operation finds, which then asks its permit about that very version. What
/// writes something new asks for nothing of what it replaces.
pub fn is_about_version(operation: Operation, action: Action) -> bool {
    match operation {
        Operation::CopyObject | Operation::UploadPartCopy => matches!(
            action,
            Action::GetObject | Action::GetObjectVersion | Action::GetObjectTagging | Action::GetObjectVersionTagging
        ),
        operation => finds_version(operation),
    }
}

/// Whether an operation on a bucket asks further questions when it has read its document.
pub fn asks_later(operation: Operation) -> bool {
    matches!(operation, Operation::DeleteObjects | Operation::PutBucketPolicy | Operation::PutBucketReplication)
}

/// Whether an operation is about the bucket's policy itself.
pub fn is_about_policy(operation: Operation) -> bool {
    matches!(operation, Operation::DeleteBucketPolicy | Operation::GetBucketPolicy | Operation::PutBucketPolicy)
}

/// Whether whoever initiated a multipart upload may do this with it, unless something denies it.
pub fn is_for_initiator(operation: Operation) -> bool {
    matches!(operation, Operation::AbortMultipartUpload | Operation::ListParts)
}

/// Whether an operation goes on with a multipart upload or ends it.
pub fn is_of_upload(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::AbortMultipartUpload
            | Operation::CompleteMultipartUpload
            | Operation::ListParts
            | Operation::UploadPart
            | Operation::UploadPartCopy
    )
}

fn new_object(asked: &Asked<'_>) -> Row {
    let besides = |asks: bool, action| asks.then_some(action);
    [
        Some(Action::PutObject),
        besides(asked.gives_acl(), Action::PutObjectAcl),
        besides(asked.has(&TAGGING), Action::PutObjectTagging),
        besides(asked.has(&OBJECT_LOCK_MODE), Action::PutObjectRetention),
        besides(asked.has(&OBJECT_LOCK_LEGAL_HOLD), Action::PutObjectLegalHold),
    ]
}

/// What is needed about a replica (S3 user guide, "Setting up permissions"), in place of what the operation needs otherwise; None: the
/// operation is about none.
fn of_replica(operation: Operation, asked: &Asked<'_>) -> Option<Row> {
    Some(match operation {
        Operation::PutObject | Operation::CreateMultipartUpload => {
            let mut row = one(Action::ReplicateObject);
            row[1] = asked.has(&TAGGING).then_some(Action::ReplicateTags);
            row[2] = asked.has(&REPLICA_OWNER).then_some(Action::ObjectOwnerOverrideToBucketOwner);
            row
        }
        Operation::UploadPart | Operation::CompleteMultipartUpload => one(Action::ReplicateObject),
        Operation::PutObjectTagging => both(Action::ReplicateTags, Action::ReplicateObject),
        Operation::DeleteObject => one(Action::ReplicateDelete),
        // Its answer has all of this.
        Operation::HeadObject => [
            Some(Action::GetObjectVersionForReplication),
            Some(Action::GetObjectVersionAcl),
            Some(Action::GetObjectVersionTagging),
            Some(Action::GetObjectRetention),
            Some(Action::GetObjectLegalHold),
        ],
        _ => return None,
    })
}

fn new_bucket(asked: &Asked<'_>) -> Row {
    let besides = |asks: bool, action| asks.then_some(action);
    [
        Some(Action::CreateBucket),
        besides(asked.gives_acl(), Action::PutBucketAcl),
        besides(asked.has(&OBJECT_OWNERSHIP), Action::PutBucketOwnershipControls),
        besides(asked.asks_for_object_lock(), Action::PutBucketObjectLockConfiguration),
        besides(asked.asks_for_object_lock(), Action::PutBucketVersioning),
    ]
}

fn one(action: Action) -> Row {
    let mut row = [None; ACTIONS_MAX];
    row[0] = Some(action);
    row
}

fn both(first: Action, second: Action) -> Row {
    let mut row = one(first);
    row[1] = Some(second);
    row
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::s3::headers::REPLICA_VERSION_ID;

    fn names(operation: Operation, query: &str, headers: &[(HeaderName, &'static str)]) -> Vec<&'static str> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let query = Query::parse(Some(query)).unwrap();
        let asked = Asked { headers: &headers, query: &query };
        row(operation, &asked).into_iter().flatten().map(Action::name).collect()
    }

    #[test]
    fn versions_have_actions_of_their_own() {
        for (operation, newest, named) in [
            (Operation::GetObject, "s3:GetObject", "s3:GetObjectVersion"),
            (Operation::HeadObject, "s3:GetObject", "s3:GetObjectVersion"),
            (Operation::DeleteObject, "s3:DeleteObject", "s3:DeleteObjectVersion"),
            (Operation::GetObjectTagging, "s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
            (Operation::PutObjectTagging, "s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
            (Operation::DeleteObjectTagging, "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
            (Operation::GetObjectAcl, "s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
            (Operation::PutObjectAcl, "s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
        ] {
            assert_eq!(names(operation, "", &[]), [newest]);
            assert_eq!(names(operation, "versionId=null", &[]), [named]);
        }
    }

    #[test]
    fn attributes_need_the_right_to_read_too() {
        assert_eq!(names(Operation::GetObjectAttributes, "", &[]), ["s3:GetObjectAttributes", "s3:GetObject"]);
        assert_eq!(
            names(Operation::GetObjectAttributes, "versionId=x", &[]),
            ["s3:GetObjectVersionAttributes", "s3:GetObjectVersion"]
        );
    }

    #[test]
    fn what_a_new_object_is_given_needs_its_own_action() {
        for operation in [Operation::PutObject, Operation::CopyObject, Operation::CreateMultipartUpload] {
            assert_eq!(names(operation, "", &[]), ["s3:PutObject"]);
            for (header, action) in [
                (ACL, "s3:PutObjectAcl"),
                (GRANT_READ, "s3:PutObjectAcl"),
                (TAGGING, "s3:PutObjectTagging"),
                (OBJECT_LOCK_MODE, "s3:PutObjectRetention"),
                (OBJECT_LOCK_LEGAL_HOLD, "s3:PutObjectLegalHold"),
            ] {
                assert_eq!(names(operation, "", &[(header, "x")]), ["s3:PutObject", action]);
            }
        }
        // A part is given nothing; the upload's creation was asked.
        assert_eq!(names(Operation::UploadPart, "", &[(ACL, "private")]), ["s3:PutObject"]);
    }

    #[test]
    fn a_replica_needs_the_actions_of_replication_alone() {
        let id = (REPLICA_VERSION_ID, "x");
        for (operation, expected) in [
            (Operation::PutObject, &["s3:ReplicateObject"][..]),
            (Operation::CreateMultipartUpload, &["s3:ReplicateObject"]),
            (Operation::UploadPart, &["s3:ReplicateObject"]),
            (Operation::CompleteMultipartUpload, &["s3:ReplicateObject"]),
            (Operation::DeleteObject, &["s3:ReplicateDelete"]),
            (Operation::PutObjectTagging, &["s3:ReplicateTags", "s3:ReplicateObject"]),
            (
                Operation::HeadObject,
                &[
                    "s3:GetObjectVersionForReplication",
                    "s3:GetObjectVersionAcl",
                    "s3:GetObjectVersionTagging",
                    "s3:GetObjectRetention",
                    "s3:GetObjectLegalHold",
                ],
            ),
        ] {
            assert_eq!(names(operation, "", std::slice::from_ref(&id)), expected);
        }
        let full = [id.clone(), (TAGGING, "a=b"), (REPLICA_OWNER, "bucket-owner")];
        assert_eq!(
            names(Operation::PutObject, "", &full),
            ["s3:ReplicateObject", "s3:ReplicateTags", "s3:ObjectOwnerOverrideToBucketOwner"]
        );
        // What is about no replica needs what it always does; the gate has refused the header.
        assert_eq!(names(Operation::GetObject, "", &[id]), ["s3:GetObject"]);
    }

    #[test]
    fn what_a_new_bucket_is_given_needs_its_own_action() {
        let lock = (BUCKET_OBJECT_LOCK_ENABLED, "true");
        let own = (OBJECT_OWNERSHIP, "ObjectWriter");
        let acl = (ACL, "public-read");
        assert_eq!(names(Operation::CreateBucket, "", &[(BUCKET_OBJECT_LOCK_ENABLED, "False")]), ["s3:CreateBucket"]);
        assert_eq!(
            names(Operation::CreateBucket, "", &[lock, own, acl]),
            [
                "s3:CreateBucket",
                "s3:PutBucketAcl",
                "s3:PutBucketOwnershipControls",
                "s3:PutBucketObjectLockConfiguration",
                "s3:PutBucketVersioning"
            ]
        );
    }

    #[test]
    fn every_operation_but_one_needs_something_of_what_it_names() {
        for operation in Operation::ALL {
            let needed = names(*operation, "", &[]);
            assert_eq!(needed.is_empty(), *operation == Operation::DeleteObjects, "{operation:?}");
        }
    }
}
