//! Walk jobs: cut short at any commit, held, ended, retried, and forgotten in time; and the task queues as operators see them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_storage::clock::ManualClock;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::id::JobId;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::job::{self, JobRecord, Queue};
use cairn_storage::index::family::walk::{
    Finding, FindingKind, WalkBucket, WalkCounts, WalkKind, WalkRecord, WalkState,
};
use cairn_storage::index::memory::{Fault, MemoryIndex, MemorySnapshot};
use cairn_storage::index::{Batch, Family, KeyRange, Partition};
use cairn_storage::jobs::walks::{
    self, ACTIVE_MAX, ENDED_KEPT_MAX, NewWalk, Step, StepFailure, WalkChange, WalkError, WalkOptions, Walker,
};
use cairn_storage::observe::Silent;
use cairn_storage::ops::{GetObject, ListObjects, Permit, Store, VersionSelector};
use cairn_storage::record::Record as _;

use crate::rig::{Rig, START, bucket_name, object_key};

/// Longer than any walk of these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sets a legal hold on each object, one a step. The argument `fail` makes it fail at the key `b`, `wait` at every step.
#[derive(Debug, Default)]
struct Holder;

#[async_trait]
impl Walker for Holder {
    fn kind(&self) -> WalkKind {
        WalkKind::Rewrap
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        if walk.argument[..] == *b"wait" {
            return Err(StepFailure::Later("not yet".to_owned()));
        }
        let done = |cursor| Step { cursor, counts: WalkCounts::default(), note: None };
        let Some(place) = store.walk_place(walk).await? else { return Ok(done(None)) };
        let after = Some(String::from_utf8(place.within.clone()).unwrap());
        let bucket = store.bucket(&bucket_name(&place.bucket.name)).await?;
        let page = store.list_objects(&bucket, ListObjects { after, max_keys: 2, ..ListObjects::default() }).await?;
        let Some(first) = page.entries.first() else { return Ok(done(place.then(None))) };
        if walk.argument[..] == *b"fail" && first.name() == "b" {
            return Err(StepFailure::Failed("b cannot be held".to_owned()));
        }
        let key = object_key(first.name());
        let held = store.set_legal_hold(&bucket, &key, VersionSelector::Newest, &Permit::any(), true).await?;
        let counts = WalkCounts { examined: 1, changed: 1, bytes: held.size_bytes, ..WalkCounts::default() };
        let next = (page.entries.len() > 1).then(|| first.name().as_bytes().to_vec());
        Ok(Step { cursor: place.then(next), counts, note: Some(format!("held {}", first.name())) })
    }
}

fn everywhere(argument: &[u8]) -> NewWalk {
    NewWalk { kind: WalkKind::Rewrap, bucket: None, argument: argument.to_vec() }
}

/// Two buckets with objects, and an empty one between them.
async fn fill(rig: &Rig) {
    for (name, keys) in [("one", &["a", "b", "c"][..]), ("two", &[]), ("twos", &["a", "d"])] {
        let bucket = rig.create_lock_bucket(name).await;
        for key in keys {
            rig.put(&bucket, key, b"12345").await;
        }
    }
}

async fn held(rig: &Rig) -> usize {
    let mut held = 0;
    for name in ["one", "twos"] {
        let bucket = rig.bucket(name).await.unwrap();
        for key in ["a", "b", "c", "d"] {
            let head = rig.store.head_object(&bucket, &object_key(key), GetObject::default()).await;
            held += usize::from(head.is_ok_and(|head| head.object.settings.legal_hold == Some(true)));
        }
    }
    held
}

/// Pages until the walk is over; the failure that ended it early.
async fn run(rig: &Rig, id: JobId) -> Result<(), StepFailure> {
    while rig.store.walk_page(id, &Holder).await?.more {}
    Ok(())
}

fn open(snapshot: MemorySnapshot, seed: u64) -> (Rig, Arc<MemoryIndex>) {
    let health = Health::default();
    let index = Arc::new(MemoryIndex::from_snapshot(snapshot, health.clone()));
    let disk = SimDisk::new();
    cairn_storage::blob::BlobStore::create_folders(&disk).unwrap();
    let rig = Rig::over(index.clone(), Arc::new(disk), Arc::new(ManualClock::new(START)), health, seed);
    (rig, index)
}

