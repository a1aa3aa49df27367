//! Lifecycle rules: having a bucket's carried out now, how its sweeps are, pausing them, and telling what rules would do.

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::documents;
use cairn_lifecycle::plan::{self, Line, Sum};
use cairn_lifecycle::state::{DoneSum, End, FailedSum, Summary};
use cairn_lifecycle::sweep::Done;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::View;
use cairn_storage::index::family::usage;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::{Bucket, Store};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authorize::{Authorized, OnBucket, OnServer, OnService};
use crate::lifecycle_sweeps::Status;
use crate::s3::error::Failure;
use crate::s3::lifecycle_configuration;
use crate::s3::request::Answer;

use super::restores::time_text;
use super::{Admin, json};

/// How far a plan looks ahead at most: ten years.
const DAYS_MAX: u32 = 3_650;

/// Buckets in one page of the list.
const PAGE_BUCKETS_MAX: usize = 200;

/// A bucket's sweeps as the calls answer them. The times are of RFC 3339, in UTC.
#[derive(Serialize)]
struct StatusDocument {
    bucket: String,
    /// `sweeping`, `waiting` (somebody asked for a sweep), `paused` or `idle`.
    state: &'static str,
    paused: bool,
    /// All buckets are.
    all_paused: bool,
    /// When the sweep was asked for that is awaited.
    requested: Option<String>,
    /// For how long something due may have waited.
    lag_seconds: Option<u64>,
    current: Option<SweepDocument>,
    last: Option<SweepDocument>,
    /// What left its class before the class's minimum of days was over, whoever removed or moved it.
    early: Vec<EarlyDocument>,
}

#[derive(Serialize)]
struct EarlyDocument {
    class: &'static str,
    minimum_days: u32,
    versions: i64,
    /// The missing days times the sizes.
    mib_days: i64,
}

/// One sweep.
#[derive(Serialize)]
struct SweepDocument {
    started: String,
    /// None: it is under way.
    ended: Option<String>,
    /// `whole`, `early` (it was paused, the rules changed, or moves were left for the next one) or `failed`.
    end: Option<&'static str>,
    /// Why it failed.
    reason: Option<String>,
    /// Versions looked at.
    versions: u64,
    done: Vec<DoneDocument>,
    /// Keys that kept changing, and wait for the next sweep.
    overtaken: u64,
    failed: Vec<FailedDocument>,
    /// The first failures.
    failures: Vec<String>,
}

#[derive(Serialize)]
struct DoneDocument {
    /// `expire`, `remove`, `remove-marker`, `transition`, `access-tier` or `abort-upload`.
    action: &'static str,
    /// The class, or the tier of INTELLIGENT_TIERING, to which versions moved.
    class: Option<&'static str>,
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct FailedDocument {
    /// `locked`, `tier-down`, `disk-full`, `damaged` or `other`.
    reason: String,
    count: u64,
}

/// A page of the list.
#[derive(Serialize)]
struct StatusesDocument {
    buckets: Vec<StatusDocument>,
    /// There may be more: ask with `after` this bucket.
    next: Option<String>,
}

struct Early(Vec<EarlyDocument>);

impl Early {
    async fn of(store: &Store, bucket: &Bucket) -> Result<Self, StorageError> {
        let page = |view: &dyn View| {
            let mut early = Vec::new();
            for class in StorageClass::ALL {
                let versions = usage::read_early(view, class, usage::Early::Versions)?;
                let mib_days = usage::read_early(view, class, usage::Early::MibDays)?;
                let (class, minimum_days) = (class.name(), class.minimum_days());
                early.push(EarlyDocument { class, minimum_days, versions, mib_days });
            }
            early.retain(|early| early.versions > 0);
            Ok(Self(early))
        };
        Ok(store.index().view(bucket.id.into(), page).await?)
    }
}

impl StatusDocument {
    fn new(bucket: &Bucket, Early(early): Early, status: Status) -> Self {
        let state = match &status {
            Status { running: Some(_), .. } => "sweeping",
            Status { requested: Some(_), .. } => "waiting",
            Status { paused, all_paused, .. } if *paused || *all_paused => "paused",
            _ => "idle",
        };
        let current = status.running.map(|(started, report)| {
            // Its end is not looked at.
            let summary = Summary::new(report, started, started, End::Early);
            SweepDocument { ended: None, end: None, ..SweepDocument::from(summary) }
        });
        Self {
            bucket: bucket.name.as_str().to_owned(),
            state,
            paused: status.paused,
            all_paused: status.all_paused,
            requested: status.requested.map(time_text),
            lag_seconds: status.lag.map(|lag| lag.as_secs()),
            current,
            last: status.last.map(SweepDocument::from),
            early,
        }
    }
}

impl From<Summary> for SweepDocument {
    fn from(summary: Summary) -> Self {
        let (end, reason) = match summary.end {
            End::Whole => ("whole", None),
            End::Early => ("early", None),
            End::Failed(reason) => ("failed", Some(reason)),
        };
        let done = summary.done.into_iter().map(|DoneSum { done, count, bytes }| {
            let (action, class) = names(done.into());
            DoneDocument { action, class, count, bytes }
        });
        let failed = summary.failed.into_iter();
        let failed = failed.map(|FailedSum { kind, count }| FailedDocument { reason: kind, count });
        Self {
            started: time_text(summary.started),
            ended: Some(time_text(summary.ended)),
            end: Some(end),
            reason,
            versions: summary.versions,
            done: done.collect(),
            overtaken: summary.overtaken,
            failed: failed.collect(),
            failures: summary.failures,
        }
    }
}

/// What to plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanQuestion {
    pub(super) bucket: String,
    /// A time of RFC 3339; now, if it is absent.
    at: Option<String>,
    /// How many days after it are told, too.
    days: u32,
    /// A configuration in S3's XML, in place of the stored one.
    configuration: Option<String>,
}

