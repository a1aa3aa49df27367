//! What the storage tiers are doing, and what they hold.

use cairn_storage::blob::TierStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge_value;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tier {
    /// As it is configured.
    tier: String,
}

/// The metrics.
#[derive(Debug, Default)]
pub struct TierMetrics {
    up: Family<Tier, Gauge>,
    writable: Family<Tier, Gauge>,
    errors: Family<Tier, Counter>,
    total_bytes: Family<Tier, Gauge>,
    available_bytes: Family<Tier, Gauge>,
    files: Family<Tier, Gauge>,
    bytes: Family<Tier, Gauge>,
}

impl TierMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("tier");
        r.register("up", "1 while the storage tier can be reached", self.up.clone());
        r.register("writable", "0 when nothing is written to it until a restart", self.writable.clone());
        r.register("errors", "Calls of its disk that failed", self.errors.clone());
        r.register("total_bytes", "The size of its file system", self.total_bytes.clone());
        r.register("available_bytes", "Free space of its file system", self.available_bytes.clone());
        r.register("files", "Files that the index has in it", self.files.clone());
        r.register("bytes", "The bytes of these files", self.bytes.clone());
    }

    /// Records what a tier is doing.
    pub fn sample(&self, status: &TierStatus) {
        let tier = Tier { tier: status.name.clone() };
        self.up.get_or_create(&tier).set(status.down.is_none().into());
        self.writable.get_or_create(&tier).set(status.read_only.is_none().into());
        let errors = self.errors.get_or_create(&tier);
        errors.inc_by(status.errors.saturating_sub(errors.get()));
        // Nobody knows how much space another service has.
        if !status.is_remote {
            self.total_bytes.get_or_create(&tier).set(gauge_value(status.space.total_bytes));
            self.available_bytes.get_or_create(&tier).set(gauge_value(status.space.available_bytes));
        }
    }

    /// Records what the index has in a tier.
    pub fn sample_usage(&self, name: &str, files: i64, bytes: i64) {
        let tier = Tier { tier: name.to_owned() };
        self.files.get_or_create(&tier).set(files);
        self.bytes.get_or_create(&tier).set(bytes);
    }
}
