//! CreateMultipartUpload.

use cairn_crypto::checksum::{ChecksumAlgorithm, ChecksumType};

use crate::StorageError;
use crate::encryption::{Envelope, Sealing};
use crate::id::{AccountId, ContentId, UploadId, VersionId};
use crate::index::family::upload::{self, CreatedBy, UploadChecksum, UploadRecord, UploadState};
use crate::index::{Family, IndexError, KeyRange, Revision, View};
use crate::jobs::collect::CollectTask;
use crate::object::{ObjectAttributes, ObjectKey, StorageClass};
use crate::ops::placement::Mutation;
use crate::ops::seen::SeenBucket;
use crate::ops::{ATTEMPTS_MAX, Bucket, Store};
use crate::record::Record;
use crate::replication::ReplicaOf;
use crate::settings::ObjectSettings;

use super::Upload;

/// Among how many uploads of a key those are looked for that a replication left behind.
const UPLOADS_LOOKED_AT_MAX: usize = 100;

/// An upload to create.
#[derive(Clone, Debug)]
pub struct CreateUpload {
    /// The object's headers and metadata.
    pub attributes: ObjectAttributes,
    /// The object's class.
    pub storage_class: StorageClass,
    /// The object's tags, lock and ACL.
    pub settings: ObjectSettings,
    /// Who will own the object.
    pub owner: AccountId,
    /// The account of who creates the upload.
    pub initiator: AccountId,
    /// Who of that account does; None: its root.
    pub created_by: Option<CreatedBy>,
    /// The checksum that the client chose.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The object's ACL is public, which the bucket must not refuse.
    pub acl_is_public: bool,
    /// How its parts are sealed; None: not at all, or as they come.
    pub sealing: Option<Sealing>,
    /// How they are sealed already, if they come so: of a replica alone. It then keeps the checksum that it says, and no other.
    pub envelope: Option<Envelope>,
    /// What the object will be a replica of; None: it will be none.
    pub replica: Option<ReplicaOf>,
}

impl Store {
    /// Creates a multipart upload. Durable when it returns. One of a replica ends those of the same version that were left behind.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoObjectLock`, `RetentionInPast`, `MetadataTooLarge`, `PublicAccessBlocked`, `SealedMalformed`, `DiskFull`, `ReadOnly`,
    /// `Overloaded`, and those of [`Store::check_replica`].
    pub async fn create_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        create: CreateUpload,
    ) -> Result<Upload, StorageError> {
        self.health().check_space_for(0)?;
        match &create.replica {
            None => self.check_asked_lock(bucket.object_lock, &create.settings)?,
            Some(replica) => self.check_replica(bucket, &create.settings, replica)?,
        }
        create.envelope.as_ref().map_or(Ok(()), Envelope::check)?;
        let (clock, entropy) = (self.clock().as_ref(), self.entropy().as_ref());
        let id = UploadId::generate(clock, entropy);
        let record = UploadRecord {
            content: self.new_content(self.blobs().place_of(create.storage_class)),
            initiated: self.clock().now(),
            owner: create.owner,
            storage_class: create.storage_class,
            attributes: create.attributes,
            checksum: create
                .checksum
                .filter(|_| create.envelope.is_none())
                .map(|(algorithm, kind)| UploadChecksum::new(algorithm, kind)),
            state: UploadState::Open,
            settings: create.settings,
            initiator: Some(create.initiator),
            created_by: create.created_by,
            replica: create.replica,
            // The sealing lives until the commit: who retires a key's older versions waits for those that hold it.
            encryption: match (&create.envelope, &create.sealing) {
                (Some(envelope), _) => Some(envelope.encryption()),
                (None, sealing) => sealing.as_ref().map(|sealing| sealing.of_upload(bucket.id, key, id)).transpose()?,
            },
            sealed_checksum: create.envelope.and_then(|envelope| envelope.checksum),
            acl_is_public: create.acl_is_public,
        };
        for _ in 0..ATTEMPTS_MAX {
            let seen = SeenBucket::writable(self.view(bucket.id, SeenBucket::read).await?)?;
            if create.acl_is_public {
                seen.record.check_public(|block| block.refuse_acls)?;
            }
            let mut mutation = Mutation::new(&seen);
            mutation.batch.put(Family::Upload, upload::key(key, id), record.to_value()?);
            if let Some(replica) = &create.replica {
                self.end_left_behind(&mut mutation, bucket, key, replica.version_id).await?;
            }
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(Upload::new(key.clone(), id, &record));
            }
        }
        Err(StorageError::Contention)
    }

    /// Ends the open uploads of a replica of this version: whoever made them has lost them.
    async fn end_left_behind(
        &self,
        mutation: &mut Mutation,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<(), StorageError> {
        let key = key.clone();
        let left = self.view(bucket.id, move |view| left_behind(view, &key, version)).await?;
        for (row_key, revision, content) in left {
            // Stops: this x Complete, UploadPart or Abort of the upload that was left behind.
            mutation.batch.guard(Family::Upload, row_key.clone(), Some(revision));
            mutation.batch.delete(Family::Upload, row_key);
            mutation.tasks.push(CollectTask::Parts(content).due_at(self.clock().now()));
        }
        Ok(())
    }
}

type LeftBehind = Vec<(Vec<u8>, Revision, ContentId)>;

fn left_behind(view: &dyn View, key: &ObjectKey, version: VersionId) -> Result<LeftBehind, IndexError> {
    let mut left = Vec::new();
    let mut cursor = view.cursor(Family::Upload, KeyRange::prefix(&upload::key_prefix(key.as_bytes())))?;
    for _ in 0..UPLOADS_LOOKED_AT_MAX {
        let Some((row_key, revision, value)) = cursor.row() else { break };
        let record = UploadRecord::from_value(value)?;
        if record.state == UploadState::Open && record.replica.is_some_and(|replica| replica.version_id == version) {
            left.push((row_key.to_vec(), revision, record.content));
        }
        cursor.advance()?;
    }
    Ok(left)
}
