//! Users and roles as resources remember them: policies by unique ids, so that a name that changes hands takes nothing along,
//! and multipart uploads by who initiated them.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_tests::multipart::Upload;
use cairn_tests::sigv4::encode;
use cairn_tests::wire::Reply;
use cairn_tests::{Cairn, Client};
use serde_json::{Value, json};

const ACCOUNT: &str = "100000000001";
const OTHER: &str = "100000000002";

/// Two accounts that make users and roles.
struct Scene {
    cairn: Arc<Cairn>,
    root: Client,
    other: Client,
}

/// A user and its keys.
struct Made {
    client: Client,
    id: String,
}

impl Scene {
    fn new() -> Scene {
        let cairn = Cairn::shared();
        let (root, other) = (cairn.client(), cairn.other_client());
        Scene { cairn, root, other }
    }

    async fn user(&self, of: &Client, name: &str) -> Made {
        let id = iam(of, "CreateUser", &[("UserName", name)]).await.xml("UserId");
        let key = iam(of, "CreateAccessKey", &[("UserName", name)]).await;
        Made { client: self.cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey")), id }
    }

    async fn delete_user(&self, of: &Client, made: &Made, name: &str) {
        let key = made.client.credentials.access_key.as_str();
        iam(of, "DeleteAccessKey", &[("UserName", name), ("AccessKeyId", key)]).await;
        iam(of, "DeleteUser", &[("UserName", name)]).await;
    }
}

async fn iam(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await.expect(200)
}

fn user_arn(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:user/{name}")
}

fn document(statement: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// Lets somebody read what is in a bucket.
fn readable_by(bucket: &str, principal: Value) -> String {
    let resource = format!("arn:aws:s3:::{bucket}/*");
    document(&json!({ "Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": resource }))
}

async fn put_policy(client: &Client, bucket: &str, text: &str) -> Reply {
    client.bucket("PUT", bucket).query("policy", "").body(text.to_owned()).send().await
}

async fn shown_policy(client: &Client, bucket: &str) -> String {
    client.bucket("GET", bucket).query("policy", "").send().await.expect(200).text()
}

#[tokio::test]
async fn a_bucket_policy_names_whoever_had_the_name_when_it_was_put() {
    let scene = Scene::new();
    let bucket = scene.root.fresh_bucket("named").await;
    scene.root.put(&bucket, "key", "content").await;
    let anna = scene.user(&scene.root, "named-anna").await;
    let text = readable_by(&bucket, json!({ "AWS": user_arn(ACCOUNT, "named-anna") }));
    put_policy(&scene.root, &bucket, &text).await.expect(204);
    assert_eq!(shown_policy(&scene.root, &bucket).await, text);
    anna.client.get(&bucket, "key").await.expect(200);

    // Another name is the same user.
    let rename = [("UserName", "named-anna"), ("NewUserName", "named-annika")];
    iam(&scene.root, "UpdateUser", &rename).await;
    anna.client.get(&bucket, "key").await.expect(200);
    assert!(shown_policy(&scene.root, &bucket).await.contains(&user_arn(ACCOUNT, "named-annika")));

    // The same name is not.
    scene.delete_user(&scene.root, &anna, "named-annika").await;
    let second = scene.user(&scene.root, "named-anna").await;
    second.client.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    let shown = shown_policy(&scene.root, &bucket).await;
    assert_eq!(shown, text.replace(&user_arn(ACCOUNT, "named-anna"), &anna.id));
    // As at AWS, what names somebody who is gone cannot be put again.
    let again = put_policy(&scene.root, &bucket, &shown).await.expect_error(400, "MalformedPolicy");
    assert_eq!(again.xml("Message"), "Invalid principal in policy");
    put_policy(&scene.root, &bucket, &shown.replace(&anna.id, &second.id)).await.expect(204);
    second.client.get(&bucket, "key").await.expect(200);
}

#[tokio::test]
async fn a_bucket_policy_names_only_who_is_there() {
    let scene = Scene::new();
    let bucket = scene.root.fresh_bucket("absent").await;
    scene.user(&scene.other, "absent-anna").await;
    for absent in [
        user_arn(ACCOUNT, "absent-nobody"),
        user_arn(ACCOUNT, "absent-anna"),
        user_arn(OTHER, "team/absent-anna"),
        user_arn(OTHER, "ABSENT-anna"),
        format!("arn:aws:iam::{ACCOUNT}:role/absent"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/absent/job"),
        "AROAABCDEFGHIJKLMNOPQ".to_owned(),
    ] {
        let principals = json!({ "AWS": [user_arn(OTHER, "absent-anna"), absent] });
        let refused = put_policy(&scene.root, &bucket, &readable_by(&bucket, principals)).await;
        refused.expect_error(400, "MalformedPolicy");
    }
    scene.root.bucket("GET", &bucket).query("policy", "").send().await.expect_error(404, "NoSuchBucketPolicy");
}

#[tokio::test]
async fn a_bucket_policy_lets_in_a_user_of_another_account_and_not_the_next_of_that_name() {
    let scene = Scene::new();
    let bucket = scene.root.fresh_bucket("across").await;
    scene.root.put(&bucket, "key", "content").await;
    let may = document(&json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }));
    let grant = [("UserName", "across-anna"), ("PolicyName", "own"), ("PolicyDocument", may.as_str())];
    let anna = scene.user(&scene.other, "across-anna").await;
    iam(&scene.other, "PutUserPolicy", &grant).await;
    let text = readable_by(&bucket, json!({ "AWS": user_arn(OTHER, "across-anna") }));
    put_policy(&scene.root, &bucket, &text).await.expect(204);
    anna.client.get(&bucket, "key").await.expect(200);
    iam(&scene.other, "DeleteUserPolicy", &grant[..2]).await;
    scene.delete_user(&scene.other, &anna, "across-anna").await;
    let second = scene.user(&scene.other, "across-anna").await;
    iam(&scene.other, "PutUserPolicy", &grant).await;
    second.client.get(&bucket, "key").await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_role_trusts_whoever_had_the_name_when_it_was_told() {
    let scene = Scene::new();
    let anna = scene.user(&scene.root, "trusted-anna").await;
    let trust = |principal: &str| {
        document(&json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "sts:AssumeRole" }))
    };
    let by_name = trust(&user_arn(ACCOUNT, "trusted-anna"));
    iam(&scene.root, "CreateRole", &[("RoleName", "trusting"), ("AssumeRolePolicyDocument", &by_name)]).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/trusting");
    let assume =
        |client: &Client| client.action("sts", "AssumeRole", &[("RoleArn", &arn), ("RoleSessionName", "job")]).send();
    let shown = async || iam(&scene.root, "GetRole", &[("RoleName", "trusting")]).await.xml("AssumeRolePolicyDocument");
    assert_eq!(shown().await, encode(&by_name));
    assume(&anna.client).await.expect(200);
    scene.delete_user(&scene.root, &anna, "trusted-anna").await;
    let second = scene.user(&scene.root, "trusted-anna").await;
    assume(&second.client).await.expect_error(403, "AccessDenied");
    assert_eq!(shown().await, encode(&trust(&anna.id)));
    let update = |text: &str| {
        let parameters = [("RoleName", "trusting"), ("PolicyDocument", text)];
        scene.root.action("iam", "UpdateAssumeRolePolicy", &parameters).send()
    };
    for absent in [trust(&anna.id), trust(&user_arn(ACCOUNT, "trusted-nobody")), trust("999999999999")] {
        let refused = update(&absent).await.expect_error(400, "MalformedPolicyDocument");
        assert!(refused.xml("Message").starts_with("Invalid principal in policy"), "{}", refused.text());
    }
    update(&by_name).await.expect(200);
    assume(&second.client).await.expect(200);
}

