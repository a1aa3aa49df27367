//! Restoring a bucket to a point in time: what it looked like then comes back by adding versions and delete markers;
//! nothing is removed, so a restore can itself be taken back by a restore.
//!
//! The bucket's [`RestoreRecord`] says what is wanted and how far it is. A task of the queue `restore` does the work page
//! by page (`walk` decides on one view, `page` commits): a page's changes and the new position are one batch, so no page
//! is done twice or in part, whatever ends the process.

mod page;
mod walk;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{AccountId, BucketId, JobId};
use crate::index::family::bucket::Versioning;
use crate::index::family::document::DocumentKind;
use crate::index::family::restore::{REASON_BYTES_MAX, RestoreCounts, RestorePosition, RestoreRecord, RestoreState};
use crate::index::{Family, IndexError, Revision, View};
use crate::jobs::restore::RestoreTask;
use crate::object::KEY_BYTES_MAX;
use crate::record::Record;

use super::placement::Mutation;
use super::seen::SeenBucket;
use super::{ATTEMPTS_MAX, Bucket, Store};

pub use page::Step;

const RECORD_KEY: [u8; 1] = [DocumentKind::Restore as u8];

/// A restore to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRestore {
    /// The bucket is to look as it did when this time had passed.
    pub as_of: Timestamp,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Count, and change nothing.
    pub dry_run: bool,
    /// Who asks, and will own the delete markers.
    pub account: AccountId,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct RestoreLimits {
    /// Rows that one page looks at.
    pub page_rows: usize,
    /// Keys that one page changes.
    pub page_changes: usize,
    /// Bytes of inline contents that one page copies, but for the last of them.
    pub page_bytes: usize,
    /// Pages until it is another bucket's turn.
    pub pages_per_turn: usize,
}

impl Default for RestoreLimits {
    fn default() -> Self {
        Self { page_rows: 2_000, page_changes: 200, page_bytes: 512 << 10, pages_per_turn: 16 }
    }
}

/// A bucket's record as one view saw it.
struct SeenRecord {
    revision: Revision,
    record: RestoreRecord,
}

impl SeenRecord {
    fn read(view: &dyn View) -> Result<Option<Self>, IndexError> {
        let Some(row) = view.get(Family::Document, &RECORD_KEY)? else { return Ok(None) };
        Ok(Some(Self { revision: row.revision, record: RestoreRecord::from_value(&row.value)? }))
    }
}

fn read_both(view: &dyn View) -> Result<(Option<SeenBucket>, Option<SeenRecord>), IndexError> {
    Ok((SeenBucket::read(view)?, SeenRecord::read(view)?))
}

/// Ok if what the bucket keeps of its history can be added to.
fn check_versioning(bucket: &SeenBucket) -> Result<(), StorageError> {
    if bucket.record.versioning == Versioning::Enabled {
        return Ok(());
    }
    Err(StorageError::InvalidBucketState {
        what: "Only a bucket whose versioning is enabled can be restored to a point in time.",
    })
}

impl Mutation {
    /// Replaces the restore's record.
    fn put_record(&mut self, seen: Option<Revision>, record: &RestoreRecord) -> Result<(), StorageError> {
        // Stops: two restores begun at once, and a page x a cancellation, or x the same page in another hand.
        self.batch.guard(Family::Document, RECORD_KEY, seen);
        self.batch.put(Family::Document, RECORD_KEY, record.to_value()?);
        Ok(())
    }
}

