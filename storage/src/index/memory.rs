//! The index in memory, for tests: the same answers as the engine's, faults on demand, and no executor of its own.
//!
//! Nothing here needs a runtime: each call suspends once before and once after it works, so that any executor (a
//! schedule explorer's too) may run other tasks in between. A snapshot is a clone of a few `Arc`s; a commit copies
//! a family's map only while somebody still holds the older one.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    BATCH_BYTES_MAX, Batch, Cursor, Family, Index, IndexError, KeyRange, Outcome, Page, Partition, Refusal, Revision,
    Row, View, counter_from_bytes, counter_to_bytes,
};
use crate::health::Health;

/// An index whose commits are durable for as long as the value, or a [`MemorySnapshot`] of it, lives.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    health: Health,
    state: Mutex<State>,
}

/// Everything a [`MemoryIndex`] held at one moment.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshot(Rows);

impl MemorySnapshot {
    /// The newest revision, which is also how many commits were made.
    #[must_use]
    pub fn last_revision(&self) -> u64 {
        self.0.last_revision
    }
}

/// What an injected failure does to the commit that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `Refused(Overloaded)`: nothing is written and the next commit works.
    Overloaded,
    /// `Unknown`, and the batch was written; every later commit is refused.
    UnknownWritten,
    /// `Unknown`, and the batch was lost; every later commit is refused.
    UnknownLost,
}

#[derive(Debug, Default)]
struct State {
    rows: Rows,
    changes: HashMap<Partition, Revision>,
    /// The fault and how many commits pass before it.
    fault: Option<(u64, Fault)>,
}

type RowMap = BTreeMap<Bytes, Row>;

#[derive(Clone, Debug, Default)]
struct Rows {
    /// By physical key (partition | key), per family in the order of `Family::ALL`.
    families: [Arc<RowMap>; Family::ALL.len()],
    last_revision: u64,
}

impl MemoryIndex {
    /// An empty index that an injected failure turns read-only through `health`.
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self::from_snapshot(MemorySnapshot::default(), health)
    }

    /// An index that holds what `snapshot` held: what a restart after a crash finds.
    #[must_use]
    pub fn from_snapshot(snapshot: MemorySnapshot, health: Health) -> Self {
        Self { health, state: Mutex::new(State { rows: snapshot.0, ..State::default() }) }
    }

    /// What is committed now.
    #[must_use]
    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(self.state.lock().rows.clone())
    }

    /// The next commit meets `fault`.
    pub fn fail_next(&self, fault: Fault) {
        self.fail_after(0, fault);
    }

    /// `commits` more commits pass, the one after them meets `fault`.
    pub fn fail_after(&self, commits: u64, fault: Fault) {
        self.state.lock().fault = Some((commits, fault));
    }

    fn commit_now(&self, partition: Partition, batch: &Batch) -> Outcome {
        if self.health.read_only().is_some() {
            return Outcome::Refused(Refusal::ReadOnly);
        }
        if batch.size_bytes() > BATCH_BYTES_MAX {
            return Outcome::Refused(Refusal::TooLarge);
        }
        let mut state = self.state.lock();
        match state.take_fault() {
            None => {
                let outcome = state.rows.apply(partition, batch);
                if let Outcome::Committed(revision) = outcome {
                    state.changes.insert(partition, revision);
                }
                outcome
            }
            Some(Fault::Overloaded) => Outcome::Refused(Refusal::Overloaded),
            Some(fault @ (Fault::UnknownWritten | Fault::UnknownLost)) => {
                if fault == Fault::UnknownWritten {
                    // A batch whose guards do not hold is not written by a failing engine either.
                    let _ = state.rows.apply(partition, batch);
                }
                self.health.fail("an injected failure of the index");
                Outcome::Unknown
            }
        }
    }
}

impl State {
    fn take_fault(&mut self) -> Option<Fault> {
        let (commits, fault) = self.fault?;
        self.fault = commits.checked_sub(1).map(|left| (left, fault));
        self.fault.is_none().then_some(fault)
    }
}

