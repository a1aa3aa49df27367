//! The open database: its families, the layout of a physical key and value, and what its errors mean.
//!
//! ```text
//! physical key     partition (16) | key
//! physical value   revision (u64) | value
//! ```

use std::fmt;

use rocksdb::{ColumnFamily, DB, DBPinnableSlice, ErrorKind, ReadOptions, WriteBatch, WriteOptions};

use super::options::{self, RocksOptions};
use crate::index::{Family, IndexError, Partition, Revision};

/// Bytes of the partition at the beginning of a physical key.
const PARTITION_BYTES: usize = 16;

/// An open database.
pub(super) struct Engine {
    db: DB,
    write_options: WriteOptions,
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
    pub(super) fn open(options: &RocksOptions) -> Result<Self, IndexError> {
        let setup = options::Setup::new(options)?;
        let db = DB::open_cf_descriptors(setup.database(), &options.path, setup.families(&Family::ALL)?)?;
        Ok(Self { db, write_options: options::write_options() })
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
        Ok(Self { db, write_options: options::write_options() })
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
