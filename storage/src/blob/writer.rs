//! Writing one chunk file.
//!
//! The calls block: the caller moves the writer to where it may. Bytes that are neither sealed nor compressed are not copied; they
//! go from the caller's buffers to the system in one vectored write per call. A chunk is framed only once it is known whether
//! another follows, because its frame says so.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::seal::{Chunk, ChunkSealer, SealId};
use cairn_crypto::secret::DataKey;

use super::buffers::Buffer;
use super::compression::{Compressor, join};
use super::format::{CHUNK_BYTES, Format, Frame, Geometry, HEADER_BYTES, Header, Seal};
use super::record::{BlobDescription, BlobTrailer, StoredTrailer};
use super::{BlobStore, new_seal, table};
use crate::StorageError;
use crate::disk::{Disk, DiskFile};
use crate::id::ContentId;
use crate::object::StorageClass;

/// How much is written before the kernel is asked to begin writing it back.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// The most slices that an incomplete chunk is kept in: beyond it they are joined, so that a client who sends single
/// bytes costs no more memory than one who sends chunks.
const PENDING_PIECES_MAX: usize = 64;

/// What a writer made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// The content.
    pub content: ContentId,
    /// Bytes as the client sent them.
    pub plain_length: u64,
    /// Bytes of the file.
    pub stored_length: u64,
    /// The file's seal id, if it is sealed.
    pub seal: Option<SealId>,
}

/// A chunk file being written. Dropped before [`BlobWriter::finish`] has succeeded, it removes the file.
pub struct BlobWriter {
    store: BlobStore,
    content: ContentId,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    seal: Option<(SealId, ChunkSealer)>,
    compressor: Option<Compressor>,
    pending: Pending,
    chunks_count: u64,
    plain_length: u64,
    /// Where the next frame goes.
    offset: u64,
    /// Where each frame ends, if the file has a table.
    frame_ends: Option<Vec<u64>>,
    /// Up to where the kernel was asked to write back.
    written_back: u64,
    finished: bool,
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { content, plain_length, .. } = self;
        f.debug_struct("BlobWriter")
            .field("content", content)
            .field("plain_length", plain_length)
            .finish_non_exhaustive()
    }
}

impl BlobStore {
    /// Begins the file of a content of a class, which the caller has pinned. Blocks.
    ///
    /// `expected_bytes` is the length of the body, if it was declared: the space is reserved at once, unless the file is
    /// compressed.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `DiskFull`, `ReadOnly`, `Io`.
    pub fn create_blocking(
        &self,
        content: ContentId,
        description: BlobDescription,
        class: StorageClass,
        expected_bytes: Option<u64>,
        key: Option<&DataKey>,
    ) -> Result<BlobWriter, StorageError> {
        let compressor = self.0.codecs.compresses(class).then(Compressor::default);
        self.create_with_seal(content, description, compressor, expected_bytes, new_seal(key)?)
    }

    /// As `create_blocking`, under a seal id that was never used before.
    pub(super) fn create_with_seal(
        &self,
        content: ContentId,
        description: BlobDescription,
        compressor: Option<Compressor>,
        expected_bytes: Option<u64>,
        seal: Option<(SealId, &DataKey)>,
    ) -> Result<BlobWriter, StorageError> {
        self.0.health.check_writable()?;
        let in_header = seal.map(|(id, key)| Seal { id, layers: key.layers() });
        let seal = seal.map(|(id, key)| (id, ChunkSealer::new(key, id)));
        let header = Header {
            format: Format::NEWEST,
            content,
            seal: in_header,
            compressed: compressor.is_some(),
            chunk_bytes: CHUNK_BYTES,
            description,
        };
        let layers = in_header.map(|seal| seal.layers);
        let expected = expected_bytes.filter(|_| compressor.is_none());
        let expected = expected.and_then(|bytes| Geometry::new(bytes, CHUNK_BYTES, layers));
        let mut writer = self.begin(&header, expected.map(|geometry| geometry.frames_end()))?;
        (writer.seal, writer.compressor) = (seal, compressor);
        Ok(writer)
    }

