//! The API of IAM: users, groups, roles, policies, keys and devices, through the real binary.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::client::{Client, REGION};
use cairn_tests::harness::{Cairn, Config, files_below};
use cairn_tests::wire::Reply;
use cairn_tests::{totp, xml};

const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
const READ: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
const TRUST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
const ACCOUNT: &str = "100000000001";

/// Two accounts, and one whose root administers the first, with a user that is declared.
const DECLARED: &str = r#"
[[account]]
id = "100000000011"
canonical_id = "aaaa11"
display_name = "operator"
administers = ["100000000012"]
root_key = { access_key = "operator-access", secret_key = "operator-secret-key" }

[[account]]
id = "100000000012"
canonical_id = "aaaa12"
display_name = "operated"

[[account.user]]
name = "Main"
policies = ["arn:aws:iam::aws:policy/AdministratorAccess"]
keys = [{ access_key = "main-user-access", secret_key = "main-user-secret-key" }]
"#;

struct Server {
    cairn: Arc<Cairn>,
    root: Client,
}

fn server() -> Server {
    let cairn = Cairn::shared();
    let root = cairn.client();
    Server { cairn, root }
}

async fn iam(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await
}

/// A call that must succeed.
async fn done(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    let reply = iam(client, action, parameters).await;
    assert_eq!(reply.status, 200, "{action}: {}", reply.text());
    reply
}

/// A call that must fail so.
async fn refused(client: &Client, action: &str, parameters: &[(&str, &str)], status: u16, code: &str) {
    let reply = iam(client, action, parameters).await;
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{action}: {}", reply.text());
}

/// The seed of a device that was just made, which is told as the base 64 of its base 32.
fn seed_of(made: &Reply) -> Vec<u8> {
    let base32 = STANDARD.decode(made.xml("Base32StringSeed")).unwrap();
    totp::seed(std::str::from_utf8(&base32).unwrap())
}

/// A user with a key, as a client.
async fn user(server: &Server, name: &str) -> Client {
    done(&server.root, "CreateUser", &[("UserName", name)]).await;
    key_of(server, name).await
}

async fn key_of(server: &Server, name: &str) -> Client {
    let key = done(&server.root, "CreateAccessKey", &[("UserName", name)]).await;
    server.cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"))
}

async fn put_user_policy(server: &Server, user: &str, document: &str) {
    let parameters = [("UserName", user), ("PolicyName", "own"), ("PolicyDocument", document)];
    done(&server.root, "PutUserPolicy", &parameters).await;
}

fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
    )
}

