//! Roles: who may assume them, what their sessions may do, and how long they live.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use cairn_tests::client::Client;
use cairn_tests::{Cairn, Call, Reply};

const ACCOUNT: &str = "100000000001";
const OTHER_ACCOUNT: &str = "100000000002";

async fn iam(cairn: &Cairn, action: &str, parameters: &[(&str, &str)]) -> Reply {
    cairn.client().action("iam", action, parameters).send().await.expect(200)
}

/// A user with a key, who may do what the statement says.
async fn user(cairn: &Cairn, name: &str, statement: &str) -> Client {
    user_of(&cairn.client(), name, statement).await
}

async fn user_of(root: &Client, name: &str, statement: &str) -> Client {
    let iam = |action: &'static str, parameters: Vec<(&'static str, String)>| async move {
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        root.action("iam", action, &parameters).send().await.expect(200)
    };
    iam("CreateUser", vec![("UserName", name.to_owned())]).await;
    if !statement.is_empty() {
        let document = policy(statement);
        iam(
            "PutUserPolicy",
            vec![("UserName", name.to_owned()), ("PolicyName", "own".to_owned()), ("PolicyDocument", document)],
        )
        .await;
    }
    let key = iam("CreateAccessKey", vec![("UserName", name.to_owned())]).await;
    let mut client = root.clone();
    client.credentials.access_key = key.xml("AccessKeyId");
    client.credentials.secret_key = key.xml("SecretAccessKey");
    client
}

fn policy(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
}

/// A role that these may assume, and whose sessions may do what the statement says.
async fn role(cairn: &Cairn, name: &str, trust: &str, statement: &str) -> String {
    iam(cairn, "CreateRole", &[("RoleName", name), ("AssumeRolePolicyDocument", &policy(trust))]).await;
    let document = policy(statement);
    let put = [("RoleName", name), ("PolicyName", "own"), ("PolicyDocument", document.as_str())];
    iam(cairn, "PutRolePolicy", &put).await;
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn trusts(principal: &str, condition: &str) -> String {
    let condition = if condition.is_empty() { String::new() } else { format!(r#","Condition":{condition}"#) };
    format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]{condition}}}"#
    )
}

const ALL_OF_S3: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
const ASSUME_ANY: &str = r#"{"Effect":"Allow","Action":"sts:*","Resource":"*"}"#;

fn assume(client: &Client, role: &str, more: &[(&str, &str)]) -> Call {
    let parameters = [&[("RoleArn", role), ("RoleSessionName", "job")][..], more].concat();
    client.action("sts", "AssumeRole", &parameters)
}

async fn session(client: &Client, role: &str, more: &[(&str, &str)]) -> Client {
    client.in_session(&assume(client, role, more).send().await.expect(200))
}

