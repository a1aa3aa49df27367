//! Comparisons of the store with the model.

use std::collections::HashSet;

use cairn_storage::StorageError;
use cairn_storage::id::ContentId;
use cairn_storage::index::Family;
use cairn_storage::index::family::job::Queue;
use cairn_storage::object::Content;
use cairn_storage::ops::{
    Bucket, GetObject, ListObjects, ListUploads, Listed, ListedUpload, RangeRequest, Select, VersionSelector,
};

use super::state::{BUCKETS, ModelBucket, ModelContent, ModelVersion, World};
use super::step::drain_readers;
use super::versions;
use crate::rig::{INLINE_BYTES_MAX, Rig, object_key};

/// The key's newest version, and a random range of it.
pub async fn key(world: &mut World, bucket: usize, key: &str) {
    let handle = world.rig.bucket(BUCKETS[bucket]).await.unwrap();
    let newest = world.buckets[bucket].newest(key).cloned();
    check_newest(&world.rig, &handle, key, newest.as_ref()).await;
    let Some(bytes) = newest.and_then(|version| version.content.bytes()).filter(|bytes| !bytes.is_empty()) else {
        return;
    };
    let first = world.below(bytes.len());
    let last = first + world.below(bytes.len() - first);
    let range = RangeRequest::From { first: first as u64, last: Some(last as u64) };
    let get = GetObject { select: Select::Range(range), ..GetObject::default() };
    assert!(world.rig.get_with(&handle, key, get).await.unwrap() == bytes[first..=last], "{first}-{last} of {key}");
}

async fn check_newest(rig: &Rig, handle: &Bucket, key: &str, newest: Option<&ModelVersion>) {
    let got = rig.get(handle, key).await;
    match (got, newest) {
        (Err(StorageError::NoSuchKey { delete_marker: None }), None) => {}
        (Err(StorageError::NoSuchKey { delete_marker: Some(id) }), Some(version))
            if version.content.bytes().is_none() =>
        {
            assert_eq!(id, version.shown());
        }
        (Ok(got), Some(version)) => assert!(Some(got) == version.content.bytes(), "other bytes of {key:?}"),
        (got, newest) => panic!("{key:?}: {got:?}, expected {newest:?}"),
    }
}

/// Every version, the listings, the uploads and the counters of every bucket.
pub async fn everything(world: &World) {
    for (name, model) in BUCKETS.iter().zip(&world.buckets) {
        let handle = world.rig.bucket(name).await.unwrap();
        assert_eq!(handle.versioning, model.versioning);
        assert_eq!((handle.object_lock, handle.default_retention), (model.object_lock, model.default_retention));
        for (key, versions) in &model.keys {
            check_newest(&world.rig, &handle, key, versions.last()).await;
            for version in versions {
                check_version(&world.rig, &handle, key, version).await;
            }
            let null = world.rig.get_version(&handle, key, VersionSelector::Null).await;
            let expected = versions.iter().find(|version| version.is_null);
            assert_eq!(matches!(null, Err(StorageError::NoSuchVersion)), expected.is_none(), "{key:?}: {null:?}");
        }
        check_listings(&world.rig, &handle, model).await;
        versions::check(&world.rig, &handle, model).await;
        check_uploads(&world.rig, &handle, model).await;
        assert_eq!(world.rig.usage(&handle).await, usage(model));
    }
}

async fn check_version(rig: &Rig, handle: &Bucket, key: &str, version: &ModelVersion) {
    let got = rig.get_version(handle, key, VersionSelector::Id(version.id)).await;
    match (got, version.content.bytes()) {
        (Ok(got), Some(bytes)) => assert!(got == bytes, "other bytes of {key:?} {}", version.id),
        (Err(StorageError::IsDeleteMarker(id)), None) => assert_eq!(id, version.shown()),
        (got, _) => panic!("{key:?} {}: {got:?}", version.id),
    }
    super::lock::check(rig, handle, key, version).await;
    if let ModelContent::Parts(parts) = &version.content {
        for (number, bytes) in (1..).zip(parts) {
            let select = Select::Part(number);
            let get = GetObject { version: VersionSelector::Id(version.id), select, ..GetObject::default() };
            assert!(rig.get_with(handle, key, get).await.unwrap() == *bytes, "part {number} of {key:?}");
        }
    }
}

async fn check_listings(rig: &Rig, handle: &Bucket, model: &ModelBucket) {
    let list = ListObjects { max_keys: 1_000, ..ListObjects::default() };
    let page = rig.store.list_objects(handle, list.clone()).await.unwrap();
    let listed: Vec<(String, u64)> = page
        .entries
        .into_iter()
        .map(|entry| match entry {
            Listed::Object(key, summary) => (key.as_str().to_owned(), summary.size_bytes),
            Listed::Prefix(prefix) => panic!("{prefix}"),
        })
        .collect();
    let expected: Vec<(String, u64)> = model
        .keys
        .iter()
        .filter_map(|(key, versions)| Some((key.clone(), versions.last()?.content.bytes()?.len() as u64)))
        .collect();
    assert_eq!(listed, expected);
    let folded = ListObjects { delimiter: Some("/".to_owned()), ..list };
    let page = rig.store.list_objects(handle, folded).await.unwrap();
    let names: Vec<&str> = page.entries.iter().map(Listed::name).collect();
    let mut expected: Vec<&str> =
        expected.iter().map(|(key, _)| key.find('/').map_or(&key[..], |slash| &key[..=slash])).collect();
    expected.dedup();
    assert_eq!(names, expected);
}

