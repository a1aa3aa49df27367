//! What the server says about its decisions: to who was refused, in the audit log, and to `cairn why`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use cairn_tests::{Cairn, Client, Config};
use serde_json::{Value, json};

const OWNER: &str = "100000000001";

/// Somebody of the first account who may do these actions, and no others.
async fn somebody(cairn: &Cairn, name: &str, actions: &[&str]) -> Client {
    let statement = json!({ "Sid": "Own", "Effect": "Allow", "Action": actions, "Resource": "*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let root = cairn.client();
    let token = root.action("sts", "GetFederationToken", &[("Name", name), ("Policy", &policy)]).send().await;
    root.in_session(&token.expect(200))
}

fn why(cairn: &Cairn, request_id: &str) -> (Option<i32>, String) {
    let output = cairn.calling_command(&["why", request_id]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The lines of the audit log, once there is one of this request: they are written behind the answer's back.
fn lines_with(cairn: &Cairn, request_id: &str) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(cairn.data_dir().join("audit/audit.jsonl")).unwrap_or_default();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if lines.iter().any(|line| line["request_id"] == request_id) {
            return lines;
        }
        assert!(Instant::now() < deadline, "no line of {request_id} in\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn who_is_refused_is_told_why_in_its_own_account_only() {
    let cairn = Cairn::shared();
    let owner = cairn.client();
    let bucket = owner.fresh_bucket("audit-told").await;
    owner.put(&bucket, "key", "content").await;
    let reader = somebody(&cairn, "reader", &["s3:ListBucket"]).await;
    let refused = reader.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    let expected = format!(
        "User: arn:aws:sts::{OWNER}:federated-user/reader is not authorized to perform: s3:GetObject on resource: \
         \"arn:aws:s3:::{bucket}/key\" because no session policy allows the s3:GetObject action"
    );
    assert_eq!(refused.xml("Message"), expected);
    assert_eq!(refused.xml("RequestId"), refused.header("x-amz-request-id").unwrap());
    for stranger in [cairn.other_client().get(&bucket, "key"), cairn.other_client().get(&bucket, "absent")] {
        assert_eq!(stranger.await.expect_error(403, "AccessDenied").xml("Message"), "Access Denied");
    }
    // Who may not list is told that, and not whether the key is there.
    let getter = somebody(&cairn, "getter", &["s3:GetObject"]).await;
    let hidden = getter.get(&bucket, "absent").await.expect_error(403, "AccessDenied");
    assert!(hidden.xml("Message").contains("s3:ListBucket"), "{}", hidden.xml("Message"));
}

#[tokio::test]
async fn the_command_shows_which_statement_decided_or_which_absence() {
    let cairn = Cairn::shared();
    let owner = cairn.client();
    let bucket = owner.fresh_bucket("audit-why").await;
    owner.put(&bucket, "key", "content").await;
    let reader = somebody(&cairn, "reader", &["s3:GetObject"]).await;
    let allowed = reader.get(&bucket, "key").await.expect(200);
    let (status, text) = why(&cairn, allowed.header("x-amz-request-id").unwrap());
    assert_eq!(status, Some(0), "{text}");
    for part in [
        "GetObject at ",
        &format!("by arn:aws:sts::{OWNER}:federated-user/reader"),
        "answered 200; allowed",
        &format!("allowed s3:GetObject on arn:aws:s3:::{bucket}/key"),
        "statement Own of session policy",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let refused = reader.object("PUT", &bucket, "key").body("x").send().await.expect(403);
    let (_, text) = why(&cairn, refused.header("x-amz-request-id").unwrap());
    assert!(text.contains("answered 403 AccessDenied; denied"), "{text}");
    assert!(text.contains("no session policy allows s3:PutObject"), "{text}");
    let (status, text) = why(&cairn, "0123456789ABCDEF");
    assert_eq!((status, text.contains("NoSuchDecision")), (Some(2), true), "{text}");
}

#[tokio::test]
async fn of_buckets_with_the_same_policy_the_one_that_decided_is_named() {
    let cairn = Cairn::shared();
    let owner = cairn.client();
    let deleter = somebody(&cairn, "deleter", &["s3:DeleteObject"]).await;
    let statement = json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "*" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    for purpose in ["audit-one", "audit-two"] {
        let bucket = owner.fresh_bucket(purpose).await;
        owner.bucket("PUT", &bucket).query("policy", "").body(policy.clone()).send().await.expect(204);
        let refused = deleter.object("DELETE", &bucket, "key").send().await.expect(403);
        let (_, text) = why(&cairn, refused.header("x-amz-request-id").unwrap());
        assert!(text.contains(&format!("policy of arn:aws:s3:::{bucket}")), "{text}");
    }
}

#[tokio::test]
async fn decisions_are_shown_to_whom_they_concern() {
    let cairn = Cairn::shared();
    let (owner, other) = (cairn.client(), cairn.other_client());
    let bucket = owner.fresh_bucket("audit-shown").await;
    let id = |reply: cairn_tests::wire::Reply| reply.header("x-amz-request-id").unwrap().to_owned();
    let own = id(owner.bucket("GET", &bucket).send().await);
    let theirs = id(other.bucket("GET", &bucket).send().await);
    let decision = |client: &Client, id: &str| {
        client.call("GET", &format!("/-/admin/v1/decisions/{id}")).scope("us-east-1", "cairn").send()
    };
    assert_eq!(decision(&owner, &own).await.status, 200);
    assert_eq!(decision(&other, &own).await.status, 404, "another account's request");
    assert_eq!(decision(&owner, &theirs).await.status, 200, "about one's own bucket");
    assert_eq!(decision(&other, &theirs).await.status, 200, "one's own request");
    let administrator = somebody(&cairn, "administrator", &["cairn:GetDecision"]).await;
    let user = somebody(&cairn, "user", &["s3:*"]).await;
    assert_eq!(decision(&administrator, &own).await.status, 200);
    assert_eq!(decision(&user, &own).await.status, 403);
}

#[tokio::test]
async fn every_request_has_its_line_without_secrets() {
    let mut cairn = Cairn::start(Config::default());
    let owner = cairn.client();
    let bucket = owner.fresh_bucket("audited").await;
    owner.put(&bucket, "key", "content").await;
    owner.object("GET", &bucket, "key").presigned(60).header("user-agent", "test/1").send().await.expect(200);
    let user = somebody(&cairn, "user", &["s3:ListAllMyBuckets"]).await;
    user.call("GET", "/").send().await.expect(200);
    let mut wrong = owner.clone();
    wrong.credentials.secret_key = "another secret".to_owned();
    let last = wrong.get(&bucket, "key").await.expect_error(403, "SignatureDoesNotMatch");
    let lines = lines_with(&cairn, last.header("x-amz-request-id").unwrap());
    let of = |operation: &str| {
        let found: Vec<&Value> = lines.iter().filter(|line| line["operation"] == operation).collect();
        found.last().copied().cloned().unwrap_or_else(|| panic!("no line of {operation}"))
    };
    let put = of("PutObject");
    assert_eq!(put["principal"], format!("arn:aws:iam::{OWNER}:root"));
    assert_eq!(put["access_key"], "cairn-test-access");
    assert_eq!(
        (&put["source_ip"], &put["status"], &put["received_bytes"]),
        (&json!("127.0.0.1"), &json!(200), &json!(7))
    );
    assert_eq!(put["decisions"][0]["resource"], format!("arn:aws:s3:::{bucket}/key"));
    assert_eq!(put["decisions"][0]["because"], "it is the root of the account");
    assert_eq!(of("ListBuckets")["decisions"][0]["action"], "s3:ListAllMyBuckets");
    assert_eq!(of("GetObject")["decision"], "undecided");
    assert!(lines.iter().any(|line| line["user_agent"] == "test/1" && line["status"] == 200));
    let text = fs::read_to_string(cairn.data_dir().join("audit/audit.jsonl")).unwrap();
    let token = user.credentials.token.unwrap();
    let secrets = [owner.credentials.secret_key.as_str(), &user.credentials.secret_key, &token, "ignature="];
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    // The server's own log has the same in short.
    let log = cairn.log();
    let own = log.lines().find(|line| line.contains(put["request_id"].as_str().unwrap()));
    let own: Value = serde_json::from_str(own.unwrap_or_else(|| panic!("no line of it in\n{log}"))).unwrap();
    for (name, value) in [
        ("principal", &put["principal"]),
        ("decision", &put["decision"]),
        ("action", &json!("s3:PutObject")),
        ("resource", &put["decisions"][0]["resource"]),
        ("because", &put["decisions"][0]["because"]),
    ] {
        assert_eq!(own[name], *value, "{name}");
    }
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    // What is no longer in memory is in the log.
    let id = put["request_id"].as_str().unwrap().to_owned();
    cairn.restart();
    let (status, text) = why(&cairn, &id);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("PutObject") && text.contains("it is the root of the account"), "{text}");
}

#[tokio::test]
async fn a_user_is_decided_about_by_its_policies_and_its_groups_and_leaves_a_trace() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let bucket = root.fresh_bucket("audit-user").await;
    root.put(&bucket, "key", "content").await;
    let done = async |action: &str, parameters: &[(&str, &str)]| {
        root.action("iam", action, parameters).send().await.expect(200)
    };
    done("CreateUser", &[("UserName", "auditee")]).await;
    let key = done("CreateAccessKey", &[("UserName", "auditee")]).await;
    let user = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    let policy = |effect: &str, action: &str| {
        let statement = json!({ "Effect": effect, "Action": action, "Resource": format!("arn:aws:s3:::{bucket}/*") });
        json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
    };
    let refused = user.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    assert!(refused.xml("Message").ends_with("because no identity-based policy allows the s3:GetObject action"));
    done("CreateGroup", &[("GroupName", "readers")]).await;
    done("AddUserToGroup", &[("GroupName", "readers"), ("UserName", "auditee")]).await;
    let allow = policy("Allow", "s3:GetObject");
    done("PutGroupPolicy", &[("GroupName", "readers"), ("PolicyName", "read"), ("PolicyDocument", &allow)]).await;
    let read = user.get(&bucket, "key").await.expect(200);
    let (_, text) = why(&cairn, read.header("x-amz-request-id").unwrap());
    assert!(text.contains("inline policy read of") && text.contains("group/readers"), "{text}");
    let deny = policy("Deny", "s3:Get*");
    done("PutUserPolicy", &[("UserName", "auditee"), ("PolicyName", "no"), ("PolicyDocument", &deny)]).await;
    let denied = user.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    assert!(denied.xml("Message").ends_with("with an explicit deny in an identity-based policy"));
    let (_, text) = why(&cairn, denied.header("x-amz-request-id").unwrap());
    assert!(text.contains("denied by statement 1 of inline policy no of"), "{text}");
    // Calls of IAM have their decisions, too.
    let call = user.action("iam", "ListUsers", &[]).send().await.expect(403);
    let (_, text) = why(&cairn, call.header("x-amz-request-id").unwrap());
    assert!(text.contains("denied iam:ListUsers") && text.contains("no identity-based policy allows"), "{text}");
    let used = done("GetAccessKeyLastUsed", &[("AccessKeyId", &key.xml("AccessKeyId"))]).await;
    assert!(["s3", "iam"].contains(&used.xml("ServiceName").as_str()), "{}", used.text());
}
