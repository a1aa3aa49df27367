//! Replication: how far behind a bucket's rules are, what was given up, and walks through what is there. `cairn replicate` reads the same
//! documents as are written here.

use std::borrow::Cow;

use cairn_storage::index::family::walk::{Finding, WalkKind, WalkRecord};
use cairn_storage::jobs::walks::FINDINGS_KEPT_MAX;
use cairn_storage::ops::replication::QueuedTask;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::authorize::{Authorized, OnBucket};
use crate::metrics::Measures;
use crate::replication::status::{self, RuleStatus};
use crate::replication::walks::{self, Walked};
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::jobs::{self, JobDocument};
use super::restores::time_text;
use super::{Admin, json};

/// How much of what was given up one call shows, or tries again.
const FAILED_MAX: usize = 1_000;

/// How much of what a verification has found one call shows.
const FINDINGS_PAGE: usize = 100;

#[derive(Serialize, Deserialize)]
pub(crate) struct StatusDocument {
    pub(crate) bucket: String,
    pub(crate) rules: Vec<RuleDocument>,
}

/// A rule. The times are of RFC 3339, in UTC.
#[derive(Serialize, Deserialize)]
pub(crate) struct RuleDocument {
    pub(crate) rule: String,
    pub(crate) target: String,
    pub(crate) pending_versions: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) oldest_pending: Option<String>,
    pub(crate) failed: u64,
    pub(crate) running: usize,
    /// The target does not answer, and is asked again then.
    pub(crate) down_until: Option<String>,
    pub(crate) last_error: Option<String>,
    /// What was brought there since the server was started.
    #[serde(default)]
    pub(crate) brought: u64,
    /// Within how many seconds half of it was, and 99 of 100; not within a day: none.
    #[serde(default)]
    pub(crate) half_within_seconds: Option<f64>,
    #[serde(default)]
    pub(crate) most_within_seconds: Option<f64>,
    /// What ended later than fifteen minutes after it came, since the server was started.
    #[serde(default)]
    pub(crate) missed_threshold: u64,
    /// Bytes that were sent since the server was started, and those a second in the last half of a minute.
    #[serde(default)]
    pub(crate) sent_bytes: u64,
    #[serde(default)]
    pub(crate) bytes_per_second: u64,
}

