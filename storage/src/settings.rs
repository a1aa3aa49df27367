//! What is kept with a version and may change after it was written: tags, what locks it, its ACL.
//!
//! Everything else about a version is as it was written, for as long as the version lives.

use std::fmt;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::record::Record;

/// A tag of an object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tag {
    /// Unique in its set.
    #[n(0)]
    pub key: String,
    /// May be empty.
    #[n(1)]
    pub value: String,
}

/// A bucket's tags, as its document holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct TagSet(#[n(0)] pub Vec<Tag>);

impl Record for TagSet {
    const NAME: &'static str = "tag set";
    // Fifty tags of 128 + 256 characters of four bytes.
    const BYTES_MAX: usize = 80 << 10;
}

/// Who may shorten a retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RetentionMode {
    /// Those with a permission of their own, if they say so.
    #[n(0)]
    Governance,
    /// Nobody.
    #[n(1)]
    Compliance,
}

impl RetentionMode {
    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.name() == name)
    }
}

/// Until when a version must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Retention {
    /// Who may shorten it.
    #[n(0)]
    pub mode: RetentionMode,
    /// The time at which it ends.
    #[n(1)]
    pub until: Timestamp,
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// A legal hold.
    LegalHold,
    /// A retention that has not ended.
    Retention(Retention),
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LegalHold => f.write_str("legal hold"),
            Self::Retention(Retention { mode, until }) => write!(f, "{} until {} ms", mode.name(), until.0),
        }
    }
}

/// What may change about a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ObjectSettings {
    /// Its tags, in the order in which they were given.
    #[n(0)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
    /// Until when it must be kept.
    #[n(1)]
    pub retention: Option<Retention>,
    /// It must be kept while this is true; None: nobody has ever said.
    #[n(2)]
    pub legal_hold: Option<bool>,
    /// Its ACL, in the form of the crate that owns ACLs; None: its owner has full control.
    #[n(3)]
    pub acl: Option<ByteVec>,
    /// When a client last changed what locks it; None: that is as it was written. So a change of something else says nothing about a lock
    /// that was set elsewhere.
    #[n(4)]
    pub lock_changed: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::check_round_trip;

    #[test]
    fn tags_round_trip() {
        let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
        check_round_trip(&TagSet(vec![tag("team", "storage"), tag("ü", "")]));
        check_round_trip(&TagSet::default());
    }
}
