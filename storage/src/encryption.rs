//! How a version's bytes are sealed: what its record says of it, and what a caller brings to seal new bytes or to open
//! those that are there (ARCHITECTURE 10).
//!
//! Storage makes data keys' envelopes by a [`KeyWrap`] that it is given, and has them opened by the caller's [`Keys`]; it
//! holds no key longer than an operation lasts, and never decides who may use one.

mod carried;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::{DataKey, Layers};
use cairn_crypto::wrap::{KeyWrap, WrapContext, Wrapped};
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::id::{BucketId, UploadId, VersionId};
use crate::object::ObjectKey;

pub(crate) use carried::LENGTH_BYTES;
pub use carried::{Envelope, SealedContent};

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
    /// A KMS's, by way of a key that it issued (SSE-KMS).
    #[n(2)]
    Kms,
    /// As `Kms`, and the bytes are sealed twice (DSSE-KMS).
    #[n(3)]
    KmsDsse,
}

impl EncryptionMode {
    /// Whether an ETag may be the MD5 of the bytes (S3 API reference, "Object": of objects encrypted by SSE-S3 it is, of
    /// those encrypted by SSE-C or SSE-KMS it is not).
    #[must_use]
    pub fn shows_md5(self) -> bool {
        self == Self::S3
    }

    /// In how many layers the bytes are sealed.
    #[must_use]
    pub fn layers(self) -> Layers {
        if self == Self::KmsDsse { Layers::Two } else { Layers::One }
    }
}

/// Names and values that a KMS binds to what it issues, in the order of their names.
pub type KmsContext = BTreeMap<String, String>;

/// The longest name that a KMS gives a key (API reference of KMS, `KeyId`).
pub const KMS_KEY_BYTES_MAX: usize = 2_048;

/// The most that names and values of a context have together (AWS KMS developer guide, "Encryption context").
pub const KMS_CONTEXT_BYTES_MAX: usize = 8_192;

/// The longest envelope of a KMS (API reference of KMS, `CiphertextBlob`).
pub const KMS_ENVELOPE_BYTES_MAX: usize = 6_144;

/// What a record says of the key that a KMS issued, under which its data key is wrapped.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UnderKms {
    /// The KMS's key, by its whole name (ARN).
    #[n(0)]
    pub key_arn: String,
    /// What the issued key is bound to.
    #[n(1)]
    pub context: KmsContext,
    /// The issued key is one for many objects of the bucket.
    #[n(2)]
    pub bucket_key: bool,
    /// The issued key, which the KMS alone opens.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub envelope: Vec<u8>,
}

impl UnderKms {
    /// Whether it is no larger than the limits of a KMS.
    fn is_bounded(&self) -> bool {
        let context_bytes: usize = self.context.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key_arn.len() <= KMS_KEY_BYTES_MAX
            && context_bytes <= KMS_CONTEXT_BYTES_MAX
            && self.envelope.len() <= KMS_ENVELOPE_BYTES_MAX
    }
}

impl fmt::Debug for UnderKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderKms").field("key_arn", &self.key_arn).finish_non_exhaustive()
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
    /// The key that the envelope was made under, if a KMS issued it. Boxed, because most records have none.
    #[n(3)]
    pub kms: Option<Box<UnderKms>>,
    /// The id of the bucket that the data key was wrapped in, if what is sealed came from there as it was; None: this one.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    made_in: Option<[u8; 16]>,
}

impl Encryption {
    /// What its data key is wrapped for, in the record of the version, or upload, `id` of `key`.
    pub(crate) fn context<'k>(&self, bucket: BucketId, key: &'k ObjectKey, id: [u8; 16]) -> WrapContext<'k> {
        let partition = self.made_in.unwrap_or(*bucket.as_bytes());
        WrapContext { partition, object_key: key.as_bytes(), version: self.made_for.unwrap_or(id) }
    }

    /// What it seals came from another bucket as it was.
    pub(crate) fn is_carried(&self) -> bool {
        self.made_in.is_some()
    }

    /// What the record of a new version with the content of `version`, which has this one, is to say: the same envelope.
    /// Only of the same key in the same bucket, which the envelope is bound to as well.
    pub(crate) fn kept_from(self, version: VersionId) -> Self {
        Self { made_for: Some(self.made_for.unwrap_or(*version.as_bytes())), ..self }
    }

    /// The id of what the data key was wrapped for, in the record of this version.
    pub(crate) fn id_in(&self, version: VersionId) -> [u8; 16] {
        self.made_for.unwrap_or(*version.as_bytes())
    }

    /// The same data key in another envelope, made with the same context.
    #[must_use]
    pub fn rewrapped(&self, wrapped: &Wrapped) -> Self {
        Self { wrapped: wrapped.as_bytes().to_vec(), ..self.clone() }
    }

    /// The same, whose issued key is in another envelope of the KMS; None: beyond the limits of a KMS, or under none.
    #[must_use]
    pub fn reissued(&self, envelope: Vec<u8>) -> Option<Self> {
        let kms = UnderKms { envelope, ..(**self.kms.as_ref()?).clone() };
        kms.is_bounded().then(|| Self { kms: Some(Box::new(kms)), ..self.clone() })
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
    kms: Option<Box<UnderKms>>,
}

