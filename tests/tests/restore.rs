//! Restoring a bucket to a point in time: the admin API and the sub-commands that call it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_tests::client::REGION;
use cairn_tests::{Cairn, Call, Client, Config, Reply};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const RESTORES: &str = "/-/admin/v1/restores";
const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

fn signed(client: &Client, method: &str, path: &str) -> Call {
    client.call(method, path).scope(REGION, "cairn")
}

async fn versioned_bucket(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    client.bucket("PUT", &bucket).query("versioning", "").body(ENABLED).send().await.expect(200);
    bucket
}

/// A moment after what was done so far and before what comes.
async fn moment() -> String {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let now = OffsetDateTime::now_utc();
    tokio::time::sleep(Duration::from_millis(20)).await;
    now.format(&Rfc3339).unwrap()
}

fn document(bucket: &str, as_of: &str, dry_run: bool) -> String {
    format!(r#"{{"bucket":"{bucket}","as_of":"{as_of}","dry_run":{dry_run}}}"#)
}

async fn start(client: &Client, document: String) -> Reply {
    signed(client, "POST", RESTORES).body(document).send().await
}

/// Status and code of a refusal.
async fn expect_refusal(call: Call, status: u16, code: &str) {
    let reply = call.send().await;
    let expected = format!(r#""code":"{code}""#);
    assert!(reply.status == status && reply.text().contains(&expected), "{} {}", reply.status, reply.text());
}

/// The number that a document gives under a name.
fn number(document: &str, name: &str) -> u64 {
    let (_, rest) = document.split_once(&format!(r#""{name}":"#)).unwrap_or_else(|| panic!("no {name}: {document}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

/// The restore's document when it has ended.
async fn ended(client: &Client, bucket: &str) -> String {
    for _ in 0..600 {
        let reply = signed(client, "GET", &format!("{RESTORES}/{bucket}")).send().await.expect(200);
        if !reply.text().contains(r#""state":"running""#) {
            return reply.text();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the restore does not end");
}

async fn contents(client: &Client, bucket: &str) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for key in client.keys(bucket).await {
        let body = client.get(bucket, &key).await.expect(200).body.to_vec();
        contents.insert(key, body);
    }
    contents
}

/// Runs `cairn` with these arguments: its exit status and what it printed.
fn command(cairn: &Cairn, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cairn.calling_command(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// Some objects, a moment, and other objects; the moment and how the bucket looked then.
async fn with_a_past(client: &Client, bucket: &str) -> (String, BTreeMap<String, Vec<u8>>) {
    for (key, size) in [("a", 10), ("b/large", 100_000), ("c", 0), ("d", 300)] {
        let put = client.object("PUT", bucket, key).header("x-amz-meta-then", "yes").body(vec![b'1'; size]);
        put.send().await.expect(200);
    }
    let (time, then) = (moment().await, contents(client, bucket).await);
    client.put(bucket, "a", "changed").await;
    client.delete(bucket, "b/large").await;
    client.put(bucket, "new", "new").await;
    (time, then)
}

#[tokio::test]
async fn a_dry_run_tells_what_the_restore_then_does() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "restored").await;
    let (time, then) = with_a_past(&client, &bucket).await;
    let now = contents(&client, &bucket).await;
    start(&client, document(&bucket, &time, true)).await.expect(200);
    let dry = ended(&client, &bucket).await;
    assert_eq!(contents(&client, &bucket).await, now);
    start(&client, document(&bucket, &time, false)).await.expect(200);
    let done = ended(&client, &bucket).await;
    assert!(done.contains(r#""state":"done""#), "{done}");
    for (name, count) in
        [("keys", 5), ("restored", 2), ("restored_bytes", 100_010), ("hidden", 1), ("unchanged", 2), ("overtaken", 0)]
    {
        assert_eq!((number(&dry, name), number(&done, name)), (count, count), "{name}");
    }
    assert_eq!(contents(&client, &bucket).await, then);
    assert_eq!(client.get(&bucket, "a").await.header("x-amz-meta-then"), Some("yes"));
    let listed = signed(&client, "GET", RESTORES).send().await.expect(200).text();
    assert!(listed.contains(&format!(r#""bucket":"{bucket}""#)), "{listed}");
}

#[tokio::test]
async fn the_time_in_whole_seconds_that_a_client_was_shown_includes_that_version() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "shown").await;
    client.put(&bucket, "key", "then").await;
    let listed = client.bucket("GET", &bucket).query("list-type", "2").send().await.expect(200);
    let shown = listed.xml("LastModified");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    client.put(&bucket, "key", "now").await;
    start(&client, document(&bucket, &shown, false)).await.expect(200);
    assert!(ended(&client, &bucket).await.contains(r#""state":"done""#));
    assert_eq!(client.get(&bucket, "key").await.text(), "then");
}

#[tokio::test]
async fn only_the_buckets_owner_restores_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "owned").await;
    let time = moment().await;
    let body = document(&bucket, &time, false);
    let (of_bucket, cancel) = (format!("{RESTORES}/{bucket}"), format!("{RESTORES}/{bucket}/cancel"));
    for (method, path) in [("POST", RESTORES), ("GET", &of_bucket), ("POST", &cancel)] {
        expect_refusal(signed(&cairn.other_client(), method, path).body(body.clone()), 403, "AccessDenied").await;
        expect_refusal(client.call(method, path).anonymous().body(body.clone()), 403, "AccessDenied").await;
        let for_s3 = client.call(method, path).body(body.clone());
        expect_refusal(for_s3, 400, "AuthorizationHeaderMalformed").await;
    }
    expect_refusal(signed(&client, "GET", &of_bucket), 404, "NoSuchRestore").await;
    expect_refusal(client.call("GET", RESTORES).anonymous(), 403, "AccessDenied").await;
    let others = signed(&cairn.other_client(), "GET", RESTORES).send().await.expect(200);
    assert!(!others.text().contains(&bucket));
}

#[tokio::test]
async fn a_user_restores_the_buckets_that_a_policy_names() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let (named, other) = (versioned_bucket(&client, "named").await, versioned_bucket(&client, "other").await);
    let time = moment().await;
    let iam = |action: &'static str, parameters: Vec<(&'static str, String)>| {
        let client = client.clone();
        async move {
            let mut all = vec![("UserName", "restorer")];
            all.extend(parameters.iter().map(|(name, value)| (*name, value.as_str())));
            client.action("iam", action, &all).send().await.expect(200)
        }
    };
    iam("CreateUser", vec![]).await;
    let statement = format!(r#"{{"Effect":"Allow","Action":"cairn:RestoreBucket","Resource":"arn:aws:s3:::{named}"}}"#);
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    iam("PutUserPolicy", vec![("PolicyName", "restores".to_owned()), ("PolicyDocument", policy)]).await;
    let key = iam("CreateAccessKey", vec![]).await;
    let user = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    start(&user, document(&named, &time, false)).await.expect(200);
    assert!(ended(&user, &named).await.contains(r#""state":"done""#));
    let body = document(&other, &time, false);
    expect_refusal(signed(&user, "POST", RESTORES).body(body), 403, "AccessDenied").await;
    expect_refusal(signed(&user, "GET", &format!("{RESTORES}/{other}")), 403, "AccessDenied").await;
    expect_refusal(signed(&user, "GET", RESTORES), 403, "AccessDenied").await;
}

#[tokio::test]
async fn what_cannot_be_restored_is_refused_and_begins_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let before = "2001-01-01T00:00:00Z";
    let bucket = versioned_bucket(&client, "refused").await;
    let unversioned = client.fresh_bucket("unversioned").await;
    let now = moment().await;
    for (body, status, code) in [
        (document("no-such-bucket", &now, false), 404, "NoSuchBucket"),
        (document("x", &now, false), 400, "InvalidBucketName"),
        (document(&unversioned, &now, false), 409, "InvalidBucketState"),
        (document(&bucket, before, false), 400, "InvalidArgument"),
        (document(&bucket, "2999-01-01T00:00:00Z", true), 400, "InvalidArgument"),
        (document(&bucket, "yesterday", false), 400, "InvalidArgument"),
        (
            document(&bucket, &now, false).replace('{', &format!(r#"{{"prefix":"{}","#, "x".repeat(1_025))),
            400,
            "InvalidArgument",
        ),
        ("{".to_owned(), 400, "MalformedJSON"),
        (String::new(), 400, "MalformedJSON"),
        (r#"{"bucket":"b"}"#.to_owned(), 400, "MalformedJSON"),
        (document(&bucket, &now, false).replace("dry_run", "dryrun"), 400, "MalformedJSON"),
        ("x".repeat(70_000), 400, "MaxMessageLengthExceeded"),
    ] {
        expect_refusal(signed(&client, "POST", RESTORES).body(body), status, code).await;
    }
    let call = signed(&client, "POST", RESTORES).body(document(&bucket, &now, false));
    let other_body = document(&bucket, &now, true);
    let forged = call.declared_payload(&cairn_tests::sigv4::sha256_hex(other_body.as_bytes()));
    expect_refusal(forged, 400, "XAmzContentSHA256Mismatch").await;
    expect_refusal(signed(&client, "GET", &format!("{RESTORES}/{bucket}")), 404, "NoSuchRestore").await;
}

#[tokio::test]
async fn a_restore_goes_on_after_the_server_was_killed_in_its_middle() {
    const KEYS: usize = 3_000;
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "killed").await;
    let puts = |content: &'static str| {
        let (client, bucket) = (client.clone(), bucket.clone());
        async move {
            let tasks = (0..16).map(|writer| {
                let (client, bucket) = (client.clone(), bucket.clone());
                tokio::spawn(async move {
                    for number in (writer..KEYS).step_by(16) {
                        client.put(&bucket, &format!("key-{number:05}"), content).await;
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        }
    };
    puts("then").await;
    let time = moment().await;
    puts("now").await;
    start(&client, document(&bucket, &time, false)).await.expect(200);
    let mut kills = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(15)).await;
        cairn.kill9();
        cairn.start_again();
        kills += 1;
        let reply = signed(&client, "GET", &format!("{RESTORES}/{bucket}")).send().await.expect(200).text();
        if reply.contains(r#""state":"done""#) || kills == 20 {
            break;
        }
    }
    let done = ended(&client, &bucket).await;
    println!("{kills} kills: {done}");
    assert_eq!((number(&done, "keys"), number(&done, "restored")), (KEYS as u64, KEYS as u64));
    let contents = contents(&client, &bucket).await;
    assert!(contents.len() == KEYS && contents.values().all(|content| content == b"then"));
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
    let versions = report.lines().find(|line| line.contains("object versions")).unwrap();
    assert!(versions.trim().starts_with(&(3 * KEYS).to_string()), "nothing was added twice: {versions}");
}

#[tokio::test]
async fn the_command_counts_restores_and_warns_of_what_is_lost() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "commanded").await;
    let (time, then) = with_a_past(&client, &bucket).await;
    let arguments = ["restore", "--bucket", &bucket, "--as-of", &time];

    let now = contents(&client, &bucket).await;
    let (status, printed) = command(&cairn, &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("2  keys that would be restored") && printed.contains("1  keys that would be hidden"));
    assert_eq!(contents(&client, &bucket).await, now);

    let (status, printed) = command(&cairn, &arguments);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("2  keys restored") && printed.contains("removed for good since."), "{printed}");
    assert_eq!(contents(&client, &bucket).await, then);

    let versions = client.bucket("GET", &bucket).query("versions", "").query("prefix", "d").send().await;
    let gone = client.object("DELETE", &bucket, "d").query("versionId", &versions.xml("VersionId"));
    gone.send().await.expect(204);
    let (status, printed) = command(&cairn, &arguments);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("WARNING: up to 1 versions"), "{printed}");

    let (status, printed) = command(&cairn, &["restores", "list"]);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains(&bucket) && printed.contains("done"), "{printed}");
    let (status, printed) = command(&cairn, &["restores", "cancel", "--bucket", &bucket]);
    assert_eq!(status, Some(0), "{printed}");
    let (status, printed) = command(&cairn, &["restore", "--bucket", &bucket, "--as-of", "yesterday"]);
    assert_eq!(status, Some(2), "{printed}");
    assert!(printed.contains("RFC 3339") && printed.contains("InvalidArgument"), "{printed}");
}
