//! A tier in another service: its files are objects there, named as their paths would be. Bytes are as in a chunk file, so what
//! leaves the machine is framed, and sealed if the content is, and what comes back is verified as if it came from a disk.
//!
//! Files are never written there in place: they come by [`BlobStore::transfer`] and are complete, and verified by the service, before
//! any row names them. What a crash leaves there is found by the scan for orphans, which lists the names.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use parking_lot::{Mutex, RwLock};

use super::buffers::Buffer;
use super::format::{HEADER_BYTES, Header, TRAILER_BYTES_MAX};
use super::tier::{MARKER_BYTES_MAX, TIER_MARKER, TierStatus};
use super::{BlobStore, folder_of};
use crate::StorageError;
use crate::disk::Space;
use crate::id::{ContentId, Place};
use crate::object::StorageClass;

/// How many names of one folder are read at most: so many files are never in one of 256.
const NAMES_MAX: usize = 4_000_000;

/// Why a service did not do what it should.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is no such file.
    #[error("it is not there")]
    Missing,
    /// What is there is not what should be.
    #[error("{0}")]
    Wrong(String),
    /// It refuses, or what it needs to be asked is not there.
    #[error("{0}")]
    Down(String),
    /// It does not answer: whoever asks next need not wait for as long.
    #[error("{0}")]
    Silent(String),
    /// What was to be stored cannot be read.
    #[error("what was to be stored cannot be read")]
    Source(#[source] Arc<StorageError>),
}

/// Bytes on their way.
pub type RemoteBytes = Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>;

/// A file that is to be stored; any part of it can be read, again and again.
#[derive(Clone)]
pub struct RemoteFile {
    /// How many bytes it has.
    pub length: u64,
    /// Reads some of them. What fails there is a failure of this side.
    pub read: Arc<dyn Fn(Range<u64>) -> LocalBytes + Send + Sync>,
}

/// Bytes of ours.
pub type LocalBytes = Pin<Box<dyn Stream<Item = Result<Bytes, StorageError>> + Send>>;

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Where a tier's files are in another service. Names are relative, and made of fixed texts and content ids.
#[async_trait]
pub trait Remote: Send + Sync + fmt::Debug + 'static {
    /// Stores a file under a name that was never used. When it returns it is durable, and what the service has is what was read.
    async fn put(&self, name: &str, file: &RemoteFile) -> Result<(), RemoteError>;

    /// Reads bytes of a file; as many as are asked for, or an error.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<RemoteBytes, RemoteError>;

    /// Reads the last bytes of a file, so many or all that there are, and tells how long the file is.
    async fn get_end(&self, name: &str, bytes_max: u64) -> Result<(u64, RemoteBytes), RemoteError>;

    /// How long a file is.
    async fn length(&self, name: &str) -> Result<u64, RemoteError>;

    /// Reads a small file whole.
    async fn get_small(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, RemoteError>;

    /// Stores a small file, unless there is one of the name: `Wrong`.
    async fn put_small(&self, name: &str, bytes: Vec<u8>) -> Result<(), RemoteError>;

    /// Removes a file; no error if there is none.
    async fn remove(&self, name: &str) -> Result<(), RemoteError>;

    /// The next names that begin with `prefix`, in their order, after `after`; none at the end.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, RemoteError>;

    /// Takes away what calls of [`Remote::put`] left that were cut short with their process. None is under way.
    async fn end_uploads(&self) -> Result<(), RemoteError>;
}

/// A configured tier in another service.
#[derive(Clone, Debug)]
pub struct RemoteTier {
    /// Its name in the configuration.
    pub name: String,
    /// Its place.
    pub place: Place,
    /// The classes whose files go there.
    pub classes: Vec<StorageClass>,
    /// Where they go.
    pub remote: Arc<dyn Remote>,
    /// What its marker says.
    pub marker: String,
}

/// A tier in another service, at work.
#[derive(Debug)]
pub(super) struct RemoteHome {
    pub(super) tier: RemoteTier,
    up: RwLock<Result<(), String>>,
    /// It was up in the life of this process, so uploads may be under way.
    was_up: AtomicBool,
    errors: AtomicU64,
}

impl RemoteHome {
    /// It is down until it was asked.
    pub(super) fn new(tier: RemoteTier) -> Self {
        let up = RwLock::new(Err("it was not asked yet".to_owned()));
        Self { tier, up, was_up: AtomicBool::new(false), errors: AtomicU64::new(0) }
    }

    pub(super) fn down(&self) -> StorageError {
        StorageError::TierDown { tier: self.tier.name.clone() }
    }

    pub(super) fn check_up(&self) -> Result<(), StorageError> {
        self.up.read().as_ref().copied().map_err(|_| self.down())
    }

