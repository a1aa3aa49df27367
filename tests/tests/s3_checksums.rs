//! `x-amz-checksum-*`: every algorithm, in headers and trailers, on whole objects and on parts.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::digest::{CHECKSUM_ALGORITHMS, checksum, checksum_header, composite_checksum, md5};
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::sigv4::Chunking;
use cairn_tests::{Cairn, Call, Config, Reply};

fn shown(reply: &Reply, algorithm: &str) -> Option<String> {
    reply.header(&checksum_header(algorithm)).map(str::to_owned)
}

#[tokio::test]
async fn a_true_checksum_is_kept_and_shown_on_demand() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("kept").await;
    let content = body(1, 100_000);
    for algorithm in CHECKSUM_ALGORITHMS {
        let value = checksum(algorithm, &content);
        let put = client.object("PUT", &bucket, algorithm).header(&checksum_header(algorithm), &value);
        let put = put.body(content.clone()).send().await.expect(200);
        assert_eq!(shown(&put, algorithm), Some(value.clone()));
        for method in ["GET", "HEAD"] {
            let call = client.object(method, &bucket, algorithm);
            let asked = call.clone().header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
            assert_eq!(shown(&asked, algorithm), Some(value.clone()), "{method} {algorithm}");
            assert_eq!(asked.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
            let unasked = call.send().await.expect(200);
            assert_eq!(shown(&unasked, algorithm), None, "{method} {algorithm}");
        }
    }
}

#[tokio::test]
async fn a_false_checksum_stores_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("false").await;
    for size in [10, 300_000] {
        for algorithm in CHECKSUM_ALGORITHMS {
            let wrong = checksum(algorithm, b"something else");
            let put = client.object("PUT", &bucket, "key").header(&checksum_header(algorithm), &wrong);
            put.body(body(1, size)).send().await.expect_error(400, "BadDigest");
        }
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_malformed_checksum_is_an_invalid_request() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("malformed").await;
    for algorithm in CHECKSUM_ALGORITHMS {
        for value in ["!!!!", "YWI=", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg=="] {
            let put = client.object("PUT", &bucket, "key").header(&checksum_header(algorithm), value).body("content");
            put.send().await.expect_error(400, "InvalidRequest");
        }
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn two_checksums_are_an_invalid_request() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("two").await;
    let put = client
        .object("PUT", &bucket, "key")
        .header("x-amz-checksum-crc32", &checksum("CRC32", b"content"))
        .header("x-amz-checksum-sha1", &checksum("SHA1", b"content"));
    put.body("content").send().await.expect_error(400, "InvalidRequest");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn trailing_checksums_are_verified() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("trailing").await;
    for signed in [true, false] {
        for algorithm in CHECKSUM_ALGORITHMS {
            for size in [0, 100, 200_000] {
                let content = body(2, size);
                let value = checksum(algorithm, &content);
                let chunking = |value: String| Chunking {
                    chunk_bytes: 65_536,
                    signed,
                    trailers: vec![(checksum_header(algorithm), value)],
                };
                let put = client.object("PUT", &bucket, "key").body(content.clone());
                put.clone().chunked(chunking(value.clone())).send().await.expect(200);
                let got = client.object("GET", &bucket, "key").header("x-amz-checksum-mode", "ENABLED").send().await;
                assert!(got.body == content, "{algorithm} signed={signed} size {size}: other bytes");
                assert_eq!(shown(&got, algorithm), Some(value));
                client.delete(&bucket, "key").await;
                let wrong = checksum(algorithm, b"something else");
                put.chunked(chunking(wrong)).send().await.expect_error(400, "BadDigest");
                client.get(&bucket, "key").await.expect(404);
            }
        }
    }
}

#[tokio::test]
async fn a_declared_trailer_that_does_not_come_stores_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("no-trailer").await;
    let chunking = Chunking {
        chunk_bytes: 1_000,
        signed: false,
        trailers: vec![("x-amz-checksum-crc32".into(), "AAAAAA==".into())],
    };
    let call = client.object("PUT", &bucket, "key").body(body(3, 2_500)).chunked(chunking);
    let (mut wire, mut pieces) = call.build_pieces();
    *pieces.last_mut().unwrap() = b"\r\n".to_vec();
    wire.body = pieces.concat().into();
    wire.content_length = Some(wire.body.len() as u64);
    let reply = wire.send(client.address).await.unwrap();
    assert_eq!(reply.status, 400, "{reply:?}");
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn a_copy_keeps_the_checksum_or_computes_the_one_asked_for() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy").await;
    let content = body(4, 50_000);
    let put = client.object("PUT", &bucket, "source").header("x-amz-checksum-sha1", &checksum("SHA1", &content));
    put.body(content.clone()).send().await.expect(200);
    let copy = |key: &str| client.object("PUT", &bucket, key).header("x-amz-copy-source", &format!("{bucket}/source"));
    copy("same").send().await.expect(200);
    copy("other").header("x-amz-checksum-algorithm", "CRC32C").send().await.expect(200);
    for (key, algorithm) in [("same", "SHA1"), ("other", "CRC32C")] {
        let head = client.object("HEAD", &bucket, key).header("x-amz-checksum-mode", "ENABLED").send().await;
        assert_eq!(shown(&head, algorithm), Some(checksum(algorithm, &content)), "{key}");
    }
}

