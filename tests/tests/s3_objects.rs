//! Objects: writing, reading, ranges, conditions, metadata and deletion.

#![allow(clippy::unwrap_used)]

use cairn_tests::digest::etag;
use cairn_tests::random::body;
use cairn_tests::wire::Connection;
use cairn_tests::{Cairn, sigv4};

/// Around the inline threshold, the chunk size and the size of several chunks.
const SIZES: [usize; 14] =
    [0, 1, 511, 4096, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_072, 1_000_003, 4_194_304, 9_000_001];

#[tokio::test]
async fn what_was_put_is_got_at_every_size() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sizes").await;
    for size in SIZES {
        let content = body(size as u64, size);
        let put = client.put(&bucket, &format!("size-{size}"), content.clone()).await;
        assert_eq!(put.etag(), etag(&content), "size {size}");
        let got = client.get(&bucket, &format!("size-{size}")).await.expect(200);
        assert!(got.body == content, "size {size}: other bytes came back");
        assert_eq!(got.etag(), etag(&content), "size {size}");
        assert_eq!(got.header("content-length"), Some(size.to_string().as_str()));
    }
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("head").await;
    client
        .object("PUT", &bucket, "key")
        .header("x-amz-meta-colour", "blue")
        .body("twelve bytes")
        .send()
        .await
        .expect(200);
    let head = client.head(&bucket, "key").await.expect(200);
    let got = client.get(&bucket, "key").await.expect(200);
    for name in ["content-length", "content-type", "etag", "last-modified", "accept-ranges", "x-amz-meta-colour"] {
        assert_eq!(head.header(name), got.header(name), "{name}");
        assert!(head.header(name).is_some(), "{name} is absent: {head:?}");
    }
    assert_eq!(head.header("content-length"), Some("12"));
}

#[tokio::test]
async fn keys_of_any_shape_survive() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("odd-keys").await;
    let mut keys = vec![
        "a",
        "a/b",
        "a/",
        "a//b",
        "/leading",
        "with space",
        "plus+plus",
        "per%20cent",
        "..",
        "../up",
        "a/./b",
        "a/../b",
        "ümlaut",
        "日本語/キー",
        "emoji-🪨",
        "q?uery",
        "h#ash",
        "amp&<>\"'",
        "semi;colon=equals",
        "back\\slash",
        "~tilde",
        "trailing ",
        "*!()'",
        "\u{7f}",
        "line\nbreak",
    ];
    for key in &keys {
        client.put(&bucket, key, format!("content of {key}")).await;
    }
    for key in &keys {
        assert_eq!(client.get(&bucket, key).await.expect(200).text(), format!("content of {key}"), "{key:?}");
    }
    keys.sort_unstable();
    let listed = client.bucket("GET", &bucket).query("encoding-type", "url").send().await.expect(200).xml_all("Key");
    // S3 form-encodes listed keys; which safe characters it leaves is not to be tested here.
    let listed: Vec<String> = listed.iter().map(|key| sigv4::form_decode(key)).collect();
    assert_eq!(listed, keys);
}

#[tokio::test]
async fn a_put_replaces_the_object_with_all_its_metadata() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("replace").await;
    client.object("PUT", &bucket, "key").header("x-amz-meta-old", "1").body("old content").send().await.expect(200);
    client.put(&bucket, "key", "new").await;
    let got = client.get(&bucket, "key").await.expect(200);
    assert_eq!(got.text(), "new");
    assert_eq!(got.header("x-amz-meta-old"), None);
}

