//! Locks and the wall clock of the machine: jumps of years across restarts, through the real binary.

#![allow(clippy::unwrap_used)]

use cairn_tests::{Cairn, Config, digest, skip};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const YEARS_DAYS: i64 = 10 * 365;

async fn put_retained(cairn: &Cairn, days: i64) -> String {
    let client = cairn.client();
    let create = client.bucket("PUT", "locked").header("x-amz-bucket-object-lock-enabled", "true");
    create.send().await.expect(200);
    let until = (OffsetDateTime::now_utc() + Duration::days(days)).format(&Rfc3339).unwrap();
    let put = client.object("PUT", "locked", "key").header("x-amz-object-lock-mode", "COMPLIANCE");
    let put = put.header("x-amz-object-lock-retain-until-date", &until);
    let put = put.header("x-amz-checksum-crc32", &digest::checksum("CRC32", b"kept")).body("kept");
    put.send().await.expect(200).header("x-amz-version-id").unwrap().to_owned()
}

fn held(cairn: &Cairn) -> bool {
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    metrics.lines().any(|line| line == "cairn_lock_clock_held 1")
}

/// The alarm is sampled now and then.
async fn expect_alarm(cairn: &Cairn, expected: bool) {
    for _ in 0..100 {
        if held(cairn) == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(held(cairn), expected);
    let (status, text) = cairn.ops_get("/health/ready").unwrap();
    assert_eq!((status, text.contains("wall clock")), (200, expected), "{text}");
    assert_eq!(cairn.log().contains("wall clock is too far ahead"), expected);
}

#[tokio::test]
async fn a_wall_clock_that_is_years_off_at_a_start_releases_no_lock() {
    for (days, alarm) in [(YEARS_DAYS, true), (-YEARS_DAYS, false)] {
        let mut cairn = Cairn::start(Config::default());
        let version = put_retained(&cairn, 5).await;
        if let Err(reason) = cairn.set_wall_clock(days) {
            skip!("{reason}");
        }
        cairn.restart();
        expect_alarm(&cairn, alarm).await;
        let client = cairn.client();
        let now = OffsetDateTime::now_utc() + Duration::days(days);
        let remove = client.object("DELETE", "locked", "key").query("versionId", &version);
        let remove = remove.header("x-amz-bypass-governance-retention", "true");
        remove.at(now).send().await.expect_error(403, "AccessDenied");
        // Right again: no alarm, and the version is as it was.
        cairn.set_wall_clock(0).unwrap();
        cairn.restart();
        assert!(!held(&cairn));
        let got = client.object("GET", "locked", "key").query("versionId", &version).send().await.expect(200);
        assert_eq!(got.text(), "kept");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_a_lock_time_to_go_on_from() {
    let mut cairn = Cairn::start(Config::default());
    let version = put_retained(&cairn, 5).await;
    if let Err(reason) = cairn.set_wall_clock(YEARS_DAYS) {
        skip!("{reason}");
    }
    cairn.kill9();
    cairn.start_again();
    expect_alarm(&cairn, true).await;
    let now = OffsetDateTime::now_utc() + Duration::days(YEARS_DAYS);
    let remove = cairn.client().object("DELETE", "locked", "key").query("versionId", &version);
    remove.at(now).send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn a_server_without_object_lock_raises_no_alarm() {
    let mut cairn = Cairn::start(Config::default());
    cairn.client().bucket("PUT", "plain").send().await.expect(200);
    if let Err(reason) = cairn.set_wall_clock(YEARS_DAYS) {
        skip!("{reason}");
    }
    cairn.restart();
    expect_alarm(&cairn, false).await;
}

#[tokio::test]
async fn a_data_directory_with_locked_versions_is_found_whole() {
    let mut cairn = Cairn::start(Config::default());
    put_retained(&cairn, 5).await;
    cairn.client().bucket("DELETE", "locked").send().await.expect_error(409, "BucketNotEmpty");
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}
