//! Data keys that the external KMS opened or encrypted, held in memory for a while, a bounded number of them.
//!
//! Only plaintexts of the length of a data key are held. What is held is wiped when its time is over and something is held or
//! asked for after it, or when it is pushed out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::secret::KEY_BYTES;
use parking_lot::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Data keys that are held at most.
const HELD_MAX: usize = 16_384;

/// The name of an external key, what it made, and with which associated data.
pub(super) type Sealed<'s> = (&'s str, &'s [u8], &'s [u8]);

/// What is held.
pub(super) struct Opened {
    held_for: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Each key on the heap, so that neither its removal nor the table's growth leaves a copy behind.
    keys: HashMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    /// In the order in which they came, which is that of their ends.
    ends: VecDeque<(Instant, Vec<u8>)>,
}

impl Opened {
    /// Nothing yet; later, each for so long.
    pub(super) fn new(held_for: Duration) -> Self {
        Self { held_for, held: Mutex::default() }
    }

    /// What is in it.
    pub(super) fn get(&self, sealed: Sealed<'_>, now: Instant) -> Option<Zeroizing<Vec<u8>>> {
        let mut held = self.held.lock();
        held.forget(|_, end| end <= now);
        held.keys.get(&digest(sealed)).cloned()
    }

    /// Holds what is in it, if it is a data key.
    pub(super) fn hold(&self, sealed: Sealed<'_>, plaintext: &[u8], now: Instant) {
        if plaintext.len() != KEY_BYTES || self.held_for.is_zero() {
            return;
        }
        let (digest, key) = (digest(sealed), Zeroizing::new(plaintext.to_vec()));
        let mut held = self.held.lock();
        held.forget(|_, end| end <= now);
        // One that is held ends when it would have: the KMS may refuse it meanwhile.
        if held.keys.contains_key(&digest) {
            return;
        }
        held.forget(|length, _| length >= HELD_MAX);
        held.ends.push_back((now + self.held_for, digest.clone()));
        held.keys.insert(digest, key);
    }
}

impl Held {
    /// Forgets the oldest ones as long as `is_over` says so, of how many are held and when the oldest ends.
    fn forget(&mut self, is_over: impl Fn(usize, Instant) -> bool) {
        while let Some((end, _)) = self.ends.front()
            && is_over(self.keys.len(), *end)
            && let Some((_, digest)) = self.ends.pop_front()
        {
            self.keys.remove(&digest);
        }
    }
}

/// Nobody finds another plaintext by it than the one of exactly these.
fn digest((name, made, associated_data): Sealed<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [name.as_bytes(), made, associated_data] {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    Checksum::of(ChecksumAlgorithm::Sha256, &bytes).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD_FOR: Duration = Duration::from_secs(60);
    const SEALED: Sealed<'_> = ("key", b"made", b"data");

    #[test]
    fn a_key_is_held_for_its_time_and_for_what_it_is_of() {
        let (opened, now) = (Opened::new(HELD_FOR), Instant::now());
        opened.hold(SEALED, &[7; KEY_BYTES], now);
        let almost = now + HELD_FOR - Duration::from_millis(1);
        assert_eq!(opened.get(SEALED, almost).as_deref(), Some(&vec![7; KEY_BYTES]));
        for other in [("kez", &b"made"[..], &b"data"[..]), ("key", b"mad", b"edata"), ("key", b"made", b"")] {
            assert_eq!(opened.get(other, now), None, "{other:?}");
        }
        // To open it again does not prolong it.
        opened.hold(SEALED, &[7; KEY_BYTES], almost);
        assert_eq!(opened.get(SEALED, now + HELD_FOR), None);
        assert!(opened.held.lock().keys.is_empty() && opened.held.lock().ends.is_empty());
    }

    #[test]
    fn what_is_no_data_key_is_not_held_nor_anything_for_no_time() {
        let now = Instant::now();
        let opened = Opened::new(HELD_FOR);
        opened.hold(SEALED, b"a client's secret", now);
        assert_eq!(opened.get(SEALED, now), None);
        let opened = Opened::new(Duration::ZERO);
        opened.hold(SEALED, &[7; KEY_BYTES], now);
        assert_eq!(opened.get(SEALED, now), None);
    }

    #[test]
    fn the_oldest_is_pushed_out() {
        let (opened, now) = (Opened::new(HELD_FOR), Instant::now());
        let names: Vec<String> = (0..=HELD_MAX).map(|number| number.to_string()).collect();
        for name in &names {
            opened.hold((name, b"", b""), &[1; KEY_BYTES], now);
        }
        assert_eq!(opened.held.lock().keys.len(), HELD_MAX);
        assert_eq!(opened.get((&names[0], b"", b""), now), None);
        assert!(opened.get((&names[HELD_MAX], b"", b""), now).is_some());
    }
}
