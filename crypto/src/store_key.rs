//! Wrapping data keys under a key of the key store: one named key with its versions, the newest of which wraps.
//!
//! ```text
//!  0   1  format = 2
//!  1   8  key id: which version wrapped it = HKDF-SHA256(store key, info = "cairn store key id 1")
//!  9  16  salt, random
//! 25  12  nonce, random
//! 37  32  ciphertext: AES-256-GCM under HKDF-SHA256(store key, salt, info = "cairn store wrap key 1")
//! 69  16  tag
//! associated data = bytes 0..25 | kind (u8: 1 data key) | context, as in `wrap`
//! ```
//!
//! Every object has its data key wrapped, so one version wraps more often than random nonces under one key would bear:
//! each wrap has a key of its own, derived with a random salt. Two wraps share key and nonce only if 224 random bits
//! repeat.
//!
//! It leaves to others: where the keys are kept, who may use them, and when there is a new version.

use std::collections::HashMap;
use std::fmt;

use crate::derive::derive;
use crate::secret::{DataKey, StoreKey, random};
use crate::wrap::{
    KEY_ID_BYTES, KeyId, KeyWrap, NONCE_BYTES, OnceCipher, WrapContext, WrapError, Wrapped, associated_data,
};

/// Versions of one key at most.
pub const VERSIONS_MAX: usize = 1_000;

const FORMAT: u8 = 2;
const SALT_BYTES: usize = 16;
const NONCE_AT: usize = 1 + KEY_ID_BYTES + SALT_BYTES;

const WRAP_KEY_INFO: &[u8] = b"cairn store wrap key 1";
const KEY_ID_INFO: &[u8] = b"cairn store key id 1";

/// The id of a version: what its envelopes name.
pub fn key_id(key: &StoreKey) -> KeyId {
    KeyId(*derive::<KEY_ID_BYTES>(key.expose(), &[], KEY_ID_INFO))
}

/// The version that an envelope names; None: it is of no key of a key store.
pub fn wrapped_under(wrapped: &Wrapped) -> Option<KeyId> {
    let (header, _) = wrapped.split::<NONCE_AT>(FORMAT).ok()?;
    let mut id = KeyId([0; KEY_ID_BYTES]);
    id.0.copy_from_slice(&header[1..=KEY_ID_BYTES]);
    Some(id)
}

/// A named key: all of its versions open what they wrapped, the newest wraps.
pub struct Keyring {
    newest: KeyId,
    versions: HashMap<KeyId, StoreKey>,
}

impl Keyring {
    /// The key with these versions, oldest first. None if there are none, or more than [`VERSIONS_MAX`].
    pub fn new(versions: Vec<StoreKey>) -> Option<Self> {
        let newest = key_id(versions.last()?);
        if versions.len() > VERSIONS_MAX {
            return None;
        }
        Some(Self { newest, versions: versions.into_iter().map(|key| (key_id(&key), key)).collect() })
    }

    /// The version that wraps.
    pub fn newest(&self) -> KeyId {
        self.newest
    }

    /// A version.
    pub(crate) fn version(&self, id: KeyId) -> Option<&StoreKey> {
        self.versions.get(&id)
    }

    /// `salt` and `nonce` must be random.
    fn wrap_with(
        &self,
        key: &DataKey,
        context: &WrapContext<'_>,
        salt: [u8; SALT_BYTES],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Wrapped, WrapError> {
        let store_key = self.versions.get(&self.newest).ok_or(WrapError::UnknownKey(self.newest))?;
        let header = [[FORMAT].as_slice(), &self.newest.0, &salt].concat();
        Ok(Wrapped::seal(&header, &cipher(store_key, &salt), nonce, key, context))
    }
}

impl KeyWrap for Keyring {
    fn wrap(&self, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, WrapError> {
        self.wrap_with(key, context, *random()?, *random()?)
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, WrapError> {
        let (header, sealed) = wrapped.split::<NONCE_AT>(FORMAT)?;
        let mut id = KeyId([0; KEY_ID_BYTES]);
        id.0.copy_from_slice(&header[1..=KEY_ID_BYTES]);
        let store_key = self.versions.get(&id).ok_or(WrapError::UnknownKey(id))?;
        let cipher = cipher(store_key, &header[1 + KEY_ID_BYTES..]);
        sealed.open(&cipher, &associated_data(header, context))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keyring({} of {}, redacted)", self.newest, self.versions.len())
    }
}

fn cipher(store_key: &StoreKey, salt: &[u8]) -> OnceCipher {
    OnceCipher::new(&derive(store_key.expose(), salt, WRAP_KEY_INFO))
}

#[cfg(test)]
mod tests;
