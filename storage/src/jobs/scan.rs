//! The scan for files that no commit ever named: left by a crash between a file's sync and its commit, or in the middle
//! of an upload.
//!
//! It runs after an unclean stop, and daily for what a request may have left that was dropped while its commit failed.
//! Only files that no earlier scan saw are looked at (content ids carry their time). A file is a candidate if no
//! bucket has a `content` row for it and no writer pins it; what is still a candidate after a pause (in which any
//! commit that was under way has ended) goes to quarantine, and is unlinked a day later if still nothing names it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, ContentId};
use crate::index::family::document::DocumentKind;
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, View};
use crate::ops::Store;

use super::Verdict;
use super::collect::CollectTask;

/// How long a file stays in quarantine.
const QUARANTINE_MS: i64 = 24 * 60 * 60 * 1_000;

/// How long before the last scan a file may have been begun that became an orphan after it: by a slow upload, or with a
/// clock that was behind.
const BEGUN_BEFORE_MS_MAX: i64 = 48 * 60 * 60 * 1_000;

/// How many files are looked for in one view of a bucket.
const LOOKUP_MAX: usize = 10_000;

/// How the scan goes about it.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// Between the first look and the second.
    pub pause: Duration,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { pause: Duration::from_secs(600) }
    }
}

/// From which time on files must be scanned: what is older was looked at by a scan that ended.
///
/// # Errors
/// The index's.
pub async fn floor(store: &Store) -> Result<Timestamp, StorageError> {
    let key = DocumentKind::ScanFloor.key();
    let row = store.index().view(Partition::SYSTEM, move |view| view.get(Family::Document, &key)).await?;
    Ok(Timestamp(row.and_then(|row| row.value.as_ref().try_into().ok()).map_or(0, i64::from_be_bytes)))
}

/// Scans the files made since `floor` and quarantines those that nothing names. Returns how many.
///
/// # Errors
/// The store's; then nothing more is moved, and the next scan looks at the same files again.
pub async fn quarantine_orphans(store: &Store, floor: Timestamp, options: ScanOptions) -> Result<u64, StorageError> {
    let started = store.clock().now();
    let (mut candidates, mut is_partial, mut unseen) = (Vec::new(), false, Vec::new());
    // A bucket that comes after this has candidates that the second look will find named.
    let buckets = buckets(store).await?;
    for folder in 0..=u8::MAX {
        let listing = store.blobs().list(folder).await?;
        is_partial |= listing.is_partial;
        for path in listing.strangers {
            tracing::warn!(path, "a file among the blobs is not Cairn's; it is left alone");
        }
        let oldest = floor.plus_ms(-BEGUN_BEFORE_MS_MAX).unsigned_ms();
        unseen.extend(listing.contents.into_iter().filter(|id| id.created_ms() >= oldest));
        while unseen.len() >= LOOKUP_MAX || (folder == u8::MAX && !unseen.is_empty()) {
            let some = unseen.split_off(unseen.len().saturating_sub(LOOKUP_MAX));
            candidates.extend(orphans(store, some, &buckets).await?);
        }
    }
    let mut moved = 0;
    if !candidates.is_empty() {
        tokio::time::sleep(options.pause).await;
        for id in still_orphans(store, candidates).await? {
            match quarantine(store, id).await {
                Ok(was_moved) => moved += u64::from(was_moved),
                Err(StorageError::TierDown { .. }) => is_partial = true,
                Err(error) => return Err(error),
            }
        }
    }
    // Of a tier that was down no file was looked at.
    if !is_partial {
        put_floor(store, started).await?;
    }
    Ok(moved)
}

/// Moves the file to quarantine; false: it is gone.
async fn quarantine(store: &Store, id: ContentId) -> Result<bool, StorageError> {
    let purge = CollectTask::Quarantined(id).due_at(store.clock().now().plus_ms(QUARANTINE_MS));
    store.commit(Partition::SYSTEM, Batch::new(), vec![purge]).await?;
    match store.blobs().quarantine(id).await {
        // The collector was faster: the file had a task that waited for its turn.
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
        moved => moved?,
    }
    tracing::info!(content = %id, "a file that nothing names was moved to quarantine");
    Ok(true)
}

/// Unlinks a file from quarantine, unless something names it after all.
pub(super) async fn purge(store: &Store, id: ContentId) -> Result<Verdict, StorageError> {
    if unnamed(store, vec![id], &buckets(store).await?).await?.is_empty() {
        return Ok(Verdict::Failed(format!("content {id} is in quarantine, but the index names it")));
    }
    store.blobs().unlink_quarantined(id).await?;
    Ok(Verdict::Done)
}

/// The second look at the candidates.
async fn still_orphans(store: &Store, candidates: Vec<ContentId>) -> Result<Vec<ContentId>, StorageError> {
    let (buckets, mut still) = (buckets(store).await?, Vec::new());
    for some in candidates.chunks(LOOKUP_MAX) {
        still.extend(orphans(store, some.to_vec(), &buckets).await?);
    }
    Ok(still)
}

/// Those of the files that no bucket has a row for and nobody pins.
async fn orphans(store: &Store, mut ids: Vec<ContentId>, buckets: &[BucketId]) -> Result<Vec<ContentId>, StorageError> {
    // The pins first: a writer drops one only after its commit, whose row the views then show.
    ids.retain(|id| !store.pins().is_pinned(*id));
    unnamed(store, ids, buckets).await
}

/// Those of the contents that no bucket has a row for. Files are not asked whose they are: only the index is believed.
async fn unnamed(store: &Store, mut ids: Vec<ContentId>, buckets: &[BucketId]) -> Result<Vec<ContentId>, StorageError> {
    ids.sort_unstable();
    for bucket in buckets {
        if ids.is_empty() {
            break;
        }
        let sought: Arc<[ContentId]> = ids.as_slice().into();
        let named = store.index().view_far((*bucket).into(), move |view| named(view, &sought)).await?;
        ids.retain(|id| named.binary_search(id).is_err());
    }
    Ok(ids)
}

/// Those of the contents, which are in order, that have a row.
fn named(view: &dyn View, sought: &[ContentId]) -> Result<Vec<ContentId>, IndexError> {
    let (mut named, mut rest) = (Vec::new(), sought);
    let mut cursor = view.cursor(Family::Content, KeyRange::all())?;
    while let Some(first) = rest.first() {
        cursor.seek(first.as_bytes())?;
        let Some((key, _, _)) = cursor.row() else { break };
        rest = &rest[rest.partition_point(|id| id.as_bytes().as_slice() < key)..];
        if let Some(found) = rest.first().filter(|id| id.as_bytes().as_slice() == key) {
            named.push(*found);
            rest = &rest[1..];
        }
    }
    Ok(named)
}

async fn buckets(store: &Store) -> Result<Vec<BucketId>, StorageError> {
    Ok(store.all_buckets().await?.into_iter().map(|(_, entry)| entry.bucket).collect())
}

async fn put_floor(store: &Store, floor: Timestamp) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    // No guard: only the one process on the data directory writes it.
    batch.put(Family::Document, DocumentKind::ScanFloor.key(), floor.0.to_be_bytes().to_vec());
    store.commit(Partition::SYSTEM, batch, Vec::new()).await?;
    Ok(())
}
