//! Pages over a snapshot of the database.
//!
//! A page runs first on the calling thread and sees only memory (memtables, block and blob cache), so that it cannot
//! wait for the disk there; a block that is missing, or a long stretch of deleted rows, ends it as `Uncached`. The engine
//! hears of such a stretch. An iterator that stops has either reached its end or failed: every move asks which.

use bytes::Bytes;
use rocksdb::{DBRawIterator, ReadOptions, ReadTier, Snapshot};

use super::engine::{self, Engine, physical_key, split_key, split_value};
use crate::index::{Cursor, Family, IndexError, KeyRange, Page, Partition, Revision, Row, View};

/// Deleted and overwritten rows that one move of a cursor passes on the calling thread.
const SKIPPED_ROWS_MAX: u64 = 2_000;

/// How far a page may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Only what is in memory.
    Caches,
    /// Everything; fills the caches.
    Disk,
    /// Everything that is not behind a long stretch of deleted rows; leaves the caches as they are.
    Far,
}

/// Runs `page` against a snapshot taken now.
pub(super) fn run_page(
    engine: &Engine,
    partition: Partition,
    tier: Tier,
    page: &mut dyn Page,
) -> Result<(), IndexError> {
    let snapshot = engine.database().snapshot();
    let mut gets = read_options(tier);
    gets.set_snapshot(&snapshot);
    page.run(&RocksView { engine, snapshot, gets, partition, tier })
}

/// The partitions that have rows of a family.
pub(super) fn partitions(engine: &Engine, family: Family) -> Result<Vec<Partition>, IndexError> {
    let mut rows = engine.database().raw_iterator_cf_opt(engine.family(family)?, read_options(Tier::Disk));
    let mut partitions = Vec::new();
    rows.seek_to_first();
    while let Some((bytes, _)) = rows.key().and_then(<[u8]>::split_first_chunk::<16>) {
        let partition = Partition(*bytes);
        partitions.push(partition);
        let Some(next) = KeyRange::prefix(&partition.0).end else { break };
        rows.seek(next);
    }
    rows.status()?;
    Ok(partitions)
}

fn read_options(tier: Tier) -> ReadOptions {
    let mut options = ReadOptions::default();
    match tier {
        Tier::Caches => {
            options.set_read_tier(ReadTier::BlockCache);
            options.set_max_skippable_internal_keys(SKIPPED_ROWS_MAX);
        }
        Tier::Disk => options.set_read_tier(ReadTier::All),
        Tier::Far => {
            options.set_read_tier(ReadTier::All);
            options.fill_cache(false);
            options.set_max_skippable_internal_keys(SKIPPED_ROWS_MAX);
        }
    }
    options
}

struct RocksView<'e> {
    engine: &'e Engine,
    snapshot: Snapshot<'e>,
    /// Names `snapshot`; shared by the point reads of the page.
    gets: ReadOptions,
    partition: Partition,
    tier: Tier,
}

impl View for RocksView<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Row>, IndexError> {
        let Some(physical) = self.engine.get(family, &physical_key(self.partition, key), &self.gets)? else {
            return Ok(None);
        };
        let (revision, value) = split_value(&physical)?;
        Ok(Some(Row { revision, value: Bytes::copy_from_slice(value) }))
    }

    fn cursor<'v>(&'v self, family: Family, range: KeyRange) -> Result<Box<dyn Cursor + 'v>, IndexError> {
        let start = physical_key(self.partition, &range.start);
        let end = match range.end {
            Some(end) => Some(physical_key(self.partition, &end)),
            None => KeyRange::prefix(&self.partition.0).end,
        };
        let mut options = read_options(self.tier);
        if let Some(end) = end {
            // An empty range has no meaning of its own to the engine unless its bounds are in order.
            options.set_iterate_upper_bound(end.max(start.clone()));
        }
        let rows = self.snapshot.raw_iterator_cf_opt(self.engine.family(family)?, options);
        let mut cursor = RocksCursor { engine: self.engine, family, rows, partition: self.partition, revision: None };
        cursor.rows.seek(&start);
        cursor.settle()?;
        Ok(Box::new(cursor))
    }
}

struct RocksCursor<'v> {
    engine: &'v Engine,
    family: Family,
    rows: DBRawIterator<'v>,
    partition: Partition,
    /// Of the row under the cursor, whose value is long enough to hold it; None past the end.
    revision: Option<Revision>,
}

impl RocksCursor<'_> {
    /// Looks at where a move has led.
    fn settle(&mut self) -> Result<(), IndexError> {
        self.revision = match self.rows.value() {
            Some(physical) => Some(split_value(physical)?.0),
            None => {
                let status = self.rows.status();
                if status.as_ref().is_err_and(engine::skipped_too_many) {
                    self.engine.note_tombstones(self.family);
                }
                status?;
                None
            }
        };
        Ok(())
    }
}

impl Cursor for RocksCursor<'_> {
    fn row(&self) -> Option<(&[u8], Revision, &[u8])> {
        let revision = self.revision?;
        let (key, physical) = self.rows.item()?;
        let (_, value) = split_value(physical).ok()?;
        Some((split_key(key), revision, value))
    }

    fn advance(&mut self) -> Result<(), IndexError> {
        if self.revision.is_some() {
            self.rows.next();
            self.settle()?;
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), IndexError> {
        let behind = self.revision.is_some() && self.rows.key().is_some_and(|current| split_key(current) < key);
        if behind {
            self.rows.seek(physical_key(self.partition, key));
            self.settle()?;
        }
        Ok(())
    }
}
