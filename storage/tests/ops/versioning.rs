//! Enabled and suspended versioning, `null` versions and delete markers. There is no API for them yet; the rows are.

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::index::family::bucket::Versioning::{Enabled, Suspended};
use cairn_storage::ops::{Bucket, ReturnedVersion, VersionSelector};

use crate::rig::{FILE_BYTES, Rig, bytes};

/// A bucket in the given state; the key's content tells its version.
async fn rig_with(versioning: cairn_storage::index::family::bucket::Versioning) -> (Rig, Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, versioning).await;
    (rig, bucket)
}

fn id_of(outcome: cairn_storage::ops::DeleteOutcome) -> VersionSelector {
    match outcome.version.unwrap() {
        ReturnedVersion::Null => VersionSelector::Null,
        ReturnedVersion::Id(id) => VersionSelector::Id(id),
    }
}

async fn version_rows(rig: &Rig, bucket: &Bucket) -> [usize; 3] {
    let mut rows = [0; 3];
    for (count, family) in rows.iter_mut().zip([Family::Current, Family::Hidden, Family::Version]) {
        *count = rig.rows(bucket.id, family).await;
    }
    rows
}

#[tokio::test]
async fn every_version_stays_readable_when_enabled() {
    let (rig, bucket) = rig_with(Enabled).await;
    let mut versions = Vec::new();
    for seed in 1..=3 {
        let object = rig.put(&bucket, "key", &bytes(seed, FILE_BYTES)).await;
        assert!(!object.is_null);
        versions.push(object.version_id);
    }
    assert!(versions.is_sorted());
    for (seed, id) in (1..).zip(versions) {
        let got = rig.get_version(&bucket, "key", VersionSelector::Id(id)).await.unwrap();
        assert_eq!(got, bytes(seed, FILE_BYTES));
    }
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(3, FILE_BYTES));
    assert_eq!(rig.usage(&bucket).await, [1, 3, 3 * FILE_BYTES as i64]);
    assert_eq!(version_rows(&rig, &bucket).await, [1, 0, 2]);
}

#[tokio::test]
async fn versions_are_ordered_by_history_even_if_the_clock_jumps_back() {
    let (rig, bucket) = rig_with(Enabled).await;
    rig.put(&bucket, "key", b"old").await;
    rig.clock.jump_ms(-1_000_000);
    let middle = rig.put(&bucket, "key", b"middle").await;
    let newest = rig.put(&bucket, "key", b"newest").await;
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"newest");
    rig.delete_version(&bucket, "key", VersionSelector::Id(newest.version_id)).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"middle");
    rig.delete_version(&bucket, "key", VersionSelector::Id(middle.version_id)).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"old");
}

#[tokio::test]
async fn a_delete_hides_the_key_and_frees_nothing() {
    let (rig, bucket) = rig_with(Enabled).await;
    let object = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let outcome = rig.delete(&bucket, "key").await;
    assert!(outcome.delete_marker);
    let hidden = rig.get(&bucket, "key").await;
    let Err(StorageError::NoSuchKey { delete_marker: Some(marker) }) = hidden else { panic!("{hidden:?}") };
    assert_eq!(outcome.version, Some(marker));
    let ReturnedVersion::Id(id) = marker else { panic!("{marker:?}") };
    let named = rig.get_version(&bucket, "key", VersionSelector::Id(id)).await;
    assert!(matches!(named, Err(StorageError::IsDeleteMarker(shown)) if shown == marker));
    rig.collect_all().await;
    let old = rig.get_version(&bucket, "key", VersionSelector::Id(object.version_id)).await.unwrap();
    assert_eq!(old, bytes(1, FILE_BYTES));
    assert_eq!(rig.usage(&bucket).await, [0, 1, FILE_BYTES as i64]);
    assert_eq!(version_rows(&rig, &bucket).await, [0, 1, 1]);
}

#[tokio::test]
async fn deleting_a_key_that_never_was_makes_a_delete_marker() {
    let (rig, bucket) = rig_with(Enabled).await;
    let outcome = rig.delete(&bucket, "key").await;
    assert!(outcome.delete_marker);
    assert_eq!(version_rows(&rig, &bucket).await, [0, 1, 0]);
    let gone = rig.delete_version(&bucket, "key", id_of(outcome)).await.unwrap();
    assert_eq!(gone, outcome);
    assert_eq!(version_rows(&rig, &bucket).await, [0, 0, 0]);
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
}

#[tokio::test]
async fn removing_the_delete_marker_uncovers_the_object() {
    let (rig, bucket) = rig_with(Enabled).await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let marker = rig.delete(&bucket, "key").await;
    let second = rig.delete(&bucket, "key").await;
    rig.delete_version(&bucket, "key", id_of(second)).await.unwrap();
    assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::NoSuchKey { delete_marker: Some(_) })));
    rig.delete_version(&bucket, "key", id_of(marker)).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, FILE_BYTES));
    assert_eq!(rig.usage(&bucket).await, [1, 1, FILE_BYTES as i64]);
    assert_eq!(version_rows(&rig, &bucket).await, [1, 0, 0]);
}

