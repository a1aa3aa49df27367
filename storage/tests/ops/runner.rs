//! The runner of a queue: what it does with each verdict, and what it finds again after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cairn_storage::blob::BlobStore;
use cairn_storage::clock::ManualClock;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::index::Partition;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::{Handler, JobHandle, RunnerOptions, Verdict, spawn};
use cairn_storage::observe::Silent;
use cairn_storage::ops::Store;

use crate::rig::{FILE_BYTES, Rig, START, bytes};

/// Answers every task alike and counts them.
#[derive(Debug)]
struct Answering {
    verdict: Verdict,
    runs: AtomicUsize,
}

#[async_trait]
impl Handler for Answering {
    fn queue(&self) -> Queue {
        Queue::Collect
    }

    async fn run(&self, _store: &Store, _partition: Partition, _task: &[u8]) -> Verdict {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.verdict.clone()
    }
}

/// Never comes to the end of the first tasks that it is given, and takes no time over the others.
#[derive(Debug)]
struct Stuck {
    stuck: usize,
    begun: AtomicUsize,
    done: AtomicUsize,
}

#[async_trait]
impl Handler for Stuck {
    fn queue(&self) -> Queue {
        Queue::Collect
    }

    async fn run(&self, _store: &Store, _partition: Partition, _task: &[u8]) -> Verdict {
        if self.begun.fetch_add(1, Ordering::SeqCst) < self.stuck {
            std::future::pending::<()>().await;
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Verdict::Done
    }
}

fn start(rig: &Rig, handler: Arc<dyn Handler>) -> JobHandle {
    let options = RunnerOptions {
        attempts_max: 3,
        backoff_ms_min: 1_000,
        rest: Duration::from_millis(20),
        stop_grace: Duration::from_millis(50),
        ..RunnerOptions::default()
    };
    spawn(rig.store.clone(), handler, Arc::new(Silent), options)
}

fn answering(verdict: Verdict) -> Arc<Answering> {
    Arc::new(Answering { verdict, runs: AtomicUsize::new(0) })
}

/// Waits until the condition holds, moving the store's clock so that retries fall due.
async fn wait_until(rig: &Rig, advance_ms: u32, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        rig.clock.advance_ms(advance_ms);
        rig.store.schedule().wake();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen");
}

/// A bucket with one task in its queue.
async fn rig_with_task() -> (Rig, cairn_storage::ops::Bucket) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "key").await;
    (rig, bucket)
}

#[tokio::test]
async fn tasks_from_before_the_start_and_from_afterwards_are_run() {
    let (rig, bucket) = rig_with_task().await;
    let rig = rig.restart(2).await;
    let handle = start(&rig, Arc::new(Collector));
    wait_until(&rig, 0, async || rig.files().is_empty()).await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "key").await;
    wait_until(&rig, 0, async || rig.files().is_empty()).await;
    wait_until(&rig, 0, async || rig.tasks(bucket.id.into(), Queue::Collect).await.is_empty()).await;
    assert_eq!(handle.status().done, 2);
    handle.stop().await;
}

#[tokio::test]
async fn a_task_that_fails_too_often_is_laid_aside_with_its_error() {
    let (rig, bucket) = rig_with_task().await;
    let handler = answering(Verdict::Failed("as the test wants".to_owned()));
    let handle = start(&rig, handler.clone());
    wait_until(&rig, 5_000, async || !rig.tasks(bucket.id.into(), Queue::Dead).await.is_empty()).await;
    assert_eq!(handler.runs.load(Ordering::SeqCst), 3);
    let (_, dead) = rig.tasks(bucket.id.into(), Queue::Dead).await.remove(0);
    assert_eq!(dead.last_error.as_deref(), Some("as the test wants"));
    assert_eq!((dead.attempts, dead.origin), (3, Some(Queue::Collect as u8)));
    assert!(rig.tasks(bucket.id.into(), Queue::Collect).await.is_empty());
    let status = handle.status();
    assert_eq!((status.retried, status.dead, status.done, status.running), (2, 1, 0, 0));
    handle.stop().await;
}

#[tokio::test]
async fn a_task_that_is_put_off_runs_again_only_when_it_is_due() {
    let (rig, _) = rig_with_task().await;
    let handler = answering(Verdict::Later(5_000));
    let handle = start(&rig, handler.clone());
    wait_until(&rig, 0, async || handler.runs.load(Ordering::SeqCst) == 1).await;
    rig.clock.advance_ms(4_000);
    rig.store.schedule().wake();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(handler.runs.load(Ordering::SeqCst), 1);
    wait_until(&rig, 1_000, async || handler.runs.load(Ordering::SeqCst) == 2).await;
    handle.stop().await;
}

