//! The admin API: who may call it, what it answers, and the sub-commands that call it.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_tests::client::REGION;
use cairn_tests::{Cairn, Call, Config, Reply, digest, skip};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const STATUS: &str = "/-/admin/v1/lock-clock";
const ACCEPT: &str = "/-/admin/v1/lock-clock/accept";
const YEARS_DAYS: i64 = 10 * 365;

fn signed(cairn: &Cairn, method: &str, path: &str) -> Call {
    cairn.client().call(method, path).scope(REGION, "cairn")
}

/// Status and code of a refusal, which must be a JSON document.
fn refusal(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{}", reply.text());
    let text = reply.text();
    let (_, rest) = text.split_once(r#""code":""#).unwrap_or_else(|| panic!("no code: {text}"));
    assert!(text.contains(r#""message":""#), "{text}");
    (reply.status, rest.split('"').next().unwrap().to_owned())
}

async fn expect_refusal(call: Call, status: u16, code: &str) {
    assert_eq!(refusal(&call.send().await), (status, code.to_owned()));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs `cairn lock-clock`: its exit status and what it printed.
fn lock_clock(cairn: &Cairn, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cairn.calling_command(&[&["lock-clock"], arguments].concat()).output().unwrap();
    (output.status.code(), text(&output))
}

#[tokio::test]
async fn a_root_is_told_the_lock_clock() {
    let cairn = Cairn::shared();
    let reply = signed(&cairn, "GET", STATUS).send().await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.header("x-amz-request-id").is_some());
    let text = reply.text();
    assert!(text.contains(r#""lock_time":"2"#) && text.contains(r#""wall_time":"2"#), "{text}");
    assert!(text.contains(r#""held":false"#), "{text}");
}

#[tokio::test]
async fn what_is_signed_for_s3_is_no_admin_call() {
    let cairn = Cairn::shared();
    for (method, path) in [("GET", STATUS), ("POST", ACCEPT)] {
        let call = cairn.client().call(method, path);
        expect_refusal(call, 400, "AuthorizationHeaderMalformed").await;
        let call = cairn.client().call(method, path).presigned(60);
        expect_refusal(call, 400, "AuthorizationQueryParametersError").await;
        let call = signed(&cairn, method, path).scope(REGION, "iam");
        expect_refusal(call, 400, "AuthorizationHeaderMalformed").await;
    }
}

#[tokio::test]
async fn what_is_signed_for_the_admin_api_is_no_request_of_s3() {
    let cairn = Cairn::shared();
    for path in ["/", "/some-bucket", "/some-bucket/-/admin/v1/lock-clock", "/-/other"] {
        let call = signed(&cairn, "GET", path);
        call.send().await.expect_error(400, "AuthorizationHeaderMalformed");
    }
}

#[tokio::test]
async fn only_a_root_signing_in_the_header_may_call() {
    let cairn = Cairn::shared();
    for (method, path) in [("GET", STATUS), ("POST", ACCEPT)] {
        expect_refusal(cairn.client().call(method, path).anonymous(), 403, "AccessDenied").await;
        expect_refusal(signed(&cairn, method, path).presigned(60), 403, "AccessDenied").await;
        let expires = OffsetDateTime::now_utc().unix_timestamp() + 60;
        expect_refusal(cairn.client().call(method, path).presigned_v2(expires), 400, "InvalidRequest").await;
        let unknown = cairn.client_with("nobody", "a-secret-that-is-long").call(method, path).scope(REGION, "cairn");
        expect_refusal(unknown, 403, "InvalidAccessKeyId").await;
        let access_key = cairn.client().credentials.access_key;
        let wrong = cairn.client_with(&access_key, "a-secret-that-is-long").call(method, path).scope(REGION, "cairn");
        expect_refusal(wrong, 403, "SignatureDoesNotMatch").await;
        let elsewhere = cairn.client().call(method, path).scope("eu-west-1", "cairn");
        expect_refusal(elsewhere, 400, "AuthorizationHeaderMalformed").await;
    }
}

#[tokio::test]
async fn the_server_is_the_first_accounts() {
    let cairn = Cairn::shared();
    for (method, path) in [
        ("GET", STATUS),
        ("POST", ACCEPT),
        ("POST", "/-/admin/v1/encryption-key/rotate"),
        ("POST", "/-/admin/v1/lifecycle/pause"),
        ("GET", "/-/admin/v1/jobs"),
        ("GET", "/-/admin/v1/remotes"),
    ] {
        let call = cairn.other_client().call(method, path).scope(REGION, "cairn");
        expect_refusal(call, 403, "AccessDenied").await;
    }
    // What is an account's own, it is told.
    let own = cairn.other_client().call("GET", "/-/admin/v1/lifecycle").scope(REGION, "cairn");
    own.send().await.expect(200);
}

#[tokio::test]
async fn an_unknown_call_and_a_wrong_method_are_told_in_json() {
    let cairn = Cairn::shared();
    for path in ["/-/admin/v1/nothing", "/-/admin/v1/", "/-/admin/v2/lock-clock", "/-/admin/v1/lock-clock/"] {
        expect_refusal(signed(&cairn, "GET", path), 404, "NoSuchCall").await;
    }
    for (method, path, allowed) in [("PUT", STATUS, "GET"), ("DELETE", STATUS, "GET"), ("GET", ACCEPT, "POST")] {
        let reply = signed(&cairn, method, path).send().await;
        assert_eq!(refusal(&reply), (405, "MethodNotAllowed".to_owned()));
        assert_eq!(reply.header("allow"), Some(allowed));
    }
}

#[tokio::test]
async fn in_a_buckets_host_the_path_is_a_key() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("admin-host").await;
    let key = cairn.client().call("PUT", STATUS).host_bucket(&bucket).body("an object");
    key.send().await.expect(200);
    let got = cairn.client().call("GET", STATUS).host_bucket(&bucket).send().await.expect(200);
    assert_eq!(got.text(), "an object");
}

#[tokio::test]
async fn the_command_says_whether_the_wall_clock_is_believed() {
    let cairn = Cairn::shared();
    let (status, printed) = lock_clock(&cairn, &["status"]);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("lock time   2") && printed.contains("wall clock  2"), "{printed}");
}

#[tokio::test]
async fn the_command_needs_no_certificates_for_an_endpoint_without_tls() {
    let cairn = Cairn::shared();
    let mut command = cairn.calling_command(&["lock-clock", "status"]);
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[tokio::test]
async fn the_command_takes_temporary_keys_with_their_token() {
    let cairn = Cairn::shared();
    let session = cairn.client().action("sts", "GetSessionToken", &[]).send().await.expect(200);
    let session = cairn.client().in_session(&session).credentials;
    for (token, works) in [(session.token, true), (None, false)] {
        let mut command = cairn.calling_command(&["lock-clock", "status"]);
        command.env("AWS_ACCESS_KEY_ID", &session.access_key).env("AWS_SECRET_ACCESS_KEY", &session.secret_key);
        command.envs(token.map(|token| ("AWS_SESSION_TOKEN", token)));
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), works, "{}", text(&output));
    }
}

#[tokio::test]
async fn the_command_tells_a_refusal_and_prints_no_secret() {
    let cairn = Cairn::shared();
    let secret = "not-the-secret-of-this-key";
    for (arguments, told) in [
        (&["status", "--access-key", "nobody", "--secret-key", secret][..], "InvalidAccessKeyId"),
        (&["accept", "--access-key", "cairn-test-access", "--secret-key", secret], "SignatureDoesNotMatch"),
        (&["status", "--region", "eu-west-1"], "AuthorizationHeaderMalformed"),
    ] {
        let (status, printed) = lock_clock(&cairn, arguments);
        assert_eq!(status, Some(2), "{printed}");
        assert!(printed.contains(told) && !printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn the_command_tells_that_no_server_answers() {
    let cairn = Cairn::prepare(Config::default());
    let (status, printed) = lock_clock(&cairn, &["status"]);
    assert_eq!(status, Some(2), "{printed}");
    assert!(printed.contains("does not answer"), "{printed}");
}

/// Answers one call after another: 503 SlowDown so many times, and then a status. The answer is where, and how many calls
/// have come.
fn busy_server(refusals: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let (status, body) = if counted.fetch_add(1, Ordering::Relaxed) < refusals {
                ("503 Slow Down", r#"{"code":"SlowDown","message":"Later."}"#)
            } else {
                ("200 OK", r#"{"lock_time":"now","wall_time":"now","held":false}"#)
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    (address, calls)
}

#[tokio::test]
async fn the_command_comes_back_to_a_busy_server_but_not_for_ever() {
    let cairn = Cairn::prepare(Config::default());
    for (refusals, exit_status, calls_expected) in [(2, 0, 3), (usize::MAX, 2, 5)] {
        let (address, calls) = busy_server(refusals);
        let mut command = cairn.command(&["lock-clock", "status", "--endpoint-url", &format!("http://{address}")]);
        command.args(["--access-key", "access-key", "--secret-key", "secret-key"]);
        let output = command.env("HOME", cairn.scratch_dir()).output().unwrap();
        assert_eq!(output.status.code(), Some(exit_status), "{}", text(&output));
        assert_eq!(calls.load(Ordering::Relaxed), calls_expected);
    }
}

#[tokio::test]
async fn the_command_takes_the_endpoint_of_the_aws_command_line_unless_it_is_told_another() {
    let cairn = Cairn::prepare(Config::default());
    let ((address, calls), (other, calls_of_other)) = (busy_server(0), busy_server(0));
    let run = |arguments: &[&str]| {
        let mut command =
            cairn.command(&["lock-clock", "status", "--access-key", "access-key", "--secret-key", "secret-key"]);
        command.args(arguments).env("HOME", cairn.scratch_dir()).env("AWS_ENDPOINT_URL", format!("http://{address}"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    };
    run(&[]);
    run(&["--endpoint-url", &format!("http://{other}")]);
    let counts = [calls, calls_of_other].map(|calls| calls.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn an_accepted_wall_clock_ends_the_alarm_and_the_retentions_that_it_has_passed() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let create = client.bucket("PUT", "locked").header("x-amz-bucket-object-lock-enabled", "true");
    create.send().await.expect(200);
    let until = (OffsetDateTime::now_utc() + Duration::days(5)).format(&Rfc3339).unwrap();
    let put = client.object("PUT", "locked", "key").header("x-amz-object-lock-mode", "COMPLIANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", &until);
    let put = put.header("x-amz-checksum-crc32", &digest::checksum("CRC32", b"kept")).body("kept");
    let version = put.send().await.expect(200).header("x-amz-version-id").unwrap().to_owned();
    if let Err(reason) = cairn.set_wall_clock(YEARS_DAYS) {
        skip!("{reason}");
    }
    cairn.restart();
    let now = OffsetDateTime::now_utc() + Duration::days(YEARS_DAYS);
    let remove = client.object("DELETE", "locked", "key").query("versionId", &version).at(now);

    let (status, printed) = lock_clock(&cairn, &["status"]);
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("cairn lock-clock accept"), "{printed}");
    remove.clone().send().await.expect_error(403, "AccessDenied");

    let (status, printed) = lock_clock(&cairn, &["accept"]);
    assert_eq!(status, Some(0), "{printed}");
    assert_eq!(lock_clock(&cairn, &["status"]).0, Some(0));
    // It stays accepted.
    cairn.kill9();
    cairn.start_again();
    assert_eq!(lock_clock(&cairn, &["status"]).0, Some(0));
    remove.send().await.expect(204);
}
