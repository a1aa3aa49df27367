#![allow(clippy::unwrap_used)]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use proptest::prelude::*;

use super::*;
use crate::samples::{CONTEXT, counting};

fn wrap_under(key: [u8; 32]) -> CustomerKeyWrap {
    CustomerKeyWrap::new(CustomerKey::from_bytes(key))
}

fn data_key() -> DataKey {
    DataKey::from_bytes(counting(0))
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every object under a
/// customer's key unreadable.
#[test]
fn format_3_stays_as_it_was_first_written() {
    let wrap = wrap_under(counting(0x80));
    let wrapped = wrap.wrap_with(&data_key(), &CONTEXT, counting(0xa0), counting(0xc0));
    assert_eq!(
        hex::encode(wrapped.as_bytes()),
        "03a0a1a2a3a4a5a6a7a8a9aaabacadaeaf2183c1e59b5d4ca02c8762269ef405e9c0c1c2c3c4c5c6c7c8c9cacb07119a6514517a3b\
         a1faf01e24b4abd54e893027e1e7a4b178fbb246a883daccaa10c2416bc70594a7de16d9e3a3a5b3"
    );
    assert_eq!(wrap.unwrap(&wrapped, &CONTEXT).unwrap().expose(), data_key().expose());
}

#[test]
fn the_form_of_an_envelope_is_known_without_the_key() {
    let wrapped = wrap_under([1; 32]).wrap(&data_key(), &CONTEXT).unwrap();
    let bytes = wrapped.as_bytes();
    assert!(is_envelope(bytes));
    for other in [&bytes[1..], &bytes[..bytes.len() - 1], &[bytes, &[0]].concat(), &[]] {
        assert!(!is_envelope(other), "{} bytes", other.len());
    }
    assert!(!is_envelope(&[&[2], &bytes[1..]].concat()));
}

#[test]
fn a_wrong_key_is_told_from_damage() {
    let wrapped = wrap_under([1; 32]).wrap(&data_key(), &CONTEXT).unwrap();
    assert!(matches!(wrap_under([2; 32]).unwrap(&wrapped, &CONTEXT), Err(WrapError::WrongCustomerKey)));
    let mut damaged = wrapped.as_bytes().to_vec();
    damaged[60] ^= 1;
    let damaged = Wrapped::from_bytes(damaged).unwrap();
    assert!(matches!(wrap_under([1; 32]).unwrap(&damaged, &CONTEXT), Err(WrapError::NotAuthentic)));
}

#[test]
fn any_changed_bit_and_any_other_length_is_refused() {
    let wrap = wrap_under([1; 32]);
    let good = wrap.wrap(&data_key(), &CONTEXT).unwrap();
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
    assert!(matches!(wrap.unwrap(&longer, &CONTEXT), Err(WrapError::Malformed)));
}

#[test]
fn a_wrapped_key_opens_in_no_other_context() {
    let wrap = wrap_under([1; 32]);
    let wrapped = wrap.wrap(&data_key(), &CONTEXT).unwrap();
    for context in [
        WrapContext { partition: [0x12; 16], ..CONTEXT },
        WrapContext { object_key: b"photos/dog.jpg", ..CONTEXT },
        WrapContext { version: [0x23; 16], ..CONTEXT },
    ] {
        assert!(matches!(wrap.unwrap(&wrapped, &context), Err(WrapError::NotAuthentic)), "{context:?}");
    }
}

#[test]
fn two_objects_under_one_key_do_not_show_it() {
    let wrap = wrap_under([1; 32]);
    let [one, two] = [(), ()].map(|()| wrap.wrap(&data_key(), &CONTEXT).unwrap());
    assert_ne!(one.as_bytes()[1..NONCE_AT], two.as_bytes()[1..NONCE_AT]);
    for wrapped in [one, two] {
        assert!(!wrapped.as_bytes().windows(8).any(|window| window == [1; 8]));
    }
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", wrap_under([7; 32])), "CustomerKeyWrap(redacted)");
}

proptest! {
    /// The envelope as the module's comment draws it, opened with another implementation of AES-GCM.
    #[test]
    fn another_implementation_opens_every_envelope(customer_key: [u8; 32], key: [u8; 32], object_key: Vec<u8>) {
        let context = WrapContext { object_key: &object_key, ..CONTEXT };
        let wrapped = wrap_under(customer_key).wrap(&DataKey::from_bytes(key), &context).unwrap();
        let envelope = wrapped.as_bytes();
        let field = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
        let context = [field(&CONTEXT.partition), field(&object_key), field(&CONTEXT.version)].concat();
        let associated = [&envelope[..33], &[1], &context].concat();
        let once = derive::<32>(&customer_key, &envelope[1..17], b"cairn customer wrap key 1");
        let once = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, once.as_slice()).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&envelope[33..45]).unwrap();
        let mut buffer = envelope[45..].to_vec();
        prop_assert_eq!(&*once.open_in_place(nonce, Aad::from(associated), &mut buffer).unwrap(), &key);
    }
}
