//! The values of condition keys: what of a request, its sender and its resource policies can ask for (Service authorization
//! reference, "Condition keys for Amazon S3"; IAM user guide, "AWS global condition context keys").
//!
//! Nothing is computed before a statement names its key. What follows from the principal and the resource's owner alone, `evaluate`
//! answers itself. What a client could forge is taken from the connection and the
//! verified signature, never from a header: who asks, from where, how, and when.

use std::borrow::Cow;
use std::net::IpAddr;

use cairn_iam::evaluate::{Context, Values};
use cairn_storage::clock::Timestamp;
use cairn_storage::ops::VersionSelector;
use cairn_storage::settings::{Retention, Tag};
use http::header::{IF_MATCH, IF_NONE_MATCH, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName};

use crate::gate::routes::Operation;
use crate::s3::headers::{self, TAGGING};
use crate::s3::object_lock::{date_text, legal_hold_of, retention_of};
use crate::s3::request::Query;
use crate::s3::tags;

use super::Caller;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The headers of S3 that policies can ask for by their own names.
const HEADER_KEYS: &[&str] = &[
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// From where.
    pub remote: IpAddr,
    /// It was encrypted.
    pub secure: bool,
    /// The version of TLS, if that is known.
    pub tls_version: Option<&'static str>,
}

/// Where a request has its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In the `Authorization` header.
    Header,
    /// In the query: the URL was presigned.
    Query,
    /// In the fields of a form.
    Form,
}

/// A verified signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Where it is.
    pub carrier: Carrier,
    /// It is of version 2, not of version 4.
    pub is_version_2: bool,
    /// When it was made, if it says so.
    pub signed_at: Option<Timestamp>,
}

/// What is known of a request before its body is read.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// What it asks for; None: nothing of S3's.
    pub operation: Option<Operation>,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its query.
    pub query: &'r Query,
    /// How it came.
    pub connection: Connection,
    /// How it is signed; None: not at all.
    pub signature: Option<Signature>,
    /// When it came.
    pub now: Timestamp,
    /// The server's region.
    pub region: &'r str,
}

/// [`Facts`] that can outlive the request.
#[derive(Clone, Debug)]
pub(super) struct OwnedFacts {
    operation: Option<Operation>,
    headers: HeaderMap,
    query: Query,
    connection: Connection,
    signature: Option<Signature>,
    now: Timestamp,
    region: String,
}

impl Facts<'_> {
    pub(super) fn to_owned(self) -> OwnedFacts {
        OwnedFacts {
            operation: self.operation,
            headers: self.headers.clone(),
            query: self.query.clone(),
            connection: self.connection,
            signature: self.signature,
            now: self.now,
            region: self.region.to_owned(),
        }
    }
}

impl OwnedFacts {
    pub(super) fn borrow(&self) -> Facts<'_> {
        Facts {
            operation: self.operation,
            headers: &self.headers,
            query: &self.query,
            connection: self.connection,
            signature: self.signature,
            now: self.now,
            region: &self.region,
        }
    }
}

/// What a document in the body asks for. Policies can ask for it, too, so it is decided about when it has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InDocument {
    /// The tags.
    pub tags: Option<Vec<Tag>>,
    /// The retention.
    pub retention: Option<Retention>,
    /// The legal hold.
    pub legal_hold: Option<bool>,
}

/// Everything that policies can ask for about one action on one resource.
pub(super) struct RequestContext<'c> {
    pub(super) facts: Facts<'c>,
    pub(super) caller: &'c Caller,
    /// The version that is named, where that is not the query's `versionId`.
    pub(super) version: Option<VersionSelector>,
    /// The tags of the version that was found.
    pub(super) existing_tags: Option<&'c [Tag]>,
    pub(super) in_document: Option<&'c InDocument>,
    /// The service that a role is to be passed to.
    pub(super) passed_to: Option<&'static str>,
}

impl Context for RequestContext<'_> {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match key.split_once(':') {
            Some(("s3", name)) => self.of_s3(name),
            Some(("aws", name)) => self.global(name, key),
            Some(("iam", "passedtoservice")) => one(self.passed_to.map(Cow::Borrowed)),
            _ => self.caller.condition(key, self.facts.now),
        }
    }
}

