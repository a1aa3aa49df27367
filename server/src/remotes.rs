//! Other S3 services, which the settings declare (`[[remote]]`) or a call of the admin API has added: one client for each, shared by all that
//! go there, so that its connections, its credentials and its limit of bandwidth are theirs together.
//!
//! Those that were added are kept in the index ([`kept`]), and used at once: whoever asks for a client next gets the new one. Tiers are the
//! settings' and have remotes of the settings.

pub mod kept;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_replication::client::{
    BuildError, Client, CredentialsError, Endpoint, EndpointError, Environment, Found, Given, Options, RetryPolicy,
    find,
};
use cairn_replication::remote::Remote;
use cairn_replication::target::Failure;
use cairn_storage::StorageError;
use cairn_storage::clock::{Clock, Entropy};
use cairn_storage::id::AccountId;
use cairn_storage::index::Index;
use parking_lot::{Mutex, RwLock};

use crate::config;
use crate::identities::Accounts;

use kept::{Given as GivenRemote, Kept, KeptError};

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long nothing may move on a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Few and soon: somebody may be waiting, and who is not has tasks that are tried again for as long as it takes.
const RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 3, backoff_min: Duration::from_millis(100), backoff_max: Duration::from_secs(2) };

/// How long it is believed what kind of server has a bucket.
const BELIEVED: Duration = Duration::from_secs(600);

/// How long it is if only a bare 403 said so.
const UNCERTAIN_BELIEVED: Duration = Duration::from_secs(60);

/// The most buckets of which that is remembered.
const TARGETS_MAX: usize = 1_000;

/// The most remotes that calls add.
pub const ADDED_MAX: usize = 100;

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

/// Why a remote was not added or removed. Nothing has changed, unless the index's answer says that nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The settings declare one of this name.
    #[error("the settings declare the remote {0}")]
    Declared(String),
    /// One of this name was added.
    #[error("there is a remote {0} already, which is another one")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no remote {0}")]
    Missing(String),
    /// There are too many.
    #[error("{ADDED_MAX} remotes were added, which is the most")]
    TooMany,
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be used.
    #[error(transparent)]
    Unusable(#[from] RemoteError),
    /// It cannot be sealed.
    #[error("the remote cannot be sealed")]
    Seal(#[from] WrapError),
    /// The index's answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a bucket may not replicate to another one at a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    /// It is a storage tier.
    #[error("The destination bucket is a storage tier of this server.")]
    Tier,
    /// The remote is not for the source's account.
    #[error("The remote is not for the account that owns the source bucket.")]
    Account,
}

/// A remote as it is shown: without its secret.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Where it answers.
    pub endpoint: String,
    /// The region that its signatures name.
    pub region: Option<String>,
    /// The public half of its own key.
    pub access_key: Option<String>,
    /// Bytes a second at most.
    pub bandwidth_limit: Option<u64>,
    /// The accounts whose buckets may replicate there; none: the first account alone.
    pub accounts: Vec<AccountId>,
    /// A call has added it; else the settings declare it.
    pub is_added: bool,
    /// Why it cannot be used, if it cannot.
    pub fault: Option<String>,
}

/// The clients, by their remotes' names. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Remotes(Arc<Inner>);

struct Inner {
    declared: BTreeMap<String, Known>,
    added: RwLock<BTreeMap<String, Added>>,
    /// Where those that were added are kept, once the store is open.
    kept: OnceLock<Kept>,
    /// Only one change at a time: what is kept and what is used end the same.
    changing: tokio::sync::Mutex<()>,
    /// The buckets there that replication goes to.
    targets: Mutex<HashMap<BucketThere, Discovered>>,
    /// The buckets there that are storage tiers.
    tiers: OnceLock<HashSet<BucketThere>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

struct Known {
    client: Client,
    about: About,
}

struct Added {
    /// None: it cannot be used, and why is in `about`.
    client: Option<Client>,
    about: About,
    given: GivenRemote,
}

/// A remote's name, and a bucket's.
type BucketThere = (String, String);

/// A target, and since when it is known what it is.
type Discovered = (Instant, Arc<Remote>);

impl fmt::Debug for Remotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

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
        let known = |remote: &config::Remote| {
            let client = client_of(remote, environment, clock, entropy)?;
            let about = About { region: Some(client.endpoint().region().to_owned()), ..about(remote, false) };
            Ok((about.name.clone(), Known { client, about }))
        };
        Ok(Self(Arc::new(Inner {
            declared: declared.iter().map(known).collect::<Result<_, _>>()?,
            added: RwLock::default(),
            kept: OnceLock::new(),
            changing: tokio::sync::Mutex::default(),
            targets: Mutex::default(),
            tiers: OnceLock::new(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        })))
    }

