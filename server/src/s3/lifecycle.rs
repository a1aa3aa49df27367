//! What clients are told of a bucket's lifecycle rules about one object or upload, and how rules are kept at hand for that.
//!
//! A bucket's row names its rules by a digest, so that a request reads the rules once and finds them in memory after that.

use std::sync::Arc;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::configuration::Configuration;
use cairn_lifecycle::decide::{Facts, ObjectFacts, Place};
use cairn_lifecycle::predict;
use cairn_lifecycle::restore::Delays;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::{ObjectKey, ObjectSummary, ObjectVersion, RestoreStage};
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::record::Record;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::kept::{Kept, digest_of};
use crate::metrics::Metrics;

use super::error::Failure;
use super::headers::{
    self, ABORT_DATE, ABORT_RULE_ID, ARCHIVE_STATUS, EXPIRATION, OPTIONAL_OBJECT_ATTRIBUTES, RESTORE, document_time,
    http_date, value,
};
use super::xml::Document;

/// What the operations need to know of lifecycles.
#[derive(Debug)]
pub struct Lifecycle {
    /// How long a rule's day is.
    pub calendar: Calendar,
    /// How long restores from archive classes take.
    pub delays: Delays,
    /// Where restores are counted.
    pub metrics: Arc<Metrics>,
    /// Rules by their digests.
    kept: Kept<Configuration>,
}

impl Lifecycle {
    /// With these settings.
    pub fn new(calendar: Calendar, delays: Delays, metrics: Arc<Metrics>) -> Self {
        Self { calendar, delays, metrics, kept: Kept::default() }
    }

    /// The bucket's rules, if it has any.
    async fn rules(&self, store: &Store, bucket: &Bucket) -> Result<Option<Arc<Configuration>>, StorageError> {
        let Some(digest) = bucket.lifecycle else { return Ok(None) };
        if let Some(rules) = self.kept.get(digest) {
            return Ok(Some(rules));
        }
        // What is read may be newer than the bucket that was looked up; then it is what holds.
        let Some(document) = store.document(bucket, DocumentKind::Lifecycle).await? else { return Ok(None) };
        let rules = Arc::new(Configuration::from_value(&document)?);
        self.kept.keep(digest_of(&document), document.len(), &rules);
        Ok(Some(rules))
    }

    /// Says when the newest version of a key expires.
    ///
    /// # Errors
    /// The index's.
    pub async fn expiration_into_headers(
        &self,
        store: &Store,
        bucket: &Bucket,
        key: &ObjectKey,
        object: &ObjectVersion,
        headers: &mut HeaderMap,
    ) -> Result<(), StorageError> {
        let Some(rules) = self.rules(store, bucket).await? else { return Ok(()) };
        let facts = Facts {
            key: key.as_str(),
            created: object.created,
            place: Place::Current { alone: false, for_good: false },
            object: Some(ObjectFacts {
                size_bytes: object.size_bytes,
                class: object.storage_class,
                tags: &object.settings.tags,
                locked: false,
            }),
        };
        if let Some((date, rule)) = predict::expiration(&rules, &facts) {
            // Rule ids are URL-encoded here (S3 API reference, GetObject).
            let rule = utf8_percent_encode(rule, NON_ALPHANUMERIC);
            let date = http_date(date);
            let date = date.to_str().unwrap_or_default();
            headers.insert(EXPIRATION, value(&format!("expiry-date=\"{date}\", rule-id=\"{rule}\"")));
        }
        Ok(())
    }

    /// Says when an upload is aborted.
    ///
    /// # Errors
    /// The index's.
    pub async fn abort_into_headers(
        &self,
        store: &Store,
        bucket: &Bucket,
        key: &ObjectKey,
        initiated: Timestamp,
        headers: &mut HeaderMap,
    ) -> Result<(), StorageError> {
        let Some(rules) = self.rules(store, bucket).await? else { return Ok(()) };
        if let Some((date, rule)) = predict::abort(&rules, key.as_str(), initiated) {
            headers.insert(ABORT_DATE, http_date(date));
            headers.insert(ABORT_RULE_ID, value(&utf8_percent_encode(rule, NON_ALPHANUMERIC).to_string()));
        }
        Ok(())
    }
}

/// Says what a restore from an archive class or tier has come to, and in which archive tier an object is.
pub fn restore_into_headers(object: &ObjectVersion, now: Timestamp, headers: &mut HeaderMap) {
    let tier = object.access_tier();
    if let Some(tier) = tier.filter(|tier| tier.needs_restore() && !object.is_readable(now)) {
        headers.insert(ARCHIVE_STATUS, HeaderValue::from_static(tier.name()));
    }
    let text = match (object.restore_stage(now), object.restored) {
        (Some(RestoreStage::Ongoing), _) => HeaderValue::from_static("ongoing-request=\"true\""),
        // What comes out of an archive tier stays.
        (Some(RestoreStage::Ready), Some(restored)) if tier.is_none() => {
            let ends = http_date(restored.ends);
            value(&format!("ongoing-request=\"false\", expiry-date=\"{}\"", ends.to_str().unwrap_or_default()))
        }
        _ => return,
    };
    headers.insert(RESTORE, text);
}

/// Whether a listing is to say what restores have come to.
///
/// # Errors
/// `InvalidArgument` if it is asked for anything else.
pub fn lists_restores(headers: &HeaderMap) -> Result<bool, Failure> {
    let mut lists = false;
    for value in headers.get_all(&OPTIONAL_OBJECT_ATTRIBUTES) {
        for name in headers::text_of(value).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name != "RestoreStatus" {
                let message = "Invalid attribute name specified.";
                return Err(Failure::invalid_argument(OPTIONAL_OBJECT_ATTRIBUTES.as_str(), name, message));
            }
            lists = true;
        }
    }
    Ok(lists)
}

/// Says in a listing what a restore has come to.
pub fn restore_into_listing(object: &ObjectSummary, now: Timestamp, entry: &mut Document) {
    let Some(stage) = object.restore_stage(now) else { return };
    entry.element("RestoreStatus", |status| {
        status.value("IsRestoreInProgress", stage == RestoreStage::Ongoing);
        // What comes out of an archive tier stays.
        if let (RestoreStage::Ready, Some(restored), None) = (stage, object.restored, object.access_tier()) {
            status.value("RestoreExpiryDate", document_time(restored.ends));
        }
    });
}
