//! The keys of a bucket in their order: the two head families, merged.

use std::cmp::Ordering;

use crate::id::VersionId;
use crate::index::family::head;
use crate::index::family::version::VersionSummary;
use crate::index::{Cursor, Family, IndexError, KeyRange, Revision, View};
use crate::object::ObjectKey;

/// A cursor over the heads of all keys, be their newest version an object or a delete marker.
pub(super) struct Heads<'v> {
    current: Box<dyn Cursor + 'v>,
    hidden: Box<dyn Cursor + 'v>,
    /// The family that has the next key; None past the end.
    at: Option<Family>,
}

/// The head of one key as it is kept. Most that a walk passes are of no interest, so nothing of it is copied.
#[derive(Clone, Copy)]
pub(super) struct HeadRow<'r> {
    pub(super) key: &'r str,
    pub(super) revision: Revision,
    pub(super) value: &'r [u8],
}

impl HeadRow<'_> {
    pub(super) fn object_key(&self) -> Result<ObjectKey, IndexError> {
        ObjectKey::new(self.key).ok_or_else(|| IndexError::Corrupt("a key has no valid length".to_owned()))
    }
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
        let current = view.cursor(Family::Current, range.clone())?;
        let mut heads = Self { current, hidden: view.cursor(Family::Hidden, range)?, at: None };
        heads.merge()?;
        Ok(heads)
    }

    /// The row at which the cursor stands; None past the end.
    pub(super) fn row(&self) -> Result<Option<HeadRow<'_>>, IndexError> {
        let row = match self.at {
            None => None,
            Some(Family::Current) => self.current.row(),
            Some(_) => self.hidden.row(),
        };
        let Some((key, revision, value)) = row else { return Ok(None) };
        let key = std::str::from_utf8(key).map_err(|_| IndexError::Corrupt("a key is not UTF-8".to_owned()))?;
        Ok(Some(HeadRow { key, revision, value }))
    }

    /// The head at which the cursor stands; None past the end.
    pub(super) fn head(&self) -> Result<Option<ListedHead>, IndexError> {
        let Some(row) = self.row()? else { return Ok(None) };
        let (version, older_null) = head::version_summary(row.value)?;
        Ok(Some(ListedHead { key: row.object_key()?, version, older_null }))
    }

    /// Moves to the next key.
    pub(super) fn advance(&mut self) -> Result<(), IndexError> {
        match self.at {
            None => return Ok(()),
            Some(Family::Current) => self.current.advance()?,
            Some(_) => self.hidden.advance()?,
        }
        self.merge()
    }

    /// Moves forward to the first key at or after `key`.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<(), IndexError> {
        self.current.seek(key)?;
        self.hidden.seek(key)?;
        self.merge()
    }

    /// Finds the family that has the next key.
    fn merge(&mut self) -> Result<(), IndexError> {
        self.at = match (self.current.row(), self.hidden.row()) {
            (None, None) => None,
            (Some(_), None) => Some(Family::Current),
            (None, Some(_)) => Some(Family::Hidden),
            (Some((current, ..)), Some((hidden, ..))) => match current.cmp(hidden) {
                Ordering::Less => Some(Family::Current),
                Ordering::Greater => Some(Family::Hidden),
                Ordering::Equal => return Err(IndexError::Corrupt("a key has two heads".to_owned())),
            },
        };
        Ok(())
    }
}
