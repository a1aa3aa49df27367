//! Replication as this server does it: which rules a bucket has, what a change entails by them, and who brings what where.
//!
//! The rules are `cairn_replication::rules`' and the order of work is `cairn_replication::worker`'s. Here is what takes identities and keys: the
//! role that acts ([`role`]) and what it may do (`permitted`), what it brings ([`carrier`]), a target that is a bucket of this server (`local`),
//! and the walks through what was there before ([`walks`], [`verify`]).

pub mod carrier;
mod decided;
mod local;
mod pages;
mod permitted;
pub mod role;
mod source;
pub mod status;
pub mod verify;
pub mod walks;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cairn_replication::client::Throttle;
use cairn_replication::rules::Configuration;
use cairn_replication::worker::Lanes;
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::BucketRecord;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::planner::{Change, Plan, Planner};
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::record::Record;
use tokio::sync::watch;

use crate::kept::{Kept, digest_of};

/// Buckets' rules, parsed once and kept by their digests. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<Kept<Configuration>>);

impl Rules {
    /// The bucket's rules, if it has any.
    ///
    /// # Errors
    /// The index's.
    pub async fn of(&self, store: &Store, bucket: &Bucket) -> Result<Option<Arc<Configuration>>, StorageError> {
        let Some(digest) = bucket.replication else { return Ok(None) };
        if let Some(rules) = self.0.get(digest) {
            return Ok(Some(rules));
        }
        // What is read may be newer than the bucket that was looked up; then it is what holds.
        let Some(document) = store.document(bucket, DocumentKind::Replication).await? else { return Ok(None) };
        let rules = Arc::new(Configuration::from_value(&document)?);
        self.0.keep(digest_of(&document), document.len(), &rules);
        Ok(Some(rules))
    }

    /// The rules that a commit guards, with their document as its view read it.
    fn in_commit(&self, bucket: &BucketRecord, document: &Bytes) -> Option<Arc<Configuration>> {
        let digest = bucket.replication?;
        if let Some(rules) = self.0.get(digest) {
            return Some(rules);
        }
        match Configuration::from_value(document) {
            Ok(rules) => {
                let rules = Arc::new(rules);
                self.0.keep(digest, document.len(), &rules);
                Some(rules)
            }
            Err(error) => {
                tracing::error!(bucket = bucket.name, %error, "a replication configuration cannot be read; nothing is replicated");
                None
            }
        }
    }
}

/// Plans replication. A bucket without rules costs nothing: its row says that it has none.
impl Planner for Rules {
    fn kinds(&self, bucket: &BucketRecord) -> &[DocumentKind] {
        if bucket.replication.is_some() { &[DocumentKind::Replication] } else { &[] }
    }

    fn plan(&self, change: Change<'_>, bucket: &BucketRecord, documents: &[Option<Bytes>]) -> Plan {
        let Some(document) = documents.first().and_then(Option::as_ref) else { return Plan::default() };
        let rules = self.in_commit(bucket, document);
        rules.map_or_else(Plan::default, |rules| cairn_replication::plan::plan(&rules, change))
    }
}

/// What the operations need to know of replication.
#[derive(Debug, Default)]
pub struct Replication {
    /// The buckets' rules.
    pub rules: Rules,
    /// How the worker's lanes are, once it runs.
    pub lanes: OnceLock<Lanes>,
    /// Bytes a second between buckets of this server.
    pub local_bandwidth: Arc<Throttle>,
    /// Told when a bucket's rules have changed, which may end what is on its way.
    pub changes: watch::Sender<()>,
}

impl Replication {
    /// With these rules, and so many bytes a second at most between buckets of this server.
    #[must_use]
    pub fn new(rules: Rules, bandwidth_limit_bytes: Option<u64>) -> Self {
        let local_bandwidth = Arc::new(Throttle::new(bandwidth_limit_bytes));
        Self { rules, local_bandwidth, ..Self::default() }
    }
}
