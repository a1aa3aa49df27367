//! Walk jobs: long work that goes through a bucket or the whole store, page by page, and goes on after a restart.
//!
//! A walk's [`WalkRecord`] says what is wanted and how far it is; `driver` runs the walks that are to run, by the
//! [`Walker`] of their kind. A step commits its own effects, which may lie in any partition, and then the driver commits
//! the cursor behind them: a crash between the two repeats the page, so steps are idempotent. Operators pause, resume,
//! cancel and retry walks by changing the record, which the driver sees after the page at hand.
//!
//! It leaves to others: who may begin which walk, and with what argument.

mod buckets;
mod driver;
mod findings;

use std::fmt;

use async_trait::async_trait;

use crate::StorageError;
use crate::id::JobId;
use crate::index::family::walk::{
    self, ARGUMENT_BYTES_MAX, CURSOR_BYTES_MAX, ERROR_BYTES_MAX, WalkBucket, WalkCounts, WalkKind, WalkRecord,
    WalkState,
};
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, Revision, View};
use crate::ops::Store;
use crate::record::Record;

pub use buckets::WalkPlace;
pub use driver::{WalkOptions, WalksHandle, spawn};
pub use findings::FINDINGS_KEPT_MAX;

/// How many walks may be active at once.
pub const ACTIVE_MAX: usize = 64;

/// How many walks that have ended are kept.
pub const ENDED_KEPT_MAX: usize = 100;

/// How often a change of a record is tried when others change it as well.
const ATTEMPTS_MAX: usize = 64;

/// A walk to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWalk {
    /// What it does.
    pub kind: WalkKind,
    /// Where; None: in the whole store.
    pub bucket: Option<WalkBucket>,
    /// How, as the kind's walker understands it.
    pub argument: Vec<u8>,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the next one begins; None: there is none.
    pub cursor: Option<Vec<u8>>,
    /// What this one met.
    pub counts: WalkCounts,
    /// What went wrong in it and did not stop it, for people.
    pub note: Option<String>,
}

/// Why a step did nothing, or not all that it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepFailure {
    /// Something is in the way that passes: tried again, however often.
    Later(String),
    /// Tried again a bounded number of times.
    Failed(String),
    /// Not tried again: the walk fails at once.
    Refused(String),
}

impl From<StorageError> for StepFailure {
    fn from(error: StorageError) -> Self {
        let passes = matches!(
            error,
            StorageError::Overloaded
                | StorageError::DiskFull { .. }
                | StorageError::ReadOnly { .. }
                | StorageError::OutcomeUnknown
                | StorageError::Contention
                | StorageError::BucketBusy
                | StorageError::TierDown { .. }
        );
        if passes { Self::Later(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// Does the walks of one kind.
#[async_trait]
pub trait Walker: Send + Sync + fmt::Debug + 'static {
    /// The kind.
    fn kind(&self) -> WalkKind;

    /// Does one page from the walk's cursor on: bounded, and done in a second or two. Its effects are durable when it
    /// returns. The same page may come again after a crash, and the future may be dropped at any await.
    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure>;
}

/// What an operator wants of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkChange {
    /// Hold a running one.
    Pause,
    /// Let a paused one go on.
    Resume,
    /// End one that is active. What it has done stays.
    Cancel,
    /// Let one that failed go on from where it failed.
    Retry,
}

/// Why a walk was not begun or changed.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The index's answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no such walk, or none any more.
    #[error("there is no such walk")]
    NoSuchWalk,
    /// The change makes no sense.
    #[error("the walk is {}", .0.name())]
    InState(WalkState),
    /// Too many are active.
    #[error("{ACTIVE_MAX} walks are active, which is the most")]
    TooMany,
}

/// What became of a walk's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The walk goes on; else it has ended, was paused or is gone.
    pub more: bool,
    /// What the page met.
    pub counts: WalkCounts,
}

/// A walk's row as one view saw it.
#[derive(Clone, Debug)]
struct Seen {
    revision: Revision,
    record: WalkRecord,
}

fn read_all(view: &dyn View) -> Result<Vec<Seen>, IndexError> {
    let mut all = Vec::new();
    let mut cursor = view.cursor(Family::Document, KeyRange::prefix(&walk::PREFIX))?;
    while let Some((_, revision, value)) = cursor.row() {
        all.push(Seen { revision, record: WalkRecord::from_value(value)? });
        cursor.advance()?;
    }
    all.sort_by_key(|seen| (seen.record.started, seen.record.id));
    Ok(all)
}

