//! Replicas: versions that come from another bucket with the id, the creation time and the settings that they have there.
//!
//! They are put as other objects are ([`super::PutObject::replica`], [`super::CreateUpload::replica`]), and placed by their id alone. So the
//! order in which they arrive does not matter, and an id that is there already is left as it is. What may change about a version has a
//! stamp of its last change: of two changes the later one wins, wherever they meet.

use std::cmp::Ordering;

use async_trait::async_trait;
use cairn_crypto::secret::DataKey;
use cairn_crypto::wrap::WrapContext;
use tokio::runtime::Handle;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::encryption::{Encryption, Keys, Sealing};
use crate::id::{AccountId, UploadId, VersionId};
use crate::index::family::bucket::{BucketRecord, ObjectOwnership, Versioning};
use crate::index::family::version::Version;
use crate::object::{DeleteMarker, ObjectKey, ObjectVersion};
use crate::replication::{Left, ReplicaOf, Replication};
use crate::settings::{ObjectSettings, Retention, RetentionMode};

use super::ingest::Body;
use super::lock;
use super::multipart::PARTS_MAX;
use super::placement::{self, Mutation};
use super::planner::{Change, Origin};
use super::put_object::NewObject;
use super::seen::SeenKey;
use super::{
    ATTEMPTS_MAX, Bucket, CompleteUpload, CreateUpload, Governance, NamedPart, Permit, Store, VersionSelector,
};

/// How far ahead of the clock a replica's id and creation time may be. An id is an order in microseconds: one from the far future would be
/// newer than all that its bucket's other sources make.
pub const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// Settings of a version on their way to its replica.
#[derive(Clone, Copy, Debug)]
pub struct Bringing<'s> {
    /// The version's settings.
    pub settings: &'s ObjectSettings,
    /// What of them is not among these.
    pub left: Left,
    /// When they were changed, see [`Replication::changed`].
    pub changed: Option<Timestamp>,
    /// Whether a GOVERNANCE retention binds who brings them.
    pub governance: Governance,
    /// Whether who brings them may lift a legal hold.
    pub may_lift_hold: bool,
    /// The bucket must not refuse public ACLs: there is one among them.
    pub if_public_acls: bool,
}

/// What an update of a replica's settings came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsBrought {
    /// The version has them now, or had them.
    Applied(Box<ObjectVersion>),
    /// The version's own were changed later, and stay.
    Older(Box<ObjectVersion>),
    /// There is no object of this id.
    Absent,
}

/// A replica that comes in parts. If nobody waits for it any more, its upload is ended.
struct Unfinished(Option<(Store, Bucket, ObjectKey, UploadId)>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let (Some((store, bucket, key, id)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { store.end_unfinished(&bucket, &key, id).await });
        }
    }
}

impl Store {
    /// Ok if a replica may come into this bucket as far as can be said before its bytes are read.
    ///
    /// # Errors
    /// `InvalidBucketState`: versioning is not enabled. `NoObjectLock`, `ReplicaFromFuture`.
    pub fn check_replica(
        &self,
        bucket: &Bucket,
        settings: &ObjectSettings,
        replica: &ReplicaOf,
    ) -> Result<(), StorageError> {
        check_versioned(bucket.versioning)?;
        if !bucket.object_lock && lock::is_asked(settings) {
            return Err(StorageError::NoObjectLock);
        }
        let by_id = i64::try_from(replica.version_id.order() / 1_000).unwrap_or(i64::MAX);
        self.check_ahead(replica.changed.max(settings.lock_changed))?;
        self.check_ahead(Some(replica.created.max(Timestamp(by_id))))
    }

    /// Puts a replica in the parts that the version was uploaded in, under their numbers. Atomic; durable when it returns; what is there.
    ///
    /// # Errors
    /// As [`Store::create_upload`], [`Store::upload_part`] and [`Store::complete_upload`]: nothing is there. `InvalidPart`: there are too many.
    pub async fn put_replica_in_parts(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        create: CreateUpload,
        parts: impl Iterator<Item = (u16, Body)> + Send,
    ) -> Result<ObjectVersion, StorageError> {
        let sealing = create.sealing.clone();
        let upload = self.create_upload(bucket, key, create).await?;
        let keys = OneSealing { sealing, record: upload.encryption };
        let mut unfinished = Unfinished(Some((self.clone(), bucket.clone(), key.clone(), upload.id)));
        let done = self.upload_all(bucket, key, upload.id, parts, &keys).await;
        if done.is_err() {
            self.end_unfinished(bucket, key, upload.id).await;
        }
        unfinished.0 = None;
        done
    }

