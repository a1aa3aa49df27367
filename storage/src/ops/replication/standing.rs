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

/// How many older versions are looked at, at most, for one that must go first.
const OLDER_MAX: usize = 1_000;

/// How many newer versions are looked at, at most, the newest ones.
const NEWER_MAX: usize = 1_000;

/// How a version stands among those of its key on their way to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// An older version is still on its way, and goes first.
    pub older_waits: bool,
    /// The newer versions, the newest first.
    pub newer: Vec<Newer>,
}

/// A newer version than another one of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// Its id.
    pub version: VersionId,
    /// It has been at the target.
    pub arrived: bool,
    /// Its id there, if that is known.
    pub foreign_version: Option<String>,
}

impl Standing {
    fn read(view: &dyn View, key: &ObjectKey, id: VersionId, target: TargetId) -> Result<Self, IndexError> {
        let mut standing = Self::default();
        let head = SeenHead::read(view, key)?.head.filter(|head| head.version.id() > id);
        standing.newer.extend(head.map(|head| Newer::of(&head.version, target)));
        let (first, own) = (version::key_prefix(key), version::key(key, id));
        let end = KeyRange::prefix(&first).end;
        let newer = KeyRange { start: first, end: Some(own.clone()) };
        let mut cursor = view.cursor(Family::Version, newer)?;
        while let Some((_, _, value)) = cursor.row().filter(|_| standing.newer.len() < NEWER_MAX) {
            standing.newer.push(Newer::of(&Version::from_value(value)?, target));
            cursor.advance()?;
        }
        let mut cursor = view.cursor(Family::Version, KeyRange { start: [own, vec![0]].concat(), end })?;
        for _ in 0..OLDER_MAX {
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

impl Newer {
    fn of(version: &Version, target: TargetId) -> Self {
        let status = version.replication().and_then(|replication| replication.at(target));
        let foreign_version = status.and_then(|status| status.foreign_version.clone());
        let arrived = foreign_version.is_some() || status.is_some_and(|status| status.arrived);
        Self { version: version.id(), arrived, foreign_version }
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
