//! Replicas: whatever the order in which versions arrive, and however often, a bucket ends the same.

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::VersionId;
use cairn_storage::index::Family;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership, PublicAccessBlock, Versioning};
use cairn_storage::object::{DeleteMarker, Etag, ObjectVersion};
use cairn_storage::ops::replica::{AHEAD_MS_MAX, Bringing, SettingsBrought};
use cairn_storage::ops::{
    Bucket, CompleteUpload, CreateUpload, Governance, NamedPart, Permit, PutObject, VersionSelector,
};
use cairn_storage::replication::{Left, ReplicaOf, ReplicationStatus};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode, Tag};
use proptest::prelude::*;

use crate::rig::{FILE_BYTES, Rig, START, body, bytes, keys, object_key, owner, put_of, upload_of};

const KEY: &str = "key";

/// A rig and an empty bucket with versioning and ACLs.
pub async fn versioned_rig() -> (Rig, Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    rig.store.set_ownership(&bucket, ObjectOwnership::ObjectWriter, |_| Ok(())).await.unwrap();
    (rig, bucket)
}

/// The replica of the version that was made `ms` after the start.
pub fn replica(ms: i64) -> ReplicaOf {
    let order = u64::try_from(START.0 + ms).unwrap() * 1_000;
    let mut id = [u8::try_from(ms.rem_euclid(251)).unwrap(); 16];
    id[..8].copy_from_slice(&order.to_be_bytes());
    let (version_id, created) = (VersionId::from_bytes(id), START.plus_ms(ms));
    ReplicaOf { version_id, created, etag: None, changed: None, left: Left::default() }
}

pub async fn place(rig: &Rig, bucket: &Bucket, of: ReplicaOf, content: &[u8]) -> Result<ObjectVersion, StorageError> {
    place_with(rig, bucket, of, content, ObjectSettings::default()).await
}

async fn place_with(
    rig: &Rig,
    bucket: &Bucket,
    of: ReplicaOf,
    content: &[u8],
    settings: ObjectSettings,
) -> Result<ObjectVersion, StorageError> {
    let put = PutObject { replica: Some(of), settings, ..put_of(body(content)) };
    rig.store.put_object(bucket, &object_key(KEY), put).await
}

pub async fn place_marker(rig: &Rig, bucket: &Bucket, of: ReplicaOf) -> Result<DeleteMarker, StorageError> {
    rig.store.place_replica_marker(bucket, &object_key(KEY), owner(), &of).await
}

/// In the parts that `sizes` say.
async fn place_parts(
    rig: &Rig,
    bucket: &Bucket,
    of: ReplicaOf,
    sizes: &[usize],
) -> Result<ObjectVersion, StorageError> {
    let create = CreateUpload { replica: Some(of), sealing: rig.sealing(), ..upload_of(None) };
    let parts = (1..).zip(sizes.iter().map(|size| body(&bytes(5, *size))));
    rig.store.put_replica_in_parts(bucket, &object_key(KEY), create, parts).await
}

fn tags(value: &str) -> ObjectSettings {
    let tag = Tag { key: "k".to_owned(), value: value.to_owned() };
    ObjectSettings { tags: vec![tag], ..ObjectSettings::default() }
}

async fn update(
    rig: &Rig,
    bucket: &Bucket,
    id: VersionId,
    settings: &ObjectSettings,
    changed_ms: i64,
) -> Result<SettingsBrought, StorageError> {
    bring(rig, bucket, id, &Bringing { changed: Some(START.plus_ms(changed_ms)), ..Bringing::of(settings) }).await
}

async fn bring(
    rig: &Rig,
    bucket: &Bucket,
    id: VersionId,
    bringing: &Bringing<'_>,
) -> Result<SettingsBrought, StorageError> {
    rig.store.update_replica_settings(bucket, &object_key(KEY), id, &Permit::any(), bringing).await
}

