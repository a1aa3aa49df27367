//! Keys of every shape through every operation that takes or shows one.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::Upload;
use cairn_tests::sigv4::{content_md5, encode_key, form_decode};
use cairn_tests::{Cairn, Call, Client, Reply, xml};

/// Keys that paths, queries, headers or documents could break, without those that XML cannot carry.
fn printable_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "/",
        "//",
        "a//b",
        "//leading",
        "trailing/",
        "..",
        ".",
        "../../up",
        "a/../b",
        "a/./b",
        "a+b",
        "a b",
        " leading and trailing ",
        "100%",
        "%41",
        "%2F",
        "%2f%2F",
        "%00",
        "%zz",
        "a%",
        "?versionId=null",
        "a?b=c&d",
        "#fragment",
        "a&b<c>d\"e'f",
        "]]>",
        "<Key>",
        "&amp;",
        "a\\b",
        "a;b:c,d=e",
        "@$!*'()~[]{}|^`",
        "🪨",
        "👩‍👩‍👧/🏳️‍🌈",
        "ü",
        "u\u{308}",
        "日本語/キー",
        "\u{202e}right to left",
        "\u{feff}mark",
        "\u{10ffff}",
        "soap",
        "uploads",
        "?uploads",
    ]
    .map(str::to_owned)
    .into();
    keys.extend(["k".repeat(1_024), "é".repeat(512), "🪨".repeat(256), "/".repeat(1_024), "%".repeat(1_024)]);
    keys
}

/// Keys with characters that XML 1.0 has only as references, or not at all.
fn control_keys() -> Vec<String> {
    let controls = (1..32u8).chain([127]).map(|byte| format!("a{}b", char::from(byte)));
    controls.chain(["\r\n".into(), "\0".into(), "\u{1}".repeat(1_024), "\u{85}\u{2028}".into()]).collect()
}

fn all_keys() -> Vec<String> {
    printable_keys().into_iter().chain(control_keys()).collect()
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort_unstable();
    keys
}

/// Every key of the bucket by a listing of version 1 or 2 that is asked for URL encoding, over pages of three.
async fn listed(client: &Client, bucket: &str, version: &str) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let call = client.bucket("GET", bucket).query("list-type", version).query("encoding-type", "url");
        let call = call.query("max-keys", "3");
        let page = match (&next, version) {
            (None, _) => call.send().await,
            (Some(token), "2") => call.query("continuation-token", token).send().await,
            (Some(marker), _) => call.query("marker", marker).send().await,
        };
        let page = page.expect(200);
        assert_eq!(page.xml("EncodingType"), "url");
        keys.extend(page.xml_all("Key").iter().map(|key| form_decode(key)));
        if page.xml("IsTruncated") != "true" {
            return keys;
        }
        next = match version {
            "2" => Some(page.xml("NextContinuationToken")),
            _ => keys.last().cloned(),
        };
    }
}

#[tokio::test]
async fn every_key_is_put_got_listed_and_deleted() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("all").await;
    let keys = sorted(all_keys());
    for key in &keys {
        client.put(&bucket, key, format!("content of {key}")).await;
    }
    for key in &keys {
        assert_eq!(client.get(&bucket, key).await.expect(200).text(), format!("content of {key}"), "{key:?}");
        client.head(&bucket, key).await.expect(200);
    }
    for version in ["1", "2"] {
        assert_eq!(listed(&client, &bucket, version).await, keys, "version {version}");
    }
    for key in &keys {
        client.delete(&bucket, key).await;
        client.get(&bucket, key).await.expect_error(404, "NoSuchKey");
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_listing_without_encoding_carries_every_key() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("plain").await;
    let keys = sorted(all_keys());
    for key in &keys {
        client.put(&bucket, key, "x").await;
    }
    for version in ["1", "2"] {
        let page = client.bucket("GET", &bucket).query("list-type", version).send().await.expect(200);
        assert_eq!(page.xml_all("Key"), keys, "version {version}");
    }
}

#[tokio::test]
async fn every_key_is_a_prefix_a_marker_and_a_start() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("prefixes").await;
    let keys = sorted(all_keys());
    for key in &keys {
        client.put(&bucket, key, "x").await;
    }
    let list = |version: &str| client.bucket("GET", &bucket).query("list-type", version).query("encoding-type", "url");
    let decoded = |reply: &Reply| -> Vec<String> { reply.xml_all("Key").iter().map(|key| form_decode(key)).collect() };
    for (index, key) in keys.iter().enumerate() {
        let prefixed = list("2").query("prefix", key).send().await.expect(200);
        let expected: Vec<&String> = keys.iter().filter(|other| other.starts_with(key.as_str())).collect();
        assert_eq!(decoded(&prefixed).iter().collect::<Vec<_>>(), expected, "prefix {key:?}");
        assert_eq!(form_decode(&prefixed.xml("Prefix")), *key);
        let started = list("2").query("start-after", key).send().await.expect(200);
        assert_eq!(decoded(&started), keys[index + 1..], "start after {key:?}");
        assert_eq!(form_decode(&started.xml("StartAfter")), *key);
        let marked = list("1").query("marker", key).send().await.expect(200);
        assert_eq!(decoded(&marked), keys[index + 1..], "marker {key:?}");
        assert_eq!(form_decode(&marked.xml("Marker")), *key);
    }
}

