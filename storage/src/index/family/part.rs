//! `part`: the parts of a multipart upload as they were uploaded.
//!
//! ```text
//! key    the upload's content id (16) | part number (u16)
//! value  PartRecord
//! ```

use cairn_crypto::checksum::Checksum;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::ContentId;
use crate::object::{Content, checksum_codec};
use crate::record::Record;
use crate::sealed_checksum::SealedChecksum;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PartRecord {
    /// Plaintext bytes.
    #[n(0)]
    pub size_bytes: u64,
    /// Its ETag: the MD5 of its bytes, unless they are sealed in a way that hides it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub etag: [u8; 16],
    /// Where its bytes are; never a composite.
    #[n(2)]
    pub content: Content,
    /// When it was uploaded.
    #[n(3)]
    pub modified: Timestamp,
    /// Its checksum.
    #[n(4)]
    #[cbor(with = "checksum_codec::optional", has_nil)]
    pub checksum: Option<Checksum>,
    /// Its checksum, sealed.
    #[n(5)]
    pub sealed_checksum: Option<SealedChecksum>,
}

impl Record for PartRecord {
    const NAME: &'static str = "part";
    const BYTES_MAX: usize = 512;
}

/// The row's key.
#[must_use]
pub fn key(upload_content: ContentId, part_number: u16) -> [u8; 18] {
    let mut key = [0; 18];
    key[..16].copy_from_slice(upload_content.as_bytes());
    key[16..].copy_from_slice(&part_number.to_be_bytes());
    key
}

/// The part number in a row's key; None if it is malformed.
#[must_use]
pub fn parse_number(row_key: &[u8]) -> Option<u16> {
    let number: [u8; 2] = row_key.get(16..)?.try_into().ok()?;
    Some(u16::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::check_round_trip;
    use crate::sealed_checksum::tests::largest_sealed_checksum;
    use cairn_crypto::checksum::ChecksumAlgorithm;

    #[test]
    fn round_trips() {
        let part = PartRecord {
            size_bytes: 5 << 30,
            etag: [1; 16],
            content: Content::File(ContentId::from_bytes([2; 16])),
            modified: Timestamp(3),
            checksum: Checksum::from_bytes(ChecksumAlgorithm::Sha1, &[4; 20]).ok(),
            sealed_checksum: Some(largest_sealed_checksum()),
        };
        check_round_trip(&part);
        check_round_trip(&PartRecord { checksum: None, sealed_checksum: None, content: Content::Empty, ..part });
        assert_eq!(parse_number(&key(ContentId::from_bytes([2; 16]), 10_000)), Some(10_000));
    }
}