#[tokio::test]
async fn a_policy_for_a_role_or_a_session_of_one_is_not_for_the_next_role_of_that_name() {
    let scene = Scene::new();
    let bucket = scene.root.fresh_bucket("roles").await;
    scene.root.put(&bucket, "key", "content").await;
    let anna = scene.user(&scene.root, "roles-anna").await;
    let trust = json!({ "AWS": user_arn(ACCOUNT, "roles-anna") });
    let trust = document(&json!({ "Effect": "Allow", "Principal": trust, "Action": "sts:AssumeRole" }));
    let role = [("RoleName", "roles-reader"), ("AssumeRolePolicyDocument", trust.as_str())];
    let session = async || {
        iam(&scene.root, "CreateRole", &role).await;
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/roles-reader");
        let assume = [("RoleArn", arn.as_str()), ("RoleSessionName", "job")];
        anna.client.in_session(&anna.client.action("sts", "AssumeRole", &assume).send().await.expect(200))
    };
    let first = session().await;
    for principal in [
        format!("arn:aws:iam::{ACCOUNT}:role/roles-reader"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/roles-reader/job"),
    ] {
        let text = readable_by(&bucket, json!({ "AWS": principal }));
        put_policy(&scene.root, &bucket, &text).await.expect(204);
        first.get(&bucket, "key").await.expect(200);
        assert_eq!(shown_policy(&scene.root, &bucket).await, text);
    }
    iam(&scene.root, "DeleteRole", &role[..1]).await;
    session().await.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    assert!(shown_policy(&scene.root, &bucket).await.contains(":job\""));
}

/// What a section of a document says of who initiated an upload.
fn initiator(reply: &Reply) -> (String, String) {
    let text = reply.text();
    let (_, rest) = text.split_once("<Initiator>").unwrap();
    let section = rest.split_once("</Initiator>").unwrap().0;
    let element = |name| cairn_tests::xml::text(section, name).unwrap();
    (element("ID"), element("DisplayName"))
}

#[tokio::test]
async fn an_upload_is_of_the_user_who_initiated_it() {
    let scene = Scene::new();
    let bucket = scene.root.fresh_bucket("initiated").await;
    let (anna, bob) = (scene.user(&scene.root, "init-anna").await, scene.user(&scene.root, "init-bob").await);
    let put = document(&json!({ "Effect": "Allow", "Action": "s3:PutObject", "Resource": "*" }));
    for name in ["init-anna", "init-bob"] {
        iam(&scene.root, "PutUserPolicy", &[("UserName", name), ("PolicyName", "put"), ("PolicyDocument", &put)]).await;
    }
    let upload = Upload::create(&anna.client, &bucket, "key").await;
    upload.part(1, "content").send().await.expect(200);
    let expected = (user_arn(ACCOUNT, "init-anna"), "init-anna".to_owned());
    // Its initiator may list and end it, and nobody else without a permission.
    assert_eq!(initiator(&upload.call("GET").send().await.expect(200)), expected);
    let uploads = scene.root.bucket("GET", &bucket).query("uploads", "").send().await.expect(200);
    assert_eq!(initiator(&uploads), expected);
    let by_bob = |method| bob.client.object(method, &bucket, "key").query("uploadId", &upload.id).send();
    by_bob("GET").await.expect_error(403, "AccessDenied");
    by_bob("DELETE").await.expect_error(403, "AccessDenied");
    upload.call("DELETE").send().await.expect(204);
    // Where a deny speaks of it, not even the initiator.
    let upload = Upload::create(&anna.client, &bucket, "key").await;
    let deny = document(&json!({ "Effect": "Deny", "Action": "s3:AbortMultipartUpload", "Resource": "*" }));
    iam(&scene.root, "PutUserPolicy", &[("UserName", "init-anna"), ("PolicyName", "deny"), ("PolicyDocument", &deny)])
        .await;
    upload.call("DELETE").send().await.expect_error(403, "AccessDenied");
    // The root's uploads are the account's.
    let own = Upload::create(&scene.root, &bucket, "own").await;
    assert_eq!(initiator(&own.call("GET").send().await.expect(200)).0, format!("{:064x}", 1));
}