#[tokio::test]
async fn every_key_is_a_common_prefix() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("folded").await;
    // A prefix ends at the first delimiter, so neither may be in the other.
    let stems: Vec<String> =
        sorted(all_keys().into_iter().filter(|key| !key.contains('|') && key.len() < 1_000).collect());
    for stem in &stems {
        for name in ["1", "2"] {
            client.put(&bucket, &format!("{stem}|{name}"), "x").await;
        }
    }
    let expected = sorted(stems.iter().map(|stem| format!("{stem}|")).collect());
    for version in ["1", "2"] {
        let list = client.bucket("GET", &bucket).query("list-type", version).query("delimiter", "|");
        let page = list.query("encoding-type", "url").send().await.expect(200);
        let text = page.text();
        let prefixes = xml::sections(&text, "CommonPrefixes");
        let prefixes: Vec<String> =
            prefixes.iter().map(|section| form_decode(&xml::text(section, "Prefix").unwrap())).collect();
        assert_eq!(prefixes, expected, "version {version}");
    }
}

#[tokio::test]
async fn every_key_is_a_source_of_copies() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sources").await;
    for key in all_keys() {
        client.put(&bucket, &key, format!("content of {key}")).await;
        for source in [format!("/{bucket}/"), format!("{bucket}/")] {
            let source = format!("{source}{}", encode_key(key.as_bytes()));
            let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &source);
            copy.send().await.expect(200);
            assert_eq!(client.get(&bucket, "copy").await.text(), format!("content of {key}"), "{key:?}");
            client.delete(&bucket, "copy").await;
        }
    }
}

/// A `DeleteObjects` of these keys, in which every character that needs it is a reference.
fn delete_all(client: &Client, bucket: &str, keys: &[String]) -> Call {
    let escaped = |key: &String| key.chars().map(|c| format!("&#{};", u32::from(c))).collect::<String>();
    let objects: String = keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", escaped(key))).collect();
    let document = format!("<Delete>{objects}</Delete>");
    let md5 = content_md5(document.as_bytes());
    client.bucket("POST", bucket).query("delete", "").header("content-md5", &md5).body(document)
}

#[tokio::test]
async fn every_key_is_deleted_among_others() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-objects").await;
    // What XML 1.0 can carry: of the control characters tab, line feed and carriage return.
    let is_xml = |key: &String| key.chars().all(|c| c >= ' ' || "\t\n\r".contains(c));
    let keys: Vec<String> = all_keys().into_iter().filter(is_xml).collect();
    for key in &keys {
        client.put(&bucket, key, "x").await;
    }
    let reply = delete_all(&client, &bucket, &keys).send().await.expect(200);
    assert_eq!(reply.xml_all("Key"), keys);
    assert!(reply.xml_all("Code").is_empty(), "{reply:?}");
    assert!(client.keys(&bucket).await.is_empty());
}

/// XML 1.0 has no way to write these, but SDKs send them as they are; and a quiet answer does not name them.
#[tokio::test]
async fn keys_that_xml_cannot_carry_are_deleted_among_others_as_sdks_name_them() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-controls").await;
    let keys: Vec<String> = (1..0x20_u8).map(|byte| format!("a{}b", char::from(byte))).collect();
    for quiet in [true, false] {
        for key in &keys {
            client.put(&bucket, key, "x").await;
        }
        // A parser turns a raw carriage return into a line feed, so this one is a reference, as SDKs send it.
        let name = |key: &String| key.replace('\r', "&#13;");
        let objects: String = keys.iter().map(|key| format!("<Object><Key>{}</Key></Object>", name(key))).collect();
        let document = format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>");
        let md5 = content_md5(document.as_bytes());
        let call = client.bucket("POST", &bucket).query("delete", "").header("content-md5", &md5).body(document);
        let reply = call.send().await.expect(200);
        assert_eq!(reply.xml_all("Deleted").len(), if quiet { 0 } else { keys.len() });
        assert!(quiet || reply.text().contains("<Key>a&#x1;b</Key>"), "{}", reply.text());
        assert!(client.keys(&bucket).await.is_empty());
    }
}

#[tokio::test]
async fn every_key_is_a_multipart_uploads() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("uploads").await;
    let keys = sorted(all_keys());
    let mut uploads = Vec::new();
    for key in &keys {
        let upload = Upload::create(&client, &bucket, key).await;
        let etag = upload.upload(1, format!("content of {key}")).await;
        let parts = upload.call("GET").query("encoding-type", "url").send().await.expect(200);
        assert!(parts.xml("Key") == *key || form_decode(&parts.xml("Key")) == *key, "{key:?}: {parts:?}");
        uploads.push((upload, etag));
    }
    let list = client.bucket("GET", &bucket).query("uploads", "").query("encoding-type", "url");
    let listed: Vec<String> = list.send().await.expect(200).xml_all("Key").iter().map(|key| form_decode(key)).collect();
    assert_eq!(listed, keys);
    for ((upload, etag), key) in uploads.into_iter().zip(&keys) {
        let completed = upload.complete(&[(1, etag)]).send().await.expect(200);
        assert_eq!(completed.xml("Key"), *key);
        assert_eq!(client.get(&bucket, key).await.expect(200).text(), format!("content of {key}"), "{key:?}");
    }
}

#[tokio::test]
async fn a_key_of_1025_bytes_is_refused_everywhere() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("too-long").await;
    client.put(&bucket, "key", "x").await;
    let long = "é".repeat(512) + "k";
    for method in ["GET", "PUT", "DELETE"] {
        client.object(method, &bucket, &long).send().await.expect_error(400, "KeyTooLongError");
    }
    client.object("HEAD", &bucket, &long).send().await.expect(400);
    let source = format!("{bucket}/{}", encode_key(long.as_bytes()));
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &source);
    copy.send().await.expect_error(400, "InvalidArgument");
    let reply = delete_all(&client, &bucket, &[long, "other".into()]).send().await.expect(200);
    assert_eq!((reply.xml_all("Code"), reply.xml_all("Deleted").len()), (vec!["KeyTooLongError".into()], 1));
    assert_eq!(client.keys(&bucket).await, ["key"]);
}
