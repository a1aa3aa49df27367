//! What may change about a version: its tags, what locks it, its ACL. The version stays where it is and keeps its id.

use crate::StorageError;
use crate::index::family::bucket::BucketRecord;
use crate::index::family::version::Version;
use crate::jobs::NewTask;
use crate::object::{ObjectKey, ObjectVersion};
use crate::settings::ObjectSettings;

use super::lock;
use super::placement::{self, Mutation};
use super::planner::{Change, Origin};
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
            let mut changed = ObjectVersion { settings, ..object.clone() };
            let tasks = self.plan_update(key, &seen, object, &mut changed);
            let mut mutation = Mutation { tasks, ..replace(key, &seen, &changed)? };
            let (before, after) = (object.replication.as_ref(), changed.replication.as_ref());
            mutation.forget_given_up(key, changed.version_id, before, after);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(changed);
            }
        }
        Err(StorageError::Contention)
    }

    /// The tasks that the update entails. What `changed` says of its replication is brought up to date.
    fn plan_update(
        &self,
        key: &ObjectKey,
        seen: &SeenKey,
        before: &ObjectVersion,
        changed: &mut ObjectVersion,
    ) -> Vec<NewTask> {
        if changed.replication.is_some() || seen.bucket.record.replication.is_some() {
            // A later change has a later stamp, whatever the clock does.
            let replication = changed.replication.get_or_insert_default();
            let after_last = replication.changed.map(|last| last.plus_ms(1));
            replication.changed = after_last.max(Some(self.clock().now()));
        }
        let change = Change::Updated { key, before, version: changed, origin: Origin::Client };
        let plan = self.planner().plan(change, &seen.bucket.record, &seen.documents);
        placement::tasks_of(plan, &mut changed.replication)
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

/// Puts `changed` where the version of its id is.
pub(super) fn replace(key: &ObjectKey, seen: &SeenKey, changed: &ObjectVersion) -> Result<Mutation, StorageError> {
    let mut mutation = Mutation::new(&seen.bucket);
    mutation.replace_version(key, &seen.head, Version::Object(changed.clone()))?;
    Ok(mutation)
}
