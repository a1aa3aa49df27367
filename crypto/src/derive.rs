//! Key derivation: HKDF-SHA256 (RFC 5869), the one way in which this crate makes a key from a key.
//!
//! Every use has its own `info` label with a number at its end, so that no two purposes ever share a key and a changed
//! format gets a new label.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

/// Derives `N` bytes from `secret`. The same inputs always give the same bytes.
pub(crate) fn derive<const N: usize>(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 ends at 255 blocks") };
    let mut derived = Zeroizing::new([0; N]);
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], Length(N))
        .and_then(|output| output.fill(derived.as_mut_slice()))
        .expect("the length is within HKDF's limit and equals the buffer's");
    derived
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// RFC 5869, appendix A: input key, salt, info, output.
    fn check<const N: usize>(secret: &str, salt: &str, info: &str, output: &str) {
        let [secret, salt, info] = [secret, salt, info].map(|text| hex::decode(text).unwrap());
        assert_eq!(hex::encode(*derive::<N>(&secret, &salt, &info)), output);
    }

    #[test]
    fn rfc_5869_case_1() {
        check::<42>(
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        );
    }

    #[test]
    fn rfc_5869_case_2_longer_inputs() {
        let bytes = |first: u8, last: u8| hex::encode((first..=last).collect::<Vec<u8>>());
        check::<82>(
            &bytes(0x00, 0x4f),
            &bytes(0x60, 0xaf),
            &bytes(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        );
    }

    #[test]
    fn rfc_5869_case_3_no_salt_and_no_info() {
        check::<42>(
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        );
    }
}
