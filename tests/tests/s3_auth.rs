//! Who may do what: signatures in headers, URLs and chunks, and how each of them is refused when it is not exact.

#![allow(clippy::unwrap_used)]

use cairn_tests::random::body;
use cairn_tests::sigv4::{Chunking, Credentials};
use cairn_tests::{Cairn, Client};
use time::{Duration, OffsetDateTime};

const DAY_SECONDS: i64 = 86_400;

async fn object(cairn: &Cairn, purpose: &str) -> (Client, String) {
    let client = cairn.client();
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", "content").await;
    (client, bucket)
}

#[tokio::test]
async fn an_anonymous_request_is_refused() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "anonymous").await;
    let calls = [
        client.call("GET", "/"),
        client.bucket("GET", &bucket),
        client.bucket("PUT", "anonymous-bucket"),
        client.bucket("DELETE", &bucket),
        client.object("GET", &bucket, "key"),
        client.object("PUT", &bucket, "other").body("x"),
        client.object("DELETE", &bucket, "key"),
        client.object("POST", &bucket, "key").query("uploads", ""),
        client.bucket("POST", &bucket).query("delete", "").body("<Delete/>"),
    ];
    for call in calls {
        call.anonymous().send().await.expect_error(403, "AccessDenied");
    }
    client.object("HEAD", &bucket, "key").anonymous().send().await.expect(403);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn another_account_is_refused() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "other-account").await;
    let other = cairn.other_client();
    let calls = [
        other.bucket("GET", &bucket),
        other.bucket("GET", &bucket).query("location", ""),
        other.bucket("GET", &bucket).query("uploads", ""),
        other.bucket("DELETE", &bucket),
        other.object("GET", &bucket, "key"),
        other.object("GET", &bucket, "missing"),
        other.object("PUT", &bucket, "other").body("x"),
        other.object("DELETE", &bucket, "key"),
        other.object("POST", &bucket, "key").query("uploads", ""),
    ];
    for call in calls {
        call.send().await.expect_error(403, "AccessDenied");
    }
    other.bucket("HEAD", &bucket).send().await.expect(403);
    other.object("HEAD", &bucket, "key").send().await.expect(403);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn an_unknown_access_key_is_named_as_such() {
    let cairn = Cairn::shared();
    let stranger = cairn.client_with("nobody-knows-me", "whatever");
    stranger.call("GET", "/").send().await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn a_wrong_secret_does_not_match() {
    let cairn = Cairn::shared();
    let client = cairn.client_with(&cairn.client().credentials.access_key, "not the secret");
    client.call("GET", "/").send().await.expect_error(403, "SignatureDoesNotMatch");
    client.call("GET", "/").presigned(60).send().await.expect_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_head_with_a_wrong_secret_is_403_too() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "wrong-head").await;
    let stranger = cairn.client_with(&client.credentials.access_key, "not the secret");
    stranger.head(&bucket, "key").await.expect(403);
    stranger.object("HEAD", &bucket, "key").presigned(60).send().await.expect(403);
    client.object("HEAD", &bucket, "key").scope("eu-west-1", "s3").send().await.expect(400);
}

#[tokio::test]
async fn the_scope_must_be_exact() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let elsewhere = client.call("GET", "/").scope("eu-west-1", "s3").send().await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (400, "AuthorizationHeaderMalformed"), "{elsewhere:?}");
    let service = client.call("GET", "/").scope("us-east-1", "ec2").send().await;
    assert!([400, 403].contains(&service.status), "{service:?}");
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_15_minutes_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let now = OffsetDateTime::now_utc();
    for minutes in [-14, 0, 14] {
        client.call("GET", "/").at(now + Duration::minutes(minutes)).send().await.expect(200);
    }
    for minutes in [-17, 17, -100_000, 100_000] {
        let reply = client.call("GET", "/").at(now + Duration::minutes(minutes)).send().await;
        reply.expect_error(403, "RequestTimeTooSkewed");
    }
}

