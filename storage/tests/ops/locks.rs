//! Object lock: what may be set, what it keeps, and what it leaves alone.

use cairn_storage::StorageError;
use cairn_storage::clock::Clock as _;
use cairn_storage::encryption::NoKeys;
use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod, Versioning};
use cairn_storage::ops::Governance::{Bypassed, Heeded};
use cairn_storage::ops::{
    Body, Bucket, CopyObject, CopySource, CreateUpload, Permit, Powers, VersionSelector, WriteConditions,
};
use cairn_storage::settings::RetentionMode::{Compliance, Governance};
use cairn_storage::settings::{Lock, ObjectSettings, Retention, RetentionMode};

use crate::rig::{Rig, body, keys, object_key, owner, upload_of};

const HOUR_MS: u32 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS as i64;

async fn lock_rig() -> (Rig, Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    (rig, bucket)
}

fn retention(rig: &Rig, mode: RetentionMode, hours: u32) -> Option<Retention> {
    Some(Retention { mode, until: rig.clock.now().plus_ms(i64::from(hours * HOUR_MS)) })
}

fn retained(rig: &Rig, mode: RetentionMode, hours: u32) -> ObjectSettings {
    ObjectSettings { retention: retention(rig, mode, hours), ..ObjectSettings::default() }
}

fn held() -> ObjectSettings {
    ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() }
}

#[tokio::test]
async fn a_retained_version_is_removed_only_by_who_may_bypass_governance() {
    for (mode, bypass_helps) in [(Governance, true), (Compliance, false)] {
        let (rig, bucket) = lock_rig().await;
        let object = rig.put_locked(&bucket, "key", b"kept", retained(&rig, mode, 2)).await.unwrap();
        let version = VersionSelector::Id(object.version_id);
        for governance in [Heeded, Bypassed] {
            let refused = rig.delete_version_as(&bucket, "key", version, governance).await;
            if governance == Bypassed && bypass_helps {
                refused.unwrap();
                continue;
            }
            assert!(matches!(refused, Err(StorageError::Locked(Lock::Retention(_)))), "{mode:?}: {refused:?}");
            assert_eq!(rig.get_version(&bucket, "key", version).await.unwrap(), b"kept");
        }
    }
}

#[tokio::test]
async fn a_version_can_be_removed_from_the_moment_its_retention_ends() {
    let (rig, bucket) = lock_rig().await;
    let object = rig.put_locked(&bucket, "key", b"kept", retained(&rig, Compliance, 1)).await.unwrap();
    let version = VersionSelector::Id(object.version_id);
    rig.clock.advance_ms(HOUR_MS - 1);
    rig.delete_version(&bucket, "key", version).await.unwrap_err();
    rig.clock.advance_ms(1);
    rig.delete_version(&bucket, "key", version).await.unwrap();
}

#[tokio::test]
async fn nobody_removes_a_version_under_legal_hold_until_it_is_lifted() {
    let (rig, bucket) = lock_rig().await;
    let object = rig.put_locked(&bucket, "key", b"kept", held()).await.unwrap();
    let version = VersionSelector::Id(object.version_id);
    rig.clock.advance_ms(1_000 * HOUR_MS);
    let refused = rig.delete_version_as(&bucket, "key", version, Bypassed).await;
    assert!(matches!(refused, Err(StorageError::Locked(Lock::LegalHold))), "{refused:?}");
    rig.set_legal_hold(&bucket, "key", version, false).await.unwrap();
    rig.delete_version(&bucket, "key", version).await.unwrap();
}

#[tokio::test]
async fn a_lock_on_an_older_version_is_heeded_too() {
    let (rig, bucket) = lock_rig().await;
    let old = VersionSelector::Id(rig.put(&bucket, "key", b"old").await.version_id);
    rig.put(&bucket, "key", b"new").await;
    rig.set_legal_hold(&bucket, "key", old, true).await.unwrap();
    rig.delete_version(&bucket, "key", old).await.unwrap_err();
    assert_eq!(rig.get_version(&bucket, "key", old).await.unwrap(), b"old");
}

#[tokio::test]
async fn a_delete_marker_hides_a_locked_object_and_has_no_lock() {
    let (rig, bucket) = lock_rig().await;
    let default = DefaultRetention { mode: Compliance, period: RetentionPeriod::Days(1) };
    rig.store.set_object_lock(&bucket, Some(default)).await.unwrap();
    rig.put(&bucket, "key", b"kept").await;
    rig.delete(&bucket, "key").await;
    assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::NoSuchKey { .. })));
    let marker = VersionSelector::Id(rig.newest_id(&bucket, "key").await);
    rig.delete_version(&bucket, "key", marker).await.unwrap();
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"kept");
}

