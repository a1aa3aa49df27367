//! Where files lie.
//!
//! ```text
//! place 0        blobs/xx/            of the data directory: STANDARD
//! place 1 .. 8   classes/NAME/xx/     of the data directory: the other classes, by their codes
//! place 16 .. 63 blobs/xx/            of a tier's own directory, which may be on another disk
//! ```
//!
//! `xx` is the last byte of the content id. A folder is made when its first file comes. Which tier has which place is kept
//! in the index (`tiers`); a place that nobody has holds nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::StorageError;
use crate::disk::Disk;
use crate::id::{ContentId, Place};
use crate::object::StorageClass;

use super::remote::{RemoteHome, RemoteTier};
use super::tier::{Tier, TierHome};
use super::{BLOBS_FOLDER, BlobStore, FOLDERS_COUNT, folder_of};

/// Where the folders of the classes are.
const CLASSES_FOLDER: &str = "classes";

/// The first place that is a tier's.
pub const FIRST_TIER_PLACE: u8 = 16;

impl Place {
    /// Where the data directory has the files of a class.
    #[must_use]
    pub fn in_data_dir(class: StorageClass) -> Self {
        Self::new(class.code()).unwrap_or_default()
    }
}

/// A place.
#[derive(Debug)]
pub(super) struct Home {
    at: At,
    /// Of the disk.
    root: PathBuf,
    /// Which folders exist for sure.
    ready: [AtomicBool; FOLDERS_COUNT],
    /// Whether the root exists; None: nobody has looked.
    exists: Mutex<Option<bool>>,
    /// Held while a folder is synced. See [`BlobStore::sync_folder`].
    pub(super) folder_syncs: [Mutex<()>; FOLDERS_COUNT],
}

/// What a place is.
#[derive(Debug)]
enum At {
    /// Nobody's.
    Nowhere,
    /// In the data directory: its failures are the store's.
    DataDir(Arc<dyn Disk>),
    /// A tier's directory.
    Tier(TierHome),
    /// A tier in another service.
    Remote(RemoteHome),
}

/// The tiers, of either kind. No two have the same place or class.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// Those that are directories.
    pub directories: Vec<Tier>,
    /// Those in other services.
    pub remotes: Vec<RemoteTier>,
}

/// All places.
#[derive(Debug)]
pub(super) struct Homes {
    homes: Vec<Home>,
    /// Where files are written.
    of_class: [Place; StorageClass::ALL.len()],
    /// Where they end up: what goes to another service is moved there once it is written.
    settled: [Place; StorageClass::ALL.len()],
}

impl Homes {
    pub(super) fn new(disk: &Arc<dyn Disk>, tiers: Tiers) -> Self {
        let mut of_class = StorageClass::ALL.map(|_| Place::default());
        let mut homes: Vec<Home> = (0..Place::COUNT).map(|_| Home::new(At::Nowhere, PathBuf::new())).collect();
        for class in StorageClass::ALL {
            let place = Place::in_data_dir(class);
            of_class[usize::from(class.code())] = place;
            let root = match place == Place::default() {
                true => BLOBS_FOLDER.into(),
                false => Path::new(CLASSES_FOLDER).join(class.name()),
            };
            homes[usize::from(place.number())] = Home::new(At::DataDir(disk.clone()), root);
        }
        for tier in tiers.directories {
            let place = tier.place;
            for class in &tier.classes {
                of_class[usize::from(class.code())] = place;
            }
            homes[usize::from(place.number())] = Home::new(At::Tier(TierHome::new(tier)), BLOBS_FOLDER.into());
        }
        let mut settled = of_class;
        for tier in tiers.remotes {
            let place = tier.place;
            for class in &tier.classes {
                settled[usize::from(class.code())] = place;
            }
            homes[usize::from(place.number())] = Home::new(At::Remote(RemoteHome::new(tier)), PathBuf::new());
        }
        Self { homes, of_class, settled }
    }

    pub(super) fn home(&self, place: Place) -> &Home {
        &self.homes[usize::from(place.number())]
    }
}

impl Home {
    fn new(at: At, root: PathBuf) -> Self {
        Self {
            at,
            root,
            ready: [const { AtomicBool::new(false) }; FOLDERS_COUNT],
            exists: Mutex::default(),
            folder_syncs: [const { Mutex::new(()) }; FOLDERS_COUNT],
        }
    }

    pub(super) fn tier(&self) -> Option<&TierHome> {
        match &self.at {
            At::Tier(tier) => Some(tier),
            At::Nowhere | At::DataDir(_) | At::Remote(_) => None,
        }
    }

    pub(super) fn remote(&self) -> Option<&RemoteHome> {
        match &self.at {
            At::Remote(remote) => Some(remote),
            At::Nowhere | At::DataDir(_) | At::Tier(_) => None,
        }
    }

    /// Whether its folders are made when they are needed; those of place 0 are always there.
    pub(super) fn has_late_folders(&self) -> bool {
        self.tier().is_some() || self.root != Path::new(BLOBS_FOLDER)
    }

    fn is_nowhere(&self) -> bool {
        matches!(self.at, At::Nowhere)
    }

    /// Its disk.
    ///
    /// # Errors
    /// `TierDown`; `Corrupt` of a place that nobody has.
    pub(super) fn disk(&self) -> Result<Arc<dyn Disk>, StorageError> {
        match &self.at {
            At::DataDir(disk) => Ok(disk.clone()),
            At::Tier(tier) => tier.disk(),
            At::Remote(remote) => Err(remote.down()),
            At::Nowhere => Err(StorageError::corrupt("a content is in a place that no storage tier has")),
        }
    }

