//! DeleteObject.

use http::{HeaderValue, StatusCode};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{DELETE_MARKER, VERSION_ID};
use super::request::{Answer, Request};
use super::{Edge, conditions, version_header};

pub(super) async fn delete_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let conditions = conditions::of_write(&request.headers);
    let version = request.version()?;
    let account = authorized.account().id;
    let outcome =
        edge.store.delete_object(authorized.bucket(), authorized.key(), version, &conditions, account).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    if outcome.delete_marker {
        answer.headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    }
    if let Some(version) = outcome.version {
        answer.headers.insert(VERSION_ID, version_header(version));
    }
    Ok(answer)
}