async fn newest(rig: &Rig, bucket: &Bucket) -> VersionId {
    rig.newest_id(bucket, KEY).await
}

#[tokio::test]
async fn a_replica_keeps_id_and_time_and_says_that_it_is_one() {
    let (rig, bucket) = versioned_rig().await;
    let of = replica(-5_000);
    let put = place(&rig, &bucket, of, b"bytes").await.unwrap();
    assert_eq!((put.version_id, put.created, put.is_null), (of.version_id, of.created, false));
    assert_eq!(put.replication.unwrap().status(), Some(ReplicationStatus::Replica));
    assert_eq!(rig.get_version(&bucket, KEY, VersionSelector::Id(of.version_id)).await.unwrap(), b"bytes");
    // What a client puts afterwards is newer, whatever the clock says.
    rig.clock.jump_ms(-1_000_000);
    assert!(rig.put(&bucket, KEY, b"later").await.version_id > of.version_id);
}

#[tokio::test]
async fn an_older_replica_goes_below_the_head() {
    let (rig, bucket) = versioned_rig().await;
    let own = rig.put(&bucket, KEY, &bytes(1, FILE_BYTES)).await;
    place(&rig, &bucket, replica(-10), &bytes(2, FILE_BYTES)).await.unwrap();
    place_marker(&rig, &bucket, replica(-20)).await.unwrap();
    assert_eq!(newest(&rig, &bucket).await, own.version_id);
    assert_eq!(rig.rows(bucket.id, Family::Version).await, 2);
    assert_eq!(rig.usage(&bucket).await, [1, 2, 2 * i64::try_from(FILE_BYTES).unwrap()]);
}

#[tokio::test]
async fn a_replica_that_comes_again_changes_nothing_and_leaves_nothing() {
    let (rig, bucket) = versioned_rig().await;
    let (object, parts, marker) = (replica(-10), replica(-20), replica(-30));
    for _ in 0..2 {
        place(&rig, &bucket, object, &bytes(1, FILE_BYTES)).await.unwrap();
        place_parts(&rig, &bucket, parts, &[6 << 20, 10]).await.unwrap();
        place_marker(&rig, &bucket, marker).await.unwrap();
        rig.collect_all().await;
        // One file, one composite with a page and the file and the inline row of its parts.
        assert_eq!(rig.rows(bucket.id, Family::Content).await, 3);
        assert_eq!((rig.rows(bucket.id, Family::Layout).await, rig.rows(bucket.id, Family::Part).await), (1, 0));
        assert_eq!(rig.usage(&bucket).await[..2], [1, 2]);
    }
}

#[tokio::test]
async fn parts_keep_their_boundaries_and_so_the_etag() {
    let (rig, bucket) = versioned_rig().await;
    let upload = rig.create_upload(&bucket, "source").await;
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 << 20), (2, 77)] {
        parts.push(rig.upload_part(&bucket, "source", upload, number, &bytes(5, size)).await.unwrap());
    }
    let source = rig.complete(&bucket, "source", upload, &parts).await.unwrap();
    let put = place_parts(&rig, &bucket, replica(-1), &[5 << 20, 77]).await.unwrap();
    assert_eq!((put.etag, put.checksum), (source.etag, source.checksum));
    assert_eq!(put.etag.parts_count, 2);
}

#[tokio::test]
async fn parts_of_a_sealed_replica_open() {
    let (mut rig, bucket) = versioned_rig().await;
    rig.sealed = true;
    place_parts(&rig, &bucket, replica(-1), &[5 << 20, 77]).await.unwrap();
    let expected = [bytes(5, 5 << 20), bytes(5, 77)].concat();
    assert!(rig.get(&bucket, KEY).await.unwrap() == expected);
}