#[tokio::test]
async fn presigned_urls_read_and_write() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "presigned").await;
    client.object("PUT", &bucket, "new key/ü").presigned(60).body("by url").send().await.expect(200);
    let got = client.object("GET", &bucket, "new key/ü").presigned(60).send().await.expect(200);
    assert_eq!(got.text(), "by url");
    let typed = client.object("GET", &bucket, "key").query("response-content-type", "text/x").presigned(60);
    assert_eq!(typed.send().await.expect(200).header("content-type"), Some("text/x"));
    client.object("DELETE", &bucket, "key").presigned(60).send().await.expect(204);
}

#[tokio::test]
async fn presigned_urls_live_from_1_second_to_7_days() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "expiry").await;
    let get = |seconds| client.object("GET", &bucket, "key").presigned(seconds).send();
    for seconds in [2, 60, 7 * DAY_SECONDS] {
        get(seconds).await.expect(200);
    }
    for seconds in [0, -1, 7 * DAY_SECONDS + 1, i64::MAX] {
        let reply = get(seconds).await;
        assert!([400, 403].contains(&reply.status), "{seconds}: {reply:?}");
        assert!(["AuthorizationQueryParametersError", "AccessDenied"].contains(&reply.code().as_str()), "{reply:?}");
    }
}

#[tokio::test]
async fn an_expired_url_is_refused() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "expired").await;
    let now = OffsetDateTime::now_utc();
    let get = |age: Duration, seconds| client.object("GET", &bucket, "key").at(now - age).presigned(seconds).send();
    get(Duration::days(6), 7 * DAY_SECONDS).await.expect(200);
    get(Duration::seconds(10), 5).await.expect_error(403, "AccessDenied");
    get(Duration::days(7) + Duration::seconds(10), 7 * DAY_SECONDS).await.expect_error(403, "AccessDenied");
    let future = get(Duration::hours(-1), 60).await;
    assert_eq!(future.status, 403, "{future:?}");
}

#[tokio::test]
async fn an_unsigned_amz_header_is_refused() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "unsigned-header").await;
    let injected = [
        ("x-amz-copy-source", format!("/{bucket}/key")),
        ("x-amz-meta-injected", "1".into()),
        ("x-amz-storage-class", "STANDARD_IA".into()),
        ("x-amz-metadata-directive", "REPLACE".into()),
    ];
    for (name, value) in injected {
        for presigned in [true, false] {
            let call = client.object("PUT", &bucket, "injected").body("x");
            let mut wire = if presigned { call.presigned(60).build() } else { call.build() };
            wire.headers.push((name.into(), value.clone()));
            let reply = wire.send(client.address).await.unwrap();
            assert_eq!(reply.status, 403, "{name} presigned={presigned}: {reply:?}");
        }
    }
    client.get(&bucket, "injected").await.expect(404);
}

#[tokio::test]
async fn both_date_and_amz_date_may_be_signed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = OffsetDateTime::now_utc().format(format).unwrap();
    client.call("GET", "/").header("date", &date).send().await.expect(200);
}

fn chunkings() -> Vec<Chunking> {
    let trailer =
        |content: &[u8]| vec![("x-amz-checksum-crc32".into(), cairn_tests::digest::checksum("CRC32", content))];
    let content = chunked_content();
    vec![
        Chunking { chunk_bytes: 8_192, signed: true, trailers: vec![] },
        Chunking { chunk_bytes: 8_192, signed: true, trailers: trailer(&content) },
        Chunking { chunk_bytes: 8_192, signed: false, trailers: trailer(&content) },
    ]
}

fn chunked_content() -> Vec<u8> {
    body(77, 30_000)
}