#[tokio::test]
async fn a_user_is_made_shown_listed_renamed_and_deleted() {
    let server = server();
    let root = &server.root;
    let made = done(
        root,
        "CreateUser",
        &[("UserName", "Lifecycle"), ("Path", "/team/"), ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")],
    )
    .await;
    assert!(made.xml("UserId").starts_with("AIDA"));
    assert_eq!(made.xml("Arn"), format!("arn:aws:iam::{ACCOUNT}:user/team/Lifecycle"));
    assert!(made.text().contains("https://iam.amazonaws.com/doc/2010-05-08/"));
    refused(root, "CreateUser", &[("UserName", "LIFECYCLE")], 409, "EntityAlreadyExists").await;
    let shown = done(root, "GetUser", &[("UserName", "lifecycle")]).await;
    assert_eq!((shown.xml("UserName").as_str(), shown.xml("Key").as_str()), ("Lifecycle", "k"));
    let listed = done(root, "ListUsers", &[("PathPrefix", "/team/")]).await;
    assert_eq!(listed.xml_all("UserName"), ["Lifecycle"]);
    done(root, "UpdateUser", &[("UserName", "Lifecycle"), ("NewUserName", "Renamed"), ("NewPath", "/")]).await;
    refused(root, "GetUser", &[("UserName", "Lifecycle")], 404, "NoSuchEntity").await;
    done(root, "DeleteUser", &[("UserName", "Renamed")]).await;
    refused(root, "DeleteUser", &[("UserName", "Renamed")], 404, "NoSuchEntity").await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = server();
    for number in 0..5 {
        done(&server.root, "CreateUser", &[("UserName", &format!("page{number}")), ("Path", "/pages/")]).await;
    }
    let mut names = Vec::new();
    let mut marker = String::new();
    loop {
        let mut parameters = vec![("PathPrefix", "/pages/"), ("MaxItems", "2")];
        if !marker.is_empty() {
            parameters.push(("Marker", &marker));
        }
        let page = done(&server.root, "ListUsers", &parameters).await;
        names.extend(page.xml_all("UserName"));
        if page.xml("IsTruncated") == "false" {
            break;
        }
        marker = page.xml("Marker");
    }
    assert_eq!(names, ["page0", "page1", "page2", "page3", "page4"]);
    refused(&server.root, "ListUsers", &[("MaxItems", "0")], 400, "ValidationError").await;
}

#[tokio::test]
async fn bad_input_is_told_as_iam_tells_it_and_stores_nothing() {
    let server = server();
    let root = &server.root;
    refused(root, "CreateUser", &[("UserName", "a b")], 400, "ValidationError").await;
    refused(root, "CreateUser", &[], 400, "ValidationError").await;
    refused(root, "CreateUser", &[("UserName", "bad-path"), ("Path", "x")], 400, "ValidationError").await;
    refused(root, "GetUser", &[("UserName", "bad-path")], 404, "NoSuchEntity").await;
    done(root, "CreateUser", &[("UserName", "malformed")]).await;
    let put = [("UserName", "malformed"), ("PolicyName", "p"), ("PolicyDocument", "{\"Version\":")];
    refused(root, "PutUserPolicy", &put, 400, "MalformedPolicyDocument").await;
    assert!(done(root, "ListUserPolicies", &[("UserName", "malformed")]).await.xml_all("member").is_empty());
    let attach = [("UserName", "malformed"), ("PolicyArn", "arn:aws:iam::100000000001:policy/none")];
    refused(root, "AttachUserPolicy", &attach, 404, "NoSuchEntity").await;
    refused(root, "CreateInstanceProfile", &[("InstanceProfileName", "x")], 400, "InvalidAction").await;
}

#[tokio::test]
async fn keys_are_two_a_user_and_sign_while_they_are_active() {
    let server = server();
    let client = user(&server, "keys").await;
    let id = client.credentials.access_key.clone();
    assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
    let identity = client.action("sts", "GetCallerIdentity", &[]).send().await.expect(200);
    assert_eq!(identity.xml("Arn"), format!("arn:aws:iam::{ACCOUNT}:user/keys"));
    key_of(&server, "keys").await;
    refused(&server.root, "CreateAccessKey", &[("UserName", "keys")], 409, "LimitExceeded").await;
    let listed = done(&server.root, "ListAccessKeys", &[("UserName", "keys")]).await;
    assert_eq!(listed.xml_all("AccessKeyId").len(), 2);
    assert!(!listed.text().contains("Secret"));
    let update = |status| {
        [("UserName", "keys"), ("AccessKeyId", &*id), ("Status", status)]
            .map(|(n, v): (&str, &str)| (n.to_owned(), v.to_owned()))
    };
    for (status, expected) in [("Inactive", 403), ("Active", 200)] {
        let parameters = update(status);
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        done(&server.root, "UpdateAccessKey", &parameters).await;
        let reply = client.action("sts", "GetCallerIdentity", &[]).send().await;
        assert_eq!(reply.status, expected, "{status}");
    }
    let used = done(&server.root, "GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
    assert_eq!(used.xml("UserName"), "keys");
    done(&server.root, "DeleteAccessKey", &[("UserName", "keys"), ("AccessKeyId", &id)]).await;
    refused(&client, "GetUser", &[], 403, "InvalidClientTokenId").await;
    refused(&server.root, "DeleteUser", &[("UserName", "keys")], 409, "DeleteConflict").await;
}

#[tokio::test]
async fn a_user_may_what_its_policies_allow_and_nothing_else() {
    let server = server();
    let client = user(&server, "limited").await;
    refused(&client, "GetUser", &[], 403, "AccessDenied").await;
    refused(&client, "CreateUser", &[("UserName", "more")], 403, "AccessDenied").await;
    put_user_policy(&server, "limited", &allow("iam:GetUser", "arn:aws:iam::*:user/limited")).await;
    assert_eq!(done(&client, "GetUser", &[]).await.xml("UserName"), "limited");
    done(&server.root, "CreateUser", &[("UserName", "other-user")]).await;
    refused(&client, "GetUser", &[("UserName", "other-user")], 403, "AccessDenied").await;
    refused(&client, "ListUsers", &[], 403, "AccessDenied").await;
    let reply = iam(&client, "ListUsers", &[]).await;
    assert!(reply.text().contains("is not authorized to perform: iam:ListUsers"), "{}", reply.text());
}

#[tokio::test]
async fn a_policy_may_ask_for_an_encrypted_connection() {
    let server = server();
    let client = user(&server, "plain").await;
    let condition = r#","Condition":{"Bool":{"aws:SecureTransport":"true"}}}"#;
    put_user_policy(&server, "plain", &allow("iam:GetUser", "*").replacen('}', condition, 1)).await;
    refused(&client, "GetUser", &[], 403, "AccessDenied").await;
    put_user_policy(&server, "plain", &allow("iam:GetUser", "*")).await;
    done(&client, "GetUser", &[]).await;
}

#[tokio::test]
async fn a_group_gives_its_members_its_policies() {
    let server = server();
    let client = user(&server, "member").await;
    done(&server.root, "CreateGroup", &[("GroupName", "Lookers")]).await;
    let arn = "arn:aws:iam::aws:policy/IAMReadOnlyAccess";
    done(&server.root, "AttachGroupPolicy", &[("GroupName", "Lookers"), ("PolicyArn", arn)]).await;
    refused(&client, "ListGroups", &[], 403, "AccessDenied").await;
    done(&server.root, "AddUserToGroup", &[("GroupName", "lookers"), ("UserName", "member")]).await;
    assert!(done(&client, "ListGroups", &[]).await.xml_all("GroupName").contains(&"Lookers".to_owned()));
    let groups = done(&server.root, "ListGroupsForUser", &[("UserName", "member")]).await;
    assert_eq!(groups.xml_all("GroupName"), ["Lookers"]);
    let group = done(&server.root, "GetGroup", &[("GroupName", "Lookers")]).await;
    assert_eq!(group.xml_all("UserName"), ["member"]);
    refused(&server.root, "DeleteGroup", &[("GroupName", "Lookers")], 409, "DeleteConflict").await;
    done(&server.root, "RemoveUserFromGroup", &[("GroupName", "Lookers"), ("UserName", "member")]).await;
    refused(&client, "ListGroups", &[], 403, "AccessDenied").await;
}

#[tokio::test]
async fn a_managed_policy_has_versions_and_the_default_one_decides() {
    let server = server();
    let (root, client) = (&server.root, user(&server, "versioned").await);
    let read = allow("iam:GetUser", "*");
    let made = done(root, "CreatePolicy", &[("PolicyName", "Versioned"), ("PolicyDocument", &read)]).await;
    let arn = made.xml("Arn");
    assert_eq!(arn, format!("arn:aws:iam::{ACCOUNT}:policy/Versioned"));
    done(root, "AttachUserPolicy", &[("UserName", "versioned"), ("PolicyArn", &arn)]).await;
    done(&client, "GetUser", &[]).await;
    let list = allow("iam:ListUsers", "*");
    let new = [("PolicyArn", &*arn), ("PolicyDocument", &*list), ("SetAsDefault", "true")];
    assert_eq!(done(root, "CreatePolicyVersion", &new).await.xml("VersionId"), "v2");
    refused(&client, "GetUser", &[], 403, "AccessDenied").await;
    done(&client, "ListUsers", &[]).await;
    let version = done(root, "GetPolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v1")]).await;
    assert!(version.xml("Document").contains("iam%3AGetUser"), "{}", version.text());
    done(root, "SetDefaultPolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v1")]).await;
    done(&client, "GetUser", &[]).await;
    refused(root, "DeletePolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v1")], 409, "DeleteConflict").await;
    refused(root, "DeletePolicy", &[("PolicyArn", &arn)], 409, "DeleteConflict").await;
    let entities = done(root, "ListEntitiesForPolicy", &[("PolicyArn", &arn)]).await;
    assert_eq!(entities.xml_all("UserName"), ["versioned"]);
    done(root, "DetachUserPolicy", &[("UserName", "versioned"), ("PolicyArn", &arn)]).await;
    done(root, "DeletePolicyVersion", &[("PolicyArn", &arn), ("VersionId", "v2")]).await;
    done(root, "DeletePolicy", &[("PolicyArn", &arn)]).await;
    refused(root, "GetPolicy", &[("PolicyArn", &arn)], 404, "NoSuchEntity").await;
}

