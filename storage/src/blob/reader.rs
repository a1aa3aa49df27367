//! Reading one chunk file.
//!
//! A file that the system has at hand is opened on the calling async thread, and what the page cache holds of it is read
//! there, one chunk at a time. A miss goes to the blocking pool, which then stays ahead by a bounded number of chunks while
//! the earlier ones are sent; so does a task for a file in another service, which is asked for it once. Each frame is verified, opened
//! if it is sealed, and decompressed if it is compressed, before any of its bytes leave; others are not copied.

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
use super::format::{Geometry, HEADER_BYTES, Header, Seal, TRAILER_LENGTH_BYTES};
use super::offload::Task;
use super::record::StoredTrailer;
use super::remote::{RemoteFrames, Tail};
use super::scan::find_trailer;
use super::source::{Opening, Source, Trip};
use super::table::Table;
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

/// What a reader needs of a file before its first chunk.
struct Opened {
    /// None: it is in another service.
    file: Option<Arc<dyn DiskFile>>,
    header: Header,
    /// Where its trailer begins, if it is compressed.
    trailer_at: Option<u64>,
    /// The last bytes of a compressed file in another service.
    tail: Option<Tail>,
}

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
        let opening = match (seal, key) {
            (Some(seal), Some(key)) => Opening::Sealed(ChunkSealer::new(key, seal)),
            (None, None) => Opening::Plain,
            _ => return Err(differs("a key belongs to a sealed content and only to one")),
        };
        let store = self.clone();
        let opened = if self.home_of(content).remote().is_some() {
            // A task of its own: what waits for the service cannot be shared between threads, as bodies are.
            Task::Spawned(tokio::spawn(async move { store.open_remote(content).await })).await??
        } else {
            match self.open_cached(content)? {
                Some(opened) => opened,
                None => self.0.offload.run(move || store.open_to_read(content)).await?,
            }
        };
        let Opened { file, header, trailer_at, tail } = opened;
        let layers = key.map(DataKey::layers);
        if header.seal != seal.zip(layers).map(|(id, layers)| Seal { id, layers }) {
            return Err(differs("the seal"));
        }
        let geometry = Geometry::new(plain_length, header.chunk_bytes, layers);
        let geometry = geometry.ok_or_else(|| differs("an impossible length"))?;
        let table = trailer_at.map(|at| Table::before(at, &geometry).ok_or_else(|| differs("an impossible length")));
        let table = table.transpose()?;
        if let (Some(table), Some(tail)) = (&table, &tail) {
            table.accept_from(content, &geometry, tail)?;
        }
        Ok(BlobReader(Arc::new(Source { store: self.clone(), content, file, header, geometry, table, opening })))
    }

    async fn open_remote(&self, content: ContentId) -> Result<Opened, StorageError> {
        let remote = self.home_of(content).remote();
        let remote = remote.ok_or_else(|| StorageError::corrupt("a content is in no other service"))?;
        let header = remote.header(content).await?;
        let tail = if header.compressed { Some(remote.tail(content).await?) } else { None };
        let found = tail
            .as_ref()
            .map(|tail| find_trailer(content, &|at, buffer| Ok(tail.read(at, buffer)), tail.stored_length()));
        let trailer_at = found.transpose()?.map(|trailer| trailer.start);
        Ok(Opened { file: None, header, trailer_at, tail })
    }

    fn open_to_read(&self, content: ContentId) -> Result<Opened, StorageError> {
        let (file, header) = self.open_blocking(content)?;
        let trailer_at = match header.compressed {
            true => {
                let failed = |source| self.home_of(content).error("reading a blob", source);
                let stored_length = file.length().map_err(failed)?;
                let read = |at, buffer: &mut [u8]| file.read_at(at, buffer).map_err(failed);
                Some(find_trailer(content, &read, stored_length)?.start)
            }
            false => None,
        };
        Ok(Opened { file: Some(file), header, trailer_at, tail: None })
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

    /// As `open_to_read` if the system's caches hold all that it needs.
    fn open_cached(&self, content: ContentId) -> Result<Option<Opened>, StorageError> {
        let home = self.home_of(content);
        let opened = home.disk()?.open_cached(&home.file_path(content));
        let Some(file) = opened.map_err(|source| self.open_error(content, source))? else { return Ok(None) };
        let failed = |source| home.error("reading a blob", source);
        let read = |at, buffer: &mut [u8]| {
            let found = file.read_cached(at, buffer).map_err(failed)?;
            Ok::<_, StorageError>(found == Some(buffer.len()))
        };
        let mut bytes = [0; HEADER_BYTES];
        if !read(0, &mut bytes)? {
            return Ok(None);
        }
        let header = Header::decode(content, &bytes)?;
        if !header.compressed {
            return Ok(Some(Opened { file: Some(file), header, trailer_at: None, tail: None }));
        }
        // What is wrong here is told by `open_to_read`.
        let stored_length = file.length().map_err(failed)?;
        let mut length = [0; TRAILER_LENGTH_BYTES];
        let at = stored_length.checked_sub(length.len() as u64);
        if !at.map_or(Ok(false), |at| read(at, &mut length))? {
            return Ok(None);
        }
        let trailer_at = StoredTrailer::length(length).and_then(|bytes| stored_length.checked_sub(bytes as u64));
        Ok(trailer_at.map(|at| Opened { file: Some(file), header, trailer_at: Some(at), tail: None }))
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