impl Sealing {
    /// With a fresh data key.
    ///
    /// # Errors
    /// `Io` if the system gives no randomness.
    pub fn new(mode: EncryptionMode, wrap: Arc<dyn KeyWrap>) -> Result<Self, StorageError> {
        let random = |error| StorageError::Io { doing: "making a data key", source: std::io::Error::other(error) };
        let key = DataKey::generate().map_err(random)?.in_layers(mode.layers());
        Ok(Self { seal: Seal { key, mode }, wrap, kms: None })
    }

    /// With a fresh data key, which `wrap` wraps under the key that a KMS issued.
    ///
    /// # Errors
    /// As [`Sealing::new`]; `MetadataTooLarge` beyond the limits of a KMS.
    pub fn under_kms(mode: EncryptionMode, wrap: Arc<dyn KeyWrap>, kms: UnderKms) -> Result<Self, StorageError> {
        if !kms.is_bounded() {
            return Err(StorageError::MetadataTooLarge);
        }
        Ok(Self { kms: Some(Box::new(kms)), ..Self::new(mode, wrap)? })
    }

    /// As this one, with a data key that is there already: content that stays as it is gets another envelope.
    pub(crate) fn of_key(&self, key: DataKey) -> Self {
        Self { seal: Seal { key, mode: self.seal.mode }, wrap: Arc::clone(&self.wrap), kms: self.kms.clone() }
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
        let wrapped = wrapped.as_bytes().to_vec();
        Ok(Encryption { mode: self.seal.mode, wrapped, made_for: None, kms: self.kms.clone(), made_in: None })
    }
}

/// What one request may open: the edge's keys, and those that came with the request.
#[async_trait]
pub trait Keys: fmt::Debug + Send + Sync {
    /// The data key of what is sealed so; None if it is not sealed.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyNeedless`, `KeyWrong` about the key that the request brought; `KeyRefused` by a KMS; `KeyUnusable`.
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
    let one_key = match (&source.kms, &target.kms) {
        (None, None) => target.wrap.opens(&source.wrapped()?, &context),
        // Each was issued for itself, by the same key of the KMS.
        (Some(source), Some(target)) => source.key_arn == target.key_arn,
        _ => false,
    };
    let one_context = source.mode == target.seal.mode && one_key;
    Ok(if one_context { Shared::Rewrapped(target.of_key(key)) } else { Shared::Impossible })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::issued_key::IssuedKeyWrap;
    use cairn_crypto::wrap::WRAPPED_BYTES_MAX;

    use super::*;

    pub(crate) fn sample_encryption() -> Encryption {
        Encryption {
            mode: EncryptionMode::Customer,
            wrapped: vec![1, 2, 3],
            made_for: Some([9; 16]),
            kms: None,
            made_in: None,
        }
    }

    pub(crate) fn sample_under_kms() -> Encryption {
        let kms = UnderKms {
            key_arn: "arn:aws:kms:us-east-1:100000000011:key/testkey-1".to_owned(),
            context: [("aws:s3:arn".to_owned(), "arn:aws:s3:::bucket/key".to_owned())].into(),
            bucket_key: true,
            envelope: vec![4; 100],
        };
        Encryption { mode: EncryptionMode::KmsDsse, kms: Some(Box::new(kms)), ..sample_encryption() }
    }

    pub(crate) fn largest_encryption() -> Encryption {
        let kms = UnderKms {
            key_arn: "x".repeat(KMS_KEY_BYTES_MAX),
            // The most pairs that fit: what they cost beyond their own bytes counts as well.
            context: (0..KMS_CONTEXT_BYTES_MAX / 4).map(|number| (format!("{number:04}"), String::new())).collect(),
            bucket_key: true,
            envelope: vec![0; KMS_ENVELOPE_BYTES_MAX],
        };
        assert!(kms.is_bounded());
        let (kms, made_in) = (Some(Box::new(kms)), Some([8; 16]));
        Encryption { wrapped: vec![0; WRAPPED_BYTES_MAX], kms, made_in, ..sample_encryption() }
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
    fn what_is_larger_than_a_kms_allows_is_not_recorded() {
        let largest = *largest_encryption().kms.unwrap();
        let wrap: Arc<dyn KeyWrap> = Arc::new(IssuedKeyWrap::new(DataKey::from_bytes([1; 32])));
        let sealing = |kms| Sealing::under_kms(EncryptionMode::Kms, Arc::clone(&wrap), kms);
        assert!(sealing(largest.clone()).is_ok());
        let mut context = largest.context.clone();
        context.insert("x".to_owned(), String::new());
        for kms in [
            UnderKms { key_arn: "x".repeat(KMS_KEY_BYTES_MAX + 1), ..largest.clone() },
            UnderKms { context, ..largest.clone() },
            UnderKms { envelope: vec![0; KMS_ENVELOPE_BYTES_MAX + 1], ..largest.clone() },
        ] {
            assert!(matches!(sealing(kms), Err(StorageError::MetadataTooLarge)));
        }
    }

    #[test]
    fn debug_shows_no_envelope() {
        assert!(!format!("{:?}", sample_encryption()).contains("wrapped"));
        assert!(!format!("{:?}", sample_under_kms()).contains("envelope"));
    }
}
