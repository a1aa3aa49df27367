//! A target that is a bucket of this server: the role writes into it, as far as the target's owner and its own account let it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_iam::acl::Acl;
use cairn_replication::client::Throttle;
use cairn_replication::target::{Brought, Content, Failure, Need, Outgoing, Target};
use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::{ObjectOwnership, Versioning};
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{Etag, ObjectVersion};
use cairn_storage::ops::replica::{Bringing, SettingsBrought};
use cairn_storage::ops::{
    Body, Bucket, BucketName, CreateUpload, DeclaredChecksum, Governance, Permit, PutObject, WriteConditions,
};
use cairn_storage::replication::{Left, ReplicaOf};
use cairn_storage::settings::ObjectSettings;
use futures::StreamExt as _;

use crate::authorize::{Action, AsRole};
use crate::s3::replica::acl_here;
use crate::s3::replica_keys;

use super::carrier::{of_failure, of_store, refused};

/// What a replica is to have.
struct Here {
    settings: ObjectSettings,
    left: Left,
    acl_is_public: bool,
}

/// A bucket of this server, written to by a role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'a> {
    pub(super) acting: AsRole<'a>,
    /// The bucket's name.
    pub(super) name: &'a str,
}

#[async_trait]
impl Target for Local<'_> {
    fn keeps_ids(&self) -> bool {
        true
    }

    async fn bring(&self, outgoing: &Outgoing, content: Option<Arc<dyn Content>>) -> Result<Brought, Failure> {
        let bucket = self.bucket(outgoing).await?;
        match (&outgoing.version, content) {
            (Version::Marker(marker), _) => {
                self.may(&bucket, outgoing, Action::ReplicateDelete, "DstDelObjNotPermitted").await?;
                let (version_id, created) = (marker.version_id, marker.created);
                let of = ReplicaOf { version_id, created, etag: None, changed: None, left: Left::default() };
                let owner = owner_in(&bucket, outgoing.new_owner.unwrap_or(marker.owner));
                let store = &self.acting.edge.store;
                store.place_replica_marker(&bucket, &outgoing.key, owner, &of).await.map_err(of_store)?;
                Ok(Brought::There { foreign_version: None })
            }
            (Version::Object(object), Some(content)) if outgoing.need == Need::Version => {
                self.put(&bucket, outgoing, object, &content).await
            }
            (Version::Object(object), _) => self.update(&bucket, outgoing, object).await,
        }
    }
}

