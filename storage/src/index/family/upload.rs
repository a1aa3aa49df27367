//! `upload`: multipart uploads. Open until a Complete or an Abort; a completed one keeps its answer for a day, so that a
//! repeated Complete answers the same.
//!
//! ```text
//! key    esc(object key) | upload id (16)
//! value  UploadRecord
//! ```

use minicbor::{Decode, Encode};

use cairn_crypto::checksum::{ChecksumAlgorithm, ChecksumType};

use crate::clock::Timestamp;
use crate::encryption::Encryption;
use crate::id::{AccountId, ContentId, UploadId};
use crate::index::key::{push_escaped, take_escaped};
use crate::object::{ObjectAttributes, ObjectKey, ObjectVersion, StorageClass};
use crate::record::Record;
use crate::replication::ReplicaOf;
use crate::sealed_checksum::SealedChecksum;
use crate::settings::ObjectSettings;

/// What an upload has come to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant)] // short-lived, one at a time
pub enum UploadState {
    /// It takes parts.
    #[n(0)]
    Open,
    /// It became this version.
    #[n(1)]
    Completed {
        /// The version that Complete answered.
        #[n(0)]
        object: ObjectVersion,
        /// The MD5 of the ETags and numbers that Complete named, to tell a repeated request from another one.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        named_parts: [u8; 16],
    },
}

/// The checksum that a client chose when it created the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UploadChecksum {
    /// The algorithm's code.
    #[n(0)]
    code: u8,
    /// It covers the parts' checksums, not the object's bytes.
    #[n(1)]
    composite: bool,
}

impl UploadChecksum {
    /// A choice.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm, checksum_type: ChecksumType) -> Self {
        Self { code: algorithm.code(), composite: checksum_type == ChecksumType::Composite }
    }

    /// What it covers.
    #[must_use]
    pub fn checksum_type(self) -> ChecksumType {
        if self.composite { ChecksumType::Composite } else { ChecksumType::FullObject }
    }

    /// The algorithm; None if a newer version wrote one that this version does not know.
    #[must_use]
    pub fn algorithm(self) -> Option<ChecksumAlgorithm> {
        ChecksumAlgorithm::from_code(self.code)
    }
}

/// One upload.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UploadRecord {
    /// Names the parts' rows, and the finished object's layout.
    #[n(0)]
    pub content: ContentId,
    /// When it was created.
    #[n(1)]
    pub initiated: Timestamp,
    /// Who will own the object.
    #[n(2)]
    pub owner: AccountId,
    /// The object's class.
    #[n(3)]
    pub storage_class: StorageClass,
    /// The object's headers and metadata.
    #[n(4)]
    pub attributes: ObjectAttributes,
    /// The checksum that was chosen.
    #[n(5)]
    pub checksum: Option<UploadChecksum>,
    /// What it has come to.
    #[n(6)]
    pub state: UploadState,
    /// The object's tags, lock and ACL.
    #[n(7)]
    #[cbor(default)]
    pub settings: ObjectSettings,
    /// The account of who created it; None: its owner.
    #[n(8)]
    pub initiator: Option<AccountId>,
    /// How its parts are sealed; None: they are not.
    #[n(9)]
    pub encryption: Option<Encryption>,
    /// Who of that account created it; None: its root.
    #[n(10)]
    pub created_by: Option<CreatedBy>,
    /// What the object will be a replica of; None: it will be none.
    #[n(11)]
    pub replica: Option<ReplicaOf>,
    /// The object's checksum, sealed, of one whose parts come sealed.
    #[n(12)]
    pub sealed_checksum: Option<SealedChecksum>,
    /// The ACL among its settings is a public one.
    #[n(13)]
    #[cbor(default)]
    pub acl_is_public: bool,
}

/// Who created an upload, if not an account's root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreatedBy {
    /// What names it for ever, `AIDA...` or `AROA...:SESSION`.
    #[n(0)]
    pub id: String,
    /// Its ARN as it was then.
    #[n(1)]
    pub arn: String,
}

impl Record for UploadRecord {
    const NAME: &'static str = "upload";
    const BYTES_MAX: usize = 133 << 10;
}

/// The prefix that the uploads of one object key share.
#[must_use]
pub fn key_prefix(key: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.len() + 2 + 16);
    push_escaped(&mut prefix, key);
    prefix
}

/// The row's key.
#[must_use]
pub fn key(key: &ObjectKey, upload: UploadId) -> Vec<u8> {
    let mut row_key = key_prefix(key.as_bytes());
    row_key.extend_from_slice(upload.as_bytes());
    row_key
}

/// The object key and the upload id in a row's key; None if it is malformed.
#[must_use]
pub fn parse_key(row_key: &[u8]) -> Option<(ObjectKey, UploadId)> {
    let (key, rest) = take_escaped(row_key)?;
    let key = ObjectKey::new(std::str::from_utf8(&key).ok()?)?;
    Some((key, UploadId::from_slice(rest)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::index::family::version::tests::sample_object;
    use crate::record::check_round_trip;
    use crate::replication::Left;
    use crate::sealed_checksum::tests::largest_sealed_checksum;

    #[test]
    fn round_trips() {
        let upload = UploadRecord {
            content: ContentId::from_bytes([4; 16]),
            initiated: Timestamp(77),
            owner: "000000000002".parse().unwrap(),
            storage_class: StorageClass::GlacierIr,
            attributes: sample_object().attributes,
            checksum: Some(UploadChecksum::new(ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
            state: UploadState::Completed { object: sample_object(), named_parts: [7; 16] },
            settings: sample_object().settings,
            initiator: Some("000000000003".parse().unwrap()),
            encryption: sample_object().encryption,
            created_by: Some(CreatedBy { id: "i".repeat(128), arn: "a".repeat(2_048) }),
            replica: Some(ReplicaOf {
                version_id: sample_object().version_id,
                created: Timestamp(i64::MAX),
                etag: Some(sample_object().etag),
                changed: Some(Timestamp(i64::MAX)),
                left: Left { tags: true, acl: true },
            }),
            sealed_checksum: Some(largest_sealed_checksum()),
            acl_is_public: true,
        };
        check_round_trip(&upload);
        check_round_trip(&UploadRecord { state: UploadState::Open, checksum: None, ..upload });
    }

    #[test]
    fn keys_round_trip() {
        let object_key = ObjectKey::new("a\0b/\u{10FFFF}").unwrap();
        let upload = UploadId::from_bytes([0; 16]);
        assert_eq!(parse_key(&key(&object_key, upload)), Some((object_key, upload)));
        assert_eq!(parse_key(b"a"), None);
    }
}
