//! Who asks, as the rules for buckets see it.

use cairn_iam::principal::Principal;
use cairn_storage::id::AccountId;

use crate::identities::Caller;

impl Caller {
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
