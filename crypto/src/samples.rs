//! What the tests of several modules know alike.

use crate::wrap::WrapContext;

/// What a data key may be wrapped for.
pub(crate) const CONTEXT: WrapContext<'static> =
    WrapContext { partition: [0x11; 16], object_key: b"photos/cat.jpg", version: [0x22; 16] };

/// Bytes that count up.
pub(crate) fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first + index as u8)
}

/// Test cases 13, 14 and 16 of "The Galois/Counter Mode of Operation" (McGrew and Viega), as submitted to NIST. `seal` is given key,
/// nonce, associated data and plaintext, encrypts in place, and answers the tag.
pub(crate) fn check_published_gcm_vectors<Tag: AsRef<[u8]>>(
    seal: impl Fn([u8; 32], [u8; 12], &[u8], &mut [u8]) -> Tag,
) {
    let decode = |text: &str| hex::decode(text).expect("they are in hexadecimal");
    let check = |key: &str, nonce: &str, aad: &str, plaintext: &str, ciphertext: &str, tag: &str| {
        let (key, nonce) = (decode(key).try_into(), decode(nonce).try_into());
        let mut bytes = decode(plaintext);
        let got = seal(key.expect("32 bytes"), nonce.expect("12 bytes"), &decode(aad), &mut bytes);
        assert_eq!((hex::encode(bytes), hex::encode(got)), (ciphertext.to_owned(), tag.to_owned()));
    };
    let zeros = |length: usize| "00".repeat(length);
    check(&zeros(32), &zeros(12), "", "", "", "530f8afbc74536b9a963b4f1c4cb738b");
    check(
        &zeros(32),
        &zeros(12),
        "",
        &zeros(16),
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    );
    check(
        &"feffe9928665731c6d6a8f9467308308".repeat(2),
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    );
}
