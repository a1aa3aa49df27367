//! GetObjectAttributes: what of an object is told, and its parts in pages.

#![allow(clippy::unwrap_used)]

use cairn_tests::digest::{checksum, checksum_header, composite_checksum};
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, Reply};

const ALL: &str = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize";

fn attributes(client: &Client, bucket: &str, key: &str) -> Call {
    client.object("GET", bucket, key).query("attributes", "")
}

async fn ask(client: &Client, bucket: &str, key: &str, names: &str) -> Reply {
    attributes(client, bucket, key).header("x-amz-object-attributes", names).send().await
}

/// An object of these parts, uploaded under every third number.
async fn upload(client: &Client, bucket: &str, algorithm: &str, kind: &str, parts: &[Vec<u8>]) -> String {
    let upload = Upload::create_with(client, bucket, "key", |call| {
        call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind)
    })
    .await;
    let mut document = String::new();
    for (number, part) in (1..).step_by(3).zip(parts) {
        let value = checksum(algorithm, part);
        let call = upload.part(number, part.clone()).header(&checksum_header(algorithm), &value);
        let etag = call.send().await.expect(200).etag();
        document.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Checksum{algorithm}>{value}</Checksum{algorithm}></Part>"
        ));
    }
    let document = format!("<CompleteMultipartUpload>{document}</CompleteMultipartUpload>");
    upload.call("POST").body(document).send().await.expect(200).xml("ETag")
}

#[tokio::test]
async fn an_object_in_one_piece_tells_all_but_parts() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("attributes").await;
    let content = body(1, 50_000);
    let put = client
        .object("PUT", &bucket, "key")
        .header("x-amz-checksum-sha512", &checksum("SHA512", &content))
        .header("x-amz-storage-class", "STANDARD_IA");
    let etag = put.body(content.clone()).send().await.expect(200).etag();
    let reply = ask(&client, &bucket, "key", ALL).await.expect(200);
    assert!(reply.text().contains("<GetObjectAttributesResponse xmlns="), "{reply:?}");
    assert_eq!(reply.xml("ETag"), etag.trim_matches('"'));
    assert_eq!(reply.xml("ChecksumSHA512"), checksum("SHA512", &content));
    assert_eq!(reply.xml("ChecksumType"), "FULL_OBJECT");
    assert_eq!((reply.xml("ObjectSize"), reply.xml("StorageClass")), ("50000".to_owned(), "STANDARD_IA".to_owned()));
    assert!(!reply.text().contains("ObjectParts"), "{reply:?}");
    let head = client.head(&bucket, "key").await.expect(200);
    assert_eq!(reply.header("last-modified"), head.header("last-modified"));
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("asked").await;
    client.put(&bucket, "key", "content").await;
    for (name, element) in
        [("ETag", "ETag"), ("Checksum", "Checksum"), ("StorageClass", "StorageClass"), ("ObjectSize", "ObjectSize")]
    {
        let text = ask(&client, &bucket, "key", name).await.expect(200).text();
        for other in ["ETag", "Checksum", "StorageClass", "ObjectSize"] {
            assert_eq!(text.contains(&format!("<{other}>")), other == element, "{name}: {text}");
        }
    }
}

