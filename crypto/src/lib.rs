//! Keys, sealing, key wrapping and digests. Pure: apart from asking the operating system for random bytes, nothing
//! here does I/O, keeps state between calls or knows of HTTP, buckets or files.
//!
//! | module | what it owns |
//! |---|---|
//! | [`secret`] | the types that hold secrets: wiped when dropped, never printed |
//! | [`seal`] | AES-256-GCM over the chunks of one content |
//! | [`session`] | temporary credentials: their secrets, and sealing their tokens |
//! | [`wrap`] | data keys and small secrets, encrypted for keeping on disk |
//! | [`store_key`] | wrapping under the keys of the key store, with versions |
//! | [`kms`] | what KMS keys encrypt, bound to an encryption context |
//! | [`customer_key`] | wrapping under a customer's key |
//! | [`issued_key`] | wrapping under a key that a KMS issued |
//! | [`checksum`] | S3's checksums as values |
//! | [`sealed_checksum`] | sealing the checksums of what is sealed |
//! | [`digest`] | computing checksums and the MD5 of ETags, many in one pass over the bytes |
//! | [`combine`] | the checksum and ETag of a multipart object, from those of its parts |
//! | [`crc64`] | the CRC-64 that guards every header and row on disk |
//! | [`xxh3`] | the XXH3-64 that guards every chunk on disk |
//!
//! What it leaves to others: which key a request may use (`server`), where a wrapped key is kept (`storage`), and how
//! a checksum is spelt in a header (`server`).

pub mod checksum;
pub mod combine;
pub mod crc64;
pub mod customer_key;
mod derive;
pub mod digest;
pub mod issued_key;
pub mod kms;
#[cfg(test)]
mod samples;
pub mod seal;
pub mod sealed_checksum;
pub mod secret;
pub mod session;
pub mod store_key;
pub mod wrap;
pub mod xxh3;
