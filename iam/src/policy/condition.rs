//! What the values of a request's condition keys must be (IAM user guide, "IAM JSON policy elements: Condition operators"
//! and "Creating a condition with multiple keys or values").
//!
//! Several values of a key in a policy are alternatives; for a negated operator, none of them may match. A key without a
//! value does not match, so a negated operator holds. `...IfExists` holds without a value.
//! `ForAnyValue:` wants one of the request's values to match and `ForAllValues:` all of them; without either, a request
//! with several values is taken as `ForAnyValue:` for an operator and as `ForAllValues:` for a negated one.

mod operand;

use self::operand::{Network, Relation, parse_bool, parse_date, parse_number};
use super::Facts;
use super::arn::{ArnPattern, arn_parts};
use super::error::Fault;
use super::pattern::{Pattern, Syntax};
use crate::evaluate::Values;

/// A condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// As the document writes it.
    pub(super) written: Box<str>,
    pub(super) lower: Box<str>,
}

/// How a request's several values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Several {
    Any,
    All,
}

/// One key under one operator.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) key: Key,
    set: Option<Several>,
    if_exists: bool,
    pub(super) negated: bool,
    pub(super) test: Test,
}

/// What a value is compared to, and how.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Text(Vec<Pattern>),
    TextIgnoringCase(Vec<Pattern>),
    Number(Relation, Vec<f64>),
    /// In nanoseconds since 1970.
    Date(Relation, Vec<i128>),
    Bool(Vec<bool>),
    /// Base64, as the values of requests are.
    Binary(Vec<Box<[u8]>>),
    Address(Vec<Network>),
    Arn(Vec<ArnPattern>),
    /// Whether the key has no value.
    Null(Vec<bool>),
}

