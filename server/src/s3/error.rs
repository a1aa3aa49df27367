//! What a request is answered with when it fails: S3's code, message and extra elements, and how storage's facts map to
//! them.
//!
//! Invariants: the match over [`StorageError`] is exhaustive; an answer never shows the cause of a failure of ours, which
//! goes to the log instead.

use std::borrow::Cow;
use std::error::Error as StdError;

use cairn_storage::StorageError;
use cairn_storage::object::{AccessTier, StorageClass};
use http::header::{ALLOW, CONTENT_RANGE, ETAG, LAST_MODIFIED, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::stream::aws_chunked_stream::AwsChunkedStreamError;
use s3s::stream::upload_stream::UploadStreamError;
use s3s::{S3Error, S3ErrorCode};

use crate::gate::body::UnterminatedChunks;
use crate::listener::BodyError;
use crate::post_form::FileError;

use super::headers::{DELETE_MARKER, VERSION_ID, http_date, quoted};

/// A failed request. Boxed, because it is rare and results should be small.
#[derive(Debug)]
pub struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: S3ErrorCode,
    status: StatusCode,
    message: Cow<'static, str>,
    fields: Vec<(&'static str, String)>,
    headers: HeaderMap,
    cause: Option<String>,
}

/// S3's message; that of `s3s` is a description of the code.
const MALFORMED_XML: &str = "The XML you provided was not well-formed or did not validate against our published schema";

impl Failure {
    /// A failure with the status and message that S3 gives this code.
    pub fn new(code: S3ErrorCode) -> Self {
        let status = code.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = match code {
            S3ErrorCode::MalformedXML => MALFORMED_XML.to_owned(),
            _ => S3Error::new(code.clone()).message().unwrap_or_default().to_owned(),
        };
        Self(Box::new(Parts {
            code,
            status,
            message: message.into(),
            fields: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// A failure with a message of its own.
    pub fn with_message(code: S3ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let mut failure = Self::new(code);
        failure.0.message = message.into();
        failure
    }

    /// A failure whose code `s3s` does not know.
    pub fn custom(code: &'static str, status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(S3ErrorCode::Custom(code.into()), message).status(status)
    }

    /// `InvalidArgument`, naming the argument.
    pub fn invalid_argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(S3ErrorCode::InvalidArgument, message)
            .field("ArgumentName", name)
            .field("ArgumentValue", value)
    }

    /// `InvalidRequest` with this message.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(S3ErrorCode::InvalidRequest, message)
    }

    /// A failure of ours: `InternalError`; the cause is logged and not shown.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let mut failure = Self::new(S3ErrorCode::InternalError);
        failure.0.cause = Some(cause.to_string());
        failure
    }

    /// With another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// With one more element in the body.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.fields.push((name, value.into()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// S3's name of the failure.
    pub fn code(&self) -> &str {
        self.0.code.as_str()
    }

    /// The answer's status.
    pub fn status_code(&self) -> StatusCode {
        self.0.status
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Elements of the body besides those that every error has.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0.fields
    }

    /// Headers besides those that every answer has.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// What went wrong in the server, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
}

/// A failure of the edge's own that storage passes on: whoever keeps a key refused its use.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct Refused(pub Failure);

impl From<S3ErrorCode> for Failure {
    fn from(code: S3ErrorCode) -> Self {
        Self::new(code)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NoSuchBucket => Self::new(S3ErrorCode::NoSuchBucket),
            StorageError::BucketExists { .. } => Self::new(S3ErrorCode::BucketAlreadyExists),
            StorageError::BucketNotEmpty => Self::new(S3ErrorCode::BucketNotEmpty),
            StorageError::BucketBusy => Self::new(S3ErrorCode::OperationAborted),
            StorageError::NoSuchKey { delete_marker } => no_such_key(delete_marker.map(|id| id.to_string())),
            StorageError::NotPermitted | StorageError::PublicAccessBlocked => Self::new(S3ErrorCode::AccessDenied),
            StorageError::ReplicaFromFuture { .. } => {
                // Not RequestTimeTooSkewed: that is about the request's own time, by which clients correct their clocks.
                Self::custom("ReplicaFromTheFuture", StatusCode::FORBIDDEN, error.to_string())
            }
            StorageError::ReplicaCollides { .. } | StorageError::SealedMalformed { .. } => {
                Self::invalid_request(error.to_string())
            }
            StorageError::InvalidBucketState { what } => Self::with_message(S3ErrorCode::InvalidBucketState, what),
            StorageError::RestoreRunning => Self::with_message(
                S3ErrorCode::OperationAborted,
                "The bucket is being restored to another time, or with another prefix.",
            ),
            StorageError::InvalidRestoreTime { what } => Self::with_message(S3ErrorCode::InvalidArgument, what),
            StorageError::Locked(_) => {
                Self::with_message(S3ErrorCode::AccessDenied, "Access Denied because object protected by object lock.")
            }
            StorageError::MfaRequired => mfa_required(),
            StorageError::NoObjectLock => Self::invalid_request("Bucket is missing Object Lock Configuration"),
            StorageError::RetentionInPast => {
                Self::with_message(S3ErrorCode::InvalidArgument, "The retain until date must be in the future!")
            }
            StorageError::AclsDisabled => Self::new(S3ErrorCode::AccessControlListNotSupported),
            StorageError::AclGrantsOthers => Self::new(S3ErrorCode::InvalidBucketAclWithObjectOwnership),
            StorageError::NoSuchVersion => Self::new(S3ErrorCode::NoSuchVersion),
            StorageError::IsDeleteMarker(version) => is_delete_marker(&version.to_string()),
            StorageError::NoSuchUpload => Self::new(S3ErrorCode::NoSuchUpload),
            StorageError::KeyMissing => Self::invalid_request(
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to \
                 retrieve the object.",
            ),
            StorageError::KeyNeedless => {
                Self::invalid_request("The encryption parameters are not applicable to this object.")
            }
            StorageError::KeyWrong => Self::new(S3ErrorCode::AccessDenied),
            StorageError::KeyRefused(error) => match error.downcast::<Refused>() {
                Ok(refused) => refused.0,
                Err(error) => Self::internal(error),
            },
            StorageError::KeyNotExchangeable { what } => Self::invalid_request(what),
            StorageError::InvalidPart { part_number } => {
                Self::new(S3ErrorCode::InvalidPart).field("PartNumber", part_number.to_string())
            }
            StorageError::InvalidPartOrder => Self::new(S3ErrorCode::InvalidPartOrder),
            StorageError::PartTooSmall { part_number, size_bytes } => Self::new(S3ErrorCode::EntityTooSmall)
                .field("ProposedSize", size_bytes.to_string())
                .field("MinSizeAllowed", PART_SIZE_BYTES_MIN.to_string())
                .field("PartNumber", part_number.to_string()),
            StorageError::TooLarge { size_bytes, max_bytes } => too_large(size_bytes, max_bytes),
            StorageError::RangeNotSatisfiable { size_bytes } => range_not_satisfiable(size_bytes),
            StorageError::NoSuchPart { parts_count } => no_such_part(parts_count),
            StorageError::PreconditionFailed { header } => {
                Self::new(S3ErrorCode::PreconditionFailed).field("Condition", header)
            }
            StorageError::NotModified { object } => not_modified(&object),
            StorageError::CopyChangesNothing => Self::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes.",
            ),
            StorageError::MetadataTooLarge => Self::new(S3ErrorCode::MetadataTooLarge),
            StorageError::Body(error) => of_body(error.as_ref()),
            StorageError::BodyLength { .. } => Self::new(S3ErrorCode::IncompleteBody),
            StorageError::BadDigest { what } => bad_digest(what),
            StorageError::DigestMissing => super::object_lock::digest_missing("Put Part"),
            StorageError::BadTrailer { what } => bad_trailer(what),
            StorageError::ChecksumMismatchesUpload { what } => {
                Self::invalid_request(format!("The checksum {what} does not fit the multipart upload."))
            }
            StorageError::SizeMismatchesUpload { declared_bytes, got_bytes } => Self::invalid_request(format!(
                "The x-amz-mp-object-size header says {declared_bytes} bytes, the parts have {got_bytes}."
            )),
            StorageError::Archived { class, tier } => archived(class, tier),
            StorageError::NotArchived { class } => Self::with_message(
                S3ErrorCode::InvalidObjectState,
                "Restore is not allowed for the object's current storage class",
            )
            .field("StorageClass", class.name()),
            StorageError::RestoreOngoing => {
                Self::with_message(S3ErrorCode::RestoreAlreadyInProgress, "Object restore is already in progress")
            }
            StorageError::RestoreDays => Self::with_message(
                S3ErrorCode::InvalidArgument,
                "Days must be given to restore from an archive class, and must not be to restore from an archive tier of \
                 INTELLIGENT_TIERING",
            ),
            StorageError::TierOfClass => Self::with_message(
                S3ErrorCode::InvalidArgument,
                "Retrieval option is not supported by this storage class",
            ),
            StorageError::TierDown { .. } => Self::with_message(
                S3ErrorCode::ServiceUnavailable,
                "The storage of this object's class cannot be reached now.",
            ),
            StorageError::Contention => slow_down("Concurrent requests keep changing this key."),
            StorageError::Overloaded => slow_down("Please reduce your request rate."),
            StorageError::DiskFull { .. } => disk_full(),
            StorageError::ReadOnly { .. } => Self::with_message(
                S3ErrorCode::ServiceUnavailable,
                "The server accepts no changes until its operator has restarted it.",
            ),
            error
            @ (StorageError::OutcomeUnknown | StorageError::Corrupt { .. } | StorageError::KeyUnusable { .. }) => {
                Self::internal(error)
            }
            StorageError::Io { doing, source } => Self::internal(format!("{doing}: {source}")),
        }
    }
}

