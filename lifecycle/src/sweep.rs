//! One sweep of a bucket: every version is decided about, what is due is done, uploads that are too old are aborted.
//!
//! What moves copies bytes, and may take long. So a first walk does everything else, and if it met moves, a second one does
//! these, for a limited time: nothing expires late because much moves.
//!
//! Memory is bounded: a page of the walk holds what is due and nothing else. Nothing of a sweep is kept: one that was cut
//! short begins anew, and finds what is still due. What was overtaken by a change is decided again at once, a few times.

mod report;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::{KeyRange, Revision};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::lifecycle::{Act, ActDone, ActsDone, Basis, FailureKind, is_fatal};
use cairn_storage::ops::sweep::{SweepLimits, SweepPosition, SweepScope, SweptKey, SweptPage, SweptVersion};
use cairn_storage::ops::{Bucket, ListUploads, ListedUpload, Store, Upload};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::calendar::Calendar;
use crate::documents::{rules, tiering};
use crate::due::{Decider, Due};
use crate::earliest::Earliest;
use crate::events::{Event, Events, What};
use crate::predict::aborts;

pub use report::{Done, FAILURES_MAX, Report};

/// How far one page of a walk goes.
pub(crate) const PAGE: SweepLimits = SweepLimits { versions: 10_000, found: 2_000 };

/// How many keys are worked on at once.
const KEYS_AT_ONCE: usize = 64;

/// How many keys with versions that move, because each copies files of any size.
const COPIES_AT_ONCE: usize = 3;

/// How often a key that changes under the sweep is decided about again; then it waits for the next sweep.
const ATTEMPTS_MAX: usize = 4;

/// Uploads in one page.
pub(crate) const PAGE_UPLOADS: usize = 1_000;

/// A sweep under way, for who watches it or stops it.
#[derive(Debug, Default)]
pub struct Watch {
    report: Mutex<Report>,
    stopped: AtomicBool,
}

impl Watch {
    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// Ends the sweep after the page that it works on.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was looked at.
    Whole(Rest),
    /// It was stopped, or the rules or configurations changed.
    Early,
    /// Everything was looked at, but not all moves were made in their time.
    MovesLeft,
}

/// That a bucket was swept to its end, and when it has to be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The bucket's newest change before the sweep.
    changed: Option<Revision>,
    /// Without another change, nothing falls due before; None: nothing ever.
    until: Option<Timestamp>,
}

impl Rest {
    /// Whether a sweep would find nothing: nothing was due when the last one had ended, nothing fell due by age since, and
    /// nothing changed.
    #[must_use]
    pub fn lasts(&self, store: &Store, bucket: &Bucket) -> bool {
        store.last_change(bucket.id) == self.changed && self.until.is_none_or(|until| store.clock().now() < until)
    }
}

/// Sweeps a bucket, and tells `events` what it does. No move begins that long after the first one.
///
/// # Errors
/// Those after which going on makes no sense.
pub async fn sweep(
    store: &Store,
    bucket: &Bucket,
    calendar: Calendar,
    moves_last: Duration,
    watch: &Watch,
    events: &dyn Events,
) -> Result<Ended, StorageError> {
    // Asked for first: what changes from here on, the sweep may miss.
    let changed = store.last_change(bucket.id);
    let (configuration, rules_revision) = rules(store, bucket).await?.unzip();
    let (tiering, tiering_revision) = tiering(store, bucket).await?;
    let decider = Decider::new(Arc::new(configuration.unwrap_or_default()), tiering, calendar);
    let (prefixes, older) = decider.walked();
    let (revisions, earliest) = ((rules_revision, tiering_revision), Earliest::default());
    let sweep = Sweep { store, bucket, decider, older, revisions, watch, events, earliest };
    let mut moving = Vec::new();
    for prefix in prefixes {
        match sweep.versions_under(&prefix, Moves::Left).await? {
            Walked::Early => return Ok(Ended::Early),
            Walked::MovesLeft => moving.push(prefix),
            Walked::Whole => {}
        }
    }
    if !sweep.uploads().await? {
        return Ok(Ended::Early);
    }
    let turn = Turn { lasts: moves_last, ends: OnceLock::new() };
    for prefix in &moving {
        match sweep.versions_under(prefix, Moves::Within(&turn)).await? {
            Walked::Early => return Ok(Ended::Early),
            Walked::MovesLeft => return Ok(Ended::MovesLeft),
            Walked::Whole => {}
        }
    }
    let report = sweep.watch.report.lock();
    // What failed or was overtaken is due still. What was done are changes, which the next sweep looks at.
    let until = if report.is_complete() { sweep.earliest.get() } else { Some(Timestamp(i64::MIN)) };
    Ok(Ended::Whole(Rest { changed, until }))
}

