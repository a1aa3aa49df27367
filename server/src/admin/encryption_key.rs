//! The key of SSE-S3: which versions it has, and making a new one.

use cairn_storage::StorageError;
use http::StatusCode;
use serde::Serialize;

use crate::authorize::{Authorized, OnServer};
use crate::key_store::{KeyStatus, KeyStoreError};
use crate::s3::error::Failure;
use crate::s3::headers::document_time;
use crate::s3::request::Answer;

use super::{Admin, json};

/// What both calls answer.
#[derive(Serialize)]
struct EncryptionKeyDocument {
    /// Oldest first; the last one wraps.
    versions: Vec<VersionDocument>,
}

#[derive(Serialize)]
struct VersionDocument {
    number: u32,
    /// A time of RFC 3339, in UTC.
    created: String,
}

impl From<KeyStatus> for EncryptionKeyDocument {
    fn from(status: KeyStatus) -> Self {
        let version = |(number, created)| VersionDocument { number, created: document_time(created) };
        Self { versions: status.versions.into_iter().map(version).collect() }
    }
}

pub(super) fn get_encryption_key(admin: &Admin, _: &Authorized<OnServer>) -> Result<Answer, Failure> {
    json(&EncryptionKeyDocument::from(admin.key_store.server_key_status()))
}

pub(super) async fn rotate_encryption_key(admin: &Admin, authorized: Authorized<OnServer>) -> Result<Answer, Failure> {
    let rotated = admin.key_store.rotate_server_key(admin.store.clock().now()).await.map_err(failure)?;
    tracing::warn!(
        account = %authorized.account().id,
        version = rotated.versions.last().map(|(number, _)| number),
        "an operator made a new version of the key of SSE-S3"
    );
    json(&EncryptionKeyDocument::from(rotated))
}

fn failure(error: KeyStoreError) -> Failure {
    match error {
        KeyStoreError::Storage(StorageError::Contention) => StorageError::Contention.into(),
        KeyStoreError::Storage(error) => error.into(),
        error @ KeyStoreError::TooManyVersions => {
            Failure::custom("LimitExceeded", StatusCode::BAD_REQUEST, error.to_string())
        }
        error @ (KeyStoreError::Seal(_) | KeyStoreError::Malformed) => Failure::internal(error),
    }
}
