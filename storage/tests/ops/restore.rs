//! Restoring a bucket to a point in time.

mod crash;
pub mod history;

use std::collections::BTreeMap;

use cairn_storage::StorageError;
use cairn_storage::check;
use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::index::family::bucket::Versioning::{Enabled, Suspended};
use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::restore::{RestoreCounts, RestoreRecord, RestoreState};
use cairn_storage::index::{Batch, Family};
use cairn_storage::jobs::restore::Restorer;
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::{Bucket, GetObject, ListObjects, NewRestore, PutObject, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode, Tag};

use crate::rig::{FILE_BYTES, Rig, body, bytes, object_key, owner, put_of};

/// Turns of the runner before a test gives up on a restore.
const TURNS_MAX: usize = 100_000;

/// What clients see of an object, besides its age and its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    bytes: Vec<u8>,
    etag: String,
    attributes: String,
    tags: String,
}

/// What clients see of the bucket.
pub async fn look(rig: &Rig, bucket: &Bucket) -> BTreeMap<String, Look> {
    let mut seen = BTreeMap::new();
    let list = ListObjects { max_keys: 1_000, ..ListObjects::default() };
    for entry in rig.store.list_objects(bucket, list).await.unwrap().entries {
        let key = object_key(entry.name());
        let object = rig.store.head_object(bucket, &key, GetObject::default()).await.unwrap().object;
        let look = Look {
            bytes: rig.get(bucket, entry.name()).await.unwrap(),
            etag: object.etag.to_string(),
            attributes: format!("{:?} {:?} {:?}", object.attributes, object.checksum, object.storage_class),
            tags: format!("{:?} {:?}", object.settings.tags, object.settings.acl),
        };
        seen.insert(entry.name().to_owned(), look);
    }
    seen
}

pub fn to(as_of: Timestamp) -> NewRestore {
    NewRestore { as_of, prefix: String::new(), dry_run: false, account: owner() }
}

/// Pages as small as they can be.
pub fn small() -> RestoreLimits {
    RestoreLimits { page_rows: 2, page_changes: 1, page_bytes: 1, pages_per_turn: 1 }
}

/// Runs the bucket's restore to its end.
pub async fn finish(rig: &Rig, bucket: &Bucket, limits: RestoreLimits) -> RestoreRecord {
    for _ in 0..TURNS_MAX {
        let record = rig.store.restore(bucket).await.unwrap().unwrap();
        if record.state != RestoreState::Running {
            return record;
        }
        rig.run_due(&Restorer { limits }).await;
    }
    panic!("the restore does not end");
}

pub async fn restore(rig: &Rig, bucket: &Bucket, new: NewRestore, limits: RestoreLimits) -> RestoreCounts {
    rig.store.start_restore(bucket, new).await.unwrap();
    let record = finish(rig, bucket, limits).await;
    assert_eq!(record.state, RestoreState::Done);
    record.counts
}

