//! Locks in the model: retentions and legal holds, and a lock time of its own.

use cairn_storage::StorageError;
use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod, Versioning};
use cairn_storage::ops::{Bucket, GetObject, Governance, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode};

use super::state::{BUCKETS, ModelBucket, ModelContent, ModelVersion, World};
use crate::rig::{Rig, object_key};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// More than all jumps of the wall clock together.
pub const JUMPS_MS_MAX: i64 = 20_000_000 * HOUR_MS;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelLock {
    pub retention: Option<Retention>,
    pub hold: Option<bool>,
}

impl ModelLock {
    /// Whether it keeps the version from being removed.
    pub fn binds(&self, lock_time: Timestamp, governance: Governance) -> bool {
        self.hold == Some(true) || self.binding_retention(lock_time, governance).is_some()
    }

    fn binding_retention(&self, lock_time: Timestamp, governance: Governance) -> Option<Retention> {
        let retention = self.retention?;
        let bypassed = retention.mode == RetentionMode::Governance && governance == Governance::Bypassed;
        (lock_time < retention.until && !bypassed).then_some(retention)
    }
}

/// Lock time once a bucket has had object lock; before that, the wall clock is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelLockTime(Option<Kept>);

#[derive(Clone, Copy, Debug)]
struct Kept {
    now: Timestamp,
    kept: Timestamp,
}

impl ModelLockTime {
    fn begin(&mut self, wall_time: Timestamp) {
        self.0.get_or_insert(Kept { now: wall_time, kept: wall_time });
    }

    pub fn restart(&mut self, wall_time: Timestamp) {
        if let Some(Kept { now, kept }) = &mut self.0 {
            let believed = wall_time >= *kept && wall_time <= kept.plus_ms(DAY_MS);
            *now = if believed { wall_time } else { *kept };
        }
    }
}

pub fn time(world: &World) -> Timestamp {
    world.lock_time.0.map_or_else(|| world.rig.clock.now(), |lock_time| lock_time.now)
}

pub fn pass_time(world: &mut World) {
    let ms = [1, 1_000, 3_600_000][world.below(3)];
    world.rig.clock.advance_ms(ms);
    if let Some(lock_time) = &mut world.lock_time.0 {
        lock_time.now = lock_time.now.plus_ms(ms.into());
    }
}

/// The wall clock jumps, and nothing else does.
pub fn jump(world: &mut World) {
    let hours = [-100_000, -20, -1, 1, 20, 30, 100_000][world.below(7)];
    world.rig.clock.jump_ms(hours * HOUR_MS);
}

pub async fn keep_time(world: &mut World) {
    world.rig.store.keep_lock_time().await.unwrap();
    if let Some(lock_time) = &mut world.lock_time.0 {
        lock_time.kept = lock_time.kept.max(lock_time.now);
    }
}

pub async fn create_bucket(world: &mut World, bucket: usize) -> ModelBucket {
    if world.chance(2) {
        world.lock_time.begin(world.rig.clock.now());
        ModelBucket::new(world.rig.create_lock_bucket(BUCKETS[bucket]).await)
    } else {
        ModelBucket::new(world.rig.create_bucket(BUCKETS[bucket]).await)
    }
}

fn random_mode(world: &mut World) -> RetentionMode {
    if world.chance(2) { RetentionMode::Governance } else { RetentionMode::Compliance }
}

fn random_retention(world: &mut World) -> Option<Retention> {
    let hours = [-1, 1, 3, 30][world.below(4)];
    let mode = random_mode(world);
    (!world.chance(5)).then(|| Retention { mode, until: time(world).plus_ms(hours * HOUR_MS) })
}

pub async fn set_object_lock(world: &mut World, bucket: usize) {
    let mode = random_mode(world);
    let default = (!world.chance(3)).then_some(DefaultRetention { mode, period: RetentionPeriod::Days(1) });
    let handle = world.handle(bucket).await;
    world.lock_time.begin(world.rig.clock.now());
    let model = &mut world.buckets[bucket];
    match world.rig.store.set_object_lock(&handle, default).await {
        Ok(()) => {
            assert_eq!(model.versioning, Versioning::Enabled);
            model.object_lock = true;
            model.default_retention = default;
        }
        Err(StorageError::InvalidBucketState { .. }) => assert_ne!(model.versioning, Versioning::Enabled),
        Err(error) => panic!("{error}"),
    }
}

