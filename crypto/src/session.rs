//! Temporary credentials of which nothing is kept: secret and token follow from the master key and the access key.
//!
//! ```text
//! session key = HKDF-SHA256(master key, info = "cairn session key 1")
//! secret      = base64url(HKDF-SHA256(session key, salt = access key, info = "cairn session secret 1")[..30])
//! token       = format (u8) = 1 | nonce (12, random) | ciphertext | tag (16)
//!               AES-256-GCM under HKDF-SHA256(session key, salt = access key, info = "cairn session token 1")
//! ```
//!
//! Invariants: a token opens only with the access key that it was sealed for and under the master key of its server; whoever has
//! neither key nor token can make none. Each access key has a key of its own, so random nonces never meet. What a token says,
//! and until when it is good, is its maker's business.

use std::fmt;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::derive::derive;
use crate::secret::{EntropyError, KEY_BYTES, MasterKey, SecretString, random};

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const CIPHERTEXT_AT: usize = 1 + NONCE_BYTES;

/// Bytes of a secret; base64 makes 40 characters of them, as long as Amazon's.
const SECRET_BYTES: usize = 30;

const KEY_INFO: &[u8] = b"cairn session key 1";
const SECRET_INFO: &[u8] = b"cairn session secret 1";
const TOKEN_INFO: &[u8] = b"cairn session token 1";

/// A token is damaged, forged, of another access key or another server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session token is damaged, forged, or belongs to another access key or server")]
pub struct NotAuthentic;

/// What makes temporary credentials, and knows its own again.
pub struct SessionKey(Zeroizing<[u8; KEY_BYTES]>);

impl SessionKey {
    /// The key under `master_key`, which can be dropped.
    pub fn new(master_key: &MasterKey) -> Self {
        Self(derive(master_key.expose(), &[], KEY_INFO))
    }

    /// The secret of an access key.
    pub fn secret(&self, access_key: &str) -> SecretString {
        let bytes = derive::<SECRET_BYTES>(self.0.as_slice(), access_key.as_bytes(), SECRET_INFO);
        SecretString::from(URL_SAFE_NO_PAD.encode(*bytes))
    }

    /// A token of an access key that says `content`.
    pub fn seal(&self, access_key: &str, content: &[u8]) -> Result<Vec<u8>, EntropyError> {
        let nonce = *random::<NONCE_BYTES>()?;
        // Reserved at once: a buffer that grew would leave a copy of the content behind.
        let mut token = Vec::with_capacity(CIPHERTEXT_AT + content.len() + TAG_BYTES);
        token.push(FORMAT);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(content);
        let tag = self
            .cipher(access_key)
            .encrypt_inout_detached(&Nonce::from(nonce), &[FORMAT], (&mut token[CIPHERTEXT_AT..]).into())
            .expect("a content that fits in memory is within AES-GCM's limit");
        token.extend_from_slice(&tag);
        Ok(token)
    }

    /// What a token of this access key says.
    pub fn open(&self, access_key: &str, token: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let rest = token.strip_prefix(&[FORMAT]).ok_or(NotAuthentic)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        let mut content = Zeroizing::new(ciphertext.to_vec());
        self.cipher(access_key)
            .decrypt_inout_detached(&Nonce::from(*nonce), &[FORMAT], content.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| NotAuthentic)?;
        Ok(content)
    }

    fn cipher(&self, access_key: &str) -> Aes256Gcm {
        let key = derive::<KEY_BYTES>(self.0.as_slice(), access_key.as_bytes(), TOKEN_INFO);
        Aes256Gcm::new((&*key).into())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(byte: u8) -> SessionKey {
        SessionKey::new(&MasterKey::from_bytes([byte; KEY_BYTES]))
    }

    #[test]
    fn a_token_says_what_it_was_sealed_with_to_the_same_access_key_and_server() {
        let token = key(1).seal("ASIAONE", b"who and when").unwrap();
        assert_eq!(key(1).open("ASIAONE", &token).unwrap().as_slice(), b"who and when");
        assert_eq!(key(1).open("ASIATWO", &token), Err(NotAuthentic));
        assert_eq!(key(2).open("ASIAONE", &token), Err(NotAuthentic));
        assert!(!token.windows(3).any(|window| window == b"who"));
    }

    #[test]
    fn a_changed_token_opens_nothing() {
        let token = key(1).seal("ASIAONE", b"content").unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(key(1).open("ASIAONE", &changed), Err(NotAuthentic), "byte {at}");
            assert_eq!(key(1).open("ASIAONE", &token[..at]), Err(NotAuthentic), "{at} bytes");
        }
    }

    #[test]
    fn two_tokens_of_one_content_differ() {
        assert_ne!(key(1).seal("ASIAONE", b"x").unwrap(), key(1).seal("ASIAONE", b"x").unwrap());
    }

    #[test]
    fn a_secret_belongs_to_its_access_key_and_server() {
        let secret = key(1).secret("ASIAONE");
        assert_eq!(secret.expose().len(), 40);
        assert_eq!(secret, key(1).secret("ASIAONE"));
        assert_ne!(secret, key(1).secret("ASIATWO"));
        assert_ne!(secret, key(2).secret("ASIAONE"));
    }

    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", key(0xab)), "SessionKey(redacted)");
    }
}
