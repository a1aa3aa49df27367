//! Digests of a body: the checksums that S3 clients ask for and the MD5 of the ETag, computed in one pass.
//!
//! Invariant: a [`Digests`] computes each algorithm once, however often it is asked for.
//!
//! It leaves to others: what a checksum is ([`crate::checksum`]) and the checksums of multipart objects
//! ([`crate::combine`]).

use crate::checksum::Checksum;
use crate::checksum::ChecksumAlgorithm::{
    self, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256, Sha512, Xxhash3, Xxhash64, Xxhash128,
};
use crc_fast::CrcAlgorithm;
use sha2::digest::Digest as _;
use std::fmt;
use std::hash::Hasher as _;
use twox_hash::{XxHash3_64, XxHash3_128, XxHash64};

/// A body is handed to one hasher after another in pieces of this size, so that it is read from memory once and from
/// the processor's cache by all the others.
const PIECE_BYTES: usize = 64 * 1024;

/// One checksum in progress.
pub struct Hasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

enum State {
    /// Each of the CRCs.
    Crc(crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Md5(md5::Md5),
    Xxh64(XxHash64),
    Xxh3(XxHash3_64),
    Xxh128(XxHash3_128),
}

impl Hasher {
    /// The checksum of nothing yet.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let state = match algorithm {
            Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Sha1 => State::Sha1(sha1::Sha1::new()),
            Sha256 => State::Sha256(sha2::Sha256::new()),
            Sha512 => State::Sha512(sha2::Sha512::new()),
            Md5 => State::Md5(md5::Md5::new()),
            Xxhash64 => State::Xxh64(XxHash64::with_seed(0)),
            Xxhash3 => State::Xxh3(XxHash3_64::new()),
            Xxhash128 => State::Xxh128(XxHash3_128::new()),
        };
        Self { algorithm, state }
    }

    /// What it computes.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Continues over `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::Xxh64(state) => state.write(bytes),
            State::Xxh3(state) => state.write(bytes),
            State::Xxh128(state) => state.write(bytes),
        }
    }

    /// The checksum of all bytes so far.
    pub fn finish(self) -> Checksum {
        let padded = |bytes: &[u8]| Checksum::padded(self.algorithm, bytes);
        match self.state {
            // A narrower CRC is in the low bytes.
            State::Crc(state) => padded(&state.finalize().to_be_bytes()[8 - self.algorithm.digest_bytes()..]),
            State::Sha1(state) => padded(&state.finalize()),
            State::Sha256(state) => padded(&state.finalize()),
            State::Sha512(state) => padded(&state.finalize()),
            State::Md5(state) => padded(&state.finalize()),
            State::Xxh64(state) => padded(&state.finish().to_be_bytes()),
            State::Xxh3(state) => padded(&state.finish().to_be_bytes()),
            State::Xxh128(state) => padded(&state.finish_128().to_be_bytes()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hasher({})", self.algorithm.as_str())
    }
}

/// Everything that one body has to be digested for, in one pass.
#[derive(Debug)]
pub struct Digests {
    /// One per algorithm: those asked for as checksums, then perhaps MD5.
    hashers: Vec<Hasher>,
    checksum_count: usize,
    md5: bool,
}

/// What [`Digests`] computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The MD5, if asked for.
    pub md5: Option<[u8; 16]>,
    /// One checksum for each algorithm that was asked for, in that order, without repetitions.
    pub checksums: Vec<Checksum>,
}

impl Digests {
    /// Digests for `algorithms`, and for the MD5 of an ETag or of `Content-MD5` if `md5` says so.
    pub fn new(md5: bool, algorithms: impl IntoIterator<Item = ChecksumAlgorithm>) -> Self {
        let mut hashers = Vec::new();
        for algorithm in algorithms {
            add_once(&mut hashers, algorithm);
        }
        let checksum_count = hashers.len();
        if md5 {
            add_once(&mut hashers, Md5);
        }
        Self { hashers, checksum_count, md5 }
    }

    /// Continues over `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES) {
            for hasher in &mut self.hashers {
                hasher.update(piece);
            }
        }
    }

    /// The digests of all bytes so far.
    pub fn finish(self) -> Finished {
        let mut checksums: Vec<Checksum> = self.hashers.into_iter().map(Hasher::finish).collect();
        let md5 = checksums
            .iter()
            .find(|checksum| self.md5 && checksum.algorithm() == Md5)
            .and_then(|checksum| checksum.as_bytes().try_into().ok());
        checksums.truncate(self.checksum_count);
        Finished { md5, checksums }
    }
}

fn add_once(hashers: &mut Vec<Hasher>, algorithm: ChecksumAlgorithm) {
    if hashers.iter().all(|hasher| hasher.algorithm != algorithm) {
        hashers.push(Hasher::new(algorithm));
    }
}

#[cfg(test)]
mod tests;
