//! CRC-64/NVME: the checksum of headers and rows on disk, and of S3's `CRC64NVME`.
//!
//! It finds damage, not forgery: against a forger there is [`crate::seal`].

use crc_fast::CrcAlgorithm::Crc64Nvme;

/// The CRC-64/NVME of the parts one after another.
pub fn crc64(parts: &[&[u8]]) -> u64 {
    let mut crc = Crc64::new();
    for part in parts {
        crc.update(part);
    }
    crc.finish()
}

/// A CRC-64/NVME in progress.
#[derive(Clone, Copy, Debug)]
pub struct Crc64(crc_fast::Digest);

impl Crc64 {
    /// The checksum of nothing yet.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(Crc64Nvme))
    }

    /// Continues over `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The polynomial of the NVM Command Set specification, reflected.
    const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;

    /// The definition, bit by bit.
    fn crc64_by_definition(bytes: &[u8]) -> u64 {
        let mut crc = u64::MAX;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            }
        }
        !crc
    }

    #[test]
    fn the_catalogue_s_check_value() {
        assert_eq!(crc64(&[b"123456789"]), 0xae8b_1486_0a79_9888);
        assert_eq!(crc64_by_definition(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn vectors_of_the_nvm_command_set_specification() {
        assert_eq!(crc64(&[&[0x00; 4096]]), 0x6482_d367_eb22_b64e);
        assert_eq!(crc64(&[&[0xff; 4096]]), 0xc0dd_ba73_02ec_a3ac);
    }

    #[test]
    fn nothing_has_crc_zero() {
        assert_eq!(crc64(&[]), 0);
        assert_eq!(crc64(&[b"", b""]), 0);
    }

    proptest! {
        #[test]
        fn any_division_into_parts_gives_the_crc_of_the_whole(parts: Vec<Vec<u8>>) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(crc64(&slices), crc64_by_definition(&parts.concat()));
        }

        /// Long enough for each of the wide code paths, which short inputs never reach.
        #[test]
        fn long_inputs_agree_with_the_definition(
            bytes in prop::collection::vec(any::<u8>(), 0..5000), cut: prop::sample::Index,
        ) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc64(&[head, tail]), crc64_by_definition(&bytes));
        }
    }
}
