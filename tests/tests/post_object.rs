//! Forms that browsers post to a bucket: what is stored, what is answered, and what is refused.

#![allow(clippy::unwrap_used)]

use cairn_tests::client::{Client, REGION};
use cairn_tests::post_form::{PostForm, after_file, before_file, encode, raw_call};
use cairn_tests::random::body;
use cairn_tests::wire::Connection;
use cairn_tests::{Cairn, Config, Reply, digest};
use serde_json::json;
use time::OffsetDateTime;

const MIB: usize = 1 << 20;

fn message(reply: &Reply) -> String {
    reply.xml("Message")
}

/// A bucket that everybody may write into.
async fn open_bucket(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    let statement = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
    });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    client.bucket("PUT", &bucket).query("policy", "").body(policy).send().await.expect(204);
    bucket
}

#[tokio::test]
async fn a_form_of_either_version_stores_its_file() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("forms").await;
    let content = body(1, 3 * MIB + 17);
    for (key, form) in [
        ("v4", PostForm::new(&client, &bucket, "v4", content.clone())),
        ("v2", PostForm::new(&client, &bucket, "v2", content.clone()).version_2()),
        ("host", PostForm::new(&client, &bucket, "host", content.clone()).in_host()),
        ("empty", PostForm::new(&client, &bucket, "empty", "")),
    ] {
        let reply = form.send().await.expect(204);
        let got = client.get(&bucket, key).await.expect(200);
        assert!(got.body == if key == "empty" { "".into() } else { content.clone() }, "{key}");
        assert_eq!(got.etag(), reply.etag());
        assert_eq!(got.header("content-type"), Some("binary/octet-stream"));
        assert!(reply.header("x-amz-checksum-crc64nvme").is_some());
    }
    let location = PostForm::new(&client, &bucket, "v4", "x").in_host().send().await;
    let host = format!("http://{bucket}.s3.localhost:{}/v4", client.address.port());
    assert_eq!(location.header("location"), Some(host.as_str()));
}

