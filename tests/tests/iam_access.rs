//! The API of IAM about what there is none of, about the root's own keys, and about who uses what it is granted.

#![allow(clippy::unwrap_used)]

use cairn_tests::wire::Reply;
use cairn_tests::{Cairn, Client, Config};

const ACCOUNT: &str = "100000000001";
const TRUST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;

async fn done(client: &Client, action: &str, parameters: &[(&str, &str)]) -> Reply {
    client.action("iam", action, parameters).send().await.expect(200)
}

async fn refused(client: &Client, action: &str, parameters: &[(&str, &str)], status: u16, code: &str) {
    client.action("iam", action, parameters).send().await.expect_error(status, code);
}

async fn user(cairn: &Cairn, name: &str) -> Client {
    done(&cairn.client(), "CreateUser", &[("UserName", name)]).await;
    let key = done(&cairn.client(), "CreateAccessKey", &[("UserName", name)]).await;
    cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"))
}

fn allow(action: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"*"}}]}}"#)
}

#[tokio::test]
async fn of_what_there_is_none_the_lists_are_empty_for_whoever_is_there() {
    let cairn = Cairn::shared();
    let (root, client) = (cairn.client(), user(&cairn, "empty-anna").await);
    done(&root, "CreateRole", &[("RoleName", "empty"), ("AssumeRolePolicyDocument", TRUST)]).await;
    let of_role = [("ListInstanceProfilesForRole", "InstanceProfiles")];
    let of_user = [
        ("ListSSHPublicKeys", "SSHPublicKeys"),
        ("ListServiceSpecificCredentials", "ServiceSpecificCredentials"),
        ("ListSigningCertificates", "Certificates"),
    ];
    let of_account = [
        ("ListInstanceProfiles", "InstanceProfiles"),
        ("ListSAMLProviders", "SAMLProviderList"),
        ("ListServerCertificates", "ServerCertificateMetadataList"),
    ];
    let of_role = of_role.map(|(action, list)| (action, list, Some("RoleName"), "empty"));
    let of_user = of_user.map(|(action, list)| (action, list, Some("UserName"), "empty-anna"));
    let of_account = of_account.map(|(action, list)| (action, list, None, ""));
    for (action, list, parameter, name) in of_role.into_iter().chain(of_user).chain(of_account) {
        let parameters: Vec<(&str, &str)> = parameter.into_iter().map(|parameter| (parameter, name)).collect();
        let reply = done(&root, action, &parameters).await;
        assert!(reply.text().contains(&format!("<{list}></{list}>")), "{}", reply.text());
        refused(&client, action, &parameters, 403, "AccessDenied").await;
        if let Some(parameter) = parameter {
            refused(&root, action, &[(parameter, "empty-nobody")], 404, "NoSuchEntity").await;
        }
    }
}

#[tokio::test]
async fn a_root_has_keys_of_its_own() {
    let mut cairn = Cairn::start(Config::default());
    let root = cairn.client();
    let made = done(&root, "CreateAccessKey", &[]).await;
    let id = made.xml("AccessKeyId");
    assert!(id.starts_with("AKIA") && !made.text().contains("UserName"), "{}", made.text());
    let second = cairn.client_with(&id, &made.xml("SecretAccessKey"));
    let who = async |client: &Client| client.action("sts", "GetCallerIdentity", &[]).send().await;
    assert_eq!(who(&second).await.expect(200).xml("Arn"), format!("arn:aws:iam::{ACCOUNT}:root"));
    let mut listed = done(&second, "ListAccessKeys", &[]).await.xml_all("AccessKeyId");
    listed.sort();
    assert_eq!(listed, [id.as_str(), "cairn-test-access"]);
    assert_eq!(done(&root, "GetAccountSummary", &[]).await.status, 200);
    done(&root, "GetAccessKeyLastUsed", &[("AccessKeyId", &id)]).await;
    // Nobody's but the root's.
    done(&root, "CreateUser", &[("UserName", "other")]).await;
    refused(&root, "DeleteAccessKey", &[("UserName", "other"), ("AccessKeyId", &id)], 404, "NoSuchEntity").await;
    cairn.other_client().action("iam", "DeleteAccessKey", &[("AccessKeyId", &id)]).send().await.expect(404);
    // It is kept, switched off and on, and gone.
    cairn.restart();
    let root = cairn.client();
    let second = cairn.client_with(&id, &second.credentials.secret_key);
    who(&second).await.expect(200);
    done(&root, "UpdateAccessKey", &[("AccessKeyId", &id), ("Status", "Inactive")]).await;
    who(&second).await.expect_error(403, "InvalidClientTokenId");
    done(&root, "UpdateAccessKey", &[("AccessKeyId", &id), ("Status", "Active")]).await;
    who(&second).await.expect(200);
    done(&root, "CreateAccessKey", &[]).await;
    refused(&root, "CreateAccessKey", &[], 409, "LimitExceeded").await;
    done(&second, "DeleteAccessKey", &[("AccessKeyId", &id)]).await;
    who(&second).await.expect_error(403, "InvalidClientTokenId");
    // The one that the configuration declares is changed there.
    refused(&root, "DeleteAccessKey", &[("AccessKeyId", "cairn-test-access")], 400, "UnmodifiableEntity").await;
}

