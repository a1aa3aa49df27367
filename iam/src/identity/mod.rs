//! Identities: the users, groups, roles, policies, keys and devices of an account, and how they may change.
//!
//! A [`Directory`] is all of one account. Its changes, a file for each kind of entity, are pure: they take the time and new
//! ids from the caller, leave the directory as it was if they fail, and tell the rows to commit. Who may make a change is
//! not decided here.

mod change;
mod check;
mod directory;
mod entity;
pub mod fault;
pub mod limits;
pub mod name;
mod policies;
mod principals;
mod record;
mod table;
#[cfg(test)]
mod tests;

pub use change::*;
pub use check::AccountCheck;
pub use directory::Directory;
pub use entity::{
    AccessKey, DeviceOwner, Generation, Grants, Group, Login, ManagedPolicy, MfaDevice, OidcProvider, PasswordPolicy,
    PolicyVersion, PublicAccessBlock, Role, Settings, Tag, User,
};
pub use fault::{Fault, FaultKind};
pub use policies::PrincipalPolicies;
pub use record::{Kind, Record, RecordError, folded};
pub use table::{Change, Table};