async fn check_uploads(rig: &Rig, handle: &Bucket, model: &ModelBucket) {
    let list = ListUploads { max_uploads: 1_000, ..ListUploads::default() };
    let page = rig.store.list_uploads(handle, list).await.unwrap();
    let listed: Vec<_> = page
        .entries
        .into_iter()
        .map(|entry| match entry {
            ListedUpload::Upload(upload) => (upload.key.as_str().to_owned(), upload.id),
            ListedUpload::Prefix(prefix) => panic!("{prefix}"),
        })
        .collect();
    let mut expected: Vec<_> = model.open_uploads().map(|(id, upload)| (upload.key.clone(), *id)).collect();
    expected.sort();
    assert_eq!(listed, expected);
    for (id, upload) in model.open_uploads() {
        let page = rig.store.list_parts(handle, &object_key(&upload.key), *id, 0, 100).await.unwrap();
        assert_eq!(page.parts, upload.parts.values().map(|(part, _)| part.clone()).collect::<Vec<_>>());
    }
}

fn usage(model: &ModelBucket) -> [i64; 3] {
    let sizes = |versions: &[ModelVersion]| -> Vec<usize> {
        versions.iter().filter_map(|version| Some(version.content.bytes()?.len())).collect()
    };
    let objects = model.keys.values().filter(|versions| !sizes(&versions[versions.len() - 1..]).is_empty()).count();
    let all: Vec<usize> = model.keys.values().flat_map(|versions| sizes(versions)).collect();
    [objects as i64, all.len() as i64, all.iter().sum::<usize>() as i64]
}

/// Once the collector has come to rest, exactly what the model holds exists: files and rows.
pub async fn nothing_else_is_left(world: &mut World) {
    drain_readers(world).await;
    // Tasks of a time when the wall clock was ahead wait until it is there again.
    world.rig.clock.jump_ms(super::lock::JUMPS_MS_MAX);
    world.rig.collect_all().await;
    let mut files_count = 0;
    for (name, model) in BUCKETS.iter().zip(&world.buckets) {
        let handle = world.rig.bucket(name).await.unwrap();
        let (contents, composites_count) = contents(model);
        let files = contents.iter().filter(|size| **size > INLINE_BYTES_MAX).count();
        let inline = contents.iter().filter(|size| (1..=INLINE_BYTES_MAX).contains(*size)).count();
        let parts_count: usize = model.open_uploads().map(|(_, upload)| upload.parts.len()).sum();
        let expected = [
            (Family::Content, files + composites_count),
            (Family::Inline, inline),
            (Family::Layout, composites_count),
            (Family::Part, parts_count),
        ];
        for (family, expected) in expected {
            assert_eq!(world.rig.rows(handle.id, family).await, expected, "{family:?} of {name}");
        }
        assert!(world.rig.tasks(handle.id.into(), Queue::Dead).await.is_empty());
        files_count += files;
    }
    let files = world.rig.files();
    assert_eq!(files.len(), files_count, "files");
    check_files_are_named(world, &files).await;
}

/// The sizes of all contents that are not composites, and how many composites there are.
fn contents(model: &ModelBucket) -> (Vec<usize>, usize) {
    let (mut sizes, mut composites_count) = (Vec::new(), 0);
    let mut origins = HashSet::new();
    for version in model.keys.values().flatten().filter(|version| origins.insert(version.origin)) {
        match &version.content {
            ModelContent::Marker => {}
            ModelContent::Whole(bytes) => sizes.push(bytes.len()),
            ModelContent::Parts(parts) => {
                composites_count += 1;
                sizes.extend(parts.iter().map(Vec::len));
            }
        }
    }
    for (_, upload) in model.open_uploads() {
        sizes.extend(upload.parts.values().map(|(_, bytes)| bytes.len()));
    }
    (sizes, composites_count)
}

/// Each file that exists is one that a `content` row names, and each version's file exists.
async fn check_files_are_named(world: &World, files: &[ContentId]) {
    let mut named = Vec::new();
    for (name, model) in BUCKETS.iter().zip(&world.buckets) {
        let handle = world.rig.bucket(name).await.unwrap();
        let keys = world.rig.keys(handle.id.into(), Family::Content).await;
        named.extend(keys.iter().map(|key| ContentId::from_slice(key).unwrap()));
        for (key, version) in model.keys.iter().flat_map(|(key, all)| all.iter().map(move |one| (key, one))) {
            let version = VersionSelector::Id(version.id);
            let get = GetObject { version, ..GetObject::default() };
            if let Ok(head) = world.rig.store.head_object(&handle, &object_key(key), get).await
                && let Content::File(id) = head.object.content
            {
                assert!(files.contains(&id), "{key:?} has no file");
            }
        }
    }
    assert!(files.iter().all(|file| named.contains(file)), "a file without a row");
}
