//! `usage`: exact counters of what a bucket holds, changed by the very commits that change it.
//!
//! ```text
//! key    storage class (u8) | counter (u8)
//! value  i64, big endian, without a format byte
//! ```

use crate::index::{Family, IndexError, View};
use crate::object::StorageClass;

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
    match view.get(Family::Usage, &key(class, counter))? {
        None => Ok(0),
        Some(row) => match row.value.as_ref().try_into() {
            Ok(bytes) => Ok(i64::from_be_bytes(bytes)),
            Err(_) => Err(IndexError::Corrupt("a usage counter has not eight bytes".to_owned())),
        },
    }
}
