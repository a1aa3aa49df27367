//! The types that hold secrets.
//!
//! Invariants: a secret is wiped from memory when it is dropped, `Debug` prints its type and never its bytes, and
//! secrets that a client presents are compared in constant time. There is no `Display`. Whoever calls `expose` takes
//! over those promises for the copy they make.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of every symmetric key here: AES-256.
pub const KEY_BYTES: usize = 32;

/// Random bytes in a generated access-key secret; base64 makes 40 characters of them, as long as Amazon's.
const GENERATED_SECRET_BYTES: usize = 30;

/// The operating system gave no random bytes. No key was made.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct EntropyError(#[from] getrandom::Error);

/// `N` random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

/// How often bytes are sealed, one time upon the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layers {
    /// Once.
    #[default]
    One,
    /// Twice, under two keys (DSSE).
    Two,
}

/// So many random bytes from the operating system, for who asks for some.
pub fn random_bytes(count: usize) -> Result<Zeroizing<Vec<u8>>, EntropyError> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The key that one object's (or one multipart upload's) bytes are sealed under, by way of a key for each file and layer
/// (see [`crate::seal`]).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey {
    bytes: [u8; KEY_BYTES],
    #[zeroize(skip)]
    layers: Layers,
}

impl DataKey {
    /// A fresh random key that seals in one layer.
    pub fn generate() -> Result<Self, EntropyError> {
        random().map(|bytes| Self::from_bytes(*bytes))
    }

    /// The key that these bytes are, e.g. one that a customer sent. It seals in one layer.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes, layers: Layers::One }
    }

    /// The same key, to seal in so many layers.
    #[must_use]
    pub fn in_layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// In how many layers it seals.
    pub fn layers(&self) -> Layers {
        self.layers
    }

    /// The key's bytes, for sealing and wrapping.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(redacted)")
    }
}

/// A key that has a purpose of its own and no copies.
macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; KEY_BYTES]);

        impl $name {
            /// A fresh random key.
            pub fn generate() -> Result<Self, EntropyError> {
                random().map(|bytes| Self(*bytes))
            }

            /// The key that these bytes are.
            pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
                Self(bytes)
            }

            /// The key's bytes, for keeping or deriving.
            pub fn expose(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    };
}

key_type! {
    /// The installation's key, kept outside the index: it wraps the key store's keys and small secrets, and never seals an
    /// object's bytes.
    MasterKey
}
key_type! {
    /// One version of a key of the key store: it wraps data keys.
    StoreKey
}
key_type! {
    /// A key that a customer sends with each request and that is never kept (SSE-C).
    CustomerKey
}

/// A secret that is text: the secret half of an access key. Comparing two takes a time that depends on their lengths
/// only.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretString(String);

impl SecretString {
    /// A fresh random secret: 40 characters of `A-Z a-z 0-9 - _`, 240 bits.
    pub fn generate() -> Result<Self, EntropyError> {
        random::<GENERATED_SECRET_BYTES>().map(|bytes| Self(URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// The secret's text, for computing a signature.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

impl fmt::Debug for SecretString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretString(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn debug_shows_no_byte_of_a_secret() {
        let key = [0xab; KEY_BYTES];
        assert_eq!(format!("{:?}", DataKey::from_bytes(key)), "DataKey(redacted)");
        assert_eq!(format!("{:?}", MasterKey::from_bytes(key)), "MasterKey(redacted)");
        assert_eq!(format!("{:?}", StoreKey::from_bytes(key)), "StoreKey(redacted)");
        assert_eq!(format!("{:?}", CustomerKey::from_bytes(key)), "CustomerKey(redacted)");
        assert_eq!(format!("{:?}", SecretString::from("hunter2".to_owned())), "SecretString(redacted)");
    }

    #[test]
    fn generated_keys_differ() {
        assert_ne!(DataKey::generate().unwrap().expose(), DataKey::generate().unwrap().expose());
        assert_ne!(MasterKey::generate().unwrap().expose(), MasterKey::generate().unwrap().expose());
        assert_ne!(SecretString::generate().unwrap(), SecretString::generate().unwrap());
    }

    #[test]
    fn a_key_gives_back_its_bytes() {
        let bytes: [u8; KEY_BYTES] = std::array::from_fn(|index| index as u8);
        assert_eq!(DataKey::from_bytes(bytes).expose(), &bytes);
        assert_eq!(MasterKey::from_bytes(bytes).expose(), &bytes);
    }

    #[test]
    fn a_generated_secret_has_40_characters_that_need_no_quoting() {
        let secret = SecretString::generate().unwrap();
        assert_eq!(secret.expose().len(), 40);
        assert!(secret.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn secrets_are_equal_only_if_their_text_is() {
        let secret = |text: &str| SecretString::from(text.to_owned());
        assert_eq!(secret("abc"), secret("abc"));
        assert_ne!(secret("abc"), secret("abd"));
        assert_ne!(secret("abc"), secret("abcd"));
        assert_ne!(secret("abc"), secret(""));
    }

    #[test]
    fn wiping_clears_the_bytes() {
        let mut key = DataKey::from_bytes([7; KEY_BYTES]);
        key.zeroize();
        assert_eq!(key.expose(), &[0; KEY_BYTES]);
    }
}
