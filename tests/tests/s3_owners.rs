//! `x-amz-expected-bucket-owner` on every operation: a bucket of another owner than expected is not touched.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::{Upload, complete_document};
use cairn_tests::sigv4::content_md5;
use cairn_tests::{Cairn, Call};

const OWN: &str = "100000000001";
const OTHER: &str = "100000000002";

/// Every operation on a bucket, its object `key` and an upload, in an order in which each of them can succeed.
fn operations(upload: &Upload, etag: &str) -> Vec<(&'static str, Call)> {
    let (client, bucket) = (&upload.client, upload.bucket.as_str());
    let document = "<Delete><Object><Key>key</Key></Object></Delete>";
    let source = format!("{bucket}/key");
    let object = |method: &str| client.object(method, bucket, "key");
    vec![
        ("HeadBucket", client.bucket("HEAD", bucket)),
        ("GetBucketLocation", client.bucket("GET", bucket).query("location", "")),
        ("GetBucketVersioning", client.bucket("GET", bucket).query("versioning", "")),
        ("ListObjects", client.bucket("GET", bucket)),
        ("ListObjectsV2", client.bucket("GET", bucket).query("list-type", "2")),
        ("ListMultipartUploads", client.bucket("GET", bucket).query("uploads", "")),
        ("PutObject", object("PUT").body("content")),
        ("GetObject", object("GET")),
        ("HeadObject", object("HEAD")),
        ("GetObjectAttributes", object("GET").query("attributes", "").header("x-amz-object-attributes", "ETag")),
        ("CopyObject", client.object("PUT", bucket, "copy").header("x-amz-copy-source", &source)),
        ("CreateMultipartUpload", object("POST").query("uploads", "")),
        ("UploadPart", upload.part(2, "x")),
        ("UploadPartCopy", upload.call("PUT").query("partNumber", "3").header("x-amz-copy-source", &source)),
        ("ListParts", upload.call("GET")),
        ("CompleteMultipartUpload", upload.call("POST").body(complete_document(&[(1, etag.to_owned())]))),
        (
            "DeleteObjects",
            client
                .bucket("POST", bucket)
                .query("delete", "")
                .header("content-md5", &content_md5(document.as_bytes()))
                .body(document),
        ),
        ("DeleteObject", object("DELETE")),
        ("AbortMultipartUpload", upload.call("DELETE")),
        ("DeleteBucket", client.bucket("DELETE", bucket)),
    ]
}

#[tokio::test]
async fn every_operation_is_held_to_the_expected_owner() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("owned").await;
    client.put(&bucket, "key", "content").await;
    let upload = Upload::create(&client, &bucket, "upload").await;
    let etag = upload.upload(1, "part").await;
    for (owner, status, code) in [(OTHER, 403, "AccessDenied"), ("42", 400, "InvalidBucketOwnerAWSAccountID")] {
        for (operation, call) in operations(&upload, &etag) {
            let reply = call.header("x-amz-expected-bucket-owner", owner).send().await;
            assert_eq!(reply.status, status, "{operation} {owner}: {reply:?}");
            assert!(operation.starts_with("Head") || reply.code() == code, "{operation} {owner}: {reply:?}");
        }
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
    assert_eq!(client.upload_ids(&bucket).await, [upload.id.as_str()]);
    assert_eq!(upload.call("GET").send().await.expect(200).xml_all("PartNumber"), ["1"]);
    for (operation, call) in operations(&upload, &etag) {
        let reply = call.header("x-amz-expected-bucket-owner", OWN).send().await;
        // What the others left keeps the bucket and the upload from going.
        let expected: &[u16] = match operation {
            "DeleteBucket" => &[409],
            "AbortMultipartUpload" => &[204, 404],
            _ => &[200, 204],
        };
        assert!(expected.contains(&reply.status), "{operation}: {reply:?}");
    }
}

#[tokio::test]
async fn a_copy_is_held_to_the_expected_owner_of_its_source() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("source-owned").await;
    client.put(&bucket, "key", "content").await;
    let upload = Upload::create(&client, &bucket, "upload").await;
    let source = format!("{bucket}/key");
    let copies = || {
        [client.object("PUT", &bucket, "copy"), upload.call("PUT").query("partNumber", "1")]
            .map(|call| call.header("x-amz-copy-source", &source))
    };
    for call in copies() {
        let other = call.clone().header("x-amz-source-expected-bucket-owner", OTHER);
        other.send().await.expect_error(403, "AccessDenied");
        let malformed = call.header("x-amz-source-expected-bucket-owner", "me");
        malformed.send().await.expect_error(400, "InvalidBucketOwnerAWSAccountID");
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
    assert!(upload.call("GET").send().await.expect(200).xml_all("PartNumber").is_empty());
    for call in copies() {
        let both = call.header("x-amz-source-expected-bucket-owner", OWN).header("x-amz-expected-bucket-owner", OWN);
        both.send().await.expect(200);
    }
}
