//! The model: what clients may expect, and the dice.

use std::collections::BTreeMap;

use cairn_storage::clock::Clock as _;
use cairn_storage::id::{UploadId, VersionId};
use cairn_storage::index::family::bucket::{DefaultRetention, Versioning};
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::ReturnedVersion;
use cairn_storage::ops::{Bucket, ObjectBody, Part};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::home::Home;
use super::lock::{ModelLock, ModelLockTime};
use crate::rig::{INLINE_BYTES_MAX, Rig};

pub const BUCKETS: [&str; 2] = ["bucket-one", "bucket-two"];

/// Few keys, so that they meet; some share prefixes.
const KEYS: [&str; 7] = ["a", "a/", "a/b", "a/c", "a\0b", "ä", "b/b/b"];

pub struct World {
    pub rig: Rig,
    pub random: SmallRng,
    pub buckets: [ModelBucket; 2],
    /// Bodies that were opened and not read yet, with what they must give.
    pub readers: Vec<(ObjectBody, Vec<u8>)>,
    /// Distinguishes contents from each other.
    pub contents_count: u64,
    pub lock_time: ModelLockTime,
    lives: u64,
}

pub struct ModelBucket {
    /// As it was looked up when it was created; operations must not depend on its being fresh.
    pub stale: Bucket,
    pub versioning: Versioning,
    pub object_lock: bool,
    pub default_retention: Option<DefaultRetention>,
    /// Each key's versions, oldest first.
    pub keys: BTreeMap<String, Vec<ModelVersion>>,
    pub uploads: BTreeMap<UploadId, ModelUpload>,
}

#[derive(Clone, Debug)]
pub struct ModelVersion {
    pub id: VersionId,
    /// The version that the content came with: another one's if this is a copy that shares it.
    pub origin: VersionId,
    pub is_null: bool,
    pub content: ModelContent,
    pub lock: ModelLock,
}

impl ModelVersion {
    pub fn shown(&self) -> ReturnedVersion {
        ReturnedVersion::of(self.is_null, self.id)
    }
}

#[derive(Clone, Debug)]
pub enum ModelContent {
    Marker,
    Whole(Vec<u8>),
    Parts(Vec<Vec<u8>>),
}

impl ModelContent {
    /// The object's bytes; None for a delete marker.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Marker => None,
            Self::Whole(bytes) => Some(bytes.clone()),
            Self::Parts(parts) => Some(parts.concat()),
        }
    }
}

impl ModelContent {
    pub fn can_be_shared(&self) -> bool {
        match self {
            Self::Marker => false,
            Self::Whole(bytes) => bytes.len() > INLINE_BYTES_MAX,
            Self::Parts(_) => true,
        }
    }
}

#[derive(Clone)]
pub struct ModelUpload {
    pub key: String,
    pub parts: BTreeMap<u16, (Part, Vec<u8>)>,
    /// What a Complete named and answered.
    pub completed: Option<(Vec<Part>, ObjectVersion)>,
}

impl World {
    pub async fn new(rig: Rig, seed: u64) -> Self {
        let buckets = [
            ModelBucket::new(rig.create_bucket(BUCKETS[0]).await),
            ModelBucket::new(rig.create_bucket(BUCKETS[1]).await),
        ];
        let random = SmallRng::seed_from_u64(seed);
        let lock_time = ModelLockTime::default();
        Self { rig, random, buckets, readers: Vec::new(), contents_count: 0, lock_time, lives: 1 }
    }

    /// Ends the process and starts another one; readers end with it.
    pub async fn restart(self, home: &Home) -> Self {
        let Self { rig, random, buckets, readers, contents_count, mut lock_time, lives } = self;
        drop(readers);
        drop(rig);
        let (rig, lives) = (home.open(lives + 1).await, lives + 1);
        lock_time.restart(rig.clock.now());
        Self { rig, random, buckets, readers: Vec::new(), contents_count, lock_time, lives }
    }

    /// True once in `of` times.
    pub fn chance(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    pub fn below(&mut self, count: usize) -> usize {
        self.random.random_range(0..count)
    }

    pub fn pick_key(&mut self) -> String {
        KEYS[self.below(KEYS.len())].to_owned()
    }

    /// The bucket's handle: the first one there was, or a fresh one.
    pub async fn handle(&mut self, bucket: usize) -> Bucket {
        if self.chance(2) {
            return self.buckets[bucket].stale.clone();
        }
        self.rig.bucket(BUCKETS[bucket]).await.unwrap()
    }

    /// Bytes that no other content has, of a size at which something changes.
    pub fn new_content(&mut self) -> Vec<u8> {
        const SIZES: [usize; 8] = [0, 1, 40, 64, 65, 300, 300, 70_000];
        let size = SIZES[self.below(SIZES.len())];
        self.content_of(size)
    }

    pub fn content_of(&mut self, size: usize) -> Vec<u8> {
        self.contents_count += 1;
        crate::rig::bytes(self.contents_count, size)
    }
}

impl ModelBucket {
    pub fn new(stale: Bucket) -> Self {
        let (versioning, object_lock) = (stale.versioning, stale.object_lock);
        let (keys, uploads) = (BTreeMap::new(), BTreeMap::new());
        Self { stale, versioning, object_lock, default_retention: None, keys, uploads }
    }

    pub fn versions(&self, key: &str) -> &[ModelVersion] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn newest(&self, key: &str) -> Option<&ModelVersion> {
        self.versions(key).last()
    }

    /// Adds a version as the bucket's versioning says.
    pub fn add(&mut self, key: &str, version: ModelVersion) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        if version.is_null {
            versions.retain(|version| !version.is_null);
        }
        versions.push(version);
    }

    pub fn remove(&mut self, key: &str, id: VersionId) {
        if let Some(versions) = self.keys.get_mut(key) {
            versions.retain(|version| version.id != id);
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    pub fn open_uploads(&self) -> impl Iterator<Item = (&UploadId, &ModelUpload)> {
        self.uploads.iter().filter(|(_, upload)| upload.completed.is_none())
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The versions that a key's `null` selector, or this id, means.
    pub fn find(&self, key: &str, wanted: impl Fn(&ModelVersion) -> bool) -> Option<ModelVersion> {
        self.versions(key).iter().find(|version| wanted(version)).cloned()
    }
}
