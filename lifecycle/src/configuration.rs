//! A bucket's lifecycle configuration: document 1 of the bucket, `format (u8) | CBOR`.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::StorageClass;
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use minicbor::{Decode, Encode};

/// What a bucket's owner wants done to its objects as they age.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Configuration {
    /// At most [`crate::validate::RULES_MAX`].
    #[n(0)]
    pub rules: Vec<Rule>,
    /// Which objects are too small to move.
    #[n(1)]
    #[cbor(default)]
    pub minimum: MinimumSize,
}

impl Record for Configuration {
    const NAME: &'static str = "lifecycle configuration";
    const BYTES_MAX: usize = 1 << 20;
}

impl Configuration {
    /// The prefixes of the enabled rules that are about versions, without those that another one covers.
    #[must_use]
    pub fn prefixes(&self) -> Vec<String> {
        let about_versions = self.rules.iter().filter(|rule| rule.enabled && rule.is_about_versions());
        let mut prefixes: Vec<String> = about_versions.map(|rule| rule.filter.prefix().to_owned()).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str()));
        prefixes
    }

    /// Whether any rule is about older versions.
    pub(crate) fn has_noncurrent(&self) -> bool {
        self.rules.iter().any(|rule| rule.enabled && rule.is_about_noncurrent())
    }

    /// Whether any rule is about uploads.
    pub(crate) fn has_aborts(&self) -> bool {
        self.rules.iter().any(|rule| rule.enabled && rule.abort_days.is_some())
    }
}

/// Which objects are too small to move if a rule does not filter by size (S3 API reference,
/// TransitionDefaultMinimumObjectSize).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum MinimumSize {
    /// Those below 128 KiB.
    #[default]
    #[n(0)]
    All128K,
    /// Those below 128 KiB, unless the target is GLACIER or DEEP_ARCHIVE.
    #[n(1)]
    VariesByClass,
}

impl MinimumSize {
    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All128K => "all_storage_classes_128K",
            Self::VariesByClass => "varies_by_storage_class",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::All128K, Self::VariesByClass].into_iter().find(|minimum| minimum.name() == name)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rule {
    /// Unique in its configuration.
    #[n(0)]
    pub id: String,
    /// A rule that is not is kept and does nothing.
    #[n(1)]
    pub enabled: bool,
    /// Which objects it is about.
    #[n(2)]
    pub filter: Filter,
    /// When current versions end.
    #[n(3)]
    pub expiration: Option<Expiration>,
    /// Where current versions move.
    #[n(4)]
    #[cbor(default)]
    pub transitions: Vec<Transition>,
    /// Where noncurrent versions move.
    #[n(5)]
    #[cbor(default)]
    pub noncurrent_transitions: Vec<NoncurrentTransition>,
    /// When noncurrent versions end.
    #[n(6)]
    pub noncurrent_expiration: Option<NoncurrentExpiration>,
    /// So many days after an upload was begun, it is aborted.
    #[n(7)]
    pub abort_days: Option<u32>,
}

impl Rule {
    fn is_about_versions(&self) -> bool {
        self.expiration.is_some() || !self.transitions.is_empty() || self.is_about_noncurrent()
    }

    fn is_about_noncurrent(&self) -> bool {
        !self.noncurrent_transitions.is_empty() || self.noncurrent_expiration.is_some()
    }
}

/// Which objects a rule is about: those for which everything in it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Filter {
    /// How it was written, which is how it is shown.
    #[n(0)]
    #[cbor(default)]
    pub form: FilterForm,
    /// The key begins so.
    #[n(1)]
    pub prefix: Option<String>,
    /// The object has all of these.
    #[n(2)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
    /// The object has more bytes.
    #[n(3)]
    pub larger_than: Option<u64>,
    /// The object has fewer bytes.
    #[n(4)]
    pub smaller_than: Option<u64>,
}

/// How a filter was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FilterForm {
    /// `Filter`, with at most one element in it.
    #[default]
    #[n(0)]
    Filter,
    /// `Filter` with `And`.
    #[n(1)]
    And,
    /// `Prefix` in the rule itself, as before there were filters.
    #[n(2)]
    RulePrefix,
}

