//! Something that the server did by itself, without a request: what lifecycle rules and access tiers do to versions and
//! uploads, and that a restored version can be read, or not any more.
//!
//! It is named as Amazon's server access logs name it (S3 user guide, "S3 Lifecycle and logging"), and where these have no
//! name, as S3's event notifications do.

use cairn_lifecycle::events::{Event, Events, What};
use cairn_storage::clock::Timestamp;
use cairn_storage::id::{AccountId, UploadId};
use cairn_storage::index::family::bucket::BucketRecord;
use cairn_storage::jobs::retrieval::{RetrievalListener, Retrieved};
use cairn_storage::object::{ObjectKey, ObjectVersion, ReturnedVersion, StorageClass};
use cairn_storage::ops::lifecycle::{Act, ActDone};
use serde::Serialize;

use super::entry::time_text;
use super::{Audit, Message};

/// Who does it, as S3's event notifications name it.
const PRINCIPAL: &str = "s3.amazonaws.com";

/// A thing done.
#[derive(Debug)]
pub struct Deed {
    time: Timestamp,
    operation: &'static str,
    bucket: String,
    owner: AccountId,
    key: ObjectKey,
    of: Of,
    /// The id of the rule that asked for it.
    rule: Option<String>,
}

/// What it was done to.
#[derive(Debug)]
enum Of {
    Version { shown: ReturnedVersion, class: Option<StorageClass>, to: Option<&'static str>, size_bytes: u64 },
    Upload(UploadId),
}

/// [`Deed`] as a line of the log.
#[derive(Debug, Serialize)]
pub struct Line<'d> {
    time: String,
    operation: &'static str,
    principal: &'static str,
    bucket_owners: [String; 1],
    bucket: &'d str,
    key: &'d str,
    /// Of a version that only expired: the id of the delete marker.
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_id: Option<String>,
    /// None: no rule had to ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'d str>,
    /// The class that the version had; none of delete markers and uploads.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<&'static str>,
    /// The class, or access tier, that it moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
}

impl Deed {
    /// The deed in words.
    pub fn line(&self) -> Line<'_> {
        let line = Line {
            time: time_text(self.time),
            operation: self.operation,
            principal: PRINCIPAL,
            bucket_owners: [self.owner.to_string()],
            bucket: &self.bucket,
            key: self.key.as_str(),
            version_id: None,
            upload_id: None,
            rule: self.rule.as_deref(),
            storage_class: None,
            to: None,
            size_bytes: None,
        };
        match self.of {
            Of::Version { shown, class, to, size_bytes } => {
                let (version_id, storage_class) = (Some(shown.to_string()), class.map(StorageClass::name));
                Line { version_id, storage_class, to, size_bytes: class.map(|_| size_bytes), ..line }
            }
            Of::Upload(id) => Line { upload_id: Some(id.to_string()), ..line },
        }
    }
}

impl Events for Audit {
    fn done(&self, event: &Event<'_>) {
        self.queue(|| {
            let of = match event.what {
                What::Act(ActDone { shown, act, class, size_bytes, .. }) => {
                    Of::Version { shown, class, to: target(act), size_bytes }
                }
                What::Abort(id) => Of::Upload(id),
            };
            Message::Deed(Box::new(Deed {
                time: event.time,
                operation: operation(event.what),
                bucket: event.bucket.name.as_str().to_owned(),
                owner: event.bucket.owner,
                key: event.key.clone(),
                of,
                rule: event.rule.map(str::to_owned),
            }))
        });
    }
}

impl RetrievalListener for Audit {
    fn retrieved(
        &self,
        bucket: &BucketRecord,
        key: &ObjectKey,
        object: &ObjectVersion,
        what: Retrieved,
        now: Timestamp,
    ) {
        self.queue(|| {
            let (class, size_bytes) = (Some(object.storage_class), object.size_bytes);
            Message::Deed(Box::new(Deed {
                time: now,
                operation: match what {
                    Retrieved::Ready => "s3:ObjectRestore:Completed",
                    Retrieved::Over => "s3:ObjectRestore:Delete",
                },
                bucket: bucket.name.clone(),
                owner: bucket.owner,
                key: key.clone(),
                of: Of::Version { shown: object.shown(), class, to: None, size_bytes },
                rule: None,
            }))
        });
    }
}

fn target(act: Act) -> Option<&'static str> {
    match act {
        Act::Transition(class) => Some(class.name()),
        Act::Tier(tier) => Some(tier.name()),
        Act::Expire | Act::Remove | Act::RemoveMarker => None,
    }
}

