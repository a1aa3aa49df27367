//! How records become row values: `format (u8) | CBOR map with integer keys`.
//!
//! A decoder ignores keys that it does not know and gives absent optional ones their default, so that an older and a
//! newer record read each other. A format number that this version does not know is refused as corrupt, never guessed.

use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::index::IndexError;

/// A record of one row family.
pub trait Record: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    /// What error messages call it.
    const NAME: &'static str;
    /// The format this version writes.
    const FORMAT: u8 = 1;
    /// The most bytes that its row value may have.
    const BYTES_MAX: usize;

    /// The row value.
    ///
    /// # Errors
    /// `MetadataTooLarge` if it exceeds `BYTES_MAX`.
    fn to_value(&self) -> Result<Vec<u8>, StorageError> {
        let mut value = vec![Self::FORMAT];
        // Writing to a Vec cannot fail, so an error is a codec's own: a value that it will not write.
        minicbor::encode(self, &mut value).map_err(|_| StorageError::MetadataTooLarge)?;
        if value.len() > Self::BYTES_MAX {
            return Err(StorageError::MetadataTooLarge);
        }
        Ok(value)
    }

    /// The record in a row value.
    ///
    /// # Errors
    /// `Corrupt` if it is of another format or does not decode.
    fn from_value(value: &[u8]) -> Result<Self, IndexError> {
        decode_as(Self::NAME, Self::FORMAT, value)
    }
}

/// Decodes a row value into `T`, which may name fewer tags than the record holds.
pub(crate) fn decode_as<'b, T: Decode<'b, ()>>(name: &str, format: u8, value: &'b [u8]) -> Result<T, IndexError> {
    match value.split_first() {
        Some((&found, cbor)) if found == format => {
            minicbor::decode(cbor).map_err(|error| IndexError::Corrupt(format!("{name} record: {error}")))
        }
        Some((found, _)) => Err(IndexError::Corrupt(format!("{name} record: unknown format {found}"))),
        None => Err(IndexError::Corrupt(format!("{name} record: empty"))),
    }
}

#[cfg(test)]
pub(crate) fn check_round_trip<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
    let value = record.to_value().expect("within its bound");
    assert_eq!(&R::from_value(&value).expect("decodes"), record);
    for cut in 0..value.len() {
        assert!(R::from_value(&value[..cut]).is_err(), "a record cut at {cut} must not decode");
    }
    let mut other_format = value;
    other_format[0] = 0xEE;
    assert!(R::from_value(&other_format).is_err());
}
