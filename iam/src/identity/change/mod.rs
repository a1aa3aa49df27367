//! How a directory changes: one file for each kind of entity.
//!
//! Each change checks everything first and then writes; a change that fails leaves a directory to be thrown away. Rules and
//! messages are IAM's (IAM API reference, the action of the same name).

mod grants;
mod groups;
mod keys;
mod login;
mod mfa;
mod policies;
mod providers;
mod roles;
mod tags;
mod users;

pub use grants::Holder;
pub use policies::NewPolicy;
pub use providers::NewProvider;
pub use roles::NewRole;
pub use tags::Tagged;
pub use users::NewUser;

use super::fault::{Fault, FaultKind};
use super::limits::DOCUMENT_CHARS_MAX;
use super::{Record, Table, folded};
use crate::policy::{Policy, PolicyKind};

/// What a new entity gets from outside: a time and an id, of which nothing is known but that it is new.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Now, ms since the epoch.
    pub now_ms: u64,
    /// The id.
    pub id: String,
}

/// That nobody has the name of what is to be made, and that there is room for it: the quota's name, and how many.
fn check_room<R: Record, Derived>(
    table: &Table<R, Derived>,
    name: &str,
    (what, quota): (&str, usize),
) -> Result<(), Fault> {
    if table.get(&folded(name)).is_some() {
        return Err(Fault::exists(R::KIND, name));
    }
    if table.len() >= quota { Err(Fault::limit(what, quota)) } else { Ok(()) }
}

/// That nobody else has the new name of what is to be renamed.
fn check_free<R: Record, Derived>(table: &Table<R, Derived>, old: &str, new: &str) -> Result<(), Fault> {
    let is_taken = folded(new) != folded(old) && table.get(&folded(new)).is_some();
    if is_taken { Err(Fault::exists(R::KIND, new)) } else { Ok(()) }
}

/// That a document is a policy, and how long it is without white space.
fn check_document(document: &str, kind: PolicyKind) -> Result<usize, Fault> {
    if document.chars().count() > DOCUMENT_CHARS_MAX {
        return Err(Fault::limit("PolicySize", DOCUMENT_CHARS_MAX));
    }
    Policy::parse(document, kind).map_err(|error| Fault::new(FaultKind::MalformedPolicyDocument, error.to_string()))?;
    Ok(counted_chars(document))
}

/// Characters that count: white space does not (IAM user guide, "IAM and AWS STS quotas").
fn counted_chars(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}
