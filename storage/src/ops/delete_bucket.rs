//! DeleteBucket: a saga over two partitions. From the mark in the bucket row on no mutation commits, so what is found empty
//! stays empty. The directory says *deleting* only while that mark is there: set after it, and taken back before it, so that no
//! bucket that takes writes is hidden from those who go by the directory. The rows go last, and then the name.

use crate::StorageError;
use crate::id::{BucketId, ContentId};
use crate::index::family::bucket::{self, BucketRecord, BucketState};
use crate::index::family::directory::{DirectoryEntry, EntryState};
use crate::index::family::job::{JobRecord, Queue};
use crate::index::family::upload::UploadRecord;
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision, View};

use crate::jobs::collect::{self, CollectTask};
use crate::record::Record;

use super::seen::SeenBucket;
use super::{ATTEMPTS_MAX, Bucket, Store};

/// How many rows one batch of a bucket's removal deletes.
const REMOVE_ROWS_MAX: usize = 1_000;

/// How many uploads one batch ends.
const END_UPLOADS_MAX: usize = 1_000;

/// How many of a bucket's collect tasks one batch hands over.
const HAND_OVER_TASKS_MAX: usize = 1_000;

impl Store {
    /// Deletes a bucket without versions. Durable when it returns; no version that was acknowledged is lost. Uploads that
    /// are still open do not keep a bucket, as on S3, whose clients empty a bucket of versions only; they end with it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`, `BucketBusy`, `ReadOnly`.
    pub async fn delete_bucket(&self, bucket: &Bucket) -> Result<(), StorageError> {
        // A look before the saga, so that deleting a bucket that is in use disturbs nobody. One that is marked already was left by
        // a deletion that was cut short, and this one says what becomes of it.
        let page = |view: &dyn View| Ok((SeenBucket::read(view)?, has_version(view)?));
        let (seen, has_version) = self.view(bucket.id, page).await?;
        if has_version && seen.is_some_and(|seen| seen.record.state == BucketState::Active) {
            return Err(StorageError::BucketNotEmpty);
        }
        let name = bucket.name.as_str();
        let entry = self.directory_entry(name).await?.filter(|(_, entry)| entry.bucket == bucket.id);
        let (_, entry) = entry.ok_or(StorageError::NoSuchBucket)?;
        if entry.state == EntryState::Creating {
            return Err(StorageError::BucketBusy);
        }
        self.complete_deletion(name, bucket.id).await
    }

    /// A deletion from wherever it stands. Several may run at once: the last to mark the bucket row owns the deletion, and the
    /// others neither remove rows nor give the bucket back. What fails in its middle leaves the bucket marked, for the next
    /// deletion or the next start.
    pub(super) async fn complete_deletion(&self, name: &str, id: BucketId) -> Result<(), StorageError> {
        let marked = self.mark_deleting(id).await?;
        if let Some(revision) = marked {
            if self.view(id, has_version).await? {
                self.give_back(name, id, revision).await?;
                return Err(StorageError::BucketNotEmpty);
            }
            if !self.set_entry_state(name, id, revision, EntryState::Deleting).await? {
                return Err(StorageError::BucketBusy);
            }
            self.end_uploads(id, revision).await?;
            self.hand_over_collecting(id).await?;
        }
        self.remove_rows(id, marked).await?;
        self.remove_entry(name, id).await
    }

