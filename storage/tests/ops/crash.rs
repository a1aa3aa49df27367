//! Power cuts under whole operations: what was acknowledged is there, what was under way happened or did not, and
//! what nobody names is found by the scan and the collector.
//!
//! The power goes at every call that changes the disk and at every commit (which then was written, or was not). A commit
//! that returned is durable, as the database's are; the disk is simulated and keeps any mixture of what was not synced.
//! After each cut a new process recovers, and all it shows must be the state before the operation under way or after.

mod replicas;
mod see;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_crypto::digest::Digests;
use cairn_storage::StorageError;
use cairn_storage::blob::BlobStore;
use cairn_storage::clock::{ManualClock, Timestamp};
use cairn_storage::disk::sim::{Call, SimDisk};
use cairn_storage::health::Health;
use cairn_storage::id::UploadId;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::memory::{Fault, MemoryIndex, MemorySnapshot};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::{Act, ActFailed};
use cairn_storage::ops::{CopyObject, CopySource, Permit, Powers, ReadConditions, VersionSelector, WriteConditions};

use see::{Seen, check_files, check_usage, see, versions};

use crate::rig::{FILE_BYTES, Rig, START, bytes, keys, object_key, owner, upload_of};

/// States tried at each point, distinct ones in all, and repetitions in a row after which a point counts as explored.
const SEEDS_PER_POINT: u64 = 250;
const STATES_COUNT_MIN: usize = 1_500;
const KNOWN_IN_A_ROW_MAX: usize = 25;

/// What was acknowledged, and what may hold while operations are under way (empty: none is).
#[derive(Default)]
struct Log {
    acknowledged: Seen,
    possible: Vec<Seen>,
}

impl Log {
    /// An operation begins whose effect is `change`; with others that are under way, any of them may happen.
    fn begin(&mut self, change: impl Fn(&mut Seen)) {
        if self.possible.is_empty() {
            self.possible.push(self.acknowledged.clone());
        }
        let mut changed = self.possible.clone();
        changed.iter_mut().for_each(change);
        self.possible.append(&mut changed);
    }

    /// Everything that was under way is acknowledged: the last state is the one in which all of it happened.
    fn end(&mut self) {
        if let Some(all) = self.possible.drain(..).next_back() {
            self.acknowledged = all;
        }
    }
}

/// One process at work.
struct Work {
    rig: Rig,
    log: Log,
}

