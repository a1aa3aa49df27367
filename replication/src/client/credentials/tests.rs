#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use crate::client::tests::fake::{Fake, Reply, Seen};

use super::*;

/// A home whose files are these.
struct Home {
    folder: tempfile::TempDir,
    variables: HashMap<&'static str, String>,
}

impl Home {
    fn new(credentials: &str, config: &str, variables: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        std::fs::write(folder.path().join(".aws/credentials"), credentials).unwrap();
        std::fs::write(folder.path().join(".aws/config"), config).unwrap();
        let none = ("AWS_EC2_METADATA_DISABLED", "true");
        let variables = [none].iter().chain(variables).map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { folder, variables }
    }

    fn find(&self, given: Given) -> Result<Found, CredentialsError> {
        let environment = |name: &str| match name {
            "HOME" => Some(self.folder.path().into()),
            _ => self.variables.get(name).map(Into::into),
        };
        find(given, &environment)
    }

    async fn keys(&self, given: Given) -> Result<(String, String, String), CredentialsError> {
        let Found { credentials, region } = self.find(given)?;
        let credentials = credentials.get(0).await?;
        Ok((credentials.access_key_id().to_owned(), credentials.secret_access_key().to_owned(), region))
    }
}

fn found(access_key: &str, secret_key: &str, region: &str) -> (String, String, String) {
    (access_key.to_owned(), secret_key.to_owned(), region.to_owned())
}

const CREDENTIALS: &str = "[default]\naws_access_key_id = file\naws_secret_access_key = fi;le#=: secret\n\n\
                           # another\n[other]\naws_access_key_id=other\naws_secret_access_key=other-secret\n";
const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n\n[profile other]\n\
                      region = eu-north-1\n[profile third]\naws_access_key_id = third\n\
                      aws_secret_access_key = third-secret\n[profile assuming]\nrole_arn = arn:aws:iam::1:role/r\n";
const IN_ENVIRONMENT: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "env-secret")];

#[tokio::test]
async fn what_is_given_wins_over_the_environment_and_that_over_the_files() {
    let given = || Given { access_key: Some("opt".into()), secret_key: Some("opt-secret".into()), ..Given::default() };
    let both = Home::new(CREDENTIALS, CONFIG, &IN_ENVIRONMENT);
    assert_eq!(both.keys(given()).await.unwrap(), found("opt", "opt-secret", "eu-west-1"));
    assert_eq!(both.keys(Given::default()).await.unwrap(), found("env", "env-secret", "eu-west-1"));
    let files = Home::new(CREDENTIALS, CONFIG, &[]);
    assert_eq!(files.keys(Given::default()).await.unwrap(), found("file", "fi;le#=: secret", "eu-west-1"));
}

#[tokio::test]
async fn a_profile_names_its_sections() {
    for (profile, expected) in [
        ("other", found("other", "other-secret", "eu-north-1")),
        ("third", found("third", "third-secret", "us-east-1")),
    ] {
        let home = Home::new(CREDENTIALS, CONFIG, &[("AWS_PROFILE", profile)]);
        assert_eq!(home.keys(Given::default()).await.unwrap(), expected, "{profile}");
    }
    let unknown = Home::new(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "unknown")]);
    assert!(matches!(unknown.find(Given::default()), Err(CredentialsError::Absent { .. })));
}

#[tokio::test]
async fn a_profile_that_is_given_wins_over_keys_in_the_environment() {
    let home = Home::new(CREDENTIALS, CONFIG, &IN_ENVIRONMENT);
    let given = Given { profile: Some("other".to_owned()), ..Given::default() };
    assert_eq!(home.keys(given).await.unwrap(), found("other", "other-secret", "eu-north-1"));
}

#[tokio::test]
async fn temporary_credentials_keep_their_token() {
    let temporary = [IN_ENVIRONMENT[0], IN_ENVIRONMENT[1], ("AWS_SESSION_TOKEN", "token")];
    let credentials = Home::new("", "", &temporary).find(Given::default()).unwrap().credentials.get(0).await.unwrap();
    assert_eq!(credentials.session_token(), Some("token"));
}

