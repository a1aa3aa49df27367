//! Conditions of policies that need more than a plain bucket: locks, locations, and a policy that locks its writer out.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_tests::{Cairn, Call, Client, Config, digest};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const ACCOUNT: &str = "100000000001";

fn in_days(days: i64) -> String {
    let date = OffsetDateTime::now_utc() + Duration::days(days) - Duration::minutes(1);
    date.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

fn document(statements: &[Value]) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn put_policy(client: &Client, bucket: &str, text: &str) -> Call {
    client.bucket("PUT", bucket).query("policy", "").body(text.to_owned())
}

/// Denies an action on all that is in a bucket under a condition.
async fn deny(client: &Client, bucket: &str, action: &str, condition: Value) {
    let resource = format!("arn:aws:s3:::{bucket}/*");
    let statement = json!({
        "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource, "Condition": condition,
    });
    put_policy(client, bucket, &document(&[statement])).send().await.expect(204);
}

/// A user of the account with these rights.
async fn user(cairn: &Cairn, name: &str, statement: Value) -> Client {
    let iam = async |action: &str, parameters: &[(&str, &str)]| {
        cairn.client().action("iam", action, parameters).send().await.expect(200)
    };
    iam("CreateUser", &[("UserName", name)]).await;
    let policy = document(&[statement]);
    iam("PutUserPolicy", &[("UserName", name), ("PolicyName", "own"), ("PolicyDocument", &policy)]).await;
    let key = iam("CreateAccessKey", &[("UserName", name)]).await;
    cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"))
}

struct Locks {
    /// It runs while somebody holds it.
    _cairn: Arc<Cairn>,
    client: Client,
    bucket: String,
}

impl Locks {
    async fn new(purpose: &str) -> Self {
        let cairn = Cairn::shared();
        let client = cairn.client();
        let bucket = format!("condition-{purpose}");
        let create = client.bucket("PUT", &bucket).header("x-amz-bucket-object-lock-enabled", "true");
        create.send().await.expect(200);
        Self { _cairn: cairn, client, bucket }
    }

    fn put(&self, headers: &[(&str, &str)]) -> Call {
        let call = self.client.object("PUT", &self.bucket, "key").body("x");
        let call = call.header("x-amz-checksum-crc32", &digest::checksum("CRC32", b"x"));
        headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    }

    fn retain(&self, mode: &str, until: &str) -> Call {
        let text = format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
        self.client.object("PUT", &self.bucket, "key").query("retention", "").body(text)
    }

    fn hold(&self, status: &str) -> Call {
        let text = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        self.client.object("PUT", &self.bucket, "key").query("legal-hold", "").body(text)
    }
}

async fn status(call: Call) -> u16 {
    call.send().await.status
}

#[tokio::test]
async fn retentions_are_bounded_in_days_in_headers_and_documents() {
    let locks = Locks::new("days").await;
    let longer = json!({ "NumericGreaterThan": { "s3:object-lock-remaining-retention-days": "10" } });
    deny(&locks.client, &locks.bucket, "s3:PutObjectRetention", longer).await;
    let (short, long) = (in_days(9), in_days(12));
    let put = |until: &str| {
        locks.put(&[("x-amz-object-lock-mode", "GOVERNANCE"), ("x-amz-object-lock-retain-until-date", until)])
    };
    assert_eq!(status(put(&long)).await, 403);
    assert_eq!(status(put(&short)).await, 200);
    assert_eq!(status(locks.retain("GOVERNANCE", &long)).await, 403);
    assert_eq!(status(locks.retain("GOVERNANCE", &in_days(10))).await, 200);
    // The user guide's way to say the same by a date.
    let later = json!({ "DateGreaterThan": { "s3:object-lock-retain-until-date": in_days(11) } });
    deny(&locks.client, &locks.bucket, "s3:PutObjectRetention", later).await;
    assert_eq!(status(put(&long)).await, 403);
    assert_eq!(status(locks.retain("GOVERNANCE", &long)).await, 403);
    assert_eq!(status(put(&short)).await, 200);
}

#[tokio::test]
async fn the_mode_of_a_retention_can_be_denied() {
    let locks = Locks::new("mode").await;
    let compliance = json!({ "StringEquals": { "s3:object-lock-mode": "COMPLIANCE" } });
    deny(&locks.client, &locks.bucket, "s3:PutObjectRetention", compliance).await;
    let until = in_days(1);
    let put =
        |mode| locks.put(&[("x-amz-object-lock-mode", mode), ("x-amz-object-lock-retain-until-date", until.as_str())]);
    assert_eq!(status(put("COMPLIANCE")).await, 403);
    assert_eq!(status(put("GOVERNANCE")).await, 200);
    assert_eq!(status(locks.retain("COMPLIANCE", &in_days(2))).await, 403);
    assert_eq!(status(locks.retain("GOVERNANCE", &in_days(2))).await, 200);
    let kept = locks.client.object("GET", &locks.bucket, "key").query("retention", "").send().await.expect(200);
    assert_eq!(kept.xml("Mode"), "GOVERNANCE");
}

#[tokio::test]
async fn a_legal_hold_can_be_set_by_who_may_not_lift_it() {
    let locks = Locks::new("hold").await;
    let off = json!({ "StringEquals": { "s3:object-lock-legal-hold": "OFF" } });
    deny(&locks.client, &locks.bucket, "s3:PutObjectLegalHold", off).await;
    assert_eq!(status(locks.put(&[("x-amz-object-lock-legal-hold", "OFF")])).await, 403);
    assert_eq!(status(locks.put(&[("x-amz-object-lock-legal-hold", "ON")])).await, 200);
    assert_eq!(status(locks.hold("OFF")).await, 403);
    assert_eq!(status(locks.hold("ON")).await, 200);
    let kept = locks.client.object("GET", &locks.bucket, "key").query("legal-hold", "").send().await.expect(200);
    assert_eq!(kept.xml("Status"), "ON");
}

#[tokio::test]
async fn the_tags_of_a_new_object_can_be_denied_by_the_action_that_gives_them() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("condition-tags").await;
    client.put(&bucket, "source", "x").await;
    deny(&client, &bucket, "s3:PutObjectTagging", json!({ "StringEquals": { "s3:RequestObjectTag/stage": "live" } }))
        .await;
    for (tags, expected) in [("stage=live", 403), ("stage=test", 200)] {
        let tagged = |method, key| client.object(method, &bucket, key).header("x-amz-tagging", tags);
        assert_eq!(status(tagged("PUT", "key").body("x")).await, expected, "{tags}");
        assert_eq!(status(tagged("POST", "large").query("uploads", "")).await, expected, "{tags}");
        let copy = tagged("PUT", "copy").header("x-amz-copy-source", &format!("{bucket}/source"));
        assert_eq!(status(copy.header("x-amz-tagging-directive", "REPLACE")).await, expected, "{tags}");
    }
}

