//! Setting locks: on a bucket (object lock itself and the default retention) and on a version (retention, legal hold).

use crate::StorageError;
use crate::index::family::bucket::{BucketRecord, DefaultRetention, Versioning};
use crate::object::{ObjectKey, ObjectVersion};
use crate::settings::{ObjectSettings, Retention};

use super::lock::{self, Governance};
use super::{Bucket, Permit, Store, VersionSelector};

impl Store {
    /// Enables object lock, for as long as the bucket lives, and sets the retention of new versions that ask for none.
    /// Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`; `InvalidBucketState`: versioning is not enabled.
    pub async fn set_object_lock(
        &self,
        bucket: &Bucket,
        default_retention: Option<DefaultRetention>,
    ) -> Result<(), StorageError> {
        self.begin_lock_time().await?;
        self.update_bucket(bucket, |record| {
            if record.versioning != Versioning::Enabled {
                return Err(StorageError::InvalidBucketState {
                    what: "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
                });
            }
            record.object_lock = true;
            record.default_retention = default_retention;
            Ok(())
        })
        .await
    }

    /// Sets or removes a version's retention. Durable when it returns.
    ///
    /// # Errors
    /// As [`Store::update_version`]; `NoObjectLock`; `RetentionInPast`; `Locked`: the retention that it has does not
    /// allow it.
    pub async fn set_retention(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        retention: Option<Retention>,
        governance: Governance,
    ) -> Result<ObjectVersion, StorageError> {
        let change = |record: &BucketRecord, object: &ObjectVersion| {
            check_has_lock(record)?;
            lock::check_future(retention, self.lock_clock().now())?;
            Ok(self.dated(object, ObjectSettings { retention, ..object.settings.clone() }))
        };
        self.update_version_as(bucket, key, selector, permit, governance, change).await
    }

    /// Sets or lifts a version's legal hold. Durable when it returns.
    ///
    /// # Errors
    /// As [`Store::update_version`]; `NoObjectLock`.
    pub async fn set_legal_hold(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        hold: bool,
    ) -> Result<ObjectVersion, StorageError> {
        let change = |record: &BucketRecord, object: &ObjectVersion| {
            check_has_lock(record)?;
            Ok(self.dated(object, ObjectSettings { legal_hold: Some(hold), ..object.settings.clone() }))
        };
        self.update_version(bucket, key, selector, permit, change).await
    }

    /// A version's settings with the time at which its lock was changed, if it was. A later change has a later time, whatever the clock does.
    fn dated(&self, object: &ObjectVersion, settings: ObjectSettings) -> ObjectSettings {
        if settings == object.settings {
            return settings;
        }
        let after_last = settings.lock_changed.map(|last| last.plus_ms(1));
        ObjectSettings { lock_changed: after_last.max(Some(self.clock().now())), ..settings }
    }
}

fn check_has_lock(bucket: &BucketRecord) -> Result<(), StorageError> {
    if bucket.object_lock { Ok(()) } else { Err(StorageError::NoObjectLock) }
}
