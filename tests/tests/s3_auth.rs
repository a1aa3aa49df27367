//! Who may do what: signatures in headers, URLs and chunks, and how each of them is refused when it is not exact.

#![allow(clippy::unwrap_used)]

use cairn_tests::random::body;
use cairn_tests::sigv4::{Chunking, Credentials};
use cairn_tests::wire::Wire;
use cairn_tests::{Cairn, Client, Random};
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
async fn mutated_chunk_signatures_never_pass() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "chunk-signatures").await;
    let mut random = Random::new(0xC4);
    for chunking in chunkings().into_iter().filter(|chunking| chunking.signed) {
        for round in 0..60 {
            let call = client.object("PUT", &bucket, "mutated").body(chunked_content()).chunked(chunking.clone());
            let (mut wire, mut pieces) = call.build_pieces();
            let signed: Vec<usize> =
                (0..pieces.len()).filter(|&index| signature_start(&pieces[index]).is_some()).collect();
            let piece = &mut pieces[*random.pick(&signed)];
            let at = signature_start(piece).unwrap() + random.below(64);
            piece[at] = other_hex_digit(piece[at], &mut random);
            wire.body = pieces.concat().into();
            wire.content_length = Some(wire.body.len() as u64);
            let reply = wire.send(client.address).await.unwrap();
            assert_eq!(reply.status, 403, "round {round}: {reply:?}");
        }
    }
    client.get(&bucket, "mutated").await.expect(404);
}

fn signature_start(piece: &[u8]) -> Option<usize> {
    [&b"chunk-signature="[..], b"x-amz-trailer-signature:"].into_iter().find_map(|name| {
        let position = piece.windows(name.len()).position(|window| window == name)?;
        Some(position + name.len())
    })
}

fn other_hex_digit(digit: u8, random: &mut Random) -> u8 {
    loop {
        let other = *random.pick(b"0123456789abcdef");
        if other != digit {
            return other;
        }
    }
}

/// The valid requests that are mutated: one of each kind.
fn valid_requests(client: &Client, bucket: &str) -> Vec<Wire> {
    vec![
        client.object("GET", bucket, "key").build(),
        client.object("GET", bucket, "key").header("range", "bytes=0-3").build(),
        client.bucket("GET", bucket).query("list-type", "2").query("prefix", "k y").build(),
        client.object("PUT", bucket, "target").header("x-amz-meta-a", "b").body("mutated content").build(),
        client.object("PUT", bucket, "target").unsigned_payload().body("mutated content").build(),
        client.object("DELETE", bucket, "key").build(),
        client.object("GET", bucket, "key").presigned(600).build(),
        client.object("PUT", bucket, "target").presigned(600).body("x").build(),
        client.object("PUT", bucket, "target").header("x-amz-copy-source", &format!("/{bucket}/key")).build(),
    ]
}

/// Changes one thing that the signature covers; `None` if this request has nothing of that kind.
fn mutate(wire: &Wire, random: &mut Random) -> Option<Wire> {
    let mut mutated = wire.clone();
    let header = |wire: &Wire, name: &str| wire.headers.iter().position(|(known, _)| known == name);
    match random.below(9) {
        0 => {
            let at = header(wire, "authorization")?;
            let value = &mut mutated.headers[at].1;
            let digit = value.len() - 1 - random.below(64);
            *value = replace_byte(value, digit, other_hex_digit(value.as_bytes()[digit], random));
        }
        1 => {
            let at = header(wire, "authorization")?;
            let value = &mut mutated.headers[at].1;
            let position = random.below(value.len());
            *value = replace_byte(value, position, *random.pick(b"abcXYZ019,;=/-"));
        }
        2 => {
            let at = random.below(wire.headers.len());
            let value = &mut mutated.headers[at].1;
            let position = random.below(value.len());
            *value = replace_byte(value, position, *random.pick(b"abcxyz0189"));
        }
        3 => drop(mutated.headers.remove(random.below(wire.headers.len()))),
        4 => mutated.target.push_str(if wire.target.contains('?') { "&injected=1" } else { "?injected=1" }),
        5 => mutated.target = mutated.target.replacen("key", "kex", 1).replacen("target", "tarket", 1),
        6 => mutated.method = random.pick(&["GET", "PUT", "DELETE", "POST"]).to_string(),
        7 => {
            let start = wire.target.find('?')? + 1;
            let position = start + random.below(wire.target.len() - start);
            mutated.target = replace_byte(&wire.target, position, *random.pick(b"abcxyz0189"));
        }
        _ => {
            let at = header(wire, "x-amz-content-sha256")?;
            mutated.headers[at].1 =
                random.pick(&["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", ""]).to_string();
        }
    }
    // Header names and hexadecimal escapes are case-insensitive, and so is what the host name says.
    let same = mutated.target.eq_ignore_ascii_case(&wire.target)
        && mutated.method == wire.method
        && mutated.headers.len() == wire.headers.len()
        && mutated.headers.iter().zip(&wire.headers).all(|(new, old)| new.1 == old.1);
    (!same).then_some(mutated)
}

fn replace_byte(text: &str, position: usize, byte: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[position] = byte;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn two_thousand_mutated_requests_never_pass() {
    const MUTATIONS: usize = 2_400;
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "mutations").await;
    let requests = valid_requests(&client, &bucket);
    let mut random = Random::new(0x5164);
    let mut sent = 0;
    while sent < MUTATIONS {
        let batch: Vec<Wire> = (0..32)
            .filter_map(|_| {
                let wire = &requests[random.below(requests.len())];
                mutate(wire, &mut random)
            })
            .collect();
        let tasks: Vec<_> = batch
            .into_iter()
            .map(|wire| {
                let address = client.address;
                tokio::spawn(async move { (wire.send(address).await, wire) })
            })
            .collect();
        for task in tasks {
            let (reply, wire) = task.await.unwrap();
            let reply = reply.unwrap_or_else(|error| panic!("{wire:?}: {error}"));
            assert!((400..500).contains(&reply.status) || reply.status == 501, "{wire:?}\npassed: {reply:?}");
            sent += 1;
        }
    }
    assert_eq!(client.keys(&bucket).await, ["key"], "a mutated request changed something");
    for wire in &requests {
        let reply = wire.send(client.address).await.unwrap();
        assert!(reply.status < 300 || reply.status == 404, "an unchanged request is refused: {wire:?}\n{reply:?}");
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
    let Credentials { access_key, secret_key } = cairn.client().credentials;
    let client = cairn.client_with(&access_key, "wrong secret");
    let reply = client.call("GET", "/").send().await.expect(403);
    assert!(!reply.text().contains(&secret_key));
    assert!(!cairn.log().contains(&secret_key), "the log shows a secret");
}
