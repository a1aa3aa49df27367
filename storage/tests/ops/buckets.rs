//! Creating and deleting buckets, and finishing what a stop cut short.

use std::future::Future;
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::blob::{BlobStore, Pin};
use cairn_storage::clock::{Clock as _, ManualClock};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::id::BucketId;
use cairn_storage::index::family::bucket::{
    self, BucketRecord, BucketState, ObjectOwnership, PublicAccessBlock, Versioning,
};
use cairn_storage::index::family::directory::{DirectoryEntry, EntryState};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::family::walk::WalkKind;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::index::{Batch, Family, Partition};
use cairn_storage::jobs::walks::{NewWalk, WalkPlace};
use cairn_storage::object::Content;
use cairn_storage::ops::{Bucket, ListBuckets, NewBucket};
use cairn_storage::record::Record as _;

use crate::rig::{FILE_BYTES, Rig, START, bytes, new_bucket, owner};

/// Rewrites the bucket's directory row.
async fn set_entry_state(rig: &Rig, bucket: &Bucket, state: EntryState) {
    let entry = DirectoryEntry {
        bucket: bucket.id,
        owner: bucket.owner,
        created: bucket.created,
        state,
        region: bucket.region.clone(),
        object_lock: bucket.object_lock,
        ownership: bucket.ownership,
        public_access_block: bucket.public_access_block,
    };
    let mut batch = Batch::new();
    batch.put(Family::Directory, bucket.name.as_str().as_bytes(), entry.to_value().unwrap());
    rig.commit(Partition::SYSTEM, batch).await;
}

pub async fn set_bucket_state(rig: &Rig, bucket: &Bucket, state: BucketState) {
    let record = BucketRecord {
        name: bucket.name.as_str().to_owned(),
        owner: bucket.owner,
        created: bucket.created,
        region: bucket.region.clone(),
        state,
        versioning: bucket.versioning,
        object_lock: bucket.object_lock,
        default_retention: bucket.default_retention,
        ownership: bucket.ownership,
        requester_pays: bucket.requester_pays,
        public_access_block: bucket.public_access_block,
        policy: bucket.policy,
        mfa_delete: bucket.mfa_delete,
        cors: bucket.cors,
        lifecycle: bucket.lifecycle,
        replication: bucket.replication,
    };
    let mut batch = Batch::new();
    batch.put(Family::Bucket, bucket::KEY, record.to_value().unwrap());
    rig.commit(bucket.id.into(), batch).await;
}

/// Rows of every family in the bucket's partition.
async fn all_rows(rig: &Rig, bucket: &Bucket) -> usize {
    let mut rows = 0;
    for family in Family::ALL {
        rows += rig.rows(bucket.id, family).await;
    }
    rows
}

#[tokio::test]
async fn a_created_bucket_is_found() {
    let rig = Rig::new();
    let created = rig.create_bucket("bucket").await;
    assert_eq!(rig.bucket("bucket").await.unwrap(), created);
    assert_eq!(created.versioning, Versioning::Unversioned);
    assert!(matches!(rig.bucket("other").await, Err(StorageError::NoSuchBucket)));
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let rig = Rig::new();
    rig.create_bucket("bucket").await;
    let again = rig.try_create_bucket("bucket").await;
    assert!(matches!(again, Err(StorageError::BucketExists { owner: found }) if found == owner()));
}

#[tokio::test]
async fn a_deleted_bucket_leaves_no_row_and_its_name_is_free() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"x").await;
    rig.delete(&bucket, "key").await;
    rig.store.delete_bucket(&bucket).await.unwrap();
    assert_eq!(all_rows(&rig, &bucket).await, 0);
    assert!(matches!(rig.bucket("bucket").await, Err(StorageError::NoSuchBucket)));
    assert!(matches!(rig.store.delete_bucket(&bucket).await, Err(StorageError::NoSuchBucket)));
    let anew = rig.create_bucket("bucket").await;
    assert_ne!(anew.id, bucket.id);
    assert!(matches!(rig.store.delete_bucket(&bucket).await, Err(StorageError::NoSuchBucket)), "the old one");
    assert!(matches!(rig.try_put(&bucket, "key", b"x").await, Err(StorageError::NoSuchBucket)));
    rig.put(&anew, "key", b"x").await;
}

