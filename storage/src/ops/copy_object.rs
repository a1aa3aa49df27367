//! CopyObject: the bytes of a version become the content of a new one. Within a bucket the content is shared
//! (`share`); else bytes are copied, with the checksum computed anew as they pass, so what arrives has been verified twice.

use std::sync::Arc;

use futures::StreamExt as _;

use cairn_crypto::checksum::ChecksumAlgorithm;
use cairn_crypto::secret::DataKey;

use crate::StorageError;
use crate::encryption::{Keys, Sealing};
use crate::id::AccountId;
use crate::object::{Etag, ObjectAttributes, ObjectChecksum, ObjectKey, ObjectVersion, StorageClass};

use crate::settings::{ObjectSettings, Tag};

use super::ingest::{Body, BodyError, DeclaredChecksum, Destination};
use super::put_object::NewObject;
use super::{
    Bucket, GetObject, ObjectBody, PUT_BYTES_MAX, Permit, ReadConditions, Select, Store, VersionSelector,
    WriteConditions,
};

/// What to copy.
#[derive(Clone, Debug)]
pub struct CopySource<'a> {
    /// Its bucket.
    pub bucket: &'a Bucket,
    /// Its key.
    pub key: &'a ObjectKey,
    /// Its version.
    pub version: VersionSelector,
    /// Whether the caller may read it.
    pub permit: Permit,
    /// Conditions on it.
    pub conditions: ReadConditions,
    /// What opens it if it is sealed.
    pub keys: Arc<dyn Keys>,
}

/// What the copy is to be.
#[derive(Clone, Debug)]
pub struct CopyObject {
    /// Headers and metadata; None: those of the source.
    pub attributes: Option<ObjectAttributes>,
    /// Where a website sends who asks for it, if the attributes are the source's: this one is never copied.
    pub redirect_location: Option<String>,
    /// The storage class; None: STANDARD, as S3 has it.
    pub storage_class: Option<StorageClass>,
    /// Tags; None: those of the source.
    pub tags: Option<Vec<Tag>>,
    /// Lock and ACL; the tags in it are of no account.
    pub settings: ObjectSettings,
    /// The account that will own it.
    pub owner: AccountId,
    /// The checksum to compute; None: the source's algorithm.
    pub checksum: Option<ChecksumAlgorithm>,
    /// How it is sealed; None: not at all.
    pub sealing: Option<Sealing>,
    /// The request says itself how the copy is to be sealed, which counts as a change.
    pub names_encryption: bool,
    /// Conditions on what it replaces.
    pub conditions: WriteConditions,
}

/// What was copied.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The new version.
    pub object: ObjectVersion,
    /// The version that was read.
    pub source: ObjectVersion,
}

impl Store {
    /// Copies an object. Atomic; durable when it returns. The source is read from one version, whatever happens to the
    /// key meanwhile.
    ///
    /// # Errors
    /// As [`Store::get_object`] for the source (a condition that does not hold is `PreconditionFailed`) and as
    /// [`Store::put_object`] for the target; `CopyChangesNothing`; `TooLarge` above 5 GiB; what [`Keys::open`] refuses.
    pub async fn copy_object(
        &self,
        source: CopySource<'_>,
        bucket: &Bucket,
        key: &ObjectKey,
        copy: CopyObject,
    ) -> Result<Copied, StorageError> {
        self.check_asked_lock(bucket.object_lock, &copy.settings)?;
        if let Some(copied) = self.share_content(&source, bucket, key, &copy).await? {
            return Ok(copied);
        }
        let (read, body) = self.open_copy_source(&source, Select::Whole).await?;
        let new = copy.version_of(&source, bucket, key, &read)?;
        let algorithm = copy.checksum.or(read.checksum_kind().map(|(algorithm, _)| algorithm));
        let destination = Destination::object(bucket.id, key, &new.attributes, new.storage_class)?;
        let ingested = self
            .ingest(copied_body(body, algorithm), destination, None, copy.sealing.as_ref().map(Sealing::seal))
            .await?;
        let new = NewObject {
            size_bytes: ingested.size_bytes,
            etag: Etag { digest: ingested.etag, parts_count: 0 },
            checksum: ingested.checksum.map(|value| ObjectChecksum { value, composite: false }),
            sealed_checksum: None,
            content: ingested.content(),
            ..new
        };
        let object = self.place_new(bucket, key, new, copy.sealing.as_ref(), &copy.conditions, ingested).await?;
        Ok(Copied { object, source: read })
    }

