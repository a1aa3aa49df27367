//! Forgets the answer of a completed multipart upload, a day after.

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::UploadId;
use crate::index::family::job::Queue;
use crate::index::family::upload;
use crate::index::{Batch, Family, Partition};
use crate::object::ObjectKey;
use crate::ops::Store;

use super::{Handler, NewTask, Verdict};

/// Which upload.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ForgetUploadTask {
    /// The object's key.
    #[n(0)]
    pub key: String,
    /// The upload.
    #[n(1)]
    pub upload: UploadId,
}

impl ForgetUploadTask {
    /// The task, due at `due`.
    #[must_use]
    pub fn due_at(&self, due: Timestamp) -> NewTask {
        let task = minicbor::to_vec(self).unwrap_or_default(); // writing to a Vec cannot fail
        NewTask { queue: Queue::ForgetUpload, due, task, lane: None }
    }
}

/// Runs the tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForgetUpload;

#[async_trait]
impl Handler for ForgetUpload {
    fn queue(&self) -> Queue {
        Queue::ForgetUpload
    }

    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict {
        match forget(store, partition, task).await {
            Ok(()) => Verdict::Done,
            Err(error) => Verdict::Failed(error.to_string()),
        }
    }
}

async fn forget(store: &Store, partition: Partition, task: &[u8]) -> Result<(), StorageError> {
    let task: ForgetUploadTask =
        minicbor::decode(task).map_err(|error| StorageError::corrupt(format!("forget-upload task: {error}")))?;
    let key = ObjectKey::new(&task.key).ok_or_else(|| StorageError::corrupt("forget-upload task: key"))?;
    let mut batch = Batch::new();
    // No guard: the task exists only for completed uploads, which nothing changes.
    batch.delete(Family::Upload, upload::key(&key, task.upload));
    store.commit(partition, batch, Vec::new()).await?;
    Ok(())
}
