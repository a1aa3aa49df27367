//! Runs the tasks of a queue: page by page of what is due in one bucket, a bounded number at once, each page's outcome in
//! one commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, View};
use crate::observe::Observer;
use crate::ops::Store;
use crate::record::Record;

use super::{Handler, Verdict};

/// How many tasks one page holds.
const PAGE_TASKS_MAX: usize = 256;

/// How many characters of a failure are kept.
const ERROR_CHARS_MAX: usize = 500;

/// How long a runner waits at most before it looks at its schedule again.
const IDLE_MS_MAX: u64 = 60_000;

/// How long a runner rests after the index failed it.
const INDEX_FAILURE_REST_MS: i64 = 5_000;

/// How a runner goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct RunnerOptions {
    /// Tasks at once.
    pub concurrency: usize,
    /// Failures after which a task is dead.
    pub attempts_max: u32,
    /// The first retry's delay; each further one doubles it.
    pub backoff_ms_min: i64,
    /// The longest delay.
    pub backoff_ms_max: i64,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { concurrency: 8, attempts_max: 12, backoff_ms_min: 1_000, backoff_ms_max: 3_600_000 }
    }
}

/// What a runner has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// It starts no task.
    pub paused: bool,
    /// Tasks running now.
    pub running: u64,
    /// How long the queue's first waiting task has been due, in milliseconds.
    pub overdue_ms: u64,
    /// Tasks done since the start.
    pub done: u64,
    /// Runs that failed and will be tried again.
    pub retried: u64,
    /// Tasks given up since the start.
    pub dead: u64,
}

#[derive(Debug, Default)]
struct Counters {
    running: AtomicU64,
    done: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
}

/// Controls a runner. Dropping it does not stop the runner.
#[derive(Debug)]
pub struct JobHandle {
    queue: Queue,
    paused: Arc<AtomicBool>,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    store: Store,
}

impl JobHandle {
    /// The queue it serves.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.queue
    }

    /// Starts no more tasks until [`JobHandle::resume`].
    pub fn pause(&self) {
        self.paused.store(true, Ordering::Relaxed);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
        self.store.schedule().wake();
    }

    /// What it has done and is doing.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let now = self.store.clock().now();
        let due = self.store.schedule().next_due(self.queue).unwrap_or(now);
        JobStatus {
            paused: self.paused.load(Ordering::Relaxed),
            overdue_ms: Timestamp(now.0 - due.0).unsigned_ms(),
            running: self.counters.running.load(Ordering::Relaxed),
            done: self.counters.done.load(Ordering::Relaxed),
            retried: self.counters.retried.load(Ordering::Relaxed),
            dead: self.counters.dead.load(Ordering::Relaxed),
        }
    }

    /// Stops after the page that is running.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(queue = self.queue.name(), %error, "a job runner ended badly");
        }
    }
}

/// Starts a runner for `handler`'s queue. It first finds what the index holds from before.
pub fn spawn(
    store: Store,
    handler: Arc<dyn Handler>,
    observer: Arc<dyn Observer>,
    options: RunnerOptions,
) -> JobHandle {
    let (stop, stopped) = watch::channel(false);
    let paused = Arc::new(AtomicBool::new(false));
    let counters = Arc::new(Counters::default());
    let queue = handler.queue();
    let runner = Runner {
        store: store.clone(),
        handler,
        observer,
        options,
        paused: paused.clone(),
        counters: counters.clone(),
        stopped,
    };
    let task = tokio::spawn(runner.run());
    JobHandle { queue, paused, counters, stop, task, store }
}

struct Runner {
    store: Store,
    handler: Arc<dyn Handler>,
    observer: Arc<dyn Observer>,
    options: RunnerOptions,
    paused: Arc<AtomicBool>,
    counters: Arc<Counters>,
    stopped: watch::Receiver<bool>,
}

/// One task as the index holds it.
#[derive(Clone, Debug)]
struct Found {
    key: Vec<u8>,
    id: JobId,
    record: JobRecord,
}

/// What is due in one partition, and when the next task after it falls due.
struct DuePage {
    tasks: Vec<Found>,
    next: Option<Timestamp>,
}

impl Runner {
    async fn run(mut self) {
        let queue = self.handler.queue();
        if let Err(error) = schedule_all(&self.store, queue).await {
            tracing::error!(queue = queue.name(), %error, "the queue's tasks cannot be read; none will run");
            return;
        }
        while !*self.stopped.borrow() {
            // Registered before the schedule is looked at, so that no change in between is missed.
            let schedule = self.store.schedule().clone();
            let mut changed = std::pin::pin!(schedule.changed());
            changed.as_mut().enable();
            let now = self.store.clock().now();
            let due = if self.paused.load(Ordering::Relaxed) { None } else { schedule.take_due(queue, now) };
            if let Some((partition, bound)) = due {
                let next = self.run_page(partition, bound, now).await;
                if let Some(next) = next {
                    schedule.add(queue, partition, next);
                }
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(self.idle_time(now)) => {}
                _ = self.stopped.changed() => {}
            }
        }
    }

    fn idle_time(&self, now: Timestamp) -> Duration {
        let due = self.store.schedule().next_due(self.handler.queue());
        let wait_ms = due.map_or(IDLE_MS_MAX, |due| Timestamp(due.0 - now.0).unsigned_ms().clamp(10, IDLE_MS_MAX));
        Duration::from_millis(if self.paused.load(Ordering::Relaxed) { IDLE_MS_MAX } else { wait_ms })
    }

