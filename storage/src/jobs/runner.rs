//! Runs the tasks of a queue: a bounded number at once, in turns for the partitions that have due ones, so that neither a bucket
//! with many tasks nor a task that takes hours holds up the others. What became of a task is committed as it comes, many in
//! one commit where many come at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::JobId;
use crate::index::family::job::{self, JobRecord, Queue};
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision, View};
use crate::observe::Observer;
use crate::ops::Store;
use crate::record::Record;

use super::{Handler, Verdict, told_to_stop};

/// How many tasks one page holds.
const PAGE_TASKS_MAX: usize = 256;

/// How many partitions' tasks are held at once.
const PARTITIONS_MAX: usize = 32;

/// How long what became of a task waits at most for that of others, to be committed with it.
const GATHER: Duration = Duration::from_millis(500);

/// How many characters of a failure are kept.
const ERROR_CHARS_MAX: usize = 500;

/// How long a runner waits at most before it looks at its schedule again.
const IDLE_MS_MAX: u64 = 60_000;

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
    /// How long a bucket's tasks are left alone after the store failed one of them.
    pub rest: Duration,
    /// How long a stop waits for the tasks at hand; they are cut short then, as by a crash.
    pub stop_grace: Duration,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            concurrency: 8,
            attempts_max: 12,
            backoff_ms_min: 1_000,
            backoff_ms_max: 3_600_000,
            rest: Duration::from_secs(5),
            stop_grace: Duration::from_secs(5),
        }
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

#[derive(Debug)]
struct Counters {
    /// When the first task that waits at hand fell due; `i64::MAX`: none waits.
    waiting_due: AtomicI64,
    running: AtomicU64,
    done: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            waiting_due: AtomicI64::new(i64::MAX),
            running: AtomicU64::default(),
            done: AtomicU64::default(),
            retried: AtomicU64::default(),
            dead: AtomicU64::default(),
        }
    }
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
        let scheduled = self.store.schedule().next_due(self.queue).unwrap_or(now);
        let due = scheduled.min(Timestamp(self.counters.waiting_due.load(Ordering::Relaxed)));
        JobStatus {
            paused: self.paused.load(Ordering::Relaxed),
            overdue_ms: Timestamp(now.0 - due.0).unsigned_ms(),
            running: self.counters.running.load(Ordering::Relaxed),
            done: self.counters.done.load(Ordering::Relaxed),
            retried: self.counters.retried.load(Ordering::Relaxed),
            dead: self.counters.dead.load(Ordering::Relaxed),
        }
    }

    /// Stops. The tasks at hand have a few seconds to end; what became of those that do is kept.
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
    revision: Revision,
    due: Timestamp,
    id: JobId,
    record: JobRecord,
}

/// What is due in one partition, and when the next task after it falls due.
struct DuePage {
    tasks: Vec<Found>,
    next: Option<Timestamp>,
}

/// A partition whose tasks are at hand.
#[derive(Default)]
struct AtHand {
    waiting: VecDeque<Found>,
    running: usize,
    /// What became of those that ran, to be committed.
    ended: Vec<(Found, Verdict)>,
    /// The rows of all of these, which are not to be taken up a second time.
    keys: HashSet<Vec<u8>>,
    /// When the first of the others may fall due.
    next: Option<Timestamp>,
}

/// A task that ran.
type Ended = (Partition, Found, Verdict);

/// All that a runner has at hand.
#[derive(Default)]
struct Work {
    partitions: HashMap<Partition, AtHand>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Since when something has ended that is to be committed.
    ended_since: Option<Instant>,
    /// Partitions that the store failed for: until when each is left alone, and from which time on its tasks are due.
    resting: Vec<(Instant, Partition, Timestamp)>,
}

impl AtHand {
    fn falls_due(&mut self, due: Timestamp) {
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}

impl Work {
    fn end(&mut self, (partition, found, verdict): Ended) {
        let at_hand = self.partitions.entry(partition).or_default();
        at_hand.running -= 1;
        at_hand.ended.push((found, verdict));
        self.ended_since.get_or_insert_with(Instant::now);
    }

    /// When the first task that waits fell due, or one that is in the index behind those.
    fn waiting_due(&self) -> Option<Timestamp> {
        let first =
            |at_hand: &AtHand| at_hand.waiting.front().map(|found| found.due).into_iter().chain(at_hand.next).min();
        self.partitions.values().filter_map(first).min()
    }

