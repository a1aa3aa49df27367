//! Buckets: creation and deletion as sagas over two partitions, lookup, and the list of an account's buckets.
//!
//! A bucket has a row in the directory (which owns the name) and one in its own partition (which mutations guard).
//! Nothing commits across partitions, so the directory row carries the intent, and [`Store::recover`] finishes what a
//! crash cut short: `Creating` is completed, `Deleting` is resumed. Neither was acknowledged, so both are allowed. While
//! the process runs, what a client left halfway is taken over by the next creation or deletion of the same name.

use std::fmt;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{AccountId, BucketId};
use crate::index::family::bucket::{self, BucketRecord, BucketState, Versioning};
use crate::index::family::directory::{DirectoryEntry, EntryState};
use crate::index::family::job::{JobRecord, Queue};
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision, View};
use crate::jobs::collect::{self, CollectTask};
use crate::record::Record;

use super::seen::SeenBucket;
use super::{ATTEMPTS_MAX, Store};

/// How many rows one batch of a bucket's removal deletes.
const REMOVE_ROWS_MAX: usize = 1_000;

/// How many ended uploads one page of the look for open ones passes.
const LOOK_ROWS_MAX: usize = 1_000;

/// How many of a bucket's collect tasks one batch hands over.
const HAND_OVER_TASKS_MAX: usize = 1_000;

/// A bucket's name: 3 to 63 of `a-z 0-9 . -` (S3 user guide, "Bucket naming rules").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Box<str>);

impl BucketName {
    /// The name, if it follows the rules.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        // Each part is a label of a host name, which neither is empty nor begins or ends with a dash.
        let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        let reserved = name.starts_with("xn--")
            || name.starts_with("sthree-")
            || name.starts_with("amzn-s3-demo-")
            || name.ends_with("-s3alias")
            || name.ends_with("--ol-s3")
            || name.ends_with(".mrap")
            || name.ends_with("--x-s3")
            || name.ends_with("--table-s3");
        let valid = (3..=63).contains(&bytes.len())
            && bytes.iter().all(inner)
            && name.split('.').all(label)
            && name.parse::<std::net::Ipv4Addr>().is_err()
            && !reserved;
        valid.then(|| Self(name.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A bucket, as it was when it was looked up. Mutations read its row again and guard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its id and partition.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// The owner.
    pub owner: AccountId,
    /// When it was created.
    pub created: Timestamp,
    /// Its region.
    pub region: String,
    /// Versioning.
    pub versioning: Versioning,
    /// Object lock is enabled.
    pub object_lock: bool,
}

/// A bucket to create.
#[derive(Clone, Debug)]
pub struct NewBucket {
    /// Its name.
    pub name: BucketName,
    /// The owner.
    pub owner: AccountId,
    /// Its region.
    pub region: String,
    /// Enable object lock (and with it versioning).
    pub object_lock: bool,
}

/// Which of an account's buckets to list.
#[derive(Clone, Debug)]
pub struct ListBuckets {
    /// Only names that begin with this.
    pub prefix: String,
    /// Only names after this one.
    pub after: Option<String>,
    /// At most so many.
    pub max_buckets: usize,
}

/// A listed bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSummary {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its region.
    pub region: String,
}

/// One page of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketsPage {
    /// In the order of their names.
    pub buckets: Vec<BucketSummary>,
    /// There are more after this name.
    pub next: Option<String>,
}

type SeenEntry = Option<(Revision, DirectoryEntry)>;

fn read_entry(view: &dyn View, name: &str) -> Result<SeenEntry, IndexError> {
    let Some(row) = view.get(Family::Directory, name.as_bytes())? else { return Ok(None) };
    Ok(Some((row.revision, DirectoryEntry::from_value(&row.value)?)))
}