#[tokio::test]
async fn a_users_session_cannot_make_keys_for_the_root() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let client = user(&cairn, "climber").await;
    let administrator = [("UserName", "climber"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
    done(&root, "AttachUserPolicy", &administrator).await;
    // Without a name it is about the caller itself, whoever that is.
    let listed = done(&client, "ListAccessKeys", &[]).await;
    assert_eq!(listed.xml_all("AccessKeyId"), [client.credentials.access_key.as_str()]);
    done(&root, "CreateRole", &[("RoleName", "climbing"), ("AssumeRolePolicyDocument", TRUST)]).await;
    let attach = [("RoleName", "climbing"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
    done(&root, "AttachRolePolicy", &attach).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/climbing");
    let assume = [("RoleArn", arn.as_str()), ("RoleSessionName", "job")];
    let session = client.in_session(&client.action("sts", "AssumeRole", &assume).send().await.expect(200));
    refused(&session, "CreateAccessKey", &[], 400, "ValidationError").await;
}

#[tokio::test]
async fn who_uses_what_a_policy_grants_is_told_one_by_one() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let document = allow("s3:ListAllMyBuckets");
    let policy = [("PolicyName", "used"), ("PolicyDocument", document.as_str())];
    let arn = done(&root, "CreatePolicy", &policy).await.xml("Arn");
    let users = ["using-anna", "using-bob"];
    let mut clients = Vec::new();
    for name in users {
        clients.push(user(&cairn, name).await);
        done(&root, "AttachUserPolicy", &[("UserName", name), ("PolicyArn", &arn)]).await;
    }
    clients[0].call("GET", "/").send().await.expect(200);
    let job = done(&root, "GenerateServiceLastAccessedDetails", &[("Arn", &arn)]).await.xml("JobId");
    let ask = [("JobId", job.as_str()), ("ServiceNamespace", "s3")];
    let told = async || done(&root, "GetServiceLastAccessedDetailsWithEntities", &ask).await;
    // A use is noted behind the answer's back.
    let mut reply = told().await;
    for _ in 0..100 {
        if !reply.xml_all("LastAuthenticated").is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        reply = told().await;
    }
    assert_eq!(reply.xml_all("Name"), users);
    assert_eq!((reply.xml_all("Type"), reply.xml_all("Path")), (vec!["USER".to_owned(); 2], vec!["/".to_owned(); 2]));
    assert_eq!(reply.xml_all("LastAuthenticated").len(), 1, "{}", reply.text());
    refused(&root, "GetServiceLastAccessedDetailsWithEntities", &[("JobId", &job)], 400, "ValidationError").await;
    let absent = [("JobId", "x"), ("ServiceNamespace", "s3")];
    refused(&root, "GetServiceLastAccessedDetailsWithEntities", &absent, 404, "NoSuchEntity").await;
}

#[tokio::test]
async fn the_policies_that_let_somebody_use_a_service_are_told() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    user(&cairn, "granted-anna").await;
    let (read, look) = (allow("s3:Get*"), allow("iam:Get*"));
    let own = [("UserName", "granted-anna"), ("PolicyName", "own"), ("PolicyDocument", read.as_str())];
    done(&root, "PutUserPolicy", &own).await;
    done(&root, "CreateGroup", &[("GroupName", "granted")]).await;
    done(&root, "AddUserToGroup", &[("GroupName", "granted"), ("UserName", "granted-anna")]).await;
    let of_group = [("GroupName", "granted"), ("PolicyName", "look"), ("PolicyDocument", look.as_str())];
    done(&root, "PutGroupPolicy", &of_group).await;
    let managed = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    done(&root, "AttachGroupPolicy", &[("GroupName", "granted"), ("PolicyArn", managed)]).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:user/granted-anna");
    let granting = async |service: &str| {
        let ask = [("Arn", arn.as_str()), ("ServiceNamespaces.member.1", service)];
        done(&root, "ListPoliciesGrantingServiceAccess", &ask).await
    };
    let of_s3 = granting("s3").await;
    assert_eq!(of_s3.xml_all("PolicyName"), ["own", "AmazonS3ReadOnlyAccess"]);
    assert_eq!(of_s3.xml_all("PolicyType"), ["INLINE", "MANAGED"]);
    assert_eq!(
        (of_s3.xml_all("EntityName"), of_s3.xml("EntityType")),
        (vec!["granted-anna".to_owned()], "USER".into())
    );
    assert_eq!(of_s3.xml_all("PolicyArn"), [managed]);
    let of_iam = granting("iam").await;
    assert_eq!((of_iam.xml("PolicyName"), of_iam.xml("EntityType")), ("look".to_owned(), "GROUP".to_owned()));
    assert!(granting("ec2").await.xml_all("PolicyName").is_empty());
    let absent = [("Arn", "arn:aws:iam::100000000001:user/nobody"), ("ServiceNamespaces.member.1", "s3")];
    refused(&root, "ListPoliciesGrantingServiceAccess", &absent, 404, "NoSuchEntity").await;
}
