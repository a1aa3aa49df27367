//! HTTPS on the S3 endpoint.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::random::body;
use cairn_tests::tls::Authority;
use cairn_tests::wire::{Connection, exchange_raw};
use cairn_tests::{Cairn, Call, Config, Reply, digest, scenario, scenarios, skip};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A server with a certificate of an authority, both in one folder.
struct Https {
    cairn: Cairn,
    authority: Authority,
    folder: tempfile::TempDir,
}

fn start(limits: Vec<(&'static str, u64)>) -> Result<Https, String> {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path())?;
    let tls = Some(authority.issue("server")?);
    let more = "\n[[kms_key]]\nid = \"kms-key-of-clients\"\n".to_owned();
    let cairn = Cairn::start(Config { tls, limits, more, ..Config::default() });
    Ok(Https { cairn, authority, folder })
}

impl Https {
    async fn connect(&self) -> Connection {
        self.authority.connect(self.cairn.client().address, &BOTH).await.unwrap()
    }

    /// The certificate that a new connection gets.
    async fn certificate(&self) -> Vec<u8> {
        let stream = self.authority.greet(self.cairn.client().address, &BOTH).await.unwrap();
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].to_vec()
    }

    /// Exchanges the certificate for another one.
    fn exchange_certificate(&self) {
        let (certificate, key) = self.authority.issue("next").unwrap();
        for (from, to) in [(key, "server.key"), (certificate, "server.pem")] {
            fs::rename(from, self.folder.path().join(to)).unwrap();
        }
    }
}

async fn exchange(connection: &mut Connection, call: Call) -> Reply {
    let wire = call.build();
    connection.exchange(&wire.method, &wire.head_bytes(), &wire.body).await.unwrap()
}

macro_rules! start_or_skip {
    ($limits:expr) => {
        match start($limits) {
            Ok(https) => https,
            Err(reason) => skip!("{reason}"),
        }
    };
}

#[tokio::test]
async fn objects_go_both_ways_over_either_version_of_tls() {
    let https = start_or_skip!(vec![]);
    let client = https.cairn.client();
    for version in BOTH {
        let mut connection = https.authority.connect(client.address, &[version]).await.unwrap();
        exchange(&mut connection, client.bucket("PUT", "tls-bucket")).await.expect(200);
        for size in [0, 1, 100_000, 3_000_000] {
            let content = body(size as u64, size);
            exchange(&mut connection, client.object("PUT", "tls-bucket", "key").body(content.clone()))
                .await
                .expect(200);
            let got = exchange(&mut connection, client.object("GET", "tls-bucket", "key")).await.expect(200);
            assert!(got.body == content, "{size}");
        }
    }
}

#[tokio::test]
async fn a_customers_key_may_come_over_tls() {
    let https = start_or_skip!(vec![]);
    let client = https.cairn.client();
    let mut connection = https.connect().await;
    exchange(&mut connection, client.bucket("PUT", "tls-ssec")).await.expect(200);
    let with_key = |call: Call| {
        let name = "x-amz-server-side-encryption-customer-";
        call.header(&format!("{name}algorithm"), "AES256")
            .header(&format!("{name}key"), &STANDARD.encode([7; 32]))
            .header(&format!("{name}key-md5"), &STANDARD.encode(digest::md5(&[7; 32])))
    };
    exchange(&mut connection, with_key(client.object("PUT", "tls-ssec", "key")).body("content")).await.expect(200);
    let got = exchange(&mut connection, with_key(client.object("GET", "tls-ssec", "key"))).await.expect(200);
    assert_eq!(got.text(), "content");
}

#[tokio::test]
async fn policies_know_that_a_call_of_iam_comes_over_tls() {
    let https = start_or_skip!(vec![]);
    let root = https.cairn.client();
    let mut connection = https.connect().await;
    let document = |condition: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{{"Bool":{{"aws:SecureTransport":"{condition}"}}}}}}]}}"#
        )
    };
    exchange(&mut connection, root.action("iam", "CreateUser", &[("UserName", "anna")])).await.expect(200);
    let key = exchange(&mut connection, root.action("iam", "CreateAccessKey", &[("UserName", "anna")])).await;
    let anna = https.cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    for (condition, status) in [("true", 200), ("false", 403)] {
        let document = document(condition);
        let put = [("UserName", "anna"), ("PolicyName", "own"), ("PolicyDocument", document.as_str())];
        exchange(&mut connection, root.action("iam", "PutUserPolicy", &put)).await.expect(200);
        exchange(&mut connection, anna.action("iam", "ListUsers", &[])).await.expect(status);
    }
}

