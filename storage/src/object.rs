//! What is stored about an object: the types that records, operations and the edge share.

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

/// The longest key, in bytes of UTF-8 (S3 user guide, "Naming Amazon S3 objects").
pub const KEY_BYTES_MAX: usize = 1_024;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

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

/// S3's storage classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)] // the names are S3's
pub enum StorageClass {
    #[default]
    #[n(0)]
    Standard,
    #[n(1)]
    ReducedRedundancy,
    #[n(2)]
    StandardIa,
    #[n(3)]
    OnezoneIa,
    #[n(4)]
    IntelligentTiering,
    #[n(5)]
    GlacierIr,
    #[n(6)]
    Glacier,
    #[n(7)]
    DeepArchive,
    #[n(8)]
    ExpressOnezone,
}

impl StorageClass {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::Standard,
        Self::ReducedRedundancy,
        Self::StandardIa,
        Self::OnezoneIa,
        Self::IntelligentTiering,
        Self::GlacierIr,
        Self::Glacier,
        Self::DeepArchive,
        Self::ExpressOnezone,
    ];

    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::ReducedRedundancy => "REDUCED_REDUNDANCY",
            Self::StandardIa => "STANDARD_IA",
            Self::OnezoneIa => "ONEZONE_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
            Self::ExpressOnezone => "EXPRESS_ONEZONE",
        }
    }

    /// The class of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The byte that names it in `usage` keys.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether its objects must be restored before they can be read.
    #[must_use]
    pub fn needs_restore(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }

    /// S3 charges an object for so many days, also if it leaves the class earlier (S3 user guide, "Understanding and managing
    /// Amazon S3 storage classes"). Here it is counted, and not charged.
    #[must_use]
    pub fn minimum_days(self) -> u32 {
        match self {
            Self::Standard | Self::ReducedRedundancy | Self::ExpressOnezone | Self::IntelligentTiering => 0,
            Self::StandardIa | Self::OnezoneIa => 30,
            Self::GlacierIr | Self::Glacier => 90,
            Self::DeepArchive => 180,
        }
    }

    /// How many of these days, begun ones counted whole, are not over at `now` for what came into the class at `since`.
    #[must_use]
    pub fn early_days(self, since: Timestamp, now: Timestamp) -> u32 {
        let ends = since.0.saturating_add(i64::from(self.minimum_days()) * DAY_MS);
        let days = ends.saturating_sub(now.0).max(0).saturating_add(DAY_MS - 1) / DAY_MS;
        u32::try_from(days).unwrap_or(u32::MAX).min(self.minimum_days())
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

/// A tier of INTELLIGENT_TIERING, from the warmest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum AccessTier {
    /// Frequent access.
    #[default]
    #[n(0)]
    Frequent,
    /// Infrequent access.
    #[n(1)]
    Infrequent,
    /// Archive instant access.
    #[n(2)]
    ArchiveInstant,
    /// Archive access: restored before it can be read.
    #[n(3)]
    Archive,
    /// Deep archive access, likewise.
    #[n(4)]
    DeepArchive,
}

impl AccessTier {
    /// Every tier.
    pub const ALL: [Self; 5] =
        [Self::Frequent, Self::Infrequent, Self::ArchiveInstant, Self::Archive, Self::DeepArchive];

    /// S3's name; the first three have none in its API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frequent => "FREQUENT_ACCESS",
            Self::Infrequent => "INFREQUENT_ACCESS",
            Self::ArchiveInstant => "ARCHIVE_INSTANT_ACCESS",
            Self::Archive => "ARCHIVE_ACCESS",
            Self::DeepArchive => "DEEP_ARCHIVE_ACCESS",
        }
    }

    /// The tier of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }

    /// Whether its objects must be restored before they can be read.
    #[must_use]
    pub fn needs_restore(self) -> bool {
        matches!(self, Self::Archive | Self::DeepArchive)
    }

    /// The class that is as warm: in its place lie the tier's files.
    #[must_use]
    pub fn class(self) -> StorageClass {
        match self {
            Self::Frequent => StorageClass::IntelligentTiering,
            Self::Infrequent => StorageClass::StandardIa,
            Self::ArchiveInstant => StorageClass::GlacierIr,
            Self::Archive => StorageClass::Glacier,
            Self::DeepArchive => StorageClass::DeepArchive,
        }
    }
}

/// Where an object in INTELLIGENT_TIERING is, and when it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Access {
    /// Its tier.
    #[n(0)]
    pub tier: AccessTier,
    /// Its last access that was noted.
    #[n(1)]
    pub last: Timestamp,
}

/// How soon an archived object is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
#[allow(missing_docs)] // the names are S3's
pub enum RetrievalTier {
    #[n(0)]
    Bulk,
    #[default]
    #[n(1)]
    Standard,
    #[n(2)]
    Expedited,
}

/// A restore of an archived version: its bytes can be read from `ready` until `ends`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Restored {
    /// When it was asked for.
    #[n(0)]
    pub requested: Timestamp,
    /// From when on.
    #[n(1)]
    pub ready: Timestamp,
    /// Until when.
    #[n(2)]
    pub ends: Timestamp,
    /// How soon it was wanted.
    #[n(3)]
    pub tier: RetrievalTier,
}

/// What a restore has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStage {
    /// It is not ready yet.
    Ongoing,
    /// The bytes can be read.
    Ready,
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

    /// When it came into its class.
    #[must_use]
    pub fn in_class_since(&self) -> Timestamp {
        self.placed.unwrap_or(self.created)
    }

    /// Its tier, if its class has tiers.
    #[must_use]
    pub fn access_tier(&self) -> Option<AccessTier> {
        let tier = || self.access.map(|access| access.tier).unwrap_or_default();
        (self.storage_class == StorageClass::IntelligentTiering).then(tier)
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
        let restored = self.restored.filter(|restored| self.is_archived() && now < restored.ends)?;
        Some(if now < restored.ready { RestoreStage::Ongoing } else { RestoreStage::Ready })
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
}

/// A checksum as `[algorithm code, value]`.
pub(crate) mod checksum_codec {
    use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        checksum: &Checksum,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.array(2)?.u8(checksum.algorithm().code())?.bytes(checksum.as_bytes())?;
        Ok(())
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Checksum, Error> {
        if decoder.array()? != Some(2) {
            return Err(Error::message("a checksum is an array of two"));
        }
        let algorithm = ChecksumAlgorithm::from_code(decoder.u8()?)
            .ok_or_else(|| Error::message("an unknown checksum algorithm"))?;
        Checksum::from_bytes(algorithm, decoder.bytes()?).map_err(Error::message)
    }

    /// As above for an optional checksum; absent is null.
    pub(crate) mod optional {
        use super::{Checksum, Decoder, Encoder, Error, Write};
        use minicbor::encode::Error as EncodeError;

        pub(crate) fn encode<C, W: Write>(
            checksum: &Option<Checksum>,
            encoder: &mut Encoder<W>,
            context: &mut C,
        ) -> Result<(), EncodeError<W::Error>> {
            match checksum {
                Some(checksum) => super::encode(checksum, encoder, context),
                None => encoder.null().map(|_| ()),
            }
        }

        pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Option<Checksum>, Error> {
            if decoder.datatype()? == minicbor::data::Type::Null {
                decoder.null()?;
                return Ok(None);
            }
            super::decode(decoder, context).map(Some)
        }

        /// What an absent map key decodes to.
        pub(crate) fn nil() -> Option<Option<Checksum>> {
            Some(None)
        }

        pub(crate) fn is_nil(checksum: &Option<Checksum>) -> bool {
            checksum.is_none()
        }
    }
}
