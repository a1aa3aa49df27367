//! GetObjectRetention and PutObjectRetention.

use cairn_storage::ops::GetObject;
use cairn_storage::settings::{Retention, RetentionMode};
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::ObjectLockRetention;
use time::OffsetDateTime;

use crate::authorize::{Authorized, InDocument, OnObject};

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::{self, Document};
use super::{Edge, checksum, object_lock, version_into_headers};

pub(super) async fn get_retention(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let settings = lock_settings(edge, &authorized, &request).await?;
    let Retention { mode, until } = settings.retention.ok_or_else(no_lock)?;
    let mut document = Document::new("Retention");
    document.text("Mode", mode.name());
    document.text("RetainUntilDate", &object_lock::date_text(until));
    Ok(Answer::document(document))
}

pub(super) async fn put_retention(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let retention = retention(&document)?;
    let (bucket, key, version) = (authorized.bucket(), authorized.key(), request.version()?);
    let permit = authorized.permit_with(InDocument { retention, ..InDocument::default() });
    let governance = authorized.governance();
    let updated = edge.store.set_retention(bucket, key, version, &permit, retention, governance).await;
    let object = updated.map_err(|error| authorized.failure(error))?;
    let mut answer = Answer::empty(StatusCode::OK);
    version_into_headers(bucket, &object, &mut answer.headers);
    Ok(answer)
}

/// What is kept with the version that the request names, in a bucket with object lock.
pub(super) async fn lock_settings(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
) -> Result<cairn_storage::settings::ObjectSettings, Failure> {
    if !authorized.bucket().object_lock {
        return Err(cairn_storage::StorageError::NoObjectLock.into());
    }
    let get = GetObject { version: request.version()?, permit: authorized.permit(), ..GetObject::default() };
    let head = edge.store.head_object(authorized.bucket(), authorized.key(), get).await;
    Ok(head.map_err(|error| authorized.failure(error))?.object.settings)
}

/// The version has no lock of the kind that was asked for.
pub(super) fn no_lock() -> Failure {
    Failure::custom(
        "NoSuchObjectLockConfiguration",
        StatusCode::NOT_FOUND,
        "The specified object does not have a ObjectLock configuration",
    )
}

/// The retention in the request's document; an empty one removes it.
fn retention(document: &[u8]) -> Result<Option<Retention>, Failure> {
    let asked: ObjectLockRetention = xml::parse(document)?;
    match (asked.mode, asked.retain_until_date) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = RetentionMode::parse(mode.as_str()).ok_or(S3ErrorCode::MalformedXML)?;
            Ok(Some(Retention { mode, until: object_lock::timestamp(OffsetDateTime::from(until)) }))
        }
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::clock::Timestamp;

    use super::*;

    fn read(inner: &str) -> Result<Option<Retention>, String> {
        retention(format!("<Retention>{inner}</Retention>").as_bytes()).map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn a_retention_has_a_mode_and_a_date_or_nothing() {
        let date = "<RetainUntilDate>2030-01-01T00:00:00.000Z</RetainUntilDate>";
        let expected = Retention { mode: RetentionMode::Governance, until: Timestamp(1_893_456_000_000) };
        assert_eq!(read(&format!("<Mode>GOVERNANCE</Mode>{date}")), Ok(Some(expected)));
        assert_eq!(read(""), Ok(None));
        for inner in [
            date,
            "<Mode>GOVERNANCE</Mode>",
            &format!("<Mode>governance</Mode>{date}"),
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>tomorrow</RetainUntilDate>",
        ] {
            assert_eq!(read(inner), Err("MalformedXML".to_owned()), "{inner}");
        }
    }
}
