#![allow(clippy::unwrap_used)]

use super::*;
use crate::samples::check_published_gcm_vectors;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce as OtherNonce};
use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;

const KEY: [u8; 32] = [0x5a; 32];
const ID: [u8; 16] = [0xc3; 16];

fn sealer(key: [u8; 32], id: [u8; 16]) -> ChunkSealer {
    ChunkSealer::new(&DataKey::from_bytes(key), SealId::from_bytes(id))
}

/// In two layers.
fn twice(key: [u8; 32], id: [u8; 16]) -> ChunkSealer {
    ChunkSealer::new(&DataKey::from_bytes(key).in_layers(Layers::Two), SealId::from_bytes(id))
}

/// Encrypts a chunk in place and appends its tags.
fn append_sealed(sealer: &ChunkSealer, chunk: Chunk, bytes: &mut Vec<u8>) -> Result<(), SealError> {
    bytes.resize(bytes.len() + sealer.overhead_bytes(), 0);
    sealer.seal_in_place(chunk, bytes)
}

fn sealed(sealer: &ChunkSealer, index: u64, last: bool, plaintext: &[u8]) -> Vec<u8> {
    let mut chunk = plaintext.to_vec();
    append_sealed(sealer, Chunk::new(index, last), &mut chunk).unwrap();
    chunk
}

/// The format of the module's comment, made with another implementation of each primitive.
mod other {
    use super::*;

    fn parts(key: &[u8; 32], id: &[u8; 16], index: u64, last: bool) -> (Aes256Gcm, [u8; 12], Vec<u8>) {
        let mut file_key = [0; 32];
        Hkdf::<Sha256>::new(Some(id), key).expand(b"cairn chunk key 1", &mut file_key).unwrap();
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        let associated = [&[1][..], id, &index.to_be_bytes(), &[u8::from(last)]].concat();
        (Aes256Gcm::new(&file_key.into()), nonce, associated)
    }

    pub fn seal(key: &[u8; 32], id: &[u8; 16], index: u64, last: bool, plaintext: &[u8]) -> Vec<u8> {
        let (cipher, nonce, aad) = parts(key, id, index, last);
        cipher.encrypt(&OtherNonce::from(nonce), Payload { msg: plaintext, aad: &aad }).unwrap()
    }

    pub fn seal_compressed(key: &[u8; 32], id: &[u8; 16], index: u64, last: bool, from: u32, packed: &[u8]) -> Vec<u8> {
        let (cipher, nonce, _) = parts(key, id, index, last);
        let flags = if last { 3 } else { 2 };
        let aad = [&[1][..], id, &index.to_be_bytes(), &[flags], &from.to_be_bytes()].concat();
        cipher.encrypt(&OtherNonce::from(nonce), Payload { msg: packed, aad: &aad }).unwrap()
    }

    pub fn open(key: &[u8; 32], id: &[u8; 16], index: u64, last: bool, sealed: &[u8]) -> Vec<u8> {
        let (cipher, nonce, aad) = parts(key, id, index, last);
        cipher.decrypt(&OtherNonce::from(nonce), Payload { msg: sealed, aad: &aad }).unwrap()
    }
}

#[test]
fn the_primitive_gives_the_published_vectors() {
    for library in [Cipher::of_aws_lc, Cipher::of_ring] {
        check_published_gcm_vectors(|key, nonce, aad, bytes| library(&key).seal(nonce, aad, bytes).unwrap());
    }
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every sealed file
/// unreadable.
#[test]
fn format_1_stays_as_it_was_first_written() {
    let sealer = sealer(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0x40 + i as u8));
    let check = |index, last, plaintext: &[u8], expected| {
        assert_eq!(hex::encode(sealed(&sealer, index, last, plaintext)), expected);
    };
    check(0, false, b"the first chunk", "b91ece247be8fb338736769c0c71104b00e6d0f40ba3c1e7c29e65715d76d3");
    check(1, true, b"", "b586f1a18e4b85e2434d41ea670f18da");
    check(0x0102_0304_0506_0708, true, b"far", "a2591d50f93e1724d6d082ab1973e30fc0b8c3");
}

/// As above, in two layers.
#[test]
fn two_layers_stay_as_they_were_first_written() {
    let sealer = twice(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0x40 + i as u8));
    let check = |index, last, plaintext: &[u8], expected| {
        assert_eq!(hex::encode(sealed(&sealer, index, last, plaintext)), expected);
    };
    let first = "aeec67e4d4972896451c52c386db4c83b9ccd66688fb8a94cb8a19b4110cfbccaedfa872704208bcff0f74dcfccab5";
    check(0, false, b"the first chunk", first);
    check(1, true, b"", "ce9a1017751b37bfa1beeea742a809151c531a15be3f745b48d348704eb11dbb");
    let far = "6b1a150a7523c0162eb68f24e68a87b39d4f17a385e4716ce5df57b3096c5ca164e7e5";
    check(0x0102_0304_0506_0708, true, b"far", far);
}