/// A code of an MFA device is wanted, and none that is good was given.
pub fn mfa_required() -> Failure {
    Failure::with_message(S3ErrorCode::AccessDenied, "Mfa Authentication must be used for this request")
}

/// The smallest part but the last.
const PART_SIZE_BYTES_MIN: u64 = 5 << 20;

fn no_such_key(delete_marker: Option<String>) -> Failure {
    let failure = Failure::new(S3ErrorCode::NoSuchKey);
    match delete_marker.and_then(|version| HeaderValue::try_from(version).ok()) {
        Some(version) => failure.header(DELETE_MARKER, HeaderValue::from_static("true")).header(VERSION_ID, version),
        None => failure,
    }
}

fn is_delete_marker(version: &str) -> Failure {
    let failure = Failure::new(S3ErrorCode::MethodNotAllowed)
        .field("ResourceType", "DeleteMarker")
        .header(ALLOW, HeaderValue::from_static("DELETE"))
        .header(DELETE_MARKER, HeaderValue::from_static("true"));
    match HeaderValue::from_str(version) {
        Ok(version) => failure.header(VERSION_ID, version),
        Err(_) => failure,
    }
}

/// `EntityTooLarge`.
pub fn too_large(size_bytes: u64, max_bytes: u64) -> Failure {
    Failure::new(S3ErrorCode::EntityTooLarge)
        .field("ProposedSize", size_bytes.to_string())
        .field("MaxSizeAllowed", max_bytes.to_string())
}

