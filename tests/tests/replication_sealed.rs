//! Objects under customers' keys replicate sealed: to buckets of the same server and of another, where they open with the same keys.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cairn_tests::foreign::Foreign;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::replication::{STATUS, converged, remote, replicate, until, versioned};
use cairn_tests::{Cairn, Call, Client, Config, Reply, digest, skip};

const BUCKET: &str = "copies";
const HERE: &str = "arn:aws:s3:::local";
const THERE: &str = "arn:aws:s3:there::copies";

const ID: &str = "x-amz-cairn-replica-version-id";
const ENVELOPE: &str = "x-amz-cairn-replica-envelope";
const SEALED: &str = "x-amz-cairn-replica-sealed";

/// The call with a customer's key.
fn with_key(call: Call, number: u8) -> Call {
    let key = [number; 32];
    let name = |end: &str| format!("x-amz-server-side-encryption-customer-{end}");
    call.header(&name("algorithm"), "AES256")
        .header(&name("key"), &BASE64.encode(key))
        .header(&name("key-md5"), &BASE64.encode(digest::md5(&key)))
}

fn get(client: &Client, bucket: &str, key: &str) -> Call {
    client.object("GET", bucket, key).header("x-amz-checksum-mode", "ENABLED")
}

fn config(more: String) -> Config {
    Config { more, allow_ssec_over_http: true, ..Config::default() }
}

/// The object is completed at the source.
async fn carried(client: &Client, key: &str) {
    let head = || with_key(client.object("HEAD", BUCKET, key), 1);
    until(key, head, |reply| reply.header(STATUS) == Some("COMPLETED")).await;
}

/// The same bytes, ETag, checksum and parts, for who has the key and for nobody else.
async fn assert_same(source: (&Client, &str), replica: (&Client, &str), key: &str) {
    let read = |(client, bucket): (&Client, &str)| with_key(get(client, bucket, key), 1);
    let (one, other) = (read(source).send().await.expect(200), read(replica).send().await.expect(200));
    assert!(one.body == other.body, "{key}");
    assert_eq!(other.header(STATUS), Some("REPLICA"));
    assert!(one.header("x-amz-checksum-crc64nvme").is_some() || one.body.is_empty(), "{key}");
    for header in ["etag", "x-amz-version-id", "last-modified", "x-amz-checksum-crc64nvme", "x-amz-mp-parts-count"] {
        assert_eq!(one.header(header), other.header(header), "{key}: {header}");
    }
    if one.body.len() > 70_000 {
        let range = |of| read(of).header("range", "bytes=65530-65545");
        assert_eq!(range(replica).send().await.expect(206).body, one.body.slice(65_530..65_546));
        assert_eq!(range(source).send().await.expect(206).body, one.body.slice(65_530..65_546));
    }
    let (client, bucket) = replica;
    get(client, bucket, key).send().await.expect_error(400, "InvalidRequest");
    with_key(get(client, bucket, key), 2).send().await.expect_error(403, "AccessDenied");
}

/// Objects of every form in the source's bucket: in the index, in files, empty, and in parts whose numbers have gaps.
async fn put_all(client: &Client) -> Vec<&'static str> {
    for (key, size) in [("empty", 0), ("tiny", 1), ("inline", 32_768), ("file", 40_000), ("chunks", 300_000)] {
        let put = with_key(client.object("PUT", BUCKET, key), 1).header("x-amz-meta-name", key);
        put.body(body(size as u64, size)).send().await.expect(200);
    }
    let upload = Upload::create_with(client, BUCKET, "parts", |call| with_key(call, 1)).await;
    let mut parts = Vec::new();
    for (number, size) in [(2, PART_BYTES_MIN + 1), (5, PART_BYTES_MIN), (9, 77)] {
        let part = with_key(upload.part(number, body(number.into(), size)), 1).send().await.expect(200);
        parts.push((number, part.etag()));
    }
    // With the key, without which nobody can tell the object's checksum.
    with_key(upload.complete(&parts), 1).send().await.expect(200);
    vec!["empty", "tiny", "inline", "file", "chunks", "parts"]
}

async fn part(client: &Client, bucket: &str, number: &str) -> Reply {
    with_key(get(client, bucket, "parts"), 1).query("partNumber", number).send().await.expect(206)
}

