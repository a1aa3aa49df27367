//! `decide` against a second implementation, which knows nothing of it: random configurations and histories.
//!
//! The model works the other way round. It writes down, for every rule and version of a key, at which time what would have to
//! happen, as plain lists, and then sorts them by S3's order.
#![allow(clippy::unwrap_used)]

mod naive;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::configuration::{
    Configuration, Expiration, Filter, FilterForm, MinimumSize, NoncurrentExpiration, NoncurrentTransition, Rule,
    Transition, When,
};
use cairn_lifecycle::decide::{Action, Facts, ObjectFacts, Place, decide};
use cairn_storage::clock::Timestamp;
use cairn_storage::object::StorageClass;
use cairn_storage::settings::Tag;

use naive::{History, NaiveVersion};

/// How many configurations are tried; each on a history of up to six versions.
const CASES: u64 = 120_000;

/// The same throws for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.throw() % end
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn maybe<T>(&mut self, one_in: u64, made: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(one_in).then(|| made(self))
    }

    fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[usize::try_from(self.below(pool.len() as u64)).unwrap()]
    }

    fn days(&mut self) -> u32 {
        u32::try_from(self.below(6)).unwrap()
    }

    fn when(&mut self) -> When {
        if self.once_in(4) {
            When::Date(Timestamp(i64::try_from(self.below(12)).unwrap() * 86_400_000))
        } else {
            When::Days(self.days())
        }
    }

    fn newer(&mut self) -> Option<u32> {
        self.maybe(2, |dice| u32::try_from(1 + dice.below(3)).unwrap())
    }

    fn tags(&mut self) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
        let mut tags = Vec::new();
        if self.once_in(3) {
            tags.push(tag("team", self.pick(&["red", "blue"])));
        }
        if self.once_in(3) {
            tags.push(tag("kind", "log"));
        }
        tags
    }

    fn class(&mut self) -> StorageClass {
        self.pick(&StorageClass::ALL)
    }

    fn size(&mut self) -> u64 {
        self.pick(&[0, 1, 100, 131_071, 131_072, 131_073, 1 << 40])
    }

    fn rule(&mut self, number: usize) -> Rule {
        Rule {
            id: number.to_string(),
            enabled: !self.once_in(6),
            filter: Filter {
                form: FilterForm::And,
                prefix: self.maybe(2, |dice| dice.pick(&["", "a", "a/", "b", "a/b"]).to_owned()),
                tags: if self.once_in(2) { self.tags() } else { Vec::new() },
                larger_than: self.maybe(4, Self::size),
                smaller_than: self.maybe(4, Self::size),
            },
            expiration: self.maybe(2, |dice| match dice.below(6) {
                0 => Expiration::KeptMarkers,
                1 | 2 => Expiration::ExpiredMarkers,
                _ => Expiration::At(dice.when()),
            }),
            transitions: (0..self.below(3)).map(|_| Transition { when: self.when(), class: self.class() }).collect(),
            noncurrent_transitions: (0..self.below(3))
                .map(|_| NoncurrentTransition { days: self.days(), newer: self.newer(), class: self.class() })
                .collect(),
            noncurrent_expiration: self
                .maybe(2, |dice| NoncurrentExpiration { days: dice.days(), newer: dice.newer() }),
            abort_days: None,
        }
    }

    fn history(&mut self) -> History {
        let mut created = i64::try_from(self.below(5 * 86_400_000)).unwrap();
        let versions = (0..=self.below(6))
            .map(|_| {
                created += i64::try_from(self.below(2 * 86_400_000)).unwrap();
                NaiveVersion {
                    created,
                    marker: self.once_in(3),
                    size: self.size(),
                    class: self.class(),
                    tags: self.tags(),
                    locked: self.once_in(5),
                }
            })
            .collect();
        History { key: self.pick(&["a", "a/b", "a/b/c", "b", "c"]).to_owned(), versions, keeps_old: !self.once_in(3) }
    }
}

/// What `decide` says about the version at `at`, counted from the oldest.
fn verdict(
    configuration: &Configuration,
    calendar: Calendar,
    history: &History,
    at: usize,
    now: i64,
) -> Option<(Action, usize)> {
    let version = &history.versions[at];
    let newest = history.versions.len() - 1;
    let place = if at == newest {
        Place::Current { alone: history.versions.len() == 1, for_good: !history.keeps_old }
    } else {
        Place::Noncurrent {
            since: Timestamp(history.versions[at + 1].created),
            newer: u32::try_from(newest - at - 1).unwrap(),
        }
    };
    let object =
        ObjectFacts { size_bytes: version.size, class: version.class, tags: &version.tags, locked: version.locked };
    let object = (!version.marker).then_some(object);
    let facts = Facts { key: &history.key, created: Timestamp(version.created), place, object };
    let verdict = decide(configuration, calendar, &facts, Timestamp(now));
    if let Some(next) = verdict.next {
        assert!(next.0 > now, "what is next is not over yet");
    }
    verdict.due
}

#[test]
fn decisions_are_those_of_the_model() {
    let mut dice = Dice(8);
    let mut acted = 0_u64;
    for case in 0..CASES {
        let configuration = Configuration {
            rules: (0..=dice.below(3)).map(|number| dice.rule(usize::try_from(number).unwrap())).collect(),
            minimum: dice.pick(&[MinimumSize::All128K, MinimumSize::VariesByClass]),
        };
        let history = dice.history();
        let now = i64::try_from(dice.below(16 * 86_400_000)).unwrap();
        let day_seconds = dice.pick(&[86_400, 86_400, 1_000]);
        let calendar = Calendar::with_day_seconds(day_seconds);
        for at in 0..history.versions.len() {
            let found = verdict(&configuration, calendar, &history, at, now);
            let expected = naive::expected(&configuration, day_seconds, &history, at, now);
            assert_eq!(found, expected, "case {case}, version {at}, now {now}: {configuration:#?} {history:#?}");
            acted += u64::from(found.is_some());
        }
    }
    assert!(acted > CASES / 3, "the cases decide something: {acted}");
}

/// What is `next` is no later than the first time at which the model wants something else.
#[test]
fn nothing_falls_due_before_what_is_next() {
    let mut dice = Dice(88);
    for _ in 0..20_000 {
        let rules = vec![dice.rule(0), dice.rule(1)];
        let configuration = Configuration { rules, minimum: MinimumSize::All128K };
        let history = dice.history();
        let at = history.versions.len() - 1;
        let version = &history.versions[at];
        let place = Place::Current { alone: at == 0, for_good: !history.keeps_old };
        let object = ObjectFacts { size_bytes: version.size, class: version.class, tags: &version.tags, locked: false };
        let facts = Facts {
            key: &history.key,
            created: Timestamp(version.created),
            place,
            object: (!version.marker).then_some(object),
        };
        let now = i64::try_from(dice.below(10 * 86_400_000)).unwrap();
        let first = decide(&configuration, Calendar::REAL, &facts, Timestamp(now));
        let until = first.next.map_or(now + 30 * 86_400_000, |next| next.0) - 1;
        let last = decide(&configuration, Calendar::REAL, &facts, Timestamp(until.max(now)));
        assert_eq!(first.due, last.due, "{configuration:#?} {history:#?}");
    }
}
