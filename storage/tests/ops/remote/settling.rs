//! How files get to another service, and at what price.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cairn_storage::blob::{BlobStore, Compression};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::index::{Batch, Index, IndexError, Outcome, Page, Partition, Revision};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::settle::Settled;
use cairn_storage::ops::{CopyObject, GetObject, RangeRequest, Select};
use futures::FutureExt as _;

use crate::copies::{copy, plain_copy};
use crate::rig::{bytes, object_key};

use super::{Fake, LARGE, collect, is_whole, new_rig, put, rig_that_compresses, rig_with, settle};

/// An index in which the guards of the next commits do not hold.
#[derive(Debug)]
struct Busy {
    index: MemoryIndex,
    conflicts: AtomicUsize,
}

#[async_trait]
impl Index for Busy {
    async fn read(&self, partition: Partition, page: Box<dyn Page>) -> Result<(), IndexError> {
        self.index.read(partition, page).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Outcome {
        let fewer = |left: usize| left.checked_sub(1);
        if self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Outcome::Conflict;
        }
        self.index.commit(partition, batch).await
    }

    fn last_change(&self, partition: Partition) -> Option<Revision> {
        self.index.last_change(partition)
    }
}

#[tokio::test]
async fn a_commit_that_is_to_be_repeated_costs_no_second_copy() {
    let (disk, fake) = (SimDisk::new(), Fake::default());
    BlobStore::create_folders(&disk).unwrap();
    let index = Arc::new(Busy { index: MemoryIndex::new(Health::default()), conflicts: AtomicUsize::new(0) });
    let rig = rig_with(index.clone(), &disk, &fake, &[StorageClass::GlacierIr]).await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "key", &bytes(1, LARGE)).await;
    index.conflicts.store(3, Ordering::SeqCst);
    let id = rig.newest_id(&bucket, "key").await;
    let settled = rig.store.settle_version(bucket.id, &object_key("key"), id).await.unwrap();
    assert_eq!((settled, fake.0.lock().puts), (Settled::Moved(LARGE as u64), 1));
    rig.collect_all().await;
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, LARGE));
    is_whole(&rig).await;
}

#[tokio::test]
async fn a_file_that_comes_back_is_asked_for_in_one_request() {
    let (disk, fake) = (SimDisk::new(), Fake::default());
    BlobStore::create_folders(&disk).unwrap();
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    let rig = rig_with(index.clone(), &disk, &fake, &[StorageClass::GlacierIr]).await;
    let bucket = rig.create_bucket("bucket").await;
    let content = bytes(1, 3 << 20);
    put(&rig, &bucket, "key", &content).await;
    assert_eq!(settle(&rig).await, 0);
    let rig = rig_with(index, &disk, &fake, &[]).await;
    let id = rig.newest_id(&bucket, "key").await;
    fake.0.lock().gets = 0;
    let settled = rig.store.settle_version(bucket.id, &object_key("key"), id).await.unwrap();
    // The header, the trailer, and the frames.
    assert_eq!((settled, fake.0.lock().gets), (Settled::Moved(3 << 20), 3));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), content);
}

#[tokio::test]
async fn copies_of_one_content_that_go_there_at_once_are_uploaded_once() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "0", &bytes(1, LARGE)).await;
    let keys: Vec<_> = (0..8).map(|number| object_key(&number.to_string())).collect();
    for key in &keys[1..] {
        let to_class = CopyObject { storage_class: Some(StorageClass::GlacierIr), ..plain_copy() };
        copy(&rig, (&bucket, "0"), (&bucket, key.as_str()), to_class).await.unwrap();
    }
    assert_eq!(rig.files().len(), 1);
    let mut moves = Vec::new();
    for key in &keys {
        let id = rig.newest_id(&bucket, key.as_str()).await;
        moves.push(rig.store.settle_version(bucket.id, key, id));
    }
    let settled = futures::future::join_all(moves).await;
    assert!(settled.iter().all(|settled| *settled.as_ref().unwrap() == Settled::Moved(LARGE as u64)), "{settled:?}");
    assert_eq!(fake.0.lock().puts, 1);
    collect(&rig).await;
    assert_eq!((rig.files().len(), fake.files().len()), (0, 1));
    is_whole(&rig).await;
}

#[tokio::test]
async fn whoever_gives_up_an_upload_leaves_it_to_those_who_wait() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "one", &bytes(1, LARGE)).await;
    let to_class = CopyObject { storage_class: Some(StorageClass::GlacierIr), ..plain_copy() };
    copy(&rig, (&bucket, "one"), (&bucket, "two"), to_class).await.unwrap();
    let (one, two) = (object_key("one"), object_key("two"));
    let (first, second) = (rig.newest_id(&bucket, "one").await, rig.newest_id(&bucket, "two").await);
    let gate = fake.hold();
    let mut first = Box::pin(rig.store.settle_version(bucket.id, &one, first));
    while fake.has_waiting().now_or_never().is_none() {
        assert!(first.as_mut().now_or_never().is_none());
    }
    let second = rig.store.settle_version(bucket.id, &two, second);
    let given_up = async {
        // Until the second one waits for its turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(fake.0.lock().waiting, 1);
        drop(first);
        gate.add_permits(1);
    };
    let (settled, ()) = tokio::join!(second, given_up);
    assert_eq!((settled.unwrap(), fake.0.lock().puts), (Settled::Moved(LARGE as u64), 1));
    assert_eq!(rig.get(&bucket, "two").await.unwrap(), bytes(1, LARGE));
}

/// Those for the header and the frames, and one for the end of a compressed file, where its table is and its length is told.
#[tokio::test]
async fn a_read_takes_two_requests_and_one_more_of_a_compressed_file() {
    for (compression, requests) in
        [(Compression::default(), 2), (Compression::new(vec![StorageClass::GlacierIr], 3), 3)]
    {
        let (disk, fake) = (SimDisk::new(), Fake::default());
        BlobStore::create_folders(&disk).unwrap();
        let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
        let rig = rig_that_compresses(index, &disk, &fake, &[StorageClass::GlacierIr], compression).await;
        let bucket = rig.create_bucket("bucket").await;
        put(&rig, &bucket, "key", &vec![7; LARGE]).await;
        assert_eq!(settle(&rig).await, 0);
        let range = Select::Range(RangeRequest::From { first: 100_000, last: Some(100_009) });
        for (select, length) in [(Select::Whole, LARGE), (range, 10)] {
            let before = fake.0.lock().asked;
            let got = rig.get_with(&bucket, "key", GetObject { select, ..GetObject::default() }).await.unwrap();
            assert_eq!((got, fake.0.lock().asked - before), (vec![7; length], requests));
        }
    }
}
