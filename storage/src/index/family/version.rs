//! `version`: every version of a key that is not its head, newest first.
//!
//! ```text
//! key    esc(object key) | !version id (16)
//! value  Version
//! ```

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::VersionId;
use crate::index::IndexError;
use crate::index::key::push_escaped;
use crate::object::{DeleteMarker, ObjectKey, ObjectSummary, ObjectVersion, ReturnedVersion};
use crate::record::{Record, decode_as};
use crate::replication::Replication;

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant)] // objects are by far the common case
pub enum Version {
    /// An object.
    #[n(0)]
    Object(#[n(0)] ObjectVersion),
    /// A delete marker.
    #[n(1)]
    Marker(#[n(0)] DeleteMarker),
}

impl Record for Version {
    const NAME: &'static str = "version";
    // Ten tags of 128 + 256 characters of four bytes, an ACL of 100 grants, the headers, and a wrapped data key with what a
    // KMS adds.
    const BYTES_MAX: usize = 64 << 10;
}

impl Version {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> VersionId {
        match self {
            Self::Object(object) => object.version_id,
            Self::Marker(marker) => marker.version_id,
        }
    }

    /// It is the key's `null` version.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match self {
            Self::Object(object) => object.is_null,
            Self::Marker(marker) => marker.is_null,
        }
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self {
            Self::Object(object) => object.created,
            Self::Marker(marker) => marker.created,
        }
    }

    /// Where it is to be copied to, or that it is a copy from elsewhere.
    #[must_use]
    pub fn replication(&self) -> Option<&Replication> {
        match self {
            Self::Object(object) => object.replication.as_ref(),
            Self::Marker(marker) => marker.replication.as_ref(),
        }
    }

    /// [`Version::replication`], to be changed.
    pub fn replication_mut(&mut self) -> &mut Option<Replication> {
        match self {
            Self::Object(object) => &mut object.replication,
            Self::Marker(marker) => &mut marker.replication,
        }
    }
}

/// What a listing returns of a version: the tags of [`Version`] that it needs, so that decoding skips the rest.
#[derive(Clone, Debug, PartialEq, Eq, Decode)]
pub enum VersionSummary {
    /// An object.
    #[n(0)]
    Object(#[n(0)] ObjectSummary),
    /// A delete marker.
    #[n(1)]
    Marker(#[n(0)] DeleteMarker),
}

impl VersionSummary {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> VersionId {
        match self {
            Self::Object(object) => object.version_id,
            Self::Marker(marker) => marker.version_id,
        }
    }

    /// It is the key's `null` version.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match self {
            Self::Object(object) => object.is_null,
            Self::Marker(marker) => marker.is_null,
        }
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self {
            Self::Object(object) => object.created,
            Self::Marker(marker) => marker.created,
        }
    }

    /// Its id as S3 shows it.
    #[must_use]
    pub fn shown(&self) -> ReturnedVersion {
        ReturnedVersion::of(self.is_null(), self.id())
    }
}

/// What a listing returns of a `version` row.
///
/// # Errors
/// `Corrupt` if it does not decode.
pub fn summary(value: &[u8]) -> Result<VersionSummary, IndexError> {
    decode_as(Version::NAME, Version::FORMAT, value)
}

/// The prefix that the rows of one object key share.
#[must_use]
pub fn key_prefix(key: &ObjectKey) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.as_bytes().len() + 2 + 16);
    push_escaped(&mut prefix, key.as_bytes());
    prefix
}

