//! The keys of issuers, fetched from them and kept for a while.
//!
//! An issuer tells where its keys are in `<issuer>/.well-known/openid-configuration` (OpenID Connect Discovery, section 4).
//! Only issuers that an account has registered are asked, over https and by the machine's roots of trust, without following
//! redirects, within bounds of time and size. Keys are asked for again after an hour, or when a token names one that is not
//! known; but one issuer never more often than once in [`REFRESH_MS_MIN`], whatever tokens come in, and by one request at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_storage::clock::{Clock, Timestamp};
use http::StatusCode;
use jsonwebtoken::jwk::JwkSet;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::query_api::faults::fault;
use crate::s3::error::Failure;

use super::token::{self, Heading, Identity, Provider};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest document that an issuer may send.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Keys of one issuer at most.
const KEYS_MAX: usize = 100;

/// Issuers that are remembered at most; the one asked longest ago is forgotten first.
const ISSUERS_MAX: usize = 256;

const KEPT_MS: i64 = 60 * 60 * 1_000;

/// How long an issuer is left alone after it was asked, with or without success.
pub const REFRESH_MS_MIN: i64 = 30 * 1_000;

/// Fetches and keeps keys.
pub struct Issuers {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    /// An issuer on this machine, by a loopback address, is asked without TLS.
    plain_loopback: bool,
    known: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Known>>>>,
}

/// What is known of an issuer.
#[derive(Default)]
struct Known {
    keys: Option<JwkSet>,
    asked_at: Option<Timestamp>,
    fetched_at: Option<Timestamp>,
}

/// No client can be made.
#[derive(Debug, thiserror::Error)]
#[error("the client of identity providers cannot be made")]
pub struct ClientError(#[from] reqwest::Error);

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issuers").field("plain_loopback", &self.plain_loopback).finish_non_exhaustive()
    }
}

impl Issuers {
    /// Knows none yet.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn new(clock: Arc<dyn Clock>, plain_loopback: bool) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!plain_loopback)
            .no_proxy()
            .build()?;
        Ok(Self { client, clock, plain_loopback, known: Mutex::default() })
    }

    /// Verifies a token of a registered provider.
    ///
    /// # Errors
    /// `InvalidIdentityToken`, `ExpiredTokenException`; `IDPCommunicationError` if the issuer cannot be asked.
    pub async fn verify(&self, token: &str, heading: &Heading, provider: Provider<'_>) -> Result<Identity, Failure> {
        let known = self.known(&heading.issuer);
        // Whoever comes while the issuer is being asked waits for the answer.
        let mut known = known.lock().await;
        let now = self.clock.now();
        if known.is_old(now) && known.may_ask(now) {
            self.ask(&mut known, &heading.issuer).await?;
        }
        if let Some(identity) = known.verify(token, provider, now)? {
            return Ok(identity);
        }
        if known.may_ask(now) {
            self.ask(&mut known, &heading.issuer).await?;
        }
        match known.verify(token, provider, now)? {
            Some(identity) => Ok(identity),
            None if known.keys.is_none() => Err(unreachable()),
            None => Err(token::invalid("The ID Token is signed with a key that its issuer does not publish.")),
        }
    }

    fn known(&self, issuer: &str) -> Arc<tokio::sync::Mutex<Known>> {
        let mut known = self.known.lock();
        if !known.contains_key(issuer) && known.len() >= ISSUERS_MAX {
            // One that is being asked just now is in use, and not the oldest.
            let asked_at = |one: &Arc<tokio::sync::Mutex<Known>>| one.try_lock().ok().map(|one| one.asked_at);
            let oldest = known
                .iter()
                .filter_map(|(name, one)| Some((asked_at(one)?, name.clone())))
                .min_by_key(|(asked_at, _)| asked_at.map_or(i64::MIN, |time| time.0));
            if let Some((_, name)) = oldest {
                known.remove(&name);
            }
        }
        Arc::clone(known.entry(issuer.to_owned()).or_default())
    }

    async fn ask(&self, known: &mut Known, issuer: &str) -> Result<(), Failure> {
        known.asked_at = Some(self.clock.now());
        match self.fetch(issuer).await {
            Ok(keys) => {
                known.keys = Some(keys);
                known.fetched_at = known.asked_at;
                Ok(())
            }
            Err(cause) => {
                tracing::warn!(issuer, cause, "the keys of an issuer of identities cannot be had");
                // What is known stays good for a while longer than the issuer is away.
                if known.keys.is_some() { Ok(()) } else { Err(unreachable()) }
            }
        }
    }

    async fn fetch(&self, issuer: &str) -> Result<JwkSet, String> {
        let base = self.url(&format!("https://{}", issuer.trim_end_matches('/')))?;
        let discovery: Discovery = self.document(&format!("{base}/.well-known/openid-configuration")).await?;
        if discovery.issuer.trim_end_matches('/') != format!("https://{}", issuer.trim_end_matches('/')) {
            return Err(format!("it says that it is {:?}", discovery.issuer));
        }
        let keys: JwkSet = self.document(&self.url(&discovery.jwks_uri)?).await?;
        if keys.keys.len() > KEYS_MAX {
            return Err(format!("it has {} keys", keys.keys.len()));
        }
        Ok(keys)
    }

    /// Where a document is asked for that is at this https URL.
    fn url(&self, https: &str) -> Result<String, String> {
        let rest = https.strip_prefix("https://").ok_or_else(|| format!("{https:?} is no https URL"))?;
        if self.plain_loopback && is_loopback(rest) { Ok(format!("http://{rest}")) } else { Ok(https.to_owned()) }
    }

    async fn document<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let told = |error: reqwest::Error| format!("{url}: {}", crate::wiring::chain(&error.without_url()));
        let mut response = self.client.get(url).send().await.map_err(told)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("{url}: it answers {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(told)? {
            if bytes.len() + piece.len() > DOCUMENT_BYTES_MAX {
                return Err(format!("{url}: the document is longer than {DOCUMENT_BYTES_MAX} bytes"));
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))
    }
}

