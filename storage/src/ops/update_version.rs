//! What may change about a version: its tags, what locks it, its ACL. The version stays where it is and keeps its id.

use crate::StorageError;
use crate::index::Family;
use crate::index::family::bucket::BucketRecord;
use crate::index::family::version::{self, Version};
use crate::object::{ObjectKey, ObjectVersion};
use crate::record::Record;
use crate::settings::ObjectSettings;

use super::lock;
use super::placement::Mutation;
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Bucket, Governance, Permit, Store, VersionSelector};

impl Store {
    /// Replaces a version's settings by what `change` makes of them. `change` may run several times, on what is there
    /// then. Durable when it returns; the version as it is now.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `IsDeleteMarker`, `NotPermitted`, `Locked` (a retention would become
    /// weaker), `MetadataTooLarge`, `ReadOnly`, `Overloaded`, and those of `change`: nothing changed.
    pub async fn update_version(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        change: impl Fn(&BucketRecord, &ObjectVersion) -> Result<ObjectSettings, StorageError>,
    ) -> Result<ObjectVersion, StorageError> {
        self.update_version_as(bucket, key, selector, permit, Governance::Heeded, change).await
    }

    /// [`Store::update_version`] by a caller who may bypass a GOVERNANCE retention, or not.
    pub(super) async fn update_version_as(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        governance: Governance,
        change: impl Fn(&BucketRecord, &ObjectVersion) -> Result<ObjectSettings, StorageError>,
    ) -> Result<ObjectVersion, StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, selector).await?;
            let head = seen.head.head.as_ref();
            let version = head.and_then(|head| seen.find(head, selector));
            let object = version_found(version, selector)?;
            permit.check(object)?;
            let settings = change(&seen.bucket.record, object)?;
            let lock_time = self.lock_clock().now();
            lock::check_change(object.settings.retention, settings.retention, lock_time, governance)?;
            if settings == object.settings {
                return Ok(object.clone());
            }
            let changed = ObjectVersion { settings, ..object.clone() };
            let mutation = replace(key, &seen, &changed)?;
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(changed);
            }
        }
        Err(StorageError::Contention)
    }
}

/// The object among what was found, or what a client is told instead.
pub(super) fn version_found(
    version: Option<&Version>,
    selector: VersionSelector,
) -> Result<&ObjectVersion, StorageError> {
    match (version, selector) {
        (Some(Version::Object(object)), _) => Ok(object),
        (None, VersionSelector::Newest) => Err(StorageError::NoSuchKey { delete_marker: None }),
        (None, _) => Err(StorageError::NoSuchVersion),
        (Some(Version::Marker(marker)), VersionSelector::Newest) => {
            Err(StorageError::NoSuchKey { delete_marker: Some(marker.shown()) })
        }
        (Some(Version::Marker(marker)), _) => Err(StorageError::IsDeleteMarker(marker.shown())),
    }
}

/// Puts `changed` where the version of its id is. The head is written in any case: its new revision stops a deletion
/// that was decided on the version as it was.
pub(super) fn replace(key: &ObjectKey, seen: &SeenKey, changed: &ObjectVersion) -> Result<Mutation, StorageError> {
    let mut mutation = Mutation::new(&seen.bucket);
    let Some(head) = &seen.head.head else { return Ok(mutation) };
    let version = Version::Object(changed.clone());
    let mut head = head.clone();
    if head.version.id() == changed.version_id {
        head.version = version;
    } else {
        mutation.batch.put(Family::Version, version::key(key, changed.version_id), version.to_value()?);
    }
    mutation.replace_head(key, &seen.head, &head)?;
    Ok(mutation)
}
