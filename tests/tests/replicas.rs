//! How replicas arrive from another server: who may bring them, what becomes of them, and what is refused.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_tests::wire::Reply;
use cairn_tests::{Cairn, Client};

const ID: &str = "x-amz-cairn-replica-version-id";
const CREATED: &str = "x-amz-cairn-replica-created";
const CHANGED: &str = "x-amz-cairn-replica-changed";
const ETAG: &str = "x-amz-cairn-replica-etag";
const ATTRIBUTES: &str = "x-amz-cairn-replica-attributes";
const SETTINGS: &str = "x-amz-cairn-replica-settings";

/// In the middle of 2024.
const THEN_MS: u64 = 1_720_000_000_000;

async fn versioned_bucket(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(document).send().await.expect(200);
    bucket
}

/// The id of a version that was made then, or so many milliseconds later.
fn id(ms: u64) -> String {
    format!("{:016x}{:016x}", (THEN_MS + ms) * 1_000, ms)
}

async fn bring(client: &Client, bucket: &str, id: &str, body: &str) -> Reply {
    let put = client.object("PUT", bucket, "key").header(ID, id).header(CREATED, &THEN_MS.to_string());
    put.body(body.to_owned()).send().await
}

async fn newest(client: &Client, bucket: &str) -> (String, String) {
    let got = client.get(bucket, "key").await.expect(200);
    (got.header("x-amz-version-id").unwrap().to_owned(), got.text())
}

/// A user with this policy, or none.
async fn user(cairn: &Cairn, name: &str, actions: &[&str]) -> Client {
    let root = cairn.client();
    let call = |action: &'static str, parameters: Vec<(&'static str, String)>| {
        let root = cairn.client();
        async move {
            let parameters: Vec<(&str, &str)> =
                parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            root.action("iam", action, &parameters).send().await.expect(200)
        }
    };
    call("CreateUser", vec![("UserName", name.to_owned())]).await;
    if !actions.is_empty() {
        let statement = serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let named = vec![("UserName", name.to_owned()), ("PolicyName", "p".to_owned()), ("PolicyDocument", policy)];
        call("PutUserPolicy", named).await;
    }
    let key = call("CreateAccessKey", vec![("UserName", name.to_owned())]).await;
    drop(root);
    cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"))
}

#[tokio::test]
async fn versions_keep_their_ids_whatever_the_order_in_which_they_come() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "order").await;
    for (ms, body) in [(20, "second"), (10, "first"), (30, "third"), (30, "third")] {
        let reply = bring(&client, &bucket, &id(ms), body).await.expect(200);
        assert_eq!(reply.header("x-amz-version-id"), Some(id(ms).as_str()));
    }
    assert_eq!(newest(&client, &bucket).await, (id(30), "third".to_owned()));
    let marker = client.object("DELETE", &bucket, "key").header(ID, &id(25)).header(CREATED, "1");
    let marked = marker.send().await.expect(204);
    assert_eq!(marked.header("x-amz-version-id"), Some(id(25).as_str()));
    assert_eq!(marked.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(newest(&client, &bucket).await.0, id(30));
    let listed = client.bucket("GET", &bucket).query("versions", "").send().await.expect(200);
    assert_eq!(listed.xml_all("VersionId"), [30, 25, 20, 10].map(id));
    assert_eq!(listed.xml_all("LastModified").last().unwrap(), "2024-07-03T09:46:40.000Z");
    // What a client puts is newer.
    client.put(&bucket, "key", "own").await.expect(200);
    assert_eq!(newest(&client, &bucket).await.1, "own");
}

