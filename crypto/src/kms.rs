//! Ciphertext blobs: what a KMS key encrypts, for whoever keeps it. A blob names its key and opens only with the encryption
//! context that it was made with.
//!
//! ```text
//!  0   1  format = 4
//!  1   1  backing: 0 local, 1 external
//!  2   8  account (u64, big endian)
//! 10   1  length n of the key's id, 1 to 128
//! 11   n  the key's id
//! local:
//!      8  key id of the version that encrypted, as in `store_key`
//!     16  salt, random
//!     12  nonce, random
//!      m  ciphertext: AES-256-GCM under HKDF-SHA256(version, salt, info = "cairn kms key 1")
//!     16  tag
//! external:
//!      m  what the external key made of the plaintext, not interpreted
//! associated data = all bytes before the nonce | kind (u8: 3 blob) | context
//! context         = for each pair, in the order of the names: field(name) field(value), as in `wrap`
//! ```
//!
//! An external key is given the same associated data, with nothing between header and kind.
//!
//! Invariants: a blob that is changed in any bit, cut, or presented with another context does not open. Every blob has a key
//! of its own, derived with a random salt, so random nonces never meet.
//!
//! It leaves to others: which keys there are, in which state, and who may use them.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::derive::derive;
use crate::secret::{StoreKey, random};
use crate::store_key::Keyring;
use crate::wrap::{KEY_ID_BYTES, KeyId, NONCE_BYTES, OnceCipher, TAG_BYTES, WrapError, append_field};

/// The longest plaintext (KMS API reference, Encrypt).
pub const PLAINTEXT_BYTES_MAX: usize = 4_096;

/// The longest blob (KMS API reference, Decrypt).
pub const BLOB_BYTES_MAX: usize = 6_144;

/// The longest id of a key.
pub const KMS_KEY_ID_BYTES_MAX: usize = 128;

/// The most that the names and values of an encryption context may have together (KMS developer guide, "Encryption context").
pub const CONTEXT_BYTES_MAX: usize = 8_192;

const FORMAT: u8 = 4;
const LOCAL: u8 = 0;
const EXTERNAL: u8 = 1;
const KIND: u8 = 3;
const SALT_BYTES: usize = 16;

const KEY_INFO: &[u8] = b"cairn kms key 1";

/// Names and values that are bound into a blob, and in the clear wherever it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

/// The context has more than [`CONTEXT_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the encryption context has more than {CONTEXT_BYTES_MAX} bytes")]
pub struct ContextTooLong;

impl EncryptionContext {
    /// The context of these pairs; of two with one name the later one counts.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ContextTooLong> {
        let mut left = CONTEXT_BYTES_MAX;
        let mut all = BTreeMap::new();
        for (name, value) in pairs {
            left = left.checked_sub(name.len() + value.len()).ok_or(ContextTooLong)?;
            all.insert(name, value);
        }
        Ok(Self(all))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The pairs, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has all pairs of another.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// The same bytes for the same pairs, and for no others.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            append_field(&mut bytes, name.as_bytes());
            append_field(&mut bytes, value.as_bytes());
        }
        bytes
    }
}

/// A key by its account and id. The id must have 1 to [`KMS_KEY_ID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmsKeyName<'k> {
    /// The account's number.
    pub account: u64,
    /// The key's id in it.
    pub id: &'k str,
}

impl KmsKeyName<'_> {
    fn header(self, backing: u8, capacity: usize) -> Result<Vec<u8>, WrapError> {
        let length = u8::try_from(self.id.len()).ok().filter(|length| (1..=128).contains(length));
        let mut header = Vec::with_capacity(capacity);
        header.extend_from_slice(&[FORMAT, backing]);
        header.extend_from_slice(&self.account.to_be_bytes());
        header.push(length.ok_or(WrapError::Malformed)?);
        header.extend_from_slice(self.id.as_bytes());
        Ok(header)
    }
}

/// A blob, taken apart and not opened.
#[derive(Clone, Copy, Debug)]
pub struct KmsBlob<'b> {
    /// The key that it says to be of.
    pub key: KmsKeyName<'b>,
    header: &'b [u8],
    body: Body<'b>,
}

#[derive(Clone, Copy, Debug)]
enum Body<'b> {
    Local {
        /// Everything before the nonce.
        bound: &'b [u8],
        version: KeyId,
        salt: &'b [u8; SALT_BYTES],
        nonce: &'b [u8; NONCE_BYTES],
        ciphertext: &'b [u8],
        tag: &'b [u8; TAG_BYTES],
    },
    External(&'b [u8]),
}

