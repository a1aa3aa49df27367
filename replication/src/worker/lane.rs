//! One lane: what one bucket brings to one target. A task holds up those of its own key alone, and no more than [`KNOWN_MAX`] are held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::JobId;
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::jobs::told_to_stop;
use cairn_storage::ops::replication::{Noted, PAGE_TASKS_MAX, Position, QueuedTask, SETTLED_TOGETHER_MAX, Settled};
use futures::FutureExt as _;
use tokio::task::{JoinError, JoinSet};

use crate::target::Failure;

use super::backoff;
use super::room::{LARGE_BYTES_MIN, NoRoom};
use super::{Carried, INDEX_FAILURE_REST, Outcome, Shared, Told};

/// How long a lane waits at most before it looks again.
const IDLE_MS_MAX: i64 = 60_000;

/// How many tasks a lane has read and not ended, at most, when it reads on.
const KNOWN_MAX: usize = 4 * PAGE_TASKS_MAX;

/// What came of carrying out a task.
enum Came {
    /// This is to be noted.
    Done(Settled, Outcome),
    /// The target is down: the task's row stays as it is.
    Down { reason: String },
    /// The target has no room for it: likewise.
    Full { reason: String },
}

/// Tasks that were settled together, with how each of them stands.
type SettledTogether = (Vec<(QueuedTask, Settled)>, Vec<Outcome>, Vec<Result<Noted, StorageError>>);

/// A lane at work.
struct Work {
    shared: Arc<Shared>,
    lane: Lane,
    /// From where the index is to be read; None: there is nothing more.
    next: Option<Position>,
    /// Read, and not begun.
    waiting: VecDeque<QueuedTask>,
    /// To begin before those, the next of their keys.
    resumed: VecDeque<QueuedTask>,
    /// The keys of tasks under way, until they are settled, with the tasks of the same key that come after them: they hold up no others.
    busy: HashMap<String, VecDeque<QueuedTask>>,
    /// Read, and not ended.
    known: HashSet<JobId>,
    /// Being carried out, each in a task of its own, so that all processors take part.
    running: JoinSet<(QueuedTask, Came)>,
    /// Carried out, and not settled; at most [`SETTLED_TOGETHER_MAX`] when one more begins.
    done: Vec<(QueuedTask, Settled)>,
    outcomes: Vec<Outcome>,
    /// Those that are being settled, one batch at a time: what is done meanwhile is the next one.
    settling: JoinSet<SettledTogether>,
    /// Failures of the target, one after the other.
    failures: u32,
    rests_until: Option<Timestamp>,
    /// The target has no room for what is large.
    no_room: Option<NoRoom>,
}

/// Works until nothing waits in the lane, or the worker stops.
pub(super) async fn run(shared: Arc<Shared>, lane: Lane) {
    let mut stopped = shared.stopped.clone();
    let added = shared.store.lanes().listen(lane);
    let mut work = Work {
        shared,
        lane,
        next: None,
        waiting: VecDeque::new(),
        resumed: VecDeque::new(),
        busy: HashMap::new(),
        known: HashSet::new(),
        running: JoinSet::new(),
        done: Vec::new(),
        outcomes: Vec::new(),
        settling: JoinSet::new(),
        failures: 0,
        rests_until: None,
        no_room: None,
    };
    while !*stopped.borrow() {
        if let Some(due) = added.take() {
            work.look_from(Position::at(due));
        }
        while let Some(ended) = work.running.try_join_next() {
            work.end(ended);
        }
        work.settle();
        work.begin().await;
        if work.is_over() {
            return;
        }
        let pause = work.pause();
        tokio::select! {
            Some(ended) = work.running.join_next() => work.end(ended),
            Some(settled) = work.settling.join_next() => work.note(settled),
            () = added.more() => {}
            () = tokio::time::sleep(pause) => {}
            () = told_to_stop(&mut stopped) => {}
        }
    }
    // What is under way is dropped: every task is idempotent. What is being settled is let end.
    work.running.shutdown().await;
    while work.settling.join_next().await.is_some() {}
}

impl Work {
    fn look_from(&mut self, position: Position) {
        self.next = Some(self.next.map_or(position, |next| next.min(position)));
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.done.is_empty() && self.settling.is_empty()
    }

    fn is_over(&self) -> bool {
        let holds_back = self.no_room.as_ref().is_some_and(NoRoom::holds);
        self.next.is_none() && self.waiting.is_empty() && self.resumed.is_empty() && self.is_idle() && !holds_back
    }

