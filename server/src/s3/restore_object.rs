//! RestoreObject.

use cairn_lifecycle::restore::{self, Asked, Refused};
use cairn_lifecycle::validate;
use cairn_storage::StorageError;
use cairn_storage::object::{RestoreStage, RetrievalTier};
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::RestoreRequest;

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, checksum, version_into_headers, xml};

pub(super) async fn restore_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let asked = parse(&document)?;
    let (bucket, key) = (authorized.bucket(), authorized.key());
    let (delays, calendar, now) = (edge.lifecycle.delays, edge.lifecycle.calendar, edge.store.clock().now());
    let decide = |object: &_| {
        restore::decide(object, asked, delays, calendar, now).map_err(|refused| match refused {
            Refused::Ongoing => StorageError::RestoreOngoing,
            Refused::TierOfClass => StorageError::TierOfClass,
            Refused::Days => StorageError::RestoreDays,
        })
    };
    let before = edge.store.restore_object(bucket, key, request.version()?, &authorized.permit(), decide).await;
    let before = before.map_err(|error| match error {
        StorageError::RestoreDays if asked.days.is_none() => S3ErrorCode::MalformedXML.into(),
        error => authorized.failure(error),
    })?;
    edge.lifecycle.metrics.lifecycle().restored(before.storage_class.name());
    // 200 if it was restored before, and 202 if it has to be (S3 API reference, RestoreObject).
    let was_ready = before.restore_stage(now) == Some(RestoreStage::Ready);
    let mut answer = Answer::empty(if was_ready { StatusCode::OK } else { StatusCode::ACCEPTED });
    version_into_headers(bucket, &before, &mut answer.headers);
    Ok(answer)
}

fn parse(document: &[u8]) -> Result<Asked, Failure> {
    let asked: RestoreRequest = xml::parse(document)?;
    if asked.select_parameters.is_some() || asked.output_location.is_some() || asked.type_.is_some() {
        return Err(Failure::with_message(S3ErrorCode::NotImplemented, "Archives cannot be queried."));
    }
    let days = asked.days.map(|days| validate::days(days, 1, "Days", "RestoreRequest")).transpose()?;
    let named = asked.glacier_job_parameters.as_ref().map(|job| &job.tier).or(asked.tier.as_ref());
    let tier = match named.map(|tier| tier.as_str()) {
        None => None,
        Some("Bulk") => Some(RetrievalTier::Bulk),
        Some("Standard") => Some(RetrievalTier::Standard),
        Some("Expedited") => Some(RetrievalTier::Expedited),
        Some(_) => return Err(S3ErrorCode::MalformedXML.into()),
    };
    Ok(Asked { days, tier })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_request_names_days_and_perhaps_a_tier() {
        let read = |content: &str| parse(format!("<RestoreRequest>{content}</RestoreRequest>").as_bytes());
        assert_eq!(read("<Days>3</Days>").unwrap(), Asked { days: Some(3), tier: None });
        let fast = "<Days>1</Days><GlacierJobParameters><Tier>Expedited</Tier></GlacierJobParameters>";
        assert_eq!(read(fast).unwrap(), Asked { days: Some(1), tier: Some(RetrievalTier::Expedited) });
        assert_eq!(read("").unwrap(), Asked { days: None, tier: None });
        for (content, code) in [
            ("<Days>0</Days>", "InvalidArgument"),
            ("<Days>1</Days><Tier>Slow</Tier>", "MalformedXML"),
            ("<Days>1</Days><Type>SELECT</Type>", "NotImplemented"),
        ] {
            assert_eq!(read(content).unwrap_err().code(), code, "{content}");
        }
    }
}
