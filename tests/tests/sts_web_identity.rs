//! Web identities: a role assumed with ID tokens of an issuer that is made here.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cairn_tests::client::Client;
use cairn_tests::{Cairn, Call, Config, Reply};
use time::OffsetDateTime;

const ACCOUNT: &str = "100000000001";

/// An issuer on this machine: its key, and how often it was asked for its keys.
struct Issuer {
    address: SocketAddr,
    key: EcdsaKeyPair,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// Starts one whose discovery document says that it is `issuer` (None: itself).
    fn start(issuer: Option<&str>) -> Self {
        Self::serving(issuer, |keys| ("200 OK".to_owned(), keys.to_owned()))
    }

    /// Starts one that answers whoever asks for its keys with a status, perhaps with more headers, and a body.
    fn serving(issuer: Option<&str>, answer: impl Fn(&str) -> (String, String) + Send + 'static) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let point = &key.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let keys = format!(
            r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"one","x":"{x}","y":"{y}"}}]}}"#
        );
        let url = format!("https://{address}");
        let discovery = format!(r#"{{"issuer":"{}","jwks_uri":"{url}/keys"}}"#, issuer.unwrap_or(&url));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap() > 0 {}
                let (status, body) = match request.split(' ').nth(1) {
                    Some("/.well-known/openid-configuration") => ("200 OK".to_owned(), discovery.clone()),
                    Some("/keys") => {
                        counted.fetch_add(1, Ordering::Relaxed);
                        answer(&keys)
                    }
                    Some("/elsewhere") => ("200 OK".to_owned(), keys.clone()),
                    _ => ("404 Not Found".to_owned(), String::new()),
                };
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { address, key, asked }
    }

    /// A token for the audience `app`, good for a minute, with more claims (`,"name":"value"`).
    fn token(&self, subject: &str, more: &str) -> String {
        let expires = OffsetDateTime::now_utc().unix_timestamp() + 60;
        self.sign(
            "one",
            &format!(r#"{{"iss":"https://{}","sub":"{subject}","aud":"app","exp":{expires}{more}}}"#, self.address),
        )
    }

    fn sign(&self, key_id: &str, claims: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{key_id}"}}"#);
        let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let text = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn iam(cairn: &Cairn, action: &str, parameters: &[(&str, &str)]) -> Reply {
    cairn.client().action("iam", action, parameters).send().await.expect(200)
}

/// Registers the issuer, and makes a role that its `repo:a/b` may assume.
async fn trusting(cairn: &Cairn, issuer: &Issuer) -> String {
    let url = format!("https://{}", issuer.address);
    let thumbprint = "a".repeat(40);
    iam(
        cairn,
        "CreateOpenIDConnectProvider",
        &[("Url", &url), ("ClientIDList.member.1", "app"), ("ThumbprintList.member.1", &thumbprint)],
    )
    .await;
    let name = issuer.address.to_string();
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"],
        "Principal":{{"Federated":"arn:aws:iam::{ACCOUNT}:oidc-provider/{name}"}},
        "Condition":{{"StringEquals":{{"{name}:aud":"app"}},"StringLike":{{"{name}:sub":"repo:a/*"}}}}}}]}}"#
    );
    let role = format!("web-{}", issuer.address.port());
    iam(cairn, "CreateRole", &[("RoleName", &role), ("AssumeRolePolicyDocument", &trust)]).await;
    let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    iam(cairn, "PutRolePolicy", &[("RoleName", &role), ("PolicyName", "own"), ("PolicyDocument", document)]).await;
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

/// Without any signature.
fn assume(client: &Client, role: &str, token: &str) -> Call {
    let parameters = [("RoleArn", role), ("RoleSessionName", "job"), ("WebIdentityToken", token)];
    client.action("sts", "AssumeRoleWithWebIdentity", &parameters).anonymous()
}

fn cairn() -> Cairn {
    Cairn::start(Config { plain_loopback_issuers: true, ..Config::default() })
}

