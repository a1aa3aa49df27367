//! Tasks of replication, and which lanes have any: a lane is what one bucket has to bring to one target.
//!
//! The runner of a lane is `replication`'s; here is what a commit needs to know. A version has at most one task for a target at a time:
//! that which joined the commit that made it PENDING there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::VersionId;
use crate::index::Partition;
use crate::index::family::job::Queue;
use crate::replication::{RuleId, TargetId};

use super::{InLane, NewTask};

/// Bring a version to a target.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReplicateTask {
    /// The object's key.
    #[n(0)]
    pub key: String,
    /// The version.
    #[n(1)]
    pub version: VersionId,
    /// The target's ARN.
    #[n(2)]
    pub target: String,
    /// The rule that took it, by its name.
    #[n(3)]
    pub rule: String,
    /// The version's plaintext bytes.
    #[n(4)]
    pub size_bytes: u64,
    /// Since when it waits.
    #[n(5)]
    pub since: Timestamp,
}

impl ReplicateTask {
    /// The task in a row.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn decode(task: &[u8]) -> Result<Self, StorageError> {
        minicbor::decode(task).map_err(|error| StorageError::corrupt(format!("replicate task: {error}")))
    }

    /// The lane's target.
    #[must_use]
    pub fn target_id(&self) -> TargetId {
        TargetId::of(&self.target)
    }

    /// How it is counted and where it lies.
    #[must_use]
    pub fn lane(&self) -> InLane {
        InLane { target: self.target_id(), rule: RuleId::of(&self.rule), size_bytes: self.size_bytes }
    }

    /// The task, due at `due`.
    #[must_use]
    pub fn due_at(&self, due: Timestamp) -> NewTask {
        let task = minicbor::to_vec(self).unwrap_or_default(); // writing to a Vec cannot fail
        NewTask { queue: Queue::Replicate, due, task, lane: Some(self.lane()) }
    }
}

/// What one bucket has to bring to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The source.
    pub partition: Partition,
    /// The target.
    pub target: TargetId,
}

/// The lanes that something has been added to, with a lower bound of when it falls due. Cheap to clone; clones are the same. Rebuilt from
/// the index at a start.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Told when something is added to a lane that nobody listens to.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    bounds: BTreeMap<Lane, Timestamp>,
    listeners: HashMap<Lane, Arc<Notify>>,
}

impl Lanes {
    /// A task of this lane falls due at `due`.
    pub fn add(&self, lane: Lane, due: Timestamp) {
        let mut state = self.0.state.lock();
        let bound = state.bounds.entry(lane).or_insert(due);
        *bound = (*bound).min(due);
        match state.listeners.get(&lane) {
            Some(listener) => listener.notify_one(),
            None => self.0.changed.notify_waiters(),
        }
    }

    /// Listens to what is added to this lane from now on; only one at a time does.
    #[must_use]
    pub fn listen(&self, lane: Lane) -> Listener {
        let added = Arc::new(Notify::new());
        self.0.state.lock().listeners.insert(lane, Arc::clone(&added));
        Listener { lanes: self.clone(), lane, added }
    }

    /// The lanes that something was added to.
    #[must_use]
    pub fn added(&self) -> Vec<Lane> {
        self.0.state.lock().bounds.keys().copied().collect()
    }

    /// Completes when something is added, after this call or after the future was enabled, to a lane that nobody listens to.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }
}

/// Listens to one lane.
#[derive(Debug)]
pub struct Listener {
    lanes: Lanes,
    lane: Lane,
    added: Arc<Notify>,
}

impl Listener {
    /// Takes what was added to the lane since it was taken last.
    #[must_use]
    pub fn take(&self) -> Option<Timestamp> {
        self.lanes.0.state.lock().bounds.remove(&self.lane)
    }

    /// Completes when something was added since it completed last.
    pub fn more(&self) -> Notified<'_> {
        self.added.notified()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.lanes.0.state.lock();
        state.listeners.remove(&self.lane);
        // What came at the last moment is told to those who listen to all.
        if state.bounds.contains_key(&self.lane) {
            self.lanes.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt as _;

    use super::*;
    use crate::index::family::job::JobRecord;
    use crate::object::KEY_BYTES_MAX;
    use crate::record::Record;

    #[test]
    fn the_largest_task_fits_its_row() {
        let task = ReplicateTask {
            key: "k".repeat(KEY_BYTES_MAX),
            version: VersionId::from_bytes([7; 16]),
            target: format!("arn:aws:s3:{}::{}", "r".repeat(32), "b".repeat(63)),
            rule: "\u{10FFFF}".repeat(255),
            size_bytes: u64::MAX,
            since: Timestamp(i64::MAX),
        };
        let new = task.due_at(Timestamp(1));
        assert_eq!(ReplicateTask::decode(&new.task).unwrap(), task);
        let last_error = Some("\u{10FFFF}".repeat(500));
        let given_up = Some(Timestamp(i64::MAX));
        let record = JobRecord { task: new.task.into(), attempts: u32::MAX, last_error, origin: Some(5), given_up };
        assert!(record.to_value().is_ok());
    }

    #[test]
    fn a_lane_keeps_the_earliest_time_that_was_added() {
        let lanes = Lanes::default();
        let lane = Lane { partition: Partition([1; 16]), target: TargetId::from_bytes([2; 8]) };
        lanes.add(lane, Timestamp(5));
        lanes.add(lane, Timestamp(3));
        lanes.add(lane, Timestamp(9));
        assert_eq!(lanes.added(), [lane]);
        let listener = lanes.listen(lane);
        assert_eq!(listener.take(), Some(Timestamp(3)));
        assert_eq!((listener.take(), lanes.added()), (None, vec![]));
    }

    #[test]
    fn what_is_added_is_told_to_who_listens_to_the_lane_and_else_to_who_listens_to_all() {
        let lanes = Lanes::default();
        let lane = Lane { partition: Partition([1; 16]), target: TargetId::from_bytes([2; 8]) };
        let listener = lanes.listen(lane);
        let all = lanes.changed().now_or_never();
        assert!(all.is_none() && listener.more().now_or_never().is_none());
        let waiting = lanes.clone();
        let mut all = std::pin::pin!(waiting.changed());
        all.as_mut().enable();
        lanes.add(lane, Timestamp(1));
        assert!(listener.more().now_or_never().is_some());
        assert!(all.as_mut().now_or_never().is_none());
        drop(listener);
        assert!(all.now_or_never().is_some());
    }
}
