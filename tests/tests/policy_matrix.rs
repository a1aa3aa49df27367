//! Every operation of S3 against who may want it: nobody in particular, a key that nobody has, somebody without the
//! permission, with exactly the permission, with all but one of what it needs, and with an explicit deny.
//!
//! What each operation needs is written down here once more, from the API reference. The operations are read from the
//! server's own list, so that a new one without a row fails.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use cairn_tests::post_form::PostForm;
use cairn_tests::{Cairn, Call, Client, Config};
use serde_json::{Value, json};

const OTHER: &str = "100000000002";

/// Operations that are about no bucket that is there already, which no bucket's policy can be about.
const WITHOUT_BUCKET: [&str; 5] = [
    "CreateBucket",
    "DeleteAccountPublicAccessBlock",
    "GetAccountPublicAccessBlock",
    "ListBuckets",
    "PutAccountPublicAccessBlock",
];

/// Operations on a bucket's policy are for the owner's account, whoever is permitted.
const FOR_OWNER: [&str; 3] = ["DeleteBucketPolicy", "GetBucketPolicy", "PutBucketPolicy"];

/// Who initiated an upload may do this without any permission.
const FOR_INITIATOR: [&str; 2] = ["AbortMultipartUpload", "ListParts"];

struct Row {
    operation: &'static str,
    actions: &'static [&'static str],
    call: fn(&Place, &Client) -> Call,
}

/// What the calls are about.
struct Place {
    bucket: String,
    upload: String,
}

impl Place {
    fn bucket(&self, client: &Client, method: &str, sub_resource: &str) -> Call {
        let call = client.bucket(method, &self.bucket);
        if sub_resource.is_empty() { call } else { call.query(sub_resource, "") }
    }

    fn object(&self, client: &Client, method: &str, sub_resource: &str) -> Call {
        let call = client.object(method, &self.bucket, "key");
        if sub_resource.is_empty() { call } else { call.query(sub_resource, "") }
    }

    fn upload(&self, client: &Client, method: &str) -> Call {
        client.object(method, &self.bucket, "upload").query("uploadId", &self.upload)
    }

    fn source(&self) -> String {
        format!("{}/key", self.bucket)
    }
}

const DELETE: &str = "<Delete><Object><Key>absent</Key></Object></Delete>";
const TAGGING: &str = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
const PAYER: &str = "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>";
const VERSIONING: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
const HOLD: &str = "<LegalHold><Status>OFF</Status></LegalHold>";
const RETENTION: &str = "<Retention/>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
                          <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>\
                          </ServerSideEncryptionConfiguration>";
const CORS: &str = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>\
                    </CORSRule></CORSConfiguration>";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><Filter/><Status>Disabled</Status><Expiration><Days>1</Days>\
                         </Expiration></Rule></LifecycleConfiguration>";
const TIERING: &str = "<IntelligentTieringConfiguration><Id>a</Id><Status>Disabled</Status><Tiering>\
                       <AccessTier>ARCHIVE_ACCESS</AccessTier><Days>90</Days></Tiering></IntelligentTieringConfiguration>";
const RESTORE: &str = "<RestoreRequest><Days>1</Days></RestoreRequest>";
const BLOCK: &str = "<PublicAccessBlockConfiguration/>";
const WEBSITE: &str =
    "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>";
const OWNERSHIP: &str =
    "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";

macro_rules! rows {
    ($($operation:ident [$($action:literal),+] |$place:ident, $client:ident| $call:expr;)*) => {
        &[$(Row {
            operation: stringify!($operation),
            actions: &[$(concat!("s3:", $action)),+],
            call: |$place, $client| $call,
        }),*]
    };
}

