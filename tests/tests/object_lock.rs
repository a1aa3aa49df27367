//! Object lock: the bucket's configuration, retentions, legal holds, and what they keep from being removed.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::Upload;
use cairn_tests::{Cairn, Call, Client, digest, xml};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

async fn lock_bucket(client: &Client, purpose: &str) -> String {
    let bucket = format!("lock-{purpose}");
    let create = client.bucket("PUT", &bucket).header("x-amz-bucket-object-lock-enabled", "true");
    create.send().await.expect(200);
    bucket
}

/// A date as S3 shows it.
fn in_hours(hours: i64) -> String {
    let date = OffsetDateTime::now_utc() + Duration::hours(hours);
    date.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap().replace('Z', ".000Z")
}

fn with_digest(call: Call, body: &'static str) -> Call {
    call.header("x-amz-checksum-crc32", &digest::checksum("CRC32", body.as_bytes())).body(body)
}

fn put_retained(client: &Client, bucket: &str, key: &str, mode: &str, until: &str) -> Call {
    let call = client.object("PUT", bucket, key).header("x-amz-object-lock-mode", mode);
    with_digest(call.header("x-amz-object-lock-retain-until-date", until), "kept")
}

fn retain(client: &Client, bucket: &str, key: &str, mode: &str, until: &str) -> Call {
    let document = format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
    client.object("PUT", bucket, key).query("retention", "").body(document)
}

fn hold(client: &Client, bucket: &str, key: &str, status: &str) -> Call {
    let document = format!("<LegalHold><Status>{status}</Status></LegalHold>");
    client.object("PUT", bucket, key).query("legal-hold", "").body(document)
}

fn remove(client: &Client, bucket: &str, key: &str, version: &str) -> Call {
    client.object("DELETE", bucket, key).query("versionId", version)
}

fn configure(client: &Client, bucket: &str, rule: &str) -> Call {
    let document = format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
    );
    client.bucket("PUT", bucket).query("object-lock", "").body(document)
}

fn bypassing(call: Call) -> Call {
    call.header("x-amz-bypass-governance-retention", "true")
}

#[tokio::test]
async fn a_bucket_created_with_object_lock_has_versioning_and_cannot_lose_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "created").await;
    let versioning = client.bucket("GET", &bucket).query("versioning", "").send().await.expect(200);
    assert_eq!(versioning.xml("Status"), "Enabled");
    let got = client.bucket("GET", &bucket).query("object-lock", "").send().await.expect(200);
    assert_eq!((got.xml("ObjectLockEnabled").as_str(), got.xml_all("Rule").len()), ("Enabled", 0));
    let suspend = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let suspend = client.bucket("PUT", &bucket).query("versioning", "").body(suspend).send().await;
    suspend.expect_error(409, "InvalidBucketState");
}

#[tokio::test]
async fn object_lock_is_enabled_later_on_a_versioned_bucket_only() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("lock-later").await;
    let got = client.bucket("GET", &bucket).query("object-lock", "").send().await;
    got.expect_error(404, "ObjectLockConfigurationNotFoundError");
    configure(&client, &bucket, "").send().await.expect_error(409, "InvalidBucketState");
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(enable).send().await.expect(200);
    let rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>1</Years></DefaultRetention></Rule>";
    configure(&client, &bucket, rule).send().await.expect(200);
    let got = client.bucket("GET", &bucket).query("object-lock", "").send().await.expect(200);
    assert_eq!((got.xml("Mode").as_str(), got.xml("Years").as_str()), ("GOVERNANCE", "1"));
    configure(&client, &bucket, "").send().await.expect(200);
    let got = client.bucket("GET", &bucket).query("object-lock", "").send().await.expect(200);
    assert!(got.xml_all("Rule").is_empty());
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_changes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "nonsense").await;
    let rule =
        |inner: &str| format!("<Rule><DefaultRetention><Mode>GOVERNANCE</Mode>{inner}</DefaultRetention></Rule>");
    for (inner, code) in [
        ("", "MalformedXML"),
        ("<Days>1</Days><Years>1</Years>", "MalformedXML"),
        ("<Days>0</Days>", "InvalidRetentionPeriod"),
        ("<Years>-1</Years>", "InvalidRetentionPeriod"),
        ("<Years>101</Years>", "InvalidRetentionPeriod"),
    ] {
        configure(&client, &bucket, &rule(inner)).send().await.expect_error(400, code);
    }
    let got = client.bucket("GET", &bucket).query("object-lock", "").send().await.expect(200);
    assert!(got.xml_all("Rule").is_empty());
}

