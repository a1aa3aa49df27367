//! `usage`: exact counters of what a bucket holds, changed by the very commits that change it.
//!
//! ```text
//! key    storage class (u8) | counter (u8)    what it holds, and what left it early
//!        80 + place (u8) | counter (u8)      files in a place
//! value  i64, big endian, without a format byte
//! ```

use crate::blob::FIRST_TIER_PLACE;
use crate::id::{ContentId, Place};
use crate::index::family::content::{ContentKind, ContentRecord};
use crate::index::{Batch, Family, IndexError, View};
use crate::object::StorageClass;

/// What the keys of places begin with, beside the place.
const PLACES: u8 = 0x80;

/// What is counted, per storage class. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Keys whose newest version is an object of the class.
    Objects = 0,
    /// Versions that are objects of the class.
    Versions = 1,
    /// Their plaintext bytes.
    Bytes = 2,
}

impl Counter {
    /// Every counter.
    pub const ALL: [Self; 3] = [Self::Objects, Self::Versions, Self::Bytes];
}

/// What is counted of the files in a place: of a class in the data directory, or a tier. Files in the data directory that a version
/// before these counters wrote are in none. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PlaceCounter {
    /// Files that the index names.
    Files = 0,
    /// Their bytes, as they are stored.
    Bytes = 1,
    /// By how many bytes they are shorter than what they hold: what compression saved. What an older version wrote saved nothing.
    Saved = 2,
}

impl PlaceCounter {
    /// Every counter.
    pub const ALL: [Self; 3] = [Self::Files, Self::Bytes, Self::Saved];
}

/// What is counted of versions that leave their class, or go for good, before the class's minimum of days is over. It only
/// ever grows, and is not what a bucket holds. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Early {
    /// The versions.
    Versions = 3,
    /// The days that were missing, times their sizes in MiB, begun ones counted whole: what S3 would charge for.
    MibDays = 4,
}

/// The row's key.
#[must_use]
pub fn place_key(place: Place, counter: PlaceCounter) -> [u8; 2] {
    [PLACES | place.number(), counter as u8]
}

/// What a content's row adds to the counters of its place, if it is a file.
pub fn of_place(id: ContentId, record: &ContentRecord) -> impl Iterator<Item = ([u8; 2], i64)> {
    let is_in_tier = id.place().number() >= FIRST_TIER_PLACE;
    let counts = match record.kind {
        ContentKind::File { size_bytes, stored_bytes, .. } if is_in_tier || record.counted => {
            let saved_bytes = if record.counted { size_bytes.saturating_sub(stored_bytes) } else { 0 };
            [(PlaceCounter::Files, 1), (PlaceCounter::Bytes, stored_bytes), (PlaceCounter::Saved, saved_bytes)]
        }
        ContentKind::File { .. } | ContentKind::Composite { .. } => PlaceCounter::ALL.map(|counter| (counter, 0)),
    };
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts.map(move |(counter, count)| (place_key(id.place(), counter), i64::try_from(count).unwrap_or(i64::MAX)))
}

/// Counts a content's row that comes (1) or goes (-1).
pub fn count_content(batch: &mut Batch, id: ContentId, record: &ContentRecord, sign: i64) {
    for (key, delta) in of_place(id, record) {
        batch.add(Family::Usage, key, sign * delta);
    }
}

/// Reads a place's counter; 0 if it was never changed.
///
/// # Errors
/// As [`read`].
pub fn read_place(view: &dyn View, place: Place, counter: PlaceCounter) -> Result<i64, IndexError> {
    read_key(view, place_key(place, counter))
}

/// The row's key.
#[must_use]
pub fn early_key(class: StorageClass, early: Early) -> [u8; 2] {
    [class.code(), early as u8]
}

/// Reads a counter of what left early; 0 if nothing did.
///
/// # Errors
/// As [`read`].
pub fn read_early(view: &dyn View, class: StorageClass, early: Early) -> Result<i64, IndexError> {
    read_key(view, early_key(class, early))
}

/// The row's key.
#[must_use]
pub fn key(class: StorageClass, counter: Counter) -> [u8; 2] {
    [class.code(), counter as u8]
}

/// Reads a counter; 0 if it was never changed.
///
/// # Errors
/// The view's; `Corrupt` if the value is not 8 bytes.
pub fn read(view: &dyn View, class: StorageClass, counter: Counter) -> Result<i64, IndexError> {
    read_key(view, key(class, counter))
}

fn read_key(view: &dyn View, key: [u8; 2]) -> Result<i64, IndexError> {
    match view.get(Family::Usage, &key)? {
        None => Ok(0),
        Some(row) => match row.value.as_ref().try_into() {
            Ok(bytes) => Ok(i64::from_be_bytes(bytes)),
            Err(_) => Err(IndexError::Corrupt("a usage counter has not eight bytes".to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What a file counts: (files, bytes, saved).
    fn counts(place: u8, counted: bool, (size_bytes, stored_bytes): (u64, u64)) -> [i64; 3] {
        let mut bytes = [1; 16];
        bytes[0] = place << 2;
        let id = ContentId::from_bytes(bytes);
        let kind = ContentKind::File { size_bytes, stored_bytes, seal: None };
        let counts: Vec<_> = of_place(id, &ContentRecord { counted, ..ContentRecord::new(kind) }).collect();
        PlaceCounter::ALL.map(|counter| {
            let key = place_key(Place::new(place).unwrap(), counter);
            counts.iter().find(|(of, _)| *of == key).map_or(0, |(_, count)| *count)
        })
    }

    #[test]
    fn a_file_counts_in_its_place_with_what_compression_saved() {
        for place in [0, 3, FIRST_TIER_PLACE] {
            assert_eq!(counts(place, true, (1_000, 300)), [1, 300, 700]);
            assert_eq!(counts(place, true, (1_000, 5_000)), [1, 5_000, 0], "one that is not compressed");
        }
    }

    #[test]
    fn what_an_older_version_wrote_counts_as_it_did() {
        assert_eq!(counts(3, false, (1_000, 300)), [0, 0, 0]);
        assert_eq!(counts(FIRST_TIER_PLACE, false, (1_000, 300)), [1, 300, 0]);
    }

    #[test]
    fn a_composite_counts_nothing() {
        let record = ContentRecord::new(ContentKind::Composite { parts_count: 2 });
        assert_eq!(of_place(ContentId::from_bytes([0xFF; 16]), &record).count(), 0);
    }
}