#[tokio::test]
async fn system_and_user_metadata_come_back() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("metadata").await;
    let headers = [
        ("content-type", "text/x-rock; charset=utf-8"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "attachment; filename=\"a b.txt\""),
        ("content-language", "de-CH"),
        ("content-encoding", "gzip"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("x-amz-website-redirect-location", "/elsewhere"),
        ("x-amz-meta-one", "1"),
        ("x-amz-meta-two-words", "a, b"),
    ];
    let mut call = client.object("PUT", &bucket, "key").body("x");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send().await.expect(200);
    for reply in [client.get(&bucket, "key").await, client.head(&bucket, "key").await] {
        for (name, value) in headers {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn names_of_user_metadata_are_case_insensitive() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("metadata-case").await;
    client.object("PUT", &bucket, "key").header("X-Amz-Meta-MiXeD", "Value").body("x").send().await.expect(200);
    let got = client.get(&bucket, "key").await.expect(200);
    assert!(got.headers.contains(&("x-amz-meta-mixed".into(), "Value".into())), "{got:?}");
}

#[tokio::test]
async fn the_default_content_type_is_s3s() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("type").await;
    client.put(&bucket, "key", "x").await;
    assert_eq!(client.head(&bucket, "key").await.header("content-type"), Some("binary/octet-stream"));
}

#[tokio::test]
async fn aws_chunked_is_not_stored_as_a_content_encoding() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("encoding").await;
    client.object("PUT", &bucket, "only").header("content-encoding", "aws-chunked").body("x").send().await.expect(200);
    client
        .object("PUT", &bucket, "both")
        .header("content-encoding", "aws-chunked,gzip")
        .body("x")
        .send()
        .await
        .expect(200);
    assert_eq!(client.head(&bucket, "only").await.header("content-encoding"), None);
    assert_eq!(client.head(&bucket, "both").await.header("content-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_missing_key_is_404_with_the_s3_error_document() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("missing").await;
    let reply = client.get(&bucket, "no/such key").await.expect_error(404, "NoSuchKey");
    assert_eq!(reply.header("content-type"), Some("application/xml"));
    assert!(!reply.xml("Message").is_empty(), "{reply:?}");
    assert!(reply.xml("Resource").contains(&bucket), "{reply:?}");
    assert_eq!(reply.header("x-amz-request-id"), Some(reply.xml("RequestId").as_str()));
    assert!(!reply.xml("HostId").is_empty(), "{reply:?}");
    let head = client.head(&bucket, "no/such key").await.expect(404);
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn every_answer_has_request_ids() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("request-id").await;
    let replies =
        [client.put(&bucket, "key", "x").await, client.get(&bucket, "key").await, client.get(&bucket, "none").await];
    let mut ids: Vec<&str> = replies.iter().map(|reply| reply.header("x-amz-request-id").unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.header("x-amz-id-2").is_some()));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "request ids repeat");
}

#[tokio::test]
async fn a_delete_is_idempotent() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete").await;
    client.put(&bucket, "key", "x").await;
    client.delete(&bucket, "key").await;
    client.get(&bucket, "key").await.expect_error(404, "NoSuchKey");
    client.delete(&bucket, "key").await;
    client.delete(&bucket, "never there").await;
}