#[tokio::test]
async fn a_walk_that_is_cut_short_at_any_commit_goes_on_where_it_was() {
    let (rig, index) = open(MemorySnapshot::default(), 1);
    fill(&rig).await;
    let before = index.snapshot();
    for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
        for point in 0.. {
            let (rig, index) = open(before.clone(), 2);
            let walk = rig.store.start_walk(everywhere(b"")).await.unwrap();
            index.fail_after(point, fault);
            let was_whole = run(&rig, walk.id).await.is_ok();
            let (rig, _) = open(index.snapshot(), 3);
            rig.store.recover().await.unwrap();
            run(&rig, walk.id).await.unwrap();
            let walk = rig.store.walk(walk.id).await.unwrap().unwrap();
            assert_eq!((walk.state, held(&rig).await), (WalkState::Done, 5), "cut at {point}");
            assert!((5..=6).contains(&walk.counts.changed), "at most one page is counted again: {:?}", walk.counts);
            if was_whole {
                assert!(point > 5);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_walk_about_one_bucket_stays_in_it_and_ends_with_it() {
    let rig = Rig::new();
    fill(&rig).await;
    let bucket = rig.bucket("one").await.unwrap();
    let of = |bucket: &cairn_storage::ops::Bucket| NewWalk {
        bucket: Some(WalkBucket { id: bucket.id, name: bucket.name.as_str().to_owned() }),
        ..everywhere(b"")
    };
    let walk = rig.store.start_walk(of(&bucket)).await.unwrap();
    run(&rig, walk.id).await.unwrap();
    assert_eq!(held(&rig).await, 3);
    let gone = rig.bucket("two").await.unwrap();
    let walk = rig.store.start_walk(of(&gone)).await.unwrap();
    rig.store.delete_bucket(&gone).await.unwrap();
    run(&rig, walk.id).await.unwrap();
    assert_eq!(rig.store.walk(walk.id).await.unwrap().unwrap().state, WalkState::Done);
}

#[tokio::test]
async fn a_paused_walk_waits_a_cancelled_one_has_ended_and_a_failed_one_is_retried_from_where_it_failed() {
    let rig = Rig::new();
    fill(&rig).await;
    let walk = rig.store.start_walk(everywhere(b"")).await.unwrap();
    assert!(rig.store.walk_page(walk.id, &Holder).await.unwrap().more);
    rig.store.change_walk(walk.id, WalkChange::Pause).await.unwrap();
    run(&rig, walk.id).await.unwrap();
    assert_eq!(held(&rig).await, 1);
    rig.store.change_walk(walk.id, WalkChange::Resume).await.unwrap();
    assert!(rig.store.walk_page(walk.id, &Holder).await.unwrap().more);
    rig.store.change_walk(walk.id, WalkChange::Cancel).await.unwrap();
    run(&rig, walk.id).await.unwrap();
    assert_eq!(held(&rig).await, 2);
    let resumed = rig.store.change_walk(walk.id, WalkChange::Resume).await;
    assert!(matches!(resumed, Err(WalkError::InState(WalkState::Cancelled))));
    let unknown = rig.store.change_walk(JobId::from_bytes([1; 16]), WalkChange::Pause).await;
    assert!(matches!(unknown, Err(WalkError::NoSuchWalk)));
}

/// Waits until the walk has this state.
async fn until(store: &Store, id: JobId, state: WalkState) -> WalkRecord {
    let wait = async {
        loop {
            let walk = store.walk(id).await.unwrap().unwrap();
            if walk.state == state {
                return walk;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the walk comes to that state")
}

#[tokio::test]
async fn the_driver_runs_walks_beside_one_that_waits_and_gives_up_one_that_fails() {
    let rig = Rig::new();
    fill(&rig).await;
    let options = WalkOptions {
        attempts_max: 3,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        ..WalkOptions::default()
    };
    let before = rig.store.start_walk(everywhere(b"wait")).await.unwrap();
    let driver = walks::spawn(rig.store.clone(), vec![Arc::new(Holder)], Arc::new(Silent), options);
    let failing = rig.store.start_walk(everywhere(b"fail")).await.unwrap();
    let failed = until(&rig.store, failing.id, WalkState::Failed).await;
    assert_eq!(failed.last_error.as_deref(), Some("b cannot be held"));
    assert_eq!((failed.counts.changed, failed.counts.bytes), (1, 5));
    let walk = rig.store.start_walk(everywhere(b"")).await.unwrap();
    let done = until(&rig.store, walk.id, WalkState::Done).await;
    assert_eq!((done.counts.examined, held(&rig).await), (5, 5));
    rig.store.change_walk(failing.id, WalkChange::Retry).await.unwrap();
    let failed = until(&rig.store, failing.id, WalkState::Failed).await;
    assert_eq!(failed.counts.changed, 1, "it goes on from where it failed");
    let waits = rig.store.walk(before.id).await.unwrap().unwrap();
    assert_eq!((waits.state, waits.last_error.as_deref()), (WalkState::Running, Some("not yet")));
    rig.store.change_walk(before.id, WalkChange::Cancel).await.unwrap();
    driver.stop().await;
}

#[tokio::test]
async fn the_same_walk_runs_once_and_neither_active_nor_ended_ones_grow_without_bound() {
    let rig = Rig::new();
    let first = rig.store.start_walk(everywhere(b"")).await.unwrap();
    assert_eq!(rig.store.start_walk(everywhere(b"")).await.unwrap().id, first.id);
    for number in 1..ACTIVE_MAX {
        rig.store.start_walk(everywhere(&[1, u8::try_from(number).unwrap()])).await.unwrap();
    }
    assert!(matches!(rig.store.start_walk(everywhere(b"more")).await, Err(WalkError::TooMany)));
    for walk in rig.store.walks().await.unwrap() {
        rig.store.change_walk(walk.id, WalkChange::Cancel).await.unwrap();
    }
    for _ in 0..ENDED_KEPT_MAX + 10 {
        rig.clock.advance_ms(1);
        let walk = rig.store.start_walk(everywhere(b"")).await.unwrap();
        rig.store.change_walk(walk.id, WalkChange::Cancel).await.unwrap();
    }
    let kept = rig.store.walks().await.unwrap();
    assert_eq!(kept.len(), ENDED_KEPT_MAX + 1);
    assert!(kept.iter().all(|walk| walk.id != first.id), "the oldest are forgotten");
}

#[tokio::test]
async fn a_task_that_was_given_up_is_shown_and_goes_back_to_its_queue() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let id = JobId::from_bytes([7; 16]);
    let record = JobRecord {
        task: b"task".to_vec().into(),
        attempts: 12,
        last_error: Some("no".to_owned()),
        origin: Some(Queue::Collect as u8),
        given_up: None,
    };
    let mut batch = Batch::new();
    batch.put(Family::Job, job::key(Queue::Dead, START, id), record.to_value().unwrap());
    rig.store.index().commit(Partition::from(bucket.id), batch).await.revision().unwrap();
    let overview = rig.store.queues().await.unwrap();
    assert_eq!((overview.dead_count, overview.queues[0].waiting), (1, 0));
    let dead = &overview.dead[0];
    assert_eq!((dead.id, dead.bucket.as_deref(), dead.queue), (id, Some("bucket"), Some(Queue::Collect)));
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (12, Some("no")));
    assert!(!rig.store.retry_dead_task(JobId::from_bytes([8; 16])).await.unwrap());
    assert!(rig.store.retry_dead_task(id).await.unwrap());
    let overview = rig.store.queues().await.unwrap();
    assert_eq!((overview.dead_count, overview.queues[0].waiting), (0, 1));
    assert!(rig.store.schedule().next_due(Queue::Collect).is_some());
    assert!(!rig.store.retry_dead_task(id).await.unwrap());
}

/// Finds two things a step, three steps long.
#[derive(Debug, Default)]
struct Finder;

#[async_trait]
impl Walker for Finder {
    fn kind(&self) -> WalkKind {
        WalkKind::Verify
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let nth = walk.cursor.len();
        let found: Vec<Finding> = (0..2).map(|which| found(2 * nth + which)).collect();
        store.keep_findings(walk, &found).await?;
        let counts = WalkCounts { failed: 2, ..WalkCounts::default() };
        Ok(Step { cursor: (nth < 2).then(|| vec![0; nth + 1]), counts, note: None })
    }
}

fn found(nth: usize) -> Finding {
    Finding {
        kind: FindingKind::Missing,
        key: format!("key-{nth}"),
        version: "v".to_owned(),
        target: "arn:aws:s3:::target".to_owned(),
        detail: String::new(),
        mended: false,
    }
}

#[tokio::test]
async fn what_a_walk_finds_is_kept_once_whatever_commit_it_is_cut_short_at() {
    let (rig, index) = open(MemorySnapshot::default(), 1);
    let new = NewWalk { kind: WalkKind::Verify, bucket: None, argument: Vec::new() };
    let id = rig.store.start_walk(new).await.unwrap().id;
    let before = index.snapshot();
    for point in 0..7 {
        let (rig, index) = open(before.clone(), 2);
        index.fail_after(point, Fault::UnknownWritten);
        while rig.store.walk_page(id, &Finder).await.is_ok_and(|turn| turn.more) {}
        let (rig, _) = open(index.snapshot(), 3);
        while rig.store.walk_page(id, &Finder).await.unwrap().more {}
        let walk = rig.store.walk(id).await.unwrap().unwrap();
        assert_eq!((walk.state, walk.counts.failed), (WalkState::Done, 6), "cut at {point}");
        let all: Vec<Finding> = (0..6).map(found).collect();
        assert_eq!(rig.store.findings(&walk, 0, 100).await.unwrap(), all);
        assert_eq!(rig.store.findings(&walk, 4, 1).await.unwrap(), all[4..5]);
    }
}

#[tokio::test]
async fn what_a_forgotten_walk_has_found_goes_with_it() {
    let rig = Rig::new();
    for nth in 0..=ENDED_KEPT_MAX + 1 {
        let argument = nth.to_string().into_bytes();
        let walk = rig.store.start_walk(NewWalk { kind: WalkKind::Verify, bucket: None, argument }).await.unwrap();
        while rig.store.walk_page(walk.id, &Finder).await.unwrap().more {}
        rig.clock.jump_ms(1);
    }
    let walks = rig.store.walks().await.unwrap();
    let kept = rig.store.index().view(Partition::SYSTEM, |view| {
        let mut count = 0;
        let mut cursor = view.cursor(Family::Document, KeyRange::prefix(&[DocumentKind::Finding as u8]))?;
        while cursor.row().is_some() {
            count += 1;
            cursor.advance()?;
        }
        Ok(count)
    });
    assert_eq!(kept.await.unwrap(), 6 * walks.len());
}
