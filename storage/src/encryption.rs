//! How a version's bytes are sealed: what its record says of it, and what a caller brings to seal new bytes or to open
//! those that are there (ARCHITECTURE 10).
//!
//! Storage makes data keys' envelopes by a [`KeyWrap`] that it is given, and has them opened by the caller's [`Keys`]; it
//! holds no key longer than an operation lasts, and never decides who may use one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::DataKey;
use cairn_crypto::wrap::{KeyWrap, WrapContext, Wrapped};
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::id::{BucketId, UploadId, VersionId};
use crate::object::ObjectKey;

/// Whose key wraps the data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum EncryptionMode {
    /// The server's own (SSE-S3).
    #[n(0)]
    S3,
    /// One that the customer sends with each request (SSE-C).
    #[n(1)]
    Customer,
}

impl EncryptionMode {
    /// Whether an ETag may be the MD5 of the bytes (S3 API reference, "Object": of objects encrypted by SSE-S3 it is, of
    /// those encrypted by SSE-C or SSE-KMS it is not).
    #[must_use]
    pub fn shows_md5(self) -> bool {
        self == Self::S3
    }
}

/// What a record says of how its bytes are sealed.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Encryption {
    /// Whose key wraps the data key.
    #[n(0)]
    pub mode: EncryptionMode,
    /// The data key's envelope.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    wrapped: Vec<u8>,
    /// The id of what the data key was wrapped for, an upload or an older version; None: the version that has this record.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    made_for: Option<[u8; 16]>,
}

impl Encryption {
    /// What the record of a new version with the content of `version`, which has this one, is to say: the same envelope.
    /// Only of the same key in the same bucket, which the envelope is bound to as well.
    pub(crate) fn kept_from(self, version: VersionId) -> Self {
        Self { made_for: Some(self.made_for.unwrap_or(*version.as_bytes())), ..self }
    }

    /// The id of what the data key was wrapped for, in the record of this version.
    pub(crate) fn id_in(&self, version: VersionId) -> [u8; 16] {
        self.made_for.unwrap_or(*version.as_bytes())
    }

    /// The data key's envelope.
    ///
    /// # Errors
    /// `Corrupt` if it is too long to be one.
    pub fn wrapped(&self) -> Result<Wrapped, StorageError> {
        Wrapped::from_bytes(self.wrapped.clone()).map_err(|error| StorageError::corrupt(error.to_string()))
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// What a data key is wrapped for: the version, or the upload, `id` of `key`.
pub(crate) fn context(bucket: BucketId, key: &ObjectKey, id: [u8; 16]) -> WrapContext<'_> {
    WrapContext { partition: *bucket.as_bytes(), object_key: key.as_bytes(), version: id }
}

/// What bytes are sealed with.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The data key.
    pub key: DataKey,
    /// Whose key wraps it.
    pub mode: EncryptionMode,
}

/// How a new version is sealed: its data key, and who wraps it once the version has an id.
#[derive(Clone, Debug)]
pub struct Sealing {
    seal: Seal,
    wrap: Arc<dyn KeyWrap>,
}

impl Sealing {
    /// With a fresh data key.
    ///
    /// # Errors
    /// `Io` if the system gives no randomness.
    pub fn new(mode: EncryptionMode, wrap: Arc<dyn KeyWrap>) -> Result<Self, StorageError> {
        let random = |error| StorageError::Io { doing: "making a data key", source: std::io::Error::other(error) };
        Ok(Self { seal: Seal { key: DataKey::generate().map_err(random)?, mode }, wrap })
    }

    /// What the bytes are sealed with.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// What the record of this version is to say.
    pub(crate) fn of_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Encryption, StorageError> {
        self.wrapped_for(bucket, key, *version.as_bytes())
    }

    /// What the record of this upload, and that of the version that it becomes, is to say.
    pub(crate) fn of_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<Encryption, StorageError> {
        let encryption = self.wrapped_for(bucket, key, *upload.as_bytes())?;
        Ok(Encryption { made_for: Some(*upload.as_bytes()), ..encryption })
    }

