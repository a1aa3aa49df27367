//! Lifecycle rules: carrying a bucket's out now, and telling what they, or others, would do.

use std::time::Instant;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::plan::{self, Line, Sum};
use cairn_lifecycle::sweep::{self, Done};
use cairn_storage::clock::Timestamp;
use cairn_storage::ops::lifecycle::Act;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authorize::{Authorized, OnBucket};
use crate::lifecycle_sweeps;
use crate::s3::error::Failure;
use crate::s3::lifecycle_configuration;
use crate::s3::request::Answer;

use super::{Admin, json};

/// How far a plan looks ahead at most: ten years.
const DAYS_MAX: u32 = 3_650;

/// What a run did.
#[derive(Serialize)]
struct RunDocument {
    /// Versions looked at.
    versions: u64,
    done: Vec<DoneDocument>,
    /// Keys that kept changing, and wait for the next sweep.
    overtaken: u64,
    failed: u64,
    /// The first failures.
    failures: Vec<String>,
}

#[derive(Serialize)]
struct DoneDocument {
    /// `expire`, `remove`, `remove-marker`, `transition` or `abort-upload`.
    action: &'static str,
    /// Where versions moved.
    class: Option<&'static str>,
    count: u64,
    bytes: u64,
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
    rule: String,
    action: &'static str,
    /// The class of the versions; none for delete markers and uploads.
    class: Option<&'static str>,
    /// Where they move.
    to: Option<&'static str>,
    now: u64,
    now_bytes: u64,
    later: u64,
    later_bytes: u64,
    examples: Vec<String>,
}

pub(super) async fn run_lifecycle(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let began = Instant::now();
    let report = sweep::sweep(&admin.store, bucket, admin.lifecycle.calendar).await?;
    lifecycle_sweeps::note(&admin.metrics, bucket, &report, began.elapsed());
    let done = report.done.iter().map(|(done, (count, bytes))| {
        let (action, class) = names(*done);
        DoneDocument { action, class, count: *count, bytes: *bytes }
    });
    json(&RunDocument {
        versions: report.versions,
        done: done.collect(),
        overtaken: report.overtaken,
        failed: report.failed,
        failures: report.failures,
    })
}

/// How an action is named in documents and metrics, and the class that it moves to.
pub fn names(done: Done) -> (&'static str, Option<&'static str>) {
    match done {
        Done::Act(Act::Expire) => ("expire", None),
        Done::Act(Act::Remove) => ("remove", None),
        Done::Act(Act::RemoveMarker) => ("remove-marker", None),
        Done::Act(Act::Transition(class)) => ("transition", Some(class.name())),
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
        None => sweep::rules(&admin.store, bucket).await?.map(|(rules, _)| rules).ok_or_else(|| {
            Failure::custom("NoSuchLifecycleConfiguration", StatusCode::NOT_FOUND, "The bucket has no lifecycle rules.")
        })?,
    };
    let calendar: Calendar = admin.lifecycle.calendar;
    let plan = plan::plan(&admin.store, bucket, rules.clone(), calendar, at, question.days).await?;
    let lines = plan.lines.into_iter().map(|(line, sum)| {
        let rule = rules.rules.get(line.rule).map(|rule| rule.id.clone()).unwrap_or_default();
        line_document(rule, &line, sum)
    });
    json(&PlanDocument { at: time_text(at), days: question.days, versions: plan.versions, lines: lines.collect() })
}

fn line_document(rule: String, line: &Line, sum: Sum) -> LineDocument {
    let (action, to) = names(line.done);
    let class = line.class.map(|class| class.name());
    let Sum { now, now_bytes, later, later_bytes, examples } = sum;
    LineDocument { rule, action, class, to, now, now_bytes, later, later_bytes, examples }
}

fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Failure::invalid_argument("at", text, "The time must be of RFC 3339, as in 2026-01-31T18:00:00Z.")
    })?;
    Ok(Timestamp(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)))
}

fn time_text(time: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
