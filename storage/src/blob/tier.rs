//! A tier: a directory of its own, which may be on another disk, where the files of some classes lie.
//!
//! Its disk may come and go while the server runs. The directory is looked at again and again ([`BlobStore::probe_tier`]): it is
//! *up* while it has a marker with the very text that it was given when the tier was made. So a disk that is not mounted, an empty
//! one and another tier's are told from the right one. What a tier does wrong is its own: an error of its disk is `TierDown` for
//! its contents, and a sync that failed ends writing to it, and to nothing else, until a restart.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::BlobStore;
use super::place::Home;
use super::remote::RemoteHome;
use crate::StorageError;
use crate::disk::{DirectoryId, Disk, Mount, Space};
use crate::health::Health;
use crate::id::Place;
use crate::object::StorageClass;

/// The file that says whose directory it is.
pub const TIER_MARKER: &str = "cairn-tier";

/// The longest marker that is read.
pub const MARKER_BYTES_MAX: usize = 1_024;

/// A configured tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name in the configuration.
    pub name: String,
    /// Its place.
    pub place: Place,
    /// The classes whose new files lie in it.
    pub classes: Vec<StorageClass>,
    /// Its directory.
    pub mount: Arc<dyn Mount>,
    /// What its marker says.
    pub marker: String,
    /// Below so much free space, nothing is written to it.
    pub floor_bytes: u64,
}

/// What a tier is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierStatus {
    /// Its name.
    pub name: String,
    /// Its place.
    pub place: Place,
    /// The classes whose new files lie in it.
    pub classes: Vec<StorageClass>,
    /// It is in another service.
    pub is_remote: bool,
    /// Why it cannot be reached, if it cannot.
    pub down: Option<String>,
    /// Why nothing is written to it until a restart, if that is so.
    pub read_only: Option<String>,
    /// Its file system's space, as last measured.
    pub space: Space,
    /// How many calls of its disk failed.
    pub errors: u64,
}

/// A tier at work.
#[derive(Debug)]
pub(super) struct TierHome {
    tier: Tier,
    mounted: RwLock<Result<Mounted, String>>,
    /// Of this disk alone.
    health: Health,
    space: RwLock<Space>,
    errors: AtomicU64,
}

#[derive(Clone, Debug)]
struct Mounted {
    disk: Arc<dyn Disk>,
    directory: DirectoryId,
}

impl TierHome {
    /// It is down until it is looked at.
    pub(super) fn new(tier: Tier) -> Self {
        Self {
            tier,
            mounted: RwLock::new(Err("it was not looked at yet".to_owned())),
            health: Health::default(),
            space: RwLock::default(),
            errors: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.tier.name
    }

    pub(super) fn down(&self) -> StorageError {
        StorageError::TierDown { tier: self.tier.name.clone() }
    }

    /// Its disk; `TierDown` if it is down.
    pub(super) fn disk(&self) -> Result<Arc<dyn Disk>, StorageError> {
        self.mounted.read().as_ref().map(|mounted| mounted.disk.clone()).map_err(|_| self.down())
    }

    /// Whether its marker cannot be found now.
    pub(super) fn is_down(&self) -> bool {
        self.disk().is_ok_and(|disk| disk.open(Path::new(TIER_MARKER)).is_ok()).eq(&false)
    }

    /// Nothing is written any more.
    pub(super) fn fail(&self, reason: String) {
        tracing::error!(tier = self.name(), reason, "nothing is written to the storage tier until a restart");
        self.health.fail(reason);
    }

    pub(super) fn check_writable(&self) -> Result<(), StorageError> {
        self.check_space_for(0).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })
    }

    /// Ok if `bytes` more may be stored. `DiskFull`, `TierDown`.
    pub(super) fn check_space_for(&self, bytes: u64) -> Result<(), StorageError> {
        self.health.check_space_for(bytes).map_err(|error| if is_full(&error) { error } else { self.down() })
    }

    /// What an error of its disk is to those who wanted its contents.
    pub(super) fn error(&self, doing: &'static str, source: &io::Error) -> StorageError {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(tier = self.name(), error = %source, "a storage tier failed while {doing}");
        self.down()
    }

    /// Looks at the directory. True: another one is mounted now than before.
    fn probe(&self) -> bool {
        let found = self.look();
        let mut mounted = self.mounted.write();
        match (&*mounted, found) {
            // The one that is there already is kept, so that what is being written to it can be finished.
            (Ok(before), Ok(found)) if before.directory == found.directory => false,
            (before, Ok(found)) => {
                if before.is_err() {
                    tracing::info!(tier = self.name(), "the storage tier is up");
                }
                *mounted = Ok(found);
                true
            }
            (before, Err(reason)) => {
                if before.as_ref().err() != Some(&reason) {
                    tracing::error!(tier = self.name(), reason, "the storage tier is down: its objects cannot be read");
                }
                *mounted = Err(reason);
                false
            }
        }
    }

    fn look(&self) -> Result<Mounted, String> {
        let (disk, directory) = self.tier.mount.mount().map_err(|error| error.to_string())?;
        match read_marker(disk.as_ref()) {
            Ok(text) if text == self.tier.marker => {}
            Ok(_) => return Err("its directory is another tier's".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("its directory has no {TIER_MARKER}: is its disk mounted?"));
            }
            Err(error) => return Err(error.to_string()),
        }
        let space = disk.space().map_err(|error| error.to_string())?;
        self.health.record_space(space.available_bytes, self.tier.floor_bytes);
        *self.space.write() = space;
        Ok(Mounted { disk, directory })
    }

    fn status(&self) -> TierStatus {
        TierStatus {
            name: self.tier.name.clone(),
            place: self.tier.place,
            classes: self.tier.classes.clone(),
            is_remote: false,
            down: self.mounted.read().as_ref().err().cloned(),
            read_only: self.health.read_only().map(str::to_owned),
            space: *self.space.read(),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

fn is_full(error: &StorageError) -> bool {
    matches!(error, StorageError::DiskFull { .. })
}

/// What the marker of a tier's directory says.
///
/// # Errors
/// The disk's; `NotFound` if there is none.
pub fn read_marker(disk: &dyn Disk) -> io::Result<String> {
    let file = disk.open(Path::new(TIER_MARKER))?;
    let mut text = vec![0; MARKER_BYTES_MAX];
    let length = file.read_at(0, &mut text)?;
    text.truncate(length);
    String::from_utf8(text).map_err(io::Error::other)
}

impl BlobStore {
    /// Looks whether a tier is up, and how much space it has. Blocks, for as long as its disk does; to be called every second
    /// or so. No error if there is no such tier.
    pub fn probe_tier(&self, place: Place) {
        let home = self.0.homes.home(place);
        if home.tier().is_some_and(TierHome::probe) {
            home.forget_folders();
        }
    }

    /// Whether a place is a tier's, which is up.
    ///
    /// # Errors
    /// `TierDown`.
    pub fn check_up(&self, place: Place) -> Result<bool, StorageError> {
        let home = self.0.homes.home(place);
        match (home.tier(), home.remote()) {
            (Some(tier), _) => tier.disk().map(|_| true),
            (None, Some(remote)) => remote.check_up().map(|()| true),
            (None, None) => Ok(false),
        }
    }

    /// What the tiers are doing, by their places.
    #[must_use]
    pub fn tiers(&self) -> Vec<TierStatus> {
        let status = |home: &Home| home.tier().map(TierHome::status).or_else(|| home.remote().map(RemoteHome::status));
        self.homes().filter_map(status).collect()
    }
}
