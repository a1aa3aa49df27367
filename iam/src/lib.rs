//! Who may do what, and why. Pure: no I/O and no clock of its own.
//!
//! So far the ACLs of buckets and objects, and who makes a request. Until policies land, `server/src/authorize.rs` has the
//! rest of the rule: an account's root may use the account's own buckets.

pub mod acl;
pub mod principal;
