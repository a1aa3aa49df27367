//! Archived versions in the workload: each step of restoring them, until the end of what was restored, and of bringing them back;
//! and what rules end.

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::object::{AccessTier, Restored, RetrievalTier, StorageClass};
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::{Permit, VersionSelector};

use crate::rig::{FILE_BYTES, START, bytes, object_key};

use super::Work;
use super::see::Access;

const BUCKET: &str = "cold";

/// A restore from and until so many milliseconds after the start.
fn restored(tier: RetrievalTier, ready_ms: i64, ends_ms: i64) -> Restored {
    Restored { requested: START, ready: START.plus_ms(ready_ms), ends: START.plus_ms(ends_ms), tier }
}

impl Work {
    /// Moves the key's only version, which is then read in this way.
    async fn move_cold(&mut self, key: &str, act: Act, access: Access) -> Result<(), StorageError> {
        self.log.begin(|seen| seen.newest_mut(BUCKET, key).access = access);
        self.act(BUCKET, key, 0, act).await?;
        self.log.end();
        Ok(())
    }

    async fn restore(&mut self, key: &str, restored: Restored) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        self.log.begin(|seen| seen.newest_mut(BUCKET, key).access = Access::Restored(restored));
        let (key, any) = (object_key(key), Permit::any());
        self.rig.store.restore_object(&bucket, &key, VersionSelector::Newest, &any, |_| Ok(restored)).await?;
        self.log.end();
        Ok(())
    }
}

/// Ends at the first error, which is the power cut.
pub(super) async fn work_with_archives(work: &mut Work) -> Result<(), StorageError> {
    work.create_bucket(BUCKET).await?;
    work.set_rules(BUCKET).await?;
    work.put(BUCKET, "file", bytes(40, FILE_BYTES)).await?;
    work.put(BUCKET, "inline", bytes(41, 10)).await?;
    for key in ["file", "inline"] {
        work.move_cold(key, Act::Transition(StorageClass::Glacier), Access::Archived).await?;
    }
    work.collect().await?;
    // Asked for, wanted sooner, kept longer once it is ready, and over.
    for key in ["file", "inline"] {
        work.restore(key, restored(RetrievalTier::Bulk, 1_000, 9_000)).await?;
    }
    work.restore("file", restored(RetrievalTier::Expedited, 10, 9_000)).await?;
    work.rig.clock.advance_ms(10);
    work.restore("file", restored(RetrievalTier::Expedited, 10, 12_000)).await?;
    work.rig.clock.advance_ms(12_000);
    work.restore("file", restored(RetrievalTier::Standard, 13_000, 20_000)).await?;
    work.end(BUCKET, "file", 0, Act::Expire).await?;
    work.end(BUCKET, "inline", 0, Act::Expire).await?;
    work.collect().await?;

    // What comes back for good.
    work.put(BUCKET, "tiered", bytes(42, FILE_BYTES)).await?;
    work.move_cold("tiered", Act::Transition(StorageClass::IntelligentTiering), Access::Free).await?;
    work.move_cold("tiered", Act::Tier(AccessTier::Archive), Access::Archived).await?;
    let for_good = Restored { ends: Timestamp(i64::MAX), ..restored(RetrievalTier::Standard, 13_000, 0) };
    work.restore("tiered", for_good).await?;
    work.rig.clock.advance_ms(1_000);
    work.collect().await?;
    work.move_cold("tiered", Act::Tier(AccessTier::Frequent), Access::Free).await?;
    work.collect().await
}
