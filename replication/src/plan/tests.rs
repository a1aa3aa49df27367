#![allow(clippy::unwrap_used)]

use cairn_storage::id::VersionId;
use cairn_storage::object::{Content, DeleteMarker, Etag, ObjectAttributes, StorageClass};
use cairn_storage::replication::{Progress, TargetId, TargetStatus};
use cairn_storage::settings::{ObjectSettings, Tag};

use super::*;
use crate::rules::{Destination, Filter, Scope};

const COPIES: &str = "arn:aws:s3:::copies";
const FAR: &str = "arn:aws:s3:north::copies";

fn rule(id: &str, priority: i32, filter: Filter, target: &str) -> Rule {
    Rule {
        id: id.to_owned(),
        priority: Some(priority),
        enabled: true,
        scope: Scope::Filter(filter),
        delete_markers: Some(true),
        existing_objects: None,
        kms_objects: None,
        replica_modifications: None,
        destination: Destination {
            target: target.parse().unwrap(),
            account: None,
            storage_class: None,
            owner_override: false,
            replica_kms_key: None,
            replication_time: None,
            metrics: None,
        },
    }
}

fn of(rules: Vec<Rule>) -> Configuration {
    Configuration { role: "arn:aws:iam::123456789012:role/replicator".to_owned(), rules }
}

fn object(tags: &[(&str, &str)]) -> ObjectVersion {
    let tag = |(key, value): &(&str, &str)| Tag { key: (*key).to_owned(), value: (*value).to_owned() };
    ObjectVersion {
        version_id: VersionId::from_bytes([7; 16]),
        is_null: false,
        created: Timestamp(1_000),
        owner: "123456789012".parse().unwrap(),
        size_bytes: 5,
        etag: Etag { digest: [1; 16], parts_count: 0 },
        content: Content::Empty,
        checksum: None,
        storage_class: StorageClass::Standard,
        attributes: ObjectAttributes::default(),
        settings: ObjectSettings { tags: tags.iter().map(tag).collect(), ..ObjectSettings::default() },
        encryption: None,
        sealed_checksum: None,
        placed: None,
        restored: None,
        access: None,
        replication: None,
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("logs/1").unwrap()
}

fn rules_of(plan: &Plan) -> Vec<(String, u64)> {
    let task = |planned: &PlannedReplication| {
        assert_eq!(planned.task.lane.map(|lane| lane.target), Some(planned.target));
        let task = ReplicateTask::decode(&planned.task.task).unwrap();
        (task.rule, task.size_bytes)
    };
    plan.replications.iter().map(task).collect()
}

fn add(configuration: &Configuration, version: Version, origin: Origin) -> Vec<(String, u64)> {
    rules_of(&plan(configuration, Change::Added { key: &key(), version: &version, origin }))
}

#[test]
fn a_new_version_goes_to_every_target_whose_rule_takes_it() {
    let rules = of(vec![
        rule("low", 1, Filter::All, COPIES),
        rule("high", 2, Filter::Prefix("logs/".to_owned()), COPIES),
        rule("far", 3, Filter::All, FAR),
    ]);
    let planned = add(&rules, Version::Object(object(&[])), Origin::Client);
    assert_eq!(planned, [("high".to_owned(), 5), ("far".to_owned(), 5)]);
}

#[test]
fn replicas_and_what_lifecycle_rules_make_go_nowhere() {
    let rules = of(vec![rule("all", 1, Filter::All, COPIES)]);
    let marker = || {
        Version::Marker(DeleteMarker {
            version_id: VersionId::from_bytes([7; 16]),
            is_null: false,
            created: Timestamp(1),
            owner: "123456789012".parse().unwrap(),
            replication: None,
        })
    };
    assert_eq!(add(&rules, marker(), Origin::Client), [("all".to_owned(), 0)]);
    assert!(add(&rules, marker(), Origin::Lifecycle).is_empty());
    assert!(add(&rules, Version::Object(object(&[])), Origin::Replica).is_empty());
    let archived = ObjectVersion { storage_class: StorageClass::Glacier, ..object(&[]) };
    assert!(add(&rules, Version::Object(archived), Origin::Client).is_empty());
}

fn update(configuration: &Configuration, before: &ObjectVersion, version: &ObjectVersion) -> Vec<(String, u64)> {
    let origin = Origin::Client;
    rules_of(&plan(configuration, Change::Updated { key: &key(), before, version, origin }))
}

fn gone_to(target: &str, object: ObjectVersion) -> ObjectVersion {
    let target = TargetId::of(target);
    let status = TargetStatus { target, progress: Progress::Completed, arrived: true, foreign_version: None };
    ObjectVersion { replication: Some(Replication { targets: vec![status], ..Replication::default() }), ..object }
}

#[test]
fn changed_settings_go_where_the_version_went() {
    let rules = of(vec![rule("all", 1, Filter::All, COPIES), rule("far", 2, Filter::All, FAR)]);
    let before = gone_to(COPIES, object(&[]));
    let after = gone_to(COPIES, object(&[("a", "1")]));
    assert_eq!(update(&rules, &before, &after), [("all".to_owned(), 0)]);
    assert!(update(&rules, &object(&[]), &object(&[("a", "1")])).is_empty());
}

#[test]
fn a_rule_that_took_it_by_a_tag_takes_the_change_that_removes_the_tag() {
    let tag = Tag { key: "a".to_owned(), value: "1".to_owned() };
    let rules = of(vec![rule("tagged", 1, Filter::Tag(tag), COPIES)]);
    let before = gone_to(COPIES, object(&[("a", "1")]));
    assert_eq!(update(&rules, &before, &gone_to(COPIES, object(&[]))), [("tagged".to_owned(), 0)]);
}

#[test]
fn changes_of_replicas_go_back_only_where_the_rule_syncs_them() {
    let plain = rule("plain", 1, Filter::All, COPIES);
    let syncing = Rule { replica_modifications: Some(true), ..rule("syncing", 2, Filter::All, FAR) };
    let rules = of(vec![plain, syncing]);
    let replica = |tags| ObjectVersion { replication: Some(Replication::of_replica(None)), ..object(tags) };
    assert_eq!(update(&rules, &replica(&[]), &replica(&[("a", "1")])), [("syncing".to_owned(), 0)]);
    let by_replication = Change::Updated {
        key: &key(),
        before: &replica(&[]),
        version: &replica(&[("a", "1")]),
        origin: Origin::Replica,
    };
    assert_eq!(plan(&rules, by_replication), Plan::default());
}

#[test]
fn a_walk_brings_what_rules_ask_for_or_what_the_named_one_takes() {
    let asking = Rule { existing_objects: Some(true), ..rule("asking", 1, Filter::All, COPIES) };
    let rules = of(vec![asking, rule("silent", 2, Filter::All, FAR)]);
    let version = Version::Object(object(&[]));
    let taken = |named, version: &Version| {
        let replications = existing(&rules, named, &key(), version, Timestamp(9));
        rules_of(&Plan { replications, ..Plan::default() })
    };
    assert_eq!(taken(None, &version), [("asking".to_owned(), 5)]);
    assert_eq!(taken(Some("silent"), &version), [("silent".to_owned(), 5)]);
    let replica = ObjectVersion { replication: Some(Replication::of_replica(None)), ..object(&[]) };
    assert!(taken(None, &Version::Object(replica)).is_empty());
}
