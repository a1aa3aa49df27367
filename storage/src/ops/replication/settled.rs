//! Settling what became of a lane's tasks, many in one commit: group commit spares the disk, and this the work of a commit for each.
//!
//! A task's row, the version's status and the counters of what waits change together. A task is settled as done only if the version still
//! is as it was when it was brought: a change that came meanwhile found it PENDING, and so has no task of its own.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, VersionId};
use crate::index::family::head::SeenHead;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::family::pending;
use crate::index::family::version::Version;
use crate::index::{Family, IndexError, View};
use crate::jobs::replicate::Lane;
use crate::object::ObjectKey;
use crate::ops::placement::Mutation;
use crate::ops::seen::{SeenBucket, read_version};
use crate::ops::{ATTEMPTS_MAX, Store};
use crate::record::Record;
use crate::replication::{FOREIGN_VERSION_BYTES_MAX, Progress};
use crate::settings::ObjectSettings;

use super::QueuedTask;

/// How many tasks are settled in one commit at most.
pub const SETTLED_TOGETHER_MAX: usize = 64;

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The target has the version with these settings.
    Completed {
        /// Its settings when it was brought; None: it is a delete marker.
        settings: Option<ObjectSettings>,
        /// Its id at a foreign target.
        foreign_version: Option<String>,
    },
    /// It is given up, and kept with the reason.
    Failed {
        /// Why.
        reason: String,
    },
    /// It failed, and runs again at `due`.
    Again {
        /// When.
        due: Timestamp,
        /// Why; None: through nobody's fault.
        reason: Option<String>,
    },
    /// There is nothing to bring: the version is gone, or is not PENDING for the target any more.
    Dropped,
}

/// A task's key and version as one view saw them.
pub(super) struct Seen {
    head: SeenHead,
    /// The version, if it is not the head.
    below: Option<Version>,
}

impl Seen {
    pub(super) fn read(view: &dyn View, key: &ObjectKey, id: VersionId) -> Result<Self, IndexError> {
        let head = SeenHead::read(view, key)?;
        let is_below = head.head.as_ref().is_some_and(|head| head.version.id() != id);
        let below = if is_below { read_version(view, key, id)? } else { None };
        Ok(Self { head, below })
    }

    pub(super) fn version(&self, id: VersionId) -> Option<&Version> {
        let head = self.head.head.as_ref().map(|head| &head.version);
        head.into_iter().chain(&self.below).find(|version| version.id() == id)
    }
}

/// How a task stands after it was to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// What became of it is noted.
    Done,
    /// Its version has changed since it was brought, so the task stays.
    Changed,
    /// The version's record has no room for what was to be noted: it is given up.
    Full,
}

impl Store {
    /// Settles tasks of one lane, at most [`SETTLED_TOGETHER_MAX`] and of different keys. Durable when it returns; how each of them stands.
    ///
    /// # Errors
    /// Of each task: `BucketBusy`, `ReadOnly`, `Overloaded`, `Corrupt`, `OutcomeUnknown`: it is as it was, or nobody knows.
    pub async fn settle(&self, lane: Lane, tasks: &[(QueuedTask, Settled)]) -> Vec<Result<Noted, StorageError>> {
        if let Ok(Some(noted)) = self.settle_together(lane, tasks).await {
            return noted.into_iter().map(Ok).collect();
        }
        // A client is at work on one of the keys, or one of the tasks spoils it for the others.
        // Their keys differ, so all of them at once: the commits share their syncs.
        futures::future::join_all(tasks.iter().map(|task| self.settle_alone(lane, task))).await
    }

