//! UpdateObjectEncryption: a version's data key is wrapped under another key. Its content, its id and everything else about it
//! stay as they are.

use crate::StorageError;
use crate::encryption::{EncryptionMode, Keys, Sealing};
use crate::index::family::version::Version;
use crate::object::{ObjectKey, ObjectVersion};

use super::update_version::{replace, version_found};
use super::{ATTEMPTS_MAX, Bucket, Governance, Permit, Store, VersionSelector};

impl Store {
    /// Wraps a version's data key as `sealing` says, whose own data key is not used. Durable when it returns; the version as it
    /// is now.
    ///
    /// # Errors
    /// As [`Store::update_version`], `Locked` for every version that is locked; `KeyNotExchangeable`; what [`Keys::open`] refuses:
    /// nothing changed.
    pub async fn update_encryption(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        selector: VersionSelector,
        permit: &Permit,
        keys: &dyn Keys,
        sealing: &Sealing,
    ) -> Result<ObjectVersion, StorageError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_key(bucket.id, key, selector).await?;
            let head = seen.head.head.as_ref();
            let object = version_found(head.and_then(|head| seen.find(head, selector)), selector)?;
            permit.check(object)?;
            check_exchangeable(object)?;
            self.removal(Governance::Heeded).check(&Version::Object(object.clone()))?;
            let opened = keys.open(object.encryption.as_ref(), object.wrap_context(bucket.id, key)).await?;
            let data_key = opened.ok_or(NOT_SEALED)?;
            let encryption = sealing.of_key(data_key).of_version(bucket.id, key, object.version_id)?;
            let changed = ObjectVersion { encryption: Some(encryption), ..object.clone() };
            let mutation = replace(key, &seen, &changed)?;
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(changed);
            }
        }
        Err(StorageError::Contention)
    }
}

const NOT_SEALED: StorageError = StorageError::KeyNotExchangeable {
    what: "The UpdateObjectEncryption operation doesn't support unencrypted source objects. Only source objects encrypted \
           with SSE-S3 or SSE-KMS are supported.",
};

/// Which keys can be exchanged (S3 API reference, UpdateObjectEncryption): not a customer's, which the server does not have, and
/// not those of what is sealed twice.
fn check_exchangeable(object: &ObjectVersion) -> Result<(), StorageError> {
    match object.encryption.as_ref().map(|encryption| encryption.mode) {
        Some(EncryptionMode::S3 | EncryptionMode::Kms) => Ok(()),
        None => Err(NOT_SEALED),
        Some(EncryptionMode::Customer | EncryptionMode::KmsDsse) => Err(StorageError::KeyNotExchangeable {
            what: "The UpdateObjectEncryption operation doesn't support source objects with the encryption type DSSE-KMS or \
                   SSE-C. Only source objects encrypted with SSE-S3 or SSE-KMS are supported.",
        }),
    }
}
