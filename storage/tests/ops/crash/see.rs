//! What clients see after a power cut, and what must hold of it.

use std::collections::BTreeMap;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::Family;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::family::version::VersionSummary;
use cairn_storage::object::{Restored, RetrievalTier, StorageClass};
use cairn_storage::ops::{
    Bucket, GetObject, ListBuckets, ListObjects, ListUploads, ListVersions, ListedUpload, ListedVersion, Permit,
    VersionSelector,
};

use crate::rig::{Rig, START, TestKeys, drain, object_key, owner};

/// A version as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenVersion {
    pub is_null: bool,
    /// None: a delete marker.
    pub content: Option<Vec<u8>>,
    pub access: Access,
}

/// When a version can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Free,
    Archived,
    Restored(Restored),
}

/// A restore that is ready and does not end.
const THAWED: Restored =
    Restored { requested: START, ready: START, ends: Timestamp(i64::MAX), tier: RetrievalTier::Expedited };

impl SeenVersion {
    pub fn free(is_null: bool, content: Option<Vec<u8>>) -> Self {
        Self { is_null, content, access: Access::Free }
    }

    fn is_readable(&self, now: Timestamp) -> bool {
        match self.access {
            Access::Free => true,
            Access::Archived => false,
            Access::Restored(restored) => restored.ready <= now && now < restored.ends,
        }
    }
}

/// What clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub buckets: BTreeMap<String, Versioning>,
    /// By bucket and key, newest first.
    pub versions: BTreeMap<(String, String), Vec<SeenVersion>>,
    /// The parts' ETags of open uploads, by key.
    pub uploads: BTreeMap<String, BTreeMap<u16, String>>,
}

impl Seen {
    /// A new version of the key, as the bucket's versioning has it: a `null` one replaces the `null` one.
    pub fn write(&mut self, bucket: &str, key: &str, content: Option<Vec<u8>>) {
        let is_null = self.buckets[bucket] != Versioning::Enabled;
        let versions = self.versions.entry((bucket.to_owned(), key.to_owned())).or_default();
        versions.retain(|version| !(is_null && version.is_null));
        versions.insert(0, SeenVersion::free(is_null, content));
    }

    /// The key's version goes for good.
    pub fn remove(&mut self, bucket: &str, key: &str, nth: usize) {
        let at = (bucket.to_owned(), key.to_owned());
        let versions = self.versions.get_mut(&at).unwrap();
        versions.remove(nth);
        if versions.is_empty() {
            self.versions.remove(&at);
        }
    }

    /// The key's newest version.
    pub fn newest(&self, bucket: &str, key: &str) -> &SeenVersion {
        &self.versions[&(bucket.to_owned(), key.to_owned())][0]
    }

    /// The same to change it.
    pub fn newest_mut(&mut self, bucket: &str, key: &str) -> &mut SeenVersion {
        &mut self.versions.get_mut(&(bucket.to_owned(), key.to_owned())).unwrap()[0]
    }

    /// What is seen of it at this time: no bytes of what is archived.
    pub fn shown_at(&self, now: Timestamp) -> Self {
        let mut shown = self.clone();
        for version in shown.versions.values_mut().flatten().filter(|version| !version.is_readable(now)) {
            version.content = Some(Vec::new());
        }
        shown
    }
}

pub async fn see(rig: &Rig) -> Result<Seen, StorageError> {
    let mut seen = Seen::default();
    let all = ListBuckets { prefix: String::new(), after: None, max_buckets: 100 };
    for bucket in rig.store.list_buckets(owner(), all).await?.buckets {
        let handle = rig.bucket(&bucket.name).await?;
        for (key, versions) in versions(rig, &handle).await? {
            let mut all = Vec::new();
            for version in versions {
                let id = VersionSelector::Id(version.id());
                let (content, access) = match version {
                    VersionSummary::Object(_) => {
                        (Some(read(rig, &handle, &key, id).await?), access(rig, &handle, &key, id).await?)
                    }
                    VersionSummary::Marker(_) => (None, Access::Free),
                };
                all.push(SeenVersion { is_null: version.is_null(), content, access });
            }
            seen.versions.insert((bucket.name.clone(), key), all);
        }
        check_objects(rig, &handle, &seen).await?;
        let list = ListUploads { max_uploads: 100, ..ListUploads::default() };
        for entry in rig.store.list_uploads(&handle, list).await?.entries {
            let ListedUpload::Upload(upload) = entry else { continue };
            let page = rig.store.list_parts(&handle, &upload.key, upload.id, 0, 100).await?;
            let parts = page.parts.into_iter().map(|part| (part.number, part.etag.to_string())).collect();
            seen.uploads.insert(upload.key.as_str().to_owned(), parts);
        }
        seen.buckets.insert(bucket.name, handle.versioning);
    }
    Ok(seen)
}

