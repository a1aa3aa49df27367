//! Where a world's data survives its process.

use std::sync::Arc;

use cairn_storage::blob::BlobStore;
use cairn_storage::clock::ManualClock;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::disk::{Disk, RealDisk};
use cairn_storage::health::Health;
use cairn_storage::index::memory::{MemoryIndex, MemorySnapshot};
use cairn_storage::index::rocks::{RocksIndex, RocksOptions};
use cairn_storage::observe::Silent;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::rig::{Rig, START};

pub struct Home {
    clock: Arc<ManualClock>,
    data: Data,
    /// Whether its objects are sealed.
    pub sealed: bool,
}

enum Data {
    Simulated { index: Mutex<Option<Arc<MemoryIndex>>>, disk: SimDisk },
    Real(TempDir),
}

impl Home {
    pub fn simulated() -> Self {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        Self::of(Data::Simulated { index: Mutex::new(None), disk })
    }

    pub fn real() -> Self {
        let directory = tempfile::tempdir().unwrap();
        BlobStore::create_folders(&RealDisk::new(directory.path()).unwrap()).unwrap();
        Self::of(Data::Real(directory))
    }

    fn of(data: Data) -> Self {
        Self { clock: Arc::new(ManualClock::new(START)), data, sealed: false }
    }

    /// A process over the data, which has no other.
    pub async fn open(&self, seed: u64) -> Rig {
        let health = Health::default();
        let mut rig = match &self.data {
            Data::Simulated { index, disk } => {
                let mut held = index.lock();
                let snapshot = held.take().map_or_else(MemorySnapshot::default, |index| index.snapshot());
                let index = Arc::new(MemoryIndex::from_snapshot(snapshot, health.clone()));
                *held = Some(index.clone());
                Rig::over(index, Arc::new(disk.clone()), self.clock.clone(), health, seed)
            }
            Data::Real(directory) => {
                let path = directory.path();
                let options = RocksOptions::new(path.join("index"), path.join("watermark"));
                let index = Arc::new(RocksIndex::open(&options, health.clone(), Arc::new(Silent)).unwrap());
                let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(path).unwrap());
                Rig::over(index, disk, self.clock.clone(), health, seed)
            }
        };
        rig.sealed = self.sealed;
        // The machine may have booted meanwhile.
        self.clock.reboot();
        rig.store.recover().await.unwrap();
        rig
    }
}
