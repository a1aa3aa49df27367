//! One random step: an operation on the store and on the model, and the comparison of their answers.

use cairn_storage::StorageError;
use cairn_storage::id::{UploadId, VersionId};
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::jobs::collect::Collector;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::multipart::PART_BYTES_MIN;
use cairn_storage::ops::{
    CopyObject, CopySource, CreateUpload, DeleteOutcome, GetObject, Governance, Part, Permit, Powers, ReadConditions,
    ReturnedVersion, VersionSelector, WriteConditions,
};

use super::check;
use super::lock::{self, ModelLock};
use super::state::{BUCKETS, ModelContent, ModelUpload, ModelVersion, World};
use crate::rig::{TestKeys, drain, keys, object_key, owner, upload_of};

/// How many bodies may wait to be read.
const READERS_MAX: usize = 4;

pub async fn take(world: &mut World) {
    let bucket = world.below(BUCKETS.len());
    let key = world.pick_key();
    match world.below(118) {
        0..24 => put(world, bucket, &key).await,
        24..34 => copy(world, bucket, &key).await,
        34..44 => delete(world, bucket, &key).await,
        44..56 => delete_version(world, bucket, &key).await,
        56..58 => change_versioning(world, bucket).await,
        58..63 => create_upload(world, bucket, &key).await,
        63..75 => upload_part(world, bucket).await,
        75..82 => complete(world, bucket).await,
        82..85 => abort(world, bucket).await,
        85..90 => open_reader(world, bucket, &key).await,
        90..94 => drain_readers(world).await,
        94..97 => {
            world.rig.run_due(&Collector).await;
        }
        97 => lock::pass_time(world),
        98..100 => delete_bucket(world, bucket).await,
        100..102 => lock::jump(world),
        102..105 => lock::set_object_lock(world, bucket).await,
        105..109 => lock::put(world, bucket, &key).await,
        109..113 => lock::retain(world, bucket, &key).await,
        113..117 => lock::hold(world, bucket, &key).await,
        _ => lock::keep_time(world).await,
    }
    check::key(world, bucket, &key).await;
}

/// A new version, which the bucket's default retention applies to.
fn added(world: &World, bucket: usize, object: &ObjectVersion, content: ModelContent) -> ModelVersion {
    let lock = lock::by_default(world, bucket);
    ModelVersion { id: object.version_id, origin: object.version_id, is_null: object.is_null, content, lock }
}

async fn put(world: &mut World, bucket: usize, key: &str) {
    let bytes = world.new_content();
    let handle = world.handle(bucket).await;
    let object = world.rig.put(&handle, key, &bytes).await;
    assert_eq!(object.is_null, world.buckets[bucket].versioning != Versioning::Enabled);
    let version = added(world, bucket, &object, ModelContent::Whole(bytes));
    world.buckets[bucket].add(key, version);
}

async fn copy(world: &mut World, bucket: usize, key: &str) {
    let (from, from_key) = (world.below(BUCKETS.len()), world.pick_key());
    let (source_bucket, target) = (world.handle(from).await, world.handle(bucket).await);
    let source_key = object_key(&from_key);
    let conditions = ReadConditions::default();
    let source = CopySource {
        bucket: &source_bucket,
        key: &source_key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions,
        keys: keys(),
    };
    let copy = CopyObject {
        redirect_location: None,
        attributes: Some(Default::default()),
        storage_class: None,
        tags: None,
        settings: Default::default(),
        owner: owner(),
        checksum: None,
        sealing: world.rig.sealing(),
        names_encryption: false,
        conditions: WriteConditions::default(),
    };
    let copied = world.rig.store.copy_object(source, &target, &object_key(key), copy).await;
    let source = world.buckets[from].newest(&from_key).cloned();
    let expected = source.as_ref().and_then(|source| source.content.bytes());
    match (copied, expected) {
        (Ok(copied), Some(bytes)) => {
            // Within a bucket a copy shares what is not inline, with its parts.
            let shared = source.filter(|source| from == bucket && source.content.can_be_shared());
            let origin = shared.as_ref().map_or(copied.object.version_id, |source| source.origin);
            let content = shared.map_or(ModelContent::Whole(bytes), |source| source.content);
            let version = ModelVersion { origin, ..added(world, bucket, &copied.object, content) };
            world.buckets[bucket].add(key, version);
        }
        (Err(StorageError::NoSuchKey { .. }), None) => {}
        (copied, expected) => panic!("copied {copied:?}, expected {:?}", expected.map(|bytes| bytes.len())),
    }
}