#[tokio::test]
async fn a_deleted_large_object_gives_its_file_back() {
    let cairn = Cairn::start(cairn_tests::Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("collect").await;
    client.put(&bucket, "large", body(1, 2_000_000)).await;
    assert_eq!(cairn.blob_files().len(), 1);
    client.put(&bucket, "large", body(2, 2_000_000)).await;
    client.delete(&bucket, "large").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !cairn.blob_files().is_empty() {
        assert!(std::time::Instant::now() < deadline, "files are left: {:?}", cairn.blob_files());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// A `Range` value over an object of 100 bytes; the expected status, and the first and last byte.
const RANGES: [(&str, u16, (usize, usize)); 33] = [
    ("bytes=0-0", 206, (0, 0)),
    ("bytes=0-99", 206, (0, 99)),
    ("bytes=5-9", 206, (5, 9)),
    ("bytes=90-", 206, (90, 99)),
    ("bytes=99-", 206, (99, 99)),
    ("bytes=0-", 206, (0, 99)),
    ("bytes=-1", 206, (99, 99)),
    ("bytes=-100", 206, (0, 99)),
    ("bytes=-1000", 206, (0, 99)),
    ("bytes=50-1000", 206, (50, 99)),
    ("bytes=100-", 416, (0, 0)),
    ("bytes=100-200", 416, (0, 0)),
    ("bytes=-0", 416, (0, 0)),
    ("bytes=9-5", 200, (0, 99)),
    ("bytes=0-1,5-6", 200, (0, 99)),
    ("bytes=abc", 200, (0, 99)),
    ("lines=0-5", 200, (0, 99)),
    ("bytes=0-18446744073709551615", 206, (0, 99)),
    ("bytes=7-99999999999999999999999", 206, (7, 99)),
    ("bytes=-99999999999999999999999", 206, (0, 99)),
    ("bytes=18446744073709551615-", 416, (0, 0)),
    ("bytes=99999999999999999999999-", 416, (0, 0)),
    ("bytes=0-0,-1", 200, (0, 99)),
    ("bytes=0-1,200-300", 200, (0, 99)),
    ("bytes=", 200, (0, 99)),
    ("bytes=-", 200, (0, 99)),
    ("bytes", 200, (0, 99)),
    ("bytes=--1", 200, (0, 99)),
    ("bytes=+1-2", 200, (0, 99)),
    ("bytes=0x1-2", 200, (0, 99)),
    ("bytes=1.5-2", 200, (0, 99)),
    ("0-5", 200, (0, 99)),
    ("bytes:0-5", 200, (0, 99)),
];

#[tokio::test]
async fn ranges_answer_as_s3_answers() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("ranges").await;
    let content = body(7, 100);
    client.put(&bucket, "key", content.clone()).await;
    for (range, status, (first, last)) in RANGES {
        let reply = client.object("GET", &bucket, "key").header("range", range).send().await;
        assert_eq!(reply.status, status, "{range}: {reply:?}");
        if status == 416 {
            assert_eq!(reply.code(), "InvalidRange", "{range}");
            continue;
        }
        assert_eq!(reply.body, content[first..=last], "{range}");
        let content_range = (status == 206).then(|| format!("bytes {first}-{last}/100"));
        assert_eq!(reply.header("content-range"), content_range.as_deref(), "{range}");
        let head = client.object("HEAD", &bucket, "key").header("range", range).send().await;
        assert_eq!(head.status, status, "HEAD {range}");
        assert_eq!(head.header("content-length"), reply.header("content-length"), "HEAD {range}");
    }
}

#[tokio::test]
async fn a_range_of_an_empty_object_is_not_satisfiable() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("empty-range").await;
    client.put(&bucket, "key", "").await;
    client.object("GET", &bucket, "key").header("range", "bytes=0-").send().await.expect_error(416, "InvalidRange");
}

#[tokio::test]
async fn random_ranges_of_a_large_object_are_exact() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("large-ranges").await;
    let content = body(8, 1_500_000);
    client.put(&bucket, "key", content.clone()).await;
    let mut random = cairn_tests::Random::new(8);
    for _ in 0..60 {
        let border = 65_536 * random.below(22);
        let first = (border + random.below(4)).saturating_sub(2).min(content.len() - 1);
        let last = (first + random.below(200_000)).min(content.len() - 1);
        let range = format!("bytes={first}-{last}");
        let reply = client.object("GET", &bucket, "key").header("range", &range).send().await.expect(206);
        assert!(reply.body == content[first..=last], "{range}: other bytes came back");
    }
}

