//! What the server counts, for Prometheus (OpenMetrics text).
//!
//! Built once and passed by `Arc`. Labels are fixed names of operations and queues, and configured tiers; from clients come only the buckets and
//! rules of replication configurations, which are as many as there are. Storage reports through its own `Observer`, which
//! [`Metrics`] implements, and knows nothing of Prometheus; what is a state and not an event is sampled now and then.

mod external_kms;
mod jobs;
mod lifecycle;
mod replication;
mod tiers;

use std::time::Duration;

use cairn_storage::index::family::walk::WalkCounts;
use cairn_storage::jobs::JobStatus;
use cairn_storage::observe::Observer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::listener::ConnectionMetrics;
use crate::log::RequestSummary;

pub use external_kms::ExternalKmsMetrics;
pub use lifecycle::LifecycleMetrics;
pub use replication::{Measures, ReplicationMetrics};
pub use tiers::TierMetrics;

use jobs::JobMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    operation: &'static str,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The kind of the syncs that a commit group makes.
const INDEX_SYNC: &str = "index";

/// Every metric of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: ConnectionMetrics,
    requests: Family<Request, Counter>,
    request_duration: Family<Operation, Histogram, fn() -> Histogram>,
    received_bytes: Counter,
    sent_bytes: Counter,
    requests_in_flight: Gauge,
    requests_refused: Counter,
    commit_group_batches: Histogram,
    commit_group_bytes: Histogram,
    sync_duration: Family<Kind, Histogram, fn() -> Histogram>,
    compression_plain_bytes: Counter,
    compression_stored_bytes: Counter,
    jobs: JobMetrics,
    disk_total_bytes: Gauge,
    disk_available_bytes: Gauge,
    read_only: Gauge,
    lock_clock_held: Gauge,
    audit_lost: Counter,
    kms_calls: Family<Operation, Counter>,
    external_kms: ExternalKmsMetrics,
    lifecycle: LifecycleMetrics,
    tiers: TierMetrics,
    replication: ReplicationMetrics,
}