impl RequestContext<'_> {
    fn of_s3(&self, name: &str) -> Values<'_> {
        if let Some((kind, tag)) = name.split_once('/') {
            return match kind {
                "existingobjecttag" => one(value_of(self.existing_tags.unwrap_or_default(), tag).map(Cow::Borrowed)),
                "requestobjecttag" => one(value_of(&self.asked_tags(), tag).map(|value| value.to_owned().into())),
                _ => Values::Absent,
            };
        }
        if let Some(header) = HEADER_KEYS.iter().find(|header| **header == name) {
            return self.header(&HeaderName::from_static(header));
        }
        match name {
            "authtype" => one(self.facts.signature.map(|signature| match signature.carrier {
                Carrier::Header => "REST-HEADER".into(),
                Carrier::Query => "REST-QUERY-STRING".into(),
                Carrier::Form => "POST".into(),
            })),
            "signatureversion" => one(self
                .facts
                .signature
                .map(|signature| if signature.is_version_2 { "AWS".into() } else { "AWS4-HMAC-SHA256".into() })),
            "signatureage" => {
                let signed_at = self.facts.signature.and_then(|signature| signature.signed_at);
                one(signed_at.map(|at| self.facts.now.0.saturating_sub(at.0).max(0).to_string().into()))
            }
            "tlsversion" => one(self.facts.connection.tls_version.map(Cow::Borrowed)),
            "prefix" | "delimiter" | "max-keys" if self.lists() => self.parameter(name),
            "versionid" => self.version_id(),
            "locationconstraint" => self.location_constraint(),
            "if-match" => self.header(&IF_MATCH),
            "if-none-match" => self.header(&IF_NONE_MATCH),
            "objectcreationoperation" => self.creates_object(),
            "requestobjecttagkeys" => many(self.asked_tags().iter().map(|tag| tag.key.clone()).collect()),
            name => self.of_lock(name),
        }
    }

    fn of_lock(&self, name: &str) -> Values<'_> {
        let retention = || match self.in_document {
            Some(InDocument { retention: Some(retention), .. }) => Some(*retention),
            // A header that cannot be read is refused by the operation.
            _ => retention_of(self.facts.headers).ok().flatten(),
        };
        match name {
            "object-lock-mode" => one(retention().map(|retention| retention.mode.name().into())),
            "object-lock-retain-until-date" => one(retention().map(|retention| date_text(retention.until).into())),
            "object-lock-remaining-retention-days" => one(retention().map(|retention| {
                // Days that have begun count.
                let ms = retention.until.0.saturating_sub(self.facts.now.0).max(0);
                (ms / DAY_MS + i64::from(ms % DAY_MS > 0)).to_string().into()
            })),
            "object-lock-legal-hold" => {
                let hold = match self.in_document {
                    Some(InDocument { legal_hold: Some(hold), .. }) => Some(*hold),
                    _ => legal_hold_of(self.facts.headers).ok().flatten(),
                };
                one(hold.map(|hold| if hold { "ON".into() } else { "OFF".into() }))
            }
            _ => Values::Absent,
        }
    }

    fn global(&self, name: &str, key: &str) -> Values<'_> {
        match name {
            "sourceip" => one(Some(self.facts.connection.remote.to_string().into())),
            "securetransport" => flag(self.facts.connection.secure),
            "currenttime" => one(Some(headers::document_time(self.facts.now).into())),
            "epochtime" => one(Some(self.facts.now.0.div_euclid(1_000).to_string().into())),
            "useragent" => self.header(&USER_AGENT),
            "referer" => self.header(&REFERER),
            "requestedregion" => one(Some(self.facts.region.into())),
            // No service of ours calls another in a caller's name.
            "viaawsservice" => flag(false),
            _ => self.caller.condition(key, self.facts.now),
        }
    }

    fn lists(&self) -> bool {
        matches!(
            self.facts.operation,
            Some(Operation::ListObjects | Operation::ListObjectsV2 | Operation::ListObjectVersions)
        )
    }

    fn version_id(&self) -> Values<'_> {
        match self.version {
            Some(VersionSelector::Id(id)) => one(Some(id.to_string().into())),
            Some(VersionSelector::Null) => one(Some("null".into())),
            Some(VersionSelector::Newest) => Values::Absent,
            None => self.parameter("versionId"),
        }
    }

    /// A bucket can only be where the server is; in us-east-1 that goes without saying.
    fn location_constraint(&self) -> Values<'_> {
        let says = self.facts.operation == Some(Operation::CreateBucket) && self.facts.region != "us-east-1";
        one(says.then_some(self.facts.region.into()))
    }

    fn creates_object(&self) -> Values<'_> {
        match self.facts.operation {
            Some(
                Operation::PutObject
                | Operation::PostObject
                | Operation::CopyObject
                | Operation::CompleteMultipartUpload,
            ) => flag(true),
            Some(Operation::CreateMultipartUpload | Operation::UploadPart | Operation::UploadPartCopy) => flag(false),
            _ => Values::Absent,
        }
    }

    /// The tags that are asked for, in the document or in the header.
    fn asked_tags(&self) -> Cow<'_, [Tag]> {
        match self.in_document {
            Some(InDocument { tags: Some(tags), .. }) => tags.into(),
            _ if !self.facts.headers.contains_key(TAGGING) => Cow::Borrowed(&[]),
            // Tags that cannot be read are refused by the operation.
            _ => tags::from_headers(self.facts.headers).unwrap_or_default().into(),
        }
    }

    /// All of a header's lines, as the one that they are good for: the second grant of a list is as good as the first.
    fn header(&self, name: &HeaderName) -> Values<'_> {
        let lines: Vec<String> = self.facts.headers.get_all(name).iter().map(headers::text_of).collect();
        let text = lines.join(",");
        one((!text.is_empty()).then_some(Cow::Owned(text)))
    }

    fn parameter(&self, name: &str) -> Values<'_> {
        one(self.facts.query.get(name).map(Cow::Borrowed))
    }
}

/// The value of a tag, whose key conditions give in lower case.
fn value_of<'t>(tags: &'t [Tag], key: &str) -> Option<&'t str> {
    let exact = tags.iter().find(|tag| tag.key == key);
    let tag = exact.or_else(|| tags.iter().find(|tag| tag.key.to_lowercase() == key));
    tag.map(|tag| tag.value.as_str())
}

fn one(value: Option<Cow<'_, str>>) -> Values<'_> {
    value.map_or(Values::Absent, Values::One)
}

fn many(values: Vec<String>) -> Values<'static> {
    if values.is_empty() { Values::Absent } else { Values::Many(values.into_iter().map(Cow::Owned).collect()) }
}

pub(super) fn flag(is: bool) -> Values<'static> {
    Values::One(if is { "true" } else { "false" }.into())
}

#[cfg(test)]
mod tests;
