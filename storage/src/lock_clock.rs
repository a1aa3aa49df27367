//! Lock time: the time by which retentions are judged.
//!
//! Whoever can set the wall clock must not be able to end a retention. So lock time advances with elapsed time alone, and
//! the index keeps it from one process to the next (a document of the system partition, written at most once a minute).
//! What the process could not see, because it did not run, it learns from the wall clock at its start:
//!
//! - behind what was kept: lock time goes on from what was kept, and never goes back;
//! - ahead by at most [`AHEAD_MS_MAX`]: that much time has passed;
//! - further ahead, at a start or at any time later: lock time is *held*: it goes on from what was kept, with elapsed time
//!   alone, until the wall clock is set right or an operator accepts it.
//!
//! None of this happens before the first bucket has object lock: until then lock time is the wall clock's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::clock::{Clock, Timestamp};
use crate::index::family::document::DocumentKind;
use crate::index::{Batch, Family, Partition};
use crate::ops::Store;
use crate::record::Record;

/// How far the wall clock may be ahead of lock time before it is not believed.
pub const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// Attempts to write the kept time; whoever makes one fail has written it.
const ATTEMPTS_MAX: usize = 16;

/// The kept time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LockTimeRecord {
    /// Lock time was this, or later.
    #[n(0)]
    pub time: Timestamp,
}

impl Record for LockTimeRecord {
    const NAME: &'static str = "lock time";
    const BYTES_MAX: usize = 16;
}

/// What the lock clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockClockStatus {
    /// The time by which locks are judged.
    pub lock_time: Timestamp,
    /// What the wall clock says.
    pub wall_time: Timestamp,
    /// The wall clock is too far ahead to be believed. An alarm, until it is set right or accepted.
    pub held: bool,
}

/// The clock of locks.
#[derive(Debug)]
pub struct LockClock {
    clock: Arc<dyn Clock>,
    /// Lock time less elapsed time, in microseconds. It only grows.
    offset_us: AtomicI64,
    /// A bucket has, or is about to have, object lock: the time is kept.
    in_use: AtomicBool,
}

impl LockClock {
    /// A clock that nothing depends on yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, offset_us: AtomicI64::new(i64::MIN), in_use: AtomicBool::new(false) }
    }

    /// The time by which locks are judged.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if self.in_use() {
            let offset_us = self.offset_us.load(Ordering::Acquire);
            Timestamp(offset_us.saturating_add(self.clock.elapsed_us()) / 1_000)
        } else {
            self.clock.now()
        }
    }

    /// What it says, and whether it believes the wall clock.
    #[must_use]
    pub fn status(&self) -> LockClockStatus {
        let (lock_time, wall_time) = (self.now(), self.clock.now());
        LockClockStatus { lock_time, wall_time, held: ahead_ms(wall_time, lock_time) > AHEAD_MS_MAX }
    }

    fn in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    /// Lock time is `time` from now on, if it is not later already.
    fn raise_to(&self, time: Timestamp) {
        let offset_us = time.0.saturating_mul(1_000).saturating_sub(self.clock.elapsed_us());
        self.offset_us.fetch_max(offset_us, Ordering::AcqRel);
        self.in_use.store(true, Ordering::Release);
    }

    /// Goes on from what the last process kept, and believes the wall clock if it may.
    fn resume(&self, kept: Timestamp) {
        self.raise_to(kept);
        let wall_time = self.clock.now();
        if (0..=AHEAD_MS_MAX).contains(&ahead_ms(wall_time, kept)) {
            self.raise_to(wall_time);
        }
    }
}

fn ahead_ms(wall_time: Timestamp, lock_time: Timestamp) -> i64 {
    wall_time.0.saturating_sub(lock_time.0)
}

impl Store {
    /// Goes on from the kept lock time, if there is one. Before the first request.
    pub(crate) async fn resume_lock_time(&self) -> Result<(), StorageError> {
        if let Some((_, kept)) = self.kept_lock_time().await? {
            self.lock_clock().resume(kept);
        }
        Ok(())
    }

    /// Keeps lock time for the next process, if anything depends on it. To be called once a minute, and at the end.
    ///
    /// # Errors
    /// `ReadOnly`, `Overloaded`, `OutcomeUnknown`: the next process may go on from an older time.
    pub async fn keep_lock_time(&self) -> Result<(), StorageError> {
        if self.lock_clock().in_use() { self.keep_at_least(self.lock_clock().now()).await } else { Ok(()) }
    }

    /// Makes the wall clock's time lock time, however far ahead it is: what an operator may ask for after looking at it.
    /// Durable when it returns.
    ///
    /// # Errors
    /// As [`Store::keep_lock_time`]; lock time is as it was.
    pub async fn accept_wall_clock(&self) -> Result<LockClockStatus, StorageError> {
        self.health().check_writable()?;
        let clock = self.lock_clock();
        let LockClockStatus { lock_time, wall_time, .. } = clock.status();
        if clock.in_use() && wall_time > lock_time {
            // First kept, then believed: a lock that was released stays so after a crash.
            self.keep_at_least(wall_time).await?;
            clock.raise_to(wall_time);
        }
        Ok(clock.status())
    }

