//! Committing one page of a restore: its changes and its progress in one batch.

use std::collections::HashMap;

use crate::StorageError;
use crate::blob::inline;
use crate::clock::Timestamp;
use crate::id::{AccountId, BucketId, ContentId, JobId, Place, VersionId};
use crate::index::Family;
use crate::index::family::content::ContentRecord;
use crate::index::family::removed;
use crate::index::family::restore::RestoreState;
use crate::index::family::version::Version;
use crate::object::{Content, DeleteMarker, ObjectKey, ObjectVersion};
use crate::ops::lock::Removal;
use crate::ops::placement::{self, Mutation, Shared, writes_null};
use crate::ops::put_object::NewObject;
use crate::ops::seen::SeenKey;
use crate::ops::{ATTEMPTS_MAX, Governance, Store};
use crate::settings::ObjectSettings;

use super::RestoreLimits;
use super::walk::{self, Change, Plan, Planned, Source};

/// What a page leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More pages.
    More,
    /// Nothing: the restore has ended, or never was.
    Over,
}

/// The contents that a page shares, as its changes so far leave them.
type References = HashMap<ContentId, ContentRecord>;

impl Store {
    /// Does the next page of the restore `id`. Durable when it returns.
    ///
    /// # Errors
    /// `InvalidBucketState` if versioning is not enabled any more; `BucketBusy`, `DiskFull`, `ReadOnly`, `Overloaded`: the
    /// page was not done.
    pub(crate) async fn restore_page(
        &self,
        bucket: BucketId,
        id: JobId,
        mut limits: RestoreLimits,
    ) -> Result<Step, StorageError> {
        self.health().check_space_for(0)?;
        for _ in 0..ATTEMPTS_MAX {
            let planner = self.planner().clone();
            let plan = self.view(bucket, move |view| walk::plan(view, id, limits, planner.as_ref())).await??;
            let Some(plan) = plan else { return Ok(Step::Over) };
            let (step, removed) = match plan.position {
                Some(_) => (Step::More, 0),
                None => (Step::Over, self.count_removed(bucket, plan.seen.record.as_of).await?),
            };
            let mutation = self.decide_page(plan, removed)?;
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(step);
            }
            // Somebody else changed one of the keys; fewer of them are less likely to be changed meanwhile.
            limits.page_changes = (limits.page_changes / 2).max(1);
        }
        Err(StorageError::Contention)
    }

    /// How many versions and delete markers have gone for good since `time` that may have existed then.
    async fn count_removed(&self, bucket: BucketId, time: Timestamp) -> Result<u64, StorageError> {
        let (mut start, mut count) = (Some(removed::first_since(time)), 0_u64);
        while let Some(from) = start {
            let page = self.view(bucket, move |view| removed::count_page(view, time, from)).await?;
            count = count.saturating_add(page.count);
            start = page.next;
        }
        Ok(count)
    }

    fn decide_page(&self, plan: Plan, removed: u64) -> Result<Mutation, StorageError> {
        let Plan { bucket, seen, changes, counts, position } = plan;
        let mut record = seen.record;
        record.updated = self.clock().now();
        record.counts.keys += counts.keys;
        record.counts.restored += counts.restored;
        record.counts.restored_bytes = record.counts.restored_bytes.saturating_add(counts.restored_bytes);
        record.counts.hidden += counts.hidden;
        record.counts.overtaken += counts.overtaken;
        match position {
            Some(position) => record.position = position,
            None => {
                record.counts.removed = removed;
                record.state = RestoreState::Done;
            }
        }
        let mut mutation = Mutation::new(&bucket);
        mutation.put_record(Some(seen.revision), &record)?;
        if record.dry_run {
            return Ok(mutation);
        }
        let removal = self.removal(Governance::Heeded);
        let mut references = References::new();
        for Planned { key, seen, change } in changes {
            let change = match change {
                Change::Hide => self.decide_hiding(&key, &seen, record.account, &removal)?,
                Change::Restore(then, source) => {
                    self.decide_restoring(&key, &seen, *then, source, &mut references, &removal)?
                }
            };
            mutation.batch.append(change.batch);
            mutation.tasks.extend(change.tasks);
        }
        Ok(mutation)
    }

    fn decide_hiding(
        &self,
        key: &ObjectKey,
        seen: &SeenKey,
        owner: AccountId,
        removal: &Removal,
    ) -> Result<Mutation, StorageError> {
        let marker = DeleteMarker {
            version_id: VersionId::generate(self.clock().as_ref(), self.entropy().as_ref(), seen.newest_id()),
            is_null: writes_null(seen),
            created: removal.now,
            owner,
            replication: None,
        };
        placement::add(key, seen, Version::Marker(marker), removal, self.planner().as_ref())
    }

    fn decide_restoring(
        &self,
        key: &ObjectKey,
        seen: &SeenKey,
        then: ObjectVersion,
        source: Source,
        references: &mut References,
        removal: &Removal,
    ) -> Result<Mutation, StorageError> {
        let planner = self.planner().as_ref();
        match source {
            Source::Empty => {
                let new = Version::Object(self.new_version(seen, like(then, Content::Empty)));
                placement::add(key, seen, new, removal, planner)
            }
            Source::Inline(from, value) => {
                let to = self.new_content(Place::default());
                let new = Version::Object(self.new_version(seen, like(then, Content::Inline(to))));
                let mut mutation = placement::add(key, seen, new, removal, planner)?;
                mutation.batch.put(Family::Inline, to.as_bytes().as_slice(), inline::copy(from, &value, to)?);
                Ok(mutation)
            }
            Source::Shared(id, revision, row) => {
                let row = references.get(&id).copied().unwrap_or(row);
                let shared = Shared::once_more(id, revision, row).ok_or_else(|| {
                    StorageError::corrupt(format!("content {id} has as many references as can be counted"))
                })?;
                references.insert(id, ContentRecord { references: row.references + 1, ..row });
                let content = then.content;
                let new = Version::Object(self.new_version(seen, like(then, content)));
                placement::add_sharing(key, seen, new, shared, removal, planner)
            }
        }
    }
}

/// The object as it was then, but for its lock: a new version has the one that the bucket gives it.
fn like(then: ObjectVersion, content: Content) -> NewObject {
    // Every field is named, so that nothing can be added to a version of which a restore does not know what becomes.
    let ObjectVersion {
        version_id,
        is_null: _,
        created: _,
        owner,
        size_bytes,
        etag,
        content: _,
        checksum,
        storage_class,
        attributes,
        settings,
        encryption,
        sealed_checksum,
        placed: _,
        restored: _,
        access: _,
        replication: _,
    } = then;
    let settings = ObjectSettings { retention: None, legal_hold: None, lock_changed: None, ..settings };
    let encryption = encryption.map(|encryption| encryption.kept_from(version_id));
    NewObject {
        owner,
        size_bytes,
        etag,
        checksum,
        sealed_checksum,
        storage_class,
        attributes,
        content,
        settings,
        encryption,
        acl_is_public: false, // it is asked of replicas only
        replica: None,
    }
}
