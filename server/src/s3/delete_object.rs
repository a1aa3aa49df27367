//! DeleteObject.

use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{Bucket, DeleteOutcome, Powers, VersionSelector, WriteConditions};
use http::{HeaderValue, StatusCode};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{DELETE_MARKER, VERSION_ID};
use super::replica;
use super::request::{Answer, Request};
use super::{Edge, conditions, mfa, version_header};

pub(super) async fn delete_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    if let Some(answer) = replica::place_marker(edge, &authorized, &request).await? {
        return Ok(answer);
    }
    let conditions = conditions::of_delete(&request.headers)?;
    let version = request.version()?;
    let is_final = version != VersionSelector::Newest;
    let mfa = is_final && mfa::is_given(edge, &authorized, &request.headers).await?;
    let powers = Powers { governance: authorized.governance(), mfa };
    let caller = Caller { writer: authorized.writer(), powers };
    let outcome = delete(edge, caller, authorized.bucket(), authorized.key(), version, &conditions).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    if outcome.delete_marker {
        answer.headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    }
    if let Some(version) = outcome.version {
        answer.headers.insert(VERSION_ID, version_header(version));
    }
    Ok(answer)
}

/// Who deletes.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) writer: AccountId,
    pub(super) powers: Powers,
}

/// Deletes one key or version. What is not there counts as deleted, also under a condition (API reference, DeleteObject:
/// "if the ETag matches or if the object doesn't exist").
pub(super) async fn delete(
    edge: &Edge,
    caller: Caller,
    bucket: &Bucket,
    key: &ObjectKey,
    version: VersionSelector,
    conditions: &WriteConditions,
) -> Result<DeleteOutcome, StorageError> {
    let Caller { writer, powers } = caller;
    match edge.store.delete_object(bucket, key, version, conditions, powers, writer).await {
        Err(StorageError::NoSuchKey { .. }) => Ok(DeleteOutcome::default()),
        outcome => outcome,
    }
}
