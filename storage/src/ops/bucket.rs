//! Buckets: creation as a saga over two partitions (deletion is the other one, `delete_bucket`), lookup, and the list of
//! an account's buckets.
//!
//! A bucket has a row in the directory (which owns the name) and one in its own partition (which mutations guard).
//! Nothing commits across partitions, so the directory row carries the intent, and [`Store::recover`] finishes what a
//! crash cut short: `Creating` is completed if the bucket row is there, else undone; `Deleting` is resumed. None was acknowledged, so all are allowed. While
//! the process runs, what a client left halfway is taken over by the next creation or deletion of the same name.

use std::fmt;

use bytes::Bytes;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{AccountId, BucketId};
use crate::index::family::bucket::{
    self, BucketRecord, BucketState, DefaultRetention, DocumentDigest, ObjectOwnership, PublicAccessBlock, Versioning,
};
use crate::index::family::directory::{DirectoryEntry, EntryState};
use crate::index::family::document::DocumentKind;
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision, View};
use crate::record::Record;

use super::Store;
use super::seen::SeenBucket;

/// How many directory rows one page holds.
const PAGE_ENTRIES_MAX: usize = 1_000;

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
    /// How long new versions are kept that ask for nothing else.
    pub default_retention: Option<DefaultRetention>,
    /// Who owns what is written.
    pub ownership: ObjectOwnership,
    /// Requests of others must say that they pay.
    pub requester_pays: bool,
    /// What is blocked of public access, if that was said.
    pub public_access_block: Option<PublicAccessBlock>,
    /// Names the policy in the bucket's document, if it has one.
    pub policy: Option<DocumentDigest>,
    /// Versions go for good, and versioning changes, only with a code of an MFA device.
    pub mfa_delete: bool,
    /// Names the CORS configuration in the bucket's document, if it has one.
    pub cors: Option<DocumentDigest>,
    /// Names the lifecycle rules in the bucket's document, if it has any.
    pub lifecycle: Option<DocumentDigest>,
    /// Names the replication rules in the bucket's document, if it has any.
    pub replication: Option<DocumentDigest>,
}

impl Bucket {
    pub(super) fn of(id: BucketId, name: BucketName, record: BucketRecord) -> Self {
        Self {
            id,
            name,
            owner: record.owner,
            created: record.created,
            region: record.region,
            versioning: record.versioning,
            object_lock: record.object_lock,
            default_retention: record.default_retention,
            ownership: record.ownership,
            requester_pays: record.requester_pays,
            public_access_block: record.public_access_block,
            policy: record.policy,
            lifecycle: record.lifecycle,
            replication: record.replication,
            mfa_delete: record.mfa_delete,
            cors: record.cors,
        }
    }
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
    /// Who owns what is written.
    pub ownership: ObjectOwnership,
    /// Its ACL, as stored; None: it is private.
    pub acl: Option<Bytes>,
    /// What is blocked of public access.
    pub public_access_block: Option<PublicAccessBlock>,
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

/// A directory row as one view saw it.
pub(crate) type SeenEntry = Option<(Revision, DirectoryEntry)>;

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
        if new.object_lock {
            self.begin_lock_time().await?;
        }
        let name = new.name.as_str();
        let taken = self.take_name(name).await?;
        let entry = DirectoryEntry {
            bucket: BucketId::generate(self.clock().as_ref(), self.entropy().as_ref()),
            owner: new.owner,
            created: self.clock().now(),
            state: EntryState::Creating,
            region: new.region,
            object_lock: new.object_lock,
            ownership: new.ownership,
            public_access_block: new.public_access_block,
        };
        // Stops: create x create of the same name.
        if !self.put_entry(name, taken, &entry).await? {
            return Err(StorageError::BucketBusy);
        }
        self.complete_creation(name, entry, new.acl).await?;
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

    /// The second and third step of a creation; the third is also what recovery does with a `Creating` entry whose bucket
    /// row is there.
    async fn complete_creation(
        &self,
        name: &str,
        entry: DirectoryEntry,
        acl: Option<Bytes>,
    ) -> Result<(), StorageError> {
        let record = BucketRecord {
            name: name.to_owned(),
            owner: entry.owner,
            created: entry.created,
            region: entry.region.clone(),
            state: BucketState::Active,
            versioning: if entry.object_lock { Versioning::Enabled } else { Versioning::Unversioned },
            object_lock: entry.object_lock,
            default_retention: None,
            ownership: entry.ownership,
            requester_pays: false,
            public_access_block: entry.public_access_block,
            policy: None,
            lifecycle: None,
            replication: None,
            mfa_delete: false,
            cors: None,
        };
        let mut batch = Batch::new();
        // Stops: recovery writing over a row that the creation it completes had written already.
        batch.guard(Family::Bucket, bucket::KEY, None);
        batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
        if let Some(acl) = acl {
            batch.put(Family::Document, DocumentKind::Acl.key(), acl);
        }
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
        Ok(Bucket::of(entry.bucket, name.clone(), seen.record))
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
                while let Some((key, _, value)) = cursor.row().filter(|_| page.len() < PAGE_ENTRIES_MAX) {
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

    /// Goes on from the kept lock time and finishes the sagas that a stop cut short. Call it before the first request.
    ///
    /// # Errors
    /// The index's; `ReadOnly` if there is something to finish and the store cannot write.
    pub async fn recover(&self) -> Result<(), StorageError> {
        self.resume_lock_time().await?;
        for (name, entry) in self.all_buckets().await? {
            let row = self.view(entry.bucket, SeenBucket::read).await?;
            let is_marked = row.as_ref().is_some_and(|row| row.record.state == BucketState::Deleting);
            match entry.state {
                EntryState::Active if !is_marked => {}
                EntryState::Creating if row.is_some() => self.complete_creation(&name, entry, None).await?,
                EntryState::Creating => self.give_name_up(&name).await?,
                EntryState::Active | EntryState::Deleting => match self.complete_deletion(&name, entry.bucket).await {
                    Ok(()) | Err(StorageError::BucketNotEmpty | StorageError::BucketBusy) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Undoes the first step of a creation, the only one that was taken.
    async fn give_name_up(&self, name: &str) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        // No guard: recovery runs before the first request.
        batch.delete(Family::Directory, name.as_bytes());
        self.commit(Partition::SYSTEM, batch, Vec::new()).await?;
        Ok(())
    }

    pub(crate) async fn directory_entry(&self, name: &str) -> Result<SeenEntry, StorageError> {
        let name = name.to_owned();
        Ok(self.index().view(Partition::SYSTEM, move |view| read_entry(view, &name)).await?)
    }

    /// Puts a directory row whose revision must be `seen`. False: it has changed.
    pub(super) async fn put_entry(
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
