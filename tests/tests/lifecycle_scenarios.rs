//! Two scenarios, played through the real binary from beginning to end: in real days, of which a test lets many pass at once, and
//! in days of a second, in which the server does everything by itself.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_tests::lifecycle::{Calendar, class_of, put_rules, restore, rule, versioned};
use cairn_tests::patience::until;
use cairn_tests::random::body;
use cairn_tests::{Config, skip};

/// A file, so that its place can be another.
const LARGE: usize = 200_000;

/// Source images are archived after 45 days; thumbnails, which can be made again, end after as many.
fn rules_of_images() -> String {
    rule(
        "archive",
        "<Prefix>source/</Prefix>",
        "<Transition><Days>45</Days><StorageClass>GLACIER</StorageClass></Transition>",
    ) + &rule("thumbnails", "<Prefix>thumbnails/</Prefix>", "<Expiration><Days>45</Days></Expiration>")
}

/// What was deleted can be had at once for 15 days, then within 48 hours for up to 365 days.
fn rules_of_deleted_objects() -> String {
    let moves = |days, class| {
        format!(
            "<NoncurrentVersionTransition><NoncurrentDays>{days}</NoncurrentDays><StorageClass>{class}</StorageClass>\
             </NoncurrentVersionTransition>"
        )
    };
    let ends = "<NoncurrentVersionExpiration><NoncurrentDays>365</NoncurrentDays></NoncurrentVersionExpiration>\
                <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    rule("deleted", "", &(moves(0, "STANDARD_IA") + &moves(15, "DEEP_ARCHIVE") + ends))
}

/// Days of a second, and 48 hours of two.
fn days_of_a_second() -> Calendar {
    let more =
        "\n[lifecycle]\nday_seconds = 1\nsweep_interval_seconds = 1\n\n[restore]\ndeep_archive_bulk_seconds = 2\n";
    Calendar::with(Config { more: more.to_owned(), ..Config::default() })
}

/// Days that pass at once, or, where no clock can be set, as they come.
async fn pass_seconds(calendar: &mut Calendar, seconds: i64) {
    if calendar.pass_time(time::Duration::seconds(seconds), &[]).is_err() {
        tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await;
    }
}

