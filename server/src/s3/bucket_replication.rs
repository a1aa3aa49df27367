//! GetBucketReplication, PutBucketReplication and DeleteBucketReplication.
//!
//! The rules and their own faults are `cairn_replication::rules`'; here is their XML, and whether the buckets and the role can be used.

use cairn_replication::rules::{Configuration, Destination, Fault, FaultCode, Filter, Rule, Scope, Target, Timing};
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::{BucketRecord, Versioning};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::{Bucket, BucketName};
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto;

use crate::authorize::{Authorized, OnBucket};
use crate::kept::digest_of;
use crate::remotes::NotATarget;
use crate::replication::role;

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

/// The largest configuration (API reference, PutBucketReplication: "The maximum size of a replication configuration is 2 MB").
const DOCUMENT_BYTES_MAX: usize = 2 << 20;

const NOT_VERSIONED: &str = "Versioning must be 'Enabled' on the bucket to apply a replication configuration";

pub(super) async fn get_bucket_replication(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let document = edge.store.document(bucket, DocumentKind::Replication).await?.ok_or_else(|| {
        Failure::with_message(
            S3ErrorCode::ReplicationConfigurationNotFoundError,
            "The replication configuration was not found",
        )
        .field("BucketName", bucket.name.as_str())
    })?;
    let configuration = Configuration::from_value(&document).map_err(StorageError::from)?;
    Ok(Answer::document(document_of(&configuration)))
}

pub(super) async fn put_bucket_replication(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(S3ErrorCode::MaxMessageLengthExceeded.into());
    }
    let configuration = parse(&document)?;
    let bucket = authorized.bucket();
    if bucket.versioning != Versioning::Enabled {
        return Err(Failure::invalid_request(NOT_VERSIONED));
    }
    check_role(edge, &authorized, &configuration.role)?;
    let mut targets: Vec<&Destination> = configuration.rules.iter().map(|rule| &rule.destination).collect();
    targets.sort_by(|one, other| one.target.cmp(&other.target));
    targets.dedup_by(|one, other| (&one.target, one.account) == (&other.target, other.account));
    for destination in targets {
        check_target(edge, bucket, destination).await?;
    }
    let value = configuration.to_value()?;
    let digest = digest_of(&value);
    // The bucket as it is then: its versioning may have been suspended meanwhile.
    let change = |record: &mut BucketRecord| {
        if record.versioning != Versioning::Enabled {
            return Err(StorageError::InvalidBucketState { what: NOT_VERSIONED });
        }
        record.replication = Some(digest);
        Ok(())
    };
    edge.store.set_document(bucket, DocumentKind::Replication, Some(value.into()), change).await?;
    edge.replication.changes.send_replace(());
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_bucket_replication(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
) -> Result<Answer, Failure> {
    let change = |record: &mut BucketRecord| {
        record.replication = None;
        Ok(())
    };
    edge.store.set_document(authorized.bucket(), DocumentKind::Replication, None, change).await?;
    edge.replication.changes.send_replace(());
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The role must be one of the bucket owner's account that S3 may assume, and that the caller may pass (S3 user guide, "Setting up
/// permissions for live replication").
fn check_role(edge: &Edge, authorized: &Authorized<OnBucket>, arn: &str) -> Result<(), Failure> {
    if role::named(arn).is_none() {
        let message = "Invalid Role specified in replication configuration";
        return Err(Failure::invalid_argument("Role", arn, message));
    }
    authorized.pass_role(arn, role::SERVICE)?;
    let bucket = authorized.bucket();
    role::caller(&edge.identities.snapshot(), arn, bucket, edge.store.clock().now())
        .map(drop)
        .map_err(|fault| Failure::invalid_argument("Role", arn, fault.to_string()))
}

async fn check_target(edge: &Edge, source: &Bucket, destination: &Destination) -> Result<(), Failure> {
    let target = &destination.target;
    let must_exist = || Failure::invalid_request("Destination bucket must exist.");
    if let Some(remote) = &target.remote {
        // Whether the bucket is there is not asked: a remote that is down must not be in the way of rules about it.
        edge.remotes.client(remote).ok_or_else(must_exist)?;
        let checked = edge.remotes.check_target(remote, &target.bucket, source.owner, edge.accounts());
        return checked.map_err(|fault| match fault {
            NotATarget::Tier => Failure::invalid_request(fault.to_string()),
            NotATarget::Account => Failure::with_message(S3ErrorCode::AccessDenied, fault.to_string()),
        });
    }
    let name = BucketName::new(&target.bucket).ok_or_else(must_exist)?;
    let bucket = match edge.store.bucket(&name).await {
        Ok(bucket) => bucket,
        Err(StorageError::NoSuchBucket) => return Err(must_exist()),
        Err(error) => return Err(error.into()),
    };
    if bucket.id == source.id {
        return Err(Failure::invalid_request("Destination bucket cannot be the same as the source bucket."));
    }
    if bucket.versioning != Versioning::Enabled {
        return Err(Failure::invalid_request("Destination bucket must have versioning enabled."));
    }
    if destination.account.is_some_and(|account| account != bucket.owner) {
        return Err(Failure::invalid_request("Account must be the owner of the destination bucket."));
    }
    Ok(())
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault.code {
            FaultCode::InvalidArgument => Self::with_message(S3ErrorCode::InvalidArgument, fault.message),
            FaultCode::InvalidRequest => Self::invalid_request(fault.message),
            FaultCode::MalformedXml => S3ErrorCode::MalformedXML.into(),
        }
    }
}

