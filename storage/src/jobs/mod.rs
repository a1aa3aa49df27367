//! Durable tasks: the one shape of every daemon.
//!
//! A task is a row that joins the very commit that made it necessary. A runner serves one queue: it knows for each
//! bucket a lower bound of when the next task falls due, so that it never scans what was done already; it retries with
//! exponential backoff and jitter, and lays what fails too often into the dead queue with its last error. A task may run
//! twice after a crash, so each is idempotent.

pub mod collect;
pub mod forget_upload;
pub mod moving;
pub mod queues;
pub mod replicate;
pub mod restore;
pub mod retrieval;
mod runner;
pub mod scan;
mod schedule;
pub mod settle;
pub mod walks;

use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::StorageError;
use crate::clock::{Entropy, Timestamp};
use crate::id::JobId;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::family::pending;
use crate::index::{Batch, Family, Partition};
use crate::ops::Store;
use crate::record::Record;
use crate::replication::{RuleId, TargetId};

pub use runner::{JobHandle, JobStatus, RunnerOptions, spawn};
pub use schedule::Schedule;

/// A task to add to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Who runs it.
    pub queue: Queue,
    /// When.
    pub due: Timestamp,
    /// What to do, as the queue's handler understands it.
    pub task: Vec<u8>,
    /// In a queue with lanes: which one.
    pub lane: Option<InLane>,
}

/// A task in a queue with lanes: which lane, and how it counts among what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InLane {
    /// The lane's target.
    pub target: TargetId,
    /// The rule that it counts for.
    pub rule: RuleId,
    /// The version's plaintext bytes.
    pub size_bytes: u64,
}

impl NewTask {
    /// Adds the task's row to `batch`.
    ///
    /// # Errors
    /// `MetadataTooLarge`.
    pub(crate) fn join(self, batch: &mut Batch, entropy: &dyn Entropy) -> Result<(), StorageError> {
        let record = JobRecord { task: self.task.into(), attempts: 0, last_error: None, origin: None, given_up: None };
        let id = JobId::generate(entropy);
        match self.lane {
            None => batch.put(Family::Job, job::key(self.queue, self.due, id), record.to_value()?),
            Some(lane) => {
                batch.put(Family::Job, job::lane_key(self.queue, lane.target, self.due, id), record.to_value()?);
                pending::count(batch, lane.target, lane.rule, 1, lane.size_bytes);
            }
        }
        Ok(())
    }
}

/// Waits until somebody says to stop; for ever, if nobody can any more.
pub async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What became of one run of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done: the row goes.
    Done,
    /// Not possible yet, through nobody's fault: again after so many milliseconds.
    Later(i64),
    /// Failed: again with backoff, or dead after too many failures.
    Failed(String),
}

/// Runs the tasks of one queue.
#[async_trait]
pub trait Handler: Send + Sync + fmt::Debug + 'static {
    /// The queue.
    fn queue(&self) -> Queue;

    /// Runs one task. Idempotent: it may run again after a crash, also when it was done.
    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_waits_to_be_told_to_stop_goes_on_waiting_if_nobody_can_say_so_any_more() {
        let (stop, mut stopped) = watch::channel(false);
        assert_eq!(told_to_stop(&mut stopped).now_or_never(), None);
        let mut other = stopped.clone();
        stop.send(true).unwrap();
        assert_eq!(told_to_stop(&mut stopped).now_or_never(), Some(()));
        stop.send(false).unwrap();
        drop(stop);
        assert_eq!(told_to_stop(&mut other).now_or_never(), None);
    }
}
