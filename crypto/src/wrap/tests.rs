#![allow(clippy::unwrap_used)]

use super::*;
use crate::samples::{CONTEXT, check_published_gcm_vectors, counting};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as OtherNonce, UnboundKey};
use proptest::prelude::*;

fn wrap_under(master_key: [u8; 32]) -> MasterKeyWrap {
    MasterKeyWrap::new(&MasterKey::from_bytes(master_key))
}

fn is_not_authentic<T>(result: Result<T, WrapError>) -> bool {
    matches!(result, Err(WrapError::NotAuthentic))
}

#[test]
fn the_primitive_gives_the_published_vectors() {
    check_published_gcm_vectors(|key, nonce, aad, bytes| {
        Aes256Gcm::new(&key.into()).encrypt_inout_detached(&Nonce::from(nonce), aad, bytes.into()).unwrap()
    });
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every wrapped key
/// unreadable.
#[test]
fn format_1_of_a_data_key_stays_as_it_was_first_written() {
    let wrap = wrap_under(counting(0x80));
    let data_key: [u8; 32] = counting(0);
    let envelope = wrap.seal(Kind::DataKey, &CONTEXT.encode(), &data_key, counting(0xc0)).unwrap();
    assert_eq!(
        hex::encode(&envelope),
        "019713a7f4cdf4b9d2c0c1c2c3c4c5c6c7c8c9cacb29da11a3b0cba08b1a67ee4cd1c79546e194a97b331f4d257bf50f2a0f42cede\
         226c9d358ab323ff9523aa9daee57b84"
    );
    let wrapped = Wrapped::from_bytes(envelope).unwrap();
    assert_eq!(wrap.unwrap(&wrapped, &CONTEXT).unwrap().expose(), &data_key);
}

/// As above, for a secret.
#[test]
fn format_1_of_a_secret_stays_as_it_was_first_written() {
    let wrap = wrap_under(counting(0x80));
    let context = encode_fields(&[b"root secret"]);
    let envelope = wrap.seal(Kind::Secret, &context, b"correct horse", counting(0xc0)).unwrap();
    assert_eq!(
        hex::encode(&envelope),
        "019713a7f4cdf4b9d2c0c1c2c3c4c5c6c7c8c9cacb4ab461d2d1add2ac7a019634b88ef11cc36efd6c7608c629ef025edaec"
    );
    assert_eq!(wrap.open_secret("root secret", &envelope).unwrap().as_slice(), b"correct horse");
}

#[test]
fn two_wraps_of_one_key_differ() {
    let wrap = wrap_under([1; 32]);
    let key = DataKey::from_bytes([2; 32]);
    assert_ne!(wrap.wrap(&key, &CONTEXT).unwrap(), wrap.wrap(&key, &CONTEXT).unwrap());
}

#[test]
fn any_changed_bit_of_a_wrapped_key_is_refused() {
    let wrap = wrap_under([1; 32]);
    let good = wrap.wrap(&DataKey::from_bytes([2; 32]), &CONTEXT).unwrap();
    for position in 0..good.as_bytes().len() * 8 {
        let mut bad = good.as_bytes().to_vec();
        bad[position / 8] ^= 1 << (position % 8);
        let error = wrap.unwrap(&Wrapped(bad), &CONTEXT).unwrap_err();
        let expected = match position / 8 {
            0 => matches!(error, WrapError::UnknownFormat(_)),
            1..9 => matches!(error, WrapError::WrongMasterKey { .. }),
            _ => matches!(error, WrapError::NotAuthentic),
        };
        assert!(expected, "bit {position}: {error}");
    }
}

#[test]
fn any_other_length_of_a_wrapped_key_is_refused() {
    let wrap = wrap_under([1; 32]);
    let good = wrap.wrap(&DataKey::from_bytes([2; 32]), &CONTEXT).unwrap();
    for length in 0..good.as_bytes().len() {
        assert!(wrap.unwrap(&Wrapped(good.as_bytes()[..length].to_vec()), &CONTEXT).is_err(), "cut to {length}");
    }
    let longer = [good.as_bytes(), &[0]].concat();
    assert!(is_not_authentic(wrap.unwrap(&Wrapped(longer), &CONTEXT)));
}

#[test]
fn a_wrapped_key_opens_in_no_other_context() {
    let wrap = wrap_under([1; 32]);
    let wrapped = wrap.wrap(&DataKey::from_bytes([2; 32]), &CONTEXT).unwrap();
    for context in [
        WrapContext { partition: [0x12; 16], ..CONTEXT },
        WrapContext { object_key: b"photos/dog.jpg", ..CONTEXT },
        WrapContext { object_key: b"", ..CONTEXT },
        WrapContext { version: [0x23; 16], ..CONTEXT },
    ] {
        assert!(is_not_authentic(wrap.unwrap(&wrapped, &context)), "{context:?}");
    }
}

#[test]
fn a_wrong_master_key_is_named() {
    let (ours, theirs) = (wrap_under([1; 32]), wrap_under([2; 32]));
    let wrapped = theirs.wrap(&DataKey::from_bytes([3; 32]), &CONTEXT).unwrap();
    let Err(WrapError::WrongMasterKey { wrapped_under, given }) = ours.unwrap(&wrapped, &CONTEXT) else {
        panic!("expected a wrong master key");
    };
    assert_eq!((wrapped_under, given), (theirs.key_id(), ours.key_id()));
}

#[test]
fn a_secret_opens_under_no_other_label() {
    let wrap = wrap_under([1; 32]);
    let envelope = wrap.seal_secret("root secret", b"s").unwrap();
    assert!(is_not_authentic(wrap.open_secret("root secret ", &envelope)));
}

#[test]
fn a_secret_and_a_data_key_never_open_as_each_other() {
    let wrap = wrap_under([1; 32]);
    // The same context bytes, so that the kind alone tells them apart.
    let context = encode_fields(&[b"label"]);
    let secret = wrap.seal(Kind::Secret, &context, &[2; 32], [3; 12]).unwrap();
    assert!(is_not_authentic(wrap.open(Kind::DataKey, &context, &secret)));
}

#[test]
fn any_changed_bit_of_a_secret_is_refused() {
    let wrap = wrap_under([1; 32]);
    let good = wrap.seal_secret("root", b"secret").unwrap();
    for position in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[position / 8] ^= 1 << (position % 8);
        assert!(wrap.open_secret("root", &bad).is_err(), "bit {position}");
    }
}

