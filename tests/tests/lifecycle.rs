//! Lifecycle rules through the real binary: configurations, the sweep in short days, archives, plans.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::Cairn;
use cairn_tests::digest::checksum;
use cairn_tests::harness::files_below;
use cairn_tests::lifecycle::{class_of, configuration, put_rules, restore, rule, short_days, versioned};
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::{PATIENCE, until};
use cairn_tests::random::body;

/// Files, so that places and freed space can be seen.
const LARGE: usize = 200_000;

#[tokio::test]
async fn rules_are_kept_as_they_were_put_and_bad_ones_change_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("rules").await;
    let get = || client.bucket("GET", &bucket).query("lifecycle", "").send();
    get().await.expect_error(404, "NoSuchLifecycleConfiguration");
    let good = rule("logs", "<Prefix>logs/</Prefix>", "<Expiration><Days>30</Days></Expiration>");
    let put = put_rules(&client, &bucket, &good).send().await.expect(200);
    let minimum = "x-amz-transition-default-minimum-object-size";
    assert_eq!(put.header(minimum), Some("all_storage_classes_128K"));
    for (bad, code) in [
        (rule("a", "", ""), "InvalidRequest"),
        (rule("a", "", "<Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
        (rule("a", "", "<Expiration><Date>2030-01-01T00:00:01Z</Date></Expiration>"), "InvalidArgument"),
        (format!("{good}{good}"), "InvalidArgument"),
        ("<Rule><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>".to_owned(), "MalformedXML"),
        (rule("a", "", "<Transition><Days>1</Days><StorageClass>STANDARD</StorageClass></Transition>"), "MalformedXML"),
        (
            rule("a", "", "<Transition><Days>5</Days><StorageClass>ONEZONE_IA</StorageClass></Transition>"),
            "InvalidArgument",
        ),
        (
            "<Rule><Prefix></Prefix><Status>Enabled</Status><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
             <NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>"
                .to_owned(),
            "InvalidRequest",
        ),
        (String::new(), "MalformedXML"),
    ] {
        put_rules(&client, &bucket, &bad).send().await.expect_error(400, code);
        assert!(get().await.expect(200).text().contains(&good), "{bad}");
    }
    put_rules(&client, &bucket, &good).header(minimum, "none").send().await.expect_error(400, "InvalidArgument");
    client.bucket("DELETE", &bucket).query("lifecycle", "").send().await.expect(204);
    get().await.expect_error(404, "NoSuchLifecycleConfiguration");
}

#[tokio::test]
async fn clients_are_told_real_dates_of_what_will_happen() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = client.fresh_bucket("told").await;
    let rules = rule("the logs", "<Prefix>logs/</Prefix>", "<Expiration><Days>8</Days></Expiration>")
        + &rule(
            "parts",
            "",
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>9</DaysAfterInitiation>\
                              </AbortIncompleteMultipartUpload>",
        );
    put_rules(&client, &bucket, &rules).send().await.expect(200);
    let put = client.put(&bucket, "logs/1", "x").await.expect(200);
    let head = client.head(&bucket, "logs/1").await.expect(200);
    let told = put.header("x-amz-expiration").unwrap();
    assert_eq!(head.header("x-amz-expiration"), Some(told));
    assert!(told.ends_with("00:00:00 GMT\", rule-id=\"the%20logs\""), "{told}");
    assert_eq!(client.get(&bucket, "logs/1").await.expect(200).header("x-amz-expiration"), Some(told));
    assert!(client.put(&bucket, "other", "x").await.expect(200).header("x-amz-expiration").is_none());
    let copy = client.object("PUT", &bucket, "logs/copy").header("x-amz-copy-source", &format!("{bucket}/other"));
    assert_eq!(copy.send().await.expect(200).header("x-amz-expiration"), Some(told));
    // Asked for by its id, a version may be any.
    let by_id = client.object("HEAD", &bucket, "logs/1").query("versionId", "null").send().await.expect(200);
    assert!(by_id.header("x-amz-expiration").is_none());
    let created = client.object("POST", &bucket, "up").query("uploads", "").send().await.expect(200);
    assert!(created.header("x-amz-abort-date").unwrap().ends_with("00:00:00 GMT"));
    assert_eq!(created.header("x-amz-abort-rule-id"), Some("parts"));
    let listed =
        client.object("GET", &bucket, "up").query("uploadId", &created.xml("UploadId")).send().await.expect(200);
    for header in ["x-amz-abort-date", "x-amz-abort-rule-id"] {
        assert_eq!(listed.header(header), created.header(header));
    }
    let upload = Upload::create(&client, &bucket, "logs/2").await;
    let part = upload.upload(1, "x").await;
    let completed = upload.complete(&[(1, part)]).send().await.expect(200);
    assert_eq!(completed.header("x-amz-expiration").map(|told| told.ends_with("rule-id=\"the%20logs\"")), Some(true));
}

