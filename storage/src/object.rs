//! What is stored about an object: the types that records, operations and the edge share.

pub(crate) mod checksum_codec;
mod class;

use std::collections::BTreeMap;
use std::fmt;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_crypto::wrap::WrapContext;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::encryption::{self, Encryption};
use crate::id::{AccountId, BucketId, ContentId, VersionId};
use crate::replication::Replication;
use crate::sealed_checksum::{SealedChecksum, SealedChecksumKind};
use crate::settings::ObjectSettings;

pub use class::{Access, AccessTier, RestoreStage, Restored, RetrievalTier, StorageClass};

/// The longest key, in bytes of UTF-8 (S3 user guide, "Naming Amazon S3 objects").
pub const KEY_BYTES_MAX: usize = 1_024;

/// An object's key: 1 to 1,024 bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// A key; None if it is empty or too long.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        (!key.is_empty() && key.len() <= KEY_BYTES_MAX).then(|| Self(key.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, in whose order keys are listed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a client says about an object besides its bytes: system headers and user metadata. Copied or replaced as a
/// whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ObjectAttributes {
    /// `Content-Type`; None: the client sent none.
    #[n(0)]
    pub content_type: Option<String>,
    /// `Cache-Control`.
    #[n(1)]
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    #[n(2)]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[n(3)]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[n(4)]
    pub content_language: Option<String>,
    /// `Expires`, as sent.
    #[n(5)]
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    #[n(6)]
    pub website_redirect_location: Option<String>,
    /// `x-amz-meta-*`: lower-case names without the prefix.
    #[n(7)]
    pub user_metadata: BTreeMap<String, String>,
}

/// An ETag without quotes: an MD5, or the MD5 of parts' MD5s with their count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Etag {
    /// The digest.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub digest: [u8; 16],
    /// How many parts; 0 for an object that was put whole.
    #[n(1)]
    pub parts_count: u16,
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every entry of a listing has one, and formatting an integer of 128 bits is slow.
        let mut digits = [0; 32];
        hex::encode_to_slice(self.digest, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)?;
        match self.parts_count {
            0 => Ok(()),
            count => write!(f, "-{count}"),
        }
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stored checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ObjectChecksum {
    /// Algorithm and value.
    #[n(0)]
    #[cbor(with = "checksum_codec")]
    pub value: Checksum,
    /// For a multipart object: it is over the parts' checksums, not over the object's bytes.
    #[n(1)]
    pub composite: bool,
}

impl ObjectChecksum {
    /// What it covers, in S3's terms.
    #[must_use]
    pub fn checksum_type(&self) -> ChecksumType {
        if self.composite { ChecksumType::Composite } else { ChecksumType::FullObject }
    }
}

/// Where a version's or part's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// There are no bytes.
    #[n(0)]
    Empty,
    /// A row of the `inline` family.
    #[n(1)]
    Inline(#[n(0)] ContentId),
    /// A chunk file, with a `content` row.
    #[n(2)]
    File(#[n(0)] ContentId),
    /// The parts that `layout` names, with a `content` row.
    #[n(3)]
    Composite(#[n(0)] ContentId),
}

/// One version of a key that is an object, as stored and as operations return it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ObjectVersion {
    /// Its id, also when it is the `null` version.
    #[n(0)]
    pub version_id: VersionId,
    /// It is the key's `null` version: written while versioning was not enabled.
    #[n(1)]
    pub is_null: bool,
    /// When it was created (`Last-Modified`).
    #[n(2)]
    pub created: Timestamp,
    /// The account that owns it.
    #[n(3)]
    pub owner: AccountId,
    /// Plaintext bytes.
    #[n(4)]
    pub size_bytes: u64,
    /// The ETag.
    #[n(5)]
    pub etag: Etag,
    /// Where its bytes are.
    #[n(6)]
    pub content: Content,
    /// The checksum, declared or computed, if it is not sealed, or was revealed.
    #[n(7)]
    pub checksum: Option<ObjectChecksum>,
    /// The storage class.
    #[n(8)]
    pub storage_class: StorageClass,
    /// Headers and user metadata.
    #[n(9)]
    pub attributes: ObjectAttributes,
    /// What may change.
    #[n(10)]
    #[cbor(default)]
    pub settings: ObjectSettings,
    /// How its bytes are sealed; None: they are not.
    #[n(11)]
    pub encryption: Option<Encryption>,
    /// The checksum, sealed.
    #[n(12)]
    pub sealed_checksum: Option<SealedChecksum>,
    /// When it moved to its class; None: it was created in it.
    #[n(14)]
    pub placed: Option<Timestamp>,
    /// The newest restore from its archive class or tier.
    #[n(15)]
    pub restored: Option<Restored>,
    /// Of an object in INTELLIGENT_TIERING; None: it has been in the frequent tier since it came into the class, and no access
    /// was noted.
    #[n(17)]
    pub access: Option<Access>,
    /// Where it is to be copied to, or that it is a copy from elsewhere; None: neither.
    #[n(16)]
    pub replication: Option<Replication>,
}

/// A version id as S3 shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnedVersion {
    /// `null`.
    Null,
    /// An id.
    Id(VersionId),
}

