//! No sequence of operations, by anyone, removes a version under COMPLIANCE or legal hold.
//!
//! "Anyone" bypasses governance, suspends versioning behind the API's back, forgets settings, sets the wall clock to
//! whatever it likes and restarts the process. The oracle knows nothing of lock time but its promise: it is never further
//! ahead than the time that has passed, and a day for each start.

use std::collections::HashMap;

use cairn_storage::clock::Clock as _;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod, Versioning};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::lock_clock::AHEAD_MS_MAX;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::{Bucket, Governance, Permit, Powers, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Retention, RetentionMode};
use proptest::prelude::*;

use crate::restore;
use crate::rig::{FILE_BYTES, Rig, bytes, object_key};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const KEYS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Step {
    Put { key: usize, lock: Option<(RetentionMode, i64)>, hold: Option<bool> },
    Multipart { key: usize },
    Hide { key: usize },
    Remove { key: usize, nth: usize },
    RemoveNull { key: usize },
    Retain { key: usize, nth: usize, lock: Option<(RetentionMode, i64)> },
    Hold { key: usize, nth: usize, hold: bool },
    Forget { key: usize, nth: usize },
    SetVersioning(Versioning),
    SetDefault(Option<(RetentionMode, u32)>),
    DeleteBucket,
    RestoreBucket { hours_ago: i64 },
    Collect,
    Pass { minutes: u32 },
    Jump { hours: i64 },
    Restart { hours: i64 },
}

fn mode() -> impl Strategy<Value = RetentionMode> {
    prop_oneof![Just(RetentionMode::Governance), Just(RetentionMode::Compliance)]
}

fn lock() -> impl Strategy<Value = Option<(RetentionMode, i64)>> {
    proptest::option::of((mode(), prop_oneof![1..3_i64, 24..100_i64, 9_000..100_000_i64]))
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let hours = prop_oneof![-100_000..100_000_i64, -30..30_i64];
    prop_oneof![
        4 => (key.clone(), lock(), proptest::option::of(any::<bool>()))
            .prop_map(|(key, lock, hold)| Step::Put { key, lock, hold }),
        1 => key.clone().prop_map(|key| Step::Multipart { key }),
        1 => key.clone().prop_map(|key| Step::Hide { key }),
        6 => (key.clone(), 0..6_usize).prop_map(|(key, nth)| Step::Remove { key, nth }),
        1 => key.clone().prop_map(|key| Step::RemoveNull { key }),
        3 => (key.clone(), 0..6_usize, lock()).prop_map(|(key, nth, lock)| Step::Retain { key, nth, lock }),
        2 => (key.clone(), 0..6_usize, any::<bool>()).prop_map(|(key, nth, hold)| Step::Hold { key, nth, hold }),
        1 => (key, 0..6_usize).prop_map(|(key, nth)| Step::Forget { key, nth }),
        1 => prop_oneof![Just(Versioning::Enabled), Just(Versioning::Suspended)].prop_map(Step::SetVersioning),
        1 => proptest::option::of((mode(), 1..10_u32)).prop_map(Step::SetDefault),
        1 => Just(Step::DeleteBucket),
        2 => (0..100_i64).prop_map(|hours_ago| Step::RestoreBucket { hours_ago }),
        1 => Just(Step::Collect),
        2 => (0..3_000_u32).prop_map(|minutes| Step::Pass { minutes }),
        2 => hours.clone().prop_map(|hours| Step::Jump { hours }),
        2 => hours.prop_map(|hours| Step::Restart { hours }),
    ]
}

/// What a version was last acknowledged to have.
struct Kept {
    key: usize,
    content: Vec<u8>,
    /// The oracle's time at which a COMPLIANCE retention may end at the earliest.
    compliance_until_ms: Option<i64>,
    hold: bool,
}

struct World {
    rig: Rig,
    bucket: Bucket,
    kept: HashMap<VersionId, Kept>,
    ids: [Vec<VersionId>; KEYS.len()],
    /// The furthest ahead that lock time may be, since the beginning.
    time_ms_max: i64,
    lives: u64,
}

impl World {
    async fn new() -> Self {
        let rig = Rig::new();
        // Created without, so that there are null versions.
        let bucket = rig.create_bucket("bucket").await;
        for key in KEYS {
            rig.put(&bucket, key, b"null").await;
        }
        rig.store.set_versioning(&bucket, Versioning::Enabled, None, Powers::default()).await.unwrap();
        rig.store.set_object_lock(&bucket, None).await.unwrap();
        let bucket = rig.bucket("bucket").await.unwrap();
        let mut ids = [vec![], vec![]];
        for (at, key) in KEYS.iter().enumerate() {
            ids[at].push(rig.newest_id(&bucket, key).await);
        }
        Self { rig, bucket, kept: HashMap::new(), ids, time_ms_max: 0, lives: 1 }
    }

    fn retention(&self, lock: Option<(RetentionMode, i64)>) -> Option<Retention> {
        let now = self.rig.store.lock_clock().now();
        lock.map(|(mode, hours)| Retention { mode, until: now.plus_ms(hours * HOUR_MS) })
    }

    fn version(&self, key: usize, nth: usize) -> VersionSelector {
        let ids = &self.ids[key];
        VersionSelector::Id(ids[nth % ids.len()])
    }

