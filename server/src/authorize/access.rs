//! What a bucket says about who may use it, as one request sees it: whose it is, its policy, its ACL, and what is blocked of
//! them.

use std::sync::Arc;

use cairn_iam::acl::{self, Acl, Permission};
use cairn_iam::evaluate::Attached;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::PublicAccessBlock;
use cairn_storage::object::ObjectVersion;

use crate::s3::acl::{account_number, of_object};

use super::Caller;

/// What a bucket says about who may use it.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Whose the bucket is.
    pub(super) owner: AccountId,
    /// The bucket's policy.
    pub(super) policy: Option<Arc<Attached>>,
    /// The bucket's ACL; None: ACLs are off, or it grants nothing.
    pub(super) acl: Option<Acl>,
    /// ACLs count: objects may be others', and their ACLs grant.
    pub(super) acls_count: bool,
    /// What bucket and account block of public access.
    pub(super) block: PublicAccessBlock,
}

/// What an object says about who may use it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfObject {
    /// Whose the object is.
    pub(super) owner: AccountId,
    /// Its ACL lets the caller do it.
    pub(super) grants: bool,
}

impl Access {
    /// Whether what the bucket's policy allows counts for the caller. What it denies always does.
    ///
    /// `RestrictPublicBuckets` keeps a public policy to the owner's account (S3 user guide, "Blocking public access to your
    /// Amazon S3 storage").
    pub(super) fn policy_grants(&self, caller: &Caller) -> bool {
        let restricted = self.block.restrict && self.policy.as_ref().is_some_and(|policy| policy.policy.is_public());
        !restricted || caller.is_of(self.owner)
    }

    /// Whether there can be anything about the caller to ask: it is somebody, or the bucket's policy or ACL is about everybody.
    pub(super) fn knows(&self, caller: &Caller, needed: Permission) -> bool {
        caller.account.is_some()
            || (self.policy.is_some() && self.policy_grants(caller))
            || self.acl_grants(caller, needed)
    }

    /// Whether the bucket's ACL lets the caller do what needs this permission.
    pub(super) fn acl_grants(&self, caller: &Caller, needed: Permission) -> bool {
        self.acl.as_ref().is_some_and(|acl| self.grants(acl, self.owner, caller, needed))
    }

    /// What an object in the bucket says about what needs this permission.
    pub(super) fn of_object(&self, object: &ObjectVersion, caller: &Caller, needed: Permission) -> OfObject {
        if !self.acls_count {
            return OfObject { owner: self.owner, grants: false };
        }
        // An ACL that cannot be read lets nobody in but the owner.
        let grants = of_object(object).is_ok_and(|acl| self.grants(&acl, object.owner, caller, needed));
        OfObject { owner: object.owner, grants }
    }

    fn grants(&self, acl: &Acl, owner: AccountId, caller: &Caller, needed: Permission) -> bool {
        let acl = if self.block.ignore_acls { &acl.without_public() } else { acl };
        acl.grants_to(in_acls(caller, owner), needed)
    }
}

/// The caller as the ACL of something of `owner`'s sees it. A grant to an account is for its root; and its users have it only
/// if their own policies say so, for which it must be another account's.
fn in_acls(caller: &Caller, owner: AccountId) -> acl::Principal {
    match &caller.account {
        None => acl::Principal::Anonymous,
        Some(account) if caller.is_root() || account.id != owner => acl::Principal::Account(account_number(account.id)),
        Some(_) => acl::Principal::Authenticated,
    }
}