    /// Creates the file and writes its header; what is appended is neither sealed nor compressed. `file_bytes` is how long the file
    /// will become, if that is known.
    pub(super) fn begin(&self, header: &Header, file_bytes: Option<u64>) -> Result<BlobWriter, StorageError> {
        let (content, encoded) = (header.content, header.encode()?);
        let (home, disk) = self.prepared_home(content)?;
        let path = home.file_path(content);
        let file = disk.create(&path).map_err(|error| self.write_error(content, "creating a blob", error))?;
        let writer = BlobWriter {
            store: self.clone(),
            content,
            path,
            disk,
            file,
            seal: None,
            compressor: None,
            pending: Pending::default(),
            chunks_count: 0,
            plain_length: 0,
            offset: HEADER_BYTES as u64,
            frame_ends: header.compressed.then(Vec::new),
            written_back: 0,
            finished: false,
        };
        // From here on, an error drops the writer, which removes the file.
        if let Some(bytes) = file_bytes {
            let allocated = writer.file.allocate(bytes);
            allocated.map_err(|error| self.write_error(content, "reserving space for a blob", error))?;
        }
        let written = writer.file.write_at(0, &[IoSlice::new(&encoded)]);
        written.map_err(|error| self.write_error(content, "writing a blob", error))?;
        Ok(writer)
    }
}

impl BlobWriter {
    /// The content.
    #[must_use]
    pub fn content(&self) -> ContentId {
        self.content
    }

    /// Appends to the content. Blocks. After an error the writer is of no more use.
    ///
    /// # Errors
    /// `DiskFull`, `Io`; `TooLarge` beyond what the format can hold.
    pub fn append(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        for piece in pieces {
            self.plain_length += piece.len() as u64;
            self.pending.push(piece.clone());
        }
        // A full chunk waits too until there is a byte beyond it: it might be the last.
        let complete_count = self.pending.bytes.saturating_sub(1) / CHUNK_BYTES as usize;
        if complete_count > 0 {
            let frames = (0..complete_count).map(|_| self.frame(false)).collect::<Result<Vec<_>, _>>()?;
            self.write(&frames)?;
            self.start_writeback();
        }
        self.pending.join_if_scattered();
        Ok(())
    }

    /// Writes the rest and the trailer, and makes file and name durable. Blocks.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `DiskFull`, `Io`, `ReadOnly`. The content is then not stored; if a sync failed, the store
    /// has turned read-only.
    pub fn finish(mut self, trailer: BlobTrailer) -> Result<StoredBlob, StorageError> {
        let trailer = StoredTrailer { plain_length: self.plain_length, trailer }.encode(self.content)?;
        let last = if self.pending.bytes > 0 { vec![self.frame(true)?] } else { Vec::new() };
        self.write(&last)?;
        let (plain_length, seal) = (self.plain_length, self.seal.as_ref().map(|(id, _)| *id));
        let observer = self.compressor.as_ref().map(|_| self.store.0.observer.clone());
        let blob = self.close(&trailer, plain_length, seal)?;
        if let Some(observer) = observer {
            observer.compressed(plain_length, blob.stored_length);
        }
        Ok(blob)
    }

    /// Writes the table, if there is to be one, and the trailer, and makes file and name durable.
    pub(super) fn close(
        mut self,
        trailer: &[u8],
        plain_length: u64,
        seal: Option<SealId>,
    ) -> Result<StoredBlob, StorageError> {
        let table = self.frame_ends.as_ref().map_or_else(Vec::new, |ends| table::encode(self.content, ends));
        self.write_slices(&[IoSlice::new(&table), IoSlice::new(trailer)])?;
        self.store.sync_file(self.content, &*self.file)?;
        self.store.sync_folder(self.content, &self.disk)?;
        self.finished = true;
        Ok(StoredBlob { content: self.content, plain_length, stored_length: self.offset, seal })
    }