#[tokio::test]
async fn removing_any_version_frees_only_its_content() {
    for gone in 0..3 {
        let (rig, bucket) = rig_with(Enabled).await;
        let mut versions = Vec::new();
        for seed in 0..3 {
            versions.push(rig.put(&bucket, "key", &bytes(seed, FILE_BYTES)).await.version_id);
        }
        let removed = VersionSelector::Id(versions[gone]);
        rig.delete_version(&bucket, "key", removed).await.unwrap();
        rig.collect_all().await;
        assert!(matches!(rig.get_version(&bucket, "key", removed).await, Err(StorageError::NoSuchVersion)));
        assert_eq!(rig.files().len(), 2);
        assert_eq!(rig.usage(&bucket).await, [1, 2, 2 * FILE_BYTES as i64]);
        let newest = if gone == 2 { 1 } else { 2 };
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(newest, FILE_BYTES));
        let again = rig.delete_version(&bucket, "key", removed).await.unwrap();
        assert!(!again.delete_marker);
        assert_eq!(rig.usage(&bucket).await, [1, 2, 2 * FILE_BYTES as i64]);
    }
}

#[tokio::test]
async fn what_was_put_before_versioning_becomes_the_null_version() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"null").await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    rig.put(&bucket, "key", b"one").await;
    rig.put(&bucket, "key", b"two").await;
    assert_eq!(rig.get_version(&bucket, "key", VersionSelector::Null).await.unwrap(), b"null");
    let outcome = rig.delete_version(&bucket, "key", VersionSelector::Null).await.unwrap();
    assert_eq!(outcome.version, Some(ReturnedVersion::Null));
    let gone = rig.get_version(&bucket, "key", VersionSelector::Null).await;
    assert!(matches!(gone, Err(StorageError::NoSuchVersion)));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"two");
    assert_eq!(rig.usage(&bucket).await, [1, 2, 6]);
}

#[tokio::test]
async fn suspended_puts_replace_the_null_version_wherever_it_is() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    let kept = rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await;
    let bucket = rig.set_versioning(&bucket, Suspended).await;
    // The null version lies below the head, then it is the head.
    for seed in 3..5 {
        assert!(rig.put(&bucket, "key", &bytes(seed, FILE_BYTES)).await.is_null);
        rig.collect_all().await;
        assert_eq!(rig.get_version(&bucket, "key", VersionSelector::Null).await.unwrap(), bytes(seed, FILE_BYTES));
        let old = rig.get_version(&bucket, "key", VersionSelector::Id(kept.version_id)).await.unwrap();
        assert_eq!(old, bytes(2, FILE_BYTES));
        assert_eq!(rig.files().len(), 2);
        assert_eq!(rig.usage(&bucket).await, [1, 2, 2 * FILE_BYTES as i64]);
    }
}

#[tokio::test]
async fn a_suspended_delete_replaces_the_null_version_by_a_null_marker() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await;
    let bucket = rig.set_versioning(&bucket, Suspended).await;
    for _ in 0..2 {
        let outcome = rig.delete(&bucket, "key").await;
        assert_eq!(outcome.version, Some(ReturnedVersion::Null));
        rig.collect_all().await;
        assert_eq!(rig.files().len(), 1);
        assert_eq!(version_rows(&rig, &bucket).await, [0, 1, 1]);
        let null = rig.get_version(&bucket, "key", VersionSelector::Null).await;
        assert!(matches!(null, Err(StorageError::IsDeleteMarker(_))));
    }
    rig.delete_version(&bucket, "key", VersionSelector::Null).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(2, FILE_BYTES));
}

#[tokio::test]
async fn the_null_version_is_found_again_after_the_versions_above_it_are_gone() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"null").await;
    let bucket = rig.set_versioning(&bucket, Enabled).await;
    let one = rig.put(&bucket, "key", b"one").await;
    let marker = rig.delete(&bucket, "key").await;
    rig.delete_version(&bucket, "key", VersionSelector::Id(one.version_id)).await.unwrap();
    assert_eq!(rig.get_version(&bucket, "key", VersionSelector::Null).await.unwrap(), b"null");
    rig.delete_version(&bucket, "key", id_of(marker)).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"null");
    let bucket = rig.set_versioning(&bucket, Suspended).await;
    rig.put(&bucket, "key", b"new null").await;
    assert_eq!(version_rows(&rig, &bucket).await, [1, 0, 0]);
    assert_eq!(rig.usage(&bucket).await, [1, 1, 8]);
}

#[tokio::test]
async fn a_versioned_multipart_object_is_freed_with_its_version() {
    let (rig, bucket) = rig_with(Enabled).await;
    let upload = rig.create_upload(&bucket, "key").await;
    let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
    let object = rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    rig.put(&bucket, "key", b"newer").await;
    let old = VersionSelector::Id(object.version_id);
    assert_eq!(rig.get_version(&bucket, "key", old).await.unwrap(), bytes(1, FILE_BYTES));
    rig.delete_version(&bucket, "key", old).await.unwrap();
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.content_rows(&bucket).await, 1);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"newer");
}

#[tokio::test]
async fn a_bucket_looked_up_before_versioning_was_enabled_keeps_the_versions() {
    let rig = Rig::new();
    let stale = rig.create_bucket("bucket").await;
    rig.put(&stale, "key", b"null").await;
    let bucket = rig.set_versioning(&stale, Enabled).await;
    rig.put(&stale, "key", b"one").await;
    let outcome = rig.delete(&stale, "key").await;
    assert!(outcome.delete_marker);
    assert_eq!(version_rows(&rig, &bucket).await, [0, 1, 2]);
    assert_eq!(rig.get_version(&bucket, "key", VersionSelector::Null).await.unwrap(), b"null");
}
