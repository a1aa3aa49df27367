//! Looking at files as files: what is there, what it says it is, whether it is whole, and taking it away.
//!
//! For `cairn check`, the scrub and the collector. All calls block. Nothing here decides what is garbage, and what
//! cannot be read is an error, never a reason to delete.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cairn_crypto::seal::{ChunkSealer, SealId};
use cairn_crypto::secret::DataKey;

use super::format::{Geometry, Header, TRAILER_LENGTH_BYTES};
use super::place::Home;
use super::record::{BlobDescription, BlobTrailer, StoredTrailer};
use super::source::{Opening, Source};
use super::table::Table;
use super::{BlobStore, QUARANTINE_FOLDER, folder_of, quarantine_path};
use crate::StorageError;
use crate::disk::{Disk, DiskFile};
use crate::id::{ContentId, Place};

/// The files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Contents, in no order.
    pub contents: Vec<ContentId>,
    /// Where files are that this store did not make: of no content's name, or in another's folder.
    pub strangers: Vec<String>,
    /// A tier is down, whose files are missing here.
    pub is_partial: bool,
}

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What was known before the first byte.
    pub description: BlobDescription,
    /// What was known after the last.
    pub trailer: BlobTrailer,
    /// Plaintext bytes.
    pub plain_length: u64,
    /// Bytes of the file.
    pub stored_length: u64,
    /// Its seal id, if it is sealed.
    pub seal: Option<SealId>,
}

impl BlobStore {
    /// The files of one of the 256 folders, those in other services too.
    ///
    /// # Errors
    /// `Io`.
    pub async fn list(&self, folder: u8) -> Result<Listing, StorageError> {
        let store = self.clone();
        let mut listing = self.offload().run(move || store.list_blocking(folder)).await?;
        self.list_remotes(folder, &mut listing).await;
        Ok(listing)
    }

    /// The files of one of the 256 folders, but for those in other services.
    ///
    /// # Errors
    /// `Io`.
    pub fn list_blocking(&self, folder: u8) -> Result<Listing, StorageError> {
        let mut listing = Listing::default();
        let on_disks = self.homes().filter(|home| home.remote().is_none());
        for home in on_disks.filter(|home| home.is_down() || !home.is_absent()) {
            let belongs = |content| folder_of(content) == folder && std::ptr::eq(self.home_of(content), home);
            self.list_folder(home, &home.folder_path(folder), belongs, &mut listing)?;
        }
        Ok(listing)
    }

    /// The files in quarantine: that of the data directory, and each tier's own.
    ///
    /// # Errors
    /// `Io`.
    pub fn list_quarantine_blocking(&self) -> Result<Listing, StorageError> {
        let mut listing = Listing::default();
        let of_data_dir = self.0.homes.home(Place::default());
        for home in [of_data_dir].into_iter().chain(self.homes().filter(|home| home.tier().is_some())) {
            let belongs = |content| self.home_of(content).tier().is_some() == home.tier().is_some();
            self.list_folder(home, Path::new(QUARANTINE_FOLDER), belongs, &mut listing)?;
        }
        Ok(listing)
    }

    /// Adds the files of a folder, if there is one.
    fn list_folder(
        &self,
        home: &Home,
        path: &Path,
        belongs: impl Fn(ContentId) -> bool,
        listing: &mut Listing,
    ) -> Result<(), StorageError> {
        // A tier that is down has no files to tell of, and nothing is concluded from that.
        if home.is_down() {
            listing.is_partial = true;
            return Ok(());
        }
        let names = match home.disk().map(|disk| disk.list(path)) {
            Ok(Ok(names)) => names,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound && home.has_late_folders() => return Ok(()),
            Ok(Err(error)) if home.tier().is_none() => return Err(StorageError::io("listing blobs")(error)),
            Ok(Err(error)) => {
                home.error("listing blobs", error);
                listing.is_partial = true;
                return Ok(());
            }
            Err(_) => {
                listing.is_partial = true;
                return Ok(());
            }
        };
        for name in names {
            match name.parse() {
                Ok(content) if belongs(content) => listing.contents.push(content),
                _ => listing.strangers.push(home.shown(&path.join(name))),
            }
        }
        Ok(())
    }

