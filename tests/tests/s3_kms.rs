//! SSE-KMS and DSSE-KMS: objects under keys of the KMS.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, Config, Reply, digest};
use serde_json::{Value, json};

const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

/// Inline, one chunk in a file, several chunks.
const SIZES: [usize; 5] = [0, 1, 32_768, 65_536, 200_000];

fn config() -> Config {
    let keys = ["one", "two", "three"].map(|id| format!("\n[[kms_key]]\nid = {id:?}\n"));
    Config { allow_ssec_over_http: true, signature_v2: Some("all"), more: keys.concat(), ..Config::default() }
}

fn start() -> (Cairn, Client) {
    let cairn = Cairn::start(config());
    let client = cairn.client();
    (cairn, client)
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:us-east-1:100000000001:key/{id}")
}

/// The call with these headers.
fn with(call: Call, headers: &[(&str, &str)]) -> Call {
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

const ONE: &[(&str, &str)] = &[(SSE, "aws:kms"), (KEY_ID, "one")];
const BY_BUCKET_KEY: &[(&str, &str)] = &[(SSE, "aws:kms"), (KEY_ID, "one"), (BUCKET_KEY, "true")];
const TWO: &[(&str, &str)] = &[(SSE, "aws:kms"), (KEY_ID, "two")];
const TWICE: &[(&str, &str)] = &[(SSE, "aws:kms:dsse"), (KEY_ID, "one")];
const BY_SERVER: &[(&str, &str)] = &[(SSE, "AES256")];

fn put(client: &Client, bucket: &str, key: &str, headers: &[(&str, &str)], content: impl Into<bytes::Bytes>) -> Call {
    with(client.object("PUT", bucket, key), headers).body(content)
}

fn check_shown(reply: &Reply, headers: &[(&str, &str)]) {
    let given = |name| headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value);
    assert_eq!(reply.header(SSE), given(SSE), "{reply:?}");
    assert_eq!(reply.header(KEY_ID), given(KEY_ID), "{reply:?}");
    assert_eq!(reply.header(BUCKET_KEY), given(BUCKET_KEY), "{reply:?}");
}

