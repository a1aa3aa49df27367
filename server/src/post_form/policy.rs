//! The policy of a form: until when it is good, and what its fields may be (S3 API reference, "POST Policy").
//!
//! Every field must be covered by a condition, but for those that are the policy's own, the file, and those that S3 ignores.
//! The bucket is a field of every form, whether the form says so or not, so a policy that names no bucket is good for none.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::clock::Timestamp;
use s3s::S3ErrorCode;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::s3::error::Failure;

use super::{Fields, denied, is_unconditional};

/// The field that a policy knows the bucket by.
const BUCKET: &str = "bucket";

const CONTENT_TYPE: &str = "content-type";

/// A policy that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    expires_at: Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equals(Text),
    StartsWith(Text),
    /// The size of the file.
    Size(RangeInclusive<u64>),
    /// Nothing: it is about no field, or no size.
    Never(String),
}

/// What a condition says of a field.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    /// The field's name as the policy spells it, without the dollar.
    field: String,
    value: String,
}

impl Policy {
    /// Reads a policy as a form carries it: JSON in base64.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn parse(base64: &str) -> Result<Self, Failure> {
        // Forms wrap long values.
        let packed: String = base64.split_ascii_whitespace().collect();
        let bytes = BASE64.decode(packed).map_err(|_| invalid("Invalid Base64 encoding."))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("Invalid JSON."))?;
        let document: Value = serde_json::from_str(&plain_escapes(&text)).map_err(|_| invalid("Invalid JSON."))?;
        let Value::Object(document) = document else { return Err(invalid("Invalid JSON.")) };
        if let Some(unknown) = document.keys().find(|name| !["expiration", "conditions"].contains(&name.as_str())) {
            return Err(invalid(format!("Unexpected: '{}'", unknown.to_lowercase())));
        }
        let expiration = document.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let conditions = document.get("conditions").ok_or_else(|| invalid("Policy missing conditions."))?;
        let Value::Array(conditions) = conditions else {
            return Err(invalid("Invalid 'conditions' value: must be a List."));
        };
        Ok(Self {
            expires_at: parse_time(expiration)
                .ok_or_else(|| invalid(format!("Invalid 'expiration' value: '{}'", shown(expiration))))?,
            conditions: conditions.iter().map(parse_condition).collect::<Result<_, _>>()?,
        })
    }

    /// Holds a form for `bucket` to the policy. The answer is how large the file may be.
    ///
    /// # Errors
    /// `AccessDenied`, saying what is not according to the policy.
    pub fn check(&self, fields: &Fields, bucket: &str, now: Timestamp) -> Result<RangeInclusive<u64>, Failure> {
        if self.expires_at < now {
            return Err(denied("Invalid according to Policy: Policy expired."));
        }
        let value_of = |field: &str| if field == BUCKET { Some(bucket) } else { fields.get(field) };
        let mut size = 0..=u64::MAX;
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Size(allowed) => {
                    let (least, most) = (*size.start().max(allowed.start()), *size.end().min(allowed.end()));
                    size = least..=most;
                    true
                }
                Condition::Equals(text) => value_of(&text.name()) == Some(text.value.as_str()),
                // Any content is allowed by an empty text, none included (as Ceph's s3-tests expect it of S3:
                // `test_sse_s3_default_post_object_authenticated_request`).
                Condition::StartsWith(text) => text.begins(value_of(&text.name()).unwrap_or_default()),
                Condition::Never(_) => false,
            };
            if !holds {
                return Err(denied(format!("Invalid according to Policy: Policy Condition failed: {condition}")));
            }
        }
        let is_covered = |name: &str| self.fields().any(|covered| covered.eq_ignore_ascii_case(name));
        let names = fields.iter().map(|(name, _)| name).chain([BUCKET]);
        if let Some(extra) = names.into_iter().find(|name| !is_unconditional(name) && !is_covered(name)) {
            return Err(denied(format!("Invalid according to Policy: Extra input fields: {extra}")));
        }
        Ok(size)
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Equals(text) | Condition::StartsWith(text) => Some(text.field.as_str()),
            Condition::Size(_) | Condition::Never(_) => None,
        })
    }
}