async fn upload_with(
    client: &cairn_tests::Client,
    bucket: &str,
    algorithm: &str,
    kind: &str,
    parts: &[Vec<u8>],
) -> (Upload, String) {
    let upload = Upload::create_with(client, bucket, "key", |call| {
        call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind)
    })
    .await;
    let mut document = String::new();
    for (number, part) in (1..).zip(parts) {
        let value = checksum(algorithm, part);
        let reply =
            upload.part(number, part.clone()).header(&checksum_header(algorithm), &value).send().await.expect(200);
        assert_eq!(shown(&reply, algorithm), Some(value.clone()));
        document.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag><Checksum{algorithm}>{value}</Checksum{algorithm}></Part>",
            reply.etag()
        ));
    }
    (upload, format!("<CompleteMultipartUpload>{document}</CompleteMultipartUpload>"))
}

#[tokio::test]
async fn multipart_checksums_are_composite_or_of_the_full_object() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("multipart").await;
    let parts = [body(5, PART_BYTES_MIN), body(6, 100_001)];
    let whole = parts.concat();
    for (algorithm, kind) in [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
        ("SHA512", "COMPOSITE"),
        ("MD5", "COMPOSITE"),
        ("XXHASH64", "COMPOSITE"),
        ("XXHASH3", "COMPOSITE"),
        ("XXHASH128", "COMPOSITE"),
    ] {
        let (upload, document) = upload_with(&client, &bucket, algorithm, kind, &parts).await;
        let expected = match kind {
            "COMPOSITE" => composite_checksum(algorithm, &[&parts[0], &parts[1]]),
            _ => checksum(algorithm, &whole),
        };
        let complete = upload.call("POST").body(document).send().await.expect(200);
        assert_eq!(complete.xml(&format!("Checksum{algorithm}")), expected, "{algorithm} {kind}");
        assert_eq!(complete.xml("ChecksumType"), kind);
        let head = client.object("HEAD", &bucket, "key").header("x-amz-checksum-mode", "ENABLED").send().await;
        assert_eq!(shown(&head, algorithm), Some(expected), "{algorithm} {kind}");
        assert_eq!(head.header("x-amz-checksum-type"), Some(kind));
    }
}

#[tokio::test]
async fn parts_may_carry_their_checksums_in_trailers() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("part-trailers").await;
    for (round, algorithm) in CHECKSUM_ALGORITHMS.into_iter().enumerate() {
        let kind = if algorithm == "CRC64NVME" { "FULL_OBJECT" } else { "COMPOSITE" };
        let upload = Upload::create_with(&client, &bucket, "key", |call| {
            call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind)
        })
        .await;
        let content = body(round as u64, 100_000);
        let part = |value: String| {
            let trailers = vec![(checksum_header(algorithm), value)];
            let chunking = Chunking { chunk_bytes: 65_536, signed: round % 2 == 0, trailers };
            upload.part(1, content.clone()).chunked(chunking).send()
        };
        part(checksum(algorithm, b"something else")).await.expect_error(400, "BadDigest");
        assert!(upload.call("GET").send().await.expect(200).xml_all("PartNumber").is_empty(), "{algorithm}");
        let value = checksum(algorithm, &content);
        let reply = part(value.clone()).await.expect(200);
        assert_eq!(shown(&reply, algorithm), Some(value.clone()));
        let listed = upload.call("GET").send().await.expect(200);
        assert_eq!(listed.xml(&format!("Checksum{algorithm}")), value);
        let document = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag>\
             <Checksum{algorithm}>{value}</Checksum{algorithm}></Part></CompleteMultipartUpload>",
            reply.etag()
        );
        upload.call("POST").body(document).send().await.expect(200);
        assert!(client.get(&bucket, "key").await.expect(200).body == content, "{algorithm}");
    }
}

