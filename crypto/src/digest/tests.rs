#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn hex_of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    hex::encode(Checksum::of(algorithm, bytes).as_bytes())
}

/// The CRC catalogue's check values.
#[test]
fn crcs_give_their_check_values() {
    assert_eq!(hex_of(Crc32, b"123456789"), "cbf43926");
    assert_eq!(hex_of(Crc32c, b"123456789"), "e3069283");
    assert_eq!(hex_of(Crc64Nvme, b"123456789"), "ae8b14860a799888");
}

/// RFC 3720, B.4: CRC32C of 32 bytes, printed there in the order of transmission.
#[test]
fn crc32c_gives_the_vectors_of_rfc_3720() {
    assert_eq!(hex_of(Crc32c, &[0; 32]), "8a9136aa");
    assert_eq!(hex_of(Crc32c, &[0xff; 32]), "62a8ab43");
    assert_eq!(hex_of(Crc32c, &(0..32).collect::<Vec<u8>>()), "46dd794e");
    assert_eq!(hex_of(Crc32c, &(0..32).rev().collect::<Vec<u8>>()), "113fdb5c");
}

/// FIPS 180-4's examples.
#[test]
fn sha_gives_the_published_examples() {
    assert_eq!(hex_of(Sha1, b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(hex_of(Sha256, b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(
        hex_of(Sha512, b"abc"),
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    );
    let million = vec![b'a'; 1_000_000];
    assert_eq!(hex_of(Sha1, &million), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    assert_eq!(hex_of(Sha256, &million), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/// RFC 1321, A.5.
#[test]
fn md5_gives_the_vectors_of_rfc_1321() {
    assert_eq!(hex_of(Md5, b""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(hex_of(Md5, b"abc"), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(hex_of(Md5, b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    assert_eq!(hex_of(Md5, &b"1234567890".repeat(8)), "57edf4a22be3c955ac49da2e2107b67a");
}

/// As `xxhsum` prints them: big endian, the canonical form.
#[test]
fn xxhash_gives_the_canonical_values() {
    assert_eq!(hex_of(Xxhash64, b""), "ef46db3751d8e999");
    assert_eq!(hex_of(Xxhash64, b"abc"), "44bc2cf5ad770999");
    assert_eq!(hex_of(Xxhash3, b""), "2d06800538d394c2");
    assert_eq!(hex_of(Xxhash3, b"abc"), "78af5f94892f3950");
    assert_eq!(hex_of(Xxhash128, b""), "99aa06d3014798d86001c324468d497f");
    assert_eq!(hex_of(Xxhash128, b"abc"), "06b05ab6733a618578af5f94892f3950");
}

#[test]
fn nothing_asked_for_gives_nothing() {
    let mut digests = Digests::new(false, []);
    digests.update(b"body");
    assert_eq!(digests.finish(), Finished { md5: None, checksums: vec![] });
}

#[test]
fn checksums_come_in_the_order_asked_for_and_once_each() {
    let mut digests = Digests::new(true, [Sha256, Crc32, Sha256, Crc64Nvme, Crc32]);
    digests.update(b"body");
    let finished = digests.finish();
    assert_eq!(finished.checksums, [Sha256, Crc32, Crc64Nvme].map(|algorithm| Checksum::of(algorithm, b"body")));
    assert_eq!(&finished.md5.unwrap()[..], Checksum::of(Md5, b"body").as_bytes());
}

#[test]
fn md5_can_be_asked_for_as_etag_as_checksum_and_as_both() {
    let check = |etag, algorithms: &[ChecksumAlgorithm]| {
        let mut digests = Digests::new(etag, algorithms.iter().copied());
        digests.update(b"abc");
        let expected = Checksum::of(Md5, b"abc");
        let finished = digests.finish();
        assert_eq!(finished.md5.as_ref().map(|md5| &md5[..]), etag.then_some(expected.as_bytes()));
        assert_eq!(finished.checksums, vec![expected; algorithms.len()]);
    };
    check(true, &[]);
    check(false, &[Md5]);
    check(true, &[Md5]);
}

#[test]
fn each_algorithm_is_computed_once() {
    assert_eq!(Digests::new(true, [Md5, Crc32, Md5, Crc32]).hashers.len(), 2);
}

#[test]
fn a_body_beyond_one_piece_is_digested_whole() {
    let body: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|i| (i * i) as u8).collect();
    let mut digests = Digests::new(true, ChecksumAlgorithm::ALL);
    digests.update(&body);
    let expected = ChecksumAlgorithm::ALL.map(|algorithm| Checksum::of(algorithm, &body));
    assert_eq!(digests.finish().checksums, expected);
}

proptest! {
    #[test]
    fn any_division_into_updates_gives_the_digests_of_the_whole(body: Vec<Vec<u8>>) {
        let mut digests = Digests::new(true, ChecksumAlgorithm::ALL);
        for slice in &body {
            digests.update(slice);
        }
        let whole = body.concat();
        let finished = digests.finish();
        prop_assert_eq!(finished.checksums, ChecksumAlgorithm::ALL.map(|algorithm| Checksum::of(algorithm, &whole)));
        let md5 = Checksum::of(Md5, &whole);
        prop_assert_eq!(&finished.md5.unwrap()[..], md5.as_bytes());
    }
}
