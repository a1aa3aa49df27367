//! Access control lists: who, besides the owner, may use a bucket or an object (S3 user guide, "Access control list (ACL)
//! overview").
//!
//! An ACL is a list of grants. Whose the bucket or object is, is not part of it, because that is in the row of the bucket or
//! version; so the two cannot contradict one another. How requests write an ACL, and who the accounts are, is the edge's
//! business.
//!
//! A stored ACL is `format (u8) | CBOR array of grants`, a grant being `[grantee, permission]` and a grantee
//! `[0, [account number]]`, `[1, []]` (everybody), `[2, []]` (every account) or `[3, []]` (the delivery of access logs).

mod canned;
#[cfg(test)]
mod tests;

use minicbor::{Decode, Encode};

pub use canned::CannedAcl;

/// Grants in one ACL (S3 user guide, "Access control list (ACL) overview").
pub const GRANTS_MAX: usize = 100;

/// The most bytes of a stored ACL: the format, the array's head, and grants of at most 14 bytes.
pub const ACL_BYTES_MAX: usize = 1 + 3 + GRANTS_MAX * 14;

const FORMAT: u8 = 1;

/// An account, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct AccountNumber(#[n(0)] pub u64);

/// Whom a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Grantee {
    /// An account.
    #[n(0)]
    Account(#[n(0)] AccountNumber),
    /// Everybody, with a signature or without.
    #[n(1)]
    AllUsers,
    /// Every account.
    #[n(2)]
    AuthenticatedUsers,
    /// The delivery of access logs; no request is made by it.
    #[n(3)]
    LogDelivery,
}

impl Grantee {
    const GROUPS: [Self; 3] = [Self::AllUsers, Self::AuthenticatedUsers, Self::LogDelivery];

    /// The URI of the group. None: it is an account.
    #[must_use]
    pub fn uri(self) -> Option<&'static str> {
        match self {
            Self::Account(_) => None,
            Self::AllUsers => Some("http://acs.amazonaws.com/groups/global/AllUsers"),
            Self::AuthenticatedUsers => Some("http://acs.amazonaws.com/groups/global/AuthenticatedUsers"),
            Self::LogDelivery => Some("http://acs.amazonaws.com/groups/s3/LogDelivery"),
        }
    }

    /// The group of this URI.
    #[must_use]
    pub fn group(uri: &str) -> Option<Self> {
        Self::GROUPS.into_iter().find(|group| group.uri() == Some(uri))
    }

    /// Whether it is the public: everybody, or everybody with an account somewhere.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::AllUsers | Self::AuthenticatedUsers)
    }

    fn includes(self, principal: Principal) -> bool {
        match (self, principal) {
            (Self::Account(grantee), Principal::Account(account)) => grantee == account,
            (Self::AllUsers, _) | (Self::AuthenticatedUsers, Principal::Account(_) | Principal::Authenticated) => true,
            (Self::Account(_), Principal::Anonymous | Principal::Authenticated)
            | (Self::AuthenticatedUsers, Principal::Anonymous)
            | (Self::LogDelivery, _) => false,
        }
    }
}

/// What a grant permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Permission {
    /// To list a bucket, or to read an object.
    #[n(0)]
    Read,
    /// To write into a bucket; nothing on an object.
    #[n(1)]
    Write,
    /// To read the ACL.
    #[n(2)]
    ReadAcp,
    /// To replace the ACL.
    #[n(3)]
    WriteAcp,
    /// All of these.
    #[n(4)]
    FullControl,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp, Self::FullControl];

    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadAcp => "READ_ACP",
            Self::WriteAcp => "WRITE_ACP",
            Self::FullControl => "FULL_CONTROL",
        }
    }

    /// The permission of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }

    fn covers(self, needed: Self) -> bool {
        self == Self::FullControl || self == needed
    }
}

/// One entry of an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// For whom.
    #[n(0)]
    pub grantee: Grantee,
    /// For what.
    #[n(1)]
    pub permission: Permission,
}

impl Grant {
    /// A grant.
    #[must_use]
    pub fn new(grantee: Grantee, permission: Permission) -> Self {
        Self { grantee, permission }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// An account.
    Account(AccountNumber),
    /// Somebody with a signature, who has nothing of what is granted to accounts.
    Authenticated,
    /// Somebody without a signature.
    Anonymous,
}

/// There are more than [`GRANTS_MAX`] grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an ACL has at most {GRANTS_MAX} grants")]
pub struct TooManyGrants;

/// Stored bytes are no ACL that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored ACL cannot be read")]
pub struct Unreadable;

/// An ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Grant>);

impl Acl {
    /// An ACL of these grants. Their order means nothing; groups come before accounts.
    ///
    /// # Errors
    /// [`TooManyGrants`].
    pub fn new(mut grants: Vec<Grant>) -> Result<Self, TooManyGrants> {
        if grants.len() > GRANTS_MAX {
            return Err(TooManyGrants);
        }
        grants.sort_by_key(|grant| grant.grantee.uri().is_none());
        Ok(Self(grants))
    }

    /// The ACL of what was given none: its owner has full control.
    #[must_use]
    pub fn private(owner: AccountNumber) -> Self {
        Self(vec![Grant::new(Grantee::Account(owner), Permission::FullControl)])
    }

    /// The grants.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.0
    }

    /// Whether `principal` may do what needs the permission `needed` on something of `owner`'s.
    ///
    /// An owner may do everything, whatever its ACL says: otherwise it could take away its own access for good.
    #[must_use]
    pub fn permits(&self, owner: AccountNumber, principal: Principal, needed: Permission) -> bool {
        principal == Principal::Account(owner) || self.grants_to(principal, needed)
    }

    /// Whether a grant lets `principal` do what needs the permission `needed`.
    #[must_use]
    pub fn grants_to(&self, principal: Principal, needed: Permission) -> bool {
        self.0.iter().any(|grant| grant.grantee.includes(principal) && grant.permission.covers(needed))
    }

    /// Whether the public is granted anything.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.0.iter().any(|grant| grant.grantee.is_public())
    }

    /// What is left of it without what the public is granted.
    #[must_use]
    pub fn without_public(&self) -> Self {
        Self(self.0.iter().copied().filter(|grant| !grant.grantee.is_public()).collect())
    }

    /// Whether anybody but `owner` is granted anything.
    #[must_use]
    pub fn grants_others(&self, owner: AccountNumber) -> bool {
        self.0.iter().any(|grant| grant.grantee != Grantee::Account(owner))
    }

    /// Whether it says that `owner` has full control, and nothing else.
    #[must_use]
    pub fn is_private(&self, owner: AccountNumber) -> bool {
        *self == Self::private(owner)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        minicbor::encode(&self.0, &mut bytes).expect("writing to memory cannot fail");
        bytes
    }

    /// The ACL that was stored.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (&FORMAT, cbor) = bytes.split_first().ok_or(Unreadable)? else { return Err(Unreadable) };
        if bytes.len() > ACL_BYTES_MAX {
            return Err(Unreadable);
        }
        let grants: Vec<Grant> = minicbor::decode(cbor).map_err(|_| Unreadable)?;
        Self::new(grants).map_err(|TooManyGrants| Unreadable)
    }
}
