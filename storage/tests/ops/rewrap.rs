//! Exchanging envelopes: of heads, older versions and uploads, locked or not; cut short at any commit; beside changes.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::{DataKey, StoreKey};
use cairn_crypto::store_key::{Keyring, wrapped_under};
use cairn_crypto::wrap::{KeyWrap as _, WrapContext};
use cairn_storage::StorageError;
use cairn_storage::blob::BlobStore;
use cairn_storage::clock::{Clock as _, ManualClock};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::encryption::{Encryption, EncryptionMode, Keys};
use cairn_storage::health::Health;
use cairn_storage::id::UploadId;
use cairn_storage::index::family::version::VersionSummary;
use cairn_storage::index::memory::{Fault, MemoryIndex, MemorySnapshot};
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::rewrap::{EnvelopeLimits, EnvelopeOf, EnvelopePosition, Rewrap, Rewrapped};
use cairn_storage::ops::{Bucket, GetObject, ListVersions, ListedVersion, PutObject, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode};

use crate::restore::{restore, to};
use crate::rig::{
    FILE_BYTES, Rig, START, TestKeys, body, bytes, complete_of, customer_sealing, drain, kms_sealing, object_key,
    put_of,
};

/// The version that everything here is wrapped under at first, and the one that comes after it.
fn keyring(newest: bool) -> Arc<Keyring> {
    let versions = if newest { vec![[7; 32], [8; 32]] } else { vec![[7; 32]] };
    Arc::new(Keyring::new(versions.into_iter().map(StoreKey::from_bytes).collect()).unwrap())
}

fn is_due(encryption: &Encryption) -> bool {
    encryption.mode == EncryptionMode::S3
        && wrapped_under(&encryption.wrapped().unwrap()) != Some(keyring(true).newest())
}

struct UnderNewest;

#[async_trait]
impl Rewrap for UnderNewest {
    async fn rewrap(
        &self,
        encryption: &Encryption,
        context: WrapContext<'_>,
    ) -> Result<Option<Encryption>, StorageError> {
        if !is_due(encryption) {
            return Ok(None);
        }
        let ring = keyring(true);
        let key = ring.unwrap(&encryption.wrapped().unwrap(), &context).unwrap();
        Ok(Some(encryption.rewrapped(&ring.wrap(&key, &context).unwrap())))
    }
}

/// The new version alone: the old one is retired.
#[derive(Debug)]
struct NewOnly;

#[async_trait]
impl Keys for NewOnly {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        let ring = Keyring::new(vec![StoreKey::from_bytes([8; 32])]).unwrap();
        let Some(encryption) = encryption else { return Ok(None) };
        let unusable = |error: cairn_crypto::wrap::WrapError| StorageError::KeyUnusable { what: error.to_string() };
        ring.unwrap(&encryption.wrapped()?, &context).map(Some).map_err(unusable)
    }
}

struct World {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    index: MemorySnapshot,
    open: UploadId,
}

impl World {
    /// Heads inline, empty and in files, older versions, a marker above some, a locked one, an open upload and a completed one,
    /// and what is sealed otherwise.
    async fn new() -> Self {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        let health = Health::default();
        let index = Arc::new(MemoryIndex::new(health.clone()));
        let clock = Arc::new(ManualClock::new(START));
        let mut rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock.clone(), health, 1);
        rig.sealed = true;
        let bucket = rig.create_lock_bucket("bucket").await;
        for (key, seed, size) in [("a", 1, 10), ("a", 2, FILE_BYTES), ("a", 3, 0), ("b", 4, 20), ("c", 5, FILE_BYTES)] {
            rig.put(&bucket, key, &bytes(seed, size)).await;
        }
        rig.delete(&bucket, "b").await;
        let until = cairn_storage::clock::Timestamp(START.0 + 1_000_000_000);
        let settings = ObjectSettings {
            retention: Some(Retention { mode: RetentionMode::Compliance, until }),
            legal_hold: Some(true),
            ..ObjectSettings::default()
        };
        rig.put_locked(&bucket, "locked", &bytes(6, 10), settings).await.unwrap();
        for (key, sealing) in [
            ("kms", Some(kms_sealing(EncryptionMode::Kms, 1))),
            ("customer", Some(customer_sealing(1))),
            ("plain", None),
        ] {
            let put = PutObject { sealing, ..put_of(body(b"other")) };
            rig.store.put_object(&bucket, &object_key(key), put).await.unwrap();
        }
        let upload = rig.create_upload(&bucket, "done").await;
        let part = rig.upload_part(&bucket, "done", upload, 1, &bytes(7, FILE_BYTES)).await.unwrap();
        rig.complete(&bucket, "done", upload, &[part]).await.unwrap();
        let open = rig.create_upload(&bucket, "open").await;
        rig.upload_part(&bucket, "open", open, 1, &bytes(8, FILE_BYTES)).await.unwrap();
        Self { disk, clock, index: index.snapshot(), open }
    }

    fn open(&self, index: MemorySnapshot, seed: u64) -> (Rig, Arc<MemoryIndex>) {
        let health = Health::default();
        let index = Arc::new(MemoryIndex::from_snapshot(index, health.clone()));
        let rig = Rig::over(index.clone(), Arc::new(self.disk.clone()), self.clock.clone(), health, seed);
        (rig, index)
    }
}

