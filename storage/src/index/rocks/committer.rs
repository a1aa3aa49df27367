//! The one thread that writes: it takes the batches that wait, commits them as one group with one sync, and wakes each
//! waiter. While a group is being synced the next one gathers, so the more there is to do the fewer syncs each costs.
//!
//! Invariants: nobody hears `Committed` before the sync has returned; after a failed write nothing is written again;
//! every batch that was queued is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::engine::{Engine, WriteError};
use super::group::Group;
use super::watermark::WatermarkKeeper;
use crate::health::Health;
use crate::index::{BATCH_BYTES_MAX, Batch, Outcome, Partition, Refusal};
use crate::observe::Observer;

/// Batches that may wait; one more is refused as overload.
const QUEUE_BATCHES_MAX: usize = 1_024;

/// Bytes that may wait; more are refused as overload.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// The most bytes that one group holds; at least one batch fits.
const GROUP_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// The most batches that one group holds.
const GROUP_BATCHES_MAX: usize = QUEUE_BATCHES_MAX;

/// How long a stalled engine is waited for before batches are refused as overload.
const STALL_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often a stalled engine is asked again.
const STALL_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Takes batches from any task and has them committed.
#[derive(Debug)]
pub(super) struct Committer {
    /// None once closed.
    queue: Mutex<Option<SyncSender<Request>>>,
    queued_bytes: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Health,
}

/// A batch that waits.
struct Request {
    partition: Partition,
    batch: Batch,
    reservation: Reservation,
    reply: oneshot::Sender<Outcome>,
}

/// A share of [`QUEUE_BYTES_MAX`], given back when dropped.
struct Reservation {
    queued_bytes: Arc<AtomicUsize>,
    bytes: usize,
}

impl Reservation {
    fn new(queued_bytes: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let before = queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let reservation = Self { queued_bytes: queued_bytes.clone(), bytes };
        (before + bytes <= QUEUE_BYTES_MAX).then_some(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Committer {
    pub(super) fn start(
        engine: Arc<Engine>,
        keeper: WatermarkKeeper,
        health: Health,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_BATCHES_MAX);
        let worker = Worker { engine, keeper, health: health.clone(), observer, stalled_since: None };
        let thread = thread::Builder::new().name("index-committer".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Self {
            queue: Mutex::new(Some(sender)),
            queued_bytes: Arc::default(),
            thread: Mutex::new(Some(thread)),
            health,
        })
    }

    /// Queues the batch and waits for its group. A batch that was queued is committed even if the caller stops waiting.
    pub(super) async fn commit(&self, partition: Partition, batch: Batch) -> Outcome {
        match self.enqueue(partition, batch) {
            // The thread answers whatever it took; a lost answer means that it died, perhaps while writing.
            Ok(reply) => reply.await.unwrap_or_else(|_| {
                self.health.fail("the index's committer died");
                Outcome::Unknown
            }),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn enqueue(&self, partition: Partition, batch: Batch) -> Result<oneshot::Receiver<Outcome>, Refusal> {
        if self.health.read_only().is_some() {
            return Err(Refusal::ReadOnly);
        }
        let size_bytes = batch.size_bytes();
        if size_bytes > BATCH_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let reservation = Reservation::new(&self.queued_bytes, size_bytes).ok_or(Refusal::Overloaded)?;
        let (reply, outcome) = oneshot::channel();
        let request = Request { partition, batch, reservation, reply };
        let queue = self.queue.lock();
        let queue = queue.as_ref().ok_or(Refusal::ReadOnly)?;
        queue.try_send(request).map_err(|_| Refusal::Overloaded)?;
        Ok(outcome)
    }

    /// Commits what is queued, ends the thread and brings the watermark up to date. Later batches are refused.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        if thread.join().is_err() {
            self.health.fail("the index's committer died");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the thread owns.
struct Worker {
    engine: Arc<Engine>,
    keeper: WatermarkKeeper,
    health: Health,
    observer: Arc<dyn Observer>,
    /// When the engine stopped taking writes, if it did.
    stalled_since: Option<Instant>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Request>) {
        let mut left_over = None;
        while let Some(first) = left_over.take().or_else(|| queue.recv().ok()) {
            let mut bytes = first.reservation.bytes;
            let mut requests = vec![first];
            while requests.len() < GROUP_BATCHES_MAX {
                let Ok(request) = queue.try_recv() else { break };
                if bytes + request.reservation.bytes > GROUP_BYTES_MAX {
                    left_over = Some(request);
                    break;
                }
                bytes += request.reservation.bytes;
                requests.push(request);
            }
            self.commit(requests, bytes);
        }
    }

    fn commit(&mut self, mut requests: Vec<Request>, bytes: usize) {
        let outcomes = self.outcomes(&mut requests, bytes);
        for (request, outcome) in requests.into_iter().zip(outcomes) {
            // A caller that no longer waits does not mind.
            let _ = request.reply.send(outcome);
        }
        self.keeper.record(self.engine.sequence());
    }

    /// Commits the requests as one group. One outcome for each, in their order.
    fn outcomes(&mut self, requests: &mut [Request], bytes: usize) -> Vec<Outcome> {
        if self.health.read_only().is_some() {
            return vec![Outcome::Refused(Refusal::ReadOnly); requests.len()];
        }
        let engine = self.engine.clone();
        let mut group = Group::new(&engine);
        let mut outcomes: Vec<Outcome> =
            requests.iter_mut().map(|request| group.admit(request.partition, mem::take(&mut request.batch))).collect();
        let started = Instant::now();
        let failure = match self.write(&group) {
            Ok(()) => {
                let commits = requests.iter().zip(&outcomes).filter_map(|(request, outcome)| match outcome {
                    Outcome::Committed(revision) => Some((request.partition, *revision)),
                    _ => None,
                });
                self.engine.note_changes(commits);
                self.observer.commit_group(requests.len(), bytes, started.elapsed());
                return outcomes;
            }
            Err(WriteError::Stalled) => Outcome::Refused(Refusal::Overloaded),
            Err(WriteError::Failed(reason)) => {
                self.health.fail(format!("a write of the index failed: {reason}"));
                Outcome::Unknown
            }
        };
        for outcome in &mut outcomes {
            if matches!(outcome, Outcome::Committed(_)) {
                *outcome = failure.clone();
            }
        }
        outcomes
    }

    /// Writes the group, waiting out a short stall. Once a stall has lasted too long, each group asks only once, so
    /// that its callers hear of it soon.
    fn write(&mut self, group: &Group<'_>) -> Result<(), WriteError> {
        loop {
            let write = group.to_write().map_err(|error| WriteError::Failed(error.to_string()))?;
            if write.is_empty() {
                return Ok(());
            }
            let result = self.engine.write(write);
            if !matches!(result, Err(WriteError::Stalled)) {
                self.stalled_since = None;
                return result;
            }
            if self.stalled_since.get_or_insert_with(Instant::now).elapsed() > STALL_WAIT_MAX {
                return result;
            }
            thread::sleep(STALL_POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reservations_are_bounded_and_given_back() {
        let queued_bytes = Arc::default();
        let half = Reservation::new(&queued_bytes, QUEUE_BYTES_MAX / 2).unwrap();
        let rest = Reservation::new(&queued_bytes, QUEUE_BYTES_MAX / 2).unwrap();
        assert!(Reservation::new(&queued_bytes, 1).is_none());
        drop(half);
        assert!(Reservation::new(&queued_bytes, QUEUE_BYTES_MAX / 2).is_some());
        drop(rest);
        assert_eq!(queued_bytes.load(Ordering::Relaxed), 0);
    }
}