    /// Takes the next chunk's bytes and frames them.
    fn frame(&mut self, last: bool) -> Result<Frame, StorageError> {
        let index = self.chunks_count;
        let pieces = self.pending.take(CHUNK_BYTES as usize);
        let plain_bytes: usize = pieces.iter().map(Bytes::len).sum();
        let room_bytes = self.seal.as_ref().map_or(0, |(_, sealer)| sealer.overhead_bytes());
        let store = &self.store;
        let compressed = self.compressor.as_mut().and_then(|one| one.compress(store, &pieces, room_bytes));
        let is_compressed = compressed.is_some();
        let payload = match (compressed, &self.seal) {
            (None, None) => pieces,
            (Some(buffer), None) => vec![Bytes::from_owner(buffer)],
            (None, Some((_, sealer))) => {
                vec![sealed(sealer, Chunk::new(index, last), join(store, &pieces, room_bytes))?]
            }
            (Some(buffer), Some((_, sealer))) => {
                vec![sealed(sealer, Chunk::compressed(index, last, plain_bytes as u32), buffer)?]
            }
        };
        self.chunks_count += 1;
        let too_large =
            StorageError::TooLarge { size_bytes: self.plain_length, max_bytes: index * u64::from(CHUNK_BYTES) };
        Frame::new(self.content, index, last, is_compressed, payload).ok_or(too_large)
    }

    pub(super) fn write(&mut self, frames: &[Frame]) -> Result<(), StorageError> {
        let mut slices = Vec::with_capacity(frames.iter().map(|frame| 1 + frame.payload.len()).sum());
        let mut frame_end = self.offset;
        for frame in frames {
            slices.push(IoSlice::new(&frame.header));
            slices.extend(frame.payload.iter().map(|piece| IoSlice::new(piece)));
            frame_end += frame.length();
            if let Some(ends) = &mut self.frame_ends {
                ends.push(frame_end);
            }
        }
        self.write_slices(&slices)
    }

    fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> Result<(), StorageError> {
        let written = self.file.write_at(self.offset, slices);
        written.map_err(|error| self.store.write_error(self.content, "writing a blob", error))?;
        self.offset += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        Ok(())
    }

    pub(super) fn start_writeback(&mut self) {
        let unwritten_bytes = self.offset - self.written_back;
        if unwritten_bytes >= WRITEBACK_BYTES {
            self.file.start_writeback(self.written_back, unwritten_bytes);
            self.written_back = self.offset;
        }
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Best effort, and without a sync: no index row names the file, so a scan finds it if it stays or comes back.
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(content = %self.content, %error, "an unfinished blob could not be removed");
        }
    }
}

/// A chunk, sealed in its buffer, which has room for it.
fn sealed(sealer: &ChunkSealer, chunk: Chunk, mut buffer: Buffer) -> Result<Bytes, StorageError> {
    let sealing = |error| StorageError::Io { doing: "sealing a chunk", source: std::io::Error::other(error) };
    sealer.seal_in_place(chunk, buffer.as_mut()).map_err(sealing)?;
    Ok(Bytes::from_owner(buffer))
}

/// Bytes that are not framed yet, as the caller's slices.
#[derive(Default)]
struct Pending {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pending {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// The first `bytes` bytes, or all if there are fewer.
    fn take(&mut self, bytes: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing_bytes = bytes.min(self.bytes);
        self.bytes -= missing_bytes;
        while let Some(mut piece) = self.pieces.pop_front() {
            if piece.len() > missing_bytes {
                if missing_bytes > 0 {
                    taken.push(piece.split_to(missing_bytes));
                }
                self.pieces.push_front(piece);
                break;
            }
            missing_bytes -= piece.len();
            taken.push(piece);
        }
        taken
    }

    fn join_if_scattered(&mut self) {
        if self.pieces.len() > PENDING_PIECES_MAX {
            let joined: Vec<u8> = self.pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            self.pieces = VecDeque::from([Bytes::from(joined)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_bytes_come_out_in_order_and_cut_where_asked() {
        let mut pending = Pending::default();
        for piece in ["ab", "", "cde", "f"] {
            pending.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(pending.take(4), ["ab", "cd"]);
        assert_eq!(pending.bytes, 2);
        assert_eq!(pending.take(9), ["e", "f"]);
        assert!(pending.take(9).is_empty());
    }

    #[test]
    fn many_small_pieces_are_joined() {
        let mut pending = Pending::default();
        for _ in 0..=PENDING_PIECES_MAX {
            pending.push(Bytes::from_static(b"x"));
        }
        pending.join_if_scattered();
        assert_eq!((pending.pieces.len(), pending.bytes), (1, PENDING_PIECES_MAX + 1));
    }
}
