//! What works in the background: walk jobs, lifecycle sweeps, the task queues, and the tasks that were given up.
//!
//! A bucket's sweeps are one job, which is there as long as something of the bucket can fall due. Its id is [`SWEEPS_OF`] and
//! the bucket's name, which no other id looks like.
//!
//! `cairn jobs` reads the same documents as are written here.

use std::borrow::Cow;
use std::cmp::Reverse;

use cairn_lifecycle::state::{End, Summary};
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::JobId;
use cairn_storage::index::family::walk::WalkRecord;
use cairn_storage::jobs::queues::{DeadTask, QueueSummary};
use cairn_storage::jobs::walks::{WalkChange, WalkError};
use cairn_storage::ops::{Bucket, BucketName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::authorize::{Authorized, OnServer};
use crate::lifecycle_sweeps::Status;
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::restores::time_text;
use super::{Admin, json};

/// How the id of a bucket's sweeps begins.
const SWEEPS_OF: &str = "sweeps-of-";

/// Buckets whose sweeps are listed at most.
const SWEEPS_MAX: usize = 200;

/// A job as the calls answer it. The times are of RFC 3339, in UTC.
#[derive(Serialize, Deserialize)]
pub(crate) struct JobDocument {
    pub(crate) id: String,
    pub(crate) kind: Cow<'static, str>,
    /// None: the whole store.
    pub(crate) bucket: Option<String>,
    /// `running`, `paused`, `done`, `failed` or `cancelled`; of sweeps also `waiting`, for their turn. They are `failed` if
    /// the last one could not do all, which the next one tries again.
    pub(crate) state: Cow<'static, str>,
    pub(crate) examined: u64,
    pub(crate) changed: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    pub(crate) last_error: Option<String>,
    /// None: no sweep has begun.
    pub(crate) started: Option<String>,
    pub(crate) updated: Option<String>,
}

impl From<WalkRecord> for JobDocument {
    fn from(walk: WalkRecord) -> Self {
        Self {
            id: walk.id.to_string(),
            kind: walk.kind.name().into(),
            bucket: walk.bucket.map(|bucket| bucket.name),
            state: walk.state.name().into(),
            examined: walk.counts.examined,
            changed: walk.counts.changed,
            skipped: walk.counts.skipped,
            failed: walk.counts.failed,
            bytes: walk.counts.bytes,
            last_error: walk.last_error,
            started: Some(time_text(walk.started)),
            updated: Some(time_text(walk.updated)),
        }
    }
}

impl JobDocument {
    /// A bucket's sweeps: the one under way, or else the last one.
    fn of_sweeps(bucket: &BucketName, status: Status, now: Timestamp) -> Self {
        let Status { paused, all_paused, requested, running, last, .. } = status;
        let is_running = running.is_some();
        let sweep = running.map(|(started, report)| Summary::new(report, started, now, End::Early)).or(last);
        let state = match &sweep {
            _ if is_running => "running",
            _ if requested.is_some() => "waiting",
            _ if paused || all_paused => "paused",
            Some(Summary { end: End::Failed(_), .. }) => "failed",
            Some(Summary { failed, .. }) if !failed.is_empty() => "failed",
            // It goes on with moves in its next turn.
            Some(Summary { end: End::Early, .. }) | None => "waiting",
            Some(_) => "done",
        };
        let of_sweep = |count: fn(&Summary) -> u64| sweep.as_ref().map_or(0, count);
        Self {
            id: format!("{SWEEPS_OF}{}", bucket.as_str()),
            kind: "sweeps".into(),
            bucket: Some(bucket.as_str().to_owned()),
            state: state.into(),
            examined: of_sweep(|sweep| sweep.versions),
            changed: of_sweep(|sweep| sweep.done.iter().map(|done| done.count).sum()),
            skipped: of_sweep(|sweep| sweep.overtaken),
            failed: of_sweep(|sweep| sweep.failed.iter().map(|failed| failed.count).sum()),
            bytes: of_sweep(|sweep| sweep.done.iter().map(|done| done.bytes).sum()),
            last_error: sweep.as_ref().and_then(|sweep| match &sweep.end {
                End::Failed(reason) => Some(reason.clone()),
                End::Whole | End::Early => sweep.failures.first().cloned(),
            }),
            started: sweep.as_ref().map(|sweep| time_text(sweep.started)),
            updated: sweep.as_ref().map(|sweep| time_text(sweep.ended)),
        }
    }

    /// The higher, the sooner somebody wants to see it.
    fn interest(&self) -> u8 {
        match &*self.state {
            "running" => 4,
            "failed" => 3,
            "waiting" => 2,
            "paused" => 1,
            _ => 0,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct QueueDocument {
    pub(crate) queue: Cow<'static, str>,
    pub(crate) waiting: u64,
    pub(crate) first_due: Option<String>,
}

impl From<QueueSummary> for QueueDocument {
    fn from(summary: QueueSummary) -> Self {
        let QueueSummary { queue, waiting, first_due } = summary;
        Self { queue: queue.name().into(), waiting, first_due: first_due.map(time_text) }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DeadTaskDocument {
    pub(crate) id: String,
    pub(crate) bucket: Option<String>,
    pub(crate) queue: Option<Cow<'static, str>>,
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) since: String,
}

impl From<DeadTask> for DeadTaskDocument {
    fn from(task: DeadTask) -> Self {
        Self {
            id: task.id.to_string(),
            bucket: task.bucket,
            queue: task.queue.map(|queue| queue.name().into()),
            attempts: task.attempts,
            last_error: task.last_error,
            since: time_text(task.since),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct JobsDocument {
    /// In the order in which they began; of those that have ended, the last ones.
    pub(crate) jobs: Vec<JobDocument>,
    /// Of the buckets that have any: those under way first, then those that failed, that wait and that are paused.
    pub(crate) sweeps: Vec<JobDocument>,
    /// How many buckets have any.
    pub(crate) sweeps_count: usize,
    pub(crate) queues: Vec<QueueDocument>,
    /// Tasks that were given up, the first of them.
    pub(crate) dead: Vec<DeadTaskDocument>,
    /// How many there are.
    pub(crate) dead_count: u64,
    /// So many tasks wait that not all were counted.
    pub(crate) is_partial: bool,
}

/// What retrying did.
#[derive(Serialize)]
struct RetriedDocument {
    id: String,
    /// `task`: it is back in its queue.
    retried: &'static str,
}

pub(super) async fn list_jobs(admin: &Admin, _: Authorized<OnServer>) -> Result<Answer, Failure> {
    let jobs = admin.store.walks().await?.into_iter().map(JobDocument::from).collect();
    let overview = admin.store.queues().await?;
    let now = admin.store.clock().now();
    let sweeps = admin.sweeps.statuses().into_iter();
    let mut sweeps: Vec<_> = sweeps.map(|(bucket, status)| JobDocument::of_sweeps(&bucket, status, now)).collect();
    let sweeps_count = sweeps.len();
    sweeps.sort_by_key(|sweeps| Reverse(sweeps.interest()));
    sweeps.truncate(SWEEPS_MAX);
    json(&JobsDocument {
        jobs,
        sweeps,
        sweeps_count,
        queues: overview.queues.into_iter().map(QueueDocument::from).collect(),
        dead: overview.dead.into_iter().map(DeadTaskDocument::from).collect(),
        dead_count: overview.dead_count,
        is_partial: overview.is_partial,
    })
}

pub(super) async fn get_job(admin: &Admin, _: Authorized<OnServer>, id: &str) -> Result<Answer, Failure> {
    if let Some(name) = id.strip_prefix(SWEEPS_OF) {
        let bucket = swept_bucket(admin, name).await?;
        return sweeps_document(admin, &bucket, admin.sweeps.status(&bucket).await?);
    }
    let id: JobId = id.parse().map_err(|_| no_such_job())?;
    let walk = admin.store.walk(id).await?.ok_or_else(no_such_job)?;
    json(&JobDocument::from(walk))
}

/// Changes a job; a task that was given up can be retried by its id as well.
pub(super) async fn change_job(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    id: &str,
    change: WalkChange,
) -> Result<Answer, Failure> {
    if let Some(name) = id.strip_prefix(SWEEPS_OF) {
        return change_sweeps(admin, authorized, name, change).await;
    }
    let id: JobId = id.parse().map_err(|_| no_such_job())?;
    let account = authorized.account().id;
    match admin.store.change_walk(id, change).await {
        Ok(walk) => {
            tracing::info!(%account, job = %id, ?change, state = walk.state.name(), "an operator changed a job");
            json(&JobDocument::from(walk))
        }
        Err(WalkError::NoSuchWalk) if change == WalkChange::Retry && admin.store.retry_dead_task(id).await? => {
            tracing::info!(%account, task = %id, "an operator gave a task back to its queue");
            json(&RetriedDocument { id: id.to_string(), retried: "task" })
        }
        Err(error) => Err(failure(error)),
    }
}

/// Pauses a bucket's sweeps, lets them go on, or has the bucket swept now.
async fn change_sweeps(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    name: &str,
    change: WalkChange,
) -> Result<Answer, Failure> {
    let bucket = swept_bucket(admin, name).await?;
    let status = match change {
        WalkChange::Pause => admin.sweeps.pause(&bucket, true).await?,
        WalkChange::Resume => admin.sweeps.pause(&bucket, false).await?,
        WalkChange::Retry => admin.sweeps.ask(&bucket).await?,
        WalkChange::Cancel => {
            let why =
                "A bucket is swept for as long as something of it can fall due. Pausing ends the sweep under way.";
            return Err(Failure::custom("InvalidJobState", StatusCode::CONFLICT, why));
        }
    };
    tracing::info!(account = %authorized.account().id, bucket = name, ?change, "an operator changed a bucket's sweeps");
    sweeps_document(admin, &bucket, status)
}

/// A bucket of which something can fall due.
async fn swept_bucket(admin: &Admin, name: &str) -> Result<Bucket, Failure> {
    let name = BucketName::new(name).ok_or_else(no_such_job)?;
    match admin.store.bucket(&name).await {
        Ok(bucket) if admin.sweeps.has_work(&bucket).await? => Ok(bucket),
        Ok(_) | Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => Err(no_such_job()),
        Err(error) => Err(error.into()),
    }
}

fn sweeps_document(admin: &Admin, bucket: &Bucket, status: Status) -> Result<Answer, Failure> {
    json(&JobDocument::of_sweeps(&bucket.name, status, admin.store.clock().now()))
}

/// Why a job was not begun or changed.
pub(super) fn failure(error: WalkError) -> Failure {
    match error {
        WalkError::Storage(error) => error.into(),
        WalkError::NoSuchWalk => no_such_job(),
        WalkError::InState(state) => Failure::custom(
            "InvalidJobState",
            StatusCode::CONFLICT,
            format!("The job is {}, where this makes no sense.", state.name()),
        ),
        error @ WalkError::TooMany => {
            Failure::custom("LimitExceeded", StatusCode::BAD_REQUEST, format!("Too many jobs: {error}."))
        }
    }
}

pub(super) fn no_such_job() -> Failure {
    Failure::custom("NoSuchJob", StatusCode::NOT_FOUND, "There is no job of this id, or none any more.")
}
