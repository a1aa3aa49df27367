//! Reading one chunk file.
//!
//! A file that the system has at hand is opened on the calling async thread, and what the page cache holds of it is read
//! there, one chunk at a time. A miss goes to the blocking pool, which then stays ahead by a bounded number of chunks while
//! the earlier ones are sent; so does a task for a file in another service, which is asked for it once. Each frame is verified, and opened if it is sealed, before any of its bytes leave; unsealed
//! bytes are not copied.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future as _;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_crypto::seal::{ChunkSealer, SealId};
use cairn_crypto::secret::DataKey;
use futures::Stream;

use super::BlobStore;
use super::buffers::Buffer;
use super::format::{FRAME_HEADER_BYTES, Format, Geometry, HEADER_BYTES, Header, Seal, verify_frame};
use super::offload::Task;
use super::remote::RemoteFrames;
use crate::StorageError;
use crate::disk::DiskFile;
use crate::id::ContentId;

/// How many chunks one trip to the blocking pool reads. A stream holds at most twice as many.
const READ_AHEAD_CHUNKS: usize = 8;

/// An open chunk file whose header was verified. Keeps the file readable even if it is unlinked.
pub struct BlobReader(Arc<Source>);

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlobReader").field(&self.0.content).finish()
    }
}

/// A chunk file and its verified header.
type OpenFile = (Arc<dyn DiskFile>, Header);

impl BlobStore {
    /// Opens a content's file, which the caller has pinned. Length and seal id are those of the index record, the key
    /// is needed for a sealed file and only for one.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing, or its header is damaged or not the one that the record describes; `Io`.
    pub async fn open(
        &self,
        content: ContentId,
        plain_length: u64,
        seal: Option<SealId>,
        key: Option<&DataKey>,
    ) -> Result<BlobReader, StorageError> {
        let differs = |what: &str| StorageError::corrupt(format!("content {content} and its record differ: {what}"));
        let sealer = match (seal, key) {
            (Some(seal), Some(key)) => Some(ChunkSealer::new(key, seal)),
            (None, None) => None,
            _ => return Err(differs("a key belongs to a sealed content and only to one")),
        };
        let (file, header) = if self.home_of(content).remote().is_some() {
            let store = self.clone();
            // A task of its own: what waits for the service cannot be shared between threads, as bodies are.
            let asked = Task::Spawned(tokio::spawn(async move { store.header(content).await }));
            (None, asked.await??)
        } else {
            let (file, header) = match self.open_cached(content)? {
                Some(opened) => opened,
                None => {
                    let store = self.clone();
                    self.0.offload.run(move || store.open_blocking(content)).await?
                }
            };
            (Some(file), header)
        };
        let layers = key.map(DataKey::layers);
        if header.seal != seal.zip(layers).map(|(id, layers)| Seal { id, layers }) {
            return Err(differs("the seal"));
        }
        let geometry = Geometry::new(plain_length, header.chunk_bytes, layers);
        let geometry = geometry.ok_or_else(|| differs("an impossible length"))?;
        let format = header.format;
        Ok(BlobReader(Arc::new(Source { store: self.clone(), content, file, format, geometry, sealer })))
    }

    /// Opens a content's file and verifies its header.
    pub(super) fn open_blocking(&self, content: ContentId) -> Result<OpenFile, StorageError> {
        let home = self.home_of(content);
        let opened = home.disk()?.open(&home.file_path(content));
        let file = opened.map_err(|source| self.open_error(content, source))?;
        let mut bytes = [0; HEADER_BYTES];
        let count = file.read_at(0, &mut bytes).map_err(|source| home.error("reading a blob", source))?;
        let header = Header::decode(content, &bytes[..count])?;
        Ok((file, header))
    }

    /// As `open_blocking` if the system's caches hold all that it needs.
    fn open_cached(&self, content: ContentId) -> Result<Option<OpenFile>, StorageError> {
        let home = self.home_of(content);
        let opened = home.disk()?.open_cached(&home.file_path(content));
        let Some(file) = opened.map_err(|source| self.open_error(content, source))? else { return Ok(None) };
        let mut bytes = [0; HEADER_BYTES];
        match file.read_cached(0, &mut bytes).map_err(|source| home.error("reading a blob", source))? {
            Some(HEADER_BYTES) => Ok(Some((file, Header::decode(content, &bytes)?))),
            _ => Ok(None),
        }
    }

    fn open_error(&self, content: ContentId, source: io::Error) -> StorageError {
        let home = self.home_of(content);
        match source.kind() {
            io::ErrorKind::NotFound if !home.is_down() => {
                StorageError::corrupt(format!("content {content} has no file"))
            }
            _ => home.error("opening a blob", source),
        }
    }
}

