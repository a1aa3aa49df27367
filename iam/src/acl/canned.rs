//! The ACLs that S3 has names for (S3 user guide, "Canned ACL").

use super::{AccountNumber, Acl, Grant, Grantee, Permission};

/// An ACL by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are S3's
pub enum CannedAcl {
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
    /// Grants a service of Amazon's that is no account here: the same as private.
    AwsExecRead,
    /// For objects; on a bucket the same as private.
    BucketOwnerRead,
    /// For objects; on a bucket the same as private.
    BucketOwnerFullControl,
    /// For buckets only.
    LogDeliveryWrite,
}

impl CannedAcl {
    const ALL: [Self; 8] = [
        Self::Private,
        Self::PublicRead,
        Self::PublicReadWrite,
        Self::AuthenticatedRead,
        Self::AwsExecRead,
        Self::BucketOwnerRead,
        Self::BucketOwnerFullControl,
        Self::LogDeliveryWrite,
    ];

    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
            Self::LogDeliveryWrite => "log-delivery-write",
        }
    }

    /// The canned ACL of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canned| canned.name() == name)
    }

    /// The ACL of something of `owner`'s; `bucket_owner` is the owner of the bucket that it is in. For a bucket itself they
    /// are the same.
    #[must_use]
    pub fn acl(self, owner: AccountNumber, bucket_owner: AccountNumber) -> Acl {
        let to_bucket_owner = |permission| Grant::new(Grantee::Account(bucket_owner), permission);
        let others = match self {
            Self::BucketOwnerRead | Self::BucketOwnerFullControl if owner == bucket_owner => vec![],
            Self::Private | Self::AwsExecRead => vec![],
            Self::PublicRead => vec![Grant::new(Grantee::AllUsers, Permission::Read)],
            Self::PublicReadWrite => {
                [Permission::Read, Permission::Write].map(|permission| Grant::new(Grantee::AllUsers, permission)).into()
            }
            Self::AuthenticatedRead => vec![Grant::new(Grantee::AuthenticatedUsers, Permission::Read)],
            Self::BucketOwnerRead => vec![to_bucket_owner(Permission::Read)],
            Self::BucketOwnerFullControl => vec![to_bucket_owner(Permission::FullControl)],
            Self::LogDeliveryWrite => [Permission::Write, Permission::ReadAcp]
                .map(|permission| Grant::new(Grantee::LogDelivery, permission))
                .into(),
        };
        let mut acl = Acl::private(owner);
        let groups_first = others.first().is_some_and(|grant| grant.grantee.uri().is_some());
        acl.0.splice(if groups_first { 0..0 } else { 1..1 }, others);
        acl
    }
}
