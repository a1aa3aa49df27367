//! What replication must not do at a target: hide the newest version, remove the only copy, take one kind of server for another, lift a
//! lock, or bring what its rules do not take any more.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_tests::foreign::Foreign;
use cairn_tests::patience::{until, until_said};
use cairn_tests::proxy::Proxy;
use cairn_tests::replication::{MAY_ALL, Rule, STATUS, locked, policy, put_rules, remote, remote_as, role, versioned};
use cairn_tests::sigv4::Credentials;
use cairn_tests::{Cairn, Client, Config, Reply, skip};

const BUCKET: &str = "copies";

fn remote_at(url: &str) -> Config {
    Config { more: remote("there", url), ..Config::default() }
}

async fn iam(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await.expect(200)
}

async fn set_versioning(client: &Client, bucket: &str, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    client.bucket("PUT", bucket).query("versioning", "").body(document).send().await.expect(200);
}

/// Replicates the bucket to this target by a role that may do everything, delete markers too or not.
async fn replicate(client: &Client, bucket: &str, target: &str, markers: bool) {
    let role_arn = role(client, MAY_ALL).await;
    let rule = Rule { target, markers, ..Rule::default() };
    put_rules(client, bucket, &role_arn, &[rule]).send().await.expect(200);
}

async fn status(client: &Client, bucket: &str, key: &str, version: Option<&str>, wished: &str) -> String {
    let head = || {
        let head = client.object("HEAD", bucket, key);
        version.map_or(head.clone(), |version| head.query("versionId", version))
    };
    let reply = until(&format!("{key}: {wished}"), head, |reply| reply.header(STATUS) == Some(wished)).await;
    reply.header("x-amz-version-id").unwrap().to_owned()
}

async fn settings(client: &Client, bucket: &str, resource: &str, document: &str) {
    let put = client.object("PUT", bucket, "key").query(resource, "").body(document.to_owned());
    put.send().await.expect(200);
}

fn command(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    // 1 says that something was given up.
    assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a walk of replication to its end.
async fn walk(cairn: &Cairn, kind: &str) {
    let job = command(cairn, &["replicate", kind, "--bucket", BUCKET, "--rule", "all"]);
    let show = || command(cairn, &["jobs", "show", &job]);
    until_said(&format!("the end of the {kind}"), show, |said| said.contains(" done ")).await;
}

fn version_of(reply: &Reply) -> String {
    reply.header("x-amz-version-id").unwrap().to_owned()
}

/// Waits until nothing of the bucket is on its way.
async fn quiet(cairn: &Cairn) {
    let status = || command(cairn, &["replicate", "status", "--bucket", BUCKET]);
    until_said("its quiet", status, |said| said.contains(": 0 pending ")).await;
}

#[tokio::test]
async fn no_old_version_comes_above_a_newer_one_where_the_last_is_the_newest() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let source = Cairn::start(remote_at(&format!("http://{}", foreign.address)));
    let (here, there) = (source.client(), foreign.client());
    for client in [&here, &there] {
        versioned(client, BUCKET).await;
    }
    // Before the rule: a version, and a marker.
    let first = version_of(&here.put(BUCKET, "key", "first").await.expect(200));
    here.put(BUCKET, "back", "gone").await.expect(200);
    let marker = version_of(&here.delete(BUCKET, "back").await.expect(204));
    // With a tag each: moto, alone among servers, cannot read an empty set of tags.
    let put = |key: &str, text: &str| {
        here.object("PUT", BUCKET, key).header("x-amz-tagging", "a=1").body(text.to_owned()).send()
    };
    put("alone", "only").await.expect(200);
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    for key in ["key", "back"] {
        put(key, "newest").await.expect(200);
        status(&here, BUCKET, key, None, "COMPLETED").await;
    }
    let listed = || there.bucket("GET", BUCKET).query("versions", "");
    let versions = |reply: &Reply| reply.xml_all("VersionId").len();
    assert_eq!(versions(&listed().send().await), 2);
    walk(&source, "backfill").await;
    status(&here, BUCKET, "alone", None, "COMPLETED").await;
    status(&here, BUCKET, "key", Some(&first), "FAILED").await;
    let failed = || command(&source, &["replicate", "failed", "--bucket", BUCKET]);
    let said = until_said("the failure of the marker", failed, |said| said.contains(&marker)).await;
    assert!(said.contains("a newer version of the key is there already"), "{said}");
    for key in ["key", "back"] {
        assert_eq!(there.get(BUCKET, key).await.expect(200).text(), "newest");
    }
    // Nor by a second attempt, or when all is brought once more.
    command(&source, &["replicate", "retry", "--bucket", BUCKET]);
    status(&here, BUCKET, "key", Some(&first), "FAILED").await;
    walk(&source, "resync").await;
    quiet(&source).await;
    for key in ["key", "back"] {
        status(&here, BUCKET, key, None, "COMPLETED").await;
        assert_eq!(there.get(BUCKET, key).await.expect(200).text(), "newest");
    }
    assert_eq!(versions(&listed().send().await), 3);
}

