//! Copying a file into another place, as it is: payloads are not opened, so no key is needed.
//!
//! Every frame's checksum is verified before its payload is written, and made anew, because it is bound to the content id.

use super::format::{Format, Frame, Header};
use super::record::StoredTrailer;
use super::{BlobStore, StoredBlob};
use crate::StorageError;
use crate::id::ContentId;

/// How many chunks are read before they are written.
const RUN_CHUNKS: u64 = 16;

impl BlobStore {
    /// Copies the file of `from`, which the caller has pinned, as that of `to`, which it has pinned too. Durable when it
    /// returns. Blocks.
    ///
    /// # Errors
    /// `Corrupt` if the source is damaged; `TierDown`, `DiskFull`, `ReadOnly`, `Io`: there is no file of `to`.
    pub fn transfer_blocking(&self, from: ContentId, to: ContentId) -> Result<StoredBlob, StorageError> {
        let (_, header) = self.open_blocking(from)?;
        let (source, inspection) = self.inspect_open(from)?;
        let header = Header { format: Format::NEWEST, content: to, ..header };
        self.check_space_to_move(to.place(), inspection.stored_length)?;
        let mut writer = self.begin(&header, Some(inspection.stored_length), None)?;
        let chunks_count = source.geometry.chunks_count();
        for first in (0..chunks_count).step_by(usize::try_from(RUN_CHUNKS).unwrap_or(1)) {
            self.check_space_to_move(to.place(), 0)?;
            let mut frames = Vec::new();
            for index in first..chunks_count.min(first + RUN_CHUNKS) {
                // It has no sealer, so this is the payload as it lies there.
                let payload = source.read(index)?;
                let frame = Frame::new(to, index, source.geometry.is_last(index), vec![payload]);
                frames.push(frame.ok_or_else(|| StorageError::corrupt(format!("content {from} has too many chunks")))?);
            }
            writer.write(&frames, &[])?;
            writer.start_writeback();
        }
        let trailer = StoredTrailer { plain_length: inspection.plain_length, trailer: inspection.trailer };
        writer.close(&trailer.encode(to)?, inspection.plain_length, inspection.seal)
    }
}
