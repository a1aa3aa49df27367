//! What clients are told of what the rules will do: `x-amz-expiration`, `x-amz-abort-date`.
//!
//! They are told dates of real days, whatever a rule's day is set to.

use cairn_storage::clock::Timestamp;

use crate::calendar::Calendar;
use crate::configuration::{Configuration, Expiration};
use crate::decide::{Facts, due, matches};

/// When the rules end a current version, and the rule that does.
#[must_use]
pub fn expiration<'c>(configuration: &'c Configuration, facts: &Facts<'_>) -> Option<(Timestamp, &'c str)> {
    let rules = configuration.rules.iter().filter(|rule| rule.enabled && matches(&rule.filter, facts));
    let ends = rules.filter_map(|rule| match rule.expiration {
        Some(Expiration::At(when)) => Some((due(when, Calendar::REAL, facts.created), rule.id.as_str())),
        _ => None,
    });
    ends.min_by_key(|(due, _)| *due)
}

/// When the rules abort an upload of `key` that was begun at `initiated`, and the rule that does.
#[must_use]
pub fn abort<'c>(configuration: &'c Configuration, key: &str, initiated: Timestamp) -> Option<(Timestamp, &'c str)> {
    aborts(configuration, key, Calendar::REAL, initiated)
        .map(|(due, rule)| (due, configuration.rules[rule].id.as_str()))
}

/// When an upload is aborted by a calendar, and the place of the rule that does it.
#[must_use]
pub fn aborts(
    configuration: &Configuration,
    key: &str,
    calendar: Calendar,
    initiated: Timestamp,
) -> Option<(Timestamp, usize)> {
    let rules = configuration.rules.iter().enumerate();
    let ends =
        rules.filter(|(_, rule)| rule.enabled && key.starts_with(rule.filter.prefix())).filter_map(|(at, rule)| {
            let days = rule.abort_days?;
            Some((calendar.after(initiated, days), at))
        });
    ends.min()
}