    /// Notes what an operation acknowledged about a version.
    fn note(&mut self, key: usize, object: &ObjectVersion, content: Option<Vec<u8>>) {
        let now = self.rig.store.lock_clock().now();
        let compliance = object.settings.retention.filter(|retention| retention.mode == RetentionMode::Compliance);
        let compliance_until_ms = compliance.map(|retention| self.time_ms_max + (retention.until.0 - now.0));
        let hold = object.settings.legal_hold == Some(true);
        match self.kept.get_mut(&object.version_id) {
            Some(kept) => {
                kept.hold = hold;
                // Whatever was acknowledged since: nobody shortens it.
                kept.compliance_until_ms = kept.compliance_until_ms.max(compliance_until_ms);
            }
            None => {
                let content = content.unwrap_or_else(|| b"null".to_vec());
                self.kept.insert(object.version_id, Kept { key, content, compliance_until_ms, hold });
                if !self.ids[key].contains(&object.version_id) {
                    self.ids[key].push(object.version_id);
                }
            }
        }
    }

    /// Takes one step, as somebody who may do everything. Refusals are fine.
    async fn take(mut self, step: &Step) -> Self {
        let (rig, bucket) = (&self.rig, &self.bucket);
        let governance = Governance::Bypassed;
        match *step {
            Step::Put { key, lock, hold } => {
                let content = bytes(self.kept.len() as u64, FILE_BYTES);
                let settings =
                    ObjectSettings { retention: self.retention(lock), legal_hold: hold, ..ObjectSettings::default() };
                if let Ok(object) = rig.put_locked(bucket, KEYS[key], &content, settings).await {
                    self.note(key, &object, Some(content));
                }
            }
            Step::Multipart { key } => {
                let upload = rig.create_upload(bucket, KEYS[key]).await;
                let part = rig.upload_part(bucket, KEYS[key], upload, 1, b"part").await.unwrap();
                if let Ok(object) = rig.complete(bucket, KEYS[key], upload, &[part]).await {
                    self.note(key, &object, Some(b"part".to_vec()));
                }
            }
            Step::Hide { key } => drop(rig.delete_version(bucket, KEYS[key], VersionSelector::Newest).await),
            Step::Remove { key, nth } => {
                drop(rig.delete_version_as(bucket, KEYS[key], self.version(key, nth), governance).await);
            }
            Step::RemoveNull { key } => {
                drop(rig.delete_version_as(bucket, KEYS[key], VersionSelector::Null, governance).await);
            }
            Step::Retain { key, nth, lock } => {
                let (version, retention) = (self.version(key, nth), self.retention(lock));
                if let Ok(object) = rig.set_retention(bucket, KEYS[key], version, retention, governance).await {
                    self.note(key, &object, None);
                }
            }
            Step::Hold { key, nth, hold } => {
                if let Ok(object) = rig.set_legal_hold(bucket, KEYS[key], self.version(key, nth), hold).await {
                    self.note(key, &object, None);
                }
            }
            Step::Forget { key, nth } => {
                let forgetful =
                    |_: &_, object: &ObjectVersion| Ok(ObjectSettings { retention: None, ..object.settings.clone() });
                let (name, selector, permit) = (object_key(KEYS[key]), self.version(key, nth), Permit::any());
                let changed = rig.store.update_version(bucket, &name, selector, &permit, forgetful);
                if let Ok(object) = changed.await {
                    self.note(key, &object, None);
                }
            }
            Step::SetVersioning(versioning) => drop(rig.set_versioning(bucket, versioning).await),
            Step::SetDefault(default) => {
                let default =
                    default.map(|(mode, days)| DefaultRetention { mode, period: RetentionPeriod::Days(days) });
                drop(rig.store.set_object_lock(bucket, default).await);
            }
            Step::DeleteBucket => drop(rig.store.delete_bucket(bucket).await.unwrap_err()),
            Step::RestoreBucket { hours_ago } => {
                let as_of = rig.clock.now().plus_ms(-hours_ago * HOUR_MS).max(bucket.created);
                if rig.store.start_restore(bucket, restore::to(as_of)).await.is_ok() {
                    restore::finish(rig, bucket, RestoreLimits::default()).await;
                }
            }
            Step::Collect => drop(rig.try_run_due(&Collector).await.unwrap()),
            Step::Pass { minutes } => {
                rig.clock.advance_ms(minutes * 60_000);
                rig.store.keep_lock_time().await.unwrap();
                self.time_ms_max += i64::from(minutes) * 60_000;
            }
            Step::Jump { hours } => rig.clock.jump_ms(hours * HOUR_MS),
            Step::Restart { hours } => {
                rig.clock.jump_ms(hours * HOUR_MS);
                rig.clock.reboot();
                self.lives += 1;
                self.time_ms_max += AHEAD_MS_MAX;
                self.rig = self.rig.restart(self.lives).await;
            }
        }
        self
    }

    async fn check(&self) {
        for (id, kept) in &self.kept {
            let retained = kept.compliance_until_ms.is_some_and(|until_ms| until_ms > self.time_ms_max);
            if retained || kept.hold {
                let got = self.rig.get_version(&self.bucket, KEYS[kept.key], VersionSelector::Id(*id)).await;
                let now = self.rig.clock.now();
                assert!(got.as_ref().is_ok_and(|got| *got == kept.content), "{id} at {now:?}: {got:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_removes_a_version_under_compliance_or_legal_hold(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            // Never empty, so that the bucket cannot go.
            let anchor = ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() };
            world.rig.put_locked(&world.bucket, "anchor", b"x", anchor).await.unwrap();
            for step in &steps {
                world = world.take(step).await;
                world.check().await;
            }
        });
    }
}
