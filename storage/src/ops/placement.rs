//! How a key's rows change when a version is added or removed. Pure: from what a view saw to a batch.
//!
//! Invariants (ARCHITECTURE 3.3): exactly one head row per key that has any version; the head names the `null` version
//! below it; every change of a key rewrites or removes a head row, so that two changes decided on the same view cannot
//! both commit; counters and contents change with the versions that they count and hold.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{ContentId, VersionId};
use crate::index::family::bucket::{self, Versioning};
use crate::index::family::content::ContentRecord;
use crate::index::family::head::{Head, SeenHead};
use crate::index::family::job;
use crate::index::family::removed;
use crate::index::family::usage::{self, Counter, Early};
use crate::index::family::version::{self, Version};
use crate::index::{Batch, Family, Revision};
use crate::jobs::NewTask;
use crate::jobs::collect::CollectTask;
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;
use crate::replication::{Progress, Replication};

use super::lock::Removal;
use super::planner::{Change, Origin, Plan, Planner};
use super::seen::{SeenBucket, SeenKey};

/// A batch in the making, with the tasks that join it.
#[derive(Debug, Default)]
pub(super) struct Mutation {
    pub(super) batch: Batch,
    pub(super) tasks: Vec<NewTask>,
    /// What the planner says of the replication of the version that is added.
    pub(super) replication: Option<Replication>,
}

impl Mutation {
    /// A mutation inside `bucket`.
    pub(super) fn new(bucket: &SeenBucket) -> Self {
        let mut mutation = Self::default();
        // Stops: PUT x DeleteBucket. A bucket that is being deleted has another revision, or no row.
        mutation.batch.guard(Family::Bucket, bucket::KEY, Some(bucket.revision));
        mutation
    }

    pub(super) fn guard_head(&mut self, key: &ObjectKey, seen: &SeenHead) {
        // Stops: overwrite x overwrite, overwrite x delete, delete x delete of the same key, which would both move or
        // free the same head. Both families, because a head may change from one to the other.
        self.batch.guard(Family::Current, key.as_bytes(), seen.current);
        self.batch.guard(Family::Hidden, key.as_bytes(), seen.hidden);
    }

    /// Rewrites the head row of a key whose versions stay as they are, or change in nothing that is counted.
    pub(super) fn replace_head(&mut self, key: &ObjectKey, seen: &SeenHead, head: &Head) -> Result<(), StorageError> {
        self.guard_head(key, seen);
        self.set_head(key, seen, Some(head))
    }

    /// Puts `changed` where the version of its id is. The head is written in any case: its new revision stops a deletion that was decided
    /// on the version as it was.
    pub(super) fn replace_version(
        &mut self,
        key: &ObjectKey,
        seen: &SeenHead,
        changed: Version,
    ) -> Result<(), StorageError> {
        let Some(head) = &seen.head else { return Ok(()) };
        let mut head = head.clone();
        if head.version.id() == changed.id() {
            head.version = changed;
        } else {
            self.batch.put(Family::Version, version::key(key, changed.id()), changed.to_value()?);
        }
        self.replace_head(key, seen, &head)
    }

    /// Replaces the head row (None: the key has no version any more).
    fn set_head(&mut self, key: &ObjectKey, seen: &SeenHead, head: Option<&Head>) -> Result<(), StorageError> {
        let old = seen.head.as_ref().map(Head::family);
        let new = head.map(Head::family);
        if let Some(family) = old.filter(|_| old != new) {
            self.batch.delete(family, key.as_bytes());
        }
        if let Some(head) = head {
            self.batch.put(head.family(), key.as_bytes(), head.to_value()?);
        }
        self.count_head(seen.head.as_ref(), -1);
        self.count_head(head, 1);
        Ok(())
    }

    fn count_head(&mut self, head: Option<&Head>, delta: i64) {
        if let Some(Head { version: Version::Object(object), .. }) = head {
            self.batch.add(Family::Usage, usage::key(object.storage_class, Counter::Objects), delta);
        }
    }

    fn count_version(&mut self, version: &Version, delta: i64) {
        if let Version::Object(object) = version {
            let bytes = i64::try_from(object.size_bytes).unwrap_or(i64::MAX);
            self.batch.add(Family::Usage, usage::key(object.storage_class, Counter::Versions), delta);
            self.batch.add(Family::Usage, usage::key(object.storage_class, Counter::Bytes), delta * bytes);
        }
    }