fn is_move(act: Act) -> bool {
    matches!(act, Act::Transition(_) | Act::Tier(_))
}

/// How long moves may begin, from the first one on.
struct Turn {
    lasts: Duration,
    ends: OnceLock<Instant>,
}

impl Turn {
    fn is_over(&self) -> bool {
        Instant::now() >= *self.ends.get_or_init(|| Instant::now() + self.lasts)
    }
}

/// What a walk does with versions that are to move.
#[derive(Clone, Copy)]
enum Moves<'t> {
    /// It leaves them, and does everything else.
    Left,
    /// It moves them, as long as its turn lasts, and does nothing else.
    Within(&'t Turn),
}

impl Moves<'_> {
    /// What a walk that moves, or does not, is to do about a key.
    fn of(self, mut swept: SweptKey<Due>) -> Option<SweptKey<Due>> {
        swept.due.retain(|(_, due)| is_move(due.act) != matches!(self, Self::Left));
        Some(swept).filter(|swept| !swept.due.is_empty())
    }
}

/// How a walk ended.
enum Walked {
    Whole,
    /// Somebody stopped it, or the rules changed.
    Early,
    /// There are versions to move that were left.
    MovesLeft,
}

struct Sweep<'s> {
    store: &'s Store,
    bucket: &'s Bucket,
    decider: Decider,
    /// Older versions are looked at, too.
    older: bool,
    /// Of the rules, and of the configurations of INTELLIGENT_TIERING.
    revisions: (Option<Revision>, Option<Revision>),
    watch: &'s Watch,
    events: &'s dyn Events,
    /// When the next thing falls due, of all that was looked at.
    earliest: Earliest,
}