/// Rows, references, counters and files fit one another.
pub async fn check_store(rig: &Rig) {
    rig.collect_all().await;
    let report = check::check(&rig.store, true, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
}

async fn versioned() -> (Rig, Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    (rig, bucket)
}

/// The time, after which some passes.
fn moment(rig: &Rig) -> Timestamp {
    let now = rig.clock.now();
    rig.clock.advance_ms(1_000);
    now
}

#[tokio::test]
async fn overwritten_deleted_and_new_keys_are_as_they_were() {
    let (rig, bucket) = versioned().await;
    for (key, size) in [("inline", 10), ("file", FILE_BYTES), ("empty", 0), ("deleted", FILE_BYTES), ("same", 10)] {
        rig.put(&bucket, key, &bytes(1, size)).await;
    }
    rig.put(&bucket, "gone", b"gone").await;
    rig.delete(&bucket, "gone").await;
    let then = look(&rig, &bucket).await;
    let time = moment(&rig);
    for key in ["inline", "file", "empty"] {
        rig.put(&bucket, key, &bytes(2, 20)).await;
    }
    rig.delete(&bucket, "deleted").await;
    rig.put(&bucket, "new", &bytes(3, FILE_BYTES)).await;
    rig.put(&bucket, "gone", &bytes(4, FILE_BYTES)).await;
    rig.put(&bucket, "same", &bytes(1, 10)).await;
    moment(&rig);

    let files = rig.files().len();
    let counts = restore(&rig, &bucket, to(time), RestoreLimits::default()).await;
    assert_eq!(look(&rig, &bucket).await, then);
    let restored_bytes = 10 + 2 * FILE_BYTES as u64;
    let expected = RestoreCounts { keys: 7, restored: 4, restored_bytes, hidden: 2, overtaken: 0, removed: 0 };
    assert_eq!(counts, expected);
    assert_eq!(rig.files().len(), files, "files are shared, not copied");
    check_store(&rig).await;
    let again = restore(&rig, &bucket, to(time), RestoreLimits::default()).await;
    assert_eq!((again.restored, again.hidden), (0, 0));
}

#[tokio::test]
async fn a_version_comes_back_with_all_that_is_said_about_it_and_the_buckets_default_lock() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let key = object_key("key");
    let mut put = put_of(body(&bytes(1, FILE_BYTES)));
    put.attributes.content_type = Some("text/then".to_owned());
    put.attributes.user_metadata.insert("colour".to_owned(), "red".to_owned());
    let tags = vec![Tag { key: "team".to_owned(), value: "blue".to_owned() }];
    let until = rig.clock.now().plus_ms(1_000_000);
    let settings = ObjectSettings {
        tags,
        retention: Some(Retention { mode: RetentionMode::Compliance, until }),
        legal_hold: Some(true),
        acl: Some(vec![1, 2, 3].into()),
        lock_changed: Some(until),
    };
    let old = rig.store.put_object(&bucket, &key, PutObject { settings, ..put }).await.unwrap();
    let time = moment(&rig);
    rig.put(&bucket, "key", b"newer").await;
    moment(&rig);
    let period = RetentionPeriod::Days(2);
    let default = DefaultRetention { mode: RetentionMode::Governance, period };
    let set = |record: &mut cairn_storage::index::family::bucket::BucketRecord| {
        record.default_retention = Some(default);
        Ok(())
    };
    rig.store.update_bucket(&bucket, set).await.unwrap();

    restore(&rig, &bucket, to(time), RestoreLimits::default()).await;
    let new = rig.store.head_object(&bucket, &key, GetObject::default()).await.unwrap().object;
    assert!(new.version_id > old.version_id && !new.is_null);
    assert_eq!((new.attributes, new.etag, new.checksum), (old.attributes, old.etag, old.checksum));
    assert_eq!((new.settings.tags, new.settings.acl), (old.settings.tags, old.settings.acl));
    assert_eq!((new.content, new.size_bytes, new.owner), (old.content, old.size_bytes, old.owner));
    assert_eq!(new.created, rig.clock.now());
    assert_eq!((new.settings.legal_hold, new.settings.lock_changed), (None, None));
    assert_eq!(new.settings.retention.unwrap().mode, RetentionMode::Governance);
    // The old one is locked as it was.
    let removed = rig.delete_version(&bucket, "key", VersionSelector::Id(old.version_id)).await;
    assert!(matches!(removed, Err(StorageError::Locked(_))));
}

#[tokio::test]
async fn a_multipart_object_comes_back_with_its_parts() {
    let (rig, bucket) = versioned().await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
    let old = rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    let time = moment(&rig);
    rig.delete(&bucket, "key").await;
    moment(&rig);
    restore(&rig, &bucket, to(time), RestoreLimits::default()).await;
    rig.delete_version(&bucket, "key", VersionSelector::Id(old.version_id)).await.unwrap();
    check_store(&rig).await;
    let select = cairn_storage::ops::Select::Part(1);
    let part = rig.get_with(&bucket, "key", GetObject { select, ..GetObject::default() }).await.unwrap();
    assert_eq!(part, bytes(1, FILE_BYTES));
}