#[tokio::test]
async fn a_policy_about_the_tags_of_what_is_read_lets_nobody_write() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("condition-read").await;
    client.object("PUT", &bucket, "key").header("x-amz-tagging", "access=public").body("x").send().await.expect(200);
    let condition = json!({ "StringEquals": { "s3:ExistingObjectTag/access": "public" } });
    let statement = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
        "Condition": condition,
    });
    put_policy(&client, &bucket, &document(&[statement])).send().await.expect(204);
    let reader = user(
        &cairn,
        "tag-reader",
        json!({
            "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Condition": condition,
        }),
    );
    let reader = reader.await;
    let upload = client.object("POST", &bucket, "large").query("uploads", "").send().await.expect(200).xml("UploadId");
    let of_upload = |client: &Client, method| client.object(method, &bucket, "large").query("uploadId", &upload);
    let source = format!("{bucket}/key");
    for who in [&reader, &cairn.other_client()] {
        let calls = [
            who.object("PUT", &bucket, "key").body("y"),
            who.object("PUT", &bucket, "key").header("x-amz-tagging", "access=public").body("y"),
            who.object("PUT", &bucket, "copy").header("x-amz-copy-source", &source),
            who.object("DELETE", &bucket, "key"),
            who.object("POST", &bucket, "other").query("uploads", ""),
            of_upload(who, "PUT").query("partNumber", "1").body("y"),
            of_upload(who, "PUT").query("partNumber", "1").header("x-amz-copy-source", &source),
            of_upload(who, "POST").body("<CompleteMultipartUpload/>"),
            of_upload(who, "GET"),
            of_upload(who, "DELETE"),
        ];
        for call in calls {
            call.clone().send().await.expect_error(403, "AccessDenied");
            call.anonymous().send().await.expect_error(403, "AccessDenied");
        }
    }
    reader.get(&bucket, "key").await.expect(200);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn who_may_put_but_not_share_gives_no_acl_to_what_it_puts() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let create = client.bucket("PUT", "condition-acl").header("x-amz-object-ownership", "ObjectWriter");
    create.send().await.expect(200);
    let may = |actions: Value| json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    let putter = user(&cairn, "acl-putter", may(json!("s3:PutObject"))).await;
    let sharer = user(&cairn, "acl-sharer", may(json!(["s3:PutObject", "s3:PutObjectAcl"]))).await;
    let put = |who: &Client| who.object("PUT", "condition-acl", "key").header("x-amz-acl", "public-read").body("x");
    put(&putter).send().await.expect_error(403, "AccessDenied");
    put(&sharer).send().await.expect(200);
    putter.object("PUT", "condition-acl", "key").body("x").send().await.expect(200);
}

