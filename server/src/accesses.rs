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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use cairn_storage::blob::{BlobStore, Offload};
    use cairn_storage::clock::{ManualClock, SeededEntropy};
    use cairn_storage::disk::sim::SimDisk;
    use cairn_storage::health::Health;
    use cairn_storage::index::family::bucket::ObjectOwnership;
    use cairn_storage::index::memory::MemoryIndex;
    use cairn_storage::object::{ObjectAttributes, StorageClass};
    use cairn_storage::observe::Silent;
    use cairn_storage::ops::planner::NoPlan;
    use cairn_storage::ops::{
        Body, BucketName, DeclaredChecksum, GetObject, Limits, NewBucket, PutObject, StoreParts, WriteConditions,
    };
    use cairn_storage::settings::ObjectSettings;
    use futures::FutureExt as _;

    use super::*;

    /// More than are written at once, twice.
    const KEYS: usize = 3 * WRITES_AT_ONCE;

    fn key(number: usize) -> ObjectKey {
        ObjectKey::new(&number.to_string()).unwrap()
    }

    fn store(clock: Arc<ManualClock>) -> Store {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        let health = Health::default();
        Store::new(StoreParts {
            index: Arc::new(MemoryIndex::new(health.clone())),
            blobs: BlobStore::new(Arc::new(disk), health.clone(), Arc::new(Silent), Offload::Inline),
            health,
            clock,
            entropy: Arc::new(SeededEntropy::new(1)),
            planner: Arc::new(NoPlan),
            limits: Limits { inline_threshold_bytes: 1 << 20 },
        })
    }

    async fn bucket_of_monitored(store: &Store) -> Bucket {
        let (name, owner) = (BucketName::new("bucket").unwrap(), "000000000001".parse().unwrap());
        let new = NewBucket {
            name: name.clone(),
            owner,
            region: "us-east-1".to_owned(),
            object_lock: false,
            ownership: ObjectOwnership::default(),
            acl: None,
            public_access_block: None,
        };
        store.create_bucket(new).await.unwrap();
        let bucket = store.bucket(&name).await.unwrap();
        let content = Bytes::from(vec![7; usize::try_from(MONITORED_BYTES_MIN).unwrap()]);
        for number in 0..KEYS {
            let stream = Box::pin(stream::iter([Ok(content.clone())]));
            let checksum = DeclaredChecksum::None;
            let body = Body { stream, length: Some(MONITORED_BYTES_MIN), content_md5: None, checksum, sealed: None };
            let put = PutObject {
                attributes: ObjectAttributes::default(),
                storage_class: StorageClass::IntelligentTiering,
                settings: ObjectSettings::default(),
                owner,
                body,
                sealing: None,
                envelope: None,
                conditions: WriteConditions::default(),
                replica: None,
            };
            store.put_object(&bucket, &key(number), put).await.unwrap();
        }
        bucket
    }

    async fn object(store: &Store, bucket: &Bucket, number: usize) -> ObjectVersion {
        store.head_object(bucket, &key(number), GetObject::default()).await.unwrap().object
    }

    #[tokio::test]
    async fn a_flush_that_is_cut_short_forgets_no_access_that_it_has_not_written() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let store = store(clock.clone());
        let bucket = bucket_of_monitored(&store).await;
        clock.advance_ms(10 * 60 * 60 * 1_000);
        let accesses = Accesses::new(store.clone(), Calendar::REAL);
        for number in 0..KEYS {
            accesses.note(&bucket, &key(number), &object(&store, &bucket, number).await);
        }
        // As often as it takes until some are written down, and others are on their way.
        let mut cut_short = Box::pin(accesses.flush());
        while accesses.noted.lock().len() == KEYS {
            assert!(cut_short.as_mut().now_or_never().is_none());
        }
        drop(cut_short);
        let left: Vec<Accessed> = accesses.noted.lock().keys().cloned().collect();
        assert!((1..KEYS).contains(&left.len()), "{} are left", left.len());
        for number in 0..KEYS {
            let is_written = object(&store, &bucket, number).await.access.is_some();
            let is_left = left.iter().any(|accessed| accessed.key == key(number));
            assert!(is_written || is_left, "the access of {number} is lost");
        }
        accesses.flush().await;
        assert_eq!(accesses.noted.lock().len(), 0);
        for number in 0..KEYS {
            let access = object(&store, &bucket, number).await.access.unwrap();
            assert_eq!(access.last, store.clock().now(), "{number}");
        }
    }

    #[tokio::test]
    async fn an_access_during_a_flush_is_noted_for_the_next() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        let store = store(clock.clone());
        let bucket = bucket_of_monitored(&store).await;
        let accesses = Accesses::new(store.clone(), Calendar::REAL);
        let read = object(&store, &bucket, 0).await;
        clock.advance_ms(2 * 60 * 60 * 1_000);
        accesses.note(&bucket, &key(0), &read);
        let mut flush = Box::pin(accesses.flush());
        assert!(flush.as_mut().now_or_never().is_none());
        clock.advance_ms(2 * 60 * 60 * 1_000);
        accesses.note(&bucket, &key(0), &read);
        flush.await;
        assert_eq!(accesses.noted.lock().len(), 1);
        accesses.flush().await;
        let access = object(&store, &bucket, 0).await.access.unwrap();
        assert_eq!((access.last, accesses.noted.lock().len()), (store.clock().now(), 0));
    }
}
