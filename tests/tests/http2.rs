//! HTTP/2 on the S3 endpoint: requests go both ways as over HTTP/1.1, and what a connection may hold is bounded.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_tests::http2::{Body, Http2, read};
use cairn_tests::random::body;
use cairn_tests::sigv4::Chunking;
use cairn_tests::tls::Authority;
use cairn_tests::wire::Connection;
use cairn_tests::{Cairn, Client, Config, skip};
use futures::future::join_all;
use futures::stream;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::version::TLS13;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty frame of the settings.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn start_with(config: Config) -> (Cairn, Client) {
    let mut cairn = Cairn::prepare(config);
    cairn.set_environment("CAIRN_S3_HTTP2", "true");
    cairn.start_again();
    let client = cairn.client();
    (cairn, client)
}

fn start(limits: Vec<(&'static str, u64)>) -> (Cairn, Client) {
    start_with(Config { limits, ..Config::default() })
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that does not come.
fn endless() -> Body {
    StreamBody::new(stream::pending()).boxed_unsync()
}

/// Objects of several sizes, in chunks with signatures too, and what else requests consist of.
async fn check_requests(http2: &Http2, client: &Client) {
    let bucket = "over-http2";
    let chunking = Chunking { chunk_bytes: 64 << 10, signed: true, trailers: vec![] };
    let sent = |call| async move { http2.send(call).await.unwrap() };
    sent(client.bucket("PUT", bucket)).await.expect(200);
    for size in [0, 1, 100_000, 3_000_000] {
        let content = body(size as u64, size);
        for (key, call) in [
            ("plain/key with blanks", client.object("PUT", bucket, "plain/key with blanks").body(content.clone())),
            ("chunked", client.object("PUT", bucket, "chunked").body(content.clone()).chunked(chunking.clone())),
        ] {
            sent(call).await.expect(200);
            let got = sent(client.object("GET", bucket, key)).await.expect(200);
            assert!(got.body == content, "{key} {size}");
            assert_eq!(got.header("content-length"), Some(size.to_string().as_str()));
        }
    }
    let ranged = client.object("GET", bucket, "chunked").header("range", "bytes=65530-65540");
    assert_eq!(sent(ranged).await.expect(206).body, body(3_000_000, 3_000_000)[65_530..=65_540]);
    let head = sent(client.object("HEAD", bucket, "chunked")).await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("3000000"), 0));
    assert_eq!(sent(client.bucket("GET", bucket)).await.expect(200).xml_all("Key").len(), 2);
    // What the path leaves out, the host names.
    let by_host = client.call("GET", "/chunked").host_bucket(bucket);
    assert_eq!(sent(by_host).await.expect(200).body_bytes, 3_000_000);
    sent(client.object("GET", bucket, "none")).await.expect_error(404, "NoSuchKey");
    let mut stranger = client.clone();
    stranger.credentials.secret_key = "another-secret".to_owned();
    sent(stranger.object("GET", bucket, "chunked")).await.expect_error(403, "SignatureDoesNotMatch");
    sent(client.object("DELETE", bucket, "chunked")).await.expect(204);
}