impl BlobReader {
    /// The content's bytes in `range`, of which only what lies inside the content counts.
    #[must_use]
    pub fn stream(self, range: Range<u64>) -> BlobStream {
        let geometry = &self.0.geometry;
        let end = range.end.min(geometry.plain_length());
        let range = range.start.min(end)..end;
        let chunks = if range.is_empty() {
            0..0
        } else {
            range.start / geometry.chunk_bytes()..range.end.div_ceil(geometry.chunk_bytes())
        };
        BlobStream {
            source: self.0,
            range,
            chunks,
            ready: VecDeque::new(),
            trip: None,
            failure: None,
            waits_for_disk: false,
            frames: None,
        }
    }
}

/// What reading a chunk needs.
pub(super) struct Source {
    pub(super) store: BlobStore,
    pub(super) content: ContentId,
    /// None: it is in another service.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) format: Format,
    pub(super) geometry: Geometry,
    pub(super) sealer: Option<ChunkSealer>,
}

impl Source {
    /// A chunk's plaintext, waiting for the disk.
    pub(super) fn read(&self, index: u64) -> Result<Bytes, StorageError> {
        let mut frame = self.buffer(index);
        let read = self.file()?.read_at(self.geometry.frame_offset(index), frame.as_mut());
        let count = read.map_err(|source| self.read_error(source))?;
        if count < frame.as_ref().len() {
            return Err(self.damaged(index, "the file is too short"));
        }
        self.accept(index, frame)
    }

    /// A chunk's plaintext if the page cache holds all of it.
    fn read_cached(&self, index: u64) -> Result<Option<Bytes>, StorageError> {
        let mut frame = self.buffer(index);
        let read = self.file()?.read_cached(self.geometry.frame_offset(index), frame.as_mut());
        match read.map_err(|source| self.read_error(source))? {
            Some(count) if count == frame.as_ref().len() => self.accept(index, frame).map(Some),
            _ => Ok(None),
        }
    }

    fn file(&self) -> Result<&dyn DiskFile, StorageError> {
        self.file.as_deref().ok_or_else(|| self.damaged(0, "it is in another service, and was looked for on a disk"))
    }

    /// Reads several chunks from another service until one fails. `frames` are where they come from, if they are on their way
    /// already; else all chunks up to `end` are asked for at once.
    pub(super) async fn read_remote(
        self: Arc<Self>,
        frames: Option<Box<RemoteFrames>>,
        chunks: Range<u64>,
        end: u64,
    ) -> Trip {
        let mut trip = Trip { chunks: Vec::new(), failure: None, frames };
        if let Err(error) = self.read_remote_into(&mut trip, chunks, end).await {
            trip.failure = Some(error);
        }
        trip
    }

    async fn read_remote_into(&self, trip: &mut Trip, chunks: Range<u64>, end: u64) -> Result<(), StorageError> {
        let home = self.store.home_of(self.content).remote();
        let home = home.ok_or_else(|| self.damaged(chunks.start, "its place is in no other service"))?;
        let mut frames = match trip.frames.take() {
            Some(frames) => frames,
            None => {
                let last = end.saturating_sub(1);
                let past = self.geometry.frame_offset(last) + self.geometry.frame_bytes(last) as u64;
                Box::new(home.get(self.content, self.geometry.frame_offset(chunks.start)..past).await?)
            }
        };
        for index in chunks {
            let frame = frames.frame(home, self.buffer(index)).await?;
            trip.chunks.push(self.accept(index, frame)?);
        }
        trip.frames = Some(frames);
        Ok(())
    }

    fn buffer(&self, index: u64) -> Buffer {
        self.store.0.buffers.take(self.geometry.frame_bytes(index))
    }

    /// The plaintext of a frame that was read in full.
    fn accept(&self, index: u64, mut frame: Buffer) -> Result<Bytes, StorageError> {
        verify_frame(self.format, self.content, &self.geometry, index, frame.as_ref())?;
        let mut plain = FRAME_HEADER_BYTES..frame.as_ref().len();
        if let Some(sealer) = &self.sealer {
            let payload = &mut frame.as_mut()[FRAME_HEADER_BYTES..];
            let opened = sealer.open(index, self.geometry.is_last(index), payload);
            let opened = opened.map_err(|error| self.damaged(index, &error.to_string()))?;
            plain.end = plain.start + opened.len();
        }
        Ok(Bytes::from_owner(frame).slice(plain))
    }

    fn read_error(&self, source: io::Error) -> StorageError {
        self.store.home_of(self.content).error("reading a blob", source)
    }