#[tokio::test]
async fn a_retention_is_shown_and_keeps_its_version() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "retention").await;
    for (mode, bypass_status) in [("GOVERNANCE", 204), ("COMPLIANCE", 403)] {
        let until = in_hours(1);
        let put = put_retained(&client, &bucket, "key", mode, &until).send().await.expect(200);
        let version = put.header("x-amz-version-id").unwrap();
        for reply in [client.get(&bucket, "key").await, client.head(&bucket, "key").await] {
            assert_eq!(reply.header("x-amz-object-lock-mode"), Some(mode));
            assert_eq!(reply.header("x-amz-object-lock-retain-until-date"), Some(until.as_str()));
            assert_eq!(reply.header("x-amz-object-lock-legal-hold"), None);
        }
        let got = client.object("GET", &bucket, "key").query("retention", "").send().await.expect(200);
        assert_eq!((got.xml("Mode").as_str(), got.xml("RetainUntilDate")), (mode, until));
        remove(&client, &bucket, "key", version).send().await.expect_error(403, "AccessDenied");
        client.delete(&bucket, "key").await;
        let got = client.object("GET", &bucket, "key").query("versionId", version).send().await.expect(200);
        assert_eq!(got.text(), "kept");
        assert_eq!(bypassing(remove(&client, &bucket, "key", version)).send().await.status, bypass_status, "{mode}");
    }
    client.bucket("DELETE", &bucket).send().await.expect_error(409, "BucketNotEmpty");
}

#[tokio::test]
async fn a_retention_is_extended_by_anybody_and_shortened_by_a_bypass_of_governance() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "change").await;
    put_retained(&client, &bucket, "key", "GOVERNANCE", &in_hours(5)).send().await.expect(200);
    let to = |mode, hours| retain(&client, &bucket, "key", mode, &in_hours(hours));
    to("GOVERNANCE", 6).send().await.expect(200);
    to("GOVERNANCE", 4).send().await.expect_error(403, "AccessDenied");
    to("COMPLIANCE", 9).send().await.expect_error(403, "AccessDenied");
    bypassing(to("GOVERNANCE", 4)).send().await.expect(200);
    let none = || client.object("PUT", &bucket, "key").query("retention", "").body("<Retention/>");
    none().send().await.expect_error(403, "AccessDenied");
    bypassing(none()).send().await.expect(200);
    let got = client.object("GET", &bucket, "key").query("retention", "").send().await;
    got.expect_error(404, "NoSuchObjectLockConfiguration");
    to("COMPLIANCE", 5).send().await.expect(200);
    for weaker in [to("COMPLIANCE", 4), to("GOVERNANCE", 6), none()] {
        bypassing(weaker).send().await.expect_error(403, "AccessDenied");
    }
    to("COMPLIANCE", 6).send().await.expect(200);
}

#[tokio::test]
async fn a_legal_hold_keeps_its_version_until_it_is_lifted() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "hold").await;
    let put = client.put(&bucket, "key", "kept").await;
    let version = put.header("x-amz-version-id").unwrap();
    let get = || client.object("GET", &bucket, "key").query("legal-hold", "");
    get().send().await.expect_error(404, "NoSuchObjectLockConfiguration");
    hold(&client, &bucket, "key", "ON").query("versionId", version).send().await.expect(200);
    assert_eq!(get().send().await.expect(200).xml("Status"), "ON");
    assert_eq!(client.head(&bucket, "key").await.header("x-amz-object-lock-legal-hold"), Some("ON"));
    bypassing(remove(&client, &bucket, "key", version)).send().await.expect_error(403, "AccessDenied");
    hold(&client, &bucket, "key", "MAYBE").send().await.expect_error(400, "MalformedXML");
    hold(&client, &bucket, "key", "OFF").send().await.expect(200);
    assert_eq!(get().query("versionId", version).send().await.expect(200).xml("Status"), "OFF");
    remove(&client, &bucket, "key", version).send().await.expect(204);
}

