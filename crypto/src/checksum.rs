//! S3's checksums as values: the algorithms, their names and rules, and a checksum itself.
//!
//! Invariant: a [`Checksum`] always has exactly as many bytes as its algorithm gives.
//!
//! It leaves to others: computing them ([`crate::digest`], [`crate::combine`]), header names, and which checksum a
//! request must carry (`server`).

use crate::digest::Hasher;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256, Sha512, Xxhash3, Xxhash64, Xxhash128};

/// Length of the longest digest: SHA-512.
pub const DIGEST_BYTES_MAX: usize = 64;

/// A checksum algorithm of S3 (API reference, `ChecksumAlgorithm`). The numbers are kept on disk: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // The names say all there is.
pub enum ChecksumAlgorithm {
    Crc32 = 1,
    Crc32c = 2,
    Crc64Nvme = 3,
    Sha1 = 4,
    Sha256 = 5,
    Sha512 = 6,
    Md5 = 7,
    Xxhash64 = 8,
    Xxhash3 = 9,
    Xxhash128 = 10,
}

/// What the checksum of a multipart object is computed from (API reference, `ChecksumType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumType {
    /// All the object's bytes, as if it had been uploaded in one piece.
    FullObject,
    /// The checksums of the parts.
    Composite,
}

/// A name that is none of S3's, or a value that is no checksum of its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// No such algorithm.
    #[error("there is no such checksum algorithm")]
    UnknownAlgorithm,
    /// No such type.
    #[error("there is no such checksum type")]
    UnknownType,
    /// The value is not base64, or of another length.
    #[error("the value is not a {} checksum", .0.as_str())]
    Malformed(ChecksumAlgorithm),
}

impl ChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [Crc32, Crc32c, Crc64Nvme, Sha1, Sha256, Sha512, Md5, Xxhash64, Xxhash3, Xxhash128];

    /// S3's name, as in `x-amz-checksum-algorithm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Crc32 => "CRC32",
            Crc32c => "CRC32C",
            Crc64Nvme => "CRC64NVME",
            Sha1 => "SHA1",
            Sha256 => "SHA256",
            Sha512 => "SHA512",
            Md5 => "MD5",
            Xxhash64 => "XXHASH64",
            Xxhash3 => "XXHASH3",
            Xxhash128 => "XXHASH128",
        }
    }

    /// The number that stands for it on disk.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The algorithm that has this number on disk.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.code() == code)
    }

    /// Length of its digest.
    pub fn digest_bytes(self) -> usize {
        match self {
            Crc32 | Crc32c => 4,
            Crc64Nvme | Xxhash64 | Xxhash3 => 8,
            Md5 | Xxhash128 => 16,
            Sha1 => 20,
            Sha256 => 32,
            Sha512 => 64,
        }
    }

    /// Whether a multipart upload may have this checksum with this type (user guide, "Checking object integrity"):
    /// only CRCs can be computed for a whole object from its parts, and CRC64NVME only so.
    pub fn permits(self, checksum_type: ChecksumType) -> bool {
        match checksum_type {
            ChecksumType::FullObject => matches!(self, Crc32 | Crc32c | Crc64Nvme),
            ChecksumType::Composite => self != Crc64Nvme,
        }
    }

    /// The type of a multipart upload that names this algorithm and no type.
    pub fn default_type(self) -> ChecksumType {
        if self.permits(ChecksumType::Composite) { ChecksumType::Composite } else { ChecksumType::FullObject }
    }
}

impl FromStr for ChecksumAlgorithm {
    type Err = ChecksumError;

    /// S3's name, in either case.
    fn from_str(name: &str) -> Result<Self, ChecksumError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
            .ok_or(ChecksumError::UnknownAlgorithm)
    }
}

impl ChecksumType {
    /// S3's name, as in `x-amz-checksum-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

impl FromStr for ChecksumType {
    type Err = ChecksumError;

    fn from_str(name: &str) -> Result<Self, ChecksumError> {
        [Self::FullObject, Self::Composite]
            .into_iter()
            .find(|checksum_type| checksum_type.as_str() == name)
            .ok_or(ChecksumError::UnknownType)
    }
}

/// A checksum: an algorithm and the bytes that it gave. Equality takes the same time wherever two differ.
#[derive(Clone, Copy)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    /// Zeros after the digest.
    padded: [u8; DIGEST_BYTES_MAX],
}

impl Checksum {
    /// The checksum with these raw bytes, which must be as many as `algorithm` gives.
    pub fn from_bytes(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Result<Self, ChecksumError> {
        if bytes.len() != algorithm.digest_bytes() {
            return Err(ChecksumError::Malformed(algorithm));
        }
        Ok(Self::padded(algorithm, bytes))
    }

    /// The checksum with this base64 value, as S3's headers carry it.
    pub fn from_base64(algorithm: ChecksumAlgorithm, value: &str) -> Result<Self, ChecksumError> {
        let mut bytes = [0; DIGEST_BYTES_MAX];
        let length = BASE64.decode_slice(value, &mut bytes).map_err(|_| ChecksumError::Malformed(algorithm))?;
        Self::from_bytes(algorithm, &bytes[..length])
    }

    /// The checksum of `bytes`.
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// What gave it.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Its raw bytes; integers are big endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.padded[..self.algorithm.digest_bytes()]
    }

    /// Its value as S3's headers carry it.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.as_bytes())
    }

    /// `bytes` must be no longer than the longest digest.
    pub(crate) fn padded(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        let mut padded = [0; DIGEST_BYTES_MAX];
        padded[..bytes.len()].copy_from_slice(bytes);
        Self { algorithm, padded }
    }
}

impl PartialEq for Checksum {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for Checksum {}

impl fmt::Debug for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.as_str(), self.to_base64())
    }
}

#[cfg(test)]
mod tests;
