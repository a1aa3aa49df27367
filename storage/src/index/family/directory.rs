//! `directory`: which bucket has a name. Partition SYSTEM.
//!
//! ```text
//! key    bucket name
//! value  DirectoryEntry
//! ```

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{AccountId, BucketId};
use crate::index::family::bucket::{ObjectOwnership, PublicAccessBlock};
use crate::record::Record;

/// Where a bucket is in its life. `Creating` and `Deleting` are the intents of a saga that a restart resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryState {
    /// The bucket row may not exist yet.
    #[n(0)]
    Creating,
    /// The bucket is in use.
    #[n(1)]
    Active,
    /// The bucket row may be `deleting`, or gone already.
    #[n(2)]
    Deleting,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryEntry {
    /// The bucket's id and partition.
    #[n(0)]
    pub bucket: BucketId,
    /// The owner.
    #[n(1)]
    pub owner: AccountId,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// Where it is in its life.
    #[n(3)]
    pub state: EntryState,
    /// Its region.
    #[n(4)]
    pub region: String,
    /// Whether object lock was asked for; kept here so that a restart can complete `Creating`.
    #[n(5)]
    pub object_lock: bool,
    /// Who will own what is written; kept here for the same reason.
    #[n(6)]
    #[cbor(default)]
    pub ownership: ObjectOwnership,
    /// What will be blocked of public access; kept here for the same reason.
    #[n(7)]
    pub public_access_block: Option<PublicAccessBlock>,
}

impl Record for DirectoryEntry {
    const NAME: &'static str = "directory";
    const BYTES_MAX: usize = 256;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::check_round_trip;

    #[test]
    fn round_trips() {
        check_round_trip(&DirectoryEntry {
            bucket: BucketId::from_bytes([3; 16]),
            owner: "000000000007".parse().unwrap(),
            created: Timestamp(12),
            state: EntryState::Deleting,
            region: "us-east-1".to_owned(),
            object_lock: true,
            ownership: ObjectOwnership::BucketOwnerPreferred,
            public_access_block: Some(PublicAccessBlock::ALL),
        });
    }
}
