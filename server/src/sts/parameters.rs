//! The parameters that actions of STS have in common, held to what the API reference allows.

use cairn_iam::policy::{Policy, PolicyKind};
use http::StatusCode;

use crate::query_api::Params;
use crate::query_api::faults::{fault, validation};
use crate::s3::error::Failure;

use super::session::PACKED_BYTES_MAX;

/// The shortest session.
pub const DURATION_SECONDS_MIN: u32 = 900;

const SESSION_POLICIES_MAX: usize = 10;
const SESSION_POLICY_CHARS_MAX: usize = 2_048;
const TAGS_MAX: usize = 50;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
const MFA_CODE_DIGITS: usize = 6;

/// What bounds a session, and the tags that it has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The session policy that is given in full.
    pub policy: Option<String>,
    /// Managed policies.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that are passed on.
    pub transitive_tag_keys: Vec<String>,
}

impl Bounds {
    /// Reads `Policy`, `PolicyArns`, `Tags` and `TransitiveTagKeys`.
    ///
    /// # Errors
    /// `ValidationError`, `MalformedPolicyDocument`.
    pub fn read(params: &Params) -> Result<Self, Failure> {
        let policy = text(params, "Policy", 1..=SESSION_POLICY_CHARS_MAX, |_| true)?;
        if let Some(policy) = policy {
            Policy::parse(policy, PolicyKind::Identity)
                .map_err(|error| fault("MalformedPolicyDocument", StatusCode::BAD_REQUEST, error.to_string()))?;
        }
        let arns = params.members("PolicyArns");
        let arns =
            arns.iter().map(|member| Ok(member.required("arn")?.to_owned())).collect::<Result<Vec<_>, Failure>>()?;
        if arns.len() > SESSION_POLICIES_MAX {
            return Err(too_many("policyArns", SESSION_POLICIES_MAX));
        }
        let plain_chars = policy.into_iter().map(str::len).chain(arns.iter().map(String::len)).sum::<usize>();
        if plain_chars > SESSION_POLICY_CHARS_MAX {
            return Err(packed_too_large());
        }
        let mut tags = Vec::new();
        for member in params.members("Tags") {
            tags.push((member.required("Key")?.to_owned(), member.required("Value")?.to_owned()));
        }
        let transitive = params.list("TransitiveTagKeys").into_iter().map(str::to_owned).collect();
        let bounds = Self {
            policy: policy.map(str::to_owned),
            policy_arns: arns,
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
        };
        bounds.with_tags(tags, transitive)
    }

    /// With tags, whoever has given them.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn with_tags(mut self, tags: Vec<(String, String)>, transitive: Vec<String>) -> Result<Self, Failure> {
        if tags.len() > TAGS_MAX || transitive.len() > TAGS_MAX {
            return Err(too_many("tags", TAGS_MAX));
        }
        for (index, (key, value)) in tags.iter().enumerate() {
            let key_chars = key.chars().count();
            if !(1..=TAG_KEY_CHARS_MAX).contains(&key_chars) || !key.chars().all(is_in_tags) {
                return Err(constraint("tags.key", "a tag's key has 1 to 128 letters, digits, blanks or _.:/=+-@"));
            }
            if value.chars().count() > TAG_VALUE_CHARS_MAX || !value.chars().all(is_in_tags) {
                return Err(constraint("tags.value", "a tag's value has at most 256 such characters"));
            }
            if key.to_lowercase().starts_with("aws:") {
                return Err(validation("System tags (those that begin with aws:) cannot be passed."));
            }
            if tags[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(key)) {
                return Err(fault(
                    "InvalidParameterValue",
                    StatusCode::BAD_REQUEST,
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
        }
        for key in &transitive {
            if !tags.iter().any(|(tag, _)| tag.eq_ignore_ascii_case(key)) {
                return Err(fault(
                    "InvalidParameterValue",
                    StatusCode::BAD_REQUEST,
                    "The specified transitive tag key must be included in the requested tags.",
                ));
            }
        }
        self.tags = tags;
        self.transitive_tag_keys = transitive;
        Ok(self)
    }
}

/// How long a session is to last, between the least and `max` seconds.
///
/// # Errors
/// `ValidationError`.
pub fn duration_seconds(params: &Params, default: u32, max: u32) -> Result<u32, Failure> {
    let seconds = params.parsed::<u32>("DurationSeconds")?.unwrap_or(default);
    if seconds < DURATION_SECONDS_MIN {
        return Err(constraint("durationSeconds", "Member must have value greater than or equal to 900"));
    }
    if seconds > max {
        let told = format!("Member must have value less than or equal to {max}");
        return Err(constraint("durationSeconds", &told));
    }
    Ok(seconds)
}

/// The name of a session or a source identity, which must be there.
///
/// # Errors
/// `ValidationError`.
pub fn name<'p>(params: &'p Params, parameter: &str, chars_max: usize) -> Result<&'p str, Failure> {
    params.required(parameter)?;
    text(params, parameter, 2..=chars_max, is_in_names)?.ok_or_else(|| crate::query_api::faults::missing(parameter))
}