#[tokio::test]
async fn parts_come_in_pages_with_their_checksums() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("pages").await;
    let parts = [body(1, PART_BYTES_MIN), body(2, PART_BYTES_MIN + 1), body(3, 7)];
    for (algorithm, kind) in [("XXHASH128", "COMPOSITE"), ("CRC32", "FULL_OBJECT")] {
        let etag = upload(&client, &bucket, algorithm, kind, &parts).await;
        let whole = match kind {
            "COMPOSITE" => composite_checksum(algorithm, &[&parts[0], &parts[1], &parts[2]]),
            _ => checksum(algorithm, &parts.concat()),
        };
        let element = format!("Checksum{algorithm}");
        let first = attributes(&client, &bucket, "key").header("x-amz-object-attributes", ALL);
        let first = first.header("x-amz-max-parts", "2").send().await.expect(200);
        assert_eq!(first.xml("ETag"), etag.trim_matches('"'));
        assert_eq!(first.xml("ObjectSize"), parts.concat().len().to_string());
        assert_eq!(first.xml("ChecksumType"), kind);
        assert_eq!(first.xml_all(&element), [whole, checksum(algorithm, &parts[0]), checksum(algorithm, &parts[1])]);
        assert_eq!(first.xml_all("PartNumber"), ["1", "2"]);
        assert_eq!(first.xml_all("Size"), [parts[0].len().to_string(), parts[1].len().to_string()]);
        let page = |reply: &Reply| {
            ["PartsCount", "PartNumberMarker", "NextPartNumberMarker", "MaxParts", "IsTruncated"]
                .map(|name| reply.xml(name))
        };
        assert_eq!(page(&first), ["3", "0", "2", "2", "true"]);
        let rest = attributes(&client, &bucket, "key").header("x-amz-object-attributes", "ObjectParts");
        let rest = rest.header("x-amz-part-number-marker", &first.xml("NextPartNumberMarker")).send().await.expect(200);
        assert_eq!(page(&rest), ["3", "2", "3", "1000", "false"]);
        assert_eq!(rest.xml_all("PartNumber"), ["3"]);
        assert_eq!(rest.xml_all(&element), [checksum(algorithm, &parts[2])]);
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_every_part_once() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("page-sizes").await;
    let parts: Vec<Vec<u8>> = (0..4).map(|part| body(part, if part < 3 { PART_BYTES_MIN } else { 9 })).collect();
    upload(&client, &bucket, "CRC64NVME", "FULL_OBJECT", &parts).await;
    let page = |size: usize, marker: String| {
        let call = attributes(&client, &bucket, "key").header("x-amz-object-attributes", "ObjectParts");
        call.header("x-amz-max-parts", &size.to_string()).header("x-amz-part-number-marker", &marker).send()
    };
    for size in [1, 2, 3, 4, 5, 1_000, 5_000] {
        let (mut numbers, mut marker) = (Vec::new(), "0".to_owned());
        loop {
            let reply = page(size, marker).await.expect(200);
            assert_eq!((reply.xml("PartsCount"), reply.xml("MaxParts")), ("4".into(), size.min(1_000).to_string()));
            numbers.extend(reply.xml_all("PartNumber"));
            if reply.xml("IsTruncated") != "true" {
                break;
            }
            marker = reply.xml("NextPartNumberMarker");
        }
        assert_eq!(numbers, ["1", "2", "3", "4"], "pages of {size}");
    }
    for marker in ["4", "10000"] {
        let beyond = page(2, marker.into()).await.expect(200);
        assert_eq!((beyond.xml_all("PartNumber").len(), beyond.xml("IsTruncated")), (0, "false".into()), "{marker}");
    }
}

#[tokio::test]
async fn what_is_not_there_or_cannot_be_asked_for_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("refused").await;
    client.put(&bucket, "key", "content").await;
    attributes(&client, &bucket, "key").send().await.expect_error(400, "InvalidRequest");
    ask(&client, &bucket, "key", "ETag,Nonsense").await.expect_error(400, "InvalidArgument");
    ask(&client, &bucket, "missing", ALL).await.expect_error(404, "NoSuchKey");
    ask(&client, "no-such-bucket-here", "key", ALL).await.expect_error(404, "NoSuchBucket");
    let with = |name: &str, value: &str| {
        attributes(&client, &bucket, "key").header("x-amz-object-attributes", ALL).header(name, value).send()
    };
    with("x-amz-max-parts", "-1").await.expect_error(400, "InvalidArgument");
    with("x-amz-part-number-marker", "x").await.expect_error(400, "InvalidArgument");
    with("x-amz-expected-bucket-owner", "999999999999").await.expect_error(403, "AccessDenied");
    with("if-match", "\"0\"").await.expect_error(412, "PreconditionFailed");
    let version = attributes(&client, &bucket, "key").query("versionId", "null");
    version.header("x-amz-object-attributes", ALL).send().await.expect(200);
    let unknown = attributes(&client, &bucket, "key").query("versionId", &"0".repeat(32));
    unknown.header("x-amz-object-attributes", ALL).send().await.expect_error(404, "NoSuchVersion");
    let anonymous = attributes(&client, &bucket, "key").header("x-amz-object-attributes", ALL).anonymous();
    anonymous.send().await.expect_error(403, "AccessDenied");
}
