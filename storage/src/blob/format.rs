//! The bytes of a chunk file, format 2. All integers are big endian.
//!
//! ```text
//! header, 4,096 bytes
//!    0   8  magic "CAIRNBLB"
//!    8   2  format = 2
//!   10   2  flags: bit 0 sealed; bit 1 compressed; bit 2 sealed twice, beside bit 0
//!   12   4  chunk size: plaintext bytes of every chunk but the last
//!   16  16  content id
//!   32  16  seal id (zeros when not sealed)
//!   48   4  description length D
//!   52   D  description (CBOR), then zeros
//! 4088   8  crc64 of bytes 0 .. 4088
//! frame of chunk i, at 4,096 + i * (16 + chunk size + (16 for each time that it is sealed)), or one after the other if the file
//! is compressed
//!    0   4  payload length; bit 31 set if the chunk is compressed, which it may be only in a compressed file
//!    4   4  chunk index; bit 31 set on the last chunk
//!    8   8  xxh3 of (content id | bytes 0 .. 8 of this frame | payload)
//!   16      payload: the chunk, a zstd frame if it is compressed, with its tags if it is sealed
//! table of a compressed file, after the last frame: see `table`
//! trailer
//!    0   8  magic "CAIRNEND"
//!    8   T  CBOR
//!        8  crc64 of (content id | the trailer so far)
//!        4  length of the whole trailer
//! ```
//!
//! Format 1 has a crc64 in each frame instead of the xxh3, and nothing else is different. It is read, and not written.
//!
//! Everything decoded here may be damaged: nothing panics, and nothing is believed before its checksum was compared.

use bytes::Bytes;
use cairn_crypto::crc64::{Crc64, crc64};
use cairn_crypto::seal::{SealId, overhead_bytes};
use cairn_crypto::secret::Layers;
use cairn_crypto::xxh3::xxh3;

use super::record::{BlobDescription, StoredTrailer};
use crate::StorageError;
use crate::id::ContentId;

/// Plaintext bytes of every chunk but the last, in the files that this version writes: small enough to stay in the
/// CPU's cache between the checksum and the socket.
pub const CHUNK_BYTES: u32 = 65_536;

/// The largest chunk size that a reader accepts: it is the size of a buffer.
pub(crate) const CHUNK_BYTES_MAX: u32 = 1 << 20;

/// The most chunks of one file: an index has 31 bits.
const CHUNKS_COUNT_MAX: u64 = 1 << 31;

pub(super) const HEADER_BYTES: usize = 4_096;
pub(super) const FRAME_HEADER_BYTES: usize = 16;

/// The largest trailer, attributes included.
pub(super) const TRAILER_BYTES_MAX: usize = 64 << 10;

const HEADER_MAGIC: [u8; 8] = *b"CAIRNBLB";
const TRAILER_MAGIC: [u8; 8] = *b"CAIRNEND";
const FLAG_SEALED: u16 = 1;
const FLAG_COMPRESSED: u16 = 1 << 1;
const FLAG_SEALED_TWICE: u16 = 1 << 2;
const LAST_CHUNK: u32 = 1 << 31;
const COMPRESSED_CHUNK: u32 = 1 << 31;
const DESCRIPTION_AT: usize = 52;
const HEADER_CRC_AT: usize = HEADER_BYTES - 8;

/// Bytes of the crc and the length that end a trailer.
const TRAILER_END_BYTES: usize = 12;
/// The length field at the very end of the file.
pub(super) const TRAILER_LENGTH_BYTES: usize = 4;

/// What guards the frames of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// CRC-64/NVME.
    One = 1,
    /// XXH3-64, with which a chunk is checked several times as fast.
    Two = 2,
}

impl Format {
    /// That of new files.
    pub(super) const NEWEST: Self = Self::Two;

    fn from_number(number: u16) -> Option<Self> {
        [Self::One, Self::Two].into_iter().find(|format| *format as u16 == number)
    }

