//! `content`: one row for each content that is not inline; without it a content is garbage.
//!
//! ```text
//! key    content id (16)
//! value  ContentRecord
//! ```

use minicbor::{Decode, Encode};

use crate::id::ContentId;
use crate::index::{Family, IndexError, Row, View};
use crate::record::Record;

/// What a content is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ContentKind {
    /// One chunk file.
    #[n(0)]
    File {
        /// Plaintext bytes.
        #[n(0)]
        size_bytes: u64,
        /// Bytes of the file.
        #[n(1)]
        stored_bytes: u64,
        /// The file's seal id, if it is sealed.
        #[n(2)]
        seal: Option<[u8; 16]>,
    },
    /// The parts that `layout` names.
    #[n(1)]
    Composite {
        /// How many parts.
        #[n(0)]
        parts_count: u16,
    },
}

/// One content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContentRecord {
    /// What it is made of.
    #[n(0)]
    pub kind: ContentKind,
    /// How many versions or parts use it.
    #[n(1)]
    pub references: u32,
    /// The copy that was made of it when a version moved that shared it, for the others that move to the same place. It may have gone.
    #[n(2)]
    pub moved_to: Option<ContentId>,
    /// Whether it is in all counters of its place. Rows that an older version wrote are only in those that tiers had then.
    #[n(3)]
    #[cbor(default)]
    pub counted: bool,
}

impl ContentRecord {
    /// A new content, which one version or part uses.
    #[must_use]
    pub fn new(kind: ContentKind) -> Self {
        Self { kind, references: 1, moved_to: None, counted: true }
    }
}

impl Record for ContentRecord {
    const NAME: &'static str = "content";
    const BYTES_MAX: usize = 128;
}

/// Reads a content's row.
///
/// # Errors
/// The view's; `Corrupt` if it does not decode.
pub fn read(view: &dyn View, id: ContentId) -> Result<Option<(Row, ContentRecord)>, IndexError> {
    view.get(Family::Content, id.as_bytes())?
        .map(|row| ContentRecord::from_value(&row.value).map(|record| (row, record)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::check_round_trip;

    #[test]
    fn round_trips() {
        let seal = Some([8; 16]);
        let kind = ContentKind::File { size_bytes: u64::MAX, stored_bytes: u64::MAX, seal };
        check_round_trip(&ContentRecord {
            kind,
            references: u32::MAX,
            moved_to: Some(ContentId::from_bytes([255; 16])),
            counted: true,
        });
        check_round_trip(&ContentRecord::new(ContentKind::Composite { parts_count: 10_000 }));
    }

    /// Format 1, a map of kind and references.
    #[test]
    fn a_row_of_an_older_version_is_not_counted() {
        let old = [1, 0xA2, 0, 0x82, 1, 0x81, 7, 1, 3];
        let kind = ContentKind::Composite { parts_count: 7 };
        let expected = ContentRecord { references: 3, counted: false, ..ContentRecord::new(kind) };
        assert_eq!(ContentRecord::from_value(&old).ok(), Some(expected));
    }
}
