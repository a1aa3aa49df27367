//! One sweep of a bucket: every version is decided about, what is due is done, uploads that are too old are aborted.
//!
//! Memory is bounded: a page of the walk holds what is due and nothing else. Nothing of a sweep is kept: one that was cut
//! short begins anew, and finds what is still due. What was overtaken by a change is decided again at once, a few times.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::{KeyRange, Revision};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::lifecycle::{Act, ActsDone, Basis, is_fatal};
use cairn_storage::ops::sweep::{Standing, SweepLimits, SweepPosition, SweptKey, SweptPage, SweptVersion};
use cairn_storage::ops::{Bucket, ListUploads, ListedUpload, Store};
use cairn_storage::record::Record;
use futures::{StreamExt as _, stream};

use crate::calendar::Calendar;
use crate::configuration::Configuration;
use crate::decide::{Action, Facts, ObjectFacts, Place, Verdict, decide};
use crate::predict::aborts;

/// How far one page of a walk goes: it may run where requests are served, and asks up to a thousand rules about each version.
pub(crate) const PAGE: SweepLimits = SweepLimits { versions: 2_000, found: 2_000 };

/// How many keys are worked on at once.
const KEYS_AT_ONCE: usize = 64;

/// How many keys with versions that move, because each copies files of any size.
const COPIES_AT_ONCE: usize = 3;

/// How often a key that changes under the sweep is decided about again; then it waits for the next sweep.
const ATTEMPTS_MAX: usize = 4;

/// Uploads in one page.
pub(crate) const PAGE_UPLOADS: usize = 1_000;

/// Failures of which a report tells.
const FAILURES_MAX: usize = 10;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Versions looked at.
    pub versions: u64,
    /// What was done: how many versions, and their bytes.
    pub done: BTreeMap<Done, (u64, u64)>,
    /// Keys that kept changing, and wait for the next sweep.
    pub overtaken: u64,
    /// Acts that failed.
    pub failed: u64,
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
    fn count(&mut self, done: Done, bytes: u64) {
        let (count, sum) = self.done.entry(done).or_default();
        *count += 1;
        *sum += bytes;
    }

    fn fail(&mut self, what: impl FnOnce() -> String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(what());
        }
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

/// Sweeps a bucket.
///
/// # Errors
/// Those after which going on makes no sense.
pub async fn sweep(store: &Store, bucket: &Bucket, calendar: Calendar) -> Result<Report, StorageError> {
    let mut report = Report::default();
    let Some((configuration, revision)) = rules(store, bucket).await? else { return Ok(report) };
    let sweep = Sweep { store, bucket, rules: Arc::new(configuration), revision, calendar };
    for prefix in prefixes(&sweep.rules) {
        sweep.versions_under(&prefix, &mut report).await?;
    }
    sweep.uploads(&mut report).await?;
    Ok(report)
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

/// Whether any rule is about uploads.
pub(crate) fn has_aborts(rules: &Configuration) -> bool {
    rules.rules.iter().any(|rule| rule.enabled && rule.abort_days.is_some())
}

/// What is decided about a version that a walk came to.
#[must_use]
pub fn verdict(
    rules: &Configuration,
    calendar: Calendar,
    key: &str,
    version: &SweptVersion,
    now: Timestamp,
) -> Verdict {
    let place = match version.standing {
        Standing::Head { alone, for_good } => Place::Current { alone, for_good },
        Standing::Older { since, newer } => Place::Noncurrent { since, newer },
    };
    let object = version.object.as_ref().map(|object| ObjectFacts {
        size_bytes: object.size_bytes,
        class: object.class,
        tags: &object.tags,
        locked: object.locked,
    });
    decide(rules, calendar, &Facts { key, created: version.created, place, object }, now)
}

pub(crate) fn act_of(action: Action) -> Act {
    match action {
        Action::Expire => Act::Expire,
        Action::Remove => Act::Remove,
        Action::RemoveMarker => Act::RemoveMarker,
        Action::Transition(class) => Act::Transition(class),
    }
}

struct Sweep<'s> {
    store: &'s Store,
    bucket: &'s Bucket,
    rules: Arc<Configuration>,
    revision: Revision,
    calendar: Calendar,
}

