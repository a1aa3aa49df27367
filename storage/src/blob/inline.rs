//! Small contents, as values of the `inline` family (ARCHITECTURE 4.3).
//!
//! ```text
//! format (u8) = 1 | flags (u8, bit 0 sealed, bit 1 sealed twice, beside bit 0) | seal id (16, if sealed)
//!     | crc64 (8) of (content id | flags | seal id | payload) | payload
//! ```
//!
//! The payload is one chunk, the last one, sealed as chunk 0. Unsealed bytes are handed out without being copied.

use bytes::Bytes;
use cairn_crypto::crc64::crc64;
use cairn_crypto::seal::{Chunk, ChunkSealer, SealId, overhead_bytes};
use cairn_crypto::secret::{DataKey, Layers};

use super::new_seal;
use crate::StorageError;
use crate::id::ContentId;

const FORMAT: u8 = 1;
const FLAG_SEALED: u8 = 1;
const SEALED_TWICE: u8 = FLAG_SEALED | 1 << 1;
const SEAL_ID_AT: usize = 2;
const SEAL_ID_BYTES: usize = 16;
const CRC_BYTES: usize = 8;

/// The bytes that a value has beyond its payload, at most.
pub const OVERHEAD_BYTES_MAX: usize = SEAL_ID_AT + SEAL_ID_BYTES + CRC_BYTES + cairn_crypto::seal::OVERHEAD_BYTES_MAX;

/// The value of a content.
///
/// # Errors
/// `Io` if the system gives no randomness for a seal id.
pub fn encode(content: ContentId, key: Option<&DataKey>, plain: &[u8]) -> Result<Bytes, StorageError> {
    encode_with_seal(content, new_seal(key)?, plain)
}

fn encode_with_seal(content: ContentId, seal: Option<(SealId, &DataKey)>, plain: &[u8]) -> Result<Bytes, StorageError> {
    let mut value = Vec::with_capacity(OVERHEAD_BYTES_MAX + plain.len());
    let flags = match seal.map(|(_, key)| key.layers()) {
        None => 0,
        Some(Layers::One) => FLAG_SEALED,
        Some(Layers::Two) => SEALED_TWICE,
    };
    value.extend([FORMAT, flags]);
    if let Some((seal, _)) = seal {
        value.extend_from_slice(seal.as_bytes());
    }
    let crc_at = value.len();
    let payload_at = crc_at + CRC_BYTES;
    value.resize(payload_at, 0);
    value.extend_from_slice(plain);
    if let Some((seal, key)) = seal {
        let sealer = ChunkSealer::new(key, seal);
        value.resize(value.len() + sealer.overhead_bytes(), 0);
        let sealing = |error| StorageError::Io { doing: "sealing a content", source: std::io::Error::other(error) };
        sealer.seal_in_place(Chunk::new(0, true), &mut value[payload_at..]).map_err(sealing)?;
    }
    let crc = crc64(&[content.as_bytes(), &value[1..crc_at], &value[payload_at..]]);
    value[crc_at..payload_at].copy_from_slice(&crc.to_be_bytes());
    Ok(Bytes::from(value))
}

/// The content of a value, verified.
///
/// # Errors
/// `Corrupt` if the value is damaged or another content's, or if the key is missing, needless or the wrong one.
pub fn decode(content: ContentId, key: Option<&DataKey>, value: &Bytes) -> Result<Bytes, StorageError> {
    let Frame { seal, payload_at } = Frame::read(content, value)?;
    match (seal, key) {
        (None, None) => Ok(value.slice(payload_at..)),
        (Some((seal, layers)), Some(key)) if layers == key.layers() => {
            let mut plain = value[payload_at..].to_vec();
            let opened = ChunkSealer::new(key, seal).open(Chunk::new(0, true), &mut plain);
            let plain_bytes = opened.map_err(|error| damaged(content, &error.to_string()))?.len();
            plain.truncate(plain_bytes);
            Ok(Bytes::from(plain))
        }
        _ => Err(damaged(content, "a key belongs to a sealed content and only to one")),
    }
}

