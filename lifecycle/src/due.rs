//! What is due about a version, by the rules and by the access tiers: what a sweep does, and a plan tells.

use std::sync::Arc;

use cairn_storage::clock::Timestamp;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::sweep::{SweptObject, SweptVersion};

use crate::calendar::Calendar;
use crate::configuration::Configuration;
use crate::decide::Action;
use crate::rules_by_key::RulesByKey;
use crate::tiering::{self, Configurations};

/// What is to be done, and the place of the rule that says so; None: none has to, because it is about access tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) act: Act,
    pub(crate) rule: Option<usize>,
}

/// What is due about a version.
pub(crate) struct Verdict {
    pub(crate) due: Option<Due>,
    /// When something else may be: by the rules, by the access tiers, and because a lock ends.
    pub(crate) next: [Option<Timestamp>; 3],
}

/// What decides.
#[derive(Clone)]
pub(crate) struct Decider {
    rules: RulesByKey,
    /// None: the bucket has no objects in INTELLIGENT_TIERING.
    tiering: Option<Arc<Configurations>>,
    calendar: Calendar,
}

impl Decider {
    pub(crate) fn new(rules: Arc<Configuration>, tiering: Option<Arc<Configurations>>, calendar: Calendar) -> Self {
        Self { rules: RulesByKey::new(rules), tiering, calendar }
    }

    pub(crate) fn rules(&self) -> &Configuration {
        self.rules.configuration()
    }

    pub(crate) fn calendar(&self) -> Calendar {
        self.calendar
    }

    /// The prefixes that a walk goes through, and whether it looks at older versions. Objects of every key can be in
    /// INTELLIGENT_TIERING, whose tiers need no rule.
    pub(crate) fn walked(&self) -> (Vec<String>, bool) {
        let rules = self.rules();
        if self.tiering.is_some() {
            return (vec![String::new()], true);
        }
        (rules.prefixes(), rules.has_noncurrent())
    }

    /// What is due about a version that a walk came to. Rules come first.
    pub(crate) fn verdict(&mut self, key: &str, version: &SweptVersion, now: Timestamp) -> Verdict {
        let by_rule = self.rules.verdict(self.calendar, key, version, now);
        let by_tier = self.tier_verdict(key, version, now);
        let lock_ends = version.object.as_ref().and_then(|object| object.locked_until);
        let due = by_rule.due.map(|(action, rule)| Due { act: act_of(action), rule: Some(rule) });
        let due = due.or_else(|| by_tier.due.map(|tier| Due { act: Act::Tier(tier), rule: None }));
        Verdict { due, next: [by_rule.next, by_tier.next, lock_ends] }
    }

    /// Where a version belongs among the access tiers; of one that is not in INTELLIGENT_TIERING nothing is due.
    fn tier_verdict(&self, key: &str, version: &SweptVersion, now: Timestamp) -> tiering::Verdict {
        let object = version.object.as_ref().filter(|object| object.class == StorageClass::IntelligentTiering);
        let (Some(configurations), Some(object)) = (&self.tiering, object) else { return tiering::Verdict::default() };
        let SweptObject { size_bytes, tags, since, access, restored, .. } = object;
        let facts =
            tiering::Facts { key, tags, size_bytes: *size_bytes, since: *since, access: *access, restored: *restored };
        tiering::decide(configurations, self.calendar, &facts, now)
    }
}

fn act_of(action: Action) -> Act {
    match action {
        Action::Expire => Act::Expire,
        Action::Remove => Act::Remove,
        Action::RemoveMarker => Act::RemoveMarker,
        Action::Transition(class) => Act::Transition(class),
    }
}
