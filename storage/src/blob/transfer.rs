//! Copying a file into another place, as it is: payloads are neither opened nor decompressed, so no key is needed, and a file stays
//! compressed, or not, as it was written.
//!
//! Every frame's checksum is verified before its payload is written, and made anew, because it is bound to the content id.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::format::{Format, Frame, HEADER_BYTES, Header};
use super::record::StoredTrailer;
use super::remote::{LocalBytes, RemoteFile, RemoteFrames};
use super::source::Source;
use super::{BlobStore, BlobWriter, StoredBlob, table};
use crate::StorageError;
use crate::id::ContentId;

/// How many chunks are read before they are written.
const RUN_CHUNKS: u64 = 16;

/// How many chunks, at most, are asked of another service in one request; a multiple of those of a run.
const STRETCH_CHUNKS: u64 = 256 * RUN_CHUNKS;

/// A file as another content's: what it will consist of.
struct Copy {
    source: Arc<Source>,
    header: Header,
    trailer: Vec<u8>,
    plain_length: u64,
}

/// The same for another service, which asks for its bytes in whatever ranges.
struct ReadCopy {
    copy: Copy,
    header: Vec<u8>,
    /// Where its frames end, if they are compressed.
    frame_ends: Option<Vec<u64>>,
    /// What comes after the frames.
    end: Vec<u8>,
}

/// Frames that another service was asked for.
pub(super) type OnTheirWay = Option<Box<RemoteFrames>>;

/// Takes away what there is of a content that does not become one. (What its end cannot take away, the scan finds.)
struct Unfinished {
    store: BlobStore,
    content: ContentId,
    finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            self.store.discard(self.content);
        }
    }
}

impl BlobStore {
    /// Copies the file of `from`, which the caller has pinned, as that of `to`, which it has pinned too. Durable when it returns.
    ///
    /// # Errors
    /// `Corrupt` if the source is damaged; `TierDown`, `DiskFull`, `ReadOnly`, `Io`: there is no file of `to`, or one that the scan
    /// for orphans finds.
    pub async fn transfer(&self, from: ContentId, to: ContentId) -> Result<StoredBlob, StorageError> {
        self.0.health.check_writable()?;
        let copy = self.copy(from, to).await?;
        let mut unfinished = Unfinished { store: self.clone(), content: to, finished: false };
        let stored = match self.home_of(to).remote() {
            Some(remote) => {
                let copy = Arc::new(ReadCopy::new(copy).await?);
                let (length, of_reader) = (copy.length(), copy.clone());
                let read = Arc::new(move |range| ReadCopy::read(of_reader.clone(), range));
                remote.put(to, &RemoteFile { length, read }).await?;
                copy.copy.stored(length)
            }
            None => self.write_copy(copy).await?,
        };
        unfinished.finished = true;
        Ok(stored)
    }

    async fn copy(&self, from: ContentId, to: ContentId) -> Result<Copy, StorageError> {
        let (source, inspection) = self.inspect(from).await?;
        let header = Header { format: Format::NEWEST, content: to, ..source.header.clone() };
        let plain_length = inspection.plain_length;
        let trailer = StoredTrailer { plain_length, trailer: inspection.trailer }.encode(to)?;
        Ok(Copy { source: Arc::new(source), header, trailer, plain_length })
    }

    /// Writes a copy where files are on a disk.
    async fn write_copy(&self, copy: Copy) -> Result<StoredBlob, StorageError> {
        let Copy { source, header, trailer, plain_length } = copy;
        let (to, seal) = (header.content, header.seal.map(|seal| seal.id));
        let (store, length) = (self.clone(), source.frames_end() + source.table_bytes() + trailer.len() as u64);
        let begin = move || {
            store.check_space_to_move(to.place(), length)?;
            store.begin(&header, Some(length))
        };
        let mut writer = self.offload().run(begin).await?;
        let chunks_count = source.geometry.chunks_count();
        let (mut first, mut on_their_way) = (0, None);
        while first < chunks_count {
            let stretch_end = chunks_count.min((first / STRETCH_CHUNKS + 1) * STRETCH_CHUNKS);
            let run = first..stretch_end.min(first + RUN_CHUNKS);
            first = run.end;
            let frames = source.frames_as(to, run, stretch_end, &mut on_their_way).await?;
            let store = self.clone();
            let write = move || {
                store.check_space_to_move(to.place(), 0)?;
                writer.write(&frames)?;
                writer.start_writeback();
                Ok(writer)
            };
            writer = self.offload().run(write).await?;
        }
        self.offload().run(move || BlobWriter::close(writer, &trailer, plain_length, seal)).await
    }
}

