//! Bringing new files to where their class has them in the end, if that is another service: they are written, and acknowledged,
//! in the data directory. The task joins the commit of the version.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::blob::BlobStore;
use crate::id::{BucketId, VersionId};
use crate::index::Partition;
use crate::index::family::bucket::BucketRecord;
use crate::index::family::document::DocumentKind;
use crate::index::family::job::Queue;
use crate::index::family::version::Version;
use crate::object::ObjectKey;
use crate::ops::Store;
use crate::ops::planner::{Change, Plan, Planner};
use crate::ops::settle::may_lie_elsewhere;

use super::{Handler, NewTask, Verdict};

/// Until a version is tried again whose tier is down, or full, in milliseconds: an eighth of its age, but at least so long ...
const RETRY_MS_MIN: i64 = 5_000;

/// ... and at most so long. So many versions that wait for days cost little.
const RETRY_MS_MAX: i64 = 600_000;

/// Which version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct SettleTask {
    #[n(0)]
    key: String,
    #[n(1)]
    version: VersionId,
}

/// Plans the tasks, beside those of another planner.
#[derive(Debug)]
pub struct SettlePlanner {
    blobs: BlobStore,
    other: Arc<dyn Planner>,
}

impl SettlePlanner {
    /// Plans for what is written to these files, and what `other` plans.
    #[must_use]
    pub fn new(blobs: BlobStore, other: Arc<dyn Planner>) -> Self {
        Self { blobs, other }
    }
}

impl Planner for SettlePlanner {
    fn kinds(&self, bucket: &BucketRecord) -> &[DocumentKind] {
        self.other.kinds(bucket)
    }

    fn plan(&self, change: Change<'_>, bucket: &BucketRecord, documents: &[Option<Bytes>]) -> Plan {
        let mut plan = self.other.plan(change, bucket, documents);
        if let Change::Added { key, version: Version::Object(object), .. } = change {
            let class = object.place_class();
            let settled = self.blobs.settled_place_of(class);
            if settled != self.blobs.place_of(class) && may_lie_elsewhere(object, settled) {
                let task = SettleTask { key: key.as_str().to_owned(), version: object.version_id };
                let task = minicbor::to_vec(task).unwrap_or_default(); // writing to a Vec cannot fail
                plan.tasks.push(NewTask { queue: Queue::Settle, due: object.created, task, lane: None });
            }
        }
        plan
    }
}

/// Runs them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settler;

#[async_trait]
impl Handler for Settler {
    fn queue(&self) -> Queue {
        Queue::Settle
    }

    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict {
        let task: SettleTask = match minicbor::decode(task) {
            Ok(task) => task,
            Err(error) => return Verdict::Failed(format!("settle task: {error}")),
        };
        let Some(key) = ObjectKey::new(&task.key) else { return Verdict::Failed("settle task: no key".to_owned()) };
        match store.settle_version(BucketId::from_bytes(partition.0), &key, task.version).await {
            Ok(_) | Err(StorageError::NoSuchBucket) => Verdict::Done,
            Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => Verdict::Failed(error.to_string()),
            // However long it takes, the file is to get there; until then it is where it was written.
            Err(_) => Verdict::Later(retry_ms(store.clock().now().0, task.version)),
        }
    }
}

fn retry_ms(now_ms: i64, version: VersionId) -> i64 {
    let since_ms = i64::try_from(version.order() / 1_000).unwrap_or(now_ms);
    (now_ms.saturating_sub(since_ms) / 8).clamp(RETRY_MS_MIN, RETRY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_tried_again_the_later_the_longer_it_waits() {
        let of = |order: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&order.to_be_bytes());
            VersionId::from_bytes(bytes)
        };
        assert_eq!(retry_ms(1_001_000, of(1_000_000_000)), RETRY_MS_MIN);
        assert_eq!(retry_ms(1_800_000, of(1_000_000_000)), 100_000);
        assert_eq!(retry_ms(i64::MAX, of(1_000_000_000)), RETRY_MS_MAX);
        assert_eq!(retry_ms(1_000_000, of(u64::MAX)), RETRY_MS_MIN, "its order was given elsewhere, by another clock");
    }
}