    /// Runs what is due in the partition; returns when it is to be looked at next.
    async fn run_page(&self, partition: Partition, bound: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let queue = self.handler.queue();
        let page = self.store.index().view(partition, move |view| due_page(view, queue, bound, now)).await;
        let outcome = match page {
            Err(error) => Err(error.into()),
            Ok(page) if page.tasks.is_empty() => return page.next,
            Ok(page) => {
                let next = page.next;
                self.run_tasks(partition, page.tasks).await.map(|retry| [next, retry].into_iter().flatten().min())
            }
        };
        outcome.unwrap_or_else(|error: StorageError| {
            // The tasks are still there, and idempotent.
            tracing::warn!(queue = queue.name(), %error, "the queue rests after a failure of the store");
            Some(now.plus_ms(INDEX_FAILURE_REST_MS))
        })
    }

    /// Runs the tasks and commits what became of them; returns when the first of them is to be tried again.
    async fn run_tasks(&self, partition: Partition, tasks: Vec<Found>) -> Result<Option<Timestamp>, StorageError> {
        let verdicts: Vec<(Found, Verdict)> = futures::stream::iter(tasks)
            .map(|found| async move {
                self.counters.running.fetch_add(1, Ordering::Relaxed);
                let verdict = self.handler.run(&self.store, partition, &found.record.task).await;
                self.counters.running.fetch_sub(1, Ordering::Relaxed);
                (found, verdict)
            })
            .buffer_unordered(self.options.concurrency)
            .collect()
            .await;
        let now = self.store.clock().now();
        let mut batch = Batch::new();
        let mut retry: Option<Timestamp> = None;
        for (found, verdict) in verdicts {
            // No guards: only the one runner of the queue changes its rows.
            batch.delete(Family::Job, found.key.clone());
            let again = self.settle(&mut batch, found, verdict, now)?;
            retry = [retry, again].into_iter().flatten().min();
        }
        self.store.commit(partition, batch, Vec::new()).await?;
        Ok(retry)
    }

    /// Writes what became of one task; returns when it runs again.
    fn settle(
        &self,
        batch: &mut Batch,
        found: Found,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError> {
        let queue = self.handler.queue();
        let (again, record) = match verdict {
            Verdict::Done => {
                self.counters.done.fetch_add(1, Ordering::Relaxed);
                self.observer.job(queue.name(), "done");
                return Ok(None);
            }
            Verdict::Later(ms) => (now.plus_ms(ms.max(1)), found.record),
            Verdict::Failed(error) => {
                let last_error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
                let record = JobRecord { attempts: found.record.attempts + 1, last_error, ..found.record };
                if record.attempts >= self.options.attempts_max {
                    tracing::error!(queue = queue.name(), id = %found.id, error, "a task is given up");
                    self.counters.dead.fetch_add(1, Ordering::Relaxed);
                    self.observer.job(queue.name(), "dead");
                    let record = JobRecord { origin: Some(queue as u8), ..record };
                    batch.put(Family::Job, job::key(Queue::Dead, now, found.id), record.to_value()?);
                    return Ok(None);
                }
                tracing::warn!(queue = queue.name(), id = %found.id, error, "a task failed and will be tried again");
                self.counters.retried.fetch_add(1, Ordering::Relaxed);
                self.observer.job(queue.name(), "retry");
                (now.plus_ms(self.backoff_ms(record.attempts)), record)
            }
        };
        batch.put(Family::Job, job::key(queue, again, found.id), record.to_value()?);
        Ok(Some(again))
    }

    /// Doubles with each failure, and is spread over its upper half so that tasks that failed together part ways.
    fn backoff_ms(&self, attempts: u32) -> i64 {
        let full = self.options.backoff_ms_min.saturating_mul(1_i64 << attempts.saturating_sub(1).min(40));
        let full = full.clamp(1, self.options.backoff_ms_max);
        let random = i64::from(u16::from_be_bytes([self.store.entropy().random_16()[0], 0]));
        full / 2 + full / 2 * random / i64::from(u16::MAX)
    }
}

fn due_page(view: &dyn View, queue: Queue, bound: Timestamp, now: Timestamp) -> Result<DuePage, IndexError> {
    let start = job::lower_bound(queue, bound).to_vec();
    let mut page = DuePage { tasks: Vec::new(), next: None };
    let mut cursor = view.cursor(Family::Job, KeyRange { start, end: KeyRange::prefix(&[queue as u8]).end })?;
    while let Some((key, _, value)) = cursor.row() {
        let (due, id) = job::parse_key(key).ok_or_else(|| IndexError::Corrupt("a task's key".to_owned()))?;
        if due > now || page.tasks.len() == PAGE_TASKS_MAX {
            page.next = Some(due);
            break;
        }
        page.tasks.push(Found { key: key.to_vec(), id, record: JobRecord::from_value(value)? });
        cursor.advance()?;
    }
    Ok(page)
}

/// Finds, for each bucket, when the queue's first task falls due.
async fn schedule_all(store: &Store, queue: Queue) -> Result<(), StorageError> {
    let buckets = store.all_buckets().await?.into_iter().map(|(_, entry)| Partition::from(entry.bucket));
    for partition in [Partition::SYSTEM].into_iter().chain(buckets) {
        let first = store
            .index()
            .view(partition, move |view| {
                let cursor = view.cursor(Family::Job, KeyRange::prefix(&[queue as u8]))?;
                Ok(cursor.row().and_then(|(key, _, _)| job::parse_key(key)).map(|(due, _)| due))
            })
            .await?;
        if let Some(due) = first {
            store.schedule().add(queue, partition, due);
        }
    }
    Ok(())
}