#[tokio::test]
async fn an_upload_that_was_left_behind_ends_with_the_next_attempt() {
    let (rig, bucket) = versioned_rig().await;
    let create = || CreateUpload { replica: Some(replica(-1)), ..upload_of(None) };
    let left = rig.store.create_upload(&bucket, &object_key(KEY), create()).await.unwrap().id;
    let other = rig.create_upload(&bucket, KEY).await;
    rig.upload_part(&bucket, KEY, left, 1, &bytes(5, FILE_BYTES)).await.unwrap();
    let next = rig.store.create_upload(&bucket, &object_key(KEY), create()).await.unwrap().id;
    let gone = rig.upload_part(&bucket, KEY, left, 1, b"x").await;
    assert!(matches!(gone, Err(StorageError::NoSuchUpload)));
    rig.collect_all().await;
    assert_eq!(rig.content_rows(&bucket).await, 0);
    for upload in [other, next] {
        rig.abort(&bucket, KEY, upload).await.unwrap();
    }
}

#[tokio::test]
async fn a_given_etag_is_kept_and_must_fit_the_parts() {
    let (rig, bucket) = versioned_rig().await;
    let etag = |parts_count| Some(Etag { digest: [9; 16], parts_count });
    let whole = place(&rig, &bucket, ReplicaOf { etag: etag(0), ..replica(-1) }, b"x").await.unwrap();
    assert_eq!(Some(whole.etag), etag(0));
    let parts = place_parts(&rig, &bucket, ReplicaOf { etag: etag(1), ..replica(-2) }, &[77]).await.unwrap();
    assert_eq!(Some(parts.etag), etag(1));
    let unfit = place_parts(&rig, &bucket, ReplicaOf { etag: etag(2), ..replica(-3) }, &[77]).await;
    assert!(matches!(unfit, Err(StorageError::InvalidPart { .. })));
}

#[tokio::test]
async fn a_replica_from_the_future_is_refused() {
    let (rig, bucket) = versioned_rig().await;
    place(&rig, &bucket, replica(AHEAD_MS_MAX), b"x").await.unwrap();
    let far = replica(AHEAD_MS_MAX + 1);
    for of in [
        far,
        ReplicaOf { created: START, ..far },
        ReplicaOf { version_id: replica(0).version_id, ..far },
        ReplicaOf { version_id: VersionId::from_bytes([0xFF; 16]), ..replica(0) },
    ] {
        let placed = place(&rig, &bucket, of, b"x").await;
        assert!(matches!(placed, Err(StorageError::ReplicaFromFuture { .. })), "{of:?}");
        assert!(matches!(place_marker(&rig, &bucket, of).await, Err(StorageError::ReplicaFromFuture { .. })));
    }
    assert_eq!(rig.usage(&bucket).await[1], 1);
}

#[tokio::test]
async fn a_replica_goes_only_where_versioning_is_enabled() {
    let (rig, bucket) = versioned_rig().await;
    rig.set_versioning(&bucket, Versioning::Suspended).await;
    // A handle that was looked up before decides no more than a new one.
    for bucket in [bucket.clone(), rig.bucket("bucket").await.unwrap()] {
        let placed = place(&rig, &bucket, replica(0), b"x").await;
        assert!(matches!(placed, Err(StorageError::InvalidBucketState { .. })));
        let marked = place_marker(&rig, &bucket, replica(0)).await;
        assert!(matches!(marked, Err(StorageError::InvalidBucketState { .. })));
    }
    assert_eq!(rig.content_rows(&bucket).await, 0);
}

#[tokio::test]
async fn another_version_under_the_same_id_is_refused() {
    let (rig, bucket) = versioned_rig().await;
    place(&rig, &bucket, replica(-1), b"one").await.unwrap();
    place_marker(&rig, &bucket, replica(-2)).await.unwrap();
    let collides = |result: Result<(), StorageError>| matches!(result, Err(StorageError::ReplicaCollides { .. }));
    assert!(collides(place(&rig, &bucket, replica(-1), b"other").await.map(drop)));
    assert!(collides(place(&rig, &bucket, replica(-2), b"one").await.map(drop)));
    assert!(collides(place_marker(&rig, &bucket, replica(-1)).await.map(drop)));
    assert_eq!(rig.get_version(&bucket, KEY, VersionSelector::Id(replica(-1).version_id)).await.unwrap(), b"one");
}

