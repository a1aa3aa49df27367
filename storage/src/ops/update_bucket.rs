//! What is set about a bucket: the bucket row, and the documents beside it.
//!
//! The bucket row is guarded by every mutation in the bucket, so a change of it (versioning, default retention) holds for
//! everything that commits after it. Documents are bytes to storage.

use bytes::Bytes;

use crate::StorageError;
use crate::index::family::bucket::{self, BucketRecord, ObjectOwnership, Versioning};
use crate::index::family::document::DocumentKind;
use crate::index::{Batch, Family, Partition, View};
use crate::record::Record;

use super::placement::Mutation;
use super::seen::SeenBucket;
use super::{ATTEMPTS_MAX, Bucket, Powers, Store};

/// The largest document, as stored.
pub const DOCUMENT_BYTES_MAX: usize = 2 << 20;

const ACL_KEY: [u8; 1] = [DocumentKind::Acl as u8];

impl Store {
    /// Sets the bucket's versioning, and MFA delete unless it is to stay as it is. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`; `InvalidBucketState`: a bucket with object lock keeps every version, and one with lifecycle rules has
    /// no MFA delete; `MfaRequired`.
    pub async fn set_versioning(
        &self,
        bucket: &Bucket,
        versioning: Versioning,
        mfa_delete: Option<bool>,
        powers: Powers,
    ) -> Result<(), StorageError> {
        self.update_bucket(bucket, |record| {
            let wanted = mfa_delete.unwrap_or(record.mfa_delete);
            if (record.mfa_delete || wanted) && !powers.mfa {
                return Err(StorageError::MfaRequired);
            }
            // "You can't use MFA delete with lifecycle configurations" (S3 user guide, "Configuring MFA delete").
            if wanted && !record.mfa_delete && record.lifecycle.is_some() {
                return Err(StorageError::InvalidBucketState {
                    what: "MFA delete is not supported on a bucket with a lifecycle configuration.",
                });
            }
            record.mfa_delete = wanted;
            if record.object_lock && versioning != Versioning::Enabled {
                return Err(StorageError::InvalidBucketState {
                    what: "An Object Lock configuration is present on this bucket, so the versioning state cannot be \
                           changed.",
                });
            }
            if record.replication.is_some() && versioning != Versioning::Enabled {
                return Err(StorageError::InvalidBucketState {
                    what: "A replication configuration is present on this bucket, so you cannot change the versioning state. \
                           To change the versioning state, first delete the replication configuration.",
                });
            }
            record.versioning = versioning;
            Ok(())
        })
        .await
    }

    /// Changes the bucket row. `change` may run several times, on what is there then. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `ReadOnly`, `Overloaded`, and those of `change`: nothing changed.
    pub async fn update_bucket(
        &self,
        bucket: &Bucket,
        change: impl Fn(&mut BucketRecord) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = SeenBucket::writable(self.view(bucket.id, SeenBucket::read).await?)?;
            let mut record = seen.record.clone();
            change(&mut record)?;
            if record == seen.record {
                return Ok(());
            }
            // Its guard of the bucket row stops: two changes of different fields, which would undo one another.
            let mut mutation = Mutation::new(&seen);
            mutation.batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }

