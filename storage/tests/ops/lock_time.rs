//! Lock time over the whole store: wall clocks that jump by years, in both directions, across restarts.

use cairn_storage::StorageError;
use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::lock_clock::AHEAD_MS_MAX;
use cairn_storage::ops::{Bucket, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode};

use crate::rig::{Rig, START};

const HOUR_MS: u32 = 60 * 60 * 1_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS as i64;

/// A version that is kept for ten hours from `START`.
async fn rig_with_version() -> (Rig, Bucket, VersionSelector) {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let until = START.plus_ms(10 * i64::from(HOUR_MS));
    let retention = Some(Retention { mode: RetentionMode::Compliance, until });
    let settings = ObjectSettings { retention, ..ObjectSettings::default() };
    let object = rig.put_locked(&bucket, "key", b"kept", settings).await.unwrap();
    (rig, bucket, VersionSelector::Id(object.version_id))
}

async fn assert_kept(rig: &Rig, bucket: &Bucket, version: VersionSelector) {
    let refused = rig.delete_version(bucket, "key", version).await;
    assert!(matches!(refused, Err(StorageError::Locked(_))), "{refused:?}");
}

/// What the next boot of the machine finds, its wall clock `jump_ms` from where it should be.
async fn reboot(rig: Rig, jump_ms: i64, seed: u64) -> Rig {
    rig.clock.jump_ms(jump_ms);
    rig.clock.reboot();
    rig.restart(seed).await
}

fn lock_time(rig: &Rig) -> Timestamp {
    rig.store.lock_clock().status().lock_time
}

#[tokio::test]
async fn a_jump_of_years_while_it_runs_releases_nothing_and_delays_nothing() {
    for jump_ms in [10 * YEAR_MS, -10 * YEAR_MS] {
        let (rig, bucket, version) = rig_with_version().await;
        rig.clock.jump_ms(jump_ms);
        assert_kept(&rig, &bucket, version).await;
        assert_eq!(rig.store.lock_clock().status().held, jump_ms > 0);
        rig.clock.advance_ms(10 * HOUR_MS);
        rig.delete_version(&bucket, "key", version).await.unwrap();
    }
}

#[tokio::test]
async fn a_jump_of_years_across_restarts_releases_nothing() {
    for jump_ms in [10 * YEAR_MS, -10 * YEAR_MS] {
        let (mut rig, bucket, version) = rig_with_version().await;
        rig = reboot(rig, jump_ms, 2).await;
        assert_eq!((lock_time(&rig), rig.store.lock_clock().status().held), (START, jump_ms > 0));
        assert_kept(&rig, &bucket, version).await;
        // The alarm survives the process, and so does the time that passes meanwhile.
        rig.clock.advance_ms(9 * HOUR_MS);
        rig.store.keep_lock_time().await.unwrap();
        rig = reboot(rig, 0, 3).await;
        assert_eq!(rig.store.lock_clock().status().held, jump_ms > 0);
        assert_kept(&rig, &bucket, version).await;
        rig.clock.advance_ms(HOUR_MS);
        rig.delete_version(&bucket, "key", version).await.unwrap();
    }
}

#[tokio::test]
async fn time_spent_switched_off_counts_up_to_a_day() {
    let (rig, bucket, version) = rig_with_version().await;
    let rig = reboot(rig, AHEAD_MS_MAX, 2).await;
    assert!(!rig.store.lock_clock().status().held);
    rig.delete_version(&bucket, "key", version).await.unwrap();
}

#[tokio::test]
async fn longer_than_a_day_switched_off_counts_once_an_operator_accepts_it() {
    let (rig, bucket, version) = rig_with_version().await;
    let rig = reboot(rig, AHEAD_MS_MAX + 1, 2).await;
    assert_kept(&rig, &bucket, version).await;
    let status = rig.store.accept_wall_clock().await.unwrap();
    assert_eq!((status.lock_time, status.held), (rig.clock.now(), false));
    // Accepted for good, also if the process ends at once and the wall clock goes back.
    let rig = reboot(rig, -YEAR_MS, 3).await;
    assert_eq!(lock_time(&rig), START.plus_ms(AHEAD_MS_MAX + 1));
    rig.delete_version(&bucket, "key", version).await.unwrap();
}

#[tokio::test]
async fn accepting_a_wall_clock_that_is_behind_changes_nothing() {
    let (rig, bucket, version) = rig_with_version().await;
    rig.clock.jump_ms(-YEAR_MS);
    assert_eq!(rig.store.accept_wall_clock().await.unwrap().lock_time, START);
    assert_kept(&rig, &bucket, version).await;
}

#[tokio::test]
async fn what_an_older_minute_keeps_never_replaces_what_was_accepted() {
    let (rig, ..) = rig_with_version().await;
    rig.clock.jump_ms(YEAR_MS);
    rig.store.accept_wall_clock().await.unwrap();
    rig.store.keep_lock_time().await.unwrap();
    let rig = reboot(rig, -YEAR_MS, 2).await;
    assert_eq!(lock_time(&rig), START.plus_ms(YEAR_MS));
}

#[tokio::test]
async fn a_default_retention_is_as_long_as_it_says_whatever_the_wall_clock_says() {
    use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod};
    let (rig, bucket, _) = rig_with_version().await;
    let default = DefaultRetention { mode: RetentionMode::Compliance, period: RetentionPeriod::Days(1) };
    rig.store.set_object_lock(&bucket, Some(default)).await.unwrap();
    for jump_ms in [5 * YEAR_MS, -10 * YEAR_MS] {
        rig.clock.jump_ms(jump_ms);
        let object = rig.put(&bucket, "other", b"x").await;
        assert_eq!(object.settings.retention.unwrap().until, START.plus_ms(AHEAD_MS_MAX));
    }
}

#[tokio::test]
async fn without_object_lock_nothing_is_kept_and_no_alarm_is_raised() {
    let rig = Rig::new();
    rig.create_bucket("bucket").await;
    rig.store.keep_lock_time().await.unwrap();
    let rig = reboot(rig, 10 * YEAR_MS, 2).await;
    assert!(!rig.store.lock_clock().status().held);
    let rows = rig.rows(cairn_storage::index::Partition::SYSTEM, cairn_storage::index::Family::Document).await;
    assert_eq!(rows, 0);
}