#[tokio::test]
async fn policies_of_aws_are_there_and_cannot_be_changed() {
    let server = server();
    let policy = done(&server.root, "GetPolicy", &[("PolicyArn", ADMINISTRATOR)]).await;
    assert_eq!(policy.xml("PolicyName"), "AdministratorAccess");
    let listed = done(&server.root, "ListPolicies", &[("Scope", "AWS")]).await;
    assert!(listed.xml_all("PolicyName").contains(&"AmazonS3FullAccess".to_owned()));
    refused(&server.root, "DeletePolicy", &[("PolicyArn", ADMINISTRATOR)], 400, "UnmodifiableEntity").await;
}

#[tokio::test]
async fn a_role_is_made_with_a_trust_policy() {
    let server = server();
    let root = &server.root;
    let made = done(root, "CreateRole", &[("RoleName", "Job"), ("AssumeRolePolicyDocument", TRUST)]).await;
    assert!(made.xml("RoleId").starts_with("AROA"));
    assert_eq!(made.xml("MaxSessionDuration"), "3600");
    let malformed = [("RoleName", "Bad"), ("AssumeRolePolicyDocument", READ)];
    refused(root, "CreateRole", &malformed, 400, "MalformedPolicyDocument").await;
    done(root, "UpdateRole", &[("RoleName", "Job"), ("MaxSessionDuration", "7200"), ("Description", "d")]).await;
    let role = done(root, "GetRole", &[("RoleName", "job")]).await;
    assert_eq!((role.xml("MaxSessionDuration").as_str(), role.xml("Description").as_str()), ("7200", "d"));
    done(root, "PutRolePolicy", &[("RoleName", "Job"), ("PolicyName", "p"), ("PolicyDocument", READ)]).await;
    refused(root, "DeleteRole", &[("RoleName", "Job")], 409, "DeleteConflict").await;
    done(root, "DeleteRolePolicy", &[("RoleName", "Job"), ("PolicyName", "p")]).await;
    done(root, "DeleteRole", &[("RoleName", "Job")]).await;
}

