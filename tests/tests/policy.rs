//! Bucket policies and public access blocks, from outside: two accounts and somebody without a signature.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_tests::wire::Reply;
use cairn_tests::{Cairn, Call, Client, Config};
use serde_json::{Value, json};

const OTHER: &str = "100000000002";

/// A bucket of the first account with one object, and another account.
struct Scene {
    cairn: Arc<Cairn>,
    owner: Client,
    other: Client,
    bucket: String,
}

impl Scene {
    async fn new(purpose: &str) -> Scene {
        let cairn = Cairn::shared();
        let (owner, other) = (cairn.client(), cairn.other_client());
        let bucket = owner.fresh_bucket(&format!("policy-{purpose}")).await;
        owner.put(&bucket, "key", "content").await;
        Scene { cairn, owner, other, bucket }
    }

    /// A statement about the bucket and what is in it.
    fn statement(&self, effect: &str, principal: Value, action: Value) -> Value {
        let arn = format!("arn:aws:s3:::{}", self.bucket);
        json!({
            "Effect": effect, "Principal": principal, "Action": action, "Resource": [arn, format!("{arn}/*")],
        })
    }

    async fn put_policy(&self, statements: Value) {
        put_policy(&self.owner, &self.bucket, &statements).await.expect(204);
    }

    fn object(&self, client: &Client, method: &str, key: &str) -> Call {
        client.object(method, &self.bucket, key)
    }

    fn of_bucket(&self, method: &str, sub_resource: &str) -> Call {
        self.owner.bucket(method, &self.bucket).query(sub_resource, "")
    }

    async fn block(&self, switches: &[&str]) {
        let switches: String = switches.iter().map(|name| format!("<{name}>true</{name}>")).collect();
        let document = format!("<PublicAccessBlockConfiguration>{switches}</PublicAccessBlockConfiguration>");
        self.of_bucket("PUT", "publicAccessBlock").body(document).send().await.expect(200);
    }
}