#[tokio::test]
async fn several_deletions_refuse_the_locked_ones() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "several").await;
    let put = put_retained(&client, &bucket, "locked", "GOVERNANCE", &in_hours(1)).send().await.expect(200);
    let locked = put.header("x-amz-version-id").unwrap().to_owned();
    let free = client.put(&bucket, "free", "x").await.header("x-amz-version-id").unwrap().to_owned();
    let entry = |key, version| format!("<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>");
    let document = format!("<Delete>{}{}</Delete>", entry("locked", &locked), entry("free", &free));
    let call = || {
        let call = client.bucket("POST", &bucket).query("delete", "");
        call.header("x-amz-checksum-crc32", &digest::checksum("CRC32", document.as_bytes())).body(document.clone())
    };
    let reply = call().send().await.expect(200).text();
    assert_eq!(xml::sections(&reply, "Deleted").len(), 1, "{reply}");
    let refused = xml::sections(&reply, "Error");
    assert_eq!(xml::text(refused[0], "Key").as_deref(), Some("locked"));
    assert_eq!(xml::text(refused[0], "Code").as_deref(), Some("AccessDenied"));
    let reply = bypassing(call()).send().await.expect(200).text();
    assert_eq!(xml::sections(&reply, "Deleted").len(), 2, "{reply}");
}

#[tokio::test]
async fn uploads_and_copies_carry_the_locks_that_they_ask_for() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "carry").await;
    let until = in_hours(2);
    let locked = |call: Call| {
        call.header("x-amz-object-lock-mode", "COMPLIANCE")
            .header("x-amz-object-lock-retain-until-date", &until)
            .header("x-amz-object-lock-legal-hold", "OFF")
    };
    let upload = Upload::create_with(&client, &bucket, "upload", locked).await;
    upload.part(1, "part").send().await.expect_error(400, "InvalidRequest");
    let etag = with_digest(upload.part(1, "part"), "part").send().await.expect(200).etag();
    upload.complete(&[(1, etag)]).send().await.expect(200);
    let source = format!("{bucket}/upload");
    let copy = |key| client.object("PUT", &bucket, key).header("x-amz-copy-source", &source);
    locked(copy("copy")).send().await.expect(200);
    copy("free").send().await.expect(200);
    for (key, mode, hold) in
        [("upload", Some("COMPLIANCE"), Some("OFF")), ("copy", Some("COMPLIANCE"), Some("OFF")), ("free", None, None)]
    {
        let head = client.head(&bucket, key).await.expect(200);
        assert_eq!(head.header("x-amz-object-lock-mode"), mode, "{key}");
        assert_eq!(head.header("x-amz-object-lock-legal-hold"), hold, "{key}");
    }
}

#[tokio::test]
async fn the_default_retention_is_for_new_versions() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "default").await;
    client.put(&bucket, "before", "x").await;
    let rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>2</Days></DefaultRetention></Rule>";
    configure(&client, &bucket, rule).send().await.expect(200);
    with_digest(client.object("PUT", &bucket, "after"), "x").send().await.expect(200);
    assert_eq!(client.head(&bucket, "before").await.header("x-amz-object-lock-mode"), None);
    let after = client.head(&bucket, "after").await;
    assert_eq!(after.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    let until = after.header("x-amz-object-lock-retain-until-date").unwrap();
    let until = OffsetDateTime::parse(until, &Rfc3339).unwrap();
    assert!((until - OffsetDateTime::now_utc() - Duration::days(2)).abs() < Duration::minutes(5), "{until}");
}

