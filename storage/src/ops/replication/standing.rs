//! Where a version stands in the order of its key's versions on the way to a target that gives ids of its own: there, what comes last is
//! the newest.

use crate::StorageError;
use crate::id::{BucketId, VersionId};
use crate::index::family::head::SeenHead;
use crate::index::family::version::{self, Version};
use crate::index::{Family, IndexError, KeyRange, View};
use crate::object::ObjectKey;
use crate::ops::Store;
use crate::record::Record;
use crate::replication::{Progress, TargetId};

/// How many versions of a key are looked at, at most, on either side of one. Most of the time the first of them tell enough.
pub const LOOKED_AT_MAX: usize = 20_000;

/// How many newer versions are told, at most, the newest ones.
pub const NEWER_MAX: usize = 1_000;

/// How a version stands among those of its key on their way to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An older version is still on its way, and goes first.
    pub older_waits: bool,
    /// The newest version of the key, if it is a newer one.
    pub newest: Option<VersionId>,
    /// The newer versions that have been at the target, the newest first: at most [`NEWER_MAX`].
    pub arrived: Vec<Arrived>,
}

/// A version that has been at a target that gives ids of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its id there, if that is known.
    pub foreign_version: Option<String>,
}

impl Standing {
    fn read(view: &dyn View, key: &ObjectKey, id: VersionId, target: TargetId) -> Result<Self, IndexError> {
        let mut standing = Self::default();
        let head = SeenHead::read(view, key)?.head.filter(|head| head.version.id() > id);
        standing.newest = head.as_ref().map(|head| head.version.id());
        standing.arrived.extend(head.and_then(|head| Arrived::of(&head.version, target)));
        let (first, own) = (version::key_prefix(key), version::key(key, id));
        let end = KeyRange::prefix(&first).end;
        let newer = KeyRange { start: first, end: Some(own.clone()) };
        let mut cursor = view.cursor(Family::Version, newer)?;
        for _ in 0..LOOKED_AT_MAX {
            let Some((_, _, value)) = cursor.row().filter(|_| standing.arrived.len() < NEWER_MAX) else { break };
            standing.arrived.extend(Arrived::of(&Version::from_value(value)?, target));
            cursor.advance()?;
        }
        let mut cursor = view.cursor(Family::Version, KeyRange { start: [own, vec![0]].concat(), end })?;
        for _ in 0..LOOKED_AT_MAX {
            let Some((_, _, value)) = cursor.row() else { break };
            let version = Version::from_value(value)?;
            match version.replication().and_then(|replication| replication.at(target)) {
                Some(status) if status.progress == Progress::Pending => {
                    standing.older_waits = true;
                    break;
                }
                Some(status) if status.progress == Progress::Completed => break,
                _ => cursor.advance()?,
            }
        }
        Ok(standing)
    }
}

impl Arrived {
    /// None: it has not been there, as far as is known.
    fn of(version: &Version, target: TargetId) -> Option<Self> {
        let status = version.replication()?.at(target)?;
        let has_been = status.arrived || status.foreign_version.is_some();
        has_been.then(|| Self { foreign_version: status.foreign_version.clone() })
    }
}

impl Store {
    /// How a version stands among those of its key on their way to a target. Older ones than the newest that has arrived have all been
    /// there, or were given up.
    ///
    /// # Errors
    /// The index's.
    pub async fn standing(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        target: TargetId,
    ) -> Result<Standing, StorageError> {
        let key = key.clone();
        self.view(bucket, move |view: &dyn View| Standing::read(view, &key, id, target)).await
    }
}