const ROWS: &[Row] = rows! {
    AbortMultipartUpload ["AbortMultipartUpload"] |p, c| p.upload(c, "DELETE");
    CompleteMultipartUpload ["PutObject"] |p, c| p.upload(c, "POST").body("<CompleteMultipartUpload/>");
    CopyObject ["PutObject", "GetObject"] |p, c| {
        c.object("PUT", &p.bucket, "copy").header("x-amz-copy-source", &p.source())
    };
    CreateMultipartUpload ["PutObject", "PutObjectTagging"] |p, c| {
        c.object("POST", &p.bucket, "new").query("uploads", "").header("x-amz-tagging", "a=b")
    };
    DeleteBucket ["DeleteBucket"] |p, c| p.bucket(c, "DELETE", "");
    DeleteBucketCors ["PutBucketCORS"] |p, c| p.bucket(c, "DELETE", "cors");
    DeleteBucketEncryption ["PutEncryptionConfiguration"] |p, c| p.bucket(c, "DELETE", "encryption");
    DeleteBucketIntelligentTieringConfiguration ["PutIntelligentTieringConfiguration"] |p, c| {
        p.bucket(c, "DELETE", "intelligent-tiering").query("id", "absent")
    };
    DeleteBucketLifecycle ["PutLifecycleConfiguration"] |p, c| p.bucket(c, "DELETE", "lifecycle");
    DeleteBucketOwnershipControls ["PutBucketOwnershipControls"] |p, c| p.bucket(c, "DELETE", "ownershipControls");
    DeleteBucketPolicy ["DeleteBucketPolicy"] |p, c| p.bucket(c, "DELETE", "policy");
    DeleteBucketReplication ["PutReplicationConfiguration"] |p, c| p.bucket(c, "DELETE", "replication");
    DeleteBucketTagging ["PutBucketTagging"] |p, c| p.bucket(c, "DELETE", "tagging");
    DeleteBucketWebsite ["DeleteBucketWebsite"] |p, c| p.bucket(c, "DELETE", "website");
    DeleteObject ["DeleteObject"] |p, c| c.object("DELETE", &p.bucket, "absent");
    DeleteObjectTagging ["DeleteObjectTagging"] |p, c| p.object(c, "DELETE", "tagging");
    DeleteObjects ["DeleteObject"] |p, c| {
        let digest = cairn_tests::digest::checksum("SHA256", DELETE.as_bytes());
        p.bucket(c, "POST", "delete").header("x-amz-checksum-sha256", &digest).body(DELETE)
    };
    DeletePublicAccessBlock ["PutBucketPublicAccessBlock"] |p, c| p.bucket(c, "DELETE", "publicAccessBlock");
    GetBucketAccelerateConfiguration ["GetAccelerateConfiguration"] |p, c| p.bucket(c, "GET", "accelerate");
    GetBucketAcl ["GetBucketAcl"] |p, c| p.bucket(c, "GET", "acl");
    GetBucketCors ["GetBucketCORS"] |p, c| p.bucket(c, "GET", "cors");
    GetBucketEncryption ["GetEncryptionConfiguration"] |p, c| p.bucket(c, "GET", "encryption");
    GetBucketIntelligentTieringConfiguration ["GetIntelligentTieringConfiguration"] |p, c| {
        p.bucket(c, "GET", "intelligent-tiering").query("id", "absent")
    };
    GetBucketLifecycleConfiguration ["GetLifecycleConfiguration"] |p, c| p.bucket(c, "GET", "lifecycle");
    GetBucketLocation ["GetBucketLocation"] |p, c| p.bucket(c, "GET", "location");
    GetBucketOwnershipControls ["GetBucketOwnershipControls"] |p, c| p.bucket(c, "GET", "ownershipControls");
    GetBucketPolicy ["GetBucketPolicy"] |p, c| p.bucket(c, "GET", "policy");
    GetBucketPolicyStatus ["GetBucketPolicyStatus"] |p, c| p.bucket(c, "GET", "policyStatus");
    GetBucketReplication ["GetReplicationConfiguration"] |p, c| p.bucket(c, "GET", "replication");
    GetBucketRequestPayment ["GetBucketRequestPayment"] |p, c| p.bucket(c, "GET", "requestPayment");
    GetBucketTagging ["GetBucketTagging"] |p, c| p.bucket(c, "GET", "tagging");
    GetBucketVersioning ["GetBucketVersioning"] |p, c| p.bucket(c, "GET", "versioning");
    GetBucketWebsite ["GetBucketWebsite"] |p, c| p.bucket(c, "GET", "website");
    GetObject ["GetObject"] |p, c| p.object(c, "GET", "");
    GetObjectAcl ["GetObjectAcl"] |p, c| p.object(c, "GET", "acl");
    GetObjectAttributes ["GetObjectAttributes", "GetObject"] |p, c| {
        p.object(c, "GET", "attributes").header("x-amz-object-attributes", "ETag")
    };
    GetObjectLegalHold ["GetObjectLegalHold"] |p, c| p.object(c, "GET", "legal-hold");
    GetObjectLockConfiguration ["GetBucketObjectLockConfiguration"] |p, c| p.bucket(c, "GET", "object-lock");
    GetObjectRetention ["GetObjectRetention"] |p, c| p.object(c, "GET", "retention");
    GetObjectTagging ["GetObjectTagging"] |p, c| p.object(c, "GET", "tagging");
    GetPublicAccessBlock ["GetBucketPublicAccessBlock"] |p, c| p.bucket(c, "GET", "publicAccessBlock");
    HeadBucket ["ListBucket"] |p, c| p.bucket(c, "HEAD", "");
    HeadObject ["GetObject"] |p, c| p.object(c, "HEAD", "");
    ListBucketIntelligentTieringConfigurations ["GetIntelligentTieringConfiguration"] |p, c| {
        p.bucket(c, "GET", "intelligent-tiering")
    };
    ListMultipartUploads ["ListBucketMultipartUploads"] |p, c| p.bucket(c, "GET", "uploads");
    ListObjectVersions ["ListBucketVersions"] |p, c| p.bucket(c, "GET", "versions");
    ListObjects ["ListBucket"] |p, c| p.bucket(c, "GET", "");
    ListObjectsV2 ["ListBucket"] |p, c| p.bucket(c, "GET", "").query("list-type", "2");
    ListParts ["ListMultipartUploadParts"] |p, c| p.upload(c, "GET");
    PostObject ["PutObject", "PutObjectTagging"] |p, c| {
        PostForm::new(c, &p.bucket, "new", "x").field("tagging", TAGGING).call()
    };
    PutBucketAccelerateConfiguration ["PutAccelerateConfiguration"] |p, c| {
        let suspended = "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>";
        p.bucket(c, "PUT", "accelerate").body(suspended)
    };
    PutBucketAcl ["PutBucketAcl"] |p, c| p.bucket(c, "PUT", "acl").header("x-amz-acl", "private");
    PutBucketCors ["PutBucketCORS"] |p, c| p.bucket(c, "PUT", "cors").body(CORS);
    PutBucketEncryption ["PutEncryptionConfiguration"] |p, c| p.bucket(c, "PUT", "encryption").body(ENCRYPTION);
    PutBucketIntelligentTieringConfiguration ["PutIntelligentTieringConfiguration"] |p, c| {
        p.bucket(c, "PUT", "intelligent-tiering").query("id", "a").body(TIERING)
    };
    PutBucketLifecycleConfiguration ["PutLifecycleConfiguration"] |p, c| {
        p.bucket(c, "PUT", "lifecycle").body(LIFECYCLE)
    };
    PutBucketOwnershipControls ["PutBucketOwnershipControls"] |p, c| {
        p.bucket(c, "PUT", "ownershipControls").body(OWNERSHIP)
    };
    PutBucketPolicy ["PutBucketPolicy"] |p, c| p.bucket(c, "PUT", "policy").body("{}");
    PutBucketReplication ["PutReplicationConfiguration"] |p, c| {
        p.bucket(c, "PUT", "replication").body("<ReplicationConfiguration/>")
    };
    PutBucketRequestPayment ["PutBucketRequestPayment"] |p, c| p.bucket(c, "PUT", "requestPayment").body(PAYER);
    PutBucketTagging ["PutBucketTagging"] |p, c| p.bucket(c, "PUT", "tagging").body(TAGGING);
    PutBucketVersioning ["PutBucketVersioning"] |p, c| p.bucket(c, "PUT", "versioning").body(VERSIONING);
    PutBucketWebsite ["PutBucketWebsite"] |p, c| p.bucket(c, "PUT", "website").body(WEBSITE);
    PutObject ["PutObject", "PutObjectTagging"] |p, c| {
        c.object("PUT", &p.bucket, "new").header("x-amz-tagging", "a=b").body("x")
    };
    PutObjectAcl ["PutObjectAcl"] |p, c| p.object(c, "PUT", "acl").header("x-amz-acl", "bucket-owner-full-control");
    PutObjectLegalHold ["PutObjectLegalHold"] |p, c| p.object(c, "PUT", "legal-hold").body(HOLD);
    PutObjectLockConfiguration ["PutBucketObjectLockConfiguration"] |p, c| {
        p.bucket(c, "PUT", "object-lock").body(LOCK)
    };
    PutObjectRetention ["PutObjectRetention"] |p, c| p.object(c, "PUT", "retention").body(RETENTION);
    PutObjectTagging ["PutObjectTagging"] |p, c| p.object(c, "PUT", "tagging").body(TAGGING);
    PutPublicAccessBlock ["PutBucketPublicAccessBlock"] |p, c| p.bucket(c, "PUT", "publicAccessBlock").body(BLOCK);
    RestoreObject ["RestoreObject"] |p, c| {
        c.object("POST", &p.bucket, "cold").query("restore", "").body(RESTORE)
    };
    UpdateObjectEncryption ["UpdateObjectEncryption"] |p, c| {
        let key = "<KMSKeyArn>no-arn</KMSKeyArn>";
        p.object(c, "PUT", "encryption").body(format!("<ObjectEncryption><SSE-KMS>{key}</SSE-KMS></ObjectEncryption>"))
    };
    UploadPart ["PutObject"] |p, c| p.upload(c, "PUT").query("partNumber", "1").body("x");
    UploadPartCopy ["PutObject", "GetObject"] |p, c| {
        p.upload(c, "PUT").query("partNumber", "1").header("x-amz-copy-source", &p.source())
    };
};

