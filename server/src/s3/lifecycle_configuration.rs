//! GetBucketLifecycleConfiguration, PutBucketLifecycleConfiguration, DeleteBucketLifecycleConfiguration, and PutBucketLifecycle,
//! which is the same sub-resource with a `Prefix` in place of a `Filter`.

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::configuration::{
    Configuration, Expiration, Filter, FilterForm, MinimumSize, NoncurrentExpiration, NoncurrentTransition, Rule,
    Transition, When,
};
use cairn_lifecycle::validate::{self, Invalid};
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::bucket::BucketRecord;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::StorageClass;
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use http::{HeaderMap, StatusCode};
use s3s::S3ErrorCode;
use s3s::dto;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::headers::{self, TRANSITION_DEFAULT_MINIMUM_OBJECT_SIZE, document_time};
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Malformed => S3ErrorCode::MalformedXML.into(),
            Invalid::Argument(message) => Self::with_message(S3ErrorCode::InvalidArgument, message),
            Invalid::Request(message) => Self::invalid_request(message),
        }
    }
}

pub(super) async fn get_lifecycle_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let document = edge.store.document(bucket, DocumentKind::Lifecycle).await?.ok_or_else(|| {
        Failure::new(S3ErrorCode::NoSuchLifecycleConfiguration).field("BucketName", bucket.name.as_str())
    })?;
    let configuration = Configuration::from_value(&document).map_err(StorageError::from)?;
    let minimum = headers::value(configuration.minimum.name());
    Ok(Answer::document(document_of(&configuration)).header(TRANSITION_DEFAULT_MINIMUM_OBJECT_SIZE, minimum))
}

pub(super) async fn put_lifecycle_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let configuration =
        Configuration { minimum: minimum(&request.headers)?, ..parse(&document, edge.lifecycle.calendar)? };
    let value = configuration.to_value()?;
    let digest = crate::kept::digest_of(&value);
    let change = |record: &mut BucketRecord| {
        // "You can't use MFA delete with lifecycle configurations" (S3 user guide, "Configuring MFA delete").
        if record.mfa_delete {
            return Err(StorageError::InvalidBucketState {
                what: "Lifecycle configuration is not supported on a bucket with MFA delete enabled.",
            });
        }
        record.lifecycle = Some(digest);
        Ok(())
    };
    edge.store.set_document(authorized.bucket(), DocumentKind::Lifecycle, Some(value.into()), change).await?;
    let minimum = headers::value(configuration.minimum.name());
    Ok(Answer::empty(StatusCode::OK).header(TRANSITION_DEFAULT_MINIMUM_OBJECT_SIZE, minimum))
}