#[tokio::test]
async fn a_bucket_with_any_version_is_not_deleted() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let check = async |what| {
        let refused = rig.store.delete_bucket(&bucket).await;
        assert!(matches!(refused, Err(StorageError::BucketNotEmpty)), "{what}: {refused:?}");
    };
    rig.put(&bucket, "key", b"x").await;
    check("an object").await;
    rig.delete(&bucket, "key").await;
    rig.set_versioning(&bucket, Versioning::Enabled).await;
    rig.delete(&bucket, "key").await;
    check("a delete marker").await;
}

#[tokio::test]
async fn a_bucket_is_deleted_with_its_open_uploads_and_their_parts() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for number in 0..1_100 {
        let key = format!("ended-{number}");
        let upload = rig.create_upload(&bucket, &key).await;
        let part = rig.upload_part(&bucket, &key, upload, 1, b"").await.unwrap();
        rig.complete(&bucket, &key, upload, &[part]).await.unwrap();
        rig.delete(&bucket, &key).await;
    }
    let open = rig.create_upload(&bucket, "open").await;
    for number in 1..=3 {
        rig.upload_part(&bucket, "open", open, number, &bytes(number.into(), FILE_BYTES)).await.unwrap();
    }
    rig.store.delete_bucket(&bucket).await.unwrap();
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(all_rows(&rig, &bucket).await, 0);
}

