//! `job`: durable tasks, in the order in which they fall due.
//!
//! ```text
//! key    queue (u8) | due, ms since the epoch (u64) | job id (16)
//! value  JobRecord
//! ```
//!
//! The queues of replication have a lane for each target, so that what waits for one is passed by in one seek:
//!
//! ```text
//! key    queue (u8) | target (8) | due, ms since the epoch (u64) | job id (16)
//! ```
//!
//! What was given up has one row for each version and target. In place of the due time is the one that the version's order is, and in place
//! of the job id the beginning of a digest of key and version; when it was given up is in the record. (Rows of an older form have there the
//! time at which it was given up, and the task's id.)

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{JobId, VersionId};
use crate::object::ObjectKey;
use crate::record::Record;
use crate::replication::TargetId;

/// The queues. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Queue {
    /// Frees contents that no version uses any more.
    Collect = 1,
    /// Forgets completed uploads after a day.
    ForgetUpload = 2,
    /// Restores buckets to a point in time.
    Restore = 3,
    /// Brings versions to replication targets. It has lanes, and a runner of its own for each.
    Replicate = 4,
    /// What was not brought, and why. It has lanes; nothing runs it, until it is asked for again.
    Unreplicated = 5,
    /// Brings files to where their classes have them.
    Settle = 8,
    /// Tells when archived versions can be read, and when they cannot any more.
    Retrieval = 9,
    /// Tasks that failed too often; nothing runs them.
    Dead = 255,
}

impl Queue {
    /// The queues that a runner serves.
    pub const RUN: [Self; 5] = [Self::Collect, Self::ForgetUpload, Self::Restore, Self::Settle, Self::Retrieval];

    /// The queue of this number that a runner serves.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::RUN.into_iter().find(|queue| *queue as u8 == number)
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::ForgetUpload => "forget-upload",
            Self::Restore => "restore",
            Self::Replicate => "replicate",
            Self::Unreplicated => "unreplicated",
            Self::Settle => "settle",
            Self::Retrieval => "retrieval",
            Self::Dead => "dead",
        }
    }
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobRecord {
    /// What to do: CBOR that the queue's handler understands.
    #[n(0)]
    pub task: ByteVec,
    /// How often it has failed.
    #[n(1)]
    pub attempts: u32,
    /// The last failure.
    #[n(2)]
    pub last_error: Option<String>,
    /// In the dead queue: the queue it came from.
    #[n(3)]
    pub origin: Option<u8>,
    /// In the queue of what was not replicated: when it was given up.
    #[n(4)]
    pub given_up: Option<Timestamp>,
}

impl Record for JobRecord {
    const NAME: &'static str = "job";
    const BYTES_MAX: usize = 8 << 10;
}

/// The row's key.
#[must_use]
pub fn key(queue: Queue, due: Timestamp, id: JobId) -> [u8; 25] {
    let mut key = [0; 25];
    key[0] = queue as u8;
    key[1..9].copy_from_slice(&due.unsigned_ms().to_be_bytes());
    key[9..].copy_from_slice(id.as_bytes());
    key
}

/// The first key of the queue's tasks that fall due at `due` or later.
#[must_use]
pub fn lower_bound(queue: Queue, due: Timestamp) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = queue as u8;
    key[1..].copy_from_slice(&due.unsigned_ms().to_be_bytes());
    key
}

/// The due time and id in a row's key; None if it is malformed.
#[must_use]
pub fn parse_key(row_key: &[u8]) -> Option<(Timestamp, JobId)> {
    let due: [u8; 8] = row_key.get(1..9)?.try_into().ok()?;
    let due = i64::try_from(u64::from_be_bytes(due)).ok()?;
    Some((Timestamp(due), JobId::from_slice(row_key.get(9..)?)?))
}

/// The row's key in a queue with lanes.
#[must_use]
pub fn lane_key(queue: Queue, target: TargetId, due: Timestamp, id: JobId) -> [u8; 33] {
    let mut key = [0; 33];
    key[0] = queue as u8;
    key[1..9].copy_from_slice(target.as_bytes());
    key[9..17].copy_from_slice(&due.unsigned_ms().to_be_bytes());
    key[17..].copy_from_slice(id.as_bytes());
    key
}

/// The key of the row of a version that was given up on its way to a target.
#[must_use]
pub fn given_up_key(target: TargetId, key: &ObjectKey, version: VersionId) -> [u8; 33] {
    let digest = Checksum::of(ChecksumAlgorithm::Sha256, &[version.as_bytes(), key.as_bytes()].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    let order_ms = i64::try_from(version.order() / 1_000).unwrap_or(i64::MAX);
    lane_key(Queue::Unreplicated, target, Timestamp(order_ms), JobId::from_bytes(id))
}

/// What every key of a lane begins with.
#[must_use]
pub fn lane_prefix(queue: Queue, target: TargetId) -> [u8; 9] {
    let mut prefix = [0; 9];
    prefix[0] = queue as u8;
    prefix[1..].copy_from_slice(target.as_bytes());
    prefix
}

/// The target, due time and id in the key of a row of a queue with lanes; None if it is malformed.
#[must_use]
pub fn parse_lane_key(row_key: &[u8]) -> Option<(TargetId, Timestamp, JobId)> {
    let target = TargetId::from_bytes(row_key.get(1..9)?.try_into().ok()?);
    let due = u64::from_be_bytes(row_key.get(9..17)?.try_into().ok()?);
    Some((target, Timestamp(i64::try_from(due).ok()?), JobId::from_slice(row_key.get(17..)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::check_round_trip;

    #[test]
    fn round_trips() {
        check_round_trip(&JobRecord {
            task: vec![1, 2, 3].into(),
            attempts: 7,
            last_error: Some("no".to_owned()),
            origin: Some(1),
            given_up: Some(Timestamp(5)),
        });
        let id = JobId::from_bytes([9; 16]);
        assert_eq!(parse_key(&key(Queue::Collect, Timestamp(55), id)), Some((Timestamp(55), id)));
    }

    #[test]
    fn lanes_keep_their_tasks_apart_and_in_order() {
        let (one, other) = (TargetId::from_bytes([1; 8]), TargetId::from_bytes([2; 8]));
        let id = JobId::from_bytes([9; 16]);
        let key = lane_key(Queue::Replicate, one, Timestamp(55), id);
        assert_eq!(parse_lane_key(&key), Some((one, Timestamp(55), id)));
        assert!(key.starts_with(&lane_prefix(Queue::Replicate, one)));
        assert!(key < lane_key(Queue::Replicate, one, Timestamp(56), JobId::from_bytes([0; 16])));
        assert!(key < lane_key(Queue::Replicate, other, Timestamp(1), id));
    }

    #[test]
    fn tasks_sort_by_queue_and_due_time() {
        let id = JobId::from_bytes([0xFF; 16]);
        let early = key(Queue::Collect, Timestamp(1), id);
        let late = key(Queue::Collect, Timestamp(2), JobId::from_bytes([0; 16]));
        assert!(early < late && late < key(Queue::ForgetUpload, Timestamp(0), id));
        assert!(lower_bound(Queue::Collect, Timestamp(2)).as_slice() <= late.as_slice());
        assert!(lower_bound(Queue::Collect, Timestamp(2)).as_slice() > early.as_slice());
    }
}
