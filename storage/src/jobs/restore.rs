//! Runs restores to a point in time, some pages at a time, so that the restores of several buckets take turns and a stop
//! waits for none of them.

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, JobId};
use crate::index::Partition;
use crate::index::family::job::Queue;
use crate::ops::Store;
use crate::ops::restore::{RestoreLimits, Step};

use super::{Handler, NewTask, Verdict};

/// Until a restore goes on that the store did not let.
const HINDERED_RETRY_MS: i64 = 1_000;

/// Which restore: that of the bucket's [`crate::index::family::restore::RestoreRecord`], if it still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RestoreTask {
    /// The restore.
    #[n(0)]
    pub restore: JobId,
}

impl RestoreTask {
    /// The task, due at `due`.
    #[must_use]
    pub fn due_at(self, due: Timestamp) -> NewTask {
        let task = minicbor::to_vec(self).unwrap_or_default(); // writing to a Vec cannot fail
        NewTask { queue: Queue::Restore, due, task, lane: None }
    }
}

/// Runs the tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restorer {
    /// How much it does at once.
    pub limits: RestoreLimits,
}

#[async_trait]
impl Handler for Restorer {
    fn queue(&self) -> Queue {
        Queue::Restore
    }

    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict {
        let bucket = BucketId::from_bytes(partition.0);
        let task: RestoreTask = match minicbor::decode(task) {
            Ok(task) => task,
            Err(error) => return Verdict::Failed(format!("restore task: {error}")),
        };
        for _ in 0..self.limits.pages_per_turn {
            match store.restore_page(bucket, task.restore, self.limits).await {
                Ok(Step::More) => {}
                Ok(Step::Over) => return Verdict::Done,
                Err(error) if passes(&error) => {
                    tracing::warn!(%bucket, restore = %task.restore, %error, "a restore waits");
                    return Verdict::Later(HINDERED_RETRY_MS);
                }
                Err(error) => return give_up(store, bucket, task.restore, &error).await,
            }
        }
        Verdict::Later(0)
    }
}

/// Whether it may go better later, without anybody's doing but an operator's.
fn passes(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Overloaded
            | StorageError::DiskFull { .. }
            | StorageError::ReadOnly { .. }
            | StorageError::OutcomeUnknown
            | StorageError::Contention
            | StorageError::BucketBusy
    )
}

/// What cannot go on says so in the bucket's record, where its operator looks.
async fn give_up(store: &Store, bucket: BucketId, restore: JobId, error: &StorageError) -> Verdict {
    tracing::error!(%bucket, %restore, %error, "a restore is given up");
    match store.fail_restore(bucket, restore, &error.to_string()).await {
        Ok(()) => Verdict::Done,
        Err(error) if passes(&error) => Verdict::Later(HINDERED_RETRY_MS),
        Err(error) => Verdict::Failed(error.to_string()),
    }
}
