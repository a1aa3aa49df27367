//! Identities: who may sign requests, and what policies they have.
//!
//! All of it is in memory, in a [`Snapshot`] that never changes: a request takes the current one, without a lock, and sees
//! one state. A change is made on a copy, committed, and put in its place before it is acknowledged. The accounts
//! themselves are the configuration's; their users, groups, roles, policies and keys are rows of the index (`rows`), except
//! the keys that the configuration gives, which stay in its file. What a principal may do is `authorize`'s business.

pub mod accounts;
mod callers;
pub mod check;
mod declared;
mod mfa;
pub mod own;
pub mod own_record;
pub mod passwords;
mod principals;
mod rows;
pub mod sealing;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod totp;
pub mod usage;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_crypto::wrap::MasterKeyWrap;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::Attached;
use cairn_iam::identity::{Directory, Fault, Kind, PrincipalPolicies, Stamp, Tag};
use cairn_iam::principal::Principal;
use cairn_storage::StorageError;
use cairn_storage::clock::{Clock, Entropy, Timestamp};
use cairn_storage::index::Index;
use tokio::sync::Mutex;

use crate::config::{self, SecretKey};
use crate::sts::session::Session;

pub use accounts::{Account, Accounts};
use rows::Rows;
pub use rows::RowsError;
pub(crate) use rows::{Row, page, resealed};
pub use snapshot::{SigningKey, Snapshot};
use usage::{Usage, Uses};

/// How often a change is decided anew because another was faster. Changes of one process wait for one another.
const ATTEMPTS_MAX: usize = 8;

/// Characters of an id after its prefix, as Amazon's have them.
const ID_RANDOM_CHARS: usize = 17;

/// Characters of a user's access key after its prefix.
const ACCESS_KEY_RANDOM_CHARS: usize = 16;

/// How the access keys of users begin, so that clients and people know them for what they are.
const ACCESS_KEY_PREFIX: &str = "AKIA";

/// Whose uses are the root's.
const ROOT: &str = "root";

const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What identities are made of; `wiring` puts it together.
pub struct IdentityParts {
    /// The accounts, with their root keys and what else is declared.
    pub declared: Vec<config::Account>,
    /// Where the rest is kept.
    pub index: Arc<dyn Index>,
    /// What secrets are sealed under.
    pub master_key: MasterKeyWrap,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for ids.
    pub entropy: Arc<dyn Entropy>,
}

/// The identities of all accounts.
pub struct Identities {
    accounts: Arc<Accounts>,
    current: ArcSwap<Snapshot>,
    rows: Rows,
    usage: Arc<Usage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Held by who changes something, from deciding on the current state to replacing it.
    changing: Mutex<()>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

/// Why identities were not changed, for changes that have no more to say about it.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The change is not possible as things are.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It could not be kept.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

/// Who makes a request, with everything that identities say about it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The account. None: nobody in particular.
    pub account: Option<Arc<Account>>,
    /// The key that signed the request.
    pub access_key: Option<String>,
    /// What it is granted and denied.
    pub policies: Arc<PrincipalPolicies>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The session that the request was signed with; None: the access key is one that lasts.
    pub session: Option<Arc<Session>>,
    /// What the session is granted at most; None: nothing bounds it.
    pub session_policies: Option<Vec<Attached>>,
    /// Where it is noted what was used: the key, and the user, the role or the root.
    pub uses: Vec<Arc<Uses>>,
}

impl Caller {
    /// Somebody whose request has no signature.
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            account: None,
            access_key: None,
            policies: Arc::default(),
            tags: Vec::new(),
            session: None,
            session_policies: None,
            uses: Vec::new(),
        }
    }

    /// An account's root.
    pub fn root(account: &Arc<Account>) -> Self {
        let principal = Principal::Root(account.number());
        Self { principal, account: Some(Arc::clone(account)), ..Self::anonymous() }
    }

    /// Notes that it asked for an action, `s3:GetObject`, whether it may or not.
    pub fn note(&self, action: &str, now_ms: u64) {
        self.uses.iter().for_each(|uses| uses.note(action, now_ms));
    }

    /// Its policies in another state of its account's identities. None: it is not there any more.
    pub fn policies_in(&self, directory: &Directory) -> Option<Arc<PrincipalPolicies>> {
        if self.principal.account() != Some(directory.account()) {
            return None;
        }
        match &self.principal {
            Principal::Root(_) => Some(Arc::default()),
            Principal::User { id, .. } => directory.policies_of_user(&directory.users.by_id(id)?.name).cloned(),
            Principal::RoleSession { role_id, .. } => {
                directory.policies_of_role(&directory.roles.by_id(role_id)?.name).cloned()
            }
            Principal::FederatedUser { by: Some(user), .. } => {
                directory.policies_of_user(&directory.users.by_id(&user.id)?.name).cloned()
            }
            Principal::FederatedUser { by: None, .. }
            | Principal::Anonymous
            | Principal::WebIdentity { .. }
            | Principal::Service(_) => None,
        }
    }
}

