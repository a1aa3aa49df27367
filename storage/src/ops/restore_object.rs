//! RestoreObject: from when and until when an archived version can be read. It is two times in the version's record; what
//! they are is decided elsewhere.

use crate::StorageError;
use crate::object::{ObjectKey, ObjectVersion, Restored};

use super::update_version::{replace, version_found};
use super::{ATTEMPTS_MAX, Bucket, Permit, Store, VersionSelector};

impl Store {
    /// Sets what `decide` makes of an archived version's restore, the newest one or none. `decide` may run several times,
    /// on what is there then. Durable when it returns; the version as it was before.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `IsDeleteMarker`, `NotPermitted`, `NotArchived`, `ReadOnly`,
    /// `Overloaded`, and those of `decide`: nothing changed.
    pub async fn restore_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        decide: impl Fn(&ObjectVersion) -> Result<Restored, StorageError>,
    ) -> Result<ObjectVersion, StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, selector).await?;
            let head = seen.head.head.as_ref();
            let object = version_found(head.and_then(|head| seen.find(head, selector)), selector)?;
            permit.check(object)?;
            if !object.is_archived() {
                return Err(StorageError::NotArchived { class: object.storage_class });
            }
            let changed = ObjectVersion { restored: Some(decide(object)?), ..object.clone() };
            let mutation = replace(key, &seen, &changed)?;
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(object.clone());
            }
        }
        Err(StorageError::Contention)
    }
}
