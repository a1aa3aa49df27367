//! How many versions of a bucket went for good, and when: counters in `usage`, changed by the very commits that remove. A
//! removed version leaves nothing else behind; these say how much a restore to a point in time may miss.
//!
//! ```text
//! key    FF | hours from the epoch to the removal (u32) | age class (u8)
//! value  i64, big endian, without a format byte
//! ```
//!
//! No storage class has the code FF. The age is from creation to removal: class 0 is less than an hour, class n less than
//! 2^n hours and not less than half of it. So an hour has at most [`CLASSES_COUNT`] rows, however many versions go in it.

use crate::clock::Timestamp;
use crate::index::{Family, IndexError, KeyRange, View};

const FIRST: u8 = 0xFF;
const HOUR_MS: u64 = 60 * 60 * 1_000;
const KEY_BYTES: usize = 6;

/// Classes of ages: none is older than the clock can tell.
pub const CLASSES_COUNT: u8 = 33;

/// How many rows one page of counting reads.
const PAGE_ROWS_MAX: usize = 2_000;

fn hour(time: Timestamp) -> u32 {
    u32::try_from(time.unsigned_ms() / HOUR_MS).unwrap_or(u32::MAX)
}

/// The row in which the removal, at `now`, of what was created at `created` counts.
#[must_use]
pub fn key(created: Timestamp, now: Timestamp) -> [u8; KEY_BYTES] {
    // A wall clock that went back must not make it seem removed before it was made.
    let removed = now.max(created);
    let age_hours = (removed.unsigned_ms() - created.unsigned_ms()) / HOUR_MS;
    let class = u64::BITS - age_hours.leading_zeros();
    row_key(hour(removed), u8::try_from(class).unwrap_or(u8::MAX).min(CLASSES_COUNT - 1))
}

fn row_key(hour: u32, class: u8) -> [u8; KEY_BYTES] {
    let mut key = [FIRST; KEY_BYTES];
    key[1..5].copy_from_slice(&hour.to_be_bytes());
    key[5] = class;
    key
}

/// Whether something that existed at `time` may count in the row.
fn may_have_existed(hour_of_removal: u32, class: u8, time: Timestamp) -> bool {
    let age_hours_max = 1_u64 << class.min(CLASSES_COUNT);
    let created_hour_min = u64::from(hour_of_removal).saturating_sub(age_hours_max);
    hour_of_removal >= hour(time) && created_hour_min <= u64::from(hour(time))
}

/// One page of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedPage {
    /// What the page's rows count.
    pub count: u64,
    /// Where the next page begins; None: this was the last.
    pub next: Option<[u8; KEY_BYTES]>,
}

/// Where counting what has gone since `time` begins.
#[must_use]
pub fn first_since(time: Timestamp) -> [u8; KEY_BYTES] {
    row_key(hour(time), 0)
}

/// Counts, from the row `start` on, what has gone since `time` and may have existed then: never too little.
///
/// # Errors
/// The view's; `Corrupt` if a row is malformed.
pub fn count_page(view: &dyn View, time: Timestamp, start: [u8; KEY_BYTES]) -> Result<RemovedPage, IndexError> {
    let mut page = RemovedPage { count: 0, next: None };
    let mut rows = 0;
    let mut cursor = view.cursor(Family::Usage, KeyRange { start: start.to_vec(), end: None })?;
    while let Some((key, _, value)) = cursor.row() {
        let row = RemovedRow::read(key, value)?;
        if rows == PAGE_ROWS_MAX {
            page.next = Some(row_key(row.hour, row.class));
            break;
        }
        if may_have_existed(row.hour, row.class, time) {
            page.count = page.count.saturating_add(row.count);
        }
        rows += 1;
        cursor.advance()?;
    }
    Ok(page)
}

/// One row.
struct RemovedRow {
    hour: u32,
    class: u8,
    count: u64,
}

impl RemovedRow {
    fn read(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let row = || {
            let [FIRST, hour @ .., class] = <[u8; KEY_BYTES]>::try_from(key).ok()? else { return None };
            let count = u64::try_from(i64::from_be_bytes(value.try_into().ok()?)).ok()?;
            (class < CLASSES_COUNT).then_some(Self { hour: u32::from_be_bytes(hour), class, count })
        };
        row().ok_or_else(|| IndexError::Corrupt("a counter of removed versions is malformed".to_owned()))
    }
}

/// Ok if the row of `usage` is well-formed, or not one of these.
///
/// # Errors
/// `Corrupt`.
pub fn check(key: &[u8], value: &[u8]) -> Result<(), IndexError> {
    if key.first() == Some(&FIRST) { RemovedRow::read(key, value).map(|_| ()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = HOUR_MS as i64;

    /// Whether the row of a removal counts for a restore to `time`.
    fn counts(created: i64, removed: i64, time: i64) -> bool {
        let [_, hour @ .., class] = key(Timestamp(created), Timestamp(removed));
        may_have_existed(u32::from_be_bytes(hour), class, Timestamp(time))
    }

    #[test]
    fn what_existed_at_a_time_is_always_counted() {
        for created in (0..200).step_by(7) {
            for age in (0..300).step_by(11) {
                let (created, removed) = (created * HOUR / 3, created * HOUR / 3 + age * HOUR / 5);
                for time in (created..removed).step_by(HOUR as usize / 4) {
                    assert!(counts(created, removed, time), "{created} {removed} {time}");
                }
            }
        }
    }

    #[test]
    fn what_was_made_much_later_or_gone_before_is_not_counted() {
        assert!(!counts(1_000 * HOUR, 1_001 * HOUR, 900 * HOUR));
        assert!(!counts(1_000 * HOUR, 1_100 * HOUR, 970 * HOUR));
        assert!(!counts(1_000 * HOUR, 1_001 * HOUR, 1_002 * HOUR));
    }

    #[test]
    fn an_age_is_never_outside_the_classes() {
        assert_eq!(key(Timestamp(0), Timestamp(i64::MAX))[5], CLASSES_COUNT - 1);
        assert_eq!(key(Timestamp(5 * HOUR), Timestamp(0)), row_key(5, 0));
        assert_eq!(key(Timestamp(0), Timestamp(HOUR)), row_key(1, 1));
        assert_eq!(key(Timestamp(0), Timestamp(4 * HOUR)), row_key(4, 3));
    }
}
