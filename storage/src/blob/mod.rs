//! The blob store: contents too large for the index, one chunk file each (ARCHITECTURE 4).
//!
//! Invariants:
//!
//! - When [`BlobWriter::finish`] has returned, the file's bytes and its name are durable.
//! - No byte leaves a [`BlobReader`] before its frame was verified (and, if it is sealed, opened).
//! - A file is written once and never changed. Its path is made of its content id alone.
//! - A failed sync is never retried: it turns the store read-only.
//!
//! It leaves to others: which contents exist (the index), keeping a content while it is in use and collecting it
//! afterwards (`ops` and the jobs, with [`Pins`]), free space, and where data keys come from.

mod buffers;
mod compression;
mod format;
pub mod inline;
mod offload;
mod pins;
mod place;
mod reader;
mod record;
mod remote;
mod scan;
mod sealed;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod tier;
mod transfer;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cairn_crypto::seal::SealId;
use cairn_crypto::secret::DataKey;

pub use compression::{Compression, LEVEL_DEFAULT, LEVEL_MAX};
pub use format::CHUNK_BYTES;
pub(crate) use format::CHUNK_BYTES_MAX;
pub use offload::Offload;
pub use pins::{Entered, Pin, Pins};
pub use place::{FIRST_TIER_PLACE, Tiers};
pub use reader::{BlobReader, BlobStream};
pub use record::{BlobDescription, BlobTrailer, PartOf};
pub use remote::{LocalBytes, Remote, RemoteBytes, RemoteError, RemoteFile, RemoteTier};
pub use scan::{Inspection, Listing};
pub(crate) use sealed::{SealedWriter, Unframing, framed};
pub use tier::{MARKER_BYTES_MAX, TIER_MARKER, Tier, TierStatus, read_marker};
pub use writer::{BlobWriter, StoredBlob};

use crate::StorageError;
use crate::disk::{Disk, DiskFile};
use crate::health::Health;
use crate::id::ContentId;
use crate::observe::Observer;
use buffers::Buffers;
use compression::Codecs;
use place::{Home, Homes};

/// Where the folders of chunk files are.
const BLOBS_FOLDER: &str = "blobs";

/// Where files are moved that no index row names.
const QUARANTINE_FOLDER: &str = "quarantine";

/// How many folders the files are spread over, by the last byte of the content id.
const FOLDERS_COUNT: usize = 256;

/// The chunk files of one data directory. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct BlobStore(Arc<Inner>);

struct Inner {
    homes: Homes,
    health: Health,
    observer: Arc<dyn Observer>,
    offload: Offload,
    buffers: Arc<Buffers>,
    codecs: Codecs,
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobStore").field(&self.0.homes).finish()
    }
}

impl BlobStore {
    /// The store on `disk`, whose folders exist, without tiers and compression.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, health: Health, observer: Arc<dyn Observer>, offload: Offload) -> Self {
        Self::with_tiers(disk, Tiers::default(), Compression::default(), health, observer, offload)
    }

    /// The store on `disk` and the tiers. Each is down until it was looked at.
    #[must_use]
    pub fn with_tiers(
        disk: Arc<dyn Disk>,
        tiers: Tiers,
        compression: Compression,
        health: Health,
        observer: Arc<dyn Observer>,
        offload: Offload,
    ) -> Self {
        let homes = Homes::new(&disk, tiers);
        let codecs = Codecs::new(compression);
        Self(Arc::new(Inner { homes, health, observer, offload, buffers: Arc::default(), codecs }))
    }

    /// Creates the folders that do not exist yet, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn create_folders(disk: &dyn Disk) -> Result<(), StorageError> {
        let create = || {
            disk.create_dir(Path::new(BLOBS_FOLDER))?;
            disk.create_dir(Path::new(QUARANTINE_FOLDER))?;
            for folder in 0..=u8::MAX {
                disk.create_dir(&folder_path(folder))?;
            }
            disk.sync_dir(Path::new(BLOBS_FOLDER))?;
            disk.sync_dir(Path::new(""))
        };
        create().map_err(StorageError::io("creating the folders of blobs"))
    }

    /// Where its blocking work runs, for callers that have such work themselves.
    #[must_use]
    pub fn offload(&self) -> Offload {
        self.0.offload
    }

    /// Makes a file's bytes durable.
    fn sync_file(&self, content: ContentId, file: &dyn DiskFile) -> Result<(), StorageError> {
        self.synced(self.home_of(content), "file", "syncing a blob", || file.sync_data())
    }

    /// Makes the names in a content's folder durable.
    ///
    /// One sync of a folder at a time: the kernel reports a failure to write the folder's blocks only once, so a sync
    /// that began beside the failing one could succeed although its own entry was dropped. Whoever comes next finds
    /// the store read-only.
    fn sync_folder(&self, content: ContentId, disk: &Arc<dyn Disk>) -> Result<(), StorageError> {
        let (home, folder) = (self.home_of(content), folder_of(content));
        let _one_at_a_time = home.folder_syncs[usize::from(folder)].lock();
        self.0.health.check_writable()?;
        home.writable()?;
        self.synced(home, "folder", "syncing a folder of blobs", || disk.sync_dir(&home.folder_path(folder)))?;
        home.check_same(disk)
    }

    fn synced(
        &self,
        home: &Home,
        kind: &'static str,
        doing: &'static str,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StorageError> {
        let started = Instant::now();
        sync().map_err(|source| {
            match home.tier() {
                Some(tier) => tier.fail(format!("{doing}: {source}")),
                None => self.0.health.fail(format!("{doing}: {source}")),
            }
            home.error(doing, source)
        })?;
        self.0.observer.sync(kind, started.elapsed());
        Ok(())
    }

    /// What a failed write means for the caller.
    fn write_error(&self, content: ContentId, doing: &'static str, source: io::Error) -> StorageError {
        let home = self.home_of(content);
        match source.kind() {
            // The floor did not hold; the file system itself refused.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let space = home.disk().ok().and_then(|disk| disk.space().ok());
                StorageError::DiskFull {
                    available_bytes: space.map_or(0, |space| space.available_bytes),
                    floor_bytes: 0,
                }
            }
            _ => home.error(doing, source),
        }
    }
}

/// A fresh seal id beside the key, if there is a key.
fn new_seal(key: Option<&DataKey>) -> Result<Option<(SealId, &DataKey)>, StorageError> {
    let random = |error| StorageError::Io { doing: "making a seal id", source: io::Error::other(error) };
    key.map(|key| Ok((SealId::generate().map_err(random)?, key))).transpose()
}

/// The folder of a content's file.
fn folder_of(id: ContentId) -> u8 {
    id.as_bytes()[15]
}

fn folder_path(folder: u8) -> PathBuf {
    Path::new(BLOBS_FOLDER).join(format!("{folder:02x}"))
}

fn quarantine_path(id: ContentId) -> PathBuf {
    Path::new(QUARANTINE_FOLDER).join(id.to_string())
}
