//! The worker against a store in memory and a carrier that does as it is told.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_storage::blob::{BlobStore, Offload};
use cairn_storage::clock::{SeededEntropy, SystemClock};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership, Versioning};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::object::{ObjectAttributes, ObjectKey, ObjectVersion, StorageClass};
use cairn_storage::observe::Silent;
use cairn_storage::ops::planner::{Change, Plan, Planner};
use cairn_storage::ops::replication::{Noted, PAGE_TASKS_MAX, Position, Settled};
use cairn_storage::ops::{
    Body, Bucket, BucketName, DeclaredChecksum, GetObject, Limits, NewBucket, Permit, Powers, PutObject, StoreParts,
    VersionSelector, WriteConditions,
};
use cairn_storage::replication::{Progress, ReplicationStatus, TargetId};
use cairn_storage::settings::Tag;

use super::*;
use crate::rules::{Configuration, Destination, Filter, Rule, Scope};

const NEAR: &str = "arn:aws:s3:::near";
const FAR: &str = "arn:aws:s3:far::copies";

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Ruled(Configuration);

impl Planner for Ruled {
    fn kinds(&self, _: &BucketRecord) -> &[DocumentKind] {
        &[]
    }

    fn plan(&self, change: Change<'_>, _: &BucketRecord, _: &[Option<Bytes>]) -> Plan {
        crate::plan::plan(&self.0, change)
    }
}

fn rule(id: &str, priority: i32, target: &str) -> Rule {
    Rule {
        id: id.to_owned(),
        priority: Some(priority),
        enabled: true,
        scope: Scope::Filter(Filter::All),
        delete_markers: Some(true),
        existing_objects: None,
        kms_objects: None,
        replica_modifications: None,
        destination: Destination {
            target: target.parse().unwrap(),
            account: None,
            storage_class: None,
            owner_override: false,
            replica_kms_key: None,
            replication_time: None,
            metrics: None,
        },
    }
}

/// What a target answers, until it is told otherwise.
#[derive(Clone, Debug)]
enum Answer {
    Brings,
    Is(Failure),
    /// It has room for what is smaller.
    HasRoomBelow(u64),
    Panics,
}

/// Notes what was brought, and answers as told.
#[derive(Debug)]
struct Scripted {
    store: Store,
    bucket: Bucket,
    answers: Mutex<HashMap<String, Answer>>,
    /// What was asked, by target.
    asked: Mutex<Vec<(String, String)>>,
    /// How many tasks of a key are under way.
    under_way: Mutex<HashSet<(String, String)>>,
    /// How many tasks of a target were under way at once, at most.
    at_once_max: AtomicUsize,
    takes: Duration,
    /// The key whose tasks take as long as it stands here.
    held: Mutex<Option<String>>,
    /// The targets of lanes in which nothing waits any more.
    over: Mutex<HashSet<TargetId>>,
}

#[async_trait]
impl Carrier for Scripted {
    async fn carry(&self, queued: &QueuedTask) -> Result<Carried, Failure> {
        let task = &queued.task;
        let of_key = (task.target.clone(), task.key.clone());
        self.asked.lock().push(of_key.clone());
        let at_once = {
            let mut under_way = self.under_way.lock();
            assert!(under_way.insert(of_key.clone()), "two tasks of a key at once");
            under_way.iter().filter(|(target, _)| *target == task.target).count()
        };
        self.at_once_max.fetch_max(at_once, Ordering::Relaxed);
        let key = ObjectKey::new(&task.key).unwrap();
        let version = self.store.any_version(self.bucket.id, &key, task.version).await.unwrap();
        tokio::time::sleep(self.takes).await;
        while self.held.lock().as_ref() == Some(&task.key) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.under_way.lock().remove(&of_key);
        match self.answers.lock().get(&task.target).cloned() {
            Some(Answer::Is(failure)) => return Err(failure),
            Some(Answer::Panics) => panic!("as it was told to"),
            Some(Answer::HasRoomBelow(bytes)) if task.size_bytes >= bytes => {
                return Err(Failure::Full { reason: "no room".to_owned() });
            }
            Some(Answer::Brings | Answer::HasRoomBelow(_)) | None => {}
        }
        let Some(cairn_storage::index::family::version::Version::Object(object)) = version else {
            return Ok(Carried::Nothing);
        };
        Ok(Carried::Brought { settings: Some(object.settings), foreign_version: Some("there".to_owned()) })
    }

