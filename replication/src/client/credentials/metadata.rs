//! Services that give out credentials for a while: a container's, and an instance's (IMDSv2).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::CredentialsError;

/// How long a service may take for one answer. It is on this machine or beside it; where there is none, this is how long one waits.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How long a token of an instance's service is good for, in seconds: the most that it gives.
const TOKEN_SECONDS: &str = "21600";

const CONTAINER: &str = "the container's credentials service";
const INSTANCE: &str = "the instance's metadata service";

type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// What is asked for credentials.
pub(super) enum Fetcher {
    Container(Container),
    Instance(Instance),
}

impl Fetcher {
    pub(super) async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        match self {
            Self::Container(container) => container.fetch().await,
            Self::Instance(instance) => instance.fetch().await,
        }
    }
}

/// The service of a container (AWS SDKs reference guide, "Container credential provider").
pub(super) struct Container {
    url: Url,
    token: Option<Token>,
}

/// What a container's service wants to be shown.
enum Token {
    Text(String),
    /// Read each time, because it is renewed.
    File(PathBuf),
}

impl Container {
    /// The one that the environment names, if it names one.
    pub(super) fn of(variable: Variable<'_>) -> Result<Option<Self>, CredentialsError> {
        let url = match variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) => format!("http://169.254.170.2{path}"),
            None => match variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
                Some(url) => url,
                None => return Ok(None),
            },
        };
        let url = Url::parse(&url).ok().filter(is_trusted).ok_or(CredentialsError::Untrusted(CONTAINER))?;
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|path| Token::File(path.into()));
        let token = file.or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Token::Text));
        Ok(Some(Self { url, token }))
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let http = client(&self.url).map_err(|fault| unfetched(CONTAINER, fault))?;
        let mut request = http.get(self.url.clone());
        match &self.token {
            Some(Token::Text(token)) => request = request.header("authorization", token),
            Some(Token::File(path)) => {
                let unreadable = |source| CredentialsError::Unreadable { path: path.clone(), source };
                let token = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
                request = request.header("authorization", token.trim());
            }
            None => {}
        }
        let document = ask(request).await.map_err(|fault| unfetched(CONTAINER, fault))?;
        parse(CONTAINER, &document)
    }
}

/// The service of an instance (EC2 user guide, "Use the Instance Metadata Service").
pub(super) struct Instance {
    endpoint: String,
    profile: String,
}

impl Instance {
    pub(super) fn of(variable: Variable<'_>, profile: String) -> Self {
        let is_v6 =
            variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let usual = if is_v6 { "http://[fd00:ec2::254]" } else { "http://169.254.169.254" };
        let endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| usual.to_owned());
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), profile }
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let fault = |fault| unfetched(INSTANCE, fault);
        let url = Url::parse(&self.endpoint).map_err(|error| fault(Fault::Other(error.to_string())))?;
        let http = client(&url).map_err(fault)?;
        let token = http
            .put(format!("{}/latest/api/token", self.endpoint))
            .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        // A service that does not answer may be none, or one that is away; one that refuses has no credentials to give.
        let untold = |fault| match fault {
            Fault::Status(400..=499) => CredentialsError::Absent { profile: self.profile.clone() },
            Fault::Status(_) => unfetched(INSTANCE, fault),
            Fault::Other(fault) => CredentialsError::Unanswered { profile: self.profile.clone(), fault },
        };
        let token = ask(token).await.map_err(untold)?;
        let folder = format!("{}/latest/meta-data/iam/security-credentials/", self.endpoint);
        let get = |url: &str| http.get(url).header("x-aws-ec2-metadata-token", token.trim());
        let roles = ask(get(&folder)).await.map_err(fault)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(CredentialsError::Absent { profile: self.profile.clone() });
        }
        let document = ask(get(&format!("{folder}{role}"))).await.map_err(fault)?;
        parse(INSTANCE, &document)
    }
}

/// Credentials and tokens travel in plain only on this machine, and to the addresses that containers' services have.
fn is_trusted(url: &Url) -> bool {
    const ECS: [u8; 4] = [169, 254, 170, 2];
    const EKS: [u8; 4] = [169, 254, 170, 23];
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_near = match address {
        Some(IpAddr::V4(address)) => address.is_loopback() || [ECS, EKS].contains(&address.octets()),
        Some(IpAddr::V6(address)) => {
            address.is_loopback() || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]
        }
        None => host == "localhost",
    };
    url.scheme() == "https" || url.scheme() == "http" && is_near
}

/// Why there is no answer to be used.
enum Fault {
    /// It is another one than 200.
    Status(u16),
    /// There is none, or none that can be read.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Other(fault) => f.write_str(fault),
        }
    }
}

fn client(url: &Url) -> Result<Client, Fault> {
    let builder = Client::builder().redirect(Policy::none()).no_proxy().connect_timeout(TIMEOUT / 2).timeout(TIMEOUT);
    let builder = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
    builder.build().map_err(|error| Fault::Other(error.to_string()))
}

/// The text of a 200. Faults name neither the URL nor what was sent.
async fn ask(request: RequestBuilder) -> Result<String, Fault> {
    let unanswered = |error: reqwest::Error| Fault::Other(error.without_url().to_string());
    let mut response = request.send().await.map_err(unanswered)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(Fault::Status(response.status().as_u16()));
    }
    let mut text = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unanswered)? {
        if text.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Other("its answer is too long".to_owned()));
        }
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).map_err(|_| Fault::Other("its answer is not text".to_owned()))
}

/// How both services give out credentials.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

fn parse(place: &'static str, document: &str) -> Result<Credentials, CredentialsError> {
    // The parser's own message may quote a secret.
    let document: Document =
        serde_json::from_str(document).map_err(|_| unfetched(place, Fault::Other("its answer has none".to_owned())))?;
    let expiry = document.expiration.map(|time| OffsetDateTime::parse(&time, &Rfc3339)).transpose();
    let expiry = expiry.map_err(|_| unfetched(place, Fault::Other("its answer has no time of expiry".to_owned())))?;
    let expiry = expiry.map(SystemTime::from);
    Ok(Credentials::new(document.access_key_id, document.secret_access_key, document.token, expiry, place))
}

fn unfetched(place: &'static str, fault: Fault) -> CredentialsError {
    CredentialsError::Unfetched { place, fault: fault.to_string() }
}