fn document(statements: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

async fn put_policy(client: &Client, bucket: &str, statements: &Value) -> Reply {
    client.bucket("PUT", bucket).query("policy", "").body(document(statements)).send().await
}

async fn status(call: Call) -> u16 {
    call.send().await.status
}

#[tokio::test]
async fn a_policy_is_kept_as_it_was_written() {
    let scene = Scene::new("crud").await;
    scene.of_bucket("GET", "policy").send().await.expect_error(404, "NoSuchBucketPolicy");
    scene.of_bucket("GET", "policyStatus").send().await.expect_error(404, "NoSuchBucketPolicy");
    scene.of_bucket("DELETE", "policy").send().await.expect(204);
    let statements = json!([scene.statement("Allow", json!({ "AWS": OTHER }), json!("s3:GetObject"))]);
    let text = format!(" {}\n", document(&statements)).replace("Statement\":", "Statement\" : ");
    // The first byte must be a brace; what follows is the client's own.
    scene.of_bucket("PUT", "policy").body(text.trim_start().to_owned()).send().await.expect(204);
    let shown = scene.of_bucket("GET", "policy").send().await.expect(200);
    assert_eq!(shown.text(), text.trim_start());
    assert_eq!(shown.header("content-type"), Some("application/json"));
    let status = scene.of_bucket("GET", "policyStatus").send().await.expect(200);
    assert_eq!(status.xml("IsPublic"), "false");
    scene.put_policy(json!([scene.statement("Allow", json!("*"), json!("s3:GetObject"))])).await;
    assert_eq!(scene.of_bucket("GET", "policyStatus").send().await.xml("IsPublic"), "true");
    scene.of_bucket("DELETE", "policy").send().await.expect(204);
    scene.of_bucket("GET", "policy").send().await.expect_error(404, "NoSuchBucketPolicy");
}

#[tokio::test]
async fn what_is_no_policy_is_refused_and_not_kept() {
    let scene = Scene::new("bad").await;
    let put = |text: String| scene.of_bucket("PUT", "policy").body(text).send();
    let good = || scene.statement("Allow", json!({ "AWS": OTHER }), json!("s3:GetObject"));
    let with = |name: &str, value: Value| {
        let mut statement = good();
        statement[name] = value;
        document(&json!([statement]))
    };
    for (text, message) in [
        ("{".to_owned(), "Policies must be valid JSON and the first byte must be '{'"),
        ("[]".to_owned(), ""),
        (with("Principal", json!({ "AWS": "arn:aws:iam::999999999999:user/nobody" })), "Invalid principal in policy"),
        (with("Principal", json!({ "AWS": "someone" })), "Invalid principal in policy"),
        (with("Resource", json!("arn:aws:s3:::another-bucket/*")), "Policy has invalid resource"),
        (with("Action", json!("s3:Nonsense")), "Policy has invalid action"),
        (with("Effect", json!("Perhaps")), "Invalid effect: Perhaps"),
        (document(&json!([])), ""),
    ] {
        let refused = put(text.clone()).await.expect_error(400, "MalformedPolicy");
        assert!(message.is_empty() || refused.xml("Message") == message, "{text}: {}", refused.xml("Message"));
    }
    put(with("Sid", json!("x".repeat(21_000)))).await.expect_error(400, "PolicyTooLarge");
    put(String::new()).await.expect_error(400, "MissingRequestBodyError");
    scene.of_bucket("GET", "policy").send().await.expect_error(404, "NoSuchBucketPolicy");
}

#[tokio::test]
async fn everybody_reads_what_a_public_policy_opens_and_no_more() {
    let scene = Scene::new("public").await;
    let read = |key| scene.object(&scene.owner, "GET", key).anonymous();
    read("key").send().await.expect_error(403, "AccessDenied");
    scene.put_policy(json!([scene.statement("Allow", json!("*"), json!("s3:GetObject"))])).await;
    assert_eq!(read("key").send().await.expect(200).text(), "content");
    assert_eq!(status(scene.object(&scene.owner, "HEAD", "key").anonymous()).await, 200);
    // Who may not list does not learn what is not there.
    read("absent").send().await.expect_error(403, "AccessDenied");
    scene.owner.bucket("GET", &scene.bucket).anonymous().send().await.expect_error(403, "AccessDenied");
    scene.object(&scene.owner, "PUT", "new").anonymous().body("x").send().await.expect_error(403, "AccessDenied");
    scene.object(&scene.owner, "DELETE", "key").anonymous().send().await.expect_error(403, "AccessDenied");
    let both = json!(["s3:GetObject", "s3:ListBucket"]);
    scene.put_policy(json!([scene.statement("Allow", json!("*"), both)])).await;
    read("absent").send().await.expect_error(404, "NoSuchKey");
    assert_eq!(scene.owner.bucket("GET", &scene.bucket).anonymous().send().await.expect(200).xml_all("Key"), ["key"]);
    scene.of_bucket("DELETE", "policy").send().await.expect(204);
    read("key").send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn another_account_is_let_in_by_name() {
    let scene = Scene::new("cross").await;
    for (principal, expected) in [
        (json!({ "AWS": OTHER }), 200),
        (json!({ "AWS": format!("arn:aws:iam::{OTHER}:root") }), 200),
        (json!({ "CanonicalUser": format!("{:064x}", 2) }), 200),
        (json!({ "AWS": "100000000001" }), 403),
        (json!({ "AWS": format!("arn:aws:sts::{OTHER}:federated-user/anna") }), 403),
    ] {
        let actions = json!(["s3:GetObject", "s3:PutObject"]);
        scene.put_policy(json!([scene.statement("Allow", principal.clone(), actions)])).await;
        assert_eq!(status(scene.object(&scene.other, "GET", "key")).await, expected, "{principal}");
        assert_eq!(status(scene.object(&scene.other, "PUT", "theirs").body("x")).await, expected, "{principal}");
        assert_eq!(status(scene.object(&scene.other, "GET", "key").anonymous()).await, 403, "{principal}");
        assert_eq!(status(scene.object(&scene.other, "DELETE", "key")).await, 403, "{principal}");
    }
}

#[tokio::test]
async fn a_deny_holds_for_the_owner_who_can_always_change_the_policy() {
    let scene = Scene::new("deny").await;
    scene.put_policy(json!([scene.statement("Deny", json!("*"), json!("s3:*"))])).await;
    let refused = scene.object(&scene.owner, "GET", "key").send().await.expect_error(403, "AccessDenied");
    assert_eq!(
        refused.xml("Message"),
        format!(
            "User: arn:aws:iam::100000000001:root is not authorized to perform: s3:GetObject on resource: \
             \"arn:aws:s3:::{}/key\" with an explicit deny in a resource-based policy",
            scene.bucket
        )
    );
    scene.owner.bucket("GET", &scene.bucket).send().await.expect_error(403, "AccessDenied");
    scene.of_bucket("GET", "policyStatus").send().await.expect_error(403, "AccessDenied");
    scene.of_bucket("GET", "policy").send().await.expect(200);
    scene.put_policy(json!([scene.statement("Deny", json!("*"), json!("s3:PutObject"))])).await;
    scene.object(&scene.owner, "GET", "key").send().await.expect(200);
    scene.of_bucket("DELETE", "policy").send().await.expect(204);
    scene.object(&scene.owner, "PUT", "key").body("x").send().await.expect(200);
}

#[tokio::test]
async fn the_policy_is_for_the_owners_account_whomever_it_names() {
    let scene = Scene::new("others").await;
    scene.put_policy(json!([scene.statement("Allow", json!({ "AWS": OTHER }), json!("s3:*"))])).await;
    for method in ["GET", "PUT", "DELETE"] {
        let call = scene.other.bucket(method, &scene.bucket).query("policy", "");
        call.send().await.expect_error(405, "MethodNotAllowed");
    }
    assert_eq!(status(scene.other.bucket("GET", &scene.bucket)).await, 200);
}

/// What a statement with this condition lets somebody without a signature do.
async fn with_condition(scene: &Scene, action: &str, condition: Value) {
    let mut statement = scene.statement("Allow", json!("*"), json!(action));
    statement["Condition"] = condition;
    scene.put_policy(json!([statement])).await;
}

#[tokio::test]
async fn conditions_on_the_connection_are_judged_by_the_connection() {
    let scene = Scene::new("connection").await;
    let read = || scene.object(&scene.owner, "GET", "key").anonymous();
    for (condition, expected) in [
        (json!({ "IpAddress": { "aws:SourceIp": "127.0.0.0/8" } }), 200),
        (json!({ "IpAddress": { "aws:SourceIp": "203.0.113.0/24" } }), 403),
        (json!({ "NotIpAddress": { "aws:SourceIp": "127.0.0.1" } }), 403),
        (json!({ "Bool": { "aws:SecureTransport": "true" } }), 403),
        (json!({ "Bool": { "aws:SecureTransport": "false" } }), 200),
        (json!({ "NumericLessThan": { "s3:TlsVersion": "1.2" } }), 403),
        (json!({ "DateGreaterThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }), 200),
        (json!({ "DateLessThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }), 403),
        (json!({ "Null": { "s3:authType": "true" } }), 200),
        (json!({ "StringEquals": { "s3:ResourceAccount": "100000000001" } }), 200),
    ] {
        with_condition(&scene, "s3:GetObject", condition.clone()).await;
        let forged = read().header("x-forwarded-for", "203.0.113.5").header("x-forwarded-proto", "https");
        assert_eq!(status(forged).await, expected, "{condition}");
    }
    with_condition(&scene, "s3:GetObject", json!({ "StringLike": { "aws:Referer": "https://example.org/*" } })).await;
    assert_eq!(status(read().header("referer", "https://example.org/page")).await, 200);
    assert_eq!(status(read().header("referer", "https://example.com/page")).await, 403);
    assert_eq!(status(read()).await, 403);
}

#[tokio::test]
async fn conditions_on_the_signature_are_judged_by_the_signature() {
    let scene = Scene::new("signature").await;
    let read = || scene.object(&scene.other, "GET", "key");
    for (key, value, header, presigned) in [
        ("s3:authType", "REST-HEADER", 200, 403),
        ("s3:authType", "REST-QUERY-STRING", 403, 200),
        ("s3:signatureversion", "AWS4-HMAC-SHA256", 200, 200),
        ("s3:signatureversion", "AWS", 403, 403),
    ] {
        with_condition(&scene, "s3:GetObject", json!({ "StringEquals": { key: value } })).await;
        assert_eq!(status(read()).await, header, "{key} {value}");
        assert_eq!(status(read().presigned(60)).await, presigned, "{key} {value}");
        assert_eq!(status(read().anonymous()).await, 403, "{key} {value}");
    }
    with_condition(&scene, "s3:GetObject", json!({ "NumericLessThan": { "s3:signatureAge": "600000" } })).await;
    assert_eq!(status(read().presigned(3_600)).await, 200);
    let earlier = time::OffsetDateTime::now_utc() - time::Duration::minutes(11);
    assert_eq!(status(read().presigned(3_600).at(earlier)).await, 403);
}

#[tokio::test]
async fn listings_are_limited_to_prefixes() {
    let scene = Scene::new("prefix").await;
    with_condition(&scene, "s3:ListBucket", json!({ "StringLike": { "s3:prefix": "home/*" } })).await;
    let list = |prefix: &str| scene.owner.bucket("GET", &scene.bucket).query("prefix", prefix).anonymous();
    assert_eq!(status(list("home/")).await, 200);
    assert_eq!(status(list("")).await, 403);
    assert_eq!(status(scene.owner.bucket("GET", &scene.bucket).anonymous()).await, 403);
    assert_eq!(status(list("home/anna").query("list-type", "2")).await, 200);
    with_condition(&scene, "s3:ListBucket", json!({ "NumericLessThanEquals": { "s3:max-keys": "10" } })).await;
    assert_eq!(status(list("").query("max-keys", "10")).await, 200);
    assert_eq!(status(list("").query("max-keys", "11")).await, 403);
}

#[tokio::test]
async fn uploads_can_be_held_to_headers() {
    let scene = Scene::new("headers").await;
    let put = || scene.object(&scene.owner, "PUT", "new").body("x");
    let mut deny = scene.statement("Deny", json!("*"), json!("s3:PutObject"));
    deny["Condition"] = json!({ "Null": { "s3:x-amz-server-side-encryption": "true" } });
    scene.put_policy(json!([deny])).await;
    put().send().await.expect_error(403, "AccessDenied");
    scene.owner.get(&scene.bucket, "new").await.expect_error(404, "NoSuchKey");
    let mut deny = scene.statement("Deny", json!("*"), json!("s3:PutObject"));
    deny["Condition"] = json!({ "StringNotEquals": { "s3:x-amz-storage-class": "STANDARD" } });
    scene.put_policy(json!([deny])).await;
    put().send().await.expect_error(403, "AccessDenied");
    put().header("x-amz-storage-class", "STANDARD").send().await.expect(200);
    let mut deny = scene.statement("Deny", json!("*"), json!("s3:PutObject"));
    deny["Condition"] = json!({ "Null": { "s3:if-none-match": "true" } });
    scene.put_policy(json!([deny])).await;
    put().send().await.expect_error(403, "AccessDenied");
    scene.object(&scene.owner, "PUT", "newer").header("if-none-match", "*").body("x").send().await.expect(200);
}

#[tokio::test]
async fn reads_are_limited_by_the_tags_of_the_version_found() {
    let scene = Scene::new("tags").await;
    let put = |key: &str, tags: &str| scene.object(&scene.owner, "PUT", key).header("x-amz-tagging", tags).body("x");
    put("open", "access=public").send().await.expect(200);
    put("closed", "access=private").send().await.expect(200);
    let condition = json!({ "StringEquals": { "s3:ExistingObjectTag/access": "public" } });
    with_condition(&scene, "s3:Get*", condition).await;
    let read = |key: &str| scene.object(&scene.owner, "GET", key).anonymous();
    assert_eq!(status(read("open")).await, 200);
    assert_eq!(status(read("open").query("tagging", "")).await, 200);
    for key in ["closed", "key", "absent"] {
        assert_eq!(status(read(key)).await, 403, "{key}");
    }
    // The tags are those that it has now.
    let tagging = "<Tagging><TagSet><Tag><Key>access</Key><Value>public</Value></Tag></TagSet></Tagging>";
    let tag = scene.object(&scene.owner, "PUT", "closed").query("tagging", "").body(tagging);
    tag.send().await.expect(200);
    assert_eq!(status(read("closed")).await, 200);
}

#[tokio::test]
async fn what_a_document_asks_for_can_be_denied() {
    let scene = Scene::new("document").await;
    let mut allow = scene.statement("Allow", json!("*"), json!(["s3:PutObjectTagging", "s3:PutObject"]));
    allow["Condition"] = json!({ "ForAllValues:StringEquals": { "s3:RequestObjectTagKeys": ["project"] } });
    scene.put_policy(json!([allow])).await;
    let tagging =
        |key: &str| format!("<Tagging><TagSet><Tag><Key>{key}</Key><Value>x</Value></Tag></TagSet></Tagging>");
    let tag = |key| scene.object(&scene.owner, "PUT", "key").query("tagging", "").anonymous().body(tagging(key));
    assert_eq!(status(tag("project")).await, 200);
    assert_eq!(status(tag("owner")).await, 403);
    let put = |tags| scene.object(&scene.owner, "PUT", "new").header("x-amz-tagging", tags).anonymous().body("x");
    assert_eq!(status(put("project=1")).await, 200);
    assert_eq!(status(put("project=1&owner=2")).await, 403);
    let shown = scene.object(&scene.owner, "GET", "key").query("tagging", "").send().await.expect(200);
    assert_eq!(shown.xml_all("Key"), ["project"]);
}

#[tokio::test]
async fn each_key_of_a_multi_delete_is_decided_by_itself() {
    let scene = Scene::new("delete").await;
    scene.owner.put(&scene.bucket, "own/a", "x").await;
    let mut allow = scene.statement("Allow", json!("*"), json!("s3:DeleteObject"));
    allow["Resource"] = json!(format!("arn:aws:s3:::{}/own/*", scene.bucket));
    scene.put_policy(json!([allow])).await;
    let keys = "<Delete><Object><Key>own/a</Key></Object><Object><Key>key</Key></Object></Delete>";
    let digest = cairn_tests::digest::checksum("SHA256", keys.as_bytes());
    let delete = scene.owner.bucket("POST", &scene.bucket).query("delete", "").anonymous();
    let reply = delete.header("x-amz-checksum-sha256", &digest).body(keys).send().await.expect(200);
    assert_eq!(cairn_tests::xml::sections(&reply.text(), "Deleted").len(), 1);
    let error = reply.xml("Error");
    assert!(error.contains("<Key>key</Key>") && error.contains("<Code>AccessDenied</Code>"), "{error}");
    assert_eq!(scene.owner.keys(&scene.bucket).await, ["key"]);
}

#[tokio::test]
async fn a_copy_needs_both_sides() {
    let scene = Scene::new("copy").await;
    let own = scene.other.fresh_bucket("policy-copy-own").await;
    let copy = || {
        let call = scene.other.object("PUT", &own, "copy");
        call.header("x-amz-copy-source", &format!("{}/key", scene.bucket))
    };
    copy().send().await.expect_error(403, "AccessDenied");
    scene.put_policy(json!([scene.statement("Allow", json!({ "AWS": OTHER }), json!("s3:GetObject"))])).await;
    copy().send().await.expect(200);
    // The tags of the source are read as well, if it has any.
    let tagged = scene.object(&scene.owner, "PUT", "key").header("x-amz-tagging", "a=b").body("content");
    tagged.send().await.expect(200);
    copy().send().await.expect_error(403, "AccessDenied");
    copy().header("x-amz-tagging-directive", "REPLACE").send().await.expect(200);
    let both = json!(["s3:GetObject", "s3:GetObjectTagging"]);
    scene.put_policy(json!([scene.statement("Allow", json!({ "AWS": OTHER }), both)])).await;
    copy().send().await.expect(200);
    let back = scene.object(&scene.other, "PUT", "back").header("x-amz-copy-source", &format!("{own}/copy"));
    back.send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn new_buckets_block_public_access_unless_the_configuration_says_otherwise() {
    let cairn = Cairn::start(Config { block_public_access: None, ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("blocked").await;
    let shown = client.bucket("GET", &bucket).query("publicAccessBlock", "").send().await.expect(200);
    for name in ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] {
        assert_eq!(shown.xml(name), "true", "{name}");
    }
    let arn = format!("arn:aws:s3:::{bucket}/*");
    let public = json!([{ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": arn }]);
    put_policy(&client, &bucket, &public).await.expect_error(403, "AccessDenied");
    let acl = client.bucket("PUT", "public-from-the-start").header("x-amz-object-ownership", "ObjectWriter");
    acl.header("x-amz-acl", "public-read").send().await.expect_error(400, "InvalidBucketAclWithBlockPublicAccessError");
    client.bucket("DELETE", &bucket).query("publicAccessBlock", "").send().await.expect(204);
    let gone = client.bucket("GET", &bucket).query("publicAccessBlock", "").send().await;
    gone.expect_error(404, "NoSuchPublicAccessBlockConfiguration");
    put_policy(&client, &bucket, &public).await.expect(204);
}

#[tokio::test]
async fn each_switch_of_the_block_does_its_part() {
    let scene = Scene::new("switches").await;
    let set = scene.of_bucket("PUT", "ownershipControls");
    let rule = "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>";
    set.body(format!("<OwnershipControls>{rule}</OwnershipControls>")).send().await.expect(200);
    let public = json!([scene.statement("Allow", json!("*"), json!("s3:GetObject"))]);
    let set_acl = |acl: &str| scene.object(&scene.owner, "PUT", "key").query("acl", "").header("x-amz-acl", acl);
    let read = || scene.object(&scene.owner, "GET", "key").anonymous();

    scene.block(&["BlockPublicAcls"]).await;
    set_acl("public-read").send().await.expect_error(403, "AccessDenied");
    set_acl("private").send().await.expect(200);
    let put = scene.object(&scene.owner, "PUT", "new").header("x-amz-acl", "public-read").body("x");
    put.send().await.expect_error(403, "AccessDenied");
    scene.of_bucket("PUT", "acl").header("x-amz-acl", "public-read").send().await.expect_error(403, "AccessDenied");

    scene.block(&[]).await;
    set_acl("public-read").send().await.expect(200);
    assert_eq!(status(read()).await, 200);
    scene.block(&["IgnorePublicAcls"]).await;
    assert_eq!(status(read()).await, 403);
    assert_eq!(scene.owner.get(&scene.bucket, "key").await.status, 200);
    set_acl("public-read").send().await.expect(200);
    set_acl("private").send().await.expect(200);

    scene.block(&["BlockPublicPolicy"]).await;
    put_policy(&scene.owner, &scene.bucket, &public).await.expect_error(403, "AccessDenied");
    let named = json!([scene.statement("Allow", json!({ "AWS": OTHER }), json!("s3:GetObject"))]);
    put_policy(&scene.owner, &scene.bucket, &named).await.expect(204);

    scene.block(&[]).await;
    scene.put_policy(public).await;
    assert_eq!(status(read()).await, 200);
    scene.block(&["RestrictPublicBuckets"]).await;
    assert_eq!(status(read()).await, 403);
    assert_eq!(status(scene.object(&scene.other, "GET", "key")).await, 403);
    assert_eq!(scene.owner.get(&scene.bucket, "key").await.status, 200);
}

#[tokio::test]
async fn an_accounts_block_holds_for_all_of_its_buckets() {
    let mut cairn = Cairn::start(Config::default());
    let (client, other) = (cairn.client(), cairn.other_client());
    let bucket = client.fresh_bucket("account").await;
    client.put(&bucket, "key", "content").await;
    let call = |client: &Client, method: &str, account: &str| {
        client.call(method, "/v20180820/configuration/publicAccessBlock").header("x-amz-account-id", account)
    };
    let own = "100000000001";
    let absent = "NoSuchPublicAccessBlockConfiguration";
    call(&client, "GET", own).send().await.expect_error(404, absent);
    call(&client, "GET", OTHER).send().await.expect_error(403, "AccessDenied");
    call(&client, "GET", own).anonymous().send().await.expect_error(403, "AccessDenied");
    call(&client, "POST", own).send().await.expect_error(405, "MethodNotAllowed");
    let public = json!([{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
    }]);
    put_policy(&client, &bucket, &public).await.expect(204);
    assert_eq!(status(client.object("GET", &bucket, "key").anonymous()).await, 200);
    let block = "<PublicAccessBlockConfiguration xmlns=\"http://awss3control.amazonaws.com/doc/2018-08-20/\">\
                 <BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets>\
                 </PublicAccessBlockConfiguration>";
    call(&client, "PUT", OTHER).body(block).send().await.expect_error(403, "AccessDenied");
    call(&client, "PUT", own).body("<Nonsense").send().await.expect_error(400, "MalformedXML");
    // The AWS command line puts the account in front of the host's name.
    let host = format!("{own}.localhost:{}", client.address.port());
    call(&client, "PUT", own).host(&host).body(block).send().await.expect(200);
    assert_eq!(status(client.object("GET", &bucket, "key").anonymous()).await, 403);
    put_policy(&client, &bucket, &public).await.expect_error(403, "AccessDenied");
    cairn.restart();
    let shown = call(&client, "GET", own).send().await.expect(200);
    assert_eq!((shown.xml("RestrictPublicBuckets"), shown.xml("BlockPublicAcls")), ("true".into(), "false".into()));
    let theirs = other.fresh_bucket("account-other").await;
    let arn = format!("arn:aws:s3:::{theirs}/*");
    let of_other = json!([{ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": arn }]);
    put_policy(&other, &theirs, &of_other).await.expect(204);
    call(&client, "DELETE", own).send().await.expect(204);
    call(&client, "GET", own).send().await.expect_error(404, absent);
    assert_eq!(status(client.object("GET", &bucket, "key").anonymous()).await, 200);
}

#[tokio::test]
async fn somebody_of_the_account_needs_its_own_policies_or_the_buckets() {
    let scene = Scene::new("identity").await;
    let somebody = async |policy: Value| {
        let text = document(&json!([policy]));
        let call = scene.owner.action("sts", "GetFederationToken", &[("Name", "anna"), ("Policy", &text)]);
        scene.owner.in_session(&call.send().await.expect(200))
    };
    let arn = format!("arn:aws:s3:::{}/*", scene.bucket);
    let reader = somebody(json!({ "Effect": "Allow", "Action": "s3:GetObject", "Resource": arn })).await;
    assert_eq!(status(scene.object(&reader, "GET", "key")).await, 200);
    assert_eq!(status(scene.object(&reader, "PUT", "key").body("x")).await, 403);
    assert_eq!(status(scene.owner.bucket("GET", &scene.bucket)).await, 200);
    assert_eq!(status(reader.bucket("GET", &scene.bucket)).await, 403);
    assert_eq!(status(reader.call("GET", "/")).await, 403);
    assert_eq!(status(reader.bucket("PUT", "policy-anna")).await, 403);
    // The bucket's policy lets it in by its own name, and keeps it out.
    let named = json!({ "AWS": "arn:aws:sts::100000000001:federated-user/anna" });
    scene.put_policy(json!([scene.statement("Allow", named.clone(), json!("s3:PutObject"))])).await;
    assert_eq!(status(scene.object(&reader, "PUT", "new").body("x")).await, 200);
    scene.put_policy(json!([scene.statement("Deny", named, json!("s3:GetObject"))])).await;
    assert_eq!(status(scene.object(&reader, "GET", "key")).await, 403);
    scene.of_bucket("DELETE", "policy").send().await.expect(204);
    // Tags of what is put, and of what is there.
    let own = json!({ "StringEquals": { "s3:RequestObjectTag/owner": "anna" } });
    let tagger = somebody(json!({
        "Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectTagging"], "Resource": arn, "Condition": own,
    }));
    let tagger = tagger.await;
    let put = |tags| scene.object(&tagger, "PUT", "tagged").header("x-amz-tagging", tags).body("x");
    assert_eq!(status(put("owner=anna")).await, 200);
    assert_eq!(status(put("owner=bob")).await, 403);
    assert_eq!(status(scene.object(&tagger, "PUT", "tagged").body("x")).await, 403);
}

#[tokio::test]
async fn policies_and_blocks_outlive_a_crash() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("kept").await;
    client.put(&bucket, "key", "content").await;
    let arn = format!("arn:aws:s3:::{bucket}/*");
    let public = json!([{ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": arn }]);
    put_policy(&client, &bucket, &public).await.expect(204);
    cairn.kill9();
    cairn.start_again();
    assert_eq!(status(client.object("GET", &bucket, "key").anonymous()).await, 200);
    let block = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>\
                 </PublicAccessBlockConfiguration>";
    client.bucket("PUT", &bucket).query("publicAccessBlock", "").body(block).send().await.expect(200);
    cairn.kill9();
    cairn.start_again();
    assert_eq!(status(client.object("GET", &bucket, "key").anonymous()).await, 403);
    client.bucket("GET", &bucket).query("policy", "").send().await.expect(200);
}

#[tokio::test]
async fn an_expected_owner_holds_for_policies_too() {
    let scene = Scene::new("expected").await;
    let get = || scene.of_bucket("GET", "policy");
    get().header("x-amz-expected-bucket-owner", OTHER).send().await.expect_error(403, "AccessDenied");
    get().header("x-amz-expected-bucket-owner", "100000000001").send().await.expect_error(404, "NoSuchBucketPolicy");
    assert!(scene.cairn.log().contains("serving"));
}
