//! Continuation tokens: where a listing goes on, opaque to clients.
//!
//! ```text
//! base64url( format (u8) = 1 | position, UTF-8 | crc64 (8) of what precedes )
//! ```
//!
//! A token holds nothing but a position, so it outlives restarts and needs no memory. The checksum tells a token from
//! other text; it is no secret, because a client may ask for any position with `start-after` as well.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use cairn_crypto::crc64::crc64;

use super::error::Failure;

const FORMAT: u8 = 1;

const CRC_BYTES: usize = 8;

/// The token for what comes after `position`.
pub fn encode(position: &str) -> String {
    let mut bytes = Vec::with_capacity(1 + position.len() + CRC_BYTES);
    bytes.push(FORMAT);
    bytes.extend_from_slice(position.as_bytes());
    let crc = crc64(&[&bytes]);
    bytes.extend_from_slice(&crc.to_be_bytes());
    BASE64.encode(bytes)
}

/// The position in a token.
///
/// # Errors
/// `InvalidArgument` for what is no token of ours.
pub fn decode(token: &str) -> Result<String, Failure> {
    position(token).ok_or_else(|| {
        Failure::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    })
}

fn position(token: &str) -> Option<String> {
    let bytes = BASE64.decode(token).ok()?;
    let (checked, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let (format, position) = checked.split_first()?;
    let intact = *format == FORMAT && crc64(&[checked]) == u64::from_be_bytes(*crc);
    if intact { String::from_utf8(position.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn positions_round_trip() {
        for key in ["", "a", "a/b c", "\u{1}é\u{10ffff}"] {
            assert_eq!(decode(&encode(key)).unwrap(), key);
        }
    }

    #[test]
    fn a_token_of_format_one_stays_readable() {
        assert_eq!(encode("photos/2006/"), GOLDEN);
        assert_eq!(decode(GOLDEN).unwrap(), "photos/2006/");
    }

    const GOLDEN: &str = "AXBob3Rvcy8yMDA2L_404WZwZj99";

    #[test]
    fn a_changed_cut_or_foreign_token_is_refused() {
        let token = encode("some/key");
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(decode(std::str::from_utf8(&changed).unwrap()).is_err(), "at {at}");
            assert!(decode(&token[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(decode("some/key").unwrap_err().code(), "InvalidArgument");
    }
}
