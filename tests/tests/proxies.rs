//! Requests through reverse proxies: whom the server takes for the client, and over what, when a trusted proxy says so, and when
//! somebody else does.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use cairn_tests::wire::Connection;
use cairn_tests::{Cairn, Client, Config, Reply};
use serde_json::{Value, json};

/// A server that believes the loopback address, from where every test connects.
fn behind_a_proxy(headers: &str) -> Cairn {
    let more = format!("\n[proxies]\ntrusted = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nheaders = \"{headers}\"\n");
    Cairn::start(Config { more, ..Config::default() })
}

/// A bucket whose objects everybody may read under this condition.
async fn bucket_open_if(client: &Client, purpose: &str, condition: Value) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", "content").await;
    let statement = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*"),
        "Condition": condition,
    });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    client.bucket("PUT", &bucket).query("policy", "").body(policy).send().await.expect(204);
    bucket
}

async fn read(client: &Client, bucket: &str, headers: &[(&str, &str)]) -> u16 {
    let call = client.object("GET", bucket, "key").anonymous();
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await.status
}

#[tokio::test]
async fn the_address_of_policies_is_the_one_that_a_trusted_proxy_saw() {
    let cairn = behind_a_proxy("x-forwarded");
    let client = cairn.client();
    let bucket = bucket_open_if(&client, "proxy-ip", json!({ "IpAddress": { "aws:SourceIp": "192.0.2.0/24" } })).await;
    for (value, status) in [
        ("192.0.2.7", 200),
        ("192.0.2.7, 10.0.0.3", 200),
        ("203.0.113.9", 403),
        // The client may write what it likes before what the proxy saw.
        ("192.0.2.7, 203.0.113.9", 403),
        ("unknown", 400),
    ] {
        assert_eq!(read(&client, &bucket, &[("x-forwarded-for", value)]).await, status, "{value}");
    }
    assert_eq!(read(&client, &bucket, &[]).await, 403);
    assert_eq!(read(&client, &bucket, &[("forwarded", "for=192.0.2.7")]).await, 403);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let more = "\n[proxies]\ntrusted = [\"10.0.0.0/8\"]\n".to_owned();
    for cairn in [Cairn::start(Config { more, ..Config::default() }), Cairn::start(Config::default())] {
        let client = cairn.client();
        let condition = json!({ "IpAddress": { "aws:SourceIp": "192.0.2.0/24" } });
        let bucket = bucket_open_if(&client, "proxy-spoofed", condition).await;
        let secure =
            bucket_open_if(&client, "proxy-secure", json!({ "Bool": { "aws:SecureTransport": "true" } })).await;
        let spoofed = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.7;proto=https"),
        ];
        assert_eq!(read(&client, &bucket, &spoofed).await, 403);
        assert_eq!(read(&client, &secure, &spoofed).await, 403);
        let elsewhere = client.object("GET", &bucket, "key").header("x-forwarded-host", "elsewhere.s3.localhost");
        elsewhere.send().await.expect(200);
        // Nor does what cannot be read matter.
        assert_eq!(read(&client, &bucket, &[("x-forwarded-for", "nonsense"), ("forwarded", "\"")]).await, 403);
    }
}

#[tokio::test]
async fn a_request_is_secure_if_the_client_came_to_the_proxy_over_tls() {
    let cairn = behind_a_proxy("forwarded");
    let client = cairn.client();
    let bucket = bucket_open_if(&client, "proxy-tls", json!({ "Bool": { "aws:SecureTransport": "true" } })).await;
    for (value, status) in [
        ("for=192.0.2.7;proto=https", 200),
        ("proto=https", 200),
        ("for=192.0.2.7;proto=http", 403),
        ("for=192.0.2.7", 403),
        ("for=192.0.2.7;proto=https, for=203.0.113.9;proto=http", 403),
    ] {
        assert_eq!(read(&client, &bucket, &[("forwarded", value)]).await, status, "{value}");
    }
    assert_eq!(read(&client, &bucket, &[("x-forwarded-proto", "https")]).await, 403);
    // Customers' keys are for encrypted connections.
    let put = |forwarded: &str| {
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let call = client.object("PUT", &bucket, "sealed").header("forwarded", forwarded);
        let call = call.header("x-amz-server-side-encryption-customer-algorithm", "AES256");
        let call = call.header("x-amz-server-side-encryption-customer-key", key);
        call.header("x-amz-server-side-encryption-customer-key-md5", "KYvwGXoFFJ42a2u2GDWhwQ==").body("x").send()
    };
    put("for=192.0.2.7;proto=http").await.expect_error(400, "InvalidRequest");
    put("for=192.0.2.7;proto=https").await.expect(200);
}

#[tokio::test]
async fn iam_goes_by_the_same_address() {
    let cairn = behind_a_proxy("x-forwarded");
    let root = cairn.client();
    let condition = json!({ "IpAddress": { "aws:SourceIp": "192.0.2.7" }, "Bool": { "aws:SecureTransport": "true" } });
    let statement = json!({ "Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*", "Condition": condition });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    root.action("iam", "CreateUser", &[("UserName", "anna")]).send().await.expect(200);
    let attach = [("UserName", "anna"), ("PolicyName", "p"), ("PolicyDocument", policy.as_str())];
    root.action("iam", "PutUserPolicy", &attach).send().await.expect(200);
    let key = root.action("iam", "CreateAccessKey", &[("UserName", "anna")]).send().await.expect(200);
    let anna = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    let list = || anna.action("iam", "ListUsers", &[]);
    let through = |address: &str, proto: &str| {
        list().header("x-forwarded-for", address).header("x-forwarded-proto", proto).send()
    };
    through("192.0.2.7", "https").await.expect(200);
    through("192.0.2.7", "http").await.expect(403);
    through("192.0.2.8", "https").await.expect(403);
    list().send().await.expect(403);
}

