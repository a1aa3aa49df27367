//! Replicas against each other, against clients and against removals.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::ops::{Bucket, VersionSelector};

use super::{Racer, all, collect, explore, racer};
use crate::replicas::{place, place_marker, replica, versioned_rig};
use crate::rig::{FILE_BYTES, Rig, bytes};

async fn new_rig() -> (Arc<Rig>, Bucket) {
    let (rig, bucket) = versioned_rig().await;
    (Arc::new(rig), bucket)
}

fn arrive(rig: &Arc<Rig>, bucket: &Bucket, ms: i64) -> Racer<()> {
    racer(rig, bucket, move |rig, bucket| async move {
        place(&rig, &bucket, replica(ms), &bytes(1, FILE_BYTES)).await.unwrap();
    })
}

#[test]
fn one_version_that_comes_from_two_sources_is_there_once() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        all(vec![arrive(&rig, &bucket, -5), arrive(&rig, &bucket, -5), arrive(&rig, &bucket, -6)]).await;
        collect(&rig, 2).await;
        assert_eq!(rig.usage(&bucket).await, [1, 2, 2 * i64::try_from(FILE_BYTES).unwrap()]);
        assert_eq!(rig.rows(bucket.id, Family::Content).await, 2);
        assert_eq!(rig.newest_id(&bucket, "key").await, replica(-5).version_id);
    });
}

#[test]
fn replicas_and_a_client_end_in_the_order_of_their_ids() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let put = racer(&rig, &bucket, |rig, bucket| async move {
            rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await;
        });
        let marker = racer(&rig, &bucket, |rig, bucket| async move {
            place_marker(&rig, &bucket, replica(-7)).await.unwrap();
        });
        all(vec![put, marker, arrive(&rig, &bucket, -5)]).await;
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(2, FILE_BYTES));
        assert_eq!((rig.rows(bucket.id, Family::Version).await, rig.usage(&bucket).await[1]), (2, 2));
    });
}

#[test]
fn a_removal_of_the_head_uncovers_the_newest_that_has_arrived() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let head = rig.put(&bucket, "key", b"head").await.version_id;
        place(&rig, &bucket, replica(-9), b"old").await.unwrap();
        let remove = racer(&rig, &bucket, move |rig, bucket| async move {
            match rig.delete_version(&bucket, "key", VersionSelector::Id(head)).await {
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        });
        all(vec![remove, arrive(&rig, &bucket, -5)]).await;
        assert_eq!(rig.newest_id(&bucket, "key").await, replica(-5).version_id);
        assert_eq!((rig.rows(bucket.id, Family::Version).await, rig.usage(&bucket).await[1]), (1, 2));
    });
}

#[test]
fn a_replica_never_revives_a_bucket_that_is_deleted() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let arrival = racer(&rig, &bucket, |rig, bucket| async move {
            match place(&rig, &bucket, replica(-5), &bytes(1, FILE_BYTES)).await {
                Ok(_) => true,
                Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => false,
                Err(error) => panic!("{error}"),
            }
        });
        let delete = racer(&rig, &bucket, |rig, bucket| async move {
            match rig.store.delete_bucket(&bucket).await {
                Ok(()) => true,
                Err(StorageError::BucketNotEmpty) => false,
                Err(error) => panic!("{error}"),
            }
        });
        let done = all(vec![arrival, delete]).await;
        assert_ne!(done[0], done[1]);
    });
}
