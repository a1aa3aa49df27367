//! Server-side encryption under the server's key: on by default, and seen in answers and nowhere else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::ErrorKind::NotFound;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Config, digest};

const SSE: &str = "x-amz-server-side-encryption";

fn config(default: &'static str) -> Config {
    Config { encryption: Some(default), ..Config::default() }
}

#[tokio::test]
async fn every_new_object_is_encrypted_and_every_answer_says_so() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse").await;
    for size in [0, 1, 32_768, 32_769, 300_000] {
        let content = body(size as u64, size);
        let put = client.put(&bucket, "key", content.clone()).await;
        assert_eq!(put.header(SSE), Some("AES256"));
        assert_eq!(put.etag(), digest::etag(&content), "an ETag is the MD5 of the plaintext");
        let got = client.get(&bucket, "key").await.expect(200);
        assert_eq!((got.header(SSE), got.body == content), (Some("AES256"), true), "{size}");
        assert_eq!(client.head(&bucket, "key").await.expect(200).header(SSE), Some("AES256"));
        let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
        let copied = copy.send().await.expect(200);
        assert_eq!(copied.header(SSE), Some("AES256"));
        assert_eq!(copied.xml("ETag"), digest::etag(&content));
        assert!(client.get(&bucket, "copy").await.expect(200).body == content);
    }
}

#[tokio::test]
async fn ranges_of_encrypted_objects_are_exact() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-range").await;
    let content = body(1, 200_000);
    client.put(&bucket, "key", content.clone()).await;
    for (first, last) in [(0, 0), (65_535, 65_536), (65_536, 131_071), (1, 199_998), (199_999, 199_999)] {
        let call = client.object("GET", &bucket, "key").header("range", &format!("bytes={first}-{last}"));
        assert!(call.send().await.expect(206).body == content[first..=last], "{first}-{last}");
    }
}

#[tokio::test]
async fn an_upload_is_encrypted_from_its_start_to_its_parts() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-parts").await;
    let created = client.object("POST", &bucket, "key").query("uploads", "").send().await.expect(200);
    assert_eq!(created.header(SSE), Some("AES256"));
    let id = created.xml("UploadId");
    let upload = Upload { client: client.clone(), bucket: bucket.clone(), key: "key".into(), id };
    let first = body(1, PART_BYTES_MIN);
    let part = upload.part(1, first.clone()).send().await.expect(200);
    assert_eq!(part.header(SSE), Some("AES256"));
    assert_eq!(part.etag(), digest::etag(&first));
    client.put(&bucket, "source", body(2, 100_000)).await;
    let copied = upload.part(2, "").header("x-amz-copy-source", &format!("{bucket}/source")).send().await.expect(200);
    assert_eq!(copied.header(SSE), Some("AES256"));
    let parts = [(1, part.etag()), (2, copied.xml("ETag"))];
    let completed = upload.complete(&parts).send().await.expect(200);
    assert_eq!(completed.header(SSE), Some("AES256"));
    let whole = [first, body(2, 100_000)].concat();
    assert!(client.get(&bucket, "key").await.expect(200).body == whole);
    let across = format!("bytes={}-{}", PART_BYTES_MIN - 3, PART_BYTES_MIN + 2);
    let got = client.object("GET", &bucket, "key").header("range", &across).send().await.expect(206);
    assert!(got.body == whole[PART_BYTES_MIN - 3..=PART_BYTES_MIN + 2]);
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_and_nothing_is_stored() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-bad").await;
    client.put(&bucket, "old", "content").await;
    for (value, status, code) in [("aes256", 400, "InvalidArgument"), ("rot13", 400, "InvalidArgument")] {
        let calls = [
            client.object("PUT", &bucket, "new").body("x"),
            client.object("PUT", &bucket, "new").header("x-amz-copy-source", &format!("{bucket}/old")),
            client.object("POST", &bucket, "new").query("uploads", ""),
        ];
        for call in calls {
            let reply = call.header(SSE, value).send().await.expect(status);
            assert_eq!(reply.xml("Code"), code, "{value}");
        }
    }
    for method in ["GET", "HEAD"] {
        let reply = client.object(method, &bucket, "old").header(SSE, "AES256").send().await.expect(400);
        assert!(method == "HEAD" || reply.xml("Code") == "InvalidArgument", "{reply:?}");
    }
    assert_eq!(client.keys(&bucket).await, ["old"]);
    assert!(client.upload_ids(&bucket).await.is_empty());
}

