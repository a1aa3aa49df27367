//! The index: an ordered, transactional key-value store behind one small trait.
//!
//! Invariants: nothing commits across partitions; a batch commits whole or not at all, and is durable when `Committed`
//! is answered; a page sees one snapshot. The meaning of rows (versions, listings, multipart) lies above this trait.

mod batch;
#[cfg(test)]
pub(crate) mod conformance;
pub mod family;
pub mod key;
pub mod memory;
pub mod rocks;
mod view;

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

pub use batch::{Add, Batch, Guard, Write, counter_from_bytes, counter_to_bytes};
pub use view::{Cursor, KeyRange, Page, Row, View};

use crate::id::BucketId;

/// The unit of atomicity: 16 bytes that begin every physical key of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub [u8; 16]);

impl Partition {
    /// Holds the bucket directory and what the installation has once.
    pub const SYSTEM: Self = Self([0; 16]);

    /// Begins the partition of an account's identities. A bucket's id begins with the milliseconds of its creation, which
    /// came to such a number in 2004.
    const ACCOUNT: u8 = 1;

    /// Holds the identities of the account of this number: `01 | zeros (7) | account number (u64)`.
    #[must_use]
    pub fn account(number: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = Self::ACCOUNT;
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }

    /// The number of the account whose identities it holds. None: it holds something else.
    #[must_use]
    pub fn account_number(&self) -> Option<u64> {
        let (head, number) = self.0.split_first_chunk::<8>()?;
        let is_account = *head == [Self::ACCOUNT, 0, 0, 0, 0, 0, 0, 0];
        is_account.then(|| number.try_into().ok().map(u64::from_be_bytes)).flatten()
    }
}

impl From<BucketId> for Partition {
    fn from(bucket: BucketId) -> Self {
        Self(*bucket.as_bytes())
    }
}

/// One ordered map of rows. ARCHITECTURE 3.3 draws each family's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names are those of the table
pub enum Family {
    Directory,
    Bucket,
    Document,
    Current,
    Hidden,
    Version,
    Upload,
    Part,
    Layout,
    Inline,
    Content,
    Usage,
    Job,
    Identity,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 14] = [
        Self::Directory,
        Self::Bucket,
        Self::Document,
        Self::Current,
        Self::Hidden,
        Self::Version,
        Self::Upload,
        Self::Part,
        Self::Layout,
        Self::Inline,
        Self::Content,
        Self::Usage,
        Self::Job,
        Self::Identity,
    ];

    /// Its name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Bucket => "bucket",
            Self::Document => "document",
            Self::Current => "current",
            Self::Hidden => "hidden",
            Self::Version => "version",
            Self::Upload => "upload",
            Self::Part => "part",
            Self::Layout => "layout",
            Self::Inline => "inline",
            Self::Content => "content",
            Self::Usage => "usage",
            Self::Job => "job",
            Self::Identity => "identity",
        }
    }
}

/// The commit that last wrote a row: unique and increasing over the index's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Revision(#[n(0)] pub u64);

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Every write of the batch is durable, under this revision.
    Committed(Revision),
    /// A guard did not hold; nothing was written.
    Conflict,
    /// Nothing was written.
    Refused(Refusal),
    /// The engine failed while writing: the batch may or may not survive. The index is read-only from here on.
    Unknown,
}

/// Why a batch was not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full or the engine stalls; try again later.
    Overloaded,
    /// The index is read-only until a restart.
    ReadOnly,
    /// The batch is larger than [`BATCH_BYTES_MAX`].
    TooLarge,
    /// A row that the batch guards or adds to cannot be read.
    Unreadable,
}

/// The most that one batch may hold, keys and values together; also the most that one group of batches holds.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Why a page could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// The caches do not hold what the page needs. Only ever seen inside a page, which passes it on.
    #[error("not in the caches")]
    Uncached,
    /// A row cannot be decoded, or the engine found a bad block.
    #[error("corrupt index: {0}")]
    Corrupt(String),
    /// The engine failed.
    #[error("the index failed: {0}")]
    Failed(String),
}

/// An ordered, transactional store of rows. Implementations: [`rocks::RocksIndex`], [`memory::MemoryIndex`].
#[async_trait]
pub trait Index: Send + Sync + fmt::Debug + 'static {
    /// Runs one page of work against one snapshot of the partition. The page may run twice (first against the caches
    /// on the calling thread, then on the blocking pool), so it must be restartable, and it must be bounded.
    async fn read(&self, partition: Partition, page: Box<dyn Page>) -> Result<(), IndexError>;

    /// As [`Index::read`], for a page of a walk through all of a partition: it never runs on the calling thread, and leaves the
    /// caches to those who come back to what they read.
    async fn read_far(&self, partition: Partition, page: Box<dyn Page>) -> Result<(), IndexError> {
        self.read(partition, page).await
    }

    /// Commits all of the batch or nothing.
    async fn commit(&self, partition: Partition, batch: Batch) -> Outcome;

    /// The newest commit to a partition since the index was opened; None: there was none. It is told after the commit can be
    /// read and before its caller hears of it: if it is what it was, so is all that was read after it was asked for.
    fn last_change(&self, partition: Partition) -> Option<Revision>;
}

impl dyn Index {
    /// Runs `page` against one snapshot and returns what it returned. See [`Index::read`].
    ///
    /// # Errors
    /// What the page returned, or the engine's failure.
    pub async fn view<T, F>(&self, partition: Partition, page: F) -> Result<T, IndexError>
    where
        F: FnMut(&dyn View) -> Result<T, IndexError> + Send + 'static,
        T: Send + 'static,
    {
        view::run(page, |page| self.read(partition, page)).await
    }

    /// As `view`, by [`Index::read_far`].
    ///
    /// # Errors
    /// What the page returned, or the engine's failure.
    pub async fn view_far<T, F>(&self, partition: Partition, page: F) -> Result<T, IndexError>
    where
        F: FnMut(&dyn View) -> Result<T, IndexError> + Send + 'static,
        T: Send + 'static,
    {
        view::run(page, |page| self.read_far(partition, page)).await
    }
}