impl Store {
    /// Creates a bucket. Durable when it returns.
    ///
    /// # Errors
    /// `BucketExists`, `BucketBusy` while the name's bucket is being created or deleted; `DiskFull`, `ReadOnly`.
    pub async fn create_bucket(&self, new: NewBucket) -> Result<Bucket, StorageError> {
        self.health().check_space_for(0)?;
        let name = new.name.as_str();
        let taken = self.take_name(name).await?;
        let entry = DirectoryEntry {
            bucket: BucketId::generate(self.clock().as_ref(), self.entropy().as_ref()),
            owner: new.owner,
            created: self.clock().now(),
            state: EntryState::Creating,
            region: new.region,
            object_lock: new.object_lock,
        };
        // Stops: create x create of the same name.
        if !self.put_entry(name, taken, &entry).await? {
            return Err(StorageError::BucketBusy);
        }
        self.complete_creation(name, entry).await?;
        self.bucket(&new.name).await
    }

    /// The revision of the directory row that a creation may replace; None: there is none. What a client who went away
    /// left halfway is replaced (a creation, of which nobody has heard) or finished (a deletion without a bucket row).
    async fn take_name(&self, name: &str) -> Result<Option<Revision>, StorageError> {
        let Some((revision, entry)) = self.directory_entry(name).await? else { return Ok(None) };
        match entry.state {
            EntryState::Active => Err(StorageError::BucketExists { owner: entry.owner }),
            EntryState::Creating => Ok(Some(revision)),
            EntryState::Deleting if self.view(entry.bucket, SeenBucket::read).await?.is_some() => {
                Err(StorageError::BucketBusy)
            }
            EntryState::Deleting => {
                self.complete_deletion(name, entry.bucket).await?;
                Ok(None)
            }
        }
    }

    /// The second and third step of a creation; also what recovery does with a `Creating` entry.
    async fn complete_creation(&self, name: &str, entry: DirectoryEntry) -> Result<(), StorageError> {
        let record = BucketRecord {
            name: name.to_owned(),
            owner: entry.owner,
            created: entry.created,
            region: entry.region.clone(),
            state: BucketState::Active,
            versioning: if entry.object_lock { Versioning::Enabled } else { Versioning::Unversioned },
            object_lock: entry.object_lock,
        };
        let mut batch = Batch::new();
        // Stops: recovery writing over a row that the creation it completes had written already.
        batch.guard(Family::Bucket, bucket::KEY, None);
        batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
        self.commit(entry.bucket.into(), batch, Vec::new()).await?;
        let (revision, now) = self.directory_entry(name).await?.ok_or(StorageError::BucketBusy)?;
        if now.bucket != entry.bucket {
            return Err(StorageError::BucketBusy);
        }
        let active = DirectoryEntry { state: EntryState::Active, ..entry };
        // Stops: this x another creation that takes the name.
        if self.put_entry(name, Some(revision), &active).await? { Ok(()) } else { Err(StorageError::BucketBusy) }
    }

