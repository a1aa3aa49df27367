//! The walk that compares a bucket with its targets: what is missing there, differs, or is there and not here; and, if that is asked for,
//! has the first two brought there again by the worker.
//!
//! A version is compared if a rule takes it and nothing of it waits to be brought. Both listings are read page by page, the source's first,
//! and compared as far as both reach; what seems wrong is looked at once more at the source, because it may have changed meanwhile. Targets
//! that keep ids are compared version by version with all that belongs to them (`by_id`); at a foreign target what the versions' records say
//! of it is held to what it lists (`foreign`).
//!
//! The role reads, and what it may is in the audit log. Settings that are not for it to bring, or that the target keeps by right (a longer lock, a
//! hold of its own), are told apart, and are not mended: they would be found again for ever.
//!
//! Nothing is ever deleted at a target. That a target's disk has the bytes that it says it has is its own scrub's to find out. Of a page that
//! a crash cut short after it had things mended, the repetition finds these on their way, and so does not report them.

mod by_id;
mod compare;
mod foreign;
mod there;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use cairn_replication::plan;
use cairn_replication::rules::{Configuration, Rule, Target};
use cairn_replication::target::Failure;
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::version::Version;
use cairn_storage::index::family::walk::{DETAIL_CHARS_MAX, Finding, FindingKind, WalkCounts, WalkKind, WalkRecord};
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::jobs::walks::{Step, StepFailure, Walker};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::replication::Bring;
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::replication::{Progress, TargetId};
use minicbor::{Decode, Encode};

use crate::audit::{Audit, Trail};
use crate::authorize::AsRole;
use crate::identities::{Caller, Snapshot};
use crate::s3::Edge;

use super::decided::Decisions;
use super::pages::Place;
use super::walks::{Walked, malformed, no_rules};
use super::{permitted, role};

use there::There;

/// What the audit log calls the comparison of a version.
const OPERATION: &str = "VerifyReplica";

/// Compares buckets with their targets.
#[derive(Debug)]
pub struct Verifier {
    edge: Edge,
    decisions: Decisions,
}

/// Where a walk is: at this target, behind this version.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Cursor {
    #[n(0)]
    target: String,
    #[n(1)]
    behind: Option<Place>,
}

/// The earlier of two ends; None: the end of everything.
fn earlier(one: Option<Place>, other: Option<Place>) -> Option<Place> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.has_passed(&one.key, one.version) { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// One target of a bucket, by the rules that the walk is about.
struct Comparison<'c> {
    edge: &'c Edge,
    store: &'c Store,
    /// The accounts as they are now, and the configuration's role among them.
    identities: &'c Snapshot,
    caller: &'c Arc<Caller>,
    decisions: &'c Decisions,
    bucket: &'c Bucket,
    rules: &'c Configuration,
    /// This rule alone.
    rule: Option<&'c str>,
    target: &'c Target,
    target_id: TargetId,
}

/// What a page has come to.
#[derive(Default)]
struct Compared {
    /// Where the next one begins; None: the target is done.
    next: Option<Place>,
    examined: u64,
    skipped: u64,
    wrong: Vec<Wrong>,
}

/// What is wrong with a version, what more there is to say of it, and what mends it.
type Fault = (FindingKind, String, Option<Bring>);

/// Something wrong, and what mends it.
struct Wrong {
    kind: FindingKind,
    key: ObjectKey,
    /// Its id at the source, or of what is extra at the target.
    version: String,
    detail: String,
    /// What is to be brought; None: nothing would mend it.
    mend: Option<(VersionId, Bring)>,
}

/// What a version has come to.
enum Verdict {
    /// It is there as it is to be.
    Same,
    /// It is not compared.
    Skipped,
    /// It is not as it is to be.
    Wrong(Wrong),
}

