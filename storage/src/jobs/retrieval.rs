//! Telling when an archived version can be read, and when it cannot any more. Both are times in the version's record, so
//! nothing else is to be done when they come. The task joins RestoreObject's commit; after a crash it may tell twice.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{BucketId, VersionId};
use crate::index::Partition;
use crate::index::family::bucket::BucketRecord;
use crate::index::family::job::Queue;
use crate::object::{ObjectKey, ObjectVersion, Restored};
use crate::ops::Store;

use super::{Handler, NewTask, Verdict};

/// Which restore, of which version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct RetrievalTask {
    #[n(0)]
    pub(crate) key: String,
    #[n(1)]
    pub(crate) version: VersionId,
    #[n(2)]
    pub(crate) restored: Restored,
}

impl RetrievalTask {
    /// The task, due when there is something to tell: that it can be read, unless it could `before`.
    pub(crate) fn due_after(&self, before: Option<Restored>, now: Timestamp) -> NewTask {
        let Restored { ready, ends, .. } = self.restored;
        let was_ready = before.is_some_and(|before| before.ready == ready) && ready <= now;
        let task = minicbor::to_vec(self).unwrap_or_default(); // writing to a Vec cannot fail
        NewTask { queue: Queue::Retrieval, due: if was_ready { ends } else { ready }, task, lane: None }
    }
}

/// What is told of a restored version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieved {
    /// It can be read.
    Ready,
    /// It cannot be read any more.
    Over,
}

/// Who is told.
pub trait RetrievalListener: Send + Sync + fmt::Debug + 'static {
    /// A restored version can be read, or cannot be any more. Must be quick.
    fn retrieved(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        object: &ObjectVersion,
        what: Retrieved,
        now: Timestamp,
    );
}

/// Runs the tasks.
#[derive(Debug)]
pub struct Retrievals {
    listener: Arc<dyn RetrievalListener>,
}

impl Retrievals {
    /// Tells this one.
    #[must_use]
    pub fn new(listener: Arc<dyn RetrievalListener>) -> Self {
        Self { listener }
    }
}

#[async_trait]
impl Handler for Retrievals {
    fn queue(&self) -> Queue {
        Queue::Retrieval
    }

    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict {
        let task: RetrievalTask = match minicbor::decode(task) {
            Ok(task) => task,
            Err(error) => return Verdict::Failed(format!("retrieval task: {error}")),
        };
        let Some(key) = ObjectKey::new(&task.key) else { return Verdict::Failed("retrieval task: no key".to_owned()) };
        let RetrievalTask { version, restored, .. } = task;
        let found = store.restored_version(BucketId::from_bytes(partition.0), &key, version, restored).await;
        let (bucket, object) = match found {
            // The version is gone, or was restored otherwise since, which has a task of its own.
            Ok(None) => return Verdict::Done,
            Ok(Some(found)) => found,
            Err(error) => return Verdict::Failed(error.to_string()),
        };
        let now = store.clock().now();
        let tell = |what| self.listener.retrieved(&bucket, &key, &object, what, now);
        if now >= restored.ends {
            tell(Retrieved::Over);
            return Verdict::Done;
        }
        if now < restored.ready {
            return Verdict::Later(restored.ready.0 - now.0);
        }
        tell(Retrieved::Ready);
        if restored.ends == Timestamp(i64::MAX) { Verdict::Done } else { Verdict::Later(restored.ends.0 - now.0) }
    }
}