/// What a version that asks for no lock gets.
pub fn by_default(world: &World, bucket: usize) -> ModelLock {
    let default = world.buckets[bucket].default_retention;
    let retention = default.map(|default| Retention { mode: default.mode, until: time(world).plus_ms(DAY_MS) });
    ModelLock { retention, hold: None }
}

/// Puts an object that asks for a lock.
pub async fn put(world: &mut World, bucket: usize, key: &str) {
    let handle = world.rig.bucket(BUCKETS[bucket]).await.unwrap();
    let (bytes, retention) = (world.new_content(), random_retention(world));
    let hold = [None, Some(false), Some(true)][world.below(3)];
    let settings = ObjectSettings { retention, legal_hold: hold, ..ObjectSettings::default() };
    let put = world.rig.put_locked(&handle, key, &bytes, settings).await;
    let asks = retention.is_some() || hold.is_some();
    let past = retention.is_some_and(|retention| retention.until <= time(world));
    match put {
        Err(StorageError::NoObjectLock) => assert!(asks && !world.buckets[bucket].object_lock),
        Err(StorageError::RetentionInPast) => assert!(past),
        Ok(object) => {
            assert!(!past && (!asks || world.buckets[bucket].object_lock));
            let lock = ModelLock { retention: retention.or(by_default(world, bucket).retention), hold };
            let content = ModelContent::Whole(bytes);
            let version = ModelVersion {
                id: object.version_id,
                origin: object.version_id,
                is_null: object.is_null,
                content,
                lock,
            };
            world.buckets[bucket].add(key, version);
        }
        Err(error) => panic!("{error}"),
    }
}

/// One of the key's versions, which may be a delete marker.
fn pick_version(world: &mut World, bucket: usize, key: &str) -> Option<ModelVersion> {
    let count = world.buckets[bucket].versions(key).len();
    let nth = world.below(count.max(1));
    world.buckets[bucket].versions(key).get(nth).cloned()
}

fn locked_version<'w>(world: &'w mut World, bucket: usize, key: &str, version: &ModelVersion) -> &'w mut ModelLock {
    let versions = world.buckets[bucket].keys.get_mut(key).unwrap();
    &mut versions.iter_mut().find(|one| one.id == version.id).unwrap().lock
}

pub async fn retain(world: &mut World, bucket: usize, key: &str) {
    let Some(version) = pick_version(world, bucket, key) else { return };
    let retention = random_retention(world);
    let governance = if world.chance(2) { Governance::Heeded } else { Governance::Bypassed };
    let handle = world.handle(bucket).await;
    let selector = VersionSelector::Id(version.id);
    let set = world.rig.set_retention(&handle, key, selector, retention, governance).await;
    let now = time(world);
    let weaker = version.lock.binding_retention(now, governance).is_some_and(|bound| {
        retention.is_none_or(|retention| retention.mode != bound.mode || retention.until < bound.until)
    });
    match set {
        Err(StorageError::IsDeleteMarker(_)) => assert!(version.content.bytes().is_none()),
        Err(StorageError::NoObjectLock) => assert!(!world.buckets[bucket].object_lock),
        Err(StorageError::RetentionInPast) => assert!(retention.unwrap().until <= now),
        Err(StorageError::Locked(_)) => assert!(weaker),
        Ok(_) => {
            assert!(world.buckets[bucket].object_lock && !weaker);
            locked_version(world, bucket, key, &version).retention = retention;
        }
        Err(error) => panic!("{error}"),
    }
}

pub async fn hold(world: &mut World, bucket: usize, key: &str) {
    let Some(version) = pick_version(world, bucket, key) else { return };
    let hold = world.chance(2);
    let handle = world.handle(bucket).await;
    match world.rig.set_legal_hold(&handle, key, VersionSelector::Id(version.id), hold).await {
        Err(StorageError::IsDeleteMarker(_)) => assert!(version.content.bytes().is_none()),
        Err(StorageError::NoObjectLock) => assert!(!world.buckets[bucket].object_lock),
        Ok(_) => {
            assert!(world.buckets[bucket].object_lock);
            locked_version(world, bucket, key, &version).hold = Some(hold);
        }
        Err(error) => panic!("{error}"),
    }
}

/// The version shows the lock that it should have.
pub async fn check(rig: &Rig, handle: &Bucket, key: &str, version: &ModelVersion) {
    let get = GetObject { version: VersionSelector::Id(version.id), ..GetObject::default() };
    if let Ok(head) = rig.store.head_object(handle, &object_key(key), get).await {
        let settings = head.object.settings;
        assert_eq!(ModelLock { retention: settings.retention, hold: settings.legal_hold }, version.lock, "{key:?}");
    }
}
