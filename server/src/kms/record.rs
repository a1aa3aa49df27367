//! How KMS keys lie in rows: family `identity`, in their account's partition, beside its identities.
//!
//! ```text
//! generation  32
//! key         33 | key id
//! alias       34 | name, with `alias/`
//! grant       35 | key id | 00 | grant id
//! ```
//!
//! Neither ids nor names have a zero byte.

use cairn_crypto::store_key::VERSIONS_MAX;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::identity::StoreKeyVersion;
use cairn_storage::record::Record;
use minicbor::{Decode, Encode};

/// The most characters of a key's description (KMS API reference, CreateKey).
pub const DESCRIPTION_CHARS_MAX: usize = 8_192;

/// Tags of one key at most (KMS developer guide, "Tags in AWS KMS").
pub const TAGS_MAX: usize = 50;

/// What a row holds. The numbers are on disk; those below are the identities'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The row that every change guards.
    Generation = 32,
    /// A [`KeyRecord`].
    Key = 33,
    /// An [`AliasRecord`].
    Alias = 34,
    /// A [`GrantRecord`].
    Grant = 35,
}

impl Kind {
    /// The row's key.
    pub fn key(self, name: &str) -> Vec<u8> {
        [&[self as u8], name.as_bytes()].concat()
    }
}

/// The name of a grant's row.
pub fn grant_row(key_id: &str, grant_id: &str) -> String {
    format!("{key_id}\0{grant_id}")
}

/// How often the account's keys were changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GenerationRecord {
    /// From 1.
    #[n(0)]
    pub number: u64,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pair {
    /// The name.
    #[n(0)]
    pub name: String,
    /// The value.
    #[n(1)]
    pub value: String,
}

/// What a key encrypts with.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Backing {
    /// Versions that are kept here, oldest first; the last one encrypts, all of them decrypt.
    #[n(0)]
    Local(#[n(0)] Vec<KeyVersion>),
    /// A key of an external KMS.
    #[n(1)]
    External {
        /// Its name there.
        #[n(0)]
        name: String,
    },
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyVersion {
    /// The version, sealed under the master key.
    #[n(0)]
    pub key: StoreKeyVersion,
    /// It was asked for, and did not come by the period.
    #[n(1)]
    pub on_demand: bool,
}

/// That a key gets a new version from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rotation {
    /// From when the period counts.
    #[n(0)]
    pub since: Timestamp,
    /// The period.
    #[n(1)]
    pub period_days: u32,
}

/// A KMS key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyRecord {
    /// Its id: a UUID, or what the configuration says.
    #[n(0)]
    pub id: String,
    /// When it was made.
    #[n(1)]
    pub created: Timestamp,
    /// What it is for.
    #[n(2)]
    pub description: String,
    /// It may be used, unless it is to be deleted.
    #[n(3)]
    pub is_enabled: bool,
    /// When it is to be deleted.
    #[n(4)]
    pub delete_at: Option<Timestamp>,
    /// What it encrypts with.
    #[n(5)]
    pub backing: Backing,
    /// Its key policy.
    #[n(6)]
    pub policy: String,
    /// Its tags.
    #[n(7)]
    #[cbor(default)]
    pub tags: Vec<Pair>,
    /// Its automatic rotation.
    #[n(8)]
    pub rotation: Option<Rotation>,
    /// The server made it for S3, and nobody changes it.
    #[n(9)]
    pub is_aws_managed: bool,
}

/// Another name of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AliasRecord {
    /// `alias/...`
    #[n(0)]
    pub name: String,
    /// The key.
    #[n(1)]
    pub key_id: String,
    /// When it was made.
    #[n(2)]
    pub created: Timestamp,
    /// When it got the key.
    #[n(3)]
    pub updated: Timestamp,
}

/// What the encryption context must be for a grant to count.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Constraint {
    /// It must be these pairs and no others; or else it must have them.
    #[n(0)]
    pub equals: bool,
    /// The pairs.
    #[n(1)]
    pub pairs: Vec<Pair>,
}