#[async_trait]
impl Walker for Verifier {
    fn kind(&self) -> WalkKind {
        WalkKind::Verify
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let over = Step { cursor: None, counts: WalkCounts::default(), note: None };
        let Some(place) = store.walk_place(walk).await? else { return Ok(over) };
        let Some(bucket) = store.bucket_of(place.bucket.id).await? else { return Ok(over) };
        let walked: Walked = minicbor::decode(&walk.argument).map_err(malformed)?;
        let rules = self.edge.replication.rules.of(store, &bucket).await?.ok_or_else(no_rules)?;
        let cursor: Option<Cursor> = match place.within.as_slice() {
            [] => None,
            cursor => Some(minicbor::decode(cursor).map_err(malformed)?),
        };
        let rule = walked.rule.as_deref();
        let targets = targets_of(&rules, rule);
        // Rules may have changed since; targets that are gone have nothing to be compared.
        let at = |cursor: &Cursor| targets.iter().position(|target| target.to_string() >= cursor.target);
        let Some(nth) = cursor.as_ref().map_or(Some(0), at) else { return Ok(over) };
        let Some(target) = targets.get(nth) else { return Ok(over) };
        let behind = cursor.filter(|cursor| cursor.target == target.to_string()).and_then(|cursor| cursor.behind);
        let identities = self.edge.identities.snapshot();
        let caller = role::caller(&identities, &rules.role, &bucket, store.clock().now());
        let comparison = Comparison {
            edge: &self.edge,
            store,
            identities: &identities,
            caller: &caller.map_err(|fault| StepFailure::Refused(fault.to_string()))?,
            decisions: &self.decisions,
            bucket: &bucket,
            rules: &rules,
            rule,
            target,
            target_id: target.id(),
        };
        let compared = comparison.page(behind).await?;
        let next = match compared.next {
            Some(_) => Some((target, compared.next)),
            None => targets.get(nth + 1).map(|next| (next, None)),
        };
        let next = next.map(|(target, behind)| {
            let cursor = Cursor { target: target.to_string(), behind };
            minicbor::to_vec(cursor).unwrap_or_default() // writing to a Vec cannot fail
        });
        let mut counts = WalkCounts { examined: compared.examined, skipped: compared.skipped, ..WalkCounts::default() };
        let mut findings = Vec::with_capacity(compared.wrong.len());
        for wrong in compared.wrong {
            let mended = walked.mend && comparison.mend(&wrong).await?;
            counts.changed += u64::from(mended);
            counts.failed += 1;
            findings.push(comparison.finding(wrong, mended));
        }
        store.keep_findings(walk, &findings).await?;
        Ok(Step { cursor: place.then(next), counts, note: None })
    }
}

/// The targets of these rules, in an order of their own.
fn targets_of<'r>(rules: &'r Configuration, rule: Option<&str>) -> Vec<&'r Target> {
    let meant = rules.rules.iter().filter(|each| each.enabled && rule.is_none_or(|named| each.id == named));
    let mut targets: Vec<&Target> = meant.map(|rule| &rule.destination.target).collect();
    targets.sort_by_key(|target| target.to_string());
    targets.dedup();
    targets
}

impl Verifier {
    /// With what the operations work with.
    #[must_use]
    pub fn new(edge: Edge, audit: Arc<Audit>) -> Self {
        let decisions = Decisions::new(OPERATION, audit, &edge.store);
        Self { edge, decisions }
    }
}

