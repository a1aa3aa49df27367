//! Calls of a running server's admin API: signed, answered in JSON, and made again when the server is too busy.

use std::time::Duration;

use cairn_replication::client::{Body, BodyError, CredentialsError, Environment, Found, Given, Signer, find};
use cairn_storage::clock::{Clock as _, SystemClock};
use clap::Args;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admin::SERVICE;

/// How often a call is made before the server's refusal is believed.
const ATTEMPTS_MAX: u32 = 5;

/// The pause after the first attempt; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(200);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// From the call to the end of its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a call that goes through a bucket, which takes as long as the bucket is large: a day.
const WALK_TIMEOUT: Duration = Duration::from_secs(86_400);

/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Which server, and whose calls.
#[derive(Args)]
pub(super) struct ServerArgs {
    /// Where the server answers S3 requests
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:9000")]
    endpoint_url: Url,
    /// The access key of a root [default: as the aws command line finds it]
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    /// Its secret key; other users of this machine can see it among the processes
    #[arg(long, requires = "access_key")]
    secret_key: Option<String>,
    /// The server's region [default: as the aws command line finds it, or us-east-1]
    #[arg(long)]
    region: Option<String>,
}

/// Why a call has no answer to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the endpoint must be http://HOST or https://HOST, without a path")]
    Endpoint,
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("the secret of --remote-access-key is in neither CAIRN_REMOTE_SECRET_KEY nor --remote-secret-key-file")]
    NoRemoteSecret,
    #[error("the call cannot be signed")]
    Unsigned(#[source] BodyError),
    #[error("the server does not answer")]
    Unanswered(#[from] reqwest::Error),
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    #[error("what answers is not Cairn's admin API (status {status})")]
    Foreign { status: StatusCode },
    #[error("no call can be made")]
    Client(#[source] reqwest::Error),
    #[error("no call can be made")]
    Runtime(#[from] std::io::Error),
}

/// How the admin API says that it failed.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// A server, and who calls it.
pub(super) struct AdminClient {
    http: Client,
    endpoint: Url,
    found: Found,
    timeout: Duration,
}

impl AdminClient {
    /// Calls nothing yet.
    pub(super) fn new(args: ServerArgs, environment: Environment<'_>) -> Result<Self, CallError> {
        let endpoint = args.endpoint_url;
        let is_bare = endpoint.path() == "/"
            && endpoint.query().is_none()
            && endpoint.username().is_empty()
            && endpoint.password().is_none();
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.has_host() || !is_bare {
            return Err(CallError::Endpoint);
        }
        let (access_key, secret_key) = (args.access_key, args.secret_key);
        let given = Given { access_key, secret_key, region: args.region, profile: None };
        let found = find(given, environment)?;
        // A redirected call would not be the one that was signed.
        let builder = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        // Machines and containers that have no certificates to trust can still make calls without TLS.
        let builder = if endpoint.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let http = builder.build().map_err(CallError::Client)?;
        Ok(Self { http, endpoint, found, timeout: CALL_TIMEOUT })
    }

    /// The same, for calls whose answers come when a whole bucket was gone through.
    pub(super) fn that_walks(self) -> Self {
        Self { timeout: WALK_TIMEOUT, ..self }
    }

    /// Calls `path` below `/-/admin/v1/` and gives the answer. Every call may safely be made twice.
    pub(super) async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, CallError> {
        self.exchange(method, path, &[], Vec::new()).await
    }

    /// Reads the page of a list that comes after `after`.
    pub(super) async fn page<T: DeserializeOwned>(&self, path: &str, after: Option<&str>) -> Result<T, CallError> {
        let after = after.map(|after| ("after", after.to_owned()));
        self.query(path, after.as_slice()).await
    }

    /// Reads what these parameters select.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CallError> {
        self.exchange(Method::GET, path, query, Vec::new()).await
    }

    /// Sends a document to `path`.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Unsigned(error.into()))?;
        self.exchange(Method::POST, path, &[], body).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<T, CallError> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/-/admin/v1/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut attempt = 1;
        loop {
            let response = self.send(method.clone(), url.clone(), body.clone()).await?;
            let status = response.status();
            if status.is_server_error() && attempt < ATTEMPTS_MAX {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
                continue;
            }
            let body = read(response).await?.ok_or(CallError::Foreign { status })?;
            return parse(status, &body);
        }
    }

    async fn send(&self, method: Method, url: Url, body: Vec<u8>) -> Result<Response, CallError> {
        let mut request = self.http.request(method.clone(), url.clone()).timeout(self.timeout);
        let now_ms = SystemClock.now().0;
        let credentials = self.found.credentials.get(now_ms).await?;
        let signer = Signer { credentials, region: &self.found.region, service: SERVICE, now_ms };
        let signed = Body::Memory(body.clone().into());
        let headers = signer.headers(method.as_str(), url.as_str(), &[], &signed).map_err(CallError::Unsigned)?;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if method == Method::POST {
            request = request.body(body);
        }
        Ok(request.send().await?)
    }
}

/// Twice as long after each attempt, and up to half of it longer, so that many callers do not come back together.
fn pause(attempt: u32) -> Duration {
    let pause = BACKOFF * 2_u32.pow(attempt - 1);
    pause + pause.mul_f64(rand::random_range(0.0..0.5))
}

/// The body, unless it is longer than any that the admin API sends.
async fn read(mut response: Response) -> Result<Option<Vec<u8>>, CallError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

fn parse<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, CallError> {
    let foreign = |_| CallError::Foreign { status };
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(foreign);
    }
    let Refusal { code, message } = serde_json::from_slice(body).map_err(foreign)?;
    Err(CallError::Refused { code, message })
}
