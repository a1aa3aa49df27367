//! AbortMultipartUpload.

use http::StatusCode;

use crate::authorize::{Authorized, OnObject};

use super::Edge;
use super::error::Failure;
use super::request::{Answer, Request};
use super::upload_part::upload_id;

pub(super) async fn abort_upload(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let id = upload_id(&request.query)?;
    edge.store.abort_upload(authorized.bucket(), authorized.key(), id).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
