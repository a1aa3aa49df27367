//! Races, explored by schedule: each guard and each pin of the operations stops one, and without it a test here fails.
//!
//! The index in memory lets the other tasks run before and after each of its calls; the explorer decides who goes on.
//! Every test makes one small history many times and verifies what must hold in the end whatever the order was: who
//! was acknowledged is there, nobody's bytes are lost, counters are exact, and the collector leaves nothing behind.

mod buckets;
mod contents;
mod keys;
mod locks;
mod mfa;
mod public;
mod replicas;
mod restores;
mod uploads;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::jobs::collect::Collector;
use cairn_storage::ops::Bucket;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::rig::{INLINE_BYTES_MAX, Rig};

/// Schedules tried for each race, by two strategies.
const RANDOM_SCHEDULES: usize = 200;
const PRIORITY_SCHEDULES: usize = 200;

/// Preemptions that the second strategy looks for.
const PREEMPTIONS_MAX: usize = 4;

/// Stack of the explorer's tasks: the operations' futures are large without optimisation.
const STACK_BYTES: usize = 1 << 20;

/// Runs `race` under many schedules.
fn explore<F: Future<Output = ()> + Send + 'static>(race: impl Fn() -> F + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    let run = move || shuttle::future::block_on(race());
    Runner::new(RandomScheduler::new(RANDOM_SCHEDULES), config.clone()).run(run.clone());
    Runner::new(PctScheduler::new(PREEMPTIONS_MAX, PRIORITY_SCHEDULES), config).run(run);
}

type Racer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs all racers at once and returns what each came to.
async fn all<T: Send + 'static>(racers: Vec<Racer<T>>) -> Vec<T> {
    let tasks: Vec<_> = racers.into_iter().map(shuttle::future::spawn).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// A racer: what one client does to the shared rig and bucket.
fn racer<T, F>(rig: &Arc<Rig>, bucket: &Bucket, work: impl FnOnce(Arc<Rig>, Bucket) -> F) -> Racer<T>
where
    F: Future<Output = T> + Send + 'static,
{
    Box::pin(work(rig.clone(), bucket.clone()))
}

/// Rounds of the collector, as its runner would make them.
async fn collect(rig: &Rig, rounds: usize) {
    for _ in 0..rounds {
        rig.try_run_due(&Collector).await.unwrap();
    }
}

async fn new_rig() -> (Arc<Rig>, Bucket) {
    let rig = Arc::new(Rig::new());
    let bucket = rig.create_bucket("bucket").await;
    (rig, bucket)
}

/// After the collector has come to rest, the bucket must hold exactly one object per entry (None: no key), its counters
/// must say so, and nothing else may exist.
async fn check_holds(rig: &Rig, bucket: &Bucket, key: &str, expected: Option<&[u8]>) {
    rig.collect_all().await;
    match (rig.get(bucket, key).await, expected) {
        (Ok(got), Some(bytes)) => assert!(got == bytes, "other bytes"),
        (Err(StorageError::NoSuchKey { .. }), None) => {}
        (got, _) => panic!("{got:?}, expected {:?}", expected.map(<[u8]>::len)),
    }
    let size = expected.map_or(0, <[u8]>::len);
    let count = i64::from(expected.is_some());
    assert_eq!(rig.usage(bucket).await, [count, count, size as i64]);
    assert_eq!(rig.files().len(), usize::from(size > INLINE_BYTES_MAX), "files");
    let inline = rig.rows(bucket.id, Family::Inline).await;
    assert_eq!(inline, usize::from((1..=INLINE_BYTES_MAX).contains(&size)), "inline rows");
    assert_eq!(rig.rows(bucket.id, Family::Part).await, 0, "part rows");
}
