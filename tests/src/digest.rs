//! The digests and checksums that S3 clients send, each in the form that a header carries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use sha2::Digest as _;

/// The algorithms of `x-amz-checksum-*`.
pub const CHECKSUM_ALGORITHMS: [&str; 10] =
    ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"];

/// The raw checksum of `body` under one of [`CHECKSUM_ALGORITHMS`].
pub fn checksum_bytes(algorithm: &str, body: &[u8]) -> Vec<u8> {
    let crc = |algorithm| crc_fast::checksum(algorithm, body).to_be_bytes();
    match algorithm {
        "CRC32" => crc(CrcAlgorithm::Crc32IsoHdlc)[4..].to_vec(),
        "CRC32C" => crc(CrcAlgorithm::Crc32Iscsi)[4..].to_vec(),
        "CRC64NVME" => crc(CrcAlgorithm::Crc64Nvme).to_vec(),
        "SHA1" => sha1::Sha1::digest(body).to_vec(),
        "SHA256" => sha2::Sha256::digest(body).to_vec(),
        "SHA512" => sha2::Sha512::digest(body).to_vec(),
        "MD5" => md5::Md5::digest(body).to_vec(),
        "XXHASH64" => xxhash_rust::xxh64::xxh64(body, 0).to_be_bytes().to_vec(),
        "XXHASH3" => xxhash_rust::xxh3::xxh3_64(body).to_be_bytes().to_vec(),
        "XXHASH128" => xxhash_rust::xxh3::xxh3_128(body).to_be_bytes().to_vec(),
        other => panic!("{other} is not a checksum algorithm"),
    }
}

/// The checksum in base64.
pub fn checksum(algorithm: &str, body: &[u8]) -> String {
    STANDARD.encode(checksum_bytes(algorithm, body))
}

/// The COMPOSITE checksum of a multipart object: the checksum of its parts' checksums, with their number.
pub fn composite_checksum(algorithm: &str, parts: &[&[u8]]) -> String {
    let joined: Vec<u8> = parts.iter().flat_map(|part| checksum_bytes(algorithm, part)).collect();
    format!("{}-{}", checksum(algorithm, &joined), parts.len())
}

/// The name of the header that carries an algorithm's checksum.
pub fn checksum_header(algorithm: &str) -> String {
    format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase())
}

/// The MD5 of a body.
pub fn md5(body: &[u8]) -> [u8; 16] {
    let bytes = hex::decode(etag(body).trim_matches('"')).expect("an ETag is an MD5 in hexadecimal digits");
    bytes.try_into().expect("an MD5 has 16 bytes")
}

/// The ETag of an object written in one piece, quoted.
pub fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(md5::Md5::digest(body)))
}

/// The ETag of a multipart object, quoted.
pub fn multipart_etag(parts: &[&[u8]]) -> String {
    let joined: Vec<u8> = parts.iter().flat_map(|part| md5::Md5::digest(part).to_vec()).collect();
    format!("\"{}-{}\"", hex::encode(md5::Md5::digest(joined)), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the CRC catalogue, over "123456789".
    #[test]
    fn the_published_check_values_are_reproduced() {
        let check = |algorithm| hex::encode(checksum_bytes(algorithm, b"123456789"));
        assert_eq!(check("CRC32"), "cbf43926");
        assert_eq!(check("CRC32C"), "e3069283");
        assert_eq!(check("CRC64NVME"), "ae8b14860a799888");
    }

    /// The test vectors of the xxHash project for no bytes, without a seed.
    #[test]
    fn the_xxhash_vectors_are_reproduced() {
        let empty = |algorithm| hex::encode(checksum_bytes(algorithm, b""));
        assert_eq!(empty("XXHASH64"), "ef46db3751d8e999");
        assert_eq!(empty("XXHASH3"), "2d06800538d394c2");
        assert_eq!(empty("XXHASH128"), "99aa06d3014798d86001c324468d497f");
    }
}
