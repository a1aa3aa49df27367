//! Random histories: whatever happened to a bucket, it can be made to look as at any moment at which it was looked at.

use std::collections::BTreeMap;

use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::index::family::bucket::Versioning::{Enabled, Suspended};
use cairn_storage::index::family::version::VersionSummary;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::{
    Bucket, CopyObject, CopySource, ListVersions, ListedVersion, NewRestore, Permit, ReadConditions, VersionSelector,
    WriteConditions,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Look, check_store, look, restore, small, to};
use crate::rig::{FILE_BYTES, Rig, bytes, keys, object_key, owner};

const HISTORIES: u64 = 60;
const STEPS: usize = 60;

/// One step in so many is followed by a look at the bucket.
const STEPS_PER_LOOK: u32 = 8;

const KEYS: [&str; 7] = ["a", "a/", "a/b", "a/c", "a\0b", "ä", "b/b/b"];

/// What may happen in a history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing goes for good.
    Kept,
    /// Versions are removed, and versioning is suspended now and then.
    Removed,
}

pub async fn copy(rig: &Rig, bucket: &Bucket, from: &ObjectKey, to: &ObjectKey) -> ObjectVersion {
    let source = CopySource {
        bucket,
        key: from,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions: ReadConditions::default(),
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
        sealing: None,
        names_encryption: false,
        conditions: WriteConditions::default(),
    };
    rig.store.copy_object(source, bucket, to, copy).await.unwrap().object
}

/// Every version with its age, newest first.
async fn versions(rig: &Rig, bucket: &Bucket) -> Vec<(String, VersionSummary)> {
    let page = rig.store.list_versions(bucket, ListVersions { max_keys: 1_000, ..ListVersions::default() }).await;
    let entries = page.unwrap().entries.into_iter();
    entries
        .map(|entry| match entry {
            ListedVersion::Version { key, version, .. } => (key.as_str().to_owned(), version),
            ListedVersion::Prefix(prefix) => panic!("{prefix}"),
        })
        .collect()
}

struct History {
    rig: Rig,
    bucket: Bucket,
    random: SmallRng,
    /// When versions that went for good had been made, and when they went.
    gone: Vec<(Timestamp, Timestamp)>,
    looks: Vec<(Timestamp, BTreeMap<String, Look>)>,
}

impl History {
    async fn of(kind: Kind, seed: u64) -> Self {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        let bucket = rig.set_versioning(&bucket, Enabled).await;
        let mut history =
            Self { rig, bucket, random: SmallRng::seed_from_u64(seed), gone: Vec::new(), looks: Vec::new() };
        for number in 0..STEPS {
            history.step(kind, number as u64).await;
            history.rig.clock.advance_ms(history.random.random_range(1..5_000_000));
            if history.random.random_range(0..STEPS_PER_LOOK) == 0 {
                let seen = look(&history.rig, &history.bucket).await;
                history.looks.push((history.rig.clock.now(), seen));
                history.rig.clock.advance_ms(1);
            }
        }
        history.bucket = history.rig.set_versioning(&history.bucket, Enabled).await;
        history
    }

    async fn step(&mut self, kind: Kind, number: u64) {
        let key = KEYS[self.random.random_range(0..KEYS.len())];
        let size = [0, 10, 30, FILE_BYTES, 1_000][self.random.random_range(0..5)];
        let choices = if kind == Kind::Kept { 6 } else { 9 };
        match self.random.random_range(0..choices) {
            0..=2 => self.replacing(key, number, size).await,
            3 => {
                self.count_null(key).await;
                self.rig.delete(&self.bucket, key).await;
            }
            4 => {
                let upload = self.rig.create_upload(&self.bucket, key).await;
                let part = self.rig.upload_part(&self.bucket, key, upload, 1, &bytes(number, FILE_BYTES)).await;
                self.count_null(key).await;
                self.rig.complete(&self.bucket, key, upload, &[part.unwrap()]).await.unwrap();
            }
            5 => {
                let to = KEYS[self.random.random_range(0..KEYS.len())];
                if self.rig.get(&self.bucket, key).await.is_ok() {
                    self.count_null(to).await;
                    copy(&self.rig, &self.bucket, &object_key(key), &object_key(to)).await;
                }
            }
            6 => {
                let versioning = if self.random.random_range(0..2) == 0 { Enabled } else { Suspended };
                self.bucket = self.rig.set_versioning(&self.bucket, versioning).await;
            }
            _ => self.remove().await,
        }
    }

