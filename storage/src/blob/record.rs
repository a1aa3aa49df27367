//! What a chunk file says about itself, besides its bytes: enough to rebuild an index row from the file alone.
//!
//! CBOR maps with integer keys. A decoder ignores keys that it does not know, so that older and newer files stay
//! readable by each other.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::{BucketId, UploadId};
use crate::object::{Etag, ObjectChecksum};

/// What is known before the first byte; stands in the header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobDescription {
    /// The bucket.
    #[n(0)]
    pub bucket: BucketId,
    /// The object's key.
    #[n(1)]
    pub key: String,
    /// Which part of which upload it is, if it is one.
    #[n(2)]
    pub part: Option<PartOf>,
    /// When the file was begun.
    #[n(3)]
    pub created: Timestamp,
}

/// A part's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PartOf {
    /// The multipart upload.
    #[n(0)]
    pub upload: UploadId,
    /// The part number.
    #[n(1)]
    pub number: u16,
}

/// What is known after the last byte; stands in the trailer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BlobTrailer {
    /// When the version or part was created.
    #[n(0)]
    pub created: Timestamp,
    /// The object's attributes, in whatever encoding `ops` uses for them.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub attributes: Vec<u8>,
    /// The ETag of the version or part.
    #[n(2)]
    pub etag: Etag,
    /// Its checksum, declared or computed.
    #[n(3)]
    pub checksum: Option<ObjectChecksum>,
}

/// A trailer as it is stored: with the length, which only the writer knows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct StoredTrailer {
    /// Plaintext bytes of all chunks.
    #[n(0)]
    pub(super) plain_length: u64,
    #[n(1)]
    pub(super) trailer: BlobTrailer,
}