#[tokio::test]
async fn requests_go_both_ways_with_prior_knowledge_and_http_1_beside_it() {
    let (_cairn, client) = start(vec![]);
    check_requests(&Http2::open(client.address).await.unwrap(), &client).await;
    client.object("GET", "over-http2", "plain/key with blanks").send().await.expect(200);
    // A beginning that comes in pieces is one.
    let mut slow = Connection::open(client.address).await.unwrap();
    for piece in ["P", "U"] {
        slow.write(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    slow.write(b"T / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(slow.read_reply().await.unwrap().status, 405);
}

#[tokio::test]
async fn requests_go_both_ways_over_tls_by_negotiation() {
    let folder = tempfile::tempdir().unwrap();
    let made = Authority::make(folder.path()).and_then(|authority| Ok((authority.issue("server")?, authority)));
    let (tls, authority) = match made {
        Ok((tls, authority)) => (Some(tls), authority),
        Err(reason) => skip!("{reason}"),
    };
    let (_cairn, client) = start_with(Config { tls: tls.clone(), ..Config::default() });
    check_requests(&Http2::open_tls(&authority, client.address).await.unwrap(), &client).await;
    let mut http1 = authority.connect(client.address, &[&TLS13]).await.unwrap();
    let wire = client.object("GET", "over-http2", "plain/key with blanks").build();
    http1.exchange(&wire.method, &wire.head_bytes(), b"").await.unwrap().expect(200);
    let off = Cairn::start(Config { tls, ..Config::default() });
    // Who offers nothing else is refused.
    assert!(authority.greet_http2(off.client().address).await.is_err());
}

#[tokio::test]
async fn it_is_off_by_default() {
    let cairn = Cairn::start(Config::default());
    let mut stream = TcpStream::connect(cairn.client().address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(SETTINGS).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
}

#[tokio::test]
async fn an_upload_that_is_refused_before_its_end_is_told_why() {
    let (_cairn, client) = start(vec![]);
    let http2 = Http2::open(client.address).await.unwrap();
    for _ in 0..3 {
        let refused = http2.send(client.object("PUT", "no-such-bucket", "k").body(body(1, 3_000_000))).await.unwrap();
        refused.expect_error(404, "NoSuchBucket");
    }
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let (_cairn, client) = start(vec![]);
    let bucket = client.fresh_bucket("many").await;
    let http2 = Http2::open(client.address).await.unwrap();
    let content = |number: usize| body(number as u64, 1 + number * 500);
    let puts =
        (0..200).map(|number| http2.send(client.object("PUT", &bucket, &number.to_string()).body(content(number))));
    for reply in join_all(puts).await {
        reply.unwrap().expect(200);
    }
    let gets = (0..200).map(|number| http2.send(client.object("GET", &bucket, &number.to_string())));
    for (number, reply) in join_all(gets).await.into_iter().enumerate() {
        assert!(reply.unwrap().expect(200).body == content(number), "{number}");
    }
}

#[tokio::test]
async fn the_bounds_of_a_connection_are_announced() {
    let (_cairn, client) = start(vec![]);
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(SETTINGS).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame has the settings");
    let mut settings = vec![0; usize::from(head[2]) + (usize::from(head[1]) << 8)];
    stream.read_exact(&mut settings).await.unwrap();
    let value = |id: u8| {
        let one = settings.chunks_exact(6).find(|one| one[..2] == [0, id])?;
        Some(u32::from_be_bytes(one[2..].try_into().unwrap()))
    };
    let [streams, window, headers] = [3, 4, 6].map(value);
    assert_eq!((streams, window, headers), (Some(128), Some(256 << 10), Some(32 << 10)));
}

#[tokio::test]
async fn headers_beyond_the_bound_are_refused() {
    let (_cairn, client) = start(vec![]);
    let http2 = Http2::open(client.address).await.unwrap();
    let mut wire = client.call("GET", "/").build();
    wire.headers.push(("x-amz-meta-long".to_owned(), "x".repeat(40_000)));
    match http2.begin(&wire, empty()).await {
        Ok(response) => assert_eq!(response.status().as_u16(), 431),
        Err(error) => assert_ne!(error.kind(), io::ErrorKind::TimedOut),
    }
    Http2::open(client.address).await.unwrap().send(client.call("GET", "/")).await.unwrap().expect(200);
}

#[tokio::test]
async fn a_client_that_gives_up_its_requests_again_and_again_is_cut_off() {
    let (_cairn, client) = start(vec![]);
    let bucket = client.fresh_bucket("rapid").await;
    let http2 = Http2::open(client.address).await.unwrap();
    let wire = client.object("PUT", &bucket, "k").unsigned_payload().body("0123456789").build();
    let mut given_up = 0;
    while !http2.connection.is_finished() {
        given_up += 1;
        assert!(given_up < 2_000, "the connection is still there");
        let begun = http2.begin(&wire, endless());
        // Reset when it is dropped.
        let _ = tokio::time::timeout(Duration::from_millis(5), begun).await;
    }
    assert!(given_up > 20, "{given_up}");
    Http2::open(client.address).await.unwrap().send(client.call("GET", "/")).await.unwrap().expect(200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_loses_that_stream_alone() {
    let (_cairn, client) = start(vec![("write_progress_timeout_seconds", 2)]);
    let bucket = client.fresh_bucket("unread").await;
    client.put(&bucket, "large", body(1, 3_000_000)).await;
    client.put(&bucket, "small", "content").await;
    let http2 = Http2::open_with_window(client.address, 64 << 10).await.unwrap();
    let unread = http2.begin(&client.object("GET", &bucket, "large").build(), empty()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let small = http2.send(client.object("GET", &bucket, "small")).await.unwrap();
        assert_eq!(small.expect(200).body, "content");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(read(unread).await.is_err(), "it was reset");
    let whole = http2.send(client.object("GET", &bucket, "large")).await.unwrap();
    assert_eq!(whole.expect(200).body_bytes, 3_000_000);
}

#[tokio::test]
async fn answers_that_a_client_makes_no_room_for_cost_little_and_end() {
    let (cairn, client) = start(vec![("write_progress_timeout_seconds", 2)]);
    let bucket = client.fresh_bucket("no-room").await;
    client.put(&bucket, "large", body(1, 8_000_000)).await;
    for _ in 0..4 {
        client.get(&bucket, "large").await.expect(200);
    }
    let http2 = Http2::open_with_window(client.address, 0).await.unwrap();
    let before = memory_kib(cairn.pid());
    let began = Instant::now();
    let large = client.object("GET", &bucket, "large").build();
    let answers = join_all((0..100).map(|_| http2.begin(&large, empty()))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(1) {
        most = most.max(memory_kib(cairn.pid()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // 100 answers of 8 MB.
    assert!(most < before + (100 << 10), "{before} KiB, then {most} KiB");
    for answer in join_all(answers.into_iter().map(read)).await {
        assert!(answer.is_err(), "it was reset");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // The connection is as good as before.
    http2.send(client.object("HEAD", &bucket, "large")).await.unwrap().expect(200);
}

fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn connections_over_the_limit_are_turned_away_until_others_close() {
    let (_cairn, client) = start(vec![("connections_max", 4)]);
    let mut held = Vec::new();
    for _ in 0..4 {
        let http2 = Http2::open(client.address).await.unwrap();
        http2.send(client.call("GET", "/")).await.unwrap().expect(200);
        held.push(http2);
    }
    let over = async || Http2::open(client.address).await?.send(client.call("GET", "/")).await;
    let refused = over().await;
    assert!(refused.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::TimedOut), "{refused:?}");
    // Each has streams enough meanwhile.
    held[0].send(client.call("GET", "/")).await.unwrap().expect(200);
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !over().await.is_ok_and(|reply| reply.status == 200) {
        assert!(Instant::now() < deadline, "the limit does not recover");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn requests_over_the_limit_get_slow_down_on_the_same_connection() {
    let (cairn, client) = start(vec![("requests_in_flight_max", 2)]);
    let bucket = client.fresh_bucket("in-flight").await;
    let http2 = Arc::new(Http2::open(client.address).await.unwrap());
    let wire = client.object("PUT", &bucket, "held").unsigned_payload().body("0123456789").build();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (http2, wire) = (http2.clone(), wire.clone());
            tokio::spawn(async move { http2.begin(&wire, endless()).await.map(drop) })
        })
        .collect();
    let get = async || http2.send(client.bucket("GET", &bucket)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !cairn.ops_get("/metrics").unwrap().1.contains("\ncairn_requests_in_flight 2\n") {
        assert!(Instant::now() < deadline, "the requests do not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = get().await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.expect_error(503, "SlowDown");
    held.iter().for_each(tokio::task::JoinHandle::abort);
    while get().await.status != 200 {
        assert!(Instant::now() < deadline, "the limit does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_and_a_connection_without_requests_end() {
    let (_cairn, client) = start(vec![("body_progress_timeout_seconds", 1), ("header_read_timeout_seconds", 1)]);
    let bucket = client.fresh_bucket("slow").await;
    let http2 = Http2::open(client.address).await.unwrap();
    let wire = client.object("PUT", &bucket, "k").unsigned_payload().body("0123456789").build();
    let refused = read(http2.begin(&wire, endless()).await.unwrap()).await.unwrap();
    refused.expect_error(400, "RequestTimeout");
    let ended = tokio::time::timeout(Duration::from_secs(20), http2.connection).await;
    assert!(ended.is_ok(), "an idle connection is closed");
    let mut silent = TcpStream::connect(client.address).await.unwrap();
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok() && nothing.is_empty(), "{nothing:?}");
}

#[tokio::test]
async fn a_stop_lets_a_request_in_flight_end() {
    let (mut cairn, client) = start(vec![]);
    let bucket = client.fresh_bucket("stop").await;
    client.put(&bucket, "large", body(1, 3_000_000)).await;
    let http2 = Http2::open_with_window(client.address, 64 << 10).await.unwrap();
    let got = http2.begin(&client.object("GET", &bucket, "large").build(), empty()).await.unwrap();
    let stopping = tokio::task::spawn_blocking(move || cairn.stop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(read(got).await.unwrap().body_bytes, 3_000_000);
    assert!(stopping.await.unwrap().success());
}
