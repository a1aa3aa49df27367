//! HTTP itself: clients of version 1.0, bodies in transfer chunks, connections after errors, and refusals that spare a
//! client its body.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::{Upload, complete_document};
use cairn_tests::sigv4::{Chunking, content_md5};
use cairn_tests::wire::{Connection, Wire};
use cairn_tests::{Cairn, Call, Client, Reply};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn bucket_with_a_key(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", "content").await;
    bucket
}

/// The head of a request as a client of HTTP/1.0 writes it.
fn http_1_0(wire: &Wire, more: &str) -> Vec<u8> {
    let head = String::from_utf8(wire.head_bytes()).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
    head.replacen("\r\n\r\n", &format!("\r\n{more}\r\n"), 1).into_bytes()
}

async fn is_closed(connection: &mut Connection) -> bool {
    connection.read_reply().await.is_err_and(|error| error.kind() != std::io::ErrorKind::TimedOut)
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_and_its_connection_closed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "http-1-0").await;
    client.put(&bucket, "large", vec![7; 3_000_000]).await;
    let calls = [
        (client.object("GET", &bucket, "key"), 200, 7),
        (client.object("GET", &bucket, "large"), 200, 3_000_000),
        (client.object("GET", &bucket, "key").header("range", "bytes=0-2"), 206, 3),
        (client.object("PUT", &bucket, "put").body("by HTTP/1.0"), 200, 0),
        (client.object("DELETE", &bucket, "large"), 204, 0),
    ];
    for (call, status, bytes) in calls {
        let wire = call.build();
        let mut connection = Connection::open(client.address).await.unwrap();
        let reply = connection.exchange(&wire.method, &http_1_0(&wire, ""), &wire.body).await.unwrap().expect(status);
        assert_eq!(reply.body_bytes, bytes, "{wire:?}");
        assert_eq!(reply.header("transfer-encoding"), None, "{wire:?}");
        assert!(is_closed(&mut connection).await, "{wire:?}");
    }
    let missing = client.object("GET", &bucket, "missing").build();
    let mut connection = Connection::open(client.address).await.unwrap();
    let reply = connection.exchange("GET", &http_1_0(&missing, ""), b"").await.unwrap();
    reply.expect_error(404, "NoSuchKey");
    assert_eq!(client.get(&bucket, "put").await.text(), "by HTTP/1.0");
}

#[tokio::test]
async fn a_client_of_http_1_0_may_keep_its_connection() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "keep-alive").await;
    let mut connection = Connection::open(client.address).await.unwrap();
    for (key, status) in [("key", 200), ("missing", 404), ("key", 200)] {
        let wire = client.object("GET", &bucket, key).build();
        let head = http_1_0(&wire, "connection: keep-alive\r\n");
        let reply = connection.exchange("GET", &head, b"").await.unwrap().expect(status);
        assert!(reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{reply:?}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_may_send_no_host() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "no-host").await;
    let without_host = |call: Call| {
        let mut wire = call.build();
        wire.headers.retain(|(name, _)| name != "host");
        http_1_0(&wire, "")
    };
    let send = async |head: Vec<u8>| {
        Connection::open(client.address).await.unwrap().exchange("GET", &head, b"").await.unwrap()
    };
    let get = || client.object("GET", &bucket, "key");
    // Version 2 does not cover the host, version 4 cannot do without.
    let expires = OffsetDateTime::now_utc().unix_timestamp() + 60;
    assert_eq!(send(without_host(get().presigned_v2(expires))).await.expect(200).text(), "content");
    for call in [get(), get().presigned(60)] {
        let reply = send(without_host(call)).await;
        assert!([400, 403].contains(&reply.status), "{reply:?}");
    }
    send(without_host(get().anonymous())).await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_100_continue() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "no-continue").await;
    let wire = client.object("PUT", &bucket, "key").body("new content").build();
    let head = http_1_0(&wire, "expect: 100-continue\r\n");
    let answer = raw_answer(&client, &[head, wire.body.to_vec()].concat()).await;
    assert!(!answer.contains(" 100 ") && answer.contains(" 200 OK\r\n"), "{answer}");
}