    /// From here on lock time is kept, because a bucket is about to have object lock.
    pub(crate) async fn begin_lock_time(&self) -> Result<(), StorageError> {
        let clock = self.lock_clock();
        if !clock.in_use() {
            let now = clock.now();
            self.keep_at_least(now).await?;
            clock.raise_to(now);
        }
        Ok(())
    }

    async fn kept_lock_time(&self) -> Result<Option<(crate::index::Revision, Timestamp)>, StorageError> {
        let key = DocumentKind::LockTime.key();
        let row = self.index().view(Partition::SYSTEM, move |view| view.get(Family::Document, &key)).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some((row.revision, LockTimeRecord::from_value(&row.value)?.time)))
    }

    async fn keep_at_least(&self, time: Timestamp) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let kept = self.kept_lock_time().await?;
            if kept.is_some_and(|(_, kept)| kept >= time) {
                return Ok(());
            }
            let key = DocumentKind::LockTime.key();
            let mut batch = Batch::new();
            // Stops: the minute's keeping x an acceptance, whose later time would be lost.
            batch.guard(Family::Document, key, kept.map(|(revision, _)| revision));
            batch.put(Family::Document, key, LockTimeRecord { time }.to_value()?);
            if self.commit(Partition::SYSTEM, batch, Vec::new()).await? {
                return Ok(());
            }
        }
        Err(StorageError::Contention)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clock::ManualClock;
    use crate::record::check_round_trip;

    const HOUR_MS: i64 = 60 * 60 * 1_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
    const START: Timestamp = Timestamp(1_700_000_000_000);

    /// A clock that goes on from `START` while the wall clock is `ahead_ms` ahead of it.
    fn resumed(ahead_ms: i64) -> (Arc<ManualClock>, LockClock) {
        let clock = Arc::new(ManualClock::new(START.plus_ms(ahead_ms)));
        let lock_clock = LockClock::new(clock.clone());
        lock_clock.resume(START);
        (clock, lock_clock)
    }

    #[test]
    fn the_record_round_trips() {
        check_round_trip(&LockTimeRecord { time: Timestamp(i64::MAX) });
    }

    #[test]
    fn a_start_believes_a_wall_clock_that_is_at_most_a_day_ahead() {
        for (ahead_ms, passed_ms, held) in [
            (0, 0, false),
            (HOUR_MS, HOUR_MS, false),
            (AHEAD_MS_MAX, AHEAD_MS_MAX, false),
            (AHEAD_MS_MAX + 1, 0, true),
            (10 * YEAR_MS, 0, true),
            (-1, 0, false),
            (-10 * YEAR_MS, 0, false),
        ] {
            let (_, lock_clock) = resumed(ahead_ms);
            let status = lock_clock.status();
            assert_eq!((status.lock_time, status.held), (START.plus_ms(passed_ms), held), "{ahead_ms}");
        }
    }

    #[test]
    fn while_it_runs_only_elapsed_time_counts() {
        for jump_ms in [1, HOUR_MS, AHEAD_MS_MAX, AHEAD_MS_MAX + 1, 10 * YEAR_MS, -1, -10 * YEAR_MS] {
            let (clock, lock_clock) = resumed(0);
            clock.jump_ms(jump_ms);
            clock.advance_ms(5_000);
            let status = lock_clock.status();
            assert_eq!(status.lock_time, START.plus_ms(5_000), "{jump_ms}");
            assert_eq!(status.held, jump_ms > AHEAD_MS_MAX, "{jump_ms}");
        }
    }

    #[test]
    fn many_small_jumps_are_one_large_one() {
        let (clock, lock_clock) = resumed(0);
        for _ in 0..30 {
            clock.jump_ms(HOUR_MS);
        }
        assert_eq!(lock_clock.status().lock_time, START);
        assert!(lock_clock.status().held);
    }

    #[test]
    fn the_alarm_ends_when_the_wall_clock_is_set_right() {
        let (clock, lock_clock) = resumed(YEAR_MS);
        assert!(lock_clock.status().held);
        clock.jump_ms(-YEAR_MS);
        clock.advance_ms(1_000);
        let status = lock_clock.status();
        assert_eq!((status.lock_time, status.held), (START.plus_ms(1_000), false));
    }

    #[test]
    fn it_is_the_wall_clock_while_nothing_depends_on_it() {
        let clock = Arc::new(ManualClock::new(START));
        let lock_clock = LockClock::new(clock.clone());
        clock.jump_ms(10 * YEAR_MS);
        let status = lock_clock.status();
        assert_eq!((status.lock_time, status.held), (START.plus_ms(10 * YEAR_MS), false));
    }

    #[test]
    fn elapsed_time_may_begin_anew_with_each_process() {
        let (clock, lock_clock) = resumed(0);
        clock.advance_ms(60_000);
        let kept = lock_clock.now();
        clock.reboot();
        let next = LockClock::new(clock.clone());
        next.resume(kept);
        assert_eq!(next.now(), START.plus_ms(60_000));
    }
}