#[tokio::test]
async fn an_id_that_is_the_null_version_here_is_left_as_it_is() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let null = rig.put(&bucket, KEY, b"null").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    rig.put(&bucket, KEY, b"newer").await;
    let of = ReplicaOf { version_id: null.version_id, ..replica(0) };
    assert!(place(&rig, &bucket, of, b"null").await.unwrap().is_null);
    assert_eq!(rig.usage(&bucket).await[1], 2);
}

#[tokio::test]
async fn the_later_change_of_settings_wins_whichever_comes_first() {
    let (rig, bucket) = versioned_rig().await;
    let of = replica(-1);
    place(&rig, &bucket, of, b"x").await.unwrap();
    let applied = update(&rig, &bucket, of.version_id, &tags("later"), 20).await.unwrap();
    assert!(matches!(applied, SettingsBrought::Applied(object) if object.settings == tags("later")));
    let older = update(&rig, &bucket, of.version_id, &tags("older"), 10).await.unwrap();
    assert!(matches!(older, SettingsBrought::Older(object) if object.settings == tags("later")));
    // Also by a version that comes again.
    let again = ReplicaOf { changed: Some(START.plus_ms(30)), ..of };
    assert_eq!(place_with(&rig, &bucket, again, b"x", tags("again")).await.unwrap().settings, tags("again"));
    let absent = update(&rig, &bucket, replica(-2).version_id, &tags("x"), 40).await.unwrap();
    assert_eq!(absent, SettingsBrought::Absent);
}

#[tokio::test]
async fn changes_at_the_same_time_end_alike_on_both_sides() {
    let mut ends = Vec::new();
    for order in [["a", "b"], ["b", "a"]] {
        let (rig, bucket) = versioned_rig().await;
        place(&rig, &bucket, replica(-1), b"x").await.unwrap();
        for value in order {
            update(&rig, &bucket, replica(-1).version_id, &tags(value), 10).await.unwrap();
        }
        ends.push(place(&rig, &bucket, replica(-1), b"x").await.unwrap().settings);
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn a_retention_that_binds_stays_whatever_is_brought() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let until = |ms| Some(Retention { mode: RetentionMode::Compliance, until: START.plus_ms(ms) });
    let locked = |ms| ObjectSettings { retention: until(ms), ..tags("locked") };
    let id = place_with(&rig, &bucket, replica(-1), b"x", locked(10_000)).await.unwrap().version_id;
    for (settings, changed, tags_then, retention) in [
        (tags("free"), 10, "free", until(10_000)),
        (locked(5_000), 20, "locked", until(10_000)),
        (locked(20_000), 15, "locked", until(20_000)),
        (locked(15_000), 30, "locked", until(20_000)),
    ] {
        let brought = update(&rig, &bucket, id, &settings, changed).await.unwrap();
        let (SettingsBrought::Applied(now) | SettingsBrought::Older(now)) = brought else { panic!() };
        assert_eq!(now.settings, ObjectSettings { retention, ..tags(tags_then) });
    }
    let removed = rig.delete_version_as(&bucket, KEY, VersionSelector::Id(id), Governance::Bypassed).await;
    assert!(matches!(removed, Err(StorageError::Locked(_))));
}

#[tokio::test]
async fn a_legal_hold_ends_only_when_it_is_lifted_by_who_may() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let id = place(&rig, &bucket, replica(-1), b"x").await.unwrap().version_id;
    for (changed_ms, legal_hold, lock_changed_ms, may_lift_hold, then) in [
        (10, Some(true), Some(10), false, Some(true)),
        // Something else was changed: of a version that never had a hold, or of one whose hold was lifted before.
        (20, None, None, true, Some(true)),
        (25, Some(false), Some(9), true, Some(true)),
        (30, Some(false), Some(30), false, Some(true)),
        // Who may not at first may later.
        (40, Some(false), Some(30), true, Some(false)),
        (50, None, None, false, None),
    ] {
        let lock_changed = lock_changed_ms.map(|ms| START.plus_ms(ms));
        let settings = ObjectSettings { legal_hold, lock_changed, ..tags("held") };
        let changed = Some(START.plus_ms(changed_ms));
        let bringing = Bringing { changed, may_lift_hold, ..Bringing::of(&settings) };
        let SettingsBrought::Applied(now) = bring(&rig, &bucket, id, &bringing).await.unwrap() else { panic!() };
        assert_eq!(now.settings.legal_hold, then, "{changed_ms}");
    }
}

