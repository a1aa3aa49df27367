//! Who may do what, and why. Pure: no I/O and no clock of its own.
//!
//! The ACLs of buckets and objects, who makes a request, policy documents, what they decide, and the identities that have
//! policies.

pub mod acl;
pub mod evaluate;
pub mod granted;
pub mod identity;
pub mod managed;
pub mod policy;
pub mod principal;
pub mod s3_actions;
pub mod simulate;
