//! When a request is made again: exponential backoff with full jitter. Pure.

use std::time::Duration;

/// How long a server is believed at most that asks to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The longest time that a server can name at all.
const NAMED_MAX: Duration = Duration::from_secs(3_600);

/// How often, and how soon, a request is made again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts_max: u32,
    /// The longest delay after the first attempt; each further one doubles it.
    pub backoff_min: Duration,
    /// The longest delay after any attempt.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let backoff_min = Duration::from_millis(100);
        Self { attempts_max: 5, backoff_min, backoff_max: Duration::from_secs(20) }
    }
}

impl RetryPolicy {
    /// The delay after the failed attempt number `attempt` (from 1), None if it was the last. `random` spreads it evenly from
    /// nothing to its longest, so that clients which failed together part ways; `retry_after` is added, because a server that
    /// names a time names it to all of them.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts_max {
            return None;
        }
        let doubled = self.backoff_min.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        let jittered = doubled.min(self.backoff_max).mul_f64(f64::from(random) / f64::from(u32::MAX));
        Some(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) + jittered)
    }
}

/// `Retry-After` in seconds, of which an hour is believed at most; a date is not understood, and S3 sends none.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    let after = value.trim().parse().ok().map(Duration::from_secs);
    after.map(|after| after.min(NAMED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 5,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_millis(300),
    };

    #[test]
    fn the_longest_delay_doubles_up_to_its_bound_and_attempts_end() {
        let longest: Vec<_> = (1..=5).map(|attempt| POLICY.delay(attempt, u32::MAX, None)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(longest, [ms(100), ms(200), ms(300), ms(300), None]);
    }

    #[test]
    fn the_delay_is_spread_from_nothing_on() {
        assert_eq!(POLICY.delay(3, 0, None), Some(Duration::ZERO));
        let half = POLICY.delay(3, u32::MAX / 2, None).unwrap_or_default();
        assert!((149..=151).contains(&half.as_millis()), "{half:?}");
    }

    #[test]
    fn a_server_that_names_a_time_is_left_alone_that_long_but_not_for_ever() {
        let after = |seconds| POLICY.delay(1, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(after(3), Some(Duration::from_secs(3)));
        assert_eq!(after(u64::MAX), Some(RETRY_AFTER_MAX));
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("18446744073709551615"), Some(NAMED_MAX));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }
}