    fn told(&self, _: Told<'_>) {}

    fn over(&self, lane: Lane) {
        self.over.lock().insert(lane.target);
    }
}

struct World {
    store: Store,
    bucket: Bucket,
    carrier: Arc<Scripted>,
}

async fn world(takes: Duration) -> World {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    let health = Health::default();
    let role = "arn:aws:iam::123456789012:role/replicator".to_owned();
    let rules = vec![rule("near", 1, NEAR), rule("far", 2, FAR)];
    let store = Store::new(StoreParts {
        index: Arc::new(MemoryIndex::new(health.clone())),
        blobs: BlobStore::new(Arc::new(disk), health.clone(), Arc::new(Silent), Offload::Inline),
        health,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SeededEntropy::new(1)),
        planner: Arc::new(Ruled(Configuration { role, rules })),
        limits: Limits { inline_threshold_bytes: 1_000 },
    });
    let name = BucketName::new("source").unwrap();
    let new = NewBucket {
        name: name.clone(),
        owner: "123456789012".parse().unwrap(),
        region: "us-east-1".to_owned(),
        object_lock: false,
        ownership: ObjectOwnership::default(),
        acl: None,
        public_access_block: None,
    };
    store.create_bucket(new).await.unwrap();
    let bucket = store.bucket(&name).await.unwrap();
    store.set_versioning(&bucket, Versioning::Enabled, None, Powers::default()).await.unwrap();
    let bucket = store.bucket(&name).await.unwrap();
    let carrier = Arc::new(Scripted {
        store: store.clone(),
        bucket: bucket.clone(),
        answers: Mutex::default(),
        asked: Mutex::default(),
        under_way: Mutex::default(),
        at_once_max: AtomicUsize::default(),
        takes,
        held: Mutex::default(),
        over: Mutex::default(),
    });
    World { store, bucket, carrier }
}

impl World {
    fn work(&self) -> Worker {
        let soon = Backoff { ms_min: 20, ms_max: 50 };
        let options = Options { attempts_max: 3, task_backoff: soon, target_backoff: soon, ..Options::default() };
        Worker::spawn(self.store.clone(), self.carrier.clone(), options)
    }

    fn answer(&self, target: &str, answer: Answer) {
        self.carrier.answers.lock().insert(target.to_owned(), answer);
    }

    async fn put(&self, key: &str) -> VersionId {
        self.put_bytes(key, Bytes::from_static(b"bytes")).await
    }

    async fn put_bytes(&self, key: &str, bytes: Bytes) -> VersionId {
        let length = Some(bytes.len() as u64);
        let put = PutObject {
            attributes: ObjectAttributes::default(),
            storage_class: StorageClass::Standard,
            settings: ObjectSettings::default(),
            owner: self.bucket.owner,
            body: Body {
                stream: Box::pin(futures::stream::iter([Ok(bytes)])),
                length,
                content_md5: None,
                checksum: DeclaredChecksum::None,
                sealed: None,
            },
            sealing: None,
            envelope: None,
            conditions: WriteConditions::default(),
            replica: None,
        };
        self.store.put_object(&self.bucket, &ObjectKey::new(key).unwrap(), put).await.unwrap().version_id
    }

    async fn object(&self, key: &str, id: VersionId) -> ObjectVersion {
        let get = GetObject { version: VersionSelector::Id(id), ..GetObject::default() };
        self.store.head_object(&self.bucket, &ObjectKey::new(key).unwrap(), get).await.unwrap().object
    }

