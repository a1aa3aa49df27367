//! The task queues as operators see them: what waits, what was given up, and trying that again.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision};
use crate::ops::Store;
use crate::record::Record;

/// How many rows one view counts.
const PAGE_ROWS_MAX: usize = 2_000;

/// How many waiting tasks are counted, in all queues together; beyond, numbers are lower bounds.
pub const COUNTED_MAX: u64 = 200_000;

/// How many given-up tasks are shown.
pub const DEAD_SHOWN_MAX: usize = 500;

/// What waits in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// The queue.
    pub queue: Queue,
    /// Tasks that wait.
    pub waiting: u64,
    /// When the first of them falls due.
    pub first_due: Option<Timestamp>,
}

/// A task that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadTask {
    /// Its id.
    pub id: JobId,
    /// The bucket; None: it is the server's own.
    pub bucket: Option<String>,
    /// The queue that it came from.
    pub queue: Option<Queue>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub last_error: Option<String>,
    /// When it was given up.
    pub since: Timestamp,
}

/// All queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueuesOverview {
    /// The queues that a runner serves.
    pub queues: Vec<QueueSummary>,
    /// The first tasks that were given up, at most [`DEAD_SHOWN_MAX`].
    pub dead: Vec<DeadTask>,
    /// How many were given up.
    pub dead_count: u64,
    /// More than [`COUNTED_MAX`] tasks wait, so the numbers are lower bounds.
    pub is_partial: bool,
}

/// A row of the family `job`.
struct Row {
    queue: u8,
    due: Timestamp,
    id: JobId,
    key: Vec<u8>,
    revision: Revision,
    /// Of a dead task.
    record: Option<JobRecord>,
}

impl Store {
    /// What waits in the queues, and what was given up.
    ///
    /// # Errors
    /// The index's.
    pub async fn queues(&self) -> Result<QueuesOverview, StorageError> {
        let mut overview = QueuesOverview {
            queues: Queue::RUN.map(|queue| QueueSummary { queue, waiting: 0, first_due: None }).into(),
            ..QueuesOverview::default()
        };
        let mut counted = 0;
        for (bucket, partition) in self.job_partitions().await? {
            let mut start = Vec::new();
            while counted < COUNTED_MAX {
                let rows = self.job_rows(partition, start).await?;
                let Some(last) = rows.last() else { break };
                start = [&last.key[..], b"\0"].concat();
                counted += rows.len() as u64;
                rows.into_iter().for_each(|row| overview.add(bucket.as_ref(), row));
            }
        }
        overview.is_partial = counted >= COUNTED_MAX;
        Ok(overview)
    }

    /// Gives a task that was given up back to its queue. False: there is none of this id.
    ///
    /// # Errors
    /// `Contention`, `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn retry_dead_task(&self, id: JobId) -> Result<bool, StorageError> {
        self.health().check_writable()?;
        for (_, partition) in self.job_partitions().await? {
            let mut start = vec![Queue::Dead as u8];
            loop {
                let rows = self.job_rows(partition, start).await?;
                let Some(last) = rows.last() else { break };
                start = [&last.key[..], b"\0"].concat();
                if let Some(row) = rows.into_iter().find(|row| row.id == id && row.record.is_some()) {
                    return self.revive(partition, row).await;
                }
            }
        }
        Ok(false)
    }

    async fn revive(&self, partition: Partition, row: Row) -> Result<bool, StorageError> {
        let Some(record) = row.record else { return Ok(false) };
        let Some(queue) = record.origin.and_then(Queue::of_number) else {
            return Err(StorageError::corrupt(format!("dead task {}: its queue", row.id)));
        };
        let now = self.clock().now();
        let record = JobRecord { attempts: 0, origin: None, ..record };
        let mut batch = Batch::new();
        // Stops: two retries of the same task.
        batch.guard(Family::Job, row.key.clone(), Some(row.revision));
        batch.delete(Family::Job, row.key);
        batch.put(Family::Job, job::key(queue, now, row.id), record.to_value()?);
        if !self.commit(partition, batch, Vec::new()).await? {
            return Err(StorageError::Contention);
        }
        self.schedule().add(queue, partition, now);
        Ok(true)
    }

    async fn job_partitions(&self) -> Result<Vec<(Option<String>, Partition)>, StorageError> {
        let buckets = self.all_buckets().await?.into_iter().map(|(name, entry)| (Some(name), entry.bucket.into()));
        Ok([(None, Partition::SYSTEM)].into_iter().chain(buckets).collect())
    }

    /// The next rows from `start` on.
    async fn job_rows(&self, partition: Partition, start: Vec<u8>) -> Result<Vec<Row>, StorageError> {
        let page = self.index().view(partition, move |view| {
            let mut rows = Vec::new();
            let mut cursor = view.cursor(Family::Job, KeyRange { start: start.clone(), end: None })?;
            while let Some((key, revision, value)) = cursor.row().filter(|_| rows.len() < PAGE_ROWS_MAX) {
                let (due, id) = job::parse_key(key).ok_or_else(|| IndexError::Corrupt("a task's key".to_owned()))?;
                let is_dead = key[0] == Queue::Dead as u8;
                let record = is_dead.then(|| JobRecord::from_value(value)).transpose()?;
                rows.push(Row { queue: key[0], due, id, key: key.to_vec(), revision, record });
                cursor.advance()?;
            }
            Ok(rows)
        });
        Ok(page.await?)
    }
}

impl QueuesOverview {
    fn add(&mut self, bucket: Option<&String>, row: Row) {
        if let Some(record) = row.record {
            self.dead_count += 1;
            if self.dead.len() < DEAD_SHOWN_MAX {
                self.dead.push(DeadTask {
                    id: row.id,
                    bucket: bucket.cloned(),
                    queue: record.origin.and_then(Queue::of_number),
                    attempts: record.attempts,
                    last_error: record.last_error,
                    since: row.due,
                });
            }
        } else if let Some(summary) = self.queues.iter_mut().find(|summary| summary.queue as u8 == row.queue) {
            summary.waiting += 1;
            summary.first_due = Some(summary.first_due.map_or(row.due, |first| first.min(row.due)));
        }
    }
}