impl Work {
    async fn put(&mut self, bucket: &str, key: &str, content: Vec<u8>) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(bucket).await?;
        self.log.begin(put_change(bucket.name.as_str(), key, &content));
        self.rig.try_put(&bucket, key, &content).await?;
        self.log.end();
        Ok(())
    }

    async fn put_two(&mut self, one: (&str, Vec<u8>), two: (&str, Vec<u8>)) -> Result<(), StorageError> {
        let bucket = self.rig.bucket("one").await?;
        self.log.begin(put_change("one", one.0, &one.1));
        self.log.begin(put_change("one", two.0, &two.1));
        let puts = (self.rig.try_put(&bucket, one.0, &one.1), self.rig.try_put(&bucket, two.0, &two.1));
        let (first, second) = tokio::join!(puts.0, puts.1);
        first.and(second)?;
        self.log.end();
        Ok(())
    }

    async fn delete(&mut self, bucket: &str, key: &str) -> Result<(), StorageError> {
        let handle = self.rig.bucket(bucket).await?;
        self.log.begin(|seen| match handle.versioning {
            Versioning::Unversioned => seen.remove(bucket, key, 0),
            Versioning::Enabled | Versioning::Suspended => seen.write(bucket, key, None),
        });
        self.rig.delete_version(&handle, key, VersionSelector::Newest).await?;
        self.log.end();
        Ok(())
    }

    /// Removes the key's `nth` version, from the newest on, for good.
    async fn remove(&mut self, bucket: &str, key: &str, nth: usize) -> Result<(), StorageError> {
        let handle = self.rig.bucket(bucket).await?;
        let version = versions(&self.rig, &handle).await?.remove(key).unwrap().remove(nth).id();
        self.log.begin(|seen| seen.remove(bucket, key, nth));
        self.rig.delete_version(&handle, key, VersionSelector::Id(version)).await?;
        self.log.end();
        Ok(())
    }

    async fn set_versioning(&mut self, bucket: &str, versioning: Versioning) -> Result<(), StorageError> {
        let handle = self.rig.bucket(bucket).await?;
        self.log.begin(|seen| *seen.buckets.get_mut(bucket).unwrap() = versioning);
        self.rig.store.set_versioning(&handle, versioning, None, Powers::default()).await?;
        self.log.end();
        Ok(())
    }

    async fn copy(&mut self, bucket: &str, key: &str, to: &str) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(bucket).await?;
        let content = self.log.acknowledged.newest(bucket.name.as_str(), key).content.clone().unwrap();
        self.log.begin(put_change(bucket.name.as_str(), to, &content));
        let (key, conditions) = (object_key(key), ReadConditions::default());
        let source = CopySource {
            bucket: &bucket,
            key: &key,
            version: VersionSelector::Newest,
            permit: Permit::any(),
            conditions,
            keys: keys(),
        };
        let copy = CopyObject {
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
        };
        self.rig.store.copy_object(source, &bucket, &object_key(to), copy).await?;
        self.log.end();
        Ok(())
    }

    /// Ends the key's `nth` version as a rule does.
    async fn end(&mut self, bucket: &str, key: &str, nth: usize, act: Act) -> Result<(), StorageError> {
        let handle = self.rig.bucket(bucket).await?;
        self.log.begin(|seen| match act {
            Act::Expire => seen.write(bucket, key, None),
            _ => seen.remove(bucket, key, nth),
        });
        let done = crate::lifecycle::act(&self.rig, &handle, key, nth, act).await?;
        if let Some(ActFailed { reason, .. }) = done.failed.first() {
            return Err(StorageError::corrupt(reason));
        }
        self.log.end();
        Ok(())
    }

    /// Moves the key's `nth` version, from the newest on, to a class, which changes nothing that is seen.
    async fn transition(
        &mut self,
        bucket: &str,
        key: &str,
        nth: usize,
        class: StorageClass,
    ) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(bucket).await?;
        self.log.begin(|_| {});
        let done = crate::lifecycle::act(&self.rig, &bucket, key, nth, Act::Transition(class)).await?;
        if let Some(ActFailed { reason, .. }) = done.failed.first() {
            return Err(StorageError::corrupt(reason));
        }
        self.log.end();
        Ok(())
    }

    async fn create_upload(&mut self, key: &str) -> Result<UploadId, StorageError> {
        let bucket = self.rig.bucket("one").await?;
        let name = key.to_owned();
        self.log.begin(move |seen| drop(seen.uploads.insert(name.clone(), BTreeMap::new())));
        let upload = self.rig.store.create_upload(&bucket, &object_key(key), upload_of(None)).await?;
        self.log.end();
        Ok(upload.id)
    }

    async fn part(&mut self, key: &str, upload: UploadId, number: u16, content: &[u8]) -> Result<(), StorageError> {
        let bucket = self.rig.bucket("one").await?;
        let (name, etag) = (key.to_owned(), etag_of(content));
        self.log.begin(move |seen| drop(seen.uploads.get_mut(&name).unwrap().insert(number, etag.clone())));
        self.rig.upload_part(&bucket, key, upload, number, content).await?;
        self.log.end();
        Ok(())
    }

    /// Completes with one part.
    async fn complete(&mut self, key: &str, upload: UploadId, number: u16, content: &[u8]) -> Result<(), StorageError> {
        let bucket = self.rig.bucket("one").await?;
        let parts = self.rig.store.list_parts(&bucket, &object_key(key), upload, number - 1, 1).await?.parts;
        let (name, put) = (key.to_owned(), put_change("one", key, content));
        self.log.begin(move |seen| {
            seen.uploads.remove(&name);
            put(seen);
        });
        self.rig.complete(&bucket, key, upload, &parts).await?;
        self.log.end();
        Ok(())
    }

    async fn abort(&mut self, key: &str, upload: UploadId) -> Result<(), StorageError> {
        let bucket = self.rig.bucket("one").await?;
        let name = key.to_owned();
        self.log.begin(move |seen| drop(seen.uploads.remove(&name)));
        self.rig.abort(&bucket, key, upload).await?;
        self.log.end();
        Ok(())
    }

    /// Gives the bucket rules, which acts guard.
    async fn set_rules(&mut self, name: &str) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(name).await?;
        crate::lifecycle::set_rules(&self.rig, &bucket).await
    }

    async fn create_bucket(&mut self, name: &str) -> Result<(), StorageError> {
        let created = name.to_owned();
        self.log.begin(move |seen| {
            seen.buckets.insert(created.clone(), Versioning::Unversioned);
        });
        self.rig.try_create_bucket(name).await?;
        self.log.end();
        Ok(())
    }

    async fn delete_bucket(&mut self, name: &str) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(name).await?;
        self.log.begin(|seen| {
            seen.buckets.remove(name);
        });
        self.rig.store.delete_bucket(&bucket).await?;
        self.log.end();
        Ok(())
    }

    /// One round of the collector. A task that fails is the power cut.
    async fn collect(&mut self) -> Result<(), StorageError> {
        self.rig.try_run_due(&Collector).await.map(drop).map_err(StorageError::corrupt)
    }
}