    async fn end_unfinished(&self, bucket: &Bucket, key: &ObjectKey, id: UploadId) {
        if let Err(error) = self.abort_upload(bucket, key, id).await {
            // The next attempt ends it.
            tracing::debug!(%error, "an upload of a replica is left behind");
        }
    }

    async fn upload_all(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        parts: impl Iterator<Item = (u16, Body)> + Send,
        keys: &OneSealing,
    ) -> Result<ObjectVersion, StorageError> {
        let mut named = Vec::new();
        for (number, body) in parts {
            if !(1..=PARTS_MAX).contains(&number) {
                return Err(StorageError::InvalidPart { part_number: number });
            }
            let part = self.upload_part(bucket, key, id, number, body, keys).await?;
            named.push(NamedPart { number, etag: part.etag.to_string(), checksum: None });
        }
        let complete = CompleteUpload { parts: named, ..CompleteUpload::default() };
        self.complete_upload(bucket, key, id, complete, keys).await
    }

    /// Places a delete marker that came from elsewhere; one that is there already is left as it is. Durable when it returns; the marker.
    ///
    /// # Errors
    /// `NoSuchBucket`, `ReplicaCollides`, `ReadOnly`, `Overloaded`, and those of [`Store::check_replica`]: nothing changed.
    pub async fn place_replica_marker(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        owner: AccountId,
        replica: &ReplicaOf,
    ) -> Result<DeleteMarker, StorageError> {
        self.health().check_writable()?;
        self.check_replica(bucket, &ObjectSettings::default(), replica)?;
        let id = replica.version_id;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, VersionSelector::Id(id)).await?;
            check_versioned(seen.bucket.record.versioning)?;
            match version_of(&seen, id) {
                Some(Version::Marker(there)) => return Ok(there.clone()),
                Some(Version::Object(_)) => return Err(StorageError::ReplicaCollides { version: id }),
                None => {}
            }
            let replication = Some(Replication::of_replica(None));
            let mut marker =
                DeleteMarker { version_id: id, is_null: false, created: replica.created, owner, replication };
            let removal = self.removal(Governance::Heeded);
            let version = Version::Marker(marker.clone());
            let mutation = placement::place(key, &seen, version, &removal, self.planner().as_ref())?;
            marker.replication.clone_from(&mutation.replication);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(marker);
            }
        }
        Err(StorageError::Contention)
    }

    /// Brings a version's settings to what they are elsewhere, unless they were changed later here. What locks the version becomes weaker only
    /// as [`Bringing::onto`] says; of two COMPLIANCE retentions the longer one stays, whichever came later. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NotPermitted`, `NoObjectLock`, `ReplicaFromFuture`, `PublicAccessBlocked`, `MetadataTooLarge`, `ReadOnly`, `Overloaded`:
    /// nothing changed.
    pub async fn update_replica_settings(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: VersionId,
        permit: &Permit,
        bringing: &Bringing<'_>,
    ) -> Result<SettingsBrought, StorageError> {
        self.health().check_writable()?;
        if !bucket.object_lock && lock::is_asked(bringing.settings) {
            return Err(StorageError::NoObjectLock);
        }
        self.check_ahead(bringing.changed.max(bringing.settings.lock_changed))?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, VersionSelector::Id(id)).await?;
            let bringing = bringing.taken_by(&seen.bucket.record)?;
            let Some(Version::Object(there)) = version_of(&seen, id) else { return Ok(SettingsBrought::Absent) };
            permit.check(there)?;
            let (later, settings) = bringing.merged(there, self.lock_clock().now())?;
            let mut updated = ObjectVersion { settings, ..there.clone() };
            if later {
                updated.replication.get_or_insert_default().changed = bringing.changed;
            }
            if updated != *there {
                let change = Change::Updated { key, before: there, version: &updated, origin: Origin::Replica };
                let plan = self.planner().plan(change, &seen.bucket.record, &seen.documents);
                let mut mutation = Mutation::new(&seen.bucket);
                mutation.tasks = placement::tasks_of(plan, &mut updated.replication);
                mutation.forget_given_up(key, id, there.replication.as_ref(), updated.replication.as_ref());
                mutation.replace_version(key, &seen.head, Version::Object(updated.clone()))?;
                if !self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                    continue;
                }
            }
            let updated = Box::new(updated);
            return Ok(if later { SettingsBrought::Applied(updated) } else { SettingsBrought::Older(updated) });
        }
        Err(StorageError::Contention)
    }

    /// Ok if a time of somebody else's is none that the clocks here could not outrun.
    fn check_ahead(&self, time: Option<Timestamp>) -> Result<(), StorageError> {
        let ahead_ms = time.map_or(0, |time| time.0.saturating_sub(self.clock().now().0));
        if ahead_ms > AHEAD_MS_MAX { Err(StorageError::ReplicaFromFuture { ahead_ms }) } else { Ok(()) }
    }

    /// What is there of a replica that came once more: the version, with newer settings if it brought any.
    pub(super) async fn bring_settings(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        there: ObjectVersion,
        new: &NewObject,
    ) -> Result<ObjectVersion, StorageError> {
        let Some(ReplicaOf { changed, left, .. }) = new.replica else { return Ok(there) };
        let if_public_acls = new.acl_is_public;
        let bringing = Bringing { changed, left, if_public_acls, ..Bringing::of(&new.settings) };
        let id = there.version_id;
        let brought = self.update_replica_settings(bucket, key, id, &Permit::any(), &bringing).await?;
        Ok(match brought {
            SettingsBrought::Applied(object) | SettingsBrought::Older(object) => *object,
            // It was removed meanwhile: it has been there.
            SettingsBrought::Absent => there,
        })
    }
}

