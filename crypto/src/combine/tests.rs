#![allow(clippy::unwrap_used)]

use super::*;
use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use crc_fast::CrcAlgorithm;
use proptest::prelude::*;

const CRCS: [ChecksumAlgorithm; 3] = [Crc32, Crc32c, Crc64Nvme];

fn parts_of(algorithm: ChecksumAlgorithm, parts: &[Vec<u8>]) -> Vec<(Checksum, u64)> {
    parts.iter().map(|part| (Checksum::of(algorithm, part), part.len() as u64)).collect()
}

/// The catalogue's check string, cut in two: each CRC of the whole is a published value.
#[test]
fn full_object_gives_the_published_check_values() {
    for (algorithm, expected) in [(Crc32, "cbf43926"), (Crc32c, "e3069283"), (Crc64Nvme, "ae8b14860a799888")] {
        let parts = parts_of(algorithm, &[b"1234".to_vec(), b"56789".to_vec()]);
        assert_eq!(hex::encode(full_object(algorithm, parts).unwrap().as_bytes()), expected, "{algorithm:?}");
    }
}

#[test]
fn full_object_of_no_parts_is_that_of_no_bytes() {
    for algorithm in CRCS {
        assert_eq!(full_object(algorithm, []).unwrap(), Checksum::of(algorithm, b""));
    }
}

#[test]
fn full_object_is_refused_for_what_is_no_crc() {
    for algorithm in ChecksumAlgorithm::ALL {
        let expected = if CRCS.contains(&algorithm) {
            Ok(Checksum::of(algorithm, b""))
        } else {
            Err(CombineError::NotPermitted(algorithm, ChecksumType::FullObject))
        };
        assert_eq!(full_object(algorithm, []), expected);
    }
}

#[test]
fn composite_is_refused_for_crc64nvme_alone() {
    for algorithm in ChecksumAlgorithm::ALL {
        let refused = Err(CombineError::NotPermitted(algorithm, ChecksumType::Composite));
        assert_eq!(composite(algorithm, []) == refused, algorithm == Crc64Nvme);
    }
}

#[test]
fn a_part_with_another_algorithm_is_refused() {
    let error = CombineError::OtherAlgorithm { expected: Crc32, found: Crc32c };
    assert_eq!(full_object(Crc32, [(Checksum::of(Crc32c, b"part"), 4)]), Err(error.clone()));
    assert_eq!(composite(Crc32, [Checksum::of(Crc32c, b"part")]), Err(error));
}

/// Two parts, `"a" * 5 MiB` and `"b"`; expected values from Python's `hashlib` and `zlib`.
#[test]
fn two_parts_give_what_another_implementation_gives() {
    let parts = [vec![b'a'; 5 << 20], b"b".to_vec()];
    let of = |algorithm| composite(algorithm, parts.iter().map(|part| Checksum::of(algorithm, part))).unwrap();
    assert_eq!(of(Crc32).to_base64(), "dYPmEQ==");
    assert_eq!(of(Sha1).to_base64(), "6tQrb5UfMOI7nbrrtGcqdpRvM6M=");
    assert_eq!(of(Sha256).to_base64(), "tfmzeY9XeH2OXmxrtS4iDWlNIKUTAFv0/csHs2lsoD8=");
    assert_eq!(full_object(Crc32, parts_of(Crc32, &parts)).unwrap().to_base64(), "rBxv8Q==");
    let md5s = parts.iter().map(|part| Checksum::of(Md5, part).as_bytes().try_into().unwrap());
    assert_eq!(hex::encode(multipart_etag(md5s)), "e5a8c5272b26fc10581a21089559b006");
}

proptest! {
    #[test]
    fn full_object_is_the_checksum_of_the_whole(parts: Vec<Vec<u8>>, which in 0..3_usize) {
        let algorithm = CRCS[which];
        let combined = full_object(algorithm, parts_of(algorithm, &parts)).unwrap();
        prop_assert_eq!(combined, Checksum::of(algorithm, &parts.concat()));
    }

    /// Lengths that no test can digest: any is possible for a combination.
    #[test]
    fn full_object_agrees_with_another_implementation(one: u64, two: u64, length_bytes: u64) {
        for (algorithm, other) in [
            (Crc32, CrcAlgorithm::Crc32IsoHdlc),
            (Crc32c, CrcAlgorithm::Crc32Iscsi),
            (Crc64Nvme, CrcAlgorithm::Crc64Nvme),
        ] {
            let cut = 64 - 8 * algorithm.digest_bytes() as u32;
            let (one, two) = (one >> cut, two >> cut);
            let of = |crc: u64| Checksum::from_bytes(algorithm, &crc.to_be_bytes()[cut as usize / 8..]).unwrap();
            prop_assert_eq!(
                full_object(algorithm, [(of(one), 1), (of(two), length_bytes)]).unwrap(),
                of(crc_fast::checksum_combine(other, one, two, length_bytes))
            );
        }
    }

    #[test]
    fn composite_is_the_checksum_of_the_raw_checksums(parts: Vec<Vec<u8>>, which in 0..10_usize) {
        let algorithm = ChecksumAlgorithm::ALL[which];
        prop_assume!(algorithm != Crc64Nvme);
        let checksums: Vec<Checksum> = parts.iter().map(|part| Checksum::of(algorithm, part)).collect();
        let raw: Vec<u8> = checksums.iter().flat_map(|checksum| checksum.as_bytes().to_vec()).collect();
        prop_assert_eq!(composite(algorithm, checksums).unwrap(), Checksum::of(algorithm, &raw));
    }

    #[test]
    fn the_multipart_etag_is_the_md5_of_the_md5s(parts: Vec<[u8; 16]>) {
        let expected = Checksum::of(Md5, &parts.concat());
        prop_assert_eq!(&multipart_etag(parts)[..], expected.as_bytes());
    }
}