impl Known {
    fn is_old(&self, now: Timestamp) -> bool {
        self.fetched_at.is_none_or(|at| now.0.abs_diff(at.0) >= KEPT_MS.unsigned_abs())
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        self.asked_at.is_none_or(|at| now.0.abs_diff(at.0) >= REFRESH_MS_MIN.unsigned_abs())
    }

    fn verify(&self, token: &str, provider: Provider<'_>, now: Timestamp) -> Result<Option<Identity>, Failure> {
        match &self.keys {
            Some(keys) => token::verify(token, keys, provider, now),
            None => Ok(None),
        }
    }
}

/// Whether the authority of a URL without its scheme is a loopback address.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    authority.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

fn unreachable() -> Failure {
    fault(
        "IDPCommunicationError",
        StatusCode::BAD_REQUEST,
        "The keys of the identity provider could not be fetched. Try again in a while.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_on_this_machine() {
        for rest in ["127.0.0.1:80", "127.8.8.8:1/issuer", "[::1]:443/x"] {
            assert!(is_loopback(rest), "{rest}");
        }
        for rest in ["localhost:80", "127.0.0.1.example.com:80", "10.0.0.1:80", "127.0.0.1", "x@127.0.0.1:80", ""] {
            assert!(!is_loopback(rest), "{rest}");
        }
    }

    #[test]
    fn an_issuer_is_left_alone_for_a_while() {
        let mut known = Known::default();
        assert!(known.may_ask(Timestamp(0)) && known.is_old(Timestamp(0)));
        known.asked_at = Some(Timestamp(0));
        known.fetched_at = Some(Timestamp(0));
        assert!(!known.may_ask(Timestamp(REFRESH_MS_MIN - 1)) && known.may_ask(Timestamp(REFRESH_MS_MIN)));
        assert!(!known.is_old(Timestamp(KEPT_MS - 1)) && known.is_old(Timestamp(KEPT_MS)));
    }
}