pub(super) async fn delete_lifecycle_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
) -> Result<Answer, Failure> {
    let change = |record: &mut BucketRecord| {
        record.lifecycle = None;
        Ok(())
    };
    edge.store.set_document(authorized.bucket(), DocumentKind::Lifecycle, None, change).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn minimum(headers: &HeaderMap) -> Result<MinimumSize, Failure> {
    match headers::text(headers, &TRANSITION_DEFAULT_MINIMUM_OBJECT_SIZE) {
        None => Ok(MinimumSize::default()),
        Some(name) => MinimumSize::parse(&name).ok_or_else(|| {
            Failure::invalid_argument(
                "x-amz-transition-default-minimum-object-size",
                &name,
                "Invalid value for TransitionDefaultMinimumObjectSize.",
            )
        }),
    }
}

/// Reads a configuration, and holds it to S3's rules.
///
/// # Errors
/// What S3 finds wrong.
pub fn parse(document: &[u8], calendar: Calendar) -> Result<Configuration, Failure> {
    let written: dto::BucketLifecycleConfiguration = xml::parse(document)?;
    let rules = written.rules.iter().enumerate().map(|(at, rule)| read_rule(at, rule)).collect::<Result<_, _>>()?;
    let configuration = Configuration { rules, ..Configuration::default() };
    validate::check(&configuration, calendar)?;
    Ok(configuration)
}

fn malformed() -> Failure {
    S3ErrorCode::MalformedXML.into()
}

fn read_rule(at: usize, rule: &dto::LifecycleRule) -> Result<Rule, Failure> {
    let enabled = match rule.status.as_str() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(malformed()),
    };
    let transitions = rule.transitions.iter().flatten().map(read_transition).collect::<Result<_, _>>()?;
    let noncurrent = rule.noncurrent_version_transitions.iter().flatten();
    let abort_days = rule.abort_incomplete_multipart_upload.as_ref().map(|abort| {
        let days = abort.days_after_initiation.ok_or_else(malformed)?;
        Ok::<_, Failure>(validate::days(days, 1, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")?)
    });
    Ok(Rule {
        // S3 makes ids up, too; this one is the same whenever the same document comes.
        id: rule.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| format!("rule-{}", at + 1)),
        enabled,
        filter: read_filter(rule)?,
        expiration: rule.expiration.as_ref().map(read_expiration).transpose()?,
        transitions,
        noncurrent_transitions: noncurrent.map(read_noncurrent_transition).collect::<Result<_, _>>()?,
        noncurrent_expiration: rule
            .noncurrent_version_expiration
            .as_ref()
            .map(|end| {
                const ACTION: &str = "NoncurrentVersionExpiration";
                let days = end.noncurrent_days.ok_or_else(malformed)?;
                let newer = end.newer_noncurrent_versions.map(|count| validate::newer(count, ACTION)).transpose()?;
                Ok::<_, Failure>(NoncurrentExpiration {
                    days: validate::days(days, 1, "NoncurrentDays", ACTION)?,
                    newer,
                })
            })
            .transpose()?,
        abort_days: abort_days.transpose()?,
    })
}

fn read_filter(rule: &dto::LifecycleRule) -> Result<Filter, Failure> {
    match (&rule.prefix, &rule.filter) {
        (Some(prefix), None) => {
            Ok(Filter { form: FilterForm::RulePrefix, prefix: Some(prefix.clone()), ..Filter::default() })
        }
        (None, Some(filter)) => match &filter.and {
            None => Ok(Filter {
                form: FilterForm::Filter,
                prefix: filter.prefix.clone(),
                tags: filter.tag.iter().map(read_tag).collect::<Result<_, _>>()?,
                larger_than: read_size(filter.object_size_greater_than)?,
                smaller_than: read_size(filter.object_size_less_than)?,
            }),
            Some(and) => {
                let alone = filter.prefix.is_none() && filter.tag.is_none();
                let alone =
                    alone && filter.object_size_greater_than.is_none() && filter.object_size_less_than.is_none();
                if !alone {
                    return Err(malformed());
                }
                Ok(Filter {
                    form: FilterForm::And,
                    prefix: and.prefix.clone(),
                    tags: and.tags.iter().flatten().map(read_tag).collect::<Result<_, _>>()?,
                    larger_than: read_size(and.object_size_greater_than)?,
                    smaller_than: read_size(and.object_size_less_than)?,
                })
            }
        },
        (Some(_), Some(_)) | (None, None) => Err(malformed()),
    }
}

fn read_tag(tag: &dto::Tag) -> Result<Tag, Failure> {
    // A tag without a value is one with an empty value (user guide, "Adding filters to Lifecycle rules").
    let key = tag.key.clone().ok_or_else(malformed)?;
    Ok(Tag { key, value: tag.value.clone().unwrap_or_default() })
}

fn read_size(bytes: Option<i64>) -> Result<Option<u64>, Failure> {
    bytes.map(u64::try_from).transpose().map_err(|_| {
        Failure::invalid_argument(
            "ObjectSize",
            "",
            "ObjectSizeGreaterThan and ObjectSizeLessThan must not be negative.",
        )
    })
}

fn read_date(date: &dto::Timestamp) -> Timestamp {
    let time = time::OffsetDateTime::from(date.clone());
    Timestamp(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

fn read_expiration(expiration: &dto::LifecycleExpiration) -> Result<Expiration, Failure> {
    match (expiration.days, &expiration.date, expiration.expired_object_delete_marker) {
        (Some(days), None, None | Some(false)) => {
            Ok(Expiration::At(When::Days(validate::days(days, 1, "Days", "Expiration")?)))
        }
        (None, Some(date), None | Some(false)) => Ok(Expiration::At(When::Date(read_date(date)))),
        (None, None, Some(true)) => Ok(Expiration::ExpiredMarkers),
        // "If set to false the policy takes no action" (S3 API reference, LifecycleExpiration).
        (None, None, Some(false)) => Ok(Expiration::KeptMarkers),
        _ => Err(malformed()),
    }
}

fn read_class(class: Option<&dto::TransitionStorageClass>) -> Result<StorageClass, Failure> {
    class.and_then(|class| StorageClass::parse(class.as_str())).ok_or_else(malformed)
}

fn read_transition(transition: &dto::Transition) -> Result<Transition, Failure> {
    let class = read_class(transition.storage_class.as_ref())?;
    let when = match (transition.days, &transition.date) {
        (Some(days), None) => When::Days(validate::days(days, 0, "Days", "Transition")?),
        (None, Some(date)) => When::Date(read_date(date)),
        _ => return Err(malformed()),
    };
    Ok(Transition { when, class })
}

fn read_noncurrent_transition(transition: &dto::NoncurrentVersionTransition) -> Result<NoncurrentTransition, Failure> {
    const ACTION: &str = "NoncurrentVersionTransition";
    let days = transition.noncurrent_days.ok_or_else(malformed)?;
    Ok(NoncurrentTransition {
        days: validate::days(days, 0, "NoncurrentDays", ACTION)?,
        newer: transition.newer_noncurrent_versions.map(|count| validate::newer(count, ACTION)).transpose()?,
        class: read_class(transition.storage_class.as_ref())?,
    })
}

fn document_of(configuration: &Configuration) -> Document {
    let mut document = Document::new("LifecycleConfiguration");
    for rule in &configuration.rules {
        document.element("Rule", |element| write_rule(rule, element));
    }
    document
}

fn write_rule(rule: &Rule, element: &mut Document) {
    element.text("ID", &rule.id);
    match rule.filter.form {
        FilterForm::RulePrefix => element.text("Prefix", rule.filter.prefix()),
        FilterForm::Filter => element.element("Filter", |filter| write_conditions(&rule.filter, filter)),
        FilterForm::And => {
            element.element("Filter", |filter| filter.element("And", |and| write_conditions(&rule.filter, and)));
        }
    }
    element.text("Status", if rule.enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        element.element("Expiration", |element| match expiration {
            Expiration::At(when) => write_when(when, element),
            Expiration::ExpiredMarkers => element.value("ExpiredObjectDeleteMarker", true),
            Expiration::KeptMarkers => element.value("ExpiredObjectDeleteMarker", false),
        });
    }
    for transition in &rule.transitions {
        element.element("Transition", |element| {
            write_when(transition.when, element);
            element.text("StorageClass", transition.class.name());
        });
    }
    for NoncurrentTransition { days, newer, class } in &rule.noncurrent_transitions {
        element.element("NoncurrentVersionTransition", |element| {
            write_noncurrent(*days, *newer, element);
            element.text("StorageClass", class.name());
        });
    }
    if let Some(NoncurrentExpiration { days, newer }) = rule.noncurrent_expiration {
        element.element("NoncurrentVersionExpiration", |element| write_noncurrent(days, newer, element));
    }
    if let Some(days) = rule.abort_days {
        element.element("AbortIncompleteMultipartUpload", |element| element.value("DaysAfterInitiation", days));
    }
}

fn write_conditions(filter: &Filter, element: &mut Document) {
    element.optional("Prefix", filter.prefix.as_deref());
    for Tag { key, value } in &filter.tags {
        element.element("Tag", |tag| {
            tag.text("Key", key);
            tag.text("Value", value);
        });
    }
    if let Some(bytes) = filter.larger_than {
        element.value("ObjectSizeGreaterThan", bytes);
    }
    if let Some(bytes) = filter.smaller_than {
        element.value("ObjectSizeLessThan", bytes);
    }
}

fn write_when(when: When, element: &mut Document) {
    match when {
        When::Days(days) => element.value("Days", days),
        When::Date(date) => element.text("Date", &document_time(date)),
    }
}

fn write_noncurrent(days: u32, newer: Option<u32>, element: &mut Document) {
    element.value("NoncurrentDays", days);
    if let Some(newer) = newer {
        element.value("NewerNoncurrentVersions", newer);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rules(rules: &str) -> String {
        format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>")
    }

    const EVERYTHING: &str = "<Rule><ID>all</ID><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>\
        <ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>500</ObjectSizeLessThan></And></Filter>\
        <Status>Enabled</Status><Expiration><Days>365</Days></Expiration>\
        <Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>\
        <Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition>\
        <NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays>\
        <NewerNoncurrentVersions>2</NewerNoncurrentVersions><StorageClass>DEEP_ARCHIVE</StorageClass>\
        </NoncurrentVersionTransition><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays>\
        <NewerNoncurrentVersions>4</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>\
        <Rule><ID>old</ID><Prefix></Prefix><Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00.000Z</Date>\
        </Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
        </AbortIncompleteMultipartUpload></Rule>\
        <Rule><ID>markers</ID><Filter></Filter><Status>Enabled</Status><Expiration>\
        <ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>\
        <Rule><ID>nothing</ID><Filter></Filter><Status>Enabled</Status><Expiration>\
        <ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker></Expiration></Rule>";

    #[test]
    fn what_was_put_is_shown() {
        let read = parse(rules(EVERYTHING).as_bytes(), Calendar::REAL).unwrap();
        let shown = document_of(&read).finish();
        assert!(shown.contains(EVERYTHING), "{shown}");
        assert_eq!(parse(shown.as_bytes(), Calendar::REAL).unwrap(), read);
    }

    #[test]
    fn what_is_no_configuration_is_malformed() {
        let rule = |content: &str| rules(&format!("<Rule>{content}</Rule>"));
        let expires = "<Expiration><Days>1</Days></Expiration>";
        for document in [
            rules(""),
            rule(&format!("<Status>Enabled</Status>{expires}")),
            rule(&format!("<Filter/><Prefix>a</Prefix><Status>Enabled</Status>{expires}")),
            rule(&format!("<Filter/><Status>enabled</Status>{expires}")),
            rule("<Filter/><Status>Enabled</Status><Expiration></Expiration>"),
            rule(
                "<Filter/><Status>Enabled</Status><Expiration><Days>1</Days>\
                 <ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
            ),
            rule(
                "<Filter/><Status>Enabled</Status><Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>",
            ),
            rule(
                "<Filter/><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>COLD</StorageClass></Transition>",
            ),
            rule("<Filter/><Status>Enabled</Status><Transition><Days>1</Days></Transition>"),
        ] {
            assert_eq!(parse(document.as_bytes(), Calendar::REAL).unwrap_err().code(), "MalformedXML", "{document}");
        }
        let zero = rule("<Filter/><Status>Enabled</Status><Expiration><Days>0</Days></Expiration>");
        assert_eq!(parse(zero.as_bytes(), Calendar::REAL).unwrap_err().code(), "InvalidArgument");
    }
}
