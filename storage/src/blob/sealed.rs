//! Chunks that stay sealed: read as they lie in a file, and written as they came, without the key.
//!
//! Invariants: each frame's checksum was verified before its payload leaves; a file is made only of as many chunks, of just the
//! lengths, as was said of it. Nothing is sealed here, so a seal id that is kept is never used for two plaintexts; nor is anything
//! compressed or decompressed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_crypto::seal::{SealId, TAG_BYTES};
use cairn_crypto::secret::Layers;
use futures::{Stream, TryStreamExt as _};

use super::format::{FRAME_HEADER_BYTES, Format, Frame, Geometry, HEADER_BYTES, Header, Seal};
use super::record::{BlobDescription, BlobTrailer, StoredTrailer};
use super::source::Source;
use super::{BlobStore, BlobWriter, StoredBlob};
use crate::StorageError;
use crate::encryption::{LENGTH_BYTES, SealedContent};
use crate::id::ContentId;
use crate::sealed_checksum::SealedChecksum;

/// How many chunks are read at once.
const RUN_CHUNKS: u64 = 8;

/// The bit of a length that says that the chunk is compressed, as in a file's frames.
const COMPRESSED: u32 = 1 << 31;

/// A file that is read as it lies there.
pub(crate) struct SealedFile {
    source: Arc<Source>,
    /// How it is sealed.
    pub(crate) sealed: SealedContent,
}

impl BlobStore {
    /// A sealed file's chunks. The caller has pinned it; length and seal id are those of the index record.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing, damaged or not the one that the record describes; `TierDown`, `Io`.
    pub(crate) async fn open_sealed(
        &self,
        content: ContentId,
        plain_length: u64,
        seal: SealId,
        checksum: Option<SealedChecksum>,
    ) -> Result<SealedFile, StorageError> {
        let (source, inspection) = self.inspect(content).await?;
        if source.header.seal != Some(Seal { id: seal, layers: Layers::One }) || inspection.plain_length != plain_length
        {
            return Err(StorageError::corrupt(format!(
                "content {content} and its record differ: the seal, or the length"
            )));
        }
        let mut sealed = SealedContent::new(plain_length, source.header.chunk_bytes, seal, checksum);
        if source.table.is_some() {
            let frames_bytes = source.frames_end().saturating_sub(HEADER_BYTES as u64);
            let less_bytes = source.geometry.chunks_count() * (FRAME_HEADER_BYTES - LENGTH_BYTES) as u64;
            sealed = sealed.compressed(frames_bytes.saturating_sub(less_bytes));
        }
        Ok(SealedFile { source: Arc::new(source), sealed })
    }

    /// Begins the file of a content, which the caller has pinned, of chunks that are sealed already. Blocks.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `DiskFull`, `ReadOnly`, `Io`.
    pub(crate) fn create_sealed_blocking(
        &self,
        content: ContentId,
        description: BlobDescription,
        sealed: &SealedContent,
    ) -> Result<SealedWriter, StorageError> {
        self.0.health.check_writable()?;
        let seal = Some(Seal { id: sealed.seal(), layers: Layers::One });
        let chunk_bytes = sealed.chunk_bytes();
        let compressed = sealed.is_compressed();
        let header = Header { format: Format::NEWEST, content, seal, compressed, chunk_bytes, description };
        let geometry = Geometry::new(sealed.size_bytes, chunk_bytes, Some(Layers::One)).filter(|_| !compressed);
        let writer = self.begin(&header, geometry.map(|geometry| geometry.frames_end()))?;
        Ok(SealedWriter { writer, chunks: Unframing::new(sealed.clone()) })
    }
}

impl SealedFile {
    /// The chunks, each after its length.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, StorageError>> + Send {
        let chunks_count = self.source.geometry.chunks_count();
        let runs =
            futures::stream::try_unfold((self.source, 0, None), move |(source, first, mut on_their_way)| async move {
                let run = first..chunks_count.min(first + RUN_CHUNKS);
                if run.is_empty() {
                    return Ok::<_, StorageError>(None);
                }
                let (next, frames) = (run.end, source.frames(run, chunks_count, &mut on_their_way).await?);
                Ok(Some((frames, (source, next, on_their_way))))
            });
        let travelling = |frame: Bytes| [frame.slice(..LENGTH_BYTES), frame.slice(FRAME_HEADER_BYTES..)];
        let travelling = move |frames: Vec<Bytes>| frames.into_iter().flat_map(travelling).map(Ok);
        runs.map_ok(move |frames| futures::stream::iter(travelling(frames))).try_flatten()
    }
}

