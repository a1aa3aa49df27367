//! The second implementation: lists, loops, and no types of the first but those of the input.

use cairn_lifecycle::configuration::{Configuration, Expiration, MinimumSize, Rule, When};
use cairn_lifecycle::decide::Action;
use cairn_storage::object::StorageClass;
use cairn_storage::settings::Tag;

#[derive(Debug)]
pub struct NaiveVersion {
    pub created: i64,
    pub marker: bool,
    pub size: u64,
    pub class: StorageClass,
    pub tags: Vec<Tag>,
    pub locked: bool,
}

/// The versions of a key, the oldest first.
#[derive(Debug)]
pub struct History {
    pub key: String,
    pub versions: Vec<NaiveVersion>,
    /// The bucket keeps what is deleted below a delete marker.
    pub keeps_old: bool,
}

/// From warm to cold, as the user guide's picture of the waterfall has them.
const WATERFALL: [&str; 7] =
    ["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

fn height(class: &str) -> usize {
    WATERFALL.iter().position(|name| *name == class).unwrap_or(0)
}

fn flows(from: &str, to: &str) -> bool {
    height(to) > height(from) && (from, to) != ("ONEZONE_IA", "GLACIER_IR")
}

fn day_of(from: i64, days: u32, day_seconds: u64) -> i64 {
    if day_seconds != 86_400 {
        return from + i64::from(days) * i64::try_from(day_seconds).unwrap() * 1_000;
    }
    // Midnights, one after the other, until one is not before the time.
    let wanted = from + i64::from(days) * 86_400_000;
    let mut midnight = (wanted / 86_400_000 - 1) * 86_400_000;
    while midnight < wanted {
        midnight += 86_400_000;
    }
    midnight
}

fn about(rule: &Rule, key: &str, version: &NaiveVersion) -> bool {
    let Some(prefix) = &rule.filter.prefix else { return about_object(rule, version) };
    key.get(..prefix.len()) == Some(prefix) && about_object(rule, version)
}

fn about_object(rule: &Rule, version: &NaiveVersion) -> bool {
    let (larger, smaller) = (rule.filter.larger_than, rule.filter.smaller_than);
    if version.marker {
        return larger.is_none() && smaller.is_none() && rule.filter.tags.is_empty();
    }
    if larger.is_some() && version.size <= larger.unwrap() || smaller.is_some() && version.size >= smaller.unwrap() {
        return false;
    }
    for wanted in &rule.filter.tags {
        if !version.tags.iter().any(|tag| tag.key == wanted.key && tag.value == wanted.value) {
            return false;
        }
    }
    true
}

/// What is due about the version at `at`: the best of everything that every rule wants by now.
pub fn expected(
    configuration: &Configuration,
    day_seconds: u64,
    history: &History,
    at: usize,
    now: i64,
) -> Option<(Action, usize)> {
    let version = &history.versions[at];
    let is_current = at + 1 == history.versions.len();
    // How good an action is, what it is, which rule wants it. The least wins; of equals the first rule's.
    let mut wanted: Vec<(i64, usize, Action)> = Vec::new();
    for (number, rule) in configuration.rules.iter().enumerate() {
        if !rule.enabled || !about(rule, &history.key, version) {
            continue;
        }
        let time = |when: When| match when {
            When::Days(days) => day_of(version.created, days, day_seconds),
            When::Date(date) => date.0,
        };
        let mut moves: Vec<(i64, StorageClass)> = Vec::new();
        if is_current {
            moves.extend(rule.transitions.iter().map(|transition| (time(transition.when), transition.class)));
            match rule.expiration {
                Some(Expiration::At(when)) if !version.marker && time(when) <= now => {
                    let for_good = !history.keeps_old;
                    if !(for_good && version.locked) {
                        wanted.push((if for_good { -100 } else { 100 }, number, Action::Expire));
                    }
                }
                Some(Expiration::At(When::Days(days)))
                    if version.marker && at == 0 && day_of(version.created, days, day_seconds) <= now =>
                {
                    wanted.push((-100, number, Action::RemoveMarker));
                }
                Some(Expiration::ExpiredMarkers) if version.marker && at == 0 && version.created <= now => {
                    wanted.push((-100, number, Action::RemoveMarker));
                }
                _ => {}
            }
        } else {
            let since = history.versions[at + 1].created;
            let newer = history.versions.len() - at - 2;
            let kept = |keep: Option<u32>| newer < usize::try_from(keep.unwrap_or(0)).unwrap();
            if let Some(end) = rule.noncurrent_expiration {
                let may_go = version.marker || !version.locked;
                if !kept(end.newer) && may_go && day_of(since, end.days, day_seconds) <= now {
                    wanted.push((-100, number, Action::Remove));
                }
            }
            for transition in &rule.noncurrent_transitions {
                if !kept(transition.newer) {
                    moves.push((day_of(since, transition.days, day_seconds), transition.class));
                }
            }
        }
        for (due, class) in moves {
            let filtered = rule.filter.larger_than.is_some() || rule.filter.smaller_than.is_some();
            let archive = matches!(class.name(), "GLACIER" | "DEEP_ARCHIVE");
            let small_may = configuration.minimum == MinimumSize::VariesByClass && archive;
            let size_fits = version.size >= 131_072 || filtered || small_may;
            if !version.marker && due <= now && flows(version.class.name(), class.name()) && size_fits {
                let coldness = i64::try_from(height(class.name())).unwrap();
                wanted.push((-coldness, number, Action::Transition(class)));
            }
        }
    }
    let best = wanted.iter().map(|(rank, ..)| *rank).min()?;
    wanted.into_iter().find(|(rank, ..)| *rank == best).map(|(_, number, action)| (action, number))
}