    fn error(&self, content: ContentId, doing: &'static str, error: RemoteError) -> StorageError {
        self.errors.fetch_add(1, Ordering::Relaxed);
        match error {
            RemoteError::Missing => StorageError::corrupt(format!("content {content} has no file")),
            RemoteError::Wrong(what) => StorageError::corrupt(format!("content {content}: {what}")),
            RemoteError::Source(error) => Arc::into_inner(error).unwrap_or(StorageError::OutcomeUnknown),
            RemoteError::Down(reason) => {
                tracing::warn!(tier = self.tier.name, %content, reason, "a storage tier failed while {doing}");
                self.down()
            }
            RemoteError::Silent(reason) => {
                self.found(Err(reason));
                self.down()
            }
        }
    }

    async fn probe(&self) {
        let asked = self.tier.remote.get_small(TIER_MARKER, MARKER_BYTES_MAX).await;
        let found = match asked {
            Ok(text) if text == self.tier.marker.as_bytes() => self.end_uploads_once().await,
            Ok(_) => Err("what is there is another storage tier's".to_owned()),
            Err(RemoteError::Missing) => Err(format!("there is no {TIER_MARKER}")),
            Err(error) => Err(error.to_string()),
        };
        self.found(found);
    }

    /// It is up, or why it is not. It stays so until it is asked again.
    fn found(&self, found: Result<(), String>) {
        let mut up = self.up.write();
        match (&*up, &found) {
            (Err(_), Ok(())) => tracing::info!(tier = self.tier.name, "the storage tier is up"),
            (before, Err(reason)) if before.as_ref().err() != Some(reason) => {
                tracing::error!(tier = self.tier.name, reason, "the storage tier is down: its objects cannot be read");
            }
            _ => {}
        }
        *up = found;
    }

