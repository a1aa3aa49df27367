//! CopyObject and UploadPartCopy.

use cairn_crypto::checksum::ChecksumAlgorithm;
use cairn_storage::StorageError;
use cairn_storage::encryption::NoKeys;
use cairn_storage::object::{ObjectAttributes, StorageClass};
use cairn_storage::ops::{
    Bucket, CopyObject, CopySource, EtagCondition, PartCopy, Permit, PutObject, ReadConditions, VersionSelector,
    WriteConditions,
};

use crate::rig::{FILE_BYTES, INLINE_BYTES_MAX, Rig, body, bytes, keys, object_key, owner, put_of};

fn attributes(content_type: &str) -> ObjectAttributes {
    ObjectAttributes { content_type: Some(content_type.to_owned()), ..ObjectAttributes::default() }
}

pub fn plain_copy() -> CopyObject {
    CopyObject {
        redirect_location: None,
        attributes: None,
        storage_class: None,
        tags: None,
        settings: Default::default(),
        owner: owner(),
        checksum: None,
        sealing: None,
        names_encryption: false,
        conditions: WriteConditions::default(),
    }
}

pub async fn copy(
    rig: &Rig,
    (from, from_key): (&Bucket, &str),
    (to, to_key): (&Bucket, &str),
    copy: CopyObject,
) -> Result<cairn_storage::ops::Copied, StorageError> {
    let key = object_key(from_key);
    let conditions = ReadConditions::default();
    let source = CopySource {
        bucket: from,
        key: &key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions,
        keys: keys(),
    };
    rig.store.copy_object(source, to, &object_key(to_key), copy).await
}

async fn put_with_attributes(rig: &Rig, bucket: &Bucket, size: usize) {
    let put = PutObject { attributes: attributes("text/source"), ..put_of(body(&bytes(1, size))) };
    rig.store.put_object(bucket, &object_key("source"), put).await.unwrap();
}

#[tokio::test]
async fn a_copy_outlives_its_source_in_another_bucket() {
    for size in [0, INLINE_BYTES_MAX, FILE_BYTES] {
        let rig = Rig::new();
        let (from, to) = (rig.create_bucket("from").await, rig.create_bucket("other").await);
        put_with_attributes(&rig, &from, size).await;
        let copied = copy(&rig, (&from, "source"), (&to, "copy"), plain_copy()).await.unwrap();
        assert_eq!(copied.object.attributes, attributes("text/source"));
        assert_eq!(copied.object.etag, copied.source.etag);
        assert_eq!(copied.object.checksum, copied.source.checksum);
        rig.delete(&from, "source").await;
        rig.collect_all().await;
        assert_eq!(rig.get(&to, "copy").await.unwrap(), bytes(1, size));
        assert_eq!(rig.usage(&to).await, [1, 1, size as i64]);
        assert_eq!(rig.usage(&from).await, [0, 0, 0]);
    }
}

#[tokio::test]
async fn a_copy_may_replace_metadata_class_and_checksum() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    put_with_attributes(&rig, &bucket, FILE_BYTES).await;
    let replacing = CopyObject {
        redirect_location: None,
        attributes: Some(attributes("text/new")),
        storage_class: Some(StorageClass::OnezoneIa),
        checksum: Some(ChecksumAlgorithm::Sha256),
        ..plain_copy()
    };
    let copied = copy(&rig, (&bucket, "source"), (&bucket, "copy"), replacing).await.unwrap().object;
    assert_eq!(copied.attributes, attributes("text/new"));
    assert_eq!(copied.storage_class, StorageClass::OnezoneIa);
    assert_eq!(copied.checksum.unwrap().value.algorithm(), ChecksumAlgorithm::Sha256);
}

#[tokio::test]
async fn a_copy_onto_itself_must_change_something() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    put_with_attributes(&rig, &bucket, FILE_BYTES).await;
    let itself = (&bucket, "source");
    assert!(matches!(copy(&rig, itself, itself, plain_copy()).await, Err(StorageError::CopyChangesNothing)));
    let changing = CopyObject { attributes: Some(attributes("text/new")), ..plain_copy() };
    copy(&rig, itself, itself, changing).await.unwrap();
    rig.collect_all().await;
    assert_eq!(rig.get(&bucket, "source").await.unwrap(), bytes(1, FILE_BYTES));
    assert_eq!(rig.files().len(), 1);
    assert_eq!(rig.usage(&bucket).await, [1, 1, FILE_BYTES as i64]);
}

