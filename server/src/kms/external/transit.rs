//! One attempt at the HTTP API of the transit secrets engine, which HashiCorp Vault and OpenBao share ("Transit secrets engine
//! (API)" and "Tokens auth method (API)" in the documentation of both).
//!
//! What is encrypted is the SHA-256 of the associated data, then the plaintext; the associated data is given as well. An engine
//! from before it knew `associated_data` leaves it out without a word; what it decrypts is then still not taken for
//! something else.
//!
//! Answers are bounded, redirects are not followed, and an answer that makes no sense counts as none.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use http::{HeaderName, HeaderValue, StatusCode};
use reqwest::{Certificate, Client, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::token::{Token, TokenError};
use super::{ExternalError, ExternalKmsSettings};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The longest ciphertext that an answer may have; a KMS's blob holds no longer one.
const CIPHERTEXT_BYTES_MAX: usize = 6 << 10;

/// How much of what it says is wrong is repeated.
const FAULT_CHARS_MAX: usize = 200;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(2);

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Demanded of everybody by agents, and harmless elsewhere.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

const DIGEST_BYTES: usize = 32;

/// No client of the external KMS can be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no token.
    #[error(
        "external_kms.address is set, and there is no token: set external_kms.token_file or CAIRN_EXTERNAL_KMS_TOKEN"
    )]
    NoToken,
    /// The token.
    #[error("external_kms: {0}")]
    Token(#[from] TokenError),
    /// The certificates to trust.
    #[error("external_kms.ca_file {path}: {fault}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The HTTP client.
    #[error("the client of the external KMS cannot be made")]
    Http(#[from] reqwest::Error),
}

/// The engine.
pub(super) struct Transit {
    http: Client,
    /// `https://HOST:PORT/v1`
    base: String,
    mount: String,
    namespace: Option<HeaderValue>,
    token: Arc<Token>,
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").field("base", &self.base).field("mount", &self.mount).finish_non_exhaustive()
    }
}

/// What is known of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenState {
    /// How long it is good; None: for ever.
    pub(super) remaining: Option<Duration>,
    /// That can be made longer.
    pub(super) renewable: bool,
    /// How long it was good when it was made or last renewed.
    pub(super) period: Duration,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Deserialize)]
