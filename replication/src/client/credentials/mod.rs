//! Whose requests are signed: credentials found where the `aws` command line finds them, and renewed before they expire.
//!
//! In this order (AWS CLI user guide, "Configuration settings and precedence"): what is given, the environment, the shared
//! credentials file, the shared configuration file, the container's service, the instance's profile. Both halves of a key come
//! from the same place. What assumes a role, logs in or calls a program is refused rather than passed over, also where it comes
//! before keys that are there as well.

mod find;
mod metadata;
mod profile;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use tokio::sync::Mutex;

pub use find::{Environment, Found, Given, find};

use metadata::Fetcher;

/// How long before they expire credentials are fetched anew.
const RENEWED_BEFORE_MS: i64 = 300_000;

/// How long credentials are not asked for again after they could not be had, while older ones still hold.
const RETRY_MS: i64 = 30_000;

/// Why nobody can sign.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There are none anywhere.
    #[error(
        "there are no credentials: give --access-key and --secret-key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         or the profile {profile:?} in ~/.aws/credentials"
    )]
    Absent {
        /// The profile that was looked for.
        profile: String,
    },
    /// There are none anywhere but, perhaps, at the instance's service, which does not answer.
    #[error(
        "there are no credentials: none are given, in the environment, or in the profile {profile:?} in ~/.aws/credentials, and the \
         instance's metadata service does not answer: {fault}"
    )]
    Unanswered {
        /// The profile that was looked for.
        profile: String,
        /// What is wrong.
        fault: String,
    },
    /// An access key without its secret, or the other way round.
    #[error("{place} has only one half of a key")]
    Half {
        /// Where.
        place: &'static str,
    },
    /// A profile, or the environment, says how to get credentials in a way that is not known here.
    #[error("{place} has {setting}, which is not supported: give keys in its stead")]
    Unsupported {
        /// Which of them.
        place: String,
        /// What it has.
        setting: &'static str,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} cannot be understood: {fault}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, without quoting it.
        fault: String,
    },
    /// The service that gives out credentials must not be asked.
    #[error("{0} is neither https nor on this machine, so it is not asked for credentials")]
    Untrusted(&'static str),
    /// The service that gives out credentials gave none.
    #[error("{place} gives no credentials: {fault}")]
    Unfetched {
        /// The service.
        place: &'static str,
        /// What is wrong.
        fault: String,
    },
}

impl CredentialsError {
    /// Whether it may be different later without anybody's doing.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unfetched { .. } | Self::Unanswered { .. })
    }
}

/// Where credentials come from: always the same ones, or those that a service gives out for a while. Cheap to clone.
#[derive(Clone)]
pub struct CredentialSource(Arc<Origin>);

enum Origin {
    Fixed(Credentials),
    Fetched { fetcher: Fetcher, kept: Mutex<Kept> },
}

#[derive(Default)]
struct Kept {
    credentials: Option<Credentials>,
    fetched_ms: i64,
    /// Before this time they are not fetched again.
    not_before_ms: i64,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match *self.0 {
            Origin::Fixed(_) => "fixed",
            Origin::Fetched { .. } => "fetched",
        };
        f.debug_tuple("CredentialSource").field(&kind).finish()
    }
}

impl CredentialSource {
    /// Always these.
    #[must_use]
    pub fn fixed(access_key: String, secret_key: String, session_token: Option<String>) -> Self {
        Self::of(Credentials::new(access_key, secret_key, session_token, None, "given"))
    }

    fn of(credentials: Credentials) -> Self {
        Self(Arc::new(Origin::Fixed(credentials)))
    }

    fn fetched(fetcher: Fetcher) -> Self {
        Self(Arc::new(Origin::Fetched { fetcher, kept: Mutex::default() }))
    }

    /// Credentials that hold at this time. Those that are about to expire are replaced; if that fails they are used until they do.
    ///
    /// # Errors
    /// If there are none.
    pub async fn get(&self, now_ms: i64) -> Result<Credentials, CredentialsError> {
        let (fetcher, kept) = match &*self.0 {
            Origin::Fixed(credentials) => return Ok(credentials.clone()),
            Origin::Fetched { fetcher, kept } => (fetcher, kept),
        };
        let mut kept = kept.lock().await;
        let held = kept.credentials.clone().filter(|credentials| left_ms(credentials, now_ms) > 0);
        let is_fresh = held.as_ref().is_some_and(|credentials| left_ms(credentials, now_ms) > RENEWED_BEFORE_MS);
        match held {
            Some(held) if is_fresh || now_ms < kept.not_before_ms => Ok(held),
            held => match (fetcher.fetch().await, held) {
                (Ok(fetched), _) => {
                    let (credentials, not_before_ms) = (Some(fetched.clone()), now_ms.saturating_add(RETRY_MS));
                    *kept = Kept { credentials, fetched_ms: now_ms, not_before_ms };
                    Ok(fetched)
                }
                (Err(error), Some(held)) => {
                    tracing::warn!(%error, "credentials cannot be renewed yet");
                    kept.not_before_ms = now_ms.saturating_add(RETRY_MS);
                    Ok(held)
                }
                (Err(error), None) => Err(error),
            },
        }
    }

    /// Forgets what a server calls expired, which an attempt that began at this time was signed with; false if others cannot be
    /// had. What was fetched since, because other requests were refused as well, is kept.
    pub(super) async fn renew(&self, began_ms: i64) -> bool {
        let Origin::Fetched { kept, .. } = &*self.0 else { return false };
        let mut kept = kept.lock().await;
        if kept.fetched_ms <= began_ms {
            *kept = Kept::default();
        }
        true
    }
}

/// For how long they still hold.
fn left_ms(credentials: &Credentials, now_ms: i64) -> i64 {
    let Some(expiry) = credentials.expiry() else { return i64::MAX };
    let expiry = expiry.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX).saturating_sub(now_ms)
}