#[tokio::test]
async fn sealed_versions_come_back_without_a_key_and_open_with_theirs() {
    let (mut rig, bucket) = versioned().await;
    rig.sealed = true;
    for (key, size) in [("inline", 10), ("file", FILE_BYTES), ("empty", 0)] {
        rig.put(&bucket, key, &bytes(1, size)).await;
    }
    let upload = rig.create_upload(&bucket, "parts").await;
    let part = rig.upload_part(&bucket, "parts", upload, 1, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "parts", upload, &[part]).await.unwrap();
    // The second time, what is restored is itself a restored version.
    for number in [3, 4] {
        let then = look(&rig, &bucket).await;
        let time = moment(&rig);
        for key in ["inline", "file", "empty", "parts"] {
            rig.put(&bucket, key, &bytes(number, 20)).await;
        }
        moment(&rig);
        assert_eq!(restore(&rig, &bucket, to(time), RestoreLimits::default()).await.restored, 4);
        assert_eq!(look(&rig, &bucket).await, then);
        check_store(&rig).await;
    }
    assert_eq!(rig.get(&bucket, "parts").await.unwrap(), bytes(2, FILE_BYTES));
}

#[tokio::test]
async fn keys_that_share_a_content_are_restored_in_one_page() {
    let (rig, bucket) = versioned().await;
    rig.put(&bucket, "a", &bytes(1, FILE_BYTES)).await;
    let first = moment(&rig);
    rig.put(&bucket, "a", b"other").await;
    moment(&rig);
    restore(&rig, &bucket, to(first), RestoreLimits::default()).await;
    rig.put(&bucket, "b", b"first").await;
    moment(&rig);
    // Two versions of `a` with one content; now `b` gets it too, by hand.
    let source = object_key("a");
    let copied = history::copy(&rig, &bucket, &source, &object_key("b")).await;
    assert_eq!(copied.size_bytes, FILE_BYTES as u64);
    let second = moment(&rig);
    rig.put(&bucket, "a", b"other").await;
    rig.put(&bucket, "b", b"other").await;
    moment(&rig);
    let counts = restore(&rig, &bucket, to(second), RestoreLimits::default()).await;
    assert_eq!(counts.restored, 2);
    assert_eq!(rig.files().len(), 1);
    check_store(&rig).await;
}

#[tokio::test]
async fn only_the_prefix_is_restored() {
    let (rig, bucket) = versioned().await;
    let keys = ["a", "a/1", "a/2", "b"];
    for key in keys {
        rig.put(&bucket, key, b"then").await;
    }
    let time = moment(&rig);
    for key in keys {
        rig.put(&bucket, key, b"now").await;
    }
    moment(&rig);
    let new = NewRestore { prefix: "a/".to_owned(), ..to(time) };
    let counts = restore(&rig, &bucket, new, small()).await;
    assert_eq!((counts.keys, counts.restored), (2, 2));
    for (key, expected) in keys.into_iter().zip(["now", "then", "then", "now"]) {
        assert_eq!(rig.get(&bucket, key).await.unwrap(), expected.as_bytes(), "{key}");
    }
}

#[tokio::test]
async fn the_order_of_history_decides_when_the_clock_has_jumped() {
    let (rig, bucket) = versioned().await;
    rig.put(&bucket, "key", b"one").await;
    // Made by a clock that was ahead, and so it seems younger than the one after it.
    rig.clock.jump_ms(1_000_000);
    rig.put(&bucket, "key", b"ahead").await;
    rig.clock.jump_ms(-1_000_000);
    moment(&rig);
    rig.put(&bucket, "key", b"three").await;
    let time = moment(&rig);
    rig.put(&bucket, "key", b"four").await;
    moment(&rig);
    restore(&rig, &bucket, to(time), small()).await;
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"three");
}

#[tokio::test]
async fn more_versions_than_a_page_holds_are_passed_in_several() {
    let (rig, bucket) = versioned().await;
    rig.put(&bucket, "key", b"then").await;
    let time = moment(&rig);
    for number in 0..50_u8 {
        rig.put(&bucket, "key", &[number]).await;
    }
    moment(&rig);
    let counts = restore(&rig, &bucket, to(time), RestoreLimits { page_rows: 7, ..small() }).await;
    assert_eq!((counts.keys, counts.restored), (1, 1));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"then");
}

