//! Mutations of one key.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::ops::{EtagCondition, PutObject, VersionSelector, WriteConditions};

use super::{Racer, all, check_holds, explore, new_rig, racer};
use crate::rig::{FILE_BYTES, Rig, body, bytes, object_key, put_of};

fn put_racer(rig: &Arc<Rig>, bucket: &cairn_storage::ops::Bucket, seed: u64, size: usize) -> Racer<()> {
    racer(rig, bucket, move |rig, bucket| async move { drop(rig.put(&bucket, "key", &bytes(seed, size)).await) })
}

/// What the key holds, if it is what one of the seeds put.
async fn one_of(rig: &Rig, bucket: &cairn_storage::ops::Bucket, candidates: &[Vec<u8>]) -> Option<Vec<u8>> {
    match rig.get(bucket, "key").await {
        Ok(got) => {
            assert!(candidates.contains(&got), "bytes that nobody put");
            Some(got)
        }
        Err(StorageError::NoSuchKey { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn overwrites_of_one_key_free_every_content_but_the_last() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let racers = [(2, FILE_BYTES), (3, FILE_BYTES), (4, 10)];
        all(racers.map(|(seed, size)| put_racer(&rig, &bucket, seed, size)).into()).await;
        let last = one_of(&rig, &bucket, &racers.map(|(seed, size)| bytes(seed, size))).await;
        check_holds(&rig, &bucket, "key", Some(&last.unwrap())).await;
    });
}

#[test]
fn first_puts_of_one_key_leave_one_object() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        all(vec![put_racer(&rig, &bucket, 1, FILE_BYTES), put_racer(&rig, &bucket, 2, FILE_BYTES)]).await;
        let last = one_of(&rig, &bucket, &[bytes(1, FILE_BYTES), bytes(2, FILE_BYTES)]).await;
        check_holds(&rig, &bucket, "key", Some(&last.unwrap())).await;
    });
}

#[test]
fn an_overwrite_and_deletes_leave_the_new_object_or_nothing() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let delete = || {
            racer(&rig, &bucket, |rig, bucket| async move {
                rig.delete(&bucket, "key").await;
            })
        };
        all(vec![put_racer(&rig, &bucket, 2, FILE_BYTES), delete(), delete()]).await;
        let left = one_of(&rig, &bucket, &[bytes(2, FILE_BYTES)]).await;
        check_holds(&rig, &bucket, "key", left.as_deref()).await;
    });
}

#[test]
fn versions_put_at_once_are_all_kept() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let put = |seed| {
            racer(&rig, &bucket, move |rig, bucket| async move {
                (rig.put(&bucket, "key", &bytes(seed, FILE_BYTES)).await.version_id, seed)
            })
        };
        let versions = all(vec![put(1), put(2), put(3)]).await;
        for (id, seed) in versions {
            let got = rig.get_version(&bucket, "key", VersionSelector::Id(id)).await.unwrap();
            assert!(got == bytes(seed, FILE_BYTES));
        }
        assert_eq!(rig.usage(&bucket).await, [1, 3, 3 * FILE_BYTES as i64]);
    });
}

#[test]
fn a_version_is_removed_once_and_what_it_uncovers_stays() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let old = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await.version_id;
        let new = rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await.version_id;
        let remove = |id| {
            racer(&rig, &bucket, move |rig, bucket| async move {
                rig.delete_version(&bucket, "key", VersionSelector::Id(id)).await.unwrap();
            })
        };
        all(vec![remove(new), remove(new), remove(old), put_racer(&rig, &bucket, 3, FILE_BYTES)]).await;
        check_holds(&rig, &bucket, "key", Some(&bytes(3, FILE_BYTES))).await;
        assert_eq!(rig.rows(bucket.id, Family::Version).await, 0);
    });
}

#[test]
fn a_key_is_hidden_and_uncovered_with_one_head_at_any_time() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let old = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await.version_id;
        let hide = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete(&bucket, "key").await;
        });
        let remove = racer(&rig, &bucket, move |rig, bucket| async move {
            rig.delete_version(&bucket, "key", VersionSelector::Id(old)).await.unwrap();
        });
        all(vec![hide, remove, put_racer(&rig, &bucket, 2, 10)]).await;
        let heads = rig.rows(bucket.id, Family::Current).await + rig.rows(bucket.id, Family::Hidden).await;
        assert_eq!((heads, rig.rows(bucket.id, Family::Version).await), (1, 1));
        rig.collect_all().await;
        assert!(rig.files().is_empty());
    });
}

#[test]
fn the_null_version_is_replaced_and_removed_exactly() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let enabled = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let kept = rig.put(&enabled, "key", &bytes(2, 20)).await.version_id;
        let bucket = rig.set_versioning(&bucket, Versioning::Suspended).await;
        let remove = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete_version(&bucket, "key", VersionSelector::Null).await.unwrap();
        });
        all(vec![put_racer(&rig, &bucket, 3, FILE_BYTES), remove]).await;
        rig.collect_all().await;
        let null = rig.get_version(&bucket, "key", VersionSelector::Null).await;
        let versions = match null {
            Ok(got) => {
                assert!(got == bytes(3, FILE_BYTES));
                2
            }
            Err(StorageError::NoSuchVersion) => 1,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(rig.files().len(), versions - 1);
        let size = 20 + (versions - 1) * FILE_BYTES;
        assert_eq!(rig.usage(&bucket).await, [1, versions as i64, size as i64]);
        let got = rig.get_version(&bucket, "key", VersionSelector::Id(kept)).await.unwrap();
        assert!(got == bytes(2, 20));
    });
}

#[test]
fn of_several_puts_if_absent_one_wins() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let put = |seed| {
            racer(&rig, &bucket, move |rig, bucket| async move {
                let if_none_match = Some(EtagCondition::Any);
                let conditions = WriteConditions { if_none_match, ..WriteConditions::default() };
                let put = PutObject { conditions, ..put_of(body(&bytes(seed, FILE_BYTES))) };
                (rig.store.put_object(&bucket, &object_key("key"), put).await, seed)
            })
        };
        let results = all(vec![put(1), put(2), put(3)]).await;
        let winners: Vec<u64> = results.iter().filter(|(put, _)| put.is_ok()).map(|(_, seed)| *seed).collect();
        assert_eq!(winners.len(), 1);
        for (put, _) in &results {
            assert!(matches!(put, Ok(_) | Err(StorageError::PreconditionFailed { .. })), "{put:?}");
        }
        check_holds(&rig, &bucket, "key", Some(&bytes(winners[0], FILE_BYTES))).await;
    });
}
