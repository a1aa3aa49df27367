//! The access tiers of INTELLIGENT_TIERING (S3 user guide, "How S3 Intelligent-Tiering works"): a bucket's configurations,
//! which are its document 13, and where an object belongs by its last access. Pure.
//!
//! Without any configuration an object of 128 KiB and more moves to the infrequent tier when it was not accessed for 30 days,
//! to archive instant access after 90, and back when it is accessed. A configuration adds the archive tiers, whose objects are
//! restored before they can be read; a restore brings them back for good.

use std::collections::{BTreeMap, HashSet};

use cairn_storage::clock::Timestamp;
use cairn_storage::object::{Access, AccessTier, Restored};
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use minicbor::{Decode, Encode};

use crate::calendar::Calendar;
use crate::configuration::{Filter, FilterForm};
use crate::validate::Invalid;

/// Smaller objects are not monitored and stay in the frequent tier.
pub const MONITORED_BYTES_MIN: u64 = 128 << 10;

/// The most configurations of a bucket (S3 API reference, PutBucketIntelligentTieringConfiguration).
pub const CONFIGURATIONS_MAX: usize = 1_000;

/// Days without access until the tiers that need no configuration.
const AUTOMATIC: [(AccessTier, u32); 2] = [(AccessTier::Infrequent, 30), (AccessTier::ArchiveInstant, 90)];

/// The longest id, in characters.
const ID_CHARS_MAX: usize = 64;

/// The most days until an archive tier.
const ARCHIVE_DAYS_MAX: u32 = 730;

/// The most tags of a filter: no object has more.
const TAGS_MAX: usize = 10;

/// A bucket's configurations, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Configurations {
    /// In the order in which they are listed.
    #[n(0)]
    pub by_id: BTreeMap<String, Configuration>,
}

impl Record for Configurations {
    const NAME: &'static str = "intelligent-tiering configurations";
    const BYTES_MAX: usize = 1 << 20;
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Configuration {
    /// One that is not is kept and does nothing.
    #[n(0)]
    pub enabled: bool,
    /// Which objects it is about; None: all, and it was not written.
    #[n(1)]
    pub filter: Option<Filter>,
    /// Archive tiers with their days without access, as they were written.
    #[n(2)]
    pub tierings: Vec<Tiering>,
}

/// When objects move to an archive tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tiering {
    /// The tier, one that needs restores.
    #[n(0)]
    pub tier: AccessTier,
    /// Days without access.
    #[n(1)]
    pub days: u32,
}

/// Ok if S3 takes the configuration under this id.
///
/// # Errors
/// What S3 finds wrong.
pub fn check(id: &str, configuration: &Configuration, calendar: Calendar) -> Result<(), Invalid> {
    if id.is_empty() || id.chars().count() > ID_CHARS_MAX {
        return Err(Invalid::Argument(format!("The id must have 1 to {ID_CHARS_MAX} characters.")));
    }
    if let Some(filter) = &configuration.filter {
        check_filter(filter)?;
    }
    let mut tiers = HashSet::new();
    for Tiering { tier, days } in &configuration.tierings {
        // Short days are for tests, which cannot wait for ninety of them.
        let least = match tier {
            _ if calendar != Calendar::REAL => 1,
            AccessTier::DeepArchive => 180,
            _ => 90,
        };
        if !(least..=ARCHIVE_DAYS_MAX).contains(days) {
            let message = format!("'Days' for {} must be from {least} to {ARCHIVE_DAYS_MAX}.", tier.name());
            return Err(Invalid::Argument(message));
        }
        if !tier.needs_restore() || !tiers.insert(*tier) {
            return Err(Invalid::Malformed);
        }
    }
    if tiers.is_empty() { Err(Invalid::Malformed) } else { Ok(()) }
}

fn check_filter(filter: &Filter) -> Result<(), Invalid> {
    let conditions = usize::from(filter.prefix.is_some()) + filter.tags.len();
    let fits = match filter.form {
        FilterForm::Filter => conditions <= 1,
        FilterForm::And => conditions >= 2,
        FilterForm::RulePrefix => false,
    };
    let sound =
        |Tag { key, value }: &Tag| !key.is_empty() && key.chars().count() <= 128 && value.chars().count() <= 256;
    let distinct: HashSet<_> = filter.tags.iter().map(|tag| &tag.key).collect();
    if !fits || filter.prefix().len() > cairn_storage::object::KEY_BYTES_MAX {
        return Err(Invalid::Malformed);
    }
    if !filter.tags.iter().all(sound) || distinct.len() < filter.tags.len() || filter.tags.len() > TAGS_MAX {
        return Err(Invalid::Argument("The TagKey or TagValue you have provided is invalid".to_owned()));
    }
    Ok(())
}