fn malformed() -> Failure {
    S3ErrorCode::MalformedXML.into()
}

/// Reads a configuration, and holds it to S3's rules.
fn parse(document: &[u8]) -> Result<Configuration, Failure> {
    let written: dto::ReplicationConfiguration = xml::parse(document)?;
    let rules = written.rules.iter().enumerate().map(|(at, rule)| read_rule(at, rule)).collect::<Result<_, _>>()?;
    let configuration = Configuration { role: written.role, rules };
    configuration.check()?;
    Ok(configuration)
}

fn is_enabled(status: &str) -> Result<bool, Failure> {
    match status {
        "Enabled" => Ok(true),
        "Disabled" => Ok(false),
        _ => Err(malformed()),
    }
}

fn read_rule(at: usize, rule: &dto::ReplicationRule) -> Result<Rule, Failure> {
    let criteria = rule.source_selection_criteria.as_ref();
    let markers = rule.delete_marker_replication.as_ref();
    let existing = rule.existing_object_replication.as_ref();
    let kms = criteria.and_then(|criteria| criteria.sse_kms_encrypted_objects.as_ref());
    let modifications = criteria.and_then(|criteria| criteria.replica_modifications.as_ref());
    if criteria.is_some() && kms.is_none() && modifications.is_none() {
        return Err(Failure::invalid_request("SourceSelectionCriteria cannot be empty."));
    }
    let marker_status = |markers: &dto::DeleteMarkerReplication| {
        is_enabled(markers.status.as_ref().map(|status| status.as_str()).ok_or_else(malformed)?)
    };
    Ok(Rule {
        // S3 makes ids up, too; this one is the same whenever the same document comes.
        id: rule.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| format!("rule-{}", at + 1)),
        priority: rule.priority,
        enabled: is_enabled(rule.status.as_str())?,
        scope: read_scope(rule)?,
        delete_markers: markers.map(marker_status).transpose()?,
        existing_objects: existing.map(|existing| is_enabled(existing.status.as_str())).transpose()?,
        kms_objects: kms.map(|kms| is_enabled(kms.status.as_str())).transpose()?,
        replica_modifications: modifications.map(|replicas| is_enabled(replicas.status.as_str())).transpose()?,
        destination: read_destination(&rule.destination)?,
    })
}

fn read_scope(rule: &dto::ReplicationRule) -> Result<Scope, Failure> {
    match (&rule.prefix, &rule.filter) {
        (Some(prefix), None) => Ok(Scope::Prefix(prefix.clone())),
        (None, Some(filter)) => Ok(Scope::Filter(read_filter(filter)?)),
        (Some(_), Some(_)) | (None, None) => Err(malformed()),
    }
}

fn read_filter(filter: &dto::ReplicationRuleFilter) -> Result<Filter, Failure> {
    match (&filter.prefix, &filter.tag, &filter.and) {
        (None, None, None) => Ok(Filter::All),
        (Some(prefix), None, None) => Ok(Filter::Prefix(prefix.clone())),
        (None, Some(tag), None) => Ok(Filter::Tag(read_tag(tag)?)),
        (None, None, Some(and)) => Ok(Filter::And {
            prefix: and.prefix.clone(),
            tags: and.tags.iter().flatten().map(read_tag).collect::<Result<_, _>>()?,
        }),
        _ => Err(malformed()),
    }
}