impl RuleDocument {
    fn new(status: RuleStatus, measures: Measures) -> Self {
        Self {
            rule: status.rule,
            target: status.target,
            pending_versions: status.pending_versions,
            pending_bytes: status.pending_bytes,
            oldest_pending: status.oldest_pending.map(time_text),
            failed: status.failed,
            running: status.lane.running,
            down_until: status.lane.down_until.map(time_text),
            last_error: status.lane.last_error,
            brought: measures.brought,
            half_within_seconds: measures.half_within,
            most_within_seconds: measures.most_within,
            missed_threshold: measures.missed_threshold,
            sent_bytes: measures.sent_bytes,
            bytes_per_second: measures.bytes_per_second,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct FailedDocument {
    pub(crate) failed: Vec<GivenUpDocument>,
    /// There is more than is shown.
    pub(crate) more: bool,
}

/// A version that was given up on its way to a target.
#[derive(Serialize, Deserialize)]
pub(crate) struct GivenUpDocument {
    pub(crate) key: String,
    pub(crate) version: String,
    pub(crate) rule: String,
    pub(crate) target: String,
    pub(crate) at: String,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

impl From<QueuedTask> for GivenUpDocument {
    fn from(given_up: QueuedTask) -> Self {
        Self {
            key: given_up.task.key,
            version: given_up.task.version.to_string(),
            rule: given_up.task.rule,
            target: given_up.task.target,
            at: time_text(given_up.given_up.unwrap_or(given_up.due)),
            attempts: given_up.attempts,
            reason: given_up.last_error.unwrap_or_default(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RetriedDocument {
    /// PENDING again.
    pub(crate) retried: u64,
    /// Gone, or at the target meanwhile: forgotten.
    pub(crate) forgotten: u64,
    /// There is more: call once more.
    pub(crate) more: bool,
}

/// What to walk for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WalkDocument {
    /// This rule alone.
    rule: Option<String>,
    /// A verification is to mend what it finds.
    #[serde(default)]
    mend: bool,
}

/// What a verification has found.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReportDocument {
    pub(crate) job: JobDocument,
    /// In the order in which they were found, those behind the ones that were asked for before. What the job counts as `failed` is all.
    pub(crate) findings: Vec<FindingDocument>,
    /// Where there is more of what is kept.
    pub(crate) next: Option<u64>,
    /// At most so many are kept.
    pub(crate) kept_max: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct FindingDocument {
    /// `missing`, `differs`, `differs-by-right`, `extra` or `unreadable`.
    pub(crate) kind: Cow<'static, str>,
    pub(crate) key: String,
    pub(crate) version: String,
    pub(crate) target: String,
    pub(crate) detail: String,
    pub(crate) mended: bool,
}

impl From<Finding> for FindingDocument {
    fn from(finding: Finding) -> Self {
        let Finding { kind, key, version, target, detail, mended } = finding;
        Self { kind: kind.name().into(), key, version, target, detail, mended }
    }
}

fn no_rules() -> Failure {
    let message = "The bucket has no replication configuration.";
    Failure::custom("ReplicationConfigurationNotFoundError", StatusCode::NOT_FOUND, message)
}

pub(super) async fn get_replication(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    if bucket.replication.is_none() {
        return Err(no_rules());
    }
    let rules = status::of_bucket(&admin.store, &admin.replication, bucket).await?;
    let (measured, now) = (admin.metrics.replication(), admin.store.clock().now());
    let document = |status: RuleStatus| {
        let measures = measured.measures(bucket.name.as_str(), &status.rule, now);
        RuleDocument::new(status, measures)
    };
    let rules = rules.into_iter().map(document).collect();
    json(&StatusDocument { bucket: bucket.name.as_str().to_owned(), rules })
}

pub(super) async fn start_walk(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    document: WalkDocument,
    kind: WalkKind,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let rules = admin.replication.rules.of(&admin.store, bucket).await?.ok_or_else(no_rules)?;
    if let Some(rule) = document.rule.as_deref().filter(|named| !rules.rules.iter().any(|rule| rule.id == **named)) {
        return Err(Failure::invalid_argument("rule", rule, "The configuration has no rule of this name."));
    }
    if document.mend && kind != WalkKind::Verify {
        return Err(Failure::invalid_argument("mend", "true", "Only a verification mends."));
    }
    let walked = Walked { rule: document.rule, mend: document.mend };
    let walk = walks::start(&admin.store, kind, bucket, &walked).await.map_err(jobs::failure)?;
    json(&JobDocument::from(walk))
}

/// What this verification of the bucket has found, or the last one; without the first `from` things.
pub(super) async fn get_report(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    job: Option<&str>,
    from: u64,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket().id;
    let is_meant = |walk: &WalkRecord| {
        let of_bucket = walk.bucket.as_ref().is_some_and(|of| of.id == bucket);
        walk.kind == WalkKind::Verify && of_bucket && job.is_none_or(|id| walk.id.to_string() == id)
    };
    let walk = admin.store.walks().await?.into_iter().rev().find(is_meant).ok_or_else(jobs::no_such_job)?;
    let mut findings = admin.store.findings(&walk, from, FINDINGS_PAGE + 1).await?;
    let next = (findings.len() > FINDINGS_PAGE).then_some(from + FINDINGS_PAGE as u64);
    findings.truncate(FINDINGS_PAGE);
    json(&ReportDocument {
        job: walk.into(),
        findings: findings.into_iter().map(FindingDocument::from).collect(),
        next,
        kept_max: FINDINGS_KEPT_MAX,
    })
}

pub(super) async fn list_failed(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let mut failed = admin.store.unreplicated(authorized.bucket().id, None, FAILED_MAX + 1).await?;
    let more = failed.len() > FAILED_MAX;
    failed.truncate(FAILED_MAX);
    json(&FailedDocument { failed: failed.into_iter().map(GivenUpDocument::from).collect(), more })
}

pub(super) async fn retry_failed(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let failed = admin.store.unreplicated(authorized.bucket().id, None, FAILED_MAX).await?;
    let mut document = RetriedDocument { retried: 0, forgotten: 0, more: failed.len() == FAILED_MAX };
    for given_up in &failed {
        match admin.store.retry_unreplicated(given_up).await? {
            true => document.retried += 1,
            false => document.forgotten += 1,
        }
    }
    json(&document)
}
