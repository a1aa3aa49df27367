//! GetObjectLegalHold and PutObjectLegalHold.

use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::ObjectLockLegalHold;

use crate::authorize::{Authorized, InDocument, OnObject};

use super::error::Failure;
use super::request::{Answer, Request};
use super::retention::{lock_settings, no_lock};
use super::xml::{self, Document};
use super::{Edge, checksum, object_lock, version_into_headers};

pub(super) async fn get_legal_hold(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let hold = lock_settings(edge, &authorized, &request).await?.legal_hold.ok_or_else(no_lock)?;
    let mut document = Document::new("LegalHold");
    document.text("Status", object_lock::hold_text(hold));
    Ok(Answer::document(document))
}

pub(super) async fn put_legal_hold(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let hold = legal_hold(&document)?;
    let (bucket, key, version) = (authorized.bucket(), authorized.key(), request.version()?);
    let permit = authorized.permit_with(InDocument { legal_hold: Some(hold), ..InDocument::default() });
    let updated = edge.store.set_legal_hold(bucket, key, version, &permit, hold).await;
    let object = updated.map_err(|error| authorized.failure(error))?;
    let mut answer = Answer::empty(StatusCode::OK);
    version_into_headers(bucket, &object, &mut answer.headers);
    Ok(answer)
}

fn legal_hold(document: &[u8]) -> Result<bool, Failure> {
    let asked: ObjectLockLegalHold = xml::parse(document)?;
    match asked.status.as_ref().map(|status| status.as_str()) {
        Some("ON") => Ok(true),
        Some("OFF") => Ok(false),
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}
