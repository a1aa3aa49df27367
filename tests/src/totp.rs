//! An authenticator application: codes by RFC 6238, from a seed as people type it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// Seconds that a code is good for.
const STEP_SECONDS: u64 = 30;

/// The bytes of a seed in base 32 (RFC 4648) without padding.
pub fn seed(base32: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for character in base32.chars() {
        let value = match character {
            'A'..='Z' => u32::from(character) - u32::from('A'),
            '2'..='7' => u32::from(character) - u32::from('2') + 26,
            other => panic!("{other:?} is no character of base 32"),
        };
        bits = bits << 5 | value;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    bytes
}

/// The time step of now.
pub fn step_now() -> u64 {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().expect("it is after 1970");
    since_epoch.as_secs() / STEP_SECONDS
}

/// The code of a time step.
pub fn code(seed: &[u8], step: u64) -> String {
    let mut mac = <Hmac<Sha1>>::new_from_slice(seed).expect("any length will do");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[at..at + 4].try_into().expect("four bytes")) & 0x7FFF_FFFF;
    format!("{:06}", number % 1_000_000)
}