/// The batch that writes a record where `seen` was.
fn put(seen: Option<Revision>, record: &WalkRecord) -> Result<Batch, StorageError> {
    let mut batch = Batch::new();
    let key = walk::key(record.id);
    // Stops: an operator's change x the driver's progress, the later of which would undo the other's.
    batch.guard(Family::Document, key, seen);
    batch.put(Family::Document, key, record.to_value()?);
    Ok(batch)
}

/// What is kept of a failure's text.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(ERROR_BYTES_MAX)].to_owned()
}

impl Store {
    /// Begins a walk. Durable when it returns; the driver does the work. One that is asked for again while it is active is
    /// the same walk.
    ///
    /// # Errors
    /// `TooMany`; `MetadataTooLarge` (the argument), `ReadOnly`, `Overloaded`: nothing was begun.
    pub async fn start_walk(&self, new: NewWalk) -> Result<WalkRecord, WalkError> {
        self.health().check_writable()?;
        if new.argument.len() > ARGUMENT_BYTES_MAX {
            return Err(StorageError::MetadataTooLarge.into());
        }
        for _ in 0..ATTEMPTS_MAX {
            let (active, ended): (Vec<_>, Vec<_>) =
                self.seen_walks().await?.into_iter().partition(|seen| seen.record.state.is_active());
            let same = |record: &WalkRecord| {
                record.kind == new.kind && record.bucket == new.bucket && record.argument[..] == new.argument
            };
            if let Some(seen) = active.iter().find(|seen| same(&seen.record)) {
                return Ok(seen.record.clone());
            }
            if active.len() >= ACTIVE_MAX {
                return Err(WalkError::TooMany);
            }
            let now = self.clock().now();
            let record = WalkRecord {
                id: JobId::generate(self.entropy().as_ref()),
                kind: new.kind,
                bucket: new.bucket.clone(),
                argument: new.argument.clone().into(),
                state: WalkState::Running,
                cursor: Vec::new().into(),
                counts: WalkCounts::default(),
                last_error: None,
                started: now,
                updated: now,
            };
            let mut batch = put(None, &record)?;
            forget_oldest(&mut batch, ended);
            if self.commit(Partition::SYSTEM, batch, Vec::new()).await? {
                self.walks_changed().notify_waiters();
                return Ok(record);
            }
        }
        Err(StorageError::Contention.into())
    }

    /// The walks that are active and the last ones that have ended, in the order in which they began.
    ///
    /// # Errors
    /// The index's.
    pub async fn walks(&self) -> Result<Vec<WalkRecord>, StorageError> {
        Ok(self.seen_walks().await?.into_iter().map(|seen| seen.record).collect())
    }

    /// The walk of this id; None if there is none, or none any more.
    ///
    /// # Errors
    /// The index's.
    pub async fn walk(&self, id: JobId) -> Result<Option<WalkRecord>, StorageError> {
        Ok(self.seen_walk(id).await?.map(|seen| seen.record))
    }

    /// Does to a walk what an operator wants. Durable when it returns; a page at hand is still finished. What is so
    /// already stays as it is.
    ///
    /// # Errors
    /// `NoSuchWalk`, `InState`; `ReadOnly`, `Overloaded`: nothing changed.
    pub async fn change_walk(&self, id: JobId, change: WalkChange) -> Result<WalkRecord, WalkError> {
        self.health().check_writable()?;
        for _ in 0..ATTEMPTS_MAX {
            let Seen { revision, mut record } = self.seen_walk(id).await?.ok_or(WalkError::NoSuchWalk)?;
            let state = changed_state(record.state, change).ok_or(WalkError::InState(record.state))?;
            if state == record.state {
                return Ok(record);
            }
            record.state = state;
            record.updated = self.clock().now();
            if self.commit(Partition::SYSTEM, put(Some(revision), &record)?, Vec::new()).await? {
                self.walks_changed().notify_waiters();
                return Ok(record);
            }
        }
        Err(StorageError::Contention.into())
    }

    /// Does the next page of a walk and notes how far it is.
    ///
    /// # Errors
    /// What the step said, or what kept its end from being noted; then the page comes again.
    pub async fn walk_page(&self, id: JobId, walker: &dyn Walker) -> Result<Turn, StepFailure> {
        let Some(Seen { record, .. }) =
            self.seen_walk(id).await?.filter(|seen| seen.record.state == WalkState::Running)
        else {
            return Ok(Turn::default());
        };
        let step = walker.step(self, &record).await?;
        if step.cursor.as_ref().is_some_and(|cursor| cursor.is_empty() || cursor.len() > CURSOR_BYTES_MAX) {
            return Err(StepFailure::Failed("a cursor has an impossible length".to_owned()));
        }
        let state = self.note_walk(id, |record| note_step(record, &step)).await?;
        Ok(Turn { more: state == Some(WalkState::Running), counts: step.counts })
    }