async fn delete(world: &mut World, bucket: usize, key: &str) {
    let handle = world.handle(bucket).await;
    let outcome = world.rig.delete(&handle, key).await;
    let model = &mut world.buckets[bucket];
    match model.versioning {
        Versioning::Unversioned => {
            assert_eq!(outcome, DeleteOutcome::default());
            model.keys.remove(key);
        }
        versioning => {
            assert!(outcome.delete_marker);
            let is_null = versioning == Versioning::Suspended;
            assert_eq!(is_null, outcome.version == Some(ReturnedVersion::Null));
            // Only the index knows the id of a null marker.
            let id = world.rig.newest_id(&handle, key).await;
            model.add(
                key,
                ModelVersion { id, origin: id, is_null, content: ModelContent::Marker, lock: ModelLock::default() },
            );
        }
    }
}

async fn delete_version(world: &mut World, bucket: usize, key: &str) {
    let handle = world.handle(bucket).await;
    let count = world.buckets[bucket].versions(key).len();
    let nth = world.below(count + 2);
    let model = &world.buckets[bucket];
    let (selector, target) = match model.versions(key).get(nth) {
        Some(version) => (VersionSelector::Id(version.id), Some(version.clone())),
        None if nth == count => (VersionSelector::Null, model.find(key, |version| version.is_null)),
        None => (VersionSelector::Id(VersionId::from_bytes([9; 16])), None),
    };
    let governance = if world.chance(2) { Governance::Heeded } else { Governance::Bypassed };
    let outcome = world.rig.delete_version_as(&handle, key, selector, governance).await;
    if target.as_ref().is_some_and(|target| target.lock.binds(lock::time(world), governance)) {
        assert!(matches!(outcome, Err(StorageError::Locked(_))), "{outcome:?} of {target:?}");
        return;
    }
    let outcome = outcome.unwrap();
    let model = &mut world.buckets[bucket];
    let shown = match (&target, selector) {
        _ if model.versioning == Versioning::Unversioned => None,
        (Some(version), _) => Some(ReturnedVersion::of(version.is_null, version.id)),
        (None, VersionSelector::Id(id)) => Some(ReturnedVersion::Id(id)),
        (None, _) => Some(ReturnedVersion::Null),
    };
    let delete_marker = matches!(&target, Some(ModelVersion { content: ModelContent::Marker, .. }));
    assert_eq!(outcome, DeleteOutcome { version: shown, delete_marker });
    if let Some(target) = target {
        model.remove(key, target.id);
    }
}

async fn change_versioning(world: &mut World, bucket: usize) {
    let versioning = if world.chance(2) { Versioning::Enabled } else { Versioning::Suspended };
    let handle = world.handle(bucket).await;
    match world.rig.store.set_versioning(&handle, versioning, None, Powers::default()).await {
        Ok(()) => world.buckets[bucket].versioning = versioning,
        Err(StorageError::InvalidBucketState { .. }) => {
            assert!(world.buckets[bucket].object_lock && versioning != Versioning::Enabled);
        }
        Err(error) => panic!("{error}"),
    }
}

async fn create_upload(world: &mut World, bucket: usize, key: &str) {
    let handle = world.handle(bucket).await;
    let create = CreateUpload { sealing: world.rig.sealing(), ..upload_of(None) };
    let upload = world.rig.store.create_upload(&handle, &object_key(key), create).await.unwrap();
    let model = ModelUpload { key: key.to_owned(), parts: Default::default(), completed: None };
    world.buckets[bucket].uploads.insert(upload.id, model);
}

/// One of the bucket's uploads, open or completed.
fn pick_upload(world: &mut World, bucket: usize) -> Option<(UploadId, ModelUpload)> {
    let count = world.buckets[bucket].uploads.len();
    let nth = world.below(count.max(1));
    world.buckets[bucket].uploads.iter().nth(nth).map(|(id, upload)| (*id, upload.clone()))
}

async fn upload_part(world: &mut World, bucket: usize) {
    let Some((id, upload)) = pick_upload(world, bucket) else { return };
    let handle = world.handle(bucket).await;
    let number = 1 + world.below(4) as u16;
    let bytes = if world.chance(30) { world.content_of(PART_BYTES_MIN as usize) } else { world.new_content() };
    let part = world.rig.upload_part(&handle, &upload.key, id, number, &bytes).await;
    match (part, upload.completed) {
        (Ok(part), None) => {
            let upload = world.buckets[bucket].uploads.get_mut(&id).unwrap();
            upload.parts.insert(number, (part, bytes));
        }
        (Err(StorageError::NoSuchUpload), Some(_)) => {}
        (part, _) => panic!("{part:?}"),
    }
}

