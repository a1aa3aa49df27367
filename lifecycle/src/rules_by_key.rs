//! Which rules are about a key, for who asks in the order of keys: between two places where a rule's prefix begins or ends
//! all keys have the same rules, so that a thousand rules cost a walk hardly more than one.

use std::sync::Arc;

use cairn_storage::clock::Timestamp;
use cairn_storage::index::KeyRange;
use cairn_storage::ops::sweep::{Standing, SweptVersion};

use crate::calendar::Calendar;
use crate::configuration::Configuration;
use crate::decide::{Facts, ObjectFacts, Place, Verdict, decide_among};

/// The rules of a configuration by key.
#[derive(Clone, Debug)]
pub struct RulesByKey {
    configuration: Arc<Configuration>,
    /// Where prefixes begin and where they end, in order.
    bounds: Arc<[Vec<u8>]>,
    /// How many bounds are not after the key that was asked about last.
    stretch: Option<usize>,
    /// The rules about that key.
    about: Vec<usize>,
}

impl RulesByKey {
    /// Those of `configuration`.
    #[must_use]
    pub fn new(configuration: Arc<Configuration>) -> Self {
        let ranges = configuration.rules.iter().map(|rule| KeyRange::prefix(rule.filter.prefix().as_bytes()));
        let mut bounds: Vec<_> = ranges.flat_map(|range| [Some(range.start), range.end]).flatten().collect();
        bounds.sort_unstable();
        bounds.dedup();
        Self { configuration, bounds: bounds.into(), stretch: None, about: Vec::new() }
    }

    /// Everything that was written.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What is decided about a version that a walk came to.
    pub fn verdict(&mut self, calendar: Calendar, key: &str, version: &SweptVersion, now: Timestamp) -> Verdict {
        let place = match version.standing {
            Standing::Head { alone, for_good } => Place::Current { alone, for_good },
            Standing::Older { since, newer } => Place::Noncurrent { since, newer },
        };
        let object = version.object.as_ref().map(|object| ObjectFacts {
            size_bytes: object.size_bytes,
            class: object.class,
            tags: &object.tags,
            locked: object.locked_until.is_some(),
        });
        self.come_to(key);
        let facts = Facts { key, created: version.created, place, object };
        decide_among(&self.configuration, self.about.iter().copied(), calendar, &facts, now)
    }

    /// Finds the enabled rules whose prefix the key has.
    fn come_to(&mut self, key: &str) {
        let bytes = key.as_bytes();
        let same = self.stretch.is_some_and(|before| {
            before.checked_sub(1).is_none_or(|last| self.bounds[last].as_slice() <= bytes)
                && self.bounds.get(before).is_none_or(|next| bytes < next.as_slice())
        });
        if !same {
            self.stretch = Some(self.bounds.partition_point(|bound| bound.as_slice() <= bytes));
            let rules = self.configuration.rules.iter().enumerate();
            let about = rules.filter(|(_, rule)| rule.enabled && key.starts_with(rule.filter.prefix()));
            self.about.clear();
            self.about.extend(about.map(|(place, _)| place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Filter, Rule};

    #[test]
    fn a_key_has_the_rules_whose_prefix_it_has_in_whatever_order_keys_come() {
        let rule = |prefix: &str, enabled| Rule {
            id: prefix.to_owned(),
            enabled,
            filter: Filter { prefix: Some(prefix.to_owned()), ..Filter::default() },
            expiration: None,
            transitions: Vec::new(),
            noncurrent_transitions: Vec::new(),
            noncurrent_expiration: None,
            abort_days: None,
        };
        let prefixes = [("b", true), ("", true), ("b/c", true), ("b/", false), ("\u{10FFFF}", true), ("b", true)];
        let rules = prefixes.map(|(prefix, enabled)| rule(prefix, enabled)).into();
        let configuration = Arc::new(Configuration { rules, ..Configuration::default() });
        let mut by_key = RulesByKey::new(configuration.clone());
        let keys = ["a", "b", "b/", "b/c", "b/cc", "b/d", "c", "\u{10FFFF}", "\u{10FFFF}z"];
        for key in keys.into_iter().chain(keys.into_iter().rev()).chain(["b/c", "a", "c", "b"]) {
            let plain = configuration.rules.iter().enumerate();
            let plain = plain.filter(|(_, rule)| rule.enabled && key.starts_with(&rule.id)).map(|(place, _)| place);
            by_key.come_to(key);
            assert_eq!(by_key.about, plain.collect::<Vec<_>>(), "{key}");
        }
    }
}
