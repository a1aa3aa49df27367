//! CreateMultipartUpload.

use cairn_crypto::checksum::{ChecksumAlgorithm, ChecksumType};

use crate::StorageError;
use crate::encryption::Sealing;
use crate::id::{AccountId, UploadId};
use crate::index::Family;
use crate::index::family::upload::{self, CreatedBy, UploadChecksum, UploadRecord, UploadState};
use crate::object::{ObjectAttributes, ObjectKey, StorageClass};
use crate::ops::placement::Mutation;
use crate::ops::seen::SeenBucket;
use crate::ops::{ATTEMPTS_MAX, Bucket, Store};
use crate::record::Record;
use crate::settings::ObjectSettings;

use super::Upload;

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
    /// How its parts are sealed; None: not at all.
    pub sealing: Option<Sealing>,
}

impl Store {
    /// Creates a multipart upload. Durable when it returns.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoObjectLock`, `RetentionInPast`, `MetadataTooLarge`, `PublicAccessBlocked`, `DiskFull`, `ReadOnly`,
    /// `Overloaded`.
    pub async fn create_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        create: CreateUpload,
    ) -> Result<Upload, StorageError> {
        self.health().check_space_for(0)?;
        self.check_asked_lock(bucket.object_lock, &create.settings)?;
        let (clock, entropy) = (self.clock().as_ref(), self.entropy().as_ref());
        let id = UploadId::generate(clock, entropy);
        let record = UploadRecord {
            content: self.new_content(self.blobs().place_of(create.storage_class)),
            initiated: self.clock().now(),
            owner: create.owner,
            storage_class: create.storage_class,
            attributes: create.attributes,
            checksum: create.checksum.map(|(algorithm, kind)| UploadChecksum::new(algorithm, kind)),
            state: UploadState::Open,
            settings: create.settings,
            initiator: Some(create.initiator),
            created_by: create.created_by,
            encryption: create.sealing.map(|sealing| sealing.of_upload(bucket.id, key, id)).transpose()?,
        };
        for _ in 0..ATTEMPTS_MAX {
            let seen = SeenBucket::writable(self.view(bucket.id, SeenBucket::read).await?)?;
            if create.acl_is_public {
                seen.record.check_public(|block| block.refuse_acls)?;
            }
            let mut mutation = Mutation::new(&seen);
            mutation.batch.put(Family::Upload, upload::key(key, id), record.to_value()?);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(Upload::new(key.clone(), id, &record));
            }
        }
        Err(StorageError::Contention)
    }
}
