//! Replication: how far behind a bucket's rules are, and what was given up.

use cairn_storage::index::family::walk::WalkKind;
use cairn_storage::ops::replication::QueuedTask;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::authorize::{Authorized, OnBucket};
use crate::replication::status::{self, RuleStatus};
use crate::replication::walks::{self, Walked};
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::jobs::{self, JobDocument};
use super::restores::time_text;
use super::{Admin, json};

/// How much of what was given up one call shows, or tries again.
const FAILED_MAX: usize = 1_000;

#[derive(Serialize)]
struct StatusDocument {
    bucket: String,
    rules: Vec<RuleDocument>,
}

/// A rule. The times are of RFC 3339, in UTC.
#[derive(Serialize)]
struct RuleDocument {
    rule: String,
    target: String,
    pending_versions: u64,
    pending_bytes: u64,
    oldest_pending: Option<String>,
    failed: u64,
    running: usize,
    /// The target does not answer, and is asked again then.
    down_until: Option<String>,
    last_error: Option<String>,
}

impl From<RuleStatus> for RuleDocument {
    fn from(status: RuleStatus) -> Self {
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
        }
    }
}

#[derive(Serialize)]
struct FailedDocument {
    failed: Vec<GivenUpDocument>,
    /// There is more than is shown.
    more: bool,
}

/// A version that was given up on its way to a target.
#[derive(Serialize)]
struct GivenUpDocument {
    key: String,
    version: String,
    rule: String,
    target: String,
    at: String,
    attempts: u32,
    reason: String,
}

impl From<QueuedTask> for GivenUpDocument {
    fn from(given_up: QueuedTask) -> Self {
        Self {
            key: given_up.task.key,
            version: given_up.task.version.to_string(),
            rule: given_up.task.rule,
            target: given_up.task.target,
            at: time_text(given_up.due),
            attempts: given_up.attempts,
            reason: given_up.last_error.unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
struct RetriedDocument {
    /// PENDING again.
    retried: u64,
    /// Gone, or at the target meanwhile: forgotten.
    forgotten: u64,
    /// There is more: call once more.
    more: bool,
}

/// What to walk for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WalkDocument {
    /// This rule alone.
    rule: Option<String>,
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
    let rules = rules.into_iter().map(RuleDocument::from).collect();
    json(&StatusDocument { bucket: bucket.name.as_str().to_owned(), rules })
}

pub(super) async fn start_walk(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    document: WalkDocument,
    again: bool,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let rules = admin.replication.rules.of(&admin.store, bucket).await?.ok_or_else(no_rules)?;
    if let Some(rule) = document.rule.as_deref().filter(|named| !rules.rules.iter().any(|rule| rule.id == **named)) {
        return Err(Failure::invalid_argument("rule", rule, "The configuration has no rule of this name."));
    }
    let kind = if again { WalkKind::Resync } else { WalkKind::Backfill };
    let walk =
        walks::start(&admin.store, kind, bucket, &Walked { rule: document.rule }).await.map_err(jobs::failure)?;
    json(&JobDocument::from(walk))
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
