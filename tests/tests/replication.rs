//! Replication between buckets of one server, through the real binary: configurations, what travels, statuses, permissions, crashes.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_tests::digest::checksum;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::{until, until_said};
use cairn_tests::random::body;
use cairn_tests::replication::{MAY_ALL, STATUS, policy};
use cairn_tests::{Cairn, Call, Client, Config, Reply};
use tokio::task::JoinSet;

const ACCOUNT: &str = "100000000001";

const TRUSTS_S3: &str = r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}"#;

async fn iam(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await.expect(200)
}

/// A role whom this trusts and that may do what the statement says; its ARN.
async fn role(client: &Client, name: &str, trust: &str, statement: &str) -> String {
    iam(client, "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", &policy(trust))]).await;
    may(client, name, statement).await;
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

async fn may(client: &Client, role: &str, statement: &str) {
    let put = [("RoleName", role), ("PolicyName", "own"), ("PolicyDocument", &policy(statement))];
    iam(client, "PutRolePolicy", &put).await;
}

async fn versioned(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(on).send().await.expect(200);
    bucket
}

async fn with_lock(client: &Client, purpose: &str) -> String {
    let bucket = format!("{purpose}-locks");
    client.bucket("PUT", &bucket).header("x-amz-bucket-object-lock-enabled", "true").send().await.expect(200);
    bucket
}

fn configuration(role: &str, rules: &str) -> String {
    format!("<ReplicationConfiguration><Role>{role}</Role>{rules}</ReplicationConfiguration>")
}

/// A rule of the second version; `more` is what else its destination says.
fn rule(id: &str, priority: u32, filter: &str, target: &str, more: &str) -> String {
    rule_with(id, priority, filter, "", target, more, true)
}

fn rule_with(id: &str, priority: u32, filter: &str, criteria: &str, target: &str, more: &str, markers: bool) -> String {
    let markers = if markers { "Enabled" } else { "Disabled" };
    format!(
        "<Rule><ID>{id}</ID><Priority>{priority}</Priority><Filter>{filter}</Filter><Status>Enabled</Status>{criteria}\
         <Destination><Bucket>arn:aws:s3:::{target}</Bucket>{more}</Destination>\
         <DeleteMarkerReplication><Status>{markers}</Status></DeleteMarkerReplication></Rule>"
    )
}

fn put_rules(client: &Client, bucket: &str, role: &str, rules: &str) -> Call {
    client.bucket("PUT", bucket).query("replication", "").body(configuration(role, rules))
}

async fn status(client: &Client, bucket: &str, key: &str, version: &str, wished: &str) -> Reply {
    let head = || client.object("HEAD", bucket, key).query("versionId", version);
    until(&format!("{key} is {wished}"), head, |reply| reply.header(STATUS) == Some(wished)).await
}

/// Waits for the newest version to be at all of its targets.
async fn replicated(client: &Client, bucket: &str, key: &str) -> Reply {
    let what = format!("the replication of {key}");
    until(&what, || client.object("HEAD", bucket, key), |reply| reply.header(STATUS) == Some("COMPLETED")).await
}

fn version_of(reply: &Reply) -> String {
    reply.header("x-amz-version-id").unwrap().to_owned()
}

