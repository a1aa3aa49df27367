//! Conditions, from "IAM JSON policy elements: Condition operators" and "Creating a condition with multiple keys or values".

use std::net::IpAddr;

use serde_json::Value;

use crate::naive::{Ask, arn_fits, list, symbols, wild};

pub fn hold(condition: &Value, ask: &Ask, modern: bool) -> bool {
    let Value::Object(operators) = condition else { return true };
    operators.iter().all(|(operator, keys)| {
        keys.as_object().unwrap().iter().all(|(key, values)| {
            let wanted: Vec<String> = list(values).into_iter().map(text).collect();
            let given = ask.context.get(&key.to_lowercase()).cloned().unwrap_or_default();
            holds(operator, &given, &wanted, ask, modern)
        })
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn holds(operator: &str, given: &[String], wanted: &[String], ask: &Ask, modern: bool) -> bool {
    if operator == "Null" {
        let is_null = if given.is_empty() { "true" } else { "false" };
        return wanted.iter().any(|value| value == is_null);
    }
    if let Some(operator) = operator.strip_suffix("IfExists") {
        return given.is_empty() || holds(operator, given, wanted, ask, modern);
    }
    let null_data_set = given.iter().all(String::is_empty);
    if let Some(operator) = operator.strip_prefix("ForAllValues:") {
        return null_data_set
            || given.iter().all(|value| holds(operator, std::slice::from_ref(value), wanted, ask, modern));
    }
    if let Some(operator) = operator.strip_prefix("ForAnyValue:") {
        return !null_data_set
            && given.iter().any(|value| holds(operator, std::slice::from_ref(value), wanted, ask, modern));
    }
    // A negated operator is true exactly when what it negates is false.
    let (base, negated) = match operator {
        "NotIpAddress" => ("IpAddress".to_owned(), true),
        _ if operator.contains("Not") => (operator.replacen("Not", "", 1), true),
        _ => (operator.to_owned(), false),
    };
    let matches = given.iter().any(|value| wanted.iter().any(|pattern| compare(&base, value, pattern, ask, modern)));
    matches != negated
}

/// One value of the request against one of the policy.
fn compare(operator: &str, value: &str, pattern: &str, ask: &Ask, modern: bool) -> bool {
    match operator {
        "StringEquals" => literal(pattern, modern, ask).is_some_and(|wanted| wanted == value),
        "StringEqualsIgnoreCase" => {
            literal(pattern, modern, ask).is_some_and(|wanted| wanted.to_lowercase() == value.to_lowercase())
        }
        "StringLike" => symbols(pattern, modern, ask).is_some_and(|symbols| wild(&symbols, value)),
        "ArnEquals" | "ArnLike" => arn_fits(pattern, value, modern, ask),
        "Bool" => value.to_lowercase() == pattern.to_lowercase() && ["true", "false"].contains(&&*value.to_lowercase()),
        "BinaryEquals" => value == pattern,
        "IpAddress" => in_range(value, pattern),
        _ => match (operator.strip_prefix("Numeric"), operator.strip_prefix("Date")) {
            (Some(relation), _) => match (value.parse::<f64>(), pattern.parse::<f64>()) {
                (Ok(value), Ok(wanted)) => related(relation, value, wanted),
                _ => false,
            },
            (_, Some(relation)) => match (seconds(value), seconds(pattern)) {
                (Some(value), Some(wanted)) => related(relation, value, wanted),
                _ => false,
            },
            _ => panic!("{operator}"),
        },
    }
}

fn related<T: PartialOrd>(relation: &str, value: T, wanted: T) -> bool {
    match relation {
        "Equals" => value == wanted,
        "LessThan" => value < wanted,
        "LessThanEquals" => value <= wanted,
        "GreaterThan" => value > wanted,
        "GreaterThanEquals" => value >= wanted,
        _ => panic!("{relation}"),
    }
}

/// A text in which only variables mean something.
fn literal(text: &str, modern: bool, ask: &Ask) -> Option<String> {
    use crate::naive::Symbol::{AnyCharacters, Is, OneCharacter};
    let character = |symbol| match symbol {
        Is(character) => character,
        OneCharacter => '?',
        AnyCharacters => '*',
    };
    symbols(text, modern, ask).map(|symbols| symbols.into_iter().map(character).collect())
}

fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.octets().iter().map(|octet| format!("{octet:08b}")).collect(),
        IpAddr::V6(address) => address.octets().iter().map(|octet| format!("{octet:08b}")).collect(),
    }
}

fn in_range(value: &str, range: &str) -> bool {
    let (network, length) = range.split_once('/').unwrap_or((range, "999"));
    let (Ok(address), Ok(network)) = (value.parse::<IpAddr>(), network.parse::<IpAddr>()) else { return false };
    let (address, network) = (bits(address), bits(network));
    let length = length.parse::<usize>().unwrap().min(network.len());
    address.len() == network.len() && address[..length] == network[..length]
}

/// Seconds since 1970 of a date, or of a number of seconds.
fn seconds(text: &str) -> Option<i64> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let field = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<i64>().ok());
    let (year, month, day) = (field(0, 4)?, field(5, 7).unwrap_or(1), field(8, 10).unwrap_or(1));
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_before: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<i64>()
        + days_of_month.iter().take(usize::try_from(month).ok()? - 1).sum::<i64>()
        + day
        - 1;
    let clock = field(11, 13).unwrap_or(0) * 3600 + field(14, 16).unwrap_or(0) * 60 + field(17, 19).unwrap_or(0);
    let east = match text.get(19..20) {
        Some("+") => field(20, 22)? * 3600 + field(23, 25)? * 60,
        Some("-") => -(field(20, 22)? * 3600 + field(23, 25)? * 60),
        _ => 0,
    };
    Some(days_before * 86_400 + clock - east)
}