#[tokio::test]
async fn a_completed_upload_is_located_by_https() {
    let https = start_or_skip!(vec![]);
    let client = https.cairn.client();
    let mut connection = https.connect().await;
    exchange(&mut connection, client.bucket("PUT", "tls-parts")).await.expect(200);
    let upload = |method: &str| client.object(method, "tls-parts", "key");
    let id = exchange(&mut connection, upload("POST").query("uploads", "")).await.expect(200).xml("UploadId");
    let part = upload("PUT").query("partNumber", "1").query("uploadId", &id).body("x");
    let etag = exchange(&mut connection, part).await.expect(200).etag();
    let document = cairn_tests::multipart::complete_document(&[(1, etag)]);
    let completed = exchange(&mut connection, upload("POST").query("uploadId", &id).body(document)).await.expect(200);
    assert!(completed.xml("Location").starts_with("https://"), "{completed:?}");
}

#[tokio::test]
async fn plain_http_gets_no_answer_and_hurts_nobody() {
    let https = start_or_skip!(vec![]);
    let mut plain = TcpStream::connect(https.cairn.client().address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    exchange(&mut https.connect().await, https.cairn.client().call("GET", "/")).await.expect(200);
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_connections_go_on() {
    for by_signal in [true, false] {
        let https = start_or_skip!(vec![]);
        let client = https.cairn.client();
        let mut old = https.connect().await;
        exchange(&mut old, client.call("GET", "/")).await.expect(200);
        let before = https.certificate().await;
        https.exchange_certificate();
        if by_signal {
            https.cairn.signal(Signal::HUP);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while https.certificate().await == before {
            assert!(Instant::now() < deadline, "the certificate stays, by signal: {by_signal}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        exchange(&mut old, client.call("GET", "/")).await.expect(200);
        exchange(&mut https.connect().await, client.call("GET", "/")).await.expect(200);
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_changes_nothing() {
    let https = start_or_skip!(vec![]);
    let before = https.certificate().await;
    fs::write(https.folder.path().join("server.pem"), "no certificate").unwrap();
    https.cairn.signal(Signal::HUP);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !https.cairn.log().contains("stays as it was") {
        assert!(Instant::now() < deadline, "{}", https.cairn.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(https.certificate().await, before);
}

#[tokio::test]
async fn a_start_without_a_usable_certificate_fails_and_shows_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let authority = match Authority::make(folder.path()) {
        Ok(authority) => authority,
        Err(reason) => skip!("{reason}"),
    };
    let (certificate, key) = authority.issue("one").unwrap();
    let (_, other_key) = authority.issue("two").unwrap();
    let secret = fs::read_to_string(&key).unwrap().lines().nth(1).unwrap().to_owned();
    for (certificate, key) in [
        (certificate.clone(), folder.path().join("missing.key")),
        (folder.path().join("missing.pem"), key.clone()),
        (key.clone(), key.clone()),
        (certificate.clone(), certificate.clone()),
        (certificate, other_key),
    ] {
        let mut cairn = Cairn::prepare(Config { tls: Some((certificate, key)), ..Config::default() });
        let error = cairn.launch().unwrap_err();
        assert!(error.status.is_some() && !error.log.contains(&secret), "{}", error.log);
    }
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_is_ended() {
    let https = start_or_skip!(vec![]);
    let mut silent = TcpStream::connect(https.cairn.client().address).await.unwrap();
    let started = Instant::now();
    let mut answer = [0; 16];
    let ended = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut answer)).await.expect("it ends");
    assert!(matches!(ended, Ok(0) | Err(_)) && started.elapsed() >= Duration::from_secs(5));
    exchange(&mut https.connect().await, https.cairn.client().call("GET", "/")).await.expect(200);
}

/// Runs one scenario of a script over HTTPS.
fn run(script: &str, scenario: &str) -> Result<(), String> {
    let https = start(vec![])?;
    scenario::run(script, scenario, &https.cairn, Some(&https.authority.certificate()))
}

scenarios! {
    run;
    aws_copies_over_https: "encryption.py" "aws_over_https";
    aws_copies_with_a_customers_key: "encryption.py" "aws_with_customer_key";
    aws_copies_with_a_kms_key: "encryption.py" "aws_with_kms_key";
    boto3_uses_a_customers_key: "encryption.py" "boto3_with_customer_key";
    boto3_uses_a_kms_key: "encryption.py" "boto3_with_kms_key";
    rclone_copies_with_a_kms_key: "encryption.py" "rclone_with_kms_key";
    rclone_copies_over_https_with_a_customers_key: "encryption.py" "rclone_with_customer_key";
}

#[tokio::test]
async fn websites_are_answered_over_https_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let authority = match Authority::make(folder.path()) {
        Ok(authority) => authority,
        Err(reason) => skip!("{reason}"),
    };
    let tls = Some(authority.issue("server").unwrap());
    let cairn = Cairn::start(Config { tls, website: true, ..Config::default() });
    let mut connection = authority.connect(cairn.website(), &BOTH).await.unwrap();
    let reply = connection.exchange("GET", b"GET / HTTP/1.1\r\nhost: no-such-site\r\n\r\n", b"").await.unwrap();
    assert!(reply.expect(404).text().contains("<li>Code: NoSuchBucket</li>"));
}

#[tokio::test]
async fn websites_can_stay_plain_although_s3_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = match Authority::make(folder.path()) {
        Ok(authority) => authority,
        Err(reason) => skip!("{reason}"),
    };
    let tls = Some(authority.issue("server").unwrap());
    let mut cairn = Cairn::prepare(Config { tls, website: true, ..Config::default() });
    cairn.set_environment("CAIRN_WEBSITE_PLAIN", "true");
    cairn.start_again();
    let client = cairn.client();
    let mut s3 = authority.connect(client.address, &BOTH).await.unwrap();
    exchange(&mut s3, client.bucket("PUT", "plain-site")).await.expect(200);
    for key in ["index.html", "encrypted/page.html"] {
        exchange(&mut s3, client.object("PUT", "plain-site", key).body("content")).await.expect(200);
    }
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::plain-site/index.html"},
        {"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::plain-site/encrypted/*",
         "Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}"#;
    exchange(&mut s3, client.bucket("PUT", "plain-site").query("policy", "").body(policy)).await.expect(204);
    let website = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules>\
                   <RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition><Redirect>\
                   <ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule></RoutingRules>\
                   </WebsiteConfiguration>";
    exchange(&mut s3, client.bucket("PUT", "plain-site").query("website", "").body(website)).await.expect(200);

    let get = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: plain-site\r\nconnection: close\r\n\r\n");
        exchange_raw(cairn.website(), request.as_bytes()).await.unwrap()
    };
    assert_eq!(get("/").await.expect(200).text(), "content");
    assert_eq!(get("/old/page").await.expect(301).header("location"), Some("http://plain-site/new/page"));
    // Policies know that nothing is encrypted here.
    get("/encrypted/page.html").await.expect(403);
    let object = client.object("GET", "plain-site", "encrypted/page.html").anonymous();
    exchange(&mut s3, object).await.expect(200);
    assert!(authority.greet(cairn.website(), &BOTH).await.is_err(), "there is no TLS to speak");
    assert!(exchange_raw(client.address, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.is_err(), "S3 is never plain");
}

#[tokio::test]
async fn handshakes_under_way_are_bounded_in_number() {
    const HANDSHAKES_MAX: usize = 256;
    let https = start_or_skip!(vec![]);
    let address = https.cairn.client().address;
    let metric = |name: &str| {
        let (_, metrics) = https.cairn.ops_get("/metrics").unwrap();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok()).unwrap()
    };
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(9);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    until("all are being greeted", &|| metric("cairn_connections ") == HANDSHAKES_MAX).await;
    let refused = metric("cairn_connections_refused_total ");
    assert!(https.authority.greet(address, &BOTH).await.is_err(), "one more is closed");
    until("it is counted", &|| metric("cairn_connections_refused_total ") == refused + 1).await;
    drop(silent);
    until("they are gone", &|| metric("cairn_connections ") == 0).await;
    https.authority.greet(address, &BOTH).await.unwrap();
}