    /// A task that waits, of the partition of which the fewest run.
    fn next_task(&mut self) -> Option<(Partition, Found)> {
        let waiting = self.partitions.iter_mut().filter(|(_, at_hand)| !at_hand.waiting.is_empty());
        let (partition, at_hand) = waiting.min_by_key(|(_, at_hand)| at_hand.running)?;
        at_hand.running += 1;
        at_hand.waiting.pop_front().map(|found| (*partition, found))
    }
}

impl Runner {
    async fn run(mut self) {
        let queue = self.handler.queue();
        if let Err(error) = schedule_all(&self.store, queue).await {
            tracing::error!(queue = queue.name(), %error, "the queue's tasks cannot be read; none will run");
            return;
        }
        let mut work = Work::default();
        while !*self.stopped.borrow() {
            // Registered before the schedule is looked at, so that no change in between is missed.
            let schedule = self.store.schedule().clone();
            let mut changed = std::pin::pin!(schedule.changed());
            changed.as_mut().enable();
            self.wake_rested(&mut work);
            if !self.paused.load(Ordering::Relaxed) {
                self.take_due(&mut work).await;
                self.start(&mut work);
            }
            let waiting_due = work.waiting_due().map_or(i64::MAX, |due| due.0);
            self.counters.waiting_due.store(waiting_due, Ordering::Relaxed);
            let rest = self.idle_time(&work);
            tokio::select! {
                Some(ended) = work.running.next() => {
                    work.end(ended);
                    while let Some(Some(ended)) = work.running.next().now_or_never() {
                        work.end(ended);
                    }
                }
                () = changed => {}
                () = tokio::time::sleep(rest) => {}
                () = told_to_stop(&mut self.stopped) => {}
            }
            let is_late = work.ended_since.is_some_and(|since| since.elapsed() >= GATHER);
            self.commit_ended(&mut work, is_late).await;
        }
        self.finish(work).await;
    }

    /// Until something is to be done that nobody tells of.
    fn idle_time(&self, work: &Work) -> Duration {
        let now = self.store.clock().now();
        let due = self.store.schedule().next_due(self.handler.queue());
        let wait_ms = due.map_or(IDLE_MS_MAX, |due| Timestamp(due.0 - now.0).unsigned_ms().clamp(10, IDLE_MS_MAX));
        let idle = Duration::from_millis(if self.paused.load(Ordering::Relaxed) { IDLE_MS_MAX } else { wait_ms });
        let late = work.ended_since.map(|since| GATHER.saturating_sub(since.elapsed()));
        let rested = work.resting.iter().map(|(until, ..)| until.saturating_duration_since(Instant::now()));
        rested.chain(late).fold(idle, Duration::min)
    }

    /// Leaves a partition alone for a while. Its tasks are still there, and idempotent.
    fn rest(&self, work: &mut Work, partition: Partition, due: Timestamp, error: &StorageError) {
        let queue = self.handler.queue().name();
        tracing::warn!(queue, %error, "a bucket's tasks rest after a failure of the store");
        work.resting.push((Instant::now() + self.options.rest, partition, due));
    }

    fn wake_rested(&self, work: &mut Work) {
        let now = Instant::now();
        for (_, partition, due) in work.resting.extract_if(.., |(until, ..)| *until <= now) {
            self.store.schedule().add(self.handler.queue(), partition, due);
        }
    }

    /// Lets the tasks at hand end, for a while.
    async fn finish(&self, mut work: Work) {
        let ends = async {
            while let Some(ended) = work.running.next().await {
                work.end(ended);
            }
        };
        if tokio::time::timeout(self.options.stop_grace, ends).await.is_err() {
            let queue = self.handler.queue().name();
            tracing::warn!(
                queue,
                count = work.running.len(),
                "tasks are cut short; they run again after the next start"
            );
            work.running.clear();
        }
        self.commit_ended(&mut work, true).await;
    }

    /// Takes up what is due, of as many partitions as are held at once.
    async fn take_due(&self, work: &mut Work) {
        let (queue, schedule, now) = (self.handler.queue(), self.store.schedule(), self.store.clock().now());
        while work.partitions.len() < PARTITIONS_MAX
            && let Some((partition, bound)) = schedule.take_due(queue, now)
        {
            let at_hand = work.partitions.entry(partition).or_default();
            if !at_hand.waiting.is_empty() {
                at_hand.falls_due(bound);
                continue;
            }
            let keys = at_hand.keys.clone();
            let page = move |view: &dyn View| due_page(view, queue, bound, now, &keys);
            match self.store.index().view(partition, page).await {
                Ok(page) => {
                    at_hand.keys.extend(page.tasks.iter().map(|found| found.key.clone()));
                    at_hand.waiting.extend(page.tasks);
                    page.next.into_iter().for_each(|next| at_hand.falls_due(next));
                }
                Err(error) => self.rest(work, partition, bound, &error.into()),
            }
            self.let_go(work, partition);
        }
    }