    /// The bucket of this name.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn bucket(&self, name: &BucketName) -> Result<Bucket, StorageError> {
        let (_, entry) = self.directory_entry(name.as_str()).await?.ok_or(StorageError::NoSuchBucket)?;
        if entry.state == EntryState::Creating {
            return Err(StorageError::NoSuchBucket);
        }
        let seen = self.view(entry.bucket, SeenBucket::read).await?.ok_or(StorageError::NoSuchBucket)?;
        Ok(Bucket {
            id: entry.bucket,
            name: name.clone(),
            owner: seen.record.owner,
            created: seen.record.created,
            region: seen.record.region,
            versioning: seen.record.versioning,
            object_lock: seen.record.object_lock,
        })
    }

    /// Deletes an empty bucket. Durable when it returns; no write into the bucket that was acknowledged is lost.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`, `BucketBusy`, `ReadOnly`.
    pub async fn delete_bucket(&self, bucket: &Bucket) -> Result<(), StorageError> {
        // A look before the saga, so that deleting a bucket that is in use disturbs nobody.
        if !self.is_empty(bucket.id).await? {
            return Err(StorageError::BucketNotEmpty);
        }
        let name = bucket.name.as_str();
        let (revision, entry) = self.directory_entry(name).await?.ok_or(StorageError::NoSuchBucket)?;
        if entry.bucket != bucket.id {
            return Err(StorageError::NoSuchBucket);
        }
        match entry.state {
            EntryState::Creating => return Err(StorageError::BucketBusy),
            // Another deletion goes on, or its client went away: this one goes on with it.
            EntryState::Deleting => {}
            EntryState::Active => {
                let deleting = DirectoryEntry { state: EntryState::Deleting, ..entry };
                // Stops: delete x delete, delete x (delete and create anew).
                if !self.put_entry(name, Some(revision), &deleting).await? {
                    return Err(StorageError::BucketBusy);
                }
            }
        }
        self.complete_deletion(name, bucket.id).await
    }

    /// The rest of a deletion, from wherever it stands. Several may run at once: the last to mark the bucket row owns the
    /// deletion, and the others neither remove rows nor give the bucket back.
    async fn complete_deletion(&self, name: &str, id: BucketId) -> Result<(), StorageError> {
        let marked = self.mark_deleting(id).await?;
        if let Some(revision) = marked {
            let obstacle = if self.is_empty(id).await? {
                self.hand_over_collecting(id).await.err()
            } else {
                Some(StorageError::BucketNotEmpty)
            };
            if let Some(error) = obstacle {
                return self.revert_deletion(name, id, revision).await.and(Err(error));
            }
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

    async fn revert_deletion(&self, name: &str, id: BucketId, marked: Revision) -> Result<(), StorageError> {
        let seen = self.view(id, SeenBucket::read).await?.filter(|seen| seen.revision == marked);
        let Some(seen) = seen else { return Ok(()) };
        if self.set_bucket_state(id, seen, BucketState::Active).await?.is_none() {
            return Ok(());
        }
        match self.directory_entry(name).await? {
            Some((revision, entry)) if entry.bucket == id => {
                let active = DirectoryEntry { state: EntryState::Active, ..entry };
                // Stops: this x another deletion that has come further.
                self.put_entry(name, Some(revision), &active).await?;
            }
            _ => {}
        }
        Ok(())
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

    /// Whether a bucket has no version and no open upload. (An open upload's parts were acknowledged, so they keep the
    /// bucket, as a version does.) Several views: what they say together holds once the bucket takes no mutations.
    async fn is_empty(&self, id: BucketId) -> Result<bool, StorageError> {
        if self.view(id, has_version).await? {
            return Ok(false);
        }
        let mut start = Vec::new();
        loop {
            let from = start.clone();
            match self.view(id, move |view| next_uploads(view, &from)).await? {
                Uploads::Open => return Ok(false),
                Uploads::NoMore => return Ok(true),
                Uploads::Ended(last) => start = [last.as_slice(), b"\0"].concat(),
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

    /// One page of the account's buckets, in the order of their names.
    ///
    /// # Errors
    /// The index's.
    pub async fn list_buckets(&self, owner: AccountId, list: ListBuckets) -> Result<BucketsPage, StorageError> {
        let page = move |view: &dyn View| {
            let mut range = KeyRange::prefix(list.prefix.as_bytes());
            if let Some(after) = &list.after {
                range.start = range.start.max([after.as_bytes(), b"\0"].concat());
            }
            let mut page = BucketsPage { buckets: Vec::new(), next: None };
            let mut cursor = view.cursor(Family::Directory, range)?;
            while let Some((key, _, value)) = cursor.row() {
                let entry = DirectoryEntry::from_value(value)?;
                if entry.owner == owner && entry.state == EntryState::Active {
                    if page.buckets.len() == list.max_buckets {
                        page.next = page.buckets.last().map(|last: &BucketSummary| last.name.clone());
                        break;
                    }
                    let name = String::from_utf8_lossy(key).into_owned();
                    page.buckets.push(BucketSummary { name, created: entry.created, region: entry.region });
                }
                cursor.advance()?;
            }
            Ok(page)
        };
        Ok(self.index().view(Partition::SYSTEM, page).await?)
    }

    /// Every bucket of the directory, whatever its state.
    ///
    /// # Errors
    /// The index's.
    pub async fn all_buckets(&self) -> Result<Vec<(String, DirectoryEntry)>, StorageError> {
        let mut buckets: Vec<(String, DirectoryEntry)> = Vec::new();
        loop {
            let start = buckets.last().map(|(name, _)| [name.as_bytes(), b"\0"].concat()).unwrap_or_default();
            let page = self.index().view(Partition::SYSTEM, move |view| {
                let mut page = Vec::new();
                let mut cursor = view.cursor(Family::Directory, KeyRange { start: start.clone(), end: None })?;
                while let Some((key, _, value)) = cursor.row().filter(|_| page.len() < REMOVE_ROWS_MAX) {
                    page.push((String::from_utf8_lossy(key).into_owned(), DirectoryEntry::from_value(value)?));
                    cursor.advance()?;
                }
                Ok(page)
            });
            let page = page.await?;
            if page.is_empty() {
                return Ok(buckets);
            }
            buckets.extend(page);
        }
    }

    /// Finishes the sagas that a stop cut short. Call it before the first request.
    ///
    /// # Errors
    /// The index's; `ReadOnly` if there is something to finish and the store cannot write.
    pub async fn recover(&self) -> Result<(), StorageError> {
        for (name, entry) in self.all_buckets().await? {
            match entry.state {
                EntryState::Active => {}
                EntryState::Creating => self.complete_creation(&name, entry).await?,
                EntryState::Deleting => match self.complete_deletion(&name, entry.bucket).await {
                    Ok(()) | Err(StorageError::BucketNotEmpty | StorageError::BucketBusy) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }

    async fn directory_entry(&self, name: &str) -> Result<SeenEntry, StorageError> {
        let name = name.to_owned();
        Ok(self.index().view(Partition::SYSTEM, move |view| read_entry(view, &name)).await?)
    }

    /// Puts a directory row whose revision must be `seen`. False: it has changed.
    async fn put_entry(
        &self,
        name: &str,
        seen: Option<Revision>,
        entry: &DirectoryEntry,
    ) -> Result<bool, StorageError> {
        let mut batch = Batch::new();
        // Each caller names the race.
        batch.guard(Family::Directory, name.as_bytes(), seen);
        batch.put(Family::Directory, name.as_bytes(), entry.to_value()?);
        self.commit(Partition::SYSTEM, batch, Vec::new()).await
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

/// What one page of a bucket's uploads shows.
enum Uploads {
    /// One of them is open.
    Open,
    /// None of them is; there may be more after this key.
    Ended(Vec<u8>),
    /// There are no more.
    NoMore,
}

fn next_uploads(view: &dyn View, start: &[u8]) -> Result<Uploads, IndexError> {
    let mut cursor = view.cursor(Family::Upload, KeyRange { start: start.to_vec(), end: None })?;
    let mut last = None;
    for _ in 0..LOOK_ROWS_MAX {
        let Some((key, _, value)) = cursor.row() else { return Ok(Uploads::NoMore) };
        if super::multipart::is_open(value)? {
            return Ok(Uploads::Open);
        }
        last = Some(key.to_vec());
        cursor.advance()?;
    }
    Ok(last.map_or(Uploads::NoMore, Uploads::Ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for name in ["abc", "a-b.c", "0aa", "a.b", &"x".repeat(63)] {
            assert!(BucketName::new(name).is_some(), "{name}");
        }
        let long = "x".repeat(64);
        for name in [
            "foo.-bar",
            "foo-.bar",
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "a.-b",
            "a-.b",
            "192.168.1.1",
            "xn--abc",
            "abc-s3alias",
            "a/b",
            "a b",
            "ä-bucket",
        ] {
            assert!(BucketName::new(name).is_none(), "{name}");
        }
    }
}
