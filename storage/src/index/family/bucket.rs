//! `bucket`: the bucket itself. Its revision changes only when what is in it changes, and every mutation guards it.
//!
//! ```text
//! key    empty: one row a partition
//! value  BucketRecord
//! ```

use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::record::Record;
use crate::settings::RetentionMode;

/// The key of the one row.
pub const KEY: &[u8] = b"";

/// A bucket's versioning state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Versioning {
    /// Never enabled: every key has at most one version, the `null` one.
    #[default]
    #[n(0)]
    Unversioned,
    /// Every mutation adds a version.
    #[n(1)]
    Enabled,
    /// Mutations replace the `null` version only.
    #[n(2)]
    Suspended,
}

/// Whether the bucket takes mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum BucketState {
    /// In use.
    #[n(0)]
    Active,
    /// DeleteBucket is looking whether it is empty.
    #[n(1)]
    Deleting,
}

/// Who owns the objects that are written into a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ObjectOwnership {
    /// The bucket's owner; ACLs are off.
    #[default]
    #[n(0)]
    BucketOwnerEnforced,
    /// The bucket's owner, if the writer grants it full control; else the writer.
    #[n(1)]
    BucketOwnerPreferred,
    /// The writer.
    #[n(2)]
    ObjectWriter,
    /// The writer, since the bucket's ownership controls were deleted.
    #[n(3)]
    NoControls,
}

/// A length of time as a bucket's default retention gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RetentionPeriod {
    /// Days of 24 hours.
    #[n(0)]
    Days(#[n(0)] u32),
    /// Years of 365 days.
    #[n(1)]
    Years(#[n(0)] u32),
}

/// What a bucket's versions are retained for unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DefaultRetention {
    /// Who may shorten it.
    #[n(0)]
    pub mode: RetentionMode,
    /// For how long.
    #[n(1)]
    pub period: RetentionPeriod,
}

/// What of a bucket's, or an account's, ACLs and policies that are public must not be or counts for nothing (S3 user guide,
/// "Blocking public access to your Amazon S3 storage").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PublicAccessBlock {
    /// `BlockPublicAcls`: no ACL may be set that is public.
    #[n(0)]
    pub refuse_acls: bool,
    /// `IgnorePublicAcls`: what ACLs grant to the public counts for nothing.
    #[n(1)]
    pub ignore_acls: bool,
    /// `BlockPublicPolicy`: no policy may be set that is public.
    #[n(2)]
    pub refuse_policy: bool,
    /// `RestrictPublicBuckets`: a public policy lets in the owner's account and services only.
    #[n(3)]
    pub restrict: bool,
}

impl PublicAccessBlock {
    /// Everything is blocked.
    pub const ALL: Self = Self { refuse_acls: true, ignore_acls: true, refuse_policy: true, restrict: true };

    /// What either blocks.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            refuse_acls: self.refuse_acls || other.refuse_acls,
            ignore_acls: self.ignore_acls || other.ignore_acls,
            refuse_policy: self.refuse_policy || other.refuse_policy,
            restrict: self.restrict || other.restrict,
        }
    }
}

/// The beginning of the SHA-256 of a bucket's document, by which a copy of it is known to be the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct DocumentDigest(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BucketRecord {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// The owner.
    #[n(1)]
    pub owner: AccountId,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// Its region.
    #[n(3)]
    pub region: String,
    /// Whether it takes mutations.
    #[n(4)]
    pub state: BucketState,
    /// Versioning.
    #[n(5)]
    pub versioning: Versioning,
    /// Object lock is enabled.
    #[n(6)]
    pub object_lock: bool,
    /// How long new versions are kept that ask for nothing else.
    #[n(7)]
    pub default_retention: Option<DefaultRetention>,
    /// Who owns what is written.
    #[n(8)]
    #[cbor(default)]
    pub ownership: ObjectOwnership,
    /// Requests of others must say that they pay.
    #[n(9)]
    #[cbor(default)]
    pub requester_pays: bool,
    /// What is blocked of public access; None: it was never said, or is not said any more.
    #[n(10)]
    pub public_access_block: Option<PublicAccessBlock>,
    /// Names the policy in the bucket's document; None: there is no policy.
    #[n(11)]
    pub policy: Option<DocumentDigest>,
    /// Versions go for good, and versioning changes, only with a code of an MFA device.
    #[n(12)]
    #[cbor(default)]
    pub mfa_delete: bool,
    /// Names the CORS configuration in the bucket's document; None: there is none.
    #[n(13)]
    pub cors: Option<DocumentDigest>,
    /// Names the lifecycle rules in the bucket's document; None: there are none.
    #[n(30)]
    pub lifecycle: Option<DocumentDigest>,
    /// Names the replication rules in the bucket's document; None: there are none.
    #[n(31)]
    pub replication: Option<DocumentDigest>,
}

impl BucketRecord {
    /// Refuses what is public where the bucket blocks it: `blocks` says by which switch.
    ///
    /// # Errors
    /// `PublicAccessBlocked`.
    pub fn check_public(&self, blocks: fn(&PublicAccessBlock) -> bool) -> Result<(), StorageError> {
        match &self.public_access_block {
            Some(block) if blocks(block) => Err(StorageError::PublicAccessBlocked),
            _ => Ok(()),
        }
    }
}

impl Record for BucketRecord {
    const NAME: &'static str = "bucket";
    const BYTES_MAX: usize = 512;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::check_round_trip;

    #[test]
    fn round_trips() {
        check_round_trip(&BucketRecord {
            name: "b".repeat(63),
            owner: "999999999999".parse().unwrap(),
            created: Timestamp(i64::MAX),
            region: "eu-central-1".to_owned(),
            state: BucketState::Deleting,
            versioning: Versioning::Suspended,
            object_lock: true,
            default_retention: Some(DefaultRetention {
                mode: RetentionMode::Governance,
                period: RetentionPeriod::Years(7),
            }),
            ownership: ObjectOwnership::ObjectWriter,
            requester_pays: true,
            public_access_block: Some(PublicAccessBlock::ALL),
            policy: Some(DocumentDigest([0xFF; 16])),
            mfa_delete: true,
            cors: Some(DocumentDigest([0xFF; 16])),
            lifecycle: Some(DocumentDigest([0xFE; 16])),
            replication: Some(DocumentDigest([0xFD; 16])),
        });
    }
}
