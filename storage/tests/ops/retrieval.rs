//! Telling when a restored version can be read, and when not any more.

use std::sync::Arc;

use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::index::family::bucket::{BucketRecord, Versioning};
use cairn_storage::index::family::job::Queue;
use cairn_storage::jobs::retrieval::{RetrievalListener, Retrievals, Retrieved};
use cairn_storage::object::{ObjectKey, ObjectVersion, Restored, RetrievalTier, StorageClass};
use cairn_storage::ops::{Bucket, Permit, PutObject, VersionSelector};
use parking_lot::Mutex;

use crate::rig::{Rig, START, body, object_key, put_of};

/// What was told: of which version, what, and how long after the start.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(String, Retrieved, i64)>>);

impl RetrievalListener for Told {
    fn retrieved(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        object: &ObjectVersion,
        what: Retrieved,
        now: Timestamp,
    ) {
        let version = format!("{}/{}/{}", bucket.name, key.as_str(), object.shown());
        self.0.lock().push((version, what, now.0 - START.0));
    }
}

struct Archive {
    rig: Rig,
    bucket: Bucket,
    told: Arc<Told>,
}

impl Archive {
    async fn new() -> Self {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        let archive = Self { rig, bucket, told: Arc::default() };
        archive.put().await;
        archive
    }

    async fn put(&self) -> ObjectVersion {
        let put = PutObject { storage_class: StorageClass::Glacier, ..put_of(body(b"archived")) };
        self.rig.store.put_object(&self.bucket, &object_key("key"), put).await.unwrap()
    }

    /// Restores a version between two times after the start; without an end, for good.
    async fn restore(&self, selector: VersionSelector, ready: i64, ends: Option<i64>) {
        let restored = Restored {
            requested: self.rig.clock.now(),
            ready: START.plus_ms(ready),
            ends: ends.map_or(Timestamp(i64::MAX), |ends| START.plus_ms(ends)),
            tier: RetrievalTier::Standard,
        };
        self.restore_as(selector, restored).await;
    }

    async fn restore_as(&self, selector: VersionSelector, restored: Restored) {
        let (key, permit) = (object_key("key"), Permit::any());
        let restored = self.rig.store.restore_object(&self.bucket, &key, selector, &permit, |_| Ok(restored));
        restored.await.unwrap();
    }

    /// Lets the time come that is so long after the start, and says what was told since.
    async fn at(&self, after: i64) -> Vec<(String, Retrieved, i64)> {
        let passes = START.plus_ms(after).0 - self.rig.clock.now().0;
        self.rig.clock.advance_ms(u32::try_from(passes).unwrap());
        self.rig.run_due(&Retrievals::new(self.told.clone())).await;
        std::mem::take(&mut self.told.0.lock())
    }

    async fn tasks(&self) -> usize {
        self.rig.tasks(self.bucket.id.into(), Queue::Retrieval).await.len()
    }
}

fn told(what: Retrieved, after: i64) -> [(String, Retrieved, i64); 1] {
    [("bucket/key/null".to_owned(), what, after)]
}

#[tokio::test]
async fn a_restore_is_told_when_it_is_ready_and_when_it_is_over() {
    let archive = Archive::new().await;
    archive.restore(VersionSelector::Newest, 10, Some(20)).await;
    assert_eq!(archive.at(9).await, []);
    assert_eq!(archive.at(10).await, told(Retrieved::Ready, 10));
    assert_eq!(archive.at(19).await, []);
    assert_eq!(archive.at(20).await, told(Retrieved::Over, 20));
    assert_eq!(archive.tasks().await, 0);
}

#[tokio::test]
async fn a_restore_that_was_sped_up_or_extended_is_told_once() {
    let archive = Archive::new().await;
    archive.restore(VersionSelector::Newest, 100, Some(200)).await;
    archive.restore(VersionSelector::Newest, 10, Some(200)).await;
    assert_eq!(archive.at(10).await, told(Retrieved::Ready, 10));
    assert_eq!(archive.at(100).await, []);
    archive.restore(VersionSelector::Newest, 10, Some(300)).await;
    assert_eq!(archive.at(200).await, []);
    assert_eq!(archive.at(300).await, told(Retrieved::Over, 300));
    assert_eq!(archive.tasks().await, 0);
}

#[tokio::test]
async fn one_that_is_ready_at_once_is_told_too() {
    let archive = Archive::new().await;
    archive.restore(VersionSelector::Newest, 0, Some(20)).await;
    assert_eq!(archive.at(0).await, told(Retrieved::Ready, 0));
    archive.restore(VersionSelector::Newest, 0, Some(30)).await;
    assert_eq!(archive.at(20).await, []);
    assert_eq!(archive.at(30).await, told(Retrieved::Over, 30));
    archive.restore(VersionSelector::Newest, 30, None).await;
    assert_eq!(archive.at(30).await, told(Retrieved::Ready, 30));
    assert_eq!(archive.tasks().await, 0);
}

#[tokio::test]
async fn a_restore_that_changes_nothing_adds_no_task() {
    let archive = Archive::new().await;
    let restored = Restored { ready: START.plus_ms(10), ends: START.plus_ms(20), ..Restored::default() };
    for _ in 0..2 {
        archive.restore_as(VersionSelector::Newest, restored).await;
        assert_eq!(archive.tasks().await, 1);
    }
}

#[tokio::test]
async fn of_a_version_that_is_gone_nothing_is_told() {
    let archive = Archive::new().await;
    archive.restore(VersionSelector::Newest, 10, Some(20)).await;
    archive.put().await;
    assert_eq!(archive.at(30).await, []);
    assert_eq!(archive.tasks().await, 0);
}

#[tokio::test]
async fn an_older_version_is_told_by_its_id_and_what_came_back_for_good_is_never_over() {
    let mut archive = Archive::new().await;
    archive.bucket = archive.rig.set_versioning(&archive.bucket, Versioning::Enabled).await;
    let older = archive.put().await;
    archive.put().await;
    archive.restore(VersionSelector::Id(older.version_id), 10, None).await;
    let version = format!("bucket/key/{}", older.version_id);
    assert_eq!(archive.at(10).await, [(version, Retrieved::Ready, 10)]);
    assert_eq!(archive.tasks().await, 0);
}

#[tokio::test]
async fn a_server_that_was_down_tells_what_it_missed_that_still_holds() {
    let mut archive = Archive::new().await;
    archive.restore(VersionSelector::Newest, 10, Some(20)).await;
    archive.rig = archive.rig.restart(2).await;
    assert_eq!(archive.at(15).await, told(Retrieved::Ready, 15));
    archive.rig = archive.rig.restart(3).await;
    assert_eq!(archive.at(50).await, told(Retrieved::Over, 50));
}