    fn frame_sum<'p>(
        self,
        content: &'p ContentId,
        header: &'p [u8],
        payload: impl IntoIterator<Item = &'p [u8]>,
    ) -> u64 {
        let parts = [&content.as_bytes()[..], header].into_iter().chain(payload);
        match self {
            Self::One => {
                let mut crc = Crc64::new();
                parts.for_each(|part| crc.update(part));
                crc.finish()
            }
            Self::Two => xxh3(parts),
        }
    }
}

/// That a file is sealed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) id: SealId,
    pub(super) layers: Layers,
}

/// The first 4,096 bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) content: ContentId,
    pub(super) seal: Option<Seal>,
    /// Its chunks may be compressed, and it has a table.
    pub(super) compressed: bool,
    pub(super) chunk_bytes: u32,
    pub(super) description: BlobDescription,
}

impl Header {
    /// The bytes, or `MetadataTooLarge` if the description does not fit.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        let description = cbor(&self.description);
        if description.len() > HEADER_CRC_AT - DESCRIPTION_AT {
            return Err(StorageError::MetadataTooLarge);
        }
        let sealed = match self.seal.map(|seal| seal.layers) {
            None => 0,
            Some(Layers::One) => FLAG_SEALED,
            Some(Layers::Two) => FLAG_SEALED | FLAG_SEALED_TWICE,
        };
        let flags = if self.compressed { sealed | FLAG_COMPRESSED } else { sealed };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(HEADER_MAGIC);
        bytes.extend((self.format as u16).to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend(self.chunk_bytes.to_be_bytes());
        bytes.extend(self.content.as_bytes());
        bytes.extend(self.seal.map_or([0; 16], |seal| *seal.id.as_bytes()));
        bytes.extend((description.len() as u32).to_be_bytes());
        bytes.extend(description);
        bytes.resize(HEADER_CRC_AT, 0);
        bytes.extend(crc64(&[&bytes]).to_be_bytes());
        Ok(bytes)
    }

    /// The header in `bytes`, which must be that of `content`.
    pub(super) fn decode(content: ContentId, bytes: &[u8]) -> Result<Self, StorageError> {
        let damaged = |what: &str| StorageError::corrupt(format!("header of content {content}: {what}"));
        let mut fields = Fields(bytes);
        if fields.array() != Some(HEADER_MAGIC) {
            return Err(damaged("no chunk file"));
        }
        let number = fields.array().map(u16::from_be_bytes);
        let format = number.and_then(Format::from_number);
        let format = format.ok_or_else(|| damaged(&format!("unknown format {number:?}")))?;
        let covered = bytes.get(..HEADER_CRC_AT).ok_or_else(|| damaged("too short"))?;
        if bytes.get(HEADER_CRC_AT..) != Some(&crc64(&[covered]).to_be_bytes()) {
            return Err(damaged("wrong checksum"));
        }
        let mut parse = || {
            let flags = u16::from_be_bytes(fields.array()?);
            let chunk_bytes = u32::from_be_bytes(fields.array()?);
            let found = ContentId::from_bytes(fields.array()?);
            let seal = SealId::from_bytes(fields.array()?);
            let description_bytes = u32::from_be_bytes(fields.array()?);
            let description = fields.0.get(..usize::try_from(description_bytes).ok()?)?;
            Some((flags, chunk_bytes, found, seal, description))
        };
        let (flags, chunk_bytes, found, seal, description) = parse().ok_or_else(|| damaged("impossible length"))?;
        if found != content {
            return Err(damaged(&format!("the file is that of content {found}")));
        }
        let layers = match flags & !FLAG_COMPRESSED {
            0 => None,
            FLAG_SEALED => Some(Layers::One),
            sealed if sealed == FLAG_SEALED | FLAG_SEALED_TWICE => Some(Layers::Two),
            _ => return Err(damaged("unknown flags")),
        };
        if chunk_bytes == 0 || chunk_bytes > CHUNK_BYTES_MAX {
            return Err(damaged("impossible chunk size"));
        }
        let description = minicbor::decode(description).map_err(|error| damaged(&format!("description: {error}")))?;
        let seal = layers.map(|layers| Seal { id: seal, layers });
        let compressed = flags & FLAG_COMPRESSED != 0;
        Ok(Self { format, content, seal, compressed, chunk_bytes, description })
    }
}

