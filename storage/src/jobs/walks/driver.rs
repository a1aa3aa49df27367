//! Runs walks: each in a task of its own, a bounded number at once, so that one that waits holds up no other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::StorageError;
use crate::id::JobId;
use crate::index::family::walk::{WalkKind, WalkState};
use crate::jobs::told_to_stop;
use crate::observe::Observer;
use crate::ops::Store;

use super::{StepFailure, Turn, Walker};

/// How long a stop waits for the pages at hand; they are cut short then, as by a crash.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long the driver waits at most before it looks at the records again.
const IDLE: Duration = Duration::from_secs(60);

/// How long it rests after the index failed it.
const INDEX_FAILURE_REST: Duration = Duration::from_secs(5);

/// How the driver goes about its work.
#[derive(Clone, Copy, Debug)]
pub struct WalkOptions {
    /// Walks at once; the others wait.
    pub concurrency: usize,
    /// Failures in a row after which a walk fails.
    pub attempts_max: u32,
    /// The first retry's delay; each further one doubles it.
    pub backoff_min: Duration,
    /// The longest delay.
    pub backoff_max: Duration,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self {
            concurrency: 8,
            attempts_max: 8,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// The running driver. Dropping it does not stop it.
#[derive(Debug)]
pub struct WalksHandle {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl WalksHandle {
    /// Stops after the pages at hand.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the driver of walks ended badly");
        }
    }
}

/// Runs the store's walks by `walkers`, one for each kind. A walk whose kind has none waits.
#[must_use]
pub fn spawn(
    store: Store,
    walkers: Vec<Arc<dyn Walker>>,
    observer: Arc<dyn Observer>,
    options: WalkOptions,
) -> WalksHandle {
    let (stop, stopped) = watch::channel(false);
    let walkers = walkers.into_iter().map(|walker| (walker.kind(), walker)).collect();
    let driver = Driver { store, walkers, observer, options, stopped };
    WalksHandle { stop, task: tokio::spawn(driver.run()) }
}

#[derive(Clone)]
struct Driver {
    store: Store,
    walkers: HashMap<WalkKind, Arc<dyn Walker>>,
    observer: Arc<dyn Observer>,
    options: WalkOptions,
    stopped: watch::Receiver<bool>,
}

impl Driver {
    async fn run(mut self) {
        let (mut tasks, mut at_work) = (JoinSet::new(), HashSet::new());
        while !*self.stopped.borrow() {
            // Registered before the records are read, so that no change in between is missed.
            let store = self.store.clone();
            let mut changed = std::pin::pin!(store.walks_changed().notified());
            changed.as_mut().enable();
            let rest = match self.start_what_is_to_run(&mut tasks, &mut at_work).await {
                Ok(()) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "the walks cannot be read now");
                    INDEX_FAILURE_REST
                }
            };
            tokio::select! {
                () = changed => {}
                () = told_to_stop(&mut self.stopped) => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let task = match ended {
                        Ok((task, ())) => task,
                        Err(error) => {
                            tracing::error!(%error, "a walk's task ended badly");
                            error.id()
                        }
                    };
                    at_work.retain(|(_, of)| *of != task);
                }
                () = tokio::time::sleep(rest) => {}
            }
        }
        let drain = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, drain).await.is_err() {
            tracing::warn!("a walk's page is cut short; it comes again after the next start");
        }
        // Dropping the set ends what is left.
    }

    async fn start_what_is_to_run(
        &self,
        tasks: &mut JoinSet<()>,
        at_work: &mut HashSet<(JobId, tokio::task::Id)>,
    ) -> Result<(), StorageError> {
        let walks = self.store.walks().await?;
        for kind in self.walkers.keys() {
            for state in WalkState::ALL {
                let count = walks.iter().filter(|walk| (walk.kind, walk.state) == (*kind, state)).count();
                self.observer.walks(kind.name(), state.name(), count);
            }
        }
        for walk in walks.into_iter().filter(|walk| walk.state == WalkState::Running) {
            let Some(walker) = self.walkers.get(&walk.kind) else { continue };
            if at_work.len() < self.options.concurrency && !at_work.iter().any(|(id, _)| *id == walk.id) {
                let task = tasks.spawn(self.clone().walk(walk.id, Arc::clone(walker)));
                at_work.insert((walk.id, task.id()));
            }
        }
        Ok(())
    }

    /// Does a walk's pages until it is over or the driver stops.
    async fn walk(mut self, id: JobId, walker: Arc<dyn Walker>) {
        let mut failures = 0;
        while !*self.stopped.borrow() {
            let failure = match self.store.walk_page(id, walker.as_ref()).await {
                Ok(Turn { more, counts }) => {
                    self.observer.walked(walker.kind().name(), counts);
                    if !more {
                        return;
                    }
                    failures = 0;
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(failure) => failure,
            };
            failures += 1;
            let (reason, gives_up) = match failure {
                StepFailure::Later(reason) => (reason, false),
                StepFailure::Failed(reason) => (reason, failures >= self.options.attempts_max),
                StepFailure::Refused(reason) => (reason, true),
            };
            tracing::warn!(walk = %id, kind = walker.kind().name(), reason, gives_up, "a walk's page failed");
            match self.store.note_walk_failure(id, &reason, gives_up).await {
                Ok(Some(WalkState::Running)) => {}
                Ok(_) => return,
                // It is told again with the next try.
                Err(error) => tracing::warn!(walk = %id, %error, "a walk's failure cannot be noted"),
            }
            self.rest(failures).await;
        }
    }

    /// Waits longer after each failure, unless the driver stops or an operator changes a walk.
    async fn rest(&mut self, failures: u32) {
        let factor = 1_u32 << failures.saturating_sub(1).min(16);
        let rest = self.options.backoff_min.saturating_mul(factor).min(self.options.backoff_max);
        let store = self.store.clone();
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = store.walks_changed().notified() => {}
            () = told_to_stop(&mut self.stopped) => {}
        }
    }
}
