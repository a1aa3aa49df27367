//! A request whose future is dropped, as when its client goes away, leaves no file without a row.

use std::sync::Arc;
use std::time::Duration;

use cairn_storage::blob::{BlobStore, Offload};
use cairn_storage::clock::ManualClock;
use cairn_storage::disk::RealDisk;
use cairn_storage::health::Health;
use cairn_storage::index::Family;
use cairn_storage::index::rocks::{RocksIndex, RocksOptions};
use cairn_storage::observe::Silent;

use crate::rig::{FILE_BYTES, Rig, START, bytes};

/// Requests that are dropped, each a little later than the one before.
const DROPS: u32 = 120;
const STEP: Duration = Duration::from_micros(50);

/// How long the work that they started may take to come to rest.
const REST: Duration = Duration::from_millis(20);
const RESTS_MAX: usize = 100;

/// A store whose blocking work runs elsewhere and goes on after a drop.
fn rig(directory: &std::path::Path) -> Rig {
    let health = Health::default();
    let disk = Arc::new(RealDisk::new(directory).unwrap());
    BlobStore::create_folders(&*disk).unwrap();
    let options = RocksOptions::new(directory.join("index"), directory.join("watermark"));
    let index = Arc::new(RocksIndex::open(&options, health.clone(), Arc::new(Silent)).unwrap());
    let blobs = BlobStore::new(disk.clone(), health.clone(), Arc::new(Silent), Offload::Pool);
    Rig::with_blobs(index, blobs, disk, Arc::new(ManualClock::new(START)), health, 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_dropped_at_any_moment_leaves_no_file_without_a_row() {
    let directory = tempfile::tempdir().unwrap();
    let rig = Arc::new(rig(directory.path()));
    let bucket = rig.create_bucket("bucket").await;
    for number in 0..DROPS {
        let (putting, target) = (rig.clone(), bucket.clone());
        let put = tokio::spawn(async move {
            putting.put(&target, &format!("key-{number}"), &bytes(number.into(), FILE_BYTES)).await
        });
        // The runtime's timers are too coarse; this thread runs nothing of it.
        std::thread::sleep(STEP * number);
        put.abort();
    }
    for _ in 0..RESTS_MAX {
        if rig.files().len() == rig.rows(bucket.id, Family::Content).await {
            return;
        }
        tokio::time::sleep(REST).await;
    }
    panic!("{} files, {} rows", rig.files().len(), rig.rows(bucket.id, Family::Content).await);
}