/// The value of `to` with the bytes of `from`, whose value this is: sealed as they are, without the key.
///
/// # Errors
/// `Corrupt` if the value is damaged or another content's.
pub fn copy(from: ContentId, value: &[u8], to: ContentId) -> Result<Bytes, StorageError> {
    let Frame { payload_at, .. } = Frame::read(from, value)?;
    let crc_at = payload_at - CRC_BYTES;
    let mut copy = value.to_vec();
    let crc = crc64(&[to.as_bytes(), &value[1..crc_at], &value[payload_at..]]);
    copy[crc_at..payload_at].copy_from_slice(&crc.to_be_bytes());
    Ok(Bytes::from(copy))
}

/// The seal id and the payload of a value that is sealed once, its checksum verified: sealed as it is, without the key.
///
/// # Errors
/// `Corrupt` if the value is damaged, another content's, or not sealed so.
pub fn sealed(content: ContentId, value: &Bytes) -> Result<(SealId, Bytes), StorageError> {
    let Frame { seal, payload_at } = Frame::read(content, value)?;
    match seal {
        Some((seal, Layers::One)) if value.len() >= payload_at + overhead_bytes(Layers::One) => {
            Ok((seal, value.slice(payload_at..)))
        }
        _ => Err(damaged(content, "it should be sealed once")),
    }
}

/// The value of a content whose one chunk is sealed already.
#[must_use]
pub fn encode_sealed(content: ContentId, seal: SealId, payload: &[u8]) -> Bytes {
    let crc_at = SEAL_ID_AT + SEAL_ID_BYTES;
    let mut value = Vec::with_capacity(crc_at + CRC_BYTES + payload.len());
    value.extend([FORMAT, FLAG_SEALED]);
    value.extend_from_slice(seal.as_bytes());
    let crc = crc64(&[content.as_bytes(), &value[1..], payload]);
    value.extend_from_slice(&crc.to_be_bytes());
    value.extend_from_slice(payload);
    Bytes::from(value)
}

/// How many bytes the content of a value has, its checksum verified: all that can be told without a key.
///
/// # Errors
/// `Corrupt` if the value is damaged or another content's.
pub fn verify(content: ContentId, value: &Bytes) -> Result<usize, StorageError> {
    let Frame { seal, payload_at } = Frame::read(content, value)?;
    let payload_bytes = value.len() - payload_at;
    match seal {
        None => Ok(payload_bytes),
        Some((_, layers)) => {
            payload_bytes.checked_sub(overhead_bytes(layers)).ok_or_else(|| damaged(content, "too short"))
        }
    }
}

fn damaged(content: ContentId, what: &str) -> StorageError {
    StorageError::corrupt(format!("inline content {content}: {what}"))
}

/// What stands before the payload, once the checksum was found right.
struct Frame {
    seal: Option<(SealId, Layers)>,
    payload_at: usize,
}