fn run(cairn: &Cairn, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cairn.calling_command(&[&["replicate"], arguments].concat()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn configurations_are_kept_as_they_were_put_and_bad_ones_change_nothing() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let plain = client.fresh_bucket("plain").await;
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    let get = || client.bucket("GET", &source).query("replication", "").send();
    get().await.expect_error(404, "ReplicationConfigurationNotFoundError");
    let good = rule("all", 1, "", &target, "<StorageClass>STANDARD_IA</StorageClass>");
    put_rules(&client, &source, &arn, &good).send().await.expect(200);
    let elements = configuration(&arn, &good);
    let good = elements.trim_start_matches("<ReplicationConfiguration>");
    assert!(get().await.expect(200).text().contains(good), "{}", get().await.text());

    let untrusted = role(&client, "untrusted", &TRUSTS_S3.replace("s3.", "ec2."), MAY_ALL).await;
    let bad = [
        (&arn, rule("all", 1, "", "nowhere-at-all", ""), "InvalidRequest"),
        (&arn, rule("all", 1, "", &plain, ""), "InvalidRequest"),
        (&arn, rule("all", 1, "", &source, ""), "InvalidRequest"),
        (&arn, rule("all", 1, "", &target, "<Account>100000000002</Account>"), "InvalidRequest"),
        (&arn, format!("{}{}", rule("a", 1, "", &target, ""), rule("a", 2, "", &target, "")), "InvalidArgument"),
        (&arn, String::new(), "MalformedXML"),
        (&untrusted, rule("all", 1, "", &target, ""), "InvalidArgument"),
        (&format!("{arn}-not"), rule("all", 1, "", &target, ""), "InvalidArgument"),
    ];
    for (role, rules, code) in bad {
        put_rules(&client, &source, role, &rules).send().await.expect_error(400, code);
        assert!(get().await.expect(200).text().contains(good), "{rules}");
    }
    put_rules(&client, &plain, &arn, &rule("all", 1, "", &target, "")).send().await.expect_error(400, "InvalidRequest");
    let off = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let suspend = || client.bucket("PUT", &source).query("versioning", "").body(off).send();
    suspend().await.expect_error(409, "InvalidBucketState");
    client.bucket("DELETE", &source).query("replication", "").send().await.expect(204);
    get().await.expect_error(404, "ReplicationConfigurationNotFoundError");
    suspend().await.expect(200);
}

#[tokio::test]
async fn a_version_arrives_as_it_is_with_its_id() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    let put =
        client.object("PUT", &source, "small").header("content-type", "text/plain").header("x-amz-meta-colour", "red");
    let put = put
        .header("cache-control", "no-cache")
        .header("x-amz-tagging", "a=1&b=2")
        .body("small")
        .send()
        .await
        .expect(200);
    client.put(&source, "large", body(1, 300_000)).await.expect(200);
    client.put(&source, "empty", "").await.expect(200);
    let upload = Upload::create(&client, &source, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, upload.upload(number, body(number.into(), PART_BYTES_MIN)).await));
    }
    upload.complete(&parts).send().await.expect(200);
    for key in ["small", "large", "empty", "parts"] {
        let there = replicated(&client, &source, key).await;
        let version = version_of(&there);
        let replica = status(&client, &target, key, &version, "REPLICA").await;
        for header in [
            "etag",
            "last-modified",
            "content-length",
            "content-type",
            "cache-control",
            "x-amz-meta-colour",
            "x-amz-tagging-count",
        ] {
            assert_eq!(replica.header(header), there.header(header), "{key}: {header}");
        }
        let bytes = client.get(&source, key).await.expect(200).body;
        assert!(client.get(&target, key).await.expect(200).body == bytes, "{key}");
    }
    assert_eq!(version_of(&put), version_of(&client.head(&target, "small").await));
    let tags = client.object("GET", &target, "small").query("tagging", "").send().await.expect(200);
    assert!(tags.text().contains("<Key>a</Key><Value>1</Value>"), "{}", tags.text());
    let part = client.object("GET", &target, "parts").query("partNumber", "2").send().await.expect(206);
    assert!(part.body == body(2, PART_BYTES_MIN));
    // Nothing before the rule went there, and what has arrived goes nowhere from there.
    assert!(run(&cairn, &["status", "--bucket", &source]).1.contains("0 pending"));
}

