//! SSE-C: objects under keys that customers bring and that the server does not keep.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, Config, digest};

const ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
const KEY: &str = "x-amz-server-side-encryption-customer-key";
const KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-md5";

fn key(byte: u8) -> [u8; 32] {
    std::array::from_fn(|index| byte.wrapping_mul(31).wrapping_add(index as u8))
}

fn key_md5(key: &[u8]) -> String {
    STANDARD.encode(digest::md5(key))
}

/// The call with a customer's key for what it names.
fn with_key(call: Call, number: u8) -> Call {
    let key = key(number);
    call.header(ALGORITHM, "AES256").header(KEY, &STANDARD.encode(key)).header(KEY_MD5, &key_md5(&key))
}

/// The call with a customer's key for the source of a copy.
fn with_source_key(call: Call, number: u8) -> Call {
    let of_source = |name: &str| name.replace("x-amz-", "x-amz-copy-source-");
    let key = key(number);
    call.header(&of_source(ALGORITHM), "AES256")
        .header(&of_source(KEY), &STANDARD.encode(key))
        .header(&of_source(KEY_MD5), &key_md5(&key))
}

fn config() -> Config {
    Config { allow_ssec_over_http: true, ..Config::default() }
}

async fn start(purpose: &str) -> (Cairn, Client, String) {
    let cairn = Cairn::start(config());
    let client = cairn.client();
    let bucket = client.fresh_bucket(purpose).await;
    (cairn, client, bucket)
}

#[tokio::test]
async fn an_object_opens_with_its_key_and_no_other() {
    let (_cairn, client, bucket) = start("ssec").await;
    for size in [0, 1, 32_768, 100_000, 300_000] {
        let content = body(size as u64, size);
        let put = with_key(client.object("PUT", &bucket, "key"), 1).body(content.clone()).send().await.expect(200);
        assert_eq!(put.header(ALGORITHM), Some("AES256"));
        assert_eq!(put.header(KEY_MD5), Some(key_md5(&key(1)).as_str()));
        assert_eq!(put.header(KEY), None);
        assert_ne!(put.etag(), digest::etag(&content), "the ETag would tell the plaintext");
        for method in ["GET", "HEAD"] {
            let call = || client.object(method, &bucket, "key");
            let got = with_key(call(), 1).send().await.expect(200);
            assert_eq!(got.header(ALGORITHM), Some("AES256"));
            assert_eq!(got.header(KEY_MD5), Some(key_md5(&key(1)).as_str()));
            assert!(method == "HEAD" || got.body == content, "{size}");
            assert_eq!(got.etag(), put.etag());
            let missing = call().send().await.expect(400);
            let wrong = with_key(call(), 2).send().await.expect(403);
            if method == "GET" {
                assert_eq!(missing.xml("Code"), "InvalidRequest");
                assert_eq!(wrong.xml("Code"), "AccessDenied");
            }
        }
    }
}

#[tokio::test]
async fn a_range_needs_the_key_as_well() {
    let (_cairn, client, bucket) = start("ssec-range").await;
    let content = body(1, 200_000);
    with_key(client.object("PUT", &bucket, "key"), 1).body(content.clone()).send().await.expect(200);
    let call = || client.object("GET", &bucket, "key").header("range", "bytes=65000-66000");
    assert!(with_key(call(), 1).send().await.expect(206).body == content[65_000..=66_000]);
    call().send().await.expect(400);
    with_key(call(), 2).send().await.expect(403);
}

#[tokio::test]
async fn attributes_are_for_who_has_the_key() {
    let (_cairn, client, bucket) = start("ssec-attributes").await;
    with_key(client.object("PUT", &bucket, "key"), 1).body("content").send().await.expect(200);
    let call = || {
        let call = client.object("GET", &bucket, "key").query("attributes", "");
        call.header("x-amz-object-attributes", "ObjectSize,ETag")
    };
    assert_eq!(with_key(call(), 1).send().await.expect(200).xml("ObjectSize"), "7");
    assert_eq!(call().send().await.expect(400).xml("Code"), "InvalidRequest");
    assert_eq!(with_key(call(), 2).send().await.expect(403).xml("Code"), "AccessDenied");
}

