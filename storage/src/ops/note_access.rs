//! When an object in INTELLIGENT_TIERING was used last.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, VersionId};
use crate::index::family::version::Version;
use crate::object::{Access, ObjectKey, StorageClass};

use super::update_version::replace;
use super::{ATTEMPTS_MAX, Store, VersionSelector};

impl Store {
    /// Notes an access, unless one was noted that is at most `resolution_ms` older, or the version is none of the class any
    /// more. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn note_access(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        at: Timestamp,
        resolution_ms: i64,
    ) -> Result<(), StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket, key, VersionSelector::Id(id)).await?;
            let head = seen.head.head.as_ref();
            let Some(Version::Object(object)) = head.and_then(|head| seen.find(head, VersionSelector::Id(id))) else {
                return Ok(());
            };
            let known = object.access.map_or_else(|| object.in_class_since(), |access| access.last);
            if object.storage_class != StorageClass::IntelligentTiering || at <= known.plus_ms(resolution_ms) {
                return Ok(());
            }
            let mut changed = object.clone();
            let tier = object.access.map(|access| access.tier).unwrap_or_default();
            changed.access = Some(Access { tier, last: at });
            let mutation = replace(key, &seen, &changed)?;
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }
}
