//! `identity`: accounts and their identities. The values are bytes of the crate that owns the kind.
//!
//! ```text
//! key    kind (u8) | name
//! value  bytes
//! ```
//!
//! In the partition SYSTEM are the kinds below 16, which are here; in an account's own partition the others, which
//! `iam/src/identity` numbers.

/// What an identity row holds. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IdentityKind {
    /// The account that was made at the first start, its root key sealed under the master key.
    RootAccount = 1,
    /// The id of the master key that secrets are sealed under, in hexadecimal digits. There from before the first secret.
    MasterKey = 2,
}

/// The row's key.
#[must_use]
pub fn key(kind: IdentityKind, name: &str) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(name.as_bytes());
    key
}
