#![allow(clippy::unwrap_used)]

use cairn_storage::record::Record as _;
use proptest::prelude::*;

use cairn_storage::object::KEY_BYTES_MAX;

use super::*;

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

fn destination(target: &str) -> Destination {
    Destination {
        target: target.parse().unwrap(),
        account: None,
        storage_class: None,
        owner_override: false,
        replica_kms_key: None,
        replication_time: None,
        metrics: None,
    }
}

const HERE: &str = "arn:aws:s3:::copies";
const THERE: &str = "arn:aws:s3:north::copies";

fn second(id: &str, priority: i32, filter: Filter) -> Rule {
    Rule {
        id: id.to_owned(),
        priority: Some(priority),
        enabled: true,
        scope: Scope::Filter(filter),
        delete_markers: Some(false),
        existing_objects: None,
        kms_objects: None,
        replica_modifications: None,
        destination: destination(HERE),
    }
}

fn first(id: &str, prefix: &str) -> Rule {
    let rule = second(id, 0, Filter::All);
    Rule { priority: None, delete_markers: None, scope: Scope::Prefix(prefix.to_owned()), ..rule }
}

fn of(rules: Vec<Rule>) -> Configuration {
    Configuration { role: "arn:aws:iam::123456789012:role/replicator".to_owned(), rules }
}

