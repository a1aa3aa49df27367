//! Offline verification: the index against the blobs, both ways. Reads everything, changes nothing.
//!
//! Every row must decode and fit the others; every content that a version or part names must be there, whole, and as
//! often referenced as its row says; every counter must be what a recount gives; every file must be one that the index
//! names or is about to collect. Memory: some 60 bytes for each content of the largest bucket.

mod bucket;
mod files;

use std::collections::HashSet;

use bytes::Bytes;

use crate::StorageError;
use crate::id::ContentId;
use crate::index::family::directory::EntryState;
use crate::index::family::job::JobRecord;
use crate::index::{Family, IndexError, KeyRange, Partition};
use crate::jobs::collect::CollectTask;
use crate::ops::Store;
use crate::record::Record;

/// Rows in one page.
const PAGE_ROWS_MAX: usize = 1_000;

/// Bytes of values after which a page ends.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// How many findings are described; further ones are only counted.
pub const FINDINGS_MAX: usize = 10_000;

/// How far the verification has come, in bytes of chunk files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Verified.
    pub bytes_done: u64,
    /// In all, as far as known.
    pub bytes_total: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Buckets.
    pub buckets: u64,
    /// Versions that are objects.
    pub versions: u64,
    /// Delete markers.
    pub delete_markers: u64,
    /// Parts of open uploads.
    pub parts: u64,
    /// Contents in the index.
    pub inline_contents: u64,
    /// Chunk files that the index names.
    pub files: u64,
    /// Bytes of these files.
    pub file_bytes: u64,
    /// Files that the index does not name, but that are to be collected or that an unclean stop left.
    pub leftovers: u64,
    /// What is wrong: a sentence each, at most [`FINDINGS_MAX`].
    pub findings: Vec<String>,
    /// How many findings there are.
    pub findings_count: u64,
}

impl Report {
    /// Adds a finding.
    pub fn find(&mut self, finding: impl Into<String>) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding.into());
        }
    }
}

/// Verifies everything. `last_stop_was_clean` tells whether files without a row are to be expected.
///
/// # Errors
/// What kept the verification from being complete; what it found wrong is in the report.
pub async fn check(
    store: &Store,
    last_stop_was_clean: bool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, StorageError> {
    let mut report = Report::default();
    let mut named = HashSet::new();
    let mut expected = Vec::new();
    collectable(store, Partition::SYSTEM, &mut named).await?;
    for (name, entry) in store.all_buckets().await? {
        report.buckets += 1;
        if entry.state != EntryState::Active {
            // A saga that the next start finishes; its rows may be gone already.
            collectable(store, entry.bucket.into(), &mut named).await?;
            continue;
        }
        let files = bucket::check(store, &name, entry.bucket, &mut report).await?;
        collectable(store, entry.bucket.into(), &mut named).await?;
        named.extend(files.iter().map(|file| file.content));
        expected.extend(files);
    }
    files::check_all(store, &expected, progress, &mut report).await?;
    files::check_strangers(store, &named, last_stop_was_clean, &mut report).await?;
    Ok(report)
}

/// Adds the contents whose files tasks of the partition are going to remove.
async fn collectable(store: &Store, partition: Partition, named: &mut HashSet<ContentId>) -> Result<(), StorageError> {
    let mut rows = Rows::new(partition, Family::Job);
    while let Some(page) = rows.next(store).await? {
        for (_, value) in page {
            let Ok(record) = JobRecord::from_value(&value) else { continue };
            if let Ok(CollectTask::File(id) | CollectTask::Quarantined(id)) = minicbor::decode(&record.task) {
                named.insert(id);
            }
        }
    }
    Ok(())
}

/// Walks a family of a partition page by page.
struct Rows {
    partition: Partition,
    family: Family,
    start: Option<Vec<u8>>,
}

type RowPage = Vec<(Vec<u8>, Bytes)>;

impl Rows {
    fn new(partition: Partition, family: Family) -> Self {
        Self { partition, family, start: Some(Vec::new()) }
    }

    /// The next rows; None at the end.
    async fn next(&mut self, store: &Store) -> Result<Option<RowPage>, StorageError> {
        let Some(start) = self.start.take() else { return Ok(None) };
        let family = self.family;
        let page: Result<RowPage, IndexError> = store
            .index()
            .view(self.partition, move |view| {
                let (mut page, mut bytes) = (Vec::new(), 0);
                let mut cursor = view.cursor(family, KeyRange { start: start.clone(), end: None })?;
                while let Some((key, _, value)) =
                    cursor.row().filter(|_| page.len() < PAGE_ROWS_MAX && bytes < PAGE_BYTES_MAX)
                {
                    bytes += value.len();
                    page.push((key.to_vec(), Bytes::copy_from_slice(value)));
                    cursor.advance()?;
                }
                Ok(page)
            })
            .await;
        let page = page?;
        self.start = page.last().map(|(key, _)| [key.as_slice(), b"\0"].concat());
        Ok(if page.is_empty() { None } else { Some(page) })
    }
}