/// The names on the server's list of operations.
fn operations() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let source = std::fs::read_to_string(root.join("server/src/gate/routes.rs")).unwrap();
    let (_, list) = source.split_once("\noperations! {\n").unwrap();
    let (list, _) = list.split_once("\n}").unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_operation_has_a_row() {
    let mut rows: BTreeSet<String> = ROWS.iter().map(|row| row.operation.to_owned()).collect();
    rows.extend(WITHOUT_BUCKET.map(str::to_owned));
    assert_eq!(rows, operations());
}

/// A bucket with object lock, an object in it, and two accounts.
struct Scene {
    _cairn: Cairn,
    owner: Client,
    other: Client,
    bucket: String,
}

impl Scene {
    async fn new() -> Scene {
        let cairn = Cairn::start(Config::default());
        let (owner, other) = (cairn.client(), cairn.other_client());
        let bucket = "matrix".to_owned();
        let create = owner.bucket("PUT", &bucket).header("x-amz-bucket-object-lock-enabled", "true");
        create.send().await.expect(200);
        owner.put(&bucket, "key", "content").await;
        let cold = owner.object("PUT", &bucket, "cold").header("x-amz-storage-class", "GLACIER").body("content");
        cold.send().await.expect(200);
        Scene { _cairn: cairn, owner, other, bucket }
    }