/// `SourceIdentity`.
///
/// # Errors
/// `ValidationError`.
pub fn source_identity(params: &Params) -> Result<Option<&str>, Failure> {
    text(params, "SourceIdentity", 2..=64, is_in_names)
}

/// `ExternalId`.
///
/// # Errors
/// `ValidationError`.
pub fn external_id(params: &Params) -> Result<Option<&str>, Failure> {
    text(params, "ExternalId", 2..=1_224, |character| is_in_names(character) || matches!(character, ':' | '/'))
}

/// The ARN of a role as its account's number and its name; its path is not looked at here.
///
/// # Errors
/// `ValidationError`.
pub fn role_arn(params: &Params) -> Result<&str, Failure> {
    let arn = params.required("RoleArn")?;
    let is_arn = (20..=2_048).contains(&arn.len()) && arn.starts_with("arn:aws:iam::") && arn.contains(":role/");
    if is_arn { Ok(arn) } else { Err(validation(format!("{} is invalid", shortened(arn)))) }
}

/// The serial number of an MFA device and its code, if they are given.
///
/// # Errors
/// `ValidationError` if only one is.
pub fn mfa(params: &Params) -> Result<Option<(&str, &str)>, Failure> {
    let serial =
        text(params, "SerialNumber", 9..=256, |character| is_in_names(character) || matches!(character, ':' | '/'))?;
    let code = text(params, "TokenCode", MFA_CODE_DIGITS..=MFA_CODE_DIGITS, |character| character.is_ascii_digit())?;
    match (serial, code) {
        (None, None) => Ok(None),
        (Some(serial), Some(code)) => Ok(Some((serial, code))),
        _ => Err(validation("SerialNumber and TokenCode must both be given, or neither.")),
    }
}

/// `PackedPolicyTooLarge`.
pub fn packed_too_large() -> Failure {
    fault(
        "PackedPolicyTooLarge",
        StatusCode::BAD_REQUEST,
        "The total packed size of the session policies and session tags combined is too large.",
    )
}

/// The share of what they may take that policies and tags of a session take, in per cent.
///
/// # Errors
/// `PackedPolicyTooLarge` if it is more than all of it.
pub fn packed_per_cent(packed_bytes: usize) -> Result<usize, Failure> {
    if packed_bytes > PACKED_BYTES_MAX {
        Err(packed_too_large())
    } else {
        Ok((packed_bytes * 100).div_ceil(PACKED_BYTES_MAX))
    }
}

/// A text of so many characters, all of which are allowed.
fn text<'p>(
    params: &'p Params,
    name: &str,
    chars: std::ops::RangeInclusive<usize>,
    is_allowed: impl Fn(char) -> bool,
) -> Result<Option<&'p str>, Failure> {
    let Some(value) = params.get(name) else { return Ok(None) };
    if !chars.contains(&value.chars().count()) {
        let told = format!("Member must have length between {} and {}", chars.start(), chars.end());
        return Err(constraint(name, &told));
    }
    if !value.chars().all(is_allowed) {
        return Err(constraint(name, "Member has a character that is not allowed"));
    }
    Ok(Some(value))
}