/// Permission for somebody to use a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantRecord {
    /// 64 hexadecimal digits.
    #[n(0)]
    pub id: String,
    /// The key.
    #[n(1)]
    pub key_id: String,
    /// Its name, for who makes it twice.
    #[n(2)]
    pub name: Option<String>,
    /// Whom it lets: by id, or the ARN of an account.
    #[n(3)]
    pub grantee: String,
    /// Who may give it up, likewise.
    #[n(4)]
    pub retiring: Option<String>,
    /// What it lets them do: `Decrypt`.
    #[n(5)]
    pub operations: Vec<String>,
    /// With which contexts.
    #[n(6)]
    pub constraint: Option<Constraint>,
    /// When it was made.
    #[n(7)]
    pub created: Timestamp,
    /// Who made it, by ARN.
    #[n(8)]
    pub issued_by: String,
}

impl Record for GenerationRecord {
    const NAME: &'static str = "generation of KMS keys";
    const BYTES_MAX: usize = 32;
}

impl Record for KeyRecord {
    const NAME: &'static str = "KMS key";
    // As many versions as a keyring holds, policy, description and tags.
    const BYTES_MAX: usize = VERSIONS_MAX * 128 + (160 << 10);
}

impl Record for AliasRecord {
    const NAME: &'static str = "alias of a KMS key";
    const BYTES_MAX: usize = 1 << 10;
}

impl Record for GrantRecord {
    const NAME: &'static str = "grant of a KMS key";
    // A constraint as long as an encryption context, two ARNs, operations.
    const BYTES_MAX: usize = 32 << 10;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fmt::Debug;

    use super::*;

    fn check<R: Record + PartialEq + Debug>(record: &R) {
        let value = record.to_value().unwrap();
        assert_eq!(&R::from_value(&value).unwrap(), record);
        for cut in 0..value.len() {
            assert!(R::from_value(&value[..cut]).is_err(), "cut at {cut}");
        }
    }

    fn pair(name: String, value: String) -> Pair {
        Pair { name, value }
    }

    fn largest(versions: usize) -> KeyRecord {
        let version = |number| KeyVersion {
            key: StoreKeyVersion { number, created: Timestamp(i64::MAX), sealed: vec![0xAB; 69].into() },
            on_demand: true,
        };
        KeyRecord {
            id: "k".repeat(128),
            created: Timestamp(i64::MAX),
            description: "d".repeat(DESCRIPTION_CHARS_MAX),
            is_enabled: true,
            delete_at: Some(Timestamp(i64::MAX)),
            backing: Backing::Local((1..=u32::try_from(versions).unwrap()).map(version).collect()),
            policy: "p".repeat(cairn_iam::policy::KEY_POLICY_BYTES_MAX),
            tags: (0..TAGS_MAX).map(|_| pair("t".repeat(128), "v".repeat(256))).collect(),
            rotation: Some(Rotation { since: Timestamp(i64::MAX), period_days: 2_560 }),
            is_aws_managed: true,
        }
    }

    #[test]
    fn records_round_trip() {
        let mut key = largest(2);
        (key.policy, key.description) = ("{}".to_owned(), "for tests".to_owned());
        check(&key);
        key.backing = Backing::External { name: "transit".to_owned() };
        check(&key);
        check(&GenerationRecord { number: 7 });
        let (created, updated) = (Timestamp(1), Timestamp(2));
        check(&AliasRecord { name: "alias/a".to_owned(), key_id: "k".to_owned(), created, updated });
        check(&GrantRecord {
            id: "a".repeat(64),
            key_id: "k".to_owned(),
            name: None,
            grantee: "arn:aws:iam::111122223333:user/anna".to_owned(),
            retiring: Some("arn:aws:iam::111122223333:root".to_owned()),
            operations: vec!["Decrypt".to_owned()],
            constraint: Some(Constraint { equals: false, pairs: vec![pair("a".to_owned(), "b".to_owned())] }),
            created,
            issued_by: "arn:aws:iam::111122223333:root".to_owned(),
        });
    }

    #[test]
    fn the_largest_key_fits() {
        assert!(largest(VERSIONS_MAX).to_value().is_ok());
    }
}
