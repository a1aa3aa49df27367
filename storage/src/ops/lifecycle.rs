//! What a sweep found due is done here: expiring a version, ending older ones, removing a delete marker, moving a version
//! to another class.
//!
//! Each is one commit, under guards of the head and of the rules' document as the sweep saw them: if either changed, so
//! might the decision, and nothing is done. Locks are asked where a version goes for good, as for every caller.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::VersionId;
use crate::index::family::document::DocumentKind;
use crate::index::family::version::Version;
use crate::index::{Family, Revision, View};
use crate::object::{Access, AccessTier, DeleteMarker, ObjectKey, ObjectVersion, ReturnedVersion, StorageClass};

use super::placement::{self, Mutation};
use super::planner::Origin;
use super::seen::{SeenKey, read_version};
use super::sweep::{SeenRevision, revision_of};
use super::transition::{Rules, Swapped};
use super::{Bucket, Governance, Store, VersionSelector};

/// How many older versions of a key end in one commit.
const REMOVALS_MAX: usize = 200;

/// What is due about a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// It is the newest: it is deleted as if without naming it.
    Expire,
    /// It is an older one: it ends for good.
    Remove,
    /// It is the key's only version, and a delete marker: it goes.
    RemoveMarker,
    /// It moves to this class.
    Transition(StorageClass),
    /// It moves to this tier of INTELLIGENT_TIERING, its class.
    Tier(AccessTier),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActsDone {
    /// The acts.
    pub done: Vec<ActDone>,
    /// The key or the rules changed before all was done.
    pub overtaken: bool,
    /// A lock keeps a version that was to go, or something failed about it.
    pub failed: Vec<ActFailed>,
}

/// An act that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActDone {
    /// The version that it was about.
    pub id: VersionId,
    /// What was done.
    pub act: Act,
    /// The version as clients know it; of one that a delete marker hides now, the marker.
    pub shown: ReturnedVersion,
    /// A delete marker was made.
    pub marked: bool,
    /// The version's class before; None: it was a delete marker.
    pub class: Option<StorageClass>,
    /// Its plaintext bytes.
    pub size_bytes: u64,
}

impl ActDone {
    fn new(version: &Version, act: Act) -> Self {
        let (shown, class, size_bytes) = match version {
            Version::Object(object) => (object.shown(), Some(object.storage_class), object.size_bytes),
            Version::Marker(marker) => (marker.shown(), None, 0),
        };
        Self { id: version.id(), act, shown, marked: false, class, size_bytes }
    }

    /// It is hidden by this marker.
    fn below(self, marker: &DeleteMarker) -> Self {
        Self { shown: marker.shown(), marked: true, ..self }
    }
}

/// An act that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActFailed {
    /// The version.
    pub id: VersionId,
    /// What was to be done.
    pub act: Act,
    /// Why not.
    pub kind: FailureKind,
    /// The same in words.
    pub reason: String,
}

impl ActFailed {
    fn new(id: VersionId, act: Act, error: &StorageError) -> Self {
        Self { id, act, kind: FailureKind::of(error), reason: error.to_string() }
    }
}

/// Why something could not be done, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// A lock keeps the version.
    Locked,
    /// The place that its bytes are in, or would move to, cannot be reached.
    TierDown,
    /// There is no space for its bytes.
    DiskFull,
    /// What is stored is damaged.
    Damaged,
    /// Something else.
    Other,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Locked, Self::TierDown, Self::DiskFull, Self::Damaged, Self::Other];

    /// The kind of an error.
    #[must_use]
    pub fn of(error: &StorageError) -> Self {
        match error {
            StorageError::Locked(_) => Self::Locked,
            StorageError::TierDown { .. } => Self::TierDown,
            StorageError::DiskFull { .. } => Self::DiskFull,
            StorageError::Corrupt { .. } => Self::Damaged,
            _ => Self::Other,
        }
    }

    /// How it is named in metrics and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::TierDown => "tier-down",
            Self::DiskFull => "disk-full",
            Self::Damaged => "damaged",
            Self::Other => "other",
        }
    }
}