/// How often the KMS was asked.
fn calls(cairn: &Cairn, operation: &str) -> u64 {
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    let name = format!("cairn_kms_calls_total{{operation=\"{operation}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn objects_come_back_whole_and_in_ranges_and_answers_name_method_and_key() {
    let (mut cairn, client) = start();
    let bucket = client.fresh_bucket("kms").await;
    for (number, headers) in [ONE, BY_BUCKET_KEY, TWO, TWICE].into_iter().enumerate() {
        for size in SIZES {
            let (key, content) = (format!("{number}-{size}"), body(size as u64, size));
            let reply = put(&client, &bucket, &key, headers, content.clone()).send().await.expect(200);
            check_shown(&reply, headers);
            assert_ne!(reply.etag(), digest::etag(&content), "the ETag would tell the plaintext");
            let got = client.get(&bucket, &key).await.expect(200);
            check_shown(&got, headers);
            assert!(got.body == content, "{headers:?} {size}");
            check_shown(&client.head(&bucket, &key).await.expect(200), headers);
            for (first, last) in [(0, 0), (65_530, 65_540), (size.saturating_sub(1), size)] {
                let ranged = client.object("GET", &bucket, &key).header("range", &format!("bytes={first}-{last}"));
                let expected = content.get(first..=last.min(size.saturating_sub(1))).unwrap_or_default();
                let got = ranged.send().await;
                assert!(if first < size { got.body == expected } else { got.status == 416 }, "{size}: {first}-{last}");
            }
        }
    }
    cairn.restart();
    for number in 0..4 {
        let content = body(200_000, 200_000);
        assert!(client.get(&bucket, &format!("{number}-200000")).await.expect(200).body == content);
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

#[tokio::test]
async fn a_key_is_named_by_its_id_or_arn_and_without_a_name_it_is_the_accounts_own_for_s3() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-names").await;
    for name in ["one".to_owned(), arn("one")] {
        let headers = [(SSE, "aws:kms"), (KEY_ID, name.as_str())];
        let reply = put(&client, &bucket, "key", &headers, "x").send().await.expect(200);
        assert_eq!(reply.header(KEY_ID), Some("one"), "a declared key is shown as it was declared");
    }
    let reply = put(&client, &bucket, "key", &[(SSE, "aws:kms")], "x").send().await.expect(200);
    let own = reply.header(KEY_ID).unwrap().to_owned();
    assert!(own.starts_with("arn:aws:kms:us-east-1:100000000001:key/"), "{own}");
    let again = put(&client, &bucket, "other", &[(SSE, "aws:kms:dsse")], "x").send().await.expect(200);
    assert_eq!(again.header(KEY_ID), Some(own.as_str()));
    assert_eq!(client.get(&bucket, "key").await.expect(200).body, "x");
}

#[tokio::test]
async fn the_accounts_own_key_for_s3_can_be_named_before_it_is_there() {
    for bucket_key in ["false", "true"] {
        let (_cairn, client) = start();
        let bucket = client.fresh_bucket("kms-for-s3").await;
        let named = [(SSE, "aws:kms"), (KEY_ID, "alias/aws/s3"), (BUCKET_KEY, bucket_key)];
        put(&client, &bucket, "k", &named, "content").send().await.expect(200);
        assert!(client.get(&bucket, "k").await.expect(200).body == "content");
    }
}

#[tokio::test]
async fn an_encryption_context_is_repeated_to_who_gave_it() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-context").await;
    let context = STANDARD.encode(r#"{"project":"cairn"}"#);
    let given = put(&client, &bucket, "key", ONE, "x").header(CONTEXT, &context).send().await.expect(200);
    let shown: Value = serde_json::from_slice(&STANDARD.decode(given.header(CONTEXT).unwrap()).unwrap()).unwrap();
    assert_eq!(shown, json!({"project": "cairn"}));
    let got = client.get(&bucket, "key").await.expect(200);
    assert_eq!((got.header(CONTEXT), got.body.as_ref()), (None, &b"x"[..]));
    let without = put(&client, &bucket, "key", ONE, "x").send().await.expect(200);
    assert_eq!(without.header(CONTEXT), None);
}

#[tokio::test]
async fn an_upload_is_under_its_key_from_its_start() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-parts").await;
    put(&client, &bucket, "source", TWO, body(2, 100_000)).send().await.expect(200);
    for headers in [ONE, BY_BUCKET_KEY, TWICE] {
        let created =
            with(client.object("POST", &bucket, "key").query("uploads", ""), headers).send().await.expect(200);
        check_shown(&created, headers);
        let id = created.xml("UploadId");
        let upload = Upload { client: client.clone(), bucket: bucket.clone(), key: "key".into(), id };
        let first = body(1, PART_BYTES_MIN);
        let part = upload.part(1, first.clone()).send().await.expect(200);
        check_shown(&part, headers);
        assert_ne!(part.etag(), digest::etag(&first));
        let copied =
            upload.part(2, "").header("x-amz-copy-source", &format!("{bucket}/source")).send().await.expect(200);
        check_shown(&copied, headers);
        let refused = with(upload.part(3, "x"), headers).send().await.expect(400);
        assert_eq!(refused.xml("Code"), "InvalidArgument");
        let parts = [(1, part.etag()), (2, copied.xml("ETag"))];
        check_shown(&upload.complete(&parts).send().await.expect(200), headers);
        let whole = [first, body(2, 100_000)].concat();
        let got = client.get(&bucket, "key").await.expect(200);
        check_shown(&got, headers);
        assert!(got.body == whole);
        let across = format!("bytes={}-{}", PART_BYTES_MIN - 3, PART_BYTES_MIN + 2);
        let got = client.object("GET", &bucket, "key").header("range", &across).send().await.expect(206);
        assert!(got.body == whole[PART_BYTES_MIN - 3..=PART_BYTES_MIN + 2]);
    }
}

/// The headers of a customer's key, as such and for the source of a copy.
fn customer_key(of_source: bool) -> [(String, String); 3] {
    let key = [7; 32];
    [("algorithm", "AES256".to_owned()), ("key", STANDARD.encode(key)), ("key-md5", STANDARD.encode(digest::md5(&key)))]
        .map(|(name, value)| {
            let copy = if of_source { "copy-source-" } else { "" };
            (format!("x-amz-{copy}server-side-encryption-customer-{name}"), value)
        })
}

#[tokio::test]
async fn copies_go_from_every_method_to_every_other() {
    let (_cairn, client) = start();
    let (bucket, other) = (client.fresh_bucket("kms-copy").await, client.fresh_bucket("kms-copy-to").await);
    let own = customer_key(false);
    let customer: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ways: [&[(&str, &str)]; 6] = [BY_SERVER, &customer, ONE, BY_BUCKET_KEY, TWO, TWICE];
    for size in [1, 40_000] {
        for from in ways {
            let content = body(size as u64, size);
            put(&client, &bucket, "source", from, content.clone()).send().await.expect(200);
            for (to, target) in ways.into_iter().flat_map(|to| [(to, &bucket), (to, &other)]) {
                let mut call = with(client.object("PUT", target, "copy"), to);
                call = call.header("x-amz-copy-source", &format!("{bucket}/source"));
                if from == customer {
                    call = customer_key(true).iter().fold(call, |call, (name, value)| call.header(name, value));
                }
                let copied = call.send().await.expect(200);
                let opening: &[_] = if to == customer { to } else { &[] };
                let got = with(client.object("GET", target, "copy"), opening).send().await.expect(200);
                assert!(got.body == content, "{from:?} to {to:?}, {size} bytes");
                if to != customer {
                    check_shown(&copied, to);
                    check_shown(&got, to);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_copy_within_a_bucket_and_one_key_moves_no_bytes() {
    let (cairn, client) = start();
    let bucket = client.fresh_bucket("kms-share").await;
    put(&client, &bucket, "source", ONE, body(1, 300_000)).send().await.expect(200);
    let files = cairn.blob_files();
    for (to, shares) in [(ONE, true), (BY_BUCKET_KEY, true), (TWO, false), (TWICE, false), (BY_SERVER, false)] {
        let call = with(client.object("PUT", &bucket, "copy"), to);
        call.header("x-amz-copy-source", &format!("{bucket}/source")).send().await.expect(200);
        let unshared = cairn.blob_files().iter().filter(|file| !files.contains(file)).count();
        assert_eq!(unshared == 0, shares, "{to:?}");
        assert!(client.get(&bucket, "copy").await.expect(200).body == body(1, 300_000), "{to:?}");
        client.delete(&bucket, "copy").await.expect(204);
        for _ in 0..200 {
            if cairn.blob_files() == files {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_and_nothing_is_stored() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-bad").await;
    client.put(&bucket, "old", "content").await;
    let context = STANDARD.encode(r#"{"aws:s3:arn":"arn:aws:s3:::elsewhere/key"}"#);
    let own = customer_key(false);
    let customer: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let with_customer = [ONE, &customer].concat();
    for (headers, code) in [
        (&[(KEY_ID, "one")][..], "InvalidArgument"),
        (&[(SSE, "AES256"), (KEY_ID, "one")], "InvalidArgument"),
        (&[(SSE, "AES256"), (BUCKET_KEY, "true")], "InvalidArgument"),
        (&[(SSE, "aes:kms")], "InvalidArgument"),
        (&[(SSE, "aws:kms"), (CONTEXT, "bm8ganNvbg==")], "InvalidArgument"),
        (&[(SSE, "aws:kms"), (CONTEXT, &context)], "InvalidArgument"),
        (&[(SSE, "aws:kms"), (BUCKET_KEY, "perhaps")], "InvalidArgument"),
        (&[(SSE, "aws:kms:dsse"), (BUCKET_KEY, "true")], "InvalidArgument"),
        (&with_customer, "InvalidArgument"),
        (&[(SSE, "aws:kms"), (KEY_ID, "absent")], "KMS.NotFoundException"),
        (&[(SSE, "aws:kms"), (KEY_ID, "alias/absent")], "KMS.NotFoundException"),
        (&[(SSE, "aws:kms"), (KEY_ID, "no key")], "KMS.NotFoundException"),
        (&[(SSE, "aws:kms"), (KEY_ID, "absent"), (BUCKET_KEY, "true")], "KMS.NotFoundException"),
    ] {
        for call in [
            client.object("PUT", &bucket, "new").body("x"),
            client.object("PUT", &bucket, "new").header("x-amz-copy-source", &format!("{bucket}/old")),
            client.object("POST", &bucket, "new").query("uploads", ""),
        ] {
            let reply = with(call, headers).send().await.expect(400);
            assert_eq!(reply.xml("Code"), code, "{headers:?}");
        }
    }
    assert_eq!(client.keys(&bucket).await, ["old"]);
    assert!(client.upload_ids(&bucket).await.is_empty());
}

#[tokio::test]
async fn reading_takes_none_of_the_headers() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-read").await;
    put(&client, &bucket, "key", ONE, "x").send().await.expect(200);
    for headers in [ONE, &[(KEY_ID, "one")], &[(BUCKET_KEY, "true")], &[(CONTEXT, "e30=")]] {
        for method in ["GET", "HEAD"] {
            let reply = with(client.object(method, &bucket, "key"), headers).send().await.expect(400);
            assert!(method == "HEAD" || reply.xml("Code") == "InvalidArgument");
        }
    }
}

/// In the year 2100.
const FAR: u64 = 4_102_444_800;

#[tokio::test]
async fn only_signatures_of_version_4_reach_the_kms() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-signature").await;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": ["s3:GetObject", "s3:PutObject"], "Resource": format!("arn:aws:s3:::{bucket}/*")}]});
    client.bucket("PUT", &bucket).query("policy", "").body(policy.to_string()).send().await.expect(204);
    put(&client, &bucket, "key", ONE, "x").send().await.expect(200);
    for (call, name) in [
        (client.object("GET", &bucket, "key").anonymous(), "anonymous"),
        (client.object("GET", &bucket, "key").presigned_v2(FAR), "version 2"),
        (put(&client, &bucket, "new", ONE, "x").anonymous(), "anonymous"),
        (put(&client, &bucket, "new", ONE, "x").presigned_v2(FAR), "version 2"),
    ] {
        let reply = call.send().await.expect(400);
        assert_eq!(reply.xml("Code"), "InvalidArgument", "{name}");
        assert!(reply.xml("Message").ends_with("require AWS Signature Version 4."), "{name}");
    }
    let presigned = client.object("GET", &bucket, "key").presigned(60).send().await.expect(200);
    assert_eq!(presigned.body, "x");
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

/// A user of the first account with these actions, on everything.
async fn user(client: &Client, name: &str, actions: &[&str]) -> Client {
    client.action("iam", "CreateUser", &[("UserName", name)]).send().await.expect(200);
    let key = client.action("iam", "CreateAccessKey", &[("UserName", name)]).send().await.expect(200);
    let policy = json!({"Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let parameters = [("UserName", name), ("PolicyName", "p"), ("PolicyDocument", &policy.to_string())];
    client.action("iam", "PutUserPolicy", &parameters).send().await.expect(200);
    let mut user = client.clone();
    user.credentials.access_key = key.xml("AccessKeyId");
    user.credentials.secret_key = key.xml("SecretAccessKey");
    user
}

#[tokio::test]
async fn writing_takes_the_right_to_have_a_key_issued_and_reading_the_right_to_decrypt() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-rights").await;
    let of_s3 = user(&client, "of-s3", &["s3:*"]).await;
    let reader = user(&client, "reader", &["s3:*", "kms:Decrypt"]).await;
    let writer = user(&client, "writer", &["s3:*", "kms:GenerateDataKey"]).await;
    let both = user(&client, "both", &["s3:*", "kms:Decrypt", "kms:GenerateDataKey"]).await;
    for (number, headers) in [ONE, BY_BUCKET_KEY, TWICE].into_iter().enumerate() {
        let key = format!("key-{number}");
        // Who may is first, so that a bucket key is held when others ask.
        for (who, writes, reads) in
            [(&both, true, true), (&of_s3, false, false), (&reader, false, true), (&writer, true, false)]
        {
            let put = put(who, &bucket, &key, headers, "content").send().await;
            let got = who.get(&bucket, &key).await;
            for (reply, may, action) in [(put, writes, "kms:GenerateDataKey"), (got, reads, "kms:Decrypt")] {
                if may {
                    reply.expect(200);
                } else {
                    let reply = reply.expect(403);
                    assert_eq!(reply.xml("Code"), "AccessDenied");
                    assert!(reply.xml("Message").contains(action), "{reply:?}");
                }
            }
            // What says nothing of the bytes needs no key, and what does needs it.
            who.head(&bucket, &key).await.expect(200);
            let checksum = who.object("HEAD", &bucket, &key).header("x-amz-checksum-mode", "ENABLED").send().await;
            checksum.expect(if reads { 200 } else { 403 });
            assert_eq!(who.keys(&bucket).await.len(), number + 1);
        }
    }
    let upload = Upload::create_with(&both, &bucket, "upload", |call| with(call, ONE)).await;
    let of = |client: &Client| Upload { client: client.clone(), ..upload.clone() };
    for (who, may) in [(&of_s3, false), (&reader, false), (&writer, false), (&both, true)] {
        of(who).part(1, "part").send().await.expect(if may { 200 } else { 403 });
    }
    let part = upload.upload(1, "part").await;
    of(&writer).complete(&[(1, part.clone())]).send().await.expect(403);
    of(&reader).complete(&[(1, part)]).send().await.expect(200);
}

#[tokio::test]
async fn a_key_that_cannot_be_used_makes_its_objects_unreadable_and_says_so() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-state").await;
    put(&client, &bucket, "plain", ONE, "x").send().await.expect(200);
    put(&client, &bucket, "held", BY_BUCKET_KEY, "x").send().await.expect(200);
    let check = async |code: &str| {
        for key in ["plain", "held"] {
            assert_eq!(client.get(&bucket, key).await.expect(400).xml("Code"), code);
            client.head(&bucket, key).await.expect(200);
        }
        for headers in [ONE, BY_BUCKET_KEY] {
            let reply = put(&client, &bucket, "new", headers, "x").send().await.expect(400);
            assert_eq!(reply.xml("Code"), code);
        }
        let copy = client.object("PUT", &bucket, "new").header("x-amz-copy-source", &format!("{bucket}/plain"));
        assert_eq!(with(copy, TWO).send().await.expect(400).xml("Code"), code);
    };
    client.kms("DisableKey", &json!({"KeyId": "one"})).send().await.expect(200);
    check("KMS.DisabledException").await;
    client.kms("EnableKey", &json!({"KeyId": "one"})).send().await.expect(200);
    assert_eq!(client.get(&bucket, "held").await.expect(200).body, "x");
    client.kms("ScheduleKeyDeletion", &json!({"KeyId": "one", "PendingWindowInDays": 7})).send().await.expect(200);
    check("KMS.KMSInvalidStateException").await;
    assert_eq!(client.keys(&bucket).await, ["held", "plain"]);
}

#[tokio::test]
async fn bucket_keys_cut_the_calls_to_the_kms() {
    let (mut cairn, client) = start();
    let (bucket, other) = (client.fresh_bucket("kms-bucket-key").await, client.fresh_bucket("kms-bucket-key").await);
    let count = |cairn: &Cairn| (calls(cairn, "GenerateDataKey"), calls(cairn, "Decrypt"));
    let all = async |headers: &[(&str, &str)]| {
        for number in 0..5 {
            let key = format!("{number}");
            put(&client, &bucket, &key, headers, key.clone()).send().await.expect(200);
            assert_eq!(client.get(&bucket, &key).await.expect(200).body, key);
        }
    };
    all(ONE).await;
    assert_eq!(count(&cairn), (5, 5));
    all(BY_BUCKET_KEY).await;
    assert_eq!(count(&cairn), (6, 5), "one is made, and is at hand to open what is under it");
    // Another bucket, key or context has a bucket key of its own.
    put(&client, &other, "key", BY_BUCKET_KEY, "x").send().await.expect(200);
    put(&client, &bucket, "key", &[(SSE, "aws:kms"), (KEY_ID, "two"), (BUCKET_KEY, "true")], "x")
        .send()
        .await
        .expect(200);
    let context = STANDARD.encode(r#"{"a":"b"}"#);
    put(&client, &bucket, "key", BY_BUCKET_KEY, "x").header(CONTEXT, &context).send().await.expect(200);
    assert_eq!(count(&cairn), (9, 5));
    // One that is not at hand is opened once.
    cairn.restart();
    for number in 0..5 {
        client.get(&bucket, &format!("{number}")).await.expect(200);
    }
    assert_eq!(count(&cairn), (0, 1));
}

fn document(rule: &str) -> String {
    format!("<ServerSideEncryptionConfiguration><Rule>{rule}</Rule></ServerSideEncryptionConfiguration>")
}

fn by_default(method: &str, key: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!("<KMSMasterKeyID>{key}</KMSMasterKeyID>") };
    format!(
        "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{method}</SSEAlgorithm>{key}\
         </ApplyServerSideEncryptionByDefault>"
    )
}

#[tokio::test]
async fn a_bucket_says_how_its_new_objects_are_encrypted() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-default").await;
    let set =
        async |rule: &str| client.bucket("PUT", &bucket).query("encryption", "").body(document(rule)).send().await;
    client.put(&bucket, "before", "x").await;
    for (rule, expected) in [
        (by_default("aws:kms", "one"), ONE),
        (by_default("aws:kms", "one") + "<BucketKeyEnabled>true</BucketKeyEnabled>", BY_BUCKET_KEY),
        (by_default("aws:kms:dsse", "one"), TWICE),
    ] {
        set(&rule).await.expect(200);
        let got = client.bucket("GET", &bucket).query("encryption", "").send().await.expect(200);
        assert_eq!(got.xml("KMSMasterKeyID"), "one");
        assert_eq!(got.xml("SSEAlgorithm"), expected[0].1);
        check_shown(&client.put(&bucket, "key", "x").await, expected);
        let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/before"));
        check_shown(&copy.send().await.expect(200), expected);
        let created = client.object("POST", &bucket, "upload").query("uploads", "").send().await.expect(200);
        check_shown(&created, expected);
        check_shown(&client.get(&bucket, "key").await.expect(200), expected);
        // What a request says itself goes before.
        check_shown(&put(&client, &bucket, "key", BY_SERVER, "x").send().await.expect(200), BY_SERVER);
    }
    assert_eq!(client.head(&bucket, "before").await.header(SSE), Some("AES256"), "old objects stay as they are");
    // The key is not looked for before it is used, as on AWS.
    set(&by_default("aws:kms", "absent")).await.expect(200);
    let refused = client.object("PUT", &bucket, "new").body("x").send().await.expect(400);
    assert_eq!(refused.xml("Code"), "KMS.NotFoundException");
    let no_bucket_keys = by_default("aws:kms:dsse", "one") + "<BucketKeyEnabled>true</BucketKeyEnabled>";
    for (rule, code) in [(by_default("AES256", "one"), "InvalidArgument"), (no_bucket_keys, "InvalidArgument")] {
        assert_eq!(set(&rule).await.expect(400).xml("Code"), code);
    }
}

#[tokio::test]
async fn a_bucket_policy_can_force_a_key() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-policy").await;
    let deny = |condition: Value| {
        json!({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
               "Resource": format!("arn:aws:s3:::{bucket}/*"), "Condition": condition})
    };
    let policy = json!({"Version": "2012-10-17", "Statement": [
        deny(json!({"StringNotEquals": {(format!("s3:{SSE}")): "aws:kms"}})),
        deny(json!({"StringNotLikeIfExists": {(format!("s3:{KEY_ID}")): arn("one")}})),
    ]});
    let user = user(&client, "writer", &["s3:*", "kms:*"]).await;
    client.bucket("PUT", &bucket).query("policy", "").body(policy.to_string()).send().await.expect(204);
    let arns = ["one", "two"].map(arn);
    for (headers, status) in [
        (&[][..], 403),
        (BY_SERVER, 403),
        (TWICE, 403),
        (&[(SSE, "aws:kms"), (KEY_ID, &arns[1])], 403),
        (&[(SSE, "aws:kms"), (KEY_ID, &arns[0])], 200),
    ] {
        put(&user, &bucket, "key", headers, "x").send().await.expect(status);
    }
}

#[tokio::test]
async fn no_plaintext_and_no_context_value_of_a_key_reaches_disk_or_log() {
    let (mut cairn, client) = start();
    let bucket = client.fresh_bucket("kms-canary").await;
    let canary = b"a canary that sings in plain text only";
    for headers in [ONE, BY_BUCKET_KEY, TWICE] {
        for repeat in [1, 5_000] {
            put(&client, &bucket, "key", headers, canary.repeat(repeat)).send().await.expect(200);
            assert_eq!(client.get(&bucket, "key").await.expect(200).body.len(), canary.len() * repeat);
        }
    }
    cairn.stop();
    for file in files_below(&cairn.data_dir()) {
        let found = std::fs::read(&file).unwrap().windows(canary.len()).any(|window| window == canary);
        assert!(!found, "{}", file.display());
    }
    assert!(!cairn.log().contains("sings in plain"));
}

fn to_key(key_arn: &str, bucket_key: bool) -> String {
    format!(
        "<ObjectEncryption xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><SSE-KMS>\
         <BucketKeyEnabled>{bucket_key}</BucketKeyEnabled><KMSKeyArn>{key_arn}</KMSKeyArn></SSE-KMS></ObjectEncryption>"
    )
}

#[tokio::test]
async fn the_key_of_an_object_is_exchanged_in_place() {
    let (cairn, client) = start();
    let bucket = client.fresh_bucket("kms-update").await;
    for size in [0, 100, 100_000] {
        let content = body(size as u64, size);
        let before = client.put(&bucket, "key", content.clone()).await;
        let files = cairn.blob_files();
        let update = async |document: String| {
            client.object("PUT", &bucket, "key").query("encryption", "").body(document).send().await
        };
        for (id, bucket_key) in [("one", false), ("one", true), ("two", false)] {
            update(to_key(&arn(id), bucket_key)).await.expect(200);
            let got = client.get(&bucket, "key").await.expect(200);
            assert_eq!((got.header(SSE), got.header(KEY_ID)), (Some("aws:kms"), Some(id)));
            assert_eq!(got.header(BUCKET_KEY), bucket_key.then_some("true"));
            assert_eq!((got.etag(), got.body == content), (before.etag(), true));
        }
        assert_eq!(cairn.blob_files(), files);
        let elsewhere = arn("one").replace("100000000001", "100000000002");
        for (document, status, code) in [
            (to_key("one", false), 400, "InvalidRequest"),
            (to_key("arn:aws:kms:us-east-1:100000000001:alias/a", false), 400, "InvalidRequest"),
            (to_key(&arn("absent"), false), 400, "KMS.NotFoundException"),
            (to_key(&elsewhere, false), 403, "AccessDenied"),
            ("<ObjectEncryption><SSE-S3/></ObjectEncryption>".to_owned(), 400, "MalformedXML"),
        ] {
            assert_eq!(update(document).await.expect(status).xml("Code"), code);
        }
        put(&client, &bucket, "key", TWICE, content.clone()).send().await.expect(200);
        assert_eq!(update(to_key(&arn("one"), false)).await.expect(400).xml("Code"), "InvalidRequest");
    }
    let absent = client.object("PUT", &bucket, "absent").query("encryption", "").body(to_key(&arn("one"), false));
    assert_eq!(absent.send().await.expect(404).xml("Code"), "NoSuchKey");
}

#[tokio::test]
async fn who_reads_from_another_account_needs_the_keys_policy_too() {
    let (cairn, client) = start();
    let other = cairn.other_client();
    let bucket = client.fresh_bucket("kms-accounts").await;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": {"AWS": "100000000002"}, "Action": "s3:*", "Resource": format!("arn:aws:s3:::{bucket}/*")}]});
    client.bucket("PUT", &bucket).query("policy", "").body(policy.to_string()).send().await.expect(204);
    put(&client, &bucket, "server", BY_SERVER, "x").send().await.expect(200);
    assert_eq!(other.get(&bucket, "server").await.expect(200).body, "x");
    for headers in [ONE, BY_BUCKET_KEY, TWICE] {
        put(&client, &bucket, "key", headers, "x").send().await.expect(200);
        assert_eq!(other.get(&bucket, "key").await.expect(403).xml("Code"), "AccessDenied");
    }
    // A name without an account is one in the writer's own: there the other account has no such key.
    let refused = put(&other, &bucket, "new", ONE, "x").send().await.expect(400);
    assert_eq!(refused.xml("Code"), "KMS.NotFoundException");
    let by_arn = [(SSE, "aws:kms"), (KEY_ID, &arn("one"))];
    assert_eq!(put(&other, &bucket, "new", &by_arn, "x").send().await.expect(403).xml("Code"), "AccessDenied");
    // By its own key it writes what the bucket's owner then cannot read.
    put(&other, &bucket, "theirs", &[(SSE, "aws:kms")], "x").send().await.expect(200);
    assert_eq!(other.get(&bucket, "theirs").await.expect(200).body, "x");
    assert_eq!(client.get(&bucket, "theirs").await.expect(403).xml("Code"), "AccessDenied");
}

#[tokio::test]
async fn older_versions_keep_their_keys() {
    let (_cairn, client) = start();
    let bucket = client.fresh_bucket("kms-versions").await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(enable).send().await.expect(200);
    let ways = [ONE, BY_BUCKET_KEY, TWO, TWICE, BY_SERVER];
    let mut versions = Vec::new();
    for (number, headers) in ways.into_iter().enumerate() {
        let content = body(number as u64, 40_000);
        let reply = put(&client, &bucket, "key", headers, content).send().await.expect(200);
        versions.push(reply.header("x-amz-version-id").unwrap().to_owned());
    }
    for (number, (headers, version)) in ways.into_iter().zip(&versions).enumerate() {
        let got = client.object("GET", &bucket, "key").query("versionId", version).send().await.expect(200);
        check_shown(&got, headers);
        assert!(got.body == body(number as u64, 40_000), "{headers:?}");
    }
    let exchanged = client.object("PUT", &bucket, "key").query("encryption", "").query("versionId", &versions[0]);
    exchanged.body(to_key(&arn("two"), false)).send().await.expect(200);
    let got = client.object("GET", &bucket, "key").query("versionId", &versions[0]).send().await.expect(200);
    assert_eq!((got.header(KEY_ID), got.body == body(0, 40_000)), (Some("two"), true));
    check_shown(&client.get(&bucket, "key").await.expect(200), BY_SERVER);
}

#[tokio::test]
async fn a_locked_version_keeps_its_key() {
    let (_cairn, client) = start();
    client.bucket("PUT", "kms-lock").header("x-amz-bucket-object-lock-enabled", "true").send().await.expect(200);
    let held = client.object("PUT", "kms-lock", "key").header("x-amz-object-lock-legal-hold", "ON").body("x");
    let digest = digest::checksum("SHA256", b"x");
    held.header("x-amz-checksum-sha256", &digest).send().await.expect(200);
    let exchange = client.object("PUT", "kms-lock", "key").query("encryption", "").body(to_key(&arn("one"), false));
    assert_eq!(exchange.send().await.expect(403).xml("Code"), "AccessDenied");
    assert_eq!(client.head("kms-lock", "key").await.header(SSE), Some("AES256"));
}
