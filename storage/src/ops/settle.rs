//! Bringing a version's files to where its class has them now: after the class was given to another tier, or taken from one.
//!
//! As a transition, but the class stays.

use crate::StorageError;
use crate::id::{BucketId, Place, VersionId};
use crate::object::{Content, ObjectKey, ObjectVersion};

use super::Store;
use super::transition::Swapped;

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
        let swapped = self.swap_content(bucket, key, id, &[], |_, object| Some(object.clone())).await?;
        Ok(match swapped {
            Swapped::Done(_, object) => Settled::Moved(object.size_bytes),
            Swapped::InPlace => Settled::InPlace,
            Swapped::Overtaken => Settled::Gone,
        })
    }
}

/// Whether a version's files may lie elsewhere than in `place`; of a composite only its layout tells for sure.
pub(crate) fn may_lie_elsewhere(object: &ObjectVersion, place: Place) -> bool {
    match object.content {
        Content::Empty | Content::Inline(_) => false,
        Content::File(id) => id.place() != place,
        Content::Composite(_) => true,
    }
}
