//! Sealing the chunks of one content: AES-256-GCM under a key of its own.
//!
//! ```text
//! file key        = HKDF-SHA256(data key, salt = seal id, info = "cairn chunk key 1")
//! nonce           = chunk index, 96 bits big endian
//! associated data = format (u8 = 1) | seal id (16) | chunk index (u64, big endian) | flags (u8: bit 0 last, bit 1 compressed)
//!                   | length before it was compressed (u32, big endian), if it is compressed
//! sealed chunk    = ciphertext, as long as the plaintext | tag (16)
//! ```
//!
//! Whoever compresses a chunk does so before it is sealed: its plaintext is then what the compression gave.
//!
//! A data key of two layers ([`Layers::Two`]) seals each chunk so twice, the sealed chunk of the inner layer being the plaintext
//! of the outer one:
//!
//! ```text
//! inner layer     = as above with info = "cairn inner chunk key 1" and format = 2
//! outer layer     = as above with info = "cairn outer chunk key 1" and format = 3
//! sealed chunk    = ciphertext, as long as the plaintext | inner tag, encrypted (16) | outer tag (16)
//! ```
//!
//! Invariants:
//!
//! - A sealed chunk opens only as what it is: another content's chunk, a moved chunk, a changed byte, a chunk that
//!   is taken for the last one or hides that it is, and one that is said to be compressed and is not, or the other way round,
//!   or to another length, are all refused.
//! - A seal id is random and belongs to one content, which makes the file key unique; so a nonce repeats only if an
//!   index is sealed twice. **Whoever writes must seal each index at most once per seal id**, and start a rewritten
//!   content under a new one: two plaintexts under one nonce would give both away.
//!
//! It leaves to others: dividing a content into chunks, keeping the seal id beside them, and noticing that chunks are
//! missing at the end (no chunk was the last).

mod cipher;

use crate::derive::derive;
use crate::secret::{DataKey, EntropyError, Layers, random};
use cipher::{Cipher, NONCE_BYTES};
use std::fmt;

/// How much longer a chunk is for each layer that it is sealed in.
pub const TAG_BYTES: usize = 16;

/// How much longer a sealed chunk is than its plaintext, at most.
pub const OVERHEAD_BYTES_MAX: usize = 2 * TAG_BYTES;

/// Length of a [`SealId`].
pub const SEAL_ID_BYTES: usize = 16;

/// The most that one call seals: far above any chunk, far below AES-GCM's own limit of 64 GiB.
pub const SEALED_PLAINTEXT_BYTES_MAX: usize = 1 << 30;

/// What one layer is: HKDF's label for its file key, and the first byte of its associated data.
struct Kind {
    info: &'static [u8],
    format: u8,
}

const ONLY: Kind = Kind { info: b"cairn chunk key 1", format: 1 };
const INNER: Kind = Kind { info: b"cairn inner chunk key 1", format: 2 };
const OUTER: Kind = Kind { info: b"cairn outer chunk key 1", format: 3 };

const ASSOCIATED_DATA_BYTES_MAX: usize = 1 + SEAL_ID_BYTES + 8 + 1 + 4;
const LAST: u8 = 1;
const COMPRESSED: u8 = 2;

/// Which chunk of its content some bytes are, and what they are of it. All of it is sealed with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its place in the content.
    pub index: u64,
    /// No chunk follows.
    pub last: bool,
    /// How long it was before it was compressed, if it is.
    pub compressed_from_bytes: Option<u32>,
}

impl Chunk {
    /// A chunk as it is.
    #[must_use]
    pub fn new(index: u64, last: bool) -> Self {
        Self { index, last, compressed_from_bytes: None }
    }

    /// A chunk that was compressed.
    #[must_use]
    pub fn compressed(index: u64, last: bool, from_bytes: u32) -> Self {
        Self { index, last, compressed_from_bytes: Some(from_bytes) }
    }
}

/// Names one sealed content. Random, no secret; kept beside the content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealId([u8; SEAL_ID_BYTES]);

impl SealId {
    /// A fresh random id.
    pub fn generate() -> Result<Self, EntropyError> {
        random().map(|bytes| Self(*bytes))
    }

