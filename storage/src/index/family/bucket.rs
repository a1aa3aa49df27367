//! `bucket`: the bucket itself. Its revision changes only when what is in it changes, and every mutation guards it.
//!
//! ```text
//! key    empty: one row a partition
//! value  BucketRecord
//! ```

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::record::Record;

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
        });
    }
}
