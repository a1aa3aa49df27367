//! The storage tiers while the server runs: each is looked at again and again, by a task of its own, so that one whose disk hangs
//! holds up nothing else.

pub mod bucket;

use std::sync::Arc;
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::id::Place;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::index::family::usage::{self, PlaceCounter};
use cairn_storage::ops::Store;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;

/// Between two looks at a tier in another service.
const REMOTE_PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Between two looks at a tier on a disk. What can be written in it must be well below the floor of free space.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// How long a start waits for the first look. A tier that answers later is down until then.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two sums of what the tiers hold.
const USAGE_INTERVAL: Duration = Duration::from_secs(60);

/// The tasks that look at the tiers.
#[derive(Debug)]
pub struct TierWatch(Vec<JoinHandle<()>>);

impl TierWatch {
    /// Starts looking, and waits for the first looks, but not for long.
    pub async fn start(store: &Store, metrics: &Arc<Metrics>) -> Self {
        let mut tasks = Vec::new();
        let mut first_looks = Vec::new();
        for tier in store.blobs().tiers() {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            first_looks.push(receiver);
            tasks.push(tokio::spawn(watch(store.clone(), metrics.clone(), (tier.place, tier.is_remote), sender)));
        }
        // A task that panicked has dropped its sender, which ends the waiting as well.
        let _ = tokio::time::timeout(FIRST_PROBE_TIMEOUT, futures::future::join_all(first_looks)).await;
        if !tasks.is_empty() {
            tasks.push(tokio::spawn(sum_usage(store.clone(), metrics.clone())));
        }
        Self(tasks)
    }

    /// Looks no more.
    pub fn stop(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn watch(
    store: Store,
    metrics: Arc<Metrics>,
    (place, is_remote): (Place, bool),
    first: tokio::sync::oneshot::Sender<()>,
) {
    let mut first = Some(first);
    loop {
        look(&store, place, is_remote).await;
        if let Some(status) = store.blobs().tiers().into_iter().find(|tier| tier.place == place) {
            metrics.tiers().sample(&status);
        }
        if let Some(first) = first.take() {
            // Nobody waits any more if it took too long.
            let _ = first.send(());
        }
        tokio::time::sleep(if is_remote { REMOTE_PROBE_INTERVAL } else { PROBE_INTERVAL }).await;
    }
}

/// Looks at a tier once.
pub async fn look(store: &Store, place: Place, is_remote: bool) {
    let blobs = store.blobs().clone();
    if is_remote {
        blobs.probe_remote(place).await;
    } else if let Err(error) = tokio::task::spawn_blocking(move || blobs.probe_tier(place)).await {
        tracing::error!(%error, "looking at a storage tier ended badly");
    }
}

async fn sum_usage(store: Store, metrics: Arc<Metrics>) {
    loop {
        for tier in store.blobs().tiers() {
            match usage_of(&store, tier.place).await {
                Ok([files, bytes]) => metrics.tiers().sample_usage(&tier.name, files, bytes),
                Err(error) => tracing::warn!(tier = tier.name, %error, "what a storage tier holds cannot be added up"),
            }
        }
        tokio::time::sleep(USAGE_INTERVAL).await;
    }
}

/// How many files and bytes the index has in a tier's place.
///
/// # Errors
/// The index's.
pub async fn usage_of(store: &Store, place: Place) -> Result<[i64; 2], StorageError> {
    let mut total = [0; 2];
    for (_, entry) in store.all_buckets().await? {
        if entry.state == EntryState::Creating {
            continue;
        }
        let page = store.index().view(entry.bucket.into(), move |view| {
            let files = usage::read_place(view, place, PlaceCounter::Files)?;
            Ok([files, usage::read_place(view, place, PlaceCounter::Bytes)?])
        });
        for (total, of_bucket) in total.iter_mut().zip(page.await?) {
            *total += of_bucket;
        }
    }
    Ok(total)
}
