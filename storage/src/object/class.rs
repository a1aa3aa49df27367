//! Storage classes, the tiers of INTELLIGENT_TIERING, and restores from those that are archives.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

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

impl Restored {
    /// What it has come to; None: it has ended.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Option<RestoreStage> {
        let stage = if now < self.ready { RestoreStage::Ongoing } else { RestoreStage::Ready };
        (now < self.ends).then_some(stage)
    }
}

/// What a restore has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStage {
    /// It is not ready yet.
    Ongoing,
    /// The bytes can be read.
    Ready,
}
