//! Storage: the metadata index, the blob store and the object operations on top of them.
//!
//! Invariants: an acknowledged mutation is durable; nothing becomes visible but by an index commit; no client input is
//! part of a file path. This crate knows no policy, no XML and no HTTP; bucket documents are bytes to it.

pub mod blob;
pub mod check;
pub mod clock;
pub mod datadir;
pub mod disk;
pub mod encryption;
mod error;
pub mod health;
pub mod id;
pub mod index;
pub mod jobs;
pub mod lock_clock;
pub mod object;
pub mod observe;
pub mod ops;
pub mod record;
pub mod replication;
pub mod sealed_checksum;
pub mod settings;
pub mod space;
pub mod tiers;

pub use error::StorageError;