fn put_change(bucket: &str, key: &str, content: &[u8]) -> impl Fn(&mut Seen) + use<> {
    let (bucket, key, content) = (bucket.to_owned(), key.to_owned(), content.to_vec());
    move |seen| seen.write(&bucket, &key, Some(content.clone()))
}

fn etag_of(content: &[u8]) -> String {
    let mut digests = Digests::new(true, []);
    digests.update(content);
    hex::encode(digests.finish().md5.unwrap())
}

/// A little of everything. Ends at the first error, which is the power cut.
async fn work(work: &mut Work) -> Result<(), StorageError> {
    let file = |seed| bytes(seed, FILE_BYTES);
    work.create_bucket("one").await?;
    work.put("one", "file", file(1)).await?;
    work.put("one", "inline", bytes(2, 10)).await?;
    work.put("one", "file", file(3)).await?;
    work.put_two(("left", file(4)), ("right", bytes(5, 70_000))).await?;
    work.collect().await?;
    work.copy("one", "right", "copy").await?;
    work.delete("one", "right").await?;
    work.delete("one", "inline").await?;

    let upload = work.create_upload("parts").await?;
    work.part("parts", upload, 1, &file(6)).await?;
    work.part("parts", upload, 1, &file(7)).await?;
    work.part("parts", upload, 2, &bytes(8, 10)).await?;
    work.collect().await?;
    work.complete("parts", upload, 1, &file(7)).await?;
    work.collect().await?;
    work.put("one", "parts", file(9)).await?;
    for _ in 0..2 {
        work.collect().await?;
    }
    let aborted = work.create_upload("aborted").await?;
    work.part("aborted", aborted, 1, &file(10)).await?;
    work.abort("aborted", aborted).await?;

    work.create_bucket("two").await?;
    work.put("two", "file", file(11)).await?;
    work.delete("two", "file").await?;
    work.delete_bucket("two").await?;
    for _ in 0..3 {
        work.collect().await?;
    }
    work_with_versions(work).await
}