#[tokio::test]
async fn a_copy_of_a_multipart_object_into_another_bucket_is_an_object_put_whole() {
    let rig = Rig::new();
    let (bucket, other) = (rig.create_bucket("bucket").await, rig.create_bucket("other").await);
    let upload = rig.create_upload(&bucket, "source").await;
    let part = rig.upload_part(&bucket, "source", upload, 7, &bytes(3, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "source", upload, &[part]).await.unwrap();
    let copied = copy(&rig, (&bucket, "source"), (&other, "copy"), plain_copy()).await.unwrap().object;
    assert_eq!(copied.etag.parts_count, 0);
    assert!(!copied.checksum.unwrap().composite);
    rig.delete(&bucket, "source").await;
    rig.collect_all().await;
    assert_eq!(rig.get(&other, "copy").await.unwrap(), bytes(3, FILE_BYTES));
    assert_eq!(rig.files().len(), 1);
}

#[tokio::test]
async fn a_copy_within_a_bucket_shares_the_file_until_the_last_reference_goes() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    put_with_attributes(&rig, &bucket, FILE_BYTES).await;
    for to in ["one", "two"] {
        let copied = copy(&rig, (&bucket, "source"), (&bucket, to), plain_copy()).await.unwrap();
        assert_eq!(copied.object.content, copied.source.content);
        assert_eq!(copied.object.checksum, copied.source.checksum);
    }
    assert_eq!(rig.files().len(), 1);
    assert_eq!(rig.usage(&bucket).await, [3, 3, 3 * FILE_BYTES as i64]);
    for gone in ["source", "one"] {
        rig.delete(&bucket, gone).await;
        rig.collect_all().await;
        assert_eq!(rig.get(&bucket, "two").await.unwrap(), bytes(1, FILE_BYTES));
    }
    rig.delete(&bucket, "two").await;
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_copy_of_a_multipart_object_within_its_bucket_keeps_its_parts() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "source").await;
    let part = rig.upload_part(&bucket, "source", upload, 7, &bytes(3, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "source", upload, &[part]).await.unwrap();
    let copied = copy(&rig, (&bucket, "source"), (&bucket, "copy"), plain_copy()).await.unwrap();
    assert_eq!(copied.object.etag, copied.source.etag);
    rig.delete(&bucket, "source").await;
    rig.collect_all().await;
    assert_eq!(rig.get(&bucket, "copy").await.unwrap(), bytes(3, FILE_BYTES));
    rig.delete(&bucket, "copy").await;
    rig.collect_all().await;
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_condition_on_the_source_that_does_not_hold_is_a_failed_precondition() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "source", b"bytes").await;
    let key = object_key("source");
    let same = Some(EtagCondition::OneOf(vec![object.etag.to_string()]));
    let conditions = ReadConditions { if_none_match: same, ..ReadConditions::default() };
    let source = CopySource {
        bucket: &bucket,
        key: &key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions,
        keys: keys(),
    };
    let refused = rig.store.copy_object(source, &bucket, &object_key("copy"), plain_copy()).await;
    assert!(matches!(refused, Err(StorageError::PreconditionFailed { .. })));
}

#[tokio::test]
async fn a_part_may_be_a_range_of_an_object() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bytes = bytes(1, FILE_BYTES);
    rig.put(&bucket, "source", &bytes).await;
    let upload = rig.create_upload(&bucket, "target").await;
    let copy_part = async |range: Option<std::ops::Range<u64>>| {
        let (key, target) = (object_key("source"), object_key("target"));
        let conditions = ReadConditions::default();
        let source = CopySource {
            bucket: &bucket,
            key: &key,
            version: VersionSelector::Newest,
            permit: Permit::any(),
            conditions,
            keys: keys(),
        };
        rig.store.upload_part_copy(PartCopy { source, range, keys: &NoKeys }, &bucket, &target, upload, 1).await
    };
    let past_the_end = copy_part(Some(0..FILE_BYTES as u64 + 1)).await;
    assert!(matches!(past_the_end, Err(StorageError::RangeNotSatisfiable { .. })));
    let (part, _) = copy_part(Some(100..200)).await.unwrap();
    assert_eq!(part.size_bytes, 100);
    rig.complete(&bucket, "target", upload, &[part]).await.unwrap();
    assert_eq!(rig.get(&bucket, "target").await.unwrap(), bytes[100..200]);
}
