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
#[cfg(test)]
mod tests;
mod totp;
pub mod usage;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_crypto::wrap::MasterKeyWrap;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::Attached;
use cairn_iam::identity::{AccessKey, Directory, Fault, Kind, PrincipalPolicies, RecordError, Stamp, Tag};
use cairn_iam::principal::Principal;
use cairn_storage::StorageError;
use cairn_storage::clock::{Clock, Entropy, Timestamp};
use cairn_storage::index::{Index, Revision};
use tokio::sync::Mutex;

use crate::config::{self, KeyPair, SecretKey};
use crate::sts::session::Session;

pub use accounts::{Account, Accounts};
use callers::Callers;
pub use rows::RowsError;
use rows::{Loaded, Rows};
pub(crate) use rows::{Row, page, resealed};
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

/// One state of the identities.
#[derive(Clone, Debug)]
pub struct Snapshot {
    accounts: Arc<Accounts>,
    directories: HashMap<AccountNumber, Kept>,
    keys: Arc<HashMap<String, Arc<SigningKey>>>,
    usage: Arc<Usage>,
    callers: Callers,
}

/// An account's identities, and the revision that a change of them guards.
#[derive(Clone, Debug)]
struct Kept {
    directory: Arc<Directory>,
    revision: Option<Revision>,
}

/// A key that requests are signed with.
#[derive(Debug)]
pub struct SigningKey {
    /// Its secret half.
    pub secret: SecretKey,
    /// The account.
    pub account: Arc<Account>,
    /// The id of the user whose it is, who may get another name; None: the root's.
    pub user_id: Option<String>,
    /// Whether requests may be signed with it.
    pub is_active: bool,
    /// It stands in the configuration, and cannot be changed.
    pub is_declared: bool,
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

impl Snapshot {
    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The identities of an account.
    pub fn directory(&self, account: AccountNumber) -> Option<&Arc<Directory>> {
        self.directories.get(&account).map(|kept| &kept.directory)
    }

    /// A key that requests may be signed with: known and active.
    pub fn key(&self, access_key: &str) -> Option<&Arc<SigningKey>> {
        self.any_key(access_key).filter(|key| key.is_active)
    }

    /// A key, whether requests may be signed with it or not.
    pub fn any_key(&self, access_key: &str) -> Option<&Arc<SigningKey>> {
        self.keys.get(access_key)
    }

    /// Who has this access key. None: nobody who may sign with it.
    pub fn caller(&self, access_key: &str) -> Option<Caller> {
        let key = self.key(access_key)?;
        let mut caller = match &key.user_id {
            None => Caller { uses: vec![self.usage.of(key.account.number(), ROOT)], ..Caller::root(&key.account) },
            Some(id) => self.user(&key.account, id)?,
        };
        caller.uses.push(self.usage.of(key.account.number(), access_key));
        Some(caller)
    }

    /// The user of this id as the caller of a request.
    fn user(&self, account: &Arc<Account>, id: &str) -> Option<Caller> {
        let directory = self.directory(account.number())?;
        let user = directory.users.by_id(id)?;
        Some(Caller {
            principal: directory.principal_of(user),
            account: Some(Arc::clone(account)),
            policies: Arc::clone(directory.policies_of_user(&user.name)?),
            tags: user.tags.clone(),
            uses: vec![self.usage.of(account.number(), &user.id)],
            ..Caller::anonymous()
        })
    }

    /// Whether an account's root has keys.
    pub fn root_has_keys(&self, account: AccountNumber) -> bool {
        self.keys.values().any(|key| key.user_id.is_none() && key.account.number() == account)
    }

    /// Whether an account has a key, a user or a role of this id.
    fn knows(&self, account: AccountNumber, id: &str) -> bool {
        let is_known =
            |directory: &Arc<Directory>| directory.users.by_id(id).is_some() || directory.roles.by_id(id).is_some();
        id == ROOT || self.keys.contains_key(id) || self.directory(account).is_some_and(is_known)
    }

