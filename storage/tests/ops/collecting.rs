//! The collector and the scan for orphans: what they free, and what they leave alone.

use std::time::Duration;

use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::id::ContentId;
use cairn_storage::index::Partition;
use cairn_storage::index::family::job::Queue;
use cairn_storage::jobs::collect::{CollectTask, Collector};
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::jobs::{Handler as _, Verdict};
use cairn_storage::object::Content;
use cairn_storage::ops::{GetObject, ObjectBody};

use crate::rig::{FILE_BYTES, Rig, bytes, drain, object_key};

/// Longer than a file stays in quarantine.
const QUARANTINE_MS: u32 = 25 * 60 * 60 * 1_000;

async fn open(rig: &Rig) -> ObjectBody {
    let bucket = rig.bucket("bucket").await.unwrap();
    rig.store.get_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap().body
}

async fn scan(rig: &Rig) -> u64 {
    scan_from(rig, Timestamp(0)).await
}

async fn scan_from(rig: &Rig, floor: Timestamp) -> u64 {
    scan::quarantine_orphans(&rig.store, floor, ScanOptions { pause: Duration::ZERO }).await.unwrap()
}

/// A file that no commit named, as a crash leaves it.
async fn plant_orphan(rig: &Rig) -> ContentId {
    let bucket = rig.bucket("bucket").await.unwrap();
    let object = rig.put(&bucket, "orphan", &bytes(9, FILE_BYTES)).await;
    let Content::File(id) = object.content else { panic!() };
    rig.delete(&bucket, "orphan").await;
    for (key, _) in rig.tasks(bucket.id.into(), Queue::Collect).await {
        let mut batch = cairn_storage::index::Batch::new();
        batch.delete(cairn_storage::index::Family::Job, key);
        rig.commit(bucket.id.into(), batch).await;
    }
    id
}

#[tokio::test]
async fn a_reader_gets_all_bytes_of_what_was_deleted_meanwhile() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let body = open(&rig).await;
    rig.delete(&bucket, "key").await;
    assert_eq!(rig.run_due(&Collector).await, 1, "it waits for the reader");
    assert_eq!(drain(body).await.unwrap(), bytes(1, FILE_BYTES));
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_reader_of_a_multipart_object_holds_its_parts() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    let body = open(&rig).await;
    rig.put(&bucket, "key", b"newer").await;
    assert_eq!(rig.run_due(&Collector).await, 1, "it waits for the reader");
    assert_eq!(drain(body).await.unwrap(), bytes(1, FILE_BYTES));
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_content_with_a_row_is_never_unlinked() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let Content::File(id) = object.content else { panic!() };
    let task = CollectTask::File(id).due_at(rig.clock.now()).task;
    assert_eq!(Collector.run(&rig.store, bucket.id.into(), &task).await, Verdict::Done);
    let task = CollectTask::Composite(id).due_at(rig.clock.now()).task;
    assert_eq!(Collector.run(&rig.store, bucket.id.into(), &task).await, Verdict::Done);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, FILE_BYTES));
}

#[tokio::test]
async fn every_task_may_run_twice() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
    rig.upload_part(&bucket, "key", upload, 2, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    rig.delete(&bucket, "key").await;
    // Each is run by hand first, as if its row had survived a crash.
    for _ in 0..3 {
        for (_, record) in rig.tasks(bucket.id.into(), Queue::Collect).await {
            assert_eq!(Collector.run(&rig.store, bucket.id.into(), &record.task).await, Verdict::Done);
        }
    }
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.content_rows(&bucket).await, 0);
}

#[tokio::test]
async fn a_task_that_cannot_be_read_fails_and_deletes_nothing() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let verdict = Collector.run(&rig.store, bucket.id.into(), b"\xFFnonsense").await;
    assert!(matches!(verdict, Verdict::Failed(_)));
    assert_eq!(rig.files().len(), 1);
}

#[tokio::test]
async fn an_orphan_goes_to_quarantine_and_a_day_later_for_good() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let orphan = plant_orphan(&rig).await;
    assert_eq!(scan(&rig).await, 1);
    assert_eq!(rig.files().len(), 1);
    assert_eq!(rig.store.blobs().list_quarantine_blocking().unwrap().contents, [orphan]);
    rig.clock.advance_ms(QUARANTINE_MS);
    rig.collect_all().await;
    assert!(rig.store.blobs().list_quarantine_blocking().unwrap().contents.is_empty());
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, FILE_BYTES));
}

#[tokio::test]
async fn a_scan_leaves_parts_and_multipart_objects_alone() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
    assert_eq!(scan(&rig).await, 0);
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    rig.collect_all().await;
    assert_eq!(scan(&rig).await, 0);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, FILE_BYTES));
}

#[tokio::test]
async fn a_scan_leaves_older_files_alone() {
    let rig = Rig::new();
    rig.create_bucket("bucket").await;
    plant_orphan(&rig).await;
    rig.clock.advance_ms(100 * 60 * 60 * 1_000);
    assert_eq!(scan_from(&rig, rig.clock.now()).await, 0);
    assert_eq!(rig.files().len(), 1);
}

/// After a crash there are files of both kinds: those that no commit named, and those whose collect task did not run.
#[tokio::test]
async fn a_scan_goes_on_when_the_collector_takes_a_candidate_first() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    plant_orphan(&rig).await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "key").await;
    let pause = Duration::from_millis(50);
    let scanning = scan::quarantine_orphans(&rig.store, Timestamp(0), ScanOptions { pause });
    let collecting = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        rig.run_due(&Collector).await
    };
    let (moved, _) = tokio::join!(scanning, collecting);
    assert_eq!(moved.unwrap(), 1);
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_scan_begins_where_the_last_one_that_ended_began() {
    let rig = Rig::new();
    rig.create_bucket("bucket").await;
    assert_eq!(scan::floor(&rig.store).await.unwrap(), Timestamp(0));
    rig.clock.advance_ms(5_000);
    let began = rig.clock.now();
    let options = ScanOptions { pause: Duration::ZERO };
    assert_eq!(scan::quarantine_orphans(&rig.store, Timestamp(0), options).await.unwrap(), 0);
    rig.clock.advance_ms(5_000);
    assert_eq!(scan::floor(&rig.store).await.unwrap(), began);
    let rig = rig.restart(2).await;
    assert_eq!(scan::floor(&rig.store).await.unwrap(), began);
    assert_eq!(rig.tasks(Partition::SYSTEM, Queue::Collect).await.len(), 0);
}
