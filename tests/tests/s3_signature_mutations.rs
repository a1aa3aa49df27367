//! Ten thousand mutations of valid requests of each kind of signature: none is accepted, and nothing is stored or deleted.

#![allow(clippy::unwrap_used)]

use cairn_tests::digest::checksum;
use cairn_tests::mutation::Signed;
use cairn_tests::random::body;
use cairn_tests::sigv4::{Chunking, content_md5};
use cairn_tests::wire::{Connection, Wire};
use cairn_tests::{Cairn, Call, Client, Config, Random, Reply};
use time::OffsetDateTime;

/// Mutations of each kind.
const MUTATIONS: usize = 10_000;

/// Connections over which they are sent.
const CONNECTIONS: usize = 16;

/// Mutations that were not refused and are shown.
const SHOWN_MAX: usize = 10;

async fn bucket_with_a_key(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", "content").await;
    bucket
}

/// Sends mutations of the requests, which must be valid and leave `key` as it is as long as they are done in their order,
/// and looks for traces of them.
async fn none_is_accepted(client: &Client, bucket: &str, requests: &[Signed], seed: u64) {
    let mut random = Random::new(seed);
    let mut lanes = vec![vec![]; CONNECTIONS];
    let mut drawn = 0;
    while drawn < MUTATIONS {
        if let Some(wire) = random.pick(requests).mutate(&mut random) {
            lanes[drawn % CONNECTIONS].push(wire);
            drawn += 1;
        }
    }
    let lanes: Vec<_> = lanes.into_iter().map(|lane| tokio::spawn(not_refused(client.clone(), lane))).collect();
    let mut passed = Vec::new();
    for lane in lanes {
        passed.extend(lane.await.unwrap());
    }
    let shown = passed.iter().take(SHOWN_MAX).cloned().collect::<String>();
    assert!(passed.is_empty(), "{} of {MUTATIONS} mutations were not refused:\n{shown}", passed.len());
    assert_eq!(client.keys(bucket).await, ["key"], "a mutated request changed the bucket");
    assert_eq!(client.get(bucket, "key").await.expect(200).text(), "content", "a mutated request changed the object");
    assert!(client.upload_ids(bucket).await.is_empty(), "a mutated request began an upload");
    for Signed { wire, .. } in requests {
        let reply = wire.send(client.address).await.unwrap();
        assert!(reply.status < 300, "an unchanged request is refused: {wire:?}\n{reply:?}");
    }
}

/// Sends requests one after the other over one connection, or the next one where the server ends it. Describes those that
/// are not refused.
async fn not_refused(client: Client, wires: Vec<Wire>) -> Vec<String> {
    let mut open = None;
    let mut passed = Vec::new();
    for wire in &wires {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::open(client.address).await.unwrap(),
        };
        let reply = connection.exchange(&wire.method, &wire.head_bytes(), &wire.body).await;
        let reply = reply.unwrap_or_else(|error| panic!("{wire:?}: {error}"));
        if !is_refusal(&reply) {
            passed.push(format!("{wire:?}\n{reply:?}\n\n"));
        }
        if reply.header("connection") != Some("close") {
            open = Some(connection);
        }
    }
    passed
}

/// Whether the answer says nothing of what is stored: an object that is not found was looked for.
fn is_refusal(reply: &Reply) -> bool {
    [400, 403, 405, 411, 501].contains(&reply.status) || is_no_form(reply)
}

/// What is posted to a bucket has to be a form, which is signed in its fields.
fn is_no_form(reply: &Reply) -> bool {
    reply.status == 412 && reply.text().contains("multipart/form-data")
}

#[tokio::test]
async fn no_mutation_of_a_signed_header_is_accepted() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "header").await;
    let document = "<Delete><Object><Key>target</Key></Object></Delete>";
    let requests = [
        Signed::v4(client.object("GET", &bucket, "key")),
        Signed::v4(client.object("HEAD", &bucket, "key")),
        Signed::v4(client.object("GET", &bucket, "key").header("range", "bytes=0-3")),
        Signed::v4(client.bucket("GET", &bucket).query("list-type", "2").query("prefix", "k y").query("max-keys", "7")),
        Signed::v4(client.object("PUT", &bucket, "target").header("x-amz-meta-a", "b  c").body("covered content")),
        Signed::v4_without_body(client.object("PUT", &bucket, "target").unsigned_payload().body("free content")),
        Signed::v4(client.object("PUT", &bucket, "target").header("x-amz-copy-source", &format!("/{bucket}/key"))),
        Signed::v4(client.object("POST", &bucket, "a b/ü").query("uploads", "")),
        Signed::v4(
            client
                .bucket("POST", &bucket)
                .query("delete", "")
                .header("content-md5", &content_md5(document.as_bytes()))
                .body(document),
        ),
        Signed::v4(client.object("DELETE", &bucket, "key")),
    ];
    none_is_accepted(&client, &bucket, &requests, 0x5164).await;
}

