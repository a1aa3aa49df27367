//! Identities, policy documents and their evaluation: who may do what, and why. Pure: no I/O and no clock of its own.
//!
//! Empty for now. Until policies land, `server/src/authorize.rs` has the whole rule: an account's root may use the
//! account's own buckets, and nobody else anything.
