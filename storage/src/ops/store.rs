//! The store: what every operation works on, and the one way to commit.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::StorageError;
use crate::blob::{BlobStore, Pins};
use crate::clock::{Clock, Entropy};
use crate::health::Health;
use crate::id::{BucketId, ContentId, Place};
use crate::index::family::job::Queue;
use crate::index::{Batch, Index, IndexError, Outcome, Partition, Refusal, Revision, View};
use crate::jobs::replicate::{Lane, Lanes};
use crate::jobs::{InLane, NewTask, Schedule};
use crate::lock_clock::LockClock;

use super::planner::Planner;
use super::turns::Turns;

/// What bounds the store's use of memory and disk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Contents of at most this many bytes live in the index.
    pub inline_threshold_bytes: usize,
}

/// What a store is made of; `wiring` puts it together.
#[derive(Debug)]
pub struct StoreParts {
    /// The index.
    pub index: Arc<dyn Index>,
    /// The chunk files.
    pub blobs: BlobStore,
    /// Whether writing is possible.
    pub health: Health,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub entropy: Arc<dyn Entropy>,
    /// What changes entail.
    pub planner: Arc<dyn Planner>,
    /// Bounds.
    pub limits: Limits,
}

/// Buckets and objects. Cheap to clone.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: StoreParts,
    pub(super) pins: Pins,
    turns: Turns,
    pub(super) schedule: Schedule,
    walks_changed: Notify,
    lanes: Lanes,
    lock_clock: Arc<LockClock>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.parts).finish()
    }
}

impl Store {
    /// A store over these parts. Call [`Store::recover`] before the first request.
    #[must_use]
    pub fn new(parts: StoreParts) -> Self {
        let lock_clock = Arc::new(LockClock::new(parts.clock.clone()));
        Self(Arc::new(Inner {
            parts,
            pins: Pins::default(),
            turns: Turns::default(),
            schedule: Schedule::default(),
            walks_changed: Notify::new(),
            lanes: Lanes::default(),
            lock_clock,
        }))
    }