#[tokio::test]
async fn a_token_of_a_registered_issuer_is_worth_the_role() {
    let (cairn, issuer) = (cairn(), Issuer::start(None));
    let bucket = cairn.client().fresh_bucket("web").await;
    let role = trusting(&cairn, &issuer).await;
    let client = cairn.client();
    let reply = assume(&client, &role, &issuer.token("repo:a/b", "")).send().await.expect(200);
    assert_eq!(reply.xml("SubjectFromWebIdentityToken"), "repo:a/b");
    assert_eq!(reply.xml("Audience"), "app");
    assert_eq!(reply.xml("Provider"), format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", issuer.address));
    let session = client.in_session(&reply);
    session.put(&bucket, "key", "body").await;
    let who = session.action("sts", "GetCallerIdentity", &[]).send().await.expect(200);
    assert_eq!(who.xml("Arn"), reply.xml("Arn"));
    // The issuer's keys are kept.
    for _ in 0..3 {
        assume(&client, &role, &issuer.token("repo:a/c", "")).send().await.expect(200);
    }
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
    // What the trust policy does not let is told nothing more.
    assume(&client, &role, &issuer.token("repo:x/b", "")).send().await.expect_error(403, "AccessDenied");
    let absent = format!("arn:aws:iam::{ACCOUNT}:role/absent");
    assume(&client, &absent, &issuer.token("repo:a/b", "")).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_for_what_is_wrong_with_it() {
    let (cairn, issuer, stranger) = (cairn(), Issuer::start(None), Issuer::start(None));
    let role = trusting(&cairn, &issuer).await;
    let client = cairn.client();
    let (now, iss) = (OffsetDateTime::now_utc().unix_timestamp(), format!("https://{}", issuer.address));
    let claims =
        |iss: &str, aud: &str, exp: i64| format!(r#"{{"iss":"{iss}","sub":"repo:a/b","aud":"{aud}","exp":{exp}}}"#);
    let good = issuer.sign("one", &claims(&iss, "app", now + 60));
    assume(&client, &role, &good).send().await.expect(200);
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    for (token, code) in [
        (issuer.sign("one", &claims(&iss, "app", now - 1)), "ExpiredTokenException"),
        (issuer.sign("one", &claims(&iss, "other", now + 60)), "InvalidIdentityToken"),
        (stranger.sign("one", &claims(&iss, "app", now + 60)), "InvalidIdentityToken"),
        (stranger.token("repo:a/b", ""), "InvalidIdentityToken"),
        (issuer.sign("two", &claims(&iss, "app", now + 60)), "InvalidIdentityToken"),
        (format!("{unsigned}."), "InvalidIdentityToken"),
        ("token".to_owned(), "InvalidIdentityToken"),
    ] {
        assume(&client, &role, &token).send().await.expect_error(400, code);
    }
    // Nobody has asked an issuer that is not registered, nor the other one again and again.
    assert_eq!(stranger.asked.load(Ordering::Relaxed), 0);
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_issuer_that_says_that_it_is_another_is_not_believed() {
    let (cairn, issuer) = (cairn(), Issuer::start(Some("https://accounts.example")));
    let role = trusting(&cairn, &issuer).await;
    let call = assume(&cairn.client(), &role, &issuer.token("repo:a/b", ""));
    call.send().await.expect_error(400, "IDPCommunicationError");
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn tags_come_from_the_token() {
    let (cairn, issuer) = (cairn(), Issuer::start(None));
    let role = trusting(&cairn, &issuer).await;
    let client = cairn.client();
    let tags = r#","https://aws.amazon.com/tags":{"principal_tags":{"team":["red"]}}"#;
    assume(&client, &role, &issuer.token("repo:a/b", tags)).send().await.expect(200);
    let parameters =
        [("RoleArn", role.as_str()), ("RoleSessionName", "job"), ("WebIdentityToken", &issuer.token("repo:a/b", ""))];
    let own = [&parameters[..], &[("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "blue")]].concat();
    let call = client.action("sts", "AssumeRoleWithWebIdentity", &own).anonymous();
    call.send().await.expect_error(400, "InvalidParameterValue");
}

#[tokio::test]
async fn without_the_setting_an_issuer_on_this_machine_is_asked_with_tls_only() {
    let (cairn, issuer) = (Cairn::start(Config::default()), Issuer::start(None));
    let role = trusting(&cairn, &issuer).await;
    let call = assume(&cairn.client(), &role, &issuer.token("repo:a/b", ""));
    call.send().await.expect_error(400, "IDPCommunicationError");
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 0);
}

/// What a role's web identity is told if its issuer answers so.
async fn refused_by(cairn: &Cairn, answer: impl Fn(&str) -> (String, String) + Send + 'static) -> Issuer {
    let issuer = Issuer::serving(None, answer);
    let role = trusting(cairn, &issuer).await;
    let call = assume(&cairn.client(), &role, &issuer.token("repo:a/b", ""));
    call.send().await.expect_error(400, "IDPCommunicationError");
    issuer
}

#[tokio::test]
async fn an_issuers_answer_is_bounded_and_must_be_its_own() {
    let cairn = cairn();
    let ok = |body: String| ("200 OK".to_owned(), body);
    // The bounds are those of `issuers.rs`: 256 KiB, and a hundred keys.
    refused_by(&cairn, move |keys| ok(format!("{keys}{}", " ".repeat(256 * 1024)))).await;
    refused_by(&cairn, move |keys| {
        let key = keys.strip_prefix("{\"keys\":[").and_then(|rest| rest.strip_suffix("]}")).unwrap();
        ok(format!("{{\"keys\":[{}]}}", vec![key; 101].join(",")))
    })
    .await;
    refused_by(&cairn, move |_| ok("{\"keys\":".to_owned())).await;
    refused_by(&cairn, move |keys| ("302 Found\r\nlocation: /elsewhere".to_owned(), keys.to_owned())).await;
    refused_by(&cairn, move |keys| ("500 Oops".to_owned(), keys.to_owned())).await;
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_not_waited_for() {
    let cairn = cairn();
    let started = std::time::Instant::now();
    let issuer = refused_by(&cairn, |keys| {
        std::thread::sleep(std::time::Duration::from_secs(60));
        ("200 OK".to_owned(), keys.to_owned())
    })
    .await;
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
    // Nor is it asked again at once: who comes next is told so without waiting.
    let (role, again) =
        (format!("arn:aws:iam::{ACCOUNT}:role/web-{}", issuer.address.port()), std::time::Instant::now());
    let call = assume(&cairn.client(), &role, &issuer.token("repo:a/b", ""));
    call.send().await.expect_error(400, "IDPCommunicationError");
    assert!(again.elapsed() < std::time::Duration::from_secs(3), "{:?}", again.elapsed());
}