fn operation(what: What) -> &'static str {
    match what {
        What::Abort(_) => "S3.DELETE.UPLOAD",
        What::Act(ActDone { marked: true, .. }) => "S3.CREATE.DELETEMARKER",
        What::Act(ActDone { act, .. }) => match act {
            Act::Expire | Act::Remove | Act::RemoveMarker => "S3.EXPIRE.OBJECT",
            Act::Tier(_) => "s3:IntelligentTiering",
            Act::Transition(class) => match class {
                StorageClass::StandardIa => "S3.TRANSITION_SIA.OBJECT",
                StorageClass::OnezoneIa => "S3.TRANSITION_ZIA.OBJECT",
                StorageClass::IntelligentTiering => "S3.TRANSITION_INT.OBJECT",
                StorageClass::GlacierIr => "S3.TRANSITION_GIR.OBJECT",
                StorageClass::DeepArchive => "S3.TRANSITION_GDA.OBJECT",
                // Of the others only GLACIER is a target.
                StorageClass::Glacier
                | StorageClass::Standard
                | StorageClass::ReducedRedundancy
                | StorageClass::ExpressOnezone => "S3.TRANSITION.OBJECT",
            },
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::sync_channel;

    use cairn_storage::id::VersionId;
    use cairn_storage::object::AccessTier;
    use parking_lot::Mutex;
    use prometheus_client::metrics::counter::Counter;
    use serde_json::json;

    use super::*;
    use crate::audit::newest::Newest;

    fn done(act: Act, marked: bool) -> What {
        let (id, class) = (VersionId::from_bytes([1; 16]), Some(StorageClass::Standard));
        What::Act(ActDone { id, act, shown: ReturnedVersion::Null, marked, class, size_bytes: 5 })
    }

    #[test]
    fn deeds_are_named_as_amazon_names_them() {
        for (what, name) in [
            (done(Act::Expire, false), "S3.EXPIRE.OBJECT"),
            (done(Act::Expire, true), "S3.CREATE.DELETEMARKER"),
            (done(Act::Remove, false), "S3.EXPIRE.OBJECT"),
            (done(Act::RemoveMarker, false), "S3.EXPIRE.OBJECT"),
            (done(Act::Transition(StorageClass::StandardIa), false), "S3.TRANSITION_SIA.OBJECT"),
            (done(Act::Transition(StorageClass::OnezoneIa), false), "S3.TRANSITION_ZIA.OBJECT"),
            (done(Act::Transition(StorageClass::IntelligentTiering), false), "S3.TRANSITION_INT.OBJECT"),
            (done(Act::Transition(StorageClass::GlacierIr), false), "S3.TRANSITION_GIR.OBJECT"),
            (done(Act::Transition(StorageClass::Glacier), false), "S3.TRANSITION.OBJECT"),
            (done(Act::Transition(StorageClass::DeepArchive), false), "S3.TRANSITION_GDA.OBJECT"),
            (done(Act::Tier(AccessTier::Infrequent), false), "s3:IntelligentTiering"),
            (What::Abort(UploadId::from_bytes([2; 16])), "S3.DELETE.UPLOAD"),
        ] {
            assert_eq!(operation(what), name);
        }
    }

    fn deed(rule: Option<&str>, of: Of) -> Deed {
        Deed {
            time: Timestamp(784_111_777_123),
            operation: "S3.TRANSITION.OBJECT",
            bucket: "photos".to_owned(),
            owner: AccountId::from_number(7).unwrap(),
            key: ObjectKey::new("a \"key\"").unwrap(),
            of,
            rule: rule.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_has_no_more_than_there_is_to_say() {
        let (shown, class) = (ReturnedVersion::Null, Some(StorageClass::Standard));
        let moved = deed(Some("cold"), Of::Version { shown, class, to: Some("GLACIER"), size_bytes: 5 });
        let mut line = json!({
            "time": "1994-11-06T08:49:37.123Z",
            "operation": "S3.TRANSITION.OBJECT",
            "principal": "s3.amazonaws.com",
            "bucket_owners": ["000000000007"],
            "bucket": "photos",
            "key": "a \"key\"",
            "version_id": "null",
            "rule": "cold",
            "storage_class": "STANDARD",
            "to": "GLACIER",
            "size_bytes": 5,
        });
        assert_eq!(serde_json::to_value(moved.line()).unwrap(), line);
        let marker = deed(None, Of::Version { shown, class: None, to: None, size_bytes: 0 });
        for name in ["rule", "storage_class", "to", "size_bytes"] {
            line.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(serde_json::to_value(marker.line()).unwrap(), line);
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_counted_and_holds_nobody_up() {
        let (queue, received) = sync_channel(2);
        let lost = Counter::default();
        let audit = Audit {
            newest: Newest::default(),
            file: None,
            queue: Some(queue),
            writer: Mutex::default(),
            lost: lost.clone(),
        };
        for _ in 0..5 {
            audit.queue(|| Message::Deed(Box::new(deed(None, Of::Upload(UploadId::from_bytes([2; 16]))))));
        }
        assert_eq!((received.try_iter().count(), lost.get()), (2, 3));
    }
}