/// Walks through the bucket in pages as small as this, exchanging; what was done, or what ended it.
async fn walk(rig: &Rig, bucket: &Bucket, limits: EnvelopeLimits) -> Result<Rewrapped, StorageError> {
    let (mut position, mut all) = (EnvelopePosition::Start, Rewrapped::default());
    loop {
        let page = rig.store.envelope_page(bucket.id, position, limits, is_due).await?;
        let done = rig.store.rewrap_page(bucket.id, &page, &UnderNewest).await?;
        all.changed += done.changed;
        all.failed += done.failed;
        all.overtaken += done.overtaken;
        match page.next {
            Some(next) => position = next,
            None => return Ok(all),
        }
    }
}

/// Every version with the bytes that it has, by the new key alone where it is under the server's.
async fn everything(rig: &Rig, bucket: &Bucket) -> Vec<(ObjectVersion, Vec<u8>)> {
    let list = ListVersions { max_keys: 1_000, ..ListVersions::default() };
    let mut all = Vec::new();
    for listed in rig.store.list_versions(bucket, list).await.unwrap().entries {
        let ListedVersion::Version { key, version: VersionSummary::Object(summary), .. } = listed else { continue };
        let get = GetObject { version: VersionSelector::Id(summary.version_id), ..GetObject::default() };
        let read = rig.store.get_object(bucket, &key, get).await.unwrap();
        let context = read.object.wrap_context(bucket.id, &key);
        let data_key = match read.object.encryption.as_ref().map(|encryption| encryption.mode) {
            Some(EncryptionMode::S3) => NewOnly.open(read.object.encryption.as_ref(), context).await.unwrap(),
            Some(EncryptionMode::Customer) => {
                TestKeys::new(Some(1)).open(read.object.encryption.as_ref(), context).await.unwrap()
            }
            _ => TestKeys::new(None).open(read.object.encryption.as_ref(), context).await.unwrap(),
        };
        all.push((read.object, drain(read.body.unlocked(data_key)).await.unwrap()));
    }
    all
}

/// The versions as they were, with other envelopes where these are under the server's key.
fn check_same(now: &[(ObjectVersion, Vec<u8>)], before: &[ObjectVersion]) {
    assert_eq!(now.len(), before.len());
    for ((now, _), before) in now.iter().zip(before) {
        let is_servers = before.encryption.as_ref().is_some_and(|encryption| encryption.mode == EncryptionMode::S3);
        assert_eq!(now.encryption != before.encryption, is_servers, "{}", now.version_id);
        let same = ObjectVersion { encryption: before.encryption.clone(), ..now.clone() };
        assert_eq!(&same, before);
    }
}

async fn versions(rig: &Rig, bucket: &Bucket) -> Vec<ObjectVersion> {
    let list = ListVersions { max_keys: 1_000, ..ListVersions::default() };
    let mut all = Vec::new();
    for listed in rig.store.list_versions(bucket, list).await.unwrap().entries {
        let ListedVersion::Version { key, version: VersionSummary::Object(summary), .. } = listed else { continue };
        let get = GetObject { version: VersionSelector::Id(summary.version_id), ..GetObject::default() };
        all.push(rig.store.head_object(bucket, &key, get).await.unwrap().object);
    }
    all
}