impl Copy {
    fn stored(&self, stored_length: u64) -> StoredBlob {
        let (content, seal) = (self.header.content, self.header.seal.map(|seal| seal.id));
        StoredBlob { content, plain_length: self.plain_length, stored_length, seal }
    }
}

impl ReadCopy {
    async fn new(copy: Copy) -> Result<Self, StorageError> {
        let (header, frame_ends) = (copy.header.encode()?, copy.source.frame_ends().await?);
        let table = frame_ends.as_deref().map_or_else(Vec::new, |ends| table::encode(copy.header.content, ends));
        let end = [&table[..], &copy.trailer].concat();
        Ok(Self { copy, header, frame_ends, end })
    }

    /// How long the file is.
    fn length(&self) -> u64 {
        self.copy.source.frames_end() + self.end.len() as u64
    }

    /// The chunk whose frame the byte `at` is in, and where that frame begins.
    fn frame_at(&self, at: u64) -> (u64, u64) {
        let Some(ends) = &self.frame_ends else {
            let index = self.copy.source.geometry.chunk_at(at);
            return (index, self.copy.source.geometry.frame_offset(index));
        };
        let index = ends.partition_point(|end| *end <= at);
        let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied();
        (index as u64, start.unwrap_or(HEADER_BYTES as u64))
    }

    /// The bytes of the file in `range`.
    fn read(self: Arc<Self>, range: Range<u64>) -> LocalBytes {
        let pieces = futures::stream::try_unfold((self, range, None), |(copy, range, mut on_their_way)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let (start, bytes) = copy.piece(&range, &mut on_their_way).await?;
            let cut = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len());
            let piece = bytes.slice(cut(range.start)..cut(range.end));
            if piece.is_empty() {
                return Err(StorageError::corrupt("a file is shorter than its chunks are together"));
            }
            let next = range.start + piece.len() as u64..range.end;
            Ok(Some((piece, (copy, next, on_their_way))))
        });
        Box::pin(pieces)
    }

    /// The piece of the file that the first byte of `range` is in, and where it begins.
    async fn piece(&self, range: &Range<u64>, on_their_way: &mut OnTheirWay) -> Result<(u64, Bytes), StorageError> {
        let at = range.start;
        if at < HEADER_BYTES as u64 {
            return Ok((0, Bytes::copy_from_slice(&self.header)));
        }
        let Copy { source, header, .. } = &self.copy;
        if at >= source.frames_end() {
            return Ok((source.frames_end(), Bytes::copy_from_slice(&self.end)));
        }
        let (first, start) = self.frame_at(at);
        let (last, _) = self.frame_at(range.end.min(source.frames_end()) - 1);
        let run = first..(last + 1).min(first + RUN_CHUNKS);
        let frames = source.frames_as(header.content, run, last + 1, on_their_way).await?;
        let mut bytes = BytesMut::new();
        for frame in &frames {
            bytes.extend_from_slice(&frame.header);
            frame.payload.iter().for_each(|payload| bytes.extend_from_slice(payload));
        }
        Ok((start, bytes.freeze()))
    }
}

impl Source {
    /// Some of its frames, verified and as they lie there. Those that come next, up to `end`, are on their way then, if they come
    /// from another service.
    pub(super) async fn frames(
        self: &Arc<Self>,
        run: Range<u64>,
        end: u64,
        on_their_way: &mut OnTheirWay,
    ) -> Result<Vec<Bytes>, StorageError> {
        let source = self.clone();
        match self.store.home_of(self.content).remote() {
            Some(_) => {
                let is_last = run.end == end;
                let mut trip = source.read_remote(on_their_way.take(), run, end).await;
                *on_their_way = trip.frames.take().filter(|_| !is_last);
                trip.whole()
            }
            None => self.store.offload().run(move || run.map(|index| source.read(index)).collect()).await,
        }
    }

    /// The same as another content's.
    async fn frames_as(
        self: &Arc<Self>,
        to: ContentId,
        run: Range<u64>,
        end: u64,
        on_their_way: &mut OnTheirWay,
    ) -> Result<Vec<Frame>, StorageError> {
        let frames = self.frames(run, end, on_their_way).await?;
        let none = || StorageError::corrupt(format!("content {} has a frame that is none", self.content));
        frames.iter().map(|frame| Frame::of_another(to, frame).ok_or_else(none)).collect()
    }
}
