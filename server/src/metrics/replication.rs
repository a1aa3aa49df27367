//! What is measured of replication, by source bucket and rule.

use std::time::Duration;

use cairn_replication::worker::{Outcome, Told};
use cairn_storage::clock::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::replication::status::RuleStatus;

use super::gauge_value;

/// Within what time replication time control wants a version at its target (S3 user guide, "Meeting compliance requirements with S3
/// Replication Time Control").
const THRESHOLD: Duration = Duration::from_secs(15 * 60);

/// A rule of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRule {
    bucket: String,
    rule: String,
}

/// How runs of tasks ended, by rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    bucket: String,
    rule: String,
    result: &'static str,
}

/// The metrics.
#[derive(Debug)]
pub struct ReplicationMetrics {
    pending_versions: Family<OfRule, Gauge>,
    pending_bytes: Family<OfRule, Gauge>,
    oldest_pending_seconds: Family<OfRule, Gauge>,
    down: Family<OfRule, Gauge>,
    latency: Family<OfRule, Histogram, fn() -> Histogram>,
    missed_threshold: Family<OfRule, Counter>,
    bytes: Family<OfRule, Counter>,
    ended: Family<Ended, Counter>,
}

/// From 10 ms to some six hours.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.5, 16))
}

impl Default for ReplicationMetrics {
    fn default() -> Self {
        Self {
            pending_versions: Family::default(),
            pending_bytes: Family::default(),
            oldest_pending_seconds: Family::default(),
            down: Family::default(),
            latency: Family::new_with_constructor(latency as fn() -> Histogram),
            missed_threshold: Family::default(),
            bytes: Family::default(),
            ended: Family::default(),
        }
    }
}

impl ReplicationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("replication");
        r.register("pending_versions", "Versions that wait for their target", self.pending_versions.clone());
        r.register("pending_bytes", "Bytes of versions that wait for their target", self.pending_bytes.clone());
        let help = "How long the first version in the queue has waited for its target";
        r.register("oldest_pending_seconds", help, self.oldest_pending_seconds.clone());
        r.register("target_down", "1 while the target does not answer", self.down.clone());
        r.register("latency_seconds", "From a change to its being at the target", self.latency.clone());
        let help = "Changes that were at the target later than fifteen minutes after they came";
        r.register("missed_threshold", help, self.missed_threshold.clone());
        r.register("bytes", "Bytes of versions brought to the target", self.bytes.clone());
        let help = "Runs of replication tasks, by how they ended (completed, dropped, retried, failed)";
        r.register("tasks_ended", help, self.ended.clone());
    }

    /// Records how a run of a task has ended.
    pub fn told(&self, bucket: &str, told: &Told<'_>) {
        let (bucket, rule) = (bucket.to_owned(), told.queued.task.rule.clone());
        let label = OfRule { bucket: bucket.clone(), rule: rule.clone() };
        let result = match told.outcome {
            Outcome::Completed => "completed",
            Outcome::Dropped => "dropped",
            Outcome::Retried => "retried",
            Outcome::Failed => "failed",
        };
        self.ended.get_or_create(&Ended { bucket, rule, result }).inc();
        if told.outcome == Outcome::Completed {
            self.latency.get_or_create(&label).observe(told.waited.as_secs_f64());
            self.bytes.get_or_create(&label).inc_by(told.queued.task.size_bytes);
            if told.waited > THRESHOLD {
                self.missed_threshold.get_or_create(&label).inc();
            }
        }
    }

    /// Records what waits, in all buckets that have rules.
    pub fn sample(&self, rules: &[(String, RuleStatus)], now: Timestamp) {
        for family in [&self.pending_versions, &self.pending_bytes, &self.oldest_pending_seconds, &self.down] {
            family.clear();
        }
        for (bucket, status) in rules {
            let label = OfRule { bucket: bucket.clone(), rule: status.rule.clone() };
            self.pending_versions.get_or_create(&label).set(gauge_value(status.pending_versions));
            self.pending_bytes.get_or_create(&label).set(gauge_value(status.pending_bytes));
            let waited_ms = status.oldest_pending.map_or(0, |since| now.0.saturating_sub(since.0).max(0));
            self.oldest_pending_seconds.get_or_create(&label).set(waited_ms / 1_000);
            self.down.get_or_create(&label).set(i64::from(status.lane.down_until.is_some()));
        }
    }
}
