//! Which configurations S3 takes, and what it says about the others.
//!
//! Two of S3's rules are not held, because in Cairn they would only be in the way: that noncurrent versions wait 30 days for
//! STANDARD_IA and ONEZONE_IA (current ones do, if days are real ones), and that an object stays in a class for its minimum
//! of days.

use std::collections::HashSet;

use cairn_storage::object::StorageClass;
use cairn_storage::settings::Tag;
use thiserror::Error;

use crate::calendar::{Calendar, is_midnight};
use crate::class::{is_target, properties};
use crate::configuration::{Configuration, Expiration, Filter, FilterForm, Rule, When};

/// The most rules (user guide, "Setting an S3 Lifecycle configuration on a bucket").
pub const RULES_MAX: usize = 1_000;

/// The longest id, in characters.
const ID_CHARS_MAX: usize = 255;

/// The most noncurrent versions that a rule can keep.
const NEWER_MAX: u32 = cairn_storage::ops::sweep::NEWER_COUNTED_MAX;

/// The most tags in a filter: no object has more.
const TAGS_MAX: usize = 10;

/// Until an object can move to an infrequent-access class.
const INFREQUENT_DAYS_MIN: u32 = 30;

/// Why a configuration is refused. It displays as S3's message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Invalid {
    /// `MalformedXML`
    #[error("The XML you provided was not well-formed or did not validate against our published schema")]
    Malformed,
    /// `InvalidArgument`
    #[error("{0}")]
    Argument(String),
    /// `InvalidRequest`
    #[error("{0}")]
    Request(String),
}

/// A number of days as a client wrote it.
///
/// # Errors
/// `Argument` if it is below `least`, which is 0 or 1.
pub fn days(written: i32, least: u32, element: &str, action: &str) -> Result<u32, Invalid> {
    let kind = if least > 0 { "a positive integer" } else { "nonnegative" };
    let refused = || Invalid::Argument(format!("'{element}' for {action} action must be {kind}"));
    u32::try_from(written).ok().filter(|days| *days >= least).ok_or_else(refused)
}

/// A number of newer noncurrent versions as a client wrote it.
///
/// # Errors
/// `Argument` if it is not from 1 to 100.
pub fn newer(written: i32, action: &str) -> Result<u32, Invalid> {
    let refused = || {
        Invalid::Argument(format!(
            "'NewerNoncurrentVersions' for {action} action must be an integer from 1 to {NEWER_MAX}"
        ))
    };
    u32::try_from(written).ok().filter(|count| (1..=NEWER_MAX).contains(count)).ok_or_else(refused)
}

/// Ok if S3 takes the configuration, by which days are counted so.
///
/// # Errors
/// What S3 finds wrong first.
pub fn check(configuration: &Configuration, calendar: Calendar) -> Result<(), Invalid> {
    if configuration.rules.is_empty() || configuration.rules.len() > RULES_MAX {
        return Err(Invalid::Malformed);
    }
    let mut ids = HashSet::new();
    for rule in &configuration.rules {
        if rule.id.chars().count() > ID_CHARS_MAX {
            return argument(format!("ID length should not exceed allowed limit of {ID_CHARS_MAX}"));
        }
        if !ids.insert(&rule.id) {
            return argument("Rule ID must be unique. Found same ID for more than one rule");
        }
        check_filter(&rule.filter)?;
        check_actions(rule)?;
        check_expiration(rule)?;
        check_transitions(rule, calendar)?;
        check_noncurrent(rule)?;
    }
    Ok(())
}

fn argument(message: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::Argument(message.into()))
}

fn request(message: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::Request(message.into()))
}

