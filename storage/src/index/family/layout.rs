//! `layout`: the parts of a finished multipart object, in pages.
//!
//! ```text
//! key    content id (16) | page (u16)
//! value  LayoutPage
//! ```

use cairn_crypto::checksum::Checksum;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::id::ContentId;
use crate::index::family::content::{ContentKind, ContentRecord};
use crate::index::{Batch, Family};
use crate::object::{Content, checksum_codec};
use crate::record::Record;
use crate::sealed_checksum::SealedChecksum;

/// How many parts a page holds at most.
pub const PAGE_PARTS_MAX: usize = 1_000;

/// One part of the object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LayoutPart {
    /// The number it was uploaded under.
    #[n(0)]
    pub number: u16,
    /// Where it begins in the object.
    #[n(1)]
    pub offset_bytes: u64,
    /// Plaintext bytes.
    #[n(2)]
    pub size_bytes: u64,
    /// Where its bytes are; never a composite.
    #[n(3)]
    pub content: Content,
    /// Its checksum.
    #[n(4)]
    #[cbor(with = "checksum_codec::optional", has_nil)]
    pub checksum: Option<Checksum>,
    /// The seal id of its file, if it is sealed.
    #[n(5)]
    pub seal: Option<[u8; 16]>,
    /// Its checksum, sealed.
    #[n(6)]
    pub sealed_checksum: Option<SealedChecksum>,
}

/// Up to 1,000 parts, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LayoutPage {
    /// The parts.
    #[n(0)]
    pub parts: Vec<LayoutPart>,
}

impl Record for LayoutPage {
    const NAME: &'static str = "layout";
    const BYTES_MAX: usize = 320 << 10;
}

/// The row's key.
#[must_use]
pub fn key(content: ContentId, page: u16) -> [u8; 18] {
    let mut key = [0; 18];
    key[..16].copy_from_slice(content.as_bytes());
    key[16..].copy_from_slice(&page.to_be_bytes());
    key
}

/// Adds the rows of a new composite: its pages, and its `content` row with one reference.
///
/// # Errors
/// `MetadataTooLarge`.
pub(crate) fn put(batch: &mut Batch, composite: ContentId, parts: &[LayoutPart]) -> Result<(), StorageError> {
    for (number, page) in (0_u16..).zip(parts.chunks(PAGE_PARTS_MAX)) {
        let page = LayoutPage { parts: page.to_vec() };
        batch.put(Family::Layout, key(composite, number), page.to_value()?);
    }
    let parts_count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
    let record = ContentRecord::new(ContentKind::Composite { parts_count });
    batch.put(Family::Content, composite.as_bytes().as_slice(), record.to_value()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::check_round_trip;
    use crate::sealed_checksum::tests::largest_sealed_checksum;
    use cairn_crypto::checksum::ChecksumAlgorithm;

    fn part(number: u16) -> LayoutPart {
        LayoutPart {
            number,
            offset_bytes: u64::MAX,
            size_bytes: u64::MAX,
            content: Content::File(ContentId::from_bytes([0xFF; 16])),
            checksum: Checksum::from_bytes(ChecksumAlgorithm::Sha512, &[0xFF; 64]).ok(),
            seal: Some([0xFF; 16]),
            sealed_checksum: Some(largest_sealed_checksum()),
        }
    }

    #[test]
    fn round_trips() {
        check_round_trip(&LayoutPage {
            parts: vec![part(1), LayoutPart { checksum: None, seal: None, sealed_checksum: None, ..part(2) }],
        });
    }

    #[test]
    fn a_full_page_of_the_largest_parts_fits() {
        let parts = (0..PAGE_PARTS_MAX).map(|_| part(10_000)).collect();
        assert!(LayoutPage { parts }.to_value().is_ok());
    }
}
