//! RestoreObject: from when and until when an archived version can be read. It is two times in the version's record; what
//! they are is decided elsewhere.

use crate::StorageError;
use crate::id::{BucketId, VersionId};
use crate::index::View;
use crate::index::family::bucket::BucketRecord;
use crate::index::family::head::SeenHead;
use crate::index::family::version::Version;
use crate::jobs::retrieval::RetrievalTask;
use crate::object::{ObjectKey, ObjectVersion, Restored};

use super::seen::{SeenBucket, read_version};
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
            let restored = decide(object)?;
            if object.restored == Some(restored) {
                return Ok(object.clone());
            }
            let changed = ObjectVersion { restored: Some(restored), ..object.clone() };
            let mut mutation = replace(key, &seen, &changed)?;
            let task = RetrievalTask { key: key.as_str().to_owned(), version: object.version_id, restored };
            mutation.tasks.push(task.due_after(object.restored, self.clock().now()));
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(object.clone());
            }
        }
        Err(StorageError::Contention)
    }

    /// A version whose newest restore is this one, with its bucket; None: there is none any more.
    ///
    /// # Errors
    /// The index's.
    pub(crate) async fn restored_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        restored: Restored,
    ) -> Result<Option<(BucketRecord, ObjectVersion)>, StorageError> {
        let key = key.clone();
        let page = move |view: &dyn View| {
            let Some(bucket) = SeenBucket::read(view)? else { return Ok(None) };
            let head = SeenHead::read(view, &key)?.head.map(|head| head.version).filter(|version| version.id() == id);
            let version = match head {
                Some(version) => Some(version),
                None => read_version(view, &key, id)?,
            };
            Ok(match version {
                Some(Version::Object(object)) if object.restored == Some(restored) => Some((bucket.record, object)),
                _ => None,
            })
        };
        self.view(bucket, page).await
    }
}