#[tokio::test]
async fn a_boundary_bounds_and_only_who_may_sets_it() {
    let server = server();
    let root = &server.root;
    let boundary = allow("iam:Get*", "*");
    let arn = done(root, "CreatePolicy", &[("PolicyName", "Bound"), ("PolicyDocument", &boundary)]).await.xml("Arn");
    let client = user(&server, "bounded").await;
    done(root, "AttachUserPolicy", &[("UserName", "bounded"), ("PolicyArn", ADMINISTRATOR)]).await;
    done(&client, "ListUsers", &[]).await;
    done(root, "PutUserPermissionsBoundary", &[("UserName", "bounded"), ("PermissionsBoundary", &arn)]).await;
    refused(&client, "ListUsers", &[], 403, "AccessDenied").await;
    refused(&client, "DeleteUserPermissionsBoundary", &[("UserName", "bounded")], 403, "AccessDenied").await;
    let shown = done(&client, "GetUser", &[]).await;
    assert_eq!(shown.xml("PermissionsBoundaryArn"), arn);
    refused(root, "DeletePolicy", &[("PolicyArn", &arn)], 409, "DeleteConflict").await;
    done(root, "DeleteUserPermissionsBoundary", &[("UserName", "bounded")]).await;
    done(&client, "ListUsers", &[]).await;
}

