//! The open database: its families, the layout of a physical key and value, and what its errors mean.
//!
//! ```text
//! physical key     partition (16) | key
//! physical value   revision (u64) | value
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rocksdb::{
    ColumnFamily, DB, DBPinnableSlice, ErrorKind, FlushOptions, ReadOptions, WriteBatch, WriteOptions, properties,
};

use super::options::{self, RocksOptions};
use crate::index::{Family, IndexError, Partition, Revision};

/// Bytes of the partition at the beginning of a physical key.
const PARTITION_BYTES: usize = 16;

/// Deleted rows in a family's memtable from which on flushing it is worth a file. Fewer cost a scan a few milliseconds.
const FLUSHED_TOMBSTONES_MIN: u64 = 2_000;

/// `Engine::strewn` has a bit for each family.
const _: () = assert!(Family::ALL.len() <= u32::BITS as usize);

/// An open database.
pub(super) struct Engine {
    db: DB,
    write_options: WriteOptions,
    /// A bit for each family in which a cursor met a long stretch of deleted rows.
    strewn: AtomicU32,
    /// The newest commit to each partition since the start: a small entry for each bucket and account that is written to.
    changes: Mutex<HashMap<Partition, Revision>>,
}

/// Why a write did not succeed.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The engine stalls: nothing was written and a later write may succeed.
    Stalled,
    /// Anything else: what was written is unknown.
    Failed(String),
}

impl Engine {
    fn new(db: DB) -> Self {
        Self { db, write_options: options::write_options(), strewn: AtomicU32::new(0), changes: Mutex::default() }
    }

    pub(super) fn open(options: &RocksOptions) -> Result<Self, IndexError> {
        let setup = options::Setup::new(options)?;
        let db = DB::open_cf_descriptors(setup.database(), &options.path, setup.families(&Family::ALL)?)?;
        Ok(Self::new(db))
    }

    /// Opens what exists without changing a byte of it.
    pub(super) fn open_read_only(options: &RocksOptions) -> Result<Self, IndexError> {
        let setup = options::Setup::new(options)?;
        // A first start that was cut short has left only some of the families.
        let present = DB::list_cf(setup.database(), &options.path)?;
        let families: Vec<Family> =
            Family::ALL.into_iter().filter(|family| present.iter().any(|name| name == family.name())).collect();
        let logs_may_exist = false;
        let db = DB::open_cf_descriptors_read_only(
            setup.database(),
            &options.path,
            setup.families(&families)?,
            logs_may_exist,
        )?;
        Ok(Self::new(db))
    }

    /// Tells of commits that can be read now.
    pub(super) fn note_changes(&self, commits: impl Iterator<Item = (Partition, Revision)>) {
        self.changes.lock().extend(commits);
    }

    pub(super) fn last_change(&self, partition: Partition) -> Option<Revision> {
        self.changes.lock().get(&partition).copied()
    }

    pub(super) fn family(&self, family: Family) -> Result<&ColumnFamily, IndexError> {
        self.db.cf_handle(family.name()).ok_or_else(|| IndexError::Corrupt(format!("family {} is gone", family.name())))
    }

    pub(super) fn database(&self) -> &DB {
        &self.db
    }

    /// The newest sequence number: each row ever written took one.
    pub(super) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Moves what all memtables hold into files and waits for it, so that the next open has nothing to replay.
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        let families = Family::ALL.iter().map(|&family| self.family(family)).collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }

    /// A cursor met a long stretch of deleted rows: [`Self::flush_tombstones`] will look at the family.
    pub(super) fn note_tombstones(&self, family: Family) {
        self.strewn.fetch_or(1 << family as u32, Ordering::Relaxed);
    }

    /// Has the memtables flushed in which cursors met many deleted rows since the last call. No scan can skip deleted rows
    /// while they are in a memtable, and nothing else would move them: the engine flushes a memtable only when it is full,
    /// and looks at that only when it is written to. Once they are in a file, compaction is soon rid of them. Blocks
    /// briefly; does not wait for the flush.
    pub(super) fn flush_tombstones(&self) -> Result<(), IndexError> {
        let strewn = self.strewn.swap(0, Ordering::Relaxed);
        let mut options = FlushOptions::default();
        options.set_wait(false);
        for family in Family::ALL.into_iter().filter(|&family| strewn & (1 << family as u32) != 0) {
            let handle = self.family(family)?;
            let tombstones = self.db.property_int_value_cf(handle, properties::NUM_DELETES_ACTIVE_MEM_TABLE)?;
            if tombstones.is_some_and(|count| count >= FLUSHED_TOMBSTONES_MIN) {
                self.db.flush_cf_opt(handle, &options)?;
            }
        }
        Ok(())
    }

    pub(super) fn get(
        &self,
        family: Family,
        physical_key: &[u8],
        read_options: &ReadOptions,
    ) -> Result<Option<DBPinnableSlice<'_>>, IndexError> {
        Ok(self.db.get_pinned_cf_opt(self.family(family)?, physical_key, read_options)?)
    }

    /// Writes and syncs.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), WriteError> {
        self.db.write_opt(batch, &self.write_options).map_err(|error| {
            // A write that stops behind a background error is "incomplete" as well, but waiting would not help it.
            if error.kind() == ErrorKind::Incomplete && error.as_ref().ends_with("Write stall") {
                WriteError::Stalled
            } else {
                WriteError::Failed(error.into_string())
            }
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.db.path()).finish_non_exhaustive()
    }
}

impl From<rocksdb::Error> for IndexError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            ErrorKind::Incomplete => Self::Uncached,
            ErrorKind::Corruption => Self::Corrupt(error.into_string()),
            _ => Self::Failed(error.into_string()),
        }
    }
}

/// Whether a cursor gave up because one move met more deleted and overwritten rows than it may pass.
pub(super) fn skipped_too_many(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::Incomplete && error.as_ref().contains("Too many internal keys skipped")
}

pub(super) fn physical_key(partition: Partition, key: &[u8]) -> Vec<u8> {
    [&partition.0, key].concat()
}

/// The key without its partition.
pub(super) fn split_key(physical: &[u8]) -> &[u8] {
    physical.get(PARTITION_BYTES..).unwrap_or_default()
}

pub(super) fn split_value(physical: &[u8]) -> Result<(Revision, &[u8]), IndexError> {
    let (revision, value) = physical
        .split_first_chunk()
        .ok_or_else(|| IndexError::Corrupt("a row is shorter than its revision".to_owned()))?;
    Ok((Revision(u64::from_be_bytes(*revision)), value))
}
