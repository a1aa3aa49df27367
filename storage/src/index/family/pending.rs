//! What waits to be replicated, by rule: counters in `usage`, changed by the very commits that add tasks and settle them.
//!
//! ```text
//! key    FE | target (8) | rule (8) | counter (u8): 0 versions, 1 their plaintext bytes
//! value  i64, big endian, without a format byte
//! ```
//!
//! No storage class has the code FE.

use crate::index::batch::counter_from_bytes;
use crate::index::{Batch, Family, IndexError, KeyRange, View};
use crate::replication::{RuleId, TargetId};

const FIRST: u8 = 0xFE;
const VERSIONS: u8 = 0;
const BYTES: u8 = 1;
const KEY_BYTES: usize = 18;

/// The most rows that are read: a thousand rules, and as many that are gone.
const ROWS_MAX: usize = 4_000;

/// What waits for one target by one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The target.
    pub target: TargetId,
    /// The rule.
    pub rule: RuleId,
    /// Versions and delete markers.
    pub versions: i64,
    /// Plaintext bytes of those of them that are to be sent whole, as far as was known when they came.
    pub bytes: i64,
}

fn key(target: TargetId, rule: RuleId, counter: u8) -> [u8; KEY_BYTES] {
    let mut key = [FIRST; KEY_BYTES];
    key[1..9].copy_from_slice(target.as_bytes());
    key[9..17].copy_from_slice(rule.as_bytes());
    key[17] = counter;
    key
}

/// Counts so many more versions, or fewer, with so many bytes each.
pub(crate) fn count(batch: &mut Batch, target: TargetId, rule: RuleId, versions: i64, size_bytes: u64) {
    batch.add(Family::Usage, key(target, rule, VERSIONS), versions);
    let bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
    if bytes != 0 {
        batch.add(Family::Usage, key(target, rule, BYTES), versions.saturating_mul(bytes));
    }
}

/// What waits in the bucket.
///
/// # Errors
/// The view's; `Corrupt` if a row is malformed.
pub fn read(view: &dyn View) -> Result<Vec<Waiting>, IndexError> {
    let mut all: Vec<Waiting> = Vec::new();
    let mut cursor = view.cursor(Family::Usage, KeyRange::prefix(&[FIRST]))?;
    let malformed = || IndexError::Corrupt("a counter of what waits to be replicated is malformed".to_owned());
    while let Some((key, _, value)) = cursor.row().filter(|_| all.len() < ROWS_MAX) {
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| malformed())?;
        let count = counter_from_bytes(value).ok_or_else(malformed)?;
        let (mut target, mut rule) = ([0; 8], [0; 8]);
        target.copy_from_slice(&key[1..9]);
        rule.copy_from_slice(&key[9..17]);
        let (target, rule) = (TargetId::from_bytes(target), RuleId::from_bytes(rule));
        if all.last().is_none_or(|last| (last.target, last.rule) != (target, rule)) {
            all.push(Waiting { target, rule, versions: 0, bytes: 0 });
        }
        if let Some(last) = all.last_mut() {
            match key[17] {
                VERSIONS => last.versions = count,
                _ => last.bytes = count,
            }
        }
        cursor.advance()?;
    }
    Ok(all)
}