/// A chunk that is not compressed, with its length before it.
pub(crate) fn framed(payload: Bytes) -> [Bytes; 2] {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [Bytes::copy_from_slice(&length.to_be_bytes()), payload]
}

/// Chunks as they come: pieces of any length go in, whole payloads come out.
pub(crate) struct Unframing {
    sealed: SealedContent,
    /// How many payloads came out.
    taken: u64,
    pending: BytesMut,
}

impl Unframing {
    pub(crate) fn new(sealed: SealedContent) -> Self {
        Self { sealed, taken: 0, pending: BytesMut::new() }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The next payload, and whether it is compressed; None: it is not here yet.
    ///
    /// # Errors
    /// `SealedMalformed` if it is not as long as it must be, or one too many.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, bool)>, StorageError> {
        let Some(length) = self.pending.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let (payload_bytes, is_compressed) = ((length & !COMPRESSED) as usize, length & COMPRESSED != 0);
        let expected = self.sealed.payload_bytes(self.taken);
        let fits = match is_compressed {
            true => self.sealed.is_compressed() && payload_bytes > TAG_BYTES && payload_bytes < expected,
            false => payload_bytes == expected,
        };
        if !fits || self.taken >= self.sealed.chunks_count() {
            return Err(StorageError::SealedMalformed { what: "a chunk's length" });
        }
        if self.pending.len() < LENGTH_BYTES + payload_bytes {
            return Ok(None);
        }
        let mut frame = self.pending.split_to(LENGTH_BYTES + payload_bytes).freeze();
        self.taken += 1;
        Ok(Some((frame.split_off(LENGTH_BYTES), is_compressed)))
    }

    /// Ok if every chunk came out, and nothing else is there.
    ///
    /// # Errors
    /// `SealedMalformed`.
    pub(crate) fn check_end(&self) -> Result<(), StorageError> {
        let ended = self.taken == self.sealed.chunks_count() && self.pending.is_empty();
        if ended { Ok(()) } else { Err(StorageError::SealedMalformed { what: "the number of chunks" }) }
    }
}

/// A chunk file whose chunks come sealed. Dropped before [`SealedWriter::finish`] has succeeded, it removes the file.
pub(crate) struct SealedWriter {
    writer: BlobWriter,
    chunks: Unframing,
}

impl SealedWriter {
    /// Appends what came next. Blocks. After an error the writer is of no more use.
    ///
    /// # Errors
    /// `SealedMalformed`, `DiskFull`, `Io`.
    pub(crate) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        let content = self.writer.content();
        let mut frames = Vec::new();
        for piece in pieces {
            self.chunks.push(piece);
            while let Some((payload, compressed)) = self.chunks.next()? {
                let index = self.chunks.taken - 1;
                let last = index + 1 == self.chunks.sealed.chunks_count();
                let frame = Frame::new(content, index, last, compressed, vec![payload]);
                frames.push(frame.ok_or(StorageError::SealedMalformed { what: "the number of chunks" })?);
            }
        }
        self.writer.write(&frames)?;
        self.writer.start_writeback();
        Ok(())
    }

    /// Writes the trailer, and makes file and name durable. Blocks.
    ///
    /// # Errors
    /// `SealedMalformed` if chunks are missing; `MetadataTooLarge`, `DiskFull`, `Io`, `ReadOnly`: the content is not stored.
    pub(crate) fn finish(self, trailer: BlobTrailer) -> Result<StoredBlob, StorageError> {
        self.chunks.check_end()?;
        let (plain_length, seal) = (self.chunks.sealed.size_bytes, self.chunks.sealed.seal());
        let trailer = StoredTrailer { plain_length, trailer }.encode(self.writer.content())?;
        self.writer.close(&trailer, plain_length, Some(seal))
    }
}
