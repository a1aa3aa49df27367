//! Locks against removals of the same version.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::clock::Clock as _;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::{Family, Partition, View};
use cairn_storage::lock_clock::LockTimeRecord;
use cairn_storage::ops::{Bucket, Governance, VersionSelector};
use cairn_storage::record::Record as _;
use cairn_storage::settings::{Retention, RetentionMode};

use super::{Racer, all, explore, racer};
use crate::rig::{FILE_BYTES, Rig, bytes};

async fn lock_rig() -> (Arc<Rig>, Bucket, VersionId) {
    let rig = Arc::new(Rig::new());
    let bucket = rig.create_lock_bucket("bucket").await;
    let old = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await.version_id;
    (rig, bucket, old)
}

/// True: it was removed.
fn remove(rig: &Arc<Rig>, bucket: &Bucket, id: VersionId) -> Racer<bool> {
    racer(rig, bucket, move |rig, bucket| async move {
        let version = VersionSelector::Id(id);
        match rig.delete_version_as(&bucket, "key", version, Governance::Bypassed).await {
            Ok(_) => true,
            Err(StorageError::Locked(_)) => false,
            Err(error) => panic!("{error}"),
        }
    })
}

/// Of a lock and a removal one is acknowledged, and what was acknowledged holds.
async fn check(rig: &Rig, bucket: &Bucket, id: VersionId, locked: bool, removed: bool) {
    assert_ne!(locked, removed);
    rig.collect_all().await;
    let got = rig.get_version(bucket, "key", VersionSelector::Id(id)).await;
    assert_eq!(got.is_ok_and(|got| got == bytes(1, FILE_BYTES)), locked);
}

fn acknowledged<T: std::fmt::Debug>(result: Result<T, StorageError>) -> bool {
    match result {
        Ok(_) => true,
        Err(StorageError::NoSuchVersion) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_version_is_removed_or_held_and_never_both() {
    explore(|| async {
        let (rig, bucket, id) = lock_rig().await;
        let hold = racer(&rig, &bucket, move |rig, bucket| async move {
            acknowledged(rig.set_legal_hold(&bucket, "key", VersionSelector::Id(id), true).await)
        });
        let done = all(vec![hold, remove(&rig, &bucket, id)]).await;
        check(&rig, &bucket, id, done[0], done[1]).await;
    });
}

#[test]
fn an_older_version_is_removed_or_retained_and_never_both() {
    explore(|| async {
        let (rig, bucket, id) = lock_rig().await;
        rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await;
        let retain = racer(&rig, &bucket, move |rig, bucket| async move {
            let until = rig.clock.now().plus_ms(1_000_000_000);
            let retention = Some(Retention { mode: RetentionMode::Compliance, until });
            let version = VersionSelector::Id(id);
            acknowledged(rig.set_retention(&bucket, "key", version, retention, Governance::Heeded).await)
        });
        let done = all(vec![retain, remove(&rig, &bucket, id)]).await;
        check(&rig, &bucket, id, done[0], done[1]).await;
    });
}

#[test]
fn a_version_put_after_a_default_retention_was_acknowledged_has_it() {
    explore(|| async {
        let (rig, bucket, _) = lock_rig().await;
        let default = DefaultRetention { mode: RetentionMode::Compliance, period: RetentionPeriod::Days(1) };
        let set = racer(&rig, &bucket, move |rig, bucket| async move {
            rig.store.set_object_lock(&bucket, Some(default)).await.unwrap();
            // A handle that was looked up before.
            rig.put(&bucket, "after", b"x").await.settings.retention.is_some()
        });
        let put = racer(&rig, &bucket, |rig, bucket| async move {
            rig.put(&bucket, "meanwhile", b"x").await;
            true
        });
        assert_eq!(all(vec![set, put]).await, [true, true]);
    });
}

#[test]
fn an_accepted_time_is_kept_whatever_else_keeps_the_time() {
    explore(|| async {
        let (rig, bucket, _) = lock_rig().await;
        rig.clock.advance_ms(60_000);
        rig.clock.jump_ms(100_000_000_000);
        let accepted = rig.clock.now();
        let keep = || racer(&rig, &bucket, |rig, _| async move { rig.store.keep_lock_time().await.unwrap() });
        let accept = racer(&rig, &bucket, |rig, _| async move {
            rig.store.accept_wall_clock().await.unwrap();
        });
        all(vec![keep(), accept, keep()]).await;
        let key = DocumentKind::LockTime.key();
        let read = move |view: &dyn View| view.get(Family::Document, &key);
        let row = rig.store.index().view(Partition::SYSTEM, read).await.unwrap().unwrap();
        assert_eq!(LockTimeRecord::from_value(&row.value).unwrap().time, accepted);
        assert!(!rig.store.lock_clock().status().held);
    });
}
