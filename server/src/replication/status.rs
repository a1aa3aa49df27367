//! How far behind replication is: by rule, for metrics and for who asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_replication::rules::Rule;
use cairn_replication::worker::LaneState;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::Partition;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::jobs::replicate::{Lane, ReplicateTask};
use cairn_storage::ops::replication::Position;
use cairn_storage::ops::{Bucket, BucketName, Store};
use cairn_storage::replication::{RuleId, TargetId};

use crate::metrics::Metrics;

use super::Replication;

/// Between two samples of what waits.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);

/// How many of what was given up are counted, at most.
const FAILED_COUNTED_MAX: usize = 10_000;

/// How many of those that wait for a target are asked since when they do, at most.
pub const LOOKED_AT_MAX: usize = 10_000;

/// How one rule is doing.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// Its name.
    pub rule: String,
    /// Where it copies to.
    pub target: String,
    /// Versions and delete markers that wait.
    pub pending_versions: u64,
    /// Plaintext bytes of those that are to be sent whole.
    pub pending_bytes: u64,
    /// Since when that waits which waits longest; of more than [`LOOKED_AT_MAX`] for the target, the first of those.
    pub oldest_pending: Option<Timestamp>,
    /// What was given up, as far as it is counted.
    pub failed: u64,
    /// How its lane is.
    pub lane: LaneState,
}

/// How the bucket's rules are doing.
///
/// # Errors
/// The index's.
pub async fn of_bucket(
    store: &Store,
    replication: &Replication,
    bucket: &Bucket,
) -> Result<Vec<RuleStatus>, StorageError> {
    let Some(rules) = replication.rules.of(store, bucket).await? else { return Ok(Vec::new()) };
    let waiting = store.waiting(bucket.id).await?;
    let (mut oldest, mut behind, mut failed) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut targets: Vec<TargetId> = rules.rules.iter().map(|rule| rule.destination.target.id()).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        let lane = Lane { partition: bucket.id.into(), target };
        let (by_rule, beyond) = oldest_of(store, lane).await?;
        oldest.extend(by_rule.into_iter().map(|(rule, since)| ((target, rule), since)));
        beyond.into_iter().for_each(|since| {
            behind.insert(target, since);
        });
        for given_up in store.unreplicated(bucket.id, Some(target), FAILED_COUNTED_MAX).await? {
            *failed.entry((target, given_up.task.rule)).or_insert(0) += 1;
        }
    }
    let lanes = replication.lanes.get().cloned().unwrap_or_default();
    let status = |rule: &Rule| {
        let (target, id) = (rule.destination.target.id(), RuleId::of(&rule.id));
        let waiting = waiting.iter().find(|waiting| waiting.target == target && waiting.rule == id);
        let count = |count: i64| u64::try_from(count).unwrap_or_default();
        RuleStatus {
            rule: rule.id.clone(),
            target: rule.destination.target.to_string(),
            pending_versions: waiting.map_or(0, |waiting| count(waiting.versions)),
            pending_bytes: waiting.map_or(0, |waiting| count(waiting.bytes)),
            oldest_pending: oldest.get(&(target, rule.id.clone())).copied().or_else(|| {
                let waits = waiting.is_some_and(|waiting| waiting.versions > 0);
                behind.get(&target).copied().filter(|_| waits)
            }),
            failed: failed.get(&(target, rule.id.clone())).copied().unwrap_or_default(),
            lane: lanes.of(Lane { partition: Partition::from(bucket.id), target }),
        }
    };
    Ok(rules.rules.iter().map(status).collect())
}

/// Since when the oldest of each rule waits among those that are looked at, and after when the others have come, if there are any. What has
/// failed before lies further back in the queue than it came.
async fn oldest_of(store: &Store, lane: Lane) -> Result<(HashMap<String, Timestamp>, Option<Timestamp>), StorageError> {
    let (mut oldest, mut looked_at) = (HashMap::new(), 0);
    let mut next = Some(Position::at(Timestamp(0)));
    while let Some(from) = next {
        if looked_at >= LOOKED_AT_MAX {
            return Ok((oldest, Some(from.due)));
        }
        let page = store.queued(lane, from, Timestamp(i64::MAX)).await?;
        looked_at += page.tasks.len();
        for ReplicateTask { rule, since, .. } in page.tasks.into_iter().map(|queued| queued.task) {
            let first: &mut Timestamp = oldest.entry(rule).or_insert(since);
            *first = (*first).min(since);
        }
        next = page.next;
    }
    Ok((oldest, None))
}

/// Samples what waits until it is aborted.
pub async fn keep_sampling(store: Store, replication: Arc<Replication>, metrics: Arc<Metrics>) {
    loop {
        tokio::time::sleep(SAMPLE_INTERVAL).await;
        if let Err(error) = sample(&store, &replication, &metrics).await {
            tracing::warn!(%error, "what waits to be replicated cannot be counted");
        }
    }
}

async fn sample(store: &Store, replication: &Replication, metrics: &Metrics) -> Result<(), StorageError> {
    let mut all = Vec::new();
    for (name, entry) in store.all_buckets().await? {
        let Some(name) = BucketName::new(&name).filter(|_| entry.state == EntryState::Active) else { continue };
        match store.bucket(&name).await {
            Ok(bucket) if bucket.replication.is_some() => {
                let rules = of_bucket(store, replication, &bucket).await?;
                all.extend(rules.into_iter().map(|status| (name.as_str().to_owned(), status)));
            }
            // It has no rules, or was deleted meanwhile.
            Ok(_) | Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {}
            Err(error) => return Err(error),
        }
    }
    metrics.replication().sample(&all, store.clock().now());
    Ok(())
}
