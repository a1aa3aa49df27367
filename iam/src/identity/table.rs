//! One kind of identities in memory: ordered by name, shared between snapshots, and aware of what was changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::record::{Record, RecordError};

/// A row to put (Some) or to delete (None).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The row's key in its partition.
    pub key: Vec<u8>,
    /// The new value.
    pub value: Option<Vec<u8>>,
}

/// Records by their row's name. `Derived` is made of a record, and of what else the snapshot holds, when it is first asked
/// for; so it lives no longer than the snapshot.
#[derive(Debug)]
pub struct Table<R, Derived = ()> {
    rows: BTreeMap<String, Slot<R, Derived>>,
    /// Rows by the ids of their records, made when first asked for.
    by_id: OnceLock<HashMap<String, String>>,
    changed: BTreeSet<String>,
}

#[derive(Debug)]
struct Slot<R, Derived> {
    record: Arc<R>,
    derived: OnceLock<Arc<Derived>>,
}

impl<R, Derived> Slot<R, Derived> {
    fn new(record: Arc<R>) -> Self {
        Self { record, derived: OnceLock::new() }
    }
}

impl<R, Derived> Clone for Slot<R, Derived> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.record))
    }
}

impl<R, Derived> Default for Table<R, Derived> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), by_id: OnceLock::new(), changed: BTreeSet::new() }
    }
}

impl<R, Derived> Clone for Table<R, Derived> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), by_id: OnceLock::new(), changed: self.changed.clone() }
    }
}

impl<R: Record, Derived> Table<R, Derived> {
    /// The record of this row's name.
    #[must_use]
    pub fn get(&self, row_name: &str) -> Option<&R> {
        self.rows.get(row_name).map(|slot| &*slot.record)
    }

    /// The record of this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&R> {
        let by_id = self.by_id.get_or_init(|| {
            self.rows.iter().map(|(row_name, slot)| (slot.record.id().to_owned(), row_name.clone())).collect()
        });
        self.get(by_id.get(id)?)
    }

    /// What is derived from the record, made by `make` at most once.
    pub fn derived(&self, row_name: &str, make: impl FnOnce(&R) -> Derived) -> Option<&Arc<Derived>> {
        let slot = self.rows.get(row_name)?;
        Some(slot.derived.get_or_init(|| Arc::new(make(&slot.record))))
    }

    /// All records, in the order of their rows' names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values().map(|slot| &*slot.record)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The record, to be changed. Its row's name must stay.
    pub fn get_mut(&mut self, row_name: &str) -> Option<&mut R> {
        let slot = self.rows.get_mut(row_name)?;
        self.changed.insert(row_name.to_owned());
        slot.derived = OnceLock::new();
        Some(Arc::make_mut(&mut slot.record))
    }

    /// Puts a record in place of whatever has its row's name.
    pub fn put(&mut self, record: R) {
        let name = record.row_name();
        self.changed.insert(name.clone());
        self.by_id = OnceLock::new();
        self.rows.insert(name, Slot::new(Arc::new(record)));
    }

    /// Takes a record out.
    pub fn remove(&mut self, row_name: &str) -> Option<R> {
        let slot = self.rows.remove(row_name)?;
        self.by_id = OnceLock::new();
        self.changed.insert(row_name.to_owned());
        Some(Arc::unwrap_or_clone(slot.record))
    }

    /// Adds a row that was read, which is no change.
    pub(super) fn load(&mut self, value: &[u8]) -> Result<(), RecordError> {
        let record = R::from_value(value)?;
        self.rows.insert(record.row_name(), Slot::new(Arc::new(record)));
        Ok(())
    }

    /// What was changed since the last time, as rows.
    pub(super) fn take_changes(&mut self, into: &mut Vec<Change>) -> Result<(), RecordError> {
        for name in std::mem::take(&mut self.changed) {
            let value = self.get(&name).map(Record::to_value).transpose()?;
            into.push(Change { key: R::KIND.key(&name), value });
        }
        Ok(())
    }
}
