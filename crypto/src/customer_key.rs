//! Wrapping a data key under a key that the customer sends with each request (SSE-C) and that is kept nowhere.
//!
//! ```text
//!  0   1  format = 3
//!  1  16  salt, random
//! 17  16  check = HKDF-SHA256(customer key, salt, info = "cairn customer key check 1")
//! 33  12  nonce, random
//! 45  32  ciphertext: AES-256-GCM under HKDF-SHA256(customer key, salt, info = "cairn customer wrap key 1")
//! 77  16  tag
//! associated data = bytes 0..33 | kind (u8: 1 data key) | context, as in `wrap`
//! ```
//!
//! The check value tells a wrong key from damage. It is salted, so that two objects under one key do not show it, and
//! compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::derive::derive;
use crate::secret::{CustomerKey, DataKey, KEY_BYTES, random};
use crate::wrap::{KeyWrap, NONCE_BYTES, OnceCipher, TAG_BYTES, WrapContext, WrapError, Wrapped, associated_data};

const FORMAT: u8 = 3;
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 16;
const CHECK_AT: usize = 1 + SALT_BYTES;
const NONCE_AT: usize = CHECK_AT + CHECK_BYTES;
const ENVELOPE_BYTES: usize = NONCE_AT + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

const WRAP_KEY_INFO: &[u8] = b"cairn customer wrap key 1";
const CHECK_INFO: &[u8] = b"cairn customer key check 1";

/// Whether these bytes have the form of what a customer's key wraps: all that can be said of them without the key.
#[must_use]
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.len() == ENVELOPE_BYTES && bytes.first() == Some(&FORMAT)
}

/// The wrap under one customer's key.
pub struct CustomerKeyWrap(CustomerKey);

impl CustomerKeyWrap {
    /// The wrap under `key`.
    pub fn new(key: CustomerKey) -> Self {
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
        let header = [[FORMAT].as_slice(), &salt, self.check(&salt).as_slice()].concat();
        Wrapped::seal(&header, &self.cipher(&salt), nonce, key, context)
    }

    fn check(&self, salt: &[u8]) -> zeroize::Zeroizing<[u8; CHECK_BYTES]> {
        derive(self.0.expose(), salt, CHECK_INFO)
    }

    fn cipher(&self, salt: &[u8]) -> OnceCipher {
        OnceCipher::new(&derive(self.0.expose(), salt, WRAP_KEY_INFO))
    }
}

impl KeyWrap for CustomerKeyWrap {
    fn wrap(&self, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, WrapError> {
        Ok(self.wrap_with(key, context, *random()?, *random()?))
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, WrapError> {
        let (header, sealed) = wrapped.split::<NONCE_AT>(FORMAT)?;
        let (salt, check) = (&header[1..CHECK_AT], &header[CHECK_AT..]);
        if !bool::from(self.check(salt).as_slice().ct_eq(check)) {
            return Err(WrapError::WrongCustomerKey);
        }
        sealed.open(&self.cipher(salt), &associated_data(header, context))
    }
}

impl fmt::Debug for CustomerKeyWrap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CustomerKeyWrap(redacted)")
    }
}

#[cfg(test)]
mod tests;
