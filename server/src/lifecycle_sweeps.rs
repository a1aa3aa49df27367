//! Sweeps: in turn over all buckets with lifecycle rules, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::sweep::{self, Report};
use cairn_storage::StorageError;
use cairn_storage::index::Partition;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::index::family::usage::{self, Counter};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::is_fatal;
use cairn_storage::ops::{Bucket, BucketName, Store};

use crate::metrics::Metrics;

/// What sweeping needs.
#[derive(Debug)]
pub struct Sweeps {
    /// The objects.
    pub store: Store,
    /// How long a rule's day is.
    pub calendar: Calendar,
    /// Between the ends and the beginnings of rounds.
    pub interval: Duration,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
}

impl Sweeps {
    /// Sweeps until it is aborted. What it was doing then is done or not done, and due at the next start.
    pub async fn keep_sweeping(self) {
        let mut round_began = Instant::now();
        loop {
            tokio::time::sleep(self.interval).await;
            let began = Instant::now();
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "a round of lifecycle sweeps was cut short; the next one begins anew");
                continue;
            }
            // Whatever fell due after the round before began may have waited for the end of this one.
            self.metrics.lifecycle_round(round_began.elapsed());
            round_began = began;
        }
    }

    async fn round(&self) -> Result<(), StorageError> {
        let mut totals = [[0_i64; 2]; StorageClass::ALL.len()];
        for (name, entry) in self.store.all_buckets().await? {
            let Some(name) = BucketName::new(&name).filter(|_| entry.state == EntryState::Active) else { continue };
            match self.bucket(&name, entry.bucket.into(), &mut totals).await {
                // It was deleted meanwhile.
                Ok(()) | Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {}
                Err(error) if is_fatal(&error) => return Err(error),
                // What is wrong with one bucket holds up no other.
                Err(error) => {
                    self.metrics.lifecycle_sweep(&Report { failed: 1, ..Report::default() });
                    tracing::warn!(bucket = name.as_str(), %error, "a lifecycle sweep was cut short");
                }
            }
        }
        for (class, [objects, bytes]) in StorageClass::ALL.into_iter().zip(totals) {
            self.metrics.sample_class(class.name(), objects, bytes);
        }
        Ok(())
    }

    /// Adds up what a bucket holds, and sweeps it if it has rules.
    async fn bucket(
        &self,
        name: &BucketName,
        partition: Partition,
        totals: &mut [[i64; 2]; StorageClass::ALL.len()],
    ) -> Result<(), StorageError> {
        add_usage(&self.store, partition, totals).await?;
        let bucket = self.store.bucket(name).await?;
        if bucket.lifecycle.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let report = sweep::sweep(&self.store, &bucket, self.calendar).await?;
        note(&self.metrics, &bucket, &report, began.elapsed());
        Ok(())
    }
}

/// Counts what a sweep did, and logs it if it did anything.
pub fn note(metrics: &Metrics, bucket: &Bucket, report: &Report, took: Duration) {
    metrics.lifecycle_sweep(report);
    if report.done.is_empty() && report.failed == 0 {
        return;
    }
    let done: u64 = report.done.values().map(|(count, _)| count).sum();
    tracing::info!(
        bucket = bucket.name.as_str(),
        versions = report.versions,
        done,
        overtaken = report.overtaken,
        failed = report.failed,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "a lifecycle sweep has ended"
    );
    for failure in &report.failures {
        tracing::warn!(bucket = bucket.name.as_str(), failure, "a lifecycle rule could not be carried out");
    }
}

async fn add_usage(
    store: &Store,
    partition: Partition,
    totals: &mut [[i64; 2]; StorageClass::ALL.len()],
) -> Result<(), StorageError> {
    let page = store.index().view(partition, |view| {
        let mut of_bucket = [[0; 2]; StorageClass::ALL.len()];
        for (class, [versions, bytes]) in StorageClass::ALL.into_iter().zip(&mut of_bucket) {
            *versions = usage::read(view, class, Counter::Versions)?;
            *bytes = usage::read(view, class, Counter::Bytes)?;
        }
        Ok(of_bucket)
    });
    for (total, of_bucket) in totals.iter_mut().zip(page.await?) {
        total[0] += of_bucket[0];
        total[1] += of_bucket[1];
    }
    Ok(())
}
