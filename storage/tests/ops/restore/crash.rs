//! Restores that are cut short at any commit, and go on in the next process.

use std::sync::Arc;

use cairn_storage::blob::BlobStore;
use cairn_storage::clock::{Clock as _, ManualClock, Timestamp};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::index::family::bucket::Versioning::Enabled;
use cairn_storage::index::family::restore::{RestoreCounts, RestoreState};
use cairn_storage::index::memory::{Fault, MemoryIndex, MemorySnapshot};
use cairn_storage::jobs::restore::Restorer;
use cairn_storage::ops::ListVersions;
use cairn_storage::ops::restore::RestoreLimits;

use super::{check_store, finish, look, small, to};
use crate::rig::{FILE_BYTES, Rig, START, bytes};

/// More commits than the restore makes.
const COMMITS_MAX: u64 = 60;

/// A bucket with a past, and how it looked at one time of it.
struct Past {
    index: MemorySnapshot,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    time: Timestamp,
    look: std::collections::BTreeMap<String, super::Look>,
}

impl Past {
    async fn new() -> Self {
        let (disk, health) = (SimDisk::new(), Health::default());
        BlobStore::create_folders(&disk).unwrap();
        let index = Arc::new(MemoryIndex::new(health.clone()));
        let clock = Arc::new(ManualClock::new(START));
        let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock.clone(), health, 1);
        let bucket = rig.create_bucket("bucket").await;
        let bucket = rig.set_versioning(&bucket, Enabled).await;
        for (number, size) in [(1, 10), (2, FILE_BYTES), (3, 0), (4, FILE_BYTES), (5, 20)] {
            rig.put(&bucket, &format!("key-{number}"), &bytes(number, size)).await;
        }
        let (time, look) = (clock.now(), look(&rig, &bucket).await);
        clock.advance_ms(1_000);
        for number in 1..9 {
            rig.put(&bucket, &format!("key-{number}"), &bytes(10 + number, FILE_BYTES)).await;
            rig.put(&bucket, &format!("key-{number}"), &bytes(20 + number, 10)).await;
        }
        rig.delete(&bucket, "key-4").await;
        clock.advance_ms(1_000);
        Self { index: index.snapshot(), disk, clock, time, look }
    }

    fn open(&self, index: MemorySnapshot, seed: u64) -> (Rig, Arc<MemoryIndex>) {
        let health = Health::default();
        let index = Arc::new(MemoryIndex::from_snapshot(index, health.clone()));
        let rig = Rig::over(index.clone(), Arc::new(self.disk.clone()), self.clock.clone(), health, seed);
        (rig, index)
    }

    /// Restores with a process that ends at its commit number `point`, and one that goes on after it. True: the first one
    /// did not get so far.
    async fn restore_with_cut(&self, point: u64, fault: Fault, limits: RestoreLimits) -> bool {
        let (rig, index) = self.open(self.index.clone(), 2);
        let bucket = rig.bucket("bucket").await.unwrap();
        let started = rig.store.start_restore(&bucket, to(self.time)).await.unwrap();
        index.fail_after(point, fault);
        let mut ended = false;
        while let Ok(left) = rig.try_run_due(&Restorer { limits }).await {
            if rig.health.read_only().is_some() {
                break;
            }
            if left == 0 {
                ended = true;
                break;
            }
        }
        let (rig, _) = self.open(index.snapshot(), 3);
        rig.store.recover().await.unwrap();
        self.clock.advance_ms(5_000);
        let record = finish(&rig, &bucket, limits).await;
        assert_eq!((record.id, record.state), (started.id, RestoreState::Done));
        let expected = RestoreCounts { keys: 8, restored: 5, restored_bytes: 630, hidden: 3, overtaken: 0, removed: 0 };
        assert_eq!(record.counts, expected, "cut at {point}");
        assert!(look(&rig, &bucket).await == self.look, "cut at {point}");
        let list = ListVersions { max_keys: 1_000, ..ListVersions::default() };
        let versions = rig.store.list_versions(&bucket, list).await.unwrap().entries.len();
        assert_eq!(versions, 5 + 16 + 1 + 8, "nothing is added twice; cut at {point}");
        check_store(&rig).await;
        ended
    }
}

#[tokio::test]
async fn a_restore_that_is_cut_short_at_any_commit_goes_on_and_adds_nothing_twice() {
    let past = Past::new().await;
    for limits in [small(), RestoreLimits { page_changes: 3, ..RestoreLimits::default() }] {
        for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
            let mut cuts = 0..COMMITS_MAX;
            loop {
                let point = cuts.next().expect("the restore ends");
                if past.restore_with_cut(point, fault, limits).await {
                    break;
                }
            }
        }
    }
}