impl fmt::Display for Condition {
    /// As S3 shows it: always as a list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = |operator: &str, text: &Text| {
            let parts = [operator, &format!("${}", text.field), &text.value];
            write!(f, "[{}]", parts.map(|part| Value::from(part).to_string()).join(", "))
        };
        match self {
            Self::Equals(text) => list("eq", text),
            Self::StartsWith(text) => list("starts-with", text),
            Self::Size(allowed) => write!(f, "[\"content-length-range\", {}, {}]", allowed.start(), allowed.end()),
            Self::Never(shown) => f.write_str(shown),
        }
    }
}

impl Text {
    fn name(&self) -> String {
        self.field.to_ascii_lowercase()
    }

    /// Of several content types, each must begin so ("Condition matching").
    fn begins(&self, value: &str) -> bool {
        if self.name() == CONTENT_TYPE {
            return value.split(',').all(|one| one.trim().starts_with(&self.value));
        }
        value.starts_with(&self.value)
    }
}

/// JSON knows no `\$` and no `\v`, which policies may have ("Character escaping").
fn plain_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('$') => plain.push('$'),
            Some('v') => plain.push_str("\\u000b"),
            escaped => {
                plain.push('\\');
                plain.extend(escaped);
            }
        }
    }
    plain
}

/// In GMT; S3 takes no other offset.
fn parse_time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str().filter(|text| text.ends_with('Z'))?;
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
    Some(Timestamp(ms))
}

fn parse_condition(condition: &Value) -> Result<Condition, Failure> {
    match condition {
        Value::Object(pair) => parse_pair(pair).map(Condition::Equals),
        Value::Array(list) => parse_list(list),
        _ => Err(invalid("Invalid condition: must be a List or Object.")),
    }
}

fn parse_pair(pair: &Map<String, Value>) -> Result<Text, Failure> {
    let mut pairs = pair.iter();
    let (Some((field, value)), None) = (pairs.next(), pairs.next()) else {
        return Err(invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."));
    };
    let Value::String(value) = value else {
        return Err(invalid("Invalid Simple-Condition: value must be a string."));
    };
    Ok(Text { field: field.clone(), value: value.clone() })
}

fn parse_list(list: &[Value]) -> Result<Condition, Failure> {
    let Some(operator) = list.first().and_then(Value::as_str).map(str::to_ascii_lowercase) else {
        return Err(invalid("Invalid Condition: missing operation identifier."));
    };
    let [_, first, second] = list else {
        return Err(invalid(format!("Invalid {operator}: wrong number of arguments.")));
    };
    // S3 takes it for a policy, and for one that no form meets.
    let never = || Condition::Never(format!("[{}]", list.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")));
    match operator.as_str() {
        "content-length-range" => match (number(first)?, number(second)?) {
            (Some(least), Some(most)) => Ok(Condition::Size(least..=most)),
            _ => Ok(never()),
        },
        "eq" | "starts-with" => {
            let (Value::String(field), Value::String(value)) = (first, second) else {
                return Err(invalid("Invalid JSON."));
            };
            let Some(field) = field.strip_prefix('$') else { return Ok(never()) };
            let text = Text { field: field.to_owned(), value: value.clone() };
            Ok(if operator == "eq" { Condition::Equals(text) } else { Condition::StartsWith(text) })
        }
        _ => Err(invalid(format!("Invalid Condition: unknown operation '{operator}'."))),
    }
}

/// A size: a number, or a text of digits. None: another text.
fn number(value: &Value) -> Result<Option<u64>, Failure> {
    match value {
        Value::String(text) => Ok(text.parse().ok()),
        value => value.as_u64().map(Some).ok_or_else(|| invalid("Invalid JSON.")),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn invalid(what: impl std::fmt::Display) -> Failure {
    Failure::with_message(S3ErrorCode::InvalidPolicyDocument, format!("Invalid Policy: {what}"))
}

#[cfg(test)]
mod tests;