/// What decides about an object of the class.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its tags.
    pub tags: &'a [Tag],
    /// Its plaintext bytes.
    pub size_bytes: u64,
    /// When it came into the class.
    pub since: Timestamp,
    /// Its tier and last access, if anything of it was ever noted.
    pub access: Option<Access>,
    /// The newest restore.
    pub restored: Option<Restored>,
}

/// Where an object is to move now, and when to ask again at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The tier.
    pub due: Option<AccessTier>,
    /// The earliest time after now at which it is another one, if it is not accessed; None: never.
    pub next: Option<Timestamp>,
}

/// Where an object belongs.
#[must_use]
pub fn decide(configurations: &Configurations, calendar: Calendar, facts: &Facts<'_>, now: Timestamp) -> Verdict {
    if facts.size_bytes < MONITORED_BYTES_MIN {
        return Verdict::default();
    }
    let Access { tier, last } = facts.access.unwrap_or(Access { tier: AccessTier::Frequent, last: facts.since });
    if let Some(restored) = facts.restored.filter(|_| tier.needs_restore()) {
        return if restored.ready <= now {
            Verdict { due: Some(AccessTier::Frequent), next: None }
        } else {
            Verdict { due: None, next: Some(restored.ready) }
        };
    }
    let configured = configurations.by_id.values().filter(|configuration| {
        let about = |filter: &Filter| {
            facts.key.starts_with(filter.prefix()) && filter.tags.iter().all(|tag| facts.tags.contains(tag))
        };
        configuration.enabled && configuration.filter.as_ref().is_none_or(about)
    });
    let configured = configured.flat_map(|configuration| &configuration.tierings);
    let configured = configured.map(|tiering| (tiering.tier, tiering.days));
    let (mut belongs, mut next) = (AccessTier::Frequent, None::<Timestamp>);
    for (colder, days) in AUTOMATIC.into_iter().chain(configured) {
        let due = calendar.after(last, days);
        if due <= now {
            belongs = belongs.max(colder);
        } else if colder > tier {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
    }
    // Out of an archive tier leads a restore alone.
    let moves = belongs > tier || (belongs < tier && !tier.needs_restore());
    Verdict { due: moves.then_some(belongs), next }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::calendar::DAY_MS;

    fn archive(days: u32) -> Tiering {
        Tiering { tier: AccessTier::Archive, days }
    }

    fn deep(days: u32) -> Tiering {
        Tiering { tier: AccessTier::DeepArchive, days }
    }

    fn configuration(prefix: &str, tierings: Vec<Tiering>) -> Configuration {
        let filter = Some(Filter { prefix: Some(prefix.to_owned()), ..Filter::default() });
        Configuration { enabled: true, filter, tierings }
    }

    fn all(configurations: Vec<Configuration>) -> Configurations {
        let by_id = configurations.into_iter().enumerate().map(|(at, one)| (at.to_string(), one)).collect();
        Configurations { by_id }
    }

    fn days(days: i64) -> Timestamp {
        Timestamp(days * DAY_MS)
    }

    /// What is due on a day about an object that is in `tier` since its last access on day 0.
    fn due(
        configurations: &Configurations,
        tier: AccessTier,
        restored: Option<Restored>,
        on: i64,
    ) -> Option<AccessTier> {
        let facts = Facts {
            key: "logs/a",
            tags: &[],
            size_bytes: MONITORED_BYTES_MIN,
            since: days(0),
            access: Some(Access { tier, last: days(0) }),
            restored,
        };
        let verdict = decide(configurations, Calendar::REAL, &facts, days(on));
        assert!(verdict.next.is_none_or(|next| next > days(on)));
        let small = Facts { size_bytes: MONITORED_BYTES_MIN - 1, ..facts };
        assert_eq!(decide(configurations, Calendar::REAL, &small, days(on)), Verdict::default());
        verdict.due
    }

    #[test]
    fn an_object_gets_colder_by_its_days_without_access_and_warm_by_an_access() {
        use AccessTier::{Archive, ArchiveInstant, DeepArchive, Frequent, Infrequent};
        let none = Configurations::default();
        for (tier, on, expected) in [
            (Frequent, 29, None),
            (Frequent, 30, Some(Infrequent)),
            (Infrequent, 89, None),
            (Infrequent, 90, Some(ArchiveInstant)),
            (Frequent, 100, Some(ArchiveInstant)),
            (ArchiveInstant, 9_000, None),
            (Infrequent, 3, Some(Frequent)),
            (ArchiveInstant, 40, Some(Infrequent)),
            // A configuration that is gone brings nothing back.
            (Archive, 3, None),
        ] {
            assert_eq!(due(&none, tier, None, on), expected, "{tier:?} on day {on}");
        }
        let some = all(vec![configuration("logs/", vec![archive(90), deep(200)]), configuration("x", vec![deep(180)])]);
        for (tier, on, expected) in [
            (Infrequent, 90, Some(Archive)),
            (Archive, 199, None),
            (Archive, 200, Some(DeepArchive)),
            (DeepArchive, 5, None),
        ] {
            assert_eq!(due(&some, tier, None, on), expected, "{tier:?} on day {on}");
        }
        let mut disabled = some.clone();
        disabled.by_id.values_mut().for_each(|configuration| configuration.enabled = false);
        assert_eq!(due(&disabled, Infrequent, None, 300), Some(ArchiveInstant));
    }

    #[test]
    fn a_restore_brings_an_archived_object_back() {
        let restored =
            Restored { requested: days(99), ready: days(100), ends: Timestamp(i64::MAX), ..Restored::default() };
        for tier in [AccessTier::Archive, AccessTier::DeepArchive] {
            assert_eq!(due(&Configurations::default(), tier, Some(restored), 99), None);
            assert_eq!(due(&Configurations::default(), tier, Some(restored), 100), Some(AccessTier::Frequent));
        }
    }

    #[test]
    fn what_s3_refuses_is_refused() {
        let check = |id: &str, tierings: Vec<Tiering>| check(id, &configuration("", tierings), Calendar::REAL);
        for tierings in [vec![archive(90)], vec![archive(730), deep(180)]] {
            assert_eq!(check("id", tierings), Ok(()));
        }
        for tierings in
            [Vec::new(), vec![archive(90), archive(91)], vec![Tiering { tier: AccessTier::Infrequent, days: 90 }]]
        {
            assert_eq!(check("id", tierings.clone()), Err(Invalid::Malformed), "{tierings:?}");
        }
        for tierings in [vec![archive(89)], vec![deep(179)], vec![archive(731)]] {
            assert!(matches!(check("id", tierings.clone()), Err(Invalid::Argument(_))), "{tierings:?}");
        }
        for id in [String::new(), "x".repeat(65)] {
            assert!(matches!(check(&id, vec![archive(90)]), Err(Invalid::Argument(_))), "{id:?}");
        }
        let tag = |key: &str| Tag { key: key.to_owned(), value: "v".to_owned() };
        let filtered = |form, tags: Vec<Tag>| {
            let filter = Some(Filter { form, tags, ..Filter::default() });
            super::check("id", &Configuration { filter, ..configuration("", vec![deep(180)]) }, Calendar::REAL)
        };
        assert_eq!(filtered(FilterForm::Filter, vec![tag("a")]), Ok(()));
        assert_eq!(filtered(FilterForm::And, vec![tag("a"), tag("b")]), Ok(()));
        assert_eq!(filtered(FilterForm::And, vec![tag("a")]), Err(Invalid::Malformed));
        assert!(matches!(filtered(FilterForm::And, vec![tag("a"), tag("a")]), Err(Invalid::Argument(_))));
    }

    #[test]
    fn configurations_round_trip() {
        let some = all(vec![
            configuration("logs/", vec![archive(90), deep(200)]),
            Configuration { enabled: false, filter: None, tierings: vec![deep(180)] },
        ]);
        let value = some.to_value().unwrap();
        assert_eq!(Configurations::from_value(&value).unwrap(), some);
        for cut in 0..value.len() {
            assert!(Configurations::from_value(&value[..cut]).is_err());
        }
    }
}
