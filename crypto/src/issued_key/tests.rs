#![allow(clippy::unwrap_used)]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;

use super::*;
use crate::samples::{CONTEXT, counting};

fn wrap_under(key: [u8; 32]) -> IssuedKeyWrap {
    IssuedKeyWrap::new(DataKey::from_bytes(key))
}

fn data_key(layers: Layers) -> DataKey {
    DataKey::from_bytes(counting(0)).in_layers(layers)
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every object under a KMS key
/// unreadable.
#[test]
fn format_5_stays_as_it_was_first_written() {
    let wrap = wrap_under(counting(0x80));
    let rest = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafc0c1c2c3c4c5c6c7c8c9cacb\
                e76d939ffdb92edee98a6c3015b43d9dbd0f30683fb184c0e00801a832a64e3c";
    for (layers, begins, tag) in [
        (Layers::One, "0501", "8871c811be8ea9b99f021b817e43580f"),
        (Layers::Two, "0502", "10e3a4159160e650f7f331aee8aea8be"),
    ] {
        let wrapped = wrap.wrap_with(&data_key(layers), &CONTEXT, counting(0xa0), counting(0xc0));
        assert_eq!(hex::encode(wrapped.as_bytes()), [begins, rest, tag].concat());
        let opened = wrap.unwrap(&wrapped, &CONTEXT).unwrap();
        assert_eq!((opened.expose(), opened.layers()), (data_key(layers).expose(), layers));
    }
}

#[test]
fn a_wrapped_key_opens_under_no_other_key_and_in_no_other_context() {
    let wrapped = wrap_under([1; 32]).wrap(&data_key(Layers::One), &CONTEXT).unwrap();
    assert!(matches!(wrap_under([2; 32]).unwrap(&wrapped, &CONTEXT), Err(WrapError::NotAuthentic)));
    for context in [
        WrapContext { partition: [0x12; 16], ..CONTEXT },
        WrapContext { object_key: b"photos/dog.jpg", ..CONTEXT },
        WrapContext { version: [0x23; 16], ..CONTEXT },
    ] {
        assert!(matches!(wrap_under([1; 32]).unwrap(&wrapped, &context), Err(WrapError::NotAuthentic)), "{context:?}");
    }
}

/// Above all the number of layers, which is in nothing else that is authentic.
#[test]
fn any_changed_bit_and_any_other_length_is_refused() {
    let wrap = wrap_under([1; 32]);
    for layers in [Layers::One, Layers::Two] {
        let good = wrap.wrap(&data_key(layers), &CONTEXT).unwrap();
        for bit in 0..good.as_bytes().len() * 8 {
            let mut bad = good.as_bytes().to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(wrap.unwrap(&Wrapped::from_bytes(bad).unwrap(), &CONTEXT).is_err(), "bit {bit}");
        }
        for length in 0..good.as_bytes().len() {
            let cut = Wrapped::from_bytes(good.as_bytes()[..length].to_vec()).unwrap();
            assert!(wrap.unwrap(&cut, &CONTEXT).is_err(), "cut to {length}");
        }
        let longer = Wrapped::from_bytes([good.as_bytes(), &[0]].concat()).unwrap();
        assert!(wrap.unwrap(&longer, &CONTEXT).is_err());
        let other = [&[5, if layers == Layers::One { 2 } else { 1 }], &good.as_bytes()[2..]].concat();
        let other = Wrapped::from_bytes(other).unwrap();
        assert!(matches!(wrap.unwrap(&other, &CONTEXT), Err(WrapError::NotAuthentic)));
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", wrap_under([1; 32])), "IssuedKeyWrap(redacted)");
}

proptest! {
    /// The envelope as the module's comment draws it, opened with another implementation of AES-GCM.
    #[test]
    fn another_implementation_opens_every_envelope(
        issued: [u8; 32], key: [u8; 32], partition: [u8; 16], object_key: Vec<u8>, version: [u8; 16],
    ) {
        let context = WrapContext { partition, object_key: &object_key, version };
        let wrapped = wrap_under(issued).wrap(&DataKey::from_bytes(key), &context).unwrap();
        let envelope = wrapped.as_bytes();
        let field = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
        let associated = [&envelope[..18], &[1], &field(&partition), &field(&object_key), &field(&version)].concat();
        let once = derive::<32>(&issued, &envelope[2..18], b"cairn issued wrap key 1");
        let once = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, once.as_slice()).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&envelope[18..30]).unwrap();
        let mut buffer = envelope[30..].to_vec();
        prop_assert_eq!(&*once.open_in_place(nonce, Aad::from(associated), &mut buffer).unwrap(), &key);
    }
}
