//! Why a KMS key was not used or changed, as KMS tells it, and as S3 does (KMS API reference, "Common Errors" and each
//! action's "Errors").

use std::borrow::Cow;

use cairn_crypto::wrap::WrapError;
use cairn_storage::StorageError;
use cairn_storage::index::IndexError;
use http::StatusCode;
use http::header::RETRY_AFTER;
use s3s::S3ErrorCode;

use crate::s3::error::Failure;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmsFault {
    /// The caller may not.
    AccessDenied,
    /// There is an alias of this name.
    AlreadyExists,
    /// What the key encrypts with does not answer.
    DependencyTimeout,
    /// The key is disabled.
    Disabled,
    /// It would have worked.
    DryRun,
    /// The ciphertext is another key's.
    IncorrectKey,
    /// It cannot be the name of an alias.
    InvalidAliasName,
    /// It is no ARN.
    InvalidArn,
    /// It is damaged, or was made with another context.
    InvalidCiphertext,
    /// There is no such grant.
    InvalidGrantId,
    /// It is no grant token.
    InvalidGrantToken,
    /// The key is not for that.
    InvalidKeyUsage,
    /// It is no marker.
    InvalidMarker,
    /// The state of the key does not allow it.
    InvalidState,
    /// What the key encrypts with is not set up.
    KeyUnavailable,
    /// There would be too many.
    LimitExceeded,
    /// It is no key policy.
    MalformedPolicy,
    /// There is none.
    NotFound,
    /// A parameter is of the wrong type.
    Serialization,
    /// Tags are wrong.
    Tag,
    /// AWS has it, and this server does not.
    UnsupportedOperation,
    /// A parameter is wrong.
    Validation,
}

impl KmsFault {
    /// KMS's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::AlreadyExists => "AlreadyExistsException",
            Self::DependencyTimeout => "DependencyTimeoutException",
            Self::Disabled => "DisabledException",
            Self::DryRun => "DryRunOperationException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidAliasName => "InvalidAliasNameException",
            Self::InvalidArn => "InvalidArnException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidGrantId => "InvalidGrantIdException",
            Self::InvalidGrantToken => "InvalidGrantTokenException",
            Self::InvalidKeyUsage => "InvalidKeyUsageException",
            Self::InvalidMarker => "InvalidMarkerException",
            Self::InvalidState => "KMSInvalidStateException",
            Self::KeyUnavailable => "KeyUnavailableException",
            Self::LimitExceeded => "LimitExceededException",
            Self::MalformedPolicy => "MalformedPolicyDocumentException",
            Self::NotFound => "NotFoundException",
            Self::Serialization => "SerializationException",
            Self::Tag => "TagException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::Validation => "ValidationException",
        }
    }
}

/// Why a key was not used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// It is not possible as things are.
    #[error("{name}: {1}", name = .0.name())]
    Fault(KmsFault, Cow<'static, str>),
    /// The index's answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something that is kept makes no sense, or nothing could be encrypted.
    #[error("{0}")]
    Internal(String),
}

impl From<IndexError> for KmsError {
    fn from(error: IndexError) -> Self {
        StorageError::from(error).into()
    }
}

impl From<WrapError> for KmsError {
    fn from(error: WrapError) -> Self {
        Self::Internal(format!("a KMS key: {error}"))
    }
}

impl KmsError {
    /// A fault with a message.
    pub fn fault(fault: KmsFault, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Fault(fault, message.into())
    }

    /// `ValidationException`.
    pub fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::fault(KmsFault::Validation, message)
    }

    /// `NotFoundException`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::fault(KmsFault::NotFound, message)
    }

    /// What it is, if it is not the server's.
    pub fn kind(&self) -> Option<KmsFault> {
        match self {
            Self::Fault(fault, _) => Some(*fault),
            Self::Storage(_) | Self::Internal(_) => None,
        }
    }

    /// As S3 answers it (S3 API reference, "Error responses": the `KMS.` codes).
    pub fn in_s3(self) -> Failure {
        let Self::Fault(fault, message) = self else { return self.into() };
        let code = match fault {
            KmsFault::AccessDenied => return Failure::with_message(S3ErrorCode::AccessDenied, message),
            KmsFault::KeyUnavailable | KmsFault::DependencyTimeout => {
                return Failure::with_message(S3ErrorCode::ServiceUnavailable, message)
                    .header(RETRY_AFTER, http::HeaderValue::from_static("1"));
            }
            KmsFault::Disabled => "KMS.DisabledException",
            KmsFault::InvalidState => "KMS.KMSInvalidStateException",
            KmsFault::NotFound | KmsFault::InvalidArn | KmsFault::InvalidAliasName => "KMS.NotFoundException",
            KmsFault::IncorrectKey => "KMS.IncorrectKeyException",
            KmsFault::InvalidCiphertext => "KMS.InvalidCiphertextException",
            KmsFault::LimitExceeded => "KMS.LimitExceededException",
            fault => {
                return Failure::with_message(S3ErrorCode::InvalidArgument, format!("{}: {message}", fault.name()));
            }
        };
        Failure::custom(code, StatusCode::BAD_REQUEST, message)
    }
}

/// As KMS answers it.
impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        match error {
            KmsError::Fault(fault @ (KmsFault::KeyUnavailable | KmsFault::DependencyTimeout), message) => {
                Self::custom(fault.name(), StatusCode::INTERNAL_SERVER_ERROR, message)
            }
            KmsError::Fault(fault, message) => Self::custom(fault.name(), StatusCode::BAD_REQUEST, message),
            KmsError::Storage(error) => error.into(),
            KmsError::Internal(cause) => Self::internal(cause),
        }
    }
}
