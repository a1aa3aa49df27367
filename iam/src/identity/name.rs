//! Names, paths, tags and ARNs, as IAM takes them (IAM user guide, "IAM and AWS STS quotas": "IAM name requirements").

use crate::acl::AccountNumber;

use super::Tag;
use super::fault::{Fault, FaultKind};
use super::limits::{PATH_CHARS_MAX, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX};
use super::record::folded;

/// Tags with this beginning are AWS's own.
const RESERVED_TAG_PREFIX: &str = "aws:";

fn constraint(parameter: &str, what: &str) -> Fault {
    Fault::validation(format!(
        "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: {what}"
    ))
}

/// That a name is one, of at most `chars_max`.
///
/// # Errors
/// `ValidationError`, naming the parameter.
pub fn check_name(parameter: &str, name: &str, chars_max: usize) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(constraint(parameter, "Member must have length greater than or equal to 1"));
    }
    if name.len() > chars_max {
        return Err(constraint(parameter, &format!("Member must have length less than or equal to {chars_max}")));
    }
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)) {
        return Ok(());
    }
    Err(Fault::validation(format!(
        "The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the \
         following: +=,.@_-"
    )))
}

/// That a path is `/`, or begins and ends with one.
///
/// # Errors
/// `ValidationError`.
pub fn check_path(parameter: &str, path: &str) -> Result<(), Fault> {
    let is_path = path.starts_with('/') && path.ends_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path && path.len() <= PATH_CHARS_MAX {
        return Ok(());
    }
    Err(Fault::validation(format!(
        "The specified value for {parameter} is invalid. It must begin and end with / and contain only alphanumeric \
         characters and/or / characters."
    )))
}

/// That a path to list by begins with `/`.
///
/// # Errors
/// `ValidationError`.
pub fn check_path_prefix(prefix: &str) -> Result<(), Fault> {
    if prefix.starts_with('/') && prefix.len() <= PATH_CHARS_MAX && prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Fault::validation(
        "The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters \
         and/or / characters.",
    ))
}

/// That a text has at most so many characters.
///
/// # Errors
/// `ValidationError`.
pub fn check_length(parameter: &str, text: &str, chars: std::ops::RangeInclusive<usize>) -> Result<(), Fault> {
    let count = text.chars().count();
    if count < *chars.start() {
        return Err(constraint(
            parameter,
            &format!("Member must have length greater than or equal to {}", chars.start()),
        ));
    }
    if count > *chars.end() {
        return Err(constraint(parameter, &format!("Member must have length less than or equal to {}", chars.end())));
    }
    Ok(())
}

/// That these are tags, none of them twice.
///
/// # Errors
/// `ValidationError`, `InvalidInput` for a key that is there twice, `LimitExceeded`.
pub fn check_tags(tags: &[Tag]) -> Result<(), Fault> {
    if tags.len() > TAGS_MAX {
        return Err(Fault::limit("TagsPerResource", TAGS_MAX));
    }
    for (index, tag) in tags.iter().enumerate() {
        check_length("tags.member.key", &tag.key, 1..=TAG_KEY_CHARS_MAX)?;
        check_length("tags.member.value", &tag.value, 0..=TAG_VALUE_CHARS_MAX)?;
        let is_tag_text = |text: &str| {
            text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
                && !text.contains('\0')
        };
        if !is_tag_text(&tag.key) || !is_tag_text(&tag.value) {
            return Err(constraint(
                "tags",
                "Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+",
            ));
        }
        let key = folded(&tag.key);
        if key.starts_with(RESERVED_TAG_PREFIX) {
            return Err(Fault::new(FaultKind::InvalidInput, "Tag keys that start with aws: are reserved."));
        }
        if tags.iter().take(index).any(|earlier| folded(&earlier.key) == key) {
            return Err(Fault::new(
                FaultKind::InvalidInput,
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    Ok(())
}

/// `arn:aws:iam::ACCOUNT:kind/path/name`.
#[must_use]
pub fn arn(account: AccountNumber, kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:{kind}{path}{name}")
}

/// The resource part of an ARN of this account and kind: `path/name` of `arn:aws:iam::ACCOUNT:kind/path/name`, with its
/// leading slash.
#[must_use]
pub fn resource_of<'a>(arn: &'a str, account: AccountNumber, kind: &str) -> Option<&'a str> {
    let rest = arn.strip_prefix("arn:aws:iam::")?.strip_prefix(&account.to_string())?.strip_prefix(':')?;
    rest.strip_prefix(kind).filter(|resource| resource.starts_with('/'))
}

/// Path and name of a resource part: `/a/b/name` is `/a/b/` and `name`.
#[must_use]
pub fn split_path(resource: &str) -> (&str, &str) {
    let at = resource.rfind('/').map_or(0, |at| at + 1);
    resource.split_at(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_and_paths_are_held_to_iams_alphabet() {
        for name in ["a", "A.b-c_d=e,f@g+h", &"x".repeat(64)] {
            assert!(check_name("userName", name, 64).is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a:b", "a*", &"x".repeat(65)] {
            assert!(check_name("userName", name, 64).is_err(), "{name}");
        }
        for path in ["/", "/a/", "/a/b/"] {
            assert!(check_path("path", path).is_ok(), "{path}");
        }
        for path in ["", "a", "/a", "a/", "/a b/", "/ä/"] {
            assert!(check_path("path", path).is_err(), "{path}");
        }
    }

    #[test]
    fn an_arn_comes_apart_as_it_was_made() {
        let account = AccountNumber(42);
        let made = arn(account, "policy", "/a/b/", "read");
        assert_eq!(made, "arn:aws:iam::000000000042:policy/a/b/read");
        assert_eq!(resource_of(&made, account, "policy").map(split_path), Some(("/a/b/", "read")));
        assert_eq!(resource_of(&made, AccountNumber(43), "policy"), None);
        assert_eq!(resource_of(&made, account, "user"), None);
        assert_eq!(resource_of("arn:aws:iam::000000000042:policyx/a", account, "policy"), None);
    }

    #[test]
    fn a_tags_key_is_there_once_whatever_its_case() {
        let tag = |key: &str| Tag { key: key.to_owned(), value: String::new() };
        assert!(check_tags(&[tag("a"), tag("b")]).is_ok());
        assert_eq!(check_tags(&[tag("a"), tag("A")]).unwrap_err().kind, FaultKind::InvalidInput);
        assert_eq!(check_tags(&[tag("AWS:x")]).unwrap_err().kind, FaultKind::InvalidInput);
        assert_eq!(check_tags(&[tag("a\u{0}")]).unwrap_err().kind, FaultKind::ValidationError);
    }
}