#[tokio::test]
async fn a_governance_retention_there_gives_way_only_to_a_later_change_of_the_lock_by_who_may() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let mode = RetentionMode::Governance;
    let days = |days: i64| Some(Retention { mode, until: START.plus_ms(days * 24 * 60 * 60 * 1_000) });
    // As the bucket's default gave it, or as somebody has set it there.
    let there = ObjectSettings { retention: days(10), ..tags("x") };
    let id = place_with(&rig, &bucket, replica(-1), b"x", there).await.unwrap().version_id;
    for (changed_ms, retention, lock_changed_ms, governance, then) in [
        // The source's tags were changed, which has no retention.
        (10, None, None, Governance::Bypassed, days(10)),
        (20, days(5), None, Governance::Bypassed, days(10)),
        (30, days(5), Some(30), Governance::Heeded, days(10)),
        (40, days(5), Some(30), Governance::Bypassed, days(5)),
        // Longer it may always be, in the mode that nobody can bypass, too.
        (50, days(7), None, Governance::Heeded, days(7)),
        (60, None, Some(60), Governance::Bypassed, None),
    ] {
        let lock_changed = lock_changed_ms.map(|ms| START.plus_ms(ms));
        let settings = ObjectSettings { retention, lock_changed, ..tags("x") };
        let changed = Some(START.plus_ms(changed_ms));
        let bringing = Bringing { changed, governance, ..Bringing::of(&settings) };
        let SettingsBrought::Applied(now) = bring(&rig, &bucket, id, &bringing).await.unwrap() else { panic!() };
        assert_eq!(now.settings.retention, then, "{changed_ms}");
    }
}

#[tokio::test]
async fn a_governance_retention_becomes_a_compliance_one_that_is_no_shorter_whoever_brings_it() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("bucket").await;
    let until =
        |mode, ms| ObjectSettings { retention: Some(Retention { mode, until: START.plus_ms(ms) }), ..tags("x") };
    let governed = until(RetentionMode::Governance, 20_000);
    let id = place_with(&rig, &bucket, replica(-1), b"x", governed.clone()).await.unwrap().version_id;
    let (shorter, same) = (until(RetentionMode::Compliance, 10_000), until(RetentionMode::Compliance, 20_000));
    for (changed_ms, brought, then) in [(10, &shorter, &governed), (20, &same, &same)] {
        let now = update(&rig, &bucket, id, brought, changed_ms).await.unwrap();
        assert!(matches!(now, SettingsBrought::Applied(now) if now.settings == *then), "{changed_ms}");
    }
}

#[tokio::test]
async fn what_stays_behind_changes_nothing_there() {
    let (rig, bucket) = versioned_rig().await;
    let here = ObjectSettings { acl: Some(vec![1].into()), ..tags("here") };
    let of = ReplicaOf { changed: Some(START), ..replica(-1) };
    place_with(&rig, &bucket, of, b"x", here.clone()).await.unwrap();
    let both = Left { tags: true, acl: true };
    let changed = Some(START.plus_ms(10));
    let nothing = ObjectSettings::default();
    let bringing = Bringing { changed, left: both, ..Bringing::of(&nothing) };
    let brought = bring(&rig, &bucket, of.version_id, &bringing).await.unwrap();
    assert!(matches!(brought, SettingsBrought::Applied(now) if now.settings == here));
    // Also where the version comes again.
    let again = ReplicaOf { changed: Some(START.plus_ms(20)), left: Left { tags: true, acl: false }, ..of };
    let now = place(&rig, &bucket, again, b"x").await.unwrap();
    assert_eq!(now.settings, tags("here"));
    assert_eq!(now.replication.and_then(|replication| replication.changed), again.changed);
}

