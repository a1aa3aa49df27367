//! Reading: rows of one snapshot.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Family, IndexError, Revision};

/// One row as a point read returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The commit that wrote it; what a guard compares.
    pub revision: Revision,
    /// The value, without the revision.
    pub value: Bytes,
}

/// Keys from `start` (inclusive) to `end` (exclusive; None: the family's end), both without the partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key past the range.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key of the family.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: prefix.to_vec(), end: successor(prefix) }
    }
}

/// The least byte string greater than every one that begins with `prefix`; None if there is none.
#[must_use]
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// One snapshot of one partition.
pub trait View {
    /// The row under `key`.
    ///
    /// # Errors
    /// `Uncached`, which the page passes on; or the engine's failure.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Row>, IndexError>;

    /// A cursor at the first row of `range`.
    ///
    /// # Errors
    /// As [`View::get`].
    fn cursor<'v>(&'v self, family: Family, range: KeyRange) -> Result<Box<dyn Cursor + 'v>, IndexError>;
}

/// Walks rows in byte order, forward only, within its range.
pub trait Cursor {
    /// The row under the cursor: key (without the partition), revision, value. None past the end.
    fn row(&self) -> Option<(&[u8], Revision, &[u8])>;

    /// Moves to the next row.
    ///
    /// # Errors
    /// As [`View::get`].
    fn advance(&mut self) -> Result<(), IndexError>;

    /// Moves forward to the first row at or after `key`, however many rows lie between; stays if it is there already.
    ///
    /// # Errors
    /// As [`View::get`].
    fn seek(&mut self, key: &[u8]) -> Result<(), IndexError>;
}

/// One page of work: pure over the view, restartable, bounded.
pub trait Page: Send {
    /// Runs the page; it may be called again if it returned `Uncached`.
    ///
    /// # Errors
    /// Whatever the view answered.
    fn run(&mut self, view: &dyn View) -> Result<(), IndexError>;
}

/// A page that keeps its closure's result in a slot shared with the caller.
struct Slotted<T, F> {
    page: F,
    slot: Arc<Mutex<Option<T>>>,
}

impl<T: Send, F: FnMut(&dyn View) -> Result<T, IndexError> + Send> Page for Slotted<T, F> {
    fn run(&mut self, view: &dyn View) -> Result<(), IndexError> {
        let result = (self.page)(view)?;
        *self.slot.lock() = Some(result);
        Ok(())
    }
}

/// Has `read` run a page, and gives what it returned.
pub(super) async fn run<T, F, R>(page: F, read: impl FnOnce(Box<dyn Page>) -> R) -> Result<T, IndexError>
where
    F: FnMut(&dyn View) -> Result<T, IndexError> + Send + 'static,
    T: Send + 'static,
    R: Future<Output = Result<(), IndexError>>,
{
    let slot = Arc::new(Mutex::new(None));
    read(Box::new(Slotted { page, slot: slot.clone() })).await?;
    let result = slot.lock().take();
    result.ok_or_else(|| IndexError::Failed("the page was not run".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_ends_the_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xFF"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xFF\xFF"), None);
        assert_eq!(successor(b""), None);
    }
}