#[tokio::test]
async fn a_bucket_that_keeps_no_versions_gets_nothing() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let source = Cairn::start(remote_at(&format!("http://{}", foreign.address)));
    let (here, there) = (source.client(), foreign.client());
    there.bucket("PUT", BUCKET).send().await.expect(200);
    there.put(BUCKET, "key", "the only copy").await.expect(200);
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    here.put(BUCKET, "key", "x").await.expect(200);
    here.delete(BUCKET, "key").await.expect(204);
    let status = || command(&source, &["replicate", "status", "--bucket", BUCKET]);
    let refusal = "the versioning of the bucket copies is not enabled there";
    until_said("the refusal", status, |said| said.contains(refusal)).await;
    assert_eq!(there.get(BUCKET, "key").await.expect(200).text(), "the only copy");
    set_versioning(&there, BUCKET, "Enabled").await;
    let head = || there.object("HEAD", BUCKET, "key");
    until("the marker", head, |reply| reply.header("x-amz-delete-marker") == Some("true")).await;
}

#[tokio::test]
async fn a_key_that_is_not_valid_at_the_moment_makes_no_other_server_of_a_cairn() {
    let target = Cairn::start(Config::default());
    let there = target.client();
    versioned(&there, BUCKET).await;
    iam(&there, "CreateUser", &[("UserName", "carrier")]).await;
    let statement = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#);
    let own = [("UserName", "carrier"), ("PolicyName", "own"), ("PolicyDocument", statement.as_str())];
    iam(&there, "PutUserPolicy", &own).await;
    let key = iam(&there, "CreateAccessKey", &[("UserName", "carrier")]).await;
    let (access_key, secret_key) = (key.xml("AccessKeyId"), key.xml("SecretAccessKey"));
    let set = |status: &'static str| {
        let (there, access_key) = (there.clone(), access_key.clone());
        async move {
            let change = [("UserName", "carrier"), ("AccessKeyId", access_key.as_str()), ("Status", status)];
            iam(&there, "UpdateAccessKey", &change).await;
        }
    };
    set("Inactive").await;
    let credentials = Credentials { access_key: access_key.clone(), secret_key: secret_key.clone(), token: None };
    let refused = Client { address: there.address, credentials }.bucket("HEAD", BUCKET).send().await;
    assert_eq!((refused.status, refused.header("x-amz-cairn-replicas")), (403, Some("1")));
    let more = remote_as("there", &format!("http://{}", there.address), &access_key, &secret_key);
    let source = Cairn::start(Config { more, ..Config::default() });
    let here = source.client();
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    let version = version_of(&here.put(BUCKET, "key", "x").await.expect(200));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(here.head(BUCKET, "key").await.header(STATUS), Some("PENDING"));
    set("Active").await;
    status(&here, BUCKET, "key", None, "COMPLETED").await;
    let replica = there.head(BUCKET, "key").await.expect(200);
    assert_eq!((replica.header(STATUS), version_of(&replica)), (Some("REPLICA"), version));
}

const HELD: &str = "<LegalHold><Status>ON</Status></LegalHold>";
const LIFTED: &str = "<LegalHold><Status>OFF</Status></LegalHold>";
const TAGGED: &str = "<Tagging><TagSet><Tag><Key>own</Key><Value>1</Value></Tag></TagSet></Tagging>";

