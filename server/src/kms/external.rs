//! Keys whose material is in another KMS, which encrypts and decrypts with them.
//!
//! The other KMS is a machine that may be slow, down, or refuse, and it is asked in the middle of requests. So each call is
//! bounded: in the time of an attempt, in the number of attempts, and in how many run at once. When it does not answer,
//! a circuit opens and calls fail at once until it is tried again. Data keys that it opened, or made, are held for a while, so
//! that reads go on without it; what a caller may is decided before, for every request.
//!
//! | file | what it has |
//! |---|---|
//! | `transit` | one attempt: the HTTP API of the transit engine of HashiCorp Vault and OpenBao |
//! | `token` | the token, read anew when its file changes |
//! | `circuit` | when a KMS that fails is asked again (pure) |
//! | `opened` | data keys that are held |
//!
//! Nothing that a client is told, and nothing in the log, has a plaintext or a token in it.

mod circuit;
mod opened;
mod token;
mod transit;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_replication::client::RetryPolicy;
use cairn_storage::clock::Entropy;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::metrics::ExternalKmsMetrics;

use circuit::{Circuit, Pass};
use opened::Opened;
pub use token::TokenSource;
pub use transit::BuildError;
use transit::{TokenState, Transit};

/// Calls that run at once at most.
const CALLS_MAX: usize = 64;

/// The pause between two looks at the KMS and the token, which notice an outage, and its end, before a request does.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What it refuses is said no more often.
const REFUSAL_SAID_INTERVAL: Duration = Duration::from_secs(60);

/// An attempt that failed is repeated at most twice, soon: a request is waiting.
const RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(50), backoff_max: Duration::from_millis(400) };

/// A renewal that moves the token's end by no more has not moved it: seconds are whole.
const RENEWAL_SLACK: Duration = Duration::from_secs(1);

/// What can be wrong with the token.
const TOKEN_REFUSED: &str = "its token is refused: it has ended, was revoked, or may not look itself up";
const TOKEN_NOT_RENEWED: &str = "its token may not be renewed, and ends";
const TOKEN_ENDS: &str = "its token ends soon, and no renewal moves that: a new one is needed";

/// Why an external KMS did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// It does not answer, or not in time; it may soon.
    #[error("the external KMS cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses: the key is not there or may not be used.
    #[error("the external KMS refuses: {0}")]
    Refused(String),
    /// It says that the ciphertext is not one of this key and associated data.
    #[error("the ciphertext is damaged, or was made for something else")]
    NotAuthentic,
}

/// Another KMS.
#[async_trait]
pub trait ExternalKeys: fmt::Debug + Send + Sync {
    /// What the key of this name makes of a plaintext, to be opened with the same associated data only.
    async fn encrypt(&self, name: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, ExternalError>;

    /// The plaintext that it was made of.
    async fn decrypt(
        &self,
        name: &str,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ExternalError>;
}

/// Where the external KMS is, and how it is asked.
#[derive(Debug)]
pub struct ExternalKmsSettings {
    /// `https://HOST:PORT`
    pub address: String,
    /// The path at which the transit engine is mounted.
    pub mount: String,
    /// The namespace of the engine and the token.
    pub namespace: Option<String>,
    /// The token.
    pub token: Option<TokenSource>,
    /// The certificates to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long data keys are held.
    pub held_for: Duration,
}

/// The external KMS of the settings.
pub struct ExternalKms {
    transit: Transit,
    opened: Opened,
    circuit: Mutex<Circuit>,
    /// What was wrong at the last attempt; None: nothing.
    fault: Mutex<Option<String>>,
    /// What was wrong with the token at the last look that was answered; None: nothing.
    token_fault: Mutex<Option<&'static str>>,
    refusal_said: Mutex<Option<Instant>>,
    calls: Semaphore,
    timeout: Duration,
    entropy: Arc<dyn Entropy>,
    metrics: ExternalKmsMetrics,
}

impl fmt::Debug for ExternalKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalKms").field("transit", &self.transit).finish_non_exhaustive()
    }
}

