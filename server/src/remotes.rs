//! Other S3 services that the settings declare (`[[remote]]`): one client for each, shared by all that go there, so that its
//! connections, its credentials and its limit of bandwidth are theirs together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_replication::client::{
    BuildError, Client, CredentialsError, Endpoint, EndpointError, Environment, Found, Given, Options, RetryPolicy,
    find,
};
use cairn_replication::remote::Remote;
use cairn_replication::target::Failure;
use cairn_storage::clock::{Clock, Entropy};
use parking_lot::Mutex;

use crate::config;

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nothing may move on a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Few and soon: somebody may be waiting, and who is not has tasks that are tried again for as long as it takes.
const RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(2) };

/// How long it is believed what kind of server has a bucket.
const BELIEVED: Duration = Duration::from_secs(600);

/// The most buckets of which that is remembered.
const TARGETS_MAX: usize = 1_000;

/// Why a remote cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the remote {name} cannot be used")]
pub struct RemoteError {
    name: String,
    #[source]
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// The clients, by their remotes' names. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Remotes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clients: BTreeMap<String, Client>,
    /// The buckets there that replication goes to.
    targets: Mutex<HashMap<BucketThere, Discovered>>,
}

/// A remote's name, and a bucket's.
type BucketThere = (String, String);

/// A target, and since when it is known what it is.
type Discovered = (Instant, Arc<Remote>);

impl Remotes {
    /// Clients of what the settings declare. Nothing is sent yet; credentials that they do not give are looked for where the
    /// `aws` command line looks for them.
    ///
    /// # Errors
    /// If nobody can sign for one, or its certificates cannot be read.
    pub fn new(
        declared: &[config::Remote],
        environment: Environment<'_>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, RemoteError> {
        let client = |remote: &config::Remote| {
            let made = client_of(remote, environment, clock, entropy);
            let name = remote.name.as_str().to_owned();
            match made {
                Ok(client) => Ok((name, client)),
                Err(fault) => Err(RemoteError { name, fault }),
            }
        };
        let clients = declared.iter().map(client).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { clients, targets: Mutex::default() })))
    }

    /// The client of the remote of this name.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.0.clients.get(name)
    }

    /// A bucket there, for replication. What kind of server has it is found out, and believed for a while.
    ///
    /// # Errors
    /// `Down` if there is no such remote, or it does not answer, or has no such bucket.
    pub async fn target(&self, name: &str, bucket: &str) -> Result<Arc<Remote>, Failure> {
        let there = (name.to_owned(), bucket.to_owned());
        let believed = |(since, _): &&Discovered| since.elapsed() < BELIEVED;
        if let Some((_, target)) = self.0.targets.lock().get(&there).filter(believed) {
            return Ok(Arc::clone(target));
        }
        let client = self.client(name).cloned();
        let client =
            client.ok_or_else(|| Failure::Down { reason: format!("the settings declare no remote {name}") })?;
        let target = Arc::new(Remote::discover(client, bucket).await?);
        let mut targets = self.0.targets.lock();
        if targets.len() >= TARGETS_MAX {
            targets.clear();
        }
        targets.insert(there, (Instant::now(), Arc::clone(&target)));
        Ok(target)
    }
}

fn client_of(
    remote: &config::Remote,
    environment: Environment<'_>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Client, Fault> {
    let given = Given {
        access_key: remote.access_key.as_ref().map(|key| key.as_str().to_owned()),
        secret_key: remote.secret_key.as_ref().map(|key| key.expose().to_owned()),
        region: remote.region.as_ref().map(|region| region.as_str().to_owned()),
        profile: remote.profile.clone(),
    };
    let Found { credentials, region } = find(given, environment)?;
    let endpoint = Endpoint::new(remote.endpoint.as_str(), &region)?
        .with_addressing(remote.addressing.into())
        .with_ca_file(remote.ca_file.clone());
    let options = Options {
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        retry: RETRY,
        bandwidth_limit_bytes: remote.bandwidth_limit,
    };
    Ok(Client::new(endpoint, credentials, options, clock.clone(), entropy.clone())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ffi::OsString;

    use cairn_storage::clock::{SystemClock, SystemEntropy};

    use super::*;

    fn remotes(file: &str, variables: &'static [(&str, &str)]) -> Result<Remotes, RemoteError> {
        #[derive(serde::Deserialize)]
        struct File {
            remote: Vec<config::Remote>,
        }
        let declared: File = toml::from_str(file).unwrap();
        let environment = |name: &str| {
            let value = variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| *value);
            value.or((name == "AWS_EC2_METADATA_DISABLED").then_some("true")).map(OsString::from)
        };
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Remotes::new(&declared.remote, &environment, &clock, &entropy)
    }

    #[test]
    fn a_remote_s_own_key_and_region_come_before_the_environment_s() {
        let file = "[[remote]]\nname = \"own\"\nendpoint = \"http://h:1\"\nregion = \"eu-west-3\"\n\
                    access_key = \"AKIAOWN\"\nsecret_key = \"secret-secret\"\n\
                    [[remote]]\nname = \"found\"\nendpoint = \"http://h:2\"\n";
        let variables = &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "eu-north-1")];
        let remotes = remotes(file, variables).unwrap();
        assert_eq!(remotes.client("own").unwrap().endpoint().region(), "eu-west-3");
        assert_eq!(remotes.client("found").unwrap().endpoint().region(), "eu-north-1");
        assert!(remotes.client("other").is_none());
        assert!(!format!("{remotes:?}").contains("secret-secret"));
    }

    #[test]
    fn a_remote_that_nobody_can_sign_for_is_named() {
        let error = remotes("[[remote]]\nname = \"paris\"\nendpoint = \"http://h:1\"\n", &[]).unwrap_err();
        assert!(crate::wiring::chain(&error).contains("the remote paris cannot be used: there are no credentials"));
    }
}
