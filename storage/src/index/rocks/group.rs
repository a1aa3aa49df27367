//! One group of batches: their guards verified in order, against the database plus what the earlier batches of the
//! group change, and their changes merged so that each row is written once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use rocksdb::{ReadOptions, WriteBatch};

use super::engine::{Engine, physical_key, split_value};
use crate::index::{
    Batch, Family, IndexError, Outcome, Partition, Refusal, Revision, counter_from_bytes, counter_to_bytes,
};

/// The batches admitted so far, as the state in which they leave the rows they name.
pub(super) struct Group<'e> {
    engine: &'e Engine,
    read_options: ReadOptions,
    rows: HashMap<RowKey, RowState>,
    /// The database's sequence before the group.
    base: u64,
    /// Admitted batches that write something.
    writing_batches: usize,
}

type RowKey = (Family, Vec<u8>);

/// A row as the batches admitted so far leave it.
enum RowState {
    /// As in the database. The count is None if the row is not a counter, 0 if it is absent.
    Unchanged {
        revision: Option<Revision>,
        count: Option<i64>,
    },
    Put {
        revision: Revision,
        value: Bytes,
    },
    Counted {
        revision: Revision,
        count: i64,
    },
    Deleted,
}

impl RowState {
    /// None: the row is absent.
    fn revision(&self) -> Option<Revision> {
        match self {
            Self::Unchanged { revision, .. } => *revision,
            Self::Put { revision, .. } | Self::Counted { revision, .. } => Some(*revision),
            Self::Deleted => None,
        }
    }

    /// What an add starts from; None if the row is not a counter.
    fn count(&self) -> Option<i64> {
        match self {
            Self::Unchanged { count, .. } => *count,
            Self::Put { value, .. } => counter_from_bytes(value),
            Self::Counted { count, .. } => Some(*count),
            Self::Deleted => Some(0),
        }
    }
}

impl<'e> Group<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        Self {
            engine,
            read_options: ReadOptions::default(),
            rows: HashMap::new(),
            base: engine.sequence(),
            writing_batches: 0,
        }
    }

    /// Verifies the batch's guards and merges its changes. Returns what its outcome will be once the group is written.
    pub(super) fn admit(&mut self, partition: Partition, batch: Batch) -> Outcome {
        self.try_admit(partition, batch).unwrap_or_else(|error| {
            tracing::error!(%error, "a batch was refused: a row that it guards or adds to cannot be read");
            Outcome::Refused(Refusal::Unreadable)
        })
    }

    fn try_admit(&mut self, partition: Partition, batch: Batch) -> Result<Outcome, IndexError> {
        let (guards, writes, adds) = batch.into_parts();
        for guard in guards {
            let row = self.row((guard.family, physical_key(partition, &guard.key)))?;
            if row.revision() != guard.revision {
                return Ok(Outcome::Conflict);
            }
        }
        for add in &adds {
            let row = self.row((add.family, physical_key(partition, &add.key)))?;
            if row.count().is_none() {
                return Err(IndexError::Corrupt(format!("a row of {} is not a counter", add.family.name())));
            }
        }
        // Every row that the batch depends on is known now: it joins whole.
        if !writes.is_empty() || !adds.is_empty() {
            self.writing_batches += 1;
        }
        let revision = Revision(self.base + self.writing_batches as u64);
        for add in adds {
            let row = self.row((add.family, physical_key(partition, &add.key)))?;
            let count = row.count().unwrap_or_default().wrapping_add(add.delta);
            *row = RowState::Counted { revision, count };
        }
        for write in writes {
            let state = match write.value {
                Some(value) => RowState::Put { revision, value },
                None => RowState::Deleted,
            };
            self.rows.insert((write.family, physical_key(partition, &write.key)), state);
        }
        Ok(Outcome::Committed(revision))
    }

    /// The row's state, read from the database when the group meets it for the first time.
    fn row(&mut self, key: RowKey) -> Result<&mut RowState, IndexError> {
        match self.rows.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let (family, physical_key) = entry.key();
                let found = self.engine.get(*family, physical_key, &self.read_options)?;
                let (revision, count) = match &found {
                    Some(physical_value) => {
                        let (revision, value) = split_value(physical_value)?;
                        (Some(revision), counter_from_bytes(value))
                    }
                    None => (None, Some(0)),
                };
                Ok(entry.insert(RowState::Unchanged { revision, count }))
            }
        }
    }

    /// The one write of the group; empty if no batch writes anything.
    pub(super) fn to_write(&self) -> Result<WriteBatch, IndexError> {
        let mut write = WriteBatch::default();
        let mut physical_value = Vec::new();
        for (key, row) in &self.rows {
            self.append(&mut write, key, row, &mut physical_value)?;
        }
        // Merging may leave fewer rows than batches, but the sequence must grow past every revision that was given
        // out: otherwise the next group would give one of them out again, and a guard take one row for another. So a
        // row is written again as often as it takes.
        let changed = self.rows.iter().find(|(_, row)| !matches!(row, RowState::Unchanged { .. }));
        if let Some((key, row)) = changed {
            while write.len() < self.writing_batches {
                self.append(&mut write, key, row, &mut physical_value)?;
            }
        }
        Ok(write)
    }

    fn append(
        &self,
        write: &mut WriteBatch,
        (family, physical_key): &RowKey,
        row: &RowState,
        physical_value: &mut Vec<u8>,
    ) -> Result<(), IndexError> {
        let family = self.engine.family(*family)?;
        let count_bytes;
        let (revision, value) = match row {
            RowState::Unchanged { .. } => return Ok(()),
            RowState::Deleted => {
                write.delete_cf(family, physical_key);
                return Ok(());
            }
            RowState::Put { revision, value } => (revision, &value[..]),
            RowState::Counted { revision, count } => {
                count_bytes = counter_to_bytes(*count);
                (revision, &count_bytes[..])
            }
        };
        physical_value.clear();
        physical_value.extend_from_slice(&revision.0.to_be_bytes());
        physical_value.extend_from_slice(value);
        write.put_cf(family, physical_key, &physical_value);
        Ok(())
    }
}
