//! Checksums that records keep sealed: those of all that is sealed. Who reads the index learns the algorithm from them and nothing
//! of the bytes.

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_crypto::sealed_checksum::{ChecksumScope, SEALED_CHECKSUM_OVERHEAD_BYTES, open_checksum, seal_checksum};
use cairn_crypto::secret::DataKey;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::encryption::Seal;
use crate::object::{ObjectChecksum, ObjectVersion};

/// A checksum, sealed under a key derived from the data key of its object.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedChecksum {
    /// The algorithm's code.
    #[n(0)]
    code: u8,
    /// It is over the parts' checksums, not over bytes.
    #[n(1)]
    composite: bool,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// What is known of a sealed checksum without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Decode)]
#[cbor(map)]
pub struct SealedChecksumKind {
    #[n(0)]
    code: u8,
    #[n(1)]
    composite: bool,
}

impl SealedChecksumKind {
    /// Its algorithm and what it covers; None if a newer version wrote an algorithm that this version does not know.
    #[must_use]
    pub fn get(self) -> Option<(ChecksumAlgorithm, ChecksumType)> {
        let kind = if self.composite { ChecksumType::Composite } else { ChecksumType::FullObject };
        Some((ChecksumAlgorithm::from_code(self.code)?, kind))
    }
}

/// A checksum as a record has it: in the clear, or sealed, as that of what is sealed is. Records that an older version wrote of what
/// is under the server's own key have it in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) clear: Option<Checksum>,
    pub(crate) sealed: Option<SealedChecksum>,
}

impl Kept {
    /// How the checksum of the part of this number is to be kept: sealed, if its bytes are. One that is sealed already stays so.
    pub(crate) fn sealed_by(self, seal: Option<&Seal>, number: u16) -> Result<Self, StorageError> {
        let Some((checksum, seal)) = self.clear.zip(seal) else { return Ok(self) };
        let sealed = SealedChecksum::seal(&seal.key, &checksum, ChecksumScope::Part(number))?;
        Ok(Self { clear: None, sealed: Some(sealed) })
    }
}

impl SealedChecksum {
    fn seal(key: &DataKey, checksum: &Checksum, scope: ChecksumScope) -> Result<Self, StorageError> {
        let io = |error| StorageError::Io { doing: "sealing a checksum", source: std::io::Error::other(error) };
        let sealed = seal_checksum(key, checksum, scope).map_err(io)?;
        let composite = scope == ChecksumScope::Composite;
        Ok(Self { code: checksum.algorithm().code(), composite, sealed })
    }

    fn open(&self, key: &DataKey, scope: ChecksumScope) -> Result<Checksum, StorageError> {
        let unknown = || StorageError::corrupt(format!("a sealed checksum: unknown algorithm {}", self.code));
        let algorithm = ChecksumAlgorithm::from_code(self.code).ok_or_else(unknown)?;
        open_checksum(key, algorithm, &self.sealed, scope)
            .map_err(|error| StorageError::corrupt(format!("a sealed checksum: {error}")))
    }

    /// The checksum of the part of this number.
    ///
    /// # Errors
    /// `Corrupt` if it is not one of that part, by this key.
    pub fn open_of_part(&self, key: &DataKey, number: u16) -> Result<Checksum, StorageError> {
        self.open(key, ChecksumScope::Part(number))
    }

    /// Whether it is as long as one of its algorithm: all that can be said of it without a key.
    pub(crate) fn is_well_formed(&self) -> bool {
        let digest_bytes = ChecksumAlgorithm::from_code(self.code).map(ChecksumAlgorithm::digest_bytes);
        digest_bytes.is_some_and(|bytes| self.sealed.len() == bytes + SEALED_CHECKSUM_OVERHEAD_BYTES)
    }

    /// What is known of it without a key.
    #[must_use]
    pub fn kind(&self) -> SealedChecksumKind {
        SealedChecksumKind { code: self.code, composite: self.composite }
    }
}