#[tokio::test]
async fn fields_become_the_objects_headers_tags_and_class() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("fields").await;
    let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c+d</Value></Tag></TagSet></Tagging>";
    let form = PostForm::new(&client, &bucket, "dir/${filename}", "content")
        .file_name("C:\\\\x\\\\photo.png")
        .field("Content-Type", "image/png")
        .field("Cache-Control", "max-age=7")
        .field("Content-Disposition", "inline")
        .field("Content-Encoding", "identity")
        .field("Expires", "Sun, 06 Nov 1994 08:49:37 GMT")
        .field("x-amz-meta-Name", "${filename}!")
        .field("x-amz-storage-class", "STANDARD_IA")
        .field("x-amz-website-redirect-location", "/elsewhere")
        .field("x-amz-server-side-encryption", "AES256")
        .field("tagging", tagging)
        .bare_field("x-ignore-anything", "x");
    let reply = form.send().await.expect_error(403, "AccessDenied");
    assert!(message(&reply).contains("$x-amz-meta-Name"), "conditions are about what ${{filename}} becomes");
    let form = PostForm::new(&client, &bucket, "dir/${filename}", "content")
        .file_name("C:\\\\x\\\\photo.png")
        .field("Content-Type", "image/png")
        .field("Cache-Control", "max-age=7")
        .field("x-amz-meta-Name", "it")
        .field("x-amz-storage-class", "STANDARD_IA")
        .field("x-amz-website-redirect-location", "/elsewhere")
        .field("x-amz-server-side-encryption", "AES256")
        .field("tagging", tagging)
        .bare_field("x-ignore-anything", "x");
    form.send().await.expect(204);
    let head = client.head(&bucket, "dir/photo.png").await.expect(200);
    for (name, value) in [
        ("content-type", "image/png"),
        ("cache-control", "max-age=7"),
        ("x-amz-meta-name", "it"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/elsewhere"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-tagging-count", "1"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    let tags = client.object("GET", &bucket, "dir/photo.png").query("tagging", "").send().await.expect(200);
    assert_eq!((tags.xml("Key").as_str(), tags.xml("Value").as_str()), ("a b", "c+d"));
}

#[tokio::test]
async fn a_customers_key_seals_what_a_form_brings() {
    let cairn = Cairn::start(Config { allow_ssec_over_http: true, ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("ssec").await;
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let md5 = cairn_tests::sigv4::content_md5(&[7; 32]);
    let names = ["algorithm", "key", "key-md5"].map(|end| format!("x-amz-server-side-encryption-customer-{end}"));
    let values = ["AES256", &key, &md5];
    let mut form = PostForm::new(&client, &bucket, "sealed", "content");
    let mut get = client.object("GET", &bucket, "sealed");
    for (name, value) in names.iter().zip(values) {
        form = form.field(name, value);
        get = get.header(name, value);
    }
    let reply = form.send().await.expect(204);
    assert_eq!(reply.header(&names[2]), Some(md5.as_str()));
    client.get(&bucket, "sealed").await.expect_error(400, "InvalidRequest");
    assert_eq!(get.send().await.expect(200).text(), "content");
}

fn check_kms(reply: &Reply, key: &str) {
    let name = "x-amz-server-side-encryption";
    assert_eq!(reply.header(name), Some("aws:kms"), "{reply:?}");
    assert_eq!(reply.header(&format!("{name}-aws-kms-key-id")), Some(key), "{reply:?}");
    assert_eq!(reply.header(&format!("{name}-bucket-key-enabled")), (key == "two").then_some("true"), "{reply:?}");
}

fn with_kms_keys() -> Cairn {
    let more = ["one", "two"].map(|id| format!("\n[[kms_key]]\nid = {id:?}\n")).concat();
    Cairn::start(Config { signature_v2: Some("all"), more, ..Config::default() })
}

#[tokio::test]
async fn a_form_names_the_kms_key_that_seals_its_file() {
    let cairn = with_kms_keys();
    let client = cairn.client();
    let bucket = client.fresh_bucket("kms-form").await;
    let content = body(3, 2 * MIB + 5);
    let form = |id: &str| {
        let form = PostForm::new(&client, &bucket, "sealed", content.clone());
        let form = form.field("x-amz-server-side-encryption", "aws:kms");
        form.field("x-amz-server-side-encryption-aws-kms-key-id", id)
    };
    let reply = form("one").field("success_action_status", "201").send().await.expect(201);
    check_kms(&reply, "one");
    assert_ne!(reply.etag(), digest::etag(&content), "the ETag would tell the plaintext");
    let got = client.get(&bucket, "sealed").await.expect(200);
    check_kms(&got, "one");
    assert!(got.body == content && got.etag() == reply.etag());
    check_kms(&client.head(&bucket, "sealed").await.expect(200), "one");

    let by_bucket_key = form("two").field("x-amz-server-side-encryption-bucket-key-enabled", "true");
    check_kms(&by_bucket_key.send().await.expect(204), "two");
    check_kms(&client.get(&bucket, "sealed").await.expect(200), "two");

    // What the KMS refuses, or would not know the sender of, replaces nothing.
    form("absent").send().await.expect_error(400, "KMS.NotFoundException");
    let refused = form("one").version_2().send().await.expect_error(400, "InvalidArgument");
    assert!(message(&refused).ends_with("require AWS Signature Version 4."), "{refused:?}");
    check_kms(&client.get(&bucket, "sealed").await.expect(200), "two");
}

#[tokio::test]
async fn a_buckets_kms_key_seals_the_files_of_forms() {
    let cairn = with_kms_keys();
    let client = cairn.client();
    let bucket = open_bucket(&client, "kms-default-form").await;
    let default = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
                   <SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>one</KMSMasterKeyID>\
                   </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
    client.bucket("PUT", &bucket).query("encryption", "").body(default).send().await.expect(200);
    let form = |key: &str| PostForm::new(&client, &bucket, key, "content");
    check_kms(&form("sealed").send().await.expect(204), "one");
    let got = client.get(&bucket, "sealed").await.expect(200);
    check_kms(&got, "one");
    assert_eq!(got.text(), "content");
    // Who may write, and signs nothing, is still nobody that the KMS knows.
    form("nobodys").anonymous().send().await.expect_error(400, "InvalidArgument");
    assert_eq!(client.keys(&bucket).await, ["sealed"]);
}

#[tokio::test]
async fn a_form_chooses_its_answer() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("answers").await;
    let form = || PostForm::new(&client, &bucket, "a b/<é>", "content");
    let location = format!("http://{}/{bucket}/a%20b%2F%3C%C3%A9%3E", client.address);

    let reply = form().send().await.expect(204);
    assert_eq!((reply.header("location"), reply.body.len()), (Some(location.as_str()), 0));
    for (status, answered) in [("200", 200), ("204", 204), ("404", 204), ("", 204)] {
        let reply = form().field("success_action_status", status).send().await.expect(answered);
        assert!(reply.body.is_empty(), "{status}");
    }
    let reply = form().field("success_action_status", "201").send().await.expect(201);
    assert_eq!(reply.header("content-type"), Some("application/xml"));
    assert!(reply.text().contains("<PostResponse><Location>"), "{}", reply.text());
    assert_eq!((reply.xml("Bucket"), reply.xml("Key")), (bucket.clone(), "a b/<é>".to_owned()));
    assert_eq!((reply.xml("Location"), reply.xml("ETag")), (location, reply.etag()));

    for field in ["success_action_redirect", "redirect"] {
        let reply = form().field(field, "https://example.com/done?a=1").send().await.expect(303);
        let etag = reply.etag().replace('"', "%22");
        let target = format!("https://example.com/done?a=1&bucket={bucket}&key=a+b%2F%3C%C3%A9%3E&etag={etag}");
        assert_eq!((reply.header("location"), reply.body.len()), (Some(target.as_str()), 0));
    }
    let reply = form().field("success_action_redirect", "/not/an/address").send().await.expect(204);
    assert!(reply.header("location").unwrap().starts_with("http://127.0.0.1"));
}

#[tokio::test]
async fn a_form_that_is_not_according_to_its_policy_stores_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let (bucket, other) = (client.fresh_bucket("policy-form").await, client.fresh_bucket("policy-other").await);
    let form = || PostForm::new(&client, &bucket, "key", "content");
    let past = OffsetDateTime::now_utc() - time::Duration::seconds(5);
    let policy_of = |form: PostForm| form.signed_fields().into_iter().find(|(name, _)| name == "policy").unwrap().1;
    let mut of_other = PostForm::new(&client, &other, "key", "content").signed_fields();
    of_other.push(("bucket".to_owned(), other.clone()));
    let elsewhere = raw_call(&client, &bucket, false, encode(&of_other, Some(("f", b"content")))).send().await;
    assert_eq!(elsewhere.status, 403);
    let failed = |condition: &str| format!("Policy Condition failed: {condition}");
    for (form, told) in [
        (form().expires(past), "Policy expired.".to_owned()),
        (form().condition(json!({ "acl": "private" })), failed(r#"["eq", "$acl", "private"]"#)),
        (form().condition(json!(["starts-with", "$key", "user/"])), failed(r#"["starts-with", "$key", "user/"]"#)),
        (form().bare_field("acl", "public-read"), "Extra input fields: acl".to_owned()),
        (form().bare_field("Filename", "x"), "Extra input fields: filename".to_owned()),
        (form().condition(json!(["content-length-range", "x", "9"])), failed(r#"["content-length-range", "x", "9"]"#)),
    ] {
        for form in [form.clone(), form.version_2()] {
            let reply = form.send().await.expect_error(403, "AccessDenied");
            assert_eq!(message(&reply), format!("Invalid according to Policy: {told}"));
        }
    }
    for (condition, code) in [
        (json!(["content-length-range", 0, 6]), "EntityTooLarge"),
        (json!(["content-length-range", 8, 100]), "EntityTooSmall"),
        (json!(["content-length-range", 0]), "InvalidPolicyDocument"),
        (json!({ "acl": "private", "key": "key" }), "InvalidPolicyDocument"),
    ] {
        form().condition(condition).send().await.expect_error(400, code);
    }
    let signed = form().signed_fields();
    let with = |name: &str, value: &str| {
        let mut fields = signed.clone();
        fields.iter_mut().find(|(known, _)| known == name).unwrap().1 = value.to_owned();
        raw_call(&client, &bucket, false, encode(&fields, Some(("f", b"content"))))
    };
    let wider = policy_of(form().condition(json!(["starts-with", "$acl", ""])));
    let reply = with("policy", &wider).send().await.expect_error(403, "SignatureDoesNotMatch");
    assert_eq!(reply.xml("StringToSign"), wider);
    with("x-amz-signature", &"0".repeat(64)).send().await.expect_error(403, "SignatureDoesNotMatch");
    with("x-amz-date", "20200101T000000Z").send().await.expect_error(400, "InvalidArgument");
    let nobodys = format!("AKIANOBODY/{}", &signed.iter().find(|(name, _)| name == "x-amz-credential").unwrap().1);
    with("x-amz-credential", &nobodys).send().await.expect_error(400, "InvalidArgument");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn malformed_forms_are_refused_and_store_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = open_bucket(&client, "malformed-forms").await;
    let form = || PostForm::new(&client, &bucket, "key", "content").anonymous();
    form().without_file().send().await.expect_error(400, "InvalidArgument");
    let no_key = encode(&[], Some(("f", b"content")));
    let reply = raw_call(&client, &bucket, false, no_key).send().await.expect_error(400, "InvalidArgument");
    assert_eq!(reply.xml("ArgumentName"), "key");
    PostForm::new(&client, &bucket, "", "x").anonymous().send().await.expect_error(400, "InvalidArgument");
    let long = "k".repeat(1_025);
    PostForm::new(&client, &bucket, &long, "x").anonymous().send().await.expect_error(400, "KeyTooLongError");
    form().bare_field("key", "second").send().await.expect_error(400, "InvalidArgument");
    form().bare_field("Content-Type", "a\r\nx-evil: 1").send().await.expect_error(400, "InvalidArgument");
    form().bare_field("x-amz-meta-\r\nx", "1").send().await.expect_error(400, "MalformedPOSTRequest");
    form().bare_field("x-amz-meta- x", "1").send().await.expect_error(400, "InvalidArgument");
    form().bare_field("tagging", "not-xml").send().await.expect_error(400, "MalformedXML");
    form().bare_field("x-amz-storage-class", "CHEAP").send().await.expect_error(400, "InvalidStorageClass");
    form().bare_field("x-amz-checksum-sha256", "sailorjerry").send().await.expect_error(400, "InvalidRequest");
    let wrong = digest::checksum("SHA256", b"other");
    form().bare_field("x-amz-checksum-sha256", &wrong).send().await.expect_error(400, "BadDigest");
    form().bare_field("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==").send().await.expect_error(400, "BadDigest");
    form().bare_field("x-amz-write-offset-bytes", "0").send().await.expect_error(501, "NotImplemented");
    form().bare_field("x-ignore", &"x".repeat(20 << 10)).send().await.expect_error(400, "MaxPostPreDataLengthExceeded");

    let whole = form().body();
    for end in [1, 10, 60, 90, whole.len() / 2, whole.len() - 5, whole.len() - 30] {
        let reply = raw_call(&client, &bucket, false, whole[..end].to_vec()).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "MalformedPOSTRequest"), "{end} of {}", whole.len());
    }
    let two = [before_file(&[("key".into(), "key".into())], Some("a")), b"one".to_vec()].concat();
    let two = [&two[..], b"\r\n", &encode(&[], Some(("b", b"two")))].concat();
    let reply = raw_call(&client, &bucket, false, two).send().await;
    reply.expect_error(400, "IncorrectNumberOfFilesInPostRequest");

    let plain = |content_type: &str| client.bucket("POST", &bucket).anonymous().header("content-type", content_type);
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let reply = plain(content_type).body("key=a").send().await.expect_error(412, "PreconditionFailed");
        assert_eq!(reply.xml("Condition"), "Bucket POST must be of the enclosure-type multipart/form-data");
    }
    plain("multipart/form-data").body("x").send().await.expect_error(400, "MalformedPOSTRequest");
    let mut unmeasured = form().call().build();
    unmeasured.content_length = None;
    unmeasured.headers.push(("transfer-encoding".into(), "chunked".into()));
    let chunk = [format!("{:x}\r\n", unmeasured.body.len()).as_bytes(), &unmeasured.body, b"\r\n0\r\n\r\n"].concat();
    unmeasured.body = chunk.into();
    unmeasured.send(client.address).await.unwrap().expect_error(411, "MissingContentLength");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_signature_is_in_the_form_or_nowhere() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("one-signature").await;
    let form = PostForm::new(&client, &bucket, "key", "content").anonymous();
    let content_type = "multipart/form-data; boundary=----cairn-form-boundary";
    let signed = client.bucket("POST", &bucket).header("content-type", content_type).body(form.body());
    signed.clone().send().await.expect_error(400, "InvalidArgument");
    signed.presigned(60).send().await.expect_error(400, "InvalidArgument");
    // Nor does a form anywhere else become one.
    let on_object = client.object("POST", &bucket, "key").anonymous().header("content-type", content_type);
    assert!([405, 501].contains(&on_object.body(form.body()).send().await.status));
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn signature_version_2_can_be_switched_off() {
    let cairn = Cairn::start(Config { signature_v2: Some("off"), ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("no-v2").await;
    let form = PostForm::new(&client, &bucket, "key", "content");
    form.clone().version_2().send().await.expect_error(400, "InvalidRequest");
    assert!(client.keys(&bucket).await.is_empty());
    form.send().await.expect(204);
}

#[tokio::test]
async fn nobody_posts_where_nobody_may() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let (closed, open) = (client.fresh_bucket("closed").await, open_bucket(&client, "open").await);
    let form = |bucket: &str| PostForm::new(&client, bucket, "key", "content").anonymous();
    form(&closed).send().await.expect_error(403, "AccessDenied");
    form(&open).send().await.expect(204);
    // More than to put the object takes more permission.
    let tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    for (name, value) in [("tagging", tagging), ("acl", "public-read"), ("x-amz-object-lock-legal-hold", "ON")] {
        form(&open).bare_field(name, value).send().await.expect_error(403, "AccessDenied");
    }
    form("no-such-bucket-at-all").send().await.expect_error(404, "NoSuchBucket");
    // A policy that nobody signed binds nobody, and lets nobody in.
    let unsigned = PostForm::new(&client, &closed, "key", "content").signed_fields();
    let unsigned: Vec<_> =
        unsigned.into_iter().filter(|(name, _)| ["key", "policy"].contains(&name.as_str())).collect();
    let call = raw_call(&client, &closed, false, encode(&unsigned, Some(("f", b"x"))));
    call.send().await.expect_error(403, "AccessDenied");
    assert!(client.keys(&closed).await.is_empty());
}

#[tokio::test]
async fn policies_see_the_form() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("see-form").await;
    let deny = |condition: serde_json::Value| {
        let statement = json!({
            "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
            "Resource": format!("arn:aws:s3:::{bucket}/*"), "Condition": condition,
        });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        client.bucket("PUT", &bucket).query("policy", "").body(policy)
    };
    let form = || PostForm::new(&client, &bucket, "key", "content");
    deny(json!({ "StringEquals": { "s3:authType": "POST" } })).send().await.expect(204);
    form().send().await.expect_error(403, "AccessDenied");
    client.put(&bucket, "put", "content").await;
    deny(json!({ "StringNotEquals": { "s3:x-amz-server-side-encryption": "AES256" } })).send().await.expect(204);
    form().send().await.expect_error(403, "AccessDenied");
    form().field("x-amz-server-side-encryption", "AES256").send().await.expect(204);
    // What is said of the file and is not so lets nothing in.
    deny(json!({ "StringNotLike": { "s3:x-amz-copy-source": "public/*" } })).send().await.expect(204);
    form().send().await.expect_error(403, "AccessDenied");
    form().field("x-amz-copy-source", "public/key").send().await.expect_error(501, "NotImplemented");
    let other = cairn_tests::sigv4::sha256_hex(b"other");
    deny(json!({ "StringNotEquals": { "s3:x-amz-content-sha256": other } })).send().await.expect(204);
    form().field("x-amz-content-sha256", &other).send().await.expect_error(403, "AccessDenied");
    deny(json!({ "StringEquals": { "s3:signatureversion": "AWS" } })).send().await.expect(204);
    form().version_2().send().await.expect_error(403, "AccessDenied");
    form().send().await.expect(204);
    // A header of the request is no field, and not signed.
    let call = form().call().header("x-amz-meta-smuggled", "1").header("x-amz-acl", "public-read");
    call.send().await.expect(204);
    assert_eq!(client.head(&bucket, "key").await.header("x-amz-meta-smuggled"), None);
}

#[tokio::test]
async fn a_form_is_signed_by_a_session_with_its_token() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("session-form").await;
    let session = client.in_session(&client.action("sts", "GetSessionToken", &[]).send().await.expect(200));
    for form in [
        PostForm::new(&session, &bucket, "key", "content"),
        PostForm::new(&session, &bucket, "key", "content").version_2(),
    ] {
        form.send().await.expect(204);
        let fields = form.signed_fields();
        let without: Vec<_> = fields.iter().filter(|(name, _)| name != "x-amz-security-token").cloned().collect();
        let call = raw_call(&client, &bucket, false, encode(&without, Some(("f", b"x"))));
        call.send().await.expect_error(403, "InvalidAccessKeyId");
        let mut damaged = fields;
        damaged.iter_mut().find(|(name, _)| name == "x-amz-security-token").unwrap().1.push('x');
        let call = raw_call(&client, &bucket, false, encode(&damaged, Some(("f", b"x"))));
        assert!([400, 403].contains(&call.send().await.status));
    }
}

#[tokio::test]
async fn versions_locks_and_conditions_are_as_for_put_object() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let create = client.bucket("PUT", "locked-forms").header("x-amz-bucket-object-lock-enabled", "true");
    create.send().await.expect(200);
    let form = || PostForm::new(&client, "locked-forms", "key", "content");
    let first = form().send().await.expect(204);
    let second = form().send().await.expect(204);
    let versions = [&first, &second].map(|reply| reply.header("x-amz-version-id").unwrap().to_owned());
    assert_ne!(versions[0], versions[1]);
    let held = || form().field("x-amz-object-lock-legal-hold", "ON");
    held().send().await.expect_error(400, "InvalidRequest");
    let sum = digest::checksum("SHA256", b"content");
    let reply = held().bare_field("x-amz-checksum-sha256", &sum).send().await.expect(204);
    let version = reply.header("x-amz-version-id").unwrap().to_owned();
    let delete = client.object("DELETE", "locked-forms", "key").query("versionId", &version);
    delete.send().await.expect_error(403, "AccessDenied");
    let call = form().call().header("if-none-match", "*");
    call.send().await.expect_error(412, "PreconditionFailed");
}

#[tokio::test]
async fn the_decision_about_a_form_can_be_asked_for() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("why-form").await;
    let reply = PostForm::new(&client, &bucket, "key", "content").anonymous().send().await.expect(403);
    let id = reply.header("x-amz-request-id").unwrap();
    let why =
        client.call("GET", &format!("/-/admin/v1/decisions/{id}")).scope(REGION, "cairn").send().await.expect(200);
    assert!(why.text().contains("PostObject") && why.text().contains("s3:PutObject"), "{}", why.text());
}

fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends a form whose file is so many times `piece`; the end of the connection is as good as an answer.
async fn stream(client: &Client, bucket: &str, form: &PostForm, piece: &[u8], times: usize) -> Option<Reply> {
    let (before, after) = (before_file(&form.signed_fields(), Some("large")), after_file());
    let mut wire = raw_call(client, bucket, false, "").build();
    wire.content_length = Some((before.len() + piece.len() * times + after.len()) as u64);
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    connection.write(&before).await.unwrap();
    for _ in 0..times {
        if connection.write(piece).await.is_err() {
            return connection.read_reply().await.ok();
        }
    }
    let _ = connection.write(&after).await;
    connection.read_reply().await.ok()
}

#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("large-form").await;
    PostForm::new(&client, &bucket, "warm", body(1, MIB)).send().await.expect(204);
    let before = memory_kib(cairn.pid(), "VmHWM:");
    let piece = body(2, MIB);

    // A stranger is refused before the file: the server takes no more than it drains of any refused body.
    let form = PostForm::new(&client, &bucket, "refused", "").anonymous();
    let reply = stream(&client, &bucket, &form, &piece, 1_024).await;
    assert!(reply.is_none_or(|reply| reply.status == 403));
    // So is what the policy allows less of, when that much has come.
    let form = PostForm::new(&client, &bucket, "bounded", "").condition(json!(["content-length-range", 0, 4 * MIB]));
    let reply = stream(&client, &bucket, &form, &piece, 1_024).await;
    assert!(reply.is_none_or(|reply| reply.status == 400));
    assert_eq!(client.keys(&bucket).await, ["warm"]);

    let form = PostForm::new(&client, &bucket, "large", "");
    stream(&client, &bucket, &form, &piece, 1_024).await.unwrap().expect(204);
    let length = client.head(&bucket, "large").await.header("content-length").unwrap().to_owned();
    assert_eq!(length, (1_024 * MIB).to_string());
    let growth = memory_kib(cairn.pid(), "VmHWM:") - before;
    assert!(growth < GROWTH_KIB_MAX, "a file of 1 GiB took {growth} KiB");
}