    /// Hands back to the schedule what is not at hand, once nothing of the partition waits any more.
    fn let_go(&self, work: &mut Work, partition: Partition) {
        let Some(at_hand) = work.partitions.get_mut(&partition).filter(|at_hand| at_hand.waiting.is_empty()) else {
            return;
        };
        if let Some(next) = at_hand.next.take() {
            self.store.schedule().add(self.handler.queue(), partition, next);
        }
        if at_hand.keys.is_empty() {
            work.partitions.remove(&partition);
        }
    }

    /// Starts as many tasks as may run.
    fn start(&self, work: &mut Work) {
        while work.running.len() < self.options.concurrency
            && let Some((partition, found)) = work.next_task()
        {
            let (store, handler) = (self.store.clone(), self.handler.clone());
            let run = async move {
                let ran = AssertUnwindSafe(handler.run(&store, partition, &found.record.task)).catch_unwind().await;
                // One task's panic is its own failure: the queue goes on.
                let verdict = ran.unwrap_or_else(|_| Verdict::Failed("the server panicked, see its log".to_owned()));
                (partition, found, verdict)
            };
            work.running.push(run.boxed());
            self.let_go(work, partition);
        }
        self.counters.running.store(work.running.len() as u64, Ordering::Relaxed);
    }

    /// Commits what became of tasks, of each partition in one commit: where none waits, or many have ended, or of `all`.
    async fn commit_ended(&self, work: &mut Work, all: bool) {
        self.counters.running.store(work.running.len() as u64, Ordering::Relaxed);
        let is_due = |at_hand: &AtHand| {
            let is_enough = all || at_hand.waiting.is_empty() || at_hand.ended.len() >= PAGE_TASKS_MAX;
            !at_hand.ended.is_empty() && is_enough
        };
        let due: Vec<_> = work.partitions.iter().filter(|(_, at_hand)| is_due(at_hand)).map(|(of, _)| *of).collect();
        for partition in due {
            let at_hand = work.partitions.entry(partition).or_default();
            let ended = std::mem::take(&mut at_hand.ended);
            for (found, _) in &ended {
                at_hand.keys.remove(&found.key);
            }
            let first = ended.iter().map(|(found, _)| found.due).min();
            match self.commit_verdicts(partition, ended).await {
                Ok(again) => again.into_iter().for_each(|again| at_hand.falls_due(again)),
                Err(error) => first.into_iter().for_each(|first| self.rest(work, partition, first, &error)),
            }
            self.let_go(work, partition);
        }
        if work.partitions.values().all(|at_hand| at_hand.ended.is_empty()) {
            work.ended_since = None;
        }
    }

    /// Commits what became of tasks; returns when the first of them is to be tried again.
    async fn commit_verdicts(
        &self,
        partition: Partition,
        ended: Vec<(Found, Verdict)>,
    ) -> Result<Option<Timestamp>, StorageError> {
        let now = self.store.clock().now();
        let mut batch = Batch::new();
        let mut retry: Option<Timestamp> = None;
        for (found, verdict) in ended {
            // Stops: this x the bucket's removal, which takes the tasks along.
            batch.guard(Family::Job, found.key.clone(), Some(found.revision));
            batch.delete(Family::Job, found.key.clone());
            let again = self.settle(&mut batch, found, verdict, now)?;
            retry = [retry, again].into_iter().flatten().min();
        }
        match self.store.commit(partition, batch, Vec::new()).await? {
            true => Ok(retry),
            false => Err(StorageError::Contention),
        }
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

/// What is due from `bound` on, but for what is at hand.
fn due_page(
    view: &dyn View,
    queue: Queue,
    bound: Timestamp,
    now: Timestamp,
    at_hand: &HashSet<Vec<u8>>,
) -> Result<DuePage, IndexError> {
    let start = job::lower_bound(queue, bound).to_vec();
    let mut page = DuePage { tasks: Vec::new(), next: None };
    let mut cursor = view.cursor(Family::Job, KeyRange { start, end: KeyRange::prefix(&[queue as u8]).end })?;
    while let Some((key, revision, value)) = cursor.row() {
        let (due, id) = job::parse_key(key).ok_or_else(|| IndexError::Corrupt("a task's key".to_owned()))?;
        if due > now || page.tasks.len() == PAGE_TASKS_MAX {
            page.next = Some(due);
            break;
        }
        if !at_hand.contains(key) {
            page.tasks.push(Found { key: key.to_vec(), revision, due, id, record: JobRecord::from_value(value)? });
        }
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