    async fn end_uploads_once(&self) -> Result<(), String> {
        if !self.was_up.load(Ordering::Relaxed) {
            self.tier.remote.end_uploads().await.map_err(|error| error.to_string())?;
            self.was_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn status(&self) -> TierStatus {
        TierStatus {
            name: self.tier.name.clone(),
            place: self.tier.place,
            classes: self.tier.classes.clone(),
            is_remote: true,
            down: self.up.read().as_ref().err().cloned(),
            read_only: None,
            space: Space::default(),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    pub(super) async fn get(&self, content: ContentId, range: Range<u64>) -> Result<RemoteFrames, StorageError> {
        self.check_up()?;
        let stream = self.tier.remote.get(&name_of(content), range).await;
        let stream = stream.map_err(|error| self.error(content, "reading a blob", error))?;
        Ok(RemoteFrames { content, stream: Mutex::new(stream), piece: Bytes::new() })
    }

    pub(super) async fn length(&self, content: ContentId) -> Result<u64, StorageError> {
        self.check_up()?;
        let length = self.tier.remote.length(&name_of(content)).await;
        length.map_err(|error| self.error(content, "reading a blob", error))
    }

    pub(super) async fn put(&self, content: ContentId, file: &RemoteFile) -> Result<(), StorageError> {
        self.check_up()?;
        let stored = self.tier.remote.put(&name_of(content), file).await;
        stored.map_err(|error| match error {
            // Nothing of ours is damaged if it cannot be stored.
            RemoteError::Missing | RemoteError::Wrong(_) => {
                self.error(content, "writing a blob", RemoteError::Down(error.to_string()))
            }
            error => self.error(content, "writing a blob", error),
        })
    }

    pub(super) async fn remove(&self, content: ContentId) -> Result<(), StorageError> {
        self.check_up()?;
        match self.tier.remote.remove(&name_of(content)).await {
            Ok(()) | Err(RemoteError::Missing) => Ok(()),
            Err(error @ RemoteError::Silent(_)) => Err(self.error(content, "removing a blob", error)),
            Err(error) => Err(self.error(content, "removing a blob", RemoteError::Down(error.to_string()))),
        }
    }

    /// The header of a content's file.
    pub(super) async fn header(&self, content: ContentId) -> Result<Header, StorageError> {
        let mut frames = self.get(content, 0..HEADER_BYTES as u64).await?;
        let mut bytes = [0; HEADER_BYTES];
        frames.fill(self, &mut bytes).await?;
        Header::decode(content, &bytes)
    }

    /// The last bytes of a content's file, the trailer among them.
    pub(super) async fn tail(&self, content: ContentId) -> Result<Tail, StorageError> {
        self.check_up()?;
        let end = self.tier.remote.get_end(&name_of(content), TRAILER_BYTES_MAX as u64).await;
        let (stored_length, stream) = end.map_err(|error| self.error(content, "reading a blob", error))?;
        let begin = stored_length.saturating_sub(TRAILER_BYTES_MAX as u64);
        let mut bytes = vec![0; usize::try_from(stored_length - begin).unwrap_or(0)];
        let mut frames = RemoteFrames { content, stream: Mutex::new(stream), piece: Bytes::new() };
        frames.fill(self, &mut bytes).await?;
        Ok(Tail { begin, bytes })
    }

    /// The contents whose files are in a folder, and the names of what is in it besides.
    async fn list(&self, folder: u8) -> Result<(Vec<ContentId>, Vec<String>), RemoteError> {
        let (mut contents, mut strangers) = (Vec::new(), Vec::new());
        let prefix = format!("{folder:02x}/");
        let mut after: Option<String> = None;
        loop {
            let names = self.tier.remote.list(&prefix, after.as_deref()).await?;
            let Some(last) = names.last() else { return Ok((contents, strangers)) };
            if after.as_ref().is_some_and(|after| last <= after) || contents.len() + strangers.len() > NAMES_MAX {
                return Err(RemoteError::Wrong("its listing does not end".to_owned()));
            }
            after = Some(last.clone());
            for name in names {
                let id = name.strip_prefix(&prefix).and_then(|id| id.parse::<ContentId>().ok());
                match id.filter(|id| folder_of(*id) == folder && id.place() == self.tier.place) {
                    Some(id) => contents.push(id),
                    None => strangers.push(format!("{name} of the storage tier {}", self.tier.name)),
                }
            }
        }
    }
}

/// The last bytes of a file.
pub(super) struct Tail {
    /// Where they begin.
    pub(super) begin: u64,
    pub(super) bytes: Vec<u8>,
}

impl Tail {
    /// How long the file is.
    pub(super) fn stored_length(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }

    /// Reads what lies there of them.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> usize {
        let within = at.checked_sub(self.begin).and_then(|within| usize::try_from(within).ok());
        let found = within.and_then(|within| self.bytes.get(within..)).unwrap_or_default();
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        count
    }
}

/// A file's bytes on their way.
pub(super) struct RemoteFrames {
    content: ContentId,
    /// Never locked: it makes this shareable, which a stream is not.
    stream: Mutex<RemoteBytes>,
    /// What has come and was not taken.
    piece: Bytes,
}

impl RemoteFrames {
    /// Takes the next bytes, as many as fit.
    pub(super) async fn fill(&mut self, home: &RemoteHome, buffer: &mut [u8]) -> Result<(), StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.piece.is_empty() {
                let next = self.stream.get_mut().next().await;
                let next = next.unwrap_or_else(|| Err(RemoteError::Wrong("its file is too short".to_owned())));
                self.piece = next.map_err(|error| home.error(self.content, "reading a blob", error))?;
            }
            let taken = self.piece.split_to(self.piece.len().min(buffer.len() - filled));
            buffer[filled..filled + taken.len()].copy_from_slice(&taken);
            filled += taken.len();
        }
        Ok(())
    }

    /// As [`RemoteFrames::fill`], a whole buffer.
    pub(super) async fn frame(&mut self, home: &RemoteHome, mut buffer: Buffer) -> Result<Buffer, StorageError> {
        self.fill(home, buffer.as_mut()).await?;
        Ok(buffer)
    }
}

/// What the file of a content is called.
fn name_of(content: ContentId) -> String {
    format!("{:02x}/{content}", folder_of(content))
}

impl BlobStore {
    /// Asks a tier in another service whether it is there. To be called now and then. No error if there is no such tier.
    pub async fn probe_remote(&self, place: Place) {
        if let Some(remote) = self.0.homes.home(place).remote() {
            remote.probe().await;
        }
    }

    /// The length of a content's file in another service. None: it is not in one.
    ///
    /// # Errors
    /// `Corrupt` if it is not there; `TierDown`.
    pub async fn remote_length(&self, content: ContentId) -> Result<Option<u64>, StorageError> {
        match self.home_of(content).remote() {
            Some(remote) => remote.length(content).await.map(Some),
            None => Ok(None),
        }
    }

    /// Adds what the tiers in other services have in a folder.
    pub(super) async fn list_remotes(&self, folder: u8, listing: &mut super::Listing) {
        for remote in self.homes().filter_map(|home| home.remote()) {
            let listed = match remote.check_up() {
                Ok(()) => remote.list(folder).await,
                Err(_) => Err(RemoteError::Down("it is down".to_owned())),
            };
            match listed {
                Ok((contents, strangers)) => {
                    listing.contents.extend(contents);
                    listing.strangers.extend(strangers);
                }
                Err(error) => {
                    tracing::debug!(tier = remote.tier.name, %error, "a storage tier cannot be listed");
                    listing.is_partial = true;
                }
            }
        }
    }
}
