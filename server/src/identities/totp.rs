//! Time-based one-time passwords (RFC 6238 over RFC 4226): six digits from HMAC-SHA-1, a new one every 30 seconds, as every
//! authenticator application makes them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// Bytes of a seed (RFC 4226, 4, R6: 160 bits are recommended). IAM's have 40; longer ones than a hash are no better.
pub const SEED_BYTES: usize = 20;

/// How long a code is good.
pub const STEP_SECONDS: u64 = 30;

const DIGITS: usize = 6;
const CODES: u32 = 1_000_000;

/// Time steps by which a device's clock may be off from what is known of it (RFC 6238, 5.2 recommends one).
const STEPS_OFF_MAX: i64 = 1;

/// Time steps within which the two codes of a device that is enabled, or synchronized again, are looked for (RFC 6238, 6).
const STEPS_SEARCHED: i64 = 20;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The time step of a time.
pub fn step_at(now_ms: u64) -> u64 {
    now_ms / 1_000 / STEP_SECONDS
}

/// The code of a time step.
pub fn code(seed: &[u8], step: u64) -> String {
    let mut mac = <Hmac<Sha1>>::new_from_slice(seed).expect("HMAC takes a key of any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    // RFC 4226, 5.3: the last four bits say where the 31 bits are.
    let offset = usize::from(digest[digest.len() - 1] & 0x0F);
    let word = u32::from_be_bytes([digest[offset] & 0x7F, digest[offset + 1], digest[offset + 2], digest[offset + 3]]);
    format!("{:0width$}", word % CODES, width = DIGITS)
}

fn is_code(seed: &[u8], step: u64, given: &str) -> bool {
    code(seed, step).as_bytes().ct_eq(given.as_bytes()).into()
}

fn around(center: u64, drift: i64, reach: i64) -> impl Iterator<Item = (u64, i64)> {
    let steps = (0..=reach).flat_map(|off| if off == 0 { vec![0] } else { vec![-off, off] });
    steps.filter_map(move |off| Some((center.checked_add_signed(drift + off)?, drift + off)))
}

/// The time step whose code this is, of a device whose clock is `drift` steps ahead, and how far ahead it is now.
pub fn find(seed: &[u8], now_ms: u64, drift: i64, given: &str) -> Option<(u64, i64)> {
    around(step_at(now_ms), drift, STEPS_OFF_MAX).find(|(step, _)| is_code(seed, *step, given))
}

/// The later of the two time steps, one after the other, whose codes these are.
pub fn find_pair(seed: &[u8], now_ms: u64, first: &str, second: &str) -> Option<(u64, i64)> {
    let steps = around(step_at(now_ms), 0, STEPS_SEARCHED);
    let mut pairs = steps.map(|(step, drift)| (step + 1, drift + 1));
    pairs.find(|(step, _)| is_code(seed, step - 1, first) && is_code(seed, *step, second))
}

/// A seed as people type it into a device (RFC 4648, base 32 without padding).
pub fn base32(seed: &[u8]) -> String {
    let mut text = String::with_capacity(seed.len().div_ceil(5) * 8);
    for chunk in seed.chunks(5) {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let chars = (chunk.len() * 8).div_ceil(5);
        text.extend((0..chars).map(|at| char::from(BASE32[(bits >> (35 - 5 * at) & 31) as usize])));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The seed of RFC 6238's test values.
    const SEED: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, expected) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(code(SEED, step_at(seconds * 1_000)), expected);
        }
    }

    #[test]
    fn a_code_is_found_a_step_off_and_no_further() {
        let now_ms = 1_234_567_890_000;
        let step = step_at(now_ms);
        for (off, expected) in [(-2, None), (-1, Some(-1)), (0, Some(0)), (1, Some(1)), (2, None)] {
            let given = code(SEED, step.checked_add_signed(off).unwrap());
            assert_eq!(find(SEED, now_ms, 0, &given).map(|(_, drift)| drift), expected, "{off}");
        }
        let ahead = code(SEED, step + 7);
        assert_eq!(find(SEED, now_ms, 7, &ahead), Some((step + 7, 7)));
        assert_eq!(find(SEED, now_ms, 0, ""), None);
    }

    #[test]
    fn two_codes_in_a_row_tell_how_far_a_clock_is_off() {
        let now_ms = 1_234_567_890_000;
        let step = step_at(now_ms);
        let (first, second) = (code(SEED, step + 4), code(SEED, step + 5));
        assert_eq!(find_pair(SEED, now_ms, &first, &second), Some((step + 5, 5)));
        assert_eq!(find_pair(SEED, now_ms, &second, &first), None);
        assert_eq!(find_pair(SEED, now_ms, &code(SEED, step + 40), &code(SEED, step + 41)), None);
    }

    #[test]
    fn seeds_are_written_as_rfc_4648_has_it() {
        for (seed, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(seed.as_bytes()), text);
        }
    }
}