#[tokio::test]
async fn every_way_to_make_a_version_gives_it_the_default_retention_of_the_moment() {
    let (rig, stale) = lock_rig().await;
    let default = DefaultRetention { mode: Governance, period: RetentionPeriod::Days(3) };
    rig.store.set_object_lock(&stale, Some(default)).await.unwrap();
    let put = rig.put(&stale, "key", b"content").await;
    let source_key = object_key("key");
    let source = CopySource {
        bucket: &stale,
        key: &source_key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions: Default::default(),
        keys: keys(),
    };
    let copy = CopyObject {
        redirect_location: None,
        attributes: None,
        storage_class: None,
        tags: None,
        settings: ObjectSettings::default(),
        owner: owner(),
        checksum: None,
        sealing: None,
        names_encryption: false,
        conditions: WriteConditions::default(),
    };
    let copied = rig.store.copy_object(source, &stale, &object_key("copy"), copy).await.unwrap().object;
    let upload = rig.create_upload(&stale, "upload").await;
    rig.clock.advance_ms(HOUR_MS);
    let part = rig.upload_part(&stale, "upload", upload, 1, b"part").await.unwrap();
    let completed = rig.complete(&stale, "upload", upload, &[part]).await.unwrap();
    for object in [put, copied, completed] {
        let until = object.created.plus_ms(3 * DAY_MS);
        assert_eq!(object.settings.retention, Some(Retention { mode: Governance, until }));
    }
}

#[tokio::test]
async fn an_uploads_lock_becomes_the_objects_whose_parts_have_digests() {
    let (rig, bucket) = lock_rig().await;
    let settings = ObjectSettings { legal_hold: Some(true), ..retained(&rig, Compliance, 5) };
    let create = CreateUpload { settings: settings.clone(), ..upload_of(None) };
    let upload = rig.store.create_upload(&bucket, &object_key("key"), create).await.unwrap().id;
    let refused = rig.upload_part(&bucket, "key", upload, 1, b"part").await;
    assert!(matches!(refused, Err(StorageError::DigestMissing)), "{refused:?}");
    let content_md5 =
        Some([0xf4, 0xc9, 0x38, 0x5f, 0x19, 0x02, 0xf7, 0x33, 0x4b, 0x00, 0xb9, 0xb4, 0xec, 0xd1, 0x64, 0xde]);
    let part = Body { content_md5, ..body(b"part") };
    let part = rig.store.upload_part(&bucket, &object_key("key"), upload, 1, part, &NoKeys).await.unwrap();
    let object = rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    assert_eq!(object.settings, settings);
    let version = VersionSelector::Id(object.version_id);
    rig.delete_version_as(&bucket, "key", version, Bypassed).await.unwrap_err();
}

#[tokio::test]
async fn a_copy_has_no_lock_of_its_sources() {
    let (rig, bucket) = lock_rig().await;
    rig.put_locked(&bucket, "key", b"kept", held()).await.unwrap();
    let source_key = object_key("key");
    let source = CopySource {
        bucket: &bucket,
        key: &source_key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions: Default::default(),
        keys: keys(),
    };
    let copy = CopyObject {
        redirect_location: None,
        attributes: None,
        storage_class: None,
        tags: None,
        settings: ObjectSettings::default(),
        owner: owner(),
        checksum: None,
        sealing: None,
        names_encryption: false,
        conditions: WriteConditions::default(),
    };
    let copied = rig.store.copy_object(source, &bucket, &object_key("copy"), copy).await.unwrap().object;
    assert_eq!(copied.settings, ObjectSettings::default());
}

#[tokio::test]
async fn locks_need_a_bucket_with_object_lock() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"content").await;
    let newest = VersionSelector::Newest;
    for settings in [held(), retained(&rig, Governance, 1)] {
        let refused = rig.put_locked(&bucket, "key", b"x", settings).await;
        assert!(matches!(refused, Err(StorageError::NoObjectLock)), "{refused:?}");
    }
    let refused = rig.set_legal_hold(&bucket, "key", newest, true).await;
    assert!(matches!(refused, Err(StorageError::NoObjectLock)), "{refused:?}");
    let refused = rig.set_retention(&bucket, "key", newest, retention(&rig, Governance, 1), Heeded).await;
    assert!(matches!(refused, Err(StorageError::NoObjectLock)), "{refused:?}");
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"content");
}