    /// Sets who owns what is written into the bucket, if `allowed` lets it with the ACL that the bucket then has. Durable
    /// when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `ReadOnly`, `Overloaded`, and those of `allowed`: nothing changed.
    pub async fn set_ownership(
        &self,
        bucket: &Bucket,
        ownership: ObjectOwnership,
        allowed: impl Fn(Option<&[u8]>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let page = |view: &dyn View| Ok((SeenBucket::read(view)?, view.get(Family::Document, &ACL_KEY)?));
            let (seen, acl) = self.view(bucket.id, page).await?;
            let seen = SeenBucket::writable(seen)?;
            allowed(acl.as_ref().map(|row| row.value.as_ref()))?;
            let record = BucketRecord { ownership, ..seen.record.clone() };
            let mut mutation = Mutation::new(&seen);
            // Stops: this x a change of the bucket's ACL, after which `allowed` might say something else.
            mutation.batch.guard(Family::Document, ACL_KEY, acl.map(|row| row.revision));
            mutation.batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }

    /// A document of the bucket.
    ///
    /// # Errors
    /// The index's.
    pub async fn document(&self, bucket: &Bucket, kind: DocumentKind) -> Result<Option<Bytes>, StorageError> {
        self.view(bucket.id, move |view| Ok(view.get(Family::Document, &kind.key())?.map(|row| row.value))).await
    }

    /// Changes a document of the bucket that has several writers. `change` may run several times, on what is there then; None:
    /// it stays as it is. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `MetadataTooLarge`, `ReadOnly`, `Overloaded`, and those of `change`: nothing changed.
    pub async fn change_document<E: From<StorageError>>(
        &self,
        bucket: &Bucket,
        kind: DocumentKind,
        change: impl Fn(Option<&[u8]>) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<(), E> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let page = move |view: &dyn View| Ok((SeenBucket::read(view)?, view.get(Family::Document, &kind.key())?));
            let (seen, row) = self.view(bucket.id, page).await?;
            let seen = SeenBucket::writable(seen)?;
            let Some(document) = change(row.as_ref().map(|row| row.value.as_ref()))? else { return Ok(()) };
            if document.len() > DOCUMENT_BYTES_MAX {
                return Err(StorageError::MetadataTooLarge.into());
            }
            let mut mutation = Mutation::new(&seen);
            // Stops: two changes of different parts of the document, which would undo one another.
            mutation.batch.guard(Family::Document, kind.key(), row.map(|row| row.revision));
            mutation.batch.put(Family::Document, kind.key(), document);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention.into())
    }

    /// Whether lifecycle sweeps are paused in all buckets.
    ///
    /// # Errors
    /// The index's.
    pub async fn sweeps_paused(&self) -> Result<bool, StorageError> {
        let key = DocumentKind::SweepsPaused.key();
        let page = move |view: &dyn View| Ok(view.get(Family::Document, &key)?.is_some());
        Ok(self.index().view(Partition::SYSTEM, page).await?)
    }

    /// Pauses lifecycle sweeps in all buckets, or ends that. Durable when it returns.
    ///
    /// # Errors
    /// `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn set_sweeps_paused(&self, paused: bool) -> Result<(), StorageError> {
        self.health().check_writable()?;
        let mut batch = Batch::new();
        let key = DocumentKind::SweepsPaused.key();
        if paused {
            batch.put(Family::Document, key, Bytes::new())
        } else {
            batch.delete(Family::Document, key)
        }
        // There is nothing to race with: whoever comes last decides.
        self.commit(Partition::SYSTEM, batch, Vec::new()).await.map(|_| ())
    }

    /// Sets a document of the bucket, or removes it, if `change` lets the bucket as it is then have it; what that changes of
    /// the bucket is set with it. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `MetadataTooLarge`, `ReadOnly`, `Overloaded`, and those of `change`: nothing changed.
    pub async fn set_document(
        &self,
        bucket: &Bucket,
        kind: DocumentKind,
        document: Option<Bytes>,
        change: impl Fn(&mut BucketRecord) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.health().check_writable()?;
        if document.as_ref().is_some_and(|document| document.len() > DOCUMENT_BYTES_MAX) {
            return Err(StorageError::MetadataTooLarge);
        }
        for _ in 0..ATTEMPTS_MAX {
            let seen = SeenBucket::writable(self.view(bucket.id, SeenBucket::read).await?)?;
            let mut record = seen.record.clone();
            change(&mut record)?;
            let mut mutation = Mutation::new(&seen);
            if record != seen.record {
                mutation.batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
            }
            match &document {
                Some(document) => mutation.batch.put(Family::Document, kind.key(), document.clone()),
                None => mutation.batch.delete(Family::Document, kind.key()),
            }
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }
}
