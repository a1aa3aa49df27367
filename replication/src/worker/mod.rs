//! The worker: a lane for each bucket and target, so that a target that is down holds up no other; what waits for it stays where it is,
//! untouched, until a probe goes through.
//!
//! In a lane, tasks run in the order in which they came, a bounded number at once and one for each key. What came of them is settled, many
//! together, in one commit with the versions' statuses. It leaves to a [`Carrier`] who may read and write what, and how.

mod backoff;
mod lane;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_storage::clock::Timestamp;
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::jobs::told_to_stop;
use cairn_storage::ops::Store;
use cairn_storage::ops::replication::QueuedTask;
use cairn_storage::settings::ObjectSettings;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::target::Failure;

pub use backoff::Backoff;

/// How long the worker rests after the index failed it.
const INDEX_FAILURE_REST: Duration = Duration::from_secs(5);

/// How the worker goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Tasks of one lane at once.
    pub concurrency: usize,
    /// Failures of a task after which it is given up.
    pub attempts_max: u32,
    /// Between the attempts of one task.
    pub task_backoff: Backoff,
    /// Between the probes of a target that is down.
    pub target_backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 16,
            // With these delays about half a day.
            attempts_max: 24,
            task_backoff: Backoff { ms_min: 1_000, ms_max: 3_600_000 },
            target_backoff: Backoff { ms_min: 1_000, ms_max: 60_000 },
        }
    }
}

/// What came of carrying out a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The target has the version with these settings.
    Brought {
        /// None: it is a delete marker.
        settings: Option<ObjectSettings>,
        /// Its id at a foreign target.
        foreign_version: Option<String>,
    },
    /// There is nothing to bring any more.
    Nothing,
    /// Something else must come first, an older version or the end of what is under way in its bucket: again in a while, the later the
    /// longer it has waited.
    Wait,
}

/// What is known of one settled task.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// The task.
    pub queued: &'t QueuedTask,
    /// How long the version has waited.
    pub waited: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How one run of a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Completed,
    /// There was nothing to bring.
    Dropped,
    /// Something else comes first.
    Waited,
    /// It will be tried again.
    Retried,
    /// It was given up.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Dropped, Self::Waited, Self::Retried, Self::Failed];
}

/// Carries out tasks.
#[async_trait]
pub trait Carrier: Send + Sync + fmt::Debug + 'static {
    /// Brings the target's version to what the source's is. May be asked twice, late, or when no rule wants it any more.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn carry(&self, queued: &QueuedTask) -> Result<Carried, Failure>;

    /// Hears how a run has ended.
    fn told(&self, told: Told<'_>);

    /// Hears that nothing waits in a lane any more: what is kept for it may be forgotten, until it is asked for it again.
    fn over(&self, lane: Lane);
}

/// How a lane is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Tasks under way.
    pub running: usize,
    /// The target does not answer, or has no room for what is large, and is not asked again before then.
    pub down_until: Option<Timestamp>,
    /// What the target, or the store, last failed with, while it is down.
    pub last_error: Option<String>,
}

/// What the lanes share.
#[derive(Debug)]
struct Shared {
    store: Store,
    carrier: Arc<dyn Carrier>,
    options: Options,
    states: Arc<Mutex<HashMap<Lane, LaneState>>>,
    stopped: watch::Receiver<bool>,
}

/// A worker that runs. Dropping it does not stop it.
#[derive(Debug)]
pub struct Worker {
    states: Arc<Mutex<HashMap<Lane, LaneState>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts it. It first finds what the index holds from before.
    #[must_use]
    pub fn spawn(store: Store, carrier: Arc<dyn Carrier>, options: Options) -> Self {
        let (stop, stopped) = watch::channel(false);
        let states = Arc::new(Mutex::new(HashMap::new()));
        let shared = Shared { store, carrier, options, states: Arc::clone(&states), stopped };
        Self { states, stop, task: tokio::spawn(dispatch(Arc::new(shared))) }
    }

    /// How the lanes are that have anything to do.
    #[must_use]
    pub fn states(&self) -> Lanes {
        Lanes(Arc::clone(&self.states))
    }

    /// Stops it. What is under way is done or not done, and is there at the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the replication worker ended badly");
        }
    }
}

/// How the lanes are, to be asked at any time.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Arc<Mutex<HashMap<Lane, LaneState>>>);

impl Lanes {
    /// How a lane is; one with nothing to do is as one that was never there.
    #[must_use]
    pub fn of(&self, lane: Lane) -> LaneState {
        self.0.lock().get(&lane).cloned().unwrap_or_default()
    }
}

/// Starts a lane when something is added to it; it ends by itself when nothing waits in it any more.
async fn dispatch(shared: Arc<Shared>) {
    let mut stopped = shared.stopped.clone();
    while let Err(error) = shared.store.find_lanes().await {
        tracing::warn!(%error, "what waits to be replicated cannot be read; it will be tried again");
        tokio::select! {
            () = tokio::time::sleep(INDEX_FAILURE_REST) => {}
            () = told_to_stop(&mut stopped) => return,
        }
    }
    let mut running = HashSet::new();
    let mut lanes = JoinSet::new();
    while !*stopped.borrow() {
        // Registered before the lanes are looked at, so that no change in between is missed.
        let all = shared.store.lanes().clone();
        let mut changed = std::pin::pin!(all.changed());
        changed.as_mut().enable();
        for lane in all.added() {
            if running.insert(lane) {
                let shared = Arc::clone(&shared);
                lanes.spawn(async move {
                    let run = AssertUnwindSafe(lane::run(Arc::clone(&shared), lane)).catch_unwind();
                    if run.await.is_err() {
                        tracing::error!(?lane, "a replication lane panicked; it is started again");
                        let mut stopped = shared.stopped.clone();
                        tokio::select! {
                            () = tokio::time::sleep(INDEX_FAILURE_REST) => shared.store.lanes().add(lane, Timestamp(0)),
                            () = told_to_stop(&mut stopped) => {}
                        }
                    }
                    lane
                });
            }
        }
        tokio::select! {
            () = changed => {}
            Some(ended) = lanes.join_next() => match ended {
                Ok(lane) => {
                    running.remove(&lane);
                    shared.states.lock().remove(&lane);
                    shared.carrier.over(lane);
                }
                // Nothing of its own can fail.
                Err(error) => tracing::error!(%error, "a replication lane ended badly"),
            },
            () = told_to_stop(&mut stopped) => {}
        }
    }
    // They see it for themselves, and drop what is under way. Nothing of theirs touches the store after this, but that uploads of replicas
    // that were dropped are ended, as far as the index still takes it.
    while lanes.join_next().await.is_some() {}
}