#[tokio::test]
async fn object_lock_is_enabled_later_only_where_versioning_is() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for (versioning, allowed) in
        [(None, false), (Some(Versioning::Suspended), false), (Some(Versioning::Enabled), true)]
    {
        if let Some(versioning) = versioning {
            rig.store.set_versioning(&bucket, versioning, None, Powers::default()).await.unwrap();
        }
        let set = rig.store.set_object_lock(&bucket, None).await;
        match set {
            Ok(()) => assert!(allowed),
            Err(StorageError::InvalidBucketState { .. }) => assert!(!allowed),
            Err(error) => panic!("{error}"),
        }
    }
    let suspended = rig.store.set_versioning(&bucket, Versioning::Suspended, None, Powers::default()).await;
    assert!(matches!(suspended, Err(StorageError::InvalidBucketState { .. })), "{suspended:?}");
    assert!(rig.bucket("bucket").await.unwrap().object_lock);
}

#[tokio::test]
async fn a_retention_cannot_be_set_to_a_time_that_has_passed() {
    let (rig, bucket) = lock_rig().await;
    let now = Some(Retention { mode: Governance, until: rig.clock.now() });
    let settings = ObjectSettings { retention: now, ..ObjectSettings::default() };
    let put = rig.put_locked(&bucket, "key", b"x", settings).await;
    assert!(matches!(put, Err(StorageError::RetentionInPast)), "{put:?}");
    rig.put(&bucket, "key", b"x").await;
    let set = rig.set_retention(&bucket, "key", VersionSelector::Newest, now, Bypassed).await;
    assert!(matches!(set, Err(StorageError::RetentionInPast)), "{set:?}");
}

#[tokio::test]
async fn a_compliance_retention_only_gets_longer() {
    let (rig, bucket) = lock_rig().await;
    rig.put_locked(&bucket, "key", b"x", retained(&rig, Compliance, 5)).await.unwrap();
    let newest = VersionSelector::Newest;
    for weaker in [None, retention(&rig, Compliance, 4), retention(&rig, Governance, 9)] {
        let refused = rig.set_retention(&bucket, "key", newest, weaker, Bypassed).await;
        assert!(matches!(refused, Err(StorageError::Locked(_))), "{weaker:?}: {refused:?}");
    }
    let longer = retention(&rig, Compliance, 6);
    let object = rig.set_retention(&bucket, "key", newest, longer, Heeded).await.unwrap();
    assert_eq!(object.settings.retention, longer);
}

#[tokio::test]
async fn no_other_change_of_a_versions_settings_weakens_its_retention() {
    let (rig, bucket) = lock_rig().await;
    rig.put_locked(&bucket, "key", b"x", retained(&rig, Governance, 5)).await.unwrap();
    let forgetful = |_: &_, _: &_| Ok(ObjectSettings::default());
    let (key, permit) = (object_key("key"), Permit::any());
    let refused = rig.store.update_version(&bucket, &key, VersionSelector::Newest, &permit, forgetful).await;
    assert!(matches!(refused, Err(StorageError::Locked(_))), "{refused:?}");
}

#[tokio::test]
async fn a_locked_null_version_is_not_replaced_even_if_versioning_were_suspended() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"null").await;
    rig.store.set_versioning(&bucket, Versioning::Enabled, None, Powers::default()).await.unwrap();
    rig.store.set_object_lock(&bucket, None).await.unwrap();
    rig.set_legal_hold(&bucket, "key", VersionSelector::Null, true).await.unwrap();
    rig.put(&bucket, "key", b"newer").await;
    // No API does this.
    let bucket = rig.set_versioning(&bucket, Versioning::Suspended).await;
    let put = rig.try_put(&bucket, "key", b"replaces").await;
    assert!(matches!(put, Err(StorageError::Locked(Lock::LegalHold))), "{put:?}");
    let hidden = rig.delete_version(&bucket, "key", VersionSelector::Newest).await;
    assert!(matches!(hidden, Err(StorageError::Locked(Lock::LegalHold))), "{hidden:?}");
    assert_eq!(rig.get_version(&bucket, "key", VersionSelector::Null).await.unwrap(), b"null");
    rig.collect_all().await;
    assert_eq!(rig.usage(&bucket).await, [1, 2, 9]);
}

#[tokio::test]
async fn a_bucket_with_a_locked_version_is_not_empty() {
    let (rig, bucket) = lock_rig().await;
    rig.put_locked(&bucket, "key", b"x", held()).await.unwrap();
    rig.delete(&bucket, "key").await;
    assert!(matches!(rig.store.delete_bucket(&bucket).await, Err(StorageError::BucketNotEmpty)));
}
