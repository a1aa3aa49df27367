//! A bucket's replication configuration: typed, checked as S3 checks it, kept as a document, and asked about changes. Pure.
//!
//! It comes in two shapes (S3 user guide, "Backward compatibility considerations"): a rule of the first version has a
//! `Prefix`, one of the second a `Filter` and a `Priority`. Its XML is the server's.
//!
//! It leaves to others whether the buckets exist, are versioned, and may be used (`server`).

mod arn;
mod check;
mod select;
#[cfg(test)]
mod tests;

use cairn_storage::id::AccountId;
use cairn_storage::object::StorageClass;
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use minicbor::{Decode, Encode};

pub use arn::{Target, TargetError};
pub use check::{Fault, FaultCode};
pub use select::{Kind, Subject};

/// The most rules that a configuration has (S3 user guide, "Replication configuration file elements").
pub const RULES_MAX: usize = 1_000;

/// The most buckets that one configuration copies to. S3 names no limit; each costs a status in every version.
pub const TARGETS_MAX: usize = 16;

/// The longest `ID`, in characters (S3 API reference, ReplicationRule).
pub const ID_CHARS_MAX: usize = 255;

/// The only threshold that replication time control has (S3 API reference, ReplicationTimeValue).
pub const THRESHOLD_MINUTES: i32 = 15;

/// A bucket's replication configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Configuration {
    /// The ARN of the role that replicates.
    #[n(0)]
    pub role: String,
    /// The rules, in the order in which they were given.
    #[n(1)]
    pub rules: Vec<Rule>,
}

impl Record for Configuration {
    const NAME: &'static str = "replication";
    // S3's own bound of such a document: a thousand rules with the longest ids and prefixes, and some tags.
    const BYTES_MAX: usize = 2 << 20;
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rule {
    /// Its name, unique in the configuration.
    #[n(0)]
    pub id: String,
    /// Of two rules for one target, the one with the greater number counts. None in the first version.
    #[n(1)]
    pub priority: Option<i32>,
    /// `Status`.
    #[n(2)]
    pub enabled: bool,
    /// Which keys it is about.
    #[n(3)]
    pub scope: Scope,
    /// `DeleteMarkerReplication`. None in the first version, which replicates them.
    #[n(4)]
    pub delete_markers: Option<bool>,
    /// `ExistingObjectReplication`: whether a backfill takes what was there before the rule.
    #[n(5)]
    pub existing_objects: Option<bool>,
    /// `SourceSelectionCriteria/SseKmsEncryptedObjects`.
    #[n(6)]
    pub kms_objects: Option<bool>,
    /// `SourceSelectionCriteria/ReplicaModifications`: whether later changes of replicas go back.
    #[n(7)]
    pub replica_modifications: Option<bool>,
    /// Where to, and as what.
    #[n(8)]
    pub destination: Destination,
}

/// Which keys a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Scope {
    /// Those that begin so: a rule of the first version.
    #[n(0)]
    Prefix(#[n(0)] String),
    /// Those that pass the filter: a rule of the second version.
    #[n(1)]
    Filter(#[n(0)] Filter),
}

/// `Filter`, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Filter {
    /// Nothing in it: every key.
    #[n(0)]
    All,
    /// Keys that begin so.
    #[n(1)]
    Prefix(#[n(0)] String),
    /// Objects with this tag.
    #[n(2)]
    Tag(#[n(0)] Tag),
    /// All of it at once.
    #[n(3)]
    And {
        /// The prefix, if one was given.
        #[n(0)]
        prefix: Option<String>,
        /// The tags.
        #[n(1)]
        tags: Vec<Tag>,
    },
}

impl Scope {
    /// How its keys begin.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self {
            Self::Prefix(prefix) | Self::Filter(Filter::Prefix(prefix)) => prefix,
            Self::Filter(Filter::And { prefix, .. }) => prefix.as_deref().unwrap_or_default(),
            Self::Filter(Filter::All | Filter::Tag(_)) => "",
        }
    }

    /// The tags that its objects have.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        match self {
            Self::Filter(Filter::Tag(tag)) => std::slice::from_ref(tag),
            Self::Filter(Filter::And { tags, .. }) => tags,
            Self::Prefix(_) | Self::Filter(Filter::All | Filter::Prefix(_)) => &[],
        }
    }

    /// It is a filter, as rules of the second version have.
    #[must_use]
    pub fn is_filter(&self) -> bool {
        matches!(self, Self::Filter(_))
    }
}

/// Where a rule copies to, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Destination {
    /// The bucket.
    #[n(0)]
    pub target: Target,
    /// `Account`: whom the target belongs to, and the replicas if `owner_override`.
    #[n(1)]
    pub account: Option<AccountId>,
    /// The replicas' class; None: the source's.
    #[n(2)]
    pub storage_class: Option<StorageClass>,
    /// `AccessControlTranslation`: replicas belong to the target's owner, and have no ACL.
    #[n(3)]
    #[cbor(default)]
    pub owner_override: bool,
    /// `EncryptionConfiguration/ReplicaKmsKeyID`.
    #[n(4)]
    pub replica_kms_key: Option<String>,
    /// `ReplicationTime`.
    #[n(5)]
    pub replication_time: Option<Timing>,
    /// `Metrics`.
    #[n(6)]
    pub metrics: Option<Timing>,
}

/// Something that is switched on or off, with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Timing {
    /// `Status`.
    #[n(0)]
    pub enabled: bool,
    /// `Time/Minutes` or `EventThreshold/Minutes`.
    #[n(1)]
    pub minutes: Option<i32>,
}
