//! PutObject: ingest the body, then place the version.

use crate::StorageError;
use crate::encryption::{Encryption, Envelope, Sealing};
use crate::id::{AccountId, VersionId};
use crate::index::family::version::Version;
use crate::object::{Etag, ObjectAttributes, ObjectChecksum, ObjectKey, ObjectVersion, StorageClass};

use crate::replication::{ReplicaOf, Replication};
use crate::sealed_checksum::SealedChecksum;
use crate::settings::ObjectSettings;

use super::ingest::{Body, Destination, Ingested};
use super::lock;
use super::placement::{self, writes_null};
use super::replica;
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Bucket, Governance, Store, VersionSelector, WriteConditions};

/// An object to put.
#[derive(Debug)]
pub struct PutObject {
    /// Headers and metadata.
    pub attributes: ObjectAttributes,
    /// The storage class.
    pub storage_class: StorageClass,
    /// Tags, lock and ACL.
    pub settings: ObjectSettings,
    /// The account that will own it.
    pub owner: AccountId,
    /// Its bytes, and what the client declares about them.
    pub body: Body,
    /// How it is sealed; None: not at all, or as it comes.
    pub sealing: Option<Sealing>,
    /// How it is sealed already, if it comes so: of a replica alone.
    pub envelope: Option<Envelope>,
    /// Conditions on what it replaces.
    pub conditions: WriteConditions,
    /// What it is a replica of; None: it is none.
    pub replica: Option<ReplicaOf>,
}

/// What a new version is made of, whichever operation makes it.
#[derive(Clone, Debug)]
pub(super) struct NewObject {
    pub(super) owner: AccountId,
    pub(super) size_bytes: u64,
    pub(super) etag: Etag,
    pub(super) checksum: Option<ObjectChecksum>,
    /// Of a content that was there before.
    pub(super) sealed_checksum: Option<SealedChecksum>,
    pub(super) storage_class: StorageClass,
    pub(super) attributes: ObjectAttributes,
    pub(super) content: crate::object::Content,
    pub(super) settings: ObjectSettings,
    /// How the content is sealed if it was there before; one that comes with a [`Sealing`] has it with the version's id.
    pub(super) encryption: Option<Encryption>,
    /// The ACL among its settings is a public one.
    pub(super) acl_is_public: bool,
    pub(super) replica: Option<ReplicaOf>,
}

impl NewObject {
    /// The version that what has to be seen is about.
    pub(super) fn selector(&self) -> VersionSelector {
        self.replica.map_or(VersionSelector::Newest, |replica| VersionSelector::Id(replica.version_id))
    }
}

impl Store {
    /// Puts an object. Atomic; durable when it returns. A replica whose version is there already leaves it as it is, but for newer
    /// settings; what is there is returned.
    ///
    /// # Errors
    /// `Body`, `BodyLength`, `TooLarge`, `BadDigest`, `BadTrailer` about the body; `NoSuchBucket`, `NoObjectLock`,
    /// `RetentionInPast`, `Locked` (the `null` version that it would replace), `PreconditionFailed`, `MetadataTooLarge`,
    /// `SealedMalformed`, `DiskFull`, `ReadOnly`, `Overloaded`, `Io`, and those of [`Store::check_replica`]: nothing was stored. `OutcomeUnknown`: nobody
    /// knows.
    pub async fn put_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        put: PutObject,
    ) -> Result<ObjectVersion, StorageError> {
        match &put.replica {
            None => self.check_asked_lock(bucket.object_lock, &put.settings)?,
            Some(replica) => self.check_replica(bucket, &put.settings, replica)?,
        }
        check_carried(put.envelope.as_ref(), put.body.sealed.is_some())?;
        let conditional = put.conditions != WriteConditions::default();
        if conditional {
            // A look before the body is read; what counts is decided again under the guards.
            let seen = self.see_key(bucket.id, key, VersionSelector::Newest).await?;
            put.conditions.check_seen(&seen)?;
        }
        let destination = Destination::object(bucket.id, key, &put.attributes, put.storage_class)?;
        let ingested = self.ingest(put.body, destination, None, put.sealing.as_ref().map(Sealing::seal)).await?;
        let new = NewObject {
            owner: put.owner,
            size_bytes: ingested.size_bytes,
            etag: put
                .replica
                .and_then(|replica| replica.etag)
                .unwrap_or(Etag { digest: ingested.etag, parts_count: 0 }),
            checksum: ingested.checksum.map(|value| ObjectChecksum { value, composite: false }),
            sealed_checksum: put.envelope.as_ref().and_then(|envelope| envelope.checksum.clone()),
            storage_class: put.storage_class,
            attributes: put.attributes,
            content: ingested.content(),
            settings: put.settings,
            encryption: put.envelope.as_ref().map(Envelope::encryption),
            acl_is_public: put.conditions.if_public_acls,
            replica: put.replica,
        };
        self.place_new(bucket, key, new, put.sealing.as_ref(), &put.conditions, ingested).await
    }

    /// Makes an ingested content the newest version of `key`.
    pub(super) async fn place_new(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        new: NewObject,
        sealing: Option<&Sealing>,
        conditions: &WriteConditions,
        mut ingested: Ingested,
    ) -> Result<ObjectVersion, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, new.selector()).await?;
            conditions.check_seen(&seen)?;
            if let Some(there) = replica::found(&seen, &new)? {
                return self.bring_settings(bucket, key, there, &new).await;
            }
            let mut object = self.new_version(&seen, new.clone());
            if let Some(sealing) = sealing {
                object.encryption = Some(sealing.of_version(bucket.id, key, object.version_id)?);
            }
            let version = Version::Object(object.clone().with_sealed_checksum(sealing.map(Sealing::seal))?);
            let removal = self.removal(Governance::Heeded);
            let place = if new.replica.is_some() { placement::place } else { placement::add };
            let mut mutation = place(key, &seen, version, &removal, self.planner().as_ref())?;
            object.replication.clone_from(&mutation.replication);
            ingested.join(&mut mutation.batch)?;
            if ingested.commit(self, bucket.id, mutation).await? {
                return Ok(object);
            }
        }
        Err(StorageError::Contention)
    }

    /// The version that `new` becomes when it is placed upon, or as a replica among, what was seen.
    pub(super) fn new_version(&self, seen: &SeenKey, new: NewObject) -> ObjectVersion {
        let (version_id, created) = match &new.replica {
            Some(replica) => (replica.version_id, replica.created),
            None => {
                let id = VersionId::generate(self.clock().as_ref(), self.entropy().as_ref(), seen.newest_id());
                (id, self.clock().now())
            }
        };
        ObjectVersion {
            version_id,
            is_null: new.replica.is_none() && writes_null(seen),
            created,
            owner: new.owner,
            size_bytes: new.size_bytes,
            etag: new.etag,
            content: new.content,
            checksum: new.checksum,
            sealed_checksum: new.sealed_checksum,
            storage_class: new.storage_class,
            attributes: new.attributes,
            settings: lock::with_default(new.settings, &seen.bucket.record, self.lock_clock().now()),
            encryption: new.encryption,
            placed: None,
            restored: None,
            access: None,
            replication: new.replica.map(|replica| Replication::of_replica(replica.changed)),
        }
    }
}

/// Ok if a body comes sealed just where an envelope says how.
fn check_carried(envelope: Option<&Envelope>, comes_sealed: bool) -> Result<(), StorageError> {
    match envelope {
        Some(envelope) if comes_sealed => envelope.check(),
        None if !comes_sealed => Ok(()),
        _ => Err(StorageError::SealedMalformed { what: "that it comes sealed" }),
    }
}