#[tokio::test]
async fn a_part_shows_its_own_checksum_and_the_type_of_the_objects() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("of-part").await;
    let parts = [body(8, PART_BYTES_MIN), body(9, 100)];
    for kind in ["COMPOSITE", "FULL_OBJECT"] {
        let (upload, document) = upload_with(&client, &bucket, "CRC32", kind, &parts).await;
        upload.call("POST").body(document).send().await.expect(200);
        for (number, part) in ["1", "2"].into_iter().zip(&parts) {
            for method in ["GET", "HEAD"] {
                let call = client.object(method, &bucket, "key").query("partNumber", number);
                let asked = call.clone().header("x-amz-checksum-mode", "ENABLED").send().await.expect(206);
                assert_eq!(shown(&asked, "CRC32"), Some(checksum("CRC32", part)), "{method} {kind} part {number}");
                assert_eq!(asked.header("x-amz-checksum-type"), Some(kind));
                assert_eq!(shown(&call.send().await.expect(206), "CRC32"), None, "{method} {kind} part {number}");
            }
        }
    }
}

#[tokio::test]
async fn a_range_shows_no_checksum() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("of-range").await;
    client.put(&bucket, "key", "content").await;
    let call = client.object("GET", &bucket, "key").header("range", "bytes=0-3");
    let got = call.header("x-amz-checksum-mode", "ENABLED").send().await.expect(206);
    assert!(got.headers.iter().all(|(name, _)| !name.starts_with("x-amz-checksum-")), "{got:?}");
}

#[tokio::test]
async fn the_only_part_shows_its_own_checksum_rather_than_the_composite_of_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("of-only-part").await;
    let parts = [body(10, 1_000)];
    for kind in ["COMPOSITE", "FULL_OBJECT"] {
        let (upload, document) = upload_with(&client, &bucket, "CRC32C", kind, &parts).await;
        upload.call("POST").body(document).send().await.expect(200);
        let call = client.object("GET", &bucket, "key").query("partNumber", "1");
        let part = call.header("x-amz-checksum-mode", "ENABLED").send().await.expect(206);
        assert_eq!(shown(&part, "CRC32C"), Some(checksum("CRC32C", &parts[0])), "{kind}");
    }
}

#[tokio::test]
async fn combinations_that_s3_does_not_know_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("combinations").await;
    for (algorithm, kind) in [
        ("SHA1", "FULL_OBJECT"),
        ("SHA256", "FULL_OBJECT"),
        ("SHA512", "FULL_OBJECT"),
        ("MD5", "FULL_OBJECT"),
        ("XXHASH3", "FULL_OBJECT"),
        ("CRC64NVME", "COMPOSITE"),
    ] {
        let call = client.object("POST", &bucket, "key").query("uploads", "");
        let call = call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind);
        call.send().await.expect_error(400, "InvalidRequest");
    }
    let call = client.object("POST", &bucket, "key").query("uploads", "");
    call.header("x-amz-checksum-algorithm", "CRC99").send().await.expect_error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_part_with_a_false_checksum_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("false-part").await;
    let upload =
        Upload::create_with(&client, &bucket, "key", |call| call.header("x-amz-checksum-algorithm", "CRC32C")).await;
    let wrong = checksum("CRC32C", b"something else");
    upload.part(1, "x").header("x-amz-checksum-crc32c", &wrong).send().await.expect_error(400, "BadDigest");
    assert!(upload.call("GET").send().await.expect(200).xml_all("PartNumber").is_empty());
}

#[tokio::test]
async fn a_complete_with_a_false_checksum_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("false-complete").await;
    let parts = [body(7, 1_000)];
    let (upload, document) = upload_with(&client, &bucket, "CRC32", "FULL_OBJECT", &parts).await;
    let wrong = checksum("CRC32", b"something else");
    let complete = upload.call("POST").body(document.clone()).header("x-amz-checksum-crc32", &wrong);
    complete.send().await.expect_error(400, "BadDigest");
    let altered = document.replace(&checksum("CRC32", &parts[0]), &wrong);
    upload.call("POST").body(altered).send().await.expect(400);
    client.get(&bucket, "key").await.expect(404);
    upload
        .call("POST")
        .body(document)
        .header("x-amz-checksum-crc32", &checksum("CRC32", &parts[0]))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn an_upload_of_one_checksum_refuses_parts_of_another() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("mixed").await;
    let upload =
        Upload::create_with(&client, &bucket, "key", |call| call.header("x-amz-checksum-algorithm", "SHA256")).await;
    let part = upload.part(1, "x").header("x-amz-checksum-crc32", &checksum("CRC32", b"x"));
    part.send().await.expect_error(400, "InvalidRequest");
}

