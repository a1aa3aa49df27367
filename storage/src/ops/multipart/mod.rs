//! Multipart uploads. The `upload` row is the upload's state; every part's commit guards it, so that Complete and Abort,
//! which change it, end the upload for everybody at once (ARCHITECTURE 5.2).

mod abort;
mod complete;
mod create;
mod list_parts;
mod list_uploads;
mod upload_part;

pub use complete::{CompleteUpload, NamedPart};
pub use create::CreateUpload;
pub use list_parts::PartsPage;
pub use list_uploads::{ListUploads, ListedUpload, UploadsPage};
pub use upload_part::PartCopy;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_crypto::secret::DataKey;
use cairn_crypto::wrap::WrapContext;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::encryption::{self, Encryption, Keys, Seal};
use crate::id::{AccountId, BucketId, UploadId, VersionId};
use crate::index::family::upload::{self, CreatedBy, UploadRecord, UploadState};
use crate::index::{Batch, Family, IndexError, Revision, View};
use crate::object::{Etag, ObjectKey, StorageClass};
use crate::record::Record;
use crate::sealed_checksum::SealedChecksum;

use super::seen::SeenBucket;
use super::{Bucket, Store};

/// The highest part number, and the most parts an object has (S3 user guide, "Multipart upload limits").
pub const PARTS_MAX: u16 = 10_000;

/// Every part but the last has at least so many bytes (S3 user guide, "Multipart upload limits").
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// An open multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The key that it will create.
    pub key: ObjectKey,
    /// When it was created.
    pub initiated: Timestamp,
    /// Who will own the object.
    pub owner: AccountId,
    /// The account of who created it.
    pub initiator: AccountId,
    /// Who of that account created it; None: its root.
    pub created_by: Option<CreatedBy>,
    /// The object's class.
    pub storage_class: StorageClass,
    /// The checksum that the client chose; None: none.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// How its parts are sealed; None: they are not.
    pub encryption: Option<Encryption>,
    /// The version that it is a replica of; None: it is none.
    pub replica: Option<VersionId>,
}

impl Upload {
    /// What its data key is wrapped for.
    #[must_use]
    pub fn wrap_context(&self, bucket: BucketId) -> WrapContext<'_> {
        let id = *self.id.as_bytes();
        match &self.encryption {
            Some(encryption) => encryption.context(bucket, &self.key, id),
            None => encryption::context(bucket, &self.key, id),
        }
    }

    fn new(key: ObjectKey, id: UploadId, record: &UploadRecord) -> Self {
        let checksum = record.checksum.and_then(|checksum| Some((checksum.algorithm()?, checksum.checksum_type())));
        Self {
            id,
            key,
            initiated: record.initiated,
            owner: record.owner,
            initiator: record.initiator.unwrap_or(record.owner),
            created_by: record.created_by.clone(),
            storage_class: record.storage_class,
            checksum,
            encryption: record.encryption.clone(),
            replica: record.replica.map(|replica| replica.version_id),
        }
    }
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u16,
    /// Plaintext bytes.
    pub size_bytes: u64,
    /// Its ETag.
    pub etag: Etag,
    /// When it was uploaded.
    pub modified: Timestamp,
    /// Its checksum, if it is not sealed, or was revealed.
    pub checksum: Option<Checksum>,
    /// Its checksum, sealed.
    pub sealed_checksum: Option<SealedChecksum>,
    /// How it is sealed; None: it is not.
    pub encryption: Option<Encryption>,
}

impl Part {
    /// Opens the checksum, if it is sealed and the key is at hand.
    ///
    /// # Errors
    /// `Corrupt` if it is not this part's, by this key.
    pub fn reveal_checksum(&mut self, key: Option<&DataKey>) -> Result<(), StorageError> {
        if let (Some(sealed), Some(key)) = (&self.sealed_checksum, key) {
            self.checksum = Some(sealed.open_of_part(key, self.number)?);
        }
        Ok(())
    }
}

/// An upload as one view saw it.
#[derive(Clone, Debug)]
struct SeenUpload {
    bucket: SeenBucket,
    revision: Revision,
    record: UploadRecord,
}

impl SeenUpload {
    /// The upload, open or completed.
    fn read(view: &dyn View, key: &ObjectKey, id: UploadId) -> Result<Result<Self, StorageError>, IndexError> {
        let bucket = match SeenBucket::writable(SeenBucket::read(view)?) {
            Ok(bucket) => bucket,
            Err(error) => return Ok(Err(error)),
        };
        let Some(row) = view.get(Family::Upload, &upload::key(key, id))? else {
            return Ok(Err(StorageError::NoSuchUpload));
        };
        let record = UploadRecord::from_value(&row.value)?;
        Ok(Ok(Self { bucket, revision: row.revision, record }))
    }

    /// Ok if it takes parts.
    fn check_open(&self) -> Result<(), StorageError> {
        match self.record.state {
            UploadState::Open => Ok(()),
            UploadState::Completed { .. } => Err(StorageError::NoSuchUpload),
        }
    }

    /// The algorithm that every part's checksum is computed with: the one chosen, or S3's default.
    fn part_algorithm(&self) -> ChecksumAlgorithm {
        self.record.checksum.and_then(upload::UploadChecksum::algorithm).unwrap_or(ChecksumAlgorithm::Crc64Nvme)
    }

    fn is_carried(&self) -> bool {
        self.record.encryption.as_ref().is_some_and(Encryption::is_carried)
    }

    /// Ok if its parts come sealed.
    fn check_carried(&self) -> Result<(), StorageError> {
        let what = "that a part comes sealed";
        if self.is_carried() { Ok(()) } else { Err(StorageError::SealedMalformed { what }) }
    }

    /// What a part is sealed with, unless its parts come sealed.
    async fn open(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        keys: &dyn Keys,
    ) -> Result<Option<Seal>, StorageError> {
        let encryption = self.record.encryption.as_ref();
        if self.is_carried() {
            return Err(StorageError::SealedMalformed { what: "that a part comes unsealed" });
        }
        let data_key = keys.open(encryption, encryption::context(bucket.id, key, *id.as_bytes())).await?;
        Ok(encryption.zip(data_key).map(|(encryption, key)| Seal { key, mode: encryption.mode }))
    }

    fn guard(&self, batch: &mut Batch, key: &ObjectKey, id: UploadId) {
        // Stops: UploadPart x Complete, UploadPart x Abort, Complete x Complete, Complete x Abort: whoever is second
        // finds the row changed or gone.
        batch.guard(Family::Upload, upload::key(key, id), Some(self.revision));
    }
}

impl Store {
    /// An upload, open or completed.
    ///
    /// # Errors
    /// `NoSuchUpload`, `NoSuchBucket`.
    pub async fn upload(&self, bucket: &Bucket, key: &ObjectKey, id: UploadId) -> Result<Upload, StorageError> {
        let seen = self.see_upload(bucket, key, id).await?;
        Ok(Upload::new(key.clone(), id, &seen.record))
    }

    async fn see_upload(&self, bucket: &Bucket, key: &ObjectKey, id: UploadId) -> Result<SeenUpload, StorageError> {
        let key = key.clone();
        self.view(bucket.id, move |view| SeenUpload::read(view, &key, id)).await?
    }
}