/// What was set on a replica outlasts changes at the source that are about something else.
async fn settings_stay((here, from): (&Client, &str), (there, to): (&Client, &str)) {
    let deny = r#"{"Effect":"Deny","Action":"s3:GetObjectVersionTagging","Resource":"*"}"#;
    let replica = || there.object("HEAD", to, "key");
    let hold = |reply: &Reply| reply.header("x-amz-object-lock-legal-hold").map(str::to_owned);
    let tags = |reply: &Reply| reply.header("x-amz-tagging-count").map(str::to_owned);
    let put = here.object("PUT", from, "key").header("x-amz-tagging", "a=1&b=2").body("x");
    put.send().await.expect(200);
    until("the replica", replica, |reply| reply.status == 200).await;
    // Of a hold there the source says nothing when its tags change.
    settings(there, to, "legal-hold", HELD).await;
    settings(here, from, "tagging", TAGGED).await;
    let now = until("the tags", replica, |reply| tags(reply).as_deref() == Some("1")).await;
    assert_eq!(hold(&now).as_deref(), Some("ON"));
    // It is lifted if it is lifted at the source.
    settings(here, from, "legal-hold", LIFTED).await;
    until("the end of the hold", replica, |reply| hold(reply).as_deref() != Some("ON")).await;
    // Tags that the role may not read stay as they are there.
    role(here, &format!("{MAY_ALL},{deny}")).await;
    settings(here, from, "tagging", &TAGGED.replace("own", "hidden")).await;
    settings(here, from, "legal-hold", HELD).await;
    let now = until("the hold", replica, |reply| hold(reply).as_deref() == Some("ON")).await;
    assert_eq!(tags(&now).as_deref(), Some("1"));
    let tags = there.object("GET", to, "key").query("tagging", "").send().await.expect(200);
    assert!(tags.text().contains("<Key>own</Key>"), "{}", tags.text());
}

#[tokio::test]
async fn a_change_of_tags_lifts_no_hold_and_a_hold_takes_no_tags_at_another_server() {
    let target = Cairn::start(Config::default());
    let proxy = Proxy::new();
    proxy.leads_to(target.client().address);
    let source = Cairn::start(remote_at(&proxy.url()));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    settings_stay((&here, BUCKET), (&there, BUCKET)).await;
}

#[tokio::test]
async fn a_change_of_tags_lifts_no_hold_and_a_hold_takes_no_tags_in_another_bucket() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    locked(&client, "source").await;
    locked(&client, "target").await;
    replicate(&client, "source", "arn:aws:s3:::target", true).await;
    settings_stay((&client, "source"), (&client, "target")).await;
}

#[tokio::test]
async fn a_governance_retention_at_another_server_gives_way_to_a_change_of_the_lock_and_not_to_one_of_tags() {
    let target = Cairn::start(Config::default());
    let source = Cairn::start(remote_at(&format!("http://{}", target.client().address)));
    let (here, there) = (source.client(), target.client());
    locked(&here, BUCKET).await;
    locked(&there, BUCKET).await;
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    here.put(BUCKET, "key", "x").await.expect(200);
    status(&here, BUCKET, "key", None, "COMPLETED").await;
    let retain = |client: &Client, year: u32| {
        let document = format!(
            "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{year}-01-01T00:00:00Z</RetainUntilDate></Retention>"
        );
        let put = client.object("PUT", BUCKET, "key").query("retention", "").body(document);
        put.header("x-amz-bypass-governance-retention", "true").send()
    };
    let year = async || {
        status(&here, BUCKET, "key", None, "COMPLETED").await;
        let replica = there.head(BUCKET, "key").await.expect(200);
        replica.header("x-amz-object-lock-retain-until-date").map(|date| date[..4].to_owned())
    };
    retain(&here, 2080).await.expect(200);
    assert_eq!(year().await.as_deref(), Some("2080"));
    retain(&there, 2099).await.expect(200);
    settings(&here, BUCKET, "tagging", TAGGED).await;
    assert_eq!(year().await.as_deref(), Some("2099"));
    retain(&here, 2070).await.expect(200);
    assert_eq!(year().await.as_deref(), Some("2070"));
    let lifted = here.object("PUT", BUCKET, "key").query("retention", "").body("<Retention/>");
    lifted.header("x-amz-bypass-governance-retention", "true").send().await.expect(200);
    assert_eq!(year().await, None);
}

