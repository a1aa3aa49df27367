//! Locks in headers: what a new version is asked to have, and what a read shows.

use cairn_storage::clock::Timestamp;
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode};
use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::macros::format_description;

use super::error::Failure;
use super::headers::{OBJECT_LOCK_LEGAL_HOLD, OBJECT_LOCK_MODE, OBJECT_LOCK_RETAIN_UNTIL_DATE, text, value};

/// The retention that a new version is asked to have.
///
/// # Errors
/// `InvalidArgument` for a mode without a date, a date without a mode, and what is neither.
pub fn retention_of(headers: &HeaderMap) -> Result<Option<Retention>, Failure> {
    let (mode, until) = match (text(headers, &OBJECT_LOCK_MODE), text(headers, &OBJECT_LOCK_RETAIN_UNTIL_DATE)) {
        (None, None) => return Ok(None),
        (Some(mode), Some(until)) => (mode, until),
        (mode, until) => {
            let (name, given) =
                if mode.is_some() { (OBJECT_LOCK_MODE, mode) } else { (OBJECT_LOCK_RETAIN_UNTIL_DATE, until) };
            return Err(Failure::invalid_argument(
                name.as_str(),
                given.as_deref().unwrap_or_default(),
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    let parsed = RetentionMode::parse(&mode)
        .ok_or_else(|| Failure::invalid_argument(OBJECT_LOCK_MODE.as_str(), &mode, "Unknown wormMode directive."))?;
    let until = OffsetDateTime::parse(until.trim(), &Iso8601::PARSING).map_err(|_| {
        let message = "The retain until date must be provided in ISO 8601 format";
        Failure::invalid_argument(OBJECT_LOCK_RETAIN_UNTIL_DATE.as_str(), &until, message)
    })?;
    Ok(Some(Retention { mode: parsed, until: timestamp(until) }))
}

/// The legal hold that a new version is asked to have.
///
/// # Errors
/// `InvalidArgument` for what is neither `ON` nor `OFF`.
pub fn legal_hold_of(headers: &HeaderMap) -> Result<Option<bool>, Failure> {
    match text(headers, &OBJECT_LOCK_LEGAL_HOLD).as_deref() {
        None => Ok(None),
        Some("ON") => Ok(Some(true)),
        Some("OFF") => Ok(Some(false)),
        Some(other) => Err(Failure::invalid_argument(
            OBJECT_LOCK_LEGAL_HOLD.as_str(),
            other,
            "Legal Hold must be either of 'ON' or 'OFF'",
        )),
    }
}

/// Whether a new version is asked to have a lock.
pub fn asks_for_lock(settings: &ObjectSettings) -> bool {
    settings.retention.is_some() || settings.legal_hold.is_some()
}

/// S3 takes the bytes of what it must keep only with a digest of them (API reference, PutObject, `Content-MD5`).
pub fn digest_missing(request: &str) -> Failure {
    Failure::invalid_request(format!(
        "Content-MD5 OR x-amz-checksum- HTTP header is required for {request} requests with Object Lock parameters"
    ))
}

/// Writes a version's locks into an answer.
pub fn into_headers(settings: &ObjectSettings, answer: &mut HeaderMap) {
    if let Some(Retention { mode, until }) = settings.retention {
        answer.insert(OBJECT_LOCK_MODE, HeaderValue::from_static(mode.name()));
        answer.insert(OBJECT_LOCK_RETAIN_UNTIL_DATE, value(&date_text(until)));
    }
    if let Some(hold) = settings.legal_hold {
        answer.insert(OBJECT_LOCK_LEGAL_HOLD, HeaderValue::from_static(hold_text(hold)));
    }
}

/// A legal hold's state in S3's words.
pub fn hold_text(hold: bool) -> &'static str {
    if hold { "ON" } else { "OFF" }
}

/// The end of a retention as S3 writes it, to the millisecond: a client that repeats it must not shorten it.
pub fn date_text(until: Timestamp) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let nanoseconds = i128::from(until.0) * 1_000_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(format).unwrap_or_default()
}

/// A date as storage has it. Fractions of a millisecond are rounded up, so that nothing is kept shorter than asked for.
pub fn timestamp(date: OffsetDateTime) -> Timestamp {
    let ms = date.unix_timestamp_nanos().div_euclid(1_000_000)
        + i128::from(date.unix_timestamp_nanos().rem_euclid(1_000_000) > 0);
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(mode: &'static str, until: &'static str) -> HeaderMap {
        let pairs = [(OBJECT_LOCK_MODE, mode), (OBJECT_LOCK_RETAIN_UNTIL_DATE, until)];
        let pairs = pairs.into_iter().filter(|(_, text)| !text.is_empty());
        pairs.map(|(name, text)| (name, HeaderValue::from_static(text))).collect()
    }

    #[test]
    fn a_retention_is_a_mode_and_a_date() {
        assert_eq!(retention_of(&headers("", "")).unwrap(), None);
        for (until, ms) in [
            ("2030-01-01T00:00:00Z", 1_893_456_000_000),
            ("2030-01-01T00:00:00.250Z", 1_893_456_000_250),
            ("2030-01-01T00:00:00.000000001Z", 1_893_456_000_001),
            ("2030-01-01T02:00:00+02:00", 1_893_456_000_000),
            ("20300101T000000Z", 1_893_456_000_000),
        ] {
            let retention = retention_of(&headers("COMPLIANCE", until)).unwrap().unwrap();
            assert_eq!(retention, Retention { mode: RetentionMode::Compliance, until: Timestamp(ms) }, "{until}");
        }
        for (mode, until) in [
            ("GOVERNANCE", ""),
            ("", "2030-01-01T00:00:00Z"),
            ("governance", "2030-01-01T00:00:00Z"),
            ("GOVERNANCE", "Tue, 01 Jan 2030 00:00:00 GMT"),
            ("GOVERNANCE", "2030-13-01T00:00:00Z"),
        ] {
            let failure = retention_of(&headers(mode, until)).unwrap_err();
            assert_eq!(failure.code(), "InvalidArgument", "{mode} {until}");
        }
    }

    #[test]
    fn a_legal_hold_is_on_or_off() {
        let of = |text: &'static str| {
            legal_hold_of(&[(OBJECT_LOCK_LEGAL_HOLD, HeaderValue::from_static(text))].into_iter().collect())
        };
        assert_eq!(legal_hold_of(&HeaderMap::new()).unwrap(), None);
        assert_eq!((of("ON").unwrap(), of("OFF").unwrap()), (Some(true), Some(false)));
        assert_eq!(of("on").unwrap_err().code(), "InvalidArgument");
    }

    #[test]
    fn what_a_read_shows_is_what_a_write_may_say() {
        let settings = ObjectSettings {
            retention: Some(Retention { mode: RetentionMode::Governance, until: Timestamp(1_893_456_000_007) }),
            legal_hold: Some(true),
            ..ObjectSettings::default()
        };
        let mut shown = HeaderMap::new();
        into_headers(&settings, &mut shown);
        assert_eq!(retention_of(&shown).unwrap(), settings.retention);
        assert_eq!(legal_hold_of(&shown).unwrap(), settings.legal_hold);
    }
}
