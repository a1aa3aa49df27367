//! What calls of the API fail with before an action is found, and how failures of the layers that it shares with S3 are told
//! in it (KMS API reference, "Common Errors").

use std::borrow::Cow;

use http::StatusCode;
use serde_json::json;

use crate::s3::error::Failure;

/// `MissingAuthenticationTokenException`: a call without a signature.
pub(super) fn missing_signature() -> Failure {
    let message = "Request is missing Authentication Token";
    Failure::custom("MissingAuthenticationTokenException", StatusCode::BAD_REQUEST, message)
}

/// `UnknownOperationException`.
pub(super) fn unknown_operation() -> Failure {
    Failure::custom("UnknownOperationException", StatusCode::BAD_REQUEST, "There is no such operation")
}

/// `SerializationException`: the body is not JSON, or has a value of the wrong type.
pub(super) fn serialization() -> Failure {
    Failure::custom("SerializationException", StatusCode::BAD_REQUEST, "The body is not a JSON object")
}

/// Code, status and message of a failure in this protocol's words, where S3 has others.
fn told(failure: &Failure) -> (&str, StatusCode, Cow<'_, str>) {
    let kept = failure.message().into();
    let bad = StatusCode::BAD_REQUEST;
    match failure.code() {
        "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId" => {
            ("UnrecognizedClientException", bad, "The security token included in the request is invalid.".into())
        }
        "ExpiredToken" => {
            ("ExpiredTokenException", bad, "The security token included in the request is expired".into())
        }
        "SignatureDoesNotMatch" | "RequestTimeTooSkewed" => ("InvalidSignatureException", bad, kept),
        "AuthorizationHeaderMalformed" | "InvalidArgument" | "InvalidRequest" => {
            ("IncompleteSignatureException", bad, kept)
        }
        "AccessDenied" => ("AccessDeniedException", bad, kept),
        "EntityTooLarge" => ("ValidationException", bad, kept),
        "SlowDown" => ("ThrottlingException", bad, "Rate exceeded".into()),
        "InternalError" => ("KMSInternalException", StatusCode::INTERNAL_SERVER_ERROR, kept),
        "ServiceUnavailable" | "InsufficientCapacity" => {
            ("DependencyTimeoutException", StatusCode::SERVICE_UNAVAILABLE, kept)
        }
        code => (code, failure.status_code(), kept),
    }
}

/// The status that a failure is answered with.
pub fn status_of(failure: &Failure) -> StatusCode {
    told(failure).1
}

/// The code that a failure is answered with.
pub fn code_of(failure: &Failure) -> &str {
    told(failure).0
}

/// A failure as this protocol shows it.
pub fn error_document(failure: &Failure) -> String {
    let (code, _, message) = told(failure);
    json!({ "__type": code, "message": message }).to_string()
}

#[cfg(test)]
mod tests {
    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn failures_of_the_signature_are_told_in_the_words_of_kms() {
        for (code, expected, status) in [
            (S3ErrorCode::InvalidAccessKeyId, "UnrecognizedClientException", 400),
            (S3ErrorCode::ExpiredToken, "ExpiredTokenException", 400),
            (S3ErrorCode::SignatureDoesNotMatch, "InvalidSignatureException", 400),
            (S3ErrorCode::RequestTimeTooSkewed, "InvalidSignatureException", 400),
            (S3ErrorCode::AuthorizationHeaderMalformed, "IncompleteSignatureException", 400),
            (S3ErrorCode::AccessDenied, "AccessDeniedException", 400),
            (S3ErrorCode::SlowDown, "ThrottlingException", 400),
            (S3ErrorCode::InternalError, "KMSInternalException", 500),
        ] {
            let failure = Failure::new(code);
            assert_eq!((code_of(&failure), status_of(&failure).as_u16()), (expected, status));
        }
    }
}
