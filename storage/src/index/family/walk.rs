//! Walk jobs (`jobs/walks`): one row of the family `document` in the partition SYSTEM for each, and one for each thing that a walk has
//! found and keeps.
//!
//! ```text
//! key    DocumentKind::Walk (u8) | job id (16)
//! value  WalkRecord
//!
//! key    DocumentKind::Finding (u8) | job id (16) | how many the walk had found before (u64)
//! value  Finding
//! ```

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{BucketId, JobId};
use crate::index::family::document::DocumentKind;
use crate::record::Record;

/// The longest argument.
pub const ARGUMENT_BYTES_MAX: usize = 4 << 10;

/// The longest cursor: an object key twice over, with what is beside it.
pub const CURSOR_BYTES_MAX: usize = 8 << 10;

/// The most bytes of a failure that are kept.
pub const ERROR_BYTES_MAX: usize = 500;

/// What a walk does. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum WalkKind {
    /// Wraps data keys anew under the newest version of their key.
    #[n(1)]
    Rewrap,
    /// Moves contents to another tier.
    #[n(2)]
    Move,
    /// Replicates what was there before the rule.
    #[n(3)]
    Backfill,
    /// Replicates everything once more.
    #[n(4)]
    Resync,
    /// Compares what was replicated with what the targets have.
    #[n(5)]
    Verify,
    /// Removes the older versions of a key, if nothing is wrapped under them.
    #[n(6)]
    Retire,
}

impl WalkKind {
    /// Its name in commands and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewrap => "rewrap",
            Self::Move => "move",
            Self::Backfill => "backfill",
            Self::Resync => "resync",
            Self::Verify => "verify",
            Self::Retire => "retire",
        }
    }
}

/// What has become of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum WalkState {
    /// It goes on, or waits for its turn.
    #[n(0)]
    Running,
    /// An operator holds it.
    #[n(1)]
    Paused,
    /// It came to its end.
    #[n(2)]
    Done,
    /// It failed too often in one place; it can be retried from there.
    #[n(3)]
    Failed,
    /// An operator ended it; what it had done stays.
    #[n(4)]
    Cancelled,
}

impl WalkState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::Done, Self::Failed, Self::Cancelled];

    /// Whether it may still do something without being retried.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Its name in commands and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The bucket that a walk is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WalkBucket {
    /// Its id: another bucket of the name is not meant.
    #[n(0)]
    pub id: BucketId,
    /// Its name.
    #[n(1)]
    pub name: String,
}

/// What a walk has met. A page that a crash made it repeat is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WalkCounts {
    /// Looked at.
    #[n(0)]
    pub examined: u64,
    /// Changed as it was meant.
    #[n(1)]
    pub changed: u64,
    /// Left as they are, because nothing is to be done about them or nothing can be.
    #[n(2)]
    pub skipped: u64,
    /// Could not be changed, though they should be.
    #[n(3)]
    pub failed: u64,
    /// The bytes of what was changed.
    #[n(4)]
    pub bytes: u64,
}

impl WalkCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            examined: self.examined.saturating_add(more.examined),
            changed: self.changed.saturating_add(more.changed),
            skipped: self.skipped.saturating_add(more.skipped),
            failed: self.failed.saturating_add(more.failed),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }
}

/// One walk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WalkRecord {
    /// Which one.
    #[n(0)]
    pub id: JobId,
    /// What it does.
    #[n(1)]
    pub kind: WalkKind,
    /// Where; None: in the whole store.
    #[n(2)]
    pub bucket: Option<WalkBucket>,
    /// How, as the kind's walker understands it; at most [`ARGUMENT_BYTES_MAX`].
    #[n(3)]
    pub argument: ByteVec,
    /// What has become of it.
    #[n(4)]
    pub state: WalkState,
    /// How far it is, as the kind's walker understands it; empty: at the start. At most [`CURSOR_BYTES_MAX`].
    #[n(5)]
    pub cursor: ByteVec,
    /// What it has met.
    #[n(6)]
    pub counts: WalkCounts,
    /// The last thing that went wrong.
    #[n(7)]
    pub last_error: Option<String>,
    /// When it began.
    #[n(8)]
    pub started: Timestamp,
    /// When this record was last written.
    #[n(9)]
    pub updated: Timestamp,
}

