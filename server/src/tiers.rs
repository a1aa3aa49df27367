//! The storage tiers while the server runs: each is looked at again and again, by a task of its own, so that one whose disk hangs
//! holds up nothing else.

pub mod bucket;

use std::sync::Arc;
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::blob::TierStatus;
use cairn_storage::id::Place;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::index::family::usage::{self, PlaceCounter};
use cairn_storage::index::{IndexError, View};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::Store;
use serde::{Deserialize, Serialize};
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
        tasks.push(tokio::spawn(sum_usage(store.clone(), metrics.clone())));
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
        if let Err(error) = sample_usage(&store, &metrics).await {
            tracing::warn!(%error, "what the storage tiers hold cannot be added up");
        }
        tokio::time::sleep(USAGE_INTERVAL).await;
    }
}

async fn sample_usage(store: &Store, metrics: &Metrics) -> Result<(), StorageError> {
    for (class, usage) in usage_of_data_dir(store).await? {
        metrics.tiers().sample_class(class.name(), usage);
    }
    for (tier, usage) in usage_of_tiers(store).await? {
        metrics.tiers().sample_usage(&tier.name, usage);
    }
    Ok(())
}

/// What the data directory has of each class.
///
/// # Errors
/// The index's.
pub async fn usage_of_data_dir(
    store: &Store,
) -> Result<impl Iterator<Item = (StorageClass, PlaceUsage)>, StorageError> {
    let usages = usage_of(store, &StorageClass::ALL.map(Place::in_data_dir)).await?;
    Ok(StorageClass::ALL.into_iter().zip(usages))
}

/// The tiers, and what each has.
///
/// # Errors
/// The index's.
pub async fn usage_of_tiers(store: &Store) -> Result<impl Iterator<Item = (TierStatus, PlaceUsage)>, StorageError> {
    let tiers = store.blobs().tiers();
    let places: Vec<_> = tiers.iter().map(|tier| tier.place).collect();
    let usages = usage_of(store, &places).await?;
    Ok(tiers.into_iter().zip(usages))
}

/// What the index has in a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceUsage {
    /// Files, parts of open uploads included.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// By how many bytes they are shorter than what they hold.
    #[serde(default)]
    pub saved_bytes: i64,
}

/// What the index has in these places.
async fn usage_of(store: &Store, places: &[Place]) -> Result<Vec<PlaceUsage>, StorageError> {
    let mut totals = vec![PlaceUsage::default(); places.len()];
    for (_, entry) in store.all_buckets().await? {
        if entry.state == EntryState::Creating {
            continue;
        }
        let of_view = places.to_vec();
        let page = move |view: &dyn View| of_view.iter().map(|place| read_usage(view, *place)).collect();
        let of_bucket: Vec<PlaceUsage> = store.index().view(entry.bucket.into(), page).await?;
        for (total, usage) in totals.iter_mut().zip(of_bucket) {
            total.files += usage.files;
            total.bytes += usage.bytes;
            total.saved_bytes += usage.saved_bytes;
        }
    }
    Ok(totals)
}

fn read_usage(view: &dyn View, place: Place) -> Result<PlaceUsage, IndexError> {
    let read = |counter| usage::read_place(view, place, counter);
    let (files, bytes) = (read(PlaceCounter::Files)?, read(PlaceCounter::Bytes)?);
    Ok(PlaceUsage { files, bytes, saved_bytes: read(PlaceCounter::Saved)? })
}
