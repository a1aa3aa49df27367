//! What the queues of jobs and the walk jobs are doing.

use cairn_storage::index::family::walk::WalkCounts;
use cairn_storage::jobs::JobStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Kind, gauge_value};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    queue: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WalkState {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WalkResult {
    kind: &'static str,
    result: &'static str,
}

/// The metrics.
#[derive(Debug, Default)]
pub(super) struct JobMetrics {
    running: Family<Queue, Gauge>,
    overdue_ms: Family<Queue, Gauge>,
    paused: Family<Queue, Gauge>,
    ended: Family<Ended, Counter>,
    walks: Family<WalkState, Gauge>,
    walk_items: Family<WalkResult, Counter>,
    walk_bytes: Family<Kind, Counter>,
}

impl JobMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("jobs_running", "Jobs being worked on, by queue", self.running.clone());
        r.register(
            "jobs_overdue_milliseconds",
            "How long a queue's first waiting job has been due",
            self.overdue_ms.clone(),
        );
        r.register("jobs_paused", "1 for a queue that is paused", self.paused.clone());
        r.register("jobs_ended", "Attempts of jobs, by queue and result (done, retry, dead)", self.ended.clone());
        r.register("walks", "Walk jobs that are kept, by kind and state", self.walks.clone());
        r.register(
            "walk_items",
            "What walk jobs met, by kind and result (changed, skipped, failed)",
            self.walk_items.clone(),
        );
        r.register("walk_bytes", "The bytes of what walk jobs changed, by kind", self.walk_bytes.clone());
    }

    pub(super) fn sample(&self, queue: &'static str, status: JobStatus) {
        let queue = Queue { queue };
        self.running.get_or_create(&queue).set(gauge_value(status.running));
        self.overdue_ms.get_or_create(&queue).set(gauge_value(status.overdue_ms));
        self.paused.get_or_create(&queue).set(status.paused.into());
    }

    pub(super) fn ended(&self, queue: &'static str, result: &'static str) {
        self.ended.get_or_create(&Ended { queue, result }).inc();
    }

    pub(super) fn walked(&self, kind: &'static str, counts: WalkCounts) {
        let results = [("changed", counts.changed), ("skipped", counts.skipped), ("failed", counts.failed)];
        for (result, count) in results {
            self.walk_items.get_or_create(&WalkResult { kind, result }).inc_by(count);
        }
        self.walk_bytes.get_or_create(&Kind { kind }).inc_by(counts.bytes);
    }

    pub(super) fn walks(&self, kind: &'static str, state: &'static str, count: usize) {
        self.walks.get_or_create(&WalkState { kind, state }).set(gauge_value(count as u64));
    }
}
