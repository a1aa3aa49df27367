//! Wrapping: data keys and small secrets, encrypted under a key that is kept elsewhere, for keeping on disk.
//!
//! Everything wrapped by [`MasterKeyWrap`] is an envelope (format 1):
//!
//! ```text
//!  0   1  format = 1
//!  1   8  key id: which master key wrapped it = HKDF-SHA256(master key, info = "cairn master key id 1")
//!  9  12  nonce, random
//! 21   n  ciphertext: AES-256-GCM under HKDF-SHA256(master key, info = "cairn wrap key 1")
//!  ..  16  tag
//! associated data = bytes 0..9 | kind (u8: 1 data key, 2 secret) | context
//! context of a data key = field(partition) field(object key) field(version)
//! context of a secret   = field(label)
//! field(x)              = length of x (u64, big endian) | x
//! ```
//!
//! Invariants: an envelope opens only in the context and as the kind it was made for, so a row that is moved or
//! exchanged does not open; a wrong master key is told apart from damage. Nonces are random, so one master key should
//! wrap at most 2^32 times (NIST SP 800-38D, 8.3).
//!
//! Data keys are wrapped far more often than that, so the keys that wrap them have formats of their own
//! ([`crate::store_key`], [`crate::customer_key`]); what [`MasterKeyWrap`] is for are those keys and other small secrets.
//!
//! It leaves to others: where master keys and envelopes are kept, and who may unwrap.

use crate::derive::derive;
use crate::secret::{DataKey, EntropyError, KEY_BYTES, MasterKey, random};
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use std::fmt;
use zeroize::Zeroizing;

/// The longest secret that [`MasterKeyWrap::seal_secret`] takes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// The longest wrapped data key that any [`KeyWrap`] may make: an external one may add much to an envelope of ours.
pub const WRAPPED_BYTES_MAX: usize = 4096;

const FORMAT: u8 = 1;
pub(crate) const KEY_ID_BYTES: usize = 8;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
const CIPHERTEXT_AT: usize = HEADER_BYTES + NONCE_BYTES;

const WRAP_KEY_INFO: &[u8] = b"cairn wrap key 1";
const KEY_ID_INFO: &[u8] = b"cairn master key id 1";

/// What an envelope holds: the two kinds never open as each other.
#[derive(Clone, Copy)]
enum Kind {
    DataKey = 1,
    Secret = 2,
}

/// What a data key is for. A wrapped key opens only with the context that it was wrapped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapContext<'a> {
    /// The bucket's id.
    pub partition: [u8; 16],
    /// The object's key.
    pub object_key: &'a [u8],
    /// The id of the version, or of the upload that is to become one.
    pub version: [u8; 16],
}

impl WrapContext<'_> {
    fn encode(&self) -> Vec<u8> {
        encode_fields(&[&self.partition, self.object_key, &self.version])
    }
}

/// A wrapped data key, as it is kept beside the object. No secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped(Vec<u8>);

impl Wrapped {
    /// The wrapped key that was kept as these bytes; refused if longer than [`WRAPPED_BYTES_MAX`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, WrapError> {
        if bytes.len() > WRAPPED_BYTES_MAX { Err(WrapError::Malformed) } else { Ok(Self(bytes)) }
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a key or secret was not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The secret is longer than [`SECRET_BYTES_MAX`].
    #[error("a secret of {0} bytes is too long to wrap")]
    TooLong(usize),
    /// The envelope's length is impossible.
    #[error("the wrapped bytes have an impossible length")]
    Malformed,
    /// The envelope was made by a newer version, or is none.
    #[error("the wrapped bytes have the unknown format {0}")]
    UnknownFormat(u8),
    /// The envelope belongs to a key that is not (or no longer) in the key store.
    #[error("wrapped under the key {0}, which the key store does not have")]
    UnknownKey(KeyId),
    /// The customer's key is not the one that the data key was wrapped under.
    #[error("the customer's key is not the one that this was sealed with")]
    WrongCustomerKey,
    /// The envelope belongs to another master key.
    #[error("wrapped under the master key {wrapped_under}, but the one given is {given}")]
    WrongMasterKey {
        /// The id in the envelope.
        wrapped_under: KeyId,
        /// The id of the key that was asked to open it.
        given: KeyId,
    },
    /// The envelope is damaged, forged, or was made for another context.
    #[error("the wrapped bytes are damaged, forged or made for something else")]
    NotAuthentic,
}