impl Rows {
    fn apply(&mut self, partition: Partition, batch: &Batch) -> Outcome {
        let held = batch.guards().iter().all(|guard| {
            let row = self.family(guard.family).get(&*physical_key(partition, &guard.key));
            row.map(|row| row.revision) == guard.revision
        });
        if !held {
            return Outcome::Conflict;
        }
        if batch.is_empty() {
            return Outcome::Committed(Revision(self.last_revision));
        }
        let mut counts = BTreeMap::new();
        for add in batch.adds() {
            let key = (add.family, physical_key(partition, &add.key));
            let row = self.family(add.family).get(&key.1);
            let Some(count) = row.map_or(Some(0), |row| counter_from_bytes(&row.value)) else {
                return Outcome::Refused(Refusal::Unreadable);
            };
            let count = counts.entry(key).or_insert(count);
            *count = count.wrapping_add(add.delta);
        }
        self.last_revision += 1;
        let revision = Revision(self.last_revision);
        for ((family, key), count) in counts {
            let value = Bytes::copy_from_slice(&counter_to_bytes(count));
            self.family_mut(family).insert(key, Row { revision, value });
        }
        for write in batch.writes() {
            let key = physical_key(partition, &write.key);
            match &write.value {
                Some(value) => self.family_mut(write.family).insert(key, Row { revision, value: value.clone() }),
                None => self.family_mut(write.family).remove(&key),
            };
        }
        Outcome::Committed(revision)
    }

    fn family(&self, family: Family) -> &RowMap {
        &self.families[family as usize]
    }

    fn family_mut(&mut self, family: Family) -> &mut RowMap {
        Arc::make_mut(&mut self.families[family as usize])
    }
}

fn physical_key(partition: Partition, key: &[u8]) -> Bytes {
    [&partition.0, key].concat().into()
}

/// Lets the executor run other tasks once.
async fn pause() {
    let mut paused = false;
    poll_fn(|context| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl Index for MemoryIndex {
    async fn read(&self, partition: Partition, mut page: Box<dyn Page>) -> Result<(), IndexError> {
        pause().await;
        let rows = self.state.lock().rows.clone();
        let result = page.run(&MemoryView { rows, partition });
        pause().await;
        result
    }

    fn last_change(&self, partition: Partition) -> Option<Revision> {
        self.state.lock().changes.get(&partition).copied()
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> Outcome {
        pause().await;
        let outcome = self.commit_now(partition, &batch);
        pause().await;
        outcome
    }
}

struct MemoryView {
    rows: Rows,
    partition: Partition,
}

impl View for MemoryView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Row>, IndexError> {
        Ok(self.rows.family(family).get(&*physical_key(self.partition, key)).cloned())
    }

    fn cursor<'v>(&'v self, family: Family, range: KeyRange) -> Result<Box<dyn Cursor + 'v>, IndexError> {
        let mut cursor = MemoryCursor {
            rows: self.rows.family(family),
            partition: self.partition,
            end: range.end,
            ahead: btree_map::Range::default(),
            row: None,
        };
        cursor.go_to(&range.start);
        Ok(Box::new(cursor))
    }
}

struct MemoryCursor<'v> {
    rows: &'v RowMap,
    partition: Partition,
    end: Option<Vec<u8>>,
    ahead: btree_map::Range<'v, Bytes, Row>,
    row: Option<(&'v [u8], &'v Row)>,
}

impl MemoryCursor<'_> {
    fn go_to(&mut self, key: &[u8]) {
        let start = physical_key(self.partition, key);
        self.ahead = self.rows.range::<[u8], _>((Bound::Included(&*start), Bound::Unbounded));
        self.step();
    }

    fn step(&mut self) {
        self.row = self.ahead.next().and_then(|(physical, row)| {
            let key = physical.strip_prefix(&self.partition.0)?;
            let ended = self.end.as_ref().is_some_and(|end| key >= &end[..]);
            (!ended).then_some((key, row))
        });
    }
}