    fn statement(&self, effect: &str, principal: Value, actions: &[&str]) -> Value {
        let arn = format!("arn:aws:s3:::{}", self.bucket);
        let resource: &[String] = &[arn.clone(), format!("{arn}/*")];
        // Each action with all resources: S3 refuses a statement none of whose actions can be done to any of them.
        json!({ "Effect": effect, "Principal": principal, "Action": actions, "Resource": resource })
    }

    async fn set_policy(&self, statements: &[Value]) {
        if statements.is_empty() {
            self.owner.bucket("DELETE", &self.bucket).query("policy", "").send().await.expect(204);
            return;
        }
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.owner.bucket("PUT", &self.bucket).query("policy", "").body(policy).send().await.expect(204);
    }

    /// What a call needs to be there, made by the other account, so that it may go on with the upload.
    async fn place(&self, row: &Row) -> Place {
        let is_of_upload = row.operation.contains("Part") || row.operation.contains("MultipartUpload");
        let mut upload = String::new();
        if is_of_upload && row.operation != "ListMultipartUploads" && row.operation != "CreateMultipartUpload" {
            self.set_policy(&[self.statement("Allow", json!({ "AWS": OTHER }), &["s3:PutObject"])]).await;
            let create = self.other.object("POST", &self.bucket, "upload").query("uploads", "");
            upload = create.send().await.expect(200).xml("UploadId");
        }
        Place { bucket: self.bucket.clone(), upload }
    }