impl Local<'_> {
    async fn bucket(&self, outgoing: &Outgoing) -> Result<Bucket, Failure> {
        let missing = || refused("DstBucketNotFound", self.name);
        let name = BucketName::new(self.name).ok_or_else(missing)?;
        let bucket = match self.acting.edge.store.bucket(&name).await {
            Err(StorageError::NoSuchBucket) => return Err(missing()),
            bucket => bucket.map_err(of_store)?,
        };
        if bucket.versioning != Versioning::Enabled {
            return Err(refused("DstBucketUnversioned", name.as_str()));
        }
        if outgoing.new_owner.is_some_and(|owner| owner != bucket.owner) {
            return Err(refused("DstBucketOwnerMismatch", "the target does not belong to the rule's account"));
        }
        Ok(bucket)
    }

    async fn may(&self, bucket: &Bucket, outgoing: &Outgoing, action: Action, code: &str) -> Result<(), Failure> {
        let may = self.acting.may(bucket, &outgoing.key, &[action], None).await.map_err(of_failure)?;
        may.map_err(|reason| refused(code, reason))
    }

    async fn is_permitted(&self, bucket: &Bucket, outgoing: &Outgoing, action: Action) -> Result<bool, Failure> {
        let may = self.acting.may(bucket, &outgoing.key, &[action], None).await.map_err(of_failure)?;
        Ok(may.is_ok())
    }

    /// The settings that the replica is to have. Tags that the role may not replicate stay behind (S3 user guide, "Setting up
    /// permissions for live replication").
    async fn here(&self, bucket: &Bucket, outgoing: &Outgoing, object: &ObjectVersion) -> Result<Here, Failure> {
        self.may(bucket, outgoing, Action::ReplicateObject, "DstPutObjectNotPermitted").await?;
        if outgoing.new_owner.is_some() {
            let action = Action::ObjectOwnerOverrideToBucketOwner;
            self.may(bucket, outgoing, action, "DstPutAclNotPermitted").await?;
        }
        let mut here = Here { settings: object.settings.clone(), left: outgoing.left, acl_is_public: false };
        here.left.acl |= bucket.ownership == ObjectOwnership::BucketOwnerEnforced;
        let acl = match here.left.acl {
            true => None,
            false => acl_here(self.acting.edge, self.acting.block(bucket), &here.settings)
                .map_err(|failure| refused("DstPutAclNotPermitted", failure.message()))?,
        };
        here.acl_is_public = acl.as_ref().is_some_and(Acl::is_public);
        here.settings.acl = acl.map(|acl| acl.encode().into());
        here.left.tags |= !self.is_permitted(bucket, outgoing, Action::ReplicateTags).await?;
        if here.left.tags {
            here.settings.tags.clear();
        }
        Ok(here)
    }

    async fn put(
        &self,
        bucket: &Bucket,
        outgoing: &Outgoing,
        object: &ObjectVersion,
        content: &Arc<dyn Content>,
    ) -> Result<Brought, Failure> {
        let AsRole { edge, caller, trail, .. } = self.acting;
        let throttle = &edge.replication.local_bandwidth;
        let Here { settings, left, acl_is_public } = self.here(bucket, outgoing, object).await?;
        let envelope = content.sealed().map(|sealed| sealed.envelope.clone());
        let sealing = match &envelope {
            Some(_) => {
                replica_keys::check_stays_sealed(edge, bucket).await.map_err(of_failure)?;
                None
            }
            None => replica_keys::seal(edge, caller, trail, (bucket, &outgoing.key), &outgoing.seal)
                .await
                .map_err(of_failure)?,
        };
        let changed = object.replication.as_ref().and_then(|replication| replication.changed);
        let (version_id, created) = (object.version_id, object.created);
        let of = ReplicaOf { version_id, created, etag: opaque_etag(object), changed, left };
        let owner = owner_in(bucket, outgoing.new_owner.unwrap_or(object.owner));
        let attributes = object.attributes.clone();
        let put = match content.parts() {
            [] => {
                let put = PutObject {
                    attributes,
                    storage_class: outgoing.class,
                    settings,
                    owner,
                    body: Body {
                        content_md5: md5_of(object),
                        ..body(throttle, content, 0, 0..content.size_bytes(), declared(object))
                    },
                    sealing,
                    envelope,
                    conditions: WriteConditions { if_public_acls: acl_is_public, ..WriteConditions::default() },
                    replica: Some(of),
                };
                Box::pin(edge.store.put_object(bucket, &outgoing.key, put)).await
            }
            parts => {
                let checksum = object.checksum.map(|checksum| (checksum.value.algorithm(), checksum.checksum_type()));
                let create = CreateUpload {
                    attributes,
                    storage_class: outgoing.class,
                    settings,
                    owner,
                    initiator: bucket.owner,
                    created_by: None,
                    checksum,
                    acl_is_public,
                    sealing,
                    envelope,
                    replica: Some(of),
                };
                let mut start = 0;
                let bodies: Vec<(u16, Body)> = parts
                    .iter()
                    .enumerate()
                    .map(|(place, part)| {
                        let range = start..start + part.size_bytes;
                        start = range.end;
                        let declared = part.checksum.map_or(DeclaredChecksum::None, DeclaredChecksum::Header);
                        (part.number, body(throttle, content, place, range, declared))
                    })
                    .collect();
                Box::pin(edge.store.put_replica_in_parts(bucket, &outgoing.key, create, bodies.into_iter())).await
            }
        };
        put.map_err(of_store)?;
        Ok(Brought::There { foreign_version: None })
    }

    async fn update(&self, bucket: &Bucket, outgoing: &Outgoing, object: &ObjectVersion) -> Result<Brought, Failure> {
        let Here { settings, left, acl_is_public } = self.here(bucket, outgoing, object).await?;
        // Who may shorten a retention or lift a hold at the source says nothing of the target's: where the role may not, it stays.
        let may_shorten = self.is_permitted(bucket, outgoing, Action::BypassGovernanceRetention).await?;
        let lifts = settings.legal_hold == Some(false);
        let bringing = Bringing {
            settings: &settings,
            left,
            changed: object.replication.as_ref().and_then(|replication| replication.changed),
            governance: if may_shorten { Governance::Bypassed } else { Governance::Heeded },
            may_lift_hold: lifts && self.is_permitted(bucket, outgoing, Action::PutObjectLegalHold).await?,
            if_public_acls: acl_is_public,
        };
        let (store, id) = (&self.acting.edge.store, object.version_id);
        let brought = store.update_replica_settings(bucket, &outgoing.key, id, &Permit::any(), &bringing).await;
        Ok(match brought.map_err(of_store)? {
            SettingsBrought::Applied(_) | SettingsBrought::Older(_) => Brought::There { foreign_version: None },
            SettingsBrought::Absent => Brought::Absent,
        })
    }
}

/// Whose a replica is: where ACLs are off, everything is the bucket owner's.
fn owner_in(bucket: &Bucket, owner: AccountId) -> AccountId {
    if bucket.ownership == ObjectOwnership::BucketOwnerEnforced { bucket.owner } else { owner }
}

/// The ETag, if it does not follow from the bytes.
fn opaque_etag(object: &ObjectVersion) -> Option<Etag> {
    (!object.etag_follows_from_bytes()).then_some(object.etag)
}

/// The MD5 that an object's ETag is, which the bytes on their way are held to.
fn md5_of(object: &ObjectVersion) -> Option<[u8; 16]> {
    (object.etag_follows_from_bytes() && object.etag.parts_count == 0).then_some(object.etag.digest)
}

fn declared(object: &ObjectVersion) -> DeclaredChecksum {
    let whole = object.checksum.filter(|checksum| !checksum.composite);
    whole.map_or(DeclaredChecksum::None, |checksum| DeclaredChecksum::Header(checksum.value))
}

/// The bytes of the part at `place`, or of all.
fn body(
    throttle: &Arc<Throttle>,
    content: &Arc<dyn Content>,
    place: usize,
    range: Range<u64>,
    checksum: DeclaredChecksum,
) -> Body {
    let sealed = content.sealed().and_then(|sealed| sealed.parts.get(place)).map(|part| part.content.clone());
    let (length, throttle) = (Some(range.end - range.start), Arc::clone(throttle));
    let sending = Arc::clone(content);
    let stream = content.open(range).then(move |piece| {
        let (throttle, sending) = (Arc::clone(&throttle), Arc::clone(&sending));
        async move {
            let bytes = piece.as_ref().map_or(0, Bytes::len);
            throttle.pass(bytes).await;
            sending.sent(bytes as u64);
            piece
        }
    });
    Body { length, stream: Box::pin(stream), content_md5: None, checksum, sealed }
}