#[tokio::test]
async fn a_plan_is_made_with_proposed_rules_of_any_length_and_tells_of_uploads() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = client.fresh_bucket("planned").await;
    client.put(&bucket, "logs/1", "x").await.expect(200);
    Upload::create(&client, &bucket, "logs/2").await;
    let expires = "<Expiration><Days>8</Days></Expiration>\
                   <AbortIncompleteMultipartUpload><DaysAfterInitiation>9</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    let others =
        (0..900).map(|number| rule(&format!("{number:0>200}"), &format!("<Prefix>{number}/</Prefix>"), expires));
    let rules = rule("logs", "<Prefix>logs/</Prefix>", expires) + &others.collect::<String>();
    assert!(rules.len() > 256 << 10);
    let file = cairn.scratch_dir().join("rules.xml");
    std::fs::write(&file, configuration(&rules)).unwrap();
    let plan = ["lifecycle", "plan", "--bucket", &bucket, "--days", "10", "--config", file.to_str().unwrap()];
    let planned = cairn.calling_command(&plan).output().unwrap();
    let printed = String::from_utf8(planned.stdout).unwrap();
    assert!(printed.contains("rule logs: expired from STANDARD"), "{printed}");
    assert!(printed.contains("rule logs: uploads aborted"), "{printed}");
    assert!(printed.contains("such as logs/2"), "{printed}");
    client.bucket("GET", &bucket).query("lifecycle", "").send().await.expect_error(404, "NoSuchLifecycleConfiguration");
}

#[tokio::test]
async fn a_plan_tells_what_is_locked_now_and_ends_when_its_lock_does() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = "locked-until-planned".to_owned();
    client.bucket("PUT", &bucket).header("x-amz-bucket-object-lock-enabled", "true").send().await.expect(200);
    let until = time::OffsetDateTime::now_utc() + time::Duration::days(5);
    let until = until.format(&time::format_description::well_known::Rfc3339).unwrap();
    let put = client.object("PUT", &bucket, "key").header("x-amz-object-lock-mode", "GOVERNANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", &until);
    let put = put.header("x-amz-checksum-sha256", &checksum("SHA256", b"kept"));
    put.body("kept").send().await.expect(200);
    client.put(&bucket, "key", "newer").await.expect(200);
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    put_rules(&client, &bucket, &rule("old", "", old)).send().await.expect(200);
    let plan = |more: &[&str]| {
        let arguments = [&["lifecycle", "plan", "--bucket", &bucket], more].concat();
        String::from_utf8(cairn.calling_command(&arguments).output().unwrap().stdout).unwrap()
    };
    assert!(plan(&["--days", "4"]).contains("nothing is due, nor within 4 days"));
    let printed = plan(&["--days", "6"]);
    assert!(printed.contains("rule old: noncurrent versions removed from STANDARD"), "{printed}");
    assert!(printed.contains("1  within 6 days after, 4 bytes"), "{printed}");
    let at = time::OffsetDateTime::now_utc() + time::Duration::days(6);
    let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert!(plan(&["--at", &at]).contains("1  now, 4 bytes"));
}

