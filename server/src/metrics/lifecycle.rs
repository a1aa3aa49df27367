//! What lifecycle sweeps do, and what the storage classes hold that they move between.

use std::time::Duration;

use cairn_lifecycle::sweep::Report;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admin;

use super::gauge_value;

/// The reason of a sweep that was cut short.
const CUT_SHORT: &str = "sweep";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    action: &'static str,
    /// Where versions moved; empty for other actions.
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

/// The metrics.
#[derive(Debug, Default)]
pub struct LifecycleMetrics {
    versions: Counter,
    done: Family<Action, Counter>,
    done_bytes: Family<Action, Counter>,
    overtaken: Counter,
    failed: Family<Reason, Counter>,
    lag_seconds: Gauge,
    paused_buckets: Gauge,
    class_versions: Family<Class, Gauge>,
    class_bytes: Family<Class, Gauge>,
    restores: Family<Class, Counter>,
    class_early_versions: Family<Class, Gauge>,
    class_early_mib_days: Family<Class, Gauge>,
}

impl LifecycleMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("lifecycle");
        r.register("versions", "Versions that lifecycle sweeps looked at", self.versions.clone());
        r.register(
            "done",
            "What lifecycle rules did to versions and uploads, by action and target class",
            self.done.clone(),
        );
        r.register("done_bytes", "The sizes of those versions", self.done_bytes.clone());
        r.register(
            "overtaken",
            "Keys that kept changing under a sweep, and waited for the next one",
            self.overtaken.clone(),
        );
        r.register(
            "failed",
            "What lifecycle rules could not do, by reason; sweep: a whole sweep was cut short",
            self.failed.clone(),
        );
        r.register(
            "lag_seconds",
            "How long something due may have waited by now: since the last whole sweep began of the bucket that waits longest, of those whose sweeps are not paused",
            self.lag_seconds.clone(),
        );
        r.register(
            "paused_buckets",
            "Buckets with lifecycle rules, or objects in INTELLIGENT_TIERING, whose sweeps are paused",
            self.paused_buckets.clone(),
        );
        let help = "Restores that were begun or extended, by the class that objects are restored from";
        registry.register("restores", help, self.restores.clone());
        let r = registry.sub_registry_with_prefix("class");
        r.register("versions", "Versions of each storage class, of a few minutes ago", self.class_versions.clone());
        r.register("bytes", "Their bytes", self.class_bytes.clone());
        r.register(
            "early_versions",
            "Versions that ever left a storage class before its minimum of days, in the buckets that there are",
            self.class_early_versions.clone(),
        );
        r.register("early_mib_days", "Their sizes times the missing days", self.class_early_mib_days.clone());
    }

    /// Counts what a sweep did, and whether it was cut short.
    pub fn swept(&self, report: &Report, cut_short: bool) {
        self.versions.inc_by(report.versions);
        self.overtaken.inc_by(report.overtaken);
        let failed = report.failed.iter().map(|(kind, count)| (kind.name(), *count));
        for (reason, count) in failed.chain(cut_short.then_some((CUT_SHORT, 1))) {
            self.failed.get_or_create(&Reason { reason }).inc_by(count);
        }
        for (done, (count, bytes)) in &report.done {
            let (action, class) = admin::lifecycle::names(*done);
            let label = Action { action, class: class.unwrap_or_default() };
            self.done.get_or_create(&label).inc_by(*count);
            self.done_bytes.get_or_create(&label).inc_by(*bytes);
        }
    }

    /// Counts a restore from an archive class or tier.
    pub fn restored(&self, class: &'static str) {
        self.restores.get_or_create(&Class { class }).inc();
    }

    /// Records for how long something due may have waited, in the bucket that waits longest, and how many are paused.
    pub fn sample_lag(&self, lag: Duration, paused_buckets: usize) {
        self.lag_seconds.set(gauge_value(lag.as_secs()));
        self.paused_buckets.set(gauge_value(paused_buckets as u64));
    }

    /// Records what all buckets hold of a storage class, and what left it early.
    pub fn sample_class(&self, class: &'static str, [versions, bytes, early, early_mib_days]: [i64; 4]) {
        self.class_versions.get_or_create(&Class { class }).set(versions);
        self.class_bytes.get_or_create(&Class { class }).set(bytes);
        self.class_early_versions.get_or_create(&Class { class }).set(early);
        self.class_early_mib_days.get_or_create(&Class { class }).set(early_mib_days);
    }
}
