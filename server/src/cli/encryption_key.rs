//! `cairn encryption-key`: the versions of the key that a running server encrypts under, and making a new one.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};
use cairn_replication::client::Environment;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum EncryptionKeyCommand {
    /// Show the versions of the key of SSE-S3: exit status 2 when the server cannot be asked
    Status(ServerArgs),
    /// Make a new version, which new objects are encrypted under; what is there stays readable
    Rotate(ServerArgs),
}

#[derive(Deserialize)]
struct EncryptionKey {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    number: u32,
    created: String,
}

pub(super) fn run_encryption_key(command: EncryptionKeyCommand, environment: Environment<'_>) -> ExitCode {
    match ask(command, environment) {
        Ok(EncryptionKey { versions }) => {
            for Version { number, created } in versions {
                println!("version {number}  made {created}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(command: EncryptionKeyCommand, environment: Environment<'_>) -> Result<EncryptionKey, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (args, method, path) = match command {
        EncryptionKeyCommand::Status(args) => (args, Method::GET, "encryption-key"),
        EncryptionKeyCommand::Rotate(args) => (args, Method::POST, "encryption-key/rotate"),
    };
    let client = AdminClient::new(args, environment)?;
    runtime.block_on(client.call(method, path))
}
