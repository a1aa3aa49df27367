//! Power cuts under whole operations: what was acknowledged is there, what was under way happened or did not, and
//! what nobody names is found by the scan and the collector.
//!
//! The power goes at every call that changes the disk and at every commit (which then was written, or was not). A commit
//! that returned is durable, as the database's are; the disk is simulated and keeps any mixture of what was not synced.
//! After each cut a new process recovers, and all it shows must be the state before the operation under way or after. States that
//! differ only in bytes that the recovery has not asked for are one.

mod archive;
mod explore;
mod replicas;
mod see;

use std::collections::BTreeMap;

use cairn_crypto::digest::Digests;
use cairn_storage::StorageError;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::id::UploadId;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::jobs::collect::Collector;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::{Act, ActFailed};
use cairn_storage::ops::{CopyObject, CopySource, Permit, Powers, ReadConditions, VersionSelector, WriteConditions};

use see::{Seen, versions};

use crate::rig::{FILE_BYTES, Rig, bytes, keys, object_key, owner, upload_of};

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
    disk: SimDisk,
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

    /// Does something about the key's `nth` version, from the newest on, as a rule does.
    async fn act(&self, bucket: &str, key: &str, nth: usize, act: Act) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(bucket).await?;
        let done = crate::lifecycle::act(&self.rig, &bucket, key, nth, act).await?;
        done.failed.first().map_or(Ok(()), |ActFailed { reason, .. }| Err(StorageError::corrupt(reason)))
    }

    async fn end(&mut self, bucket: &str, key: &str, nth: usize, act: Act) -> Result<(), StorageError> {
        self.log.begin(|seen| match (act, seen.buckets[bucket]) {
            (Act::Expire, Versioning::Enabled) => seen.write(bucket, key, None),
            _ => seen.remove(bucket, key, nth),
        });
        self.act(bucket, key, nth, act).await?;
        self.log.end();
        Ok(())
    }

    /// Moves the key's newest version to a class, which changes nothing that is seen.
    async fn transition(&mut self, bucket: &str, key: &str, class: StorageClass) -> Result<(), StorageError> {
        self.log.begin(|_| {});
        self.act(bucket, key, 0, Act::Transition(class)).await?;
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

    /// One round of the collector. A task that fails is the power cut. What was left unsynced until then has been written back, which systems
    /// do by themselves: else each file that was ever unlinked comes back in half of all states from then on.
    async fn collect(&mut self) -> Result<(), StorageError> {
        self.disk.write_back();
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

/// Versions, delete markers, removals and suspension; then replicas, what rules do, and archives.
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
    work.set_rules("kept").await?;
    work.transition("kept", "key", StorageClass::GlacierIr).await?;
    work.collect().await?;
    work.end("kept", "key", 0, Act::Expire).await?;
    work.end("kept", "key", 1, Act::Remove).await?;
    work.put("kept", "brief", file(27)).await?;
    work.end("kept", "brief", 0, Act::Expire).await?;
    work.end("kept", "brief", 1, Act::Remove).await?;
    work.end("kept", "brief", 0, Act::RemoveMarker).await?;
    for _ in 0..2 {
        work.collect().await?;
    }
    archive::work_with_archives(work).await
}
