//! What the end-to-end tests and the bench share: a harness that runs the real `cairn` binary over a temporary data
//! directory, an S3 client that can also send what no client should, and independent signers.
//!
//! Nothing here links the server's crates: the tests know Cairn as its clients and operators do. A failure of the
//! harness itself panics, which fails the test that asked for it.

pub mod client;
pub mod digest;
pub mod foreign;
pub mod harness;
pub mod http2;
pub mod ledger;
pub mod lifecycle;
pub mod mount;
pub mod multipart;
pub mod mutation;
pub mod network;
pub mod openbao;
pub mod patience;
pub mod post_form;
pub mod proxy;
pub mod random;
pub mod replication;
pub mod scenario;
pub mod sigv2;
pub mod sigv4;
pub mod skip;
pub mod strace;
pub mod tls;
pub mod totp;
pub mod transit;
pub mod venv;
pub mod version_ledger;
pub mod wire;
pub mod xml;

pub use client::{Call, Client};
pub use harness::{Cairn, Config};
pub use random::Random;
pub use wire::Reply;
