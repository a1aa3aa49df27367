//! What the runner of a replication lane needs: what waits, the version as it is now, and settling what became of tasks.

mod settled;
mod standing;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, JobId, VersionId};
use crate::index::family::bucket::BucketState;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::family::pending::{self, Waiting};
use crate::index::family::version::Version;
use crate::index::{Family, KeyRange, View};
use crate::jobs::replicate::{Lane, ReplicateTask};
use crate::object::ObjectKey;
use crate::record::Record;
use crate::replication::{Progress, Replication, TargetId, TargetStatus};

use super::placement::Mutation;
use super::planner::PlannedReplication;
use super::replica::AHEAD_MS_MAX;
use super::seen::SeenBucket;
use super::{ATTEMPTS_MAX, Bucket, BucketName, Store, VersionSelector};

pub use settled::{Noted, SETTLED_TOGETHER_MAX, Settled};
pub use standing::{Arrived, LOOKED_AT_MAX, NEWER_MAX, Standing};

/// How many tasks one page holds.
pub const PAGE_TASKS_MAX: usize = 256;

/// How many characters of a reason are kept.
const REASON_CHARS_MAX: usize = 500;

/// A task as the index holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedTask {
    /// The lane.
    pub lane: Lane,
    /// When it falls due.
    pub due: Timestamp,
    /// Its id.
    pub id: JobId,
    /// What to do.
    pub task: ReplicateTask,
    /// How often it has failed.
    pub attempts: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it was given up, if it was. It is no task any more then, and `due` and `id` say where its row lies.
    pub given_up: Option<Timestamp>,
}

impl QueuedTask {
    /// Its place in the lane.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { due: self.due, id: self.id }
    }

    fn key(&self, queue: Queue) -> [u8; 33] {
        job::lane_key(queue, self.lane.target, self.due, self.id)
    }

    fn record(&self, attempts: u32, reason: Option<&str>) -> JobRecord {
        let task = minicbor::to_vec(&self.task).unwrap_or_default(); // writing to a Vec cannot fail
        let last_error = reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        JobRecord { task: task.into(), attempts, last_error, origin: None, given_up: None }
    }
}

/// A place in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When what is there falls due.
    pub due: Timestamp,
    /// Its id.
    pub id: JobId,
}

impl Position {
    /// Before everything that falls due at `due`.
    #[must_use]
    pub fn at(due: Timestamp) -> Self {
        Self { due, id: JobId::from_bytes([0; 16]) }
    }
}

/// A page of a lane.
#[derive(Clone, Debug, Default)]
pub struct QueuePage {
    /// What is due.
    pub tasks: Vec<QueuedTask>,
    /// Where there is more, which may be due already.
    pub next: Option<Position>,
}

/// What a version that is there is brought to targets for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// It has not been there, or has failed.
    Missing,
    /// Whatever is known: as if it had not been there.
    Again,
    /// It is not there as it should be, and comes under a new id where targets give their own.
    Anew,
    /// It is there with other settings. They were changed there, perhaps at this time, so those that it has here are made the later ones.
    Settings {
        /// When those there were changed.
        there: Option<Timestamp>,
    },
}

impl Store {
    /// The bucket that a lane's partition is; None: it is gone, or is going.
    ///
    /// # Errors
    /// The index's.
    pub async fn bucket_of(&self, id: BucketId) -> Result<Option<Bucket>, StorageError> {
        let seen = self.view(id, SeenBucket::read).await?;
        let active = seen.filter(|seen| seen.record.state == BucketState::Active);
        Ok(active.and_then(|seen| Some(Bucket::of(id, BucketName::new(&seen.record.name)?, seen.record))))
    }

    /// Finds the lanes that the index holds tasks of, and adds them to [`Store::lanes`].
    ///
    /// # Errors
    /// The index's.
    pub async fn find_lanes(&self) -> Result<(), StorageError> {
        for (_, entry) in self.all_buckets().await? {
            let first = self.view(entry.bucket, |view| lanes_of(view, Queue::Replicate)).await?;
            for (target, due) in first {
                self.lanes().add(Lane { partition: entry.bucket.into(), target }, due);
            }
        }
        Ok(())
    }

