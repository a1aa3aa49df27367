//! The checksum and ETag of a multipart object, computed from those of its parts without reading a byte of them.
//!
//! A CRC is the remainder of the bytes, taken as a polynomial over GF(2), modulo the CRC's polynomial. So the CRC of
//! `A` followed by `B` is `crc(A) * x^(8 * length of B) + crc(B)`; the inversions before and after cancel out. Squaring
//! makes all the powers that any length needs once for all parts: 10,000 parts take milliseconds, where a combination
//! that starts anew for each of them (`crc-fast` has one) takes seconds.
//!
//! It leaves to others: the order of the parts, which is the caller's, and the `-N` (the number of parts) that S3
//! writes after an ETag or a COMPOSITE checksum.

use crate::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use crate::digest::Hasher;
use md5::{Digest, Md5};

/// Why parts have no common checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// S3 does not define this type of checksum for this algorithm.
    #[error("{} has no checksum of the type {}", .0.as_str(), .1.as_str())]
    NotPermitted(ChecksumAlgorithm, ChecksumType),
    /// A part's checksum is of another algorithm.
    #[error("a part has a {} checksum where {} is asked for", .found.as_str(), .expected.as_str())]
    OtherAlgorithm {
        /// What was to be computed.
        expected: ChecksumAlgorithm,
        /// What a part has.
        found: ChecksumAlgorithm,
    },
}

/// FULL_OBJECT: the checksum of the parts' bytes one after another. Each part is its checksum and its length in bytes.
pub fn full_object(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = (Checksum, u64)>,
) -> Result<Checksum, CombineError> {
    let powers = match algorithm {
        ChecksumAlgorithm::Crc32 => BytePowers::new(32, 0xedb8_8320),
        ChecksumAlgorithm::Crc32c => BytePowers::new(32, 0x82f6_3b78),
        ChecksumAlgorithm::Crc64Nvme => BytePowers::new(64, 0x9a6c_9329_ac4b_c9b5),
        _ => {
            return Err(CombineError::NotPermitted(algorithm, ChecksumType::FullObject));
        }
    };
    let mut whole = 0; // Each of the three gives 0 for no bytes.
    for (part, length_bytes) in parts {
        verify_algorithm(algorithm, &part)?;
        whole = powers.shift(whole, length_bytes) ^ integer(part.as_bytes());
    }
    Ok(Checksum::padded(algorithm, &whole.to_be_bytes()[8 - algorithm.digest_bytes()..]))
}

/// COMPOSITE: the checksum of the parts' raw checksums one after another.
pub fn composite(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = Checksum>,
) -> Result<Checksum, CombineError> {
    if !algorithm.permits(ChecksumType::Composite) {
        return Err(CombineError::NotPermitted(algorithm, ChecksumType::Composite));
    }
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        verify_algorithm(algorithm, &part)?;
        hasher.update(part.as_bytes());
    }
    Ok(hasher.finish())
}

/// The ETag of a multipart object, before its `-N`: the MD5 of the parts' ETags one after another.
pub fn multipart_etag(parts: impl IntoIterator<Item = [u8; 16]>) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    md5.finalize().into()
}

fn verify_algorithm(expected: ChecksumAlgorithm, part: &Checksum) -> Result<(), CombineError> {
    let found = part.algorithm();
    if found == expected { Ok(()) } else { Err(CombineError::OtherAlgorithm { expected, found }) }
}

/// Powers of x modulo the polynomial of one CRC. Polynomials are reflected, as the CRCs are: the highest bit is x^0.
struct BytePowers {
    width: u32,
    polynomial: u64,
    /// `x^(8 * 2^k)` at `k`: multiplying by it appends 2^k zero bytes.
    squares: [u64; 64],
}

impl BytePowers {
    fn new(width: u32, polynomial: u64) -> Self {
        let mut powers = Self { width, polynomial, squares: [0; 64] };
        let mut square = 1 << (width - 1 - 8);
        for k in 0..64 {
            powers.squares[k] = square;
            square = powers.multiply(square, square);
        }
        powers
    }

    /// `crc` multiplied by `x^(8 * length_bytes)`.
    fn shift(&self, crc: u64, length_bytes: u64) -> u64 {
        (0..64).filter(|k| length_bytes >> k & 1 == 1).fold(crc, |shifted, k| self.multiply(shifted, self.squares[k]))
    }

    fn multiply(&self, left: u64, mut right: u64) -> u64 {
        let mut product = 0;
        for bit in (0..self.width).rev() {
            product ^= right * (left >> bit & 1);
            right = (right >> 1) ^ (self.polynomial * (right & 1)); // times x
        }
        product
    }
}

/// A CRC's bytes as a number.
fn integer(big_endian: &[u8]) -> u64 {
    big_endian.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