    /// The id that was kept as these bytes.
    pub fn from_bytes(bytes: [u8; SEAL_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8; SEAL_ID_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SealId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Why a chunk was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not what was sealed as this chunk of this content under this key. The buffer they were in now
    /// holds nothing of use.
    #[error("the sealed chunk is damaged, forged, misplaced or under another key")]
    NotAuthentic,
    /// The plaintext is longer than [`SEALED_PLAINTEXT_BYTES_MAX`].
    #[error("a plaintext of {0} bytes is too long to seal")]
    TooLong(usize),
}

/// Seals and opens the chunks of one content. Making one derives the file keys; sealing and opening allocate nothing.
pub struct ChunkSealer {
    /// The layer that plaintext goes into.
    inner: Layer,
    /// The layer around it.
    outer: Option<Layer>,
    seal_id: SealId,
}

impl ChunkSealer {
    /// The sealer of the content `seal_id`, under keys derived from `data_key`.
    pub fn new(data_key: &DataKey, seal_id: SealId) -> Self {
        let layer = |kind| Layer::new(data_key, seal_id, kind);
        let (inner, outer) = match data_key.layers() {
            Layers::One => (layer(ONLY), None),
            Layers::Two => (layer(INNER), Some(layer(OUTER))),
        };
        Self { inner, outer, seal_id }
    }

    /// How much longer its sealed chunks are than their plaintexts.
    pub fn overhead_bytes(&self) -> usize {
        overhead_bytes(if self.outer.is_some() { Layers::Two } else { Layers::One })
    }

    /// Encrypts a chunk in place, in a buffer that has [`ChunkSealer::overhead_bytes`] of room for its tags behind the plaintext.
    ///
    /// Each index must be sealed at most once, see the module's invariants.
    ///
    /// # Panics
    /// If the buffer is shorter than that room.
    pub fn seal_in_place(&self, chunk: Chunk, bytes: &mut [u8]) -> Result<(), SealError> {
        let plain_bytes = bytes.len() - self.overhead_bytes();
        if plain_bytes > SEALED_PLAINTEXT_BYTES_MAX {
            return Err(SealError::TooLong(plain_bytes));
        }
        self.inner.seal(self.seal_id, chunk, &mut bytes[..plain_bytes + TAG_BYTES]);
        if let Some(outer) = &self.outer {
            outer.seal(self.seal_id, chunk, bytes);
        }
        Ok(())
    }

    /// Verifies and decrypts in place what [`ChunkSealer::seal_in_place`] made, and gives the plaintext: all of `sealed` but
    /// the tags. No byte of `sealed` may be used if this fails.
    pub fn open<'a>(&self, chunk: Chunk, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        let sealed = match &self.outer {
            Some(outer) => outer.open(self.seal_id, chunk, sealed)?,
            None => sealed,
        };
        self.inner.open(self.seal_id, chunk, sealed)
    }
}

/// How much longer a chunk is that is sealed in so many layers.
pub fn overhead_bytes(layers: Layers) -> usize {
    match layers {
        Layers::One => TAG_BYTES,
        Layers::Two => 2 * TAG_BYTES,
    }
}

/// One time that a chunk is sealed.
struct Layer {
    key: Cipher,
    format: u8,
}

impl Layer {
    fn new(data_key: &DataKey, seal_id: SealId, kind: Kind) -> Self {
        let file_key = derive(data_key.expose(), &seal_id.0, kind.info);
        Self { key: Cipher::new(&file_key), format: kind.format }
    }

    /// Encrypts all but the last of the bytes, which the tag takes.
    fn seal(&self, seal_id: SealId, chunk: Chunk, bytes: &mut [u8]) {
        let (bytes, room) = bytes.split_at_mut(bytes.len() - TAG_BYTES);
        let associated_data = self.associated_data(seal_id, chunk);
        let tag = self.key.seal(nonce(chunk.index), associated_data.as_ref(), bytes);
        room.copy_from_slice(&tag.expect("AES-GCM seals anything shorter than its limit"));
    }

    fn open<'a>(&self, seal_id: SealId, chunk: Chunk, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        let associated_data = self.associated_data(seal_id, chunk);
        self.key.open(nonce(chunk.index), associated_data.as_ref(), sealed).ok_or(SealError::NotAuthentic)
    }

    fn associated_data(&self, seal_id: SealId, chunk: Chunk) -> AssociatedData {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let mut bytes = [0; ASSOCIATED_DATA_BYTES_MAX];
        bytes[0] = self.format;
        bytes[1..17].copy_from_slice(&seal_id.0);
        bytes[17..25].copy_from_slice(&chunk.index.to_be_bytes());
        bytes[25] = flag(chunk.last, LAST) | flag(chunk.compressed_from_bytes.is_some(), COMPRESSED);
        let length = match chunk.compressed_from_bytes {
            None => 26,
            Some(from_bytes) => {
                bytes[26..].copy_from_slice(&from_bytes.to_be_bytes());
                bytes.len()
            }
        };
        AssociatedData { bytes, length }
    }
}

/// What is sealed with a chunk without being in it.
struct AssociatedData {
    bytes: [u8; ASSOCIATED_DATA_BYTES_MAX],
    length: usize,
}

impl AsRef<[u8]> for AssociatedData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Debug for ChunkSealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChunkSealer({:?}, redacted)", self.seal_id)
    }
}

fn nonce(index: u64) -> [u8; NONCE_BYTES] {
    let mut bytes = [0; NONCE_BYTES];
    bytes[NONCE_BYTES - 8..].copy_from_slice(&index.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