    /// Whether a call is allowed under these statements.
    async fn allowed(&self, row: &Row, statements: &[Value], client: &Client, anonymous: bool) -> bool {
        let place = self.place(row).await;
        self.set_policy(statements).await;
        let call = (row.call)(&place, client);
        let call = if anonymous { call.anonymous() } else { call };
        let reply = call.send().await;
        let refused = match (row.operation, reply.status) {
            ("DeleteObjects", 200) => reply.text().contains("<Code>AccessDenied</Code>"),
            (_, status) => status == 403,
        };
        assert!(refused || reply.status < 500, "{}: {}", row.operation, reply.text());
        if refused && reply.status == 403 && !row.operation.starts_with("Head") {
            assert!(["AccessDenied", "InvalidAccessKeyId"].contains(&reply.code().as_str()), "{}", reply.text());
        }
        !refused
    }
}

#[tokio::test]
async fn every_operation_is_for_who_has_its_permissions() {
    let scene = Scene::new().await;
    let wrong = Client {
        credentials: cairn_tests::sigv4::Credentials {
            access_key: "AKIANOBODYSKEY000000".to_owned(),
            secret_key: "nobodys-secret".to_owned(),
            token: None,
        },
        ..scene.other.clone()
    };
    let named = || json!({ "AWS": OTHER });
    for row in ROWS {
        let Row { operation, actions, .. } = row;
        let allow = scene.statement("Allow", named(), actions);
        let public = scene.statement("Allow", json!("*"), actions);
        let unused = scene.statement("Allow", named(), &["s3:GetBucketNotification", "s3:GetMetricsConfiguration"]);
        let by_initiator = FOR_INITIATOR.contains(operation);
        let for_owner = FOR_OWNER.contains(operation);
        let about_version = !for_owner;

        assert!(!scene.allowed(row, &[], &scene.other, true).await, "{operation} anonymous");
        assert!(!scene.allowed(row, std::slice::from_ref(&public), &wrong, false).await, "{operation} wrong key");
        let without = scene.allowed(row, &[unused], &scene.other, false).await;
        assert_eq!(without, by_initiator, "{operation} without permission");
        assert!(
            scene.allowed(row, std::slice::from_ref(&allow), &scene.other, false).await,
            "{operation} with exactly it"
        );
        for action in actions.iter().filter(|_| about_version) {
            let rest: Vec<&str> = actions.iter().copied().filter(|other| other != action).collect();
            if !rest.is_empty() {
                let less = scene.statement("Allow", named(), &rest);
                assert!(!scene.allowed(row, &[less], &scene.other, false).await, "{operation} without {action}");
            }
            let deny = scene.statement("Deny", json!("*"), &[action]);
            let denied = [allow.clone(), deny];
            assert!(!scene.allowed(row, &denied, &scene.other, false).await, "{operation} denied {action}");
        }
    }
}

