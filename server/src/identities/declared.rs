//! What the configuration declares: root keys, users with keys, and the policies of users.
//!
//! A declared user is put among the kept ones at a start if no user has the name; from then on it is changed like any
//! other. Its keys, and the roots', are good for as long as the file says so, and never in the index.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Fault, Holder, NewUser, folded};
use cairn_storage::StorageError;

use super::{ChangeError, Identities, RowsError, Snapshot, StartError};
use crate::config;

/// How the ids of users begin.
const USER_ID_PREFIX: &str = "AIDA";

impl Identities {
    pub(super) async fn declare(self: &Arc<Self>, declared: Vec<config::Account>) -> Result<(), StartError> {
        for account in declared {
            let Some(owner) = self.accounts.by_id(account.id).cloned() else { continue };
            let number = owner.number();
            let mut snapshot = Snapshot::clone(&self.snapshot());
            if let Some(pair) = account.root_key {
                snapshot.declare_key(&owner, None, pair);
            }
            for user in &account.users {
                self.declare_user(number, user).await?;
            }
            // Users may have been added meanwhile.
            snapshot.directories.clone_from(&self.snapshot().directories);
            for user in account.users {
                let kept = snapshot.directory(number).and_then(|directory| directory.user(user.name.as_str()).ok());
                let Some(id) = kept.map(|user| user.id.clone()) else { continue };
                for pair in user.keys {
                    snapshot.declare_key(&owner, Some(&id), pair);
                }
            }
            self.current.store(Arc::new(snapshot));
        }
        Ok(())
    }

    async fn declare_user(self: &Arc<Self>, account: AccountNumber, user: &config::User) -> Result<(), StartError> {
        let row = folded(user.name.as_str());
        let is_there = self.snapshot().directory(account).is_some_and(|directory| directory.users.get(&row).is_some());
        if is_there {
            return Ok(());
        }
        let stamp = self.stamp(USER_ID_PREFIX);
        let (name, policies) = (user.name.as_str().to_owned(), user.policies.clone());
        let added = self.change(account, move |directory| {
            let new = NewUser { name: name.clone(), path: "/".to_owned(), boundary: None, tags: Vec::new() };
            directory.create_user(new, stamp.clone())?;
            Ok(policies.iter().try_for_each(|arn| directory.attach(Holder::User(&name), arn))?)
        });
        match added.await {
            Ok(()) => Ok(()),
            Err(ChangeError::Fault(fault)) => Err(self.refused(account, user, fault)),
            // What is left of a damaged store can still be read by those who were known before.
            Err(ChangeError::Rows(RowsError::Storage(StorageError::ReadOnly { reason }))) => {
                tracing::warn!(user = user.name.as_str(), %account, reason, "a declared user could not be added");
                Ok(())
            }
            Err(ChangeError::Rows(error)) => Err(error.into()),
        }
    }

    fn refused(&self, account: AccountNumber, user: &config::User, fault: Fault) -> StartError {
        StartError::Declared { account, user: user.name.as_str().to_owned(), fault }
    }
}