#[tokio::test]
async fn a_public_acl_does_not_go_into_a_bucket_that_blocks_them() {
    let config =
        Config { object_ownership: Some("ObjectWriter"), block_public_access: Some(false), ..Config::default() };
    let cairn = Cairn::start(config);
    let client = cairn.client();
    for bucket in ["source", "target"] {
        versioned(&client, bucket).await;
    }
    let block =
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
    client.bucket("PUT", "target").query("publicAccessBlock", "").body(block).send().await.expect(200);
    replicate(&client, "source", "arn:aws:s3:::target", true).await;
    client.object("PUT", "source", "public").header("x-amz-acl", "public-read").body("x").send().await.expect(200);
    status(&client, "source", "public", None, "FAILED").await;
    client.head("target", "public").await.expect(404);
    let failed = command(&cairn, &["replicate", "failed", "--bucket", "source"]);
    assert!(failed.contains("DstPutAclNotPermitted"), "{failed}");
    // Nor does one that a version gets later.
    client.put("source", "later", "x").await.expect(200);
    status(&client, "source", "later", None, "COMPLETED").await;
    let acl = client.object("PUT", "source", "later").query("acl", "").header("x-amz-acl", "public-read");
    acl.send().await.expect(200);
    status(&client, "source", "later", None, "FAILED").await;
    client.object("GET", "target", "later").anonymous().send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn what_a_rule_has_come_to_leave_out_does_not_go_though_it_waits() {
    let target = Cairn::start(Config::default());
    let proxy = Proxy::new();
    proxy.leads_to(target.client().address);
    let source = Cairn::start(remote_at(&proxy.url()));
    let (here, there) = (source.client(), target.client());
    for client in [&here, &there] {
        versioned(client, BUCKET).await;
    }
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    here.put(BUCKET, "key", "x").await.expect(200);
    status(&here, BUCKET, "key", None, "COMPLETED").await;
    proxy.set_cut(true);
    here.delete(BUCKET, "key").await.expect(204);
    here.put(BUCKET, "other", "x").await.expect(200);
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", false).await;
    // Nothing gets through before it is given up.
    let failed = || command(&source, &["replicate", "failed", "--bucket", BUCKET]);
    until_said("the end of the wait", failed, |said| said.contains("no rule takes it there any more")).await;
    proxy.set_cut(false);
    status(&here, BUCKET, "other", None, "COMPLETED").await;
    quiet(&source).await;
    assert_eq!(there.get(BUCKET, "key").await.expect(200).text(), "x");
}

#[tokio::test]
async fn what_the_role_may_not_replicate_goes_to_no_remote_and_nothing_of_another_account_does() {
    let target = Cairn::start(Config::default());
    let source = Cairn::start(remote_at(&format!("http://{}", target.client().address)));
    let (here, there, other) = (source.client(), target.client(), source.other_client());
    for client in [&here, &there] {
        versioned(client, BUCKET).await;
    }
    replicate(&here, BUCKET, "arn:aws:s3:there::copies", true).await;
    let reads = r#"{"Effect":"Allow","Action":"s3:GetObject*","Resource":"*"}"#;
    let brings = r#"{"Effect":"Allow","Action":"s3:ReplicateObject","Resource":"arn:aws:s3:::copies/*"}"#;
    role(&here, reads).await;
    here.put(BUCKET, "key", "x").await.expect(200);
    status(&here, BUCKET, "key", None, "FAILED").await;
    let failed = command(&source, &["replicate", "failed", "--bucket", BUCKET]);
    assert!(failed.contains("DstPutObjectNotPermitted") && failed.contains("s3:ReplicateObject"), "{failed}");
    there.head(BUCKET, "key").await.expect(404);
    // Without s3:ReplicateTags the tags stay behind.
    role(&here, &format!("{reads},{brings}")).await;
    here.object("PUT", BUCKET, "tagged").header("x-amz-tagging", "a=1").body("x").send().await.expect(200);
    status(&here, BUCKET, "tagged", None, "COMPLETED").await;
    let replica = there.head(BUCKET, "tagged").await.expect(200);
    assert_eq!(replica.header("x-amz-tagging-count"), None);
    // The remote's credentials are not for everybody on this server.
    versioned(&other, "others").await;
    let role_arn = role(&other, MAY_ALL).await;
    let rule = Rule { target: "arn:aws:s3:there::copies", ..Rule::default() };
    let put = put_rules(&other, "others", &role_arn, &[rule]);
    put.send().await.expect_error(403, "AccessDenied");
}
