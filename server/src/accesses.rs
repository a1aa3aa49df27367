//! When objects in INTELLIGENT_TIERING were read: noted in memory, so that no read waits for a write, and written down once
//! a minute, once an hour for each version at most. A crash forgets a minute's accesses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::tiering::MONITORED_BYTES_MIN;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::{BucketId, VersionId};
use cairn_storage::object::{AccessTier, ObjectKey, ObjectVersion};
use cairn_storage::ops::{Bucket, Store};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Versions whose access is noted in memory at most; when there are more, they are written down at once.
const NOTED_MAX: usize = 10_000;

/// Between two times that they are written down.
const FLUSH_INTERVAL: Duration = Duration::from_secs(60);

/// How many are written at once.
const WRITES_AT_ONCE: usize = 32;

/// How long a stop waits until they are.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The accesses that are not written down yet.
#[derive(Debug)]
pub struct Accesses {
    store: Store,
    /// Two accesses closer together than this count as one.
    resolution_ms: i64,
    noted: Mutex<HashMap<Accessed, Timestamp>>,
    full: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Accessed {
    bucket: BucketId,
    key: ObjectKey,
    id: VersionId,
}

impl Accesses {
    /// Nothing was accessed yet. The resolution is an hour of a rule's day.
    pub fn new(store: Store, calendar: Calendar) -> Self {
        let resolution_ms = calendar.hour_ms();
        Self { store, resolution_ms, noted: Mutex::default(), full: Notify::new() }
    }

    /// Notes that a version was read.
    pub fn note(&self, bucket: &Bucket, key: &ObjectKey, object: &ObjectVersion) {
        let is_monitored = object.size_bytes >= MONITORED_BYTES_MIN;
        let tier = object.access_tier().filter(|tier| is_monitored && !tier.needs_restore());
        let Some(tier) = tier else { return };
        let now = self.store.clock().now();
        let known = object.access.map_or_else(|| object.in_class_since(), |access| access.last);
        if tier == AccessTier::Frequent && now <= known.plus_ms(self.resolution_ms) {
            return;
        }
        let accessed = Accessed { bucket: bucket.id, key: key.clone(), id: object.version_id };
        let mut noted = self.noted.lock();
        if noted.len() < NOTED_MAX || noted.contains_key(&accessed) {
            noted.insert(accessed, now);
        }
        if noted.len() >= NOTED_MAX {
            self.full.notify_one();
        }
    }

    /// Writes down what was noted. Each access stays noted until it was tried, so that another call writes what one that was
    /// cut short did not.
    pub async fn flush(&self) {
        let noted: Vec<_> = self.noted.lock().iter().map(|(accessed, at)| (accessed.clone(), *at)).collect();
        let failed = stream::iter(noted)
            .map(|(accessed, at)| async move {
                let Accessed { bucket, key, id } = &accessed;
                let written = self.store.note_access(*bucket, key, *id, at, self.resolution_ms).await;
                self.forget(&accessed, at);
                match written {
                    // The bucket has gone.
                    Ok(()) | Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => None,
                    Err(error) => Some(error),
                }
            })
            .buffer_unordered(WRITES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        if let Some(error) = failed.first() {
            tracing::warn!(%error, count = failed.len(), "accesses of objects in INTELLIGENT_TIERING were not noted");
        }
    }

    /// Forgets an access, unless there was another one since.
    fn forget(&self, accessed: &Accessed, at: Timestamp) {
        let mut noted = self.noted.lock();
        if noted.get(accessed) == Some(&at) {
            noted.remove(accessed);
        }
    }

    /// Writes down what is noted when the server stops, when no request notes any more; but the stop does not wait for long.
    pub async fn flush_last(&self) {
        if tokio::time::timeout(LAST_FLUSH_TIMEOUT, self.flush()).await.is_err() {
            let count = self.noted.lock().len();
            tracing::warn!(count, "the server stops before all accesses of objects in INTELLIGENT_TIERING are noted");
        }
    }

    /// Writes down what is noted, now and then.
    pub async fn keep_flushing(self: Arc<Self>) {
        let interval = FLUSH_INTERVAL.min(Duration::from_millis(self.resolution_ms.unsigned_abs()));
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.full.notified() => {}
            }
            self.flush().await;
        }
    }
}