fn range_not_satisfiable(size_bytes: u64) -> Failure {
    let failure = Failure::new(S3ErrorCode::InvalidRange).field("ActualObjectSize", size_bytes.to_string());
    match HeaderValue::try_from(format!("bytes */{size_bytes}")) {
        Ok(range) => failure.header(CONTENT_RANGE, range),
        Err(_) => failure,
    }
}

fn no_such_part(parts_count: u16) -> Failure {
    Failure::custom(
        "InvalidPartNumber",
        StatusCode::RANGE_NOT_SATISFIABLE,
        "The requested partnumber is not satisfiable",
    )
    .field("ActualPartCount", parts_count.to_string())
}

/// A version that must be restored first; of one in INTELLIGENT_TIERING the error names the tier, too.
fn archived(class: StorageClass, tier: Option<AccessTier>) -> Failure {
    let message = "The operation is not valid for the object's storage class";
    let failure = Failure::with_message(S3ErrorCode::InvalidObjectState, message);
    let failure = failure.field("StorageClass", class.name());
    match tier {
        Some(tier) => failure.field("AccessTier", tier.name()),
        None => failure,
    }
}

fn not_modified(object: &cairn_storage::object::ObjectVersion) -> Failure {
    Failure::new(S3ErrorCode::NotModified)
        .header(ETAG, quoted(&object.etag))
        .header(LAST_MODIFIED, http_date(object.created))
}

fn bad_digest(what: &'static str) -> Failure {
    let message = match what {
        "Content-MD5" => "The Content-MD5 you specified did not match what we received.".into(),
        checksum => format!("The {checksum} you specified did not match the calculated checksum."),
    };
    Failure::with_message(S3ErrorCode::BadDigest, message)
}

fn bad_trailer(what: &'static str) -> Failure {
    Failure::custom(
        "MalformedTrailerError",
        StatusCode::BAD_REQUEST,
        format!("The trailing checksum {what} that the request announced did not come, or is malformed."),
    )
}

