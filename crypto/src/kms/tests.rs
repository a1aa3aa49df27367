#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::samples::counting;

const NAME: KmsKeyName<'static> = KmsKeyName { account: 123_456_789_012, id: "testkey-1" };

/// How many changed blobs are tried.
const MUTATIONS: u32 = 100_000;

fn ring(versions: &[[u8; 32]]) -> Keyring {
    Keyring::new(versions.iter().copied().map(StoreKey::from_bytes).collect()).unwrap()
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

fn of_object() -> EncryptionContext {
    context(&[("team", "red"), ("aws:s3:arn", "arn:aws:s3:::b/k")])
}

fn opened(ring: &Keyring, blob: &[u8], context: &EncryptionContext) -> Result<Vec<u8>, WrapError> {
    ring.decrypt(&KmsBlob::parse(blob)?, context).map(|plaintext| plaintext.to_vec())
}

/// Made once with Python's `cryptography` from the format's description. A change here makes every blob unreadable.
#[test]
fn format_4_stays_as_it_was_first_written() {
    let ring = ring(&[counting(0x80)]);
    let plaintext: [u8; 32] = counting(0);
    let blob = ring.encrypt_with(NAME, &plaintext, &of_object(), &counting(0xa0), counting(0xc0)).unwrap();
    assert_eq!(
        hex::encode(&blob),
        "04000000001cbe991a1409746573746b65792d31c5cffc1a45d8fd4aa0a1a2a3a4a5a6a7a8a9aaabacadaeafc0c1c2c3c4c5c6c7c8c9cacbae6ea85c81fc7b691a3fbcab3af9dea6f4c0c002dab0972c2c81f0c01d7bec8eb8aa0e307eef8342516aa15bff11f99a"
    );
    assert_eq!(KmsBlob::parse(&blob).unwrap().key, NAME);
    assert_eq!(opened(&ring, &blob, &of_object()).unwrap(), plaintext);
}

#[test]
fn the_newest_version_encrypts_and_every_version_decrypts_its_own() {
    let old = ring(&[[1; 32]]).encrypt(NAME, b"old", &of_object()).unwrap();
    let rotated = ring(&[[1; 32], [2; 32]]);
    let new = rotated.encrypt(NAME, b"new", &of_object()).unwrap();
    assert_eq!(opened(&rotated, &old, &of_object()).unwrap(), b"old");
    assert_eq!(opened(&rotated, &new, &of_object()).unwrap(), b"new");
    assert!(matches!(opened(&ring(&[[1; 32]]), &new, &of_object()), Err(WrapError::UnknownKey(_))));
}

#[test]
fn a_blob_opens_with_no_other_context() {
    let ring = ring(&[[1; 32]]);
    let blob = ring.encrypt(NAME, b"secret", &of_object()).unwrap();
    for other in [
        context(&[]),
        context(&[("team", "red")]),
        context(&[("team", "Red"), ("aws:s3:arn", "arn:aws:s3:::b/k")]),
        context(&[("team", "red"), ("aws:s3:arn", "arn:aws:s3:::b/k"), ("", "")]),
        context(&[("teamred", ""), ("aws:s3:arn", "arn:aws:s3:::b/k")]),
    ] {
        assert!(matches!(opened(&ring, &blob, &other), Err(WrapError::NotAuthentic)), "{other:?}");
    }
}

#[test]
fn the_order_of_a_context_does_not_count_and_its_borders_do() {
    let pairs = [("a", "b"), ("c", "d")];
    assert_eq!(context(&pairs).canonical(), context(&[pairs[1], pairs[0]]).canonical());
    assert_ne!(context(&[("a", "bc")]).canonical(), context(&[("ab", "c")]).canonical());
    assert_ne!(context(&[("a", "b")]).canonical(), context(&[("a", "b"), ("", "")]).canonical());
    assert!(context(&pairs).contains(&context(&[("c", "d")])));
    assert!(!context(&pairs).contains(&context(&[("c", "e")])));
}

#[test]
fn what_is_too_long_is_refused() {
    let ring = ring(&[[1; 32]]);
    let empty = EncryptionContext::default();
    let most = ring.encrypt(KmsKeyName { id: &"k".repeat(128), ..NAME }, &[7; PLAINTEXT_BYTES_MAX], &empty).unwrap();
    assert!(most.len() <= BLOB_BYTES_MAX);
    assert_eq!(opened(&ring, &most, &empty).unwrap(), [7; PLAINTEXT_BYTES_MAX]);
    assert!(matches!(ring.encrypt(NAME, &[7; PLAINTEXT_BYTES_MAX + 1], &empty), Err(WrapError::TooLong(_))));
    for id in ["", &"k".repeat(129)] {
        assert!(matches!(ring.encrypt(KmsKeyName { id, ..NAME }, b"", &empty), Err(WrapError::Malformed)));
    }
    let pair = |bytes| [("n".to_owned(), "v".repeat(bytes))];
    assert!(EncryptionContext::from_pairs(pair(CONTEXT_BYTES_MAX - 1)).is_ok());
    assert_eq!(EncryptionContext::from_pairs(pair(CONTEXT_BYTES_MAX)), Err(ContextTooLong));
    assert!(matches!(KmsBlob::parse(&[FORMAT; BLOB_BYTES_MAX + 1]), Err(WrapError::Malformed)));
}

#[test]
fn an_external_key_gets_name_and_context_and_gives_the_rest() {
    let associated_data = external_associated_data(NAME, &of_object()).unwrap();
    let blob = external_blob(NAME, b"vault:v1:xyz").unwrap();
    let parsed = KmsBlob::parse(&blob).unwrap();
    assert_eq!(parsed.key, NAME);
    assert_eq!(parsed.external(&of_object()), Some((&b"vault:v1:xyz"[..], associated_data.clone())));
    assert_ne!(parsed.external(&context(&[])).unwrap().1, associated_data);
    assert!(matches!(ring(&[[1; 32]]).decrypt(&parsed, &of_object()), Err(WrapError::Malformed)));
    assert!(external_blob(NAME, &[0; BLOB_BYTES_MAX]).is_err());
}

/// Changed bits, cuts, additions, and parts of other blobs of the same keys.
#[test]
fn no_changed_blob_opens() {
    let ring = ring(&[[1; 32], [2; 32]]);
    let blobs: Vec<Vec<u8>> = [&b"one"[..], b"two", &[7; 32]]
        .iter()
        .map(|plaintext| ring.encrypt(NAME, plaintext, &of_object()).unwrap())
        .collect();
    let mut state = 1_u64;
    let mut dice = move |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % sides
    };
    for mutation in 0..MUTATIONS {
        let good = &blobs[dice(blobs.len())];
        let mut bad = good.clone();
        match dice(4) {
            0 => bad[dice(good.len())] ^= 1 << dice(8),
            1 => bad.truncate(dice(good.len())),
            2 => bad.insert(dice(good.len() + 1), dice(256) as u8),
            _ => {
                let at = dice(good.len());
                let other = &blobs[dice(blobs.len())];
                bad = [&good[..at], &other[at.min(other.len())..]].concat();
            }
        }
        if blobs.contains(&bad) {
            continue;
        }
        assert!(opened(&ring, &bad, &of_object()).is_err(), "mutation {mutation}");
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let ring = ring(&[[1; 32]]);
        prop_assert!(opened(&ring, &bytes, &EncryptionContext::default()).is_err());
    }
}