impl Comparison<'_> {
    async fn page(&self, behind: Option<Place>) -> Result<Compared, StepFailure> {
        let there = There::find(self).await?;
        match &there {
            There::Remote(remote) if !remote.is_cairn() => self.page_of_foreign(remote, behind).await,
            there => self.page_by_id(there, behind).await,
        }
    }

    fn acting<'t>(&'t self, trail: &'t Trail) -> AsRole<'t> {
        AsRole { edge: self.edge, identities: self.identities, caller: self.caller, trail }
    }

    /// Tells the audit log what was decided about a version, and what cannot be read of it, if something cannot.
    fn note(&self, trail: &Trail, began: Instant, fault: Option<&Fault>) {
        let lane = Lane { partition: self.bucket.id.into(), target: self.target_id };
        let unread = fault.filter(|(kind, ..)| *kind == FindingKind::Unreadable).map(|(_, detail, _)| detail.as_str());
        self.decisions.note(lane, trail, began.elapsed(), unread);
    }

    /// Ok if the role may read an object at the source, and send it to where the target is. False: but for its tags.
    async fn may_read(
        &self,
        acting: AsRole<'_>,
        key: &ObjectKey,
        version: (&Version, &ObjectVersion),
        rule: &Rule,
    ) -> Result<bool, Failure> {
        let (version, object) = version;
        let may_tags = permitted::read(acting, self.bucket, key, object, !rule.destination.owner_override).await?;
        let Some(remote) = &self.target.remote else { return Ok(may_tags) };
        let there = (remote.as_str(), self.target.bucket.as_str());
        Ok(permitted::send(acting, self.bucket.owner, there, key, version)? && may_tags)
    }

    /// The rules that the walk is about and that go to the target.
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let meant = |rule: &&Rule| rule.enabled && self.rule.is_none_or(|named| rule.id == named);
        self.rules.rules.iter().filter(meant).filter(|rule| rule.destination.target == *self.target)
    }

    /// What all keys that these rules are about begin with.
    fn prefix(&self) -> String {
        let mut prefixes = self.rules().map(|rule| rule.scope.prefix());
        let first = prefixes.next().unwrap_or_default();
        let common = prefixes.fold(first, |common, prefix| {
            let same = common.chars().zip(prefix.chars()).take_while(|(one, other)| one == other);
            &common[..same.map(|(char, _)| char.len_utf8()).sum()]
        });
        common.to_owned()
    }

    /// Whether one of these rules is about keys like this one.
    fn is_about(&self, key: &str) -> bool {
        self.rules().any(|rule| key.starts_with(rule.scope.prefix()))
    }

    /// The rule by which the target is to have the version, if it is to have it and nothing of it is on its way.
    fn carrying(&self, key: &ObjectKey, version: &Version) -> Option<&Rule> {
        let at = version.replication().and_then(|replication| replication.at(self.target_id));
        if at.is_some_and(|status| status.progress == Progress::Pending) {
            return None;
        }
        plan::carrying(self.rules, self.rule, self.target_id, key, version)
    }

    async fn version(&self, key: &ObjectKey, id: VersionId) -> Result<Option<Version>, StorageError> {
        self.store.any_version(self.bucket.id, key, id).await
    }

    /// Has brought what mends it. False: nothing would, or it is on its way.
    async fn mend(&self, wrong: &Wrong) -> Result<bool, StorageError> {
        let Some((id, bring)) = wrong.mend else { return Ok(false) };
        let now = self.store.clock().now();
        let plan = |version: &Version| {
            let rule = self.carrying(&wrong.key, version);
            rule.map(|rule| plan::once_more(rule, &wrong.key, version, now)).unwrap_or_default()
        };
        self.store.replicate_existing(self.bucket.id, &wrong.key, id, bring, plan).await
    }

    fn finding(&self, wrong: Wrong, mended: bool) -> Finding {
        let Wrong { kind, key, version, detail, .. } = wrong;
        let detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
        Finding { kind, key: key.as_str().to_owned(), version, target: self.target.to_string(), detail, mended }
    }

    /// Of something that is not at the target, why it should be.
    fn why_missing(&self, version: &Version) -> &'static str {
        match version.replication().and_then(|replication| replication.at(self.target_id)) {
            Some(status) if status.progress == Progress::Failed => "its replication was given up",
            Some(_) => "it had been brought there",
            None => "it was there before the rule, and has not been brought",
        }
    }
}

/// What a target's failure means for the walk.
fn of_target(failure: Failure) -> StepFailure {
    match failure {
        Failure::Down { reason } | Failure::Silent { reason } | Failure::Full { reason } => StepFailure::Later(reason),
        Failure::Later { reason, .. } => StepFailure::Failed(reason),
        Failure::Refused { reason } => StepFailure::Refused(format!("the target: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str, version: u8) -> Place {
        Place { key: key.to_owned(), version: VersionId::from_bytes([version; 16]) }
    }

    #[test]
    fn a_page_ends_where_the_first_of_both_sides_does() {
        let (one, other) = (place("a", 2), place("a", 3));
        assert_eq!(earlier(Some(one.clone()), Some(other.clone())), Some(other.clone()));
        assert_eq!(earlier(Some(other.clone()), Some(one.clone())), Some(other));
        assert_eq!(earlier(None, Some(one.clone())), Some(one));
        assert_eq!(earlier(None, None), None);
    }
}