#[tokio::test]
async fn filters_priorities_classes_and_delete_markers_are_as_the_rules_say() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let source = versioned(&client, "source").await;
    let (one, other) = (versioned(&client, "one").await, versioned(&client, "other").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    let rules = rule("logs", 2, "<Prefix>logs/</Prefix>", &one, "<StorageClass>STANDARD_IA</StorageClass>")
        + &rule_with("quiet", 3, "<Prefix>logs/quiet/</Prefix>", "", &one, "", false)
        + &rule_with("tagged", 1, "<Tag><Key>copy</Key><Value>yes</Value></Tag>", "", &other, "", false);
    put_rules(&client, &source, &arn, &rules).send().await.expect(200);
    for key in ["logs/1", "logs/quiet/1", "elsewhere"] {
        client.put(&source, key, key.to_owned()).await.expect(200);
    }
    let tagged = client.object("PUT", &source, "logs/tagged").header("x-amz-tagging", "copy=yes").body("x");
    tagged.send().await.expect(200);
    for key in ["logs/1", "logs/quiet/1", "logs/tagged"] {
        replicated(&client, &source, key).await;
    }
    assert_eq!(client.head(&source, "elsewhere").await.header(STATUS), None);
    assert_eq!(client.keys(&one).await, ["logs/1", "logs/quiet/1", "logs/tagged"]);
    assert_eq!(client.keys(&other).await, ["logs/tagged"]);
    assert_eq!(client.head(&one, "logs/1").await.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(client.head(&one, "logs/quiet/1").await.header("x-amz-storage-class"), None);

    // A marker goes where the deciding rule takes markers; the deletion of a version goes nowhere.
    let version = version_of(&client.head(&source, "logs/1").await);
    let marker = version_of(&client.delete(&source, "logs/1").await.expect(204));
    client.delete(&source, "logs/quiet/1").await.expect(204);
    let gone = until("the marker", || client.object("GET", &one, "logs/1"), |reply| reply.status == 404).await;
    assert_eq!(version_of(&gone), marker);
    client.object("DELETE", &source, "logs/1").query("versionId", &version).send().await.expect(204);
    client.put(&source, "logs/2", "later").await.expect(200);
    replicated(&client, &source, "logs/2").await;
    client.object("GET", &one, "logs/1").query("versionId", &version).send().await.expect(200);
    client.get(&one, "logs/quiet/1").await.expect(200);
}

#[tokio::test]
async fn later_changes_of_tags_and_locks_follow() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (with_lock(&client, "source").await, with_lock(&client, "target").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    let put = client.object("PUT", &source, "key").header("x-amz-object-lock-mode", "GOVERNANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z");
    let put = put.header("x-amz-checksum-crc32", &checksum("CRC32", b"x")).body("x").send().await.expect(200);
    let version = version_of(&put);
    let locked = replicated(&client, &source, "key").await;
    let replica = status(&client, &target, "key", &version, "REPLICA").await;
    let until_date = "x-amz-object-lock-retain-until-date";
    assert_eq!(replica.header(until_date), locked.header(until_date));

    let set = |what: &'static str, document: &'static str| {
        let call = client.object("PUT", &source, "key").query(what, "");
        call.header("x-amz-checksum-crc32", &checksum("CRC32", document.as_bytes())).body(document).send()
    };
    set("legal-hold", "<LegalHold><Status>ON</Status></LegalHold>").await.expect(200);
    set("tagging", "<Tagging><TagSet><Tag><Key>late</Key><Value>1</Value></Tag></TagSet></Tagging>").await.expect(200);
    replicated(&client, &source, "key").await;
    let replica = client.head(&target, "key").await.expect(200);
    assert_eq!(replica.header("x-amz-object-lock-legal-hold"), Some("ON"));
    assert_eq!(replica.header("x-amz-tagging-count"), Some("1"));
    assert_eq!(version_of(&replica), version);
    set("legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>").await.expect(200);
    replicated(&client, &source, "key").await;
    assert_eq!(client.head(&target, "key").await.header("x-amz-object-lock-legal-hold"), Some("OFF"));
}

#[tokio::test]
async fn a_governance_lock_gives_way_only_to_a_role_that_may_bypass_it() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (with_lock(&client, "source").await, with_lock(&client, "target").await);
    let heeds = r#"{"Effect":"Deny","Action":"s3:BypassGovernanceRetention","Resource":"*"}"#;
    let arn = role(&client, "replicator", TRUSTS_S3, &format!("{MAY_ALL},{heeds}")).await;
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    let put = client.object("PUT", &source, "key").header("x-amz-object-lock-mode", "GOVERNANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z");
    put.header("x-amz-checksum-crc32", &checksum("CRC32", b"x")).body("x").send().await.expect(200);
    replicated(&client, &source, "key").await;

    let shorten = |date: &str| {
        let document =
            format!("<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{date}</RetainUntilDate></Retention>");
        let call = client.object("PUT", &source, "key").query("retention", "");
        let call = call.header("x-amz-bypass-governance-retention", "true");
        call.header("x-amz-checksum-crc32", &checksum("CRC32", document.as_bytes())).body(document).send()
    };
    let kept = async || {
        let replica = client.head(&target, "key").await.expect(200);
        replica.header("x-amz-object-lock-retain-until-date").unwrap()[..4].to_owned()
    };
    shorten("2080-01-01T00:00:00Z").await.expect(200);
    replicated(&client, &source, "key").await;
    assert_eq!(kept().await, "2099");
    may(&client, "replicator", MAY_ALL).await;
    shorten("2070-01-01T00:00:00Z").await.expect(200);
    replicated(&client, &source, "key").await;
    assert_eq!(kept().await, "2070");
}