impl Record for WalkRecord {
    const NAME: &'static str = "walk";
    const BYTES_MAX: usize = 14 << 10;
}

/// The most characters of a finding's detail that are kept.
pub const DETAIL_CHARS_MAX: usize = 300;

/// What is wrong with a version at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FindingKind {
    /// It is not there.
    #[n(0)]
    Missing,
    /// It is another one there.
    #[n(1)]
    Differs,
    /// It is there, and not at the source.
    #[n(2)]
    Extra,
    /// What is there cannot be read, or not be compared.
    #[n(3)]
    Unreadable,
    /// It has other settings there, and keeps them: those that it has here are not for the source's role to bring, or to put in their place.
    #[n(4)]
    ByRight,
}

impl FindingKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Extra => "extra",
            Self::Unreadable => "unreadable",
            Self::ByRight => "differs-by-right",
        }
    }
}

/// Something that a walk has found.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Finding {
    /// What is wrong.
    #[n(0)]
    pub kind: FindingKind,
    /// The object's key.
    #[n(1)]
    pub key: String,
    /// The version; of something extra, its id at the target.
    #[n(2)]
    pub version: String,
    /// The target's ARN.
    #[n(3)]
    pub target: String,
    /// More of what is wrong, for people; at most [`DETAIL_CHARS_MAX`].
    #[n(4)]
    pub detail: String,
    /// It was queued, to be brought there again.
    #[n(5)]
    pub mended: bool,
}

impl Record for Finding {
    const NAME: &'static str = "finding";
    // A key, a foreign server's version id, each at its longest, and a detail of characters of four bytes.
    const BYTES_MAX: usize = 4 << 10;
}

/// The key of what a walk found after it had found `before` other things.
#[must_use]
pub fn finding_key(walk: JobId, before: u64) -> [u8; 25] {
    let mut key = [DocumentKind::Finding as u8; 25];
    key[1..17].copy_from_slice(walk.as_bytes());
    key[17..].copy_from_slice(&before.to_be_bytes());
    key
}

/// The prefix of all walks' rows.
pub const PREFIX: [u8; 1] = [DocumentKind::Walk as u8];

/// The row's key.
#[must_use]
pub fn key(id: JobId) -> [u8; 17] {
    let mut key = [PREFIX[0]; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::check_round_trip;

    fn largest() -> WalkRecord {
        let counts =
            WalkCounts { examined: u64::MAX, changed: u64::MAX, skipped: u64::MAX, failed: u64::MAX, bytes: u64::MAX };
        WalkRecord {
            id: JobId::from_bytes([1; 16]),
            kind: WalkKind::Rewrap,
            bucket: Some(WalkBucket { id: BucketId::from_bytes([2; 16]), name: "b".repeat(63) }),
            argument: vec![3; ARGUMENT_BYTES_MAX].into(),
            state: WalkState::Cancelled,
            cursor: vec![4; CURSOR_BYTES_MAX].into(),
            counts,
            last_error: Some("e".repeat(ERROR_BYTES_MAX)),
            started: Timestamp(i64::MAX),
            updated: Timestamp(i64::MAX),
        }
    }

    #[test]
    fn the_largest_record_round_trips() {
        let record = largest();
        assert_eq!(WalkRecord::from_value(&record.to_value().expect("within its bound")).expect("decodes"), record);
    }

    #[test]
    fn the_largest_finding_round_trips() {
        check_round_trip(&Finding {
            kind: FindingKind::Unreadable,
            key: "k".repeat(crate::object::KEY_BYTES_MAX),
            version: "v".repeat(1_024),
            target: format!("arn:aws:s3:{}::{}", "r".repeat(32), "b".repeat(63)),
            detail: "\u{10FFFF}".repeat(DETAIL_CHARS_MAX),
            mended: true,
        });
    }

    #[test]
    fn round_trips() {
        check_round_trip(&WalkRecord {
            bucket: None,
            argument: Vec::new().into(),
            cursor: b"key".to_vec().into(),
            last_error: None,
            ..largest()
        });
    }
}