#[tokio::test]
async fn what_is_written_after_the_restore_began_is_left_alone() {
    let (rig, bucket) = versioned().await;
    for key in ["a", "b", "c"] {
        rig.put(&bucket, key, b"then").await;
    }
    let time = moment(&rig);
    for key in ["a", "b", "c"] {
        rig.put(&bucket, key, b"now").await;
    }
    moment(&rig);
    rig.store.start_restore(&bucket, to(time)).await.unwrap();
    moment(&rig);
    rig.put(&bucket, "b", b"meanwhile").await;
    rig.put(&bucket, "d", b"meanwhile").await;
    rig.delete(&bucket, "c").await;
    let counts = finish(&rig, &bucket, small()).await.counts;
    assert_eq!((counts.keys, counts.restored, counts.overtaken), (4, 1, 3));
    assert_eq!(rig.get(&bucket, "a").await.unwrap(), b"then");
    assert_eq!(rig.get(&bucket, "b").await.unwrap(), b"meanwhile");
    assert_eq!(rig.get(&bucket, "d").await.unwrap(), b"meanwhile");
    assert!(rig.get(&bucket, "c").await.is_err());
}

#[tokio::test]
async fn a_dry_run_counts_what_a_restore_then_does_and_changes_nothing() {
    let (rig, bucket) = versioned().await;
    rig.put(&bucket, "a", &bytes(1, FILE_BYTES)).await;
    let time = moment(&rig);
    rig.put(&bucket, "a", b"now").await;
    rig.put(&bucket, "b", b"now").await;
    moment(&rig);
    let before = (look(&rig, &bucket).await, rig.usage(&bucket).await);
    let dry = restore(&rig, &bucket, NewRestore { dry_run: true, ..to(time) }, small()).await;
    assert_eq!((look(&rig, &bucket).await, rig.usage(&bucket).await), before);
    assert_eq!((dry.restored, dry.hidden), (1, 1));
    assert_eq!(restore(&rig, &bucket, to(time), RestoreLimits::default()).await, dry);
}

#[tokio::test]
async fn what_was_removed_for_good_is_counted_if_it_may_have_existed() {
    let (rig, bucket) = versioned().await;
    let gone = rig.put(&bucket, "deleted", b"then").await;
    rig.put(&bucket, "kept", b"then").await;
    let suspended = rig.set_versioning(&bucket, Suspended).await;
    rig.put(&suspended, "null", b"then").await;
    let time = moment(&rig);
    rig.put(&suspended, "null", b"replaces it").await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    rig.delete_version(&bucket, "deleted", VersionSelector::Id(gone.version_id)).await.unwrap();
    // Days later, something comes and goes that did not exist then.
    rig.clock.advance_ms(200 * 60 * 60 * 1_000);
    let young = rig.put(&bucket, "young", b"young").await;
    rig.delete_version(&bucket, "young", VersionSelector::Id(young.version_id)).await.unwrap();
    moment(&rig);
    assert_eq!(restore(&rig, &bucket, to(time), small()).await.removed, 2);
    moment(&rig);
    let later = rig.clock.now();
    assert_eq!(restore(&rig, &bucket, to(later), small()).await.removed, 1, "the last hour's are not told apart");
    rig.clock.advance_ms(2 * 60 * 60 * 1_000);
    let later = rig.clock.now();
    assert_eq!(restore(&rig, &bucket, to(later), small()).await.removed, 0);
}

#[tokio::test]
async fn only_a_versioned_bucket_is_restored_and_only_to_a_time_of_its_life() {
    let rig = Rig::new();
    rig.clock.advance_ms(5_000);
    let bucket = rig.create_bucket("bucket").await;
    let created = moment(&rig);
    for versioning in [None, Some(Suspended)] {
        if let Some(versioning) = versioning {
            rig.set_versioning(&bucket, versioning).await;
        }
        let refused = rig.store.start_restore(&bucket, to(created)).await;
        assert!(matches!(refused, Err(StorageError::InvalidBucketState { .. })), "{refused:?}");
    }
    rig.set_versioning(&bucket, Enabled).await;
    for time in [created.plus_ms(-1), rig.clock.now().plus_ms(1)] {
        let refused = rig.store.start_restore(&bucket, to(time)).await;
        assert!(matches!(refused, Err(StorageError::InvalidRestoreTime { .. })), "{refused:?}");
    }
    assert_eq!(rig.store.restore(&bucket).await.unwrap(), None);
    rig.store.start_restore(&bucket, to(created)).await.unwrap();
}