#[tokio::test]
async fn what_the_role_may_not_do_fails_with_the_reason_and_goes_on_when_it_may() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let reads = r#"{"Effect":"Allow","Action":["s3:GetObjectVersionForReplication","s3:GetObjectVersionTagging"],"Resource":"*"}"#;
    let arn = role(&client, "replicator", TRUSTS_S3, reads).await;
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    let version = version_of(&client.put(&source, "key", "x").await.expect(200));
    status(&client, &source, "key", &version, "FAILED").await;
    assert_eq!(run(&cairn, &["status", "--bucket", &source]).0, Some(1));
    let (code, failed) = run(&cairn, &["failed", "--bucket", &source]);
    assert_eq!(code, Some(1));
    assert!(failed.contains(&version) && failed.contains("s3:ReplicateObject"), "{failed}");
    client.get(&target, "key").await.expect(404);

    let writes = r#"{"Effect":"Allow","Action":"s3:ReplicateObject","Resource":"*"}"#;
    may(&client, "replicator", &format!("{reads},{writes}")).await;
    let (code, retried) = run(&cairn, &["retry", "--bucket", &source]);
    assert_eq!((code, retried.starts_with("1 pending again")), (Some(0), true), "{retried}");
    status(&client, &source, "key", &version, "COMPLETED").await;
    assert_eq!(version_of(&client.head(&target, "key").await.expect(200)), version);
    assert_eq!(run(&cairn, &["failed", "--bucket", &source]), (Some(0), String::new()));
    // Tags that it may not replicate stay behind, and a delete marker fails.
    let tagged = client.object("PUT", &source, "tagged").header("x-amz-tagging", "a=1").body("x").send().await;
    tagged.expect(200);
    replicated(&client, &source, "tagged").await;
    assert_eq!(client.head(&target, "tagged").await.header("x-amz-tagging-count"), None);
    client.delete(&source, "key").await.expect(204);
    let failed = || run(&cairn, &["failed", "--bucket", &source]).1;
    until_said("the failure of the marker", failed, |said| said.contains("s3:ReplicateDelete")).await;
    // A bucket policy of the target lets it, too; and one that denies wins.
    client.get(&target, "key").await.expect(200);
}

#[tokio::test]
async fn removing_the_configuration_stops_it_at_once() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    client.put(&source, "before", "x").await.expect(200);
    replicated(&client, &source, "before").await;
    client.bucket("DELETE", &source).query("replication", "").send().await.expect(204);
    client.put(&source, "after", "x").await.expect(200);
    assert_eq!(client.head(&source, "after").await.header(STATUS), None);
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    client.object("PUT", &source, "before").query("tagging", "").body(tags).send().await.expect(200);
    assert_eq!(client.head(&source, "before").await.header(STATUS), Some("COMPLETED"));
    assert_eq!(client.keys(&target).await, ["before"]);
    assert_eq!(client.head(&target, "before").await.header("x-amz-tagging-count"), None);
    drop(client);
    cairn.stop();
    assert_eq!(cairn.check().0, Some(0));
}