fn check_filter(filter: &Filter) -> Result<(), Invalid> {
    let sizes = usize::from(filter.larger_than.is_some()) + usize::from(filter.smaller_than.is_some());
    let conditions = usize::from(filter.prefix.is_some()) + filter.tags.len() + sizes;
    let fits = match filter.form {
        FilterForm::Filter => conditions <= 1,
        FilterForm::And => conditions >= 2,
        FilterForm::RulePrefix => conditions == 1 && filter.prefix.is_some(),
    };
    if !fits || filter.prefix().len() > cairn_storage::object::KEY_BYTES_MAX {
        return Err(Invalid::Malformed);
    }
    if filter.tags.len() > TAGS_MAX {
        return request(format!("A filter cannot have more than {TAGS_MAX} tags."));
    }
    let mut keys = HashSet::new();
    for Tag { key, value } in &filter.tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return argument("The TagKey or TagValue you have provided is invalid");
        }
        if !keys.insert(key) {
            return request("Duplicate Tag Keys are not allowed.");
        }
    }
    match (filter.larger_than, filter.smaller_than) {
        (Some(larger), Some(smaller)) if larger.saturating_add(1) >= smaller => {
            request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'")
        }
        _ => Ok(()),
    }
}

fn check_actions(rule: &Rule) -> Result<(), Invalid> {
    let has_action = rule.expiration.is_some()
        || !rule.transitions.is_empty()
        || !rule.noncurrent_transitions.is_empty()
        || rule.noncurrent_expiration.is_some()
        || rule.abort_days.is_some();
    if !has_action {
        return request("At least one action needs to be specified in a rule");
    }
    let filtered_by = match &rule.filter {
        filter if !filter.tags.is_empty() => "Tags",
        filter if filter.has_size() => "Object Size",
        _ => return Ok(()),
    };
    if rule.abort_days.is_some() {
        return request(format!("AbortIncompleteMultipartUpload cannot be specified with {filtered_by}."));
    }
    if matches!(rule.expiration, Some(Expiration::ExpiredMarkers | Expiration::KeptMarkers)) {
        return request(format!("ExpiredObjectDeleteMarker cannot be specified with {filtered_by}."));
    }
    Ok(())
}

