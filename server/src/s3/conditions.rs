//! Conditional headers, as preconditions of storage.

use cairn_storage::clock::Timestamp;
use cairn_storage::ops::{EtagCondition, ReadConditions, WriteConditions};
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};

use super::error::Failure;
use super::headers::{self, IF_MATCH_LAST_MODIFIED_TIME, IF_MATCH_SIZE};

const COPY_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const COPY_IF_NONE_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-none-match");
const COPY_IF_MODIFIED_SINCE: HeaderName = HeaderName::from_static("x-amz-copy-source-if-modified-since");
const COPY_IF_UNMODIFIED_SINCE: HeaderName = HeaderName::from_static("x-amz-copy-source-if-unmodified-since");

/// The conditions of a GET or HEAD.
pub fn of_read(headers: &HeaderMap) -> ReadConditions {
    read_conditions(headers, [&IF_MATCH, &IF_NONE_MATCH, &IF_MODIFIED_SINCE, &IF_UNMODIFIED_SINCE])
}

/// The conditions on the source of a copy.
pub fn of_copy_source(headers: &HeaderMap) -> ReadConditions {
    read_conditions(headers, [&COPY_IF_MATCH, &COPY_IF_NONE_MATCH, &COPY_IF_MODIFIED_SINCE, &COPY_IF_UNMODIFIED_SINCE])
}

fn read_conditions(headers: &HeaderMap, names: [&HeaderName; 4]) -> ReadConditions {
    let [if_match, if_none_match, if_modified_since, if_unmodified_since] = names;
    ReadConditions {
        if_match: etags(headers, if_match),
        if_none_match: etags(headers, if_none_match),
        if_modified_since: date(headers, if_modified_since),
        if_unmodified_since: date(headers, if_unmodified_since),
    }
}

/// The conditions of a write. S3 itself takes only `*` in `If-None-Match`; other stores and HTTP take ETags as well.
pub fn of_write(headers: &HeaderMap) -> WriteConditions {
    WriteConditions {
        if_match: etags(headers, &IF_MATCH),
        if_none_match: etags(headers, &IF_NONE_MATCH),
        ..WriteConditions::default()
    }
}

/// The conditions of a deletion, which may name size and time as well.
///
/// # Errors
/// `InvalidArgument` for a size or time that cannot be read: to ignore it could delete another object than was meant.
pub fn of_delete(headers: &HeaderMap) -> Result<WriteConditions, Failure> {
    let if_size_bytes = one(headers, &IF_MATCH_SIZE, |text| text.parse().ok())?;
    let if_modified_at = one(headers, &IF_MATCH_LAST_MODIFIED_TIME, headers::parse_http_date)?;
    Ok(WriteConditions { if_size_bytes, if_modified_at, ..of_write(headers) })
}

/// The value of a header that must be readable, and only once there.
fn one<T>(headers: &HeaderMap, name: &HeaderName, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Failure> {
    let mut values = headers.get_all(name).iter().map(headers::text_of);
    let Some(text) = values.next() else { return Ok(None) };
    match read(&text).filter(|_| values.next().is_none()) {
        Some(value) => Ok(Some(value)),
        None => Err(Failure::invalid_argument(name.as_str(), &text, format!("Value for {name} header is invalid."))),
    }
}

fn etags(headers: &HeaderMap, name: &HeaderName) -> Option<EtagCondition> {
    let values: Vec<String> = headers.get_all(name).iter().map(headers::text_of).collect();
    (!values.is_empty()).then(|| parse_etags(&values.join(",")))
}

/// A list of ETags, with or without quotes. Weak ones are compared like others: S3 has no weak ETags.
pub fn parse_etags(text: &str) -> EtagCondition {
    let etags: Vec<String> = text.split(',').map(bare_etag).filter(|etag| !etag.is_empty()).collect();
    if etags.iter().any(|etag| etag == "*") { EtagCondition::Any } else { EtagCondition::OneOf(etags) }
}

/// An ETag without its quotes.
pub fn bare_etag(text: &str) -> String {
    let text = text.trim();
    let strong = text.strip_prefix("W/").unwrap_or(text);
    strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(strong).to_owned()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    headers::text(headers, name).and_then(|text| headers::parse_http_date(&text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn etags_are_read_quoted_bare_weak_and_in_lists() {
        let one = |etag: &str| EtagCondition::OneOf(vec![etag.to_owned()]);
        assert_eq!(parse_etags("\"abc\""), one("abc"));
        assert_eq!(parse_etags("abc-2"), one("abc-2"));
        assert_eq!(parse_etags(" W/\"abc\" "), one("abc"));
        assert_eq!(parse_etags("*"), EtagCondition::Any);
        assert_eq!(parse_etags("\"a\", \"b\",c"), EtagCondition::OneOf(vec!["a".into(), "b".into(), "c".into()]));
    }

    #[test]
    fn an_unreadable_date_is_no_condition() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MODIFIED_SINCE, HeaderValue::from_static("last week"));
        assert_eq!(of_read(&headers).if_modified_since, None);
    }

    #[test]
    fn a_deletion_may_name_size_and_time_if_they_can_be_read() {
        let of = |name: HeaderName, values: &[&'static str]| {
            of_delete(&values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect())
        };
        assert_eq!(of(IF_MATCH_SIZE, &["17"]).unwrap().if_size_bytes, Some(17));
        let time = of(IF_MATCH_LAST_MODIFIED_TIME, &["Sun, 06 Nov 1994 08:49:37 GMT"]).unwrap().if_modified_at;
        assert_eq!(time, Some(Timestamp(784_111_777_000)));
        for (name, values) in [
            (IF_MATCH_SIZE, &[""][..]),
            (IF_MATCH_SIZE, &["-1"]),
            (IF_MATCH_SIZE, &["1", "2"]),
            (IF_MATCH_LAST_MODIFIED_TIME, &["yesterday"]),
        ] {
            assert_eq!(of(name, values).unwrap_err().code(), "InvalidArgument", "{values:?}");
        }
    }

    #[test]
    fn a_write_may_be_conditional_on_absence() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert_eq!(of_write(&headers).if_none_match, Some(EtagCondition::Any));
        assert_eq!(of_write(&headers).if_match, None);
    }
}