impl Identities {
    /// Reads what is kept, and adds what is declared and not there yet.
    ///
    /// # Errors
    /// If it cannot be read, or a secret in it is sealed under another master key.
    pub async fn start(parts: IdentityParts) -> Result<Arc<Self>, StartError> {
        let IdentityParts { declared, index, master_key, clock, entropy } = parts;
        let accounts = Arc::new(Accounts::new(&declared));
        let rows = Rows::new(index, master_key);
        let usage = Arc::new(Usage::default());
        let mut snapshot = Snapshot::new(Arc::clone(&accounts), Arc::clone(&usage));
        for account in accounts.iter() {
            let mut loaded = rows.load(account.number()).await?;
            usage.load(account.number(), std::mem::take(&mut loaded.usage));
            snapshot.take_in(account, loaded, &rows)?;
        }
        let identities = Arc::new(Self {
            accounts,
            current: ArcSwap::from_pointee(snapshot),
            rows,
            usage,
            clock,
            entropy,
            changing: Mutex::new(()),
        });
        identities.declare(declared).await?;
        Ok(identities)
    }

    /// The current state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Changes an account's identities and tells what `change` answered, once the change is durable and in force. `change`
    /// may run several times, each time on the state that is then current. It runs to its end even if nobody waits for it.
    ///
    /// # Errors
    /// What `change` answered; or what kept the change from being kept, and then it is not in force.
    pub async fn change<T, E>(
        self: &Arc<Self>,
        account: AccountNumber,
        change: impl Fn(&mut Directory) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<RowsError> + Send + 'static,
    {
        let identities = Arc::clone(self);
        let work = async move { identities.change_now(account, &change).await };
        tokio::spawn(work).await.map_err(|_| RowsError::from(StorageError::OutcomeUnknown))?
    }

    async fn change_now<T, E: From<RowsError>>(
        &self,
        account: AccountNumber,
        change: &(impl Fn(&mut Directory) -> Result<T, E> + Send + Sync),
    ) -> Result<T, E> {
        let owner = self.accounts.by_number(account).ok_or(RowsError::NoAccount(account))?;
        let _one_at_a_time = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.snapshot();
            let kept = snapshot.directories.get(&account).ok_or(RowsError::NoAccount(account))?;
            let mut next = Directory::clone(&kept.directory);
            let answer = change(&mut next)?;
            let record_error = |source| RowsError::Record { account, source };
            let changes = next.take_changes().map_err(record_error)?;
            if changes.is_empty() {
                return Ok(answer);
            }
            let keys: Vec<Vec<u8>> = changes.iter().map(|change| change.key.clone()).collect();
            match self.rows.commit(account, kept.revision, changes).await? {
                Some(revision) => {
                    let mut snapshot = Snapshot::clone(&snapshot);
                    snapshot.replace(owner, next, revision, &keys, &self.rows)?;
                    self.current.store(Arc::new(snapshot));
                    return Ok(answer);
                }
                // Somebody else writes into this index: what is in memory is no longer what is kept.
                None => {
                    let mut snapshot = Snapshot::clone(&snapshot);
                    snapshot.take_in(owner, self.rows.load(account).await?, &self.rows)?;
                    self.current.store(Arc::new(snapshot));
                }
            }
        }
        Err(RowsError::from(StorageError::Overloaded).into())
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        self.now().unsigned_ms()
    }

    /// The time, and a new id that begins so (IAM user guide, "IAM identifiers": "Understanding unique ID prefixes").
    pub fn stamp(&self, prefix: &str) -> Stamp {
        Stamp { now_ms: self.now_ms(), id: self.new_id(prefix, ID_RANDOM_CHARS) }
    }

    /// A new access key for the user, and its secret sealed for the row that it will have.
    ///
    /// # Errors
    /// If there is no randomness, or it cannot be sealed.
    pub fn new_access_key(&self, account: AccountNumber) -> Result<(Stamp, SecretKey, Vec<u8>), RowsError> {
        let id = self.new_id(ACCESS_KEY_PREFIX, ACCESS_KEY_RANDOM_CHARS);
        let secret = SecretKey::generate().map_err(cairn_crypto::wrap::WrapError::from)?;
        let sealed = self.rows.seal(account, Kind::AccessKey, &id, secret.expose().as_bytes())?;
        Ok((Stamp { now_ms: self.now_ms(), id }, secret, sealed))
    }

    /// The id of a job that somebody asks about later, as UUIDs are written.
    pub fn new_job_id(&self) -> String {
        uuid::Builder::from_random_bytes(self.entropy.random_16()).into_uuid().to_string()
    }

    fn new_id(&self, prefix: &str, random_chars: usize) -> String {
        // Five bits of each byte are one character.
        let random = [self.entropy.random_16(), self.entropy.random_16()].concat();
        let chars = random.iter().take(random_chars).map(|byte| char::from(ID_ALPHABET[usize::from(byte & 31)]));
        prefix.chars().chain(chars).collect()
    }
}

/// Why there are no identities.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is kept cannot be read.
    #[error("the identities cannot be read")]
    Rows(#[from] RowsError),
    /// What is declared is not possible.
    #[error("account {account}: user {user}: {fault}")]
    Declared {
        /// The account.
        account: AccountNumber,
        /// The user.
        user: String,
        /// What is wrong.
        fault: Fault,
    },
}