#[tokio::test]
async fn who_may_create_users_only_with_a_boundary_creates_none_without() {
    let server = server();
    let root = &server.root;
    let arn = done(root, "CreatePolicy", &[("PolicyName", "Cage"), ("PolicyDocument", READ)]).await.xml("Arn");
    let client = user(&server, "delegate").await;
    let document = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["iam:CreateUser","iam:AttachUserPolicy"],
        "Resource":"*","Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{arn}"}}}}}}]}}"#
    );
    put_user_policy(&server, "delegate", &document).await;
    refused(&client, "CreateUser", &[("UserName", "free")], 403, "AccessDenied").await;
    done(&client, "CreateUser", &[("UserName", "caged"), ("PermissionsBoundary", &arn)]).await;
    done(&client, "AttachUserPolicy", &[("UserName", "caged"), ("PolicyArn", ADMINISTRATOR)]).await;
    let self_raise = [("UserName", "delegate"), ("PolicyArn", ADMINISTRATOR)];
    refused(&client, "AttachUserPolicy", &self_raise, 403, "AccessDenied").await;
    let caged = key_of(&server, "caged").await;
    refused(&caged, "CreateUser", &[("UserName", "free")], 403, "AccessDenied").await;
}

#[tokio::test]
async fn a_virtual_device_is_enabled_by_two_codes_in_a_row() {
    let server = server();
    let root = &server.root;
    done(root, "CreateUser", &[("UserName", "phone-owner")]).await;
    let made = done(root, "CreateVirtualMFADevice", &[("VirtualMFADeviceName", "phone")]).await;
    let serial = made.xml("SerialNumber");
    assert_eq!(serial, format!("arn:aws:iam::{ACCOUNT}:mfa/phone"));
    let wrong = [
        ("UserName", "phone-owner"),
        ("SerialNumber", &*serial),
        ("AuthenticationCode1", "000000"),
        ("AuthenticationCode2", "000000"),
    ];
    refused(root, "EnableMFADevice", &wrong, 403, "InvalidAuthenticationCode").await;
    let seed = seed_of(&made);
    let now = totp::step_now();
    let (first, second) = (totp::code(&seed, now - 1), totp::code(&seed, now));
    let right = [
        ("UserName", "phone-owner"),
        ("SerialNumber", &*serial),
        ("AuthenticationCode1", &*first),
        ("AuthenticationCode2", &*second),
    ];
    done(root, "EnableMFADevice", &right).await;
    refused(root, "EnableMFADevice", &right, 409, "EntityAlreadyExists").await;
    refused(root, "ResyncMFADevice", &right, 403, "InvalidAuthenticationCode").await;
    let client = key_of(&server, "phone-owner").await;
    let next = totp::code(&seed, now + 1);
    let with_code = [("SerialNumber", &*serial), ("TokenCode", &*next)];
    let session = client.action("sts", "GetSessionToken", &with_code).send().await.expect(200);
    assert!(session.xml("AccessKeyId").starts_with("ASIA"));
    let again = client.action("sts", "GetSessionToken", &with_code).send().await;
    assert_eq!((again.status, again.code().as_str()), (403, "AccessDenied"), "a code is good once");
    let owned = done(root, "ListMFADevices", &[("UserName", "phone-owner")]).await;
    assert_eq!(owned.xml("SerialNumber"), serial);
    refused(root, "DeleteVirtualMFADevice", &[("SerialNumber", &serial)], 409, "DeleteConflict").await;
    refused(root, "DeleteUser", &[("UserName", "phone-owner")], 409, "DeleteConflict").await;
    done(root, "DeactivateMFADevice", &[("UserName", "phone-owner"), ("SerialNumber", &serial)]).await;
    let unassigned = done(root, "ListVirtualMFADevices", &[("AssignmentStatus", "Unassigned")]).await;
    assert!(unassigned.xml_all("SerialNumber").contains(&serial));
    assert!(done(root, "ListMFADevices", &[("UserName", "phone-owner")]).await.xml_all("SerialNumber").is_empty());
    done(root, "DeleteVirtualMFADevice", &[("SerialNumber", &serial)]).await;
}

