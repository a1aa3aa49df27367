//! Which rules take a change: at most one for each target.

use std::collections::BTreeMap;

use cairn_storage::settings::Tag;

use super::{Configuration, Rule, Target};

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object came.
    Object {
        /// It is sealed under a KMS key.
        kms: bool,
    },
    /// A delete marker came.
    DeleteMarker,
    /// Tags, ACL or lock of an object changed.
    Settings {
        /// The object is a replica.
        replica: bool,
    },
}

/// A change that rules are asked about. Replicas that come are no change that any rule takes (S3 user guide, "What does
/// Amazon S3 replicate?"), and nor are deletions of a version.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// The key.
    pub key: &'s str,
    /// The object's tags; a delete marker has none.
    pub tags: &'s [Tag],
    /// What changed.
    pub kind: Kind,
}

impl Configuration {
    /// The rules that take the change, one for each target, in the order of the targets. Of the enabled rules about the key and its
    /// tags, the one of the highest priority decides for its target, also if it decides against.
    #[must_use]
    pub fn select(&self, subject: &Subject<'_>) -> Vec<&Rule> {
        let mut winners: BTreeMap<&Target, &Rule> = BTreeMap::new();
        for rule in self.rules.iter().filter(|rule| rule.is_about(subject)) {
            let winner = winners.entry(&rule.destination.target).or_insert(rule);
            if rule.priority > winner.priority {
                *winner = rule;
            }
        }
        winners.into_values().filter(|rule| rule.takes(subject.kind)).collect()
    }
}

impl Rule {
    fn is_about(&self, subject: &Subject<'_>) -> bool {
        self.enabled
            && subject.key.starts_with(self.scope.prefix())
            && self.scope.tags().iter().all(|tag| subject.tags.contains(tag))
    }

    fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::Object { kms } => !kms || self.kms_objects == Some(true),
            Kind::DeleteMarker => self.delete_markers.unwrap_or(!self.scope.is_filter()),
            Kind::Settings { replica } => !replica || self.replica_modifications == Some(true),
        }
    }
}