    /// How long nothing can begin unless something ends or is added.
    fn pause(&self) -> Duration {
        let now = self.shared.store.clock().now();
        // What is due and has not begun waits for something that is under way.
        let due = self.next.map(|next| next.due).filter(|due| *due > now || self.is_idle());
        let room = self.no_room.as_ref().and_then(NoRoom::next);
        let next = self.rests_until.or(due.into_iter().chain(room).min());
        let ms = next.map_or(IDLE_MS_MAX, |next| next.0.saturating_sub(now.0)).clamp(10, IDLE_MS_MAX);
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }

    /// Begins what is due and may begin.
    async fn begin(&mut self) {
        let now = self.shared.store.clock().now();
        if self.rests_until.is_some_and(|until| now < until) {
            return self.tell_state();
        }
        self.rests_until = None;
        if let Some(position) = self.no_room.as_mut().and_then(|no_room| no_room.take_due(now)) {
            self.look_from(position);
        }
        // A target that was down is asked with one task.
        let at_once = if self.failures == 0 { self.shared.options.concurrency } else { 1 };
        while self.running.len() < at_once && self.done.len() < SETTLED_TOGETHER_MAX {
            let Some(queued) = self.next_task(now).await else { break };
            let shared = Arc::clone(&self.shared);
            self.running.spawn(async move {
                let came = carry_out(&shared, &queued).await;
                (queued, came)
            });
        }
        self.tell_state();
    }

    /// The next task that may begin. None: none is due, or all that may be held wait for others of their keys.
    async fn next_task(&mut self, now: Timestamp) -> Option<QueuedTask> {
        while let Some(queued) = self.resumed.pop_front() {
            if !self.hold_back(&queued, now) {
                return Some(queued);
            }
            self.release(&queued.task.key);
        }
        loop {
            while let Some(queued) = self.waiting.pop_front() {
                if let Some(others) = self.busy.get_mut(&queued.task.key) {
                    others.push_back(queued);
                } else if !self.hold_back(&queued, now) {
                    self.busy.insert(queued.task.key.clone(), VecDeque::new());
                    return Some(queued);
                }
            }
            if self.known.len() >= KNOWN_MAX || !self.read(now).await {
                return None;
            }
        }
    }

    /// Whether there is no room for it at the target now. Then it is read again later.
    fn hold_back(&mut self, queued: &QueuedTask, now: Timestamp) -> bool {
        let held = self.no_room.as_mut().is_some_and(|no_room| no_room.holds_back(queued, now));
        if held {
            self.known.remove(&queued.id);
        }
        held
    }