#[tokio::test]
async fn a_password_is_changed_by_who_knows_the_old_one() {
    let server = server();
    let client = user(&server, "sesame").await;
    put_user_policy(&server, "sesame", &allow("iam:ChangePassword", "*")).await;
    let login = [("UserName", "sesame"), ("Password", "short")];
    refused(&server.root, "CreateLoginProfile", &login, 400, "PasswordPolicyViolation").await;
    done(&server.root, "CreateLoginProfile", &[("UserName", "sesame"), ("Password", "open-sesame-1")]).await;
    let wrong = [("OldPassword", "wrong-password"), ("NewPassword", "open-sesame-2")];
    refused(&client, "ChangePassword", &wrong, 403, "AccessDenied").await;
    done(&client, "ChangePassword", &[("OldPassword", "open-sesame-1"), ("NewPassword", "open-sesame-2")]).await;
    done(&server.root, "DeleteLoginProfile", &[("UserName", "sesame")]).await;
}

#[tokio::test]
async fn the_simulator_tells_what_would_be_decided() {
    let server = server();
    done(&server.root, "CreateUser", &[("UserName", "simulated")]).await;
    put_user_policy(&server, "simulated", &allow("s3:GetObject", "arn:aws:s3:::b/*")).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:user/simulated");
    let parameters = [
        ("PolicySourceArn", &*arn),
        ("ActionNames.member.1", "s3:GetObject"),
        ("ActionNames.member.2", "s3:PutObject"),
        ("ResourceArns.member.1", "arn:aws:s3:::b/key"),
    ];
    let simulated = done(&server.root, "SimulatePrincipalPolicy", &parameters).await;
    assert_eq!(simulated.xml_all("EvalDecision"), ["allowed", "implicitDeny"]);
    assert_eq!(simulated.xml_all("SourcePolicyId"), ["own"]);
    let custom = [("PolicyInputList.member.1", READ), ("ActionNames.member.1", "s3:GetObject")];
    assert_eq!(done(&server.root, "SimulateCustomPolicy", &custom).await.xml("EvalDecision"), "allowed");
}

