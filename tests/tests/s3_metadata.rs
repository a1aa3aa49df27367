//! User metadata: empty, at its largest, beyond ASCII in every form that clients send, and through copies.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::Upload;
use cairn_tests::{Cairn, Call, Client};

fn put(client: &Client, bucket: &str) -> Call {
    client.object("PUT", bucket, "key").body("content")
}

#[tokio::test]
async fn empty_values_come_back_empty() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("empty").await;
    put(&client, &bucket).header("x-amz-meta-empty", "").header("x-amz-meta-blank", "   ").send().await.expect(200);
    for reply in [client.get(&bucket, "key").await, client.head(&bucket, "key").await] {
        assert_eq!(reply.header("x-amz-meta-empty"), Some(""));
        assert_eq!(reply.header("x-amz-meta-blank"), Some(""));
    }
}

#[tokio::test]
async fn an_object_without_metadata_has_none() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("none").await;
    put(&client, &bucket).header("x-amz-meta-", "nameless").send().await.expect(200);
    let head = client.head(&bucket, "key").await.expect(200);
    assert!(head.headers.iter().all(|(name, _)| !name.starts_with("x-amz-meta")), "{head:?}");
}

/// Metadata of exactly so many bytes, which count names without their prefix and values.
fn metadata(mut call: Call, entries: usize, bytes: usize) -> Call {
    for entry in 0..entries {
        let name = format!("m{entry:03}");
        let last = entry + 1 == entries;
        let value_bytes = if last { bytes - entry * (name.len() + 1) - name.len() } else { 1 };
        call = call.header(&format!("x-amz-meta-{name}"), &"v".repeat(value_bytes));
    }
    call
}

#[tokio::test]
async fn two_kilobytes_are_the_most_in_one_value_or_in_many() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("boundary").await;
    for entries in [1, 2, 100] {
        metadata(put(&client, &bucket), entries, 2_048).send().await.expect(200);
        let head = client.head(&bucket, "key").await.expect(200);
        assert_eq!(head.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-m")).count(), entries);
        client.delete(&bucket, "key").await;
        let over = metadata(put(&client, &bucket), entries, 2_049).send().await;
        let over = over.expect_error(400, "MetadataTooLarge");
        assert_eq!((over.xml("Size"), over.xml("MaxSizeAllowed")), ("2049".into(), "2048".into()));
        let upload = client.object("POST", &bucket, "key").query("uploads", "");
        metadata(upload, entries, 2_049).send().await.expect_error(400, "MetadataTooLarge");
        client.get(&bucket, "key").await.expect(404);
    }
    client.put(&bucket, "source", "x").await;
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/source"));
    let copy = copy.header("x-amz-metadata-directive", "REPLACE");
    metadata(copy.clone(), 1, 2_049).send().await.expect_error(400, "MetadataTooLarge");
    metadata(copy, 1, 2_048).send().await.expect(200);
    assert!(client.upload_ids(&bucket).await.is_empty());
}

/// What a client sends, and what it gets back: S3 answers with RFC 2047 words where a header cannot hold the text.
const BEYOND_ASCII: [(&str, &str); 6] = [
    ("=?UTF-8?B?Y2Fmw6k=?=", "=?UTF-8?B?Y2Fmw6k=?="),
    ("=?UTF-8?Q?caf=C3=A9?=", "=?UTF-8?Q?caf=C3=A9?="),
    ("=?iso-8859-1?q?caf=E9?=", "=?iso-8859-1?q?caf=E9?="),
    ("café", "=?UTF-8?B?Y2Fmw6k=?="),
    ("🪨", "=?UTF-8?B?8J+qqA==?="),
    ("=?UTF-8?B?malformed", "=?UTF-8?B?malformed"),
];

#[tokio::test]
async fn words_of_rfc_2047_and_raw_utf_8_come_back_as_words() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("words").await;
    for (sent, shown) in BEYOND_ASCII {
        put(&client, &bucket).header("x-amz-meta-text", sent).send().await.expect(200);
        let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
        copy.send().await.expect(200);
        let upload =
            Upload::create_with(&client, &bucket, "uploaded", |call| call.header("x-amz-meta-text", sent)).await;
        let etag = upload.upload(1, "part").await;
        upload.complete(&[(1, etag)]).send().await.expect(200);
        for key in ["key", "copy", "uploaded"] {
            for reply in [client.get(&bucket, key).await, client.head(&bucket, key).await] {
                assert_eq!(reply.expect(200).header("x-amz-meta-text"), Some(shown), "{sent:?} {key}");
            }
        }
    }
}

#[tokio::test]
async fn repeated_names_are_joined_with_commas() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("repeated").await;
    let call =
        put(&client, &bucket).header("x-amz-meta-a", "1").header("X-Amz-Meta-A", "2").header("x-amz-meta-b", "3");
    call.send().await.expect(200);
    let head = client.head(&bucket, "key").await.expect(200);
    assert_eq!((head.header("x-amz-meta-a"), head.header("x-amz-meta-b")), (Some("1,2"), Some("3")));
}
