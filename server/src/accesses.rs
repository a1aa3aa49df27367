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

    /// Writes down what was noted.
    pub async fn flush(&self) {
        let noted = std::mem::take(&mut *self.noted.lock());
        let failed = stream::iter(noted)
            .map(|(Accessed { bucket, key, id }, at)| async move {
                match self.store.note_access(bucket, &key, id, at, self.resolution_ms).await {
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