#[tokio::test]
async fn versions_expire_move_and_end_and_their_space_is_freed() {
    let mut cairn = Cairn::start(short_days());
    let client = cairn.client();
    let (plain, kept) = (client.fresh_bucket("plain").await, versioned(&client, "kept").await);
    client.put(&plain, "gone/large", body(1, LARGE)).await.expect(200);
    client.put(&plain, "cold/large", body(2, LARGE)).await.expect(200);
    client.put(&plain, "cold/small", body(3, 1_000)).await.expect(200);
    client.put(&plain, "stays", body(4, LARGE)).await.expect(200);
    let upload = client.object("POST", &plain, "upload").query("uploads", "").send().await.expect(200).xml("UploadId");
    let part = client.object("PUT", &plain, "upload").query("uploadId", &upload).query("partNumber", "1");
    part.body(body(5, LARGE)).send().await.expect(200);
    for round in 0..3 {
        client.put(&kept, "key", body(10 + round, LARGE)).await.expect(200);
    }
    client.put(&kept, "deleted", "x").await.expect(200);
    let rules = rule("gone", "<Prefix>gone/</Prefix>", "<Expiration><Days>1</Days></Expiration>")
        + &rule(
            "cold",
            "<Prefix>cold/</Prefix>",
            "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>",
        )
        + &rule(
            "parts",
            "",
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                              </AbortIncompleteMultipartUpload>",
        );
    put_rules(&client, &plain, &rules).send().await.expect(200);
    let rules = rule(
        "old",
        "",
        "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
                                 <NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
    ) + &rule("hide", "<Prefix>deleted</Prefix>", "<Expiration><Days>2</Days></Expiration>");
    put_rules(&client, &kept, &rules).send().await.expect(200);

    until("the expiry", || client.object("GET", &plain, "gone/large"), |reply| reply.status == 404).await;
    until("the move", || client.object("HEAD", &plain, "cold/large"), |reply| class_of(reply) == "GLACIER_IR").await;
    until(
        "the abort",
        || client.bucket("GET", &plain).query("uploads", ""),
        |reply| reply.xml_all("Upload").is_empty(),
    )
    .await;
    let versions = || client.bucket("GET", &kept).query("versions", "").query("prefix", "key");
    until("the end of the oldest", versions, |reply| reply.xml_all("VersionId").len() == 2).await;
    until("the delete marker", || client.object("GET", &kept, "deleted"), |reply| reply.status == 404).await;

    assert_eq!(class_of(&client.head(&plain, "cold/small").await.expect(200)), "STANDARD");
    assert_eq!(client.get(&plain, "cold/large").await.expect(200).body, body(2, LARGE));
    assert_eq!(client.get(&plain, "stays").await.expect(200).body, body(4, LARGE));
    // What is left: `stays`, two versions of `key`, and `cold/large` in the folder of its class.
    let began = Instant::now();
    while cairn.blob_files().len() != 4 && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(cairn.blob_files().len(), 4);
    assert_eq!(files_below(&cairn.data_dir().join("classes/GLACIER_IR")).len(), 1);
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    let counted = |line: &str| metrics.lines().any(|one| one == line);
    assert!(counted("cairn_lifecycle_done_total{action=\"transition\",class=\"GLACIER_IR\"} 1"), "{metrics}");
    assert!(counted("cairn_class_bytes{class=\"GLACIER_IR\"} 200000"), "{metrics}");
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn an_archived_object_is_restored_for_a_time() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = client.fresh_bucket("archive").await;
    let put = |key: &str, class: &str| client.object("PUT", &bucket, key).header("x-amz-storage-class", class);
    put("key", "GLACIER").body(body(1, LARGE)).send().await.expect(200);
    put("deep", "DEEP_ARCHIVE").body("deep").send().await.expect(200);
    put("warm", "GLACIER_IR").body("warm").send().await.expect(200);
    client.get(&bucket, "key").await.expect_error(403, "InvalidObjectState");
    let copy = |to: &str| client.object("PUT", &bucket, to).header("x-amz-copy-source", &format!("{bucket}/key"));
    copy("copy").send().await.expect_error(403, "InvalidObjectState");
    assert_eq!(class_of(&client.head(&bucket, "key").await.expect(200)), "GLACIER");
    assert_eq!(client.get(&bucket, "warm").await.expect(200).text(), "warm");

    restore(&client, &bucket, "warm", "<Days>1</Days>").send().await.expect_error(403, "InvalidObjectState");
    restore(&client, &bucket, "key", "<Days>0</Days>").send().await.expect_error(400, "InvalidArgument");
    restore(&client, &bucket, "key", "").send().await.expect_error(400, "MalformedXML");
    restore(&client, &bucket, "none", "<Days>1</Days>").send().await.expect_error(404, "NoSuchKey");
    let tier = |tier: &str| format!("<Days>5</Days><GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters>");
    restore(&client, &bucket, "deep", &tier("Expedited")).send().await.expect_error(400, "InvalidArgument");
    // From DEEP_ARCHIVE each tier has a delay of its own.
    let asked = Instant::now();
    restore(&client, &bucket, "deep", &tier("Standard")).send().await.expect(202);
    let deep = until("the restore", || client.object("GET", &bucket, "deep"), |reply| reply.status == 200).await;
    assert_eq!((deep.text().as_str(), asked.elapsed() >= Duration::from_secs(4)), ("deep", true));

    restore(&client, &bucket, "key", &tier("Bulk")).send().await.expect(202);
    let head = client.head(&bucket, "key").await.expect(200);
    assert_eq!(head.header("x-amz-restore"), Some("ongoing-request=\"true\""));
    let listed = |(name, value): (&str, &str)| {
        let list = client.bucket("GET", &bucket).query(name, value).query("prefix", "key");
        list.header("x-amz-optional-object-attributes", "RestoreStatus")
    };
    for parameter in [("marker", ""), ("list-type", "2"), ("versions", "")] {
        let text = listed(parameter).send().await.expect(200).text();
        let ongoing = "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>";
        assert!(text.contains(ongoing), "{text}");
    }
    let plain = || client.bucket("GET", &bucket).query("prefix", "key");
    assert!(!plain().send().await.expect(200).text().contains("RestoreStatus"));
    let unknown = plain().header("x-amz-optional-object-attributes", "Colour");
    unknown.send().await.expect_error(400, "InvalidArgument");
    restore(&client, &bucket, "key", &tier("Bulk")).send().await.expect_error(409, "RestoreAlreadyInProgress");
    restore(&client, &bucket, "key", &tier("Expedited")).send().await.expect(202);
    assert_eq!(client.get(&bucket, "key").await.expect(200).body, body(1, LARGE));
    let told = client.head(&bucket, "key").await.expect(200);
    assert!(told.header("x-amz-restore").unwrap().starts_with("ongoing-request=\"false\", expiry-date=\""));
    let text = listed(("versions", "")).send().await.expect(200).text();
    assert!(text.contains("<IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>"), "{text}");
    // A copy of what is restored may have any class.
    copy("copy").send().await.expect(200);
    assert_eq!(client.get(&bucket, "copy").await.expect(200).body, body(1, LARGE));
    // Restoring again sets the end anew, from now on.
    restore(&client, &bucket, "key", "<Days>1</Days>").send().await.expect(200);
    until("the end", || client.object("GET", &bucket, "key"), |reply| reply.status == 403).await;
    assert!(client.head(&bucket, "key").await.expect(200).header("x-amz-restore").is_none());
    restore(&client, &bucket, "key", &tier("Standard")).send().await.expect(202);
    until("the restore", || client.object("GET", &bucket, "key"), |reply| reply.status == 200).await;
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    for line in ["cairn_restores_total{class=\"GLACIER\"} 4", "cairn_restores_total{class=\"DEEP_ARCHIVE\"} 1"] {
        assert!(metrics.lines().any(|one| one == line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn a_kill_at_any_time_loses_no_object_that_moves() {
    let mut cairn = Cairn::start(short_days());
    let bucket = cairn.client().fresh_bucket("killed").await;
    const KEYS: u64 = 60;
    for key in 0..KEYS {
        cairn.client().put(&bucket, &format!("{key:02}"), body(key, LARGE)).await.expect(200);
    }
    let upload = Upload::create(&cairn.client(), &bucket, "parts").await;
    let parts = [(1, upload.upload(1, body(99, PART_BYTES_MIN)).await), (2, upload.upload(2, body(98, LARGE)).await)];
    upload.complete(&parts).send().await.expect(200);
    let moves = rule("cold", "", "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>");
    put_rules(&cairn.client(), &bucket, &moves).send().await.expect(200);
    for milliseconds in [900, 1_100, 1_250, 1_400, 1_700] {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        cairn.kill9();
        cairn.start_again();
        for key in [0, KEYS / 2, KEYS - 1] {
            let got = cairn.client().get(&bucket, &format!("{key:02}")).await.expect(200);
            assert_eq!(got.body, body(key, LARGE));
        }
    }
    for key in (0..KEYS).map(|key| format!("{key:02}")).chain(["parts".to_owned()]) {
        let client = cairn.client();
        until("the move", || client.object("HEAD", &bucket, &key), |reply| class_of(reply) == "GLACIER_IR").await;
    }
    for key in 0..KEYS {
        assert_eq!(cairn.client().get(&bucket, &format!("{key:02}")).await.expect(200).body, body(key, LARGE));
    }
    let parts = cairn.client().get(&bucket, "parts").await.expect(200);
    assert_eq!(parts.body, [body(99, PART_BYTES_MIN), body(98, LARGE)].concat());
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}
