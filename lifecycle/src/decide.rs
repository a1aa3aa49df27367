//! What the rules ask for about one version at one time. Pure.
//!
//! Where several rules ask for different things, S3's order holds (user guide, "Conflicting lifecycle actions"): a version
//! that ends for good is not moved before; a version moves before a delete marker hides it; of several targets the coldest is
//! taken. A filter by tags or sizes is about no delete marker.
//!
//! A noncurrent version counts from the creation of the version that followed it. `NewerNoncurrentVersions` counts delete
//! markers too, as they are versions.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::StorageClass;
use cairn_storage::settings::Tag;

use crate::calendar::Calendar;
use crate::class::{moves_to, properties};
use crate::configuration::{Configuration, Expiration, Filter, MinimumSize, Rule, When};

/// Objects below this size move only if a rule says so.
pub const MINIMUM_BYTES: u64 = 128 << 10;

/// What decides about a version.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its key.
    pub key: &'a str,
    /// When it was created.
    pub created: Timestamp,
    /// Its place among the versions of its key.
    pub place: Place,
    /// What it is; None: a delete marker.
    pub object: Option<ObjectFacts<'a>>,
}

/// What decides about a version that is an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts<'a> {
    /// Its plaintext bytes.
    pub size_bytes: u64,
    /// Its class.
    pub class: StorageClass,
    /// Its tags.
    pub tags: &'a [Tag],
    /// A legal hold or a retention keeps it.
    pub locked: bool,
}

/// A version's place among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The newest.
    Current {
        /// There is no other.
        alone: bool,
        /// Expiring it ends it for good, because no version would be left below a delete marker.
        for_good: bool,
    },
    /// An older one.
    Noncurrent {
        /// When the version that followed it was created.
        since: Timestamp,
        /// How many noncurrent versions of the key are newer.
        newer: u32,
    },
}

/// What is to be done with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The current version expires: a delete marker hides it, or it ends for good.
    Expire,
    /// The noncurrent version ends for good.
    Remove,
    /// The delete marker, which hides nothing, goes.
    RemoveMarker,
    /// It moves.
    Transition(StorageClass),
}

/// What the rules say of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done now, and the place in the configuration of the rule that says so.
    pub due: Option<(Action, usize)>,
    /// The earliest time after now at which a rule asks for something.
    pub next: Option<Timestamp>,
}

/// What `configuration` asks for.
#[must_use]
pub fn decide(configuration: &Configuration, calendar: Calendar, facts: &Facts<'_>, now: Timestamp) -> Verdict {
    decide_among(configuration, 0..configuration.rules.len(), calendar, facts, now)
}