/// 0.5 ms to 16 s.
fn request_duration() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// 50 us to 1.6 s.
fn sync_duration() -> Histogram {
    Histogram::new(exponential_buckets(0.00005, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("cairn"),
            connections: ConnectionMetrics::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_duration as fn() -> Histogram),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            requests_in_flight: Gauge::default(),
            requests_refused: Counter::default(),
            commit_group_batches: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commit_group_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 8)),
            sync_duration: Family::new_with_constructor(sync_duration as fn() -> Histogram),
            compression_plain_bytes: Counter::default(),
            compression_stored_bytes: Counter::default(),
            jobs: JobMetrics::default(),
            disk_total_bytes: Gauge::default(),
            disk_available_bytes: Gauge::default(),
            read_only: Gauge::default(),
            lock_clock_held: Gauge::default(),
            audit_lost: Counter::default(),
            kms_calls: Family::default(),
            external_kms: ExternalKmsMetrics::default(),
            lifecycle: LifecycleMetrics::default(),
            tiers: TierMetrics::default(),
            replication: ReplicationMetrics::default(),
        };
        metrics.register()
    }

    fn register(mut self) -> Self {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let r = &mut self.registry;
        r.register("build", "The version that runs", build);
        r.register("connections", "Open connections on the S3 endpoint", self.connections.open.clone());
        r.register(
            "connections_refused",
            "Connections refused because too many were open",
            self.connections.refused.clone(),
        );
        r.register("requests", "Requests answered, by operation and status", self.requests.clone());
        r.register(
            "request_duration_seconds",
            "From a request's head to the end of its answer, by operation",
            self.request_duration.clone(),
        );
        r.register("received_bytes", "Bytes of request bodies", self.received_bytes.clone());
        r.register("sent_bytes", "Bytes of answer bodies", self.sent_bytes.clone());
        r.register("requests_in_flight", "Requests being worked on", self.requests_in_flight.clone());
        r.register(
            "requests_refused",
            "Requests answered with 503 SlowDown because of overload",
            self.requests_refused.clone(),
        );
        r.register(
            "commit_group_batches",
            "Commits that shared one write of the index",
            self.commit_group_batches.clone(),
        );
        r.register("commit_group_bytes", "Bytes of one write of the index", self.commit_group_bytes.clone());
        r.register("sync_duration_seconds", "Time to make data durable, by kind", self.sync_duration.clone());
        r.register(
            "compression_plain_bytes",
            "Bytes that came for files of classes that are compressed",
            self.compression_plain_bytes.clone(),
        );
        r.register("compression_stored_bytes", "Bytes that these files have", self.compression_stored_bytes.clone());
        self.jobs.register(r);
        r.register("disk_total_bytes", "Size of the data file system", self.disk_total_bytes.clone());
        r.register("disk_available_bytes", "Free space of the data file system", self.disk_available_bytes.clone());
        r.register("read_only", "1 when the store accepts no writes", self.read_only.clone());
        r.register(
            "lock_clock_held",
            "1 when the wall clock is too far ahead to be believed, and retentions are judged by an older time",
            self.lock_clock_held.clone(),
        );
        r.register(
            "audit_lost",
            "Requests, and things that the server did by itself, that the audit log has no line of",
            self.audit_lost.clone(),
        );
        r.register("kms_calls", "Calls to the KMS for objects' keys, by its operation", self.kms_calls.clone());
        self.external_kms.register(r);
        self.lifecycle.register(r);
        self.tiers.register(r);
        self.replication.register(r);
        self
    }

    /// What is measured of lifecycle sweeps and storage classes.
    pub fn lifecycle(&self) -> &LifecycleMetrics {
        &self.lifecycle
    }

    /// What is measured of storage tiers.
    pub fn tiers(&self) -> &TierMetrics {
        &self.tiers
    }

    /// What is measured of replication.
    pub fn replication(&self) -> &ReplicationMetrics {
        &self.replication
    }

    /// What the S3 listener counts.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// Counts a call to the KMS.
    pub fn kms_called(&self, operation: &'static str) {
        self.kms_calls.get_or_create(&Operation { operation }).inc();
    }

    /// What the client of the external KMS counts.
    pub fn external_kms(&self) -> ExternalKmsMetrics {
        self.external_kms.clone()
    }

    /// Counts what the audit log has no line of.
    pub fn audit_lost(&self) -> Counter {
        self.audit_lost.clone()
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_started(&self) -> InFlight {
        self.requests_in_flight.inc();
        InFlight(self.requests_in_flight.clone())
    }

    /// Counts a request that was refused because too much is going on.
    pub fn request_refused(&self) {
        self.requests_refused.inc();
    }

    /// Counts a request that was answered.
    pub fn request_finished(&self, summary: &RequestSummary<'_>) {
        let operation = summary.operation;
        self.requests.get_or_create(&Request { operation, status: summary.status.into() }).inc();
        self.request_duration.get_or_create(&Operation { operation }).observe(summary.elapsed.as_secs_f64());
        self.received_bytes.inc_by(summary.received_bytes);
        self.sent_bytes.inc_by(summary.sent_bytes);
    }

    /// Records what a queue is doing.
    pub fn sample_jobs(&self, queue: &'static str, status: JobStatus) {
        self.jobs.sample(queue, status);
    }

    /// Records the space of the data directory's file system.
    pub fn sample_disk(&self, total_bytes: u64, available_bytes: u64) {
        self.disk_total_bytes.set(gauge_value(total_bytes));
        self.disk_available_bytes.set(gauge_value(available_bytes));
    }

    /// Records whether the store accepts no writes.
    pub fn sample_read_only(&self, read_only: bool) {
        self.read_only.set(read_only.into());
    }

    /// Records whether retentions are judged by a time older than the wall clock's.
    pub fn sample_lock_clock(&self, held: bool) {
        self.lock_clock_held.set(held.into());
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Observer for Metrics {
    fn commit_group(&self, batches: usize, bytes: usize, elapsed: Duration) {
        self.commit_group_batches.observe(batches as f64);
        self.commit_group_bytes.observe(bytes as f64);
        self.sync(INDEX_SYNC, elapsed);
    }

    fn sync(&self, kind: &'static str, elapsed: Duration) {
        self.sync_duration.get_or_create(&Kind { kind }).observe(elapsed.as_secs_f64());
    }

    fn compressed(&self, plain_bytes: u64, stored_bytes: u64) {
        self.compression_plain_bytes.inc_by(plain_bytes);
        self.compression_stored_bytes.inc_by(stored_bytes);
    }

    fn job(&self, queue: &'static str, result: &'static str) {
        self.jobs.ended(queue, result);
    }

    fn walked(&self, kind: &'static str, counts: WalkCounts) {
        self.jobs.walked(kind, counts);
    }

    fn walks(&self, kind: &'static str, state: &'static str, count: usize) {
        self.jobs.walks(kind, state, count);
    }
}

fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn has_line(metrics: &Metrics, line: &str) {
        let text = metrics.encode().unwrap();
        assert!(text.lines().any(|one| one == line), "no line {line:?} in\n{text}");
    }

    #[test]
    fn a_finished_request_is_counted_by_operation_and_status() {
        let metrics = Metrics::new();
        metrics.request_finished(&RequestSummary {
            id: "R1",
            operation: "GetObject",
            status: 206,
            error_code: None,
            received_bytes: 3,
            sent_bytes: 10,
            elapsed: Duration::from_millis(3),
            remote: "127.0.0.1:1".parse().unwrap(),
            decided: &crate::audit::Decided::default(),
        });
        has_line(&metrics, r#"cairn_requests_total{operation="GetObject",status="206"} 1"#);
        has_line(&metrics, r#"cairn_request_duration_seconds_bucket{le="0.004",operation="GetObject"} 1"#);
        has_line(&metrics, r#"cairn_request_duration_seconds_bucket{le="0.002",operation="GetObject"} 0"#);
        has_line(&metrics, "cairn_received_bytes_total 3");
        has_line(&metrics, "cairn_sent_bytes_total 10");
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let metrics = Metrics::new();
        let guard = metrics.request_started();
        has_line(&metrics, "cairn_requests_in_flight 1");
        drop(guard);
        has_line(&metrics, "cairn_requests_in_flight 0");
    }

    #[test]
    fn what_storage_observes_is_counted() {
        let metrics = Metrics::new();
        metrics.commit_group(3, 1_000, Duration::from_micros(200));
        metrics.sync("file", Duration::from_micros(300));
        metrics.job("collect", "retry");
        metrics.walked("rewrap", WalkCounts { examined: 5, changed: 3, skipped: 1, failed: 1, bytes: 9 });
        metrics.walks("rewrap", "running", 2);
        has_line(&metrics, r#"cairn_walk_items_total{kind="rewrap",result="changed"} 3"#);
        has_line(&metrics, r#"cairn_walk_bytes_total{kind="rewrap"} 9"#);
        has_line(&metrics, r#"cairn_walks{kind="rewrap",state="running"} 2"#);
        has_line(&metrics, "cairn_commit_group_batches_sum 3.0");
        has_line(&metrics, "cairn_commit_group_bytes_sum 1000.0");
        has_line(&metrics, r#"cairn_sync_duration_seconds_count{kind="index"} 1"#);
        has_line(&metrics, r#"cairn_sync_duration_seconds_count{kind="file"} 1"#);
        has_line(&metrics, r#"cairn_jobs_ended_total{queue="collect",result="retry"} 1"#);
        metrics.compressed(100, 30);
        metrics.compressed(10, 20);
        has_line(&metrics, "cairn_compression_plain_bytes_total 110");
        has_line(&metrics, "cairn_compression_stored_bytes_total 50");
    }

    #[test]
    fn samples_replace_what_was_sampled_before() {
        let metrics = Metrics::new();
        for read_only in [false, true] {
            metrics.sample_jobs("collect", JobStatus { running: 3, ..JobStatus::default() });
            metrics.sample_disk(100, 40);
            metrics.sample_read_only(read_only);
            metrics.sample_lock_clock(read_only);
        }
        has_line(&metrics, r#"cairn_jobs_running{queue="collect"} 3"#);
        has_line(&metrics, "cairn_disk_total_bytes 100");
        has_line(&metrics, "cairn_disk_available_bytes 40");
        has_line(&metrics, "cairn_read_only 1");
        has_line(&metrics, "cairn_lock_clock_held 1");
    }
}
