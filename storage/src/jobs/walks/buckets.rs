//! Where a walk through whole buckets is: a cursor for walkers whose steps are each about one bucket.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::id::BucketId;
use crate::index::family::directory::EntryState;
use crate::index::family::walk::{WalkBucket, WalkRecord};
use crate::ops::Store;

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
    /// The bucket that a walk is in, and where; None: there is none left.
    ///
    /// # Errors
    /// `Corrupt` if the cursor is none of [`WalkPlace::then`]; the index's.
    pub async fn walk_place(&self, walk: &WalkRecord) -> Result<Option<WalkPlace>, StorageError> {
        let buckets = self.all_buckets().await?.into_iter().filter(|(_, entry)| entry.state == EntryState::Active);
        let mut buckets = buckets.map(|(name, entry)| WalkBucket { id: entry.bucket, name });
        if let Some(only) = &walk.bucket {
            let found = buckets.find(|bucket| bucket.id == only.id);
            return Ok(found.map(|bucket| WalkPlace { bucket, within: walk.cursor.to_vec(), alone: true }));
        }
        let cursor: StoreCursor = if walk.cursor.is_empty() {
            StoreCursor { from: String::new(), bucket: None, within: Vec::new().into() }
        } else {
            minicbor::decode(&walk.cursor).map_err(|error| StorageError::corrupt(format!("walk's cursor: {error}")))?
        };
        let Some(bucket) = buckets.find(|bucket| bucket.name >= cursor.from) else { return Ok(None) };
        let within = if cursor.bucket == Some(bucket.id) { cursor.within.into() } else { Vec::new() };
        Ok(Some(WalkPlace { bucket, within, alone: false }))
    }
}