    /// Counts a version that leaves its class, if it does so before the class's minimum of days is over.
    fn count_early(&mut self, object: &ObjectVersion, now: Timestamp) {
        let class = object.storage_class;
        let days = class.early_days(object.in_class_since(), now);
        if days > 0 {
            let mib = i64::try_from(object.size_bytes.div_ceil(1 << 20)).unwrap_or(i64::MAX);
            self.batch.add(Family::Usage, usage::early_key(class, Early::Versions), 1);
            self.batch.add(Family::Usage, usage::early_key(class, Early::MibDays), mib.saturating_mul(days.into()));
        }
    }

    /// Forgets on the way to which targets the version was given up, but for those where it still is, `after` the change.
    pub(super) fn forget_given_up(
        &mut self,
        key: &ObjectKey,
        id: VersionId,
        before: Option<&Replication>,
        after: Option<&Replication>,
    ) {
        for status in before.into_iter().flat_map(|before| &before.targets) {
            let after = after.and_then(|after| after.at(status.target));
            let stays = after.is_some_and(|after| after.progress == Progress::Failed);
            if status.progress == Progress::Failed && !stays {
                self.batch.delete(Family::Job, job::given_up_key(status.target, key, id));
            }
        }
    }

    /// The version goes away for good, if no lock keeps it: its content loses a reference.
    fn forget(
        &mut self,
        key: &ObjectKey,
        seen: &SeenKey,
        gone: &Version,
        removal: &Removal,
    ) -> Result<(), StorageError> {
        // The head's guard stops: delete x legal hold or retention of the same version, which rewrites the head.
        removal.check(gone)?;
        self.forget_given_up(key, gone.id(), gone.replication(), None);
        self.count_version(gone, -1);
        self.batch.add(Family::Usage, removed::key(gone.created(), removal.now), 1);
        let Version::Object(object) = gone else { return Ok(()) };
        self.count_early(object, removal.now);
        match object.content {
            Content::Empty => {}
            Content::Inline(id) => self.batch.delete(Family::Inline, id.as_bytes().as_slice()),
            Content::File(id) | Content::Composite(id) => {
                let (revision, record) =
                    seen.contents.get(&id).ok_or_else(|| StorageError::corrupt(format!("content {id} has no row")))?;
                // Stops: delete x copy of a shared content, which would lose a reference or free bytes in use.
                self.batch.guard(Family::Content, id.as_bytes().as_slice(), Some(*revision));
                self.release(object.content, *record, removal.now)?;
            }
        }
        Ok(())
    }

    /// Drops one reference of a content that has a `content` row, whose revision is guarded by the caller.
    pub(super) fn release(
        &mut self,
        content: Content,
        record: ContentRecord,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let (Content::File(id) | Content::Composite(id)) = content else { return Ok(()) };
        if record.references > 1 {
            let fewer = ContentRecord { references: record.references - 1, ..record };
            self.batch.put(Family::Content, id.as_bytes().as_slice(), fewer.to_value()?);
        } else {
            self.batch.delete(Family::Content, id.as_bytes().as_slice());
            usage::count_content(&mut self.batch, id, &record, -1);
            self.tasks.extend(CollectTask::of(content).map(|task| task.due_at(now)));
        }
        Ok(())
    }
}

/// The tasks of a plan that join the change's commit. The targets that the changed version is PENDING for then are noted in
/// `replication`, which its record will have.
pub(super) fn tasks_of(plan: Plan, replication: &mut Option<Replication>) -> Vec<NewTask> {
    let mut tasks = plan.tasks;
    for planned in plan.replications {
        if replication.get_or_insert_default().set_pending(planned.target) {
            tasks.push(planned.task);
        }
    }
    tasks
}

/// Whether what a mutation without a version id writes is the `null` version.
pub(super) fn writes_null(seen: &SeenKey) -> bool {
    seen.bucket.record.versioning != Versioning::Enabled
}

/// Makes `new`, which is newer than every version of the key, its head. A `null` version that it replaces goes for good:
/// `Locked` if it may not.
pub(super) fn add(
    key: &ObjectKey,
    seen: &SeenKey,
    new: Version,
    removal: &Removal,
    planner: &dyn Planner,
) -> Result<Mutation, StorageError> {
    add_by(Origin::Client, key, seen, new, removal, planner)
}

/// As [`add`], by somebody who need not be a client.
pub(super) fn add_by(
    origin: Origin,
    key: &ObjectKey,
    seen: &SeenKey,
    new: Version,
    removal: &Removal,
    planner: &dyn Planner,
) -> Result<Mutation, StorageError> {
    add_to(Mutation::new(&seen.bucket), origin, key, seen, new, removal, planner)
}

