//! A bucket's public access block against what is public and being put.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::{self, PublicAccessBlock};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::{Family, KeyRange, Revision, View};
use cairn_storage::ops::{Bucket, CreateUpload, Permit, PutObject, VersionSelector, WriteConditions};

use super::{Racer, all, explore, new_rig, racer};
use crate::rig::{Rig, body, object_key, upload_of};

/// The revisions of the bucket row, which only the block changes here, and of the one row that was put.
async fn revisions(rig: &Rig, bucket: &Bucket, family: Family) -> (Revision, Option<Revision>) {
    let page = move |view: &dyn View| {
        let block = view.get(Family::Bucket, bucket::KEY)?.map(|row| row.revision);
        let cursor = view.cursor(family, KeyRange::all())?;
        Ok((block, cursor.row().map(|(_, revision, _)| revision)))
    };
    let (block, put) = rig.store.index().view(bucket.id.into(), page).await.unwrap();
    (block.unwrap(), put)
}

/// What is public is there if it was put before the block, and else was refused.
fn check(
    family: Family,
    put: impl Fn(&Arc<Rig>, &Bucket) -> Racer<Result<(), StorageError>> + Send + Sync + Clone + 'static,
) {
    explore(move || {
        let put = put.clone();
        async move {
            let (rig, bucket) = new_rig().await;
            let block = racer(&rig, &bucket, |rig, bucket| async move {
                let change = |record: &mut bucket::BucketRecord| {
                    record.public_access_block = Some(PublicAccessBlock::ALL);
                    Ok(())
                };
                rig.store.update_bucket(&bucket, change).await
            });
            let mut done = all(vec![block, put(&rig, &bucket)]).await;
            let (blocked, there) = revisions(&rig, &bucket, family).await;
            match done.pop().unwrap() {
                Ok(()) => assert!(there.unwrap() < blocked, "public after the block"),
                Err(StorageError::PublicAccessBlocked) => assert_eq!(there, None),
                Err(error) => panic!("{error}"),
            }
            done.pop().unwrap().unwrap();
        }
    });
}

#[test]
fn a_document_that_a_block_refuses_is_put_before_it_or_not_at_all() {
    check(Family::Document, |rig, bucket| {
        racer(rig, bucket, |rig, bucket| async move {
            let change = |record: &mut bucket::BucketRecord| record.check_public(|block| block.refuse_policy);
            rig.store.set_document(&bucket, DocumentKind::Policy, Some("public".into()), change).await
        })
    });
}

#[test]
fn an_object_with_a_public_acl_is_put_before_the_block_or_not_at_all() {
    check(Family::Current, |rig, bucket| {
        racer(rig, bucket, |rig, bucket| async move {
            let conditions = WriteConditions { if_public_acls: true, ..WriteConditions::default() };
            let put = PutObject { conditions, ..rig.put_of(body(b"x")) };
            rig.store.put_object(&bucket, &object_key("key"), put).await.map(drop)
        })
    });
}

#[test]
fn an_upload_with_a_public_acl_is_created_before_the_block_or_not_at_all() {
    check(Family::Upload, |rig, bucket| {
        racer(rig, bucket, |rig, bucket| async move {
            let create = CreateUpload { acl_is_public: true, sealing: rig.sealing(), ..upload_of(None) };
            rig.store.create_upload(&bucket, &object_key("key"), create).await.map(drop)
        })
    });
}

#[test]
fn a_public_acl_is_set_on_an_object_before_the_block_or_not_at_all() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", b"x").await;
        let block = racer(&rig, &bucket, |rig, bucket| async move {
            let change = |record: &mut bucket::BucketRecord| {
                record.public_access_block = Some(PublicAccessBlock::ALL);
                Ok(())
            };
            rig.store.update_bucket(&bucket, change).await
        });
        let set = racer(&rig, &bucket, |rig, bucket| async move {
            let (key, newest, anybody) = (object_key("key"), VersionSelector::Newest, Permit::any());
            let set = rig.store.update_version(&bucket, &key, newest, &anybody, |record, object| {
                record.check_public(|block| block.refuse_acls)?;
                let mut settings = object.settings.clone();
                settings.acl = Some(b"public".to_vec().into());
                Ok(settings)
            });
            set.await.map(drop)
        });
        let done = all(vec![block, set]).await;
        let (blocked, there) = revisions(&rig, &bucket, Family::Current).await;
        match &done[1] {
            Ok(()) => assert!(there.unwrap() < blocked, "public after the block"),
            Err(StorageError::PublicAccessBlocked) => {}
            Err(error) => panic!("{error}"),
        }
    });
}
