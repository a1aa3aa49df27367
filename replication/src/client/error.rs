//! Why a request has no answer.

use std::time::Duration;

use super::body::BodyError;
use super::credentials::CredentialsError;

/// Why a request failed, when it was not tried again or not any more.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody can sign.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// It cannot be signed: a header is none.
    #[error("the request cannot be signed")]
    Unsigned(#[source] BodyError),
    /// The key has a segment `.` or `..`, which no URL can name.
    #[error("a key with a segment \".\" or \"..\" cannot be named in a request")]
    Unsendable,
    /// No upload has so many parts.
    #[error("an upload has at most 10,000 parts, not {0}")]
    TooManyParts(usize),
    /// No connection, or it broke.
    #[error("the endpoint does not answer")]
    Unanswered(#[source] reqwest::Error),
    /// Nothing moved for so long.
    #[error("nothing moved for {0:?}")]
    Stalled(Duration),
    /// What was to be sent could not be read.
    #[error("what was to be sent cannot be read")]
    Source(#[source] BodyError),
    /// The server says no. The code is empty if it does not say it as S3 does.
    #[error("{code} ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// S3's code.
        code: String,
        /// Its message.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// When the server answered, by its clock, in milliseconds since the epoch.
        server_time_ms: Option<i64>,
    },
    /// The answer is not one of S3's.
    #[error("the answer is not understood: {0}")]
    Foreign(&'static str),
    /// An answer ended before its end.
    #[error("the answer ends too early")]
    Broken,
    /// The bytes are not those that the server declares. They have been passed on already, so they are not asked for again.
    #[error("what came is not what the endpoint declares: {0}")]
    Corrupt(&'static str),
}

impl ClientError {
    /// S3's code, if the server refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The HTTP status, if the server refused.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(_) | Self::Stalled(_) | Self::Broken => true,
            // The codes that the AWS SDKs call transient or throttling come with these statuses, but for one.
            Self::Refused { status, code, .. } => {
                matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 509) || code == "RequestTimeout"
            }
            Self::Credentials(error) => error.may_pass(),
            Self::Unsigned(_)
            | Self::Unsendable
            | Self::TooManyParts(_)
            | Self::Source(_)
            | Self::Foreign(_)
            | Self::Corrupt(_) => false,
        }
    }

    /// Whether the server may have done what it was asked though it did not say so.
    pub(super) fn may_be_done(&self) -> bool {
        match self {
            Self::Unanswered(error) => !error.is_connect(),
            Self::Stalled(_) | Self::Broken | Self::Foreign(_) => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Credentials(_)
            | Self::Unsigned(_)
            | Self::Unsendable
            | Self::TooManyParts(_)
            | Self::Source(_)
            | Self::Corrupt(_) => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
