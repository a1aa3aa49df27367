//! DeleteObjects.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{DeleteOutcome, EtagCondition, Powers, VersionSelector, WriteConditions};
use futures::StreamExt as _;
use s3s::S3ErrorCode;
use s3s::dto::{Delete, ObjectIdentifier};
use time::OffsetDateTime;

use crate::authorize::{Authorized, OnBucket};

use super::delete_object::{Caller, delete};
use super::error::Failure;
use super::request::{Answer, Request, parse_version};
use super::xml::Document;
use super::{Edge, checksum, mfa, version_text, xml};

/// Keys in one request (API reference, DeleteObjects).
const KEYS_MAX: usize = 1_000;

/// Deletes at the same time, so that they share commits.
const CONCURRENCY: usize = 32;

pub(super) async fn delete_objects(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    if !checksum::verify(&request.headers, &document)? {
        return Err(Failure::invalid_request(
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    let delete: Delete = xml::parse(&document)?;
    if delete.objects.is_empty() || delete.objects.len() > KEYS_MAX {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    let quiet = delete.quiet.unwrap_or(false);
    // One code for all of them: it would not be good for a second one.
    let mfa = delete.objects.iter().any(|object| version_of(object).is_some())
        && mfa::is_given(edge, &authorized, &request.headers).await?;
    let deletes: Vec<_> = delete.objects.iter().map(|object| delete_one(edge, &authorized, mfa, object)).collect();
    let results: Vec<_> = futures::stream::iter(deletes).buffered(CONCURRENCY).collect().await;
    let mut document = Document::new("DeleteResult");
    for (object, result) in delete.objects.iter().zip(&results) {
        match result {
            Ok(_) if quiet => {}
            Ok(outcome) => document.element("Deleted", |element| write_deleted(object, outcome, element)),
            Err(failure) => document.element("Error", |element| write_error(object, failure, element)),
        }
    }
    Ok(Answer::document(document))
}

async fn delete_one(
    edge: &Edge,
    authorized: &Authorized<OnBucket>,
    mfa: bool,
    object: &ObjectIdentifier,
) -> Result<DeleteOutcome, Failure> {
    let key = match (ObjectKey::new(&object.key), object.key.is_empty()) {
        (Some(key), _) => key,
        (None, true) => return Err(S3ErrorCode::UserKeyMustBeSpecified.into()),
        (None, false) => return Err(S3ErrorCode::KeyTooLongError.into()),
    };
    let version = version_of(object).map_or(Ok(VersionSelector::Newest), |version| parse_version(Some(version)))?;
    let conditions = conditions(object)?;
    let governance = authorized.delete(&key, version)?;
    let caller = Caller { writer: authorized.writer(), powers: Powers { governance, mfa } };
    let outcome = delete(edge, caller, authorized.bucket(), &key, version, &conditions).await;
    outcome.map_err(|error| {
        let failure = Failure::from(error);
        if let Some(cause) = failure.cause() {
            tracing::error!(cause, "a delete among several failed");
        }
        failure
    })
}

/// The version that is named.
fn version_of(object: &ObjectIdentifier) -> Option<&str> {
    object.version_id.as_deref().filter(|version| !version.is_empty())
}

/// What the document says that the object must be.
fn conditions(object: &ObjectIdentifier) -> Result<WriteConditions, Failure> {
    let if_match = object.e_tag.as_ref().map(|etag| match etag.value() {
        "*" => EtagCondition::Any,
        etag => EtagCondition::OneOf(vec![etag.to_owned()]),
    });
    let size = |size: i64| u64::try_from(size).map_err(|_| S3ErrorCode::MalformedXML);
    Ok(WriteConditions {
        if_match,
        if_size_bytes: object.size.map(size).transpose()?,
        if_modified_at: object.last_modified_time.as_ref().map(|time| {
            let time = OffsetDateTime::from(time.clone());
            Timestamp(time.unix_timestamp().saturating_mul(1_000))
        }),
        ..WriteConditions::default()
    })
}

fn write_deleted(object: &ObjectIdentifier, outcome: &DeleteOutcome, element: &mut Document) {
    element.text("Key", &object.key);
    element.optional("VersionId", version_of(object));
    if outcome.delete_marker {
        element.text("DeleteMarker", "true");
        element.optional("DeleteMarkerVersionId", outcome.version.map(version_text).as_deref());
    }
}

fn write_error(object: &ObjectIdentifier, failure: &Failure, element: &mut Document) {
    element.text("Key", &object.key);
    element.optional("VersionId", object.version_id.as_deref());
    element.text("Code", failure.code());
    element.text("Message", failure.message());
}
