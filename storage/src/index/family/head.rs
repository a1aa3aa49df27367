//! `current` and `hidden`: the newest version of each key. A key that has any version has exactly one row in one of the
//! two: in `current` if the newest version is an object, in `hidden` if it is a delete marker. Every mutation of the
//! key guards both.
//!
//! ```text
//! key    object key
//! value  Head
//! ```

use minicbor::{Decode, Encode};

use super::version::{Version, VersionSummary};
use crate::id::VersionId;
use crate::index::{Family, IndexError, Revision, View};
use crate::object::{ObjectKey, ObjectSummary};
use crate::record::{Record, decode_as};

/// The newest version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// The version.
    #[n(0)]
    pub version: Version,
    /// The `null` version, if the key has one and it is not this one.
    #[n(1)]
    pub older_null: Option<VersionId>,
}

impl Record for Head {
    const NAME: &'static str = "head";
    const BYTES_MAX: usize = Version::BYTES_MAX + 64;
}

impl Head {
    /// The family that holds it.
    #[must_use]
    pub fn family(&self) -> Family {
        match self.version {
            Version::Object(_) => Family::Current,
            Version::Marker(_) => Family::Hidden,
        }
    }
}

/// A key's head rows as one view saw them: what a mutation decides on, and what its guards name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenHead {
    /// The head, if the key has any version.
    pub head: Option<Head>,
    /// The revision of the `current` row.
    pub current: Option<Revision>,
    /// The revision of the `hidden` row.
    pub hidden: Option<Revision>,
}

impl SeenHead {
    /// Reads both rows.
    ///
    /// # Errors
    /// The view's; `Corrupt` if both rows exist.
    pub fn read(view: &dyn View, key: &ObjectKey) -> Result<Self, IndexError> {
        let current = view.get(Family::Current, key.as_bytes())?;
        let hidden = view.get(Family::Hidden, key.as_bytes())?;
        let head = match (&current, &hidden) {
            (Some(_), Some(_)) => return Err(IndexError::Corrupt("a key has two heads".to_owned())),
            (Some(row), None) | (None, Some(row)) => Some(Head::from_value(&row.value)?),
            (None, None) => None,
        };
        Ok(Self { head, current: current.map(|row| row.revision), hidden: hidden.map(|row| row.revision) })
    }
}

/// A head as listings need it.
#[derive(Decode)]
#[cbor(map)]
struct ListedHead {
    #[n(0)]
    version: VersionSummary,
    #[n(1)]
    older_null: Option<VersionId>,
}

/// What a listing of versions returns of a head: its version, and the `null` version below it.
///
/// # Errors
/// `Corrupt` if it does not decode.
pub fn version_summary(value: &[u8]) -> Result<(VersionSummary, Option<VersionId>), IndexError> {
    let ListedHead { version, older_null } = decode_as(Head::NAME, Head::FORMAT, value)?;
    Ok((version, older_null))
}

/// What a listing returns of a `current` row.
///
/// # Errors
/// `Corrupt` if it does not decode, or is a delete marker.
pub fn summary(value: &[u8]) -> Result<ObjectSummary, IndexError> {
    match version_summary(value)?.0 {
        VersionSummary::Object(object) => Ok(object),
        VersionSummary::Marker(_) => Err(IndexError::Corrupt("a delete marker is where objects are".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::index::family::version::tests::sample_object;
    use crate::record::check_round_trip;

    #[test]
    fn round_trips() {
        let older_null = Some(VersionId::from_bytes([9; 16]));
        check_round_trip(&Head { version: Version::Object(sample_object()), older_null });
    }

    #[test]
    fn a_summary_has_what_the_whole_record_has() {
        let object = sample_object();
        let head = Head { version: Version::Object(object.clone()), older_null: None };
        let summary = summary(&head.to_value().unwrap()).unwrap();
        assert_eq!(summary.size_bytes, object.size_bytes);
        assert_eq!(summary.etag, object.etag);
        assert_eq!(summary.owner, object.owner);
        assert_eq!(summary.created, object.created);
        assert_eq!(summary.checksum, object.checksum);
        assert_eq!(summary.storage_class, object.storage_class);
    }
}