/// The call with what seals, or opens, by this way.
fn sealed(call: Call, way: &str, writes: bool) -> Call {
    match way {
        "customer" => {
            let key = [7; 32];
            call.header("x-amz-server-side-encryption-customer-algorithm", "AES256")
                .header("x-amz-server-side-encryption-customer-key", &STANDARD.encode(key))
                .header("x-amz-server-side-encryption-customer-key-md5", &STANDARD.encode(md5(&key)))
        }
        method if writes => call.header("x-amz-server-side-encryption", method),
        _ => call,
    }
}

/// S3 API reference, HeadObject: a checksum is told to who may decrypt.
#[tokio::test]
async fn checksums_of_what_is_sealed_are_told_to_who_has_the_key() {
    let cairn = Cairn::start(Config { allow_ssec_over_http: true, ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("sealed-checksums").await;
    let content = body(3, 100_000);
    let value = checksum("SHA256", &content);
    for way in ["AES256", "customer", "aws:kms", "aws:kms:dsse"] {
        let put = sealed(client.object("PUT", &bucket, "key"), way, true).header("x-amz-checksum-sha256", &value);
        let put = put.body(content.clone()).send().await.expect(200);
        assert_eq!(shown(&put, "SHA256"), Some(value.clone()));
        for method in ["GET", "HEAD"] {
            let call = sealed(client.object(method, &bucket, "key"), way, false);
            let asked = call.clone().header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
            assert_eq!(shown(&asked, "SHA256"), Some(value.clone()), "{method} {way}");
            assert_eq!(asked.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
            assert_eq!(shown(&call.send().await.expect(200), "SHA256"), None);
        }
        let listed = client.bucket("GET", &bucket).query("list-type", "2").send().await.expect(200);
        assert_eq!(
            (listed.xml("ChecksumAlgorithm").as_str(), listed.xml("ChecksumType").as_str()),
            ("SHA256", "FULL_OBJECT")
        );
        let attributes = sealed(client.object("GET", &bucket, "key").query("attributes", ""), way, false);
        let attributes = attributes.header("x-amz-object-attributes", "Checksum").send().await.expect(200);
        assert_eq!(attributes.xml("ChecksumSHA256"), value);
    }
}

#[tokio::test]
async fn checksums_of_parts_that_are_sealed_are_told_and_combined_with_the_key() {
    let cairn = Cairn::start(Config { allow_ssec_over_http: true, ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("sealed-parts").await;
    let parts = [body(1, PART_BYTES_MIN), body(2, 1_000)];
    let values = [checksum("SHA256", &parts[0]), checksum("SHA256", &parts[1])];
    for way in ["AES256", "customer", "aws:kms"] {
        let upload = Upload::create_with(&client, &bucket, "key", |call| {
            sealed(call, way, true).header("x-amz-checksum-algorithm", "SHA256")
        });
        let upload = upload.await;
        let mut done = Vec::new();
        for (number, part) in (1..).zip(&parts) {
            let sent = sealed(upload.part(number, part.clone()), way, false).send().await.expect(200);
            assert_eq!(shown(&sent, "SHA256"), Some(values[number as usize - 1].clone()), "{way}");
            done.push((number, sent.etag()));
        }
        let listed = sealed(upload.call("GET"), way, false).send().await.expect(200);
        assert_eq!(listed.xml_all("ChecksumSHA256"), values);
        if way == "customer" {
            let listed = upload.call("GET").send().await.expect(200);
            assert_eq!((listed.xml_all("PartNumber").len(), listed.xml_all("ChecksumSHA256").len()), (2, 0));
            upload.complete(&done).send().await.expect_error(400, "InvalidRequest");
        }
        let whole = composite_checksum("SHA256", &[&parts[0], &parts[1]]);
        for _ in 0..2 {
            let completed = sealed(upload.complete(&done), way, false).send().await.expect(200);
            assert_eq!(completed.xml("ChecksumSHA256"), whole, "{way}");
        }
        let head =
            || sealed(client.object("HEAD", &bucket, "key"), way, false).header("x-amz-checksum-mode", "ENABLED");
        assert_eq!(shown(&head().send().await.expect(200), "SHA256"), Some(whole));
        let part = head().query("partNumber", "2").send().await.expect(206);
        assert_eq!(shown(&part, "SHA256"), Some(values[1].clone()));
        let attributes = sealed(client.object("GET", &bucket, "key").query("attributes", ""), way, false);
        let attributes = attributes.header("x-amz-object-attributes", "ObjectParts").send().await.expect(200);
        assert_eq!(attributes.xml_all("ChecksumSHA256"), values);
    }
}
