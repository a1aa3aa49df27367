//! DeleteObject: without a version id a delete marker (or, in an unversioned bucket, the end of the object); with one,
//! the end of that version.

use crate::StorageError;
use crate::id::{AccountId, VersionId};
use crate::index::family::bucket::Versioning;
use crate::index::family::version::Version;
use crate::object::{DeleteMarker, ObjectKey, ReturnedVersion};

use super::placement::{self, Mutation};
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Bucket, Governance, Powers, Store, VersionSelector, WriteConditions};

/// What a delete did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// The version removed, or the delete marker made; None in an unversioned bucket.
    pub version: Option<ReturnedVersion>,
    /// A delete marker was made or removed.
    pub delete_marker: bool,
}

/// What a delete will do, decided on one view.
enum Decision {
    /// There is nothing to delete.
    Nothing(DeleteOutcome),
    Commit(Mutation, DeleteOutcome),
}

impl Store {
    /// Deletes an object or a version. Deleting what does not exist succeeds. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `PreconditionFailed`, `Locked`, `MfaRequired`, `ReadOnly`, `Overloaded`: nothing changed.
    /// `OutcomeUnknown`: nobody knows.
    pub async fn delete_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        conditions: &WriteConditions,
        powers: impl Into<Powers>,
        owner: AccountId,
    ) -> Result<DeleteOutcome, StorageError> {
        let powers = powers.into();
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_delete(bucket, key, selector).await?;
            match self.decide_delete(key, &seen, selector, conditions, powers, owner)? {
                Decision::Nothing(outcome) => return Ok(outcome),
                Decision::Commit(mutation, outcome) => {
                    if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                        return Ok(outcome);
                    }
                }
            }
        }
        Err(StorageError::Contention)
    }

    /// In an unversioned bucket a delete removes the head, so what lies below it is read as well.
    async fn see_delete(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
    ) -> Result<SeenKey, StorageError> {
        let selector = match (selector, bucket.versioning) {
            (VersionSelector::Newest, Versioning::Unversioned) => VersionSelector::Null,
            (selector, _) => selector,
        };
        self.see_key(bucket.id, key, selector).await
    }

    fn decide_delete(
        &self,
        key: &ObjectKey,
        seen: &SeenKey,
        selector: VersionSelector,
        conditions: &WriteConditions,
        powers: Powers,
        owner: AccountId,
    ) -> Result<Decision, StorageError> {
        let versioning = seen.bucket.record.versioning;
        let target = match (selector, versioning) {
            (VersionSelector::Newest, Versioning::Unversioned) => VersionSelector::Null,
            (VersionSelector::Newest, Versioning::Enabled | Versioning::Suspended) => {
                conditions.check(seen.newest_object())?;
                return self.decide_marker(key, seen, owner);
            }
            (selector, _) => selector,
        };
        let head = seen.head.head.as_ref();
        let found = head.and_then(|head| Some((head, seen.find(head, target)?)));
        conditions.check(match found {
            Some((_, Version::Object(object))) => Some(object),
            _ => None,
        })?;
        let unversioned = versioning == Versioning::Unversioned;
        let Some((head, version)) = found else {
            let version = match target {
                VersionSelector::Id(id) if !unversioned => Some(ReturnedVersion::Id(id)),
                VersionSelector::Null if !unversioned => Some(ReturnedVersion::Null),
                _ => None,
            };
            return Ok(Decision::Nothing(DeleteOutcome { version, delete_marker: false }));
        };
        let outcome = DeleteOutcome {
            version: (!unversioned).then(|| ReturnedVersion::of(version.is_null(), version.id())),
            delete_marker: matches!(version, Version::Marker(_)),
        };
        let removal = self.removal(powers);
        let mutation = placement::remove(key, seen, head, version.id(), &removal)?;
        Ok(Decision::Commit(mutation, outcome))
    }

    fn decide_marker(&self, key: &ObjectKey, seen: &SeenKey, owner: AccountId) -> Result<Decision, StorageError> {
        let removal = self.removal(Governance::Heeded);
        let marker = DeleteMarker {
            version_id: VersionId::generate(self.clock().as_ref(), self.entropy().as_ref(), seen.newest_id()),
            is_null: placement::writes_null(seen),
            created: removal.now,
            owner,
            replication: None,
        };
        let version = Some(ReturnedVersion::of(marker.is_null, marker.version_id));
        let mutation = placement::add(key, seen, Version::Marker(marker), &removal, self.planner().as_ref())?;
        Ok(Decision::Commit(mutation, DeleteOutcome { version, delete_marker: true }))
    }
}
