//! What a change entails by a bucket's rules: the tasks, and the targets that the version is PENDING for. Pure.

use cairn_storage::clock::Timestamp;
use cairn_storage::encryption::EncryptionMode;
use cairn_storage::index::family::version::Version;
use cairn_storage::jobs::replicate::ReplicateTask;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::planner::{Change, Origin, Plan, PlannedReplication};
use cairn_storage::replication::{Replication, TargetId};

use super::rules::{Configuration, Kind, Rule, Subject};

/// The plan of a change in a bucket with these rules.
///
/// Replicas are planned for no target, and nor are delete markers that a lifecycle rule made, objects in an archive class and
/// deletions of a version (S3 user guide, "What does Amazon S3 replicate?").
#[must_use]
pub fn plan(configuration: &Configuration, change: Change<'_>) -> Plan {
    match change {
        Change::Added { key, version, origin: Origin::Client } => added(configuration, key, version),
        Change::Updated { key, before, version, origin: Origin::Client } => {
            updated(configuration, key, before, version)
        }
        Change::Added { .. } | Change::Updated { .. } => Plan::default(),
    }
}

fn added(configuration: &Configuration, key: &ObjectKey, version: &Version) -> Plan {
    let rules = match version {
        Version::Object(object) => rules_of_object(configuration, key, object),
        Version::Marker(_) => configuration.select(&Subject { key: key.as_str(), tags: &[], kind: Kind::DeleteMarker }),
    };
    planned(rules, key, version, size_of(version), version.created())
}

/// The rules that take an object as it is, however it came.
#[must_use]
pub fn rules_of_object<'c>(configuration: &'c Configuration, key: &ObjectKey, object: &ObjectVersion) -> Vec<&'c Rule> {
    if object.storage_class.needs_restore() {
        return Vec::new();
    }
    rules_of_kind(configuration, key, object)
}

fn rules_of_kind<'c>(configuration: &'c Configuration, key: &ObjectKey, object: &ObjectVersion) -> Vec<&'c Rule> {
    let mode = object.encryption.as_ref().map(|encryption| encryption.mode);
    let kms = matches!(mode, Some(EncryptionMode::Kms | EncryptionMode::KmsDsse));
    configuration.select(&Subject { key: key.as_str(), tags: &object.settings.tags, kind: Kind::Object { kms } })
}

/// What a walk through a bucket is to bring: what the rules take that ask for existing objects, or what this one rule takes (S3 user
/// guide, "Replicating existing objects"). Replicas are left out.
#[must_use]
pub fn existing(
    configuration: &Configuration,
    rule: Option<&str>,
    key: &ObjectKey,
    version: &Version,
    now: Timestamp,
) -> Vec<PlannedReplication> {
    let mut rules = rules_of_version(configuration, key, version);
    rules.retain(|taking| rule.map_or(taking.existing_objects == Some(true), |named| taking.id == named));
    planned(rules, key, version, size_of(version), now).replications
}

/// The rule, or this one rule if it is, by which a target is to have a version: that which takes it, if it took it when it came or asks
/// for existing objects.
#[must_use]
pub fn carrying<'c>(
    configuration: &'c Configuration,
    rule: Option<&str>,
    target: TargetId,
    key: &ObjectKey,
    version: &Version,
) -> Option<&'c Rule> {
    let went = version.replication().is_some_and(|replication| replication.at(target).is_some());
    rules_of_version(configuration, key, version).into_iter().find(|taking| {
        let is_meant = rule.is_none_or(|named| taking.id == named) && taking.destination.target.id() == target;
        is_meant && (went || taking.existing_objects == Some(true))
    })
}

/// The rule that takes a version, which is no replica, to this target as things are now, whether or not it would have when the version
/// came. That an object has been archived since is not asked.
#[must_use]
pub fn taking<'c>(
    configuration: &'c Configuration,
    target: TargetId,
    key: &ObjectKey,
    version: &Version,
) -> Option<&'c Rule> {
    let rules = match version {
        Version::Object(object) => rules_of_kind(configuration, key, object),
        Version::Marker(_) => rules_of_version(configuration, key, version),
    };
    rules.into_iter().find(|rule| rule.destination.target.id() == target)
}

/// What it entails to bring a version to a rule's target once more.
#[must_use]
pub fn once_more(rule: &Rule, key: &ObjectKey, version: &Version, now: Timestamp) -> Vec<PlannedReplication> {
    planned(vec![rule], key, version, size_of(version), now).replications
}

/// The rules that take a version that is there, however it came; none takes a replica.
fn rules_of_version<'c>(configuration: &'c Configuration, key: &ObjectKey, version: &Version) -> Vec<&'c Rule> {
    match version {
        _ if version.replication().is_some_and(|replication| replication.replica) => Vec::new(),
        Version::Object(object) => rules_of_object(configuration, key, object),
        Version::Marker(_) => configuration.select(&Subject { key: key.as_str(), tags: &[], kind: Kind::DeleteMarker }),
    }
}

fn size_of(version: &Version) -> u64 {
    match version {
        Version::Object(object) => object.size_bytes,
        Version::Marker(_) => 0,
    }
}

/// Changed settings go where the version went, or came from. A rule that took it by its tags is asked with those that it had, so that it
/// is the rule's doing, too, that they are other ones now.
fn updated(configuration: &Configuration, key: &ObjectKey, before: &ObjectVersion, version: &ObjectVersion) -> Plan {
    let replica = version.replication.as_ref().is_some_and(|replication| replication.replica);
    let kind = Kind::Settings { replica };
    let select = |object: &'_ ObjectVersion| {
        let subject = Subject { key: key.as_str(), tags: &object.settings.tags, kind };
        configuration.select(&subject)
    };
    let mut rules = select(version);
    for rule in select(before) {
        if !rules.iter().any(|taken| taken.destination.target == rule.destination.target) {
            rules.push(rule);
        }
    }
    let went = |rule: &&Rule| {
        let known = before.replication.as_ref().map(|replication| at(replication, rule));
        replica || known == Some(true)
    };
    rules.retain(went);
    let at = version.replication.as_ref().and_then(|replication| replication.changed);
    planned(rules, key, &Version::Object(version.clone()), 0, at.unwrap_or(version.created))
}

fn at(replication: &Replication, rule: &Rule) -> bool {
    replication.at(rule.destination.target.id()).is_some()
}

fn planned(rules: Vec<&Rule>, key: &ObjectKey, version: &Version, size_bytes: u64, since: Timestamp) -> Plan {
    let replications = rules.into_iter().map(|rule| {
        let task = task(rule, key, version, size_bytes, since);
        PlannedReplication { target: task.target_id(), task: task.due_at(since) }
    });
    Plan { tasks: Vec::new(), replications: replications.collect() }
}

/// The task by which a rule brings a version.
#[must_use]
pub fn task(rule: &Rule, key: &ObjectKey, version: &Version, size_bytes: u64, since: Timestamp) -> ReplicateTask {
    ReplicateTask {
        key: key.as_str().to_owned(),
        version: version.id(),
        target: rule.destination.target.to_string(),
        rule: rule.id.clone(),
        size_bytes,
        since,
    }
}

#[cfg(test)]
mod tests;
