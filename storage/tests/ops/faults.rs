//! What a failing disk or index does to an operation, and to those after it.

use std::io::ErrorKind;
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::blob::BlobStore;
use cairn_storage::clock::{ManualClock, Timestamp};
use cairn_storage::disk::sim::{Call, SimDisk};
use cairn_storage::health::Health;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::ops::Bucket;

use crate::rig::{FILE_BYTES, Rig, START, bytes};

/// Longer than a file stays in quarantine.
const QUARANTINE_MS: u32 = 25 * 60 * 60 * 1_000;

struct Faulty {
    rig: Rig,
    bucket: Bucket,
    disk: SimDisk,
    index: Arc<MemoryIndex>,
}

impl Faulty {
    /// A store that holds one object, on parts that can be made to fail.
    async fn new() -> Self {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        let health = Health::default();
        let index = Arc::new(MemoryIndex::new(health.clone()));
        let clock = Arc::new(ManualClock::new(START));
        let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock, health, 1);
        let bucket = rig.create_bucket("bucket").await;
        rig.put(&bucket, "old", &bytes(1, FILE_BYTES)).await;
        Self { rig, bucket, disk, index }
    }

    async fn put(&self) -> Result<(), StorageError> {
        self.rig.try_put(&self.bucket, "old", &bytes(2, FILE_BYTES)).await.map(drop)
    }

    /// The next process, on the same data.
    async fn restarted(self) -> Rig {
        let health = Health::default();
        let index = Arc::new(MemoryIndex::from_snapshot(self.index.snapshot(), health.clone()));
        let rig = Rig::over(index, Arc::new(self.disk), self.rig.clock, health, 2);
        rig.store.recover().await.unwrap();
        rig
    }
}

#[tokio::test]
async fn a_failed_sync_refuses_the_put_and_ends_all_writing() {
    for call in [Call::SyncData, Call::SyncDir] {
        let faulty = Faulty::new().await;
        faulty.disk.fail_call(call, 1, ErrorKind::Other);
        assert!(matches!(faulty.put().await, Err(StorageError::Io { .. })));
        assert!(matches!(faulty.put().await, Err(StorageError::ReadOnly { .. })));
        let inline = faulty.rig.try_put(&faulty.bucket, "small", b"x").await;
        assert!(matches!(inline, Err(StorageError::ReadOnly { .. })));
        assert_eq!(faulty.rig.get(&faulty.bucket, "old").await.unwrap(), bytes(1, FILE_BYTES));
        assert_eq!(faulty.rig.files().len(), 1);
        let bucket = faulty.bucket.clone();
        let rig = faulty.restarted().await;
        assert_eq!(rig.get(&bucket, "old").await.unwrap(), bytes(1, FILE_BYTES));
        rig.put(&bucket, "old", &bytes(3, FILE_BYTES)).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_the_put_and_nothing_else() {
    for call in [Call::Create, Call::Write, Call::Allocate] {
        let faulty = Faulty::new().await;
        faulty.disk.fail_call(call, 1, ErrorKind::StorageFull);
        assert!(matches!(faulty.put().await, Err(StorageError::DiskFull { .. })), "{call:?}");
        assert_eq!(faulty.rig.files().len(), 1, "{call:?}");
        assert_eq!(faulty.rig.get(&faulty.bucket, "old").await.unwrap(), bytes(1, FILE_BYTES));
        faulty.put().await.unwrap();
    }
}

#[tokio::test]
async fn an_overloaded_index_refuses_the_put_without_a_trace() {
    let faulty = Faulty::new().await;
    faulty.index.fail_next(Fault::Overloaded);
    assert!(matches!(faulty.put().await, Err(StorageError::Overloaded)));
    assert_eq!(faulty.rig.files().len(), 1);
    assert_eq!(faulty.rig.get(&faulty.bucket, "old").await.unwrap(), bytes(1, FILE_BYTES));
    faulty.put().await.unwrap();
}

/// The file of a put whose outcome nobody knows must stay: the commit may be there after the restart.
#[tokio::test]
async fn an_unknown_outcome_keeps_the_file_until_the_restart_decides() {
    for (fault, seed) in [(Fault::UnknownWritten, 2), (Fault::UnknownLost, 1)] {
        let faulty = Faulty::new().await;
        faulty.index.fail_next(fault);
        assert!(matches!(faulty.put().await, Err(StorageError::OutcomeUnknown)));
        assert!(matches!(faulty.put().await, Err(StorageError::ReadOnly { .. })));
        assert_eq!(faulty.rig.files().len(), 2);
        let bucket = faulty.bucket.clone();
        let rig = faulty.restarted().await;
        assert_eq!(rig.get(&bucket, "old").await.unwrap(), bytes(seed, FILE_BYTES));
        let options = ScanOptions { pause: std::time::Duration::ZERO };
        scan::quarantine_orphans(&rig.store, Timestamp(0), options).await.unwrap();
        rig.clock.advance_ms(QUARANTINE_MS);
        rig.collect_all().await;
        assert_eq!(rig.files().len(), 1);
        assert_eq!(rig.get(&bucket, "old").await.unwrap(), bytes(seed, FILE_BYTES));
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_its_task() {
    let faulty = Faulty::new().await;
    faulty.put().await.unwrap();
    faulty.disk.fail_call(Call::Remove, 1, ErrorKind::PermissionDenied);
    faulty.rig.try_run_due(&Collector).await.unwrap_err();
    assert_eq!(faulty.rig.tasks(faulty.bucket.id.into(), Queue::Collect).await.len(), 1);
    faulty.rig.collect_all().await;
    assert_eq!(faulty.rig.files().len(), 1);
}

#[tokio::test]
async fn a_scan_that_cannot_read_a_folder_moves_nothing() {
    let faulty = Faulty::new().await;
    faulty.disk.fail_call(Call::List, 100, ErrorKind::PermissionDenied);
    let options = ScanOptions { pause: std::time::Duration::ZERO };
    assert!(scan::quarantine_orphans(&faulty.rig.store, Timestamp(0), options).await.is_err());
    assert_eq!(faulty.rig.files().len(), 1);
}

#[tokio::test]
async fn damaged_bytes_end_the_read_with_an_error() {
    let faulty = Faulty::new().await;
    let id = faulty.rig.files()[0];
    let path = format!("blobs/{:02x}/{id}", id.as_bytes()[15]);
    let path = std::path::Path::new(&path);
    let mut contents = faulty.disk.contents(path).unwrap();
    contents[4_096 + 16 + 5] ^= 1;
    faulty.disk.set_contents(path, contents);
    let read = faulty.rig.get(&faulty.bucket, "old").await;
    assert!(matches!(read, Err(StorageError::Corrupt { .. })), "{read:?}");
}