impl Sweep<'_> {
    async fn versions_under(&self, prefix: &str, report: &mut Report) -> Result<(), StorageError> {
        let range = KeyRange::prefix(prefix.as_bytes());
        let mut next = Some(SweepPosition::From(range.start));
        while let Some(position) = next {
            if !self.rules_hold().await? {
                return Ok(());
            }
            let page = self.page(position, range.end.clone()).await?;
            report.versions += page.versions;
            next = page.next;
            let moves = |swept: &SweptKey<Act>| swept.due.iter().any(|(_, act)| matches!(act, Act::Transition(_)));
            let (moving, others): (Vec<_>, Vec<_>) = page.keys.into_iter().partition(moves);
            let work = |swept: SweptKey<Act>| async move { (swept.key.clone(), self.key(swept).await) };
            let mut working = stream::select(
                stream::iter(moving).map(work).buffer_unordered(COPIES_AT_ONCE),
                stream::iter(others).map(work).buffer_unordered(KEYS_AT_ONCE),
            );
            while let Some((key, outcome)) = working.next().await {
                let outcome = outcome?;
                for (_, act, bytes) in outcome.done {
                    report.count(Done::Act(act), bytes);
                }
                report.overtaken += u64::from(outcome.overtaken);
                for (id, act, reason) in outcome.failed {
                    report.fail(|| format!("{act:?} of {key:?} {id}: {reason}"));
                }
            }
        }
        Ok(())
    }

    /// One page of the walk.
    async fn page(&self, position: SweepPosition, end: Option<Vec<u8>>) -> Result<SweptPage<Act>, StorageError> {
        let (rules, calendar, now) = (Arc::clone(&self.rules), self.calendar, self.store.clock().now());
        let due = move |key: &str, version: &SweptVersion| {
            verdict(&rules, calendar, key, version, now).due.map(|(action, _)| act_of(action))
        };
        self.store.sweep_page(self.bucket.id, position, end, PAGE, due).await
    }

    /// Does what is due about a key; if it changes meanwhile, what is due then.
    async fn key(&self, mut swept: SweptKey<Act>) -> Result<ActsDone, StorageError> {
        let mut all = ActsDone::default();
        for _ in 0..ATTEMPTS_MAX {
            let basis = Basis { head: swept.head, rules: self.revision };
            let outcome = self.store.act_on_key(self.bucket, &swept.key, basis, &swept.due).await?;
            all.done.extend(outcome.done);
            all.failed.extend(outcome.failed);
            all.overtaken = outcome.overtaken;
            if !all.overtaken {
                break;
            }
            let Some(again) = self.decide_again(&swept.key).await? else {
                all.overtaken = false;
                break;
            };
            swept = again;
            // What failed was tried; it is due still, and is tried again by the next sweep.
            let failed: HashSet<_> = all.failed.iter().map(|(id, act, _)| (*id, *act)).collect();
            swept.due.retain(|due| !failed.contains(due));
        }
        Ok(all)
    }

    /// What is due about a key that has changed: the first page's of its versions that has any.
    async fn decide_again(&self, key: &ObjectKey) -> Result<Option<SweptKey<Act>>, StorageError> {
        let end = Some([key.as_bytes(), b"\0"].concat());
        let mut next = Some(SweepPosition::From(key.as_bytes().to_vec()));
        while let Some(position) = next {
            let page = self.page(position, end.clone()).await?;
            if let Some(swept) = page.keys.into_iter().next() {
                return Ok(Some(swept));
            }
            next = page.next;
        }
        Ok(None)
    }

    /// Aborts the uploads that are too old.
    async fn uploads(&self, report: &mut Report) -> Result<(), StorageError> {
        if !has_aborts(&self.rules) {
            return Ok(());
        }
        let now = self.store.clock().now();
        let mut list = ListUploads { max_uploads: PAGE_UPLOADS, ..ListUploads::default() };
        while self.rules_hold().await? {
            let page = self.store.list_uploads(self.bucket, list.clone()).await?;
            for entry in page.entries {
                let ListedUpload::Upload(upload) = entry else { continue };
                let Some((due, _)) = aborts(&self.rules, upload.key.as_str(), self.calendar, upload.initiated) else {
                    continue;
                };
                if due > now {
                    continue;
                }
                match self.store.abort_upload(self.bucket, &upload.key, upload.id).await {
                    Ok(()) => report.count(Done::Abort, 0),
                    // Its client was faster.
                    Err(StorageError::NoSuchUpload) => {}
                    Err(error) if is_fatal(&error) => return Err(error),
                    Err(error) => report.fail(|| format!("Abort of {:?} {}: {error}", upload.key, upload.id)),
                }
            }
            let Some((after_key, after_upload)) = page.next else { return Ok(()) };
            list = ListUploads { after_key: Some(after_key), after_upload, ..list };
        }
        Ok(())
    }

    /// Whether the rules are what they were; else the next sweep goes by the new ones.
    async fn rules_hold(&self) -> Result<bool, StorageError> {
        let found = self.store.document_with_revision(self.bucket.id, DocumentKind::Lifecycle).await?;
        Ok(found.is_some_and(|(_, revision)| revision == self.revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Expiration, Filter, Rule, When};

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
