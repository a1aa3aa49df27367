//! DeleteBucket.

use http::StatusCode;

use crate::authorize::{Authorized, OnBucket};

use super::Edge;
use super::error::Failure;
use super::request::Answer;

pub(super) async fn delete_bucket(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let name = authorized.bucket().name.as_str();
    let deleted = edge.store.delete_bucket(authorized.bucket()).await;
    deleted.map_err(|error| Failure::from(error).field("BucketName", name))?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