async fn complete(world: &mut World, bucket: usize) {
    let Some((id, upload)) = pick_upload(world, bucket) else { return };
    let handle = world.handle(bucket).await;
    if let Some((named, answer)) = &upload.completed {
        let again = world.rig.complete(&handle, &upload.key, id, named).await.unwrap();
        assert_eq!(&again, answer);
        return;
    }
    // One part, or all of them from some number on.
    let first = 1 + world.below(4) as u16;
    let only = world.chance(2);
    let named: Vec<(Part, Vec<u8>)> =
        upload.parts.range(first..).take(if only { 1 } else { usize::MAX }).map(|(_, part)| part.clone()).collect();
    let parts: Vec<Part> = named.iter().map(|(part, _)| part.clone()).collect();
    let completed = world.rig.complete(&handle, &upload.key, id, &parts).await;
    let small = parts.iter().rev().skip(1).any(|part| part.size_bytes < PART_BYTES_MIN);
    match completed {
        Err(StorageError::InvalidPart { .. }) if parts.is_empty() => {}
        Err(StorageError::PartTooSmall { .. }) if small => {}
        Ok(object) if !parts.is_empty() && !small => {
            let content = ModelContent::Parts(named.into_iter().map(|(_, bytes)| bytes).collect());
            let version = added(world, bucket, &object, content);
            let model = &mut world.buckets[bucket];
            model.add(&upload.key, version);
            model.uploads.get_mut(&id).unwrap().completed = Some((parts, object));
        }
        completed => panic!("{completed:?}"),
    }
}

async fn abort(world: &mut World, bucket: usize) {
    let Some((id, upload)) = pick_upload(world, bucket) else { return };
    let handle = world.handle(bucket).await;
    match (world.rig.abort(&handle, &upload.key, id).await, upload.completed) {
        (Ok(()), None) => {
            world.buckets[bucket].uploads.remove(&id);
        }
        (Err(StorageError::NoSuchUpload), Some(_)) => {}
        (aborted, _) => panic!("{aborted:?}"),
    }
}

/// Opens a version and leaves it unread, whatever becomes of it.
async fn open_reader(world: &mut World, bucket: usize, key: &str) {
    let Some(version) = world.buckets[bucket].newest(key).cloned() else { return };
    let Some(bytes) = version.content.bytes() else { return };
    let handle = world.handle(bucket).await;
    let get = GetObject { version: VersionSelector::Id(version.id), ..GetObject::default() };
    let body = world.rig.open(&handle, key, get, &TestKeys::new(None)).await.unwrap();
    if world.readers.len() == READERS_MAX {
        world.readers.remove(0);
    }
    world.readers.push((body, bytes));
}

pub async fn drain_readers(world: &mut World) {
    for (body, bytes) in std::mem::take(&mut world.readers) {
        assert!(drain(body).await.unwrap() == bytes, "a reader got other bytes");
    }
}

async fn delete_bucket(world: &mut World, bucket: usize) {
    // Now and then the bucket is emptied first; otherwise it hardly ever would be.
    if world.chance(3) {
        empty(world, bucket).await;
    }
    let handle = world.handle(bucket).await;
    let empty = world.buckets[bucket].is_empty();
    match world.rig.store.delete_bucket(&handle).await {
        Ok(()) if empty => {
            let gone = world.rig.bucket(BUCKETS[bucket]).await;
            assert!(matches!(gone, Err(StorageError::NoSuchBucket)));
            world.buckets[bucket] = lock::create_bucket(world, bucket).await;
        }
        Err(StorageError::BucketNotEmpty) if !empty => {}
        deleted => panic!("{deleted:?}, empty: {empty}"),
    }
}

async fn empty(world: &mut World, bucket: usize) {
    let handle = world.handle(bucket).await;
    let lock_time = lock::time(world);
    let model = &mut world.buckets[bucket];
    for (key, versions) in std::mem::take(&mut model.keys) {
        let (locked, free): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|version| version.lock.binds(lock_time, Governance::Bypassed));
        for version in free {
            let version = VersionSelector::Id(version.id);
            world.rig.delete_version_as(&handle, &key, version, Governance::Bypassed).await.unwrap();
        }
        if !locked.is_empty() {
            model.keys.insert(key, locked);
        }
    }
    let open: Vec<(UploadId, String)> = model.open_uploads().map(|(id, upload)| (*id, upload.key.clone())).collect();
    for (id, key) in open {
        world.rig.abort(&handle, &key, id).await.unwrap();
        model.uploads.remove(&id);
    }
}