impl Condition {
    /// The condition that an operator's name, a key and its values in a document make.
    pub(super) fn compile(operator: &str, key: &str, values: &[String], variables: bool) -> Result<Self, Fault> {
        let unknown = || Fault::Operator(operator.to_owned());
        let (set, name) = match operator.split_once(':') {
            None => (None, operator),
            Some((set, name)) if set.eq_ignore_ascii_case("ForAnyValue") => (Some(Several::Any), name),
            Some((set, name)) if set.eq_ignore_ascii_case("ForAllValues") => (Some(Several::All), name),
            Some(_) => return Err(unknown()),
        };
        let lower = name.to_ascii_lowercase();
        let (name, if_exists) = lower.strip_suffix("ifexists").map_or((&*lower, false), |name| (name, true));
        let (negated, test) = compile_test(name, values, variables)?.ok_or_else(unknown)?;
        if matches!(test, Test::Null(_)) && (if_exists || set.is_some()) {
            return Err(unknown());
        }
        let valid_key = key.split_once(':').is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty());
        if !valid_key {
            return Err(Fault::ConditionKey(key.to_owned()));
        }
        let key = Key { written: key.into(), lower: key.to_lowercase().into() };
        Ok(Self { key, set, if_exists, negated, test })
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let values = facts.values(&self.key.lower);
        let values: &[_] = match &values {
            Values::Absent => &[],
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        };
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&values.is_empty());
        }
        if values.is_empty() {
            return self.if_exists || self.set.map_or(self.negated, |set| set == Several::All);
        }
        // A set operator takes nothing but empty texts as no values.
        if let Some(set) = self.set
            && values.iter().all(|value| value.is_empty())
        {
            return set == Several::All;
        }
        let matches = |value: &std::borrow::Cow<'_, str>| self.test.matches(value, facts) != self.negated;
        match self.set.unwrap_or(if self.negated { Several::All } else { Several::Any }) {
            Several::Any => values.iter().any(matches),
            Several::All => values.iter().all(matches),
        }
    }

    /// Holds without a value of its key, or with any.
    pub(super) fn holds_without_value(&self) -> bool {
        self.if_exists || self.set.map_or(self.negated, |set| set == Several::All)
    }

    /// The keys of the variables in its values.
    pub(super) fn variables(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.test {
            Test::Text(patterns) | Test::TextIgnoringCase(patterns) => {
                Box::new(patterns.iter().flat_map(Pattern::variables))
            }
            Test::Arn(patterns) => Box::new(patterns.iter().flat_map(ArnPattern::variables)),
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// The test of an operator in lower case without `IfExists`, and whether it is negated. None: there is no such operator.
fn compile_test(name: &str, values: &[String], variables: bool) -> Result<Option<(bool, Test)>, Fault> {
    let bad = |value: &String| Fault::ConditionValue(value.clone());
    let exact = Syntax { wildcards: false, variables };
    let like = Syntax { wildcards: true, variables };
    let texts = |syntax| {
        let compile = |value: &String| Pattern::compile(value, syntax).map_err(|_| Fault::Variable(value.clone()));
        values.iter().map(compile).collect::<Result<Vec<_>, _>>()
    };
    let arns = || {
        let compile =
            |value: &String| ArnPattern::compile(value, variables).map_err(|_| Fault::Variable(value.clone()));
        values.iter().map(compile).collect::<Result<Vec<_>, _>>()
    };
    let numbers = || values.iter().map(|value| parse_number(value).ok_or_else(|| bad(value))).collect::<Result<_, _>>();
    let dates = || values.iter().map(|value| parse_date(value).ok_or_else(|| bad(value))).collect::<Result<_, _>>();
    let bools = || values.iter().map(|value| parse_bool(value).ok_or_else(|| bad(value))).collect::<Result<_, _>>();
    let networks =
        || values.iter().map(|value| Network::parse(value).ok_or_else(|| bad(value))).collect::<Result<Vec<_>, _>>();
    let binaries = || {
        let decode = |value: &String| operand::parse_binary(value).ok_or_else(|| bad(value));
        values.iter().map(decode).collect::<Result<Vec<_>, _>>()
    };
    let test = match name {
        "stringequals" => (false, Test::Text(texts(exact)?)),
        "stringnotequals" => (true, Test::Text(texts(exact)?)),
        "stringequalsignorecase" => (false, Test::TextIgnoringCase(texts(exact)?)),
        "stringnotequalsignorecase" => (true, Test::TextIgnoringCase(texts(exact)?)),
        "stringlike" => (false, Test::Text(texts(like)?)),
        "stringnotlike" => (true, Test::Text(texts(like)?)),
        "bool" => (false, Test::Bool(bools()?)),
        "binaryequals" => (false, Test::Binary(binaries()?)),
        "ipaddress" => (false, Test::Address(networks()?)),
        "notipaddress" => (true, Test::Address(networks()?)),
        "arnequals" | "arnlike" => (false, Test::Arn(arns()?)),
        "arnnotequals" | "arnnotlike" => (true, Test::Arn(arns()?)),
        "null" => (false, Test::Null(bools()?)),
        _ => {
            let relation = |name: &str| Relation::parse(name);
            return Ok(if let Some((negated, relation)) = name.strip_prefix("numeric").and_then(relation) {
                Some((negated, Test::Number(relation, numbers()?)))
            } else if let Some((negated, relation)) = name.strip_prefix("date").and_then(relation) {
                Some((negated, Test::Date(relation, dates()?)))
            } else {
                None
            });
        }
    };
    Ok(Some(test))
}

impl Test {
    /// Whether a value is as one of the policy's values wants it, the operator's negation left out.
    fn matches(&self, value: &str, facts: &Facts<'_>) -> bool {
        match self {
            Self::Text(patterns) => patterns.iter().any(|pattern| pattern.matches(value, facts)),
            Self::TextIgnoringCase(patterns) => {
                patterns.iter().any(|pattern| pattern.equals_ignoring_case(value, facts))
            }
            Self::Number(relation, numbers) => parse_number(value)
                .is_some_and(|value| numbers.iter().any(|number| relation.holds(value.partial_cmp(number)))),
            Self::Date(relation, dates) => {
                parse_date(value).is_some_and(|value| dates.iter().any(|date| relation.holds(Some(value.cmp(date)))))
            }
            Self::Bool(wanted) => parse_bool(value).is_some_and(|value| wanted.contains(&value)),
            Self::Binary(wanted) => operand::parse_binary(value).is_some_and(|value| wanted.contains(&value)),
            Self::Address(networks) => operand::parse_address(value)
                .is_some_and(|address| networks.iter().any(|network| network.contains(address))),
            Self::Arn(patterns) => {
                let arn = arn_parts(value);
                patterns.iter().any(|pattern| pattern.matches(arn.as_ref(), facts))
            }
            Self::Null(_) => false,
        }
    }
}
