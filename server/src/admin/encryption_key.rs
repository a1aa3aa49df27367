//! The key of SSE-S3: which versions it has, making a new one, wrapping data keys anew under it, and retiring old versions.

use cairn_storage::StorageError;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::authorize::{Authorized, OnServer};
use crate::key_store::{KeyStatus, KeyStoreError};
use crate::rewrap::{self, RewrapKey};
use crate::s3::error::Failure;
use crate::s3::headers::document_time;
use crate::s3::request::Answer;

use super::jobs::{self, JobDocument};
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

/// What to wrap anew.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RewrapQuestion {
    /// The ARN of a KMS key; none: the key of SSE-S3.
    kms_key: Option<String>,
}

/// Begins the job that wraps anew what is under older versions of a key.
pub(super) async fn rewrap(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    question: RewrapQuestion,
) -> Result<Answer, Failure> {
    let key = match question.kms_key {
        None => RewrapKey::Server { below: None },
        Some(arn) => {
            let key = admin.kms.key_of_arn(&arn).ok_or_else(|| {
                Failure::custom("NoSuchKey", StatusCode::NOT_FOUND, "There is no KMS key of this ARN.")
            })?;
            if key.keyring.is_none() {
                return Err(Failure::invalid_argument(
                    "kms_key",
                    &arn,
                    "An external KMS has the versions of this key.",
                ));
            }
            RewrapKey::Kms(arn)
        }
    };
    let walk = rewrap::start_rewrap(&admin.store, key).await.map_err(jobs::failure)?;
    tracing::warn!(account = %authorized.account().id, job = %walk.id, "an operator has data keys wrapped anew");
    json(&JobDocument::from(walk))
}

/// Begins the job that removes the older versions of the key of SSE-S3.
pub(super) async fn retire_encryption_key(admin: &Admin, authorized: Authorized<OnServer>) -> Result<Answer, Failure> {
    let status = admin.key_store.server_key_status();
    let [_, .., (newest, _)] = status.versions[..] else {
        let message =
            "The key of SSE-S3 has one version, which encrypts. Rotate it, and re-wrap what is under the old one.";
        return Err(Failure::custom("NothingToRetire", StatusCode::CONFLICT, message));
    };
    let walk = rewrap::start_retiring(&admin.store, newest).await.map_err(jobs::failure)?;
    tracing::warn!(account = %authorized.account().id, job = %walk.id, newest, "an operator retires older versions");
    json(&JobDocument::from(walk))
}

fn failure(error: KeyStoreError) -> Failure {
    match error {
        KeyStoreError::Storage(StorageError::Contention) => StorageError::Contention.into(),
        KeyStoreError::Storage(error) => error.into(),
        error @ KeyStoreError::TooManyVersions => {
            Failure::custom("LimitExceeded", StatusCode::BAD_REQUEST, error.to_string())
        }
        error @ (KeyStoreError::Seal(_) | KeyStoreError::Malformed | KeyStoreError::NoSuchVersion(_)) => {
            Failure::internal(error)
        }
    }
}
