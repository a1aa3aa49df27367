//! When a rule's days are over.

use cairn_storage::clock::Timestamp;

/// Milliseconds of a real day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How long a rule's day is.
///
/// A real day's rule falls due at a midnight, UTC: S3 adds the days to the time that they count from and rounds up (user
/// guide, "Lifecycle rules: Based on an object's age"). Shorter days are for tests and demonstrations; nothing is rounded
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    day_ms: i64,
}

impl Calendar {
    /// With real days.
    pub const REAL: Self = Self { day_ms: DAY_MS };

    /// With days of so many seconds, at least one.
    #[must_use]
    pub fn with_day_seconds(seconds: u64) -> Self {
        Self { day_ms: i64::try_from(seconds.max(1)).unwrap_or(i64::MAX).saturating_mul(1_000) }
    }

    /// An hour of such a day, in milliseconds.
    #[must_use]
    pub fn hour_ms(self) -> i64 {
        self.day_ms / 24
    }

    /// When so many days after `from` are over.
    #[must_use]
    pub fn after(self, from: Timestamp, days: u32) -> Timestamp {
        let due = from.0.saturating_add(i64::from(days).saturating_mul(self.day_ms));
        let past_midnight = due.rem_euclid(DAY_MS);
        if self.day_ms != DAY_MS || past_midnight == 0 {
            return Timestamp(due);
        }
        Timestamp(due.saturating_add(DAY_MS - past_midnight))
    }
}

/// Whether a time is a midnight, UTC, as a rule's `Date` must be.
#[must_use]
pub fn is_midnight(time: Timestamp) -> bool {
    time.0.rem_euclid(DAY_MS) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_days_end_at_midnight_and_short_ones_when_they_are_over() {
        let noon = Timestamp(10 * DAY_MS + DAY_MS / 2);
        assert_eq!(Calendar::REAL.after(noon, 3), Timestamp(14 * DAY_MS));
        assert_eq!(Calendar::REAL.after(noon, 0), Timestamp(11 * DAY_MS));
        assert_eq!(Calendar::REAL.after(Timestamp(10 * DAY_MS), 3), Timestamp(13 * DAY_MS));
        assert_eq!(Calendar::with_day_seconds(5).after(noon, 3), noon.plus_ms(15_000));
        assert_eq!(Calendar::with_day_seconds(0).after(noon, 1), noon.plus_ms(1_000));
        assert_eq!(Calendar::REAL.after(Timestamp(i64::MAX - 1), u32::MAX), Timestamp(i64::MAX));
    }
}
