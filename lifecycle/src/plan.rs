//! What rules would do to a bucket, and where its objects in INTELLIGENT_TIERING would move, now and over some days: the
//! sweep's decisions, and nothing done.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::KeyRange;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::sweep::{Standing, SweepPosition, SweepScope, SweptObject, SweptVersion};
use cairn_storage::ops::{Bucket, ListUploads, ListedUpload, Store};

use crate::calendar::Calendar;
use crate::configuration::Configuration;
use crate::documents::tiering;
use crate::due::{Decider, Due, Verdict};
use crate::predict::aborts;
use crate::sweep::{Done, PAGE, PAGE_UPLOADS};

/// How many keys each line names.
const EXAMPLES_MAX: usize = 3;

/// What is planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Versions looked at.
    pub versions: u64,
    /// By rule, class and action.
    pub lines: BTreeMap<Line, Sum>,
}

/// What a sum is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The rule's place in the configuration; None: the access tiers of INTELLIGENT_TIERING, which need no rule.
    pub rule: Option<usize>,
    /// What is done.
    pub done: Done,
    /// The class of the versions; None: delete markers, and uploads.
    pub class: Option<StorageClass>,
}

/// How much it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Versions about which it is due at the time asked about.
    pub now: u64,
    /// Their bytes; those of uploads are not counted.
    pub now_bytes: u64,
    /// Versions about which it falls due in the days after.
    pub later: u64,
    /// Their bytes.
    pub later_bytes: u64,
    /// How many of both leave their class before its minimum of days is over.
    pub early: u64,
    /// Keys of some of them.
    pub examples: Vec<String>,
}

#[derive(Clone, Debug)]
struct Found {
    line: Line,
    bytes: u64,
    now: bool,
    early: bool,
}

/// What `rules` would do at `at`, and within `days` of the calendar after it, if nothing else changed.
///
/// # Errors
/// The index's.
pub async fn plan(
    store: &Store,
    bucket: &Bucket,
    rules: Configuration,
    calendar: Calendar,
    at: Timestamp,
    days: u32,
) -> Result<Plan, StorageError> {
    let mut plan = Plan::default();
    let later = calendar.after(at, days);
    let (tiering, _) = tiering(store, bucket).await?;
    let rules = Arc::new(rules);
    let forecast = Forecast { decider: Decider::new(rules.clone(), tiering, calendar), at, later };
    let (prefixes, older) = forecast.decider.walked();
    for prefix in prefixes {
        let range = KeyRange::prefix(prefix.as_bytes());
        let scope = SweepScope { end: range.end, older };
        let mut next = Some(SweepPosition::From(range.start));
        while let Some(position) = next {
            let mut forecast = forecast.clone();
            let found = move |key: &str, version: &SweptVersion| forecast.found(key, version);
            let page = store.sweep_page(bucket.id, position, scope.clone(), PAGE, found).await?;
            plan.versions += page.versions;
            next = page.next;
            for swept in page.keys {
                for (_, found) in swept.due {
                    plan.add(swept.key.as_str(), found);
                }
            }
        }
    }
    plan.add_uploads(store, bucket, &rules, calendar, (at, later)).await?;
    Ok(plan)
}

/// What decides, and for when.
#[derive(Clone)]
struct Forecast {
    decider: Decider,
    at: Timestamp,
    later: Timestamp,
}

impl Forecast {
    /// The first thing that happens to a version.
    fn found(&mut self, key: &str, version: &SweptVersion) -> Option<Found> {
        let mut then = self.at;
        let Due { act, rule } = loop {
            let Verdict { due, next } = self.verdict(key, version, then);
            match due {
                Some(due) => break due,
                None => then = next.into_iter().flatten().filter(|next| *next > then && *next <= self.later).min()?,
            }
        };
        let object = version.object.as_ref();
        let line = Line { rule, done: Done::Act(act), class: object.map(|object| object.class) };
        // An expiry that leaves the version below a delete marker ends nothing, and what changes its tier stays in its class.
        let ends = match act {
            Act::Expire => matches!(version.standing, Standing::Head { for_good: true, .. }),
            Act::Tier(_) => false,
            Act::Remove | Act::RemoveMarker | Act::Transition(_) => true,
        };
        let early = ends && object.is_some_and(|object| object.class.early_days(object.since, then) > 0);
        let bytes = object.map_or(0, |object| object.size_bytes);
        Some(Found { line, bytes, now: then == self.at, early })
    }

