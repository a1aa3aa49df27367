//! Replication into another account's buckets: whose the replicas are, what of their ACLs goes along, and what is audited.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use cairn_tests::harness::files_below;
use cairn_tests::replication::{MAY_S3, Rule, STATUS, policy, put_rules, remote, role, until, versioned};
use cairn_tests::{Cairn, Client, Config};

const SOURCE: &str = "source";

/// The canonical ids of the harness's two accounts.
fn canonical(number: u32) -> String {
    format!("{number:064x}")
}

fn config(more: String) -> Config {
    Config { more, object_ownership: Some("ObjectWriter"), ..Config::default() }
}

/// A bucket of the second account's into which the first one's principal may do this.
async fn lent(other: &Client, bucket: &str, principal: &str, actions: &str) {
    versioned(other, bucket).await;
    let resource = format!("arn:aws:s3:::{bucket}");
    let statement = format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::100000000001:{principal}"}},"Action":[{actions}],"Resource":["{resource}","{resource}/*"]}}"#
    );
    other.bucket("PUT", bucket).query("policy", "").body(policy(&statement)).send().await.expect(204);
}

/// Replicates the source to these targets; `overriding` ones give the replicas to the second account.
async fn replicate(client: &Client, role_arn: &str, targets: &[(&'static str, bool)]) {
    let overriding = "<Account>100000000002</Account><AccessControlTranslation><Owner>Destination</Owner></AccessControlTranslation>";
    let rule = |(number, &(target, overrides)): (usize, &(&'static str, bool))| {
        let destination = if overrides { overriding } else { "" };
        Rule { id: number.to_string(), priority: number, target, destination, ..Rule::default() }
    };
    let rules: Vec<Rule<'_>> = (1..).zip(targets).map(rule).collect();
    put_rules(client, SOURCE, role_arn, &rules).send().await.expect(200);
}

async fn put(client: &Client, key: &str, wished: &str) {
    client.object("PUT", SOURCE, key).header("x-amz-acl", "authenticated-read").body("x").send().await.expect(200);
    let head = || client.object("HEAD", SOURCE, key);
    until(wished, head, |reply| reply.header(STATUS) == Some(wished)).await;
}

/// The owner of an object, and whom it grants what.
async fn acl(client: &Client, bucket: &str, key: &str) -> (String, Vec<String>) {
    let reply = client.object("GET", bucket, key).query("acl", "").send().await.expect(200);
    let mut permissions = reply.xml_all("Permission");
    permissions.sort();
    (reply.xml_all("ID").swap_remove(0), permissions)
}

#[tokio::test]
async fn replicas_are_their_writers_or_by_the_rule_their_buckets_owners() {
    let target = Cairn::start(config(String::new()));
    let mut source = Cairn::start(config(remote("there", &format!("http://{}", target.client().address))));
    let (here, other, there) = (source.client(), source.other_client(), target.other_client());
    versioned(&here, SOURCE).await;
    // Other accounts' policies can name the role only once it is there.
    let role_arn = role(&here, MAY_S3).await;
    let replicating = r#""s3:ReplicateObject","s3:ReplicateDelete","s3:ReplicateTags","s3:GetObjectAcl""#;
    let overriding = format!(r#"{replicating},"s3:ObjectOwnerOverrideToBucketOwner""#);
    lent(&other, "given", "role/replicator", &overriding).await;
    lent(&other, "kept", "role/replicator", replicating).await;
    lent(&there, "far", "root", &overriding).await;
    let targets = [("arn:aws:s3:::given", true), ("arn:aws:s3:::kept", false), ("arn:aws:s3:there::far", true)];
    replicate(&here, &role_arn, &targets).await;
    put(&here, "key", "COMPLETED").await;
    let granted = |permissions: &[&str]| permissions.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let whole = granted(&["FULL_CONTROL"]);
    assert_eq!(acl(&other, "given", "key").await, (canonical(2), whole.clone()));
    assert_eq!(acl(&there, "far", "key").await, (canonical(2), whole));
    // The ACL is the source's, whose owner may read it.
    assert_eq!(acl(&here, "kept", "key").await, (canonical(1), granted(&["FULL_CONTROL", "READ"])));
    // The owner of the bucket has no right to an object that is not his, but by the ACL.
    other.object("GET", "kept", "key").query("acl", "").send().await.expect_error(403, "AccessDenied");
    here.delete(SOURCE, "key").await.expect(204);
    until("the delete marker", || there.object("HEAD", "far", "key"), |reply| reply.status == 404).await;
    source.stop();
    let audited: Vec<serde_json::Value> = files_below(&source.data_dir().join("audit"))
        .iter()
        .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
        .filter(|line: &serde_json::Value| line["operation"] == "ReplicateVersion")
        .collect();
    let actions: Vec<&str> = audited
        .iter()
        .flat_map(|line| line["decisions"].as_array().unwrap())
        .filter_map(|decision| decision["action"].as_str())
        .collect();
    for action in ["s3:GetObjectVersionForReplication", "s3:ReplicateObject", "s3:ObjectOwnerOverrideToBucketOwner"] {
        assert!(actions.contains(&action), "{action} is not among {actions:?}");
    }
    let principal = audited[0]["principal"].as_str().unwrap();
    assert!(principal.contains("replicator"), "{principal}");
    assert!(audited.len() <= 9, "one for each change, not for each task: {}", audited.len());
}

#[tokio::test]
async fn without_the_right_to_give_it_away_a_replica_fails_and_the_refusal_is_audited() {
    let mut source = Cairn::start(config(String::new()));
    let (here, other) = (source.client(), source.other_client());
    versioned(&here, SOURCE).await;
    // Other accounts' policies can name the role only once it is there.
    let role_arn = role(&here, MAY_S3).await;
    lent(&other, "given", "role/replicator", r#""s3:ReplicateObject","s3:ReplicateDelete","s3:ReplicateTags""#).await;
    replicate(&here, &role_arn, &[("arn:aws:s3:::given", true)]).await;
    for key in ["one", "two"] {
        put(&here, key, "FAILED").await;
    }
    assert!(other.keys("given").await.is_empty());
    let failed = source.calling_command(&["replicate", "failed", "--bucket", SOURCE]).output().unwrap();
    let failed = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.contains("DstPutAclNotPermitted"), "{failed}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    source.stop();
    let log: String =
        files_below(&source.data_dir().join("audit")).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let refused = log.lines().filter(|line| line.contains("ReplicateVersion") && line.contains("\"denied\""));
    assert_eq!(refused.count(), 1, "the second one tells nothing new: {log}");
}