/// Everything that the server sends to a client that closes its side.
async fn raw_answer(client: &Client, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The request with its body in transfer chunks of `chunk_bytes` and without a length.
fn in_transfer_chunks(wire: &Wire, chunk_bytes: usize) -> Wire {
    let mut body = Vec::new();
    for chunk in wire.body.chunks(chunk_bytes) {
        body.extend_from_slice(format!("{:x};ignored=1\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    let mut chunked = Wire { body: body.into(), content_length: None, ..wire.clone() };
    chunked.headers.push(("transfer-encoding".into(), "chunked".into()));
    chunked
}

#[tokio::test]
async fn documents_may_come_in_transfer_chunks() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "documents").await;
    client.put(&bucket, "other", "x").await;
    let delete = "<Delete><Object><Key>key</Key></Object></Delete>";
    let md5 = content_md5(delete.as_bytes());
    let upload = Upload::create(&client, &bucket, "uploaded").await;
    let etag = upload.upload(1, "only part").await;
    let location = "<CreateBucketConfiguration><LocationConstraint></LocationConstraint></CreateBucketConfiguration>";
    let calls = [
        client.bucket("POST", &bucket).query("delete", "").header("content-md5", &md5).body(delete),
        upload.call("POST").body(complete_document(&[(1, etag)])),
        client.bucket("PUT", "in-transfer-chunks").body(location),
    ];
    let mut connection = Connection::open(client.address).await.unwrap();
    for call in calls {
        let wire = in_transfer_chunks(&call.build(), 7);
        let reply = connection.exchange(&wire.method, &wire.head_bytes(), &wire.body).await.unwrap();
        assert_eq!(reply.status, 200, "{wire:?}\n{reply:?}");
    }
    assert_eq!(client.keys(&bucket).await, ["other", "uploaded"]);
    client.bucket("HEAD", "in-transfer-chunks").send().await.expect(200);
}

#[tokio::test]
async fn a_damaged_document_in_transfer_chunks_changes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "damaged-documents").await;
    let delete = "<Delete><Object><Key>key</Key></Object></Delete>";
    let md5 = content_md5(delete.as_bytes());
    let call = client.bucket("POST", &bucket).query("delete", "").header("content-md5", &md5).body(delete);
    let whole = in_transfer_chunks(&call.build(), 9);
    let flipped = String::from_utf8(whole.body.to_vec()).unwrap().replace("ke", "ki");
    let cut = whole.body[..whole.body.len() - 5].to_vec();
    for body in [flipped.into_bytes(), cut, b"zz\r\n".to_vec(), b"0\r\n\r\n".to_vec()] {
        let wire = Wire { body: body.into(), ..whole.clone() };
        let answer = raw_answer(&client, &[&wire.head_bytes()[..], &wire.body].concat()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{wire:?}\n{answer}");
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn a_document_in_transfer_chunks_is_held_to_its_signed_hash() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("hashed-documents").await;
    let upload = Upload::create(&client, &bucket, "uploaded").await;
    let document = complete_document(&[(1, upload.upload(1, "only part").await)]);
    let other = upload.call("POST").body(document.replace("<Part>", " <Part>")).build();
    let mut call = upload.call("POST").body(document).build();
    call.body = other.body;
    let reply = in_transfer_chunks(&call, 50).send(client.address).await.unwrap();
    reply.expect_error(400, "XAmzContentSHA256Mismatch");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn an_object_in_transfer_chunks_needs_a_decoded_length() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "transfer").await;
    let plain = client.object("PUT", &bucket, "plain").body("content").build();
    in_transfer_chunks(&plain, 3).send(client.address).await.unwrap().expect_error(411, "MissingContentLength");
    let chunking = Chunking { chunk_bytes: 8_192, signed: true, trailers: vec![] };
    let signed = client.object("PUT", &bucket, "signed").body(vec![5; 20_000]).chunked(chunking).build();
    in_transfer_chunks(&signed, 1_000).send(client.address).await.unwrap().expect(200);
    assert!(client.get(&bucket, "signed").await.expect(200).body == vec![5; 20_000]);
    client.get(&bucket, "plain").await.expect(404);
}

/// PUTs and POSTs that fail with this status, with small bodies and with larger ones than the server reads for nothing.
async fn failing_requests(client: &Client, bucket: &str) -> Vec<(Wire, u16)> {
    let mut failing = Vec::new();
    let wrong = Client {
        credentials: cairn_tests::sigv4::Credentials { secret_key: "wrong".into(), ..client.credentials.clone() },
        ..client.clone()
    };
    for body_bytes in [0, 1, 1_000, 300_000, 8_000_000] {
        let put = |key: &str| client.object("PUT", bucket, key).unsigned_payload().body(vec![b'G'; body_bytes]);
        let other_hash = put("key").declared_payload(&cairn_tests::sigv4::sha256_hex(b"other"));
        failing.extend([
            (client.object("PUT", "no-such-bucket-here", "key").body(vec![b'G'; body_bytes]).build(), 404),
            (wrong.object("PUT", bucket, "key").body(vec![b'G'; body_bytes]).build(), 403),
            (other_hash.build(), 400),
            (put("key").header("content-md5", &content_md5(b"other")).build(), 400),
            (put("key").header("content-md5", "nonsense").build(), 400),
            (put("key").query("torrent", "").build(), 501),
            (put("key").query("uploadId", "none").query("partNumber", "1").build(), 404),
            (put(&"k".repeat(1_025)).build(), 400),
            (put("key").header("if-match", "\"0\"").build(), 412),
            (put("key").header("x-amz-storage-class", "NONE").build(), 400),
        ]);
        let document = client.bucket("POST", bucket).query("delete", "").body(vec![b'<'; body_bytes]);
        failing.push((document.build(), 400));
    }
    failing
}

#[tokio::test]
async fn after_an_error_the_next_request_gets_its_own_answer_or_the_connection_is_closed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "after-errors").await;
    let next = client.object("GET", &bucket, "key").build();
    for (wire, status) in failing_requests(&client, &bucket).await {
        let shown = format!("{} {} {} bytes", wire.method, wire.target, wire.body.len());
        let mut connection = Connection::open(client.address).await.unwrap();
        let failed = connection.exchange(&wire.method, &wire.head_bytes(), &wire.body).await;
        let failed: Reply = failed.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(failed.status, status, "{shown}: {failed:?}");
        let following = connection.exchange("GET", &next.head_bytes(), b"").await;
        match failed.header("connection") {
            Some("close") => assert!(following.is_err(), "{shown}: {following:?}"),
            _ => assert_eq!(following.unwrap().expect(200).text(), "content", "{shown}"),
        }
    }
    assert_eq!(client.get(&bucket, "key").await.text(), "content");
}