    async fn settle_alone(&self, lane: Lane, task: &(QueuedTask, Settled)) -> Result<Noted, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.settle_together(lane, std::slice::from_ref(task)).await {
                Ok(Some(noted)) => return Ok(noted.first().copied().unwrap_or(Noted::Done)),
                Ok(None) => {}
                // Nothing but giving up helps.
                Err(StorageError::MetadataTooLarge) if !matches!(task.1, Settled::Failed { .. }) => {
                    let reason = "the version's record is full".to_owned();
                    let given_up = (task.0.clone(), Settled::Failed { reason });
                    return Box::pin(self.settle_alone(lane, &given_up)).await.map(|_| Noted::Full);
                }
                Err(error) => return Err(error),
            }
        }
        Err(StorageError::Contention)
    }

    /// One attempt at all of them. None: a guard did not hold.
    async fn settle_together(
        &self,
        lane: Lane,
        tasks: &[(QueuedTask, Settled)],
    ) -> Result<Option<Vec<Noted>>, StorageError> {
        let named = |(queued, _): &(QueuedTask, Settled)| {
            let key = ObjectKey::new(&queued.task.key).ok_or_else(|| StorageError::corrupt("replicate task: key"))?;
            Ok((key, queued.task.version))
        };
        let named = tasks.iter().map(named).collect::<Result<Vec<_>, StorageError>>()?;
        let keys = named.clone();
        let page = move |view: &dyn View| {
            let seen = named.iter().map(|(key, id)| Seen::read(view, key, *id)).collect::<Result<Vec<_>, _>>()?;
            Ok((SeenBucket::read(view)?, seen))
        };
        let (bucket, seen) = self.view(BucketId::from_bytes(lane.partition.0), page).await?;
        let bucket = match SeenBucket::writable(bucket) {
            Ok(bucket) => bucket,
            // It took all of its tasks along.
            Err(StorageError::NoSuchBucket) => return Ok(Some(vec![Noted::Done; tasks.len()])),
            // One that is being deleted may stay after all.
            Err(error) => return Err(error),
        };
        let mut settling = Settling { mutation: Mutation::new(&bucket), again: None };
        let mut noted = Vec::with_capacity(tasks.len());
        for (((key, _), seen), (queued, settled)) in keys.iter().zip(&seen).zip(tasks) {
            noted.push(settling.add(key, seen, queued, settled, self.clock().now())?);
        }
        let Settling { mutation, again } = settling;
        if !self.commit(lane.partition, mutation.batch, mutation.tasks).await? {
            return Ok(None);
        }
        if let Some(due) = again {
            self.lanes().add(lane, due);
        }
        Ok(Some(noted))
    }
}

/// A commit that settles tasks, in the making.
struct Settling {
    mutation: Mutation,
    /// When the first of those falls due that run again.
    again: Option<Timestamp>,
}

impl Settling {
    /// No guards of the tasks' rows: only the one runner of the lane changes them.
    fn add(
        &mut self,
        key: &ObjectKey,
        seen: &Seen,
        queued: &QueuedTask,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<Noted, StorageError> {
        if let Settled::Again { due, reason } = settled {
            let later = QueuedTask { due: *due, ..queued.clone() };
            let attempts = queued.attempts + u32::from(reason.is_some());
            let record = queued.record(attempts, reason.as_deref().or(queued.last_error.as_deref()));
            self.mutation.batch.delete(Family::Job, queued.key(Queue::Replicate));
            self.mutation.batch.put(Family::Job, later.key(Queue::Replicate), record.to_value()?);
            self.again = Some(self.again.map_or(*due, |again| again.min(*due)));
            return Ok(Noted::Done);
        }
        if !note(&mut self.mutation, key, seen, queued, settled, now)? {
            return Ok(Noted::Changed);
        }
        self.mutation.batch.delete(Family::Job, queued.key(Queue::Replicate));
        let lane = queued.task.lane();
        pending::count(&mut self.mutation.batch, lane.target, lane.rule, -1, lane.size_bytes);
        Ok(Noted::Done)
    }
}

/// Notes in the version's record what became of its task; what is given up has a row for as long as the record says so. False: it has
/// changed since it was brought.
fn note(
    mutation: &mut Mutation,
    key: &ObjectKey,
    seen: &Seen,
    queued: &QueuedTask,
    settled: &Settled,
    now: Timestamp,
) -> Result<bool, StorageError> {
    let Some(mut version) = seen.version(queued.task.version).cloned() else { return Ok(true) };
    let settings = match &version {
        Version::Object(object) => Some(object.settings.clone()),
        Version::Marker(_) => None,
    };
    let target = queued.lane.target;
    let Some(replication) = version.replication_mut() else { return Ok(true) };
    let Some(status) = replication.targets.iter_mut().find(|status| status.target == target) else { return Ok(true) };
    match settled {
        Settled::Completed { settings: brought, foreign_version } => {
            if settings != *brought {
                return Ok(false);
            }
            status.progress = Progress::Completed;
            status.arrived = true;
            status.foreign_version = foreign_version.clone().filter(|id| id.len() <= FOREIGN_VERSION_BYTES_MAX);
        }
        Settled::Failed { reason } => {
            status.progress = Progress::Failed;
            let record = queued.record(queued.attempts + 1, Some(reason));
            let record = JobRecord { given_up: Some(now), ..record };
            let row = job::given_up_key(target, key, queued.task.version);
            mutation.batch.put(Family::Job, row, record.to_value()?);
        }
        // It has become PENDING since, by this same task.
        Settled::Dropped => return Ok(status.progress != Progress::Pending),
        Settled::Again { .. } => return Ok(true),
    }
    mutation.replace_version(key, &seen.head, version)?;
    Ok(true)
}
