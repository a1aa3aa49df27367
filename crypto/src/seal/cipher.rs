//! AES-256-GCM by the one of two libraries that is faster on this processor. They do the same, byte for byte.
//!
//! AWS-LC is ahead where there is AVX-512. Where a processor has wide AES instructions (VAES) without that, it uses the narrow ones only,
//! and ring takes half its time: on Zen 3, chunks open at 7.5 GB/s instead of 4.0.

use aws_lc_rs::aead as aws_lc;
use ring::aead as of_ring;
use std::hint::black_box;

use super::TAG_BYTES;

/// How long a nonce is.
pub(super) const NONCE_BYTES: usize = 12;

/// A key in use.
pub(super) enum Cipher {
    AwsLc(aws_lc::LessSafeKey),
    /// In a place of its own, which is written over in the end.
    Ring(Box<of_ring::LessSafeKey>),
}

impl Cipher {
    /// With the faster library.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        if ring_is_faster() { Self::of_ring(key) } else { Self::of_aws_lc(key) }
    }

    pub(super) fn of_aws_lc(key: &[u8; 32]) -> Self {
        let key = aws_lc::UnboundKey::new(&aws_lc::AES_256_GCM, key).expect("an AES-256 key has 32 bytes");
        Self::AwsLc(aws_lc::LessSafeKey::new(key))
    }

    pub(super) fn of_ring(key: &[u8; 32]) -> Self {
        Self::Ring(Box::new(ring_key(key)))
    }

    /// Encrypts in place and gives the tag. None: it is too long for one nonce.
    pub(super) fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], bytes: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, aws_lc::Aad::from(aad), bytes).ok()?;
                tag.as_ref().try_into()
            }
            Self::Ring(key) => {
                let nonce = of_ring::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, of_ring::Aad::from(aad), bytes).ok()?;
                tag.as_ref().try_into()
            }
        };
        tag.ok()
    }

    /// Decrypts in place what has its tag behind it, and gives the plaintext. None: it is not authentic.
    pub(super) fn open<'a>(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        match self {
            Self::AwsLc(key) => {
                let nonce = aws_lc::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, aws_lc::Aad::from(aad), sealed).ok()
            }
            Self::Ring(key) => {
                let nonce = of_ring::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, of_ring::Aad::from(aad), sealed).ok()
            }
        }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // AWS-LC clears its memory itself.
        if let Self::Ring(key) = self {
            **key = ring_key(&[0; 32]);
            black_box(&**key);
        }
    }
}

fn ring_key(key: &[u8; 32]) -> of_ring::LessSafeKey {
    let key = of_ring::UnboundKey::new(&of_ring::AES_256_GCM, key).expect("an AES-256 key has 32 bytes");
    of_ring::LessSafeKey::new(key)
}

fn ring_is_faster() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq");
        wide && is_x86_feature_detected!("avx2") && !is_x86_feature_detected!("avx512bw")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn either_library_opens_what_the_other_seals_and_nothing_else() {
        let both = || [Cipher::of_aws_lc(&[7; 32]), Cipher::of_ring(&[7; 32])];
        let (nonce, aad) = ([3; NONCE_BYTES], b"about it");
        for length in [0, 1, 15, 16, 17, 255, 256, 257, 4_096, 65_536, 70_001] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sealed = both().map(|cipher| {
                let mut bytes = plain.clone();
                let tag = cipher.seal(nonce, aad, &mut bytes).unwrap();
                bytes.extend(tag);
                bytes
            });
            assert!(sealed[0] == sealed[1], "{length}");
            for cipher in both() {
                assert!(*cipher.open(nonce, aad, &mut sealed[0].clone()).unwrap() == plain, "{length}");
                assert!(cipher.open([4; NONCE_BYTES], aad, &mut sealed[0].clone()).is_none());
                assert!(cipher.open(nonce, b"about that", &mut sealed[0].clone()).is_none());
                let mut changed = sealed[0].clone();
                changed[length / 2] ^= 1;
                assert!(cipher.open(nonce, aad, &mut changed).is_none());
            }
        }
    }
}