#[tokio::test]
async fn changes_from_the_far_future_are_refused() {
    let (rig, bucket) = versioned_rig().await;
    let far = Some(START.plus_ms(AHEAD_MS_MAX + 60_000));
    let from_future = |error| matches!(error, StorageError::ReplicaFromFuture { .. });
    let placed = place(&rig, &bucket, ReplicaOf { changed: far, ..replica(-1) }, b"x").await;
    assert!(from_future(placed.unwrap_err()));
    let id = place(&rig, &bucket, replica(-1), b"x").await.unwrap().version_id;
    let settings = tags("far");
    let brought = bring(&rig, &bucket, id, &Bringing { changed: far, ..Bringing::of(&settings) }).await;
    assert!(from_future(brought.unwrap_err()));
}

#[tokio::test]
async fn a_public_acl_is_refused_where_the_bucket_has_come_to_block_it() {
    let (rig, bucket) = versioned_rig().await;
    let id = place(&rig, &bucket, replica(-1), b"x").await.unwrap().version_id;
    let block = PublicAccessBlock { refuse_acls: true, ..PublicAccessBlock::default() };
    let blocked = |record: &mut BucketRecord| {
        record.public_access_block = Some(block);
        Ok(())
    };
    rig.store.update_bucket(&bucket, blocked).await.unwrap();
    let settings = ObjectSettings { acl: Some(vec![1].into()), ..ObjectSettings::default() };
    let bringing = Bringing { changed: Some(START), if_public_acls: true, ..Bringing::of(&settings) };
    let brought = bring(&rig, &bucket, id, &bringing).await;
    assert!(matches!(brought, Err(StorageError::PublicAccessBlocked)));
}

/// A replica that comes in one part, with an ACL, to a bucket that is changed between the creation of its upload and the end.
async fn completed_after(
    is_there: bool,
    change: impl Fn(&mut BucketRecord) -> Result<(), StorageError> + Send + Sync + 'static,
) -> Result<ObjectVersion, StorageError> {
    let (rig, bucket) = versioned_rig().await;
    let key = object_key(KEY);
    let settings = ObjectSettings { acl: Some(vec![1].into()), ..ObjectSettings::default() };
    if is_there {
        place_parts(&rig, &bucket, replica(-1), &[FILE_BYTES]).await.unwrap();
    }
    let of = ReplicaOf { changed: Some(START), ..replica(-1) };
    let create = CreateUpload { replica: Some(of), settings, acl_is_public: true, ..upload_of(None) };
    let upload = rig.store.create_upload(&bucket, &key, create).await.unwrap();
    let part = rig.store.upload_part(&bucket, &key, upload.id, 1, body(&bytes(5, FILE_BYTES)), keys().as_ref()).await;
    rig.store.update_bucket(&bucket, change).await.unwrap();
    let named = vec![NamedPart { number: 1, etag: part.unwrap().etag.to_string(), checksum: None }];
    let complete = CompleteUpload { parts: named, ..CompleteUpload::default() };
    rig.store.complete_upload(&bucket, &key, upload.id, complete, keys().as_ref()).await
}

#[tokio::test]
async fn an_upload_brings_no_public_acl_into_a_bucket_that_has_come_to_block_them() {
    for is_there in [false, true] {
        let block = PublicAccessBlock { refuse_acls: true, ..PublicAccessBlock::default() };
        let completed = completed_after(is_there, move |record| {
            record.public_access_block = Some(block);
            Ok(())
        });
        assert!(matches!(completed.await, Err(StorageError::PublicAccessBlocked)), "{is_there}");
    }
}