/// The version that a new object is a replica of, if it is there already.
///
/// # Errors
/// `ReplicaCollides` if what has its id is another; `InvalidBucketState`, `PublicAccessBlocked`.
pub(super) fn found(seen: &SeenKey, new: &NewObject) -> Result<Option<ObjectVersion>, StorageError> {
    let Some(replica) = &new.replica else { return Ok(None) };
    // The bucket's guard stops: replica x suspension of versioning.
    check_versioned(seen.bucket.record.versioning)?;
    if new.acl_is_public {
        seen.bucket.record.check_public(|block| block.refuse_acls)?;
    }
    let version = replica.version_id;
    match version_of(seen, version) {
        None => Ok(None),
        Some(Version::Object(there)) if there.size_bytes == new.size_bytes => Ok(Some(there.clone())),
        Some(_) => Err(StorageError::ReplicaCollides { version }),
    }
}

fn check_versioned(versioning: Versioning) -> Result<(), StorageError> {
    match versioning {
        Versioning::Enabled => Ok(()),
        Versioning::Unversioned | Versioning::Suspended => {
            Err(StorageError::InvalidBucketState { what: "Replicas go into buckets whose versioning is enabled." })
        }
    }
}

/// The version of this id, also if it is the `null` version.
fn version_of(seen: &SeenKey, id: VersionId) -> Option<&Version> {
    let head = seen.head.head.as_ref().map(|head| &head.version);
    head.into_iter().chain(&seen.older_null).chain(&seen.asked).find(|version| version.id() == id)
}

impl<'s> Bringing<'s> {
    /// All of these, which nobody has ever changed, and that may lift nothing.
    #[must_use]
    pub fn of(settings: &'s ObjectSettings) -> Self {
        Self {
            settings,
            left: Left::default(),
            changed: None,
            governance: Governance::Heeded,
            may_lift_hold: false,
            if_public_acls: false,
        }
    }

