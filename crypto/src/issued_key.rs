//! Wrapping data keys under a key that a KMS issued: for one object, or for many of one bucket (a bucket key).
//!
//! ```text
//!  0   1  format = 5
//!  1   1  in how many layers the data key seals: 1 or 2
//!  2  16  salt, random
//! 18  12  nonce, random
//! 30  32  ciphertext: AES-256-GCM under HKDF-SHA256(issued key, salt, info = "cairn issued wrap key 1")
//! 62  16  tag
//! associated data = bytes 0..18 | kind (u8: 1 data key) | context, as in `wrap`
//! ```
//!
//! A bucket key wraps many data keys, so each wrap has a key of its own, as in `store_key`. The number of layers is in here
//! because nothing else that is kept beside an object is authentic.
//!
//! It leaves to others: asking the KMS, and keeping the envelope in which the issued key itself is.

use std::fmt;

use crate::derive::derive;
use crate::secret::{DataKey, Layers, random};
use crate::wrap::{KeyWrap, NONCE_BYTES, OnceCipher, WrapContext, WrapError, Wrapped, associated_data};

const FORMAT: u8 = 5;
const SALT_BYTES: usize = 16;
const SALT_AT: usize = 2;
const NONCE_AT: usize = SALT_AT + SALT_BYTES;

const WRAP_KEY_INFO: &[u8] = b"cairn issued wrap key 1";

/// The wrap under one issued key.
pub struct IssuedKeyWrap(DataKey);

impl IssuedKeyWrap {
    /// The wrap under `key`, as the KMS gave it.
    pub fn new(key: DataKey) -> Self {
        Self(key)
    }

    /// `salt` and `nonce` must be random.
    fn wrap_with(
        &self,
        key: &DataKey,
        context: &WrapContext<'_>,
        salt: [u8; SALT_BYTES],
        nonce: [u8; NONCE_BYTES],
    ) -> Wrapped {
        let layers = match key.layers() {
            Layers::One => 1,
            Layers::Two => 2,
        };
        let header = [[FORMAT, layers].as_slice(), &salt].concat();
        Wrapped::seal(&header, &self.cipher(&salt), nonce, key, context)
    }

    fn cipher(&self, salt: &[u8]) -> OnceCipher {
        OnceCipher::new(&derive(self.0.expose(), salt, WRAP_KEY_INFO))
    }
}

impl KeyWrap for IssuedKeyWrap {
    fn wrap(&self, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, WrapError> {
        Ok(self.wrap_with(key, context, *random()?, *random()?))
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, WrapError> {
        let (header, sealed) = wrapped.split::<NONCE_AT>(FORMAT)?;
        let layers = match header[1] {
            1 => Layers::One,
            2 => Layers::Two,
            _ => return Err(WrapError::Malformed),
        };
        let opened = sealed.open(&self.cipher(&header[SALT_AT..]), &associated_data(header, context))?;
        Ok(opened.in_layers(layers))
    }
}

impl fmt::Debug for IssuedKeyWrap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("IssuedKeyWrap(redacted)")
    }
}

#[cfg(test)]
mod tests;