#[derive(Serialize)]
struct PlanDocument {
    at: String,
    days: u32,
    /// Versions looked at.
    versions: u64,
    lines: Vec<LineDocument>,
}

#[derive(Serialize)]
struct LineDocument {
    /// None: objects in INTELLIGENT_TIERING, which move by themselves.
    rule: Option<String>,
    action: &'static str,
    /// The class of the versions; none for delete markers and uploads.
    class: Option<&'static str>,
    /// Where they move.
    to: Option<&'static str>,
    now: u64,
    now_bytes: u64,
    later: u64,
    later_bytes: u64,
    /// How many leave their class before its minimum of days is over.
    early: u64,
    /// The minimum.
    minimum_days: u32,
    examples: Vec<String>,
}

pub(super) async fn run_lifecycle(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    if !admin.sweeps.has_work(bucket).await? {
        return Err(no_rules());
    }
    json(&StatusDocument::new(bucket, Early::of(&admin.store, bucket).await?, admin.sweeps.ask(bucket).await?))
}

pub(super) async fn pause_lifecycle(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    paused: bool,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let status = admin.sweeps.pause(bucket, paused).await?;
    tracing::info!(bucket = bucket.name.as_str(), paused, "lifecycle sweeps of a bucket are paused, or go on");
    json(&StatusDocument::new(bucket, Early::of(&admin.store, bucket).await?, status))
}

pub(super) async fn pause_all_lifecycles(
    admin: &Admin,
    _: Authorized<OnServer>,
    paused: bool,
) -> Result<Answer, Failure> {
    admin.sweeps.pause_all(paused).await?;
    tracing::info!(paused, "lifecycle sweeps of all buckets are paused, or go on");
    json(&serde_json::json!({ "all_paused": paused }))
}

pub(super) async fn get_lifecycle(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    json(&StatusDocument::new(bucket, Early::of(&admin.store, bucket).await?, admin.sweeps.status(bucket).await?))
}

/// The sweeps of the account's buckets that have any, in the order of the buckets' names.
pub(super) async fn list_lifecycles(
    admin: &Admin,
    authorized: Authorized<OnService>,
    after: Option<String>,
) -> Result<Answer, Failure> {
    let (buckets, next) = admin.buckets_after(authorized.account().id, after, PAGE_BUCKETS_MAX).await?;
    let mut document = StatusesDocument { buckets: Vec::new(), next };
    for bucket in buckets {
        if admin.sweeps.has_work(&bucket).await? {
            let early = Early::of(&admin.store, &bucket).await?;
            document.buckets.push(StatusDocument::new(&bucket, early, admin.sweeps.status(&bucket).await?));
        }
    }
    json(&document)
}

fn no_rules() -> Failure {
    Failure::custom("NoSuchLifecycleConfiguration", StatusCode::NOT_FOUND, "The bucket has no lifecycle rules.")
}

/// How an action is named in documents and metrics, and the class that it moves to.
pub fn names(done: Done) -> (&'static str, Option<&'static str>) {
    match done {
        Done::Act(Act::Expire) => ("expire", None),
        Done::Act(Act::Remove) => ("remove", None),
        Done::Act(Act::RemoveMarker) => ("remove-marker", None),
        Done::Act(Act::Transition(class)) => ("transition", Some(class.name())),
        Done::Act(Act::Tier(tier)) => ("access-tier", Some(tier.name())),
        Done::Abort => ("abort-upload", None),
    }
}

pub(super) async fn plan_lifecycle(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    question: PlanQuestion,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let at = question.at.as_deref().map_or_else(|| Ok(admin.store.clock().now()), parse_time)?;
    if question.days > DAYS_MAX {
        return Err(Failure::invalid_argument(
            "days",
            &question.days.to_string(),
            "A plan looks ten years ahead at most.",
        ));
    }
    let rules = match &question.configuration {
        Some(document) => lifecycle_configuration::parse(document.as_bytes(), admin.lifecycle.calendar)?,
        None if !admin.sweeps.has_work(bucket).await? => return Err(no_rules()),
        // Without rules, objects in INTELLIGENT_TIERING move all the same.
        None => documents::rules(&admin.store, bucket).await?.map(|(rules, _)| rules).unwrap_or_default(),
    };
    let calendar: Calendar = admin.lifecycle.calendar;
    let plan = plan::plan(&admin.store, bucket, rules.clone(), calendar, at, question.days).await?;
    let lines = plan.lines.into_iter().map(|(line, sum)| {
        let rule = line.rule.and_then(|rule| rules.rules.get(rule)).map(|rule| rule.id.clone());
        line_document(rule, &line, sum)
    });
    json(&PlanDocument { at: time_text(at), days: question.days, versions: plan.versions, lines: lines.collect() })
}

fn line_document(rule: Option<String>, line: &Line, sum: Sum) -> LineDocument {
    let (action, to) = names(line.done);
    let minimum_days = line.class.map_or(0, StorageClass::minimum_days);
    let class = line.class.map(StorageClass::name);
    let Sum { now, now_bytes, later, later_bytes, early, examples } = sum;
    LineDocument { rule, action, class, to, now, now_bytes, later, later_bytes, early, minimum_days, examples }
}

fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Failure::invalid_argument("at", text, "The time must be of RFC 3339, as in 2026-01-31T18:00:00Z.")
    })?;
    Ok(Timestamp(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)))
}