    /// No task of this key is under way any more.
    fn release(&mut self, key: &str) {
        match self.busy.get_mut(key).and_then(VecDeque::pop_front) {
            Some(next) => self.resumed.push_back(next),
            None => {
                self.busy.remove(key);
            }
        }
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

    /// One task was carried out.
    fn end(&mut self, ended: Result<(QueuedTask, Came), JoinError>) {
        match unless_ended_badly(ended) {
            (queued, Came::Done(settled, outcome)) => {
                self.failures = 0;
                self.learn_of_room(&queued, outcome);
                self.done.push((queued, settled));
                self.outcomes.push(outcome);
            }
            (queued, Came::Full { reason }) if queued.task.size_bytes >= LARGE_BYTES_MIN => {
                self.wait_for_room(&queued, reason);
            }
            (queued, Came::Down { reason } | Came::Full { reason }) => {
                self.learn_of_room(&queued, Outcome::Retried);
                self.leave(&queued, true, reason);
            }
        }
    }

    /// The target has no room for what is so large. Others go on.
    fn wait_for_room(&mut self, queued: &QueuedTask, reason: String) {
        self.failures = 0;
        self.release(&queued.task.key);
        self.known.remove(&queued.id);
        let store = &self.shared.store;
        let (now, random) = (store.clock().now(), store.entropy().random_16()[0]);
        let until = |failures| now.plus_ms(self.shared.options.target_backoff.delay_ms(failures, random));
        let Some(no_room) = &mut self.no_room else {
            tracing::warn!(lane = ?self.lane, reason, "a replication target has no room");
            self.no_room = Some(NoRoom::new(queued, reason, until(1)));
            return;
        };
        if let Some(position) = no_room.again(queued, reason, until) {
            self.look_from(position);
        }
    }

    /// What was brought shows that there is room again.
    fn learn_of_room(&mut self, queued: &QueuedTask, outcome: Outcome) {
        let Some(no_room) = &mut self.no_room else { return };
        no_room.ended(queued.id);
        if outcome == Outcome::Completed && no_room.is_over(queued) {
            let held = no_room.take_held();
            self.no_room = None;
            held.into_iter().for_each(|position| self.look_from(position));
        }
    }

    /// Has what is done settled, unless other tasks are being settled.
    fn settle(&mut self) {
        if self.done.is_empty() || !self.settling.is_empty() {
            return;
        }
        let (lane, shared) = (self.lane, Arc::clone(&self.shared));
        let together = self.done.len().min(SETTLED_TOGETHER_MAX);
        let tasks: Vec<_> = self.done.drain(..together).collect();
        let outcomes = self.outcomes.drain(..together).collect();
        self.settling.spawn(async move {
            let noted = shared.store.settle(lane, &tasks).await;
            (tasks, outcomes, noted)
        });
    }

    /// Tasks were settled.
    fn note(&mut self, settled: Result<SettledTogether, JoinError>) {
        let (tasks, outcomes, noted) = unless_ended_badly(settled);
        let now = self.shared.store.clock().now();
        for (((queued, settled), outcome), noted) in tasks.into_iter().zip(outcomes).zip(noted) {
            let outcome = match noted {
                Ok(Noted::Done) => outcome,
                Ok(Noted::Full) => Outcome::Failed,
                Ok(Noted::Changed) => {
                    self.resumed.push_back(queued);
                    continue;
                }
                Err(error) => {
                    self.leave(&queued, false, error.to_string());
                    continue;
                }
            };
            self.release(&queued.task.key);
            self.known.remove(&queued.id);
            if let Settled::Again { due, .. } = settled {
                self.look_from(Position::at(due));
            }
            let waited =
                Duration::from_millis(u64::try_from(now.0.saturating_sub(queued.task.since.0)).unwrap_or_default());
            self.shared.carrier.told(Told { queued: &queued, waited, outcome });
        }
    }

    /// The task's row is as it was: the target is down, or the store failed.
    fn leave(&mut self, queued: &QueuedTask, down: bool, reason: String) {
        self.release(&queued.task.key);
        self.put_back(queued);
        // Those that were under way when it went down fail as well, and are no further probes.
        if self.rests_until.is_none() {
            self.failures += u32::from(down);
            let random = self.shared.store.entropy().random_16()[0];
            let delay_ms = self.shared.options.target_backoff.delay_ms(self.failures.max(1), random);
            self.rest(self.shared.store.clock().now().plus_ms(delay_ms), reason);
        }
    }

    /// What was read is left in the index, and read again then.
    fn rest(&mut self, until: Timestamp, reason: String) {
        tracing::warn!(lane = ?self.lane, reason, "a replication lane rests");
        for queued in std::mem::take(&mut self.resumed) {
            self.put_back(&queued);
            // Nobody holds its key, and those after it are put back below.
            let after = self.busy.remove(&queued.task.key);
            self.waiting.extend(after.into_iter().flatten());
        }
        self.waiting.extend(self.busy.values_mut().flat_map(std::mem::take));
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
            state.down_until = self.no_room.as_ref().map(|no_room| no_room.until);
            state.last_error = self.no_room.as_ref().map(|no_room| no_room.reason.clone());
        }
    }
}

/// What a task of the lane's own came to. If it ended badly, so does the lane: the dispatcher starts it again.
fn unless_ended_badly<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => panic!("nothing else ends it: {error}"),
    })
}

/// Carries out one task.
async fn carry_out(shared: &Shared, queued: &QueuedTask) -> Came {
    let now = || shared.store.clock().now();
    let carried = AssertUnwindSafe(shared.carrier.carry(queued)).catch_unwind().await;
    let carried = carried.unwrap_or_else(|_| {
        tracing::error!(?queued, "carrying out a replication task panicked");
        Err(Failure::Later { reason: "the server failed at it, see its log".to_owned(), after: None })
    });
    match carried {
        Ok(Carried::Brought { settings, foreign_version }) => {
            Came::Done(Settled::Completed { settings, foreign_version }, Outcome::Completed)
        }
        Ok(Carried::Nothing) => Came::Done(Settled::Dropped, Outcome::Dropped),
        Ok(Carried::Wait) => {
            let due = now().plus_ms(backoff::wait_ms(queued.task.since, now()));
            Came::Done(Settled::Again { due, reason: None }, Outcome::Waited)
        }
        Err(Failure::Down { reason } | Failure::Silent { reason }) => Came::Down { reason },
        Err(Failure::Full { reason }) => Came::Full { reason },
        Err(Failure::Refused { reason }) => Came::Done(Settled::Failed { reason }, Outcome::Failed),
        Err(Failure::Later { reason, .. }) if queued.attempts + 1 >= shared.options.attempts_max => {
            Came::Done(Settled::Failed { reason }, Outcome::Failed)
        }
        Err(Failure::Later { reason, after }) => {
            let random = shared.store.entropy().random_16()[0];
            let after_ms = after.map_or(0, |after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
            let delay_ms = shared.options.task_backoff.delay_ms(queued.attempts + 1, random).max(after_ms);
            Came::Done(Settled::Again { due: now().plus_ms(delay_ms), reason: Some(reason) }, Outcome::Retried)
        }
    }
}