const ONE_BY_ONE: EnvelopeLimits = EnvelopeLimits { rows: 1, found: 1 };

#[tokio::test]
async fn every_envelope_is_exchanged_and_nothing_else_changes() {
    let world = World::new().await;
    for limits in [EnvelopeLimits::default(), ONE_BY_ONE, EnvelopeLimits { rows: 3, found: 2 }] {
        let (rig, _) = world.open(world.index.clone(), 2);
        let bucket = rig.bucket("bucket").await.unwrap();
        let before = versions(&rig, &bucket).await;
        let done = walk(&rig, &bucket, limits).await.unwrap();
        // Three of `a`, `b`, `c`, `locked`, `done`, and both uploads.
        assert_eq!((done.changed, done.failed, done.overtaken), (9, 0, 0), "{limits:?}");
        let now = everything(&rig, &bucket).await;
        check_same(&now, &before);
        let sizes: Vec<usize> = now.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(sizes, [0, FILE_BYTES, 10, 20, FILE_BYTES, 5, FILE_BYTES, 5, 10, 5]);
        assert_eq!(walk(&rig, &bucket, limits).await.unwrap().changed, 0, "nothing is left");
        // The upload goes on, by the new key alone.
        let key = object_key("open");
        let part = rig.store.upload_part(&bucket, &key, world.open, 1, body(b"anew"), &NewOnly).await.unwrap();
        let complete = complete_of(&[part]);
        let object = rig.store.complete_upload(&bucket, &key, world.open, complete, &NewOnly).await.unwrap();
        assert!(!is_due(object.encryption.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn a_walk_that_is_cut_short_at_any_commit_loses_nothing_and_is_finished_by_another() {
    let world = World::new().await;
    let (rig, _) = world.open(world.index.clone(), 2);
    let bucket = rig.bucket("bucket").await.unwrap();
    let before = versions(&rig, &bucket).await;
    for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
        for point in 0.. {
            let (rig, index) = world.open(world.index.clone(), 2);
            index.fail_after(point, fault);
            let was_whole = walk(&rig, &bucket, ONE_BY_ONE).await.is_ok();
            let (rig, _) = world.open(index.snapshot(), 3);
            rig.store.recover().await.unwrap();
            let done = walk(&rig, &bucket, EnvelopeLimits::default()).await.unwrap();
            assert_eq!(done.failed, 0);
            check_same(&everything(&rig, &bucket).await, &before);
            if was_whole {
                assert_eq!((point, done.changed), (9, 0));
                break;
            }
        }
    }
}

/// Between the look at a page and its exchange, the key is overwritten, deleted, copied or completed: nothing of that is undone.
#[tokio::test]
async fn what_changes_between_the_look_and_the_exchange_stays_as_it_is() {
    let world = World::new().await;
    let (mut rig, _) = world.open(world.index.clone(), 2);
    rig.sealed = true;
    let bucket = rig.bucket("bucket").await.unwrap();
    let all = EnvelopeLimits::default();
    let uploads = rig.store.envelope_page(bucket.id, EnvelopePosition::Start, all, is_due).await.unwrap();
    let keys = rig.store.envelope_page(bucket.id, uploads.next.clone().unwrap(), all, is_due).await.unwrap();
    assert_eq!((uploads.found.len(), keys.found.len()), (2, 5));
    assert!(uploads.found.iter().all(|(_, all)| matches!(all[..], [EnvelopeOf::Upload(_)])));
    rig.abort(&bucket, "open", world.open).await.unwrap();
    let overwritten = rig.put(&bucket, "c", b"newer").await;
    let gone = VersionSelector::Id(rig.newest_id(&bucket, "a").await);
    rig.delete_version(&bucket, "a", gone).await.unwrap();
    rig.set_legal_hold(&bucket, "locked", VersionSelector::Newest, false).await.unwrap();
    let done = rig.store.rewrap_page(bucket.id, &uploads, &UnderNewest).await.unwrap();
    assert_eq!((done.changed, done.overtaken), (1, 1));
    let done = rig.store.rewrap_page(bucket.id, &keys, &UnderNewest).await.unwrap();
    assert_eq!((done.changed, done.overtaken), (6, 1));
    assert_eq!(rig.get(&bucket, "c").await.unwrap(), b"newer");
    let head = |key: &str| {
        let key = object_key(key);
        let (store, bucket) = (&rig.store, &bucket);
        async move { store.head_object(bucket, &key, GetObject::default()).await.unwrap().object }
    };
    let newest = head("c").await;
    assert_eq!((newest.version_id, newest.encryption), (overwritten.version_id, overwritten.encryption));
    assert_eq!(head("locked").await.settings.legal_hold, Some(false));
    assert_eq!(head("a").await.size_bytes, FILE_BYTES as u64);
}

/// While a walk is within a key's versions, the head and all that it looked at already go, and an older version becomes the
/// head: it is not passed by.
#[tokio::test]
async fn an_older_version_that_becomes_the_head_is_not_passed_by() {
    let world = World::new().await;
    let (rig, _) = world.open(world.index.clone(), 2);
    let bucket = rig.bucket("bucket").await.unwrap();
    let from = EnvelopePosition::FromKey("a".to_owned());
    let page = rig.store.envelope_page(bucket.id, from, EnvelopeLimits { rows: 2, found: 2 }, is_due).await.unwrap();
    let Some(EnvelopePosition::Within(key, ..)) = &page.next else { panic!("{page:?}") };
    assert_eq!((key.as_str(), page.found[0].1.len()), ("a", 2));
    for _ in 0..2 {
        let newest = VersionSelector::Id(rig.newest_id(&bucket, "a").await);
        rig.delete_version(&bucket, "a", newest).await.unwrap();
    }
    let left = rig.newest_id(&bucket, "a").await;
    let rest = rig.store.envelope_page(bucket.id, page.next.unwrap(), EnvelopeLimits::default(), is_due).await.unwrap();
    assert_eq!(rest.found[0], (object_key("a"), vec![EnvelopeOf::Version(left, 10)]));
}

/// While a walk is held within a key's versions, a restore copies one that it had still before it, and that one goes: its envelope
/// is found where it is now.
#[tokio::test]
async fn an_envelope_that_is_copied_to_where_the_walk_has_been_is_found() {
    let mut rig = Rig::new();
    rig.sealed = true;
    let bucket = rig.create_lock_bucket("bucket").await;
    let oldest = rig.put(&bucket, "a", &bytes(1, FILE_BYTES)).await;
    let then = rig.clock.now();
    rig.clock.advance_ms(1_000);
    rig.put(&bucket, "a", &bytes(2, 10)).await;
    rig.put(&bucket, "a", &bytes(3, 10)).await;
    let from = || EnvelopePosition::FromKey("a".to_owned());
    let all = EnvelopeLimits::default();
    let mut newer = rig.store.envelope_page(bucket.id, from(), all, is_due).await.unwrap();
    newer.found[0].1.truncate(2);
    assert_eq!(rig.store.rewrap_page(bucket.id, &newer, &UnderNewest).await.unwrap().changed, 2);

    let limits = EnvelopeLimits { rows: 2, found: 1 };
    let held = rig.store.envelope_page(bucket.id, from(), limits, is_due).await.unwrap();
    assert!(held.found.is_empty() && matches!(held.next, Some(EnvelopePosition::Within(..))), "{held:?}");
    restore(&rig, &bucket, to(then), RestoreLimits::default()).await;
    let restored = rig.newest_id(&bucket, "a").await;
    rig.store.put_object(&bucket, &object_key("a"), put_of(body(b"plain"))).await.unwrap();
    rig.delete_version(&bucket, "a", VersionSelector::Id(oldest.version_id)).await.unwrap();
    let rest = rig.store.envelope_page(bucket.id, held.next.unwrap(), all, is_due).await.unwrap();
    assert_eq!(rest.found, [(object_key("a"), vec![EnvelopeOf::Version(restored, FILE_BYTES as u64)])]);
}
