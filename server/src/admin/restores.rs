//! Restores of buckets to a point in time: beginning, watching, listing and ending them. At most one runs in a bucket; of
//! those that have ended, each bucket's last one is kept.

use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::restore::{RestoreRecord, RestoreState};
use cairn_storage::object::KEY_BYTES_MAX;
use cairn_storage::ops::NewRestore;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authorize::{Authorized, OnBucket, OnService};
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::{Admin, json};

/// Restores in one page of the list.
const PAGE_RESTORES_MAX: usize = 500;

/// Buckets looked at for one page of the list.
const PAGE_BUCKETS_MAX: usize = 1_000;

/// What to restore.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartDocument {
    pub(super) bucket: String,
    /// In RFC 3339. A time in whole seconds means until the end of that second, because that is how `LastModified` shows
    /// what happened in it.
    as_of: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    dry_run: bool,
}

/// A restore as the calls answer it. The times are of RFC 3339, in UTC.
#[derive(Serialize)]
struct RestoreDocument {
    bucket: String,
    id: String,
    as_of: String,
    prefix: String,
    dry_run: bool,
    /// `running`, `done`, `cancelled` or `failed`.
    state: &'static str,
    /// Why it failed.
    reason: Option<String>,
    started: String,
    updated: String,
    /// Keys looked at.
    keys: u64,
    restored: u64,
    restored_bytes: u64,
    hidden: u64,
    /// Keys that were written after it began, and are left as they are.
    overtaken: u64,
    /// Keys that looked the same, and are left as they are.
    unchanged: u64,
    /// At most so many versions that existed then are gone for good; told when it is done.
    removed_since: Option<u64>,
}

impl RestoreDocument {
    fn new(bucket: &str, record: RestoreRecord) -> Self {
        let RestoreRecord { id, as_of, prefix, dry_run, started, state, updated, counts, .. } = record;
        let changed = counts.restored + counts.hidden + counts.overtaken;
        let removed_since = (state == RestoreState::Done).then_some(counts.removed);
        let (state, reason) = match state {
            RestoreState::Running => ("running", None),
            RestoreState::Done => ("done", None),
            RestoreState::Cancelled => ("cancelled", None),
            RestoreState::Failed(reason) => ("failed", Some(reason)),
        };
        Self {
            bucket: bucket.to_owned(),
            id: id.to_string(),
            as_of: time_text(as_of),
            prefix,
            dry_run,
            state,
            reason,
            started: time_text(started),
            updated: time_text(updated),
            keys: counts.keys,
            restored: counts.restored,
            restored_bytes: counts.restored_bytes,
            hidden: counts.hidden,
            overtaken: counts.overtaken,
            unchanged: counts.keys.saturating_sub(changed),
            removed_since,
        }
    }
}

/// A page of the list.
#[derive(Serialize)]
struct RestoresDocument {
    restores: Vec<RestoreDocument>,
    /// There may be more: ask with `after` this bucket.
    next: Option<String>,
}

pub(super) async fn start_restore(
    admin: &Admin,
    authorized: Authorized<OnBucket>,
    document: StartDocument,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let account = authorized.writer();
    let as_of = parse_as_of(&document.as_of, admin.store.clock().now())?;
    let StartDocument { prefix, dry_run, .. } = document;
    if prefix.len() > KEY_BYTES_MAX {
        return Err(Failure::invalid_argument("prefix", &prefix, "No key is as long as the prefix."));
    }
    let new = NewRestore { as_of, prefix, dry_run, account };
    let record = admin.store.start_restore(bucket, new).await?;
    tracing::info!(
        bucket = bucket.name.as_str(),
        restore = %record.id,
        as_of = time_text(as_of),
        dry_run,
        %account,
        "a restore to a point in time begins"
    );
    json(&RestoreDocument::new(bucket.name.as_str(), record))
}

pub(super) async fn get_restore(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let record = admin.store.restore(bucket).await?.ok_or_else(no_such_restore)?;
    json(&RestoreDocument::new(bucket.name.as_str(), record))
}

pub(super) async fn cancel_restore(admin: &Admin, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let record = admin.store.cancel_restore(bucket).await?.ok_or_else(no_such_restore)?;
    json(&RestoreDocument::new(bucket.name.as_str(), record))
}

/// The restores in the account's buckets, in the order of the buckets' names.
pub(super) async fn list_restores(
    admin: &Admin,
    authorized: Authorized<OnService>,
    after: Option<String>,
) -> Result<Answer, Failure> {
    let (buckets, next) = admin.buckets_after(authorized.account().id, after, PAGE_BUCKETS_MAX).await?;
    let mut document = RestoresDocument { restores: Vec::new(), next };
    for bucket in buckets {
        if let Some(record) = admin.store.restore(&bucket).await? {
            document.restores.push(RestoreDocument::new(bucket.name.as_str(), record));
        }
        if document.restores.len() == PAGE_RESTORES_MAX {
            document.next = Some(bucket.name.as_str().to_owned());
            break;
        }
    }
    json(&document)
}

fn no_such_restore() -> Failure {
    Failure::custom("NoSuchRestore", StatusCode::NOT_FOUND, "The bucket was never restored to a point in time.")
}

/// The instant up to which a text in RFC 3339 reaches: in whole seconds it names a second, of which what has passed counts.
fn parse_as_of(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        Failure::invalid_argument("as_of", text, "The time must be of RFC 3339, as in 2026-01-31T18:00:00Z.")
    })?;
    let ms = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX);
    let given = Timestamp(ms);
    let end_of_second = if time.nanosecond() == 0 { given.plus_ms(999) } else { given };
    Ok(if given <= now { end_of_second.min(now) } else { given })
}

/// A time in RFC 3339, to the millisecond.
pub(super) fn time_text(time: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_in_whole_seconds_reaches_to_the_end_of_its_second() {
        let now = Timestamp(1_000_000_700);
        let read = |text: &str| parse_as_of(text, now).map(|time| time.0).map_err(|failure| failure.code().to_owned());
        for (text, ms) in [
            ("1970-01-12T13:46:39Z", 999_999_999),
            ("1970-01-12T14:46:39+01:00", 999_999_999),
            ("1970-01-12T13:46:39.001Z", 999_999_001),
            ("1970-01-12T13:46:40Z", 1_000_000_700),
            ("1970-01-12T13:46:40.9Z", 1_000_000_900),
            ("1970-01-12T13:46:41Z", 1_000_001_000),
        ] {
            assert_eq!(read(text), Ok(ms), "{text}");
        }
        for text in ["", "yesterday", "1970-01-12", "1970-01-12T13:46:39", "1970-13-12T13:46:39Z"] {
            assert_eq!(read(text), Err("InvalidArgument".to_owned()), "{text}");
        }
    }

    #[test]
    fn times_are_told_to_the_millisecond() {
        assert_eq!(time_text(Timestamp(999_999_001)), "1970-01-12T13:46:39.001Z");
        assert_eq!(time_text(Timestamp(0)), "1970-01-01T00:00:00Z");
    }
}
