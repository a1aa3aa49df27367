//! What is wrong with a call, as IAM answers it (IAM API reference, each action's "Errors").

use cairn_iam::identity::{Fault, FaultKind};
use http::StatusCode;

use crate::identities::RowsError;
use crate::s3::error::Failure;

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (code, status) = match fault.kind {
            FaultKind::DeleteConflict => ("DeleteConflict", StatusCode::CONFLICT),
            FaultKind::EntityAlreadyExists => ("EntityAlreadyExists", StatusCode::CONFLICT),
            FaultKind::EntityTemporarilyUnmodifiable => ("EntityTemporarilyUnmodifiable", StatusCode::CONFLICT),
            FaultKind::InvalidAuthenticationCode => ("InvalidAuthenticationCode", StatusCode::FORBIDDEN),
            FaultKind::InvalidInput => ("InvalidInput", StatusCode::BAD_REQUEST),
            FaultKind::InvalidUserType => ("InvalidUserType", StatusCode::BAD_REQUEST),
            FaultKind::LimitExceeded => ("LimitExceeded", StatusCode::CONFLICT),
            FaultKind::MalformedPolicyDocument => ("MalformedPolicyDocument", StatusCode::BAD_REQUEST),
            FaultKind::NoSuchEntity => ("NoSuchEntity", StatusCode::NOT_FOUND),
            FaultKind::PasswordPolicyViolation => ("PasswordPolicyViolation", StatusCode::BAD_REQUEST),
            FaultKind::PolicyNotAttachable => ("PolicyNotAttachable", StatusCode::BAD_REQUEST),
            FaultKind::UnmodifiableEntity => ("UnmodifiableEntity", StatusCode::BAD_REQUEST),
            FaultKind::ValidationError => ("ValidationError", StatusCode::BAD_REQUEST),
        };
        Self::custom(code, status, fault.message)
    }
}

impl From<RowsError> for Failure {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Storage(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
