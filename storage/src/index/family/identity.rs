//! `identity`: accounts and their identities. The values are bytes of the crate that owns the kind.
//!
//! ```text
//! key    kind (u8) | name
//! value  bytes
//! ```
//!
//! In the partition SYSTEM are the kinds below 16, which are here; in an account's own partition the others, which
//! `iam/src/identity` numbers.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::record::Record;

/// What an identity row holds. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IdentityKind {
    /// The account that was made at the first start, its root key sealed under the master key.
    RootAccount = 1,
    /// The id of the master key that secrets are sealed under, in hexadecimal digits. There from before the first secret.
    MasterKey = 2,
    /// A key of the key store that wraps data keys: a [`StoreKeyRecord`].
    StoreKey = 3,
    /// The master key before this one, sealed under it: there from when the master key is changed until nothing is sealed under
    /// the one before any more.
    FormerMasterKey = 4,
    /// Another S3 service that a call has added, by its name, sealed under the master key.
    Remote = 5,
}

/// The row's key.
#[must_use]
pub fn key(kind: IdentityKind, name: &str) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(name.as_bytes());
    key
}

/// A key of the key store, with all of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StoreKeyRecord {
    /// The versions, oldest first; the last one wraps.
    #[n(0)]
    pub versions: Vec<StoreKeyVersion>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StoreKeyVersion {
    /// 1 for the first; never used again.
    #[n(0)]
    pub number: u32,
    /// When it was made.
    #[n(1)]
    pub created: Timestamp,
    /// The key, sealed under the master key.
    #[n(2)]
    pub sealed: ByteVec,
}

impl Record for StoreKeyRecord {
    const NAME: &'static str = "store key";
    // As many versions as a keyring holds, each with the envelope of a key.
    const BYTES_MAX: usize = 160 << 10;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::record::check_round_trip;

    fn versions(count: u32) -> StoreKeyRecord {
        let version = |number| StoreKeyVersion { number, created: Timestamp(i64::MAX), sealed: vec![0xAB; 69].into() };
        StoreKeyRecord { versions: (1..=count).map(version).collect() }
    }

    #[test]
    fn round_trips() {
        check_round_trip(&versions(2));
    }

    #[test]
    fn as_many_versions_as_a_keyring_holds_fit() {
        let most = u32::try_from(cairn_crypto::store_key::VERSIONS_MAX).unwrap();
        assert!(versions(most).to_value().is_ok());
    }
}
