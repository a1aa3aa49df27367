//! The operations as their callers see them, over a simulated disk and an index in memory (or the real ones).
//!
//! One binary, because each links the database: `rig` builds stores, the others are the tests.

#![allow(clippy::unwrap_used)]

mod buckets;
mod carried;
mod collecting;
mod compression;
mod conditions;
mod copies;
mod crash;
mod digests;
mod dropping;
mod faults;
mod lanes;
mod lifecycle;
mod listing;
mod lock_property;
mod lock_time;
mod locks;
mod mfa_delete;
mod model;
mod multipart;
mod objects;
mod planner;
mod races;
mod remote;
mod replicas;
mod restore;
mod retrieval;
mod rewrap;
mod rig;
mod runner;
mod sealed;
mod sealed_checksums;
mod uploads_listing;
mod versioning;
mod walks;