#[tokio::test]
async fn what_a_customers_key_seals_opens_with_it_at_both_targets_and_with_no_other() {
    // What lies in the index here lies in a file there.
    let target = Cairn::start(Config { inline_threshold_bytes: Some(100), ..config(String::new()) });
    let source = Cairn::start(config(remote("there", &format!("http://{}", target.client().address))));
    let (here, there) = (source.client(), target.client());
    versioned(&there, BUCKET).await;
    versioned(&here, BUCKET).await;
    versioned(&here, "local").await;
    replicate(&here, BUCKET, &[THERE, HERE]).await;
    for key in put_all(&here).await {
        carried(&here, key).await;
        assert_same((&here, BUCKET), (&there, BUCKET), key).await;
        assert_same((&here, BUCKET), (&here, "local"), key).await;
    }
    assert_eq!(converged(&[&here, &there], BUCKET).await, 6);
    for number in ["1", "2", "3"] {
        let parts = [part(&here, BUCKET, number).await, part(&there, BUCKET, number).await];
        assert!(parts[0].body == parts[1].body && !parts[0].body.is_empty());
        let checksum = parts[0].header("x-amz-checksum-crc64nvme");
        assert_eq!(checksum, parts[1].header("x-amz-checksum-crc64nvme"));
    }
    // What comes after the replication finds it as it is, too: a copy, which shares the bytes, and a restart.
    let copy = with_key(there.object("PUT", BUCKET, "copy"), 1).header("x-amz-copy-source", "copies/chunks");
    let of_source = |end: &str| format!("x-amz-copy-source-server-side-encryption-customer-{end}");
    let copy = copy.header(&of_source("algorithm"), "AES256").header(&of_source("key"), &BASE64.encode([1; 32]));
    copy.header(&of_source("key-md5"), &BASE64.encode(digest::md5(&[1; 32]))).send().await.expect(200);
    let copied = with_key(get(&there, BUCKET, "copy"), 1).send().await.expect(200);
    assert!(copied.body == body(300_000, 300_000));
    assert!(there.upload_ids(BUCKET).await.is_empty());
}

#[tokio::test]
async fn what_is_compressed_before_it_is_sealed_stays_so() {
    let target = Cairn::start(config(String::new()));
    let compressing = "\n[compression]\nclasses = [\"STANDARD\"]\n";
    let there = remote("there", &format!("http://{}", target.client().address));
    let source = Cairn::start(config(format!("{there}{compressing}")));
    let (here, there) = (source.client(), target.client());
    versioned(&there, BUCKET).await;
    versioned(&here, BUCKET).await;
    versioned(&here, "local").await;
    replicate(&here, BUCKET, &[THERE, HERE]).await;
    // Chunks that shrink, and some that do not.
    let text = |length: usize| "so it is said, and said again; ".bytes().cycle().take(length).collect::<Vec<u8>>();
    let content = [text(150_000), body(3, 140_000).to_vec(), text(90_001)].concat();
    with_key(here.object("PUT", BUCKET, "mixed"), 1).body(content.clone()).send().await.expect(200);
    carried(&here, "mixed").await;
    assert_same((&here, BUCKET), (&there, BUCKET), "mixed").await;
    assert_same((&here, BUCKET), (&here, "local"), "mixed").await;
    let got = with_key(get(&there, BUCKET, "mixed"), 1).send().await.expect(200);
    assert!(got.body == content);
    let stored = std::fs::metadata(target.blob_files().pop().unwrap()).unwrap().len();
    assert!(stored < 200_000, "{stored} bytes of {}", content.len());
}

#[tokio::test]
async fn a_server_that_takes_nothing_sealed_gets_nothing_and_the_reason_is_told() {
    let foreign = match Foreign::start().await {
        Ok(foreign) => foreign,
        Err(reason) => skip!("{reason}"),
    };
    let source = Cairn::start(config(remote("there", &format!("http://{}", foreign.address))));
    let here = source.client();
    versioned(&foreign.client(), BUCKET).await;
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, &[THERE]).await;
    with_key(here.object("PUT", BUCKET, "key"), 1).body("secret").send().await.expect(200);
    let head = || with_key(here.object("HEAD", BUCKET, "key"), 1);
    until("the failure", head, |reply| reply.header(STATUS) == Some("FAILED")).await;
    foreign.client().head(BUCKET, "key").await.expect(404);
    let failed = source.calling_command(&["replicate", "failed", "--bucket", BUCKET]).output().unwrap();
    let failed = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.contains("SrcObjectNotEligible"), "{failed}");
}

#[tokio::test]
async fn a_bucket_that_blocks_customers_keys_takes_none_by_replication() {
    let source = Cairn::start(config(String::new()));
    let here = source.client();
    versioned(&here, BUCKET).await;
    versioned(&here, "local").await;
    let blocking = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
                    </SSEAlgorithm></ApplyServerSideEncryptionByDefault><BlockedEncryptionTypes><EncryptionType>SSE-C\
                    </EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>";
    here.bucket("PUT", "local").query("encryption", "").body(blocking).send().await.expect(200);
    replicate(&here, BUCKET, &[HERE]).await;
    with_key(here.object("PUT", BUCKET, "key"), 1).body("x").send().await.expect(200);
    let head = || with_key(here.object("HEAD", BUCKET, "key"), 1);
    until("the failure", head, |reply| reply.header(STATUS) == Some("FAILED")).await;
    here.head("local", "key").await.expect(404);
}

