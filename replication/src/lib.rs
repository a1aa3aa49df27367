//! Replication: which versions are copied to which targets, and the outgoing S3 client.
//!
//! [`rules`] is pure. [`client`] speaks S3 to any endpoint and is the only place here that knows HTTP and XML; it is
//! for remote tiers as well.

pub mod client;
pub mod plan;
pub mod remote;
pub mod rules;
pub mod target;
pub mod worker;
