//! CopyObject and DeleteObjects.

#![allow(clippy::unwrap_used)]

use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, digest, sigv4, xml};

fn copy(client: &Client, source: &str, bucket: &str, key: &str) -> Call {
    client.object("PUT", bucket, key).header("x-amz-copy-source", source)
}

#[tokio::test]
async fn a_copy_has_the_sources_bytes_and_metadata() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let (from, to) = (client.fresh_bucket("copy-from").await, client.fresh_bucket("copy-to").await);
    for size in [0, 10, 70_000, 1_000_000] {
        let content = body(size as u64, size);
        let put =
            client.object("PUT", &from, "source").header("x-amz-meta-kept", "yes").header("content-type", "text/x");
        put.body(content.clone()).send().await.expect(200);
        for bucket in [&from, &to] {
            let reply = copy(&client, &format!("/{from}/source"), bucket, "copy").send().await.expect(200);
            assert_eq!(reply.xml("ETag"), digest::etag(&content));
            assert!(reply.xml("LastModified").ends_with('Z'), "{reply:?}");
            let got = client.get(bucket, "copy").await.expect(200);
            assert!(got.body == content, "size {size}: other bytes");
            assert_eq!(got.header("x-amz-meta-kept"), Some("yes"));
            assert_eq!(got.header("content-type"), Some("text/x"));
        }
    }
}

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-outlives").await;
    let content = body(5, 300_000);
    client.put(&bucket, "source", content.clone()).await;
    copy(&client, &format!("{bucket}/source"), &bucket, "copy").send().await.expect(200);
    client.delete(&bucket, "source").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(client.get(&bucket, "copy").await.expect(200).body == content);
}

#[tokio::test]
async fn replaced_metadata_is_the_requests() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-replace").await;
    client.object("PUT", &bucket, "key").header("x-amz-meta-old", "1").body("content").send().await.expect(200);
    let call = copy(&client, &format!("{bucket}/key"), &bucket, "key");
    call.header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-new", "2").send().await.expect(200);
    let got = client.get(&bucket, "key").await.expect(200);
    assert_eq!((got.header("x-amz-meta-old"), got.header("x-amz-meta-new")), (None, Some("2")));
    assert_eq!(got.text(), "content");
}

#[tokio::test]
async fn a_copy_onto_itself_without_a_change_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-self").await;
    client.put(&bucket, "key", "x").await;
    copy(&client, &format!("{bucket}/key"), &bucket, "key").send().await.expect_error(400, "InvalidRequest");
}

#[tokio::test]
async fn the_source_is_url_decoded() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-encoded").await;
    let key = "a b+c%d/ü?x";
    client.put(&bucket, key, "odd").await;
    let source = format!("/{bucket}/{}", sigv4::encode_key(key.as_bytes()));
    copy(&client, &source, &bucket, "copy").send().await.expect(200);
    assert_eq!(client.get(&bucket, "copy").await.text(), "odd");
}

#[tokio::test]
async fn bad_sources_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-bad").await;
    copy(&client, &format!("{bucket}/missing"), &bucket, "copy").send().await.expect_error(404, "NoSuchKey");
    copy(&client, "no-such-bucket-here/key", &bucket, "copy").send().await.expect_error(404, "NoSuchBucket");
    for source in ["/", "nobucket", "/nobucket"] {
        let reply = copy(&client, source, &bucket, "copy").send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidArgument"), "{source:?}: {reply:?}");
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn another_accounts_object_is_not_copied() {
    let cairn = Cairn::shared();
    let (client, other) = (cairn.client(), cairn.other_client());
    let (theirs, ours) = (other.fresh_bucket("copy-theirs").await, client.fresh_bucket("copy-ours").await);
    other.put(&theirs, "secret", "secret").await;
    copy(&client, &format!("{theirs}/secret"), &ours, "copy").send().await.expect_error(403, "AccessDenied");
    assert!(client.keys(&ours).await.is_empty());
}

#[tokio::test]
async fn conditions_on_the_source_are_kept() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("copy-conditions").await;
    let etag = client.put(&bucket, "key", "x").await.etag();
    let past = "Mon, 01 Jan 2001 00:00:00 GMT";
    let table = [
        ("x-amz-copy-source-if-match", etag.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"0\"", 412),
        ("x-amz-copy-source-if-none-match", etag.as_str(), 412),
        ("x-amz-copy-source-if-none-match", "\"0\"", 200),
        ("x-amz-copy-source-if-modified-since", past, 200),
        ("x-amz-copy-source-if-unmodified-since", past, 412),
    ];
    for (name, value, status) in table {
        let reply = copy(&client, &format!("{bucket}/key"), &bucket, "copy").header(name, value).send().await;
        assert_eq!(reply.status, status, "{name}: {value}: {reply:?}");
    }
}

fn delete_document(keys: &[String], quiet: bool) -> String {
    let objects: String = keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", xml::escape(key))).collect();
    format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>")
}

fn delete_objects(client: &Client, bucket: &str, document: String) -> Call {
    let md5 = sigv4::content_md5(document.as_bytes());
    client.bucket("POST", bucket).query("delete", "").header("content-md5", &md5).body(document)
}

#[tokio::test]
async fn many_objects_are_deleted_at_once() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-many").await;
    let keys: Vec<String> = ["a", "b & <c>", "line\nbreak", "ü"].map(String::from).into();
    for key in &keys {
        client.put(&bucket, key, "x").await;
    }
    client.put(&bucket, "kept", "x").await;
    let mut asked = keys.clone();
    asked.push("never there".into());
    let reply = delete_objects(&client, &bucket, delete_document(&asked, false)).send().await.expect(200);
    assert_eq!(reply.xml_all("Deleted").len(), 5, "{reply:?}");
    assert!(reply.xml_all("Error").is_empty(), "{reply:?}");
    assert_eq!(client.keys(&bucket).await, ["kept"]);
}

#[tokio::test]
async fn a_quiet_deletion_names_only_errors() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-quiet").await;
    client.put(&bucket, "key", "x").await;
    let reply = delete_objects(&client, &bucket, delete_document(&["key".into()], true)).send().await.expect(200);
    assert!(!reply.text().contains("<Deleted>"), "{reply:?}");
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_thousand_keys_are_the_most() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-limit").await;
    client.put(&bucket, "k0", "x").await;
    let keys: Vec<String> = (0..1_001).map(|number| format!("k{number}")).collect();
    delete_objects(&client, &bucket, delete_document(&keys, false)).send().await.expect_error(400, "MalformedXML");
    assert_eq!(client.keys(&bucket).await, ["k0"]);
    delete_objects(&client, &bucket, delete_document(&keys[..1_000], false)).send().await.expect(200);
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_deletion_whose_digest_is_wrong_or_missing_deletes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-digest").await;
    client.put(&bucket, "key", "x").await;
    let document = delete_document(&["key".into()], false);
    let call = || client.bucket("POST", &bucket).query("delete", "").body(document.clone());
    call().send().await.expect(400);
    call().header("content-md5", &sigv4::content_md5(b"other")).send().await.expect_error(400, "BadDigest");
    assert_eq!(client.keys(&bucket).await, ["key"]);
    call().header("x-amz-checksum-crc32", &digest::checksum("CRC32", document.as_bytes())).send().await.expect(200);
    assert!(client.keys(&bucket).await.is_empty());
}