#[tokio::test]
async fn a_paused_runner_starts_nothing_until_it_is_resumed() {
    let (rig, bucket) = rig_with_task().await;
    let handle = start(&rig, Arc::new(Collector));
    handle.pause();
    tokio::time::sleep(Duration::from_millis(5)).await;
    rig.put(&bucket, "other", &bytes(1, FILE_BYTES)).await;
    rig.delete(&bucket, "other").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let paused = rig.files().len();
    assert!(paused >= 1 && handle.status().paused);
    handle.resume();
    wait_until(&rig, 0, async || rig.files().is_empty()).await;
    handle.stop().await;
}

#[tokio::test]
async fn more_tasks_than_a_page_holds_are_all_run() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for number in 0..600 {
        rig.put(&bucket, "key", &bytes(number, FILE_BYTES)).await;
    }
    rig.delete(&bucket, "key").await;
    let handle = start(&rig, Arc::new(Collector));
    wait_until(&rig, 0, async || rig.tasks(bucket.id.into(), Queue::Collect).await.is_empty()).await;
    assert!(rig.files().is_empty());
    handle.stop().await;
}

/// A bucket with so many tasks in its queue.
async fn bucket_with_tasks(rig: &Rig, name: &str, count: u64) -> cairn_storage::ops::Bucket {
    let bucket = rig.create_bucket(name).await;
    for number in 0..count {
        rig.put(&bucket, "key", &bytes(number, FILE_BYTES)).await;
    }
    rig.delete(&bucket, "key").await;
    bucket
}

#[tokio::test]
async fn a_task_that_takes_long_holds_up_neither_its_bucket_nor_another() {
    let rig = Rig::new();
    let one = bucket_with_tasks(&rig, "one", 300).await;
    let handler = Arc::new(Stuck { stuck: 1, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) });
    let handle = start(&rig, handler.clone());
    let left = async |bucket: &cairn_storage::ops::Bucket| rig.tasks(bucket.id.into(), Queue::Collect).await.len();
    wait_until(&rig, 0, async || left(&one).await == 1).await;
    let two = bucket_with_tasks(&rig, "two", 3).await;
    wait_until(&rig, 0, async || left(&two).await == 0).await;
    rig.put(&one, "key", &bytes(1, FILE_BYTES)).await;
    rig.delete(&one, "key").await;
    wait_until(&rig, 0, async || left(&one).await == 1).await;
    assert_eq!((handle.status().running, handler.begun.load(Ordering::SeqCst)), (1, 304));
    handle.stop().await;
}

#[tokio::test]
async fn what_waits_at_hand_behind_stuck_tasks_is_overdue() {
    let rig = Rig::new();
    bucket_with_tasks(&rig, "bucket", 20).await;
    let concurrency = RunnerOptions::default().concurrency;
    let handler = Arc::new(Stuck { stuck: concurrency, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) });
    let handle = start(&rig, handler.clone());
    wait_until(&rig, 0, async || handler.begun.load(Ordering::SeqCst) == concurrency).await;
    rig.clock.advance_ms(60_000);
    let status = handle.status();
    assert!(status.running == concurrency as u64 && status.overdue_ms >= 60_000, "{status:?}");
    handle.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_and_keeps_what_is_done() {
    let rig = Rig::new();
    let bucket = bucket_with_tasks(&rig, "bucket", 20).await;
    let handler = Arc::new(Stuck { stuck: 2, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) });
    let handle = start(&rig, handler.clone());
    wait_until(&rig, 0, async || handler.done.load(Ordering::SeqCst) > 0).await;
    tokio::time::timeout(Duration::from_secs(30), handle.stop()).await.expect("it stops");
    let done = handler.done.load(Ordering::SeqCst);
    assert_eq!(rig.tasks(bucket.id.into(), Queue::Collect).await.len(), 20 - done);
    let handle = start(&rig, Arc::new(Collector));
    wait_until(&rig, 0, async || rig.tasks(bucket.id.into(), Queue::Collect).await.is_empty()).await;
    handle.stop().await;
}

#[tokio::test]
async fn tasks_whose_end_could_not_be_noted_run_again() {
    let health = Health::default();
    let index = Arc::new(MemoryIndex::new(health.clone()));
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    let rig = Rig::over(index.clone(), Arc::new(disk), Arc::new(ManualClock::new(START)), health, 1);
    let bucket = bucket_with_tasks(&rig, "bucket", 3).await;
    // Long overdue, as after a night in which the index was stalled.
    rig.clock.advance_ms(60_000);
    index.fail_next(Fault::Overloaded);
    let handler = answering(Verdict::Done);
    let handle = start(&rig, handler.clone());
    wait_until(&rig, 0, async || rig.tasks(bucket.id.into(), Queue::Collect).await.is_empty()).await;
    assert_eq!(handler.runs.load(Ordering::SeqCst), 6);
    handle.stop().await;
}
