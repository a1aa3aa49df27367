//! Compressing the chunks of new files, before they are sealed.
//!
//! Which classes' files are compressed is a setting, and touches new files only. Each chunk becomes a zstd frame of its own, so that
//! a range decompresses no other. A chunk that does not shrink by an eighth stays as it is: it costs nothing to read, and no copy. After a
//! few such chunks only one now and then is tried, ever more seldom, so that what was compressed before it came costs little.
//!
//! Nothing that is decompressed gets larger than the chunk that the file says it was, whatever its bytes claim.

use bytes::Bytes;
use parking_lot::Mutex;
use zstd_safe::{CCtx, CParameter, DCtx};

use super::BlobStore;
use super::buffers::Buffer;
use crate::object::StorageClass;

/// The level that is used if none is chosen.
pub const LEVEL_DEFAULT: u8 = 3;

/// The highest level that needs no more than some MiB of memory for each chunk at work.
pub const LEVEL_MAX: u8 = 19;

/// A chunk must shrink by at least one part in so many.
const GAIN_PARTS: usize = 8;

/// So many chunks in a row may not shrink before any is passed over.
const MISSES_MAX: u32 = 3;

/// The most chunks that are passed over at once: 2 MiB.
const PASSED_OVER_MAX: u32 = 32;

/// Idle contexts kept of each kind, as many as work at once on a large machine.
const IDLE_COUNT_MAX: usize = 32;

/// Which classes' new files are compressed, and how much effort that is worth. By default none is.
#[derive(Clone, Debug)]
pub struct Compression {
    classes: Vec<StorageClass>,
    level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self::new(Vec::new(), LEVEL_DEFAULT)
    }
}

impl Compression {
    /// At zstd's `level`, of 1 to [`LEVEL_MAX`].
    #[must_use]
    pub fn new(classes: Vec<StorageClass>, level: u8) -> Self {
        Self { classes, level: level.clamp(1, LEVEL_MAX) }
    }
}

/// What compresses and decompresses: contexts, used again and again, because a fresh one allocates and zeroes its tables.
pub(super) struct Codecs {
    compression: Compression,
    compressors: Mutex<Vec<CCtx<'static>>>,
    decompressors: Mutex<Vec<DCtx<'static>>>,
}

impl Codecs {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, compressors: Mutex::default(), decompressors: Mutex::default() }
    }

    /// Whether new files of a class are compressed.
    pub(super) fn compresses(&self, class: StorageClass) -> bool {
        self.compression.classes.contains(&class)
    }

    /// Compresses a chunk. None: it does not fit, or cannot be compressed for want of memory.
    pub(super) fn compress(&self, chunk: &[u8], into: &mut [u8]) -> Option<usize> {
        let idle = self.compressors.lock().pop();
        let mut context = idle.or_else(|| {
            let mut made = CCtx::try_create()?;
            made.set_parameter(CParameter::CompressionLevel(i32::from(self.compression.level))).ok()?;
            Some(made)
        })?;
        let compressed = context.compress2(into, chunk);
        keep(&self.compressors, context);
        compressed.ok()
    }

    /// Decompresses a chunk. None: the bytes are not what was compressed, or are more than fit.
    pub(super) fn decompress(&self, compressed: &[u8], into: &mut [u8]) -> Option<usize> {
        let idle = self.decompressors.lock().pop();
        let mut context = idle.or_else(DCtx::try_create)?;
        let decompressed = context.decompress(into, compressed);
        keep(&self.decompressors, context);
        decompressed.ok()
    }
}

fn keep<T>(idle: &Mutex<Vec<T>>, context: T) {
    let mut idle = idle.lock();
    if idle.len() < IDLE_COUNT_MAX {
        idle.push(context);
    }
}

/// What is known of how well a file shrinks.
#[derive(Debug, Default)]
pub(super) struct Compressor {
    /// How many chunks in a row did not shrink, of those that were tried.
    misses: u32,
    /// How many are passed over before the next is tried.
    passes_over: u32,
}

