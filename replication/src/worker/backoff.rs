//! How soon something is tried again: exponential backoff with jitter, and as long again as it has waited. Pure.

use cairn_storage::clock::Timestamp;

/// The bounds of how long something waits at a time for something else to come first.
const WAIT_MS: (i64, i64) = (2_000, 60_000);

/// How long something waits once more for something else to come first, of which nobody tells: as long again as it has waited, within
/// bounds.
pub(super) fn wait_ms(since: Timestamp, now: Timestamp) -> i64 {
    now.0.saturating_sub(since.0).clamp(WAIT_MS.0, WAIT_MS.1)
}

/// How soon something is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure, in milliseconds; each further one doubles it.
    pub ms_min: i64,
    /// At most.
    pub ms_max: i64,
}

impl Backoff {
    /// The delay after so many failures. `random` spreads it over its upper half, so that what failed together parts ways.
    #[must_use]
    pub fn delay_ms(self, failures: u32, random: u8) -> i64 {
        let full = self.ms_min.saturating_mul(1_i64 << failures.saturating_sub(1).min(40)).clamp(1, self.ms_max.max(1));
        full / 2 + full / 2 * i64::from(random) / i64::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_long_is_looked_at_less_often() {
        let waits: Vec<i64> =
            [-5, 0, 7_000, 3_600_000].map(|ms| wait_ms(Timestamp(1_000), Timestamp(1_000 + ms))).into();
        assert_eq!(waits, [2_000, 2_000, 7_000, 60_000]);
    }

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_is_spread_over_its_upper_half() {
        let backoff = Backoff { ms_min: 1_000, ms_max: 10_000 };
        let longest: Vec<i64> = (1..=5).map(|failures| backoff.delay_ms(failures, u8::MAX)).collect();
        assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(backoff.delay_ms(2, 0), 1_000);
        assert_eq!(backoff.delay_ms(u32::MAX, u8::MAX), 10_000);
    }
}