impl<'b> KmsBlob<'b> {
    /// Takes a blob apart.
    pub fn parse(blob: &'b [u8]) -> Result<Self, WrapError> {
        if blob.len() > BLOB_BYTES_MAX {
            return Err(WrapError::Malformed);
        }
        let (&[format, backing], rest) = blob.split_first_chunk().ok_or(WrapError::Malformed)?;
        if format != FORMAT {
            return Err(WrapError::UnknownFormat(format));
        }
        let (account, rest) = rest.split_first_chunk().ok_or(WrapError::Malformed)?;
        let (&length, rest) = rest.split_first().ok_or(WrapError::Malformed)?;
        let (id, rest) = rest.split_at_checked(usize::from(length)).ok_or(WrapError::Malformed)?;
        if !(1..=KMS_KEY_ID_BYTES_MAX).contains(&id.len()) {
            return Err(WrapError::Malformed);
        }
        let id = std::str::from_utf8(id).map_err(|_| WrapError::Malformed)?;
        let header = &blob[..blob.len() - rest.len()];
        let body = match backing {
            LOCAL => Body::local(blob, rest).ok_or(WrapError::Malformed)?,
            EXTERNAL => Body::External(rest),
            _ => return Err(WrapError::Malformed),
        };
        Ok(Self { key: KmsKeyName { account: u64::from_be_bytes(*account), id }, header, body })
    }

    /// Which version of a local key encrypted it; None: it is of an external one.
    pub fn version(&self) -> Option<KeyId> {
        match self.body {
            Body::Local { version, .. } => Some(version),
            Body::External(_) => None,
        }
    }

    /// What the external key made, and the associated data that it was given. None: the blob is of a local key.
    pub fn external(&self, context: &EncryptionContext) -> Option<(&'b [u8], Vec<u8>)> {
        match self.body {
            Body::External(made) => Some((made, associated_data(self.header, context))),
            Body::Local { .. } => None,
        }
    }
}

impl<'b> Body<'b> {
    fn local(blob: &'b [u8], rest: &'b [u8]) -> Option<Self> {
        let (version, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let bound = &blob[..blob.len() - rest.len()];
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some(Self::Local { bound, version: KeyId(*version), salt, nonce, ciphertext, tag })
    }
}

/// The associated data that an external key of this name is given.
pub fn external_associated_data(key: KmsKeyName<'_>, context: &EncryptionContext) -> Result<Vec<u8>, WrapError> {
    Ok(associated_data(&key.header(EXTERNAL, 0)?, context))
}

/// The blob of what an external key of this name made.
pub fn external_blob(key: KmsKeyName<'_>, made: &[u8]) -> Result<Vec<u8>, WrapError> {
    let mut blob = key.header(EXTERNAL, BLOB_BYTES_MAX)?;
    blob.extend_from_slice(made);
    if blob.len() > BLOB_BYTES_MAX { Err(WrapError::Malformed) } else { Ok(blob) }
}

impl Keyring {
    /// The blob of a plaintext of at most [`PLAINTEXT_BYTES_MAX`], encrypted under the newest version of the key of this name.
    pub fn encrypt(
        &self,
        key: KmsKeyName<'_>,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>, WrapError> {
        self.encrypt_with(key, plaintext, context, &*random()?, *random()?)
    }

    /// `salt` and `nonce` must be random.
    fn encrypt_with(
        &self,
        key: KmsKeyName<'_>,
        plaintext: &[u8],
        context: &EncryptionContext,
        salt: &[u8; SALT_BYTES],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(WrapError::TooLong(plaintext.len()));
        }
        let version = self.version(self.newest()).ok_or(WrapError::UnknownKey(self.newest()))?;
        // Reserved at once: a buffer that grew would leave a copy of the plaintext behind.
        let mut blob = key.header(LOCAL, BLOB_BYTES_MAX)?;
        blob.extend_from_slice(&self.newest().0);
        blob.extend_from_slice(salt);
        let associated_data = associated_data(&blob, context);
        blob.extend_from_slice(&nonce);
        cipher(version, salt).seal(nonce, &associated_data, plaintext, &mut blob);
        Ok(blob)
    }

    /// The plaintext of a blob of this key.
    pub fn decrypt(&self, blob: &KmsBlob<'_>, context: &EncryptionContext) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let Body::Local { bound, version, salt, nonce, ciphertext, tag } = blob.body else {
            return Err(WrapError::Malformed);
        };
        let version = self.version(version).ok_or(WrapError::UnknownKey(version))?;
        cipher(version, salt).open(*nonce, &associated_data(bound, context), ciphertext, *tag)
    }
}

fn cipher(version: &StoreKey, salt: &[u8; SALT_BYTES]) -> OnceCipher {
    OnceCipher::new(&derive(version.expose(), salt, KEY_INFO))
}

fn associated_data(bound: &[u8], context: &EncryptionContext) -> Vec<u8> {
    [bound, &[KIND], &context.canonical()].concat()
}

#[cfg(test)]
mod tests;