#[tokio::test]
async fn every_operation_is_denied_to_the_owner_by_a_deny() {
    let scene = Scene::new().await;
    for row in ROWS.iter().filter(|row| !FOR_OWNER.contains(&row.operation)) {
        for action in row.actions {
            let deny = scene.statement("Deny", json!("*"), &[action]);
            assert!(!scene.allowed(row, &[deny], &scene.owner, false).await, "{} denied {action}", row.operation);
        }
        if row.operation != "DeleteBucket" {
            assert!(scene.allowed(row, &[], &scene.owner, false).await, "{}", row.operation);
        }
    }
}

/// Makes a call.
type Make = Box<dyn Fn(&Client) -> Call>;

/// Operations that are about no bucket that is there already: the identity policies of who asks decide alone.
#[tokio::test]
async fn every_operation_without_a_bucket_is_for_who_has_its_permissions() {
    let scene = Scene::new().await;
    let account = |method: &'static str| {
        move |client: &Client| {
            let call = client.call(method, "/v20180820/configuration/publicAccessBlock");
            let call = call.header("x-amz-account-id", "100000000001");
            if method == "PUT" { call.body(BLOCK) } else { call }
        }
    };
    let create = |client: &Client| {
        let call = client.bucket("PUT", "matrix-new").header("x-amz-object-ownership", "ObjectWriter");
        call.header("x-amz-acl", "private").header("x-amz-bucket-object-lock-enabled", "true")
    };
    let created = [
        "s3:CreateBucket",
        "s3:PutBucketAcl",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketObjectLockConfiguration",
        "s3:PutBucketVersioning",
    ];
    let rows: [(&str, &[&str], Make); 5] = [
        ("CreateBucket", &created, Box::new(create)),
        ("DeleteAccountPublicAccessBlock", &["s3:PutAccountPublicAccessBlock"], Box::new(account("DELETE"))),
        ("GetAccountPublicAccessBlock", &["s3:GetAccountPublicAccessBlock"], Box::new(account("GET"))),
        ("ListBuckets", &["s3:ListAllMyBuckets"], Box::new(|client| client.call("GET", "/"))),
        ("PutAccountPublicAccessBlock", &["s3:PutAccountPublicAccessBlock"], Box::new(account("PUT"))),
    ];
    assert_eq!(rows.each_ref().map(|(operation, _, _)| *operation), WITHOUT_BUCKET);
    let refused = async |call: Call| call.send().await.status == 403;
    for (operation, actions, call) in rows {
        let with = async |statements: Value| {
            let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
            let token = scene.owner.action("sts", "GetFederationToken", &[("Name", "anna"), ("Policy", &policy)]);
            scene.owner.in_session(&token.send().await.expect(200))
        };
        let allow = |actions: &[&str]| json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
        assert!(refused(call(&scene.owner).anonymous()).await, "{operation} anonymous");
        let without = with(json!([allow(&["s3:GetObject"])])).await;
        assert!(refused(call(&without)).await, "{operation} without permission");
        for action in actions {
            let rest: Vec<&str> = actions.iter().copied().filter(|other| other != action).collect();
            if !rest.is_empty() {
                assert!(refused(call(&with(json!([allow(&rest)])).await)).await, "{operation} without {action}");
            }
            let deny = json!({ "Effect": "Deny", "Action": action, "Resource": "*" });
            let denied = with(json!([allow(actions), deny])).await;
            assert!(refused(call(&denied)).await, "{operation} denied {action}");
        }
        assert!(!refused(call(&with(json!([allow(actions)])).await)).await, "{operation} with exactly it");
    }
}