#[tokio::test]
async fn only_who_may_replicate_brings_replicas_and_may_do_no_more() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let bucket = versioned_bucket(&root, "rights").await;
    let writer = user(&cairn, "replicas-writer", &["s3:PutObject*", "s3:DeleteObject*", "s3:GetObject*"]).await;
    let replicator = user(&cairn, "replicas-carrier", &["s3:Replicate*"]).await;
    let cases = |client: &Client| {
        let about = |method: &str| client.object(method, &bucket, "key").header(ID, &id(1));
        let tags = "<Tagging><TagSet/></Tagging>";
        [
            (about("PUT").header(CREATED, "1").body("x"), 200),
            (about("POST").header(CREATED, "1").query("uploads", ""), 200),
            (client.object("DELETE", &bucket, "key").header(ID, &id(2)).header(CREATED, "1"), 204),
            (about("PUT").query("tagging", "").query("versionId", &id(1)).body(tags), 200),
        ]
    };
    for (call, _) in cases(&writer) {
        call.send().await.expect_error(403, "AccessDenied");
    }
    for (call, status) in cases(&replicator) {
        call.send().await.expect(status);
    }
    replicator.object("PUT", &bucket, "key").body("x").send().await.expect_error(403, "AccessDenied");
    replicator.object("DELETE", &bucket, "key").send().await.expect_error(403, "AccessDenied");
    replicator.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    // Not by leaving out the id, either.
    let without = replicator.object("PUT", &bucket, "key").header(CREATED, "1").body("x").send().await;
    without.expect_error(403, "AccessDenied");
    root.object("PUT", &bucket, "key").header(CREATED, "1").body("x").send().await.expect_error(400, "InvalidRequest");
}

#[tokio::test]
async fn an_upload_goes_on_only_as_what_it_was_begun_as() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let bucket = versioned_bucket(&root, "uploads").await;
    let begun = |of: Option<String>| {
        let call = root.object("POST", &bucket, "key").query("uploads", "");
        let call = match of {
            Some(id) => call.header(ID, &id).header(CREATED, &THEN_MS.to_string()),
            None => call,
        };
        async move { call.send().await.expect(200).xml("UploadId") }
    };
    let (plain, replica) = (begun(None).await, begun(Some(id(5))).await);
    let part = |upload: &str| {
        root.object("PUT", &bucket, "key").query("uploadId", upload).query("partNumber", "1").body("part")
    };
    let etag = part(&replica).header(ID, &id(5)).send().await.expect(200).header("etag").unwrap().to_owned();
    part(&plain).send().await.expect(200);
    part(&plain).header(ID, &id(5)).send().await.expect_error(404, "NoSuchUpload");
    part(&replica).header(ID, &id(6)).send().await.expect_error(404, "NoSuchUpload");
    let complete = |upload: &str| {
        let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
        let document = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        root.object("POST", &bucket, "key").query("uploadId", upload).body(document)
    };
    complete(&replica).send().await.expect_error(404, "NoSuchUpload");
    complete(&plain).header(ID, &id(5)).send().await.expect_error(404, "NoSuchUpload");
    for _ in 0..2 {
        let done = complete(&replica).header(ID, &id(5)).send().await.expect(200);
        assert_eq!(done.header("x-amz-version-id"), Some(id(5).as_str()));
    }
    assert_eq!(newest(&root, &bucket).await, (id(5), "part".to_owned()));
    assert_eq!(root.upload_ids(&bucket).await, [plain]);
}

#[tokio::test]
async fn a_replica_has_its_sources_attributes_and_etag() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "attributes").await;
    // {0: "text/x", 7: {"name": "café"}}
    let attributes = b"\xa2\x00\x66text/x\x07\xa1\x64name\x65caf\xc3\xa9";
    let etag = format!("{}-3", "0a".repeat(16));
    let put = client.object("PUT", &bucket, "key").header(ID, &id(1)).header(CREATED, &THEN_MS.to_string());
    let put = put.header(ATTRIBUTES, &BASE64.encode(attributes)).header(ETAG, &etag).header("x-amz-tagging", "a=b");
    put.body("bytes").send().await.expect(200);
    let head = client.head(&bucket, "key").await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/x"));
    assert_eq!(head.header("x-amz-meta-name"), Some("=?UTF-8?B?Y2Fmw6k=?="));
    assert_eq!(head.header("etag"), Some(format!("\"{etag}\"").as_str()));
    assert_eq!(head.header("last-modified"), Some("Wed, 03 Jul 2024 09:46:40 GMT"));
    assert_eq!(head.header("x-amz-tagging-count"), Some("1"));
}

