//! What a walk finds: kept beside its record, a bounded number of things, for as long as the record is.
//!
//! Things found are what a walk counts as `failed`, and each is kept under the number of those before it. So a page that a crash makes a
//! walk repeat keeps the same things in the same places, and what a page kept counts only once its counts and its cursor are committed.

use crate::StorageError;
use crate::index::family::walk::{self, Finding, WalkKind, WalkRecord};
use crate::index::{Batch, Family, KeyRange, Partition, View};
use crate::ops::Store;
use crate::record::Record;

/// The most things found that are kept of one walk; those beyond are counted.
pub const FINDINGS_KEPT_MAX: u64 = 5_000;

/// The most that one page of a walk keeps.
const OF_ONE_PAGE_MAX: u64 = 2_000;

impl Store {
    /// Keeps what a walk's page has found, as far as there is room. The page is to count all of it as `failed`.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `ReadOnly`, `Overloaded`: nothing, or a part, is kept, which the page's repetition mends.
    pub async fn keep_findings(&self, walk: &WalkRecord, found: &[Finding]) -> Result<(), StorageError> {
        let room = FINDINGS_KEPT_MAX.saturating_sub(walk.counts.failed).min(OF_ONE_PAGE_MAX);
        let numbered = (walk.counts.failed..).zip(found).take(usize::try_from(room).unwrap_or_default());
        let mut batch = Batch::new();
        // No guards: only the walk's one runner keeps what it finds.
        let mut is_empty = true;
        for (before, finding) in numbered {
            batch.put(Family::Document, walk::finding_key(walk.id, before), finding.to_value()?);
            is_empty = false;
        }
        if !is_empty && !self.commit(Partition::SYSTEM, batch, Vec::new()).await? {
            return Err(StorageError::Contention);
        }
        Ok(())
    }

    /// What a walk has found and kept, without the first `from` things: at most `max`.
    ///
    /// # Errors
    /// The index's.
    pub async fn findings(&self, walk: &WalkRecord, from: u64, max: usize) -> Result<Vec<Finding>, StorageError> {
        let end = walk.counts.failed.min(FINDINGS_KEPT_MAX);
        let range = KeyRange {
            start: walk::finding_key(walk.id, from).to_vec(),
            end: Some(walk::finding_key(walk.id, end.max(from)).to_vec()),
        };
        let page = move |view: &dyn View| {
            let mut found = Vec::new();
            let mut cursor = view.cursor(Family::Document, range.clone())?;
            while let Some((_, _, value)) = cursor.row().filter(|_| found.len() < max) {
                found.push(Finding::from_value(value)?);
                cursor.advance()?;
            }
            Ok(found)
        };
        Ok(self.index().view(Partition::SYSTEM, page).await?)
    }
}

/// Forgets what a walk has found, with its record.
pub(super) fn forget(batch: &mut Batch, record: &WalkRecord) {
    if record.kind != WalkKind::Verify {
        return;
    }
    // A page that was not committed may have kept some beyond those that count.
    let end = record.counts.failed.saturating_add(OF_ONE_PAGE_MAX).min(FINDINGS_KEPT_MAX);
    for before in 0..end {
        batch.delete(Family::Document, walk::finding_key(record.id, before));
    }
}