    /// A page of a lane's tasks from `from` on that have fallen due by `now`, in that order.
    ///
    /// # Errors
    /// The index's.
    pub async fn queued(&self, lane: Lane, from: Position, now: Timestamp) -> Result<QueuePage, StorageError> {
        let start = job::lane_key(Queue::Replicate, lane.target, from.due, from.id).to_vec();
        let page = move |view: &dyn View| {
            let end = KeyRange::prefix(&job::lane_prefix(Queue::Replicate, lane.target)).end;
            page_of(view, (Queue::Replicate, lane), KeyRange { start: start.clone(), end }, now, PAGE_TASKS_MAX)
        };
        self.index().view(lane.partition, page).await?
    }

    /// What was given up on the way to any target, or to this one: at most `max`.
    ///
    /// # Errors
    /// The index's.
    pub async fn unreplicated(
        &self,
        bucket: BucketId,
        target: Option<TargetId>,
        max: usize,
    ) -> Result<Vec<QueuedTask>, StorageError> {
        let page = move |view: &dyn View| {
            let targets = match target {
                Some(target) => vec![target],
                None => lanes_of(view, Queue::Unreplicated)?.into_iter().map(|(target, _)| target).collect(),
            };
            let mut all = Vec::new();
            for target in targets {
                let lane = Lane { partition: bucket.into(), target };
                let range = KeyRange::prefix(&job::lane_prefix(Queue::Unreplicated, target));
                match page_of(view, (Queue::Unreplicated, lane), range, Timestamp(i64::MAX), max - all.len())? {
                    Ok(page) => all.extend(page.tasks),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(all))
        };
        self.view(bucket, page).await?
    }

    /// What waits, by rule.
    ///
    /// # Errors
    /// The index's.
    pub async fn waiting(&self, bucket: BucketId) -> Result<Vec<Waiting>, StorageError> {
        self.view(bucket, pending::read).await
    }

    /// A version of any kind; None: there is none of this id.
    ///
    /// # Errors
    /// The index's.
    pub async fn any_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
    ) -> Result<Option<Version>, StorageError> {
        let key = key.clone();
        self.view(bucket, move |view| Ok(settled::Seen::read(view, &key, id)?.version(id).cloned())).await
    }