    /// What a file says about itself, and how to read its frames as they lie there. The chunks between header and trailer are not
    /// looked at.
    pub(super) fn inspect_open(&self, content: ContentId) -> Result<(Source, Inspection), StorageError> {
        let (file, header) = self.open_blocking(content)?;
        let failed = |source| self.home_of(content).error("reading a blob", source);
        let stored_length = file.length().map_err(failed)?;
        let read = |offset, buffer: &mut [u8]| file.read_at(offset, buffer).map_err(failed);
        let trailer = read_trailer(content, &read, stored_length)?;
        self.inspected(header, Some(file.clone()), stored_length, trailer)
    }

    /// What a file says about itself, wherever it is.
    pub(super) async fn inspect(&self, content: ContentId) -> Result<(Source, Inspection), StorageError> {
        let store = self.clone();
        let Some(remote) = self.home_of(content).remote() else {
            return self.offload().run(move || store.inspect_open(content)).await;
        };
        let (header, tail) = (remote.header(content).await?, remote.tail(content).await?);
        let trailer = read_trailer(content, &|at, buffer| Ok(tail.read(at, buffer)), tail.stored_length())?;
        let (source, inspection) = self.inspected(header, None, tail.stored_length(), trailer)?;
        if let Some(table) = &source.table {
            table.accept_from(content, &source.geometry, &tail)?;
        }
        Ok((source, inspection))
    }

    fn inspected(
        &self,
        header: Header,
        file: Option<Arc<dyn DiskFile>>,
        stored_length: u64,
        (trailer_at, trailer): (u64, StoredTrailer),
    ) -> Result<(Source, Inspection), StorageError> {
        let StoredTrailer { plain_length, trailer } = trailer;
        let (content, seal, description) = (header.content, header.seal, header.description.clone());
        let differs = || StorageError::corrupt(format!("content {content}: its length is not that of its chunks"));
        let geometry =
            Geometry::new(plain_length, header.chunk_bytes, seal.map(|seal| seal.layers)).ok_or_else(differs)?;
        let table = match header.compressed {
            true => Some(Table::before(trailer_at, &geometry).ok_or_else(differs)?),
            false if geometry.frames_end() == trailer_at => None,
            false => return Err(differs()),
        };
        let (store, opening) = (self.clone(), Opening::AsItLies);
        let source = Source { store, content, file, header, geometry, table, opening };
        Ok((source, Inspection { description, trailer, plain_length, stored_length, seal: seal.map(|seal| seal.id) }))
    }

    /// Reads a file in full and verifies every checksum, and with the key every seal; what is compressed is decompressed, unless it is
    /// sealed and there is no key. `chunk_read` hears the number of bytes after each chunk; it may sleep, to limit the rate, or end
    /// the work with an error.
    ///
    /// # Errors
    /// `Corrupt`, `Io`, or what `chunk_read` returned.
    pub fn verify_blocking(
        &self,
        content: ContentId,
        key: Option<&DataKey>,
        chunk_read: &mut dyn FnMut(usize) -> Result<(), StorageError>,
    ) -> Result<Inspection, StorageError> {
        let (mut source, inspection) = self.inspect_open(content)?;
        source.opening = match (inspection.seal, key) {
            (Some(seal), Some(key)) => Opening::Sealed(ChunkSealer::new(key, seal)),
            (Some(_), None) => Opening::AsItLies,
            (None, _) => Opening::Plain,
        };
        for index in 0..source.geometry.chunks_count() {
            source.read(index)?;
            chunk_read(source.frame_bytes(index))?;
        }
        Ok(inspection)
    }

    /// Removes a content's file, wherever it is; no error if there is none. The caller has made sure that nobody uses it.
    ///
    /// # Errors
    /// `Io`, `TierDown`.
    pub async fn unlink(&self, content: ContentId) -> Result<(), StorageError> {
        let store = self.clone();
        match self.home_of(content).remote() {
            Some(remote) => remote.remove(content).await,
            None => self.offload().run(move || store.unlink_blocking(content)).await,
        }
    }

    /// Removes a content's file from a disk.
    ///
    /// The folder is not synced: a file that a power cut brings back has no index row, so a scan finds it again.
    ///
    /// # Errors
    /// `Io`, `TierDown`.
    pub fn unlink_blocking(&self, content: ContentId) -> Result<(), StorageError> {
        let home = self.home_of(content);
        home.mounted()?.map_or(Ok(()), |disk| remove(home, &*disk, &home.file_path(content)))
    }

