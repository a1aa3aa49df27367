//! DeleteBucket.

use http::StatusCode;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::Answer;
use super::{Edge, to_its_end};

pub(super) async fn delete_bucket(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let store = edge.store.clone();
    let bucket = authorized.bucket().clone();
    let deleted = to_its_end(async move { store.delete_bucket(&bucket).await }).await?;
    let name = authorized.bucket().name.as_str();
    deleted.map_err(|error| Failure::from(error).field("BucketName", name))?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