#[test]
fn any_changed_bit_is_refused() {
    for sealer in [sealer(KEY, ID), twice(KEY, ID)] {
        let good = sealed(&sealer, 7, false, b"forty-two bytes of a chunk that is sealed.");
        for position in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[position / 8] ^= 1 << (position % 8);
            assert_eq!(sealer.open(Chunk::new(7, false), &mut bad), Err(SealError::NotAuthentic), "bit {position}");
        }
    }
}

#[test]
fn any_other_length_is_refused() {
    for sealer in [sealer(KEY, ID), twice(KEY, ID)] {
        let good = sealed(&sealer, 0, true, &[9; 40]);
        for length in 0..good.len() {
            let cut = sealer.open(Chunk::new(0, true), &mut good.clone()[..length]).is_err();
            assert!(cut, "cut to {length}");
        }
        let mut longer = [&good[..], &[0]].concat();
        assert_eq!(sealer.open(Chunk::new(0, true), &mut longer), Err(SealError::NotAuthentic));
    }
}

#[test]
fn reordered_chunks_are_refused() {
    let sealer = sealer(KEY, ID);
    let mut first = sealed(&sealer, 0, false, b"chunk");
    let mut second = sealed(&sealer, 1, false, b"chunk");
    assert_eq!(sealer.open(Chunk::new(1, false), &mut first), Err(SealError::NotAuthentic));
    assert_eq!(sealer.open(Chunk::new(0, false), &mut second), Err(SealError::NotAuthentic));
}

#[test]
fn a_chunk_of_another_content_under_the_same_data_key_is_refused() {
    let mut chunk = sealed(&sealer(KEY, [1; 16]), 0, true, b"chunk");
    assert_eq!(sealer(KEY, [2; 16]).open(Chunk::new(0, true), &mut chunk), Err(SealError::NotAuthentic));
}

#[test]
fn another_data_key_is_refused() {
    let mut chunk = sealed(&sealer([1; 32], ID), 0, true, b"chunk");
    assert_eq!(sealer([2; 32], ID).open(Chunk::new(0, true), &mut chunk), Err(SealError::NotAuthentic));
}

#[test]
fn a_content_cut_off_at_a_chunk_is_refused() {
    let sealer = sealer(KEY, ID);
    let mut middle = sealed(&sealer, 3, false, b"chunk");
    assert_eq!(sealer.open(Chunk::new(3, true), &mut middle), Err(SealError::NotAuthentic));
}

#[test]
fn a_content_that_goes_on_after_its_last_chunk_is_refused() {
    let sealer = sealer(KEY, ID);
    let mut last = sealed(&sealer, 3, true, b"chunk");
    assert_eq!(sealer.open(Chunk::new(3, false), &mut last), Err(SealError::NotAuthentic));
}

#[test]
fn a_chunk_opens_only_as_compressed_from_as_many_bytes_as_it_was() {
    for sealer in [sealer(KEY, ID), twice(KEY, ID)] {
        let chunks = [
            Chunk::new(3, false),
            Chunk::new(3, true),
            Chunk::compressed(3, false, 0),
            Chunk::compressed(3, false, 65_536),
            Chunk::compressed(3, true, 65_536),
            Chunk::compressed(3, false, 65_535),
        ];
        for sealed_as in chunks {
            let mut good = b"chunk".to_vec();
            append_sealed(&sealer, sealed_as, &mut good).unwrap();
            for opened_as in chunks {
                let opens = sealer.open(opened_as, &mut good.clone()).is_ok();
                assert_eq!(opens, opened_as == sealed_as, "{sealed_as:?} as {opened_as:?}");
            }
        }
    }
}

/// The key alone already differs between contents; the seal id in the associated data is a second line.
#[test]
fn the_seal_id_is_bound_even_under_the_same_file_key() {
    let with_id = |id| {
        let inner = Layer::new(&DataKey::from_bytes(KEY), SealId::from_bytes(ID), ONLY);
        ChunkSealer { inner, outer: None, seal_id: SealId::from_bytes(id) }
    };
    let mut chunk = sealed(&with_id([1; 16]), 0, true, b"chunk");
    assert_eq!(with_id([2; 16]).open(Chunk::new(0, true), &mut chunk), Err(SealError::NotAuthentic));
}