    /// Notes what went wrong in a walk; `gives_up`: it fails.
    pub(super) async fn note_walk_failure(
        &self,
        id: JobId,
        reason: &str,
        gives_up: bool,
    ) -> Result<Option<WalkState>, StorageError> {
        self.note_walk(id, |record| {
            record.last_error = Some(bounded(reason));
            if gives_up && record.state == WalkState::Running {
                record.state = WalkState::Failed;
            }
        })
        .await
    }

    /// Rewrites a walk's record; the state that it has then. None: it is gone.
    async fn note_walk(&self, id: JobId, note: impl Fn(&mut WalkRecord)) -> Result<Option<WalkState>, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(Seen { revision, mut record }) = self.seen_walk(id).await? else { return Ok(None) };
            note(&mut record);
            record.updated = self.clock().now();
            if self.commit(Partition::SYSTEM, put(Some(revision), &record)?, Vec::new()).await? {
                return Ok(Some(record.state));
            }
        }
        Err(StorageError::Contention)
    }

    async fn seen_walks(&self) -> Result<Vec<Seen>, StorageError> {
        Ok(self.index().view(Partition::SYSTEM, read_all).await?)
    }

    async fn seen_walk(&self, id: JobId) -> Result<Option<Seen>, StorageError> {
        let page = move |view: &dyn View| {
            let Some(row) = view.get(Family::Document, &walk::key(id))? else { return Ok(None) };
            Ok(Some(Seen { revision: row.revision, record: WalkRecord::from_value(&row.value)? }))
        };
        Ok(self.index().view(Partition::SYSTEM, page).await?)
    }
}

/// What becomes of a walk's state; None: the change makes no sense.
fn changed_state(state: WalkState, change: WalkChange) -> Option<WalkState> {
    match (change, state) {
        (WalkChange::Pause, WalkState::Running | WalkState::Paused) => Some(WalkState::Paused),
        (WalkChange::Resume, WalkState::Running | WalkState::Paused)
        | (WalkChange::Retry, WalkState::Running | WalkState::Failed) => Some(WalkState::Running),
        (WalkChange::Cancel, WalkState::Running | WalkState::Paused | WalkState::Failed | WalkState::Cancelled) => {
            Some(WalkState::Cancelled)
        }
        _ => None,
    }
}

/// Only the driver moves the cursor, so the record is where the step began, whatever an operator changed meanwhile.
fn note_step(record: &mut WalkRecord, step: &Step) {
    record.counts = record.counts.plus(step.counts);
    if let Some(note) = &step.note {
        record.last_error = Some(bounded(note));
    }
    match &step.cursor {
        Some(cursor) => record.cursor = cursor.clone().into(),
        None if record.state.is_active() => record.state = WalkState::Done,
        None => {}
    }
}

/// Makes room for one more that ends.
fn forget_oldest(batch: &mut Batch, mut ended: Vec<Seen>) {
    ended.sort_by_key(|seen| seen.record.updated);
    for seen in ended.iter().rev().skip(ENDED_KEPT_MAX) {
        let key = walk::key(seen.record.id);
        // Stops: forgetting x a retry of the same walk.
        batch.guard(Family::Document, key, Some(seen.revision));
        batch.delete(Family::Document, key);
        findings::forget(batch, &seen.record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_changes_a_walk_only_where_it_makes_sense() {
        use WalkChange::{Cancel, Pause, Resume, Retry};
        use WalkState::{Cancelled, Done, Failed, Paused, Running};
        for (state, pause, resume, cancel, retry) in [
            (Running, Some(Paused), Some(Running), Some(Cancelled), Some(Running)),
            (Paused, Some(Paused), Some(Running), Some(Cancelled), None),
            (Done, None, None, None, None),
            (Failed, None, None, Some(Cancelled), Some(Running)),
            (Cancelled, None, None, Some(Cancelled), None),
        ] {
            let changes = [Pause, Resume, Cancel, Retry].map(|change| changed_state(state, change));
            assert_eq!(changes, [pause, resume, cancel, retry], "{}", state.name());
        }
    }
}
