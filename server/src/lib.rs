//! The `cairn` server: everything between the network and the storage crate.
//!
//! `main.rs` only calls [`cli::main`]; the parts are a library so that each can be tested by itself. Settings are read in
//! [`config`] and nowhere else; everything is constructed in [`wiring`]; nothing here is global.

pub mod accesses;
pub mod admin;
pub mod audit;
pub mod auth;
pub mod authorize;
pub mod cli;
pub mod config;
pub mod cors;
pub mod gate;
pub mod iam_api;
pub mod identities;
pub mod json_api;
pub mod kept;
pub mod key_store;
pub mod kms;
pub mod kms_api;
pub mod lifecycle_sweeps;
pub mod listener;
pub mod log;
pub mod master_key;
pub mod metrics;
pub mod ops_port;
pub mod post_form;
pub mod proxies;
pub mod query_api;
pub mod remotes;
pub mod replication;
mod rewrap;
pub mod s3;
pub mod sts;
pub mod tiers;
pub mod website;
pub mod wiring;
