//! The index on an embedded RocksDB. The only place that names it.
//!
//! | module | what it owns |
//! |---|---|
//! | `options` | how RocksDB is set up, each setting with its reason |
//! | `engine` | the open database: families, physical values, errors |
//! | `view` | pages over a snapshot |
//! | `group` | guards verified and batches merged into one write |
//! | `committer` | the one thread that writes |
//! | `watermark` | the newest sequence known durable, kept beside the database |
//!
//! Invariants: one thread writes, each write is synced before anybody hears of it, and after a failed one nothing is
//! written until a restart. What the rows mean is left to `family` and to the operations.

mod committer;
mod engine;
mod group;
mod options;
#[cfg(test)]
mod tests;
mod view;
mod watermark;

use std::sync::Arc;

use async_trait::async_trait;

pub use options::RocksOptions;

use super::{Batch, Family, Index, IndexError, Outcome, Page, Partition, Refusal, Revision};
use crate::health::Health;
use crate::observe::Observer;
use committer::Committer;
use engine::Engine;
use view::Tier;
use watermark::{Watermark, WatermarkKeeper};

/// The index of one data directory. Its calls need a Tokio runtime: pages that miss the caches run on its blocking pool.
///
/// Dropping it closes it.
#[derive(Debug)]
pub struct RocksIndex {
    engine: Arc<Engine>,
    /// None: the index was opened read-only, because it is not whole.
    committer: Option<Committer>,
    health: Health,
}

impl RocksIndex {
    /// Opens the index, creating it if the data directory is new.
    ///
    /// Recovery may silently drop what follows a damaged record of the log, and opening for writing truncates the
    /// evidence. So the database is first opened read-only and its newest sequence compared with the watermark. If it
    /// is behind, the store turns read-only through `health` and pages read what is left.
    ///
    /// # Errors
    /// The engine's, or `Corrupt` when a watermark remains of a database that is gone.
    pub fn open(options: &RocksOptions, health: Health, observer: Arc<dyn Observer>) -> Result<Self, IndexError> {
        // RocksDB's pointer to its newest manifest.
        let exists = options.path.join("CURRENT").exists();
        let watermark = Watermark::read(&options.watermark_path)
            .map_err(|error| IndexError::Failed(format!("the watermark cannot be read: {error}")))?;
        if !exists && watermark != Watermark::Absent {
            return Err(IndexError::Corrupt(format!(
                "the database is gone from {}, although it has a watermark",
                options.path.display()
            )));
        }
        if exists && watermark != Watermark::Absent {
            let engine = Engine::open_read_only(options)?;
            if let Some(reason) = watermark.finds_fault_with(engine.sequence()) {
                health.fail(reason);
                return Ok(Self { engine: Arc::new(engine), committer: None, health });
            }
        }
        Self::open_for_writing(options, health, observer)
    }

    /// Opens the index for looking only: nothing is changed, also not by recovery. If it is behind its watermark, or has
    /// never been written, `health` says so.
    ///
    /// # Errors
    /// The engine's.
    pub fn open_for_checking(options: &RocksOptions, health: Health) -> Result<Self, IndexError> {
        let watermark = Watermark::read(&options.watermark_path)
            .map_err(|error| IndexError::Failed(format!("the watermark cannot be read: {error}")))?;
        let engine = Engine::open_read_only(options)?;
        if let Some(reason) = watermark.finds_fault_with(engine.sequence()) {
            health.fail(reason);
        }
        Ok(Self { engine: Arc::new(engine), committer: None, health })
    }

    /// The partitions that have rows of a family, found by seeking from one to the next. Blocks.
    ///
    /// # Errors
    /// The engine's.
    pub fn partitions(&self, family: Family) -> Result<Vec<Partition>, IndexError> {
        view::partitions(&self.engine, family)
    }

    fn open_for_writing(
        options: &RocksOptions,
        health: Health,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, IndexError> {
        let engine = Arc::new(Engine::open(options)?);
        let keeper = WatermarkKeeper::start(&options.watermark_path, engine.sequence(), health.clone())
            .map_err(|error| IndexError::Failed(format!("the watermark cannot be written: {error}")))?;
        let committer = Committer::start(engine.clone(), keeper, health.clone(), observer)
            .map_err(|error| IndexError::Failed(format!("the committer cannot start: {error}")))?;
        Ok(Self { engine, committer: Some(committer), health })
    }

    async fn read_on_pool(&self, partition: Partition, tier: Tier, mut page: Box<dyn Page>) -> Result<(), IndexError> {
        let engine = self.engine.clone();
        // A store that is read-only must not write.
        let flushes = self.committer.is_some() && self.health.read_only().is_none();
        let on_pool = move || {
            let mut done = view::run_page(&engine, partition, tier, &mut *page);
            if done == Err(IndexError::Uncached) {
                done = view::run_page(&engine, partition, Tier::Disk, &mut *page);
            }
            if flushes && let Err(error) = engine.flush_tombstones() {
                tracing::warn!(%error, "deleted rows that slow scans down cannot be flushed");
            }
            done
        };
        tokio::task::spawn_blocking(on_pool)
            .await
            .unwrap_or_else(|error| Err(IndexError::Failed(format!("a page did not end: {error}"))))
    }

    /// Commits what is queued, refuses what comes later, brings the watermark up to date, and flushes, so that the next
    /// start has no log to replay. Blocks.
    ///
    /// # Errors
    /// If the store is, or thereby became, read-only, or could not be flushed: then the stop is not a clean one.
    pub fn close(&self) -> Result<(), IndexError> {
        if let Some(committer) = &self.committer {
            committer.close();
        }
        match self.health.read_only() {
            Some(reason) => Err(IndexError::Failed(reason.to_owned())),
            None => self.engine.flush(),
        }
    }
}

#[async_trait]
impl Index for RocksIndex {
    async fn read(&self, partition: Partition, mut page: Box<dyn Page>) -> Result<(), IndexError> {
        match view::run_page(&self.engine, partition, Tier::Caches, &mut *page) {
            Err(IndexError::Uncached) => {}
            done => return done,
        }
        self.read_on_pool(partition, Tier::Disk, page).await
    }

    async fn read_far(&self, partition: Partition, page: Box<dyn Page>) -> Result<(), IndexError> {
        self.read_on_pool(partition, Tier::Far, page).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Outcome {
        match &self.committer {
            Some(committer) => committer.commit(partition, batch).await,
            None => Outcome::Refused(Refusal::ReadOnly),
        }
    }

    fn last_change(&self, partition: Partition) -> Option<Revision> {
        self.engine.last_change(partition)
    }
}
