//! Buffers for frames, used again and again: a fresh one would have to be zeroed and would be cold in the CPU's cache.

use std::sync::Arc;

use parking_lot::Mutex;

use super::format::{CHUNK_BYTES, FRAME_HEADER_BYTES};
use cairn_crypto::seal::OVERHEAD_BYTES_MAX;

/// The largest frame of a file that this version writes; files with larger chunks get buffers that are not kept.
const BUFFER_BYTES: usize = FRAME_HEADER_BYTES + CHUNK_BYTES as usize + OVERHEAD_BYTES_MAX;

/// Idle buffers kept: 16 MiB.
const IDLE_COUNT_MAX: usize = 256;

/// The idle buffers.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// One buffer, which goes back when it is dropped, so when the last `Bytes` made of it is.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer of `used` bytes of no particular contents.
    pub(super) fn take(self: &Arc<Self>, used: usize) -> Buffer {
        let idle = if used <= BUFFER_BYTES { self.0.lock().pop() } else { None };
        let bytes = idle.unwrap_or_else(|| vec![0; used.max(BUFFER_BYTES)]);
        Buffer { bytes, used, home: self.clone() }
    }
}

impl Buffer {
    /// Uses no more than so many bytes.
    pub(super) fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.used]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == BUFFER_BYTES {
            let mut idle = self.home.0.lock();
            if idle.len() < IDLE_COUNT_MAX {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(3);
        buffer.as_mut().copy_from_slice(b"one");
        assert_eq!(buffer.as_ref(), b"one");
        drop(buffer);
        assert_eq!(buffers.0.lock().len(), 1);
        let mut buffer = buffers.take(5);
        assert_eq!(buffer.as_ref().len(), 5);
        buffer.truncate(6);
        buffer.truncate(4);
        assert_eq!(buffer.as_ref().len(), 4);
    }

    #[test]
    fn idle_buffers_are_bounded_and_of_one_size() {
        let buffers = Arc::new(Buffers::default());
        drop(buffers.take(BUFFER_BYTES + 1));
        assert!(buffers.0.lock().is_empty());
        let taken: Vec<Buffer> = (0..IDLE_COUNT_MAX + 3).map(|_| buffers.take(1)).collect();
        drop(taken);
        assert_eq!(buffers.0.lock().len(), IDLE_COUNT_MAX);
    }
}