    /// Removes the file of a content that was never visible, without waiting. Should it fail, a scan finds the file.
    pub fn discard(&self, content: ContentId) {
        let store = self.clone();
        if self.home_of(content).remote().is_some() {
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn(async move {
                    if let Err(error) = store.unlink(content).await {
                        tracing::warn!(%content, %error, "the file of an abandoned move could not be removed");
                    }
                }));
            }
            return;
        }
        drop(self.offload().start(move || {
            if let Err(error) = store.unlink_blocking(content) {
                tracing::warn!(%content, %error, "the file of an abandoned write could not be removed");
            }
        }));
    }

    /// Moves a content's file to quarantine, durably. In another service it stays where it is, and waits as long.
    ///
    /// # Errors
    /// As `quarantine_blocking`.
    pub async fn quarantine(&self, content: ContentId) -> Result<(), StorageError> {
        let store = self.clone();
        match self.home_of(content).remote() {
            Some(remote) => remote.check_up(),
            None => self.offload().run(move || store.quarantine_blocking(content)).await,
        }
    }

    /// Removes a file from quarantine, wherever it is; no error if there is none.
    ///
    /// # Errors
    /// `Io`, `TierDown`.
    pub async fn unlink_quarantined(&self, content: ContentId) -> Result<(), StorageError> {
        let store = self.clone();
        match self.home_of(content).remote() {
            Some(remote) => remote.remove(content).await,
            None => self.offload().run(move || store.unlink_quarantined_blocking(content)).await,
        }
    }

    /// Removes a file from a disk's quarantine; no error if there is none.
    ///
    /// # Errors
    /// `Io`, `TierDown`.
    pub fn unlink_quarantined_blocking(&self, content: ContentId) -> Result<(), StorageError> {
        let home = self.home_of(content);
        home.mounted()?.map_or(Ok(()), |disk| remove(home, &*disk, &quarantine_path(content)))
    }

    /// Moves a content's file to quarantine, durably.
    ///
    /// # Errors
    /// `Io`; `ReadOnly` if a sync failed before.
    pub fn quarantine_blocking(&self, content: ContentId) -> Result<(), StorageError> {
        let home = self.home_of(content);
        let disk = home.disk()?;
        // A tier has a quarantine of its own: files are not moved between disks.
        let made = disk.create_dir(Path::new(QUARANTINE_FOLDER));
        made.map_err(|source| home.error("making the quarantine", source))?;
        let moved = disk.rename(&home.file_path(content), &quarantine_path(content));
        moved.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StorageError::io("moving a blob to quarantine")(source),
            _ => home.error("moving a blob to quarantine", source),
        })?;
        self.synced(home, "folder", "syncing the quarantine", || disk.sync_dir(Path::new(QUARANTINE_FOLDER)))?;
        self.sync_folder(content, &disk)
    }
}

fn remove(home: &Home, disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(home.error("removing a blob", error)),
        _ => Ok(()),
    }
}

/// Reads what it can at an offset.
type ReadAt<'r> = dyn Fn(u64, &mut [u8]) -> Result<usize, StorageError> + 'r;

/// Where the trailer of a file of `stored_length` bytes lies.
pub(super) fn find_trailer(
    content: ContentId,
    read: &ReadAt<'_>,
    stored_length: u64,
) -> Result<Range<u64>, StorageError> {
    let found = |at: u64| {
        let mut length = [0; TRAILER_LENGTH_BYTES];
        let is_whole = read(at, &mut length)? == length.len();
        Ok::<_, StorageError>(StoredTrailer::length(length).filter(|_| is_whole))
    };
    let length = stored_length.checked_sub(TRAILER_LENGTH_BYTES as u64).map_or(Ok(None), found)?;
    let start = length.and_then(|bytes| stored_length.checked_sub(bytes as u64));
    start.map(|start| start..stored_length).ok_or_else(|| unfinished(content))
}

/// The trailer of a file of `stored_length` bytes, and where it begins.
fn read_trailer(
    content: ContentId,
    read: &ReadAt<'_>,
    stored_length: u64,
) -> Result<(u64, StoredTrailer), StorageError> {
    let at = find_trailer(content, read, stored_length)?;
    let mut bytes = vec![0; (at.end - at.start) as usize];
    if read(at.start, &mut bytes)? < bytes.len() {
        return Err(unfinished(content));
    }
    Ok((at.start, StoredTrailer::decode(content, &bytes)?))
}

fn unfinished(content: ContentId) -> StorageError {
    StorageError::corrupt(format!("content {content}: the file has no trailer"))
}
