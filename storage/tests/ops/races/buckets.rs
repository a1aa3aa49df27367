//! DeleteBucket against writes, and buckets against each other.

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership, Versioning};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::jobs::collect::Collector;

use super::{all, collect, explore, new_rig, racer};
use crate::rig::{FILE_BYTES, bytes};

fn is_refusal(error: &StorageError) -> bool {
    matches!(error, StorageError::NoSuchBucket | StorageError::BucketBusy)
}

#[test]
fn a_put_into_a_bucket_that_is_being_deleted_is_kept_or_refused() {
    for size in [10, FILE_BYTES] {
        explore(move || async move {
            let (rig, bucket) = new_rig().await;
            let delete = racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
            let put = racer(&rig, &bucket, move |rig, bucket| async move {
                rig.try_put(&bucket, "key", &bytes(1, size)).await.map(drop)
            });
            let results = all(vec![delete, put]).await;
            match (&results[0], &results[1]) {
                (Err(StorageError::BucketNotEmpty), Ok(())) => {
                    assert!(rig.get(&bucket, "key").await.unwrap() == bytes(1, size));
                }
                (Ok(()), Err(error)) if is_refusal(error) => {
                    for family in Family::ALL {
                        assert_eq!(rig.rows(bucket.id, family).await, 0, "{family:?}");
                    }
                    assert!(rig.files().is_empty());
                }
                results => panic!("{results:?}"),
            }
        });
    }
}

#[test]
fn an_upload_created_in_a_bucket_that_is_being_deleted_is_refused_or_ends_with_it() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let delete = racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
        let create = racer(&rig, &bucket, |rig, bucket| async move {
            let key = crate::rig::object_key("key");
            rig.store.create_upload(&bucket, &key, crate::rig::upload_of(None)).await.map(drop)
        });
        let results = all(vec![delete, create]).await;
        assert!(results[0].is_ok(), "{results:?}");
        assert!(results[1].as_ref().err().is_none_or(is_refusal), "{results:?}");
        for family in Family::ALL {
            assert_eq!(rig.rows(bucket.id, family).await, 0, "{family:?}");
        }
    });
}

#[test]
fn a_delete_marker_made_in_a_bucket_that_is_being_deleted_is_kept_or_refused() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
        let delete = racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
        let hide = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete_version(&bucket, "key", Default::default()).await.map(drop)
        });
        let results = all(vec![delete, hide]).await;
        let kept = rig.rows(bucket.id, Family::Hidden).await;
        match (&results[0], &results[1]) {
            (Err(StorageError::BucketNotEmpty), Ok(())) => assert_eq!(kept, 1),
            (Ok(()), Err(error)) if is_refusal(error) => assert_eq!(kept, 0),
            results => panic!("{results:?}"),
        }
    });
}

#[test]
fn of_two_creations_of_one_name_one_makes_the_bucket() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let create = || racer(&rig, &bucket, |rig, _| async move { rig.try_create_bucket("other").await });
        let results = all(vec![create(), create()]).await;
        let created: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(created.len(), 1, "{results:?}");
        assert_eq!(&rig.bucket("other").await.unwrap(), created[0]);
    });
}

