//! One sweep of a bucket: every version is decided about, what is due is done, uploads that are too old are aborted.
//!
//! What moves copies bytes, and may take long. So a first walk does everything else, and if it met moves, a second one does
//! these, for a limited time: nothing expires late because much moves.
//!
//! Memory is bounded: a page of the walk holds what is due and nothing else. Nothing of a sweep is kept: one that was cut
//! short begins anew, and finds what is still due. What was overtaken by a change is decided again at once, a few times.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::usage::{self, Counter};
use cairn_storage::index::{KeyRange, Revision, View};
use cairn_storage::object::{ObjectKey, StorageClass};
use cairn_storage::ops::lifecycle::{Act, ActsDone, Basis, FailureKind, is_fatal};
use cairn_storage::ops::sweep::{
    SweepLimits, SweepPosition, SweepScope, SweptKey, SweptObject, SweptPage, SweptVersion,
};
use cairn_storage::ops::{Bucket, ListUploads, ListedUpload, Store};
use cairn_storage::record::Record;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::calendar::Calendar;
use crate::configuration::{Configuration, Rule};
use crate::decide::Action;
use crate::earliest::Earliest;
use crate::predict::aborts;
use crate::rules_by_key::RulesByKey;
use crate::tiering::{self, Configurations};

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

/// Failures of which a report tells.
pub const FAILURES_MAX: usize = 10;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Versions looked at.
    pub versions: u64,
    /// What was done: how many versions, and their bytes.
    pub done: BTreeMap<Done, (u64, u64)>,
    /// Keys that kept changing, and wait for the next sweep.
    pub overtaken: u64,
    /// Acts that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
    /// The first of them, with the reasons.
    pub failures: Vec<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Done {
    /// An act about a version.
    Act(Act),
    /// An upload was aborted.
    Abort,
}

impl Report {
    /// How many acts failed.
    #[must_use]
    pub fn failed_count(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Whether nothing was due, or all that was due was done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.overtaken == 0
    }

    fn count(&mut self, done: Done, bytes: u64) {
        let (count, sum) = self.done.entry(done).or_default();
        *count += 1;
        *sum += bytes;
    }

    fn fail(&mut self, kind: FailureKind, what: impl FnOnce() -> String) {
        *self.failed.entry(kind).or_default() += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(what());
        }
    }
}

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

/// The bucket's rules, with the revision that acts by them guard; None: there are none.
///
/// # Errors
/// The index's; `Corrupt`.
pub async fn rules(store: &Store, bucket: &Bucket) -> Result<Option<(Configuration, Revision)>, StorageError> {
    let found = store.document_with_revision(bucket.id, DocumentKind::Lifecycle).await?;
    found.map(|(value, revision)| Ok((Configuration::from_value(&value)?, revision))).transpose()
}

/// The bucket's configurations of INTELLIGENT_TIERING, if it has objects of the class, and their revision, if it has any.
pub(crate) async fn tiering(
    store: &Store,
    bucket: &Bucket,
) -> Result<(Option<Arc<Configurations>>, Option<Revision>), StorageError> {
    let document = store.document_with_revision(bucket.id, DocumentKind::IntelligentTiering).await?;
    let (value, revision) = document.unzip();
    if !holds_tiered(store, bucket).await? {
        return Ok((None, revision));
    }
    let configurations = value.map(|value| Configurations::from_value(&value)).transpose()?.unwrap_or_default();
    Ok((Some(Arc::new(configurations)), revision))
}

/// Whether the bucket has objects in INTELLIGENT_TIERING.
///
/// # Errors
/// The index's.
pub async fn holds_tiered(store: &Store, bucket: &Bucket) -> Result<bool, StorageError> {
    let count = |view: &dyn View| usage::read(view, StorageClass::IntelligentTiering, Counter::Versions);
    Ok(store.index().view(bucket.id.into(), count).await? > 0)
}