impl Cursor for MemoryCursor<'_> {
    fn row(&self) -> Option<(&[u8], Revision, &[u8])> {
        self.row.map(|(key, row)| (key, row.revision, &row.value[..]))
    }

    fn advance(&mut self) -> Result<(), IndexError> {
        if self.row.is_some() {
            self.step();
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<(), IndexError> {
        if self.row.is_some_and(|(current, _)| current < key) {
            self.go_to(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::index::conformance::{Subject, conformance_tests};

    fn make() -> Subject {
        Subject { index: Arc::new(MemoryIndex::default()), _keep: Box::new(()) }
    }

    conformance_tests!(make);

    const HOME: Partition = Partition([7; 16]);

    fn put(key: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.put(Family::Current, key, &b"v"[..]);
        batch
    }

    fn holds(index: &MemoryIndex, key: &[u8]) -> bool {
        let rows = index.snapshot().0;
        rows.family(Family::Current).contains_key(&*physical_key(HOME, key))
    }

    #[tokio::test]
    async fn an_overload_writes_nothing_and_passes() {
        let index = MemoryIndex::default();
        index.fail_after(1, Fault::Overloaded);
        assert!(matches!(index.commit(HOME, put(b"a")).await, Outcome::Committed(_)));
        assert_eq!(index.commit(HOME, put(b"b")).await, Outcome::Refused(Refusal::Overloaded));
        assert!(!holds(&index, b"b"));
        assert!(matches!(index.commit(HOME, put(b"b")).await, Outcome::Committed(_)));
    }

    #[tokio::test]
    async fn an_unknown_outcome_may_have_written_and_ends_all_writing() {
        for (fault, written) in [(Fault::UnknownWritten, true), (Fault::UnknownLost, false)] {
            let health = Health::default();
            let index = MemoryIndex::new(health.clone());
            index.fail_next(fault);
            assert_eq!(index.commit(HOME, put(b"a")).await, Outcome::Unknown);
            assert_eq!(holds(&index, b"a"), written);
            assert!(health.read_only().is_some());
            assert_eq!(index.commit(HOME, put(b"b")).await, Outcome::Refused(Refusal::ReadOnly));
        }
    }

    #[tokio::test]
    async fn a_snapshot_keeps_what_was_committed_and_nothing_later() {
        let index = MemoryIndex::default();
        let Outcome::Committed(before) = index.commit(HOME, put(b"a")).await else { panic!() };
        let snapshot = index.snapshot();
        let _ = index.commit(HOME, put(b"b")).await;
        let restored = MemoryIndex::from_snapshot(snapshot, Health::default());
        assert!(holds(&restored, b"a") && !holds(&restored, b"b"));
        let Outcome::Committed(after) = restored.commit(HOME, put(b"c")).await else { panic!() };
        assert!(after > before);
    }

    #[test]
    fn a_schedule_explorer_sees_tasks_interleave() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let conflicts = Arc::new(AtomicUsize::new(0));
        let seen = conflicts.clone();
        shuttle::check_random(
            move || {
                let index: Arc<dyn Index> = Arc::new(MemoryIndex::default());
                let increment = |index: Arc<dyn Index>| async move {
                    let row = index.view(HOME, |view| view.get(Family::Current, b"n")).await.unwrap();
                    let mut batch = put(b"n");
                    batch.guard(Family::Current, b"n", row.map(|row| row.revision));
                    index.commit(HOME, batch).await
                };
                let other = shuttle::future::spawn(increment(index.clone()));
                let mine = shuttle::future::block_on(increment(index));
                let other = shuttle::future::block_on(other).unwrap();
                if mine == Outcome::Conflict || other == Outcome::Conflict {
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            },
            200,
        );
        let conflicts = conflicts.load(Ordering::Relaxed);
        assert!(0 < conflicts && conflicts < 200, "{conflicts} of 200 schedules conflict");
    }
}
