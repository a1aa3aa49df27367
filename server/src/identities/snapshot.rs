//! One state of the identities, as requests see it.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{AccessKey, Directory, Kind, RecordError};
use cairn_storage::index::Revision;

#[cfg(test)]
use crate::config;
use crate::config::{KeyPair, SecretKey};

use super::callers::Callers;
use super::rows::{Loaded, Rows};
use super::usage::Usage;
use super::{Account, Accounts, Caller, ROOT, RowsError};

/// One state of the identities.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) accounts: Arc<Accounts>,
    pub(super) directories: HashMap<AccountNumber, Kept>,
    keys: Arc<HashMap<String, Arc<SigningKey>>>,
    pub(super) usage: Arc<Usage>,
    pub(super) callers: Callers,
}

/// An account's identities, and the revision that a change of them guards.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) directory: Arc<Directory>,
    pub(super) revision: Option<Revision>,
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

impl Snapshot {
    /// One in which nobody is known yet.
    pub(super) fn new(accounts: Arc<Accounts>, usage: Arc<Usage>) -> Self {
        Self { accounts, directories: HashMap::new(), keys: Arc::default(), usage, callers: Callers::default() }
    }

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
    pub(super) fn knows(&self, account: AccountNumber, id: &str) -> bool {
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

    /// Puts what was read of an account in place of what was known of it.
    pub(super) fn take_in(&mut self, account: &Arc<Account>, loaded: Loaded, rows: &Rows) -> Result<(), RowsError> {
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
    pub(super) fn replace(
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
    pub(super) fn declare_key(&mut self, account: &Arc<Account>, user_id: Option<&str>, pair: KeyPair) {
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
        let mut snapshot = Self::new(Arc::clone(&accounts), Arc::default());
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
