//! UpdateObjectEncryption: a version's data key is wrapped under another key. Its content, its id and everything else about it
//! stay as they are; only checksums that an older record has in the clear are sealed.

use crate::StorageError;
use crate::encryption::{EncryptionMode, Keys, Seal, Sealing};
use crate::id::ContentId;
use crate::index::family::layout::{self, LayoutPage};
use crate::index::family::version::Version;
use crate::index::{Batch, Family, IndexError, Revision, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;
use crate::sealed_checksum::Kept;

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
            let sealing = sealing.of_key(opened.ok_or(NOT_SEALED)?);
            let encryption = sealing.of_version(bucket.id, key, object.version_id)?;
            let changed = ObjectVersion { encryption: Some(encryption), ..object.clone() };
            let changed = changed.with_sealed_checksum(Some(sealing.seal()))?;
            let mut mutation = replace(key, &seen, &changed)?;
            self.seal_parts(bucket, changed.content, sealing.seal(), &mut mutation.batch).await?;
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                return Ok(changed);
            }
        }
        Err(StorageError::Contention)
    }

    /// Seals the checksums of the content's parts that are in the clear. Whoever else shares the content has its data key as well.
    async fn seal_parts(
        &self,
        bucket: &Bucket,
        content: Content,
        seal: &Seal,
        batch: &mut Batch,
    ) -> Result<(), StorageError> {
        let Content::Composite(composite) = content else { return Ok(()) };
        for (row_key, revision, mut page) in self.view(bucket.id, move |view| read_pages(view, composite)).await? {
            let mut changes = false;
            for part in &mut page.parts {
                changes |= part.checksum.is_some();
                let kept = Kept { clear: part.checksum, sealed: part.sealed_checksum.take() };
                let kept = kept.sealed_by(Some(seal), part.number)?;
                (part.checksum, part.sealed_checksum) = (kept.clear, kept.sealed);
            }
            if changes {
                // Stops: UpdateObjectEncryption x the same of a version that shares the content.
                batch.guard(Family::Layout, row_key, Some(revision));
                batch.put(Family::Layout, row_key, page.to_value()?);
            }
        }
        Ok(())
    }
}

fn read_pages(view: &dyn View, composite: ContentId) -> Result<Vec<([u8; 18], Revision, LayoutPage)>, IndexError> {
    let mut pages = Vec::new();
    for number in 0.. {
        let row_key = layout::key(composite, number);
        let Some(row) = view.get(Family::Layout, &row_key)? else { break };
        pages.push((row_key, row.revision, LayoutPage::from_value(&row.value)?));
    }
    Ok(pages)
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
