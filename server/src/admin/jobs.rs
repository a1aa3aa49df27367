//! What works in the background: walk jobs, the task queues, and the tasks that were given up.

use cairn_storage::id::JobId;
use cairn_storage::index::family::walk::WalkRecord;
use cairn_storage::jobs::queues::{DeadTask, QueueSummary};
use cairn_storage::jobs::walks::{WalkChange, WalkError};
use http::StatusCode;
use serde::Serialize;

use crate::authorize::{Authorized, OnServer};
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::restores::time_text;
use super::{Admin, json};

/// A walk job as the calls answer it. The times are of RFC 3339, in UTC.
#[derive(Serialize)]
pub(super) struct JobDocument {
    id: String,
    kind: &'static str,
    /// None: the whole store.
    bucket: Option<String>,
    /// `running`, `paused`, `done`, `failed` or `cancelled`.
    state: &'static str,
    examined: u64,
    changed: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
    last_error: Option<String>,
    started: String,
    updated: String,
}

impl From<WalkRecord> for JobDocument {
    fn from(walk: WalkRecord) -> Self {
        Self {
            id: walk.id.to_string(),
            kind: walk.kind.name(),
            bucket: walk.bucket.map(|bucket| bucket.name),
            state: walk.state.name(),
            examined: walk.counts.examined,
            changed: walk.counts.changed,
            skipped: walk.counts.skipped,
            failed: walk.counts.failed,
            bytes: walk.counts.bytes,
            last_error: walk.last_error,
            started: time_text(walk.started),
            updated: time_text(walk.updated),
        }
    }
}

#[derive(Serialize)]
struct QueueDocument {
    queue: &'static str,
    waiting: u64,
    first_due: Option<String>,
}

impl From<QueueSummary> for QueueDocument {
    fn from(summary: QueueSummary) -> Self {
        let QueueSummary { queue, waiting, first_due } = summary;
        Self { queue: queue.name(), waiting, first_due: first_due.map(time_text) }
    }
}

#[derive(Serialize)]
struct DeadTaskDocument {
    id: String,
    bucket: Option<String>,
    queue: Option<&'static str>,
    attempts: u32,
    last_error: Option<String>,
    since: String,
}

impl From<DeadTask> for DeadTaskDocument {
    fn from(task: DeadTask) -> Self {
        Self {
            id: task.id.to_string(),
            bucket: task.bucket,
            queue: task.queue.map(|queue| queue.name()),
            attempts: task.attempts,
            last_error: task.last_error,
            since: time_text(task.since),
        }
    }
}

#[derive(Serialize)]
struct JobsDocument {
    /// In the order in which they began; of those that have ended, the last ones.
    jobs: Vec<JobDocument>,
    queues: Vec<QueueDocument>,
    /// Tasks that were given up, the first of them.
    dead: Vec<DeadTaskDocument>,
    /// How many there are.
    dead_count: u64,
    /// So many tasks wait that not all were counted.
    is_partial: bool,
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
    json(&JobsDocument {
        jobs,
        queues: overview.queues.into_iter().map(QueueDocument::from).collect(),
        dead: overview.dead.into_iter().map(DeadTaskDocument::from).collect(),
        dead_count: overview.dead_count,
        is_partial: overview.is_partial,
    })
}

pub(super) async fn get_job(admin: &Admin, _: Authorized<OnServer>, id: &str) -> Result<Answer, Failure> {
    let id: JobId = id.parse().map_err(|_| no_such_job())?;
    let walk = admin.store.walk(id).await?.ok_or_else(no_such_job)?;
    json(&JobDocument::from(walk))
}

/// Changes a walk job; a task that was given up can be retried by its id as well.
pub(super) async fn change_job(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    id: &str,
    change: WalkChange,
) -> Result<Answer, Failure> {
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

fn no_such_job() -> Failure {
    Failure::custom("NoSuchJob", StatusCode::NOT_FOUND, "There is no job of this id, or none any more.")
}
