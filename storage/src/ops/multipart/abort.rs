//! AbortMultipartUpload.

use crate::StorageError;
use crate::id::UploadId;
use crate::index::Family;
use crate::index::family::upload;
use crate::jobs::collect::CollectTask;
use crate::object::ObjectKey;
use crate::ops::placement::Mutation;
use crate::ops::{ATTEMPTS_MAX, Bucket, Store};

impl Store {
    /// Ends an upload; its parts are freed. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchUpload`, also after Complete; `NoSuchBucket`, `ReadOnly`, `Overloaded`.
    pub async fn abort_upload(&self, bucket: &Bucket, key: &ObjectKey, id: UploadId) -> Result<(), StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_upload(bucket, key, id).await?;
            seen.check_open()?;
            let mut mutation = Mutation::new(&seen.bucket);
            seen.guard(&mut mutation.batch, key, id);
            mutation.batch.delete(Family::Upload, upload::key(key, id));
            mutation.tasks.push(CollectTask::Parts(seen.record.content).due_at(self.clock().now()));
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }
}
