//! What the storage tiers are doing, and what they hold.

use cairn_storage::blob::TierStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge_value;
use crate::tiers::PlaceUsage;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tier {
    /// As it is configured.
    tier: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
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
    saved_bytes: Family<Tier, Gauge>,
    class_files: Family<Class, Gauge>,
    class_bytes: Family<Class, Gauge>,
    class_saved_bytes: Family<Class, Gauge>,
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
        r.register("saved_bytes", "By how many bytes compression made them shorter", self.saved_bytes.clone());
        let r = registry.sub_registry_with_prefix("data_directory");
        r.register("files", "Files of the class in the data directory", self.class_files.clone());
        r.register("bytes", "The bytes of these files", self.class_bytes.clone());
        r.register("saved_bytes", "By how many bytes compression made them shorter", self.class_saved_bytes.clone());
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
    pub fn sample_usage(&self, name: &str, usage: PlaceUsage) {
        let tier = Tier { tier: name.to_owned() };
        self.files.get_or_create(&tier).set(usage.files);
        self.bytes.get_or_create(&tier).set(usage.bytes);
        self.saved_bytes.get_or_create(&tier).set(usage.saved_bytes);
    }

    /// Records what the index has of a class in the data directory.
    pub fn sample_class(&self, class: &'static str, usage: PlaceUsage) {
        let class = Class { class };
        self.class_files.get_or_create(&class).set(usage.files);
        self.class_bytes.get_or_create(&class).set(usage.bytes);
        self.class_saved_bytes.get_or_create(&class).set(usage.saved_bytes);
    }
}
