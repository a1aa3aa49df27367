//! Bringing a version's files to where its class has them now: after the class was given to another tier, or taken from one.
//!
//! As a transition, but the class stays.

use crate::StorageError;
use crate::id::{BucketId, ContentId, VersionId};
use crate::index::family::version::Version;
use crate::object::{Content, ObjectKey, ObjectVersion};

use super::placement;
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Store, VersionSelector};

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its files, if it has any, are where they belong.
    InPlace,
    /// They moved; its plaintext bytes.
    Moved(u64),
    /// It is not there any more.
    Gone,
}

impl Store {
    /// Moves a version's files to the place of its class or tier, if they are not there. Durable when it returns; readers go on.
    ///
    /// # Errors
    /// `TierDown`, `DiskFull`, `Corrupt`, `Contention`, `NoSuchBucket`, `ReadOnly`, `Overloaded`, `Io`: it is where it was.
    /// `OutcomeUnknown`.
    pub async fn settle_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
    ) -> Result<Settled, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            // Entered before the look, so that what is seen cannot be collected before it is pinned.
            let entered = self.pins().enter();
            let seen = self.see_key(bucket, key, VersionSelector::Id(id)).await?;
            let Some(before) = object_of(&seen, id) else { return Ok(Settled::Gone) };
            let place = self.blobs().settled_place_of(before.place_class());
            let files = self.files_of(bucket, before.content).await?;
            if files.iter().all(|file| file.place() == place) {
                return Ok(Settled::InPlace);
            }
            let pins: Vec<_> = files.iter().map(|file: &ContentId| self.pins().pin(*file)).collect();
            drop(entered);
            let copied = self.copy_content(bucket, before.content, place).await;
            drop(pins);
            // The copy took its time: what may change about a version may have changed.
            let seen = self.see_key(bucket, key, VersionSelector::Id(id)).await?;
            let Some(object) = object_of(&seen, id) else { return Ok(Settled::Gone) };
            if object.content != before.content || object.place_class() != before.place_class() {
                continue;
            }
            let mut moved = copied?;
            let changed = ObjectVersion { content: moved.content(), ..object.clone() };
            let mut mutation = placement::replace_content(key, &seen, &object, &changed, self.clock().now())?;
            moved.join(&mut mutation.batch)?;
            // From here on the batch may commit, even if this future is dropped: then the files must stay.
            moved.set_visible(true);
            match self.commit(bucket.into(), mutation.batch, mutation.tasks).await {
                Ok(true) => return Ok(Settled::Moved(object.size_bytes)),
                Err(StorageError::OutcomeUnknown) => return Err(StorageError::OutcomeUnknown),
                Ok(false) => moved.set_visible(false),
                Err(error) => {
                    moved.set_visible(false);
                    return Err(error);
                }
            }
        }
        Err(StorageError::Contention)
    }
}

fn object_of(seen: &SeenKey, id: VersionId) -> Option<ObjectVersion> {
    match seen.find(seen.head.head.as_ref()?, VersionSelector::Id(id))? {
        Version::Object(object) => Some(object.clone()),
        Version::Marker(_) => None,
    }
}

/// Whether a version's files may lie elsewhere than in `place`; of a composite only its layout tells for sure.
pub(crate) fn may_lie_elsewhere(object: &ObjectVersion, place: crate::id::Place) -> bool {
    match object.content {
        Content::Empty | Content::Inline(_) => false,
        Content::File(id) => id.place() != place,
        Content::Composite(_) => true,
    }
}