#[tokio::test]
async fn source_images_are_archived_and_thumbnails_end_after_45_days() {
    let mut calendar = Calendar::start();
    let client = calendar.cairn.client();
    let bucket = client.fresh_bucket("images").await;
    client.put(&bucket, "source/1.jpg", body(1, LARGE)).await.expect(200);
    let thumbnail = client.object("PUT", &bucket, "thumbnails/1.jpg").header("x-amz-storage-class", "ONEZONE_IA");
    thumbnail.body(body(2, 5_000)).send().await.expect(200);
    put_rules(&client, &bucket, &rules_of_images()).send().await.expect(200);

    let plan = calendar.cairn.calling_command(&["lifecycle", "plan", "--bucket", &bucket, "--days", "50"]).output();
    let printed = String::from_utf8(plan.unwrap().stdout).unwrap();
    for line in ["rule archive: moved to GLACIER from STANDARD", "rule thumbnails: expired from ONEZONE_IA"] {
        assert!(printed.contains(line), "{printed}");
    }
    assert!(printed.contains("1  within 50 days after, 200000 bytes") && printed.contains("such as source/1.jpg"));

    if let Err(reason) = calendar.pass(44, &[&bucket]) {
        skip!("{reason}");
    }
    for (key, class) in [("source/1.jpg", "STANDARD"), ("thumbnails/1.jpg", "ONEZONE_IA")] {
        let head = calendar.send(client.object("HEAD", &bucket, key)).await.expect(200);
        assert_eq!(class_of(&head), class, "{key} after 44 days");
    }
    calendar.pass(2, &[&bucket]).unwrap();
    let head = calendar.send(client.object("HEAD", &bucket, "source/1.jpg")).await.expect(200);
    assert_eq!(class_of(&head), "GLACIER");
    calendar.send(client.object("GET", &bucket, "source/1.jpg")).await.expect_error(403, "InvalidObjectState");
    calendar.send(client.object("GET", &bucket, "thumbnails/1.jpg")).await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn deleted_objects_can_be_recovered_at_once_then_within_48_hours_for_a_year() {
    let mut calendar = Calendar::start();
    let client = calendar.cairn.client();
    let bucket = versioned(&client, "deleted").await;
    let put = client.put(&bucket, "report", body(1, LARGE)).await.expect(200);
    let version = put.header("x-amz-version-id").unwrap().to_owned();
    client.delete(&bucket, "report").await.expect(204);
    put_rules(&client, &bucket, &rules_of_deleted_objects()).send().await.expect(200);
    let of_version = |method: &str| client.object(method, &bucket, "report").query("versionId", &version);

    if let Err(reason) = calendar.pass(1, &[&bucket]) {
        skip!("{reason}");
    }
    assert_eq!(class_of(&calendar.send(of_version("HEAD")).await.expect(200)), "STANDARD_IA");
    assert_eq!(calendar.send(of_version("GET")).await.expect(200).body, body(1, LARGE));
    calendar.pass(15, &[&bucket]).unwrap();
    assert_eq!(class_of(&calendar.send(of_version("HEAD")).await.expect(200)), "DEEP_ARCHIVE");
    calendar.send(of_version("GET")).await.expect_error(403, "InvalidObjectState");
    calendar.pass(340, &[&bucket]).unwrap();
    let bulk = "<RestoreRequest><Days>3</Days><Tier>Bulk</Tier></RestoreRequest>";
    calendar.send(of_version("POST").query("restore", "").body(bulk)).await.expect(202);
    calendar.pass(2, &[&bucket]).unwrap();
    assert_eq!(calendar.send(of_version("GET")).await.expect(200).body, body(1, LARGE));
    calendar.pass(10, &[&bucket]).unwrap();
    calendar.send(of_version("HEAD")).await.expect(404);
    // The delete marker hides nothing any more, and goes with the next sweep.
    calendar.pass(1, &[&bucket]).unwrap();
    let left = calendar.send(client.bucket("GET", &bucket).query("versions", "")).await.expect(200);
    assert_eq!(left.xml_all("VersionId"), Vec::<String>::new());
}

#[tokio::test]
async fn images_in_days_of_a_second() {
    let mut calendar = days_of_a_second();
    let client = calendar.cairn.client();
    let bucket = client.fresh_bucket("images").await;
    put_rules(&client, &bucket, &rules_of_images()).send().await.expect(200);
    let created = calendar.now();
    client.put(&bucket, "source/1.jpg", body(1, LARGE)).await.expect(200);
    let thumbnail = client.object("PUT", &bucket, "thumbnails/1.jpg").header("x-amz-storage-class", "ONEZONE_IA");
    thumbnail.body(body(2, 5_000)).send().await.expect(200);
    pass_seconds(&mut calendar, 35).await;
    let head = |key: &str| client.object("HEAD", &bucket, key).at(calendar.now());
    until("the archiving", || head("source/1.jpg"), |reply| class_of(reply) == "GLACIER").await;
    until("the expiry", || head("thumbnails/1.jpg"), |reply| reply.status == 404).await;
    assert!(calendar.now() >= created + time::Duration::seconds(45), "too early");
    calendar.send(client.object("GET", &bucket, "source/1.jpg")).await.expect_error(403, "InvalidObjectState");
}

#[tokio::test]
async fn deleted_objects_in_days_of_a_second() {
    let mut calendar = days_of_a_second();
    let client = calendar.cairn.client();
    let bucket = versioned(&client, "deleted").await;
    put_rules(&client, &bucket, &rules_of_deleted_objects()).send().await.expect(200);
    let put = client.put(&bucket, "report", body(1, LARGE)).await.expect(200);
    let version = put.header("x-amz-version-id").unwrap().to_owned();
    let deleted = calendar.now();
    client.delete(&bucket, "report").await.expect(204);
    let of_version = |method: &str| client.object(method, &bucket, "report").query("versionId", &version);
    let is_in = |class: &'static str| move |reply: &cairn_tests::Reply| class_of(reply) == class;

    until("the first move", || of_version("HEAD"), is_in("STANDARD_IA")).await;
    assert_eq!(of_version("GET").send().await.expect(200).body, body(1, LARGE));
    until("the archiving", || of_version("HEAD"), is_in("DEEP_ARCHIVE")).await;
    assert!(calendar.now() >= deleted + time::Duration::seconds(15), "too early");
    of_version("GET").send().await.expect_error(403, "InvalidObjectState");

    // A restore may take two of these days; what it brings back ends with the year at the latest.
    if let Err(reason) = calendar.pass_time(time::Duration::seconds(300), &[]) {
        skip!("{reason}");
    }
    let bulk = "<Days>60</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>";
    calendar.send(restore(&client, &bucket, "report", bulk).query("versionId", &version)).await.expect(202);
    calendar.send(of_version("GET")).await.expect_error(403, "InvalidObjectState");
    let got = || of_version("GET").at(calendar.now());
    let got = until("the restore", got, |reply| reply.status == 200).await;
    assert_eq!(got.body, body(1, LARGE));
    calendar.pass_time(time::Duration::seconds(40), &[]).unwrap();
    let head = || of_version("HEAD").at(calendar.now());
    until("the end", head, |reply| reply.status == 404).await;
    assert!(calendar.now() >= deleted + time::Duration::seconds(365), "too early");
    let versions = || client.bucket("GET", &bucket).query("versions", "").at(calendar.now());
    until("the end of its delete marker", versions, |reply| reply.xml_all("VersionId").is_empty()).await;
}
