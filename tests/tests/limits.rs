//! Limits against slow, greedy and oversized clients, and what happens to requests when the server stops.

#![allow(clippy::unwrap_used)]

use std::io;
use std::time::{Duration, Instant};

use cairn_tests::random::body;
use cairn_tests::wire::{Connection, exchange_raw};
use cairn_tests::{Cairn, Config};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn with_limits(limits: &[(&'static str, u64)]) -> Cairn {
    Cairn::start(Config { limits: limits.to_vec(), ..Config::default() })
}

/// An answer with one of `statuses`, or the end of the connection.
fn refused(answer: &io::Result<cairn_tests::Reply>, statuses: &[u16]) -> bool {
    match answer {
        Ok(reply) => statuses.contains(&reply.status),
        Err(error) => error.kind() != io::ErrorKind::TimedOut,
    }
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let cairn = with_limits(&[("header_read_timeout_seconds", 1)]);
    let started = Instant::now();
    let mut connection = Connection::open(cairn.client().address).await.unwrap();
    connection.write(b"GET / HTTP/1.1\r\nhost: slow\r\nx-slow: ").await.unwrap();
    let answer = connection.read_reply().await;
    assert!(refused(&answer, &[400, 408]), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn headers_that_drip_end_the_connection() {
    let cairn = with_limits(&[("header_read_timeout_seconds", 1)]);
    let mut connection = Connection::open(cairn.client().address).await.unwrap();
    connection.write(b"GET / HTTP/1.1\r\n").await.unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(15) {
        if connection.write(b"a: b\r\n").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("headers may drip for ever");
}

#[tokio::test]
async fn a_body_that_stops_ends_the_request_and_stores_nothing() {
    let cairn = with_limits(&[("body_progress_timeout_seconds", 1)]);
    let client = cairn.client();
    let bucket = client.fresh_bucket("stopped").await;
    for size in [10 * KIB, MIB] {
        let wire = client.object("PUT", &bucket, "key").unsigned_payload().body(body(1, size)).build();
        let started = Instant::now();
        let mut connection = Connection::open(client.address).await.unwrap();
        connection.write(&wire.head_bytes()).await.unwrap();
        connection.write(&wire.body[..size / 2]).await.unwrap();
        let answer = connection.read_reply().await;
        assert!(refused(&answer, &[400, 408]), "{answer:?}");
        if let Ok(reply) = answer {
            assert_eq!(reply.code(), "RequestTimeout");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
        client.get(&bucket, "key").await.expect(404);
    }
}

#[tokio::test]
async fn a_slow_body_that_makes_progress_is_stored() {
    let cairn = with_limits(&[("body_progress_timeout_seconds", 2)]);
    let client = cairn.client();
    let bucket = client.fresh_bucket("slow").await;
    let wire = client.object("PUT", &bucket, "key").body("12345678").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    for byte in wire.body.chunks(1) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        connection.write(byte).await.unwrap();
    }
    connection.read_reply().await.unwrap().expect(200);
    assert_eq!(client.get(&bucket, "key").await.text(), "12345678");
}

#[tokio::test]
async fn connections_over_the_limit_are_turned_away_until_others_close() {
    let cairn = with_limits(&[("connections_max", 8)]);
    let client = cairn.client();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(client.address).await.unwrap();
        connection.write(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(connection);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = client.call("GET", "/").try_send().await;
    assert!(refused(&answer, &[503]), "{answer:?}");
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !client.call("GET", "/").try_send().await.is_ok_and(|reply| reply.status == 200) {
        assert!(Instant::now() < deadline, "the limit does not recover");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn requests_over_the_limit_get_slow_down_with_retry_after() {
    let cairn = with_limits(&[("requests_in_flight_max", 2)]);
    let client = cairn.client();
    let bucket = client.fresh_bucket("in-flight").await;
    let mut held = Vec::new();
    for number in 0..2 {
        let wire = client.object("PUT", &bucket, &format!("held-{number}")).body(body(1, 1_000)).build();
        let mut connection = Connection::open(client.address).await.unwrap();
        connection.write(&wire.head_bytes()).await.unwrap();
        connection.write(&wire.body[..500]).await.unwrap();
        held.push((connection, wire));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reply = client.get(&bucket, "key").await;
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    reply.expect_error(503, "SlowDown");
    for (mut connection, wire) in held {
        connection.write(&wire.body[500..]).await.unwrap();
        connection.read_reply().await.unwrap().expect(200);
    }
    client.get(&bucket, "held-0").await.expect(200);
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let cairn = Cairn::shared();
    let address = cairn.client().address;
    let large = format!("GET / HTTP/1.1\r\nhost: h\r\nx-large: {}\r\n\r\n", "a".repeat(MIB));
    let many = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "x-many: a\r\n".repeat(20_000));
    for request in [large, many] {
        let answer = exchange_raw(address, request.as_bytes()).await;
        assert!(refused(&answer, &[400, 413, 431]), "{answer:?}");
    }
    cairn.client().call("GET", "/").send().await.expect(200);
}

#[tokio::test]
async fn keys_have_1024_bytes_at_most() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("key-length").await;
    for key in ["k".repeat(1024), "é".repeat(512)] {
        client.put(&bucket, &key, "x").await;
        client.get(&bucket, &key).await.expect(200);
    }
    for key in ["k".repeat(1025), "é".repeat(513)] {
        client.object("PUT", &bucket, &key).body("x").send().await.expect_error(400, "KeyTooLongError");
        client.object("POST", &bucket, &key).query("uploads", "").send().await.expect_error(400, "KeyTooLongError");
    }
    assert_eq!(client.keys(&bucket).await.len(), 2);
}

#[tokio::test]
async fn user_metadata_has_2_kib_at_most() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("metadata-size").await;
    // Counted are the bytes of each name without its prefix and of each value: here 1 and the rest.
    let put =
        |bytes: usize| client.object("PUT", &bucket, "key").header("x-amz-meta-a", &"v".repeat(bytes - 1)).body("x");
    put(2_048).send().await.expect(200);
    put(2_049).send().await.expect_error(400, "MetadataTooLarge");
    let upload = client.object("POST", &bucket, "key").query("uploads", "").header("x-amz-meta-a", &"v".repeat(2_048));
    upload.send().await.expect_error(400, "MetadataTooLarge");
}

#[tokio::test]
async fn documents_have_a_largest_size() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("document-size").await;
    let document = format!("<Delete>{}</Delete>", " ".repeat(24 * MIB));
    let md5 = cairn_tests::sigv4::content_md5(document.as_bytes());
    let call = client.bucket("POST", &bucket).query("delete", "").header("content-md5", &md5).body(document);
    let answer = call.try_send().await;
    assert!(refused(&answer, &[400, 413]), "{answer:?}");
}

#[tokio::test]
async fn memory_does_not_grow_with_the_object() {
    const OBJECT_BYTES: usize = 256 * MIB;
    const GROWTH_KIB_MAX: u64 = 96 * 1024;
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("memory").await;
    client.put(&bucket, "warm", body(1, MIB)).await;
    client.get(&bucket, "warm").await.expect(200);
    let before = peak_memory_kib(cairn.pid());
    let content = body(2, OBJECT_BYTES);
    client.object("PUT", &bucket, "large").unsigned_payload().body(content.clone()).send().await.expect(200);
    assert!(client.get(&bucket, "large").await.expect(200).body == content);
    let growth = peak_memory_kib(cairn.pid()) - before;
    assert!(growth < GROWTH_KIB_MAX, "an object of {OBJECT_BYTES} bytes took {growth} KiB");
}

fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_graceful_stop_finishes_the_request_in_flight() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("graceful").await;
    let wire = client.object("PUT", &bucket, "key").body("both halves").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    connection.write(&wire.body[..5]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = std::thread::spawn(move || (cairn.stop(), cairn));
    tokio::time::sleep(Duration::from_millis(500)).await;
    connection.write(&wire.body[5..]).await.unwrap();
    connection.read_reply().await.unwrap().expect(200);
    let (status, mut cairn) = stopping.join().unwrap();
    assert!(status.success(), "{status:?}");
    cairn.start_again();
    assert_eq!(cairn.client().get(&bucket, "key").await.expect(200).text(), "both halves");
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_hold_up_a_stop() {
    let mut cairn = with_limits(&[("body_progress_timeout_seconds", 2)]);
    let client = cairn.client();
    let bucket = client.fresh_bucket("stalled").await;
    client.put(&bucket, "key", body(1, 32 * MIB)).await;
    let wire = client.object("GET", &bucket, "key").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    cairn.stop();
    assert!(started.elapsed() < Duration::from_secs(45), "it took {:?}", started.elapsed());
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("expect").await;
    let wire = client.object("PUT", &bucket, "key").header("expect", "100-continue").body("content").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    connection.write(&wire.body).await.unwrap();
    connection.read_reply().await.unwrap().expect(200);
}

#[tokio::test]
async fn a_refused_request_with_expect_is_answered_without_its_body() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let wire = client.object("PUT", "no-such-bucket-at-all", "key").header("expect", "100-continue").body("x").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    connection.write(&wire.head_bytes()).await.unwrap();
    connection.read_reply().await.unwrap().expect_error(404, "NoSuchBucket");
}
