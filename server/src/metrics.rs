//! What the server counts, for Prometheus (OpenMetrics text).
//!
//! Built once and passed by `Arc`. Labels are fixed names of operations and queues, and configured tiers; from clients come only the buckets and
//! rules of replication configurations, which are as many as there are. Storage reports through its own `Observer`, which
//! [`Metrics`] implements, and knows nothing of Prometheus; what is a state and not an event is sampled now and then.

mod replication;

use std::time::Duration;

use cairn_lifecycle::sweep::Report;
use cairn_storage::blob::TierStatus;
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

use crate::admin;
use crate::listener::ConnectionMetrics;
use crate::log::RequestSummary;

pub use replication::ReplicationMetrics;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobQueue {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobResult {
    queue: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WalkStateLabel {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WalkResult {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LifecycleAction {
    action: &'static str,
    /// Where versions moved; empty for other actions.
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tier {
    /// As it is configured.
    tier: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExternalCall {
    operation: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExternalKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

/// The reason of a sweep that was cut short.
const CUT_SHORT: &str = "sweep";

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
    jobs_running: Family<JobQueue, Gauge>,
    jobs_overdue_ms: Family<JobQueue, Gauge>,
    jobs_paused: Family<JobQueue, Gauge>,
    compression_plain_bytes: Counter,
    compression_stored_bytes: Counter,
    jobs_ended: Family<JobResult, Counter>,
    walks: Family<WalkStateLabel, Gauge>,
    walk_items: Family<WalkResult, Counter>,
    walk_bytes: Family<Kind, Counter>,
    disk_total_bytes: Gauge,
    disk_available_bytes: Gauge,
    read_only: Gauge,
    lock_clock_held: Gauge,
    audit_lost: Counter,
    kms_calls: Family<Operation, Counter>,
    external_kms: ExternalKmsMetrics,
    lifecycle_versions: Counter,
    lifecycle_done: Family<LifecycleAction, Counter>,
    lifecycle_done_bytes: Family<LifecycleAction, Counter>,
    lifecycle_overtaken: Counter,
    lifecycle_failed: Family<Reason, Counter>,
    lifecycle_lag_seconds: Gauge,
    lifecycle_paused_buckets: Gauge,
    class_versions: Family<Class, Gauge>,
    class_bytes: Family<Class, Gauge>,
    tier_up: Family<Tier, Gauge>,
    tier_writable: Family<Tier, Gauge>,
    tier_errors: Family<Tier, Counter>,
    tier_total_bytes: Family<Tier, Gauge>,
    tier_available_bytes: Family<Tier, Gauge>,
    tier_files: Family<Tier, Gauge>,
    tier_bytes: Family<Tier, Gauge>,
    restores: Family<Class, Counter>,
    class_early_versions: Family<Class, Gauge>,
    class_early_mib_days: Family<Class, Gauge>,
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
            jobs_running: Family::default(),
            jobs_overdue_ms: Family::default(),
            jobs_paused: Family::default(),
            compression_plain_bytes: Counter::default(),
            compression_stored_bytes: Counter::default(),
            jobs_ended: Family::default(),
            walks: Family::default(),
            walk_items: Family::default(),
            walk_bytes: Family::default(),
            disk_total_bytes: Gauge::default(),
            disk_available_bytes: Gauge::default(),
            read_only: Gauge::default(),
            lock_clock_held: Gauge::default(),
            audit_lost: Counter::default(),
            kms_calls: Family::default(),
            external_kms: ExternalKmsMetrics::default(),
            lifecycle_versions: Counter::default(),
            lifecycle_done: Family::default(),
            lifecycle_done_bytes: Family::default(),
            lifecycle_overtaken: Counter::default(),
            lifecycle_failed: Family::default(),
            lifecycle_lag_seconds: Gauge::default(),
            lifecycle_paused_buckets: Gauge::default(),
            class_versions: Family::default(),
            class_bytes: Family::default(),
            tier_up: Family::default(),
            tier_writable: Family::default(),
            tier_errors: Family::default(),
            tier_total_bytes: Family::default(),
            tier_available_bytes: Family::default(),
            tier_files: Family::default(),
            tier_bytes: Family::default(),
            restores: Family::default(),
            class_early_versions: Family::default(),
            class_early_mib_days: Family::default(),
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
        r.register("jobs_running", "Jobs being worked on, by queue", self.jobs_running.clone());
        r.register(
            "jobs_overdue_milliseconds",
            "How long a queue's first waiting job has been due",
            self.jobs_overdue_ms.clone(),
        );
        r.register("jobs_paused", "1 for a queue that is paused", self.jobs_paused.clone());
        r.register(
            "compression_plain_bytes",
            "Bytes that came for files of classes that are compressed",
            self.compression_plain_bytes.clone(),
        );
        r.register("compression_stored_bytes", "Bytes that these files have", self.compression_stored_bytes.clone());
        r.register("jobs_ended", "Attempts of jobs, by queue and result (done, retry, dead)", self.jobs_ended.clone());
        r.register("walks", "Walk jobs that are kept, by kind and state", self.walks.clone());
        r.register(
            "walk_items",
            "What walk jobs met, by kind and result (changed, skipped, failed)",
            self.walk_items.clone(),
        );
        r.register("walk_bytes", "The bytes of what walk jobs changed, by kind", self.walk_bytes.clone());
        r.register("disk_total_bytes", "Size of the data file system", self.disk_total_bytes.clone());
        r.register("disk_available_bytes", "Free space of the data file system", self.disk_available_bytes.clone());
        r.register("read_only", "1 when the store accepts no writes", self.read_only.clone());
        r.register(
            "lock_clock_held",
            "1 when the wall clock is too far ahead to be believed, and retentions are judged by an older time",
            self.lock_clock_held.clone(),
        );
        r.register("audit_lost", "Requests that the audit log has no line of", self.audit_lost.clone());
        r.register("kms_calls", "Calls to the KMS for objects' keys, by its operation", self.kms_calls.clone());
        self.external_kms.register(r);
        self.register_lifecycle();
        self.register_tiers();
        self.replication.register(&mut self.registry);
        self
    }

    fn register_lifecycle(&mut self) {
        let r = &mut self.registry;
        r.register("lifecycle_versions", "Versions that lifecycle sweeps looked at", self.lifecycle_versions.clone());
        r.register(
            "lifecycle_done",
            "What lifecycle rules did to versions and uploads, by action and target class",
            self.lifecycle_done.clone(),
        );
        r.register("lifecycle_done_bytes", "The sizes of those versions", self.lifecycle_done_bytes.clone());
        r.register(
            "lifecycle_overtaken",
            "Keys that kept changing under a sweep, and waited for the next one",
            self.lifecycle_overtaken.clone(),
        );
        r.register(
            "lifecycle_failed",
            "What lifecycle rules could not do, by reason; sweep: a whole sweep was cut short",
            self.lifecycle_failed.clone(),
        );
        r.register(
            "lifecycle_lag_seconds",
            "How long something due may have waited by now: since the last whole sweep began of the bucket that waits longest, of those whose sweeps are not paused",
            self.lifecycle_lag_seconds.clone(),
        );
        r.register(
            "lifecycle_paused_buckets",
            "Buckets with lifecycle rules, or objects in INTELLIGENT_TIERING, whose sweeps are paused",
            self.lifecycle_paused_buckets.clone(),
        );
        r.register(
            "class_versions",
            "Versions of each storage class, of a few minutes ago",
            self.class_versions.clone(),
        );
        r.register("class_bytes", "Their bytes", self.class_bytes.clone());
        r.register(
            "restores",
            "Restores that were begun or extended, by the class that objects are restored from",
            self.restores.clone(),
        );
        r.register(
            "class_early_versions",
            "Versions that ever left a storage class before its minimum of days, in the buckets that there are",
            self.class_early_versions.clone(),
        );
        r.register("class_early_mib_days", "Their sizes times the missing days", self.class_early_mib_days.clone());
    }

    fn register_tiers(&mut self) {
        let r = &mut self.registry;
        r.register("tier_up", "1 while the storage tier can be reached", self.tier_up.clone());
        r.register("tier_writable", "0 when nothing is written to it until a restart", self.tier_writable.clone());
        r.register("tier_errors", "Calls of its disk that failed", self.tier_errors.clone());
        r.register("tier_total_bytes", "The size of its file system", self.tier_total_bytes.clone());
        r.register("tier_available_bytes", "Free space of its file system", self.tier_available_bytes.clone());
        r.register("tier_files", "Files that the index has in it", self.tier_files.clone());
        r.register("tier_bytes", "The bytes of these files", self.tier_bytes.clone());
    }

    /// Records what a storage tier is doing.
    pub fn sample_tier(&self, status: &TierStatus) {
        let tier = Tier { tier: status.name.clone() };
        self.tier_up.get_or_create(&tier).set(status.down.is_none().into());
        self.tier_writable.get_or_create(&tier).set(status.read_only.is_none().into());
        let errors = self.tier_errors.get_or_create(&tier);
        errors.inc_by(status.errors.saturating_sub(errors.get()));
        // Nobody knows how much space another service has.
        if !status.is_remote {
            self.tier_total_bytes.get_or_create(&tier).set(gauge_value(status.space.total_bytes));
            self.tier_available_bytes.get_or_create(&tier).set(gauge_value(status.space.available_bytes));
        }
    }

    /// Records what the index has in a storage tier.
    pub fn sample_tier_usage(&self, name: &str, files: i64, bytes: i64) {
        let tier = Tier { tier: name.to_owned() };
        self.tier_files.get_or_create(&tier).set(files);
        self.tier_bytes.get_or_create(&tier).set(bytes);
    }

    /// Counts what a lifecycle sweep did, and whether it was cut short.
    pub fn lifecycle_sweep(&self, report: &Report, cut_short: bool) {
        self.lifecycle_versions.inc_by(report.versions);
        self.lifecycle_overtaken.inc_by(report.overtaken);
        let failed = report.failed.iter().map(|(kind, count)| (kind.name(), *count));
        for (reason, count) in failed.chain(cut_short.then_some((CUT_SHORT, 1))) {
            self.lifecycle_failed.get_or_create(&Reason { reason }).inc_by(count);
        }
        for (done, (count, bytes)) in &report.done {
            let (action, class) = admin::lifecycle::names(*done);
            let label = LifecycleAction { action, class: class.unwrap_or_default() };
            self.lifecycle_done.get_or_create(&label).inc_by(*count);
            self.lifecycle_done_bytes.get_or_create(&label).inc_by(*bytes);
        }
    }

    /// Counts a restore from an archive class or tier.
    pub fn restored(&self, class: &'static str) {
        self.restores.get_or_create(&Class { class }).inc();
    }

    /// Records for how long something due may have waited, in the bucket that waits longest, and how many are paused.
    pub fn lifecycle_lag(&self, lag: Duration, paused_buckets: usize) {
        self.lifecycle_lag_seconds.set(gauge_value(lag.as_secs()));
        self.lifecycle_paused_buckets.set(gauge_value(paused_buckets as u64));
    }

    /// Records what all buckets hold of a storage class, and what left it early.
    pub fn sample_class(&self, class: &'static str, [versions, bytes, early, early_mib_days]: [i64; 4]) {
        self.class_versions.get_or_create(&Class { class }).set(versions);
        self.class_bytes.get_or_create(&Class { class }).set(bytes);
        self.class_early_versions.get_or_create(&Class { class }).set(early);
        self.class_early_mib_days.get_or_create(&Class { class }).set(early_mib_days);
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
        let queue = JobQueue { queue };
        self.jobs_running.get_or_create(&queue).set(gauge_value(status.running));
        self.jobs_overdue_ms.get_or_create(&queue).set(gauge_value(status.overdue_ms));
        self.jobs_paused.get_or_create(&queue).set(status.paused.into());
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

/// What the client of the external KMS counts. Without one there are no series.
#[derive(Debug, Clone)]
pub struct ExternalKmsMetrics {
    up: Family<ExternalKind, Gauge>,
    calls: Family<ExternalCall, Counter>,
    duration: Family<Operation, Histogram, fn() -> Histogram>,
    held: Counter,
}

impl Default for ExternalKmsMetrics {
    fn default() -> Self {
        let duration = Family::new_with_constructor(request_duration as fn() -> Histogram);
        Self { up: Family::default(), calls: Family::default(), duration, held: Counter::default() }
    }
}

impl ExternalKmsMetrics {
    fn register(&self, r: &mut Registry) {
        r.register("external_kms_up", "1 when the external KMS answered at last", self.up.clone());
        r.register(
            "external_kms_calls",
            "Calls to the external KMS, by operation and result (ok, unavailable, refused, not_authentic)",
            self.calls.clone(),
        );
        r.register(
            "external_kms_call_duration_seconds",
            "Time of those calls with all of their attempts, by operation",
            self.duration.clone(),
        );
        r.register("external_kms_held", "Keys that were held, and not asked for", self.held.clone());
    }

    /// Counts a call.
    pub fn called(&self, operation: &'static str, result: &'static str, elapsed: Duration) {
        self.calls.get_or_create(&ExternalCall { operation, result }).inc();
        self.duration.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }

    /// Records whether it answers.
    pub fn up(&self, up: bool) {
        self.up.get_or_create(&ExternalKind { kind: "transit" }).set(up.into());
    }

    /// Counts a call that was not needed.
    pub fn held(&self) {
        self.held.inc();
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
        self.jobs_ended.get_or_create(&JobResult { queue, result }).inc();
    }

    fn walked(&self, kind: &'static str, counts: WalkCounts) {
        let results = [("changed", counts.changed), ("skipped", counts.skipped), ("failed", counts.failed)];
        for (result, count) in results {
            self.walk_items.get_or_create(&WalkResult { kind, result }).inc_by(count);
        }
        self.walk_bytes.get_or_create(&Kind { kind }).inc_by(counts.bytes);
    }

    fn walks(&self, kind: &'static str, state: &'static str, count: usize) {
        self.walks.get_or_create(&WalkStateLabel { kind, state }).set(gauge_value(count as u64));
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