/// Whatever can wrap data keys: the master key, a key of the key store, a customer's key.
pub trait KeyWrap: fmt::Debug + Send + Sync + 'static {
    /// Encrypts `key` so that only this wrap opens it again, and only with the same context.
    fn wrap(&self, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, WrapError>;

    /// The key that [`KeyWrap::wrap`] was given with this context.
    fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, WrapError>;

    /// Whether [`KeyWrap::unwrap`] would give a key.
    fn opens(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> bool {
        self.unwrap(wrapped, context).is_ok()
    }
}

/// Names a master key, or a version of a key of the key store, without giving any of it away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) [u8; KEY_ID_BYTES]);

impl KeyId {
    /// Its bytes, as they are in each envelope of the key.
    pub fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyId({self})")
    }
}

/// Wraps under the installation's master key.
pub struct MasterKeyWrap {
    cipher: Aes256Gcm,
    key_id: KeyId,
    /// The key before, which only opens.
    former: Option<Box<MasterKeyWrap>>,
}

impl MasterKeyWrap {
    /// The wrap under `master_key`. What it keeps is derived; the master key itself can be dropped.
    pub fn new(master_key: &MasterKey) -> Self {
        let wrap_key = derive::<KEY_BYTES>(master_key.expose(), &[], WRAP_KEY_INFO);
        let key_id = derive(master_key.expose(), &[], KEY_ID_INFO);
        Self { cipher: Aes256Gcm::new((&*wrap_key).into()), key_id: KeyId(*key_id), former: None }
    }

    /// The same, which also opens what was wrapped under `former`, the key before.
    #[must_use]
    pub fn with_former(self, former: &MasterKey) -> Self {
        Self { former: Some(Box::new(Self::new(former))), ..self }
    }

    /// The secret of `label` wrapped anew, if it is not under this very key.
    pub fn reseal_secret(&self, label: &str, envelope: &[u8]) -> Result<Option<Vec<u8>>, WrapError> {
        if envelope.get(1..HEADER_BYTES) == Some(self.key_id.0.as_slice()) {
            return Ok(None);
        }
        self.seal_secret(label, &self.open_secret(label, envelope)?).map(Some)
    }

    /// Which master key this is.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Encrypts a small secret, such as root credentials. It opens only with the same `label`, which says what it is.
    pub fn seal_secret(&self, label: &str, secret: &[u8]) -> Result<Vec<u8>, WrapError> {
        if secret.len() > SECRET_BYTES_MAX {
            return Err(WrapError::TooLong(secret.len()));
        }
        self.seal(Kind::Secret, &encode_fields(&[label.as_bytes()]), secret, *random()?)
    }

    /// The secret that [`MasterKeyWrap::seal_secret`] was given with this label.
    pub fn open_secret(&self, label: &str, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        self.open(Kind::Secret, &encode_fields(&[label.as_bytes()]), envelope)
    }

    /// `nonce` must be random.
    fn seal(
        &self,
        kind: Kind,
        context: &[u8],
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        // Reserved at once: a buffer that grew would leave a copy of the plaintext behind.
        let mut envelope = Vec::with_capacity(CIPHERTEXT_AT + plaintext.len() + TAG_BYTES);
        envelope.push(FORMAT);
        envelope.extend_from_slice(&self.key_id.0);
        let associated_data = bound(&envelope, kind, context);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(plaintext);
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), &associated_data, (&mut envelope[CIPHERTEXT_AT..]).into())
            .expect("a plaintext of bounded length is within AES-GCM's limit");
        envelope.extend_from_slice(&tag);
        Ok(envelope)
    }

    fn open(&self, kind: Kind, context: &[u8], envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        match envelope.first() {
            Some(&FORMAT) => {}
            Some(&other) => return Err(WrapError::UnknownFormat(other)),
            None => return Err(WrapError::Malformed),
        }
        let length_max = CIPHERTEXT_AT + SECRET_BYTES_MAX + TAG_BYTES;
        if envelope.len() > length_max {
            return Err(WrapError::Malformed);
        }
        let (header, rest) = envelope.split_first_chunk::<HEADER_BYTES>().ok_or(WrapError::Malformed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(WrapError::Malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(WrapError::Malformed)?;
        if let Some(former) = self.former.as_ref().filter(|former| header[1..] == former.key_id.0) {
            return former.open(kind, context, envelope);
        }
        if header[1..] != self.key_id.0 {
            let mut wrapped_under = KeyId([0; KEY_ID_BYTES]);
            wrapped_under.0.copy_from_slice(&header[1..]);
            return Err(WrapError::WrongMasterKey { wrapped_under, given: self.key_id });
        }
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                &bound(header, kind, context),
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| WrapError::NotAuthentic)?;
        Ok(plaintext)
    }
}