#[tokio::test]
async fn no_mutation_of_a_presigned_url_is_accepted() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "presigned").await;
    let disposition = "attachment; filename=\"a b.txt\"";
    let calls = [
        client.object("GET", &bucket, "key"),
        client.object("HEAD", &bucket, "key"),
        client.object("GET", &bucket, "key").query("response-content-disposition", disposition),
        client.bucket("GET", &bucket).query("list-type", "2").query("prefix", "ü"),
        client.object("PUT", &bucket, "target/ü").body("content"),
        client.object("PUT", &bucket, "target").header("x-amz-meta-a", "b").header("content-type", "text/x").body("x"),
        client.object("DELETE", &bucket, "key"),
    ];
    let requests = calls.map(|call| Signed::v4_without_body(call.presigned(600)));
    none_is_accepted(&client, &bucket, &requests, 0x7072).await;
}

/// PUTs of a content in three signed chunks, of none, and of a part.
fn chunked_puts(client: &Client, bucket: &str, chunking: impl Fn(&[u8]) -> Chunking) -> Vec<Signed> {
    let content = body(0xC4, 150);
    let put = |key: &str| client.object("PUT", bucket, key);
    let calls = [
        put("target").chunked(chunking(&content)).body(content),
        put("target").header("x-amz-meta-a", "b").chunked(chunking(b"")),
        put("target/ü").chunked(chunking(b"a small one")).body("a small one"),
    ];
    calls.map(Signed::v4).into()
}

#[tokio::test]
async fn no_mutation_of_a_request_in_signed_chunks_is_accepted() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "chunked").await;
    let requests = chunked_puts(&client, &bucket, |_| Chunking { chunk_bytes: 64, signed: true, trailers: vec![] });
    none_is_accepted(&client, &bucket, &requests, 0xC4).await;
}

#[tokio::test]
async fn no_mutation_of_a_request_with_trailers_is_accepted() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "trailers").await;
    let chunking = |signed: bool, algorithm: &'static str| {
        move |content: &[u8]| {
            let name = format!("x-amz-checksum-{}", algorithm.to_ascii_lowercase());
            Chunking { chunk_bytes: 64, signed, trailers: vec![(name, checksum(algorithm, content))] }
        }
    };
    // Without signed chunks it is the checksum that covers the body.
    let mut requests = chunked_puts(&client, &bucket, chunking(true, "CRC32"));
    requests.extend(chunked_puts(&client, &bucket, chunking(false, "SHA256")));
    none_is_accepted(&client, &bucket, &requests, 0x7472).await;
}

#[tokio::test]
async fn no_mutation_of_a_signature_of_version_2_is_accepted() {
    let cairn = Cairn::start(Config { signature_v2: Some("all"), ..Config::default() });
    let client = cairn.client();
    let bucket = bucket_with_a_key(&client, "version-2").await;
    let calls = || {
        [
            client.object("GET", &bucket, "key"),
            client.object("HEAD", &bucket, "key"),
            client.object("GET", &bucket, "key").query("response-content-type", "text/x"),
            client.bucket("GET", &bucket).query("uploads", ""),
            client
                .object("PUT", &bucket, "a b/ü")
                .header("x-amz-meta-a", "b")
                .header("content-type", "text/x")
                .body("x"),
            client.object("PUT", &bucket, "target").header("x-amz-copy-source", &format!("/{bucket}/key")),
            client.object("DELETE", &bucket, "target"),
        ]
    };
    let expires = OffsetDateTime::now_utc().unix_timestamp() + 600;
    let urls = calls().map(|call| Signed::v2(call.presigned_v2(expires)));
    let headers = calls().map(|call: Call| Signed::v2(call.header("date", &http_date()).header_v2()));
    let requests: Vec<Signed> = urls.into_iter().chain(headers).collect();
    none_is_accepted(&client, &bucket, &requests, 0x5162).await;
}

fn http_date() -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    OffsetDateTime::now_utc().format(format).unwrap()
}
