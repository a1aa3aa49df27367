//! One lane: what one bucket brings to one target.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::JobId;
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::ops::replication::{Position, QueuedTask, Settled};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::target::Failure;

use super::{Carried, INDEX_FAILURE_REST, Outcome, Shared, Told};

/// How long a lane waits at most before it looks again.
const IDLE_MS_MAX: i64 = 60_000;

/// How one run of a task ended for its lane.
enum Ended {
    /// Its row is gone, or has another place in the queue.
    Settled,
    /// Its version changed meanwhile: once more.
    Changed,
    /// The target is down, or the store failed: its row is as it was.
    Untouched { down: bool, reason: String },
}

/// A lane at work.
struct Work<'s> {
    shared: &'s Shared,
    lane: Lane,
    /// From where the index is to be read; None: there is nothing more.
    next: Option<Position>,
    /// Read, and not begun.
    waiting: VecDeque<QueuedTask>,
    /// Read, and not ended.
    known: HashSet<JobId>,
    /// Keys of tasks under way.
    keys: HashSet<String>,
    running: FuturesUnordered<BoxFuture<'s, (QueuedTask, Ended)>>,
    /// Failures of the target, or of the store, one after the other.
    failures: u32,
    rests_until: Option<Timestamp>,
}

/// Works until nothing waits in the lane, or the worker stops.
pub(super) async fn run(shared: &Shared, lane: Lane) {
    let mut work = Work {
        shared,
        lane,
        next: None,
        waiting: VecDeque::new(),
        known: HashSet::new(),
        keys: HashSet::new(),
        running: FuturesUnordered::new(),
        failures: 0,
        rests_until: None,
    };
    let mut stopped = shared.stopped.clone();
    while !*stopped.borrow() {
        // Registered before the lane is looked at, so that nothing added in between is missed.
        let lanes = shared.store.lanes().clone();
        let mut changed = std::pin::pin!(lanes.changed());
        changed.as_mut().enable();
        if let Some(due) = lanes.take(lane) {
            work.look_from(Position::at(due));
        }
        work.begin().await;
        if work.is_over() {
            return;
        }
        let pause = work.pause();
        tokio::select! {
            Some((queued, ended)) = work.running.next(), if !work.running.is_empty() => work.end(queued, ended),
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

impl<'s> Work<'s> {
    fn look_from(&mut self, position: Position) {
        self.next = Some(self.next.map_or(position, |next| next.min(position)));
    }

    fn is_over(&self) -> bool {
        self.next.is_none() && self.waiting.is_empty() && self.running.is_empty()
    }

    /// How long nothing can begin unless something ends or is added.
    fn pause(&self) -> Duration {
        let now = self.shared.store.clock().now();
        // What is due and has not begun waits for something that is under way.
        let due = self.next.map(|next| next.due).filter(|due| *due > now || self.running.is_empty());
        let next = self.rests_until.or(due);
        let ms = next.map_or(IDLE_MS_MAX, |next| next.0.saturating_sub(now.0)).clamp(10, IDLE_MS_MAX);
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }

    /// Begins what is due and may begin.
    async fn begin(&mut self) {
        let now = self.shared.store.clock().now();
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        // A target that was down is asked with one task.
        let at_once = if self.failures == 0 { self.shared.options.concurrency } else { 1 };
        while self.running.len() < at_once {
            let Some(place) = self.waiting.iter().position(|queued| !self.keys.contains(&queued.task.key)) else {
                let read = self.waiting.is_empty() && self.read(now).await;
                if read {
                    continue;
                }
                break;
            };
            let Some(queued) = self.waiting.remove(place) else { break };
            self.keys.insert(queued.task.key.clone());
            let shared = self.shared;
            self.running.push(Box::pin(async move {
                let ended = run_one(shared, &queued).await;
                (queued, ended)
            }));
        }
        self.tell_state();
    }

    /// Reads the next page. False: nothing is due.
    async fn read(&mut self, now: Timestamp) -> bool {
        let Some(from) = self.next.filter(|next| next.due <= now) else { return false };
        match self.shared.store.queued(self.lane, from, now).await {
            Ok(page) => {
                self.next = page.next;
                for queued in page.tasks {
                    if self.known.insert(queued.id) {
                        self.waiting.push_back(queued);
                    }
                }
                !self.waiting.is_empty() || self.next.is_some_and(|next| next.due <= now)
            }
            Err(error) => {
                let rest_ms = i64::try_from(INDEX_FAILURE_REST.as_millis()).unwrap_or(i64::MAX);
                self.rest(now.plus_ms(rest_ms), error.to_string());
                false
            }
        }
    }

    fn end(&mut self, queued: QueuedTask, ended: Ended) {
        self.keys.remove(&queued.task.key);
        match ended {
            Ended::Settled => {
                self.known.remove(&queued.id);
                self.failures = 0;
            }
            Ended::Changed => self.waiting.push_front(queued),
            Ended::Untouched { down, reason } => {
                self.put_back(&queued);
                // Those that were under way when it went down fail as well, and are no further probes.
                if self.rests_until.is_none() {
                    self.failures += u32::from(down);
                    let random = self.shared.store.entropy().random_16()[0];
                    let delay_ms = self.shared.options.target_backoff.delay_ms(self.failures.max(1), random);
                    self.rest(self.shared.store.clock().now().plus_ms(delay_ms), reason);
                }
            }
        }
    }

    /// What was read is left in the index, and read again then.
    fn rest(&mut self, until: Timestamp, reason: String) {
        tracing::warn!(lane = ?self.lane, reason, "a replication lane rests");
        for queued in std::mem::take(&mut self.waiting) {
            self.put_back(&queued);
        }
        self.rests_until = Some(until);
        let mut states = self.shared.states.lock();
        let state = states.entry(self.lane).or_default();
        state.down_until = Some(until);
        state.last_error = Some(reason);
    }

    fn put_back(&mut self, queued: &QueuedTask) {
        self.known.remove(&queued.id);
        self.look_from(queued.position());
    }

    fn tell_state(&self) {
        let mut states = self.shared.states.lock();
        let state = states.entry(self.lane).or_default();
        state.running = self.running.len();
        if self.failures == 0 && self.rests_until.is_none() {
            state.down_until = None;
            state.last_error = None;
        }
    }
}

/// Carries out one task and settles it.
async fn run_one(shared: &Shared, queued: &QueuedTask) -> Ended {
    let now = || shared.store.clock().now();
    let (settled, outcome) = match shared.carrier.carry(queued).await {
        Ok(Carried::Brought { settings, foreign_version }) => {
            (Settled::Completed { settings, foreign_version }, Outcome::Completed)
        }
        Ok(Carried::Nothing) => (Settled::Dropped, Outcome::Dropped),
        Ok(Carried::Wait(ms)) => (Settled::Again { due: now().plus_ms(ms.max(1)), reason: None }, Outcome::Retried),
        Err(Failure::Down { reason }) => return Ended::Untouched { down: true, reason },
        Err(Failure::Refused { reason }) => (Settled::Failed { reason }, Outcome::Failed),
        Err(Failure::Later { reason, .. }) if queued.attempts + 1 >= shared.options.attempts_max => {
            (Settled::Failed { reason }, Outcome::Failed)
        }
        Err(Failure::Later { reason, after }) => {
            let random = shared.store.entropy().random_16()[0];
            let after_ms = after.map_or(0, |after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
            let delay_ms = shared.options.task_backoff.delay_ms(queued.attempts + 1, random).max(after_ms);
            (Settled::Again { due: now().plus_ms(delay_ms), reason: Some(reason) }, Outcome::Retried)
        }
    };
    match shared.store.settle(queued, &settled).await {
        Ok(true) => {
            let waited_ms = now().0.saturating_sub(queued.task.since.0);
            let waited = Duration::from_millis(u64::try_from(waited_ms).unwrap_or_default());
            shared.carrier.told(Told { queued, waited, outcome });
            Ended::Settled
        }
        Ok(false) => Ended::Changed,
        // The version's record has no room for what is to be noted: nothing but giving up the bucket's task helps.
        Err(StorageError::MetadataTooLarge) => {
            let reason = "the version's record is full".to_owned();
            match shared.store.settle(queued, &Settled::Failed { reason }).await {
                Ok(_) => Ended::Settled,
                Err(error) => Ended::Untouched { down: false, reason: error.to_string() },
            }
        }
        Err(error) => Ended::Untouched { down: false, reason: error.to_string() },
    }
}