#[tokio::test]
async fn two_buckets_that_replicate_to_each_other_end_alike_and_without_loops() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (one, other) = (versioned(&client, "one").await, versioned(&client, "other").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    let criteria = "<SourceSelectionCriteria><ReplicaModifications><Status>Enabled</Status></ReplicaModifications>\
                    </SourceSelectionCriteria>";
    for (from, to) in [(&one, &other), (&other, &one)] {
        let rules = rule_with("all", 1, "", criteria, to, "", true);
        put_rules(&client, from, &arn, &rules).send().await.expect(200);
    }
    for round in 0..5 {
        let (here, there) = (format!("one {round}"), format!("other {round}"));
        let (here, there) = tokio::join!(client.put(&one, "key", here), client.put(&other, "key", there));
        here.expect(200);
        there.expect(200);
    }
    let versions = |bucket: &str| client.bucket("GET", bucket).query("versions", "");
    let all = |reply: &Reply| reply.text().matches("<VersionId>").count();
    let here = until("ten versions", || versions(&one), |reply| all(reply) == 10).await;
    let there = until("ten versions", || versions(&other), |reply| all(reply) == 10).await;
    let ids = |reply: &Reply| {
        let text = reply.text();
        text.split("<VersionId>").skip(1).map(|rest| rest[..32].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&here), ids(&there));
    assert!(client.get(&one, "key").await.body == client.get(&other, "key").await.body);

    // A change of a replica goes back to where it came from, and stays there.
    let put = client.put(&one, "synced", "x").await.expect(200);
    status(&client, &one, "synced", &version_of(&put), "COMPLETED").await;
    let tags = "<Tagging><TagSet><Tag><Key>back</Key><Value>1</Value></Tag></TagSet></Tagging>";
    client.object("PUT", &other, "synced").query("tagging", "").body(tags).send().await.expect(200);
    let head = || client.object("HEAD", &one, "synced");
    until("the change", head, |reply| reply.header("x-amz-tagging-count") == Some("1")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for bucket in [&one, &other] {
        assert!(run(&cairn, &["status", "--bucket", bucket]).1.contains(": 0 pending"));
    }
    assert_eq!(client.head(&other, "synced").await.header(STATUS), Some("REPLICA"));
}

#[tokio::test]
async fn objects_under_a_kms_key_are_sealed_anew_under_the_rules_key() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let key = |reply: Reply| {
        let text = reply.expect(200).text().to_owned();
        let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
        metadata["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    };
    let here = key(client.kms("CreateKey", &serde_json::json!({})).send().await);
    let there = key(client.kms("CreateKey", &serde_json::json!({})).send().await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    let criteria = "<SourceSelectionCriteria><SseKmsEncryptedObjects><Status>Enabled</Status></SseKmsEncryptedObjects>\
                    </SourceSelectionCriteria>";
    let seal = format!("<EncryptionConfiguration><ReplicaKmsKeyID>{there}</ReplicaKmsKeyID></EncryptionConfiguration>");
    let rules = rule_with("all", 1, "", criteria, &target, &seal, true);
    put_rules(&client, &source, &arn, &rules).send().await.expect(200);
    let put = |name: &'static str| {
        let call = client.object("PUT", &source, name).header("x-amz-server-side-encryption", "aws:kms");
        call.header("x-amz-server-side-encryption-aws-kms-key-id", &here).body(body(3, 100_000)).send()
    };
    put("sealed").await.expect(200);
    let at_source = replicated(&client, &source, "sealed").await;
    let replica = client.get(&target, "sealed").await.expect(200);
    assert!(replica.body == body(3, 100_000));
    assert_eq!(replica.header("x-amz-server-side-encryption-aws-kms-key-id"), Some(there.as_str()));
    assert_eq!(replica.header("etag"), at_source.header("etag"));

    // Without the right to decrypt it fails, and says so.
    may(&client, "replicator", r#"{"Effect":"Allow","Action":["s3:*","kms:GenerateDataKey"],"Resource":"*"}"#).await;
    let version = version_of(&put("kept").await.expect(200));
    status(&client, &source, "kept", &version, "FAILED").await;
    let (_, failed) = run(&cairn, &["failed", "--bucket", &source]);
    assert!(failed.contains("kms:Decrypt"), "{failed}");
}

#[tokio::test]
async fn a_backfill_brings_what_was_there_before_and_a_resync_what_the_target_lost() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
    let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
    for n in 0..3 {
        client.put(&source, "often", format!("often {n}")).await.expect(200);
        client.put(&source, &format!("old/{n}"), body(n, 40_000)).await.expect(200);
    }
    client.delete(&source, "old/2").await.expect(204);
    put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
    assert_eq!(client.head(&source, "often").await.header(STATUS), None);
    let versions = |bucket: &str| client.bucket("GET", bucket).query("versions", "");
    let all = |reply: &Reply| reply.text().matches("<VersionId>").count();
    let (code, job) = run(&cairn, &["backfill", "--bucket", &source, "--rule", "all"]);
    assert_eq!((code, job.trim().len()), (Some(0), 32), "{job}");
    until("seven versions", || versions(&target), |reply| all(reply) == 7).await;
    replicated(&client, &source, "often").await;
    assert_eq!(client.keys(&target).await, ["often", "old/0", "old/1"]);
    let newest = client.get(&target, "often").await.expect(200);
    assert_eq!((newest.text().as_str(), newest.header(STATUS)), ("often 2", Some("REPLICA")));

    // What was removed there comes back by a resync, and by nothing else.
    let lost = version_of(&newest);
    client.object("DELETE", &target, "often").query("versionId", &lost).send().await.expect(204);
    run(&cairn, &["backfill", "--bucket", &source, "--rule", "all"]);
    assert_eq!(client.get(&target, "often").await.text(), "often 1");
    assert_eq!(run(&cairn, &["resync", "--bucket", &source, "--rule", "all"]).0, Some(0));
    until("the lost version", || client.object("GET", &target, "often"), |reply| version_of(reply) == lost).await;
    assert_eq!(run(&cairn, &["resync", "--bucket", &source, "--rule", "none"]).0, Some(2));
    let jobs = cairn.calling_command(&["jobs", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&jobs.stdout).contains("resync"), "{jobs:?}");
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_goes_on_to_the_end() {
    let mut cairn = Cairn::start(Config::default());
    let (source, target) = {
        let client = cairn.client();
        let (source, target) = (versioned(&client, "source").await, versioned(&client, "target").await);
        let arn = role(&client, "replicator", TRUSTS_S3, MAY_ALL).await;
        put_rules(&client, &source, &arn, &rule("all", 1, "", &target, "")).send().await.expect(200);
        (source, target)
    };
    let mut keys = Vec::new();
    for round in 0..4 {
        let client = cairn.client();
        let mut puts = JoinSet::new();
        for n in 0..40 {
            let (client, source, key) = (client.clone(), source.clone(), format!("{round}/{n:02}"));
            puts.spawn(async move {
                let size = if n % 8 == 0 { 100_000 } else { 500 };
                client.put(&source, &key, body(n, size)).await.expect(200);
                key
            });
        }
        keys.extend(puts.join_all().await);
        cairn.kill9();
        cairn.start_again();
    }
    keys.sort();
    let client = cairn.client();
    for key in &keys {
        replicated(&client, &source, key).await;
    }
    assert_eq!(client.keys(&target).await, keys);
    for key in &keys {
        let (here, there) = tokio::join!(client.get(&source, key), client.get(&target, key));
        assert!(here.body == there.body && version_of(&here) == version_of(&there), "{key}");
    }
    // Each once.
    let versions = client.bucket("GET", &target).query("versions", "").send().await.expect(200);
    assert_eq!(versions.text().matches("<VersionId>").count(), keys.len());
    let metrics = cairn.ops_get("/metrics").unwrap().1;
    assert!(metrics.contains("cairn_replication_latency_seconds_count"), "{metrics}");
}