#[tokio::test]
async fn a_key_for_an_object_without_one_is_refused() {
    let (_cairn, client, bucket) = start("ssec-needless").await;
    client.put(&bucket, "key", "content").await;
    let reply = with_key(client.object("GET", &bucket, "key"), 1).send().await.expect(400);
    assert_eq!(reply.xml("Code"), "InvalidRequest");
    with_key(client.object("HEAD", &bucket, "key"), 1).send().await.expect(400);
}

#[tokio::test]
async fn copies_change_keys_in_every_direction() {
    let (_cairn, client, bucket) = start("ssec-copy").await;
    for size in [0, 10, 300_000] {
        let content = body(1, size);
        for from in [None, Some(1), Some(2)] {
            let put = client.object("PUT", &bucket, "source").body(content.clone());
            from.into_iter().fold(put, with_key).send().await.expect(200);
            for to in [None, Some(1), Some(2)] {
                let copy =
                    client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/source"));
                let copy = from.into_iter().fold(copy, with_source_key);
                let copied = to.into_iter().fold(copy, with_key).send().await.expect(200);
                assert_eq!(copied.header(ALGORITHM), to.map(|_| "AES256"));
                let get = client.object("GET", &bucket, "copy");
                let got = to.into_iter().fold(get, with_key).send().await.expect(200);
                assert!(got.body == content, "{from:?} to {to:?}, {size} bytes");
            }
        }
    }
}

#[tokio::test]
async fn a_copy_needs_the_sources_key() {
    let (_cairn, client, bucket) = start("ssec-copy-bad").await;
    with_key(client.object("PUT", &bucket, "source"), 1).body("content").send().await.expect(200);
    let copy = || client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/source"));
    assert_eq!(copy().send().await.expect(400).xml("Code"), "InvalidRequest");
    // The key for the target does not open the source.
    assert_eq!(with_key(copy(), 1).send().await.expect(400).xml("Code"), "InvalidRequest");
    assert_eq!(with_source_key(copy(), 2).send().await.expect(403).xml("Code"), "AccessDenied");
    assert_eq!(client.keys(&bucket).await, ["source"]);
}

#[tokio::test]
async fn every_part_needs_the_uploads_key() {
    let (mut cairn, client, bucket) = start("ssec-parts").await;
    let upload = Upload::create_with(&client, &bucket, "key", |call| with_key(call, 1)).await;
    let first = body(1, PART_BYTES_MIN);
    let part = with_key(upload.part(1, first.clone()), 1).send().await.expect(200);
    assert_eq!(part.header(ALGORITHM), Some("AES256"));
    assert_eq!(part.header(KEY_MD5), Some(key_md5(&key(1)).as_str()));
    assert_ne!(part.etag(), digest::etag(&first));
    for call in [upload.part(2, "x"), with_key(upload.part(2, "x"), 2)] {
        assert_eq!(call.send().await.expect(400).xml("Code"), "InvalidRequest");
    }
    with_key(client.object("PUT", &bucket, "source"), 2).body(body(2, 50_000)).send().await.expect(200);
    let copy = upload.part(2, "").header("x-amz-copy-source", &format!("{bucket}/source"));
    let copied = with_source_key(with_key(copy, 1), 2).send().await.expect(200);
    let parts = [(1, part.etag()), (2, copied.xml("ETag"))];
    // S3 does not ask for the key here.
    let completed = upload.complete(&parts).send().await.expect(200);
    assert!(completed.xml("ETag").ends_with("-2\""), "{completed:?}");
    cairn.restart();
    let whole = [first, body(2, 50_000)].concat();
    assert!(with_key(client.object("GET", &bucket, "key"), 1).send().await.expect(200).body == whole);
    with_key(client.object("GET", &bucket, "key"), 2).send().await.expect(403);
}

