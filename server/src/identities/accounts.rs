//! The accounts: owners of buckets, and what their identities belong to.
//!
//! They come from the configuration's `[[account]]`, or else the server keeps one account by itself ([`super::own`]). The set
//! is fixed while the server runs.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_storage::id::AccountId;

use crate::config::{self, CanonicalId};

/// An owner of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's number.
    pub id: AccountId,
    /// The account's name in ACLs and listings.
    pub canonical_id: CanonicalId,
    /// The account's name for people.
    pub display_name: String,
    /// The accounts whose identities this account's root may change as well as its own. Only the configuration says so.
    pub administers: Vec<AccountId>,
}

impl Account {
    /// The account's number as policies and ACLs have it.
    pub fn number(&self) -> AccountNumber {
        AccountNumber(self.id.number())
    }
}

/// All accounts, found by number and by the names that ACLs have for them.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: HashMap<AccountId, Arc<Account>>,
    by_canonical_id: HashMap<CanonicalId, Arc<Account>>,
    /// By addresses in lower case.
    by_email: HashMap<String, Arc<Account>>,
    /// The one that the configuration names first.
    first: Option<AccountId>,
}

impl Accounts {
    /// The accounts of the configuration, which has seen to it that no id and no address is there twice.
    pub fn new(declared: &[config::Account]) -> Self {
        let mut all = Self { first: declared.first().map(|account| account.id), ..Self::default() };
        for account in declared {
            let owner = Account {
                id: account.id,
                canonical_id: account.canonical_id.clone(),
                display_name: account.display_name.clone(),
                administers: account.administers.clone(),
            };
            all.insert(owner, account.email.as_deref());
        }
        all
    }

    pub(crate) fn insert(&mut self, account: Account, email: Option<&str>) {
        let account = Arc::new(account);
        if let Some(email) = email {
            self.by_email.insert(email.to_lowercase(), Arc::clone(&account));
        }
        self.by_canonical_id.insert(account.canonical_id.clone(), Arc::clone(&account));
        self.by_id.insert(account.id, account);
    }

    /// The account that the configuration names first.
    pub fn first(&self) -> Option<AccountId> {
        self.first
    }

    /// Whether it is the account that the configuration names first.
    pub fn is_first(&self, id: AccountId) -> bool {
        self.first == Some(id)
    }

    /// The account of this number.
    pub fn by_id(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.by_id.get(&id)
    }

    /// The account of this number, as policies have it.
    pub fn by_number(&self, number: AccountNumber) -> Option<&Arc<Account>> {
        self.by_id.get(&AccountId::from_number(number.0)?)
    }

    /// The account of this canonical id.
    pub fn by_canonical_id(&self, id: &str) -> Option<&Arc<Account>> {
        self.by_canonical_id.get(id)
    }

    /// The account with this e-mail address, in whatever case it is written.
    pub fn by_email(&self, email: &str) -> Option<&Arc<Account>> {
        self.by_email.get(&email.to_lowercase())
    }

    /// Every account, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_id.values()
    }
}
