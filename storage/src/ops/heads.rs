//! The keys of a bucket in their order: the two head families, merged.

use crate::id::VersionId;
use crate::index::family::head;
use crate::index::family::version::VersionSummary;
use crate::index::{Cursor, Family, IndexError, KeyRange, View};
use crate::object::ObjectKey;

/// A cursor over the heads of all keys, be their newest version an object or a delete marker.
pub(super) struct Heads<'v> {
    current: Box<dyn Cursor + 'v>,
    hidden: Box<dyn Cursor + 'v>,
}

/// The head of one key.
pub(super) struct ListedHead {
    pub(super) key: ObjectKey,
    pub(super) version: VersionSummary,
    pub(super) older_null: Option<VersionId>,
}

impl<'v> Heads<'v> {
    /// The heads of the keys in `range`.
    pub(super) fn new(view: &'v dyn View, range: KeyRange) -> Result<Self, IndexError> {
        Ok(Self { current: view.cursor(Family::Current, range.clone())?, hidden: view.cursor(Family::Hidden, range)? })
    }

    /// The head at which the cursor stands; None past the end.
    pub(super) fn head(&self) -> Result<Option<ListedHead>, IndexError> {
        let Some(family) = self.family()? else { return Ok(None) };
        let cursor = if family == Family::Current { &self.current } else { &self.hidden };
        let Some((key, _, value)) = cursor.row() else { return Ok(None) };
        let key = std::str::from_utf8(key).map_err(|_| IndexError::Corrupt("a key is not UTF-8".to_owned()))?;
        let key = ObjectKey::new(key).ok_or_else(|| IndexError::Corrupt("a key has no valid length".to_owned()))?;
        let (version, older_null) = head::version_summary(value)?;
        Ok(Some(ListedHead { key, version, older_null }))
    }

    /// Moves to the next key.
    pub(super) fn advance(&mut self) -> Result<(), IndexError> {
        match self.family()? {
            Some(Family::Current) => self.current.advance(),
            Some(_) => self.hidden.advance(),
            None => Ok(()),
        }
    }

    /// Moves forward to the first key at or after `key`.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), IndexError> {
        self.current.seek(key)?;
        self.hidden.seek(key)
    }

    /// The family that has the next key.
    fn family(&self) -> Result<Option<Family>, IndexError> {
        Ok(match (self.current.row(), self.hidden.row()) {
            (None, None) => None,
            (Some(_), None) => Some(Family::Current),
            (None, Some(_)) => Some(Family::Hidden),
            (Some((current, ..)), Some((hidden, ..))) if current == hidden => {
                return Err(IndexError::Corrupt("a key has two heads".to_owned()));
            }
            (Some((current, ..)), Some((hidden, ..))) if current < hidden => Some(Family::Current),
            (Some(_), Some(_)) => Some(Family::Hidden),
        })
    }
}