    /// Opens the source of a copy; a copy has no 304, so an unmodified source is a failed precondition.
    pub(super) async fn open_copy_source(
        &self,
        source: &CopySource<'_>,
        select: Select,
    ) -> Result<(ObjectVersion, ObjectBody), StorageError> {
        let get = GetObject {
            version: source.version,
            permit: source.permit.clone(),
            conditions: source.conditions.clone(),
            select,
        };
        let (found, body) = self.open_object(source.bucket, source.key, get).await.map_err(failed_precondition)?;
        let data_key = source.open(&found.object).await?;
        Ok((found.object, body.unlocked(data_key)))
    }
}

impl CopySource<'_> {
    /// The data key of the version that was found.
    async fn open(&self, found: &ObjectVersion) -> Result<Option<DataKey>, StorageError> {
        let context = found.wrap_context(self.bucket.id, self.key);
        self.keys.open(found.encryption.as_ref(), context).await
    }
}

impl CopyObject {
    /// The new version with the content of `read`.
    ///
    /// # Errors
    /// `CopyChangesNothing`, `TooLarge`.
    pub(super) fn version_of(
        &self,
        source: &CopySource<'_>,
        bucket: &Bucket,
        key: &ObjectKey,
        read: &ObjectVersion,
    ) -> Result<NewObject, StorageError> {
        let onto_itself =
            source.bucket.id == bucket.id && source.key == key && source.version == VersionSelector::Newest;
        let storage_class = self.storage_class.unwrap_or_default();
        let of_source = || ObjectAttributes {
            website_redirect_location: self.redirect_location.clone(),
            ..read.attributes.clone()
        };
        let attributes = self.attributes.clone().unwrap_or_else(of_source);
        let changes = self.attributes.is_some()
            || attributes != read.attributes
            || storage_class != read.storage_class
            || self.names_encryption;
        if onto_itself && !changes {
            return Err(StorageError::CopyChangesNothing);
        }
        if read.size_bytes > PUT_BYTES_MAX {
            return Err(StorageError::TooLarge { size_bytes: read.size_bytes, max_bytes: PUT_BYTES_MAX });
        }
        let tags = self.tags.clone().unwrap_or_else(|| read.settings.tags.clone());
        Ok(NewObject {
            owner: self.owner,
            size_bytes: read.size_bytes,
            etag: read.etag,
            checksum: read.checksum,
            sealed_checksum: read.sealed_checksum.clone(),
            storage_class,
            attributes,
            content: read.content,
            settings: ObjectSettings { tags, ..self.settings.clone() },
            encryption: None,
            acl_is_public: self.conditions.if_public_acls,
            replica: None,
        })
    }
}

/// A copy has no 304: an unmodified source is a failed precondition.
pub(super) fn failed_precondition(error: StorageError) -> StorageError {
    match error {
        StorageError::NotModified { .. } => StorageError::PreconditionFailed { header: "x-amz-copy-source-if-*" },
        error => error,
    }
}

/// The bytes of an object as the body of a put.
pub(super) fn copied_body(body: ObjectBody, algorithm: Option<ChecksumAlgorithm>) -> Body {
    let length = Some(body.remaining_bytes());
    let stream = body.map(|item| item.map_err(|error| Box::new(error) as BodyError));
    let checksum = algorithm.map_or(DeclaredChecksum::None, DeclaredChecksum::Compute);
    Body { stream: Box::pin(stream), length, content_md5: None, checksum, sealed: None }
}