    /// The keys that the configuration gives the user of this id, or the root (None).
    pub fn declared_keys<'s>(
        &'s self,
        account: AccountNumber,
        user_id: Option<&'s str>,
    ) -> impl Iterator<Item = &'s str> {
        let is_theirs = move |key: &SigningKey| {
            key.is_declared && key.account.number() == account && key.user_id.as_deref() == user_id
        };
        self.keys.iter().filter(move |(_, key)| is_theirs(key)).map(|(id, _)| id.as_str())
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
        let mut snapshot = Snapshot {
            accounts: Arc::clone(&accounts),
            directories: HashMap::new(),
            keys: Arc::default(),
            usage: Arc::clone(&usage),
            callers: Callers::default(),
        };
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
        let digits = hex::encode(self.entropy.random_16());
        let [a, b, c, d] = [8, 12, 16, 20];
        [&digits[..a], &digits[a..b], &digits[b..c], &digits[c..d], &digits[d..]].join("-")
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

impl Snapshot {
    /// Puts what was read of an account in place of what was known of it.
    fn take_in(&mut self, account: &Arc<Account>, loaded: Loaded, rows: &Rows) -> Result<(), RowsError> {
        let number = account.number();
        let keys = Arc::make_mut(&mut self.keys);
        keys.retain(|_, key| key.is_declared || key.account.id != account.id);
        for key in loaded.directory.keys.iter() {
            insert_key(keys, account, (&loaded.directory, key), rows)?;
        }
        let kept = Kept { directory: Arc::new(loaded.directory), revision: loaded.revision };
        self.directories.insert(number, kept);
        Ok(())
    }

    /// Puts an account's next state in place of the one before; `changed` are the keys of the rows that differ.
    fn replace(
        &mut self,
        account: &Arc<Account>,
        next: Directory,
        revision: Revision,
        changed: &[Vec<u8>],
        rows: &Rows,
    ) -> Result<(), RowsError> {
        let changed_keys = changed.iter().filter_map(|key| match key.split_first() {
            Some((&kind, name)) if kind == Kind::AccessKey as u8 => std::str::from_utf8(name).ok(),
            _ => None,
        });
        let changed_keys: Vec<&str> = changed_keys.collect();
        if !changed_keys.is_empty() {
            let keys = Arc::make_mut(&mut self.keys);
            for id in changed_keys {
                match next.keys.get(id) {
                    Some(key) => insert_key(keys, account, (&next, key), rows)?,
                    None => _ = keys.remove(id),
                }
            }
        }
        let number = account.number();
        self.directories.insert(number, Kept { directory: Arc::new(next), revision: Some(revision) });
        Ok(())
    }

    /// Adds a key of the configuration, which wins over one that is kept.
    fn declare_key(&mut self, account: &Arc<Account>, user_id: Option<&str>, pair: KeyPair) {
        let key = SigningKey {
            secret: pair.secret_key,
            account: Arc::clone(account),
            user_id: user_id.map(str::to_owned),
            is_active: true,
            is_declared: true,
        };
        Arc::make_mut(&mut self.keys).insert(pair.access_key.as_str().to_owned(), Arc::new(key));
    }
}

fn insert_key(
    keys: &mut HashMap<String, Arc<SigningKey>>,
    account: &Arc<Account>,
    (directory, key): (&Directory, &AccessKey),
    rows: &Rows,
) -> Result<(), RowsError> {
    if keys.get(&key.id).is_some_and(|known| known.is_declared) {
        return Ok(());
    }
    let user_id = match &key.user {
        None => None,
        Some(name) => match directory.user(name) {
            Ok(user) => Some(user.id.clone()),
            // Nobody's key signs nothing.
            Err(_) => return Ok(()),
        },
    };
    let number = account.number();
    let malformed = || RowsError::Record { account: number, source: RecordError::Malformed(Kind::AccessKey.noun()) };
    let secret = rows.open(number, Kind::AccessKey, &key.id, &key.sealed_secret)?;
    let secret = String::from_utf8(secret.to_vec()).map_err(|_| malformed())?;
    let signing = SigningKey {
        secret: SecretKey::new(secret).map_err(|_| malformed())?,
        account: Arc::clone(account),
        user_id,
        is_active: key.is_active,
        is_declared: false,
    };
    keys.insert(key.id.clone(), Arc::new(signing));
    Ok(())
}

#[cfg(test)]
impl Snapshot {
    /// What a configuration alone makes, with keys of roots and none of users.
    pub(crate) fn of_roots(declared: Vec<config::Account>) -> Self {
        let accounts = Arc::new(Accounts::new(&declared));
        let mut snapshot = Self {
            accounts: Arc::clone(&accounts),
            directories: HashMap::new(),
            keys: Arc::default(),
            usage: Arc::default(),
            callers: Callers::default(),
        };
        for account in declared {
            let Some(owner) = accounts.by_id(account.id) else { continue };
            let directory = Arc::new(Directory::new(owner.number()));
            snapshot.directories.insert(owner.number(), Kept { directory, revision: None });
            if let Some(pair) = account.root_key {
                snapshot.declare_key(owner, None, pair);
            }
        }
        snapshot
    }
}