impl Frame {
    fn read(content: ContentId, value: &[u8]) -> Result<Self, StorageError> {
        let damaged = |what: &str| damaged(content, what);
        let layers = match value.first_chunk() {
            Some([FORMAT, 0]) => None,
            Some([FORMAT, FLAG_SEALED]) => Some(Layers::One),
            Some([FORMAT, SEALED_TWICE]) => Some(Layers::Two),
            Some([format, flags]) => return Err(damaged(&format!("unknown format {format} or flags {flags}"))),
            None => return Err(damaged("too short")),
        };
        let crc_at = SEAL_ID_AT + layers.map_or(0, |_| SEAL_ID_BYTES);
        let payload_at = crc_at + CRC_BYTES;
        let (Some(crc), Some(payload)) = (value.get(crc_at..payload_at), value.get(payload_at..)) else {
            return Err(damaged("too short"));
        };
        if crc != crc64(&[content.as_bytes(), &value[1..crc_at], payload]).to_be_bytes() {
            return Err(damaged("wrong checksum"));
        }
        let seal = value[SEAL_ID_AT..crc_at].first_chunk().map(|seal| SealId::from_bytes(*seal));
        Ok(Self { seal: seal.zip(layers), payload_at })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn content() -> ContentId {
        ContentId::from_bytes([7; 16])
    }

    fn key() -> DataKey {
        DataKey::from_bytes([9; 32])
    }

    fn key_for_two_layers() -> DataKey {
        key().in_layers(Layers::Two)
    }

    #[test]
    fn a_sealed_value_becomes_another_contents_without_the_key() {
        let value = encode(content(), Some(&key()), b"plain").unwrap();
        let (seal, payload) = sealed(content(), &value).unwrap();
        let to = ContentId::from_bytes([8; 16]);
        let there = encode_sealed(to, seal, &payload);
        assert_eq!(there, copy(content(), &value, to).unwrap());
        assert_eq!(decode(to, Some(&key()), &there).unwrap(), &b"plain"[..]);
        for other in [encode(content(), None, b"plain"), encode(content(), Some(&key_for_two_layers()), b"plain")] {
            assert!(sealed(content(), &other.unwrap()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_round_trip(plain: Vec<u8>, way in 0..3_usize) {
            let key = [None, Some(key()), Some(key_for_two_layers())][way].clone();
            let value = encode(content(), key.as_ref(), &plain).unwrap();
            prop_assert!(value.len() <= plain.len() + OVERHEAD_BYTES_MAX);
            prop_assert_eq!(verify(content(), &value).unwrap(), plain.len());
            prop_assert_eq!(decode(content(), key.as_ref(), &value).unwrap(), plain);
        }
    }

    #[test]
    fn unsealed_bytes_are_not_copied() {
        let value = encode(content(), None, b"the same memory").unwrap();
        let plain = decode(content(), None, &value).unwrap();
        assert!(value.as_ptr_range().contains(&plain.as_ptr()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for key in [None, Some(key()), Some(key_for_two_layers())] {
            let value = encode(content(), key.as_ref(), b"some bytes").unwrap();
            for bit in 0..value.len() * 8 {
                let mut flipped = value.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let flipped = flipped.into();
                assert!(decode(content(), key.as_ref(), &flipped).is_err(), "bit {bit}");
                assert!(verify(content(), &flipped).is_err(), "bit {bit}, without the key");
            }
            for length in 0..value.len() {
                assert!(decode(content(), key.as_ref(), &value.slice(..length)).is_err(), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_value_under_another_id_is_refused() {
        let value = encode(content(), None, b"bytes").unwrap();
        assert!(decode(ContentId::from_bytes([8; 16]), None, &value).is_err());
    }

    #[test]
    fn a_copy_has_the_same_bytes_under_its_own_id() {
        let other = ContentId::from_bytes([8; 16]);
        for key in [None, Some(key())] {
            let value = encode(content(), key.as_ref(), b"bytes").unwrap();
            let copied = copy(content(), &value, other).unwrap();
            assert_eq!(decode(other, key.as_ref(), &copied).unwrap(), "bytes");
            assert!(decode(content(), key.as_ref(), &copied).is_err());
            assert!(copy(other, &value, content()).is_err(), "a damaged value is not copied");
        }
    }

    #[test]
    fn a_sealed_content_opens_only_with_its_key() {
        let value = encode(content(), Some(&key()), b"secret").unwrap();
        assert!(!value.windows(6).any(|window| window == b"secret"));
        assert!(decode(content(), None, &value).is_err());
        assert!(decode(content(), Some(&DataKey::from_bytes([1; 32])), &value).is_err());
        assert!(decode(content(), Some(&key_for_two_layers()), &value).is_err());
        let twice = encode(content(), Some(&key_for_two_layers()), b"secret").unwrap();
        assert!(decode(content(), Some(&key()), &twice).is_err());
    }

    #[test]
    fn a_key_for_an_unsealed_content_is_refused() {
        let value = encode(content(), None, b"open").unwrap();
        assert!(decode(content(), Some(&key()), &value).is_err());
    }

    #[test]
    fn values_of_format_1_stay_as_they_are() {
        let plain = encode_with_seal(content(), None, b"golden").unwrap();
        let seal = SealId::from_bytes([5; 16]);
        let sealed = encode_with_seal(content(), Some((seal, &key())), b"golden").unwrap();
        assert_eq!(hex::encode(&plain), PLAIN);
        assert_eq!(hex::encode(&sealed), SEALED);
        for (golden, key) in [(PLAIN, None), (SEALED, Some(key()))] {
            let value = Bytes::from(hex::decode(golden).unwrap());
            assert_eq!(decode(content(), key.as_ref(), &value).unwrap(), "golden");
        }
    }

    /// As format 1 was first written.
    const PLAIN: &str = "01007335dce3eefccaf1676f6c64656e";
    const SEALED: &str =
        "010105050505050505050505050505050505f342ae3bf29486c53fe962324b973f0bd0b38e0c12b74b193aa8417f1619";
}