    async fn replacing(&mut self, key: &str, number: u64, size: usize) {
        self.count_null(key).await;
        self.rig.put(&self.bucket, key, &bytes(number, size)).await;
    }

    /// Notes the null version that the next write of the key replaces.
    async fn count_null(&mut self, key: &str) {
        if self.bucket.versioning == Suspended {
            let all = versions(&self.rig, &self.bucket).await;
            let null = all.iter().find(|(name, version)| name == key && version.is_null());
            let now = self.rig.clock.now();
            self.gone.extend(null.map(|(_, version)| (version.created(), now)));
        }
    }

    /// Removes any version for good.
    async fn remove(&mut self) {
        let all = versions(&self.rig, &self.bucket).await;
        if all.is_empty() {
            return;
        }
        let (key, version) = &all[self.random.random_range(0..all.len())];
        self.gone.push((version.created(), self.rig.clock.now()));
        self.rig.delete_version(&self.bucket, key, VersionSelector::Id(version.id())).await.unwrap();
    }

    /// How many versions existed at `time` and went later.
    fn missing(&self, time: Timestamp) -> u64 {
        self.gone.iter().filter(|(created, gone)| *created <= time && *gone > time).count() as u64
    }

    fn limits(&mut self) -> RestoreLimits {
        let page_rows = self.random.random_range(1..20);
        let page_changes = self.random.random_range(1..10);
        let random = RestoreLimits { page_rows, page_changes, ..RestoreLimits::default() };
        [small(), random, RestoreLimits::default()][self.random.random_range(0..3)]
    }
}

/// Goes to every look in a random order, each time from where the last one led.
async fn go_everywhere(kind: Kind, seed: u64) {
    println!("history {seed}");
    let mut history = History::of(kind, seed).await;
    let mut looks = history.looks.clone();
    while !looks.is_empty() {
        let (time, then) = looks.swap_remove(history.random.random_range(0..looks.len()));
        let before = versions(&history.rig, &history.bucket).await;
        let (limits, dry_limits) = (history.limits(), history.limits());
        let dry = NewRestore { dry_run: true, ..to(time) };
        let dry = restore(&history.rig, &history.bucket, dry, dry_limits).await;
        assert_eq!(versions(&history.rig, &history.bucket).await, before, "a dry run changes nothing");
        let counts = restore(&history.rig, &history.bucket, to(time), limits).await;
        assert_eq!(counts, dry);
        assert!(counts.removed >= history.missing(time), "{} < {}", counts.removed, history.missing(time));
        if history.missing(time) == 0 {
            assert!(look(&history.rig, &history.bucket).await == then, "not as at {time:?}");
        }
        let after = versions(&history.rig, &history.bucket).await;
        assert!(before.iter().all(|version| after.contains(version)), "a version went");
        assert_eq!(after.len() as u64, before.len() as u64 + counts.restored + counts.hidden);
        history.rig.clock.advance_ms(1_000);
    }
    check_store(&history.rig).await;
}

#[tokio::test]
async fn a_bucket_whose_versions_were_kept_looks_as_at_any_time() {
    for seed in 0..HISTORIES {
        go_everywhere(Kind::Kept, seed).await;
    }
}

#[tokio::test]
async fn a_bucket_that_lost_versions_looks_as_then_or_says_how_many_it_lost() {
    for seed in 1_000..1_000 + HISTORIES {
        go_everywhere(Kind::Removed, seed).await;
    }
}