impl Store {
    /// Begins a restore. Durable when it returns; the work is done by the queue `restore`. One that is asked for again
    /// while it runs is the same restore.
    ///
    /// # Errors
    /// `NoSuchBucket`, `InvalidBucketState`, `InvalidRestoreTime`, `RestoreRunning`, `MetadataTooLarge` (the prefix),
    /// `ReadOnly`, `Overloaded`: nothing was begun.
    pub async fn start_restore(&self, bucket: &Bucket, new: NewRestore) -> Result<RestoreRecord, StorageError> {
        self.health().check_writable()?;
        if new.prefix.len() > KEY_BYTES_MAX {
            return Err(StorageError::MetadataTooLarge);
        }
        for _ in 0..ATTEMPTS_MAX {
            let (seen_bucket, seen) = self.view(bucket.id, read_both).await?;
            let seen_bucket = SeenBucket::writable(seen_bucket)?;
            check_versioning(&seen_bucket)?;
            let now = self.clock().now();
            check_time(new.as_of, seen_bucket.record.created, now)?;
            if let Some(SeenRecord { record, .. }) = &seen
                && record.state == RestoreState::Running
            {
                let same = record.as_of == new.as_of && record.prefix == new.prefix && record.dry_run == new.dry_run;
                return if same { Ok(record.clone()) } else { Err(StorageError::RestoreRunning) };
            }
            let record = RestoreRecord {
                id: JobId::generate(self.entropy().as_ref()),
                as_of: new.as_of,
                prefix: new.prefix.clone(),
                dry_run: new.dry_run,
                account: new.account,
                started: now,
                state: RestoreState::Running,
                updated: now,
                position: RestorePosition::Start,
                counts: RestoreCounts::default(),
            };
            let mut mutation = Mutation::new(&seen_bucket);
            mutation.put_record(seen.map(|seen| seen.revision), &record)?;
            mutation.tasks.push(RestoreTask { restore: record.id }.due_at(now));
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(record);
            }
        }
        Err(StorageError::Contention)
    }

    /// The bucket's newest restore.
    ///
    /// # Errors
    /// The index's.
    pub async fn restore(&self, bucket: &Bucket) -> Result<Option<RestoreRecord>, StorageError> {
        Ok(self.view(bucket.id, SeenRecord::read).await?.map(|seen| seen.record))
    }

    /// Ends the bucket's restore after the page at hand; what it has restored stays. The record as it is then; one that
    /// had ended already stays as it is. None: there never was one.
    ///
    /// # Errors
    /// `NoSuchBucket`, `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn cancel_restore(&self, bucket: &Bucket) -> Result<Option<RestoreRecord>, StorageError> {
        self.health().check_writable()?;
        self.end_restore(bucket.id, None, RestoreState::Cancelled).await
    }

    /// Gives the restore up for `reason`.
    pub(crate) async fn fail_restore(&self, bucket: BucketId, id: JobId, reason: &str) -> Result<(), StorageError> {
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned();
        match self.end_restore(bucket, Some(id), RestoreState::Failed(reason)).await {
            Ok(_) | Err(StorageError::NoSuchBucket) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the restore, if it runs and is the one of this id.
    async fn end_restore(
        &self,
        bucket: BucketId,
        id: Option<JobId>,
        state: RestoreState,
    ) -> Result<Option<RestoreRecord>, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let (seen_bucket, seen) = self.view(bucket, read_both).await?;
            let seen_bucket = SeenBucket::writable(seen_bucket)?;
            let Some(SeenRecord { revision, mut record }) = seen else { return Ok(None) };
            if record.state != RestoreState::Running || id.is_some_and(|id| id != record.id) {
                return Ok(Some(record));
            }
            record.state = state.clone();
            record.updated = self.clock().now();
            let mut mutation = Mutation::new(&seen_bucket);
            mutation.put_record(Some(revision), &record)?;
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(Some(record));
            }
        }
        Err(StorageError::Contention)
    }
}

/// Ok if the bucket was there at `as_of`, and the time has come.
fn check_time(as_of: Timestamp, created: Timestamp, now: Timestamp) -> Result<(), StorageError> {
    if as_of < created {
        // It would hide every key.
        return Err(StorageError::InvalidRestoreTime { what: "The bucket did not exist at that time." });
    }
    if as_of > now {
        return Err(StorageError::InvalidRestoreTime { what: "That time has not come yet." });
    }
    Ok(())
}
