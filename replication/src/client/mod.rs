//! The outgoing S3 client: one endpoint, whose requests are signed, bounded in time and memory, and made again when that helps.
//!
//! - A body is either in memory, and then its SHA-256 is signed, or a [`Body::Stream`] that can be opened again for another attempt;
//!   a stream is sent unsigned but with a digest, which is signed and which the server verifies.
//! - What is downloaded is compared with the length and the checksum that the server declares, before its end is passed on; a
//!   download that breaks goes on from where it was.
//! - A bounded number of bodies is sent at once, a smaller one where bandwidth is limited: each of them moves before a server gives it up.
//! - What may pass (no connection, 429, 5xx, a slow target) is tried again with exponential backoff and full jitter, not before
//!   `Retry-After`. Redirects are not followed. A clock that is wrong is corrected by the server's.
//! - Nothing about credentials is in errors or in `Debug`.
//!
//! It leaves to its callers which version is sent where, and to the server the settings that name endpoints.

mod answer;
mod body;
mod credentials;
mod download;
mod endpoint;
mod error;
mod list;
mod multipart;
mod object;
mod request;
mod retry;
mod send;
mod sign;
#[cfg(test)]
pub(crate) mod tests;
mod throttle;
mod unanswered;
mod xml;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use cairn_storage::clock::{Clock, Entropy};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder};
use tokio::sync::Semaphore;

use unanswered::Asked;

pub use answer::Answer;
pub use body::{Body, BodyError, BodyStream, Digest, Stream};
pub use credentials::{CredentialSource, CredentialsError, Environment, Found, Given, find};
pub use download::{Download, Range};
pub use endpoint::{Addressing, Endpoint, EndpointError};
pub use error::ClientError;
pub use list::{VersionThere, VersionsThere};
pub use multipart::{PARTS_MAX, Part, UploadHeaders};
pub use object::{Address, Stored};
pub use request::Request;
pub use reqwest::Method;
pub use retry::RetryPolicy;
pub use sign::Signer;
pub use throttle::Throttle;
pub use xml::tagging_document;

use body::PIECE_BYTES_MAX;

/// The most connections that are kept open while nothing is sent on them.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// The most bodies that are sent at once.
const BODIES_AT_ONCE_MAX: usize = 64;

/// Within what time each of the bodies that are sent at once moves, however little may move: less than servers wait for.
const MOVES_WITHIN: Duration = Duration::from_secs(10);

/// How a client goes about its requests.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long making a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long nothing may move, in either direction.
    pub idle_timeout: Duration,
    /// What is tried again, and when.
    pub retry: RetryPolicy,
    /// Bytes a second of all bodies together, both ways; None: as many as there can be.
    pub bandwidth_limit_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            bandwidth_limit_bytes: None,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The file of certificates.
    #[error("the certificates in {path} cannot be used: {fault}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The machine's roots of trust cannot be had.
    #[error("no client can be made")]
    Http(#[source] reqwest::Error),
}

/// A client of one endpoint. Cheap to clone; clones share connections, credentials and bandwidth.
#[derive(Clone)]
pub struct Client(Arc<Inner>, Attempts);

/// How often a request is made, and how long that may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempts {
    AsOptionsSay,
    /// Once, because it may have been carried out though it was not answered.
    One,
    /// As the options say, but only for so long.
    Within(Duration),
}

struct Inner {
    http: reqwest::Client,
    endpoint: Endpoint,
    credentials: CredentialSource,
    options: Options,
    throttle: Throttle,
    /// Those that may be sent now.
    bodies: Semaphore,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What is added to the clock so that the server believes the requests' times, in milliseconds.
    clock_skew_ms: AtomicI64,
    /// Where an upload may have been begun that nobody has answered for, and when it was asked for.
    unanswered: Mutex<HashMap<Address, Asked>>,
    /// How many uploads of a key are under way.
    under_way: Mutex<HashMap<Address, usize>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.endpoint).finish()
    }
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// If the endpoint's file of certificates, or the machine's roots of trust, cannot be used.
    pub fn new(
        endpoint: Endpoint,
        credentials: CredentialSource,
        options: Options,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BuildError> {
        let builder = reqwest::Client::builder()
            // A redirected request would not be the one that was signed, and might go anywhere.
            .redirect(Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        let http = trusting(builder, &endpoint)?.build().map_err(BuildError::Http)?;
        let throttle = Throttle::new(options.bandwidth_limit_bytes);
        let bodies = Semaphore::new(bodies_at_once(options.bandwidth_limit_bytes));
        let inner = Inner {
            http,
            endpoint,
            credentials,
            options,
            throttle,
            bodies,
            clock,
            entropy,
            clock_skew_ms: AtomicI64::new(0),
            unanswered: Mutex::default(),
            under_way: Mutex::default(),
        };
        Ok(Self(Arc::new(inner), Attempts::AsOptionsSay))
    }

    /// The same, making each request once: for those that would do something twice if only their answer was lost.
    #[must_use]
    pub fn once(&self) -> Self {
        Self(Arc::clone(&self.0), Attempts::One)
    }

    /// The same for somebody who waits: what does not move for so long has failed, and after so long nothing is tried again.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self(Arc::clone(&self.0), Attempts::Within(patience))
    }

    /// How long nothing may move.
    fn idle_timeout(&self) -> Duration {
        let configured = self.0.options.idle_timeout;
        match self.1 {
            Attempts::Within(patience) => patience.min(configured),
            Attempts::AsOptionsSay | Attempts::One => configured,
        }
    }

    /// Whether the other is a clone of this one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }
}

/// How many bodies share the bandwidth, so that each moves now and then.
fn bodies_at_once(bandwidth_limit_bytes: Option<u64>) -> usize {
    let pieces = |rate: u64| rate.saturating_mul(MOVES_WITHIN.as_secs()) / PIECE_BYTES_MAX as u64;
    let bodies = bandwidth_limit_bytes.map_or(usize::MAX, |rate| usize::try_from(pieces(rate)).unwrap_or(usize::MAX));
    bodies.clamp(1, BODIES_AT_ONCE_MAX)
}

/// A client that trusts the certificates of the endpoint's file, if it names one, and else the machine's.
fn trusting(builder: ClientBuilder, endpoint: &Endpoint) -> Result<ClientBuilder, BuildError> {
    match endpoint.ca_file() {
        Some(path) => {
            let fault = |fault: String| BuildError::CaFile { path: path.display().to_string(), fault };
            let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.to_string()))?;
            if certificates.is_empty() {
                return Err(fault("there is none".to_owned()));
            }
            Ok(builder.tls_certs_only(certificates))
        }
        // Machines and containers that have no certificates to trust can still make requests without TLS.
        None if !endpoint.is_encrypted() => Ok(builder.tls_certs_only([])),
        None => Ok(builder),
    }
}

#[cfg(test)]
mod bounds {
    use super::*;

    #[test]
    fn as_many_bodies_are_sent_at_once_as_move_within_ten_seconds() {
        for (rate, bodies) in [(None, 64), (Some(0), 1), (Some(64 << 10), 10), (Some(200 << 20), 64)] {
            assert_eq!(bodies_at_once(rate), bodies, "{rate:?}");
        }
    }
}