#[tokio::test]
async fn chunked_bodies_are_decoded() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "chunked").await;
    for chunking in chunkings() {
        for chunk_bytes in [8_192, 29_999, 30_000, 65_536] {
            let chunking = Chunking { chunk_bytes, ..chunking.clone() };
            let call = client.object("PUT", &bucket, "chunked").body(chunked_content()).chunked(chunking.clone());
            call.send().await.expect(200);
            assert!(client.get(&bucket, "chunked").await.expect(200).body == chunked_content(), "{chunking:?}");
            client.delete(&bucket, "chunked").await;
        }
    }
}

type Damage = (&'static str, fn(&mut Vec<Vec<u8>>));

/// Ways to damage the pieces of a chunked body of four chunks, a final empty one, and an end.
const DAMAGES: [Damage; 9] = [
    ("a missing chunk", |pieces| drop(pieces.remove(1))),
    ("chunks in another order", |pieces| pieces.swap(0, 1)),
    ("a repeated chunk", |pieces| pieces.insert(1, pieces[0].clone())),
    ("no end", |pieces| pieces.truncate(4)),
    ("an end within a chunk", |pieces| {
        pieces.truncate(2);
        pieces[1].truncate(1_000);
    }),
    ("an early end", |pieces| drop(pieces.drain(2..4))),
    ("a flipped bit", |pieces| *pieces[2].last_mut().unwrap_or(&mut 0) ^= 1),
    ("a byte changed within a chunk", |pieces| {
        let middle = pieces[2].len() / 2;
        pieces[2][middle] ^= 0x40;
    }),
    ("a chunk size that is no number", |pieces| pieces[0][0] = b'x'),
];

#[tokio::test]
async fn damaged_chunked_bodies_store_nothing() {
    let cairn = Cairn::start(cairn_tests::Config::default());
    let (client, bucket) = object(&cairn, "damaged").await;
    for chunking in chunkings() {
        for (name, damage) in DAMAGES {
            let call = client.object("PUT", &bucket, "damaged").body(chunked_content()).chunked(chunking.clone());
            let (mut wire, mut pieces) = call.build_pieces();
            damage(&mut pieces);
            wire.body = pieces.concat().into();
            wire.content_length = Some(wire.body.len() as u64);
            let reply = wire.send(client.address).await;
            if let Ok(reply) = &reply {
                assert!([400, 403].contains(&reply.status), "{name}, {}: {reply:?}", chunking.payload_hash());
            }
            client.get(&bucket, "damaged").await.expect(404);
        }
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn a_decoded_length_that_is_not_true_stores_nothing() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "decoded-length").await;
    for chunking in chunkings() {
        for declared in [0, 1, 29_999, 30_001, 1_000_000] {
            // The declared length is signed, so it is signed as wrong as it is.
            let call = client.object("PUT", &bucket, "wrong").body(chunked_content());
            let reply = call.chunked_with_length(chunking.clone(), declared).send().await;
            assert!([400, 403].contains(&reply.status), "{declared}, {}: {reply:?}", chunking.payload_hash());
            client.get(&bucket, "wrong").await.expect(404);
        }
    }
}

#[tokio::test]
async fn malformed_authorizations_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    for value in [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c",
        "AWS4-HMAC-SHA256 Credential=,SignedHeaders=,Signature=",
        "AWS4-HMAC-SHA512 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00",
        "Basic dXNlcjpwYXNz",
        "Bearer token",
        "AWS cairn-test-access:AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AWS4-HMAC-SHA256 Credential=cairn-test-access/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;host, Signature=zz",
    ] {
        let reply = client.call("GET", "/").header("authorization", value).anonymous().send().await;
        assert!([400, 403].contains(&reply.status), "{value:?}: {reply:?}");
    }
}

#[tokio::test]
async fn an_unchanged_client_without_rights_gets_no_hint_of_secrets() {
    let cairn = Cairn::shared();
    let Credentials { access_key, secret_key, .. } = cairn.client().credentials;
    let client = cairn.client_with(&access_key, "wrong secret");
    let reply = client.call("GET", "/").send().await.expect(403);
    assert!(!reply.text().contains(&secret_key));
    assert!(!cairn.log().contains(&secret_key), "the log shows a secret");
}