impl ReturnedVersion {
    /// How S3 shows this version.
    #[must_use]
    pub fn of(is_null: bool, id: VersionId) -> Self {
        if is_null { Self::Null } else { Self::Id(id) }
    }
}

impl fmt::Display for ReturnedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl ObjectVersion {
    /// Its id as S3 shows it.
    #[must_use]
    pub fn shown(&self) -> ReturnedVersion {
        ReturnedVersion::of(self.is_null, self.version_id)
    }

    /// Whether its ETag is what every server computes from the bytes.
    #[must_use]
    pub fn etag_follows_from_bytes(&self) -> bool {
        self.encryption.as_ref().is_none_or(|encryption| encryption.mode.shows_md5())
    }

    /// When it came into its class.
    #[must_use]
    pub fn in_class_since(&self) -> Timestamp {
        self.placed.unwrap_or(self.created)
    }

    /// Its tier, if its class has tiers.
    #[must_use]
    pub fn access_tier(&self) -> Option<AccessTier> {
        access_tier(self.storage_class, self.access)
    }

    /// The class in whose place its files belong: its own, or that of its tier.
    #[must_use]
    pub fn place_class(&self) -> StorageClass {
        self.access_tier().map_or(self.storage_class, AccessTier::class)
    }

    /// Whether its class or tier needs a restore before it can be read.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        self.place_class().needs_restore()
    }

    /// What a restore from its archive class has come to; None: there is none, or it has ended.
    #[must_use]
    pub fn restore_stage(&self, now: Timestamp) -> Option<RestoreStage> {
        self.restored.filter(|_| self.is_archived()).and_then(|restored| restored.stage(now))
    }

    /// Whether its bytes can be read without a restore, or by one.
    #[must_use]
    pub fn is_readable(&self, now: Timestamp) -> bool {
        !self.is_archived() || self.restore_stage(now) == Some(RestoreStage::Ready)
    }

    /// What its data key is wrapped for.
    #[must_use]
    pub fn wrap_context<'k>(&self, bucket: BucketId, key: &'k ObjectKey) -> WrapContext<'k> {
        let id = *self.version_id.as_bytes();
        match &self.encryption {
            Some(encryption) => encryption.context(bucket, key, id),
            None => encryption::context(bucket, key, id),
        }
    }
}

fn access_tier(class: StorageClass, access: Option<Access>) -> Option<AccessTier> {
    (class == StorageClass::IntelligentTiering).then(|| access.map(|access| access.tier).unwrap_or_default())
}

impl DeleteMarker {
    /// Its id as S3 shows it.
    #[must_use]
    pub fn shown(&self) -> ReturnedVersion {
        ReturnedVersion::of(self.is_null, self.version_id)
    }
}

/// A delete marker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeleteMarker {
    /// Its id, also when it is the `null` version.
    #[n(0)]
    pub version_id: VersionId,
    /// It is the key's `null` version.
    #[n(1)]
    pub is_null: bool,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// The account that owns it.
    #[n(3)]
    pub owner: AccountId,
    /// As an object's.
    #[n(4)]
    pub replication: Option<Replication>,
}

/// What a listing returns of an object: the tags of [`ObjectVersion`] that it needs, so that decoding skips the rest.
#[derive(Clone, Debug, PartialEq, Eq, Decode)]
#[cbor(map)]
pub struct ObjectSummary {
    /// Its id, also when it is the `null` version.
    #[n(0)]
    pub version_id: VersionId,
    /// It is the key's `null` version.
    #[n(1)]
    pub is_null: bool,
    /// When it was created.
    #[n(2)]
    pub created: Timestamp,
    /// The account that owns it.
    #[n(3)]
    pub owner: AccountId,
    /// Plaintext bytes.
    #[n(4)]
    pub size_bytes: u64,
    /// The ETag.
    #[n(5)]
    pub etag: Etag,
    /// The checksum, if it is not sealed.
    #[n(7)]
    pub checksum: Option<ObjectChecksum>,
    /// The storage class.
    #[n(8)]
    pub storage_class: StorageClass,
    /// What is known of a sealed checksum.
    #[n(12)]
    pub sealed_checksum: Option<SealedChecksumKind>,
    /// The newest restore from its archive class or tier.
    #[n(15)]
    pub restored: Option<Restored>,
    /// As an object's.
    #[n(17)]
    pub access: Option<Access>,
}

impl ObjectSummary {
    /// The checksum's algorithm and what it covers.
    #[must_use]
    pub fn checksum_kind(&self) -> Option<(ChecksumAlgorithm, ChecksumType)> {
        match &self.checksum {
            Some(clear) => Some((clear.value.algorithm(), clear.checksum_type())),
            None => self.sealed_checksum.and_then(SealedChecksumKind::get),
        }
    }

    /// As an object's.
    #[must_use]
    pub fn access_tier(&self) -> Option<AccessTier> {
        access_tier(self.storage_class, self.access)
    }

    /// As an object's.
    #[must_use]
    pub fn restore_stage(&self, now: Timestamp) -> Option<RestoreStage> {
        let place = self.access_tier().map_or(self.storage_class, AccessTier::class);
        self.restored.filter(|_| place.needs_restore()).and_then(|restored| restored.stage(now))
    }
}
