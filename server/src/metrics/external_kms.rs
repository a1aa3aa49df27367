//! What the client of the external KMS counts. Without one there are no series.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Operation, request_duration};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The metrics.
#[derive(Debug, Clone)]
pub struct ExternalKmsMetrics {
    up: Family<Kind, Gauge>,
    calls: Family<Call, Counter>,
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
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("external_kms");
        r.register("up", "1 when the external KMS answered at last", self.up.clone());
        r.register(
            "calls",
            "Calls to the external KMS, by operation and result (ok, unavailable, refused, not_authentic)",
            self.calls.clone(),
        );
        r.register(
            "call_duration_seconds",
            "Time of those calls with all of their attempts, by operation",
            self.duration.clone(),
        );
        r.register("held", "Keys that were held, and not asked for", self.held.clone());
    }

    /// Counts a call.
    pub fn called(&self, operation: &'static str, result: &'static str, elapsed: Duration) {
        self.calls.get_or_create(&Call { operation, result }).inc();
        self.duration.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }

    /// Records whether it answers.
    pub fn up(&self, up: bool) {
        self.up.get_or_create(&Kind { kind: "transit" }).set(up.into());
    }

    /// Counts a call that was not needed.
    pub fn held(&self) {
        self.held.inc();
    }
}