struct LookedUp {
    ttl: u64,
    creation_ttl: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Renewed {
    auth: Lease,
}

#[derive(Deserialize)]
struct Lease {
    lease_duration: u64,
}

#[derive(Default, Deserialize)]
struct Faults {
    #[serde(default)]
    errors: Vec<String>,
}

impl Transit {
    pub(super) fn new(settings: ExternalKmsSettings) -> Result<Self, BuildError> {
        let ExternalKmsSettings { address, mount, namespace, token, ca_file, timeout, .. } = settings;
        let mut builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(path) = ca_file {
            let fault = |fault: String| BuildError::CaFile { path: path.clone(), fault };
            let pem = std::fs::read(&path).map_err(|error| fault(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.to_string()))?;
            if certificates.is_empty() {
                return Err(fault("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if address.starts_with("http://") {
            // Containers that have no certificates to trust can still reach an agent beside them.
            builder = builder.tls_certs_only([]);
        }
        let namespace = namespace.and_then(|namespace| HeaderValue::from_str(&namespace).ok());
        let token = Token::read(token.ok_or(BuildError::NoToken)?)?;
        Ok(Self { http: builder.build()?, base: format!("{address}/v1"), mount, namespace, token })
    }

    pub(super) async fn encrypt(
        &self,
        name: &str,
        plaintext: &[u8],
        associated_data: &[u8],
    ) -> Result<Vec<u8>, ExternalError> {
        let bound = Zeroizing::new([digest(associated_data).as_slice(), plaintext].concat());
        let plaintext = Zeroizing::new(STANDARD.encode(&*bound));
        let body = Encrypt { plaintext: &plaintext, associated_data: &STANDARD.encode(associated_data) };
        let path = format!("{}/encrypt/{name}", self.mount);
        let answer: Answer<Encrypted> = self.ask(Method::POST, &path, Some(&body)).await.map_err(Said::refusal)?;
        let ciphertext = answer.data.ciphertext.into_bytes();
        let makes_sense = (1..=CIPHERTEXT_BYTES_MAX).contains(&ciphertext.len())
            && ciphertext.starts_with(b"vault:v")
            && ciphertext.iter().all(u8::is_ascii_graphic);
        if makes_sense { Ok(ciphertext) } else { Err(senseless()) }
    }

    pub(super) async fn decrypt(
        &self,
        name: &str,
        ciphertext: &[u8],
        associated_data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ExternalError> {
        let ciphertext = std::str::from_utf8(ciphertext).map_err(|_| ExternalError::NotAuthentic)?;
        let body = Decrypt { ciphertext, associated_data: &STANDARD.encode(associated_data) };
        let path = format!("{}/decrypt/{name}", self.mount);
        let asked = self.ask(Method::POST, &path, Some(&body)).await;
        let answer: Answer<Decrypted> = asked.map_err(|said| match said {
            Said::Wrong(fault) if is_about_ciphertext(&fault) => ExternalError::NotAuthentic,
            said => said.refusal(),
        })?;
        let text = Zeroizing::new(answer.data.plaintext);
        let bound = STANDARD.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_| senseless())?;
        match bound.split_at_checked(DIGEST_BYTES) {
            Some((bound_to, plaintext)) if bound_to == digest(associated_data) => {
                Ok(Zeroizing::new(plaintext.to_vec()))
            }
            _ => Err(ExternalError::NotAuthentic),
        }
    }

    /// How long the token is still good. Reads it anew before.
    pub(super) async fn look_up_token(&self) -> Result<TokenState, ExternalError> {
        self.refresh(self.token.header()).await;
        let asked = self.ask(Method::GET, "auth/token/lookup-self", None::<&()>).await;
        let LookedUp { ttl, creation_ttl, renewable } =
            asked.map(|answer: Answer<LookedUp>| answer.data).map_err(Said::refusal)?;
        // A token without an end has a lifetime of 0 (Tokens auth method).
        let ends = ttl > 0 || creation_ttl > 0;
        let remaining = ends.then(|| Duration::from_secs(ttl));
        Ok(TokenState { remaining, renewable, period: Duration::from_secs(creation_ttl.max(ttl)) })
    }

    /// Tells how long the token is good then, which may be no longer than before.
    pub(super) async fn renew_token(&self) -> Result<Duration, ExternalError> {
        let body = serde_json::Map::new();
        let asked = self.ask(Method::POST, "auth/token/renew-self", Some(&body)).await;
        asked.map(|Renewed { auth }| Duration::from_secs(auth.lease_duration)).map_err(Said::refusal)
    }

    /// Whether the token is another one now than `used`.
    async fn refresh(&self, used: HeaderValue) -> bool {
        let token = Arc::clone(&self.token);
        let refreshed = tokio::task::spawn_blocking(move || token.refresh(&used)).await;
        refreshed.unwrap_or(false)
    }

    /// Asks, and with a newer token once more if this one is refused.
    async fn ask<T: DeserializeOwned + Send>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Said> {
        let body = body.map(json).transpose()?.unwrap_or_default();
        let token = self.token.header();
        match self.ask_with(&token, method.clone(), path, body.clone()).await {
            Err(Said::Forbidden(_)) if self.refresh(token).await => {
                self.ask_with(&self.token.header(), method, path, body).await
            }
            answered => answered,
        }
    }

    async fn ask_with<T: DeserializeOwned>(
        &self,
        token: &HeaderValue,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Said> {
        let gone = |error: reqwest::Error| Said::Nothing(crate::wiring::chain(&error.without_url()));
        let request = self.http.request(method, format!("{}/{path}", self.base)).body(body);
        let mut request = request.header(TOKEN, token).header(REQUEST, "true");
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        let mut response = request.send().await.map_err(gone)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
        while let Some(piece) = response.chunk().await.map_err(gone)? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(Said::Nothing(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        match response.status() {
            StatusCode::OK => serde_json::from_slice(&bytes).map_err(|_| Said::Nothing(SENSELESS.to_owned())),
            status => Err(Said::of(status, &bytes)),
        }
    }
}

const SENSELESS: &str = "its answer makes no sense";

fn senseless() -> ExternalError {
    ExternalError::Unavailable(SENSELESS.to_owned())
}

/// The body, which is wiped when it was sent.
fn json(body: &impl Serialize) -> Result<Bytes, Said> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    serde_json::to_writer(&mut *bytes, body).map_err(|error| Said::Nothing(error.to_string()))?;
    Ok(Bytes::from_owner(bytes))
}

fn digest(associated_data: &[u8]) -> Vec<u8> {
    Checksum::of(ChecksumAlgorithm::Sha256, associated_data).as_bytes().to_vec()
}

/// What it says instead.
#[derive(Debug)]
enum Said {
    /// Nothing, or nothing that makes sense, or that it cannot now.
    Nothing(String),
    /// 400
    Wrong(String),
    /// 403
    Forbidden(String),
    /// Another status.
    Other(String),
}

impl Said {
    /// By the status ("HTTP status codes" in the API's documentation). 412, 429 and what stands above 471 are of servers that are
    /// standing by or busy, 503 of one that is sealed.
    fn of(status: StatusCode, body: &[u8]) -> Self {
        let said: Faults = serde_json::from_slice(body).unwrap_or_default();
        let said = said.errors.first().map(|error| shown(error)).unwrap_or_default();
        let fault = format!("{status} {said}").trim_end().to_owned();
        match status.as_u16() {
            400 => Self::Wrong(said),
            // Older engines say of a ciphertext that was changed that they have failed: anybody who may decrypt could close
            // the circuit for all.
            500 if is_about_ciphertext(&said) => Self::Wrong(said),
            403 => Self::Forbidden(fault),
            408 | 412 | 425 | 429 | 472..=473 | 500.. => Self::Nothing(fault),
            _ => Self::Other(fault),
        }
    }

    fn refusal(self) -> ExternalError {
        match self {
            Self::Nothing(fault) => ExternalError::Unavailable(fault),
            Self::Wrong(fault) | Self::Forbidden(fault) | Self::Other(fault) => ExternalError::Refused(fault),
        }
    }
}

/// The words of both engines when a ciphertext does not open. That its version is too old, or its key not there, is none.
fn is_about_ciphertext(fault: &str) -> bool {
    fault.contains("message authentication failed")
        || fault.starts_with("invalid ciphertext")
        || fault.contains("unable to decrypt")
}

/// Somebody else's text, for the log.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(FAULT_CHARS_MAX).collect()
}