    /// Reads those that calls have added. One that cannot be used now, or that the settings declare by now, is shown and not used.
    ///
    /// # Errors
    /// The index's; that one cannot be opened with this master key.
    pub async fn open(&self, index: Arc<dyn Index>, master_key: MasterKeyWrap) -> Result<(), KeptError> {
        let kept = Kept::new(index, master_key);
        let added = kept.load().await?.into_iter().map(|given| (given.name().to_owned(), self.added(given).1));
        *self.0.added.write() = added.collect();
        // There is one store, which is opened once.
        let _ = self.0.kept.set(kept);
        Ok(())
    }

    /// The client of the remote of this name.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<Client> {
        match self.0.declared.get(name) {
            Some(known) => Some(known.client.clone()),
            None => self.0.added.read().get(name).and_then(|added| added.client.clone()),
        }
    }

    /// These buckets are storage tiers, in which nothing may lie but what the tiers put there.
    pub fn reserve(&self, buckets: impl Iterator<Item = (String, String)>) {
        // There are settings once.
        let _ = self.0.tiers.set(buckets.collect());
    }

    /// Ok if buckets of this account may replicate to a bucket there: what goes there goes by the remote's credentials, which are not the
    /// account's.
    ///
    /// # Errors
    /// Why not.
    pub fn check_target(
        &self,
        name: &str,
        bucket: &str,
        owner: AccountId,
        accounts: &Accounts,
    ) -> Result<(), NotATarget> {
        let of_added = || self.0.added.read().get(name).map(|added| added.about.accounts.clone());
        let declared = self.0.declared.get(name).map(|known| known.about.accounts.clone());
        let given = declared.or_else(of_added).unwrap_or_default();
        let there = (name.to_owned(), bucket.to_owned());
        let is_given = given.contains(&owner) || given.is_empty() && accounts.is_first(owner);
        match self.0.tiers.get().is_some_and(|tiers| tiers.contains(&there)) {
            true => Err(NotATarget::Tier),
            false if !is_given => Err(NotATarget::Account),
            false => Ok(()),
        }
    }

    /// All remotes, by their names: those that the settings declare, and those that were added.
    #[must_use]
    pub fn all(&self) -> Vec<About> {
        let declared = self.0.declared.values().map(|known| known.about.clone());
        declared.chain(self.0.added.read().values().map(|added| added.about.clone())).collect()
    }

    /// Adds a remote, given as a `[[remote]]` in JSON. Durable when it returns, and used from then on. One that is there as it is given is
    /// left so; another one of the name is replaced only if that is asked for. It runs to its end even if nobody waits for it.
    ///
    /// # Errors
    /// Why it was not added.
    pub async fn add(&self, given: &serde_json::Value, replace: bool) -> Result<About, ChangeError> {
        let given = GivenRemote::parse(given).map_err(ChangeError::Invalid)?;
        let remotes = self.clone();
        to_its_end(async move { remotes.add_now(given, replace).await }).await
    }

    async fn add_now(&self, given: GivenRemote, replace: bool) -> Result<About, ChangeError> {
        let _changing = self.0.changing.lock().await;
        let name = given.name().to_owned();
        if self.0.declared.contains_key(&name) {
            return Err(ChangeError::Declared(name));
        }
        {
            let added = self.0.added.read();
            match added.get(&name) {
                Some(there) if there.given == given => return Ok(there.about.clone()),
                Some(_) if !replace => return Err(ChangeError::Exists(name)),
                None if added.len() >= ADDED_MAX => return Err(ChangeError::TooMany),
                _ => {}
            }
        }
        let (usable, added) = self.added(given);
        usable?;
        self.kept()?.put(&added.given).await?;
        let about = added.about.clone();
        self.0.added.write().insert(name.clone(), added);
        self.forget_targets(&name);
        Ok(about)
    }

    /// Removes a remote that was added. Durable when it returns. Whether anything goes there is the caller's to ask. It runs to its end even
    /// if nobody waits for it.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(&self, name: &str) -> Result<(), ChangeError> {
        let (remotes, name) = (self.clone(), name.to_owned());
        to_its_end(async move { remotes.remove_now(&name).await }).await
    }

    async fn remove_now(&self, name: &str) -> Result<(), ChangeError> {
        let _changing = self.0.changing.lock().await;
        if self.0.declared.contains_key(name) {
            return Err(ChangeError::Declared(name.to_owned()));
        }
        if !self.0.added.read().contains_key(name) {
            return Err(ChangeError::Missing(name.to_owned()));
        }
        self.kept()?.remove(name).await?;
        self.0.added.write().remove(name);
        self.forget_targets(name);
        Ok(())
    }

    /// A bucket there, for replication. What kind of server has it is found out, and believed for a while.
    ///
    /// # Errors
    /// `Down` if there is no such remote, or it does not answer, has no such bucket, or keeps no versions there.
    pub async fn target(&self, name: &str, bucket: &str) -> Result<Arc<Remote>, Failure> {
        let there = (name.to_owned(), bucket.to_owned());
        let believed = |(since, target): &&Discovered| {
            since.elapsed() < if target.is_certain() { BELIEVED } else { UNCERTAIN_BELIEVED }
        };
        if let Some((_, target)) = self.0.targets.lock().get(&there).filter(believed) {
            return Ok(Arc::clone(target));
        }
        let client = self.client(name).ok_or_else(|| Failure::Down { reason: format!("there is no remote {name}") })?;
        let target = Arc::new(Remote::discover(client.clone(), bucket).await?);
        target.check_versioned().await?;
        let mut targets = self.0.targets.lock();
        if targets.len() >= TARGETS_MAX {
            targets.clear();
        }
        // It may have been replaced meanwhile.
        if self.client(name).is_some_and(|now| now.is_same(&client)) {
            targets.insert(there, (Instant::now(), Arc::clone(&target)));
        }
        Ok(target)
    }

    fn kept(&self) -> Result<&Kept, StorageError> {
        self.0.kept.get().ok_or(StorageError::Overloaded)
    }

    /// What was believed of a bucket there has turned out to be wrong, or may have: it is found out again.
    pub fn forget(&self, name: &str, bucket: &str) {
        self.0.targets.lock().remove(&(name.to_owned(), bucket.to_owned()));
    }

    fn forget_targets(&self, name: &str) {
        self.0.targets.lock().retain(|(remote, _), _| remote != name);
    }

    /// A remote, and whether it can be used.
    fn added(&self, given: GivenRemote) -> (Result<(), RemoteError>, Added) {
        let remote = given.remote();
        let made = client_of(remote, &|name| std::env::var_os(name), &self.0.clock, &self.0.entropy);
        let about = about(remote, true);
        match made {
            Ok(client) => {
                let about = About { region: Some(client.endpoint().region().to_owned()), ..about };
                (Ok(()), Added { client: Some(client), about, given })
            }
            Err(error) => {
                let about = About { fault: Some(crate::wiring::chain(&error)), ..about };
                (Err(error), Added { client: None, about, given })
            }
        }
    }
}

/// Lets a change end though nobody waits for it any more: what is kept and what is used would not be the same.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
) -> Result<T, ChangeError> {
    tokio::spawn(change).await.map_err(|_| ChangeError::from(StorageError::OutcomeUnknown))?
}

fn about(remote: &config::Remote, is_added: bool) -> About {
    About {
        name: remote.name.as_str().to_owned(),
        endpoint: remote.endpoint.as_str().to_owned(),
        region: remote.region.as_ref().map(|region| region.as_str().to_owned()),
        access_key: remote.access_key.as_ref().map(|key| key.as_str().to_owned()),
        bandwidth_limit: remote.bandwidth_limit,
        accounts: remote.accounts.clone(),
        is_added,
        fault: None,
    }
}

fn client_of(
    remote: &config::Remote,
    environment: Environment<'_>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Client, RemoteError> {
    let made = make_client(remote, environment, clock, entropy);
    made.map_err(|fault| RemoteError { name: remote.name.as_str().to_owned(), fault })
}

fn make_client(
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