#[tokio::test]
async fn a_version_that_comes_again_brings_no_acl_into_a_bucket_that_has_come_to_have_none() {
    let completed = completed_after(true, |record| {
        record.ownership = ObjectOwnership::BucketOwnerEnforced;
        Ok(())
    });
    assert_eq!(completed.await.unwrap().settings.acl, None);
}

#[tokio::test]
async fn a_locked_replica_needs_a_bucket_with_object_lock() {
    let (rig, bucket) = versioned_rig().await;
    let held = ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() };
    let placed = place_with(&rig, &bucket, replica(0), b"x", held.clone()).await;
    assert!(matches!(placed, Err(StorageError::NoObjectLock)));
    // A retention that has ended meanwhile is no obstacle.
    let bucket = rig.create_lock_bucket("locked").await;
    let ended = Some(Retention { mode: RetentionMode::Compliance, until: Timestamp(5) });
    let settings = ObjectSettings { retention: ended, ..held };
    assert_eq!(place_with(&rig, &bucket, replica(0), b"x", settings.clone()).await.unwrap().settings, settings);
}

/// One version of the key, or a change of its settings.
#[derive(Clone, Debug)]
enum Arrival {
    Object { ms: i64 },
    Marker { ms: i64 },
    Settings { ms: i64, value: String, changed_ms: i64 },
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = prop_oneof![
        (0..6_i64).prop_map(|n| Arrival::Object { ms: 2 * n }),
        (0..6_i64).prop_map(|n| Arrival::Marker { ms: 2 * n + 1 }),
        (0..6_i64, "[a-c]", 1..4_i64).prop_map(|(n, value, changed_ms)| Arrival::Settings {
            ms: 2 * n,
            value,
            changed_ms
        }),
    ];
    proptest::collection::vec(arrival, 1..12)
}

/// All that there is in the end, as rows of the index, but for the names of contents.
async fn end_of(arrivals: &[Arrival]) -> (Vec<String>, Vec<i64>) {
    let (rig, bucket) = versioned_rig().await;
    for arrival in arrivals {
        match arrival {
            Arrival::Object { ms } => drop(place(&rig, &bucket, replica(*ms), b"x").await.unwrap()),
            Arrival::Marker { ms } => drop(place_marker(&rig, &bucket, replica(*ms)).await.unwrap()),
            // The worker brings settings with the version if it is not there.
            Arrival::Settings { ms, value, changed_ms } => {
                let of = ReplicaOf { changed: Some(START.plus_ms(*changed_ms)), ..replica(*ms) };
                drop(place_with(&rig, &bucket, of, b"x", tags(value)).await.unwrap());
            }
        }
    }
    rig.collect_all().await;
    let mut end = vec![newest(&rig, &bucket).await.to_string()];
    for ms in 0..12 {
        let id = replica(ms).version_id;
        let version = rig.store.any_version(bucket.id, &object_key(KEY), id).await.unwrap();
        if let Some(cairn_storage::index::family::version::Version::Object(object)) = &version {
            end.push(format!("{ms} {:?} {:?}", object.settings, object.replication));
        } else {
            end.push(format!("{ms} {version:?}"));
        }
    }
    let rows = [Family::Current, Family::Hidden, Family::Version, Family::Inline];
    let mut counts = rig.usage(&bucket).await.to_vec();
    for family in rows {
        counts.push(i64::try_from(rig.rows(bucket.id, family).await).unwrap());
    }
    (end, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arrival_in_any_order_and_any_number_ends_the_same(
        (first, second) in arrivals().prop_flat_map(|all| {
            let twice: Vec<_> = all.iter().chain(all.iter().take(3)).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        })
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = runtime.block_on(async { (end_of(&first).await, end_of(&second).await) });
        prop_assert_eq!(one, other);
    }
}