/// Versions, delete markers, removals and suspension, and then replicas.
async fn work_with_versions(work: &mut Work) -> Result<(), StorageError> {
    let file = |seed| bytes(seed, FILE_BYTES);
    work.create_bucket("kept").await?;
    work.put("kept", "key", file(20)).await?;
    work.set_versioning("kept", Versioning::Enabled).await?;
    work.put("kept", "key", bytes(21, 10)).await?;
    work.put("kept", "key", file(22)).await?;
    work.delete("kept", "key").await?;
    work.put("kept", "key", file(23)).await?;
    work.copy("kept", "key", "copy").await?;
    work.remove("kept", "key", 1).await?;
    work.remove("kept", "key", 0).await?;
    work.collect().await?;
    work.set_versioning("kept", Versioning::Suspended).await?;
    work.put("kept", "key", bytes(24, 10)).await?;
    work.put("kept", "key", file(25)).await?;
    work.delete("kept", "key").await?;
    work.collect().await?;
    work.remove("kept", "key", 0).await?;
    work.set_versioning("kept", Versioning::Enabled).await?;
    work.put("kept", "key", file(26)).await?;
    work.delete("kept", "copy").await?;
    work.remove("kept", "copy", 1).await?;
    for _ in 0..2 {
        work.collect().await?;
    }
    replicas::work_with_replicas(work).await?;
    // Last, because every scan after it looks into the folders of one more class.
    work.set_rules("kept").await?;
    work.transition("kept", "key", 0, StorageClass::GlacierIr).await?;
    work.collect().await?;
    work.end("kept", "key", 0, Act::Expire).await?;
    work.end("kept", "key", 1, Act::Remove).await?;
    for _ in 0..2 {
        work.collect().await?;
    }
    Ok(())
}

/// Where the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Never,
    Disk(u64),
    Commit(u64, Fault),
}

/// What a cut leaves.
struct Wreck {
    disk: SimDisk,
    index: MemorySnapshot,
    log: Log,
}

async fn wreck(cut: Cut, skipped: Option<Call>) -> Wreck {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    if let Some(call) = skipped {
        disk.skip_sync(call);
    }
    let health = Health::default();
    let index = Arc::new(MemoryIndex::new(health.clone()));
    match cut {
        Cut::Never => {}
        Cut::Disk(point) => disk.crash_after(point),
        Cut::Commit(point, fault) => index.fail_after(point, fault),
    }
    let clock = Arc::new(ManualClock::new(START));
    let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock, health, 1);
    let mut process = Work { rig, log: Log::default() };
    let ended = work(&mut process).await;
    assert_eq!(ended.is_ok(), matches!(cut, Cut::Never), "{cut:?}: {ended:?}");
    Wreck { disk, index: index.snapshot(), log: process.log }
}

/// Recovers from one state of a wreck and says what is wrong, if anything.
async fn violation(disk: SimDisk, wreck: &Wreck) -> Result<(), String> {
    let health = Health::default();
    let index = Arc::new(MemoryIndex::from_snapshot(wreck.index.clone(), health.clone()));
    let rig = Rig::over(index, Arc::new(disk), Arc::new(ManualClock::new(START)), health, 2);
    rig.store.recover().await.map_err(|error| format!("recovery: {error}"))?;
    let seen = see(&rig).await.map_err(|error| error.to_string())?;
    if seen != wreck.log.acknowledged && !wreck.log.possible.contains(&seen) {
        return Err("neither the state before the operation nor the one after".to_owned());
    }
    check_usage(&rig, &seen).await?;
    // Orphans first, as a start does it; then the collector; in the end every file has a row and every row its file.
    let options = ScanOptions { pause: Duration::ZERO };
    scan::quarantine_orphans(&rig.store, Timestamp(0), options).await.map_err(|error| format!("scan: {error}"))?;
    for _ in 0..3 {
        rig.try_run_due(&Collector).await?;
    }
    check_files(&rig).await?;
    match see(&rig).await {
        Ok(again) if again == seen => Ok(()),
        Ok(_) => Err("the scan or the collector changed what is seen".to_owned()),
        Err(error) => Err(format!("after the scan: {error}")),
    }
}