impl Compressor {
    /// The chunk that the pieces are, compressed, in a buffer with `room_bytes` of room behind it. None: it stays as it is.
    pub(super) fn compress(&mut self, store: &BlobStore, pieces: &[Bytes], room_bytes: usize) -> Option<Buffer> {
        if self.passes_over > 0 {
            self.passes_over -= 1;
            return None;
        }
        let joined;
        let chunk = match pieces {
            [whole] => whole.as_ref(),
            pieces => {
                joined = join(store, pieces, 0);
                joined.as_ref()
            }
        };
        let bytes_max = chunk.len() - chunk.len().div_ceil(GAIN_PARTS);
        let mut buffer = store.0.buffers.take(bytes_max + room_bytes);
        let compressed = store.0.codecs.compress(chunk, &mut buffer.as_mut()[..bytes_max]);
        self.note(compressed.is_some());
        buffer.truncate(compressed? + room_bytes);
        Some(buffer)
    }

    fn note(&mut self, shrank: bool) {
        self.misses = if shrank { 0 } else { self.misses.saturating_add(1) };
        if let Some(beyond) = self.misses.checked_sub(MISSES_MAX + 1) {
            self.passes_over = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX).min(PASSED_OVER_MAX);
        }
    }
}

/// The pieces in one buffer, with `room_bytes` of room behind them.
pub(super) fn join(store: &BlobStore, pieces: &[Bytes], room_bytes: usize) -> Buffer {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let mut buffer = store.0.buffers.take(bytes + room_bytes);
    let mut rest = &mut *buffer.as_mut();
    for piece in pieces {
        let (place, after) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = after;
    }
    buffer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// How many of so many chunks that do not shrink are tried.
    fn tried(chunks: u32) -> u32 {
        let mut compressor = Compressor::default();
        let mut tried = 0;
        for _ in 0..chunks {
            if compressor.passes_over > 0 {
                compressor.passes_over -= 1;
            } else {
                tried += 1;
                compressor.note(false);
            }
        }
        tried
    }

    #[test]
    fn what_does_not_shrink_is_tried_ever_more_seldom() {
        assert_eq!(tried(MISSES_MAX), MISSES_MAX);
        assert_eq!(tried(16), 7);
        assert!(tried(100_000) < 100_000 / PASSED_OVER_MAX);
    }

    #[test]
    fn a_chunk_that_shrinks_makes_the_next_ones_be_tried() {
        let mut compressor = Compressor::default();
        (0..20).for_each(|_| compressor.note(false));
        assert_eq!(compressor.passes_over, PASSED_OVER_MAX);
        compressor.passes_over = 0;
        compressor.note(true);
        (0..MISSES_MAX).for_each(|_| compressor.note(false));
        assert_eq!(compressor.passes_over, 0);
    }

    #[test]
    fn nothing_is_decompressed_beyond_what_was_declared() {
        let codecs = Codecs::new(Compression::default());
        let large = vec![0; 1 << 20];
        let mut bomb = vec![0; 1 << 10];
        let length = codecs.compress(&large, &mut bomb).unwrap();
        let mut into = [7; 4_096];
        assert_eq!(codecs.decompress(&bomb[..length], &mut into[..4_000]), None);
        assert_eq!(into[4_000..], [7; 96]);
        // The context is as good as before.
        let length = codecs.compress(&large[..4_000], &mut bomb).unwrap();
        assert_eq!(codecs.decompress(&bomb[..length], &mut into), Some(4_000));
        assert_eq!(codecs.decompress(b"no zstd frame", &mut into), None);
    }

    #[test]
    fn contexts_are_used_again_and_bounded() {
        let codecs = Codecs::new(Compression::default());
        let mut into = [0; 64];
        codecs.compress(&[0; 100], &mut into).unwrap();
        codecs.compress(&[0; 100], &mut into).unwrap();
        assert_eq!(codecs.compressors.lock().len(), 1);
        let idle: Mutex<Vec<u8>> = Mutex::new(vec![0; IDLE_COUNT_MAX]);
        keep(&idle, 1);
        assert_eq!(idle.lock().len(), IDLE_COUNT_MAX);
    }
}