#[tokio::test]
async fn with_the_default_off_only_what_asks_is_encrypted() {
    let mut cairn = Cairn::start(config("off"));
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-off").await;
    let content = body(1, 100_000);
    assert_eq!(client.put(&bucket, "plain", content.clone()).await.header(SSE), None);
    assert_eq!(client.head(&bucket, "plain").await.header(SSE), None);
    let asked = client.object("PUT", &bucket, "sealed").header(SSE, "AES256").body(content.clone());
    assert_eq!(asked.send().await.expect(200).header(SSE), Some("AES256"));
    let copy = |from: &str, to: &str| {
        client.object("PUT", &bucket, to).header("x-amz-copy-source", &format!("{bucket}/{from}"))
    };
    assert_eq!(copy("sealed", "plain-copy").send().await.expect(200).header(SSE), None);
    let sealed = copy("plain", "sealed-copy").header(SSE, "AES256").send().await.expect(200);
    assert_eq!(sealed.header(SSE), Some("AES256"));
    // A named encryption is a change, so that a copy onto itself can encrypt.
    copy("plain", "plain").header(SSE, "AES256").send().await.expect(200);
    assert_eq!(client.head(&bucket, "plain").await.header(SSE), Some("AES256"));
    cairn.restart();
    for key in ["plain", "sealed", "plain-copy", "sealed-copy"] {
        assert!(client.get(&bucket, key).await.expect(200).body == content, "{key}");
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

fn document(rule: &str) -> String {
    format!(
        "<ServerSideEncryptionConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>{rule}</Rule>\
         </ServerSideEncryptionConfiguration>"
    )
}

const BY_DEFAULT: &str =
    "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault>";

#[tokio::test]
async fn a_bucket_has_the_servers_default_until_it_has_its_own() {
    for (default, status) in [("AES256", 200), ("off", 404)] {
        let cairn = Cairn::start(config(default));
        let client = cairn.client();
        let bucket = client.fresh_bucket("sse-bucket").await;
        let call = |method: &str| client.bucket(method, &bucket).query("encryption", "");
        let never_set = call("GET").send().await.expect(status);
        if status == 200 {
            assert_eq!(never_set.xml("SSEAlgorithm"), "AES256");
        } else {
            assert_eq!(never_set.xml("Code"), "ServerSideEncryptionConfigurationNotFoundError");
        }
        call("PUT").body(document(BY_DEFAULT)).send().await.expect(200);
        assert_eq!(call("GET").send().await.expect(200).xml("SSEAlgorithm"), "AES256");
        assert_eq!(client.put(&bucket, "sealed", "content").await.header(SSE), Some("AES256"));
        call("DELETE").send().await.expect(204);
        call("GET").send().await.expect(status);
        let expected = (status == 200).then_some("AES256");
        assert_eq!(client.put(&bucket, "after", "content").await.header(SSE), expected);
        assert_eq!(client.head(&bucket, "sealed").await.expect(200).header(SSE), Some("AES256"));
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_and_changes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-bucket-bad").await;
    let put = |body: String| client.bucket("PUT", &bucket).query("encryption", "").body(body);
    put(document(&format!("{BY_DEFAULT}<BucketKeyEnabled>true</BucketKeyEnabled>"))).send().await.expect(200);
    for (body, status, code) in [
        (String::new(), 400, "MalformedXML"),
        (document(""), 400, "MalformedXML"),
        (document(&BY_DEFAULT.replace("AES256", "DES")), 400, "MalformedXML"),
    ] {
        assert_eq!(put(body.clone()).send().await.expect(status).xml("Code"), code, "{body}");
    }
    let kept = client.bucket("GET", &bucket).query("encryption", "").send().await.expect(200);
    assert_eq!(kept.xml("BucketKeyEnabled"), "true");
}

#[tokio::test]
async fn a_buckets_encryption_is_its_owners() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("sse-bucket-other").await;
    for method in ["GET", "PUT", "DELETE"] {
        let call = cairn.other_client().bucket(method, &bucket).query("encryption", "");
        assert_eq!(call.body(document(BY_DEFAULT)).send().await.expect(403).xml("Code"), "AccessDenied");
    }
}

/// Everything below the data directory and in the log, as bytes.
fn everything_kept(cairn: &Cairn) -> Vec<u8> {
    let mut bytes = cairn.log().into_bytes();
    for file in files_below(&cairn.data_dir()) {
        bytes.extend(fs::read(file).unwrap());
    }
    bytes
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn no_content_is_on_disk_in_plain() {
    for (default, seen) in [("off", true), ("AES256", false)] {
        let mut cairn = Cairn::start(config(default));
        let client = cairn.client();
        let bucket = client.fresh_bucket("sse-canary").await;
        for (key, size) in [("inline", 20_000), ("file", 200_000)] {
            let canary = format!("canary of {key} that sings: ");
            client.put(&bucket, key, canary.repeat(size / canary.len())).await;
        }
        cairn.stop();
        let kept = everything_kept(&cairn);
        for key in ["inline", "file"] {
            let canary = format!("canary of {key} that sings: ");
            // With encryption off it shows that the search finds what is there.
            assert_eq!(contains(&kept, canary.as_bytes()), seen, "{key}, {default}");
        }
    }
}

#[tokio::test]
async fn no_checksum_is_on_disk_in_plain() {
    for (default, seen) in [("off", true), ("AES256", false)] {
        let mut cairn = Cairn::start(config(default));
        let client = cairn.client();
        let bucket = client.fresh_bucket("sse-checksums").await;
        let mut checksums = Vec::new();
        let mut sum = |content: &[u8]| {
            checksums.push(digest::checksum_bytes("SHA256", content));
            digest::checksum("SHA256", content)
        };
        for size in [20_000, 200_000] {
            let content = body(size as u64, size);
            let call = client.object("PUT", &bucket, &size.to_string());
            let put = call.header("x-amz-checksum-sha256", &sum(&content)).body(content);
            put.send().await.expect(200);
            let copy = client.object("PUT", &bucket, &format!("copy of {size}"));
            copy.header("x-amz-copy-source", &format!("{bucket}/{size}")).send().await.expect(200);
        }
        let with_checksum = |call: Call| call.header("x-amz-checksum-algorithm", "SHA256");
        let upload = Upload::create_with(&client, &bucket, "parts", with_checksum).await;
        let mut parts = Vec::new();
        for (number, size) in [(1, PART_BYTES_MIN), (2, 20_000)] {
            let content = body(u64::from(number), size);
            let part = upload.part(number, content.clone()).header("x-amz-checksum-sha256", &sum(&content));
            parts.push((number, part.send().await.expect(200).etag()));
        }
        let completed = upload.complete(&parts).send().await.expect(200);
        let composite = completed.xml("ChecksumSHA256");
        let (composite, _) = composite.split_once('-').unwrap();
        checksums.push(STANDARD.decode(composite).unwrap());
        // Killed, so that the log of the index is still there, which nothing compresses.
        cairn.kill9();
        let kept = everything_kept(&cairn);
        for checksum in checksums {
            assert_eq!(contains(&kept, &checksum), seen, "{default}");
        }
    }
}

#[tokio::test]
async fn without_the_right_master_key_there_is_no_start() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-master").await;
    client.put(&bucket, "key", "content").await;
    cairn.stop();
    let file = cairn.data_dir().join("master.key");
    let key = fs::read_to_string(&file).unwrap();
    fs::rename(&file, file.with_extension("away")).unwrap();
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("put it back"), "{}", error.log);
    fs::rename(file.with_extension("away"), &file).unwrap();
    let wrong: String = key.trim().chars().rev().collect();
    fs::write(&file, wrong).unwrap();
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("master key"), "{}", error.log);
    fs::write(&file, &key).unwrap();
    cairn.start_again();
    assert_eq!(client.get(&bucket, "key").await.expect(200).text(), "content");
    assert!(!contains(&everything_kept_but(&cairn, "master.key"), key.trim().as_bytes()));
}

