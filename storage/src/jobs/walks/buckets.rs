//! Where a walk through whole buckets is: a cursor for walkers whose steps are each about one bucket.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::id::BucketId;
use crate::index::family::directory::{DirectoryEntry, EntryState};
use crate::index::family::walk::{WalkBucket, WalkRecord};
use crate::index::{Family, KeyRange, Partition, View};
use crate::ops::Store;
use crate::record::Record;

/// A bucket, and how far the walk is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkPlace {
    /// The bucket.
    pub bucket: WalkBucket,
    /// The position, as the walker understands it; empty: at the start.
    pub within: Vec<u8>,
    /// The walk is about this bucket alone.
    alone: bool,
}

/// A cursor of a walk through the whole store.
#[derive(Encode, Decode)]
#[cbor(map)]
struct StoreCursor {
    /// The bucket of this name, or the first one after it.
    #[n(0)]
    from: String,
    /// The bucket that `within` is of.
    #[n(1)]
    bucket: Option<BucketId>,
    #[n(2)]
    within: ByteVec,
}

impl WalkPlace {
    /// The cursor of a walk that is now at `within` in the bucket; None: it is through with the bucket.
    #[must_use]
    pub fn then(&self, within: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if self.alone {
            return within;
        }
        let cursor = match within {
            Some(within) => {
                StoreCursor { from: self.bucket.name.clone(), bucket: Some(self.bucket.id), within: within.into() }
            }
            // The least name that is greater.
            None => StoreCursor { from: format!("{}\0", self.bucket.name), bucket: None, within: Vec::new().into() },
        };
        Some(minicbor::to_vec(cursor).unwrap_or_default()) // writing to a Vec cannot fail
    }
}

impl Store {
    /// The bucket that a walk is in, and where; None: there is none left. One that is being deleted is not passed by: it may be
    /// given back with what it holds.
    ///
    /// # Errors
    /// `Corrupt` if the cursor is none of [`WalkPlace::then`]; the index's.
    pub async fn walk_place(&self, walk: &WalkRecord) -> Result<Option<WalkPlace>, StorageError> {
        if let Some(only) = &walk.bucket {
            let place = WalkPlace { bucket: only.clone(), within: walk.cursor.to_vec(), alone: true };
            let entry = self.directory_entry(&only.name).await?;
            return Ok(entry.is_some_and(|(_, entry)| is_of(&entry, only.id)).then_some(place));
        }
        let cursor: StoreCursor = if walk.cursor.is_empty() {
            StoreCursor { from: String::new(), bucket: None, within: Vec::new().into() }
        } else {
            minicbor::decode(&walk.cursor).map_err(|error| StorageError::corrupt(format!("walk's cursor: {error}")))?
        };
        let Some(bucket) = self.walked_bucket(cursor.from).await? else { return Ok(None) };
        let within = if cursor.bucket == Some(bucket.id) { cursor.within.into() } else { Vec::new() };
        Ok(Some(WalkPlace { bucket, within, alone: false }))
    }

    /// The first bucket from this name on. Those that were never finished are few.
    async fn walked_bucket(&self, from: String) -> Result<Option<WalkBucket>, StorageError> {
        let page = move |view: &dyn View| {
            let mut cursor =
                view.cursor(Family::Directory, KeyRange { start: from.clone().into_bytes(), end: None })?;
            while let Some((name, _, value)) = cursor.row() {
                let entry = DirectoryEntry::from_value(value)?;
                if is_of(&entry, entry.bucket) {
                    let name = String::from_utf8_lossy(name).into_owned();
                    return Ok(Some(WalkBucket { id: entry.bucket, name }));
                }
                cursor.advance()?;
            }
            Ok(None)
        };
        Ok(self.index().view(Partition::SYSTEM, page).await?)
    }
}

/// Whether the entry is of this bucket, and the bucket was ever there.
fn is_of(entry: &DirectoryEntry, id: BucketId) -> bool {
    entry.bucket == id && entry.state != EntryState::Creating
}
