//! The actions of S3's policy language (Service authorization reference, "Actions, resources, and condition keys for Amazon
//! S3") that this server's operations need, and those that it has for what S3 does not do.

use cairn_storage::ops::VersionSelector;

macro_rules! actions {
    (s3 { $($name:ident)* } cairn { $($own:ident)* }) => {
        /// What somebody wants to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the names are S3's
        pub enum Action {
            $($name,)*
            $($own,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)* $(Self::$own,)*];

            /// The name in policies.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("s3:", stringify!($name)),)*
                    $(Self::$own => concat!("cairn:", stringify!($own)),)*
                }
            }
        }
    };
}

actions! {
    s3 {
        AbortMultipartUpload
        BypassGovernanceRetention
        CreateBucket
        DeleteBucket
        DeleteBucketPolicy
        DeleteBucketWebsite
        DeleteObject
        DeleteObjectTagging
        DeleteObjectVersion
        DeleteObjectVersionTagging
        GetAccelerateConfiguration
        GetAccountPublicAccessBlock
        GetBucketAcl
        GetBucketCORS
        GetBucketLocation
        GetBucketObjectLockConfiguration
        GetBucketOwnershipControls
        GetBucketPolicy
        GetBucketPolicyStatus
        GetBucketPublicAccessBlock
        GetBucketRequestPayment
        GetBucketTagging
        GetBucketVersioning
        GetBucketWebsite
        GetEncryptionConfiguration
        GetIntelligentTieringConfiguration
        GetLifecycleConfiguration
        GetObject
        GetObjectAcl
        GetObjectAttributes
        GetObjectLegalHold
        GetObjectRetention
        GetObjectTagging
        GetObjectVersion
        GetObjectVersionAcl
        GetObjectVersionAttributes
        GetObjectVersionForReplication
        GetObjectVersionTagging
        GetReplicationConfiguration
        ListAllMyBuckets
        ListBucket
        ListBucketMultipartUploads
        ListBucketVersions
        ListMultipartUploadParts
        ObjectOwnerOverrideToBucketOwner
        PutAccelerateConfiguration
        PutAccountPublicAccessBlock
        PutBucketAcl
        PutBucketCORS
        PutBucketObjectLockConfiguration
        PutBucketOwnershipControls
        PutBucketPolicy
        PutBucketPublicAccessBlock
        PutBucketRequestPayment
        PutBucketTagging
        PutBucketVersioning
        PutBucketWebsite
        PutEncryptionConfiguration
        PutIntelligentTieringConfiguration
        PutLifecycleConfiguration
        PutObject
        PutObjectAcl
        PutObjectLegalHold
        PutObjectRetention
        PutObjectTagging
        PutObjectVersionAcl
        PutObjectVersionTagging
        PutReplicationConfiguration
        ReplicateDelete
        ReplicateObject
        ReplicateTags
        RestoreObject
        UpdateObjectEncryption
    }
    cairn {
        GetReplication
        PlanLifecycle
        RestoreBucket
        RunLifecycle
        RunReplication
    }
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

#[cfg(test)]
mod tests {
    use cairn_iam::s3_actions::S3_ACTIONS;

    use super::Action;

    /// A policy that names an action is refused unless the policy engine knows it.
    #[test]
    fn policies_know_every_action() {
        for action in Action::ALL.iter().filter(|action| action.name().starts_with("s3:")) {
            assert!(S3_ACTIONS.iter().any(|(name, _)| *name == action.name()), "{action:?}");
        }
    }
}
