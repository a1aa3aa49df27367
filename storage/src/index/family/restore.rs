//! A bucket's newest restore to a point in time: the [`DocumentKind::Restore`] document, one for each bucket that ever had
//! one. It says what was asked for, how far the work is, and what came of it; every page of the work rewrites it.
//!
//! [`DocumentKind::Restore`]: super::document::DocumentKind::Restore

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{AccountId, JobId, VersionId};
use crate::record::Record;

/// The most bytes of why a restore failed that are kept.
pub const REASON_BYTES_MAX: usize = 500;

/// What became of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RestoreState {
    /// It is under way, or waits for its turn.
    #[n(0)]
    Running,
    /// Every key was looked at.
    #[n(1)]
    Done,
    /// It was ended by a caller; what it had restored stays.
    #[n(2)]
    Cancelled,
    /// It was given up; what it had restored stays.
    #[n(3)]
    Failed(#[n(0)] String),
}

/// How far a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum RestorePosition {
    /// No key was looked at.
    #[default]
    #[n(0)]
    Start,
    /// The keys up to this one are done.
    #[n(1)]
    After(#[n(0)] String),
    /// The key's versions down to this one, all of them newer than the point in time, were looked at.
    #[n(2)]
    Within(#[n(0)] String, #[n(1)] VersionId),
}

/// What a restore has found, and done unless it is a dry run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreCounts {
    /// Keys looked at.
    #[n(0)]
    pub keys: u64,
    /// Keys that got a version like the one that they had then.
    #[n(1)]
    pub restored: u64,
    /// The bytes of those versions, most of which are shared and not copied.
    #[n(2)]
    pub restored_bytes: u64,
    /// Keys that did not exist then and got a delete marker.
    #[n(3)]
    pub hidden: u64,
    /// Keys that were written after the restore began, and were left as they are.
    #[n(4)]
    pub overtaken: u64,
    /// Versions and delete markers removed for good since, that may have existed then: so many at most. Known in the end.
    #[n(5)]
    pub removed: u64,
}

/// One restore.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreRecord {
    /// Which one.
    #[n(0)]
    pub id: JobId,
    /// The point in time.
    #[n(1)]
    pub as_of: Timestamp,
    /// Only keys that begin with this.
    #[n(2)]
    pub prefix: String,
    /// It only counts.
    #[n(3)]
    pub dry_run: bool,
    /// Who asked for it, and owns the delete markers.
    #[n(4)]
    pub account: AccountId,
    /// When it was asked for.
    #[n(5)]
    pub started: Timestamp,
    /// What became of it.
    #[n(6)]
    pub state: RestoreState,
    /// When this record was written last.
    #[n(7)]
    pub updated: Timestamp,
    /// How far it is.
    #[n(8)]
    pub position: RestorePosition,
    /// What it has found and done.
    #[n(9)]
    pub counts: RestoreCounts,
}

impl Record for RestoreRecord {
    const NAME: &'static str = "restore";
    const BYTES_MAX: usize = 3 << 10;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::object::KEY_BYTES_MAX;
    use crate::record::check_round_trip;

    #[test]
    fn the_largest_one_round_trips() {
        let big = u64::MAX;
        let counts =
            RestoreCounts { keys: big, restored: big, restored_bytes: big, hidden: big, overtaken: big, removed: big };
        check_round_trip(&RestoreRecord {
            id: JobId::from_bytes([9; 16]),
            as_of: Timestamp(i64::MAX),
            prefix: "p".repeat(KEY_BYTES_MAX),
            dry_run: true,
            account: "999999999999".parse().unwrap(),
            started: Timestamp(i64::MAX),
            state: RestoreState::Failed("r".repeat(REASON_BYTES_MAX)),
            updated: Timestamp(i64::MAX),
            position: RestorePosition::Within("k".repeat(KEY_BYTES_MAX), VersionId::from_bytes([1; 16])),
            counts,
        });
    }
}