fn check_expiration(rule: &Rule) -> Result<(), Invalid> {
    let Some(Expiration::At(ends)) = rule.expiration else { return Ok(()) };
    check_date(ends)?;
    for transition in &rule.transitions {
        let filter = shown(&rule.filter);
        match (ends, transition.when) {
            (When::Days(ends), When::Days(moves)) if ends <= moves => {
                return argument(format!(
                    "'Days' in the Expiration action for {filter} must be greater than 'Days' in the Transition action"
                ));
            }
            (When::Date(ends), When::Date(moves)) if ends <= moves => {
                return argument(format!(
                    "'Date' in the Expiration action for {filter} must be later than 'Date' in the Transition action"
                ));
            }
            (When::Days(_), When::Date(_)) | (When::Date(_), When::Days(_)) => {
                return request(format!(
                    "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for {filter}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_date(when: When) -> Result<(), Invalid> {
    match when {
        When::Date(date) if !is_midnight(date) => argument("'Date' must be at midnight GMT"),
        _ => Ok(()),
    }
}

fn check_transitions(rule: &Rule, calendar: Calendar) -> Result<(), Invalid> {
    let filter = shown(&rule.filter);
    for transition in &rule.transitions {
        check_date(transition.when)?;
        let is_infrequent = calendar == Calendar::REAL
            && matches!(transition.class, StorageClass::StandardIa | StorageClass::OnezoneIa);
        if is_infrequent && matches!(transition.when, When::Days(days) if days < INFREQUENT_DAYS_MIN) {
            return argument(format!(
                "'Days' in Transition action must be greater than or equal to {INFREQUENT_DAYS_MIN} for storageClass '{}'",
                transition.class.name()
            ));
        }
    }
    let mut by_days: Vec<(i64, StorageClass)> = Vec::new();
    for transition in &rule.transitions {
        let mixed = rule.transitions.iter().any(|other| is_dated(other.when) != is_dated(transition.when));
        if mixed {
            return request(format!(
                "Found mixed 'Date' and 'Days' based Transition actions in lifecycle rule for {filter}"
            ));
        }
        by_days.push(match transition.when {
            When::Days(days) => (days.into(), transition.class),
            When::Date(date) => (date.0, transition.class),
        });
    }
    check_order(&by_days, "Transition", &filter)
}

fn is_dated(when: When) -> bool {
    matches!(when, When::Date(_))
}

fn check_noncurrent(rule: &Rule) -> Result<(), Invalid> {
    let filter = shown(&rule.filter);
    let keeps = rule.noncurrent_transitions.iter().map(|moves| moves.newer);
    let mut keeps = keeps.chain(rule.noncurrent_expiration.map(|end| end.newer));
    // User guide, "Lifecycle configuration elements".
    if rule.filter.form == FilterForm::RulePrefix && keeps.any(|newer| newer.is_some()) {
        return request("NewerNoncurrentVersions cannot be specified without a Filter element.");
    }
    for transition in &rule.noncurrent_transitions {
        if rule.noncurrent_expiration.is_some_and(|end| end.days <= transition.days) {
            return argument(format!(
                "'NoncurrentDays' in the NoncurrentVersionExpiration action for {filter} must be greater than \
                 'NoncurrentDays' in the NoncurrentVersionTransition action"
            ));
        }
    }
    let moves: Vec<_> = rule.noncurrent_transitions.iter().map(|moves| (moves.days.into(), moves.class)).collect();
    check_order(&moves, "NoncurrentVersionTransition", &filter)
}

/// Every target is a class to move to, once; and a colder one comes later.
fn check_order(moves: &[(i64, StorageClass)], action: &str, filter: &str) -> Result<(), Invalid> {
    for (at, (time, class)) in moves.iter().enumerate() {
        if !is_target(*class) {
            return Err(Invalid::Malformed);
        }
        for (other_time, other) in &moves[..at] {
            if other == class {
                return request(format!(
                    "'StorageClass' must be different for '{action}' actions in same 'Rule' with {filter}"
                ));
            }
            let (warmer, colder) = if properties(*other).coldness < properties(*class).coldness {
                ((other_time, other), (time, class))
            } else {
                ((time, class), (other_time, other))
            };
            if colder.0 <= warmer.0 {
                return argument(format!(
                    "'Days' in the '{action}' action for StorageClass '{}' for {filter} must be greater than 'Days' in the \
                     '{action}' action for StorageClass '{}'",
                    colder.1.name(),
                    warmer.1.name()
                ));
            }
        }
    }
    Ok(())
}

/// A filter as messages show it.
fn shown(filter: &Filter) -> String {
    format!("filter '(prefix={})'", filter.prefix())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::clock::Timestamp;

    use super::*;
    use crate::calendar::DAY_MS;
    use crate::configuration::{NoncurrentExpiration, NoncurrentTransition, Transition};

    fn rule() -> Rule {
        Rule {
            id: "r".to_owned(),
            enabled: true,
            filter: Filter::default(),
            expiration: None,
            transitions: Vec::new(),
            noncurrent_transitions: Vec::new(),
            noncurrent_expiration: None,
            abort_days: None,
        }
    }

    fn expires(days: u32) -> Option<Expiration> {
        Some(Expiration::At(When::Days(days)))
    }

    fn moves(days: u32, class: StorageClass) -> Transition {
        Transition { when: When::Days(days), class }
    }

    fn tag(key: &str) -> Tag {
        Tag { key: key.to_owned(), value: "v".to_owned() }
    }

    fn check_rules(rules: Vec<Rule>) -> Result<(), Invalid> {
        check(&Configuration { rules, ..Configuration::default() }, Calendar::REAL)
    }

    #[test]
    fn what_s3_takes_is_taken() {
        use StorageClass::{DeepArchive, Glacier, OnezoneIa, StandardIa};
        let later = NoncurrentTransition { days: 15, newer: Some(1), class: DeepArchive };
        let sooner = NoncurrentTransition { days: 1, newer: None, class: StandardIa };
        for taken in [
            Rule { transitions: vec![moves(45, Glacier)], ..rule() },
            Rule { transitions: vec![moves(90, Glacier), moves(30, OnezoneIa)], expiration: expires(91), ..rule() },
            Rule {
                noncurrent_transitions: vec![later, sooner],
                noncurrent_expiration: Some(NoncurrentExpiration { days: 365, newer: None }),
                ..rule()
            },
            Rule { expiration: Some(Expiration::At(When::Date(Timestamp(DAY_MS)))), ..rule() },
            Rule { abort_days: Some(1), ..rule() },
            Rule { expiration: Some(Expiration::KeptMarkers), ..rule() },
        ] {
            assert_eq!(check_rules(vec![taken.clone()]), Ok(()), "{taken:?}");
        }
    }

    #[test]
    fn what_s3_refuses_is_refused_in_its_words() {
        use StorageClass::{Glacier, OnezoneIa, Standard, StandardIa};
        let with = |filter| Rule { filter, expiration: expires(1), ..rule() };
        let and = |tags| Filter { form: FilterForm::And, tags, ..Filter::default() };
        let sized = Filter { form: FilterForm::And, larger_than: Some(5), smaller_than: Some(6), ..Filter::default() };
        let one_tag = Filter { tags: vec![tag("a")], ..Filter::default() };
        let one_size = Filter { larger_than: Some(5), ..Filter::default() };
        let by_prefix = Filter { form: FilterForm::RulePrefix, prefix: Some("a".to_owned()), ..Filter::default() };
        let keeps_one = Some(NoncurrentExpiration { days: 1, newer: Some(1) });
        let long = "x".repeat(256);
        for (refused, part) in [
            (rule(), "At least one action"),
            (Rule { id: long, expiration: expires(1), ..rule() }, "ID length"),
            (with(and(vec![tag("a")])), "not well-formed"),
            (with(and(vec![tag("a"), tag("a")])), "Duplicate Tag Keys"),
            (with(and((0..11).map(|number| tag(&number.to_string())).collect())), "more than 10 tags"),
            (with(sized), "'ObjectSizeLessThan' has to be"),
            (with(Filter { form: FilterForm::RulePrefix, ..Filter::default() }), "not well-formed"),
            (Rule { abort_days: Some(1), filter: one_tag.clone(), ..rule() }, "cannot be specified with Tags"),
            (Rule { expiration: Some(Expiration::ExpiredMarkers), ..with(one_tag) }, "cannot be specified with Tags"),
            (
                Rule { expiration: Some(Expiration::KeptMarkers), ..with(one_size) },
                "cannot be specified with Object Size",
            ),
            (Rule { noncurrent_expiration: keeps_one, filter: by_prefix, ..rule() }, "without a Filter"),
            (Rule { transitions: vec![moves(29, StandardIa)], ..rule() }, "greater than or equal to 30"),
            (Rule { transitions: vec![moves(45, Standard)], ..rule() }, "not well-formed"),
            (Rule { transitions: vec![moves(45, Glacier)], expiration: expires(45), ..rule() }, "must be greater than"),
            (Rule { transitions: vec![moves(45, Glacier), moves(46, Glacier)], ..rule() }, "must be different"),
            (Rule { transitions: vec![moves(45, Glacier), moves(45, OnezoneIa)], ..rule() }, "must be greater than"),
            (Rule { expiration: Some(Expiration::At(When::Date(Timestamp(1)))), ..rule() }, "midnight GMT"),
        ] {
            let error = check_rules(vec![refused.clone()]).unwrap_err();
            assert!(error.to_string().contains(part), "{refused:?}: {error}");
        }
        let same = Rule { expiration: expires(1), ..rule() };
        assert!(check_rules(vec![same.clone(), same]).unwrap_err().to_string().contains("must be unique"));
        assert_eq!(check_rules(Vec::new()), Err(Invalid::Malformed));
    }

    #[test]
    fn days_and_counts_are_in_their_bounds() {
        assert_eq!(days(1, 1, "Days", "Expiration"), Ok(1));
        assert_eq!(days(0, 0, "Days", "Transition"), Ok(0));
        let error = days(0, 1, "Days", "Expiration").unwrap_err().to_string();
        assert_eq!(error, "'Days' for Expiration action must be a positive integer");
        assert!(days(-1, 0, "Days", "Transition").is_err());
        assert_eq!(newer(100, "NoncurrentVersionExpiration"), Ok(100));
        assert!(newer(0, "NoncurrentVersionExpiration").is_err() && newer(101, "").is_err());
    }
}