fn everything_kept_but(cairn: &Cairn, name: &str) -> Vec<u8> {
    let files = files_below(&cairn.data_dir()).into_iter().filter(|file| !file.ends_with(name));
    // The index of a running server has files that go while they are looked for.
    let read =
        |file| fs::read(file).or_else(|error| if error.kind() == NotFound { Ok(Vec::new()) } else { Err(error) });
    files.flat_map(|file| read(file).unwrap()).chain(cairn.log().into_bytes()).collect()
}

#[tokio::test]
async fn a_rotated_key_leaves_everything_readable() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-rotate").await;
    let content = body(1, 100_000);
    client.put(&bucket, "old", content.clone()).await;
    let upload = Upload::create(&client, &bucket, "parts").await;
    let first = upload.upload(1, body(2, PART_BYTES_MIN)).await;
    let run = |arguments: &[&str]| {
        let output = cairn.calling_command(&[&["encryption-key"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["status"]).lines().count(), 1);
    assert!(run(&["rotate"]).contains("version 2"));
    client.put(&bucket, "new", content.clone()).await;
    let second = upload.upload(2, "the last part").await;
    upload.complete(&[(1, first), (2, second)]).send().await.expect(200);
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/old"));
    copy.send().await.expect(200);
    assert_eq!(run(&["status"]).lines().count(), 2);
    cairn.restart();
    for key in ["old", "new", "copy"] {
        assert!(client.get(&bucket, key).await.expect(200).body == content, "{key}");
    }
    let whole = [body(2, PART_BYTES_MIN), b"the last part".to_vec()].concat();
    assert!(client.get(&bucket, "parts").await.expect(200).body == whole);
}

#[tokio::test]
async fn the_master_key_may_come_from_the_environment_or_a_credential() {
    let mut cairn = Cairn::prepare(Config::default());
    let key = "5a".repeat(32);
    cairn.set_environment("CAIRN_MASTER_KEY", &key);
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("sse-given").await;
    client.put(&bucket, "key", "content").await;
    cairn.stop();
    assert!(!cairn.data_dir().join("master.key").exists());
    cairn.clear_environment();
    assert!(cairn.launch().is_err(), "the key is gone");
    let credentials = cairn.scratch_dir().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("master.key"), &key).unwrap();
    cairn.set_environment("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    cairn.start_again();
    assert_eq!(client.get(&bucket, "key").await.expect(200).text(), "content");
    cairn.stop();
    cairn.set_environment("CAIRN_MASTER_KEY", "not a key");
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("CAIRN_MASTER_KEY") && !error.log.contains("not a key"), "{}", error.log);
}