fn add_to(
    mut mutation: Mutation,
    origin: Origin,
    key: &ObjectKey,
    seen: &SeenKey,
    mut new: Version,
    removal: &Removal,
    planner: &dyn Planner,
) -> Result<Mutation, StorageError> {
    debug_assert!(seen.newest_id().is_none_or(|newest| newest < new.id()), "a new version is the newest");
    mutation.guard_head(key, &seen.head);
    let mut older_null = None;
    if let Some(old) = &seen.head.head {
        if new.is_null() && old.version.is_null() {
            mutation.forget(key, seen, &old.version, removal)?;
        } else {
            mutation.batch.put(Family::Version, version::key(key, old.version.id()), old.version.to_value()?);
            older_null = if old.version.is_null() { Some(old.version.id()) } else { old.older_null };
        }
    }
    if let Some(null) = seen.older_null.as_ref().filter(|_| new.is_null()) {
        mutation.batch.delete(Family::Version, version::key(key, null.id()));
        mutation.forget(key, seen, null, removal)?;
        older_null = None;
    }
    mutation.count_version(&new, 1);
    let plan = planner.plan(Change::Added { key, version: &new, origin }, &seen.bucket.record, &seen.documents);
    mutation.tasks.extend(tasks_of(plan, new.replication_mut()));
    mutation.replication.clone_from(new.replication_mut());
    mutation.set_head(key, &seen.head, Some(&Head { version: new, older_null }))?;
    Ok(mutation)
}

/// Puts a version that came from elsewhere where its id says: it becomes the head if it is newer than that, else it lies below. It is never
/// a `null` version, so it replaces nothing; the key must have no version of its id.
pub(super) fn place(
    key: &ObjectKey,
    seen: &SeenKey,
    mut new: Version,
    removal: &Removal,
    planner: &dyn Planner,
) -> Result<Mutation, StorageError> {
    debug_assert!(!new.is_null(), "a replica has an id of its own");
    let Some(head) = seen.head.head.as_ref().filter(|head| head.version.id() > new.id()) else {
        return add_by(Origin::Replica, key, seen, new, removal, planner);
    };
    let mut mutation = Mutation::new(&seen.bucket);
    mutation.count_version(&new, 1);
    let change = Change::Added { key, version: &new, origin: Origin::Replica };
    let plan = planner.plan(change, &seen.bucket.record, &seen.documents);
    mutation.tasks.extend(tasks_of(plan, new.replication_mut()));
    mutation.replication.clone_from(new.replication_mut());
    mutation.batch.put(Family::Version, version::key(key, new.id()), new.to_value()?);
    // The head is rewritten though nothing in it changes. Stops: replica x replica of the same version, which would both be counted, and
    // replica x removal of the head, which would uncover a version that is not the next newest.
    mutation.replace_head(key, &seen.head, head)?;
    Ok(mutation)
}

/// A content that gets one more reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    id: ContentId,
    revision: Revision,
    /// With the new reference.
    record: ContentRecord,
}

impl Shared {
    /// The content with one more reference; None: it has as many as can be counted.
    pub(super) fn once_more(id: ContentId, revision: Revision, record: ContentRecord) -> Option<Self> {
        let references = record.references.checked_add(1)?;
        Some(Self { id, revision, record: ContentRecord { references, ..record } })
    }

    /// Which content it is.
    pub(super) fn id(&self) -> ContentId {
        self.id
    }

    /// Counts the reference.
    pub(super) fn join(&self, batch: &mut Batch) -> Result<(), StorageError> {
        let key = self.id.as_bytes().as_slice();
        // Stops: copy x delete of the source, and copy x copy, which would each count on the references that they saw. Likewise
        // what moves to where another one went.
        batch.guard(Family::Content, key, Some(self.revision));
        batch.put(Family::Content, key, self.record.to_value()?);
        Ok(())
    }
}

/// As [`add`], for a version whose content is another version's as well.
pub(super) fn add_sharing(
    key: &ObjectKey,
    seen: &SeenKey,
    new: Version,
    shared: Shared,
    removal: &Removal,
    planner: &dyn Planner,
) -> Result<Mutation, StorageError> {
    let mut mutation = Mutation::new(&seen.bucket);
    shared.join(&mut mutation.batch)?;
    let Shared { id, revision, record } = shared;
    // A `null` version that is replaced may use the same content. It then drops one of the references counted now, and
    // its write of the row, which comes later in the batch, is the one that holds.
    let mut seen = seen.clone();
    seen.contents.insert(id, (revision, record));
    add_to(mutation, Origin::Client, key, &seen, new, removal, planner)
}

