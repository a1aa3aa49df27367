//! What is measured of replication, by source bucket and rule.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cairn_replication::worker::{Outcome, Told};
use cairn_storage::clock::Timestamp;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
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
    failed_versions: Family<OfRule, Gauge>,
    kept: Mutex<HashMap<OfRule, Kept>>,
}

/// The bounds of the histogram, in seconds; one of them is the threshold.
const LATENCY_BOUNDS: [f64; 16] =
    [0.01, 0.025, 0.06, 0.15, 0.4, 1.0, 2.5, 6.0, 15.0, 40.0, 100.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Dropped => "dropped",
        Outcome::Waited => "waited",
        Outcome::Retried => "retried",
        Outcome::Failed => "failed",
    }
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BOUNDS)
}

/// What is told of a rule to who asks, since the start of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Changes that were brought to the target.
    pub brought: u64,
    /// Within how many seconds half of them were; None also: later than is measured.
    pub half_within: Option<f64>,
    /// Within how many seconds 99 of 100 of them were.
    pub most_within: Option<f64>,
    /// Those that ended later than fifteen minutes after they came.
    pub missed_threshold: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes a second that were sent lately.
    pub bytes_per_second: u64,
}

/// What is kept of a rule beside its metrics, for [`Measures`].
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Changes by the bounds of the histogram, and beyond the last.
    latencies: [u64; LATENCY_BOUNDS.len() + 1],
    /// The last two times at which it was looked at, and how many bytes had been sent then.
    looks: [Option<(Timestamp, u64)>; 2],
}

impl Kept {
    fn brought(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// The least bound within which so many of a hundred were.
    fn within(&self, percent: u64) -> Option<f64> {
        let enough = (self.brought() * percent).div_ceil(100).max(1);
        let mut sum = 0;
        let place = self.latencies.iter().position(|count| {
            sum += count;
            sum >= enough
        });
        LATENCY_BOUNDS.get(place?).copied()
    }

    /// Bytes a second since the last look but one.
    fn rate(&self, sent_bytes: u64, now: Timestamp) -> u64 {
        let Some((at, before)) = self.looks.into_iter().flatten().next() else { return 0 };
        let ms = u64::try_from(now.0.saturating_sub(at.0)).unwrap_or_default();
        sent_bytes.saturating_sub(before).saturating_mul(1_000).checked_div(ms).unwrap_or_default()
    }
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
            failed_versions: Family::default(),
            kept: Mutex::default(),
        }
    }
}

