//! The chunks of one open file, one at a time: where each lies, that it is whole, and what is handed out of it.
//!
//! Frames of a file that is not compressed lie where their numbers say, those of a compressed one where its table says. Each is
//! verified, opened if it is sealed, and decompressed if it is compressed, before any of its bytes are handed out.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::seal::{Chunk, ChunkSealer};

use super::BlobStore;
use super::buffers::Buffer;
use super::format::{FRAME_HEADER_BYTES, Geometry, Header, verify_frame};
use super::remote::{RemoteFrames, RemoteHome};
use super::table::{self, PAGE_CHUNKS, Page, Table};
use crate::StorageError;
use crate::disk::DiskFile;
use crate::id::ContentId;

/// What becomes of a verified frame.
pub(super) enum Opening {
    /// Nothing: it is handed out as it lies there, header and all.
    AsItLies,
    /// Its chunk is taken out.
    Plain,
    /// Its chunk is taken out and opened.
    Sealed(ChunkSealer),
}

/// What reading a chunk needs.
pub(super) struct Source {
    pub(super) store: BlobStore,
    pub(super) content: ContentId,
    /// None: it is in another service.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    pub(super) header: Header,
    pub(super) geometry: Geometry,
    /// Where its frames lie, if it is compressed.
    pub(super) table: Option<Table>,
    pub(super) opening: Opening,
}

/// Reads bytes of a file; None: it would have to wait.
type Read<'r> = dyn Fn(u64, &mut [u8]) -> io::Result<Option<usize>> + 'r;

impl Source {
    /// A chunk, waiting for the disk.
    pub(super) fn read(&self, index: u64) -> Result<Bytes, StorageError> {
        let file = self.file()?;
        let read = self.read_with(index, &|at, buffer| file.read_at(at, buffer).map(Some))?;
        read.ok_or_else(|| self.damaged(index, "the file is too short"))
    }

    /// A chunk if the page cache holds all that it takes.
    pub(super) fn read_cached(&self, index: u64) -> Result<Option<Bytes>, StorageError> {
        let file = self.file()?;
        self.read_with(index, &|at, buffer| file.read_cached(at, buffer))
    }

    /// A chunk; None if `read` would wait, or the file is too short.
    fn read_with(&self, index: u64, read: &Read<'_>) -> Result<Option<Bytes>, StorageError> {
        let at = match &self.table {
            None => {
                self.geometry.frame_offset(index)
                    ..self.geometry.frame_offset(index) + self.geometry.frame_bytes(index) as u64
            }
            Some(table) => match self.page(table, index / PAGE_CHUNKS, read)? {
                Some(page) => self.frame_in(&page, index)?,
                None => return Ok(None),
            },
        };
        let mut frame = self.buffer(&at);
        match read(at.start, frame.as_mut()).map_err(|source| self.read_error(source))? {
            Some(count) if count == frame.as_ref().len() => self.accept(index, frame).map(Some),
            _ => Ok(None),
        }
    }