#[test]
fn a_secret_beyond_the_limit_is_refused() {
    let wrap = wrap_under([1; 32]);
    let longest = vec![0; SECRET_BYTES_MAX];
    let envelope = wrap.seal_secret("root", &longest).unwrap();
    assert_eq!(*wrap.open_secret("root", &envelope).unwrap(), longest);
    assert!(matches!(wrap.seal_secret("root", &[&longest[..], &[0]].concat()), Err(WrapError::TooLong(_))));
}

#[test]
fn an_overlong_envelope_is_refused() {
    assert!(matches!(Wrapped::from_bytes(vec![FORMAT; WRAPPED_BYTES_MAX + 1]), Err(WrapError::Malformed)));
    let overlong = vec![FORMAT; CIPHERTEXT_AT + SECRET_BYTES_MAX + TAG_BYTES + 1];
    assert!(matches!(wrap_under([1; 32]).open_secret("root", &overlong), Err(WrapError::Malformed)));
}

#[test]
fn an_envelope_that_holds_no_whole_key_is_refused() {
    let wrap = wrap_under([1; 32]);
    let envelope = wrap.seal(Kind::DataKey, &CONTEXT.encode(), &[2; 31], [3; 12]).unwrap();
    assert!(matches!(wrap.unwrap(&Wrapped(envelope), &CONTEXT), Err(WrapError::Malformed)));
}

#[test]
fn debug_shows_the_key_id_and_no_key() {
    assert_eq!(format!("{:?}", wrap_under(counting(0x80))), "MasterKeyWrap(9713a7f4cdf4b9d2, redacted)");
}

/// The envelope as the module's comment draws it, opened with another implementation of AES-GCM.
fn open_with_another_implementation(master_key: &[u8; 32], context: &WrapContext<'_>, envelope: &[u8]) -> Vec<u8> {
    let field = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let associated =
        [&envelope[..9], &[1], &field(&context.partition), &field(context.object_key), &field(&context.version)]
            .concat();
    let key = derive::<32>(master_key, b"", b"cairn wrap key 1");
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).unwrap());
    let nonce = OtherNonce::try_assume_unique_for_key(&envelope[9..21]).unwrap();
    let mut buffer = envelope[21..].to_vec();
    key.open_in_place(nonce, Aad::from(associated), &mut buffer).unwrap().to_vec()
}

proptest! {
    #[test]
    fn a_data_key_comes_back(
        master_key: [u8; 32], key: [u8; 32], partition: [u8; 16], object_key: Vec<u8>, version: [u8; 16],
    ) {
        let wrap = wrap_under(master_key);
        let context = WrapContext { partition, object_key: &object_key, version };
        let wrapped = wrap.wrap(&DataKey::from_bytes(key), &context).unwrap();
        let kept = Wrapped::from_bytes(wrapped.as_bytes().to_vec()).unwrap();
        let unwrapped = wrap.unwrap(&kept, &context).unwrap();
        prop_assert_eq!(unwrapped.expose(), &key);
        prop_assert_eq!(open_with_another_implementation(&master_key, &context, kept.as_bytes()), key);
    }

    #[test]
    fn a_secret_comes_back(master_key: [u8; 32], label: String, secret: Vec<u8>) {
        let wrap = wrap_under(master_key);
        let envelope = wrap.seal_secret(&label, &secret).unwrap();
        prop_assert_eq!(&*wrap.open_secret(&label, &envelope).unwrap(), &secret);
    }

    #[test]
    fn arbitrary_bytes_never_open(bytes: Vec<u8>) {
        let wrap = wrap_under([1; 32]);
        prop_assert!(wrap.open_secret("root", &bytes).is_err());
        prop_assert!(wrap.unwrap(&Wrapped(bytes), &CONTEXT).is_err());
    }

    /// The bytes of two lists are equal only if the lists are: cutting the same bytes elsewhere gives another encoding.
    #[test]
    fn the_encoding_of_fields_is_unambiguous(left: Vec<Vec<u8>>, right: Vec<Vec<u8>>) {
        let encode = |fields: &[Vec<u8>]| encode_fields(&fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(encode(&left) == encode(&right), left == right);
    }

    #[test]
    fn moving_bytes_between_fields_changes_the_encoding(bytes: [u8; 12], one in 0..13_usize, two in 0..13_usize) {
        prop_assume!(one != two);
        let at = |cut: usize| encode_fields(&[&bytes[..cut], &bytes[cut..]]);
        prop_assert_ne!(at(one), at(two));
    }
}