#[tokio::test]
async fn what_is_to_be_kept_comes_with_a_digest() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "digest").await;
    let held = || client.object("PUT", &bucket, "key").header("x-amz-object-lock-legal-hold", "ON").body("x");
    held().send().await.expect_error(400, "InvalidRequest");
    held().header("content-md5", "nU5IJvQ9qz1QsjZx2l5w2w==").send().await.expect_error(400, "BadDigest");
    held().header("content-md5", "ndTkYSaMgDT1yFZOFVxnpg==").send().await.expect(200);
    let rule = "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
    configure(&client, &bucket, rule).send().await.expect(200);
    client.object("PUT", &bucket, "key").body("x").send().await.expect_error(400, "InvalidRequest");
    let upload = Upload::create(&client, &bucket, "upload").await;
    upload.part(1, "x").send().await.expect_error(400, "InvalidRequest");
    with_digest(upload.part(1, "x"), "x").send().await.expect(200);
}

#[tokio::test]
async fn headers_that_make_no_sense_are_refused_and_store_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "headers").await;
    let (mode, date, legal) =
        ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold");
    let (future, past) = (in_hours(1), in_hours(-1));
    for headers in [
        vec![(mode, "GOVERNANCE")],
        vec![(date, future.as_str())],
        vec![(mode, "governance"), (date, &future)],
        vec![(mode, "GOVERNANCE"), (date, &past)],
        vec![(mode, "GOVERNANCE"), (date, "tomorrow")],
        vec![(legal, "on")],
    ] {
        let call = with_digest(client.object("PUT", &bucket, "key"), "x");
        let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
        call.send().await.expect_error(400, "InvalidArgument");
    }
    retain(&client, &bucket, "missing", "GOVERNANCE", &future).send().await.expect_error(404, "NoSuchKey");
    client.put(&bucket, "there", "x").await;
    retain(&client, &bucket, "there", "GOVERNANCE", &past).send().await.expect_error(400, "InvalidArgument");
    retain(&client, &bucket, "there", "FOREVER", &future).send().await.expect_error(400, "MalformedXML");
    assert_eq!(client.keys(&bucket).await, ["there"]);
}

#[tokio::test]
async fn a_bucket_without_object_lock_takes_no_locks() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("lock-none").await;
    client.put(&bucket, "key", "x").await;
    let future = in_hours(1);
    for call in [
        put_retained(&client, &bucket, "key", "GOVERNANCE", &future),
        with_digest(client.object("PUT", &bucket, "key").header("x-amz-object-lock-legal-hold", "ON"), "x"),
        client.object("POST", &bucket, "key").query("uploads", "").header("x-amz-object-lock-legal-hold", "ON"),
        retain(&client, &bucket, "key", "GOVERNANCE", &future),
        hold(&client, &bucket, "key", "ON"),
        client.object("GET", &bucket, "key").query("retention", ""),
        client.object("GET", &bucket, "key").query("legal-hold", ""),
    ] {
        call.send().await.expect_error(400, "InvalidRequest");
    }
    assert_eq!(client.get(&bucket, "key").await.text(), "x");
}

#[tokio::test]
async fn a_delete_marker_has_no_lock() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = lock_bucket(&client, "marker").await;
    client.put(&bucket, "key", "x").await;
    let marker = client.delete(&bucket, "key").await;
    let marker = marker.header("x-amz-version-id").unwrap();
    let held = hold(&client, &bucket, "key", "ON").query("versionId", marker).send().await;
    held.expect_error(405, "MethodNotAllowed");
    remove(&client, &bucket, "key", marker).send().await.expect(204);
}

#[tokio::test]
async fn another_account_locks_and_unlocks_nothing() {
    let cairn = Cairn::shared();
    let (client, other) = (cairn.client(), cairn.other_client());
    let bucket = lock_bucket(&client, "other").await;
    let put = put_retained(&client, &bucket, "key", "GOVERNANCE", &in_hours(1)).send().await.expect(200);
    let version = put.header("x-amz-version-id").unwrap();
    for call in [
        configure(&other, &bucket, ""),
        other.bucket("GET", &bucket).query("object-lock", ""),
        retain(&other, &bucket, "key", "GOVERNANCE", &in_hours(9)),
        hold(&other, &bucket, "key", "ON"),
        other.object("GET", &bucket, "key").query("retention", ""),
        other.object("GET", &bucket, "key").query("legal-hold", ""),
        remove(&other, &bucket, "key", version),
    ] {
        bypassing(call).send().await.expect_error(403, "AccessDenied");
    }
}