/// How long the chunks of a file are, and where its frames lie if it is not compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    plain_length: u64,
    chunk_bytes: u64,
    /// What sealing adds to a chunk.
    tag_bytes: u64,
}

impl Geometry {
    /// That of a file of `plain_length` bytes; None if it would have too many chunks.
    pub(super) fn new(plain_length: u64, chunk_bytes: u32, sealed: Option<Layers>) -> Option<Self> {
        let chunk_bytes = u64::from(chunk_bytes);
        let tag_bytes = sealed.map_or(0, |layers| overhead_bytes(layers) as u64);
        let fits = chunk_bytes > 0 && plain_length.div_ceil(chunk_bytes) <= CHUNKS_COUNT_MAX;
        fits.then_some(Self { plain_length, chunk_bytes, tag_bytes })
    }

    pub(super) fn plain_length(&self) -> u64 {
        self.plain_length
    }

    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    pub(super) fn chunks_count(&self) -> u64 {
        self.plain_length.div_ceil(self.chunk_bytes)
    }

    /// The chunk whose frame the byte `at` of the file is in.
    pub(super) fn chunk_at(&self, at: u64) -> u64 {
        at.saturating_sub(HEADER_BYTES as u64) / (FRAME_HEADER_BYTES as u64 + self.chunk_bytes + self.tag_bytes)
    }

    pub(super) fn is_last(&self, index: u64) -> bool {
        index + 1 == self.chunks_count()
    }

    /// Plaintext bytes of a chunk.
    pub(super) fn plain_bytes(&self, index: u64) -> u64 {
        self.plain_length.saturating_sub(index * self.chunk_bytes).min(self.chunk_bytes)
    }

    /// Of a chunk that is not compressed.
    fn payload_bytes(&self, index: u64) -> u64 {
        self.plain_bytes(index) + self.tag_bytes
    }

    /// Of a chunk that is not compressed; no frame is longer.
    pub(super) fn frame_bytes(&self, index: u64) -> usize {
        FRAME_HEADER_BYTES + self.payload_bytes(index) as usize
    }

    /// Where the frame of a chunk begins.
    pub(super) fn frame_offset(&self, index: u64) -> u64 {
        HEADER_BYTES as u64 + index * (FRAME_HEADER_BYTES as u64 + self.chunk_bytes + self.tag_bytes)
    }

    /// Where the last frame ends.
    pub(super) fn frames_end(&self) -> u64 {
        let overhead_bytes = self.chunks_count() * (FRAME_HEADER_BYTES as u64 + self.tag_bytes);
        HEADER_BYTES as u64 + self.plain_length + overhead_bytes
    }
}

/// A chunk ready to be written.
pub(super) struct Frame {
    pub(super) header: [u8; FRAME_HEADER_BYTES],
    pub(super) payload: Vec<Bytes>,
}

impl Frame {
    /// The frame of chunk `index` in a file of the newest format; None if a file cannot have so many chunks.
    pub(super) fn new(
        content: ContentId,
        index: u64,
        last: bool,
        compressed: bool,
        payload: Vec<Bytes>,
    ) -> Option<Self> {
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
        let payload_bytes = u32::try_from(payload_bytes).ok().filter(|bytes| bytes & COMPRESSED_CHUNK == 0)?;
        let index = u32::try_from(index).ok().filter(|index| index & LAST_CHUNK == 0)?;
        let mut fields = [0; 8];
        let length = if compressed { payload_bytes | COMPRESSED_CHUNK } else { payload_bytes };
        fields[..4].copy_from_slice(&length.to_be_bytes());
        fields[4..].copy_from_slice(&(if last { index | LAST_CHUNK } else { index }).to_be_bytes());
        Some(Self::with_fields(content, fields, payload))
    }

    /// Another content's frame, which was verified, as this one's; None if it is none.
    pub(super) fn of_another(content: ContentId, frame: &Bytes) -> Option<Self> {
        let (fields, _) = frame.split_first_chunk()?;
        (frame.len() >= FRAME_HEADER_BYTES)
            .then(|| Self::with_fields(content, *fields, vec![frame.slice(FRAME_HEADER_BYTES..)]))
    }