    fn wrapped_for(&self, bucket: BucketId, key: &ObjectKey, id: [u8; 16]) -> Result<Encryption, StorageError> {
        let context = context(bucket, key, id);
        let wrapped = self
            .wrap
            .wrap(&self.seal.key, &context)
            .map_err(|error| StorageError::Io { doing: "wrapping a data key", source: std::io::Error::other(error) })?;
        Ok(Encryption { mode: self.seal.mode, wrapped: wrapped.as_bytes().to_vec(), made_for: None })
    }
}

/// What one request may open: the edge's keys, and those that came with the request.
#[async_trait]
pub trait Keys: fmt::Debug + Send + Sync {
    /// The data key of what is sealed so; None if it is not sealed.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyNeedless`, `KeyWrong` about the key that the request brought; `KeyUnusable`.
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError>;
}

/// Opens nothing: for what is not sealed.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

#[async_trait]
impl Keys for NoKeys {
    async fn open(&self, encryption: Option<&Encryption>, _: WrapContext<'_>) -> Result<Option<DataKey>, StorageError> {
        if encryption.is_some() { Err(StorageError::KeyMissing) } else { Ok(None) }
    }
}

/// How a copy that shares its source's content is sealed.
pub(crate) enum Shared {
    /// As the source, which is not sealed.
    Plain,
    /// With the source's data key, wrapped anew.
    Rewrapped(Sealing),
    /// Not at all: source and target are sealed by different keys, so the bytes are sealed anew.
    Impossible,
}

/// How a copy of something sealed as `source` can share its content if it is to be sealed as `target`.
///
/// # Errors
/// Those of [`Keys::open`].
pub(crate) async fn share(
    (source, context): (Option<&Encryption>, WrapContext<'_>),
    keys: &dyn Keys,
    target: Option<&Sealing>,
) -> Result<Shared, StorageError> {
    // Also asked if nothing is sealed: then it refuses a key that the request brought for the source.
    let key = keys.open(source, context).await?;
    let (Some(source), Some(key), Some(target)) = (source, key, target) else {
        let plain = source.is_none() && target.is_none();
        return Ok(if plain { Shared::Plain } else { Shared::Impossible });
    };
    let one_context = source.mode == target.seal.mode && target.wrap.opens(&source.wrapped()?, &context);
    if !one_context {
        return Ok(Shared::Impossible);
    }
    let seal = Seal { key, mode: target.seal.mode };
    Ok(Shared::Rewrapped(Sealing { seal, wrap: Arc::clone(&target.wrap) }))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::wrap::WRAPPED_BYTES_MAX;

    use super::*;

    pub(crate) fn sample_encryption() -> Encryption {
        Encryption { mode: EncryptionMode::Customer, wrapped: vec![1, 2, 3], made_for: Some([9; 16]) }
    }

    pub(crate) fn largest_encryption() -> Encryption {
        Encryption { wrapped: vec![0; WRAPPED_BYTES_MAX], ..sample_encryption() }
    }

    #[test]
    fn a_record_names_what_its_envelope_was_made_for() {
        let bucket = BucketId::from_bytes([1; 16]);
        let key = ObjectKey::new("key").unwrap();
        let mut object = crate::index::family::version::tests::sample_object();
        assert_eq!(object.wrap_context(bucket, &key).version, [9; 16]);
        object.encryption = Some(Encryption { made_for: None, ..sample_encryption() });
        let version = *object.version_id.as_bytes();
        let expected = WrapContext { partition: [1; 16], object_key: b"key", version };
        assert_eq!(object.wrap_context(bucket, &key), expected);
        // A version that has the content of this one by the same envelope, and one that has it from there.
        let older = object.version_id;
        for number in [1, 2] {
            object.encryption = object.encryption.map(|encryption| encryption.kept_from(object.version_id));
            object.version_id = VersionId::from_bytes([number; 16]);
            assert_eq!(object.wrap_context(bucket, &key).version, *older.as_bytes());
        }
    }

    #[test]
    fn debug_shows_no_envelope() {
        assert!(!format!("{:?}", sample_encryption()).contains("wrapped"));
    }
}
