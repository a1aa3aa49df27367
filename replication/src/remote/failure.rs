//! What a client's error means for a task, and for its target.

use crate::client::ClientError;
use crate::target::Failure;

/// Codes that say that nobody at this target is served with these credentials, or that the bucket takes no replicas as it is: everything
/// else for it waits as well.
const OF_THE_TARGET: [&str; 12] = [
    "AccountProblem",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidBucketState",
    "InvalidToken",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// Codes by which other servers say that there is no more room, whatever the status: for a user or a bucket (Ceph's, MinIO's), or at all.
const FULL: [&str; 3] = ["QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"];

/// Codes after which the next attempt may go well, though the server does not say so by its status.
const TRANSIENT: [&str; 6] =
    ["BadDigest", "InvalidPart", "NoSuchUpload", "OperationAborted", "RequestTimeout", "ReplicaFromTheFuture"];

/// Whether a refusal is about the target, or about this attempt, and not about what was asked for.
pub(super) fn is_of_the_moment(error: &ClientError) -> bool {
    let all = [&OF_THE_TARGET[..], &FULL, &TRANSIENT];
    error.code().is_some_and(|code| all.iter().any(|codes| codes.contains(&code)))
}

/// What became of the task.
pub(super) fn of_client(error: ClientError) -> Failure {
    let reason = reason(&error);
    match error {
        ClientError::Credentials(_) => Failure::Down { reason },
        ClientError::Unanswered(_) | ClientError::Stalled(_) => Failure::Silent { reason },
        ClientError::Unsendable | ClientError::Unsigned(_) | ClientError::TooManyParts(_) => {
            Failure::Refused { reason }
        }
        ClientError::Source(_) | ClientError::Foreign(_) | ClientError::Broken | ClientError::Corrupt(_) => {
            Failure::Later { reason, after: None }
        }
        ClientError::Refused { status, ref code, retry_after, .. } => match code.as_str() {
            code if OF_THE_TARGET.contains(&code) => Failure::Down { reason },
            code if FULL.contains(&code) => Failure::Full { reason },
            code if TRANSIENT.contains(&code) => Failure::Later { reason, after: retry_after },
            // No word of S3's: a proxy's whose server is away.
            "" if matches!(status, 502..=504) => Failure::Silent { reason },
            _ if status == 507 => Failure::Full { reason },
            // It will not know it by itself later either.
            _ if status == 501 => Failure::Refused { reason },
            _ if status >= 500 || status == 429 || status == 408 => Failure::Later { reason, after: retry_after },
            _ => Failure::Refused { reason },
        },
    }
}

/// The error with what caused it.
fn reason(error: &ClientError) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(status: u16, code: &str) -> Failure {
        let after = Some(Duration::from_secs(2));
        let (code, message) = (code.to_owned(), String::new());
        of_client(ClientError::Refused { status, code, message, retry_after: after, server_time_ms: None })
    }

    #[test]
    fn what_concerns_all_tasks_is_told_from_what_concerns_one() {
        for (status, code) in [(403, "InvalidAccessKeyId"), (404, "NoSuchBucket")] {
            assert!(matches!(refused(status, code), Failure::Down { .. }), "{code}");
        }
        for code in ["InsufficientCapacity", ""] {
            assert!(matches!(refused(507, code), Failure::Full { .. }), "{code}");
        }
        for (status, code) in [(403, "QuotaExceeded"), (400, "XMinioAdminBucketQuotaExceeded")] {
            assert!(matches!(refused(status, code), Failure::Full { .. }), "{code}");
        }
        for status in [502, 503, 504] {
            assert!(matches!(refused(status, ""), Failure::Silent { .. }), "{status}");
        }
        for (status, code) in [(503, "SlowDown"), (500, ""), (404, "NoSuchUpload"), (400, "BadDigest")] {
            let failure = refused(status, code);
            assert!(matches!(failure, Failure::Later { after: Some(_), .. }), "{code} {failure:?}");
        }
        for (status, code) in [(403, "AccessDenied"), (400, "InvalidRequest"), (501, "NotImplemented")] {
            let failure = refused(status, code);
            assert!(matches!(failure, Failure::Refused { .. }), "{code} {failure:?}");
        }
    }
}