#[test]
fn what_cannot_be_used_is_refused_and_not_passed_over() {
    let half = Home::new(CREDENTIALS, "", &IN_ENVIRONMENT[..1]);
    assert!(matches!(half.find(Given::default()), Err(CredentialsError::Half { place: "the environment" })));
    let assuming = Home::new(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "assuming")]);
    let error = assuming.find(Given::default()).unwrap_err();
    assert!(matches!(error, CredentialsError::Unsupported { setting: "role_arn", .. }), "{error}");
    let in_kubernetes = Home::new(CREDENTIALS, CONFIG, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]);
    let error = in_kubernetes.find(Given::default()).unwrap_err();
    assert!(matches!(error, CredentialsError::Unsupported { setting: "AWS_WEB_IDENTITY_TOKEN_FILE", .. }), "{error}");
    // A profile that is given has nothing to do with it.
    assert!(in_kubernetes.find(Given { profile: Some("other".to_owned()), ..Given::default() }).is_ok());
}

#[test]
fn what_comes_before_a_profiles_keys_is_not_passed_over_for_them() {
    for (setting, comes_before) in [
        ("role_arn", true),
        ("sso_session", true),
        ("sso_start_url", true),
        ("login_session", false),
        ("credential_process", false),
    ] {
        let config = format!("[default]\n{setting} = something\naws_access_key_id = a\naws_secret_access_key = b\n");
        let found = Home::new(CREDENTIALS, &config, &[]).find(Given::default());
        assert_eq!(found.is_err(), comes_before, "{setting}");
        // Keys in the configuration file itself come after all of them.
        let found = Home::new("", &config, &[]).find(Given::default());
        assert!(matches!(found, Err(CredentialsError::Unsupported { .. })), "{setting}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_without_quoting_it() {
    let broken = Home::new("[default\naws_secret_access_key = hush\n", "", &[]);
    let error = broken.find(Given::default()).unwrap_err();
    assert!(matches!(error, CredentialsError::Malformed { .. }) && !error.to_string().contains("hush"), "{error}");
}

fn document(number: usize, expiration: &str) -> String {
    format!(
        "{{\"Code\":\"Success\",\"AccessKeyId\":\"ASIA{number}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\
         \"Expiration\":\"{expiration}\"}}"
    )
}

/// The expiry of [`document`]s, in milliseconds.
const EXPIRY_MS: i64 = 3_600_000;
const EXPIRATION: &str = "1970-01-01T01:00:00Z";

fn instance(n: usize, seen: &Seen) -> Reply {
    let has_token = seen.header("x-aws-ec2-metadata-token") == Some("instance-token");
    match (seen.method.as_str(), seen.target.as_str()) {
        ("PUT", "/latest/api/token") if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            Reply::new(200, "instance-token")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if has_token => Reply::new(200, "role\n"),
        ("GET", "/latest/meta-data/iam/security-credentials/role") if has_token => {
            Reply::new(200, document(n, EXPIRATION))
        }
        _ => Reply::new(401, ""),
    }
}

fn at_instance(fake: &Fake) -> CredentialSource {
    let url = fake.url();
    let variables = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    Home::new("", "", &variables).find(Given::default()).unwrap().credentials
}

#[tokio::test]
async fn an_instances_credentials_are_kept_and_renewed_before_they_expire() {
    let fake = Fake::start(instance).await;
    let source = at_instance(&fake);
    let first = source.get(0).await.unwrap();
    assert_eq!((first.access_key_id(), first.session_token()), ("ASIA2", Some("t")));
    source.get(EXPIRY_MS - RENEWED_BEFORE_MS - 1).await.unwrap();
    assert_eq!(fake.seen().len(), 3, "they are kept");
    let renewed = source.get(EXPIRY_MS - RENEWED_BEFORE_MS + 1).await.unwrap();
    assert_eq!(renewed.access_key_id(), "ASIA5");
}

#[tokio::test]
async fn credentials_that_cannot_be_renewed_serve_until_they_expire() {
    let fake = Fake::start(|n, seen| if n < 3 { instance(n, seen) } else { Reply::new(500, "") }).await;
    let source = at_instance(&fake);
    source.get(0).await.unwrap();
    let held = source.get(EXPIRY_MS - 1_000).await.unwrap();
    assert_eq!(held.access_key_id(), "ASIA2");
    let asked = fake.seen().len();
    source.get(EXPIRY_MS - 999).await.unwrap();
    assert_eq!(fake.seen().len(), asked, "the service is given a rest");
    assert!(source.get(EXPIRY_MS + RETRY_MS).await.is_err());
}

#[tokio::test]
async fn requests_that_are_refused_together_renew_credentials_once() {
    let fake = Fake::start(instance).await;
    let source = at_instance(&fake);
    source.get(10).await.unwrap();
    // Both were sent with the first ones.
    assert!(source.renew(20).await);
    assert_eq!(source.get(30).await.unwrap().access_key_id(), "ASIA5");
    assert!(source.renew(20).await);
    assert_eq!(source.get(40).await.unwrap().access_key_id(), "ASIA5");
}

#[tokio::test]
async fn an_instance_without_a_role_has_no_credentials() {
    let fake = Fake::start(|_, _| Reply::new(404, "")).await;
    let error = at_instance(&fake).get(0).await.unwrap_err();
    assert!(matches!(error, CredentialsError::Absent { .. }) && !error.may_pass(), "{error}");
}

#[tokio::test]
async fn a_service_that_is_away_may_come_back() {
    let fake = Fake::start(|n, seen| if n == 0 { Reply::new(503, "") } else { instance(n, seen) }).await;
    let source = at_instance(&fake);
    assert!(source.get(0).await.unwrap_err().may_pass());
    assert!(source.get(0).await.is_ok());
}

#[tokio::test]
async fn a_machine_whose_service_does_not_answer_is_told_so() {
    let variables =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")];
    let source = Home::new("", "", &variables).find(Given::default()).unwrap().credentials;
    let error = source.get(0).await.unwrap_err();
    assert!(matches!(error, CredentialsError::Unanswered { .. }) && error.may_pass(), "{error}");
}

#[tokio::test]
async fn a_containers_service_is_shown_the_token_in_its_file() {
    let fake = Fake::start(|n, seen| match seen.header("authorization") {
        Some("container-token") if seen.target == "/creds?x=1" => Reply::new(200, document(n, EXPIRATION)),
        _ => Reply::new(403, "hush"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "container-token\n").unwrap();
    let url = format!("{}/creds?x=1", fake.url());
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let source = Home::new("", "", &variables).find(Given::default()).unwrap().credentials;
    assert_eq!(source.get(0).await.unwrap().access_key_id(), "ASIA0");
    std::fs::write(&token, "other").unwrap();
    assert!(source.renew(0).await);
    let error = source.get(0).await.unwrap_err();
    assert!(error.may_pass() && !error.to_string().contains("hush"), "{error}");
}

#[test]
fn a_containers_service_elsewhere_is_not_asked_in_plain() {
    for (url, is_trusted) in [
        ("http://127.0.0.1:51679/creds", true),
        ("http://[::1]/creds", true),
        ("http://169.254.170.23/v1/credentials", true),
        ("https://creds.example.com/", true),
        ("http://creds.example.com/", false),
        ("http://169.254.169.254/", false),
        ("http://127.0.0.1.example.com/", false),
        ("ftp://127.0.0.1/", false),
        ("no url", false),
    ] {
        let found = Home::new("", "", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]).find(Given::default());
        assert_eq!(found.is_ok(), is_trusted, "{url}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_quoted() {
    for body in ["{\"AccessKeyId\":\"hush\"}".to_owned(), "hush".to_owned(), document(1, "hush"), "x".repeat(20_000)] {
        let fake = Fake::start(move |n, seen| match seen.target.ends_with("/role") {
            true => Reply::new(200, body.clone()),
            false => instance(n, seen),
        })
        .await;
        let error = at_instance(&fake).get(0).await.unwrap_err();
        assert!(matches!(error, CredentialsError::Unfetched { .. }), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}