/// The row's key.
#[must_use]
pub fn key(key: &ObjectKey, version: VersionId) -> Vec<u8> {
    let mut row_key = key_prefix(key);
    row_key.extend_from_slice(&version.newest_first());
    row_key
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::encryption::tests::{largest_encryption, sample_encryption, sample_under_kms};
    use crate::id::ContentId;
    use crate::object::{
        Access, AccessTier, Content, Etag, KEY_BYTES_MAX, ObjectAttributes, ObjectChecksum, Restored, RetrievalTier,
        StorageClass,
    };
    use crate::record::check_round_trip;
    use crate::replication::{FOREIGN_VERSION_BYTES_MAX, Progress, Replication, TARGETS_MAX, TargetId, TargetStatus};
    use crate::sealed_checksum::tests::largest_sealed_checksum;
    use crate::settings::{ObjectSettings, Retention, RetentionMode, Tag};
    use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};

    pub(crate) fn sample_object() -> ObjectVersion {
        ObjectVersion {
            version_id: VersionId::from_bytes([5; 16]),
            is_null: true,
            created: Timestamp(1_700_000_000_123),
            owner: "123456789012".parse().unwrap(),
            size_bytes: 5_000_000_000_000,
            etag: Etag { digest: [0xAB; 16], parts_count: 10_000 },
            content: Content::Composite(ContentId::from_bytes([6; 16])),
            checksum: Some(ObjectChecksum {
                value: Checksum::from_bytes(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap(),
                composite: true,
            }),
            storage_class: StorageClass::StandardIa,
            attributes: ObjectAttributes {
                content_type: Some("text/plain".to_owned()),
                user_metadata: [("colour".to_owned(), "grün".to_owned())].into(),
                ..ObjectAttributes::default()
            },
            settings: ObjectSettings {
                tags: vec![Tag { key: "team".to_owned(), value: String::new() }],
                retention: Some(Retention { mode: RetentionMode::Compliance, until: Timestamp(2_000_000_000_000) }),
                legal_hold: Some(true),
                acl: Some(vec![1, 2, 3].into()),
                lock_changed: Some(Timestamp(1_900_000_000_000)),
            },
            encryption: Some(sample_encryption()),
            sealed_checksum: None,
            placed: Some(Timestamp(1_700_000_000_124)),
            restored: Some(Restored {
                requested: Timestamp(1),
                ready: Timestamp(2),
                ends: Timestamp(3),
                tier: RetrievalTier::Expedited,
            }),
            access: Some(Access { tier: AccessTier::DeepArchive, last: Timestamp(4) }),
            replication: Some(Replication {
                replica: true,
                changed: Some(Timestamp(4)),
                targets: vec![TargetStatus {
                    target: TargetId::of("arn:aws:s3:::copies"),
                    progress: Progress::Failed,
                    arrived: true,
                    foreign_version: Some("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY".to_owned()),
                }],
            }),
        }
    }

    #[test]
    fn round_trips() {
        check_round_trip(&Version::Object(sample_object()));
        check_round_trip(&Version::Object(ObjectVersion { encryption: Some(sample_under_kms()), ..sample_object() }));
        let sealed_checksum = Some(largest_sealed_checksum());
        check_round_trip(&Version::Object(ObjectVersion { sealed_checksum, checksum: None, ..sample_object() }));
        check_round_trip(&Version::Marker(DeleteMarker {
            version_id: VersionId::from_bytes([1; 16]),
            is_null: false,
            created: Timestamp(0),
            owner: "000000000001".parse().unwrap(),
            replication: Some(Replication::of_replica(None)),
        }));
    }

    #[test]
    fn the_largest_object_that_the_edge_lets_in_fits() {
        let mut object = sample_object();
        let header = || Some("x".repeat(1_024));
        object.attributes = ObjectAttributes {
            content_type: header(),
            cache_control: header(),
            content_disposition: header(),
            content_encoding: header(),
            content_language: header(),
            expires: header(),
            website_redirect_location: Some("x".repeat(2_048)),
            user_metadata: (0..2_048 / 4).map(|n| (format!("{n:03}"), "x".to_owned())).collect(),
        };
        let (key, value) = ("\u{10FFFF}".repeat(128), "\u{10FFFF}".repeat(256));
        object.settings.tags = vec![Tag { key, value }; 10];
        object.settings.acl = Some(vec![0; 100 * 80].into());
        object.encryption = Some(largest_encryption());
        let status = |n: usize| TargetStatus {
            target: TargetId::of(&n.to_string()),
            progress: Progress::Pending,
            arrived: true,
            foreign_version: Some("x".repeat(FOREIGN_VERSION_BYTES_MAX)),
        };
        object.replication =
            Some(Replication { targets: (0..TARGETS_MAX).map(status).collect(), ..Replication::default() });
        object.sealed_checksum = Some(largest_sealed_checksum());
        assert!(Version::Object(object).to_value().is_ok());
    }

    #[test]
    fn newer_versions_of_a_key_sort_before_older_ones_and_keys_do_not_mix() {
        let short = ObjectKey::new("a").unwrap();
        let long = ObjectKey::new("a\0").unwrap();
        let (old, new) = (VersionId::from_bytes([1; 16]), VersionId::from_bytes([2; 16]));
        assert!(key(&short, new) < key(&short, old));
        assert!(key(&short, old) < key(&long, new));
        assert!(key(&short, old).starts_with(&key_prefix(&short)));
        assert!(!key(&long, old).starts_with(&key_prefix(&short)));
        assert!(ObjectKey::new(&"k".repeat(KEY_BYTES_MAX)).is_some());
    }
}