#[test]
fn of_two_deletions_of_a_bucket_and_a_creation_anew_the_new_bucket_stays() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let delete = || {
            racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await.map(|()| false) })
        };
        let create = racer(&rig, &bucket, |rig, _| async move {
            let anew = rig.try_create_bucket("bucket").await?;
            rig.try_put(&anew, "key", b"x").await.map(|_| true)
        });
        let results = all(vec![delete(), delete(), create]).await;
        assert!(results[..2].iter().any(Result::is_ok), "{results:?}");
        assert!(results[..2].iter().flat_map(|result| result.as_ref().err()).all(is_refusal), "{results:?}");
        match &results[2] {
            Ok(_) => {
                let anew = rig.bucket("bucket").await.unwrap();
                assert_ne!(anew.id, bucket.id);
                assert_eq!(rig.get(&anew, "key").await.unwrap(), b"x");
            }
            Err(StorageError::BucketBusy | StorageError::BucketExists { .. }) => {
                assert!(matches!(rig.bucket("bucket").await, Err(StorageError::NoSuchBucket)));
            }
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn a_put_beside_two_deletions_and_a_reader_is_kept_or_refused() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let upload = rig.create_upload(&bucket, "parts").await;
        let part = rig.upload_part(&bucket, "parts", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
        rig.complete(&bucket, "parts", upload, &[part]).await.unwrap();
        let key = crate::rig::object_key("parts");
        let read = rig.store.get_object(&bucket, &key, Default::default()).await.unwrap();
        rig.delete(&bucket, "parts").await;
        let delete = || racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
        let let_go = racer(&rig, &bucket, |_, _| async move {
            for _ in 0..10 {
                shuttle::future::yield_now().await;
            }
            drop(read);
            Ok(())
        });
        let put = racer(&rig, &bucket, |rig, bucket| async move {
            rig.try_put(&bucket, "key", &bytes(2, FILE_BYTES)).await.map(drop)
        });
        let results = all(vec![put, delete(), delete(), let_go]).await;
        match &results[0] {
            Ok(()) => {
                let found = rig.bucket("bucket").await.unwrap();
                assert!(rig.get(&found, "key").await.unwrap() == bytes(2, FILE_BYTES), "{results:?}");
            }
            Err(error) => assert!(is_refusal(error), "{error}"),
        }
    });
}

#[test]
fn a_change_of_versioning_is_not_lost_to_a_deletion_that_is_given_up() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let put = racer(&rig, &bucket, |rig, bucket| async move {
            let _ = rig.try_put(&bucket, "key", b"x").await;
            Ok(())
        });
        let delete = racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
        let change =
            racer(
                &rig,
                &bucket,
                |rig, bucket| async move { rig.try_set_versioning(&bucket, Versioning::Enabled).await },
            );
        let results = all(vec![put, delete, change]).await;
        match rig.bucket("bucket").await {
            Ok(found) if results[2].is_ok() => assert_eq!(found.versioning, Versioning::Enabled),
            Ok(_) => {}
            Err(StorageError::NoSuchBucket) => assert!(results[1].is_ok()),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn a_deleted_bucket_s_contents_are_freed_whoever_collects_them() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let upload = rig.create_upload(&bucket, "key").await;
        let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
        rig.upload_part(&bucket, "key", upload, 2, &bytes(2, FILE_BYTES)).await.unwrap();
        rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
        rig.delete(&bucket, "key").await;
        let collector = racer(&rig, &bucket, |rig, _| async move {
            collect(&rig, 2).await;
            Ok(())
        });
        let delete = racer(&rig, &bucket, |rig, bucket| async move { rig.store.delete_bucket(&bucket).await });
        let results = all(vec![collector, delete]).await;
        assert!(results[1].is_ok(), "{results:?}");
        rig.collect_all().await;
        // What the collector had in hand may have left tasks in the bucket's partition; a runner knows of them.
        rig.run_partition(&Collector, bucket.id.into()).await.unwrap();
        assert!(rig.files().is_empty());
    });
}

#[test]
fn acls_are_not_switched_off_beside_a_grant_to_others() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.store.set_ownership(&bucket, ObjectOwnership::ObjectWriter, |_| Ok(())).await.unwrap();
        let switch = racer(&rig, &bucket, |rig, bucket| async move {
            let allowed = |acl: Option<&[u8]>| match acl {
                Some(_) => Err(StorageError::AclGrantsOthers),
                None => Ok(()),
            };
            rig.store.set_ownership(&bucket, ObjectOwnership::BucketOwnerEnforced, allowed).await
        });
        let grant = racer(&rig, &bucket, |rig, bucket| async move {
            let allowed = |record: &mut BucketRecord| match record.ownership {
                ObjectOwnership::BucketOwnerEnforced => Err(StorageError::AclsDisabled),
                _ => Ok(()),
            };
            let acl = Some(bytes::Bytes::from_static(b"others"));
            rig.store.set_document(&bucket, DocumentKind::Acl, acl, allowed).await
        });
        let results = all(vec![switch, grant]).await;
        match (&results[0], &results[1]) {
            (Ok(()), Err(StorageError::AclsDisabled)) | (Err(StorageError::AclGrantsOthers), Ok(())) => {}
            results => panic!("{results:?}"),
        }
    });
}