impl ReplicationMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("replication");
        r.register("pending_versions", "Versions that wait for their target", self.pending_versions.clone());
        r.register("pending_bytes", "Bytes of versions that wait for their target", self.pending_bytes.clone());
        r.register("failed_versions", "Versions that were given up, and can be retried", self.failed_versions.clone());
        let help = "How long the version has waited that waits longest for its target";
        r.register("oldest_pending_seconds", help, self.oldest_pending_seconds.clone());
        r.register("target_down", "1 while the target does not answer, or has no room", self.down.clone());
        r.register("latency_seconds", "From a change to its being at the target", self.latency.clone());
        let help = "Changes that were at the target, or given up, later than fifteen minutes after they came";
        r.register("missed_threshold", help, self.missed_threshold.clone());
        r.register("bytes", "Bytes of objects sent to the target, also by attempts that failed", self.bytes.clone());
        let help = "Runs of replication tasks, by how they ended (completed, dropped, waited, retried, failed)";
        r.register("tasks_ended", help, self.ended.clone());
    }

    /// Records how a run of a task has ended.
    pub fn told(&self, bucket: &str, told: &Told<'_>) {
        let (bucket, rule) = (bucket.to_owned(), told.queued.task.rule.clone());
        let label = OfRule { bucket: bucket.clone(), rule: rule.clone() };
        let result = result(told.outcome);
        self.ended.get_or_create(&Ended { bucket, rule, result }).inc();
        if told.waited > THRESHOLD && matches!(told.outcome, Outcome::Completed | Outcome::Failed) {
            self.missed_threshold.get_or_create(&label).inc();
        }
        if told.outcome == Outcome::Completed {
            let seconds = told.waited.as_secs_f64();
            self.latency.get_or_create(&label).observe(seconds);
            let place = LATENCY_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BOUNDS.len());
            self.kept.lock().entry(label.clone()).or_default().latencies[place] += 1;
        }
        self.kept.lock().entry(label).or_default();
    }

    /// What counts the bytes that are sent by a rule.
    pub fn sent(&self, bucket: &str, rule: &str) -> Counter {
        let label = OfRule { bucket: bucket.to_owned(), rule: rule.to_owned() };
        self.kept.lock().entry(label.clone()).or_default();
        self.bytes.get_or_create_owned(&label)
    }

    /// What is known of a rule.
    pub fn measures(&self, bucket: &str, rule: &str, now: Timestamp) -> Measures {
        let label = OfRule { bucket: bucket.to_owned(), rule: rule.to_owned() };
        let count = |family: &Family<OfRule, Counter>| family.get(&label).map_or(0, |counter| counter.get());
        let kept = self.kept.lock().get(&label).cloned().unwrap_or_default();
        let sent_bytes = count(&self.bytes);
        Measures {
            brought: kept.brought(),
            half_within: kept.within(50),
            most_within: kept.within(99),
            missed_threshold: count(&self.missed_threshold),
            sent_bytes,
            bytes_per_second: kept.rate(sent_bytes, now),
        }
    }

    /// Forgets the rules that there are no more.
    fn forget_all_but(&self, rules: &HashSet<OfRule>) {
        self.kept.lock().retain(|label, _| {
            let stays = rules.contains(label);
            if !stays {
                self.latency.remove(label);
                self.missed_threshold.remove(label);
                self.bytes.remove(label);
                for outcome in Outcome::ALL {
                    let OfRule { bucket, rule } = label.clone();
                    self.ended.remove(&Ended { bucket, rule, result: result(outcome) });
                }
            }
            stays
        });
    }

    /// Records what waits, in all buckets that have rules. What is known of other rules is forgotten.
    pub fn sample(&self, rules: &[(String, RuleStatus)], now: Timestamp) {
        let gauges = [
            &self.pending_versions,
            &self.pending_bytes,
            &self.oldest_pending_seconds,
            &self.down,
            &self.failed_versions,
        ];
        gauges.into_iter().for_each(Family::clear);
        let label =
            |(bucket, status): &(String, RuleStatus)| OfRule { bucket: bucket.clone(), rule: status.rule.clone() };
        self.forget_all_but(&rules.iter().map(label).collect());
        for (bucket, status) in rules {
            let label = OfRule { bucket: bucket.clone(), rule: status.rule.clone() };
            self.pending_versions.get_or_create(&label).set(gauge_value(status.pending_versions));
            self.pending_bytes.get_or_create(&label).set(gauge_value(status.pending_bytes));
            let waited_ms = status.oldest_pending.map_or(0, |since| now.0.saturating_sub(since.0).max(0));
            self.oldest_pending_seconds.get_or_create(&label).set(waited_ms / 1_000);
            self.down.get_or_create(&label).set(i64::from(status.lane.down_until.is_some()));
            self.failed_versions.get_or_create(&label).set(gauge_value(status.failed));
            let sent_bytes = self.bytes.get(&label).map_or(0, |counter| counter.get());
            let mut kept = self.kept.lock();
            let looks = &mut kept.entry(label).or_default().looks;
            *looks = [looks[1], Some((now, sent_bytes))];
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_replication::worker::LaneState;
    use cairn_storage::id::{JobId, VersionId};
    use cairn_storage::index::Partition;
    use cairn_storage::jobs::replicate::{Lane, ReplicateTask};
    use cairn_storage::ops::replication::QueuedTask;

    use super::*;

    const TARGET: &str = "arn:aws:s3:::copies";

    fn queued(rule: &str) -> QueuedTask {
        let task = ReplicateTask {
            key: "key".to_owned(),
            version: VersionId::from_bytes([1; 16]),
            target: TARGET.to_owned(),
            rule: rule.to_owned(),
            size_bytes: 5,
            since: Timestamp(0),
        };
        let lane = Lane { partition: Partition([1; 16]), target: task.target_id() };
        let (due, id) = (Timestamp(0), JobId::from_bytes([1; 16]));
        QueuedTask { lane, due, id, task, attempts: 0, last_error: None, given_up: None }
    }

    fn told(metrics: &ReplicationMetrics, rule: &str, outcome: Outcome, seconds: f64) {
        let waited = Duration::from_secs_f64(seconds);
        metrics.told("bucket", &Told { queued: &queued(rule), waited, outcome });
    }

    fn status(rule: &str) -> (String, RuleStatus) {
        let status = RuleStatus {
            rule: rule.to_owned(),
            target: TARGET.to_owned(),
            pending_versions: 3,
            pending_bytes: 40,
            oldest_pending: Some(Timestamp(2_000)),
            failed: 2,
            lane: LaneState::default(),
        };
        ("bucket".to_owned(), status)
    }

    fn text(metrics: &ReplicationMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_ends_after_fifteen_minutes_has_missed_them_whether_it_arrived_or_not() {
        let metrics = ReplicationMetrics::default();
        for (outcome, seconds) in [
            (Outcome::Completed, 900.0),
            (Outcome::Completed, 900.1),
            (Outcome::Failed, 899.0),
            (Outcome::Failed, 5_000.0),
            (Outcome::Retried, 5_000.0),
            (Outcome::Waited, 5_000.0),
            (Outcome::Dropped, 5_000.0),
        ] {
            told(&metrics, "one", outcome, seconds);
        }
        told(&metrics, "other", Outcome::Completed, 1.0);
        let missed = |rule| metrics.measures("bucket", rule, Timestamp(0)).missed_threshold;
        assert_eq!((missed("one"), missed("other")), (2, 0));
        assert!(text(&metrics).contains("replication_missed_threshold_total{bucket=\"bucket\",rule=\"one\"} 2"));
    }

    #[test]
    fn each_rule_has_its_own_latencies_and_bandwidth() {
        let metrics = ReplicationMetrics::default();
        for n in 0..100 {
            told(&metrics, "one", Outcome::Completed, if n < 60 { 0.02 } else { 0.3 });
        }
        told(&metrics, "one", Outcome::Completed, 100_000.0);
        metrics.sent("bucket", "one").inc_by(1_000);
        let none = Measures::default();
        assert_eq!(metrics.measures("bucket", "other", Timestamp(0)), none);
        for second in [15, 30, 45] {
            metrics.sample(&[status("one"), status("other")], Timestamp(second * 1_000));
            metrics.sent("bucket", "one").inc_by(60_000);
        }
        let measures = metrics.measures("bucket", "one", Timestamp(50_000));
        let expected = Measures {
            brought: 101,
            half_within: Some(0.025),
            most_within: Some(0.4),
            missed_threshold: 1,
            sent_bytes: 181_000,
            bytes_per_second: 120_000 / 20,
        };
        assert_eq!(measures, expected);
        assert_eq!(metrics.measures("bucket", "other", Timestamp(50_000)), none);
    }

    #[test]
    fn what_waits_and_what_was_given_up_is_there_for_each_rule() {
        let metrics = ReplicationMetrics::default();
        metrics.sample(&[status("one"), status("gone")], Timestamp(9_500));
        for rule in ["one", "gone"] {
            told(&metrics, rule, Outcome::Completed, 1_000.0);
            told(&metrics, rule, Outcome::Failed, 1.0);
            metrics.sent("bucket", rule).inc_by(5);
        }
        assert!(text(&metrics).contains("gone"));
        metrics.sample(&[status("one")], Timestamp(9_500));
        let text = text(&metrics);
        for (name, value) in [
            ("pending_versions", 3),
            ("pending_bytes", 40),
            ("oldest_pending_seconds", 7),
            ("target_down", 0),
            ("failed_versions", 2),
        ] {
            let line = format!("replication_{name}{{bucket=\"bucket\",rule=\"one\"}} {value}\n");
            assert!(text.contains(&line), "{line} {text}");
        }
        assert!(!text.contains("gone"), "{text}");
    }
}