    /// Whether what is brought was changed later than what is there, and the settings then. Who changed them at the same time is told by
    /// what they are, so that both sides decide alike; settings that nobody has ever changed win against none.
    fn merged(&self, there: &ObjectVersion, lock_time: Timestamp) -> Result<(bool, ObjectSettings), StorageError> {
        let changed_there = there.replication.as_ref().and_then(|replication| replication.changed);
        let encoded = |settings| minicbor::to_vec(settings).map_err(|_| StorageError::MetadataTooLarge);
        let merged = self.onto(&there.settings, lock_time);
        let later = match self.changed.cmp(&changed_there) {
            Ordering::Greater => true,
            Ordering::Equal if self.changed.is_some() => encoded(&merged)? > encoded(&there.settings)?,
            Ordering::Equal | Ordering::Less => false,
        };
        if later {
            return Ok((true, merged));
        }
        let retention = merge_retention(&there.settings, self.settings, false, lock_time, self.governance);
        Ok((false, ObjectSettings { retention, ..there.settings.clone() }))
    }

    /// As the bucket takes them: one without ACLs keeps the ACL that the version has.
    fn taken_by(&self, bucket: &BucketRecord) -> Result<Self, StorageError> {
        let acl = self.left.acl || bucket.ownership == ObjectOwnership::BucketOwnerEnforced;
        if self.if_public_acls && !acl {
            bucket.check_public(|block| block.refuse_acls)?;
        }
        Ok(Self { left: Left { acl, ..self.left }, ..*self })
    }

    /// What becomes of the settings that are there if what is brought is later.
    ///
    /// The source's lock holds at the target, too (S3 user guide, "What does Amazon S3 replicate?": it "applies those same retention controls to
    /// your replicas", and the target's default to those that have none). S3 says nothing of a lock that somebody has changed at the target, so
    /// nothing there is ever taken for granted: a lock becomes stronger by whatever is brought, and weaker (a hold lifted, a GOVERNANCE
    /// retention shortened or removed) only by a change of the source's lock that came after the one there, and by who may do that there.
    #[must_use]
    pub fn onto(&self, old: &ObjectSettings, lock_time: Timestamp) -> ObjectSettings {
        let new = self.settings;
        let is_lock_later = new.lock_changed > old.lock_changed;
        let governance = if is_lock_later { self.governance } else { Governance::Heeded };
        let retention = merge_retention(old, new, true, lock_time, governance);
        let legal_hold = match (old.legal_hold, new.legal_hold) {
            (Some(true), Some(false)) if is_lock_later && self.may_lift_hold => Some(false),
            // It may have been set here, and that it was never set there says nothing about it.
            (Some(true), _) => Some(true),
            (_, new) => new,
        };
        // One of which something stays may still give way, once who brings it may do that.
        let is_whole = (retention, legal_hold) == (new.retention, new.legal_hold);
        ObjectSettings {
            tags: if self.left.tags { old.tags.clone() } else { new.tags.clone() },
            acl: if self.left.acl { old.acl.clone() } else { new.acl.clone() },
            retention,
            legal_hold,
            lock_changed: if is_whole { old.lock_changed.max(new.lock_changed) } else { old.lock_changed },
        }
    }
}

fn merge_retention(
    old: &ObjectSettings,
    new: &ObjectSettings,
    later: bool,
    lock_time: Timestamp,
    governance: Governance,
) -> Option<Retention> {
    let (old, new) = (old.retention, new.retention);
    let is_compliance = |retention: &Retention| retention.mode == RetentionMode::Compliance;
    let outlasts = |new: Retention| {
        let is_same = |old: Retention| new.until == old.until && !is_compliance(&old);
        new.until > lock_time && old.is_none_or(|old| new.until > old.until || is_same(old))
    };
    let is_stronger = new.filter(is_compliance).is_some_and(outlasts);
    let is_allowed = later && lock::check_change(old, new, lock_time, governance).is_ok();
    if is_stronger || is_allowed { new } else { old }
}

/// The data key of the one upload that it was made for.
#[derive(Debug)]
struct OneSealing {
    sealing: Option<Sealing>,
    record: Option<Encryption>,
}

#[async_trait]
impl Keys for OneSealing {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        _context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        if encryption != self.record.as_ref() {
            return Err(StorageError::KeyUnusable { what: "it is not this upload's".to_owned() });
        }
        Ok(self.sealing.as_ref().map(|sealing| sealing.seal().key.clone()))
    }
}