fn read_tag(tag: &dto::Tag) -> Result<Tag, Failure> {
    let (Some(key), Some(value)) = (tag.key.clone(), tag.value.clone()) else { return Err(malformed()) };
    Ok(Tag { key, value })
}

fn read_destination(destination: &dto::Destination) -> Result<Destination, Failure> {
    let target: Target = destination
        .bucket
        .parse()
        .map_err(|_| Failure::invalid_argument("Bucket", &destination.bucket, "Invalid destination bucket ARN"))?;
    let invalid_account = |text: &str| Failure::invalid_argument("Account", text, "Invalid destination account");
    let account = destination.account.as_deref();
    let class = destination.storage_class.as_ref().map(|class| {
        let allowed = |class: &StorageClass| *class != StorageClass::ExpressOnezone;
        StorageClass::parse(class.as_str()).filter(allowed).ok_or_else(malformed)
    });
    let owner_override = match &destination.access_control_translation {
        None => false,
        Some(translation) if translation.owner.as_str() == "Destination" => true,
        Some(_) => return Err(malformed()),
    };
    let encryption = destination.encryption_configuration.as_ref();
    let timing = |status: &str, minutes| Ok::<_, Failure>(Timing { enabled: is_enabled(status)?, minutes });
    let time = destination.replication_time.as_ref();
    let metrics = destination.metrics.as_ref();
    let threshold = |metrics: &dto::Metrics| metrics.event_threshold.as_ref().and_then(|time| time.minutes);
    Ok(Destination {
        target,
        account: account.map(|text| text.parse().map_err(|_| invalid_account(text))).transpose()?,
        storage_class: class.transpose()?,
        owner_override,
        replica_kms_key: encryption.map(|encryption| encryption.replica_kms_key_id.clone().unwrap_or_default()),
        replication_time: time.map(|time| timing(time.status.as_str(), time.time.minutes)).transpose()?,
        metrics: metrics.map(|metrics| timing(metrics.status.as_str(), threshold(metrics))).transpose()?,
    })
}

fn document_of(configuration: &Configuration) -> Document {
    let mut document = Document::new("ReplicationConfiguration");
    document.text("Role", &configuration.role);
    for rule in &configuration.rules {
        document.element("Rule", |element| write_rule(rule, element));
    }
    document
}

fn status(enabled: bool) -> &'static str {
    if enabled { "Enabled" } else { "Disabled" }
}

fn write_switch(name: &str, enabled: Option<bool>, element: &mut Document) {
    if let Some(enabled) = enabled {
        element.element(name, |switch| switch.text("Status", status(enabled)));
    }
}

fn write_rule(rule: &Rule, element: &mut Document) {
    element.text("ID", &rule.id);
    if let Some(priority) = rule.priority {
        element.value("Priority", priority);
    }
    match &rule.scope {
        Scope::Prefix(prefix) => element.text("Prefix", prefix),
        Scope::Filter(filter) => element.element("Filter", |element| write_filter(filter, element)),
    }
    element.text("Status", status(rule.enabled));
    if rule.kms_objects.is_some() || rule.replica_modifications.is_some() {
        element.element("SourceSelectionCriteria", |criteria| {
            write_switch("SseKmsEncryptedObjects", rule.kms_objects, criteria);
            write_switch("ReplicaModifications", rule.replica_modifications, criteria);
        });
    }
    write_switch("ExistingObjectReplication", rule.existing_objects, element);
    element.element("Destination", |element| write_destination(&rule.destination, element));
    write_switch("DeleteMarkerReplication", rule.delete_markers, element);
}

fn write_filter(filter: &Filter, element: &mut Document) {
    match filter {
        Filter::All => {}
        Filter::Prefix(prefix) => element.text("Prefix", prefix),
        Filter::Tag(tag) => write_tag(tag, element),
        Filter::And { prefix, tags } => element.element("And", |and| {
            and.optional("Prefix", prefix.as_deref());
            tags.iter().for_each(|tag| write_tag(tag, and));
        }),
    }
}

fn write_tag(Tag { key, value }: &Tag, element: &mut Document) {
    element.element("Tag", |tag| {
        tag.text("Key", key);
        tag.text("Value", value);
    });
}