    /// Whether writing is possible.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.parts.health
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.0.parts.index
    }

    /// The chunk files.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.0.parts.blobs
    }

    /// The contents in use.
    #[must_use]
    pub fn pins(&self) -> &Pins {
        &self.0.pins
    }

    /// Whose turn it is to copy a content to where it moves.
    pub(super) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// When tasks fall due, for the runner.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.0.schedule
    }

    /// Told when a walk was begun or changed by an operator.
    pub(crate) fn walks_changed(&self) -> &Notify {
        &self.0.walks_changed
    }

    /// Which targets something waits for, for replication.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// The time by which locks are judged.
    #[must_use]
    pub fn lock_clock(&self) -> &Arc<LockClock> {
        &self.0.lock_clock
    }

    /// The newest change of a bucket, of its objects or anything else, since the start; None: there was none. If it is what it
    /// was, so is all that was read after it was asked for.
    #[must_use]
    pub fn last_change(&self, bucket: BucketId) -> Option<Revision> {
        self.index().last_change(bucket.into())
    }

    /// Randomness.
    #[must_use]
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.0.parts.entropy
    }

    /// A new content's id.
    pub(super) fn new_content(&self, place: Place) -> ContentId {
        ContentId::generate(place, self.clock().as_ref(), self.entropy().as_ref())
    }

    pub(super) fn planner(&self) -> &Arc<dyn Planner> {
        &self.0.parts.planner
    }

    pub(super) fn limits(&self) -> Limits {
        self.0.parts.limits
    }

    /// One page of a bucket.
    pub(crate) async fn view<T, F>(&self, bucket: BucketId, page: F) -> Result<T, StorageError>
    where
        F: FnMut(&dyn View) -> Result<T, IndexError> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.0.parts.index.view(bucket.into(), page).await?)
    }

    /// One page of a walk through all of a bucket.
    pub(super) async fn view_far<T, F>(&self, bucket: BucketId, page: F) -> Result<T, StorageError>
    where
        F: FnMut(&dyn View) -> Result<T, IndexError> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.0.parts.index.view_far(bucket.into(), page).await?)
    }

    /// Commits `batch` with the tasks that it entails. False: a guard did not hold, read again.
    ///
    /// # Errors
    /// `Overloaded` and `ReadOnly`: nothing was written. `OutcomeUnknown`: nobody knows.
    pub(crate) async fn commit(
        &self,
        partition: Partition,
        batch: Batch,
        tasks: Vec<NewTask>,
    ) -> Result<bool, StorageError> {
        Ok(self.commit_revision(partition, batch, tasks).await?.is_some())
    }

    /// As [`Store::commit`], for those who guard what they have written: its revision. None: a guard did not hold.
    pub(crate) async fn commit_revision(
        &self,
        partition: Partition,
        mut batch: Batch,
        mut tasks: Vec<NewTask>,
    ) -> Result<Option<Revision>, StorageError> {
        let now = self.clock().now();
        // What a version waits for in a lane, or settles for, is a change that has happened, though by a clock that may have been ahead.
        let changes = tasks.iter_mut().filter(|task| task.lane.is_some() || task.queue == Queue::Settle);
        changes.for_each(|task| task.due = task.due.min(now));
        let due: Vec<_> = tasks.iter().map(|task| (task.queue, task.lane, task.due)).collect();
        for task in tasks {
            task.join(&mut batch, self.entropy().as_ref())?;
        }
        match self.0.parts.index.commit(partition, batch).await {
            Outcome::Committed(revision) => {
                for (queue, lane, due) in due {
                    match lane {
                        None => self.0.schedule.add(queue, partition, due),
                        Some(InLane { target, .. }) => self.0.lanes.add(Lane { partition, target }, due),
                    }
                }
                Ok(Some(revision))
            }
            Outcome::Conflict => Ok(None),
            Outcome::Refused(Refusal::Overloaded) => Err(StorageError::Overloaded),
            Outcome::Refused(Refusal::ReadOnly) => {
                let reason = self.health().read_only().unwrap_or("the index refuses commits").to_owned();
                Err(StorageError::ReadOnly { reason })
            }
            Outcome::Refused(Refusal::Unreadable) => {
                Err(StorageError::corrupt("a row that a commit depends on cannot be read"))
            }
            Outcome::Refused(Refusal::TooLarge) => Err(StorageError::MetadataTooLarge),
            Outcome::Unknown => Err(StorageError::OutcomeUnknown),
        }
    }
}

impl Outcome {
    /// The revision of what is durable, for who commits without a `Store`. None: a guard did not hold.
    ///
    /// # Errors
    /// `Overloaded`, `MetadataTooLarge`, `ReadOnly`: nothing was written. `OutcomeUnknown`.
    pub fn revision(self) -> Result<Option<Revision>, StorageError> {
        match self {
            Self::Committed(revision) => Ok(Some(revision)),
            Self::Conflict => Ok(None),
            Self::Refused(Refusal::Overloaded) => Err(StorageError::Overloaded),
            Self::Refused(Refusal::TooLarge) => Err(StorageError::MetadataTooLarge),
            Self::Refused(refusal @ (Refusal::ReadOnly | Refusal::Unreadable)) => {
                Err(StorageError::ReadOnly { reason: format!("the index refuses: {refusal:?}") })
            }
            Self::Unknown => Err(StorageError::OutcomeUnknown),
        }
    }
}

impl From<IndexError> for StorageError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Corrupt(what) => Self::Corrupt { what },
            IndexError::Failed(what) => Self::Io { doing: "reading the index", source: std::io::Error::other(what) },
            IndexError::Uncached => {
                Self::Io { doing: "reading the index", source: std::io::Error::other("a page ended uncached") }
            }
        }
    }
}
