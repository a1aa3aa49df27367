//! Who may sign requests: the accounts and their root keys.
//!
//! They come from the configuration's `[[account]]`, or else the server keeps one account by itself ([`own`]). The set is
//! fixed while the server runs. What a key may do is `authorize`'s business.

pub mod own;
pub mod record;

use std::collections::HashMap;
use std::sync::Arc;

use cairn_storage::id::AccountId;

use crate::config::{self, AccessKey, CanonicalId, KeyPair, SecretKey};

/// An owner of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's number.
    pub id: AccountId,
    /// The account's name in ACLs and listings.
    pub canonical_id: CanonicalId,
    /// The account's name for people.
    pub display_name: String,
}

/// All accounts, found by number, by the names that ACLs have for them, or by the access key of a request.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: HashMap<AccountId, Arc<Account>>,
    by_canonical_id: HashMap<CanonicalId, Arc<Account>>,
    /// By addresses in lower case.
    by_email: HashMap<String, Arc<Account>>,
    by_access_key: HashMap<AccessKey, (Arc<Account>, SecretKey)>,
}

impl Accounts {
    /// The accounts of the configuration, which has seen to it that no id, no key and no address is there twice.
    pub fn from_config(accounts: Vec<config::Account>) -> Self {
        let mut all = Self::default();
        for account in accounts {
            let owner =
                Account { id: account.id, canonical_id: account.canonical_id, display_name: account.display_name };
            all.insert(owner, account.root_key, account.email);
        }
        all
    }

    pub(crate) fn insert(&mut self, account: Account, root_key: Option<KeyPair>, email: Option<String>) {
        let account = Arc::new(account);
        if let Some(key) = root_key {
            self.by_access_key.insert(key.access_key, (Arc::clone(&account), key.secret_key));
        }
        if let Some(email) = email {
            self.by_email.insert(email.to_lowercase(), Arc::clone(&account));
        }
        self.by_canonical_id.insert(account.canonical_id.clone(), Arc::clone(&account));
        self.by_id.insert(account.id, account);
    }

    /// The account whose root has this access key, and the key's secret.
    pub fn by_access_key(&self, access_key: &str) -> Option<(&Arc<Account>, &SecretKey)> {
        self.by_access_key.get(access_key).map(|(account, secret)| (account, secret))
    }

    /// The account of this number.
    pub fn by_id(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.by_id.get(&id)
    }

    /// The account of this canonical id.
    pub fn by_canonical_id(&self, id: &str) -> Option<&Arc<Account>> {
        self.by_canonical_id.get(id)
    }

    /// The account with this e-mail address, in whatever case it is written.
    pub fn by_email(&self, email: &str) -> Option<&Arc<Account>> {
        self.by_email.get(&email.to_lowercase())
    }
}