/// What the audit has of a request, once it has it.
async fn audited(server: &Server, reply: &Reply) -> String {
    let id = reply.header("x-amzn-requestid").or(reply.header("x-amz-request-id")).unwrap().to_owned();
    for _ in 0..100 {
        let path = format!("/-/admin/v1/decisions/{id}");
        let found = server.root.call("GET", &path).scope(REGION, "cairn").send().await;
        if found.status == 200 {
            return found.text();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing is known of the request {id}");
}

#[tokio::test]
async fn calls_are_audited_with_what_was_decided() {
    let server = server();
    let client = user(&server, "audited").await;
    let reply = iam(&client, "CreateUser", &[("UserName", "never")]).await;
    let line = audited(&server, &reply).await;
    for part in ["iam:CreateUser", "arn:aws:iam::100000000001:user/never", "denied", "user/audited"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let reply = done(&server.root, "GetUser", &[("UserName", "audited")]).await;
    assert!(audited(&server, &reply).await.contains("allowed"));
}

#[tokio::test]
async fn what_a_key_does_in_s3_is_its_last_use() {
    let server = server();
    let client = user(&server, "bucket-lister").await;
    put_user_policy(&server, "bucket-lister", &allow("s3:ListAllMyBuckets", "*")).await;
    client.call("GET", "/").send().await.expect(200);
    let id = client.credentials.access_key.clone();
    for _ in 0..100 {
        let used = done(&server.root, "GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
        if used.xml("ServiceName") == "s3" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the use is not known");
}

#[tokio::test]
async fn last_accesses_are_told_down_to_the_actions_that_are_granted() {
    let server = server();
    let client = user(&server, "accessing").await;
    put_user_policy(&server, "accessing", &allow("iam:GetUser", "*")).await;
    let reply = done(&client, "GetUser", &[]).await;
    audited(&server, &reply).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:user/accessing");
    let ask = [("Arn", &*arn), ("Granularity", "ACTION_LEVEL")];
    let job = done(&server.root, "GenerateServiceLastAccessedDetails", &ask).await.xml("JobId");
    let details = done(&server.root, "GetServiceLastAccessedDetails", &[("JobId", &job)]).await;
    assert_eq!(details.xml_all("ServiceNamespace"), ["iam"]);
    assert_eq!(details.xml_all("ActionName"), ["GetUser"]);
    assert_eq!(details.xml_all("LastAccessedEntity"), [arn]);
    refused(&server.root, "GetServiceLastAccessedDetails", &[("JobId", "x")], 404, "NoSuchEntity").await;
}

#[tokio::test]
async fn the_credential_report_has_a_line_for_each_user() {
    let server = server();
    user(&server, "reported").await;
    while done(&server.root, "GenerateCredentialReport", &[]).await.xml("State") != "COMPLETE" {}
    let report = done(&server.root, "GetCredentialReport", &[]).await;
    let csv = STANDARD.decode(report.xml("Content")).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let columns = csv.lines().next().unwrap().split(',').count();
    let line = csv.lines().find(|line| line.starts_with("reported,")).unwrap();
    assert_eq!(line.split(',').count(), columns, "{line}");
    assert_eq!(line.split(',').nth(8), Some("true"), "{line}");
    assert!(csv.lines().nth(1).unwrap().starts_with("<root_account>,arn:aws:iam::100000000001:root,"));
}

#[tokio::test]
async fn identities_survive_a_restart_and_their_secrets_are_nowhere_in_plain() {
    let mut cairn = Cairn::start(Config::default());
    let root = cairn.client();
    done(&root, "CreateUser", &[("UserName", "survivor")]).await;
    done(&root, "AttachUserPolicy", &[("UserName", "survivor"), ("PolicyArn", ADMINISTRATOR)]).await;
    let key = done(&root, "CreateAccessKey", &[("UserName", "survivor")]).await;
    let (id, secret) = (key.xml("AccessKeyId"), key.xml("SecretAccessKey"));
    let password = "canary-password-0123456789";
    done(&root, "CreateLoginProfile", &[("UserName", "survivor"), ("Password", password)]).await;
    let device = done(&root, "CreateVirtualMFADevice", &[("VirtualMFADeviceName", "canary")]).await;
    let seed = seed_of(&device);
    done(&cairn.client_with(&id, &secret), "ListUsers", &[]).await;
    cairn.restart();
    let user = cairn.client_with(&id, &secret);
    assert_eq!(done(&user, "GetUser", &[]).await.xml("UserName"), "survivor");
    let used = done(&root, "GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
    assert_eq!(used.xml("ServiceName"), "iam");
    cairn.kill9();
    cairn.start_again();
    done(&cairn.client_with(&id, &secret), "ListUsers", &[]).await;
    cairn.stop();
    let mut everything = cairn.log().into_bytes();
    for file in files_below(&cairn.data_dir()) {
        everything.extend(std::fs::read(file).unwrap());
    }
    for canary in [secret.as_bytes(), password.as_bytes(), &*seed] {
        assert!(!everything.windows(canary.len()).any(|window| window == canary), "{canary:?}");
    }
}

#[tokio::test]
async fn an_operator_edits_the_users_of_accounts_that_it_administers_and_no_others() {
    let cairn = Cairn::start(Config { more: DECLARED.to_owned(), ..Config::default() });
    let operator = cairn.client_with("operator-access", "operator-secret-key");
    let main = cairn.client_with("main-user-access", "main-user-secret-key");
    done(&main, "ListUsers", &[]).await;
    done(&operator, "DetachUserPolicy", &[("UserName", "Main"), ("PolicyArn", ADMINISTRATOR)]).await;
    refused(&main, "ListUsers", &[], 403, "AccessDenied").await;
    done(
        &operator,
        "PutUserPolicy",
        &[("UserName", "Main"), ("PolicyName", "p"), ("PolicyDocument", &allow("*", "*"))],
    )
    .await;
    done(&main, "ListUsers", &[]).await;
    let listed = done(&main, "ListAccessKeys", &[]).await;
    assert_eq!(listed.xml_all("AccessKeyId"), ["main-user-access"]);
    let delete = [("UserName", "Main"), ("AccessKeyId", "main-user-access")];
    refused(&main, "DeleteAccessKey", &delete, 400, "UnmodifiableEntity").await;
    assert!(cairn.log().contains("administered another account"));
    done(&cairn.client(), "CreateUser", &[("UserName", "Elsewhere")]).await;
    refused(&operator, "GetUser", &[("UserName", "Elsewhere")], 404, "NoSuchEntity").await;
    refused(&cairn.client(), "GetUser", &[("UserName", "Main")], 404, "NoSuchEntity").await;
}

#[tokio::test]
async fn everything_in_the_account_is_told_at_once() {
    let server = server();
    done(&server.root, "CreateUser", &[("UserName", "detailed")]).await;
    put_user_policy(&server, "detailed", READ).await;
    let summary = done(&server.root, "GetAccountSummary", &[]).await;
    assert!(xml::texts(&summary.text(), "key").contains(&"UsersQuota".to_owned()));
    let details = done(&server.root, "GetAccountAuthorizationDetails", &[("Filter.member.1", "User")]).await;
    assert!(details.xml_all("UserName").contains(&"detailed".to_owned()));
    assert!(details.xml_all("RoleName").is_empty());
    done(&server.root, "CreateAccountAlias", &[("AccountAlias", "my-test")]).await;
    assert_eq!(done(&server.root, "ListAccountAliases", &[]).await.xml_all("member"), ["my-test"]);
    done(&server.root, "DeleteAccountAlias", &[("AccountAlias", "my-test")]).await;
}

#[tokio::test]
async fn an_oidc_provider_is_kept_with_its_audiences() {
    let server = server();
    let root = &server.root;
    let create = [("Url", "https://login.example.org"), ("ClientIDList.member.1", "app")];
    let arn = done(root, "CreateOpenIDConnectProvider", &create).await.xml("OpenIDConnectProviderArn");
    assert_eq!(arn, format!("arn:aws:iam::{ACCOUNT}:oidc-provider/login.example.org"));
    let add = [("OpenIDConnectProviderArn", &*arn), ("ClientID", "other")];
    done(root, "AddClientIDToOpenIDConnectProvider", &add).await;
    let shown = done(root, "GetOpenIDConnectProvider", &[("OpenIDConnectProviderArn", &arn)]).await;
    assert_eq!(shown.xml("Url"), "login.example.org");
    refused(root, "CreateOpenIDConnectProvider", &[("Url", "http://login.example.org")], 400, "InvalidInput").await;
    done(root, "DeleteOpenIDConnectProvider", &[("OpenIDConnectProviderArn", &arn)]).await;
}
