//! Where files lie.
//!
//! ```text
//! place 0        blobs/xx/            of the data directory: STANDARD
//! place 1 .. 8   classes/NAME/xx/     of the data directory: the other classes, by their codes
//! place 16 .. 63 blobs/xx/            of a tier's own directory, which may be on another disk
//! ```
//!
//! `xx` is the last byte of the content id. A folder is made when its first file comes. A tier's directory
//! has a marker: a directory without it (a disk that is not mounted) is a tier that is down, never an empty one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::StorageError;
use crate::disk::Disk;
use crate::id::{ContentId, Place};
use crate::object::StorageClass;

use super::{BLOBS_FOLDER, BlobStore, FOLDERS_COUNT, folder_of};

/// Where the folders of the classes are.
const CLASSES_FOLDER: &str = "classes";

/// The first place that is a tier's.
pub const FIRST_TIER_PLACE: u8 = 16;

/// The file that says that a directory is a tier's. It holds the number of the tier's place.
pub const TIER_MARKER: &str = "cairn-tier";

/// A configured tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name in the configuration.
    pub name: String,
    /// Its place.
    pub place: Place,
    /// The classes whose new files lie in it.
    pub classes: Vec<StorageClass>,
    /// Its directory; None: it could not be opened, and the tier is down until a restart.
    pub disk: Option<Arc<dyn Disk>>,
}

/// A place that is in use.
#[derive(Debug)]
pub(super) struct Home {
    disk: Option<Arc<dyn Disk>>,
    /// Of the disk.
    root: PathBuf,
    /// Its tier's name; None: it is in the data directory, so its failures are the store's.
    tier: Option<String>,
    /// Which folders exist for sure.
    ready: [AtomicBool; FOLDERS_COUNT],
    /// Whether the root exists; None: nobody has looked.
    exists: Mutex<Option<bool>>,
    /// A sync failed: nothing is written until a restart.
    failed: AtomicBool,
}

/// All places.
#[derive(Debug)]
pub(super) struct Homes {
    homes: Vec<Home>,
    /// Those that may have files; contents whose place is another are in place 0.
    used: Vec<Place>,
    of_class: [Place; StorageClass::ALL.len()],
}

impl Homes {
    pub(super) fn new(disk: &Arc<dyn Disk>, tiers: Vec<Tier>) -> Self {
        let mut of_class = StorageClass::ALL.map(|_| Place::default());
        let mut homes: Vec<Home> = (0..Place::COUNT).map(|_| Home::new(disk, BLOBS_FOLDER.into())).collect();
        let mut used = Vec::new();
        for class in StorageClass::ALL {
            let place = Place::new(class.code()).unwrap_or_default();
            used.push(place);
            of_class[usize::from(class.code())] = place;
            if place != Place::default() {
                homes[usize::from(place.number())].root = Path::new(CLASSES_FOLDER).join(class.name());
            }
        }
        for Tier { name, place, classes, disk } in tiers {
            used.push(place);
            homes[usize::from(place.number())] = Home { disk, tier: Some(name), ..Home::new_in(BLOBS_FOLDER.into()) };
            for class in classes {
                of_class[usize::from(class.code())] = place;
            }
        }
        Self { homes, used, of_class }
    }

    pub(super) fn home(&self, place: Place) -> &Home {
        &self.homes[usize::from(place.number())]
    }
}

