#![allow(clippy::unwrap_used)]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;

use super::*;
use crate::samples::{CONTEXT, counting};

fn ring(versions: &[[u8; 32]]) -> Keyring {
    Keyring::new(versions.iter().copied().map(StoreKey::from_bytes).collect()).unwrap()
}

fn data_key() -> DataKey {
    DataKey::from_bytes(counting(0))
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every wrapped key
/// unreadable.
#[test]
fn format_2_stays_as_it_was_first_written() {
    let wrapped = ring(&[counting(0x80)]).wrap_with(&data_key(), &CONTEXT, counting(0xa0), counting(0xc0)).unwrap();
    assert_eq!(
        hex::encode(wrapped.as_bytes()),
        "02c5cffc1a45d8fd4aa0a1a2a3a4a5a6a7a8a9aaabacadaeafc0c1c2c3c4c5c6c7c8c9cacb358d73793224c29e409574ce6b52b5b9\
         54a799f76c38cdd1c189524fc9b6bb79a6e76155b41359d397509235d1ddef4f"
    );
    assert_eq!(ring(&[counting(0x80)]).unwrap(&wrapped, &CONTEXT).unwrap().expose(), data_key().expose());
}

#[test]
fn the_newest_version_wraps_and_every_version_opens_its_own() {
    let old = ring(&[[1; 32]]).wrap(&data_key(), &CONTEXT).unwrap();
    let rotated = ring(&[[1; 32], [2; 32]]);
    let new = rotated.wrap(&data_key(), &CONTEXT).unwrap();
    for wrapped in [&old, &new] {
        assert_eq!(rotated.unwrap(wrapped, &CONTEXT).unwrap().expose(), data_key().expose());
    }
    assert!(
        matches!(ring(&[[1; 32]]).unwrap(&new, &CONTEXT), Err(WrapError::UnknownKey(id)) if id == rotated.newest())
    );
    assert!(ring(&[[2; 32]]).unwrap(&new, &CONTEXT).is_ok());
}

#[test]
fn a_wrapped_key_opens_in_no_other_context() {
    let ring = ring(&[[1; 32]]);
    let wrapped = ring.wrap(&data_key(), &CONTEXT).unwrap();
    for context in [
        WrapContext { partition: [0x12; 16], ..CONTEXT },
        WrapContext { object_key: b"photos/dog.jpg", ..CONTEXT },
        WrapContext { version: [0x23; 16], ..CONTEXT },
    ] {
        assert!(matches!(ring.unwrap(&wrapped, &context), Err(WrapError::NotAuthentic)), "{context:?}");
    }
}

#[test]
fn any_changed_bit_and_any_other_length_is_refused() {
    let ring = ring(&[[1; 32], [2; 32]]);
    let good = ring.wrap(&data_key(), &CONTEXT).unwrap();
    for bit in 0..good.as_bytes().len() * 8 {
        let mut bad = good.as_bytes().to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = ring.unwrap(&Wrapped::from_bytes(bad).unwrap(), &CONTEXT).unwrap_err();
        let expected = match bit / 8 {
            0 => matches!(error, WrapError::UnknownFormat(_)),
            1..9 => matches!(error, WrapError::UnknownKey(_)),
            _ => matches!(error, WrapError::NotAuthentic),
        };
        assert!(expected, "bit {bit}: {error}");
    }
    for length in 0..good.as_bytes().len() {
        let cut = Wrapped::from_bytes(good.as_bytes()[..length].to_vec()).unwrap();
        assert!(matches!(ring.unwrap(&cut, &CONTEXT), Err(WrapError::Malformed)), "cut to {length}");
    }
    let longer = Wrapped::from_bytes([good.as_bytes(), &[0]].concat()).unwrap();
    assert!(matches!(ring.unwrap(&longer, &CONTEXT), Err(WrapError::Malformed)));
}

#[test]
fn a_keyring_has_a_version_and_not_too_many() {
    assert!(Keyring::new(Vec::new()).is_none());
    let many = |count| Keyring::new((0..count).map(|_| StoreKey::generate().unwrap()).collect());
    assert!(many(VERSIONS_MAX).is_some() && many(VERSIONS_MAX + 1).is_none());
}

#[test]
fn debug_shows_ids_and_no_key() {
    assert_eq!(format!("{:?}", ring(&[counting(0x80)])), "Keyring(c5cffc1a45d8fd4a of 1, redacted)");
}

proptest! {
    /// The envelope as the module's comment draws it, opened with another implementation of AES-GCM.
    #[test]
    fn another_implementation_opens_every_envelope(
        store_key: [u8; 32], key: [u8; 32], partition: [u8; 16], object_key: Vec<u8>, version: [u8; 16],
    ) {
        let context = WrapContext { partition, object_key: &object_key, version };
        let wrapped = ring(&[store_key]).wrap(&DataKey::from_bytes(key), &context).unwrap();
        let envelope = wrapped.as_bytes();
        let field = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
        let associated = [&envelope[..25], &[1], &field(&partition), &field(&object_key), &field(&version)].concat();
        let once = derive::<32>(&store_key, &envelope[9..25], b"cairn store wrap key 1");
        let once = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, once.as_slice()).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&envelope[25..37]).unwrap();
        let mut buffer = envelope[37..].to_vec();
        prop_assert_eq!(&*once.open_in_place(nonce, Aad::from(associated), &mut buffer).unwrap(), &key);
    }

    #[test]
    fn arbitrary_bytes_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(ring(&[[1; 32]]).unwrap(&Wrapped::from_bytes(bytes).unwrap(), &CONTEXT).is_err());
    }
}

/// A key and nonce that came twice would give away what both wrapped.
#[test]
fn no_two_wraps_share_their_randomness() {
    let ring = ring(&[[1; 32]]);
    let randomness = |_| ring.wrap(&data_key(), &CONTEXT).unwrap().as_bytes()[9..37].to_vec();
    let seen: std::collections::HashSet<_> = (0..10_000).map(randomness).collect();
    assert_eq!(seen.len(), 10_000);
}