#[tokio::test]
async fn response_overrides_change_the_headers() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("overrides").await;
    client.put(&bucket, "key", "x").await;
    for method in ["GET", "HEAD"] {
        let overrides = [
            ("content-type", "text/plain"),
            ("content-language", "fr"),
            ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
            ("cache-control", "no-cache"),
            ("content-disposition", "inline"),
            ("content-encoding", "br"),
        ];
        let mut call = client.object(method, &bucket, "key");
        for (name, value) in overrides {
            call = call.query(&format!("response-{name}"), value);
        }
        let reply = call.send().await.expect(200);
        for (name, value) in overrides {
            assert_eq!(reply.header(name), Some(value), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn a_wrong_content_md5_stores_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("md5").await;
    let put = |md5: &str| client.object("PUT", &bucket, "key").header("content-md5", md5).body("content");
    put(&sigv4::content_md5(b"other")).send().await.expect_error(400, "BadDigest");
    put("not base64!").send().await.expect_error(400, "InvalidDigest");
    put("YWJj").send().await.expect_error(400, "InvalidDigest");
    client.get(&bucket, "key").await.expect(404);
    put(&sigv4::content_md5(b"content")).send().await.expect(200);
}

#[tokio::test]
async fn a_wrong_payload_hash_stores_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("payload-hash").await;
    for size in [10, 500_000] {
        let call = client.object("PUT", &bucket, "key").declared_payload(&sigv4::sha256_hex(b"other"));
        call.body(body(1, size)).send().await.expect_error(400, "XAmzContentSHA256Mismatch");
    }
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn every_storage_class_is_recorded() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("classes").await;
    for class in [
        "STANDARD",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER_IR",
        "GLACIER",
        "DEEP_ARCHIVE",
        "REDUCED_REDUNDANCY",
        "EXPRESS_ONEZONE",
    ] {
        client.object("PUT", &bucket, class).header("x-amz-storage-class", class).body("x").send().await.expect(200);
        let shown = (class != "STANDARD").then_some(class);
        assert_eq!(client.head(&bucket, class).await.header("x-amz-storage-class"), shown);
    }
    let listed = client.bucket("GET", &bucket).query("list-type", "2").send().await.expect(200);
    assert_eq!(listed.xml_all("StorageClass"), listed.xml_all("Key"));
}

#[tokio::test]
async fn what_is_no_storage_class_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("no-classes").await;
    for class in ["glacier", "OUTPOSTS", "NONSENSE"] {
        let call = client.object("PUT", &bucket, "key").header("x-amz-storage-class", class).body("x");
        call.send().await.expect_error(400, "InvalidStorageClass");
    }
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn a_body_that_ends_early_leaves_nothing() {
    let cairn = Cairn::start(cairn_tests::Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("early-end").await;
    for (key, size) in [("small", 1_000), ("large", 1_000_000)] {
        let wire = client.object("PUT", &bucket, key).unsigned_payload().body(body(3, size)).build();
        let mut connection = Connection::open(client.address).await.unwrap();
        connection.write(&wire.head_bytes()).await.unwrap();
        connection.write(&wire.body[..size / 2]).await.unwrap();
        connection.finish_writing().await.unwrap();
        if let Ok(reply) = connection.read_reply().await {
            assert_eq!(reply.status, 400, "{reply:?}");
        }
        client.get(&bucket, key).await.expect(404);
    }
    assert!(client.keys(&bucket).await.is_empty());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !cairn.blob_files().is_empty() {
        assert!(std::time::Instant::now() < deadline, "files are left: {:?}", cairn.blob_files());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn racing_overwrites_and_deletes_leave_a_whole_object_or_none() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("overwrite-race").await;
    let contents = [body(1, 1_000), body(2, 100_000), body(3, 300_000)];
    for round in 0..15 {
        let mut tasks = Vec::new();
        for content in &contents {
            tasks.push(tokio::spawn(client.object("PUT", &bucket, "key").body(content.clone()).send()));
        }
        tasks.push(tokio::spawn(client.object("DELETE", &bucket, "key").send()));
        tasks.push(tokio::spawn(client.object("GET", &bucket, "key").send()));
        for task in tasks {
            let reply = task.await.unwrap();
            assert!([200, 204, 404, 409].contains(&reply.status), "round {round}: {}", reply.status);
        }
        let got = client.get(&bucket, "key").await;
        match got.status {
            404 => {}
            _ => assert!(contents.iter().any(|content| got.body == content), "round {round}: mixed bytes"),
        }
    }
}