    /// What is due about a version at a time, when some of what locks it now may have ended.
    fn verdict(&mut self, key: &str, version: &SweptVersion, then: Timestamp) -> Verdict {
        let ended = |object: &&SweptObject| object.locked_until.is_some_and(|until| until <= then);
        let Some(object) = version.object.as_ref().filter(ended) else {
            return self.decider.verdict(key, version, then);
        };
        let object = Some(SweptObject { locked_until: None, ..object.clone() });
        self.decider.verdict(key, &SweptVersion { object, ..*version }, then)
    }
}

impl Plan {
    async fn add_uploads(
        &mut self,
        store: &Store,
        bucket: &Bucket,
        rules: &Configuration,
        calendar: Calendar,
        (at, later): (Timestamp, Timestamp),
    ) -> Result<(), StorageError> {
        let mut next = rules.has_aborts().then_some((None, None));
        while let Some((after_key, after_upload)) = next {
            let list = ListUploads { after_key, after_upload, max_uploads: PAGE_UPLOADS, ..ListUploads::default() };
            let page = store.list_uploads(bucket, list).await?;
            for entry in page.entries {
                let ListedUpload::Upload(upload) = entry else { continue };
                let due = aborts(rules, upload.key.as_str(), calendar, upload.initiated);
                if let Some((due, rule)) = due.filter(|(due, _)| *due <= later) {
                    let line = Line { rule: Some(rule), done: Done::Abort, class: None };
                    self.add(upload.key.as_str(), Found { line, bytes: 0, now: due <= at, early: false });
                }
            }
            next = page.next.map(|(key, upload)| (Some(key), upload));
        }
        Ok(())
    }

    fn add(&mut self, key: &str, found: Found) {
        let sum = self.lines.entry(found.line).or_default();
        let (count, bytes) =
            if found.now { (&mut sum.now, &mut sum.now_bytes) } else { (&mut sum.later, &mut sum.later_bytes) };
        *count += 1;
        *bytes += found.bytes;
        sum.early += u64::from(found.early);
        if sum.examples.len() < EXAMPLES_MAX && sum.examples.last().is_none_or(|last| last != key) {
            sum.examples.push(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_storage::id::VersionId;

    use super::*;
    use crate::calendar::DAY_MS;
    use crate::configuration::{Filter, NoncurrentExpiration, Rule};

    #[test]
    fn a_version_that_is_locked_ends_when_both_its_lock_and_its_rule_let_it() {
        let day = |days: i64| Timestamp(days * DAY_MS);
        let check = |rule_days: u32, locked_until: Option<i64>, at: i64, expected: Option<bool>| {
            let rule = Rule {
                id: "old".to_owned(),
                enabled: true,
                filter: Filter::default(),
                expiration: None,
                transitions: Vec::new(),
                noncurrent_transitions: Vec::new(),
                noncurrent_expiration: Some(NoncurrentExpiration { days: rule_days, newer: None }),
                abort_days: None,
            };
            let rules = Configuration { rules: vec![rule], ..Configuration::default() };
            let decider = Decider::new(Arc::new(rules), None, Calendar::REAL);
            let mut forecast = Forecast { decider, at: day(at), later: day(at + 10) };
            let object = SweptObject {
                size_bytes: 1,
                class: StorageClass::Standard,
                tags: Vec::new(),
                locked_until: locked_until.map(day),
                since: day(0),
                access: None,
                restored: None,
            };
            let version = SweptVersion {
                id: VersionId::from_bytes([1; 16]),
                created: day(0),
                standing: Standing::Older { since: day(0), newer: 0 },
                object: Some(object),
            };
            let found = forecast.found("key", &version).map(|found| found.now);
            assert_eq!(found, expected, "{rule_days} {locked_until:?} {at}");
        };
        check(1, None, 5, Some(true));
        check(1, Some(5), 2, Some(false));
        check(8, Some(5), 2, Some(false));
        check(1, Some(13), 2, None);
        check(8, Some(5), 9, Some(true));
        check(1, Some(9), 9, Some(true));
    }
}