    /// Marks the bucket row, from which on no mutation commits; returns the mark's revision, or None if there is no row.
    async fn mark_deleting(&self, id: BucketId) -> Result<Option<Revision>, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(seen) = self.view(id, SeenBucket::read).await? else { return Ok(None) };
            // Also if it is marked already: the older mark's owner must not remove or revert what this one decides on.
            let marked = self.set_bucket_state(id, seen, BucketState::Deleting).await?;
            if marked.is_some() {
                return Ok(marked);
            }
        }
        Err(StorageError::Contention)
    }

    /// Lets the bucket take writes again, unless another deletion has marked it since.
    async fn give_back(&self, name: &str, id: BucketId, marked: Revision) -> Result<(), StorageError> {
        if self.set_entry_state(name, id, marked, EntryState::Active).await?
            && let Some(seen) = self.view(id, SeenBucket::read).await?.filter(|seen| seen.revision == marked)
        {
            self.set_bucket_state(id, seen, BucketState::Active).await?;
        }
        Ok(())
    }

    /// Says in the directory how far the deletion is that marked the bucket row. False: another one has marked it since, or is
    /// through with it.
    async fn set_entry_state(
        &self,
        name: &str,
        id: BucketId,
        marked: Revision,
        state: EntryState,
    ) -> Result<bool, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            // The mark is looked at after the entry: if it is still this one, so is all that was said by it.
            let seen = self.directory_entry(name).await?.filter(|(_, entry)| entry.bucket == id);
            let is_marked = self.view(id, SeenBucket::read).await?.is_some_and(|seen| seen.revision == marked);
            let Some((revision, entry)) = seen.filter(|_| is_marked) else { return Ok(false) };
            // Stops: this x another deletion that marks the bucket now. Written also where it says so already, which stops those
            // that looked before.
            if self.put_entry(name, Some(revision), &DirectoryEntry { state, ..entry }).await? {
                return Ok(true);
            }
        }
        Err(StorageError::Contention)
    }

    /// Frees the name of a bucket whose rows are gone, unless somebody else has.
    async fn remove_entry(&self, name: &str, id: BucketId) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.directory_entry(name).await?.filter(|(_, entry)| entry.bucket == id);
            let Some((revision, _)) = seen else { return Ok(()) };
            let mut batch = Batch::new();
            // Stops: this x (another deletion's end and a creation anew), whose row would go.
            batch.guard(Family::Directory, name.as_bytes(), Some(revision));
            batch.delete(Family::Directory, name.as_bytes());
            if self.commit(Partition::SYSTEM, batch, Vec::new()).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }

    /// Ends the bucket's uploads, so that their parts are collected. `marked` is the bucket row's revision.
    async fn end_uploads(&self, id: BucketId, marked: Revision) -> Result<(), StorageError> {
        loop {
            let page = self.view(id, first_uploads).await?;
            if page.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            // Stops: this x a write after another deletion took the bucket over and gave it back.
            batch.guard(Family::Bucket, bucket::KEY, Some(marked));
            let mut tasks = Vec::new();
            for (key, content) in page {
                batch.delete(Family::Upload, key);
                // Of a completed upload this frees nothing that its object uses.
                tasks.push(CollectTask::Parts(content).due_at(self.clock().now()));
            }
            if !self.commit(id.into(), batch, tasks).await? {
                return Err(StorageError::BucketBusy);
            }
        }
    }

    /// Sets the bucket row's state and returns its revision; None if the row has changed.
    async fn set_bucket_state(
        &self,
        id: BucketId,
        seen: SeenBucket,
        state: BucketState,
    ) -> Result<Option<Revision>, StorageError> {
        let mut batch = Batch::new();
        // Stops: the state x a change of the bucket's versioning, and the state x another deletion.
        batch.guard(Family::Bucket, bucket::KEY, Some(seen.revision));
        batch.put(Family::Bucket, bucket::KEY, BucketRecord { state, ..seen.record }.to_value()?);
        self.commit_revision(id.into(), batch, Vec::new()).await
    }

    /// An empty bucket may still have contents to collect. Its files' tasks move to the system partition, where they
    /// find no row and so free the file; the others, which need the bucket's rows, first become such tasks.
    async fn hand_over_collecting(&self, id: BucketId) -> Result<(), StorageError> {
        loop {
            // From the first task each time: those that are run here add others, which may sort before what was seen.
            let page = self.view(id, collect_tasks).await?;
            if page.is_empty() {
                return Ok(());
            }
            let (mut files, mut handled) = (Vec::new(), Batch::new());
            for (key, task) in page {
                match task {
                    CollectTask::File(_) | CollectTask::Quarantined(_) => files.push(task.due_at(self.clock().now())),
                    CollectTask::Composite(_) | CollectTask::Parts(_) => {
                        // These wait for nobody, so they are done.
                        collect::run(self, id.into(), task).await?;
                    }
                }
                handled.delete(Family::Job, key);
            }
            if !files.is_empty() {
                self.commit(Partition::SYSTEM, Batch::new(), files).await?;
            }
            // No guards: a runner that has one of the tasks in hand finds nothing left to do.
            self.commit(id.into(), handled, Vec::new()).await?;
        }
    }

    /// Removes what an empty bucket's partition still holds: documents, counters, completed uploads, tasks; the bucket
    /// row last. `marked` is that row's revision.
    async fn remove_rows(&self, id: BucketId, marked: Option<Revision>) -> Result<(), StorageError> {
        let rest = Family::ALL.into_iter().filter(|family| *family != Family::Bucket).chain([Family::Bucket]);
        for family in rest {
            loop {
                let keys = self.view(id, move |view| first_keys(view, family)).await?;
                if keys.is_empty() {
                    break;
                }
                let mut batch = Batch::new();
                // Stops: removal x a write after another deletion of the bucket was given up.
                batch.guard(Family::Bucket, bucket::KEY, marked);
                for key in keys {
                    batch.delete(family, key);
                }
                if !self.commit(id.into(), batch, Vec::new()).await? {
                    return Err(StorageError::BucketBusy);
                }
            }
        }
        Ok(())
    }
}