    /// A page of the table; None as in `read_with`.
    fn page(&self, table: &Table, number: u64, read: &Read<'_>) -> Result<Option<Arc<Page>>, StorageError> {
        if let Some(page) = table.recent(number) {
            return Ok(Some(page));
        }
        let at = table.page_range(&self.geometry, number);
        let mut bytes = vec![0; (at.end - at.start) as usize];
        match read(at.start, &mut bytes).map_err(|source| self.read_error(source))? {
            Some(count) if count == bytes.len() => table.accept(self.content, &self.geometry, number, &bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// How long the frame of a chunk is that was read just now.
    pub(super) fn frame_bytes(&self, index: u64) -> usize {
        let Some(table) = &self.table else { return self.geometry.frame_bytes(index) };
        let at = table.recent(index / PAGE_CHUNKS).and_then(|page| page.frame(index));
        at.map_or(0, |at| (at.end - at.start) as usize)
    }

    fn frame_in(&self, page: &Page, index: u64) -> Result<Range<u64>, StorageError> {
        page.frame(index).ok_or_else(|| self.damaged(index, "the table does not have it"))
    }

    fn file(&self) -> Result<&dyn DiskFile, StorageError> {
        self.file.as_deref().ok_or_else(|| self.damaged(0, "it is in another service, and was looked for on a disk"))
    }

    /// Where the last frame ends.
    pub(super) fn frames_end(&self) -> u64 {
        self.table.as_ref().map_or_else(|| self.geometry.frames_end(), Table::start)
    }

    /// How long its table is.
    pub(super) fn table_bytes(&self) -> u64 {
        self.table.as_ref().map_or(0, |_| table::table_bytes(&self.geometry))
    }

    /// Where every frame ends, if the file is compressed.
    pub(super) async fn frame_ends(self: &Arc<Self>) -> Result<Option<Vec<u64>>, StorageError> {
        let (source, pages) = (self.clone(), table::pages_count(&self.geometry));
        let Some(table) = &self.table else { return Ok(None) };
        let mut ends = Vec::new();
        if let Some(home) = self.store.home_of(self.content).remote() {
            for number in 0..pages {
                ends.extend_from_slice(self.remote_page(home, table, number).await?.ends());
            }
            return Ok(Some(ends));
        }
        let read = move || {
            let (file, Some(table)) = (source.file()?, &source.table) else { return Ok(None) };
            for number in 0..pages {
                let page = source.page(table, number, &|at, buffer| file.read_at(at, buffer).map(Some))?;
                let page = page.ok_or_else(|| source.damaged(number * PAGE_CHUNKS, "the file is too short"))?;
                ends.extend_from_slice(page.ends());
            }
            Ok(Some(ends))
        };
        self.store.offload().run(read).await
    }

    /// As `page`, of a file in another service.
    async fn remote_page(&self, home: &RemoteHome, table: &Table, number: u64) -> Result<Arc<Page>, StorageError> {
        if let Some(page) = table.recent(number) {
            return Ok(page);
        }
        let at = table.page_range(&self.geometry, number);
        let mut bytes = vec![0; (at.end - at.start) as usize];
        home.get(self.content, at).await?.fill(home, &mut bytes).await?;
        table.accept(self.content, &self.geometry, number, &bytes)
    }

    /// Where a chunk's frame lies in another service.
    async fn remote_frame_at(&self, home: &RemoteHome, index: u64) -> Result<Range<u64>, StorageError> {
        let start = self.geometry.frame_offset(index);
        match &self.table {
            None => Ok(start..start + self.geometry.frame_bytes(index) as u64),
            Some(table) => self.frame_in(&*self.remote_page(home, table, index / PAGE_CHUNKS).await?, index),
        }
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
                let start = self.remote_frame_at(home, chunks.start).await?.start;
                let past = self.remote_frame_at(home, end.saturating_sub(1)).await?.end;
                Box::new(home.get(self.content, start..past).await?)
            }
        };
        for index in chunks {
            let at = self.remote_frame_at(home, index).await?;
            let frame = frames.frame(home, self.buffer(&at)).await?;
            trip.chunks.push(self.accept(index, frame)?);
        }
        trip.frames = Some(frames);
        Ok(())
    }

    fn buffer(&self, at: &Range<u64>) -> Buffer {
        self.store.0.buffers.take((at.end - at.start) as usize)
    }

    /// What is handed out of a frame that was read in full.
    fn accept(&self, index: u64, mut frame: Buffer) -> Result<Bytes, StorageError> {
        let (geometry, is_file_compressed) = (&self.geometry, self.table.is_some());
        let compressed =
            verify_frame(self.header.format, is_file_compressed, self.content, geometry, index, frame.as_ref())?;
        let mut payload = FRAME_HEADER_BYTES..frame.as_ref().len();
        let plain_bytes = geometry.plain_bytes(index) as usize;
        match &self.opening {
            Opening::AsItLies => return Ok(Bytes::from_owner(frame)),
            Opening::Plain => {}
            Opening::Sealed(sealer) => {
                let compressed_from_bytes = compressed.then_some(plain_bytes as u32);
                let chunk = Chunk { index, last: geometry.is_last(index), compressed_from_bytes };
                let opened = sealer.open(chunk, &mut frame.as_mut()[payload.clone()]);
                let opened = opened.map_err(|error| self.damaged(index, &error.to_string()))?;
                payload.end = payload.start + opened.len();
            }
        }
        if !compressed {
            return Ok(Bytes::from_owner(frame).slice(payload));
        }
        let mut chunk = self.store.0.buffers.take(plain_bytes);
        let decompressed = self.store.0.codecs.decompress(&frame.as_ref()[payload], chunk.as_mut());
        if decompressed != Some(plain_bytes) {
            return Err(self.damaged(index, "it cannot be decompressed"));
        }
        Ok(Bytes::from_owner(chunk))
    }

    fn read_error(&self, source: io::Error) -> StorageError {
        self.store.home_of(self.content).error("reading a blob", source)
    }

    fn damaged(&self, index: u64, what: &str) -> StorageError {
        StorageError::corrupt(format!("chunk {index} of content {}: {what}", self.content))
    }

    /// Reads several chunks until one fails.
    pub(super) fn read_run(&self, chunks: Range<u64>) -> Trip {
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
    pub(super) chunks: Vec<Bytes>,
    pub(super) failure: Option<StorageError>,
    /// Where the next ones come from, if they are on their way.
    pub(super) frames: Option<Box<RemoteFrames>>,
}

impl Trip {
    /// The chunks, if none is missing.
    pub(super) fn whole(self) -> Result<Vec<Bytes>, StorageError> {
        self.failure.map_or(Ok(self.chunks), Err)
    }
}
