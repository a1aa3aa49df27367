//! Wrapping data keys anew after a key was rotated, retiring its old versions, and the jobs that do it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_tests::client::REGION;
use cairn_tests::multipart::Upload;
use cairn_tests::{Cairn, Call, Client, Config, Reply};

const KEY: &str = "/-/admin/v1/encryption-key";
const JOBS: &str = "/-/admin/v1/jobs";
const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const LARGE_BYTES: usize = 100_000;

fn signed(client: &Client, method: &str, path: &str) -> Call {
    client.call(method, path).scope(REGION, "cairn")
}

async fn post(client: &Client, path: &str) -> Reply {
    signed(client, "POST", path).body("{}").send().await
}

/// The text that a document gives under a name.
fn text(document: &str, name: &str) -> String {
    let (_, rest) = document.split_once(&format!(r#""{name}":""#)).unwrap_or_else(|| panic!("no {name}: {document}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The number that a document gives under a name.
fn number(document: &str, name: &str) -> u64 {
    let (_, rest) = document.split_once(&format!(r#""{name}":"#)).unwrap_or_else(|| panic!("no {name}: {document}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

/// The job's document once it runs no more.
async fn ended(client: &Client, begun: &Reply) -> String {
    let id = text(&begun.text(), "id");
    for _ in 0..600 {
        let document = signed(client, "GET", &format!("{JOBS}/{id}")).send().await.expect(200).text();
        if text(&document, "state") != "running" {
            return document;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the job does not end");
}

/// The numbers of the key's versions.
async fn versions(client: &Client) -> Vec<u64> {
    let document = signed(client, "GET", KEY).send().await.expect(200).text();
    document.split(r#""number":"#).skip(1).map(|rest| rest.split(',').next().unwrap().parse().unwrap()).collect()
}

/// Older versions, a delete marker, a completed upload, and an open one.
async fn fill(client: &Client, bucket: &str) -> Upload {
    client.bucket("PUT", bucket).query("versioning", "").body(ENABLED).send().await.expect(200);
    for body in ["one", "two", "three"] {
        client.put(bucket, "small", body).await;
    }
    client.object("PUT", bucket, "large").body(vec![b'x'; LARGE_BYTES]).send().await.expect(200);
    client.put(bucket, "hidden", "hidden").await;
    client.delete(bucket, "hidden").await;
    let done = Upload::create(client, bucket, "done").await;
    let etag = done.upload(1, "part").await;
    done.complete(&[(1, etag)]).send().await.expect(200);
    Upload::create(client, bucket, "open").await
}

async fn check_contents(client: &Client, bucket: &str) {
    assert_eq!(client.get(bucket, "small").await.expect(200).text(), "three");
    assert_eq!(client.get(bucket, "large").await.expect(200).body.len(), LARGE_BYTES);
    assert_eq!(client.get(bucket, "done").await.expect(200).text(), "part");
    let listed = client.bucket("GET", bucket).query("versions", "").send().await.expect(200).text();
    for version in listed.split("<Version>").skip(1) {
        let field = |name: &str| {
            let (_, rest) = version.split_once(&format!("<{name}>")).unwrap();
            rest.split('<').next().unwrap().to_owned()
        };
        let get = client.object("GET", bucket, &field("Key")).query("versionId", &field("VersionId"));
        get.send().await.expect(200);
    }
}

/// What `fill` makes under the key of SSE-S3: three of `small`, `large`, `hidden` and `done`, and two uploads.
const ENVELOPES: u64 = 8;

#[tokio::test]
async fn what_is_wrapped_anew_lets_old_versions_be_retired_and_what_is_not_does_not() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("rewrap").await;
    let open = fill(&client, &bucket).await;
    let refused = post(&client, &format!("{KEY}/retire")).await;
    assert_eq!((refused.status, text(&refused.text(), "code").as_str()), (409, "NothingToRetire"));
    post(&client, &format!("{KEY}/rotate")).await.expect(200);
    let retired = ended(&client, &post(&client, &format!("{KEY}/retire")).await.expect(200)).await;
    assert_eq!(text(&retired, "state"), "failed", "{retired}");
    assert!(retired.contains("names an older version"), "{retired}");
    assert_eq!(versions(&client).await, [1, 2]);
    let wrapped = ended(&client, &post(&client, &format!("{KEY}/rewrap")).await.expect(200)).await;
    let counts = ["examined", "changed", "failed"].map(|name| number(&wrapped, name));
    assert_eq!((text(&wrapped, "state").as_str(), counts), ("done", [ENVELOPES, ENVELOPES, 0]), "{wrapped}");
    let retired = ended(&client, &post(&client, &format!("{KEY}/retire")).await.expect(200)).await;
    assert_eq!(text(&retired, "state"), "done", "{retired}");
    assert_eq!(versions(&client).await, [2]);
    check_contents(&client, &bucket).await;
    let etag = open.upload(1, "late").await;
    open.complete(&[(1, etag)]).send().await.expect(200);
    assert_eq!(client.get(&bucket, "open").await.expect(200).text(), "late");
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    for line in
        [r#"cairn_walk_items_total{kind="rewrap",result="changed"} 8"#, r#"cairn_walks{kind="rewrap",state="done"} 1"#]
    {
        assert!(metrics.lines().any(|one| one == line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_wraps_anew_goes_on_and_loses_nothing() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("killed").await;
    fill(&client, &bucket).await;
    for number in 0..300 {
        client.put(&bucket, &format!("many/{number}"), "content").await;
    }
    for (version, pause_ms) in (2..).zip([0, 5, 15, 30, 60, 120]) {
        post(&client, &format!("{KEY}/rotate")).await.expect(200);
        let begun = post(&client, &format!("{KEY}/rewrap")).await.expect(200);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        cairn.kill9();
        cairn.start_again();
        let wrapped = ended(&client, &begun).await;
        assert_eq!((text(&wrapped, "state").as_str(), number(&wrapped, "failed")), ("done", 0), "{wrapped}");
        let retired = ended(&client, &post(&client, &format!("{KEY}/retire")).await.expect(200)).await;
        assert_eq!((text(&retired, "state").as_str(), versions(&client).await), ("done", vec![version]), "{retired}");
        check_contents(&client, &bucket).await;
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

#[tokio::test]
async fn what_is_under_a_kms_key_comes_under_its_newest_version_and_its_bucket_keys_stay_few() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("rewrap-kms").await;
    let created = client.kms("CreateKey", &serde_json::json!({})).send().await.expect(200).text();
    let arn = text(&created, "Arn");
    for (key, method, bucket_key) in [
        ("one", "aws:kms", "false"),
        ("two", "aws:kms", "true"),
        ("three", "aws:kms", "true"),
        ("dsse", "aws:kms:dsse", ""),
    ] {
        let mut put = client.object("PUT", &bucket, key).header("x-amz-server-side-encryption", method);
        put = put.header("x-amz-server-side-encryption-aws-kms-key-id", &arn);
        if !bucket_key.is_empty() {
            put = put.header("x-amz-server-side-encryption-bucket-key-enabled", bucket_key);
        }
        put.body(key).send().await.expect(200);
    }
    client.put(&bucket, "servers", "servers").await;
    client.kms("RotateKeyOnDemand", &serde_json::json!({ "KeyId": arn })).send().await.expect(200);
    let rewrap = || signed(&client, "POST", &format!("{KEY}/rewrap")).body(format!(r#"{{"kms_key":"{arn}"}}"#)).send();
    let wrapped = ended(&client, &rewrap().await.expect(200)).await;
    let counts = ["examined", "changed", "failed"].map(|name| number(&wrapped, name));
    assert_eq!((text(&wrapped, "state").as_str(), counts), ("done", [5, 4, 0]), "{wrapped}");
    let before = kms_calls(&cairn);
    for key in ["one", "two", "three", "dsse", "servers"] {
        assert_eq!(client.get(&bucket, key).await.expect(200).text(), key);
    }
    assert_eq!(kms_calls(&cairn) - before, 3, "objects under one bucket key still share an envelope");
    let again = ended(&client, &rewrap().await.expect(200)).await;
    assert_eq!((number(&again, "changed"), number(&again, "skipped")), (0, 5));
    client.kms("RotateKeyOnDemand", &serde_json::json!({ "KeyId": arn })).send().await.expect(200);
    client.kms("DisableKey", &serde_json::json!({ "KeyId": arn })).send().await.expect(200);
    let failed = ended(&client, &rewrap().await.expect(200)).await;
    assert_eq!((number(&failed, "changed"), number(&failed, "failed")), (0, 4));
    assert!(text(&failed, "last_error").contains("is disabled"), "{failed}");
    let unknown = signed(&client, "POST", &format!("{KEY}/rewrap")).body(r#"{"kms_key":"arn:aws:kms:x"}"#).send().await;
    assert_eq!((unknown.status, text(&unknown.text(), "code").as_str()), (404, "NoSuchKey"));
}

/// Calls of the KMS to decrypt so far.
fn kms_calls(cairn: &Cairn) -> u64 {
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with(r#"cairn_kms_calls_total{operation="Decrypt"}"#));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn jobs_are_listed_held_and_ended_by_the_command() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let run = |arguments: &[&str]| {
        let output = cairn.calling_command(arguments).output().unwrap();
        let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
        (output.status.code(), text)
    };
    let (status, begun) = run(&["encryption-key", "rewrap"]);
    assert_eq!(status, Some(0), "{begun}");
    let id = begun.split_whitespace().next().unwrap().to_owned();
    let _ = ended(&client, &signed(&client, "GET", &format!("{JOBS}/{id}")).send().await.expect(200)).await;
    let (status, listed) = run(&["jobs", "list"]);
    assert!(status == Some(0) && listed.contains(&id) && listed.contains("queue collect  0 waiting"), "{listed}");
    let (status, shown) = run(&["jobs", "show", &id]);
    assert!(status == Some(0) && shown.contains("rewrap (all buckets)  done"), "{shown}");
    for (change, refusal) in
        [("pause", "InvalidJobState"), ("resume", "InvalidJobState"), ("cancel", "InvalidJobState")]
    {
        let (status, refused) = run(&["jobs", change, &id]);
        assert!(status == Some(2) && refused.contains(refusal), "{change}: {refused}");
    }
    let (status, refused) = run(&["jobs", "retry", "00000000000000000000000000000000"]);
    assert!(status == Some(2) && refused.contains("NoSuchJob"), "{refused}");
    let (status, refused) = run(&["encryption-key", "retire"]);
    assert!(status == Some(2) && refused.contains("NothingToRetire"), "{refused}");
}

#[tokio::test]
async fn only_who_may_sees_and_changes_jobs() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    client.action("iam", "CreateUser", &[("UserName", "anna")]).send().await.expect(200);
    let policy =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cairn:ListJobs","Resource":"*"}]}"#;
    let put = [("UserName", "anna"), ("PolicyName", "jobs"), ("PolicyDocument", policy)];
    client.action("iam", "PutUserPolicy", &put).send().await.expect(200);
    let made = client.action("iam", "CreateAccessKey", &[("UserName", "anna")]).send().await.expect(200);
    let anna = cairn.client_with(&made.xml("AccessKeyId"), &made.xml("SecretAccessKey"));
    signed(&anna, "GET", JOBS).send().await.expect(200);
    for path in [format!("{KEY}/rewrap"), format!("{KEY}/retire"), format!("{JOBS}/{}/cancel", "0".repeat(32))] {
        let refused = post(&anna, &path).await;
        assert_eq!((refused.status, text(&refused.text(), "code").as_str()), (403, "AccessDenied"), "{path}");
    }
}
