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

/// An attempt that failed is repeated at most twice, soon: a request is waiting.
const RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(50), backoff_max: Duration::from_millis(400) };

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
pub trait ExternalKeys: fmt::Debug + Send + Sync + 'static {
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
            calls: Semaphore::new(CALLS_MAX),
            timeout,
            entropy,
            metrics,
        })
    }

    /// What an operator should know: that it does not answer.
    pub fn alarm(&self) -> Option<String> {
        let fault = self.fault.lock();
        fault.as_ref().map(|fault| format!("the external KMS cannot be reached: {fault}"))
    }

    /// Looks at the KMS and keeps the token alive, as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        let mut said = None;
        loop {
            let next = self.keep_once(&mut said).await;
            tokio::time::sleep(next).await;
        }
    }

    /// `said`: what was last warned of, so that it is said once. Tells when to look again.
    async fn keep_once(&self, said: &mut Option<String>) -> Duration {
        let warning = match self.attempts("look", || self.transit.look_up_token()).await {
            Ok(TokenState { remaining: Some(remaining), renewable: true, period }) if remaining < period / 2 => {
                match self.attempts("renew", || self.transit.renew_token()).await {
                    Ok(()) => None,
                    Err(error) => Some(format!("the token cannot be renewed: {error}")),
                }
            }
            Ok(TokenState { remaining: Some(remaining), renewable: false, period }) if remaining < period / 3 => {
                Some("the token cannot be renewed and ends soon".to_owned())
            }
            Ok(_) => None,
            // That is said where the circuit opens.
            Err(ExternalError::Unavailable(_)) => None,
            Err(error) => Some(format!("the token cannot be looked at: {error}")),
        };
        if let Some(warning) = warning.as_ref().filter(|warning| said.as_ref() != Some(warning)) {
            tracing::warn!(warning, "the token of the external KMS");
        }
        *said = warning;
        KEEP_INTERVAL.mul_f64(0.5 + f64::from(self.random()) / f64::from(u32::MAX))
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
        result
    }

    async fn attempts_now<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ExternalError>
    where
        F: Future<Output = Result<T, ExternalError>>,
    {
        let waited = tokio::time::timeout(self.timeout, self.calls.acquire()).await;
        let busy = |_| ExternalError::Unavailable("too many calls are waiting for it".to_owned());
        let _permit = waited.map_err(busy)?;
        let mut number = 1;
        loop {
            let pass = self.admit()?;
            match attempt().await {
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

    fn admit(&self) -> Result<Pass, ExternalError> {
        let admitted = self.circuit.lock().admit(Instant::now());
        admitted.ok_or_else(|| {
            let fault = self.fault.lock();
            ExternalError::Unavailable(fault.clone().unwrap_or_else(|| "it did not answer lately".to_owned()))
        })
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

    fn random(&self) -> u32 {
        let [a, b, c, d, ..] = self.entropy.random_16();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[async_trait]
impl ExternalKeys for ExternalKms {
    async fn encrypt(&self, name: &str, plaintext: &[u8], associated_data: &[u8]) -> Result<Vec<u8>, ExternalError> {
        let attempt = || self.transit.encrypt(name, plaintext, associated_data);
        let made = self.attempts("encrypt", attempt).await?;
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
        let attempt = || self.transit.decrypt(name, ciphertext, associated_data);
        let plaintext = self.attempts("decrypt", attempt).await?;
        self.opened.hold(sealed, &plaintext, Instant::now());
        Ok(plaintext)
    }
}

#[cfg(test)]
mod tests;