#[test]
fn the_plaintext_of_a_refused_chunk_does_not_stay_in_the_buffer() {
    let sealer = sealer(KEY, ID);
    let plaintext = [0x77; 1000];
    let mut chunk = sealed(&sealer, 0, true, &plaintext);
    *chunk.last_mut().unwrap() ^= 1;
    assert_eq!(sealer.open(Chunk::new(0, true), &mut chunk), Err(SealError::NotAuthentic));
    assert!(!chunk.windows(16).any(|window| window == &plaintext[..16]));
}

#[test]
fn a_plaintext_beyond_the_limit_is_refused_untouched() {
    // Zeroed pages that nothing touches take no memory.
    let mut chunk = vec![0; SEALED_PLAINTEXT_BYTES_MAX + 1 + TAG_BYTES];
    let refused = Err(SealError::TooLong(SEALED_PLAINTEXT_BYTES_MAX + 1));
    assert_eq!(sealer(KEY, ID).seal_in_place(Chunk::new(0, true), &mut chunk), refused);
}

#[test]
fn generated_seal_ids_differ() {
    assert_ne!(SealId::generate().unwrap(), SealId::generate().unwrap());
}

#[test]
fn debug_shows_the_id_and_no_key() {
    assert_eq!(
        format!("{:?}", sealer(KEY, [0x0f; 16])),
        "ChunkSealer(SealId(0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f), redacted)"
    );
}

proptest! {
    /// Under one file key, no two chunks share a nonce.
    #[test]
    fn a_nonce_is_one_chunks_alone(one: u64, other: u64) {
        prop_assert_eq!(nonce(one).as_ref() == nonce(other).as_ref(), one == other);
        prop_assert!(nonce(one).as_ref() != nonce(one.wrapping_add(1)).as_ref());
    }

    #[test]
    fn another_implementation_opens_what_is_sealed(
        key: [u8; 32], id: [u8; 16], index: u64, last: bool, plaintext: Vec<u8>,
    ) {
        let chunk = sealed(&sealer(key, id), index, last, &plaintext);
        prop_assert_eq!(chunk.len(), plaintext.len() + TAG_BYTES);
        prop_assert_eq!(other::open(&key, &id, index, last, &chunk), plaintext);
    }

    #[test]
    fn what_another_implementation_sealed_is_opened(
        key: [u8; 32], id: [u8; 16], index: u64, last: bool, plaintext: Vec<u8>,
    ) {
        let mut chunk = other::seal(&key, &id, index, last, &plaintext);
        prop_assert_eq!(sealer(key, id).open(Chunk::new(index, last), &mut chunk), Ok(&mut plaintext.clone()[..]));
    }

    #[test]
    fn what_is_sealed_in_two_layers_opens_in_two_and_in_no_other_way(index: u64, last: bool, plaintext: Vec<u8>) {
        let twice = twice(KEY, ID);
        let chunk = sealed(&twice, index, last, &plaintext);
        prop_assert_eq!(chunk.len(), plaintext.len() + OVERHEAD_BYTES_MAX);
        let mut opened = chunk.clone();
        prop_assert_eq!(twice.open(Chunk::new(index, last), &mut opened), Ok(&mut plaintext.clone()[..]));
        prop_assert!(sealer(KEY, ID).open(Chunk::new(index, last), &mut chunk.clone()).is_err());
        // Nor does either layer for itself, though the data key be known.
        let outer = twice.outer.as_ref().unwrap();
        let mut stripped = outer.open(twice.seal_id, Chunk::new(index, last), &mut chunk.clone()).unwrap().to_vec();
        prop_assert!(twice.open(Chunk::new(index, last), &mut stripped.clone()).is_err());
        prop_assert!(sealer(KEY, ID).open(Chunk::new(index, last), &mut stripped.clone()).is_err());
        prop_assert_eq!(twice.inner.open(twice.seal_id, Chunk::new(index, last), &mut stripped), Ok(&mut plaintext.clone()[..]));
    }

    #[test]
    fn a_compressed_chunk_agrees_with_another_implementation(index: u64, last: bool, from: u32, packed: Vec<u8>) {
        let mut chunk = packed.clone();
        append_sealed(&sealer(KEY, ID), Chunk::compressed(index, last, from), &mut chunk).unwrap();
        prop_assert_eq!(chunk, other::seal_compressed(&KEY, &ID, index, last, from, &packed));
    }

    /// Chunk-sized inputs reach the wide code paths of both implementations.
    #[test]
    fn whole_chunks_agree_with_another_implementation(fill: u8, length in 65_000..65_537_usize) {
        let plaintext: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31) ^ fill).collect();
        let chunk = sealed(&sealer(KEY, ID), 5, false, &plaintext);
        prop_assert_eq!(chunk, other::seal(&KEY, &ID, 5, false, &plaintext));
    }
}
