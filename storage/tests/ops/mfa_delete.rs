//! MFA delete: what takes a code of a device, and what does not.

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::Versioning::{self, Enabled, Suspended};
use cairn_storage::index::family::bucket::{BucketRecord, DocumentDigest};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{Bucket, Governance, Powers, VersionSelector};

use crate::rig::Rig;

const WITH_CODE: Powers = Powers { governance: Governance::Heeded, mfa: true };
const WITHOUT_CODE: Powers = Powers { governance: Governance::Bypassed, mfa: false };

/// A bucket with MFA delete.
async fn mfa_rig() -> (Rig, Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.store.set_versioning(&bucket, Enabled, Some(true), WITH_CODE).await.unwrap();
    let bucket = rig.bucket("bucket").await.unwrap();
    assert!(bucket.mfa_delete);
    (rig, bucket)
}

fn wants_code<T: std::fmt::Debug>(result: Result<T, StorageError>) {
    assert!(matches!(result, Err(StorageError::MfaRequired)), "{result:?}");
}

#[tokio::test]
async fn a_version_goes_for_good_only_with_a_code() {
    let (rig, bucket) = mfa_rig().await;
    let object = rig.put(&bucket, "key", b"kept").await;
    let version = VersionSelector::Id(object.version_id);
    wants_code(rig.delete_version_as(&bucket, "key", version, WITHOUT_CODE).await);
    assert_eq!(rig.get_version(&bucket, "key", version).await.unwrap(), b"kept");
    rig.delete_version_as(&bucket, "key", version, WITH_CODE).await.unwrap();
    assert!(rig.get_version(&bucket, "key", version).await.is_err());
}

#[tokio::test]
async fn a_delete_marker_is_put_without_a_code_and_removed_with_one() {
    let (rig, bucket) = mfa_rig().await;
    rig.put(&bucket, "key", b"below").await;
    let marker = rig.delete_version_as(&bucket, "key", VersionSelector::Newest, WITHOUT_CODE).await.unwrap();
    assert!(marker.delete_marker);
    let Some(cairn_storage::ops::ReturnedVersion::Id(id)) = marker.version else { panic!("{marker:?}") };
    wants_code(rig.delete_version_as(&bucket, "key", VersionSelector::Id(id), WITHOUT_CODE).await);
    rig.delete_version_as(&bucket, "key", VersionSelector::Id(id), WITH_CODE).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_needs_no_code() {
    let (rig, bucket) = mfa_rig().await;
    rig.delete_version_as(&bucket, "key", VersionSelector::Null, WITHOUT_CODE).await.unwrap();
}

#[tokio::test]
async fn versioning_and_mfa_delete_change_only_with_a_code() {
    let (rig, bucket) = mfa_rig().await;
    let change = |versioning: Versioning, mfa_delete, powers| {
        let (rig, bucket) = (&rig, &bucket);
        async move { rig.store.set_versioning(bucket, versioning, mfa_delete, powers).await }
    };
    for (versioning, mfa_delete) in
        [(Suspended, None), (Enabled, None), (Enabled, Some(false)), (Suspended, Some(false))]
    {
        wants_code(change(versioning, mfa_delete, WITHOUT_CODE).await);
    }
    change(Suspended, None, WITH_CODE).await.unwrap();
    let suspended = rig.bucket("bucket").await.unwrap();
    assert_eq!((suspended.versioning, suspended.mfa_delete), (Suspended, true));
    change(Suspended, Some(false), WITH_CODE).await.unwrap();
    assert!(!rig.bucket("bucket").await.unwrap().mfa_delete);
    change(Enabled, Some(false), WITHOUT_CODE).await.unwrap();
    wants_code(change(Enabled, Some(true), WITHOUT_CODE).await);
}

#[tokio::test]
async fn a_bucket_with_lifecycle_rules_gets_no_mfa_delete() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let name = |record: &mut BucketRecord| {
        record.lifecycle = Some(DocumentDigest([1; 16]));
        Ok(())
    };
    rig.store.set_document(&bucket, DocumentKind::Lifecycle, Some("rules".into()), name).await.unwrap();
    let refused = rig.store.set_versioning(&bucket, Enabled, Some(true), WITH_CODE).await;
    assert!(matches!(refused, Err(StorageError::InvalidBucketState { .. })), "{refused:?}");
    rig.store.set_versioning(&bucket, Enabled, None, WITHOUT_CODE).await.unwrap();
}

#[tokio::test]
async fn a_handle_from_before_is_held_to_it_too() {
    let rig = Rig::new();
    let stale = rig.create_bucket("bucket").await;
    let stale = rig.set_versioning(&stale, Enabled).await;
    let object = rig.put(&stale, "key", b"kept").await;
    rig.store.set_versioning(&stale, Enabled, Some(true), WITH_CODE).await.unwrap();
    wants_code(rig.delete_version_as(&stale, "key", VersionSelector::Id(object.version_id), WITHOUT_CODE).await);
}
