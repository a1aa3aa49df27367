//! Sealing the checksums of what is sealed: a checksum of the plaintext, kept beside the ciphertext, would let whoever reads
//! it try guesses of the plaintext.
//!
//! ```text
//!  0  16  salt, random
//! 16   n  ciphertext of the checksum: AES-256-GCM, nonce = 0, under
//!         HKDF-SHA256(data key, salt, info = "cairn checksum key 1")
//!  ..  16  tag
//! associated data = format (u8 = 1) | algorithm code (u8) | scope (u8: 1 object's bytes, 2 its parts' checksums, 3 part)
//!                   | part number (u16, 0 unless of a part)
//! ```
//!
//! Invariants: each has a key of its own, derived with a random salt, so the nonce never repeats under a key; one opens only
//! with the data key of its object, as what it was sealed as, and not as another part's.
//!
//! It leaves to others: where data keys and sealed checksums are kept.

use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::derive::derive;
use crate::secret::{DataKey, random};
use crate::wrap::{NONCE_BYTES, OnceCipher, TAG_BYTES, WrapError};

/// What sealing adds to a checksum.
pub const SEALED_CHECKSUM_OVERHEAD_BYTES: usize = SALT_BYTES + TAG_BYTES;

const FORMAT: u8 = 1;
const SALT_BYTES: usize = 16;
const KEY_INFO: &[u8] = b"cairn checksum key 1";

/// What a checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumScope {
    /// The object's bytes.
    Object,
    /// The checksums of the object's parts.
    Composite,
    /// The bytes of the part of this number.
    Part(u16),
}

/// The checksum, sealed for who has the data key.
pub fn seal_checksum(key: &DataKey, checksum: &Checksum, scope: ChecksumScope) -> Result<Vec<u8>, WrapError> {
    let salt: [u8; SALT_BYTES] = *random()?;
    let mut sealed = Vec::with_capacity(SEALED_CHECKSUM_OVERHEAD_BYTES + checksum.as_bytes().len());
    sealed.extend_from_slice(&salt);
    let associated_data = associated_data(checksum.algorithm(), scope);
    cipher(key, &salt).seal([0; NONCE_BYTES], &associated_data, checksum.as_bytes(), &mut sealed);
    Ok(sealed)
}

/// The checksum that [`seal_checksum`] was given with this key and scope.
pub fn open_checksum(
    key: &DataKey,
    algorithm: ChecksumAlgorithm,
    sealed: &[u8],
    scope: ChecksumScope,
) -> Result<Checksum, WrapError> {
    let (salt, rest) = sealed.split_first_chunk::<SALT_BYTES>().ok_or(WrapError::Malformed)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(WrapError::Malformed)?;
    let value = cipher(key, salt).open([0; NONCE_BYTES], &associated_data(algorithm, scope), ciphertext, *tag)?;
    Checksum::from_bytes(algorithm, &value).map_err(|_| WrapError::Malformed)
}

fn cipher(key: &DataKey, salt: &[u8]) -> OnceCipher {
    OnceCipher::new(&derive(key.expose(), salt, KEY_INFO))
}

fn associated_data(algorithm: ChecksumAlgorithm, scope: ChecksumScope) -> [u8; 5] {
    let (scope, part) = match scope {
        ChecksumScope::Object => (1, 0),
        ChecksumScope::Composite => (2, 0),
        ChecksumScope::Part(number) => (3, number),
    };
    let [high, low] = part.to_be_bytes();
    [FORMAT, algorithm.code(), scope, high, low]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aes_gcm::aead::Aead as _;
    use aes_gcm::aead::Payload;
    use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};

    use super::*;

    fn crc() -> Checksum {
        Checksum::from_bytes(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap()
    }

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes([byte; 32])
    }

    #[test]
    fn checksums_of_every_algorithm_and_scope_round_trip() {
        for algorithm in ChecksumAlgorithm::ALL {
            let checksum = Checksum::from_bytes(algorithm, &vec![7; algorithm.digest_bytes()]).unwrap();
            for scope in [ChecksumScope::Object, ChecksumScope::Composite, ChecksumScope::Part(10_000)] {
                let sealed = seal_checksum(&key(1), &checksum, scope).unwrap();
                assert_eq!(sealed.len(), algorithm.digest_bytes() + SEALED_CHECKSUM_OVERHEAD_BYTES);
                assert_eq!(open_checksum(&key(1), algorithm, &sealed, scope).unwrap(), checksum);
            }
        }
    }

    #[test]
    fn the_format_is_as_documented() {
        let sealed = seal_checksum(&key(1), &crc(), ChecksumScope::Part(0x0102)).unwrap();
        let (salt, rest) = sealed.split_at(16);
        let derived = derive::<32>(&[1; 32], salt, b"cairn checksum key 1");
        let code = ChecksumAlgorithm::Crc32.code();
        let payload = Payload { msg: rest, aad: &[1, code, 3, 1, 2] };
        let opened = Aes256Gcm::new((&*derived).into()).decrypt(&Nonce::from([0; 12]), payload).unwrap();
        assert_eq!(opened, [1, 2, 3, 4]);
    }

    #[test]
    fn one_opens_only_as_what_it_was_sealed_as() {
        let sealed = seal_checksum(&key(1), &crc(), ChecksumScope::Part(1)).unwrap();
        let open =
            |key: &DataKey, algorithm, sealed: &[u8], scope| open_checksum(key, algorithm, sealed, scope).is_ok();
        assert!(open(&key(1), ChecksumAlgorithm::Crc32, &sealed, ChecksumScope::Part(1)));
        assert!(!open(&key(2), ChecksumAlgorithm::Crc32, &sealed, ChecksumScope::Part(1)));
        assert!(!open(&key(1), ChecksumAlgorithm::Crc32c, &sealed, ChecksumScope::Part(1)));
        for scope in [ChecksumScope::Part(2), ChecksumScope::Object, ChecksumScope::Composite] {
            assert!(!open(&key(1), ChecksumAlgorithm::Crc32, &sealed, scope));
        }
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!open(&key(1), ChecksumAlgorithm::Crc32, &changed, ChecksumScope::Part(1)), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(!open(&key(1), ChecksumAlgorithm::Crc32, &sealed[..length], ChecksumScope::Part(1)));
        }
    }

    #[test]
    fn equal_checksums_look_different() {
        let sealed = || seal_checksum(&key(1), &crc(), ChecksumScope::Object).unwrap();
        assert_ne!(sealed(), sealed());
    }
}