/// What `configuration` asks for, if no other rules than those at these places are about the key.
#[must_use]
pub fn decide_among(
    configuration: &Configuration,
    places: impl IntoIterator<Item = usize>,
    calendar: Calendar,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Verdict {
    let mut found = Found { now, ends: None, moves: None, hides: None, next: None };
    for index in places {
        let rule = &configuration.rules[index];
        if !rule.enabled || !matches(&rule.filter, facts) {
            continue;
        }
        match facts.place {
            Place::Current { alone, for_good } => {
                of_current(rule, index, calendar, facts, (alone, for_good), &mut found);
                let Some(object) = &facts.object else { continue };
                for transition in &rule.transitions {
                    if may_move(configuration.minimum, rule, object, transition.class) {
                        let due = due(transition.when, calendar, facts.created);
                        found.consider(Action::Transition(transition.class), due, index);
                    }
                }
            }
            Place::Noncurrent { since, newer } => {
                let kept = |keep: Option<u32>| keep.is_some_and(|keep| newer < keep);
                let locked = facts.object.is_some_and(|object| object.locked);
                if let Some(end) = rule.noncurrent_expiration.filter(|end| !kept(end.newer) && !locked) {
                    found.consider(Action::Remove, calendar.after(since, end.days), index);
                }
                let Some(object) = &facts.object else { continue };
                for transition in rule.noncurrent_transitions.iter().filter(|transition| !kept(transition.newer)) {
                    if may_move(configuration.minimum, rule, object, transition.class) {
                        let due = calendar.after(since, transition.days);
                        found.consider(Action::Transition(transition.class), due, index);
                    }
                }
            }
        }
    }
    let due = found.ends.or(found.moves.map(|(class, rule)| (Action::Transition(class), rule))).or(found.hides);
    Verdict { due, next: found.next }
}

fn of_current(
    rule: &Rule,
    index: usize,
    calendar: Calendar,
    facts: &Facts<'_>,
    (alone, for_good): (bool, bool),
    found: &mut Found,
) {
    match (rule.expiration, &facts.object) {
        (Some(Expiration::At(when)), Some(object)) if !(for_good && object.locked) => {
            let due = due(when, calendar, facts.created);
            if for_good {
                found.consider_end(Action::Expire, due, index);
            } else {
                found.consider(Action::Expire, due, index);
            }
        }
        (Some(Expiration::ExpiredMarkers), None) if alone => {
            found.consider(Action::RemoveMarker, facts.created, index);
        }
        // A rule that expires by age ends delete markers of that age, too, that hide nothing.
        (Some(Expiration::At(When::Days(days))), None) if alone => {
            found.consider(Action::RemoveMarker, calendar.after(facts.created, days), index);
        }
        _ => {}
    }
}

/// When something is due about a version created at `created`.
pub(crate) fn due(when: When, calendar: Calendar, created: Timestamp) -> Timestamp {
    match when {
        When::Days(days) => calendar.after(created, days),
        When::Date(date) => date,
    }
}

fn may_move(minimum: MinimumSize, rule: &Rule, object: &ObjectFacts<'_>, to: StorageClass) -> bool {
    let any_size = rule.filter.has_size() || (minimum == MinimumSize::VariesByClass && to.needs_restore());
    moves_to(object.class, to) && (any_size || object.size_bytes >= MINIMUM_BYTES)
}

/// Whether a filter is about a version.
pub(crate) fn matches(filter: &Filter, facts: &Facts<'_>) -> bool {
    if !facts.key.starts_with(filter.prefix()) {
        return false;
    }
    match &facts.object {
        None => !filter.is_about_objects(),
        Some(object) => {
            filter.larger_than.is_none_or(|bytes| object.size_bytes > bytes)
                && filter.smaller_than.is_none_or(|bytes| object.size_bytes < bytes)
                && filter.tags.iter().all(|tag| object.tags.contains(tag))
        }
    }
}

/// The best of what the rules ask for, of each kind.
struct Found {
    now: Timestamp,
    /// The version ends for good.
    ends: Option<(Action, usize)>,
    moves: Option<(StorageClass, usize)>,
    /// A delete marker hides it.
    hides: Option<(Action, usize)>,
    next: Option<Timestamp>,
}

impl Found {
    fn consider_end(&mut self, action: Action, due: Timestamp, rule: usize) {
        if self.is_due(due) {
            self.ends.get_or_insert((action, rule));
        }
    }

    fn consider(&mut self, action: Action, due: Timestamp, rule: usize) {
        if !self.is_due(due) {
            return;
        }
        match action {
            Action::Remove | Action::RemoveMarker => {
                self.ends.get_or_insert((action, rule));
            }
            Action::Expire => {
                self.hides.get_or_insert((action, rule));
            }
            Action::Transition(class) => {
                let colder =
                    |(known, _): (StorageClass, usize)| properties(known).coldness < properties(class).coldness;
                if self.moves.is_none_or(colder) {
                    self.moves = Some((class, rule));
                }
            }
        }
    }

    fn is_due(&mut self, due: Timestamp) -> bool {
        if due > self.now {
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        due <= self.now
    }
}