#[tokio::test]
async fn the_later_settings_win() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "settings").await;
    bring(&client, &bucket, &id(1), "x").await.expect(200);
    let set = |value: &str, changed: &str, id: String| {
        let document = format!("<Tagging><TagSet><Tag><Key>k</Key><Value>{value}</Value></Tag></TagSet></Tagging>");
        let put = client.object("PUT", &bucket, "key").query("tagging", "").query("versionId", &id);
        put.header(ID, &id).header(CHANGED, changed).body(document)
    };
    for (value, changed, expected) in [("one", "20", "one"), ("two", "10", "one"), ("three", "30", "three")] {
        set(value, changed, id(1)).send().await.expect(200);
        let tags = client.object("GET", &bucket, "key").query("tagging", "").send().await.expect(200);
        assert_eq!(tags.xml("Value"), expected);
    }
    set("x", "40", id(9)).send().await.expect_error(404, "NoSuchVersion");
    let other = client.object("PUT", &bucket, "key").query("tagging", "").query("versionId", &id(1));
    let other = other.header(ID, &id(2)).body("<Tagging><TagSet/></Tagging>").send().await;
    other.expect_error(400, "InvalidRequest");
}

#[tokio::test]
async fn what_cannot_be_a_replica_is_refused_and_leaves_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "refused").await;
    let far_ms = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap() * 1_000 + 25 * 3_600_000;
    let far = format!("{:016x}{:016x}", far_ms * 1_000, 1);
    bring(&client, &bucket, &far, "x").await.expect_error(403, "ReplicaFromTheFuture");
    bring(&client, &bucket, &"f".repeat(32), "x").await.expect_error(403, "ReplicaFromTheFuture");
    bring(&client, &bucket, "null", "x").await.expect_error(400, "InvalidArgument");
    let locked = BASE64.encode(b"\xa1\x02\xf5"); // {2: true}: a legal hold
    let held = client.object("PUT", &bucket, "key").header(ID, &id(1)).header(CREATED, "1").header(SETTINGS, &locked);
    held.body("x").send().await.expect_error(400, "InvalidRequest");
    let acl = client.object("PUT", &bucket, "key").header(ID, &id(1)).header(CREATED, "1");
    acl.header("x-amz-acl", "private").body("x").send().await.expect_error(400, "InvalidRequest");
    // Of another size under the same id.
    bring(&client, &bucket, &id(7), "one").await.expect(200);
    bring(&client, &bucket, &id(7), "other").await.expect_error(400, "InvalidRequest");
    assert_eq!(newest(&client, &bucket).await, (id(7), "one".to_owned()));
    let unversioned = client.fresh_bucket("unversioned").await;
    bring(&client, &unversioned, &id(1), "x").await.expect_error(409, "InvalidBucketState");
    assert!(client.keys(&unversioned).await.is_empty());
}

#[tokio::test]
async fn the_headers_are_refused_where_they_mean_nothing_and_where_they_are_not_signed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = versioned_bucket(&client, "signed").await;
    client.put(&bucket, "key", "x").await.expect(200);
    let get = client.object("GET", &bucket, "key").header(ID, &id(1)).send().await;
    get.expect_error(501, "NotImplemented");
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
    copy.header(ID, &id(1)).header(CREATED, "1").send().await.expect_error(501, "NotImplemented");
    // Whoever holds a presigned URL of somebody who may replicate cannot make a replica of it.
    let mut url = client.object("PUT", &bucket, "key").presigned(60).body("forged").build();
    url.headers.push((ID.to_owned(), id(1)));
    url.headers.push((CREATED.to_owned(), "1".to_owned()));
    assert_eq!(url.send(client.address).await.unwrap().status, 403);
    assert_eq!(client.get(&bucket, "key").await.text(), "x");
}

#[tokio::test]
async fn everybody_is_told_that_the_server_takes_replicas() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("told").await;
    let stranger = user(&cairn, "replicas-stranger", &[]).await;
    for (client, status) in [(&client, 200), (&stranger, 403)] {
        let head = client.bucket("HEAD", &bucket).send().await;
        assert_eq!((head.status, head.header("x-amz-cairn-replicas")), (status, Some("1")));
    }
}