fn write_destination(destination: &Destination, element: &mut Document) {
    element.text("Bucket", &destination.target.to_string());
    element.optional("Account", destination.account.map(|account| account.to_string()).as_deref());
    element.optional("StorageClass", destination.storage_class.map(StorageClass::name));
    if destination.owner_override {
        element.element("AccessControlTranslation", |translation| translation.text("Owner", "Destination"));
    }
    if let Some(key) = &destination.replica_kms_key {
        element.element("EncryptionConfiguration", |encryption| encryption.text("ReplicaKmsKeyID", key));
    }
    write_timing("ReplicationTime", "Time", destination.replication_time, element);
    write_timing("Metrics", "EventThreshold", destination.metrics, element);
}

fn write_timing(name: &str, threshold: &str, timing: Option<Timing>, element: &mut Document) {
    let Some(Timing { enabled, minutes }) = timing else { return };
    element.element(name, |element| {
        element.text("Status", status(enabled));
        if let Some(minutes) = minutes {
            element.element(threshold, |threshold| threshold.value("Minutes", minutes));
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rules(rules: &str) -> String {
        format!(
            "<ReplicationConfiguration><Role>arn:aws:iam::123456789012:role/r</Role>{rules}</ReplicationConfiguration>"
        )
    }

    const EVERYTHING: &str = "<Rule><ID>all</ID><Priority>7</Priority><Filter><And><Prefix>a/</Prefix>\
        <Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Status>Enabled</Status>\
        <SourceSelectionCriteria><SseKmsEncryptedObjects><Status>Enabled</Status></SseKmsEncryptedObjects>\
        <ReplicaModifications><Status>Disabled</Status></ReplicaModifications></SourceSelectionCriteria>\
        <ExistingObjectReplication><Status>Enabled</Status></ExistingObjectReplication>\
        <Destination><Bucket>arn:aws:s3:north::copies</Bucket><Account>123456789012</Account>\
        <StorageClass>STANDARD_IA</StorageClass><AccessControlTranslation><Owner>Destination</Owner>\
        </AccessControlTranslation><EncryptionConfiguration><ReplicaKmsKeyID>key</ReplicaKmsKeyID>\
        </EncryptionConfiguration><ReplicationTime><Status>Enabled</Status><Time><Minutes>15</Minutes></Time>\
        </ReplicationTime><Metrics><Status>Enabled</Status><EventThreshold><Minutes>15</Minutes></EventThreshold>\
        </Metrics></Destination><DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication></Rule>";

    const FIRST_VERSION: &str = "<Rule><ID>old</ID><Prefix>logs/</Prefix><Status>Disabled</Status>\
        <Destination><Bucket>arn:aws:s3:::copies</Bucket></Destination></Rule>";

    #[test]
    fn what_was_put_is_shown() {
        for rule in [EVERYTHING, FIRST_VERSION] {
            let read = parse(rules(rule).as_bytes()).unwrap();
            let shown = document_of(&read).finish();
            assert!(shown.contains(rule), "{shown}");
            assert_eq!(parse(shown.as_bytes()).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_code() {
        let rule = |content: &str| rules(&format!("<Rule>{content}</Rule>"));
        let to = "<Destination><Bucket>arn:aws:s3:::copies</Bucket></Destination>";
        let off = "<DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>";
        for (document, code) in [
            (rules(""), "MalformedXML"),
            (rule(&format!("<Status>Enabled</Status>{to}")), "MalformedXML"),
            (rule(&format!("<Prefix/><Filter/><Status>Enabled</Status>{to}")), "MalformedXML"),
            (rule(&format!("<Prefix/><Status>enabled</Status>{to}")), "MalformedXML"),
            (rule("<Prefix/><Status>Enabled</Status>"), "MalformedXML"),
            (
                rule("<Prefix/><Status>Enabled</Status><Destination><Bucket>copies</Bucket></Destination>"),
                "InvalidArgument",
            ),
            (
                rule(
                    "<Prefix/><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::copies</Bucket>\
                     <StorageClass>COLD</StorageClass></Destination>",
                ),
                "MalformedXML",
            ),
            (rule(&format!("<Filter/><Status>Enabled</Status>{to}")), "InvalidRequest"),
            (
                rule(&format!(
                    "<Priority>1</Priority><Filter/><Status>Enabled</Status><SourceSelectionCriteria/>{to}{off}"
                )),
                "InvalidRequest",
            ),
            (
                rule(&format!(
                    "<Priority>1</Priority><Filter/><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::copies\
                     </Bucket><EncryptionConfiguration/></Destination>{off}"
                )),
                "InvalidRequest",
            ),
        ] {
            assert_eq!(parse(document.as_bytes()).unwrap_err().code(), code, "{document}");
        }
    }
}
