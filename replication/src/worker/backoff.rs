//! Exponential backoff with jitter. Pure.

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
    fn the_delay_doubles_up_to_its_bound_and_is_spread_over_its_upper_half() {
        let backoff = Backoff { ms_min: 1_000, ms_max: 10_000 };
        let longest: Vec<i64> = (1..=5).map(|failures| backoff.delay_ms(failures, u8::MAX)).collect();
        assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(backoff.delay_ms(2, 0), 1_000);
        assert_eq!(backoff.delay_ms(u32::MAX, u8::MAX), 10_000);
    }
}