/// Cuts the power everywhere; returns how many distinct states were seen, or the first violation.
fn explore(skipped: Option<Call>) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let whole = wreck(Cut::Never, None).await;
        let first = {
            let disk = SimDisk::new();
            BlobStore::create_folders(&disk).unwrap();
            disk.mutations()
        };
        let commits_count = whole.index.last_revision();
        let disk_cuts = (first..whole.disk.mutations()).map(Cut::Disk);
        let commit_cuts = (0..commits_count)
            .flat_map(|point| [Cut::Commit(point, Fault::UnknownWritten), Cut::Commit(point, Fault::UnknownLost)]);
        let mut states_count = 0;
        for cut in disk_cuts.chain(commit_cuts) {
            states_count += explore_cut(cut, skipped).await?;
        }
        Ok(states_count)
    })
}

async fn explore_cut(cut: Cut, skipped: Option<Call>) -> Result<usize, String> {
    let wreck = wreck(cut, skipped).await;
    let mut states = HashSet::new();
    let mut known_in_a_row = 0;
    for seed in 0..SEEDS_PER_POINT {
        let crash = wreck.disk.crash_state(seed);
        if !states.insert(crash.choices) {
            known_in_a_row += 1;
            if known_in_a_row > KNOWN_IN_A_ROW_MAX {
                break;
            }
            continue;
        }
        known_in_a_row = 0;
        violation(crash.disk, &wreck).await.map_err(|what| format!("{cut:?}, seed {seed}: {what}"))?;
    }
    Ok(states.len())
}

#[test]
fn acknowledged_operations_survive_every_power_cut_and_others_happen_whole_or_not_at_all() {
    let states_count = explore(None).unwrap();
    println!("{states_count} distinct crash states");
    assert!(states_count >= STATES_COUNT_MIN, "only {states_count} states");
}

/// Commits of a recovery after which the power goes again, at most.
const RECOVERY_COMMITS_MAX: u64 = 40;

/// Cuts the power during the recovery from every commit's cut, and recovers again.
async fn explore_recovery(cut: Cut) -> usize {
    let first = wreck(cut, None).await;
    let mut states_count = 0;
    for point in 0..RECOVERY_COMMITS_MAX {
        for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
            let health = Health::default();
            let index = Arc::new(MemoryIndex::from_snapshot(first.index.clone(), health.clone()));
            index.fail_after(point, fault);
            let disk = first.disk.crash_state(0).disk;
            let clock = Arc::new(ManualClock::new(START));
            let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock, health, 3);
            if rig.store.recover().await.is_ok() {
                return states_count;
            }
            let log = Log { acknowledged: first.log.acknowledged.clone(), possible: first.log.possible.clone() };
            let second = Wreck { disk: disk.clone(), index: index.snapshot(), log };
            violation(disk, &second).await.unwrap_or_else(|what| panic!("{cut:?}, then {point} {fault:?}: {what}"));
            states_count += 1;
        }
    }
    panic!("the recovery from {cut:?} does not end");
}

#[tokio::test]
async fn a_recovery_that_is_cut_short_is_resumed() {
    let commits_count = wreck(Cut::Never, None).await.index.last_revision();
    let mut states_count = 0;
    for point in 0..commits_count {
        states_count += explore_recovery(Cut::Commit(point, Fault::UnknownWritten)).await;
    }
    println!("{states_count} states");
    assert!(states_count > 20, "the workload has sagas to resume");
}

#[test]
fn a_missing_sync_of_a_file_is_noticed() {
    println!("{}", explore(Some(Call::SyncData)).unwrap_err());
}

#[test]
fn a_missing_sync_of_a_folder_is_noticed() {
    println!("{}", explore(Some(Call::SyncDir)).unwrap_err());
}
