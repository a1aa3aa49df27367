//! The blob store as a whole: what was written comes back, and nothing else ever does.

#![allow(clippy::unwrap_used)]

mod compressed;
mod damage;
mod golden;
mod round_trip;
mod scan;
mod syncing;

use std::path::PathBuf;

use cairn_crypto::seal::SealId;
use cairn_crypto::secret::{DataKey, Layers};
use futures::{FutureExt as _, StreamExt as _};

use super::*;
use crate::clock::Timestamp;
use crate::disk::sim::SimDisk;
use crate::id::{BucketId, UploadId};
use crate::object::{Etag, StorageClass};
use crate::observe::Silent;
use bytes::Bytes;

/// A store over a simulated disk; everything runs on the calling thread.
struct Bench {
    disk: SimDisk,
    health: Health,
    store: BlobStore,
}

impl Bench {
    fn new() -> Self {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        Self::on(disk)
    }

    fn on(disk: SimDisk) -> Self {
        Self::compressing(disk, Compression::default())
    }

    fn compressing(disk: SimDisk, compression: Compression) -> Self {
        let (health, of_store) = (Health::default(), Arc::new(disk.clone()));
        let tiers = Tiers::default();
        let store =
            BlobStore::with_tiers(of_store, tiers, compression, health.clone(), Arc::new(Silent), Offload::Inline);
        Self { disk, health, store }
    }

    fn write(&self, id: ContentId, key: Option<&DataKey>, pieces: &[&[u8]]) -> Result<StoredBlob, StorageError> {
        let mut writer = self.store.create_blocking(id, description(), StorageClass::Standard, None, key)?;
        for piece in pieces {
            writer.append(&[Bytes::copy_from_slice(piece)])?;
        }
        writer.finish(trailer())
    }

    fn inspect(&self, content: ContentId) -> Result<Inspection, StorageError> {
        self.store.inspect_open(content).map(|(_, inspection)| inspection)
    }

    fn read(&self, blob: &StoredBlob, key: Option<&DataKey>) -> Result<Vec<u8>, StorageError> {
        self.read_range(blob, key, 0..blob.plain_length)
    }

    fn read_range(
        &self,
        blob: &StoredBlob,
        key: Option<&DataKey>,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, StorageError> {
        read_range(&self.store, blob, key, range).now_or_never().expect("nothing waits on a simulated disk")
    }
}

async fn read_range(
    store: &BlobStore,
    blob: &StoredBlob,
    key: Option<&DataKey>,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, StorageError> {
    let mut stream = store.open(blob.content, blob.plain_length, blob.seal, key).await?.stream(range);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

fn content(number: u8) -> ContentId {
    ContentId::from_bytes([number; 16])
}

fn key() -> DataKey {
    DataKey::from_bytes([9; 32])
}

/// Every way in which a file is sealed, or not.
fn keys() -> [Option<DataKey>; 3] {
    [None, Some(key()), Some(key().in_layers(Layers::Two))]
}

fn description() -> BlobDescription {
    BlobDescription {
        bucket: BucketId::from_bytes([1; 16]),
        key: "folder/object".to_owned(),
        part: Some(PartOf { upload: UploadId::from_bytes([2; 16]), number: 3 }),
        created: Timestamp(1_700_000_000_000),
    }
}

fn trailer() -> BlobTrailer {
    BlobTrailer {
        created: Timestamp(1_700_000_000_001),
        attributes: b"opaque".to_vec(),
        etag: Etag { digest: [4; 16], parts_count: 0 },
        checksum: None,
    }
}

/// Bytes that differ from place to place, so that a swapped chunk shows.
fn body(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_be_bytes()).take(length).collect()
}

fn path(id: ContentId) -> PathBuf {
    Homes::new(&(Arc::new(SimDisk::new()) as Arc<dyn Disk>), Tiers::default()).home(id.place()).file_path(id)
}