/// `SlowDown`: the client should come back a little later.
pub fn slow_down(message: &'static str) -> Failure {
    Failure::with_message(S3ErrorCode::SlowDown, message).header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// 507 rather than 503, which SDKs try again at once: only the operator can help here.
fn disk_full() -> Failure {
    Failure::custom("InsufficientCapacity", StatusCode::INSUFFICIENT_STORAGE, "The server's disk is full.")
}

/// Why a body could not be read to its end. Errors are nested: the verification wraps what the connection says.
pub fn of_body(error: &(dyn StdError + Send + Sync + 'static)) -> Failure {
    let mut link: Option<&(dyn StdError + 'static)> = Some(error);
    let mut innermost = None;
    while let Some(error) = link {
        if let Some(failure) = of_body_error(error) {
            innermost = Some(failure);
        }
        link = error.source();
    }
    innermost.unwrap_or_else(|| Failure::internal(error))
}

/// The failure for one error of the chain; None for wrappers.
fn of_body_error(error: &(dyn StdError + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<UploadStreamError>() {
        return match error {
            UploadStreamError::Underlying(_) => None,
            UploadStreamError::Sha256Mismatch => Some(sha256_mismatch()),
            UploadStreamError::LengthMismatch | UploadStreamError::Incomplete => {
                Some(Failure::new(S3ErrorCode::IncompleteBody))
            }
        };
    }
    if let Some(error) = error.downcast_ref::<AwsChunkedStreamError>() {
        return match error {
            AwsChunkedStreamError::Underlying(_) => None,
            AwsChunkedStreamError::ChunkDataTooLarge(_, _) => {
                Some(Failure::invalid_request("A signed chunk is larger than this server buffers."))
            }
            error => match error.to_s3_error_code() {
                S3ErrorCode::EntityTooLarge => Some(Failure::new(S3ErrorCode::IncompleteBody)),
                code => Some(Failure::new(code)),
            },
        };
    }
    if let Some(error) = error.downcast_ref::<BodyError>() {
        return Some(match error {
            BodyError::Timeout { .. } => Failure::new(S3ErrorCode::RequestTimeout),
            BodyError::Connection(_) => Failure::new(S3ErrorCode::IncompleteBody),
        });
    }
    if let Some(error) = error.downcast_ref::<FileError>() {
        return Some((*error).into());
    }
    if error.is::<UnterminatedChunks>() {
        return Some(Failure::new(S3ErrorCode::IncompleteBody));
    }
    if let Some(error) = error.downcast_ref::<s3s::BodySizeLimitExceeded>() {
        return Some(too_large(error.size as u64, error.limit as u64));
    }
    None
}

/// The body is not what `x-amz-content-sha256` says.
pub fn sha256_mismatch() -> Failure {
    Failure::custom(
        "XAmzContentSHA256Mismatch",
        StatusCode::BAD_REQUEST,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(error: impl StdError + Send + Sync + 'static) -> (String, u16) {
        let failure = Failure::from(StorageError::Body(Box::new(error)));
        (failure.code().to_owned(), failure.status_code().as_u16())
    }

    fn timeout() -> BodyError {
        BodyError::Timeout { after: std::time::Duration::from_secs(1) }
    }

    #[test]
    fn a_body_that_fails_is_the_clients_fault_however_deep_the_error() {
        let expected = |code: &str, status| (code.to_owned(), status);
        assert_eq!(code_of(timeout()), expected("RequestTimeout", 400));
        assert_eq!(
            code_of(AwsChunkedStreamError::Underlying(Box::new(UploadStreamError::Underlying(Box::new(timeout()))))),
            expected("RequestTimeout", 400)
        );
        assert_eq!(code_of(UploadStreamError::Sha256Mismatch), expected("XAmzContentSHA256Mismatch", 400));
        assert_eq!(code_of(UploadStreamError::Incomplete), expected("IncompleteBody", 400));
        assert_eq!(code_of(AwsChunkedStreamError::SignatureMismatch), expected("SignatureDoesNotMatch", 403));
        assert_eq!(code_of(AwsChunkedStreamError::Incomplete), expected("IncompleteBody", 400));
        assert_eq!(code_of(AwsChunkedStreamError::ChunkMetaTooLarge(2, 1)), expected("IncompleteBody", 400));
        assert_eq!(code_of(AwsChunkedStreamError::ChunkDataTooLarge(2, 1)), expected("InvalidRequest", 400));
        assert_eq!(code_of(UnterminatedChunks), expected("IncompleteBody", 400));
    }

    #[test]
    fn an_unknown_failure_of_a_body_is_ours() {
        let failure = Failure::from(StorageError::Body("a disk on fire".into()));
        assert_eq!((failure.code(), failure.cause()), ("InternalError", Some("a disk on fire")));
        assert!(!failure.message().contains("fire"));
    }

    #[test]
    fn what_the_server_cannot_take_tells_whether_to_try_again() {
        let overloaded = Failure::from(StorageError::Overloaded);
        assert_eq!((overloaded.code(), overloaded.status_code().as_u16()), ("SlowDown", 503));
        assert_eq!(overloaded.headers()[RETRY_AFTER], "1");
        let full = Failure::from(StorageError::DiskFull { available_bytes: 1, floor_bytes: 2 });
        assert_eq!((full.code(), full.status_code().as_u16()), ("InsufficientCapacity", 507));
        let read_only = Failure::from(StorageError::ReadOnly { reason: "fsync of /secret/path failed".to_owned() });
        assert_eq!((read_only.code(), read_only.status_code().as_u16()), ("ServiceUnavailable", 503));
        assert!(!read_only.message().contains("/secret"));
    }
}