#[tokio::test]
async fn malformed_keys_are_refused_and_nothing_is_stored() {
    let (_cairn, client, bucket) = start("ssec-bad").await;
    let (good, md5) = (STANDARD.encode(key(1)), key_md5(&key(1)));
    let short = STANDARD.encode(&key(1)[..16]);
    let short_md5 = key_md5(&key(1)[..16]);
    let long = STANDARD.encode([1; 33]);
    let long_md5 = key_md5(&[1; 33]);
    let other_md5 = key_md5(&key(2));
    for (headers, code) in [
        (vec![(ALGORITHM, "AES256")], "InvalidArgument"),
        (vec![(KEY, good.as_str()), (KEY_MD5, &md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY_MD5, &md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, &good)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, &good), (KEY_MD5, &other_md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, &good), (KEY_MD5, "not base64!")], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, &short), (KEY_MD5, &short_md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, &long), (KEY_MD5, &long_md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES256"), (KEY, "%%%"), (KEY_MD5, &md5)], "InvalidArgument"),
        (vec![(ALGORITHM, "AES128"), (KEY, &good), (KEY_MD5, &md5)], "InvalidEncryptionAlgorithmError"),
        (
            vec![(ALGORITHM, "AES256"), (KEY, &good), (KEY_MD5, &md5), ("x-amz-server-side-encryption", "AES256")],
            "InvalidArgument",
        ),
    ] {
        let put = client.object("PUT", &bucket, "key").body("content");
        let call = headers.iter().fold(put, |call, (name, value)| call.header(name, value));
        let reply = call.send().await.expect(400);
        assert_eq!(reply.xml("Code"), code, "{headers:?}");
        assert!(!reply.text().contains(&good), "an error never repeats a key");
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_key_over_plain_http_is_refused_unless_that_is_allowed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("ssec-http").await;
    let reply = with_key(client.object("PUT", &bucket, "key"), 1).body("content").send().await.expect(400);
    assert_eq!(reply.xml("Code"), "InvalidRequest");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_bucket_may_block_customers_keys() {
    let (_cairn, client, bucket) = start("ssec-blocked").await;
    with_key(client.object("PUT", &bucket, "old"), 1).body("content").send().await.expect(200);
    let block = |name: &str| {
        let rule = format!("<BlockedEncryptionTypes><EncryptionType>{name}</EncryptionType></BlockedEncryptionTypes>");
        let document =
            format!("<ServerSideEncryptionConfiguration><Rule>{rule}</Rule></ServerSideEncryptionConfiguration>");
        client.bucket("PUT", &bucket).query("encryption", "").body(document)
    };
    block("SSE-C").send().await.expect(200);
    let configuration = client.bucket("GET", &bucket).query("encryption", "").send().await.expect(200);
    assert_eq!(configuration.xml("EncryptionType"), "SSE-C");
    for call in [
        client.object("PUT", &bucket, "new").body("content"),
        client.object("POST", &bucket, "new").query("uploads", ""),
    ] {
        assert_eq!(with_key(call, 1).send().await.expect(403).xml("Code"), "AccessDenied");
    }
    // What is there can be read.
    assert_eq!(with_key(client.object("GET", &bucket, "old"), 1).send().await.expect(200).text(), "content");
    block("NONE").send().await.expect(200);
    with_key(client.object("PUT", &bucket, "new"), 1).body("content").send().await.expect(200);
}

#[tokio::test]
async fn neither_key_nor_content_is_kept_or_told() {
    let (mut cairn, client, bucket) = start("ssec-canary").await;
    let canary = "a canary that only its customer may hear ";
    for size in [10_000, 200_000] {
        let content = canary.repeat(size / canary.len());
        let put = client.object("PUT", &bucket, &format!("key-{size}")).body(content);
        with_key(put, 7).send().await.expect(200);
        with_key(client.object("GET", &bucket, &format!("key-{size}")), 7).send().await.expect(200);
        with_key(client.object("GET", &bucket, &format!("key-{size}")), 8).send().await.expect(403);
    }
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    cairn.stop();
    let mut kept = [cairn.log().into_bytes(), metrics.into_bytes()].concat();
    for file in files_below(&cairn.data_dir()) {
        kept.extend(std::fs::read(file).unwrap());
    }
    let mut secrets = vec![canary.as_bytes().to_vec()];
    for number in [7, 8] {
        let key = key(number);
        secrets.extend([key.to_vec(), STANDARD.encode(key).into_bytes(), digest::md5(&key).to_vec()]);
    }
    for secret in secrets {
        assert!(!kept.windows(secret.len()).any(|window| window == secret), "{}", String::from_utf8_lossy(&secret));
    }
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "a check needs no key: {report}");
}
