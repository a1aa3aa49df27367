//! What lifecycle rules, access tiers and restores did, in the audit log.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use cairn_tests::Cairn;
use cairn_tests::lifecycle::{class_of, put_rules, restore, rule, short_days, versioned};
use cairn_tests::multipart::Upload;
use cairn_tests::patience::{until, until_so};
use cairn_tests::random::body;
use serde_json::{Value, json};

const OWNER: &str = "100000000001";

/// A file, of a size that rules move.
const LARGE: usize = 200_000;

/// The first things that the server did by itself about a bucket, once there are so many, in their order.
async fn deeds(cairn: &Cairn, bucket: &str, count: usize) -> Vec<Value> {
    let read = || {
        let text = fs::read_to_string(cairn.data_dir().join("audit/audit.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["principal"] == "s3.amazonaws.com" && line["bucket"] == bucket).collect::<Vec<_>>()
    };
    until_so("what is told", || read().len() >= count).await;
    let mut deeds = read();
    deeds.truncate(count);
    deeds
}

/// A line without its time, which is there.
fn timeless(mut deed: Value) -> Value {
    let time = deed.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    deed
}

fn about(bucket: &str, key: &str, operation: &str, more: Value) -> Value {
    let mut line = json!({
        "operation": operation,
        "principal": "s3.amazonaws.com",
        "bucket_owners": [OWNER],
        "bucket": bucket,
        "key": key,
    });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

#[tokio::test]
async fn what_rules_do_without_versions_is_told_with_the_rule_that_asked() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = client.fresh_bucket("told").await;
    client.put(&bucket, "gone", "four").await.expect(200);
    client.put(&bucket, "cold", body(1, LARGE)).await.expect(200);
    client.put(&bucket, "stays", "x").await.expect(200);
    let upload = Upload::create(&client, &bucket, "parts").await.id;
    let moves = "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>";
    let aborts =
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let rules = rule("ends", "<Prefix>gone</Prefix>", "<Expiration><Days>1</Days></Expiration>")
        + &rule("moves", "<Prefix>cold</Prefix>", moves)
        + &rule("aborts", "<Prefix>parts</Prefix>", aborts);
    put_rules(&client, &bucket, &rules).send().await.expect(200);
    let mut told: Vec<_> = deeds(&cairn, &bucket, 3).await.into_iter().map(timeless).collect();
    told.sort_by_key(|deed| deed["key"].to_string());
    let of = |class: &str, size: usize| json!({ "version_id": "null", "storage_class": class, "size_bytes": size });
    let mut moved = of("STANDARD", LARGE);
    moved.as_object_mut().unwrap().extend([("to".into(), "GLACIER_IR".into()), ("rule".into(), "moves".into())]);
    let mut gone = of("STANDARD", 4);
    gone.as_object_mut().unwrap().insert("rule".into(), "ends".into());
    assert_eq!(
        told,
        [
            about(&bucket, "cold", "S3.TRANSITION_GIR.OBJECT", moved),
            about(&bucket, "gone", "S3.EXPIRE.OBJECT", gone),
            about(&bucket, "parts", "S3.DELETE.UPLOAD", json!({ "upload_id": upload, "rule": "aborts" })),
        ]
    );
}

#[tokio::test]
async fn a_version_that_is_hidden_is_told_by_its_marker_and_one_that_ends_by_its_id() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = versioned(&client, "told").await;
    let version = client.put(&bucket, "key", "x").await.expect(200);
    let version = version.header("x-amz-version-id").unwrap().to_owned();
    // The days between are for a look at the marker.
    let ends = "<Expiration><Days>1</Days></Expiration>\
                <NoncurrentVersionExpiration><NoncurrentDays>8</NoncurrentDays></NoncurrentVersionExpiration>";
    put_rules(&client, &bucket, &rule("ends", "", ends)).send().await.expect(200);
    let hidden = deeds(&cairn, &bucket, 1).await.remove(0);
    let listed = client.bucket("GET", &bucket).query("versions", "").send().await.expect(200);
    let marker = listed.xml_all("VersionId").into_iter().find(|id| *id != version).unwrap();
    let of = |version_id: &str, size_bytes: u64| json!({ "version_id": version_id, "rule": "ends", "storage_class": "STANDARD", "size_bytes": size_bytes });
    assert_eq!(timeless(hidden), about(&bucket, "key", "S3.CREATE.DELETEMARKER", of(&marker, 1)));
    // The version ends, and then its marker, which hides nothing any more.
    let [_, ended, unhid] = deeds(&cairn, &bucket, 3).await.try_into().unwrap();
    assert_eq!(timeless(ended), about(&bucket, "key", "S3.EXPIRE.OBJECT", of(&version, 1)));
    let of_marker = json!({ "version_id": marker, "rule": "ends" });
    assert_eq!(timeless(unhid), about(&bucket, "key", "S3.EXPIRE.OBJECT", of_marker));
}

#[tokio::test]
async fn a_restore_is_told_when_it_is_ready_and_when_it_is_over_also_after_a_crash() {
    let mut cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = client.fresh_bucket("told").await;
    let put = client.object("PUT", &bucket, "key").header("x-amz-storage-class", "GLACIER");
    put.body("archived").send().await.expect(200);
    let of = |days: u32, tier: &str| {
        format!("<Days>{days}</Days><GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters>")
    };
    restore(&client, &bucket, "key", &of(30, "Bulk")).send().await.expect(202);
    restore(&client, &bucket, "key", &of(30, "Standard")).send().await.expect(202);
    let waits = |cairn: &Cairn| {
        let listed = cairn.calling_command(&["jobs", "list"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let printed = waits(&cairn);
    assert!(printed.contains("queue retrieval  2 waiting  first due "), "{printed}");
    let about_it = |operation: &str| {
        let more = json!({ "version_id": "null", "storage_class": "GLACIER", "size_bytes": 8 });
        about(&bucket, "key", operation, more)
    };
    let ready = deeds(&cairn, &bucket, 1).await.remove(0);
    assert_eq!(timeless(ready), about_it("s3:ObjectRestore:Completed"));
    cairn.client().get(&bucket, "key").await.expect(200);
    // That it was told is kept before the crash.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    cairn.kill9();
    cairn.start_again();
    restore(&cairn.client(), &bucket, "key", "<Days>4</Days>").send().await.expect(200);
    let client = cairn.client();
    until("the end", || client.object("GET", &bucket, "key"), |reply| reply.status == 403).await;
    let over = deeds(&cairn, &bucket, 2).await.remove(1);
    assert_eq!(timeless(over), about_it("s3:ObjectRestore:Delete"));
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn without_an_audit_log_rules_are_carried_out_all_the_same() {
    let mut config = short_days();
    config.more += "\n[audit]\nfiles_max = 0\n";
    let cairn = Cairn::start(config);
    let client = cairn.client();
    let bucket = client.fresh_bucket("untold").await;
    let moves = "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>";
    client.put(&bucket, "key", body(1, LARGE)).await.expect(200);
    put_rules(&client, &bucket, &rule("moves", "", moves)).send().await.expect(200);
    until("the move", || client.object("HEAD", &bucket, "key"), |reply| class_of(reply) == "GLACIER_IR").await;
    assert!(!cairn.data_dir().join("audit").exists());
}