impl ObjectVersion {
    /// The version as its record is to have it: with its checksum sealed, if the bytes are. One that is sealed already stays so.
    pub(crate) fn with_sealed_checksum(self, seal: Option<&Seal>) -> Result<Self, StorageError> {
        let Some((checksum, seal)) = self.checksum.zip(seal) else { return Ok(self) };
        let scope = if checksum.composite { ChecksumScope::Composite } else { ChecksumScope::Object };
        let sealed = SealedChecksum::seal(&seal.key, &checksum.value, scope)?;
        Ok(Self { checksum: None, sealed_checksum: Some(sealed), ..self })
    }

    /// Opens the checksum, if it is sealed and the key is at hand. What is open is for answers, and is not kept so.
    ///
    /// # Errors
    /// `Corrupt` if it is not this object's, by this key.
    pub fn reveal_checksum(&mut self, key: Option<&DataKey>) -> Result<(), StorageError> {
        let (Some(sealed), Some(key)) = (&self.sealed_checksum, key) else { return Ok(()) };
        let scope = if sealed.composite { ChecksumScope::Composite } else { ChecksumScope::Object };
        self.checksum = Some(ObjectChecksum { value: sealed.open(key, scope)?, composite: sealed.composite });
        Ok(())
    }

    /// The checksum's algorithm and what it covers, which is known without a key.
    #[must_use]
    pub fn checksum_kind(&self) -> Option<(ChecksumAlgorithm, ChecksumType)> {
        match (&self.checksum, &self.sealed_checksum) {
            (Some(clear), _) => Some((clear.value.algorithm(), clear.checksum_type())),
            (None, sealed) => sealed.as_ref().and_then(|sealed| sealed.kind().get()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::encryption::EncryptionMode;
    use crate::index::family::version::tests::sample_object;

    /// The longest there is.
    pub(crate) fn largest_sealed_checksum() -> SealedChecksum {
        let longest = Checksum::from_bytes(ChecksumAlgorithm::Sha512, &[0xFF; 64]).unwrap();
        SealedChecksum::seal(&DataKey::from_bytes([1; 32]), &longest, ChecksumScope::Composite).unwrap()
    }

    fn seal(mode: EncryptionMode) -> Seal {
        Seal { key: DataKey::from_bytes([1; 32]), mode }
    }

    #[test]
    fn a_checksum_of_what_is_sealed_is_sealed_and_revealed_with_the_key() {
        let object = ObjectVersion { sealed_checksum: None, ..sample_object() };
        let clear = object.checksum.unwrap();
        for mode in [EncryptionMode::S3, EncryptionMode::Customer, EncryptionMode::Kms, EncryptionMode::KmsDsse] {
            let mut kept = object.clone().with_sealed_checksum(Some(&seal(mode))).unwrap();
            assert_eq!((kept.checksum, kept.checksum_kind()), (None, object.checksum_kind()));
            kept.reveal_checksum(None).unwrap();
            assert_eq!(kept.checksum, None);
            assert!(kept.reveal_checksum(Some(&DataKey::from_bytes([2; 32]))).is_err());
            kept.reveal_checksum(Some(&seal(mode).key)).unwrap();
            assert_eq!(kept.checksum, Some(clear));
        }
        assert_eq!(object.clone().with_sealed_checksum(None).unwrap(), object);
    }

    #[test]
    fn a_parts_checksum_opens_as_that_parts_alone() {
        let checksum = Checksum::of(ChecksumAlgorithm::Crc64Nvme, b"123456789");
        let clear = || Kept { clear: Some(checksum), sealed: None };
        let kept = clear().sealed_by(Some(&seal(EncryptionMode::Kms)), 7).unwrap();
        assert_eq!(kept.clear, None);
        assert_eq!(kept.clone().sealed_by(Some(&seal(EncryptionMode::Kms)), 7).unwrap(), kept);
        let (sealed, key) = (kept.sealed.unwrap(), DataKey::from_bytes([1; 32]));
        assert_eq!(sealed.open_of_part(&key, 7).unwrap(), checksum);
        assert!(sealed.open_of_part(&key, 8).is_err());
        assert_eq!(clear().sealed_by(None, 7).unwrap(), clear());
    }
}
