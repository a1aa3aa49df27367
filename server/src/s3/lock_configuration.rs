//! GetObjectLockConfiguration and PutObjectLockConfiguration.

use cairn_storage::index::family::bucket::{DefaultRetention, RetentionPeriod};
use cairn_storage::settings::RetentionMode;
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::ObjectLockConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::{self, Document};
use super::{Edge, checksum};

/// The longest default retention (user guide, "Object Lock": 100 years, or 36,500 days).
const YEARS_MAX: u32 = 100;
const DAYS_MAX: u32 = 36_500;

pub(super) fn get_lock_configuration(authorized: &Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    if !bucket.object_lock {
        return Err(Failure::custom(
            "ObjectLockConfigurationNotFoundError",
            StatusCode::NOT_FOUND,
            "Object Lock configuration does not exist for this bucket",
        )
        .field("BucketName", bucket.name.as_str()));
    }
    let mut document = Document::new("ObjectLockConfiguration");
    document.text("ObjectLockEnabled", "Enabled");
    if let Some(DefaultRetention { mode, period }) = bucket.default_retention {
        document.element("Rule", |rule| {
            rule.element("DefaultRetention", |retention| {
                retention.text("Mode", mode.name());
                match period {
                    RetentionPeriod::Days(days) => retention.value("Days", days),
                    RetentionPeriod::Years(years) => retention.value("Years", years),
                }
            });
        });
    }
    Ok(Answer::document(document))
}

pub(super) async fn put_lock_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    edge.store.set_object_lock(authorized.bucket(), default_retention(&document)?).await?;
    Ok(Answer::empty(StatusCode::OK))
}

/// The default retention in the request's document.
fn default_retention(document: &[u8]) -> Result<Option<DefaultRetention>, Failure> {
    let configuration: ObjectLockConfiguration = xml::parse(document)?;
    if configuration.object_lock_enabled.as_ref().map(|enabled| enabled.as_str()) != Some("Enabled") {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    let Some(rule) = configuration.rule else { return Ok(None) };
    let retention = rule.default_retention.ok_or(S3ErrorCode::MalformedXML)?;
    let mode = retention.mode.as_ref().and_then(|mode| RetentionMode::parse(mode.as_str()));
    let mode = mode.ok_or(S3ErrorCode::MalformedXML)?;
    let period = match (retention.days, retention.years) {
        (Some(days), None) => RetentionPeriod::Days(bounded(days, DAYS_MAX)?),
        (None, Some(years)) => RetentionPeriod::Years(bounded(years, YEARS_MAX)?),
        (Some(_), Some(_)) | (None, None) => return Err(S3ErrorCode::MalformedXML.into()),
    };
    Ok(Some(DefaultRetention { mode, period }))
}

fn bounded(length: i32, max: u32) -> Result<u32, Failure> {
    let invalid = |message| Failure::custom("InvalidRetentionPeriod", StatusCode::BAD_REQUEST, message);
    match u32::try_from(length) {
        Err(_) | Ok(0) => Err(invalid("Default retention period must be a positive integer value.")),
        Ok(length) if length > max => Err(invalid("Default retention period is too large.")),
        Ok(length) => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ENABLED: &str = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";

    fn read(inner: &str) -> Result<Option<DefaultRetention>, String> {
        let document = format!("<ObjectLockConfiguration>{inner}</ObjectLockConfiguration>");
        default_retention(document.as_bytes()).map_err(|failure| failure.code().to_owned())
    }

    fn rule(inner: &str) -> String {
        format!("{ENABLED}<Rule><DefaultRetention>{inner}</DefaultRetention></Rule>")
    }

    #[test]
    fn a_default_retention_has_a_mode_and_one_period() {
        let mode = RetentionMode::Compliance;
        for (inner, period) in
            [("<Days>36500</Days>", RetentionPeriod::Days(36_500)), ("<Years>1</Years>", RetentionPeriod::Years(1))]
        {
            let read = read(&rule(&format!("<Mode>COMPLIANCE</Mode>{inner}")));
            assert_eq!(read, Ok(Some(DefaultRetention { mode, period })));
        }
        assert_eq!(read(ENABLED), Ok(None));
        for inner in [
            String::new(),
            "<ObjectLockEnabled>Disabled</ObjectLockEnabled>".to_owned(),
            format!("{ENABLED}<Rule/>"),
            rule("<Mode>COMPLIANCE</Mode>"),
            rule("<Mode>COMPLIANCE</Mode><Days>1</Days><Years>1</Years>"),
            rule("<Mode>abc</Mode><Days>1</Days>"),
            rule("<Days>1</Days>"),
            rule("<Mode>COMPLIANCE</Mode><Days>many</Days>"),
        ] {
            assert_eq!(read(&inner), Err("MalformedXML".to_owned()), "{inner}");
        }
    }

    #[test]
    fn a_period_is_positive_and_at_most_a_hundred_years() {
        for inner in
            ["<Days>0</Days>", "<Days>-1</Days>", "<Days>36501</Days>", "<Years>101</Years>", "<Years>-1</Years>"]
        {
            let read = read(&rule(&format!("<Mode>GOVERNANCE</Mode>{inner}")));
            assert_eq!(read, Err("InvalidRetentionPeriod".to_owned()), "{inner}");
        }
    }
}