#[tokio::test]
async fn one_restore_runs_at_a_time_and_can_be_ended() {
    let (rig, bucket) = versioned().await;
    for number in 0..5 {
        rig.put(&bucket, &format!("key-{number}"), b"then").await;
    }
    let time = moment(&rig);
    for number in 0..5 {
        rig.put(&bucket, &format!("key-{number}"), b"now").await;
    }
    moment(&rig);
    let first = rig.store.start_restore(&bucket, to(time)).await.unwrap();
    assert_eq!(rig.store.start_restore(&bucket, to(time)).await.unwrap().id, first.id, "the same one");
    let other = NewRestore { prefix: "key-1".to_owned(), ..to(time) };
    let refused = rig.store.start_restore(&bucket, other.clone()).await;
    assert!(matches!(refused, Err(StorageError::RestoreRunning)), "{refused:?}");

    rig.run_due(&Restorer { limits: small() }).await;
    rig.run_due(&Restorer { limits: small() }).await;
    let cancelled = rig.store.cancel_restore(&bucket).await.unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.counts.restored), (RestoreState::Cancelled, 2));
    assert_eq!(rig.run_due(&Restorer { limits: small() }).await, 0, "its task has ended");
    let counts = rig.store.restore(&bucket).await.unwrap().unwrap().counts;
    assert_eq!(counts, cancelled.counts);
    assert_eq!(rig.store.cancel_restore(&bucket).await.unwrap().unwrap().state, RestoreState::Cancelled);

    let counts = restore(&rig, &bucket, other, small()).await;
    assert_eq!((counts.keys, counts.restored), (1, 0));
}

#[tokio::test]
async fn a_restore_ends_when_versioning_is_suspended_under_it() {
    let (rig, bucket) = versioned().await;
    rig.put(&bucket, "a", b"then").await;
    let time = moment(&rig);
    rig.put(&bucket, "a", b"now").await;
    moment(&rig);
    rig.store.start_restore(&bucket, to(time)).await.unwrap();
    rig.set_versioning(&bucket, Suspended).await;
    let record = finish(&rig, &bucket, small()).await;
    assert!(matches!(record.state, RestoreState::Failed(reason) if reason.contains("versioning")));
    assert_eq!(rig.get(&bucket, "a").await.unwrap(), b"now");
    assert!(rig.tasks(bucket.id.into(), cairn_storage::index::family::job::Queue::Restore).await.is_empty());
}

#[tokio::test]
async fn damaged_rows_of_restores_are_found() {
    let (rig, bucket) = versioned().await;
    let object = rig.put(&bucket, "a", b"x").await;
    rig.delete_version(&bucket, "a", VersionSelector::Id(object.version_id)).await.unwrap();
    restore(&rig, &bucket, to(rig.clock.now()), small()).await;
    check_store(&rig).await;
    let counter = rig.keys(bucket.id.into(), Family::Usage).await.pop().unwrap();
    assert_eq!(counter[0], 0xFF);
    let mut batch = Batch::new();
    batch.put(Family::Usage, counter, vec![0xFF; 8]);
    batch.put(Family::Document, DocumentKind::Restore.key(), vec![1, 2, 3]);
    rig.commit(bucket.id.into(), batch).await;
    let findings = check::check(&rig.store, true, &mut |_| {}).await.unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("removed versions") && findings[1].contains("restore record"), "{findings:?}");
}

#[tokio::test]
async fn a_restore_ends_with_its_bucket() {
    let (rig, bucket) = versioned().await;
    let time = moment(&rig);
    rig.store.start_restore(&bucket, to(time)).await.unwrap();
    rig.store.delete_bucket(&bucket).await.unwrap();
    let restorer = Restorer { limits: small() };
    rig.run_partition(&restorer, bucket.id.into()).await.unwrap();
    let again = rig.create_bucket("bucket").await;
    assert_eq!(rig.store.restore(&again).await.unwrap(), None);
}