    fn damaged(&self, index: u64, what: &str) -> StorageError {
        StorageError::corrupt(format!("chunk {index} of content {}: {what}", self.content))
    }

    /// Reads several chunks until one fails.
    fn read_run(&self, chunks: Range<u64>) -> Trip {
        let mut trip = Trip { chunks: Vec::new(), failure: None, frames: None };
        for index in chunks {
            match self.read(index) {
                Ok(chunk) => trip.chunks.push(chunk),
                Err(error) => {
                    trip.failure = Some(error);
                    break;
                }
            }
        }
        trip
    }
}

/// What a trip to the blocking pool, or to another service, brings back.
pub(super) struct Trip {
    chunks: Vec<Bytes>,
    failure: Option<StorageError>,
    /// Where the next ones come from, if they are on their way.
    frames: Option<Box<RemoteFrames>>,
}

impl Trip {
    /// The chunks, if none is missing.
    pub(super) fn whole(self) -> Result<Vec<Bytes>, StorageError> {
        self.failure.map_or(Ok(self.chunks), Err)
    }
}

/// A range of a content, in pieces of at most a chunk. Ends after the first error.
pub struct BlobStream {
    source: Arc<Source>,
    range: Range<u64>,
    /// Chunks that nobody has begun to read.
    chunks: Range<u64>,
    /// Verified pieces, already cut to the range.
    ready: VecDeque<Bytes>,
    trip: Option<(u64, Task<Trip>)>,
    /// What ends the stream once `ready` was handed out.
    failure: Option<StorageError>,
    /// The last chunk was not in the page cache, so the next ones are fetched before they are needed.
    waits_for_disk: bool,
    /// What is on its way from another service.
    frames: Option<Box<RemoteFrames>>,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream").field("content", &self.source.content).field("range", &self.range).finish()
    }
}

impl BlobStream {
    /// Fetches the next chunk from the page cache, or starts a trip for the next ones.
    fn fetch(&mut self) {
        let index = self.chunks.start;
        if self.source.file.is_none() {
            let run = index..self.chunks.end.min(index + READ_AHEAD_CHUNKS as u64);
            self.chunks.start = run.end;
            self.waits_for_disk = true;
            let trip = self.source.clone().read_remote(self.frames.take(), run, self.chunks.end);
            self.trip = Some((index, Task::Spawned(tokio::spawn(trip))));
            return;
        }
        match self.source.read_cached(index) {
            Ok(Some(chunk)) => {
                self.chunks.start += 1;
                self.waits_for_disk = false;
                self.accept(index, chunk);
            }
            Ok(None) => {
                let end = self.chunks.end.min(index + READ_AHEAD_CHUNKS as u64);
                self.chunks.start = end;
                self.waits_for_disk = true;
                let source = self.source.clone();
                let task = self.source.store.0.offload.start(move || source.read_run(index..end));
                self.trip = Some((index, task));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Cuts a chunk to the range.
    fn accept(&mut self, index: u64, chunk: Bytes) {
        let chunk_start = index * self.source.geometry.chunk_bytes();
        let cut = |at: u64| (at.saturating_sub(chunk_start) as usize).min(chunk.len());
        self.ready.push_back(chunk.slice(cut(self.range.start)..cut(self.range.end)));
    }

    fn fail(&mut self, error: StorageError) {
        self.chunks = 0..0;
        self.failure = Some(error);
    }

    /// Takes what a trip has brought, if it is back.
    fn poll_trip(&mut self, context: &mut Context<'_>) {
        let Some((first, task)) = &mut self.trip else { return };
        let first = *first;
        let Poll::Ready(result) = Pin::new(task).poll(context) else { return };
        self.trip = None;
        match result {
            Ok(trip) => {
                self.frames = trip.frames;
                trip.chunks.into_iter().zip(first..).for_each(|(chunk, index)| self.accept(index, chunk));
                if let Some(error) = trip.failure {
                    self.fail(error);
                }
            }
            Err(error) => self.fail(error),
        }
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            this.poll_trip(context);
            let wants_more = this.ready.is_empty() || (this.waits_for_disk && this.ready.len() < READ_AHEAD_CHUNKS);
            if wants_more && this.trip.is_none() && !this.chunks.is_empty() {
                this.fetch();
                // A trip must be polled once, so that it wakes this task.
                this.poll_trip(context);
            }
            if let Some(piece) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if this.trip.is_some() {
                return Poll::Pending;
            }
            if let Some(error) = this.failure.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.chunks.is_empty() {
                return Poll::Ready(None);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, None)
    }
}
