//! A restore to a point in time beside whatever else happens in the bucket.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::clock::Clock as _;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::family::restore::{RestoreRecord, RestoreState};
use cairn_storage::jobs::restore::Restorer;
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::{Bucket, ListVersions, NewRestore, VersionSelector};

use super::{Racer, all, explore, racer};
use crate::restore::{check_store, small, to};
use crate::rig::{FILE_BYTES, Rig, bytes};

/// A bucket in which two keys hold other objects than they did at the time that is returned; and the id of one key's then.
async fn with_a_past() -> (Arc<Rig>, Bucket, NewRestore, VersionSelector) {
    let rig = Arc::new(Rig::new());
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    let then = rig.put(&bucket, "a", &bytes(1, FILE_BYTES)).await;
    rig.put(&bucket, "b", b"then").await;
    let time = rig.clock.now();
    rig.clock.advance_ms(1_000);
    rig.put(&bucket, "a", b"now").await;
    rig.put(&bucket, "b", b"now").await;
    (rig, bucket, to(time), VersionSelector::Id(then.version_id))
}

/// Runs the restore to its end, a page at a time.
fn runner(rig: &Arc<Rig>, bucket: &Bucket, limits: RestoreLimits) -> Racer<()> {
    racer(rig, bucket, move |rig, _| async move { while rig.run_due(&Restorer { limits }).await > 0 {} })
}

async fn record(rig: &Rig, bucket: &Bucket) -> RestoreRecord {
    rig.store.restore(bucket).await.unwrap().unwrap()
}

async fn versions_count(rig: &Rig, bucket: &Bucket) -> u64 {
    let list = ListVersions { max_keys: 1_000, ..ListVersions::default() };
    rig.store.list_versions(bucket, list).await.unwrap().entries.len() as u64
}

#[test]
fn a_write_during_a_restore_is_kept_and_so_is_what_is_restored() {
    explore(|| async {
        let (rig, bucket, new, _) = with_a_past().await;
        rig.store.start_restore(&bucket, new).await.unwrap();
        let put = racer(&rig, &bucket, |rig, bucket| async move { drop(rig.put(&bucket, "b", b"meanwhile").await) });
        all(vec![runner(&rig, &bucket, RestoreLimits::default()), put]).await;
        let record = record(&rig, &bucket).await;
        assert_eq!((record.state, record.counts.restored), (RestoreState::Done, 2));
        assert_eq!(versions_count(&rig, &bucket).await, 4 + 1 + 2);
        let newest = rig.get(&bucket, "b").await.unwrap();
        assert!(newest == b"then" || newest == b"meanwhile");
        assert_eq!(rig.get(&bucket, "a").await.unwrap(), bytes(1, FILE_BYTES));
        check_store(&rig).await;
    });
}

#[test]
fn a_content_that_a_restore_shares_survives_the_removal_of_its_version() {
    explore(|| async {
        let (rig, bucket, new, then) = with_a_past().await;
        rig.store.start_restore(&bucket, new).await.unwrap();
        let remove = racer(&rig, &bucket, move |rig, bucket| async move {
            rig.delete_version(&bucket, "a", then).await.unwrap();
        });
        all(vec![runner(&rig, &bucket, RestoreLimits::default()), remove]).await;
        match rig.get(&bucket, "a").await {
            Ok(got) => assert_eq!(got, bytes(1, FILE_BYTES)),
            // It went first: as far as anybody can tell, the key did not exist then.
            Err(StorageError::NoSuchKey { delete_marker: Some(_) }) => {}
            Err(error) => panic!("{error}"),
        }
        check_store(&rig).await;
    });
}

#[test]
fn a_cancelled_restore_has_done_what_it_says_and_does_no_more() {
    explore(|| async {
        let (rig, bucket, new, _) = with_a_past().await;
        rig.store.start_restore(&bucket, new).await.unwrap();
        let cancel = racer(&rig, &bucket, |rig, bucket| async move {
            rig.store.cancel_restore(&bucket).await.unwrap();
        });
        all(vec![runner(&rig, &bucket, small()), cancel]).await;
        let record = record(&rig, &bucket).await;
        assert!(matches!(record.state, RestoreState::Cancelled | RestoreState::Done));
        assert_eq!(versions_count(&rig, &bucket).await, 4 + record.counts.restored);
    });
}

#[test]
fn of_two_restores_begun_at_once_one_runs() {
    explore(|| async {
        let (rig, bucket, new, _) = with_a_past().await;
        let start = |prefix: &str| {
            let new = NewRestore { prefix: prefix.to_owned(), ..new.clone() };
            racer(&rig, &bucket, move |rig, bucket| async move { rig.store.start_restore(&bucket, new).await.is_ok() })
        };
        let begun = all(vec![start("a"), start("b")]).await;
        assert_eq!(begun.iter().filter(|begun| **begun).count(), 1);
        assert_eq!(rig.tasks(bucket.id.into(), Queue::Restore).await.len(), 1);
        all(vec![runner(&rig, &bucket, small())]).await;
        assert_eq!(record(&rig, &bucket).await.counts.restored, 1);
    });
}