impl Home {
    fn new(disk: &Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk: Some(disk.clone()), ..Self::new_in(root) }
    }

    fn new_in(root: PathBuf) -> Self {
        Self {
            disk: None,
            root,
            tier: None,
            ready: [const { AtomicBool::new(false) }; FOLDERS_COUNT],
            exists: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether files of the other's contents lie here.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.root == other.root && self.tier == other.tier
    }

    /// Its disk.
    ///
    /// # Errors
    /// `TierDown`.
    pub(super) fn disk(&self) -> Result<&dyn Disk, StorageError> {
        self.disk.as_deref().ok_or_else(|| self.down())
    }

    /// Its disk, to write on.
    ///
    /// # Errors
    /// `TierDown`, also after a sync failed.
    pub(super) fn writable(&self) -> Result<&dyn Disk, StorageError> {
        if self.failed.load(Ordering::Relaxed) { Err(self.down()) } else { self.disk() }
    }

    pub(super) fn folder_path(&self, folder: u8) -> PathBuf {
        self.root.join(format!("{folder:02x}"))
    }

    pub(super) fn file_path(&self, id: ContentId) -> PathBuf {
        self.folder_path(folder_of(id)).join(id.to_string())
    }

    /// Whether it is on another disk than the index.
    pub(super) fn is_tier(&self) -> bool {
        self.tier.is_some()
    }

    /// Whether it is a tier; then a failed sync is the tier's, which takes no more writes.
    pub(super) fn fail_tier(&self) -> bool {
        self.failed.store(true, Ordering::Relaxed);
        self.tier.is_some()
    }

    /// What an error of its disk is: that the tier is down, if its marker cannot be read any more.
    pub(super) fn error(&self, doing: &'static str, source: io::Error) -> StorageError {
        match &self.disk {
            Some(disk) if self.tier.is_some() && disk.open(Path::new(TIER_MARKER)).is_err() => self.down(),
            _ => StorageError::Io { doing, source },
        }
    }

    /// Whether the disk is that of a tier whose marker cannot be read.
    pub(super) fn is_down(&self) -> bool {
        match &self.disk {
            None => true,
            Some(disk) => self.tier.is_some() && disk.open(Path::new(TIER_MARKER)).is_err(),
        }
    }

    /// Its disk, to remove from: of a tier that is down it would seem that there is nothing to remove.
    ///
    /// # Errors
    /// `TierDown`.
    pub(super) fn mounted(&self) -> Result<&dyn Disk, StorageError> {
        if self.is_down() { Err(self.down()) } else { self.disk() }
    }

    pub(super) fn down(&self) -> StorageError {
        StorageError::TierDown { tier: self.tier.clone().unwrap_or_default() }
    }

    /// Whether nothing was ever written here. It is looked for once, so that a scan of all folders costs little.
    pub(super) fn is_absent(&self) -> bool {
        let mut exists = self.exists.lock();
        let look = || {
            let found = self.disk.as_ref().map(|disk| disk.list(&self.root));
            !matches!(found, Some(Err(error)) if error.kind() == io::ErrorKind::NotFound)
        };
        !*exists.get_or_insert_with(look)
    }
}

impl BlobStore {
    /// Where new files of a class lie.
    #[must_use]
    pub fn place_of(&self, class: StorageClass) -> Place {
        self.0.homes.of_class[usize::from(class.code())]
    }

    pub(super) fn home_of(&self, id: ContentId) -> &Home {
        self.0.homes.home(id.place())
    }

    /// The home of a content that is about to come, with its folder.
    pub(super) fn prepared_home(&self, id: ContentId) -> Result<&Home, StorageError> {
        let home = self.home_of(id);
        // Those of place 0 were made when the store was opened.
        if id.place() != Place::default() {
            self.make_folder(home, id)?;
        }
        Ok(home)
    }

    /// Makes the folder of a content, durably, if it was not made yet. A sync that fails is as fatal as a file's: a second
    /// one could succeed although the folder's entry was dropped.
    fn make_folder(&self, home: &Home, id: ContentId) -> Result<(), StorageError> {
        let folder = folder_of(id);
        let ready = &home.ready[usize::from(folder)];
        if ready.load(Ordering::Acquire) {
            return Ok(());
        }
        let disk = home.writable()?;
        if home.is_down() {
            return Err(home.down());
        }
        *home.exists.lock() = Some(true);
        let mut made = PathBuf::new();
        for part in &home.folder_path(folder) {
            let parent = made.clone();
            made.push(part);
            let created = disk.create_dir(&made);
            created.map_err(|error| self.write_error(id, "creating a folder of blobs", error))?;
            self.synced(home, "folder", "syncing a folder of blobs", || disk.sync_dir(&parent))?;
        }
        ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Every place that may have files.
    pub(super) fn homes(&self) -> impl Iterator<Item = (Place, &Home)> {
        self.0.homes.used.iter().map(|place| (*place, self.0.homes.home(*place)))
    }
}
