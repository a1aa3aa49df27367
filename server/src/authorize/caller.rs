//! Who asks, and what its own account lets it do.

use std::ops::Deref;

use cairn_iam::principal::Principal;
use cairn_storage::id::AccountId;

use crate::identities;

/// Who asks, and what its own account lets it do.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: identities::Caller,
    /// The key that signed the request.
    pub access_key: Option<String>,
}

impl Deref for Caller {
    type Target = identities::Caller;

    fn deref(&self) -> &identities::Caller {
        &self.identity
    }
}

impl Caller {
    /// Somebody whose request has no signature.
    pub fn anonymous() -> Self {
        Self { identity: identities::Caller::anonymous(), access_key: None }
    }

    /// Somebody who has signed with this access key.
    pub fn new(identity: identities::Caller, access_key: &str) -> Self {
        Self { identity, access_key: Some(access_key.to_owned()) }
    }

    /// Whether it is an account's root.
    pub fn is_root(&self) -> bool {
        matches!(self.principal, Principal::Root(_))
    }

    /// Whether it is of this account: its root, or somebody whom it lets.
    pub fn is_of(&self, account: AccountId) -> bool {
        self.account.as_ref().is_some_and(|own| own.id == account)
    }

    /// Whether a statement of its policies asks for a condition key that begins so.
    pub(super) fn asks_for(&self, key_prefix: &str) -> bool {
        let attached = self.policies.identity.iter().chain(&self.policies.boundary);
        attached.chain(self.session_policies.iter().flatten()).any(|attached| attached.policy.asks_for(key_prefix))
    }
}