    fn with_fields(content: ContentId, fields: [u8; 8], payload: Vec<Bytes>) -> Self {
        let sum = Format::NEWEST.frame_sum(&content, &fields, payload.iter().map(AsRef::as_ref));
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..8].copy_from_slice(&fields);
        header[8..].copy_from_slice(&sum.to_be_bytes());
        Self { header, payload }
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + self.payload.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }
}

/// That `frame` is the whole and undamaged frame of chunk `index`. Tells whether the chunk is compressed, which it may be if the
/// file is.
pub(super) fn verify_frame(
    format: Format,
    compressed: bool,
    content: ContentId,
    geometry: &Geometry,
    index: u64,
    frame: &[u8],
) -> Result<bool, StorageError> {
    let damaged = |what: &str| StorageError::corrupt(format!("chunk {index} of content {content}: {what}"));
    let mut fields = Fields(frame);
    let (Some(length), Some(place), Some(sum)) = (fields.array(), fields.array(), fields.array()) else {
        return Err(damaged("the file is too short"));
    };
    let payload = fields.0;
    if sum != format.frame_sum(&content, &frame[..8], [payload]).to_be_bytes() {
        return Err(damaged("wrong checksum"));
    }
    let last = if geometry.is_last(index) { u64::from(LAST_CHUNK) } else { 0 };
    if u64::from(u32::from_be_bytes(place)) != index | last {
        return Err(damaged("a frame of another place"));
    }
    let length = u32::from_be_bytes(length);
    let is_compressed = length & COMPRESSED_CHUNK != 0;
    let (length, expected) = (u64::from(length & !COMPRESSED_CHUNK), geometry.payload_bytes(index));
    let fits = if is_compressed { compressed && length < expected } else { length == expected };
    if !fits || payload.len() as u64 != length {
        return Err(damaged("another length than the record's"));
    }
    Ok(is_compressed)
}

impl StoredTrailer {
    /// The bytes, or `MetadataTooLarge`.
    pub(super) fn encode(&self, content: ContentId) -> Result<Vec<u8>, StorageError> {
        let mut bytes = TRAILER_MAGIC.to_vec();
        bytes.extend(cbor(self));
        let trailer_bytes = bytes.len() + TRAILER_END_BYTES;
        if trailer_bytes > TRAILER_BYTES_MAX {
            return Err(StorageError::MetadataTooLarge);
        }
        bytes.extend(crc64(&[content.as_bytes(), &bytes]).to_be_bytes());
        bytes.extend((trailer_bytes as u32).to_be_bytes());
        Ok(bytes)
    }

    /// The length of the trailer whose last bytes are these; None if it is impossible.
    pub(super) fn length(last_bytes: [u8; TRAILER_LENGTH_BYTES]) -> Option<usize> {
        let trailer_bytes = usize::try_from(u32::from_be_bytes(last_bytes)).ok()?;
        (TRAILER_MAGIC.len() + TRAILER_END_BYTES..=TRAILER_BYTES_MAX).contains(&trailer_bytes).then_some(trailer_bytes)
    }

    /// The trailer that `bytes` are.
    pub(super) fn decode(content: ContentId, bytes: &[u8]) -> Result<Self, StorageError> {
        let damaged = |what: &str| StorageError::corrupt(format!("trailer of content {content}: {what}"));
        let covered_bytes = bytes.len().checked_sub(TRAILER_END_BYTES).ok_or_else(|| damaged("too short"))?;
        let (covered, end) = bytes.split_at(covered_bytes);
        let cbor = covered.strip_prefix(&TRAILER_MAGIC).ok_or_else(|| damaged("no trailer"))?;
        if end[..8] != crc64(&[content.as_bytes(), covered]).to_be_bytes() {
            return Err(damaged("wrong checksum"));
        }
        minicbor::decode(cbor).map_err(|error| damaged(&error.to_string()))
    }
}

fn cbor(record: &impl minicbor::Encode<()>) -> Vec<u8> {
    minicbor::to_vec(record).expect("a Vec takes all bytes, and these records have no encoder that refuses")
}

/// Takes fields from the front of bytes that may be too short.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}
