#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

#[test]
fn names_and_codes_lead_back_to_their_algorithm() {
    for algorithm in ChecksumAlgorithm::ALL {
        assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        assert_eq!(algorithm.as_str().to_ascii_lowercase().parse(), Ok(algorithm));
        assert_eq!(ChecksumAlgorithm::from_code(algorithm.code()), Some(algorithm));
    }
}

/// They are kept on disk.
#[test]
fn codes_stay_as_they_are() {
    assert_eq!(ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::code), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!((Crc32.code(), Crc64Nvme.code(), Sha256.code(), Xxhash128.code()), (1, 3, 5, 10));
}

#[test]
fn unknown_names_and_codes_are_refused() {
    for name in ["", "CRC", "CRC32 ", "CRC-32", "SHA384", "CRC64"] {
        assert_eq!(name.parse::<ChecksumAlgorithm>(), Err(ChecksumError::UnknownAlgorithm), "{name:?}");
    }
    assert_eq!(ChecksumAlgorithm::from_code(0), None);
    assert_eq!(ChecksumAlgorithm::from_code(11), None);
}

#[test]
fn type_names_lead_back_to_their_type() {
    for checksum_type in [ChecksumType::FullObject, ChecksumType::Composite] {
        assert_eq!(checksum_type.as_str().parse(), Ok(checksum_type));
    }
    assert_eq!("FULL".parse::<ChecksumType>(), Err(ChecksumError::UnknownType));
}

/// The table of the user guide: algorithm, FULL_OBJECT, COMPOSITE, default.
#[test]
fn multipart_types_are_those_that_s3_permits() {
    use ChecksumType::{Composite, FullObject};
    for (algorithm, full_object, composite, default) in [
        (Crc32, true, true, Composite),
        (Crc32c, true, true, Composite),
        (Crc64Nvme, true, false, FullObject),
        (Sha1, false, true, Composite),
        (Sha256, false, true, Composite),
        (Sha512, false, true, Composite),
        (Md5, false, true, Composite),
        (Xxhash64, false, true, Composite),
        (Xxhash3, false, true, Composite),
        (Xxhash128, false, true, Composite),
    ] {
        assert_eq!(algorithm.permits(FullObject), full_object, "{algorithm:?}");
        assert_eq!(algorithm.permits(Composite), composite, "{algorithm:?}");
        assert_eq!(algorithm.default_type(), default, "{algorithm:?}");
    }
}

#[test]
fn values_that_are_no_checksum_are_refused() {
    for value in ["", "AAAA", "AAAAAAA=", "AAAAAA", "AAAAAA=", "AAAAAB==", "AAAA AA=", "!!!!!!==", &"A".repeat(10_000)]
    {
        assert_eq!(Checksum::from_base64(Crc32, value), Err(ChecksumError::Malformed(Crc32)), "{value:?}");
    }
    assert_eq!(Checksum::from_bytes(Crc32, &[0; 3]), Err(ChecksumError::Malformed(Crc32)));
    assert_eq!(Checksum::from_bytes(Crc32, &[0; 5]), Err(ChecksumError::Malformed(Crc32)));
}

#[test]
fn equal_bytes_of_two_algorithms_are_not_equal_checksums() {
    let of = |algorithm| Checksum::from_bytes(algorithm, &[0; 4]).unwrap();
    assert_eq!(of(Crc32), of(Crc32));
    assert_ne!(of(Crc32), of(Crc32c));
}

#[test]
fn debug_shows_algorithm_and_value() {
    assert_eq!(format!("{:?}", Checksum::of(Crc32, b"123456789")), "CRC32:y/Q5Jg==");
}

proptest! {
    #[test]
    fn a_value_comes_back_from_base64_and_bytes(which in 0..10_usize, body: Vec<u8>) {
        let algorithm = ChecksumAlgorithm::ALL[which];
        let checksum = Checksum::of(algorithm, &body);
        prop_assert_eq!(checksum.as_bytes().len(), algorithm.digest_bytes());
        prop_assert_eq!(Checksum::from_base64(algorithm, &checksum.to_base64()), Ok(checksum));
        prop_assert_eq!(Checksum::from_bytes(algorithm, checksum.as_bytes()), Ok(checksum));
    }

    #[test]
    fn arbitrary_values_never_panic(which in 0..10_usize, value: String) {
        let _ = Checksum::from_base64(ChecksumAlgorithm::ALL[which], &value);
    }
}