impl ExternalKms {
    /// Has not asked yet.
    ///
    /// # Errors
    /// If a file of the settings cannot be used.
    pub fn new(
        settings: ExternalKmsSettings,
        entropy: Arc<dyn Entropy>,
        metrics: ExternalKmsMetrics,
    ) -> Result<Self, BuildError> {
        let (timeout, held_for) = (settings.timeout, settings.held_for);
        Ok(Self {
            transit: Transit::new(settings)?,
            opened: Opened::new(held_for),
            circuit: Mutex::new(Circuit::new(timeout)),
            fault: Mutex::new(None),
            token_fault: Mutex::new(None),
            refusal_said: Mutex::new(None),
            calls: Semaphore::new(CALLS_MAX),
            timeout,
            entropy,
            metrics,
        })
    }

    /// What an operator should know: that it does not answer, or soon will not for want of a token.
    pub fn alarm(&self) -> Option<String> {
        let fault = self.fault.lock();
        let unreachable = fault.as_ref().map(|fault| format!("the external KMS cannot be reached: {fault}"));
        unreachable.or_else(|| self.token_fault.lock().map(|fault| format!("the external KMS: {fault}")))
    }

    /// Looks at the KMS and keeps the token alive, as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        loop {
            let next = self.keep_once().await;
            tokio::time::sleep(next).await;
        }
    }

    /// Tells when to look again.
    async fn keep_once(&self) -> Duration {
        // Of an outage is told where the circuit opens, and what was wrong with the token still is.
        if let Some((fault, remaining)) = self.look_after_token().await {
            let before = std::mem::replace(&mut *self.token_fault.lock(), fault);
            let remaining_seconds = remaining.map(|remaining| remaining.as_secs());
            match fault {
                Some(fault) if before != Some(fault) => {
                    tracing::warn!(fault, remaining_seconds, "the token of the external KMS");
                }
                None if before.is_some() => {
                    tracing::info!(remaining_seconds, "the token of the external KMS is good again")
                }
                _ => {}
            }
        }
        KEEP_INTERVAL.mul_f64(0.5 + f64::from(self.random()) / f64::from(u32::MAX))
    }

    /// Renews the token when half of its time is over. What is wrong with it, and how long it is good; None: there was no answer.
    async fn look_after_token(&self) -> Option<(Option<&'static str>, Option<Duration>)> {
        let state = match self.attempts("look", || self.transit.look_up_token()).await {
            Ok(state) => state,
            Err(ExternalError::Unavailable(_)) => return None,
            Err(_) => return Some((Some(TOKEN_REFUSED), None)),
        };
        let TokenState { remaining: Some(remaining), renewable, period } = state else { return Some((None, None)) };
        if remaining >= period / 2 {
            return Some((None, Some(remaining)));
        }
        if !renewable {
            return Some(((remaining < period / 3).then_some(TOKEN_ENDS), Some(remaining)));
        }
        match self.attempts("renew", || self.transit.renew_token()).await {
            // One that has an end for good is renewed up to that.
            Ok(renewed) => Some(((renewed <= remaining + RENEWAL_SLACK).then_some(TOKEN_ENDS), Some(renewed))),
            Err(ExternalError::Unavailable(_)) => None,
            Err(_) => Some((Some(TOKEN_NOT_RENEWED), Some(remaining))),
        }
    }

    /// Calls the KMS, within bounds. `operation` is for the metrics.
    async fn attempts<T, F>(&self, operation: &'static str, attempt: impl Fn() -> F) -> Result<T, ExternalError>
    where
        F: Future<Output = Result<T, ExternalError>>,
    {
        let began = Instant::now();
        let result = self.attempts_now(attempt).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(ExternalError::Unavailable(_)) => "unavailable",
            Err(ExternalError::Refused(_)) => "refused",
            Err(ExternalError::NotAuthentic) => "not_authentic",
        };
        self.metrics.called(operation, outcome, began.elapsed());
        if let Err(ExternalError::Refused(fault)) = &result {
            self.refused(operation, fault);
        }
        result
    }

    async fn attempts_now<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ExternalError>
    where
        F: Future<Output = Result<T, ExternalError>>,
    {
        // Who would wait for those that wait for it in vain is told at once.
        if self.circuit.lock().is_open(Instant::now()) {
            return Err(self.not_asked());
        }
        let waited = tokio::time::timeout(self.timeout, self.calls.acquire()).await;
        let busy = |_| ExternalError::Unavailable("too many calls are waiting for it".to_owned());
        let _permit = waited.map_err(busy)?;
        let late = |_| Err(ExternalError::Unavailable("it did not answer in time".to_owned()));
        let mut number = 1;
        loop {
            let pass = self.circuit.lock().admit(Instant::now()).ok_or_else(|| self.not_asked())?;
            // All of it: an attempt may ask twice, and read the token's file.
            match tokio::time::timeout(self.timeout, attempt()).await.unwrap_or_else(late) {
                Err(ExternalError::Unavailable(fault)) => {
                    self.failed(pass, &fault);
                    let Some(delay) = RETRY.delay(number, self.random(), None) else {
                        return Err(ExternalError::Unavailable(fault));
                    };
                    tokio::time::sleep(delay).await;
                    number += 1;
                }
                answered => {
                    self.answered();
                    return answered;
                }
            }
        }
    }

    /// What is said while the circuit is open.
    fn not_asked(&self) -> ExternalError {
        let fault = self.fault.lock();
        ExternalError::Unavailable(fault.clone().unwrap_or_else(|| "it did not answer lately".to_owned()))
    }

    fn failed(&self, pass: Pass, fault: &str) {
        let opens = self.circuit.lock().failed(pass, Instant::now(), self.random());
        let before = self.fault.lock().replace(fault.to_owned());
        self.metrics.up(false);
        if opens || before.is_none() {
            tracing::warn!(fault, "the external KMS does not answer");
        }
    }

    fn answered(&self) {
        self.circuit.lock().answered();
        if self.fault.lock().take().is_some() {
            tracing::info!("the external KMS answers again");
        }
        self.metrics.up(true);
    }

    /// Requests of clients bring this about, so it is said now and then.
    fn refused(&self, operation: &str, fault: &str) {
        let mut said = self.refusal_said.lock();
        if said.is_none_or(|said| said.elapsed() >= REFUSAL_SAID_INTERVAL) {
            *said = Some(Instant::now());
            tracing::warn!(operation, fault, "the external KMS refuses");
        }
    }

    fn random(&self) -> u32 {
        let [a, b, c, d, ..] = self.entropy.random_16();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[async_trait]
impl ExternalKeys for ExternalKms {
    async fn encrypt(&self, name: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, ExternalError> {
        let made = Unheld(self).encrypt(name, plaintext, associated_data).await?;
        self.opened.hold((name, &made, associated_data), plaintext, Instant::now());
        Ok(made)
    }

    async fn decrypt(
        &self,
        name: &str,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ExternalError> {
        let sealed = (name, ciphertext, associated_data);
        if let Some(plaintext) = self.opened.get(sealed, Instant::now()) {
            self.metrics.held();
            return Ok(plaintext);
        }
        let plaintext = Unheld(self).decrypt(name, ciphertext, associated_data).await?;
        self.opened.hold(sealed, &plaintext, Instant::now());
        Ok(plaintext)
    }
}

/// The same without what is held: nothing of it stays in memory, and to open is to ask.
#[derive(Debug)]
pub struct Unheld<'e>(pub &'e ExternalKms);

#[async_trait]
impl ExternalKeys for Unheld<'_> {
    async fn encrypt(&self, name: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, ExternalError> {
        self.0.attempts("encrypt", || self.0.transit.encrypt(name, plaintext, associated_data)).await
    }

    async fn decrypt(
        &self,
        name: &str,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ExternalError> {
        self.0.attempts("decrypt", || self.0.transit.decrypt(name, ciphertext, associated_data)).await
    }
}

#[cfg(test)]
mod tests;