    /// Its disk, to write on.
    ///
    /// # Errors
    /// `TierDown`, also after a sync failed.
    pub(super) fn writable(&self) -> Result<Arc<dyn Disk>, StorageError> {
        self.tier().map_or(Ok(()), TierHome::check_writable)?;
        self.disk()
    }

    /// Its disk, to remove from: of a tier that is down it would seem that there is nothing to remove. None: the place is
    /// nobody's any more, and what lies there neither.
    ///
    /// # Errors
    /// `TierDown`.
    pub(super) fn mounted(&self) -> Result<Option<Arc<dyn Disk>>, StorageError> {
        match &self.at {
            At::Nowhere => Ok(None),
            At::Tier(tier) if tier.is_down() => Err(tier.down()),
            At::Tier(_) | At::DataDir(_) | At::Remote(_) => self.disk().map(Some),
        }
    }

    /// Ok if what was written on `disk` lies where it will be looked for.
    ///
    /// # Errors
    /// `TierDown`: another directory was mounted meanwhile.
    pub(super) fn check_same(&self, disk: &Arc<dyn Disk>) -> Result<(), StorageError> {
        match self.tier() {
            Some(tier) if !Arc::ptr_eq(&tier.disk()?, disk) => Err(tier.down()),
            _ => Ok(()),
        }
    }

    pub(super) fn folder_path(&self, folder: u8) -> PathBuf {
        self.root.join(format!("{folder:02x}"))
    }

    pub(super) fn file_path(&self, id: ContentId) -> PathBuf {
        self.folder_path(folder_of(id)).join(id.to_string())
    }

    /// What a path of its disk is called for people.
    pub(super) fn shown(&self, path: &Path) -> String {
        match self.tier() {
            Some(tier) => format!("{} of the storage tier {}", path.display(), tier.name()),
            None => path.display().to_string(),
        }
    }

    /// What an error of its disk is.
    pub(super) fn error(&self, doing: &'static str, source: io::Error) -> StorageError {
        match self.tier() {
            Some(tier) => tier.error(doing, &source),
            None => StorageError::Io { doing, source },
        }
    }

    /// Whether it is a tier whose marker cannot be found.
    pub(super) fn is_down(&self) -> bool {
        self.tier().is_some_and(TierHome::is_down)
    }

    /// Whether nothing was ever written here. It is looked for once, so that a scan of all folders costs little.
    pub(super) fn is_absent(&self) -> bool {
        let mut exists = self.exists.lock();
        let look = || {
            let found = self.disk().map(|disk| disk.list(&self.root));
            !matches!(found, Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound)
        };
        !*exists.get_or_insert_with(look)
    }

    /// Another directory may have other folders.
    pub(super) fn forget_folders(&self) {
        self.ready.iter().for_each(|ready| ready.store(false, Ordering::Release));
        *self.exists.lock() = None;
    }
}

impl BlobStore {
    /// Where new files of a class are written.
    #[must_use]
    pub fn place_of(&self, class: StorageClass) -> Place {
        self.0.homes.of_class[usize::from(class.code())]
    }

    /// Where the files of a class end up: those that go to another service are moved there once they are written.
    #[must_use]
    pub fn settled_place_of(&self, class: StorageClass) -> Place {
        self.0.homes.settled[usize::from(class.code())]
    }

    /// Ok if `bytes` more may be stored in a place. That of a tier has a floor of its own; the disk of the index must be above its
    /// own in any case.
    ///
    /// # Errors
    /// `DiskFull`, `TierDown`, `ReadOnly`.
    pub fn check_space_for(&self, place: Place, bytes: u64) -> Result<(), StorageError> {
        let tier = self.0.homes.home(place).tier();
        self.0.health.check_space_for(if tier.is_some() { 0 } else { bytes })?;
        tier.map_or(Ok(()), |tier| tier.check_space_for(bytes))
    }

    /// As `check_space_for`, for what moves: that it goes to a tier may be what makes space on the disk of the index.
    pub(super) fn check_space_to_move(&self, place: Place, bytes: u64) -> Result<(), StorageError> {
        match self.0.homes.home(place).tier() {
            Some(tier) => self.0.health.check_writable().and_then(|()| tier.check_space_for(bytes)),
            None => self.0.health.check_space_for(bytes),
        }
    }

    pub(super) fn home_of(&self, id: ContentId) -> &Home {
        self.0.homes.home(id.place())
    }

    /// The home of a content that is about to come, with its folder, and its disk.
    pub(super) fn prepared_home(&self, id: ContentId) -> Result<(&Home, Arc<dyn Disk>), StorageError> {
        let home = self.home_of(id);
        let disk = home.writable()?;
        // Those of place 0 were made when the store was opened.
        if id.place() != Place::default() {
            self.make_folder(home, &disk, id)?;
        }
        Ok((home, disk))
    }

    /// Makes the folder of a content, durably, if it was not made yet. A sync that fails is as fatal as a file's: a second
    /// one could succeed although the folder's entry was dropped.
    fn make_folder(&self, home: &Home, disk: &Arc<dyn Disk>, id: ContentId) -> Result<(), StorageError> {
        let folder = folder_of(id);
        let ready = &home.ready[usize::from(folder)];
        if ready.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(tier) = home.tier().filter(|tier| tier.is_down()) {
            return Err(tier.down());
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
        home.check_same(disk)?;
        ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Every place that may have files.
    pub(super) fn homes(&self) -> impl Iterator<Item = &Home> {
        self.0.homes.homes.iter().filter(|home| !home.is_nowhere())
    }
}