/// Sweeps a bucket. No move begins that long after the first one.
///
/// # Errors
/// Those after which going on makes no sense.
pub async fn sweep(
    store: &Store,
    bucket: &Bucket,
    calendar: Calendar,
    moves_last: Duration,
    watch: &Watch,
) -> Result<Ended, StorageError> {
    // Asked for first: what changes from here on, the sweep may miss.
    let changed = store.last_change(bucket.id);
    let (configuration, rules_revision) = rules(store, bucket).await?.unzip();
    let (tiering, tiering_revision) = tiering(store, bucket).await?;
    let rules = RulesByKey::new(Arc::new(configuration.unwrap_or_default()));
    let (prefixes, older) = walked(rules.configuration(), tiering.is_some());
    let (revisions, earliest) = ((rules_revision, tiering_revision), Earliest::default());
    let sweep = Sweep { store, bucket, rules, tiering, older, revisions, calendar, watch, earliest };
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

/// The prefixes that a walk goes through, and whether it looks at older versions. Objects of every key can be in
/// INTELLIGENT_TIERING, whose tiers need no rule.
pub(crate) fn walked(rules: &Configuration, holds_tiered: bool) -> (Vec<String>, bool) {
    if holds_tiered { (vec![String::new()], true) } else { (prefixes(rules), has_noncurrent(rules)) }
}

/// Whether any rule is about older versions.
fn has_noncurrent(rules: &Configuration) -> bool {
    let asks = |rule: &Rule| !rule.noncurrent_transitions.is_empty() || rule.noncurrent_expiration.is_some();
    rules.rules.iter().any(|rule| rule.enabled && asks(rule))
}

/// Whether any rule is about uploads.
pub(crate) fn has_aborts(rules: &Configuration) -> bool {
    rules.rules.iter().any(|rule| rule.enabled && rule.abort_days.is_some())
}

/// The prefixes of the enabled rules that are about versions, without those that another one covers.
#[must_use]
pub fn prefixes(rules: &Configuration) -> Vec<String> {
    let about_versions = rules.rules.iter().filter(|rule| {
        rule.enabled
            && (rule.expiration.is_some()
                || !rule.transitions.is_empty()
                || !rule.noncurrent_transitions.is_empty()
                || rule.noncurrent_expiration.is_some())
    });
    let mut prefixes: Vec<String> = about_versions.map(|rule| rule.filter.prefix().to_owned()).collect();
    prefixes.sort_unstable();
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
    prefixes
}

pub(crate) fn act_of(action: Action) -> Act {
    match action {
        Action::Expire => Act::Expire,
        Action::Remove => Act::Remove,
        Action::RemoveMarker => Act::RemoveMarker,
        Action::Transition(class) => Act::Transition(class),
    }
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
    fn of(self, mut swept: SweptKey<Act>) -> Option<SweptKey<Act>> {
        swept.due.retain(|(_, act)| is_move(*act) != matches!(self, Self::Left));
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
    rules: RulesByKey,
    tiering: Option<Arc<Configurations>>,
    /// Older versions are looked at, too.
    older: bool,
    /// Of the rules, and of the configurations of INTELLIGENT_TIERING.
    revisions: (Option<Revision>, Option<Revision>),
    calendar: Calendar,
    watch: &'s Watch,
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
                if page.keys.iter().any(|swept| swept.due.iter().any(|(_, act)| is_move(*act))) {
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
    async fn work(&self, keys: Vec<SweptKey<Act>>, moves: Moves<'_>) -> Result<bool, StorageError> {
        let work = |swept: SweptKey<Act>| async move {
            let key = swept.key.clone();
            match moves {
                Moves::Within(turn) if turn.is_over() => Ok((key, None)),
                _ => self.key(swept, moves).await.map(|done| (key, Some(done))),
            }
        };
        let at_once = if let Moves::Left = moves { KEYS_AT_ONCE } else { COPIES_AT_ONCE };
        let mut working = stream::iter(keys).map(work).buffer_unordered(at_once);
        let mut was_late = false;
        while let Some(outcome) = working.next().await {
            let (key, Some(outcome)) = outcome? else {
                was_late = true;
                continue;
            };
            let mut report = self.watch.report.lock();
            for (_, act, bytes) in outcome.done {
                report.count(Done::Act(act), bytes);
            }
            report.overtaken += u64::from(outcome.overtaken);
            for failed in outcome.failed {
                report.fail(failed.kind, || format!("{:?} of {key:?} {}: {}", failed.act, failed.id, failed.reason));
            }
        }
        Ok(was_late)
    }

    /// One page of the walk.
    async fn page(&self, position: SweepPosition, scope: SweepScope) -> Result<SweptPage<Act>, StorageError> {
        let (mut rules, calendar, now) = (self.rules.clone(), self.calendar, self.store.clock().now());
        let (earliest, tiering) = (self.earliest.clone(), self.tiering.clone());
        let due = move |key: &str, version: &SweptVersion| {
            let verdict = rules.verdict(calendar, key, version, now);
            earliest.note(verdict.next);
            // A lock that ends may let something fall due.
            earliest.note(version.object.as_ref().and_then(|object| object.locked_until));
            if let Some((action, _)) = verdict.due {
                return Some(act_of(action));
            }
            let verdict = tier_verdict(tiering.as_deref(), calendar, key, version, now);
            earliest.note(verdict.next);
            verdict.due.map(Act::Tier)
        };
        self.store.sweep_page(self.bucket.id, position, scope, PAGE, due).await
    }

    /// Does what is due about a key; if it changes meanwhile, what is due then.
    async fn key(&self, mut swept: SweptKey<Act>, moves: Moves<'_>) -> Result<ActsDone, StorageError> {
        let mut all = ActsDone::default();
        for _ in 0..ATTEMPTS_MAX {
            let (rules, tiering) = self.revisions;
            let basis = Basis { head: swept.head, rules, tiering };
            let outcome = self.store.act_on_key(self.bucket, &swept.key, basis, &swept.due).await?;
            all.done.extend(outcome.done);
            all.failed.extend(outcome.failed);
            all.overtaken = outcome.overtaken;
            if !all.overtaken {
                break;
            }
            let again = self.decide_again(&swept.key).await?;
            let Some(again) = again.and_then(|again| moves.of(again)) else {
                all.overtaken = false;
                break;
            };
            swept = again;
            // What failed was tried; it is due still, and is tried again by the next sweep.
            let failed: HashSet<_> = all.failed.iter().map(|failed| (failed.id, failed.act)).collect();
            swept.due.retain(|due| !failed.contains(due));
        }
        Ok(all)
    }

    /// What is due about a key that has changed: the first page's of its versions that has any.
    async fn decide_again(&self, key: &ObjectKey) -> Result<Option<SweptKey<Act>>, StorageError> {
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
        let rules = self.rules.configuration();
        let now = self.store.clock().now();
        let mut next = has_aborts(rules).then_some((None, None));
        while let Some((after_key, after_upload)) = next {
            if !self.goes_on().await? {
                return Ok(false);
            }
            let list = ListUploads { after_key, after_upload, max_uploads: PAGE_UPLOADS, ..ListUploads::default() };
            let page = self.store.list_uploads(self.bucket, list).await?;
            for entry in page.entries {
                let ListedUpload::Upload(upload) = entry else { continue };
                let due = aborts(rules, upload.key.as_str(), self.calendar, upload.initiated);
                let Some((due, _)) = due else { continue };
                if due > now {
                    self.earliest.note(Some(due));
                    continue;
                }
                let aborted = self.store.abort_upload(self.bucket, &upload.key, upload.id).await;
                let mut report = self.watch.report.lock();
                match aborted {
                    Ok(()) => report.count(Done::Abort, 0),
                    // Its client was faster.
                    Err(StorageError::NoSuchUpload) => {}
                    Err(error) if is_fatal(&error) => return Err(error),
                    Err(error) => report
                        .fail(FailureKind::of(&error), || format!("Abort of {:?} {}: {error}", upload.key, upload.id)),
                }
            }
            next = page.next.map(|(key, upload)| (Some(key), upload));
        }
        Ok(true)
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

/// Where a version belongs among the access tiers; of one that is not in INTELLIGENT_TIERING nothing is due.
pub(crate) fn tier_verdict(
    configurations: Option<&Configurations>,
    calendar: Calendar,
    key: &str,
    version: &SweptVersion,
    now: Timestamp,
) -> tiering::Verdict {
    let object = version.object.as_ref().filter(|object| object.class == StorageClass::IntelligentTiering);
    let (Some(configurations), Some(object)) = (configurations, object) else { return tiering::Verdict::default() };
    let SweptObject { size_bytes, tags, since, access, restored, .. } = object;
    let facts =
        tiering::Facts { key, tags, size_bytes: *size_bytes, since: *since, access: *access, restored: *restored };
    tiering::decide(configurations, calendar, &facts, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Expiration, Filter, When};

    #[test]
    fn what_another_prefix_covers_is_not_walked_twice() {
        let rule = |prefix: &str, enabled| Rule {
            id: prefix.to_owned(),
            enabled,
            filter: Filter { prefix: Some(prefix.to_owned()), ..Filter::default() },
            expiration: Some(Expiration::At(When::Days(1))),
            transitions: Vec::new(),
            noncurrent_transitions: Vec::new(),
            noncurrent_expiration: None,
            abort_days: None,
        };
        let check = |rules: Vec<Rule>, expected: &[&str]| {
            assert_eq!(prefixes(&Configuration { rules, ..Configuration::default() }), expected);
        };
        check(vec![rule("b", true), rule("a/b", true), rule("a/", true), rule("a/bc", true)], &["a/", "b"]);
        check(vec![rule("", true), rule("a", true)], &[""]);
        check(vec![rule("", false), rule("a", true)], &["a"]);
        check(vec![Rule { expiration: None, abort_days: Some(1), ..rule("a", true) }], &[]);
    }
}
