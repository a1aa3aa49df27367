//! Keys of the configuration: `[[kms_key]]`, for tests that want keys of known ids, and for keys that an external KMS has.
//!
//! A declared key is made at a start if its account has none of its id; from then on it is used, changed and deleted like any
//! other. One that was deleted and is still declared is made anew, and does not open what the old one encrypted.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_storage::StorageError;

use crate::config;

use super::error::KmsError;
use super::record::Backing;
use super::{Kms, new_record, policy};

impl Kms {
    pub(super) async fn declare(self: &Arc<Self>, declared: Vec<config::KmsKey>) -> Result<(), KmsError> {
        for key in declared {
            let Some(account) = key.account.map(|id| AccountNumber(id.number())) else { continue };
            match self.declare_one(account, key).await {
                Ok(()) => {}
                // What is left of a damaged store can still be read with the keys that were known before.
                Err(KmsError::Storage(StorageError::ReadOnly { reason })) => {
                    tracing::warn!(%account, reason, "a declared KMS key could not be added");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn declare_one(self: &Arc<Self>, account: AccountNumber, key: config::KmsKey) -> Result<(), KmsError> {
        let (id, now) = (key.id, self.now());
        if self.keys_of(account).is_some_and(|keys| keys.keys.contains_key(id.as_str())) {
            return Ok(());
        }
        let transit_key = key.transit_key;
        self.change(account, move |draft| {
            let id = id.as_str();
            let backing = match &transit_key {
                Some(name) => Backing::External { name: name.as_str().to_owned() },
                None => Backing::Local(vec![draft.sealer().new_version((account, id), 1, now, false)?]),
            };
            draft.put_key(new_record(id.to_owned(), now, backing, policy::by_default(account))).map(|_| ())
        })
        .await
    }
}