impl Sweep<'_> {
    async fn versions_under(&self, prefix: &str, moves: Moves<'_>) -> Result<Walked, StorageError> {
        let range = KeyRange::prefix(prefix.as_bytes());
        let scope = SweepScope { end: range.end, older: self.older };
        let mut next = Some(SweepPosition::From(range.start));
        let mut walked = Walked::Whole;
        while let Some(position) = next {
            if !self.goes_on().await? {
                return Ok(Walked::Early);
            }
            let page = self.page(position, scope.clone()).await?;
            next = page.next;
            if let Moves::Left = moves {
                self.watch.report.lock().versions += page.versions;
                if page.keys.iter().any(|swept| swept.due.iter().any(|(_, due)| is_move(due.act))) {
                    walked = Walked::MovesLeft;
                }
            }
            let keys = page.keys.into_iter().filter_map(|swept| moves.of(swept)).collect();
            if self.work(keys, moves).await? {
                return Ok(Walked::MovesLeft);
            }
        }
        Ok(walked)
    }

    /// Does what a page found. True: it was too late to begin a move.
    async fn work(&self, keys: Vec<SweptKey<Due>>, moves: Moves<'_>) -> Result<bool, StorageError> {
        let work = |swept: SweptKey<Due>| async move {
            match moves {
                Moves::Within(turn) if turn.is_over() => Ok(true),
                _ => self.key(swept, moves).await.map(|()| false),
            }
        };
        let at_once = if let Moves::Left = moves { KEYS_AT_ONCE } else { COPIES_AT_ONCE };
        let mut working = stream::iter(keys).map(work).buffer_unordered(at_once);
        let mut was_late = false;
        while let Some(late) = working.next().await {
            was_late |= late?;
        }
        Ok(was_late)
    }

    /// One page of the walk.
    async fn page(&self, position: SweepPosition, scope: SweepScope) -> Result<SweptPage<Due>, StorageError> {
        let (mut decider, now, earliest) = (self.decider.clone(), self.store.clock().now(), self.earliest.clone());
        let due = move |key: &str, version: &SweptVersion| {
            let verdict = decider.verdict(key, version, now);
            verdict.next.into_iter().for_each(|next| earliest.note(next));
            verdict.due
        };
        self.store.sweep_page(self.bucket.id, position, scope, PAGE, due).await
    }

    /// Does what is due about a key; if it changes meanwhile, what is due then.
    async fn key(&self, swept: SweptKey<Due>, moves: Moves<'_>) -> Result<(), StorageError> {
        let (key, mut outcome) = (swept.key.clone(), ActsDone::default());
        let ended = self.attempts(swept, moves, &mut outcome).await;
        let mut report = self.watch.report.lock();
        for ActDone { act, size_bytes, .. } in outcome.done {
            report.count(Done::Act(act), size_bytes);
        }
        report.overtaken += u64::from(outcome.overtaken);
        for failed in outcome.failed {
            report.fail(failed.kind, || format!("{:?} of {key:?} {}: {}", failed.act, failed.id, failed.reason));
        }
        ended
    }

    async fn attempts(
        &self,
        mut swept: SweptKey<Due>,
        moves: Moves<'_>,
        outcome: &mut ActsDone,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let (rules, tiering) = self.revisions;
            let basis = Basis { head: swept.head, rules, tiering };
            let acts: Vec<_> = swept.due.iter().map(|(id, due)| (*id, due.act)).collect();
            let before = outcome.done.len();
            let acted = self.store.act_on_key(self.bucket, &swept.key, basis, &acts, outcome).await;
            self.tell(&swept, &outcome.done[before..]);
            acted?;
            if !outcome.overtaken {
                break;
            }
            let again = self.decide_again(&swept.key).await?;
            let Some(again) = again.and_then(|again| moves.of(again)) else {
                outcome.overtaken = false;
                break;
            };
            swept = again;
            // What failed was tried; it is due still, and is tried again by the next sweep.
            let failed: HashSet<_> = outcome.failed.iter().map(|failed| (failed.id, failed.act)).collect();
            swept.due.retain(|(id, due)| !failed.contains(&(*id, due.act)));
        }
        Ok(())
    }

    /// Tells what was done about a key.
    fn tell(&self, swept: &SweptKey<Due>, done: &[ActDone]) {
        let (time, rules) = (self.store.clock().now(), &self.decider.rules().rules);
        let asked: HashMap<_, _> = swept.due.iter().map(|(id, due)| (*id, due.rule)).collect();
        for done in done {
            let rule = asked.get(&done.id).copied().flatten().and_then(|place| rules.get(place));
            let (rule, what) = (rule.map(|rule| rule.id.as_str()), What::Act(*done));
            self.events.done(&Event { time, bucket: self.bucket, key: &swept.key, rule, what });
        }
    }

    /// What is due about a key that has changed: the first page's of its versions that has any.
    async fn decide_again(&self, key: &ObjectKey) -> Result<Option<SweptKey<Due>>, StorageError> {
        let scope = SweepScope { end: Some([key.as_bytes(), b"\0"].concat()), older: self.older };
        let mut next = Some(SweepPosition::From(key.as_bytes().to_vec()));
        while let Some(position) = next {
            let page = self.page(position, scope.clone()).await?;
            if let Some(swept) = page.keys.into_iter().next() {
                return Ok(Some(swept));
            }
            next = page.next;
        }
        Ok(None)
    }

    /// Aborts the uploads that are too old. False: it ended early.
    async fn uploads(&self) -> Result<bool, StorageError> {
        let now = self.store.clock().now();
        let mut next = self.decider.rules().has_aborts().then_some((None, None));
        while let Some((after_key, after_upload)) = next {
            if !self.goes_on().await? {
                return Ok(false);
            }
            let list = ListUploads { after_key, after_upload, max_uploads: PAGE_UPLOADS, ..ListUploads::default() };
            let page = self.store.list_uploads(self.bucket, list).await?;
            for entry in page.entries {
                if let ListedUpload::Upload(upload) = entry {
                    self.upload(&upload, now).await?;
                }
            }
            next = page.next.map(|(key, upload)| (Some(key), upload));
        }
        Ok(true)
    }

    /// Aborts an upload, if it is too old.
    async fn upload(&self, upload: &Upload, now: Timestamp) -> Result<(), StorageError> {
        let Upload { key, id, initiated, .. } = upload;
        let rules = self.decider.rules();
        let due = aborts(rules, key.as_str(), self.decider.calendar(), *initiated);
        let Some((due, rule)) = due else { return Ok(()) };
        if due > now {
            self.earliest.note(Some(due));
            return Ok(());
        }
        match self.store.abort_upload(self.bucket, key, *id).await {
            Ok(()) => {
                self.watch.report.lock().count(Done::Abort, 0);
                let rule = rules.rules.get(rule).map(|rule| rule.id.as_str());
                let (time, what) = (self.store.clock().now(), What::Abort(*id));
                self.events.done(&Event { time, bucket: self.bucket, key, rule, what });
            }
            // Its client was faster.
            Err(StorageError::NoSuchUpload) => {}
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                let mut report = self.watch.report.lock();
                report.fail(FailureKind::of(&error), || format!("Abort of {key:?} {id}: {error}"));
            }
        }
        Ok(())
    }

    /// Whether nobody stopped it, and the rules are what they were; else the next sweep goes by the new ones.
    async fn goes_on(&self) -> Result<bool, StorageError> {
        if self.watch.is_stopped() {
            return Ok(false);
        }
        let revision = async |kind| {
            let found = self.store.document_with_revision(self.bucket.id, kind).await?;
            Ok::<_, StorageError>(found.map(|(_, revision)| revision))
        };
        let rules = revision(DocumentKind::Lifecycle).await?;
        Ok((rules, revision(DocumentKind::IntelligentTiering).await?) == self.revisions)
    }
}
