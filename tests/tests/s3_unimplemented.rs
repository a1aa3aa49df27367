//! Every method with every sub-resource that the S3 API has, on the service, a bucket and an object: what is not
//! implemented answers 501 or 405 and changes nothing.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::Upload;
use cairn_tests::{Cairn, Client};

/// The sub-resources of the S3 API.
const SUB_RESOURCES: [&str; 43] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "select-type",
];

/// Names that no version of the API has. Without a value they might be sub-resources of a later one; with a value they are
/// parameters, which S3 ignores.
const STRANGE: [&str; 6] = ["nonsense-that-nobody-knows", "events", "annotations", "policies", "Acl", "%00"];

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"];

/// What this version implements, or refuses in a way of its own: method, scope, sub-resource. Their own tests say how they
/// answer.
const IMPLEMENTED: &[(&str, Scope, &str)] = &[
    ("GET", Scope::Bucket, "acl"),
    ("PUT", Scope::Bucket, "acl"),
    ("GET", Scope::Object, "acl"),
    ("PUT", Scope::Object, "acl"),
    ("PUT", Scope::Object, "encryption"),
    ("DELETE", Scope::Bucket, "intelligent-tiering"),
    ("GET", Scope::Bucket, "intelligent-tiering"),
    ("PUT", Scope::Bucket, "intelligent-tiering"),
    ("GET", Scope::Bucket, "ownershipControls"),
    ("PUT", Scope::Bucket, "ownershipControls"),
    ("DELETE", Scope::Bucket, "ownershipControls"),
    ("GET", Scope::Bucket, "requestPayment"),
    ("PUT", Scope::Bucket, "requestPayment"),
    ("GET", Scope::Bucket, "policy"),
    ("PUT", Scope::Bucket, "policy"),
    ("DELETE", Scope::Bucket, "policy"),
    ("GET", Scope::Bucket, "policyStatus"),
    ("GET", Scope::Bucket, "publicAccessBlock"),
    ("PUT", Scope::Bucket, "publicAccessBlock"),
    ("DELETE", Scope::Bucket, "publicAccessBlock"),
    ("GET", Scope::Bucket, "cors"),
    ("PUT", Scope::Bucket, "cors"),
    ("DELETE", Scope::Bucket, "cors"),
    ("GET", Scope::Bucket, "encryption"),
    ("PUT", Scope::Bucket, "encryption"),
    ("DELETE", Scope::Bucket, "encryption"),
    ("GET", Scope::Bucket, "lifecycle"),
    ("PUT", Scope::Bucket, "lifecycle"),
    ("DELETE", Scope::Bucket, "lifecycle"),
    ("POST", Scope::Object, "restore"),
    ("GET", Scope::Bucket, "replication"),
    ("PUT", Scope::Bucket, "replication"),
    ("DELETE", Scope::Bucket, "replication"),
    ("GET", Scope::Bucket, "location"),
    ("GET", Scope::Bucket, "uploads"),
    ("GET", Scope::Bucket, "accelerate"),
    ("PUT", Scope::Bucket, "accelerate"),
    ("GET", Scope::Bucket, "tagging"),
    ("PUT", Scope::Bucket, "tagging"),
    ("DELETE", Scope::Bucket, "tagging"),
    ("GET", Scope::Bucket, "versioning"),
    ("PUT", Scope::Bucket, "versioning"),
    ("GET", Scope::Bucket, "versions"),
    ("GET", Scope::Object, "tagging"),
    ("PUT", Scope::Object, "tagging"),
    ("DELETE", Scope::Object, "tagging"),
    ("GET", Scope::Bucket, "object-lock"),
    ("PUT", Scope::Bucket, "object-lock"),
    ("GET", Scope::Object, "legal-hold"),
    ("PUT", Scope::Object, "legal-hold"),
    ("GET", Scope::Object, "retention"),
    ("PUT", Scope::Object, "retention"),
    ("GET", Scope::Bucket, "website"),
    ("PUT", Scope::Bucket, "website"),
    ("DELETE", Scope::Bucket, "website"),
    ("POST", Scope::Bucket, "delete"),
    ("GET", Scope::Object, "attributes"),
    ("GET", Scope::Object, "partNumber"),
    ("HEAD", Scope::Object, "partNumber"),
    ("PUT", Scope::Object, "partNumber"),
    ("GET", Scope::Object, "uploadId"),
    ("PUT", Scope::Object, "uploadId"),
    ("POST", Scope::Object, "uploadId"),
    ("DELETE", Scope::Object, "uploadId"),
    ("POST", Scope::Object, "uploads"),
    ("GET", Scope::Object, "versionId"),
    ("HEAD", Scope::Object, "versionId"),
    ("PUT", Scope::Object, "versionId"),
    ("POST", Scope::Object, "versionId"),
    ("DELETE", Scope::Object, "versionId"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    Service,
    Bucket,
    Object,
}

/// All that a stray request could change.
async fn state(client: &Client, bucket: &str) -> (Vec<String>, Vec<String>, String, Vec<String>) {
    let buckets = client.call("GET", "/").send().await.expect(200).xml_all("Name");
    let content = client.get(bucket, "key").await.expect(200);
    let uploads = client.upload_ids(bucket).await;
    (buckets, client.keys(bucket).await, format!("{} {}", content.etag(), content.text()), uploads)
}

#[tokio::test]
async fn what_is_not_implemented_says_so_and_changes_nothing() {
    let cairn = Cairn::start(cairn_tests::Config::default());
    let client = cairn.client();
    // An empty bucket is the one that a stray DELETE could remove; a full one shows strays on objects.
    let (full, empty) = (client.fresh_bucket("walk").await, client.fresh_bucket("walk-empty").await);
    client.put(&full, "key", "content").await;
    Upload::create(&client, &full, "open").await;
    let before = state(&client, &full).await;
    let targets = [
        (Scope::Service, "/".to_owned()),
        (Scope::Bucket, format!("/{full}")),
        (Scope::Bucket, format!("/{empty}")),
        (Scope::Object, format!("/{full}/key")),
        (Scope::Object, format!("/{full}/missing")),
    ];
    let mut wrong = Vec::new();
    let walked = SUB_RESOURCES.iter().flat_map(|name| [(*name, ""), (*name, "1")]);
    let walked: Vec<(&str, &str)> = walked.chain(STRANGE.map(|name| (name, ""))).collect();
    for (scope, path) in &targets {
        for &(sub_resource, value) in &walked {
            for method in METHODS {
                if IMPLEMENTED.contains(&(method, *scope, sub_resource)) {
                    continue;
                }
                let body = if matches!(method, "PUT" | "POST") { "stray" } else { "" };
                let reply = client.call(method, path).query(sub_resource, value).body(body).send().await;
                if ![405, 501].contains(&reply.status) {
                    wrong.push(format!("{method} {path}?{sub_resource}={value}: {} {}", reply.status, reply.code()));
                }
            }
        }
    }
    assert_eq!(state(&client, &full).await, before, "something changed; answers: {wrong:#?}");
    assert!(wrong.is_empty(), "{} answers are neither 501 nor 405: {wrong:#?}", wrong.len());
}

#[tokio::test]
async fn two_sub_resources_at_once_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("two").await;
    client.put(&bucket, "key", "content").await;
    for (method, first, second) in [
        ("GET", "uploads", "location"),
        ("GET", "versions", "acl"),
        ("DELETE", "uploads", "policy"),
        ("POST", "delete", "uploads"),
    ] {
        let reply = client.bucket(method, &bucket).query(first, "2").query(second, "").send().await;
        assert!((400..600).contains(&reply.status) && reply.status != 500, "{method} {first}&{second}: {reply:?}");
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn the_sdks_operation_hint_selects_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("x-id").await;
    client.put(&bucket, "key", "content").await;
    let got = client.object("GET", &bucket, "key").query("x-id", "DeleteObject").send().await;
    assert_eq!((got.status, got.text().as_str()), (200, "content"));
    client.object("GET", &bucket, "key").query("x-id", "GetObject").send().await.expect(200);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn headers_of_features_that_are_not_there_are_not_ignored() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("headers").await;
    for (name, value) in [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-new", "ON"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=\"somebody\""),
        ("x-amz-write-offset-bytes", "0"),
    ] {
        let reply = client.object("PUT", &bucket, "key").header(name, value).body("x").send().await;
        assert!([400, 403, 501].contains(&reply.status), "{name}: {value}: {reply:?}");
    }
    assert!(client.keys(&bucket).await.is_empty());
}
