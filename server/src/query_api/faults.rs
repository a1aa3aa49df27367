//! What calls of the Query APIs fail with: the errors that all their actions have in common (IAM and STS API references,
//! "Common Errors"), how failures of the layers that they share with S3 are told in them, and the document.

use std::borrow::Cow;

use http::StatusCode;

use crate::gate::ids::RequestId;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::{Params, Service};

/// The longest part of a client's text that a message repeats.
const QUOTED_CHARS_MAX: usize = 64;

/// A refusal with this code.
pub fn fault(code: &'static str, status: StatusCode, message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::custom(code, status, message)
}

/// `ValidationError`.
pub fn validation(message: impl Into<Cow<'static, str>>) -> Failure {
    fault("ValidationError", StatusCode::BAD_REQUEST, message)
}

/// `ValidationError` for a parameter that is not there.
pub fn missing(name: &str) -> Failure {
    validation(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    ))
}

/// `MalformedInput` for a parameter that is no number or flag.
pub fn malformed_input(name: &str) -> Failure {
    fault("MalformedInput", StatusCode::BAD_REQUEST, format!("The value of {} is malformed.", quoted(name)))
}

/// `MalformedQueryString`.
pub fn malformed_query(message: &'static str) -> Failure {
    fault("MalformedQueryString", StatusCode::NOT_FOUND, message)
}

/// `InvalidAction`: there is no such action in this version.
pub fn invalid_action(service: Service, params: &Params) -> Failure {
    let (action, version) = (params.get("Action").unwrap_or_default(), params.get("Version").unwrap_or_default());
    let message = if version == service.version() {
        format!("Could not find operation {} for version {version}", quoted(action))
    } else {
        format!("Could not find operation {} for version {}", quoted(action), quoted(version))
    };
    fault("InvalidAction", StatusCode::BAD_REQUEST, message)
}

/// `MissingAuthenticationToken`: a call without a signature.
pub fn missing_signature() -> Failure {
    fault("MissingAuthenticationToken", StatusCode::FORBIDDEN, "Request is missing Authentication Token")
}

/// `InvalidClientTokenId`: nobody has the access key, or the session token is none.
pub fn invalid_client_token() -> Failure {
    fault("InvalidClientTokenId", StatusCode::FORBIDDEN, "The security token included in the request is invalid.")
}

/// The beginning of a client's text, for a message.
fn quoted(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(QUOTED_CHARS_MAX).collect()
}

/// Code, status and message of a failure in these services' words, where S3 has others.
fn told(failure: &Failure) -> (&str, StatusCode, Cow<'_, str>) {
    let kept = failure.message().into();
    let forbidden = StatusCode::FORBIDDEN;
    match failure.code() {
        "InvalidAccessKeyId" | "InvalidToken" => {
            ("InvalidClientTokenId", forbidden, "The security token included in the request is invalid.".into())
        }
        "ExpiredToken" => ("ExpiredToken", forbidden, "The security token included in the request is expired".into()),
        "RequestTimeTooSkewed" => ("SignatureDoesNotMatch", forbidden, "Signature not yet current or expired".into()),
        "AuthorizationHeaderMalformed" | "InvalidArgument" | "InvalidRequest" => {
            ("IncompleteSignature", StatusCode::BAD_REQUEST, kept)
        }
        "SlowDown" => ("Throttling", StatusCode::BAD_REQUEST, "Rate exceeded".into()),
        "InternalError" => ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR, kept),
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

/// A failure as these services show it.
pub fn error_document(service: Service, failure: &Failure, id: RequestId) -> String {
    let (code, status, message) = told(failure);
    let mut document = Document::in_namespace("ErrorResponse", service.namespace());
    document.element("Error", |error| {
        error.text("Type", if status.is_server_error() { "Receiver" } else { "Sender" });
        error.text("Code", code);
        error.text("Message", &message);
    });
    document.text("RequestId", &id.request_id());
    document.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use s3s::S3ErrorCode;

    use super::*;

    #[test]
    fn failures_of_the_signature_are_told_in_the_words_of_iam() {
        for (code, expected, status) in [
            (S3ErrorCode::InvalidAccessKeyId, "InvalidClientTokenId", 403),
            (S3ErrorCode::InvalidToken, "InvalidClientTokenId", 403),
            (S3ErrorCode::ExpiredToken, "ExpiredToken", 403),
            (S3ErrorCode::SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
            (S3ErrorCode::RequestTimeTooSkewed, "SignatureDoesNotMatch", 403),
            (S3ErrorCode::AuthorizationHeaderMalformed, "IncompleteSignature", 400),
            (S3ErrorCode::AccessDenied, "AccessDenied", 403),
            (S3ErrorCode::SlowDown, "Throttling", 400),
            (S3ErrorCode::InternalError, "InternalFailure", 500),
        ] {
            let failure = Failure::new(code);
            assert_eq!((code_of(&failure), status_of(&failure).as_u16()), (expected, status));
        }
    }

    #[test]
    fn a_message_repeats_only_the_beginning_of_what_a_client_sent() {
        let params = Params::parse(format!("Action={}%0A&Version=1", "x".repeat(1_000)).as_bytes()).unwrap();
        let failure = invalid_action(Service::Iam, &params);
        assert!(failure.message().len() < 200, "{}", failure.message());
    }
}