#[tokio::test]
async fn a_signature_covers_the_host_that_the_client_saw() {
    let cairn = behind_a_proxy("x-forwarded");
    let client = cairn.client();
    let bucket = client.fresh_bucket("proxy-host").await;
    client.put(&bucket, "key", "content").await;
    let outside = format!("{bucket}.s3.localhost:8443");
    for signed in [client.call("GET", "/key"), client.call("GET", "/key").presigned(60)] {
        let mut wire = signed.host(&outside).build();
        // The proxy connects under a name of its own.
        let host = wire.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("host")).unwrap();
        host.1 = "cairn.internal:9000".to_owned();
        let lost = wire.send(client.address).await.unwrap();
        assert!((400..500).contains(&lost.status), "{lost:?}");
        wire.headers.push(("X-Forwarded-Host".to_owned(), outside.clone()));
        assert_eq!(wire.send(client.address).await.unwrap().expect(200).text(), "content");
        wire.headers.last_mut().unwrap().1 = format!("{bucket}.s3.localhost");
        wire.send(client.address).await.unwrap().expect_error(403, "SignatureDoesNotMatch");
    }
}

/// A website that these addresses may read, whose one trusted proxy is 127.0.0.2, and its host.
async fn website_open_to(addresses: &[&str]) -> (Cairn, String) {
    let more = "\n[proxies]\ntrusted = [\"127.0.0.2\"]\n".to_owned();
    let cairn = Cairn::start(Config { website: true, more, ..Config::default() });
    let client = cairn.client();
    let bucket = bucket_open_if(&client, "proxy-site", json!({ "IpAddress": { "aws:SourceIp": addresses } })).await;
    let site =
        "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>";
    client.bucket("PUT", &bucket).query("website", "").body(site).send().await.expect(200);
    (cairn, format!("{bucket}.s3-website.localhost"))
}

/// Asks a website for the object, from an address of this machine.
async fn visit(cairn: &Cairn, from: u8, host: &str, headers: &str) -> Reply {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, from));
    let mut connection = Connection::open_from(source, cairn.website()).await.unwrap();
    let head = format!("GET /key HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n");
    connection.exchange("GET", head.as_bytes(), b"").await.unwrap()
}

#[tokio::test]
async fn websites_go_by_the_address_that_a_trusted_proxy_saw_and_no_one_elses() {
    const PROXY: u8 = 2;
    let (cairn, host) = website_open_to(&["192.0.2.0/24", "127.0.0.3"]).await;
    for (from, forwarded, status) in [
        (PROXY, Some("192.0.2.7"), 200),
        (PROXY, Some("203.0.113.9"), 403),
        (PROXY, Some("192.0.2.7, 203.0.113.9"), 403),
        (PROXY, Some("nonsense"), 400),
        (PROXY, None, 403),
        // Nobody else gets in by what it says, or is kept out.
        (1, Some("192.0.2.7"), 403),
        (3, Some("203.0.113.9"), 200),
        (3, Some("nonsense"), 200),
    ] {
        let headers = forwarded.map(|value| format!("x-forwarded-for: {value}\r\n")).unwrap_or_default();
        let reply = visit(&cairn, from, &host, &headers).await;
        assert_eq!(reply.status, status, "127.0.0.{from}: {forwarded:?}");
        assert_eq!(reply.text() == "content", status == 200, "127.0.0.{from}: {forwarded:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_which_website_the_client_asked_for() {
    let (cairn, host) = website_open_to(&["192.0.2.0/24", "127.0.0.3"]).await;
    let headers = format!("x-forwarded-for: 192.0.2.7\r\nx-forwarded-host: {host}\r\n");
    assert_eq!(visit(&cairn, 2, "cairn.internal", &headers).await.expect(200).text(), "content");
    let reply = visit(&cairn, 3, "cairn.internal", &headers).await.expect(404);
    assert!(reply.text().contains("<li>Code: NoSuchBucket</li>"), "{}", reply.text());
}

#[tokio::test]
async fn the_log_and_the_audit_log_name_the_client() {
    let cairn = behind_a_proxy("x-forwarded");
    let client = cairn.client();
    let bucket = client.fresh_bucket("proxy-log").await;
    let head = client.bucket("HEAD", &bucket).header("x-forwarded-for", "192.0.2.77").send().await.expect(200);
    let id = head.header("x-amz-request-id").unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let audit = std::fs::read_to_string(cairn.data_dir().join("audit/audit.jsonl")).unwrap_or_default();
        let of_request = |text: &str| text.lines().find(|line| line.contains(&id)).map(str::to_owned);
        if let (Some(audited), Some(logged)) = (of_request(&audit), of_request(&cairn.log())) {
            assert!(audited.contains("\"192.0.2.77\"") && logged.contains("\"192.0.2.77\""), "{audited}\n{logged}");
            return;
        }
        assert!(Instant::now() < deadline, "no line of {id}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