#[test]
fn arns_name_buckets_here_and_at_remotes_and_nothing_else() {
    let here: Target = HERE.parse().unwrap();
    assert_eq!((here.remote.as_deref(), here.bucket.as_str()), (None, "copies"));
    let there: Target = THERE.parse().unwrap();
    assert_eq!((there.remote.as_deref(), there.bucket.as_str()), (Some("north"), "copies"));
    for arn in [HERE, THERE] {
        assert_eq!(arn.parse::<Target>().unwrap().to_string(), arn);
    }
    for wrong in [
        "",
        "copies",
        "arn:aws:s3:::",
        "arn:aws:s3:::co",
        "arn:aws:s3:::copies/*",
        "arn:aws:s3:::Copies",
        "arn:aws:s3::123456789012:copies",
        "arn:aws:s3:North::copies",
        "arn:aws:s3:a.b::copies",
        "arn:aws:sqs:::copies",
        "arn:aws:s3:::copies:more",
    ] {
        assert_eq!(wrong.parse::<Target>(), Err(TargetError), "{wrong}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_with_its_code() {
    use FaultCode::{InvalidArgument, InvalidRequest, MalformedXml};
    let rule = || second("a", 1, Filter::All);
    let tagged = Filter::Tag(tag("team", "storage"));
    let timing = |enabled, minutes| Some(Timing { enabled, minutes });
    let to = |destination: Destination| Rule { destination, ..rule() };
    let base = || destination(HERE);
    let kms = |target, key: &str| Rule {
        kms_objects: Some(true),
        ..to(Destination { replica_kms_key: Some(key.to_owned()), ..destination(target) })
    };
    let timed = |replication_time, metrics| vec![to(Destination { replication_time, metrics, ..base() })];
    for (rules, code, about) in [
        (vec![], MalformedXml, "well-formed"),
        ((0..1_001).map(|n| second(&n.to_string(), n, Filter::All)).collect(), InvalidRequest, "exceed 1000"),
        (vec![rule(), second("a", 2, Filter::All)], InvalidArgument, "Id must be unique"),
        (vec![rule(), second("b", 1, Filter::All)], InvalidRequest, "duplicate priority 1"),
        (vec![rule(), first("b", "x")], InvalidRequest, "Filter must be specified"),
        (vec![Rule { id: "i".repeat(256), ..rule() }], InvalidArgument, "255"),
        (vec![Rule { priority: None, ..rule() }], InvalidRequest, "Priority must be specified"),
        (vec![Rule { priority: Some(-1), ..rule() }], InvalidRequest, "Priority must be between"),
        (vec![Rule { delete_markers: None, ..rule() }], InvalidRequest, "DeleteMarkerReplication must be specified"),
        (
            vec![Rule { delete_markers: Some(true), ..second("a", 1, tagged) }],
            InvalidRequest,
            "Delete marker replication is not supported",
        ),
        (vec![second("a", 1, Filter::Tag(tag("", "x")))], InvalidArgument, "TagKey"),
        (vec![second("a", 1, Filter::Tag(tag("k", &"v".repeat(257))))], InvalidArgument, "TagValue"),
        (
            vec![second("a", 1, Filter::And { prefix: None, tags: vec![tag("k", "1"), tag("k", "2")] })],
            InvalidRequest,
            "Duplicate Tag Keys",
        ),
        (vec![second("a", 1, Filter::Prefix("p".repeat(1_025)))], InvalidArgument, "prefix"),
        (vec![first("a", "x/"), first("b", "x/y")], InvalidRequest, "overlapping prefixes 'x/' and 'x/y'"),
        (vec![Rule { priority: Some(1), ..first("a", "") }], InvalidRequest, "Priority cannot be used"),
        (vec![Rule { delete_markers: Some(true), ..first("a", "") }], InvalidRequest, "DeleteMarkerReplication cannot"),
        (
            vec![first("a", "x"), Rule { destination: destination(THERE), ..first("b", "y") }],
            InvalidRequest,
            "ARNs cannot exceed 1",
        ),
        (vec![to(Destination { owner_override: true, ..base() })], InvalidRequest, "Account must be specified"),
        (vec![to(Destination { replica_kms_key: Some("k".into()), ..base() })], InvalidRequest, "SseKmsEncrypted"),
        (vec![Rule { kms_objects: Some(true), ..rule() }], InvalidRequest, "ReplicaKmsKeyID must be specified"),
        (vec![kms(HERE, "k")], InvalidArgument, "Invalid ReplicaKmsKeyID ARN"),
        (vec![kms(HERE, "arn:aws:kms:us-east-1:123456789012:key/")], InvalidArgument, "Invalid ReplicaKmsKeyID ARN"),
        (vec![kms(HERE, "arn:aws:kms:us-east-1:1234:key/k")], InvalidArgument, "Invalid ReplicaKmsKeyID ARN"),
        (vec![kms(THERE, "")], InvalidRequest, "ReplicaKmsKeyID must be specified"),
        (vec![kms(THERE, "k\r\nx-amz-acl: public-read")], InvalidArgument, "Invalid ReplicaKmsKeyID ARN"),
        (timed(timing(true, Some(15)), None), InvalidRequest, "both ReplicationTime and Metrics"),
        (timed(timing(true, Some(5)), timing(true, Some(15))), InvalidArgument, "Minutes must be 15"),
        (timed(timing(false, None), timing(false, None)), InvalidArgument, "Minutes must be 15"),
        (timed(timing(true, Some(15)), timing(false, Some(15))), InvalidRequest, "Metrics must be enabled"),
        (timed(timing(true, Some(15)), timing(true, None)), InvalidArgument, "Minutes must be 15"),
        (timed(None, timing(true, Some(15))), InvalidArgument, "cannot contain an event threshold"),
        (timed(timing(false, Some(15)), timing(true, Some(15))), InvalidArgument, "cannot contain an event threshold"),
    ] {
        let fault = of(rules).check().unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(about), "{fault} does not say {about}");
    }
}

#[test]
fn the_limit_of_targets_is_held() {
    let to = |n: usize| {
        let destination = destination(&format!("arn:aws:s3:::copies-{n}"));
        Rule { destination, ..second(&n.to_string(), i32::try_from(n).unwrap(), Filter::All) }
    };
    of((0..TARGETS_MAX).map(to).collect()).check().unwrap();
    assert_eq!(of((0..=TARGETS_MAX).map(to).collect()).check().unwrap_err().code, FaultCode::InvalidRequest);
}

#[test]
fn both_versions_are_taken_and_kept_as_records() {
    let full = Rule {
        delete_markers: Some(false),
        existing_objects: Some(true),
        kms_objects: Some(true),
        replica_modifications: Some(true),
        destination: Destination {
            account: Some("123456789012".parse().unwrap()),
            storage_class: Some(StorageClass::StandardIa),
            owner_override: true,
            replica_kms_key: Some("arn:aws:kms:us-east-1:123456789012:key/k".to_owned()),
            replication_time: Some(Timing { enabled: true, minutes: Some(15) }),
            metrics: Some(Timing { enabled: true, minutes: Some(15) }),
            ..destination(THERE)
        },
        ..second("full", 7, Filter::And { prefix: Some("p/".to_owned()), tags: vec![tag("a", "b"), tag("c", "")] })
    };
    let measured = Rule {
        destination: Destination {
            // Metrics alone, of a rule without replication time control.
            metrics: Some(Timing { enabled: true, minutes: None }),
            replica_kms_key: Some("name-at-the-remote".to_owned()),
            ..destination(THERE)
        },
        kms_objects: Some(true),
        ..second("measured", 2, Filter::All)
    };
    let aliased = Rule {
        destination: Destination {
            replica_kms_key: Some("arn:aws:kms:us-east-1:123456789012:alias/a".to_owned()),
            ..destination(HERE)
        },
        kms_objects: Some(false),
        ..second("aliased", 3, Filter::All)
    };
    for configuration in [
        of(vec![full, second("plain", 1, Filter::Prefix("q".to_owned())), measured, aliased]),
        of(vec![first("a", "logs/"), Rule { enabled: false, ..first("b", "images/") }]),
    ] {
        configuration.check().unwrap();
        let value = configuration.to_value().unwrap();
        assert_eq!(Configuration::from_value(&value).unwrap(), configuration);
        for cut in 0..value.len() {
            assert!(Configuration::from_value(&value[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn the_largest_configuration_that_is_taken_fits_its_record() {
    let tags = (0..2).map(|n| tag(&format!("{n}{}", "k".repeat(100)), &"v".repeat(200))).collect();
    let filter = Filter::And { prefix: Some("p".repeat(KEY_BYTES_MAX)), tags };
    let rules = (0..1_000).map(|n| second(&format!("{n:0255}"), n, filter.clone())).collect();
    let configuration = of(rules);
    configuration.check().unwrap();
    assert!(configuration.to_value().unwrap().len() <= Configuration::BYTES_MAX);
}

fn ids(configuration: &Configuration, key: &str, tags: &[Tag], kind: Kind) -> Vec<String> {
    configuration.select(&Subject { key, tags, kind }).into_iter().map(|rule| rule.id.clone()).collect()
}

const OBJECT: Kind = Kind::Object { kms: false };

#[test]
fn the_rule_of_the_highest_priority_decides_for_its_target() {
    let low = Rule { delete_markers: Some(true), ..second("low", 1, Filter::All) };
    let high = second("high", 2, Filter::Prefix("logs/".to_owned()));
    let elsewhere = Rule { destination: destination(THERE), ..second("elsewhere", 0, Filter::All) };
    let off = Rule { enabled: false, ..second("off", 9, Filter::All) };
    let configuration = of(vec![low, high, elsewhere, off]);
    assert_eq!(ids(&configuration, "logs/1", &[], OBJECT), ["high", "elsewhere"]);
    assert_eq!(ids(&configuration, "images/1", &[], OBJECT), ["low", "elsewhere"]);
    // It decides against, too: the lower rule would take the marker.
    assert_eq!(ids(&configuration, "logs/1", &[], Kind::DeleteMarker), [] as [&str; 0]);
    assert_eq!(ids(&configuration, "images/1", &[], Kind::DeleteMarker), ["low"]);
}

#[test]
fn every_tag_of_a_filter_must_be_there() {
    let tags = vec![tag("a", "1"), tag("b", "2")];
    let configuration = of(vec![second("both", 1, Filter::And { prefix: Some("p".to_owned()), tags: tags.clone() })]);
    assert_eq!(ids(&configuration, "p1", &tags, OBJECT), ["both"]);
    assert!(ids(&configuration, "q1", &tags, OBJECT).is_empty());
    assert!(ids(&configuration, "p1", &tags[..1], OBJECT).is_empty());
    assert!(ids(&configuration, "p1", &[tag("a", "1"), tag("b", "3")], OBJECT).is_empty());
    assert!(ids(&configuration, "p1", &[], Kind::DeleteMarker).is_empty());
}

#[test]
fn the_first_version_replicates_delete_markers() {
    let configuration = of(vec![first("v1", "logs/")]);
    assert_eq!(ids(&configuration, "logs/1", &[], Kind::DeleteMarker), ["v1"]);
    assert!(ids(&configuration, "log", &[], Kind::DeleteMarker).is_empty());
}

#[test]
fn kms_objects_and_changes_of_replicas_are_taken_only_if_asked_for() {
    let plain = second("plain", 1, Filter::All);
    let asking = Rule {
        kms_objects: Some(true),
        replica_modifications: Some(true),
        destination: Destination { replica_kms_key: Some("key".to_owned()), ..destination(THERE) },
        ..second("asking", 2, Filter::All)
    };
    let configuration = of(vec![plain, asking]);
    assert_eq!(ids(&configuration, "k", &[], Kind::Object { kms: true }), ["asking"]);
    assert_eq!(ids(&configuration, "k", &[], Kind::Settings { replica: true }), ["asking"]);
    assert_eq!(ids(&configuration, "k", &[], Kind::Settings { replica: false }), ["plain", "asking"]);
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let any_tag = || ("[ab]", "[12]").prop_map(|(key, value)| tag(&key, &value));
    prop_oneof![
        Just(Filter::All),
        "[xy]{0,2}".prop_map(Filter::Prefix),
        any_tag().prop_map(Filter::Tag),
        (proptest::option::of("[xy]{0,2}"), any_tag())
            .prop_map(|(prefix, tag)| Filter::And { prefix, tags: vec![tag] }),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (any_filter(), 0..4_i32, any::<bool>(), any::<[bool; 4]>()).prop_map(|(filter, target, enabled, flags)| {
        let [markers, kms, replicas, existing] = flags;
        let has_tags = !Scope::Filter(filter.clone()).tags().is_empty();
        let mut destination = destination(&format!("arn:aws:s3:::copies-{target}"));
        destination.replica_kms_key = kms.then(|| "arn:aws:kms:us-east-1:123456789012:key/k".to_owned());
        Rule {
            enabled,
            delete_markers: Some(markers && !has_tags),
            existing_objects: Some(existing),
            kms_objects: Some(kms),
            replica_modifications: Some(replicas),
            destination,
            ..second("", 0, filter)
        }
    })
}

fn any_configuration() -> impl Strategy<Value = Configuration> {
    let numbered = |rules: Vec<Rule>| {
        let number = |(n, rule): (usize, Rule)| Rule { id: n.to_string(), priority: i32::try_from(n).ok(), ..rule };
        of(rules.into_iter().enumerate().map(number).collect())
    };
    (proptest::collection::vec(any_rule(), 1..8).prop_map(numbered), any::<u64>()).prop_map(
        |(mut configuration, at)| {
            let places = configuration.rules.len();
            configuration.rules.rotate_left(usize::try_from(at).unwrap_or(0) % places);
            configuration
        },
    )
}

fn any_subject() -> impl Strategy<Value = (String, Vec<Tag>, Kind)> {
    let kind = prop_oneof![
        any::<bool>().prop_map(|kms| Kind::Object { kms }),
        Just(Kind::DeleteMarker),
        any::<bool>().prop_map(|replica| Kind::Settings { replica }),
    ];
    let tags = proptest::collection::vec(("[ab]", "[12]").prop_map(|(key, value)| tag(&key, &value)), 0..3);
    ("[xyz]{1,3}", tags, kind).prop_map(|(key, tags, kind)| {
        let tags = if kind == Kind::DeleteMarker { Vec::new() } else { tags };
        (key, tags, kind)
    })
}

proptest! {
    #[test]
    fn the_record_of_any_configuration_reads_back(configuration in any_configuration()) {
        prop_assert_eq!(configuration.check(), Ok(()));
        prop_assert_eq!(Configuration::from_value(&configuration.to_value().unwrap()).unwrap(), configuration);
    }

    /// Each target by itself, with the rules sorted: what the user guide says, word for word.
    #[test]
    fn for_each_target_the_first_rule_by_priority_decides(
        configuration in any_configuration(),
        (key, tags, kind) in any_subject(),
    ) {
        let mut expected = Vec::new();
        for target in (0..4).map(|n| format!("arn:aws:s3:::copies-{n}")) {
            let mut rules: Vec<&Rule> = configuration
                .rules
                .iter()
                .filter(|rule| rule.enabled && rule.destination.target.to_string() == target)
                .filter(|rule| key.starts_with(rule.scope.prefix()))
                .filter(|rule| rule.scope.tags().iter().all(|wanted| tags.iter().any(|tag| tag == wanted)))
                .collect();
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
            let Some(rule) = rules.first() else { continue };
            let taken = match kind {
                Kind::Object { kms: false } | Kind::Settings { replica: false } => true,
                Kind::Object { kms: true } => rule.kms_objects == Some(true),
                Kind::DeleteMarker => rule.delete_markers == Some(true),
                Kind::Settings { replica: true } => rule.replica_modifications == Some(true),
            };
            if taken {
                expected.push(rule.id.clone());
            }
        }
        prop_assert_eq!(ids(&configuration, &key, &tags, kind), expected);
    }

    #[test]
    fn any_text_is_an_arn_or_refused(text in "\\PC{0,80}") {
        if let Ok(target) = text.parse::<Target>() {
            prop_assert_eq!(target.to_string(), text);
        }
    }
}