fn first_keys(view: &dyn View, family: Family) -> Result<Vec<Vec<u8>>, IndexError> {
    let mut keys = Vec::new();
    let mut cursor = view.cursor(family, KeyRange::all())?;
    while let Some((key, _, _)) = cursor.row().filter(|_| keys.len() < REMOVE_ROWS_MAX) {
        keys.push(key.to_vec());
        cursor.advance()?;
    }
    Ok(keys)
}

/// The first collect tasks of a bucket and their keys, dead ones included.
fn collect_tasks(view: &dyn View) -> Result<Vec<(Vec<u8>, CollectTask)>, IndexError> {
    let mut tasks = Vec::new();
    for queue in [Queue::Collect, Queue::Dead] {
        let mut cursor = view.cursor(Family::Job, KeyRange::prefix(&[queue as u8]))?;
        while let Some((key, _, value)) = cursor.row().filter(|_| tasks.len() < HAND_OVER_TASKS_MAX) {
            let record = JobRecord::from_value(value)?;
            if record.origin.unwrap_or(queue as u8) == Queue::Collect as u8 {
                let task = minicbor::decode(&record.task)
                    .map_err(|error| IndexError::Corrupt(format!("collect task: {error}")))?;
                tasks.push((key.to_vec(), task));
            }
            cursor.advance()?;
        }
    }
    Ok(tasks)
}

fn has_version(view: &dyn View) -> Result<bool, IndexError> {
    for family in [Family::Current, Family::Hidden, Family::Version] {
        if view.cursor(family, KeyRange::all())?.row().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys and contents of a bucket's first uploads, whatever has become of them.
fn first_uploads(view: &dyn View) -> Result<Vec<(Vec<u8>, ContentId)>, IndexError> {
    let mut uploads = Vec::new();
    let mut cursor = view.cursor(Family::Upload, KeyRange::all())?;
    while let Some((key, _, value)) = cursor.row().filter(|_| uploads.len() < END_UPLOADS_MAX) {
        uploads.push((key.to_vec(), UploadRecord::from_value(value)?.content));
        cursor.advance()?;
    }
    Ok(uploads)
}