/// A data key as [`OnceCipher`] seals it: the end of an envelope, behind its header.
pub(crate) struct SealedKey<'e> {
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'e [u8; KEY_BYTES],
    tag: [u8; TAG_BYTES],
}

impl SealedKey<'_> {
    /// The data key that was sealed.
    pub(crate) fn open(self, cipher: &OnceCipher, associated_data: &[u8]) -> Result<DataKey, WrapError> {
        let key = cipher.open(self.nonce, associated_data, self.ciphertext, self.tag)?;
        let key: &[u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| WrapError::Malformed)?;
        Ok(DataKey::from_bytes(*key))
    }
}

impl Wrapped {
    /// The envelope with this header, whose key `cipher` is, and the data key sealed behind it. `nonce` must be random.
    pub(crate) fn seal(
        header: &[u8],
        cipher: &OnceCipher,
        nonce: [u8; NONCE_BYTES],
        key: &DataKey,
        context: &WrapContext<'_>,
    ) -> Self {
        // Reserved at once: a buffer that grew would leave a copy of the key behind.
        let mut envelope = Vec::with_capacity(header.len() + NONCE_BYTES + KEY_BYTES + TAG_BYTES);
        envelope.extend_from_slice(header);
        envelope.extend_from_slice(&nonce);
        cipher.seal(nonce, &associated_data(header, context), key.expose(), &mut envelope);
        Self(envelope)
    }

    /// The header of an envelope of this format, and the sealed key behind it.
    pub(crate) fn split<const HEADER: usize>(&self, format: u8) -> Result<(&[u8; HEADER], SealedKey<'_>), WrapError> {
        match self.0.first() {
            Some(first) if *first == format => {}
            Some(other) => return Err(WrapError::UnknownFormat(*other)),
            None => return Err(WrapError::Malformed),
        }
        let (header, rest) = self.0.split_first_chunk().ok_or(WrapError::Malformed)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(WrapError::Malformed)?;
        let (ciphertext, tag) = rest.split_first_chunk().ok_or(WrapError::Malformed)?;
        let tag = tag.try_into().map_err(|_| WrapError::Malformed)?;
        Ok((header, SealedKey { nonce: *nonce, ciphertext, tag }))
    }
}

/// AES-256-GCM for what derives a fresh key for each message.
pub(crate) struct OnceCipher(Aes256Gcm);

impl OnceCipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Appends ciphertext and tag of `plaintext` to the envelope, which should have room for them.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated_data: &[u8],
        plaintext: &[u8],
        envelope: &mut Vec<u8>,
    ) {
        let ciphertext_at = envelope.len();
        envelope.extend_from_slice(plaintext);
        let tag = self
            .0
            .encrypt_inout_detached(&Nonce::from(nonce), associated_data, (&mut envelope[ciphertext_at..]).into())
            .expect("a plaintext of bounded length is within AES-GCM's limit");
        envelope.extend_from_slice(&tag);
    }

    /// The plaintext that was sealed.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated_data: &[u8],
        ciphertext: &[u8],
        tag: [u8; TAG_BYTES],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.0
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                associated_data,
                plaintext.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| WrapError::NotAuthentic)?;
        Ok(plaintext)
    }
}

impl KeyWrap for MasterKeyWrap {
    fn wrap(&self, key: &DataKey, context: &WrapContext<'_>) -> Result<Wrapped, WrapError> {
        self.seal(Kind::DataKey, &context.encode(), key.expose(), *random()?).map(Wrapped)
    }

    fn unwrap(&self, wrapped: &Wrapped, context: &WrapContext<'_>) -> Result<DataKey, WrapError> {
        let plaintext = self.open(Kind::DataKey, &context.encode(), &wrapped.0)?;
        let bytes: &[u8; KEY_BYTES] = plaintext.as_slice().try_into().map_err(|_| WrapError::Malformed)?;
        Ok(DataKey::from_bytes(*bytes))
    }
}

impl fmt::Debug for MasterKeyWrap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MasterKeyWrap({}, redacted)", self.key_id)
    }
}

fn bound(header: &[u8], kind: Kind, context: &[u8]) -> Vec<u8> {
    [header, &[kind as u8], context].concat()
}

/// What the envelope of a data key binds beside its plaintext.
pub(crate) fn associated_data(header: &[u8], context: &WrapContext<'_>) -> Vec<u8> {
    bound(header, Kind::DataKey, &context.encode())
}

/// Each field with its length before it, so that no two lists of fields give the same bytes.
fn encode_fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        append_field(&mut bytes, field);
    }
    bytes
}

/// One field of those.
pub(crate) fn append_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
    bytes.extend_from_slice(field);
}

#[cfg(test)]
mod tests;