#[tokio::test]
async fn buckets_can_be_held_to_a_location() {
    let mut cairn = Cairn::prepare(Config::default());
    cairn.set_environment("CAIRN_REGION", "eu-1");
    cairn.start_again();
    let allow = |region: &str| {
        let condition = json!({ "StringEquals": { "s3:LocationConstraint": region } });
        json!({ "Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*", "Condition": condition })
    };
    let here = user(&cairn, "here", allow("eu-1")).await;
    let elsewhere = user(&cairn, "elsewhere", allow("eu-2")).await;
    let location =
        "<CreateBucketConfiguration><LocationConstraint>eu-1</LocationConstraint></CreateBucketConfiguration>";
    let create = |client: &Client, bucket: &str| client.bucket("PUT", bucket).scope("eu-1", "s3").body(location);
    create(&elsewhere, "located").send().await.expect_error(403, "AccessDenied");
    create(&here, "located").send().await.expect(200);
}

#[tokio::test]
async fn a_policy_that_locks_its_writer_out_has_to_be_confirmed() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let bucket = root.fresh_bucket("lockout").await;
    let may = json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" });
    let writer = user(&cairn, "lockout-writer", may).await;
    let deny = |principal: Value| {
        let resource = format!("arn:aws:s3:::{bucket}");
        let actions = ["s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"];
        document(&[json!({ "Effect": "Deny", "Principal": principal, "Action": actions, "Resource": resource })])
    };
    let own = deny(json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:user/lockout-writer") }));
    put_policy(&writer, &bucket, &own).send().await.expect_error(403, "AccessDenied");
    root.bucket("GET", &bucket).query("policy", "").send().await.expect_error(404, "NoSuchBucketPolicy");
    let confirm = "x-amz-confirm-remove-self-bucket-access";
    put_policy(&writer, &bucket, &own).header(confirm, "false").send().await.expect_error(403, "AccessDenied");
    // Whom it locks out besides does not matter.
    user(&cairn, "lockout-other", json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" })).await;
    let others = deny(json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:user/lockout-other") }));
    put_policy(&writer, &bucket, &others).send().await.expect(204);
    put_policy(&writer, &bucket, &own).header(confirm, "true").send().await.expect(204);
    put_policy(&writer, &bucket, &others).send().await.expect_error(403, "AccessDenied");
    // The root is never locked out, and needs to confirm nothing.
    put_policy(&root, &bucket, &deny(json!("*"))).send().await.expect(204);
    root.bucket("DELETE", &bucket).query("policy", "").send().await.expect(204);
    put_policy(&writer, &bucket, &others).send().await.expect(204);
}

#[tokio::test]
async fn a_second_line_of_a_header_is_seen_by_conditions_or_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = "condition-repeated";
    let with_acls = client.bucket("PUT", bucket).header("x-amz-object-ownership", "ObjectWriter");
    with_acls.send().await.expect(200);
    let put = |headers: &[(&str, &str)]| {
        let call = client.object("PUT", bucket, "key").body("x");
        headers.iter().fold(call, |call, (name, value)| call.header(name, value))
    };
    let (own, others) = (format!("id={:064x}", 1), format!("id={:064x}", 2));
    let (own, others) = (("x-amz-grant-read", own.as_str()), ("x-amz-grant-read", others.as_str()));
    let other_grants = json!({ "StringNotEquals": { "s3:x-amz-grant-read": own.1 } });
    deny(&client, bucket, "s3:PutObject", other_grants).await;
    put(&[own]).send().await.expect(200);
    for headers in [&[others][..], &[own, others]] {
        put(headers).send().await.expect_error(403, "AccessDenied");
    }
    let encrypted = json!({ "StringEquals": { "s3:x-amz-server-side-encryption": "AES256" } });
    deny(&client, bucket, "s3:PutObject", encrypted).await;
    let by_server = ("x-amz-server-side-encryption", "AES256");
    put(&[by_server]).send().await.expect_error(403, "AccessDenied");
    put(&[by_server, by_server]).send().await.expect_error(400, "InvalidRequest");
}
