//! A checksum in records: `[algorithm code, value]`.

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use minicbor::decode::{Decoder, Error};
use minicbor::encode::{self, Encoder, Write};

pub(crate) fn encode<C, W: Write>(
    checksum: &Checksum,
    encoder: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    encoder.array(2)?.u8(checksum.algorithm().code())?.bytes(checksum.as_bytes())?;
    Ok(())
}

pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Checksum, Error> {
    if decoder.array()? != Some(2) {
        return Err(Error::message("a checksum is an array of two"));
    }
    let algorithm =
        ChecksumAlgorithm::from_code(decoder.u8()?).ok_or_else(|| Error::message("an unknown checksum algorithm"))?;
    Checksum::from_bytes(algorithm, decoder.bytes()?).map_err(Error::message)
}

/// As above for an optional checksum; absent is null.
pub(crate) mod optional {
    use super::{Checksum, Decoder, Encoder, Error, Write};
    use minicbor::encode::Error as EncodeError;

    pub(crate) fn encode<C, W: Write>(
        checksum: &Option<Checksum>,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match checksum {
            Some(checksum) => super::encode(checksum, encoder, context),
            None => encoder.null().map(|_| ()),
        }
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Option<Checksum>, Error> {
        if decoder.datatype()? == minicbor::data::Type::Null {
            decoder.null()?;
            return Ok(None);
        }
        super::decode(decoder, context).map(Some)
    }

    /// What an absent map key decodes to.
    pub(crate) fn nil() -> Option<Option<Checksum>> {
        Some(None)
    }

    pub(crate) fn is_nil(checksum: &Option<Checksum>) -> bool {
        checksum.is_none()
    }
}
