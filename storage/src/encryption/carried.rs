//! What is sealed under a customer's key and stays sealed on its way to another bucket. Nobody but the customer can open the data key, so
//! what is needed to open it with the customer's key goes along: here is what that is, and what can be said of it without the key.

use std::fmt;

use cairn_crypto::customer_key::is_envelope;
use cairn_crypto::seal::{SealId, TAG_BYTES};
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::blob::{CHUNK_BYTES, CHUNK_BYTES_MAX};
use crate::id::BucketId;
use crate::object::ObjectVersion;
use crate::ops::PUT_BYTES_MAX;
use crate::sealed_checksum::SealedChecksum;

use super::{Encryption, EncryptionMode};

/// The length that stands before each chunk on its way.
pub(crate) const LENGTH_BYTES: usize = 4;

/// What the record of a version says of how it is sealed under a customer's key, for a replica that stays sealed as it is: nobody but
/// the customer can open the data key, so it stays wrapped for the version, or upload, that it was wrapped for.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    wrapped: Vec<u8>,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    made_for: [u8; 16],
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    made_in: [u8; 16],
    /// The object's checksum.
    #[n(3)]
    pub(crate) checksum: Option<SealedChecksum>,
}

impl Envelope {
    /// That of a version; None: it is not sealed under a customer's key.
    #[must_use]
    pub fn of(bucket: BucketId, object: &ObjectVersion) -> Option<Self> {
        let encryption = object.encryption.as_ref().filter(|encryption| encryption.mode == EncryptionMode::Customer)?;
        Some(Self {
            wrapped: encryption.wrapped.clone(),
            made_for: encryption.id_in(object.version_id),
            made_in: encryption.made_in.unwrap_or(*bucket.as_bytes()),
            checksum: object.sealed_checksum.clone(),
        })
    }

    /// Ok if it has the form of one; whether it opens, only the customer's key tells.
    ///
    /// # Errors
    /// `SealedMalformed`.
    pub fn check(&self) -> Result<(), StorageError> {
        if !is_envelope(&self.wrapped) {
            return Err(StorageError::SealedMalformed { what: "its data key's envelope" });
        }
        match &self.checksum {
            Some(checksum) if !checksum.is_well_formed() => Err(StorageError::SealedMalformed { what: "its checksum" }),
            _ => Ok(()),
        }
    }

    /// What the record of the replica, or of its upload, is to say.
    pub(crate) fn encryption(&self) -> Encryption {
        Encryption {
            mode: EncryptionMode::Customer,
            wrapped: self.wrapped.clone(),
            made_for: Some(self.made_for),
            kms: None,
            made_in: Some(self.made_in),
        }
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").finish_non_exhaustive()
    }
}

/// The bytes of an object, or of one of its parts, that stay sealed as they are. They travel as
///
/// ```text
/// for each chunk: payload length (u32, bit 31 set if it is compressed) | payload: the chunk, with its tag
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedContent {
    /// Plaintext bytes.
    #[n(0)]
    pub size_bytes: u64,
    /// Plaintext bytes of every chunk but the last.
    #[n(1)]
    chunk_bytes: u32,
    /// The seal id of the chunks; zeros if there are none.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    seal: [u8; 16],
    /// The part's checksum; an object's is in its [`Envelope`].
    #[n(3)]
    pub(crate) checksum: Option<SealedChecksum>,
    /// How many bytes travel, if some chunks may be compressed; None: none is.
    #[n(4)]
    compressed_bytes: Option<u64>,
}

impl SealedContent {
    /// No bytes.
    pub(crate) fn empty(checksum: Option<SealedChecksum>) -> Self {
        Self { size_bytes: 0, chunk_bytes: CHUNK_BYTES, seal: [0; 16], checksum, compressed_bytes: None }
    }

    /// Chunks of a file.
    pub(crate) fn new(size_bytes: u64, chunk_bytes: u32, seal: SealId, checksum: Option<SealedChecksum>) -> Self {
        Self { size_bytes, chunk_bytes, seal: *seal.as_bytes(), checksum, compressed_bytes: None }
    }

    /// The same of a file that is compressed, of which so many bytes travel.
    pub(crate) fn compressed(self, travelling_bytes: u64) -> Self {
        Self { compressed_bytes: Some(travelling_bytes), ..self }
    }

    /// One chunk that is in the index.
    pub(crate) fn of_one_chunk(size_bytes: u32, seal: SealId, checksum: Option<SealedChecksum>) -> Self {
        Self::new(size_bytes.into(), size_bytes.max(CHUNK_BYTES), seal, checksum)
    }

    /// Ok if it can be.
    ///
    /// # Errors
    /// `SealedMalformed`.
    pub fn check(&self) -> Result<(), StorageError> {
        let malformed = |what| Err(StorageError::SealedMalformed { what });
        if self.size_bytes > PUT_BYTES_MAX {
            return malformed("its length");
        }
        // Shorter ones would be many, and memory is held for each of a file.
        if !(CHUNK_BYTES..=CHUNK_BYTES_MAX).contains(&self.chunk_bytes) {
            return malformed("the length of its chunks");
        }
        if self.size_bytes == 0 && self.is_compressed() {
            return malformed("its length");
        }
        let shortest = self.chunks_count() * (LENGTH_BYTES + TAG_BYTES + 1) as u64;
        if self.compressed_bytes.is_some_and(|bytes| !(shortest..=self.travelling_bytes_max()).contains(&bytes)) {
            return malformed("its length");
        }
        match &self.checksum {
            Some(checksum) if !checksum.is_well_formed() => malformed("a part's checksum"),
            _ => Ok(()),
        }
    }