/// What the guards of an act name.
#[derive(Clone, Copy, Debug)]
pub struct Basis {
    /// The head that was decided on.
    pub head: SeenRevision,
    /// The rules that were decided by; None: there are none.
    pub rules: Option<Revision>,
    /// The configurations of INTELLIGENT_TIERING, likewise.
    pub tiering: Option<Revision>,
}

impl Basis {
    fn documents(&self) -> [Rules; 2] {
        [(DocumentKind::Lifecycle, self.rules), (DocumentKind::IntelligentTiering, self.tiering)]
    }
}

/// One commit's outcome.
enum Step {
    /// Done, if there was anything to do; the head has this revision now, or the key is gone.
    Done(Revision, Vec<ActDone>),
    /// Somebody else changed the key or the rules.
    Overtaken,
}

impl Store {
    /// Does what is due about the versions of one key. What was done, or failed, is added to `outcome`, also if it ends with
    /// an error.
    ///
    /// # Errors
    /// Those that are [`is_fatal`]; the others are in the outcome.
    pub async fn act_on_key(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        mut basis: Basis,
        acts: &[(VersionId, Act)],
        outcome: &mut ActsDone,
    ) -> Result<(), StorageError> {
        self.health().check_writable()?;
        outcome.overtaken = false;
        let (removals, others): (Vec<_>, Vec<_>) = acts.iter().partition(|(_, act)| *act == Act::Remove);
        for acts in removals.chunks(REMOVALS_MAX).chain(others.chunks(1)) {
            let step = match acts {
                [(id, act @ (Act::Transition(_) | Act::Tier(_)))] => {
                    self.move_version(bucket, key, basis, *id, *act).await
                }
                [(id, act @ (Act::Expire | Act::RemoveMarker))] => self.end_head(bucket, key, basis, *id, *act).await,
                removals => {
                    let ids: Vec<VersionId> = removals.iter().map(|(id, _)| *id).collect();
                    self.remove_older(bucket, key, basis, &ids, &mut outcome.failed).await
                }
            };
            match step {
                Ok(Step::Done(head, done)) => {
                    basis.head = SeenRevision(head);
                    outcome.done.extend(done);
                }
                Ok(Step::Overtaken) => {
                    outcome.overtaken = true;
                    return Ok(());
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => outcome.failed.extend(acts.iter().map(|(id, act)| ActFailed::new(*id, *act, &error))),
            }
        }
        Ok(())
    }

    /// The key, if nothing changed since the decision.
    async fn see_unchanged(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        basis: Basis,
        id: VersionId,
    ) -> Result<Option<SeenKey>, StorageError> {
        let seen = self.see_key(bucket.id, key, VersionSelector::Id(id)).await?;
        Ok(Some(seen).filter(|seen| revision_of(&seen.head) == Some(basis.head)))
    }

    /// Ends older versions for good, in one commit. Those that a lock keeps are left.
    async fn remove_older(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        basis: Basis,
        ids: &[VersionId],
        failed: &mut Vec<ActFailed>,
    ) -> Result<Step, StorageError> {
        let (of_view, wanted, planner) = (key.clone(), ids.to_vec(), self.planner().clone());
        let page = move |view: &dyn View| {
            let mut seen = match SeenKey::read(view, &of_view, VersionSelector::Newest, planner.as_ref())? {
                Ok(seen) => seen,
                Err(error) => return Ok(Err(error)),
            };
            let mut versions = Vec::with_capacity(wanted.len());
            for id in &wanted {
                let version = read_version(view, &of_view, *id)?;
                if let Some(version) = &version {
                    seen.add_content(view, version)?;
                }
                versions.extend(version);
            }
            Ok(Ok((seen, versions)))
        };
        let (seen, versions) = self.view(bucket.id, page).await??;
        if revision_of(&seen.head) != Some(basis.head) || versions.len() != ids.len() {
            return Ok(Step::Overtaken);
        }
        let removal = self.removal(Governance::Heeded);
        let (locked, free): (Vec<_>, Vec<_>) = versions
            .into_iter()
            .map(|version| (removal.check(&version), version))
            .partition(|(check, _)| check.is_err());
        for (check, version) in locked {
            failed.extend(check.err().map(|error| ActFailed::new(version.id(), Act::Remove, &error)));
        }
        let free: Vec<Version> = free.into_iter().map(|(_, version)| version).collect();
        if free.is_empty() {
            return Ok(Step::Done(basis.head.0, Vec::new()));
        }
        let mutation = placement::remove_older(key, &seen, &free, &removal)?;
        let done = free.iter().map(|version| ActDone::new(version, Act::Remove)).collect();
        self.commit_on(bucket, basis, mutation, done).await
    }

    /// Expires the newest version, or removes the delete marker that it is.
    async fn end_head(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        basis: Basis,
        id: VersionId,
        act: Act,
    ) -> Result<Step, StorageError> {
        let Some(seen) = self.see_unchanged(bucket, key, basis, id).await? else { return Ok(Step::Overtaken) };
        let Some(head) = seen.head.head.clone().filter(|head| head.version.id() == id) else {
            return Ok(Step::Overtaken);
        };
        let (removal, mut done) = (self.removal(Governance::Heeded), ActDone::new(&head.version, act));
        let unversioned = seen.bucket.record.versioning == crate::index::family::bucket::Versioning::Unversioned;
        let mutation = if act == Act::RemoveMarker || unversioned {
            placement::remove(key, &seen, &head, id, &removal)?
        } else {
            let marker = DeleteMarker {
                version_id: VersionId::generate(self.clock().as_ref(), self.entropy().as_ref(), seen.newest_id()),
                is_null: placement::writes_null(&seen),
                created: removal.now,
                owner: bucket.owner,
                replication: None,
            };
            done = done.below(&marker);
            let planner = self.planner().as_ref();
            placement::add_by(Origin::Lifecycle, key, &seen, Version::Marker(marker), &removal, planner)?
        };
        self.commit_on(bucket, basis, mutation, vec![done]).await
    }

    /// Moves a version to a class or tier: copies its files if they lie elsewhere, and swaps.
    async fn move_version(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        basis: Basis,
        id: VersionId,
        act: Act,
    ) -> Result<Step, StorageError> {
        let decide = |seen: &SeenKey, object: &ObjectVersion| {
            (revision_of(&seen.head) == Some(basis.head)).then(|| moved(object, act, self.clock().now()))
        };
        Ok(match self.swap_content(bucket.id, key, id, &basis.documents(), decide).await? {
            Swapped::Done(head, before) => Step::Done(head, vec![ActDone::new(&Version::Object(*before), act)]),
            Swapped::InPlace => Step::Done(basis.head.0, Vec::new()),
            Swapped::Overtaken => Step::Overtaken,
        })
    }

    async fn commit_on(
        &self,
        bucket: &Bucket,
        basis: Basis,
        mut mutation: Mutation,
        done: Vec<ActDone>,
    ) -> Result<Step, StorageError> {
        // Stops: an act by rules that their owner has changed or removed meanwhile.
        for (kind, revision) in basis.documents() {
            mutation.batch.guard(Family::Document, kind.key(), revision);
        }
        let committed = self.commit_revision(bucket.id.into(), mutation.batch, mutation.tasks).await?;
        Ok(committed.map_or(Step::Overtaken, |revision| Step::Done(revision, done)))
    }
}

/// The version after a move, but for its content.
fn moved(object: &ObjectVersion, act: Act, now: Timestamp) -> ObjectVersion {
    let object = object.clone();
    match act {
        Act::Tier(tier) => {
            // What a restore brings back was asked for then.
            let restored = object.restored.filter(|_| object.is_archived()).map(|restored| restored.ready);
            let last = object.access.map_or_else(|| object.in_class_since(), |access| access.last);
            let access = Some(Access { tier, last: restored.filter(|_| !tier.needs_restore()).unwrap_or(last) });
            ObjectVersion { access, restored: None, ..object }
        }
        Act::Transition(class) => ObjectVersion { storage_class: class, placed: Some(now), access: None, ..object },
        Act::Expire | Act::Remove | Act::RemoveMarker => object,
    }
}

/// Whether it will be the same for every other version.
#[must_use]
pub fn is_fatal(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::ReadOnly { .. }
            | StorageError::Overloaded
            | StorageError::OutcomeUnknown
            | StorageError::NoSuchBucket
            | StorageError::BucketBusy
    )
}
