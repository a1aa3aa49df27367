//! The API of KMS, version 2014-11-01: keys, their aliases, policies, grants and tags, and encrypting under them; one file for
//! each. What the actions are, and their rules, KMS's API reference has.
//!
//! Each action names the key that it is about and is decided there, on the very state that a change is made of. What AWS has
//! and this server does not (asymmetric keys, HMAC keys, imported material, custom key stores, several regions) is answered with
//! `UnsupportedOperationException`.

mod aliases;
mod ask;
mod cryptography;
mod grants;
mod keys;
mod page;
mod policies;
mod rotations;
mod tags;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::json_api::Call;
use crate::kms::{Kms, KmsError, KmsFault};
use crate::s3::error::Failure;

use ask::Ask;

/// What the actions work with.
#[derive(Debug)]
pub struct KmsApi {
    /// The keys.
    pub kms: Arc<Kms>,
}

type Handler = for<'a> fn(&'a Ask) -> BoxFuture<'a, Result<Value, KmsError>>;

/// The actions on each thing, and what does them.
const RESOURCES: &[(&[&str], Handler)] = &[
    (aliases::ACTIONS, |ask| Box::pin(aliases::call(ask))),
    (cryptography::ACTIONS, |ask| Box::pin(cryptography::call(ask))),
    (grants::ACTIONS, |ask| Box::pin(grants::call(ask))),
    (keys::ACTIONS, |ask| Box::pin(keys::call(ask))),
    (policies::ACTIONS, |ask| Box::pin(policies::call(ask))),
    (rotations::ACTIONS, |ask| Box::pin(rotations::call(ask))),
    (tags::ACTIONS, |ask| Box::pin(tags::call(ask))),
    (UNSUPPORTED, |ask| Box::pin(unsupported(ask))),
];

/// Actions of AWS that this server does not have.
const UNSUPPORTED: &[&str] = &[
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "DeleteCustomKeyStore",
    "DeleteImportedKeyMaterial",
    "DeriveSharedSecret",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "GetParametersForImport",
    "GetPublicKey",
    "ImportKeyMaterial",
    "ReplicateKey",
    "Sign",
    "UpdateCustomKeyStore",
    "UpdatePrimaryRegion",
    "Verify",
    "VerifyMac",
];

/// `UnsupportedOperationException`.
async fn unsupported(ask: &Ask) -> Result<Value, KmsError> {
    Err(not_here(ask.action()))
}

/// `UnsupportedOperationException` for something that AWS has.
fn not_here(what: &str) -> KmsError {
    KmsError::fault(KmsFault::UnsupportedOperation, format!("{what} is not supported by this server."))
}

impl KmsApi {
    /// The name of an action, if there is one of this name.
    pub fn action(&self, name: &str) -> Option<&'static str> {
        find_action(name)
    }

    /// Does what an action says, if the caller may have it done.
    ///
    /// # Errors
    /// As KMS answers it.
    pub async fn call(&self, action: &'static str, call: Call) -> Result<Value, Failure> {
        let handler = RESOURCES.iter().find(|(actions, _)| actions.contains(&action)).map(|(_, handler)| handler);
        let handler = handler.ok_or_else(|| Failure::internal(format!("{action} is listed and not there")))?;
        Ok(handler(&Ask::new(Arc::clone(&self.kms), action, call)?).await?)
    }
}

/// The name of an action, for who reports a request before it is authorized.
pub fn find_action(name: &str) -> Option<&'static str> {
    RESOURCES.iter().flat_map(|(actions, _)| *actions).copied().find(|action| *action == name)
}

/// The names of all actions that policies can allow, without `kms:`.
pub fn permissions() -> impl Iterator<Item = &'static str> {
    let of_actions =
        RESOURCES.iter().flat_map(|(actions, _)| *actions).copied().filter(|action| *action != "ReEncrypt");
    of_actions.chain(["ReEncryptFrom", "ReEncryptTo"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_of_one_thing() {
        let mut all: Vec<&str> = RESOURCES.iter().flat_map(|(actions, _)| *actions).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