#[tokio::test]
async fn a_pipelined_request_is_not_taken_for_the_body_of_the_refused_one_before_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "pipelined").await;
    let next = client.object("GET", &bucket, "key").build();
    for body_bytes in [0, 10, 100_000] {
        let refused = client.object("PUT", "no-such-bucket-here", "key").body(vec![b'G'; body_bytes]).build();
        let mut connection = Connection::open(client.address).await.unwrap();
        let both = [&refused.head_bytes()[..], &refused.body, &next.head_bytes()].concat();
        connection.write(&both).await.unwrap();
        connection.read_reply().await.unwrap().expect_error(404, "NoSuchBucket");
        assert_eq!(connection.read_reply().await.unwrap().expect(200).text(), "content", "{body_bytes}");
    }
}

#[tokio::test]
async fn a_refusal_comes_before_100_continue() {
    let cairn = Cairn::shared();
    let (client, other) = (cairn.client(), cairn.other_client());
    let bucket = bucket_with_a_key(&client, "refusals").await;
    let wrong = cairn.client_with(&client.credentials.access_key, "wrong");
    let put = |client: &Client| client.object("PUT", &bucket, "key").unsigned_payload().body(vec![0; 100_000]);
    let mut too_large = put(&client).header("expect", "100-continue").build();
    too_large.content_length = Some(6 * 1024 * 1024 * 1024);
    let mut refusals = vec![(too_large, 400)];
    for (call, status) in [
        (client.object("PUT", "no-such-bucket-here", "key").body("x"), 404),
        (put(&wrong), 403),
        (put(&other), 403),
        (put(&client).anonymous(), 403),
        (put(&client).query("torrent", ""), 501),
        (put(&client).query("uploadId", "none").query("partNumber", "1"), 404),
        (put(&client).header("content-md5", "nonsense"), 400),
        (put(&client).header("x-amz-storage-class", "NONE"), 400),
        (put(&client).header("x-amz-checksum-crc32", "nonsense"), 400),
        (put(&client).header("x-amz-meta-a", &"v".repeat(2_048)), 400),
        (put(&client).header("x-amz-expected-bucket-owner", "100000000002"), 403),
        (client.object("PUT", &bucket, &"k".repeat(1_025)).body("x"), 400),
    ] {
        refusals.push((call.header("expect", "100-continue").build(), status));
    }
    for (wire, status) in refusals {
        let answer = raw_answer(&client, &wire.head_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{wire:?}\n{answer}");
        // Otherwise a client that sends its body in spite of the refusal has it read as its next request.
        assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{wire:?}\n{answer}");
    }
    assert_eq!(client.get(&bucket, "key").await.text(), "content");
}