/// `[\w+=,.@-]`, in ASCII.
fn is_in_names(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
fn is_in_tags(character: char) -> bool {
    character.is_alphanumeric() || character == ' ' || "_.:/=+-@".contains(character)
}

fn constraint(name: &str, told: &str) -> Failure {
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    validation(format!("1 validation error detected: Value at '{name}' failed to satisfy constraint: {told}"))
}

fn too_many(name: &str, max: usize) -> Failure {
    constraint(name, &format!("Member must have length less than or equal to {max}"))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn params(form: &str) -> Params {
        Params::parse(form.as_bytes()).unwrap()
    }

    fn code<T>(result: Result<T, Failure>) -> String {
        result.err().unwrap().code().to_owned()
    }

    #[test]
    fn a_duration_has_a_least_and_a_most() {
        let read = |form: &str| duration_seconds(&params(form), 3_600, 43_200);
        assert_eq!(read("").unwrap(), 3_600);
        assert_eq!(read("DurationSeconds=900").unwrap(), 900);
        assert_eq!(read("DurationSeconds=43200").unwrap(), 43_200);
        for form in ["DurationSeconds=899", "DurationSeconds=43201"] {
            assert_eq!(code(read(form)), "ValidationError", "{form}");
        }
        assert_eq!(code(read("DurationSeconds=long")), "MalformedInput");
    }

    #[test]
    fn names_have_only_characters_that_arns_can_have() {
        let read = |form: &str| name(&params(form), "RoleSessionName", 64).map(str::to_owned);
        assert_eq!(read("RoleSessionName=a%2Bb%3D,.@-_9").unwrap(), "a+b=,.@-_9");
        let long = format!("RoleSessionName={}", "x".repeat(65));
        for form in ["", "RoleSessionName=", "RoleSessionName=x", "RoleSessionName=a/b", "RoleSessionName=a%20b", &long]
        {
            assert_eq!(code(read(form)), "ValidationError", "{form}");
        }
    }

    #[test]
    fn a_code_comes_with_a_device() {
        let device = "SerialNumber=arn:aws:iam::000000000042:mfa/phone";
        assert_eq!(mfa(&params("")).unwrap(), None);
        let both = params(&format!("{device}&TokenCode=012345"));
        assert_eq!(mfa(&both).unwrap(), Some(("arn:aws:iam::000000000042:mfa/phone", "012345")));
        for form in
            [device, "TokenCode=012345", &format!("{device}&TokenCode=12345"), &format!("{device}&TokenCode=12345x")]
        {
            assert_eq!(code(mfa(&params(form))), "ValidationError", "{form}");
        }
    }

    #[test]
    fn tags_are_few_short_and_different() {
        let tag = |number: usize, key: &str, value: &str| {
            format!("Tags.member.{number}.Key={key}&Tags.member.{number}.Value={value}")
        };
        let read = |form: &str| Bounds::read(&params(form));
        let good =
            read(&format!("{}&{}&TransitiveTagKeys.member.1=TEAM", tag(1, "team", "red"), tag(2, "cost", ""))).unwrap();
        assert_eq!(good.tags, [("team".to_owned(), "red".to_owned()), ("cost".to_owned(), String::new())]);
        assert_eq!(good.transitive_tag_keys, ["TEAM"]);
        let many: Vec<String> = (1..=51).map(|number| tag(number, &format!("k{number}"), "v")).collect();
        for (form, expected) in [
            (many.join("&"), "ValidationError"),
            (tag(1, &"k".repeat(129), ""), "ValidationError"),
            (tag(1, "k", &"v".repeat(257)), "ValidationError"),
            (tag(1, "", "v"), "ValidationError"),
            (tag(1, "a%0Ab", "v"), "ValidationError"),
            (tag(1, "AWS:x", "v"), "ValidationError"),
            (format!("{}&{}", tag(1, "k", "v"), tag(2, "K", "w")), "InvalidParameterValue"),
            ("TransitiveTagKeys.member.1=k".to_owned(), "InvalidParameterValue"),
        ] {
            assert_eq!(code(read(&form)), expected, "{form}");
        }
    }

    #[test]
    fn session_policies_are_policies_and_short() {
        let read = |form: &str| Bounds::read(&params(form));
        let policy = "%7B%22Version%22:%222012-10-17%22,%22Statement%22:%5B%7B%22Effect%22:%22Allow%22,\
                      %22Action%22:%22s3:*%22,%22Resource%22:%22*%22%7D%5D%7D";
        let good =
            read(&format!("Policy={policy}&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/ReadOnlyAccess")).unwrap();
        assert!(good.policy.unwrap().starts_with('{') && good.policy_arns.len() == 1);
        let arns: Vec<String> = (1..=11).map(|number| format!("PolicyArns.member.{number}.arn=arn:{number}")).collect();
        let long: Vec<String> =
            (1..=10).map(|number| format!("PolicyArns.member.{number}.arn={}", "a".repeat(300))).collect();
        for (form, expected) in [
            ("Policy=%7B%7D".to_owned(), "MalformedPolicyDocument"),
            ("Policy=x".to_owned(), "MalformedPolicyDocument"),
            ("Policy=".to_owned(), "ValidationError"),
            (format!("Policy={}", "x".repeat(2_049)), "ValidationError"),
            (arns.join("&"), "ValidationError"),
            (long.join("&"), "PackedPolicyTooLarge"),
        ] {
            assert_eq!(code(read(&form)), expected, "{form}");
        }
    }

    #[test]
    fn what_is_packed_is_told_in_per_cent() {
        assert_eq!(packed_per_cent(0).unwrap(), 0);
        assert_eq!(packed_per_cent(1).unwrap(), 1);
        assert_eq!(packed_per_cent(PACKED_BYTES_MAX).unwrap(), 100);
        assert_eq!(code(packed_per_cent(PACKED_BYTES_MAX + 1)), "PackedPolicyTooLarge");
    }
}
