//! A limit of bytes a second, shared by all bodies of a client, or of whoever has one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets bytes through at a rate. Whoever comes waits until those before him have had their time.
#[derive(Debug, Default)]
pub struct Throttle {
    bytes_per_second: Option<u64>,
    /// When the next bytes may go.
    next: Mutex<Option<Instant>>,
}

impl Throttle {
    /// At so many bytes a second, or at once.
    #[must_use]
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Mutex::new(None) }
    }

    /// Waits until so many bytes may go.
    pub async fn pass(&self, bytes: usize) {
        if let Some(start) = self.admit(bytes, Instant::now()) {
            tokio::time::sleep_until(start).await;
        }
    }

    /// When so many bytes may go that come now; None: at once, whatever comes.
    fn admit(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_second?;
        let mut next = self.next.lock();
        let start = next.map_or(now, |next| next.max(now));
        *next = Some(start + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_at_the_rate_and_rest_is_not_saved_up() {
        let throttle = Throttle::new(Some(1_000));
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        for expected in [0, 500, 1_000] {
            assert_eq!(throttle.admit(500, start), Some(ms(expected)));
        }
        assert_eq!(throttle.admit(500, ms(60_000)), Some(ms(60_000)));
        assert_eq!(throttle.admit(500, ms(60_000)), Some(ms(60_500)));
        assert_eq!(Throttle::new(None).admit(usize::MAX, start), None);
    }
}