    async fn status(&self, key: &str, id: VersionId, wished: ReplicationStatus) -> ObjectVersion {
        let began = std::time::Instant::now();
        loop {
            let object = self.object(key, id).await;
            if object.replication.as_ref().and_then(|replication| replication.status()) == Some(wished) {
                return object;
            }
            assert!(began.elapsed() < PATIENCE, "{key} is not {wished:?}: {:?}", object.replication);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn waiting(&self) -> i64 {
        self.store.waiting(self.bucket.id).await.unwrap().iter().map(|waiting| waiting.versions).sum()
    }
}

#[tokio::test]
async fn what_is_brought_is_noted_and_nothing_is_left_waiting() {
    let world = world(Duration::ZERO).await;
    let worker = world.work();
    let id = world.put("key").await;
    let object = world.status("key", id, ReplicationStatus::Completed).await;
    let at_far = object.replication.unwrap().at(TargetId::of(FAR)).cloned().unwrap();
    assert!(at_far.arrived);
    assert_eq!(at_far.foreign_version.as_deref(), Some("there"));
    assert_eq!(world.waiting().await, 0);
    let began = std::time::Instant::now();
    while world.carrier.over.lock().len() < 2 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn as_many_are_on_their_way_to_a_target_at_once_as_may_be_and_no_more() {
    let world = world(Duration::from_millis(20)).await;
    for n in 0..60 {
        world.put(&format!("{n:02}")).await;
    }
    let worker = world.work();
    while world.waiting().await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.carrier.at_once_max.load(Ordering::Relaxed), Options::default().concurrency);
    worker.stop().await;
}

#[tokio::test]
async fn a_target_that_is_down_holds_up_no_other_and_gets_all_when_it_is_back() {
    let world = world(Duration::ZERO).await;
    world.answer(FAR, Answer::Is(Failure::Down { reason: "gone".to_owned() }));
    let worker = world.work();
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push((format!("{n:02}"), world.put(&format!("{n:02}")).await));
    }
    let near = TargetId::of(NEAR);
    for (key, id) in &ids {
        let began = std::time::Instant::now();
        while world.object(key, *id).await.replication.unwrap().at(near).unwrap().progress != Progress::Completed {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(world.waiting().await, 40);
    let lane = Lane { partition: world.bucket.id.into(), target: TargetId::of(FAR) };
    assert_eq!(worker.states().of(lane).last_error.as_deref(), Some("gone"));
    world.answer(FAR, Answer::Brings);
    for (key, id) in &ids {
        world.status(key, *id, ReplicationStatus::Completed).await;
    }
    assert_eq!(world.waiting().await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_kept_with_its_reason_until_it_is_retried() {
    let world = world(Duration::ZERO).await;
    world.answer(NEAR, Answer::Is(Failure::Refused { reason: "not allowed".to_owned() }));
    world.answer(FAR, Answer::Is(Failure::Later { reason: "busy".to_owned(), after: None }));
    let worker = world.work();
    let id = world.put("key").await;
    let began = std::time::Instant::now();
    let failed = loop {
        let failed = world.store.unreplicated(world.bucket.id, None, 10).await.unwrap();
        if failed.len() == 2 {
            break failed;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    world.status("key", id, ReplicationStatus::Failed).await;
    let reason = |target: &str| {
        let found = failed.iter().find(|given_up| given_up.task.target == target).unwrap();
        (found.last_error.clone().unwrap(), found.attempts)
    };
    assert_eq!(reason(NEAR), ("not allowed".to_owned(), 1));
    assert_eq!(reason(FAR), ("busy".to_owned(), 3));
    assert_eq!(world.waiting().await, 0);
    world.answer(NEAR, Answer::Brings);
    world.answer(FAR, Answer::Brings);
    for given_up in &failed {
        assert!(world.store.retry_unreplicated(given_up).await.unwrap());
        assert!(!world.store.retry_unreplicated(given_up).await.unwrap());
    }
    world.status("key", id, ReplicationStatus::Completed).await;
    assert!(world.store.unreplicated(world.bucket.id, None, 10).await.unwrap().is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn what_is_large_waits_for_room_as_long_as_it_takes_and_what_fits_goes_on() {
    const MIB: usize = 1 << 20;
    let world = world(Duration::ZERO).await;
    world.answer(FAR, Answer::HasRoomBelow(2 * MIB as u64));
    let worker = world.work();
    let large = |mib: usize| Bytes::from(vec![0; mib * MIB]);
    let mut ids = Vec::new();
    for (key, mib) in [("3", 3), ("2", 2), ("4", 4)] {
        ids.push((key, world.put_bytes(key, large(mib)).await));
    }
    let asked = || world.carrier.asked.lock().iter().filter(|(target, key)| target == FAR && key.len() == 1).count();
    let began = std::time::Instant::now();
    // More often than anything else is tried.
    while asked() < 12 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let small = world.put("small").await;
    world.status("small", small, ReplicationStatus::Completed).await;
    let fits = world.put_bytes("fits", large(1)).await;
    world.status("fits", fits, ReplicationStatus::Completed).await;
    assert_eq!(world.waiting().await, 3);
    let lane = Lane { partition: world.bucket.id.into(), target: TargetId::of(FAR) };
    let state = worker.states().of(lane);
    assert_eq!((state.down_until.is_some(), state.last_error.as_deref()), (true, Some("no room")));
    assert!(world.store.unreplicated(world.bucket.id, None, 10).await.unwrap().is_empty());
    // With room for one of them, that one goes, though it is not the first.
    world.answer(FAR, Answer::HasRoomBelow(3 * MIB as u64));
    world.status(ids[1].0, ids[1].1, ReplicationStatus::Completed).await;
    world.answer(FAR, Answer::Brings);
    for (key, id) in ids {
        world.status(key, id, ReplicationStatus::Completed).await;
    }
    while worker.states().of(lane) != LaneState::default() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn what_panics_is_tried_again_and_then_given_up_and_others_go_on() {
    let world = world(Duration::ZERO).await;
    world.answer(FAR, Answer::Panics);
    let worker = world.work();
    let id = world.put("key").await;
    world.status("key", id, ReplicationStatus::Failed).await;
    let failed = world.store.unreplicated(world.bucket.id, None, 10).await.unwrap();
    let targets: Vec<_> = failed.iter().map(|failed| (failed.task.target.as_str(), failed.attempts)).collect();
    assert_eq!(targets, [(FAR, 3)]);
    world.answer(FAR, Answer::Brings);
    let id = world.put("other").await;
    world.status("other", id, ReplicationStatus::Completed).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_version_that_takes_long_holds_up_those_of_its_key_alone() {
    let world = world(Duration::ZERO).await;
    *world.carrier.held.lock() = Some("slow".to_owned());
    let mut slow = Vec::new();
    let mut others = Vec::new();
    for n in 0..3 * PAGE_TASKS_MAX {
        slow.push(world.put("slow").await);
        if n % 100 == 0 {
            others.push((format!("{n}"), world.put(&format!("{n}")).await));
        }
    }
    let worker = world.work();
    for (key, id) in &others {
        world.status(key, *id, ReplicationStatus::Completed).await;
    }
    assert_eq!(world.waiting().await, 2 * i64::try_from(slow.len()).unwrap());
    *world.carrier.held.lock() = None;
    for id in slow.iter().rev().take(2) {
        world.status("slow", *id, ReplicationStatus::Completed).await;
    }
    while world.waiting().await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn many_are_settled_in_one_commit_and_what_has_changed_is_not() {
    let world = world(Duration::ZERO).await;
    for n in 0..40 {
        world.put(&format!("{n:02}")).await;
    }
    let lane = Lane { partition: world.bucket.id.into(), target: TargetId::of(NEAR) };
    let now = world.store.clock().now();
    let page = world.store.queued(lane, Position::at(Timestamp(0)), now).await.unwrap();
    let settings = |queued: &QueuedTask| match queued.task.key.as_str() {
        "07" => {
            ObjectSettings { tags: vec![Tag { key: "old".to_owned(), value: String::new() }], ..Default::default() }
        }
        _ => ObjectSettings::default(),
    };
    let brought = |queued: QueuedTask| {
        let settings = Some(settings(&queued));
        (queued, Settled::Completed { settings, foreign_version: None })
    };
    let tasks: Vec<_> = page.tasks.into_iter().map(brought).collect();
    let before = world.store.last_change(world.bucket.id).unwrap();
    let noted: Vec<_> = world.store.settle(lane, &tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(world.store.last_change(world.bucket.id).unwrap().0 - before.0, 1);
    for ((queued, _), noted) in tasks.iter().zip(noted) {
        let object = world.object(&queued.task.key, queued.task.version).await;
        let is_done = object.replication.unwrap().at(lane.target).unwrap().progress == Progress::Completed;
        assert_eq!(noted, if queued.task.key == "07" { Noted::Changed } else { Noted::Done });
        assert_eq!(is_done, queued.task.key != "07");
    }
    assert_eq!(world.waiting().await, 41);
}

#[tokio::test]
async fn a_change_while_a_version_is_on_its_way_is_brought_as_well() {
    let world = world(Duration::from_millis(100)).await;
    let worker = world.work();
    let id = world.put("key").await;
    while world.carrier.asked.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let key = ObjectKey::new("key").unwrap();
    let tag = Tag { key: "late".to_owned(), value: String::new() };
    let change = |_: &BucketRecord, object: &ObjectVersion| {
        Ok(ObjectSettings { tags: vec![tag.clone()], ..object.settings.clone() })
    };
    let selector = VersionSelector::Id(id);
    world.store.update_version(&world.bucket, &key, selector, &Permit::any(), change).await.unwrap();
    world.status("key", id, ReplicationStatus::Completed).await;
    let asked = world.carrier.asked.lock().iter().filter(|(target, _)| target == NEAR).count();
    assert!(asked >= 2, "the change was not brought");
    assert_eq!(world.waiting().await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn what_a_stopped_worker_has_not_brought_the_next_one_finds() {
    let world = world(Duration::from_millis(20)).await;
    let worker = world.work();
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push((n, world.put("same").await));
        ids.push((n, world.put(&format!("other {n}")).await));
    }
    worker.stop().await;
    assert!(world.waiting().await > 0);
    let under_way = std::mem::take(&mut *world.carrier.under_way.lock());
    drop(under_way);
    let worker = world.work();
    for (n, id) in ids.chunks(2).flat_map(|pair| [(None, pair[0].1), (Some(pair[1].0), pair[1].1)]) {
        let key = n.map_or("same".to_owned(), |n| format!("other {n}"));
        world.status(&key, id, ReplicationStatus::Completed).await;
    }
    assert_eq!(world.waiting().await, 0);
    worker.stop().await;
}