/// An envelope and a body's facts as a source would send them: CBOR maps.
fn envelope(wrapped: &[u8]) -> String {
    let head: [&[u8]; 5] = [&[0xA3, 0x00, 0x58, wrapped.len() as u8], wrapped, &[0x01, 0x50], &[1; 16], &[0x02, 0x50]];
    BASE64.encode([head.concat(), vec![2; 16]].concat())
}

fn sealed(size: u8, chunk: u32) -> String {
    let head: [&[u8]; 4] = [&[0xA3, 0x00, 0x18, size, 0x01, 0x1A], &chunk.to_be_bytes(), &[0x02, 0x50], &[3; 16]];
    BASE64.encode(head.concat())
}

#[tokio::test]
async fn what_is_said_of_sealed_bytes_is_held_to_what_can_be() {
    let cairn = Cairn::start(config(String::new()));
    let client = cairn.client();
    versioned(&client, BUCKET).await;
    let good_envelope = envelope(&[vec![3], vec![0; 92]].concat());
    let chunk = |length: u32| Bytes::from([length.to_be_bytes().to_vec(), vec![7; 116]].concat());
    let put = |envelope: &str, sealed: &str, body: Bytes| {
        let put = client.object("PUT", BUCKET, "key").header(ID, &format!("{:032x}", 1_u128 << 114));
        let put = put.header("x-amz-cairn-replica-created", "1").header("x-amz-cairn-replica-etag", &"ab".repeat(16));
        put.header(ENVELOPE, envelope).header(SEALED, sealed).body(body)
    };
    for (what, call) in [
        ("no envelope's length", put(&envelope(&[3; 92]), &sealed(100, 65_536), chunk(116))),
        ("another format's envelope", put(&envelope(&[1; 93]), &sealed(100, 65_536), chunk(116))),
        ("chunks that are too long", put(&good_envelope, &sealed(100, 1 << 21), chunk(116))),
        ("chunks of nothing", put(&good_envelope, &sealed(100, 0), chunk(116))),
        ("another length of its chunk", put(&good_envelope, &sealed(100, 65_536), chunk(115))),
        ("a customer's key", with_key(put(&good_envelope, &sealed(100, 65_536), chunk(116)), 1)),
        (
            "another way to seal",
            put(&good_envelope, &sealed(100, 65_536), chunk(116)).header("x-amz-server-side-encryption", "AES256"),
        ),
    ] {
        let reply = call.send().await;
        assert_eq!(reply.status, 400, "{what}: {reply:?}");
        assert!(["InvalidRequest", "InvalidArgument"].contains(&reply.xml("Code").as_str()), "{what}: {reply:?}");
    }
    put(&good_envelope, &sealed(99, 65_536), chunk(116)).send().await.expect(400);
    put("%%", &sealed(100, 65_536), chunk(116)).send().await.expect_error(400, "InvalidArgument");
    let plain = client.object("PUT", BUCKET, "key").header(SEALED, &sealed(100, 65_536)).body(chunk(116));
    plain.send().await.expect_error(400, "InvalidRequest");
    client.head(BUCKET, "key").await.expect(404);
    // One that has the form of what it should be is taken, and opens with no key.
    put(&good_envelope, &sealed(100, 65_536), chunk(116)).send().await.expect(200);
    with_key(get(&client, BUCKET, "key"), 1).send().await.expect_error(403, "AccessDenied");
    get(&client, BUCKET, "key").send().await.expect_error(400, "InvalidRequest");
    // An upload of what stays sealed takes no part that does not, and one of what does not no part that does.
    let of =
        |call: Call| call.header(ID, &format!("{:032x}", 1_u128 << 113)).header("x-amz-cairn-replica-created", "1");
    let etag = format!("{}-1", "ab".repeat(16));
    let carrying = Upload::create_with(&client, BUCKET, "parts", |call| {
        of(call).header("x-amz-cairn-replica-etag", &etag).header(ENVELOPE, &good_envelope)
    });
    let (carrying, other) = (carrying.await, Upload::create_with(&client, BUCKET, "other", of).await);
    let id = |call: Call| call.header(ID, &format!("{:032x}", 1_u128 << 113));
    id(carrying.part(1, "x")).send().await.expect_error(400, "InvalidRequest");
    with_key(id(carrying.part(1, "x")), 1).send().await.expect_error(400, "InvalidRequest");
    let part = id(other.part(1, chunk(116))).header(SEALED, &sealed(100, 65_536));
    part.send().await.expect_error(400, "InvalidRequest");
    id(carrying.part(1, chunk(116))).header(SEALED, &sealed(100, 65_536)).send().await.expect(200);
}