#[tokio::test]
async fn contents_that_wait_to_be_collected_outlive_their_bucket_no_longer_than_needed() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "key").await;
    // A finished multipart object with an unused part, an aborted upload.
    let upload = rig.create_upload(&bucket, "parts").await;
    let part = rig.upload_part(&bucket, "parts", upload, 1, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.upload_part(&bucket, "parts", upload, 2, &bytes(3, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "parts", upload, &[part]).await.unwrap();
    rig.delete(&bucket, "parts").await;
    let aborted = rig.create_upload(&bucket, "parts").await;
    rig.upload_part(&bucket, "parts", aborted, 1, &bytes(4, FILE_BYTES)).await.unwrap();
    rig.abort(&bucket, "parts", aborted).await.unwrap();

    assert_eq!(rig.files().len(), 4);
    rig.store.delete_bucket(&bucket).await.unwrap();
    assert_eq!(all_rows(&rig, &bucket).await, 0);
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_file_whose_collecting_was_put_off_does_not_hide_the_tasks_that_come_after() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let Content::File(id) = object.content else { panic!() };
    let pin: Pin = rig.store.pins().pin(id);
    rig.delete(&bucket, "key").await;
    assert_eq!(rig.run_due(&cairn_storage::jobs::collect::Collector).await, 1, "put off by the pin");
    // The parts' tasks fall due before the one that was put off.
    let upload = rig.create_upload(&bucket, "key").await;
    rig.upload_part(&bucket, "key", upload, 1, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.abort(&bucket, "key", upload).await.unwrap();
    rig.store.delete_bucket(&bucket).await.unwrap();
    drop(pin);
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_multipart_object_that_is_still_read_outlives_the_bucket() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    let key = crate::rig::object_key("key");
    let read = rig.store.get_object(&bucket, &key, Default::default()).await.unwrap();
    rig.delete(&bucket, "key").await;
    rig.store.delete_bucket(&bucket).await.unwrap();
    assert_eq!(rig.run_due(&cairn_storage::jobs::collect::Collector).await, 1, "put off by the reader");
    assert_eq!(crate::rig::drain(read.body).await.unwrap(), bytes(2, FILE_BYTES));
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn dead_collect_tasks_are_handed_over_as_well() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "key").await;
    let (key, record) = rig.tasks(bucket.id.into(), Queue::Collect).await.remove(0);
    let (due, id) = cairn_storage::index::family::job::parse_key(&key).unwrap();
    let dead = cairn_storage::index::family::job::key(Queue::Dead, due, id);
    let record = cairn_storage::index::family::job::JobRecord { origin: Some(Queue::Collect as u8), ..record };
    let mut batch = Batch::new();
    batch.delete(Family::Job, key);
    batch.put(Family::Job, dead, record.to_value().unwrap());
    rig.commit(bucket.id.into(), batch).await;
    rig.store.delete_bucket(&bucket).await.unwrap();
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn recovery_completes_a_creation_with_its_bucket_row_and_undoes_one_without() {
    for with_row in [false, true] {
        let rig = Rig::new();
        let entropy = cairn_storage::clock::SeededEntropy::new(9);
        let id = BucketId::generate(rig.clock.as_ref(), &entropy);
        let bucket = Bucket {
            id,
            name: crate::rig::bucket_name("bucket"),
            owner: owner(),
            created: rig.clock.now(),
            region: "eu-west-1".to_owned(),
            versioning: Versioning::Enabled,
            object_lock: true,
            default_retention: None,
            ownership: ObjectOwnership::ObjectWriter,
            requester_pays: false,
            public_access_block: Some(PublicAccessBlock::ALL),
            policy: None,
            mfa_delete: false,
            cors: None,
            lifecycle: None,
            replication: None,
        };
        set_entry_state(&rig, &bucket, EntryState::Creating).await;
        if with_row {
            set_bucket_state(&rig, &bucket, BucketState::Active).await;
        }
        assert!(matches!(rig.bucket("bucket").await, Err(StorageError::NoSuchBucket)));
        let rig = rig.restart(2).await;
        if with_row {
            assert_eq!(rig.bucket("bucket").await.unwrap(), bucket);
            rig.put(&bucket, "key", b"x").await;
        } else {
            assert!(matches!(rig.bucket("bucket").await, Err(StorageError::NoSuchBucket)));
            rig.create_bucket("bucket").await;
        }
    }
}

#[tokio::test]
async fn a_bucket_has_its_acl_from_the_first_moment_or_is_not_there() {
    for commits in 0..4 {
        for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
            let health = Health::default();
            let index = Arc::new(MemoryIndex::new(health.clone()));
            let disk = SimDisk::new();
            BlobStore::create_folders(&disk).unwrap();
            let clock = Arc::new(ManualClock::new(START));
            let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock.clone(), health, 1);
            index.fail_after(commits, fault);
            let created = rig.store.create_bucket(NewBucket { acl: Some("acl".into()), ..new_bucket("bucket", false) });
            let acknowledged = created.await.is_ok();
            let health = Health::default();
            let index = Arc::new(MemoryIndex::from_snapshot(index.snapshot(), health.clone()));
            let rig = Rig::over(index, Arc::new(disk), clock, health, 2);
            rig.store.recover().await.unwrap();
            match rig.bucket("bucket").await {
                Ok(bucket) => {
                    let acl = rig.store.document(&bucket, DocumentKind::Acl).await.unwrap();
                    assert_eq!(acl.as_deref(), Some(&b"acl"[..]), "{commits} {fault:?}");
                }
                Err(error) => assert!(!acknowledged && matches!(error, StorageError::NoSuchBucket), "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn recovery_resumes_the_deletion_of_an_empty_bucket() {
    for state in [Some(BucketState::Active), Some(BucketState::Deleting), None] {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        rig.delete(&bucket, "key").await;
        set_entry_state(&rig, &bucket, EntryState::Deleting).await;
        match state {
            Some(state) => set_bucket_state(&rig, &bucket, state).await,
            None => {
                // The last step but one: everything in the partition is gone, its tasks handed over.
                rig.collect_all().await;
                let mut batch = Batch::new();
                for family in [Family::Bucket, Family::Usage] {
                    for key in rig.keys(bucket.id.into(), family).await {
                        batch.delete(family, key);
                    }
                }
                rig.commit(bucket.id.into(), batch).await;
            }
        }
        let rig = rig.restart(2).await;
        assert!(matches!(rig.bucket("bucket").await, Err(StorageError::NoSuchBucket)));
        assert_eq!(all_rows(&rig, &bucket).await, 0);
        rig.collect_all().await;
        assert!(rig.files().is_empty());
        rig.create_bucket("bucket").await;
    }
}

/// Drops the operation after some steps, as when its client goes away; true once it came to its end.
async fn drop_after<T>(steps: usize, operation: impl Future<Output = T>) -> bool {
    let mut operation = std::pin::pin!(operation);
    for _ in 0..steps {
        if futures::poll!(operation.as_mut()).is_ready() {
            return true;
        }
    }
    false
}

/// More steps than any saga has.
const STEPS_MAX: usize = 200;

#[tokio::test]
async fn a_creation_dropped_anywhere_does_not_keep_the_name() {
    for steps in 0..STEPS_MAX {
        let rig = Rig::new();
        let ended = drop_after(steps, rig.try_create_bucket("bucket")).await;
        match rig.try_create_bucket("bucket").await {
            Ok(_) | Err(StorageError::BucketExists { .. }) => {}
            Err(error) => panic!("after {steps} steps: {error}"),
        }
        let bucket = rig.bucket("bucket").await.unwrap();
        rig.put(&bucket, "key", b"x").await;
        if ended {
            return;
        }
    }
    panic!("a creation does not end");
}

#[tokio::test]
async fn a_deletion_dropped_anywhere_can_be_repeated_and_the_name_used_again() {
    for steps in 0..STEPS_MAX {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        rig.delete(&bucket, "key").await;
        let ended = drop_after(steps, rig.store.delete_bucket(&bucket)).await;
        match rig.bucket("bucket").await {
            Ok(bucket) => rig.store.delete_bucket(&bucket).await.unwrap(),
            Err(StorageError::NoSuchBucket) => {}
            Err(error) => panic!("after {steps} steps: {error}"),
        }
        let anew = rig.create_bucket("bucket").await;
        rig.put(&anew, "key", b"x").await;
        rig.delete(&anew, "key").await;
        rig.collect_all().await;
        assert!(rig.files().is_empty(), "after {steps} steps");
        if ended {
            return;
        }
    }
    panic!("a deletion does not end");
}

#[tokio::test]
async fn recovery_gives_a_bucket_that_is_not_empty_back() {
    for state in [BucketState::Active, BucketState::Deleting] {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        rig.put(&bucket, "key", b"acknowledged").await;
        set_entry_state(&rig, &bucket, EntryState::Deleting).await;
        set_bucket_state(&rig, &bucket, state).await;
        let rig = rig.restart(2).await;
        assert_eq!(rig.bucket("bucket").await.unwrap(), bucket);
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"acknowledged");
        rig.put(&bucket, "key", b"usable").await;
    }
}

/// Whichever of its commits is refused: a bucket that takes writes after it is one that listings and walks see.
#[tokio::test]
async fn a_deletion_that_is_refused_in_its_middle_hides_no_bucket_that_takes_writes() {
    for point in 0.. {
        let health = Health::default();
        let index = Arc::new(MemoryIndex::new(health.clone()));
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        let rig = Rig::over(index.clone(), Arc::new(disk), Arc::new(ManualClock::new(START)), health, 1);
        let bucket = rig.create_bucket("bucket").await;
        rig.create_upload(&bucket, "key").await;
        index.fail_after(point, Fault::Overloaded);
        let deleted = rig.store.delete_bucket(&bucket).await;
        if deleted.is_ok() {
            assert!(point > 3);
            return;
        }
        assert!(matches!(deleted, Err(StorageError::Overloaded)), "{deleted:?}");
        let takes_writes = rig.try_put(&bucket, "key", b"x").await.is_ok();
        let listed = rig.store.list_buckets(owner(), everything()).await.unwrap().buckets.len() == 1;
        assert!(listed || !takes_writes, "refused at {point}");
        assert_eq!(walked(&rig).await.unwrap().bucket.id, bucket.id, "refused at {point}");
        match rig.store.delete_bucket(&bucket).await {
            Ok(()) => assert!(!takes_writes),
            Err(error) => assert!(takes_writes && matches!(error, StorageError::BucketNotEmpty), "{error}"),
        }
    }
}

fn everything() -> ListBuckets {
    ListBuckets { prefix: String::new(), after: None, max_buckets: 10 }
}

/// Where a walk through the whole store begins.
async fn walked(rig: &Rig) -> Option<WalkPlace> {
    let new = NewWalk { kind: WalkKind::Retire, bucket: None, argument: Vec::new() };
    let walk = rig.store.start_walk(new).await.unwrap();
    rig.store.walk_place(&walk).await.unwrap()
}

/// It may be given back, with what walks are about.
#[tokio::test]
async fn a_walk_does_not_pass_a_bucket_by_that_is_being_deleted() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_bucket_state(&rig, &bucket, BucketState::Deleting).await;
    set_entry_state(&rig, &bucket, EntryState::Deleting).await;
    assert_eq!(walked(&rig).await.unwrap().bucket.id, bucket.id);
    rig.store.delete_bucket(&bucket).await.unwrap();
    assert_eq!(walked(&rig).await, None);
}

/// As a deletion leaves it that found a version, and was cut short before it had given the bucket back.
#[tokio::test]
async fn a_marked_bucket_that_is_not_empty_is_given_back_by_the_next_deletion_or_start() {
    for restarts in [false, true] {
        for state in [EntryState::Active, EntryState::Deleting] {
            let mut rig = Rig::new();
            let bucket = rig.create_bucket("bucket").await;
            rig.put(&bucket, "key", b"acknowledged").await;
            set_bucket_state(&rig, &bucket, BucketState::Deleting).await;
            set_entry_state(&rig, &bucket, state).await;
            if restarts {
                rig = rig.restart(2).await;
            } else {
                let refused = rig.store.delete_bucket(&bucket).await;
                assert!(matches!(refused, Err(StorageError::BucketNotEmpty)), "{refused:?}");
            }
            assert_eq!(rig.store.list_buckets(owner(), everything()).await.unwrap().buckets.len(), 1);
            rig.put(&bucket, "key", b"usable").await;
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_being_deleted_takes_no_write_of_any_kind() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"x").await;
    let upload = rig.create_upload(&bucket, "key").await;
    set_bucket_state(&rig, &bucket, BucketState::Deleting).await;
    let busy =
        |result: Result<(), StorageError>| assert!(matches!(result, Err(StorageError::BucketBusy)), "{result:?}");
    busy(rig.try_put(&bucket, "key", &bytes(1, FILE_BYTES)).await.map(drop));
    busy(rig.delete_version(&bucket, "key", Default::default()).await.map(drop));
    busy(rig.upload_part(&bucket, "key", upload, 1, b"x").await.map(drop));
    busy(rig.abort(&bucket, "key", upload).await);
    let key = crate::rig::object_key("key");
    busy(rig.store.create_upload(&bucket, &key, crate::rig::upload_of(None)).await.map(drop));
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn buckets_are_listed_by_owner_prefix_and_page() {
    let rig = Rig::new();
    for name in ["abc", "abd", "b-one", "abe"] {
        rig.create_bucket(name).await;
    }
    let list = async |prefix: &str, after: Option<&str>, max_buckets| {
        let list = ListBuckets { prefix: prefix.to_owned(), after: after.map(str::to_owned), max_buckets };
        let page = rig.store.list_buckets(owner(), list).await.unwrap();
        (page.buckets.into_iter().map(|bucket| bucket.name).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(list("", None, 10).await.0, ["abc", "abd", "abe", "b-one"]);
    assert_eq!(list("ab", None, 2).await, (vec!["abc".to_owned(), "abd".to_owned()], Some("abd".to_owned())));
    assert_eq!(list("ab", Some("abd"), 2).await, (vec!["abe".to_owned()], None));
    let stranger = "000000000002".parse().unwrap();
    assert!(rig.store.list_buckets(stranger, everything()).await.unwrap().buckets.is_empty());
}