impl Filter {
    /// The prefix of the keys that it is about.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default()
    }

    /// Whether it is about sizes.
    #[must_use]
    pub fn has_size(&self) -> bool {
        self.larger_than.is_some() || self.smaller_than.is_some()
    }

    /// Whether it is about more than keys.
    #[must_use]
    pub fn is_about_objects(&self) -> bool {
        self.has_size() || !self.tags.is_empty()
    }
}

/// When current versions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Expiration {
    /// Then.
    #[n(0)]
    At(#[n(0)] When),
    /// Never, but delete markers go that hide no version.
    #[n(1)]
    ExpiredMarkers,
    /// Never, and delete markers stay, too.
    #[n(2)]
    KeptMarkers,
}

/// When something is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum When {
    /// So many days after the version was created.
    #[n(0)]
    Days(#[n(0)] u32),
    /// From this midnight on.
    #[n(1)]
    Date(#[n(0)] Timestamp),
}

/// Where current versions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transition {
    /// When.
    #[n(0)]
    pub when: When,
    /// Where.
    #[n(1)]
    pub class: StorageClass,
}

/// Where noncurrent versions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NoncurrentTransition {
    /// So many days after they became noncurrent.
    #[n(0)]
    pub days: u32,
    /// But not the newest so many of them.
    #[n(1)]
    pub newer: Option<u32>,
    /// Where.
    #[n(2)]
    pub class: StorageClass,
}

/// When noncurrent versions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NoncurrentExpiration {
    /// So many days after they became noncurrent.
    #[n(0)]
    pub days: u32,
    /// But not the newest so many of them.
    #[n(1)]
    pub newer: Option<u32>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_configuration_round_trips() {
        let rule = Rule {
            id: "all of it".to_owned(),
            enabled: true,
            filter: Filter {
                form: FilterForm::And,
                prefix: Some("a/".to_owned()),
                tags: vec![Tag { key: "k".to_owned(), value: "v".to_owned() }],
                larger_than: Some(1),
                smaller_than: Some(u64::MAX),
            },
            expiration: Some(Expiration::At(When::Date(Timestamp(86_400_000)))),
            transitions: vec![Transition { when: When::Days(3), class: StorageClass::Glacier }],
            noncurrent_transitions: vec![NoncurrentTransition {
                days: 4,
                newer: Some(5),
                class: StorageClass::DeepArchive,
            }],
            noncurrent_expiration: Some(NoncurrentExpiration { days: 6, newer: None }),
            abort_days: Some(7),
        };
        let plain = Rule { filter: Filter::default(), expiration: Some(Expiration::ExpiredMarkers), ..rule.clone() };
        let nothing = Rule { expiration: Some(Expiration::KeptMarkers), ..plain.clone() };
        let configuration = Configuration { rules: vec![rule, plain, nothing], minimum: MinimumSize::VariesByClass };
        let value = configuration.to_value().unwrap();
        assert_eq!(Configuration::from_value(&value).unwrap(), configuration);
        for cut in 0..value.len() {
            assert!(Configuration::from_value(&value[..cut]).is_err());
        }
    }

    #[test]
    fn what_another_prefix_covers_is_not_walked_twice() {
        let rule = |prefix: &str, enabled| Rule {
            id: prefix.to_owned(),
            enabled,
            filter: Filter { prefix: Some(prefix.to_owned()), ..Filter::default() },
            expiration: Some(Expiration::At(When::Days(1))),
            transitions: Vec::new(),
            noncurrent_transitions: Vec::new(),
            noncurrent_expiration: None,
            abort_days: None,
        };
        let check = |rules: Vec<Rule>, expected: &[&str]| {
            assert_eq!(Configuration { rules, ..Configuration::default() }.prefixes(), expected);
        };
        check(vec![rule("b", true), rule("a/b", true), rule("a/", true), rule("a/bc", true)], &["a/", "b"]);
        check(vec![rule("", true), rule("a", true)], &[""]);
        check(vec![rule("", false), rule("a", true)], &["a"]);
        check(vec![Rule { expiration: None, abort_days: Some(1), ..rule("a", true) }], &[]);
    }
}