async fn access(rig: &Rig, bucket: &Bucket, key: &str, version: VersionSelector) -> Result<Access, StorageError> {
    let get = GetObject { version, ..GetObject::default() };
    let object = rig.store.head_object(bucket, &object_key(key), get).await?.object;
    Ok(match object.restored {
        _ if !object.is_archived() => Access::Free,
        None => Access::Archived,
        Some(restored) => Access::Restored(restored),
    })
}

/// Restores all that is archived, and tells whether everything is as it is to be.
pub async fn thaw(rig: &Rig, expected: &Seen) -> Result<bool, StorageError> {
    let mut thawed = expected.clone();
    let archived: Vec<_> = thawed
        .versions
        .iter_mut()
        .flat_map(|(at, versions)| versions.iter_mut().enumerate().map(move |(nth, version)| (at, nth, version)))
        .filter(|(.., version)| version.access != Access::Free)
        .collect();
    if archived.is_empty() {
        return Ok(true);
    }
    for ((bucket, key), nth, version) in archived {
        let bucket = rig.bucket(bucket).await?;
        let id = VersionSelector::Id(versions(rig, &bucket).await?[key][nth].id());
        rig.store.restore_object(&bucket, &object_key(key), id, &Permit::any(), |_| Ok(THAWED)).await?;
        version.access = Access::Restored(THAWED);
    }
    Ok(see(rig).await? == thawed)
}

/// A version's bytes, if need be with the key of the customer; none of what is archived.
async fn read(rig: &Rig, bucket: &Bucket, key: &str, version: VersionSelector) -> Result<Vec<u8>, StorageError> {
    match rig.get_version(bucket, key, version).await {
        Err(StorageError::KeyMissing) => {
            let get = GetObject { version, ..GetObject::default() };
            drain(rig.open(bucket, key, get, &TestKeys::new(Some(1))).await?).await
        }
        Err(StorageError::Archived { .. }) => Ok(Vec::new()),
        read => read,
    }
}

/// Each key's versions, newest first.
pub async fn versions(rig: &Rig, bucket: &Bucket) -> Result<BTreeMap<String, Vec<VersionSummary>>, StorageError> {
    let mut versions: BTreeMap<String, Vec<VersionSummary>> = BTreeMap::new();
    let list = ListVersions { max_keys: 100, ..ListVersions::default() };
    for entry in rig.store.list_versions(bucket, list).await?.entries {
        let ListedVersion::Version { key, version, .. } = entry else { continue };
        versions.entry(key.as_str().to_owned()).or_default().push(version);
    }
    Ok(versions)
}

/// The listing of objects and plain reads show the newest versions.
async fn check_objects(rig: &Rig, bucket: &Bucket, seen: &Seen) -> Result<(), StorageError> {
    let mut objects = Vec::new();
    let list = ListObjects { max_keys: 100, ..ListObjects::default() };
    for entry in rig.store.list_objects(bucket, list).await?.entries {
        let content = read(rig, bucket, entry.name(), VersionSelector::Newest).await?;
        objects.push((entry.name().to_owned(), content));
    }
    let of_bucket = seen.versions.iter().filter(|((name, _), _)| name == bucket.name.as_str());
    let newest = of_bucket.filter_map(|((_, key), versions)| Some((key.clone(), versions[0].content.clone()?)));
    if objects == newest.collect::<Vec<_>>() {
        Ok(())
    } else {
        Err(StorageError::corrupt("objects are not the newest"))
    }
}

pub async fn check_usage(rig: &Rig, seen: &Seen) -> Result<(), String> {
    for name in seen.buckets.keys() {
        let handle = rig.bucket(name).await.map_err(|error| error.to_string())?;
        let mut expected = [0; 3];
        for (_, versions) in seen.versions.iter().filter(|((bucket, _), _)| bucket == name) {
            expected[0] += i64::from(versions[0].content.is_some());
            for content in versions.iter().filter_map(|version| version.content.as_ref()) {
                expected[1] += 1;
                expected[2] += content.len() as i64;
            }
        }
        // Versions that moved are counted in their class.
        let mut usage = [0; 3];
        for class in StorageClass::ALL {
            let of_class = rig.usage_of(&handle, class).await;
            usage.iter_mut().zip(of_class).for_each(|(sum, count)| *sum += count);
        }
        if usage != expected {
            return Err(format!("the counters of {name} are {usage:?}, not {expected:?}"));
        }
    }
    Ok(())
}

pub async fn check_files(rig: &Rig) -> Result<(), String> {
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for (_, entry) in rig.store.all_buckets().await.unwrap() {
        let layouts = rig.keys(entry.bucket.into(), Family::Layout).await;
        let contents = rig.keys(entry.bucket.into(), Family::Content).await;
        rows.extend(contents.into_iter().filter(|id| !layouts.iter().any(|layout| layout.starts_with(id))));
    }
    rows.sort();
    let files: Vec<Vec<u8>> = rig.files().iter().map(|id| id.as_bytes().to_vec()).collect();
    if files == rows { Ok(()) } else { Err(format!("{} files for {} rows", files.len(), rows.len())) }
}