    /// Makes a version that is there PENDING for the targets that `plan` names; to be brought `Missing`, only for those that it has not been
    /// brought to: those that it has no status for, and those where it has failed. True: there is such a target. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `MetadataTooLarge`, `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn replicate_existing(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        bring: Bring,
        plan: impl Fn(&Version) -> Vec<PlannedReplication>,
    ) -> Result<bool, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket, key, VersionSelector::Id(id)).await?;
            let version = seen.head.head.as_ref().and_then(|head| seen.find(head, VersionSelector::Id(id)));
            let Some(version) = version else { return Ok(false) };
            let mut changed = version.clone();
            let mut mutation = Mutation::new(&seen.bucket);
            for planned in plan(version) {
                let replication = changed.replication_mut().get_or_insert_default();
                let there = replication.at(planned.target).map(|status| status.progress);
                if there == Some(Progress::Completed) && bring == Bring::Missing {
                    continue;
                }
                if replication.set_pending(planned.target) {
                    mutation.tasks.push(planned.task);
                    let status = replication.targets.iter_mut().find(|status| status.target == planned.target);
                    status.into_iter().for_each(|status| bring.note(status));
                    if let Bring::Settings { there } = bring {
                        // Never back, and by a target's word no further ahead than by a source's.
                        let (now, own) = (self.clock().now(), replication.changed.map_or(0, |own| own.0));
                        let later = there.map_or(0, |there| there.0.saturating_add(1).min(now.0 + AHEAD_MS_MAX));
                        replication.changed = Some(Timestamp(now.0.max(later).max(own)));
                    }
                }
            }
            if mutation.tasks.is_empty() {
                return Ok(false);
            }
            mutation.forget_given_up(key, id, version.replication(), changed.replication());
            mutation.replace_version(key, &seen.head, changed)?;
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(true);
            }
        }
        Err(StorageError::Contention)
    }

    /// Tries again what was given up: the version is PENDING again, with a task. False: it is gone, or has arrived meanwhile, so nothing
    /// is kept of it any more.
    ///
    /// # Errors
    /// `ReadOnly`, `Overloaded`, `OutcomeUnknown`.
    pub async fn retry_unreplicated(&self, given_up: &QueuedTask) -> Result<bool, StorageError> {
        let bucket = BucketId::from_bytes(given_up.lane.partition.0);
        let key = ObjectKey::new(&given_up.task.key).ok_or_else(|| StorageError::corrupt("replicate task: key"))?;
        let id = given_up.task.version;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket, &key, VersionSelector::Id(id)).await?;
            let mut mutation = Mutation::new(&seen.bucket);
            // Stops: retry x the version's being given up once more, whose row this would remove.
            mutation.guard_head(&key, &seen.head);
            mutation.batch.delete(Family::Job, given_up.key(Queue::Unreplicated));
            let target = given_up.lane.target;
            let has_failed = |replication: &Replication| {
                replication.at(target).is_some_and(|status| status.progress == Progress::Failed)
            };
            let version = seen.head.head.as_ref().and_then(|head| seen.find(head, VersionSelector::Id(id)));
            let failed = version.filter(|version| version.replication().is_some_and(has_failed));
            let again = failed.is_some();
            if let Some(version) = failed {
                let mut changed = version.clone();
                changed.replication_mut().get_or_insert_default().set_pending(target);
                mutation.forget_given_up(&key, id, version.replication(), changed.replication());
                mutation.replace_version(&key, &seen.head, changed)?;
                mutation.tasks.push(given_up.task.due_at(self.clock().now()));
            }
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(again);
            }
        }
        Err(StorageError::Contention)
    }
}

impl Bring {
    fn note(self, status: &mut TargetStatus) {
        status.arrived = matches!(self, Self::Settings { .. });
        if self == Self::Anew {
            status.foreign_version = None;
        }
    }
}

/// The lanes of a queue with lanes, and when the first task of each falls due.
fn lanes_of(view: &dyn View, queue: Queue) -> Result<Vec<(TargetId, Timestamp)>, crate::index::IndexError> {
    let mut lanes = Vec::new();
    let mut cursor = view.cursor(Family::Job, KeyRange::prefix(&[queue as u8]))?;
    while let Some((target, due, _)) = cursor.row().and_then(|(key, _, _)| job::parse_lane_key(key)) {
        lanes.push((target, due));
        let Some(next) = KeyRange::prefix(&job::lane_prefix(queue, target)).end else { break };
        cursor.seek(&next)?;
    }
    Ok(lanes)
}

type PageOrNot = Result<Result<QueuePage, StorageError>, crate::index::IndexError>;

fn page_of(view: &dyn View, (queue, lane): (Queue, Lane), range: KeyRange, now: Timestamp, max: usize) -> PageOrNot {
    let mut page = QueuePage::default();
    let mut cursor = view.cursor(Family::Job, range)?;
    while let Some((key, _, value)) = cursor.row() {
        let Some((_, due, id)) = job::parse_lane_key(key) else {
            return Ok(Err(StorageError::corrupt("a replicate task's key")));
        };
        if due > now || page.tasks.len() >= max {
            page.next = Some(Position { due, id });
            break;
        }
        let JobRecord { task, attempts, last_error, given_up, .. } = JobRecord::from_value(value)?;
        // An older form of these rows has it in its place.
        let given_up = given_up.or((queue == Queue::Unreplicated).then_some(due));
        match ReplicateTask::decode(&task) {
            Ok(task) => page.tasks.push(QueuedTask { lane, due, id, task, attempts, last_error, given_up }),
            Err(error) => return Ok(Err(error)),
        }
        cursor.advance()?;
    }
    Ok(Ok(page))
}