    /// How many bytes travel.
    #[must_use]
    pub fn travelling_bytes(&self) -> u64 {
        self.compressed_bytes.unwrap_or_else(|| self.travelling_bytes_max())
    }

    /// How many would if no chunk were compressed.
    fn travelling_bytes_max(&self) -> u64 {
        self.size_bytes + self.chunks_count() * (LENGTH_BYTES + TAG_BYTES) as u64
    }

    /// Some chunks may be compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        self.compressed_bytes.is_some()
    }

    pub(crate) fn seal(&self) -> SealId {
        SealId::from_bytes(self.seal)
    }

    pub(crate) fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }

    pub(crate) fn chunks_count(&self) -> u64 {
        self.size_bytes.div_ceil(u64::from(self.chunk_bytes.max(1)))
    }

    /// How long the payload of a chunk is that is not compressed; one that is is shorter.
    pub(crate) fn payload_bytes(&self, index: u64) -> usize {
        let chunk_bytes = u64::from(self.chunk_bytes);
        let plain_bytes = self.size_bytes.saturating_sub(index * chunk_bytes).min(chunk_bytes);
        usize::try_from(plain_bytes).unwrap_or(usize::MAX).saturating_add(TAG_BYTES)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::tests::sample_encryption;
    use super::*;
    use crate::object::ObjectKey;
    use crate::sealed_checksum::tests::largest_sealed_checksum;

    fn envelope() -> Envelope {
        let wrapped = [vec![3], vec![0; 92]].concat();
        Envelope { wrapped, made_for: [1; 16], made_in: [2; 16], checksum: Some(largest_sealed_checksum()) }
    }

    #[test]
    fn what_is_carried_is_opened_as_where_it_was_made() {
        let (source, target) = (BucketId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]));
        let key = ObjectKey::new("key").unwrap();
        let mut object = crate::index::family::version::tests::sample_object();
        for encryption in [Encryption { made_for: None, ..sample_encryption() }, sample_encryption()] {
            object.encryption = Some(encryption);
            let context = object.wrap_context(source, &key);
            let envelope = Envelope::of(source, &object).unwrap();
            let carried = ObjectVersion { encryption: Some(envelope.encryption()), ..object.clone() };
            assert_eq!(carried.wrap_context(target, &key), context);
            assert_eq!(Envelope::of(target, &carried), Some(envelope));
        }
        object.encryption = Some(Encryption { mode: EncryptionMode::S3, ..sample_encryption() });
        assert_eq!(Envelope::of(source, &object), None);
    }

    #[test]
    fn an_envelope_that_is_none_is_refused() {
        let good = envelope();
        assert!(good.check().is_ok());
        for wrapped in [Vec::new(), vec![3; 92], vec![3; 94], vec![1; 93]] {
            assert!(Envelope { wrapped, ..good.clone() }.check().is_err());
        }
    }

    #[test]
    fn contents_that_cannot_be_are_refused() {
        let good = SealedContent::new(5 << 30, CHUNK_BYTES, SealId::from_bytes([3; 16]), None);
        assert!(good.check().is_ok());
        assert!(SealedContent::empty(None).check().is_ok());
        for bad in [
            SealedContent { size_bytes: PUT_BYTES_MAX + 1, ..good.clone() },
            SealedContent { chunk_bytes: 0, ..good.clone() },
            SealedContent { chunk_bytes: CHUNK_BYTES - 1, ..good.clone() },
            SealedContent::empty(None).compressed(0),
            SealedContent { chunk_bytes: CHUNK_BYTES_MAX + 1, ..good.clone() },
            good.clone().compressed(good.travelling_bytes() + 1),
            good.clone().compressed(81_920 * 21 - 1),
        ] {
            assert!(matches!(bad.check(), Err(StorageError::SealedMalformed { .. })), "{bad:?}");
        }
    }

    #[test]
    fn what_travels_is_as_long_as_its_chunks_with_their_lengths_and_tags() {
        let content = |size_bytes| SealedContent::new(size_bytes, 100, SealId::from_bytes([3; 16]), None);
        for (size_bytes, travelling_bytes) in [(0, 0), (1, 21), (100, 120), (101, 141), (250, 310)] {
            let content = content(size_bytes);
            assert_eq!(content.travelling_bytes(), travelling_bytes);
            let together: usize = (0..content.chunks_count()).map(|index| 4 + content.payload_bytes(index)).sum();
            assert_eq!(together as u64, travelling_bytes);
        }
    }

    #[test]
    fn both_round_trip() {
        let content = SealedContent::new(7, 9, SealId::from_bytes([3; 16]), Some(largest_sealed_checksum()));
        let bytes = minicbor::to_vec(&content).unwrap();
        assert_eq!(minicbor::decode::<SealedContent>(&bytes).unwrap(), content);
        let envelope = envelope();
        let bytes = minicbor::to_vec(&envelope).unwrap();
        assert_eq!(minicbor::decode::<Envelope>(&bytes).unwrap(), envelope);
    }

    #[test]
    fn debug_shows_no_envelope() {
        assert_eq!(format!("{:?}", envelope()), "Envelope { .. }");
    }
}