fn arn_of_user(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

#[tokio::test]
async fn a_session_of_a_role_is_the_role_and_may_what_it_may() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("role-rights").await;
    let anna = user(&cairn, "rights-anna", "").await;
    let read = format!(r#"{{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/*"}}"#);
    let reader = role(&cairn, "rights-reader", &trusts(&arn_of_user("rights-anna"), ""), &read).await;
    cairn.client().put(&bucket, "key", "body").await;

    let reply = assume(&anna, &reader, &[("DurationSeconds", "900")]).send().await.expect(200);
    assert_eq!(reply.xml("Arn"), format!("arn:aws:sts::{ACCOUNT}:assumed-role/rights-reader/job"));
    assert!(reply.xml("AssumedRoleId").starts_with("AROA") && reply.xml("AssumedRoleId").ends_with(":job"));
    let session = anna.in_session(&reply);
    let who = session.action("sts", "GetCallerIdentity", &[]).send().await.expect(200);
    assert_eq!((who.xml("Arn"), who.xml("UserId")), (reply.xml("Arn"), reply.xml("AssumedRoleId")));
    assert_eq!(session.get(&bucket, "key").await.expect(200).text(), "body");
    session.object("PUT", &bucket, "key").body("x").send().await.expect_error(403, "AccessDenied");
    // The user herself has no rights.
    anna.get(&bucket, "key").await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn only_whom_the_trust_policy_names_may_assume() {
    let cairn = Cairn::shared();
    let (anna, bert) = (user(&cairn, "trust-anna", ASSUME_ANY).await, user(&cairn, "trust-bert", "").await);
    let for_anna = role(&cairn, "trust-anna-only", &trusts(&arn_of_user("trust-anna"), ""), ALL_OF_S3).await;
    let for_account = role(&cairn, "trust-account", &trusts(ACCOUNT, ""), ALL_OF_S3).await;
    assume(&anna, &for_anna, &[]).send().await.expect(200);
    // The account decides by its identity policies who of it may.
    assume(&anna, &for_account, &[]).send().await.expect(200);
    let refused = assume(&bert, &for_account, &[]).send().await.expect_error(403, "AccessDenied");
    let expected = format!(
        "User: {} is not authorized to perform: sts:AssumeRole on resource: {for_account}",
        arn_of_user("trust-bert")
    );
    assert_eq!(refused.xml("Message"), expected);
    assume(&bert, &for_anna, &[]).send().await.expect_error(403, "AccessDenied");
    // One that is not there is told alike.
    let nothing = format!("arn:aws:iam::{ACCOUNT}:role/trust-nothing");
    let absent = assume(&bert, &nothing, &[]).send().await.expect_error(403, "AccessDenied");
    assert_eq!(absent.xml("Message"), expected.replace(&for_account, &nothing));
    // The root may do everything but this.
    assume(&cairn.client(), &for_account, &[]).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_deputy_needs_the_external_id() {
    let cairn = Cairn::shared();
    let deputy = user_of(&cairn.other_client(), "external-deputy", ASSUME_ANY).await;
    let powerless = user_of(&cairn.other_client(), "external-powerless", "").await;
    let condition = r#"{"StringEquals":{"sts:ExternalId":"customer-7"}}"#;
    let trust = trusts(&format!("arn:aws:iam::{OTHER_ACCOUNT}:root"), condition);
    let role = role(&cairn, "external-role", &trust, ALL_OF_S3).await;
    assume(&deputy, &role, &[("ExternalId", "customer-7")]).send().await.expect(200);
    for more in [&[][..], &[("ExternalId", "customer-8")]] {
        assume(&deputy, &role, more).send().await.expect_error(403, "AccessDenied");
    }
    // Both accounts have to allow it.
    assume(&powerless, &role, &[("ExternalId", "customer-7")]).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_session_policy_only_ever_takes_away() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("session-policy").await;
    cairn.client().put(&bucket, "key", "body").await;
    let anna = user(&cairn, "bounded-anna", "").await;
    let read = format!(
        r#"{{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::{bucket}/*"}}"#
    );
    let role = role(&cairn, "bounded-role", &trusts(&arn_of_user("bounded-anna"), ""), &read).await;
    let get_only = policy(r#"{"Effect":"Allow","Action":["s3:GetObject","s3:DeleteObject"],"Resource":"*"}"#);
    for more in [
        &[("Policy", get_only.as_str())][..],
        &[("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")],
    ] {
        let session = session(&anna, &role, more).await;
        session.get(&bucket, "key").await.expect(200);
        session.object("PUT", &bucket, "key").body("x").send().await.expect_error(403, "AccessDenied");
        session.object("DELETE", &bucket, "key").send().await.expect_error(403, "AccessDenied");
    }
    for (more, code) in [
        (("Policy", "{}"), "MalformedPolicyDocument"),
        (("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/NoSuchPolicy"), "ValidationError"),
    ] {
        assume(&anna, &role, &[more]).send().await.expect_error(400, code);
    }
}

#[tokio::test]
async fn tags_of_a_session_decide_and_are_passed_on_if_they_are_transitive() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("session-tags").await;
    cairn.client().put(&bucket, "red/key", "body").await;
    cairn.client().put(&bucket, "blue/key", "body").await;
    let anna = user(&cairn, "tags-anna", "").await;
    let by_tag = format!(
        r#"{{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/${{aws:PrincipalTag/team}}/*"}}"#
    );
    let first = role(&cairn, "tags-first", &trusts(&arn_of_user("tags-anna"), ""), &by_tag).await;
    let second = role(&cairn, "tags-second", &trusts(&first, ""), &by_tag).await;
    let tag = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red")];
    for transitive in [true, false] {
        let more =
            if transitive { [&tag[..], &[("TransitiveTagKeys.member.1", "team")]].concat() } else { tag.to_vec() };
        let one = session(&anna, &first, &more).await;
        one.get(&bucket, "red/key").await.expect(200);
        one.get(&bucket, "blue/key").await.expect_error(403, "AccessDenied");
        let two = session(&one, &second, &[]).await;
        let status = two.get(&bucket, "red/key").await.status;
        assert_eq!(status, if transitive { 200 } else { 403 });
        if transitive {
            let other = [("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "blue")];
            assume(&one, &second, &other).send().await.expect_error(400, "InvalidParameterValue");
        }
    }
}

#[tokio::test]
async fn a_role_lasts_as_long_as_it_says_and_an_hour_from_a_role() {
    let cairn = Cairn::shared();
    let anna = user(&cairn, "long-anna", "").await;
    let first = role(&cairn, "long-first", &trusts(&arn_of_user("long-anna"), ""), ALL_OF_S3).await;
    let second = role(&cairn, "long-second", &trusts(&first, ""), ALL_OF_S3).await;
    assume(&anna, &first, &[("DurationSeconds", "3601")]).send().await.expect_error(400, "ValidationError");
    for role in ["long-first", "long-second"] {
        iam(&cairn, "UpdateRole", &[("RoleName", role), ("MaxSessionDuration", "7200")]).await;
    }
    let one = session(&anna, &first, &[("DurationSeconds", "7200")]).await;
    assume(&one, &second, &[("DurationSeconds", "3601")]).send().await.expect_error(400, "ValidationError");
    assume(&one, &second, &[("DurationSeconds", "3600")]).send().await.expect(200);
}

#[tokio::test]
async fn a_source_identity_stays() {
    let cairn = Cairn::shared();
    let anna = user(&cairn, "source-anna", "").await;
    let first = role(&cairn, "source-first", &trusts(&arn_of_user("source-anna"), ""), ALL_OF_S3).await;
    let condition = r#"{"StringEquals":{"sts:SourceIdentity":"anna"}}"#;
    let second = role(&cairn, "source-second", &trusts(&first, condition), ALL_OF_S3).await;
    let one = session(&anna, &first, &[("SourceIdentity", "anna")]).await;
    let reply = assume(&one, &second, &[]).send().await.expect(200);
    assert_eq!(reply.xml("SourceIdentity"), "anna");
    assume(&one, &second, &[("SourceIdentity", "bert")]).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_session_ends_with_its_role_and_a_new_role_of_the_name_is_another() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("role-gone").await;
    cairn.client().put(&bucket, "key", "body").await;
    let anna = user(&cairn, "gone-anna", "").await;
    let trust = trusts(&arn_of_user("gone-anna"), "");
    let arn = role(&cairn, "gone-role", &trust, ALL_OF_S3).await;
    let session = session(&anna, &arn, &[]).await;
    session.get(&bucket, "key").await.expect(200);
    iam(&cairn, "DeleteRolePolicy", &[("RoleName", "gone-role"), ("PolicyName", "own")]).await;
    session.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    iam(&cairn, "DeleteRole", &[("RoleName", "gone-role")]).await;
    session.get(&bucket, "key").await.expect_error(403, "InvalidAccessKeyId");
    role(&cairn, "gone-role", &trust, ALL_OF_S3).await;
    session.get(&bucket, "key").await.expect_error(403, "InvalidAccessKeyId");
    session.action("sts", "GetCallerIdentity", &[]).send().await.expect_error(403, "InvalidClientTokenId");
}

#[tokio::test]
async fn older_sessions_of_a_role_can_be_revoked() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("role-revoked").await;
    cairn.client().put(&bucket, "key", "body").await;
    let anna = user(&cairn, "revoked-anna", "").await;
    let arn = role(&cairn, "revoked-role", &trusts(&arn_of_user("revoked-anna"), ""), ALL_OF_S3).await;
    let old = session(&anna, &arn, &[]).await;
    old.get(&bucket, "key").await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap();
    let deny = policy(&format!(
        r#"{{"Effect":"Deny","Action":"*","Resource":"*","Condition":{{"DateLessThan":{{"aws:TokenIssueTime":"{now}"}}}}}}"#
    ));
    let put = [("RoleName", "revoked-role"), ("PolicyName", "revoke"), ("PolicyDocument", deny.as_str())];
    iam(&cairn, "PutRolePolicy", &put).await;
    old.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    session(&anna, &arn, &[]).await.get(&bucket, "key").await.expect(200);
}

#[tokio::test]
async fn a_users_session_ends_with_the_key_that_asked_for_it() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("key-off").await;
    cairn.client().put(&bucket, "key", "body").await;
    let anna = user(&cairn, "off-anna", ALL_OF_S3).await;
    let reply = anna.action("sts", "GetSessionToken", &[]).send().await.expect(200);
    let session = anna.in_session(&reply);
    session.get(&bucket, "key").await.expect(200);
    let key = anna.credentials.access_key.clone();
    let set = |status: &'static str| {
        let (cairn, key) = (Arc::clone(&cairn), key.clone());
        async move {
            let set = [("UserName", "off-anna"), ("AccessKeyId", key.as_str()), ("Status", status)];
            iam(&cairn, "UpdateAccessKey", &set).await;
        }
    };
    set("Inactive").await;
    session.get(&bucket, "key").await.expect_error(403, "InvalidAccessKeyId");
    set("Active").await;
    session.get(&bucket, "key").await.expect(200);
    iam(&cairn, "DeleteAccessKey", &[("UserName", "off-anna"), ("AccessKeyId", &key)]).await;
    session.get(&bucket, "key").await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn a_federated_user_may_what_both_its_policy_and_its_user_may() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("federated").await;
    cairn.client().put(&bucket, "key", "body").await;
    let statement = r#"{"Effect":"Allow","Action":["s3:GetObject","sts:GetFederationToken"],"Resource":"*"}"#;
    let broker = user(&cairn, "federated-broker", statement).await;
    let ask =
        |more: &[(&str, &str)]| broker.action("sts", "GetFederationToken", &[&[("Name", "guest")][..], more].concat());
    let all = policy(ALL_OF_S3);
    let reply = ask(&[("Policy", &all)]).send().await.expect(200);
    assert_eq!(reply.xml("FederatedUserId"), format!("{ACCOUNT}:guest"));
    let guest = broker.in_session(&reply);
    guest.get(&bucket, "key").await.expect(200);
    guest.object("PUT", &bucket, "key").body("x").send().await.expect_error(403, "AccessDenied");
    // Without a session policy it may nothing.
    let nothing = broker.in_session(&ask(&[]).send().await.expect(200));
    nothing.get(&bucket, "key").await.expect_error(403, "AccessDenied");
    guest.action("sts", "GetSessionToken", &[]).send().await.expect_error(403, "AccessDenied");
    guest.action("iam", "ListUsers", &[]).send().await.expect_error(403, "InvalidClientTokenId");
    // And who has no permission cannot ask for one.
    let other = user(&cairn, "federated-other", ALL_OF_S3).await;
    other.action("sts", "GetFederationToken", &[("Name", "guest")]).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn parameters_have_their_bounds() {
    let cairn = Cairn::shared();
    let anna = user(&cairn, "params-anna", "").await;
    let arn = role(&cairn, "params-role", &trusts(&arn_of_user("params-anna"), ""), ALL_OF_S3).await;
    let ask = |parameters: &[(&str, &str)]| anna.action("sts", "AssumeRole", parameters);
    let role = ("RoleArn", arn.as_str());
    for parameters in [
        &[role][..],
        &[("RoleSessionName", "job")],
        &[role, ("RoleSessionName", "a/b")],
        &[("RoleArn", "params-role"), ("RoleSessionName", "job")],
        &[role, ("RoleSessionName", "job"), ("DurationSeconds", "899")],
        &[role, ("RoleSessionName", "job"), ("ExternalId", "x")],
        &[role, ("RoleSessionName", "job"), ("TokenCode", "123456")],
    ] {
        ask(parameters).send().await.expect_error(400, "ValidationError");
    }
}
