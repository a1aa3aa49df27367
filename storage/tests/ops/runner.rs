//! The runner of a queue: what it does with each verdict, and what it finds again after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cairn_storage::index::Partition;
use cairn_storage::index::family::job::Queue;
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::{Handler, JobHandle, RunnerOptions, Verdict, spawn};
use cairn_storage::observe::Silent;
use cairn_storage::ops::Store;

use crate::rig::{FILE_BYTES, Rig, bytes};

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

fn start(rig: &Rig, handler: Arc<dyn Handler>) -> JobHandle {
    let options = RunnerOptions { attempts_max: 3, backoff_ms_min: 1_000, ..RunnerOptions::default() };
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
