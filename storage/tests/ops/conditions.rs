//! Preconditions are decided on what is there at the commit.

use cairn_storage::StorageError;
use cairn_storage::ops::{
    EtagCondition, GetObject, Governance, PutObject, ReadConditions, VersionSelector, WriteConditions,
};

use crate::rig::{FILE_BYTES, Rig, body, bytes, object_key, owner, put_of};

fn if_match(etag: &str) -> WriteConditions {
    WriteConditions { if_match: Some(EtagCondition::OneOf(vec![etag.to_owned()])), ..WriteConditions::default() }
}

fn if_absent() -> WriteConditions {
    WriteConditions { if_none_match: Some(EtagCondition::Any), ..WriteConditions::default() }
}

async fn put_if(rig: &Rig, conditions: WriteConditions) -> Result<(), StorageError> {
    let bucket = rig.bucket("bucket").await?;
    let put = PutObject { conditions, ..put_of(body(&bytes(9, FILE_BYTES))) };
    rig.store.put_object(&bucket, &object_key("key"), put).await.map(|_| ())
}

#[tokio::test]
async fn a_put_if_absent_works_once() {
    let rig = Rig::new();
    rig.create_bucket("bucket").await;
    put_if(&rig, if_absent()).await.unwrap();
    let second = put_if(&rig, if_absent()).await;
    assert!(matches!(second, Err(StorageError::PreconditionFailed { header: "If-None-Match" })));
    assert_eq!(rig.files().len(), 1);
}

#[tokio::test]
async fn a_put_if_match_replaces_only_the_named_etag() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    assert!(matches!(put_if(&rig, if_match("x")).await, Err(StorageError::NoSuchKey { delete_marker: None })));
    let object = rig.put(&bucket, "key", b"old").await;
    let mismatch = put_if(&rig, if_match("x")).await;
    assert!(matches!(mismatch, Err(StorageError::PreconditionFailed { header: "If-Match" })));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"old");
    put_if(&rig, if_match(&object.etag.to_string())).await.unwrap();
}

#[tokio::test]
async fn a_delete_if_match_removes_only_the_named_etag() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", b"old").await;
    let delete = async |conditions: WriteConditions| {
        let key = object_key("key");
        rig.store.delete_object(&bucket, &key, VersionSelector::Newest, &conditions, Governance::Heeded, owner()).await
    };
    assert!(matches!(delete(if_match("x")).await, Err(StorageError::PreconditionFailed { header: "If-Match" })));
    delete(if_match(&object.etag.to_string())).await.unwrap();
    assert!(matches!(delete(if_match("x")).await, Err(StorageError::NoSuchKey { .. })));
}

#[tokio::test]
async fn a_delete_by_size_and_time_removes_only_that_object() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", b"old").await;
    let delete = async |if_size_bytes, if_modified_at| {
        let conditions = WriteConditions { if_size_bytes, if_modified_at, ..WriteConditions::default() };
        let key = object_key("key");
        rig.store.delete_object(&bucket, &key, VersionSelector::Newest, &conditions, Governance::Heeded, owner()).await
    };
    let (size, time) = (Some(object.size_bytes), Some(object.created));
    assert!(matches!(delete(Some(4), time).await, Err(StorageError::PreconditionFailed { .. })));
    let later = Some(object.created.plus_ms(1_000));
    assert!(matches!(delete(size, later).await, Err(StorageError::PreconditionFailed { .. })));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"old");
    delete(size, time).await.unwrap();
    assert!(matches!(delete(size, time).await, Err(StorageError::NoSuchKey { .. })));
}

#[tokio::test]
async fn a_conditional_read_tells_not_modified_from_failed() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", b"old").await;
    let same = Some(EtagCondition::OneOf(vec![object.etag.to_string()]));
    let other = Some(EtagCondition::OneOf(vec!["x".to_owned()]));
    let get = async |conditions| rig.get_with(&bucket, "key", GetObject { conditions, ..GetObject::default() }).await;
    let not_modified = get(ReadConditions { if_none_match: same.clone(), ..ReadConditions::default() }).await;
    assert!(matches!(not_modified, Err(StorageError::NotModified { object: found }) if *found == object));
    let failed = get(ReadConditions { if_match: other, ..ReadConditions::default() }).await;
    assert!(matches!(failed, Err(StorageError::PreconditionFailed { .. })));
    assert_eq!(get(ReadConditions { if_match: same, ..ReadConditions::default() }).await.unwrap(), b"old");
}