/// Removes the version `id`, which exists, for good. If it is the head, the next newest is uncovered. `Locked` or
/// `MfaRequired` if it may not go.
pub(super) fn remove(
    key: &ObjectKey,
    seen: &SeenKey,
    head: &Head,
    id: VersionId,
    removal: &Removal,
) -> Result<Mutation, StorageError> {
    // The bucket's guard stops: delete x enabling MFA delete.
    removal.check_mfa(&seen.bucket.record)?;
    let mut mutation = Mutation::new(&seen.bucket);
    mutation.guard_head(key, &seen.head);
    let new_head = if head.version.id() == id {
        mutation.forget(key, seen, &head.version, removal)?;
        seen.next.clone().map(|version| {
            mutation.batch.delete(Family::Version, version::key(key, version.id()));
            let older_null = head.older_null.filter(|null| *null != version.id());
            Head { version, older_null }
        })
    } else {
        mutation.batch.delete(Family::Version, version::key(key, id));
        if let Some(gone) = &seen.asked {
            mutation.forget(key, seen, gone, removal)?;
        }
        // The head is rewritten even if nothing in it changes: its new revision stops a second delete of this version.
        Some(Head { version: head.version.clone(), older_null: head.older_null.filter(|null| *null != id) })
    };
    mutation.set_head(key, &seen.head, new_head.as_ref())?;
    Ok(mutation)
}

/// Removes versions that are not the head, which exist and have no lock, for good.
pub(super) fn remove_older(
    key: &ObjectKey,
    seen: &SeenKey,
    gone: &[Version],
    removal: &Removal,
) -> Result<Mutation, StorageError> {
    // The bucket's guard stops: this x enabling MFA delete.
    removal.check_mfa(&seen.bucket.record)?;
    let Some(head) = seen.head.head.clone() else { return Err(StorageError::corrupt("a key without a head")) };
    let mut mutation = Mutation::new(&seen.bucket);
    mutation.guard_head(key, &seen.head);
    let mut seen = seen.clone();
    let mut older_null = head.older_null;
    for version in gone {
        mutation.batch.delete(Family::Version, version::key(key, version.id()));
        mutation.forget(key, &seen, version, removal)?;
        older_null = older_null.filter(|null| *null != version.id());
        // Another of them may share the content: it drops what this one has left of the references.
        if let Version::Object(ObjectVersion { content: Content::File(id) | Content::Composite(id), .. }) = version
            && let Some((_, record)) = seen.contents.get_mut(id)
        {
            record.references = record.references.saturating_sub(1);
        }
    }
    // The head is rewritten even if nothing in it changes: its new revision stops a second removal of these versions.
    mutation.set_head(key, &seen.head, Some(&Head { version: head.version, older_null }))?;
    Ok(mutation)
}

/// Gives a version, which is `old` in what was seen, another class and content; the rows of a new content come from the caller.
pub(super) fn replace_content(
    key: &ObjectKey,
    seen: &SeenKey,
    old: &ObjectVersion,
    changed: &ObjectVersion,
    now: Timestamp,
) -> Result<Mutation, StorageError> {
    let Some(head) = seen.head.head.clone() else { return Err(StorageError::corrupt("a key without a head")) };
    let mut mutation = Mutation::new(&seen.bucket);
    mutation.guard_head(key, &seen.head);
    let version = Version::Object(changed.clone());
    mutation.count_version(&Version::Object(old.clone()), -1);
    mutation.count_version(&version, 1);
    if old.storage_class != changed.storage_class {
        mutation.count_early(old, now);
    }
    if old.content != changed.content
        && let Content::File(id) | Content::Composite(id) = old.content
    {
        let (revision, record) =
            seen.contents.get(&id).ok_or_else(|| StorageError::corrupt(format!("content {id} has no row")))?;
        // Stops: transition x copy of a shared content, which would lose a reference or free bytes in use.
        mutation.batch.guard(Family::Content, id.as_bytes().as_slice(), Some(*revision));
        let moved_to = match changed.content {
            Content::File(id) | Content::Composite(id) => Some(id),
            Content::Empty | Content::Inline(_) => None,
        };
        mutation.release(old.content, ContentRecord { moved_to, ..*record }, now)?;
    }
    let head = if head.version.id() == changed.version_id {
        Head { version, ..head }
    } else {
        mutation.batch.put(Family::Version, version::key(key, changed.version_id), version.to_value()?);
        head
    };
    mutation.set_head(key, &seen.head, Some(&head))?;
    Ok(mutation)
}
