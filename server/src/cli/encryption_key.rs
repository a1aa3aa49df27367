//! `cairn encryption-key`: the versions of the key that a running server encrypts under, making a new one, wrapping data keys
//! anew, and retiring old versions.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::admin::jobs::JobDocument;
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
    /// Begin a job that wraps data keys anew under the newest version; no byte of an object moves
    Rewrap(RewrapArgs),
    /// Begin a job that removes the older versions of the key of SSE-S3, if it finds nothing wrapped under them
    Retire(ServerArgs),
}

#[derive(Args)]
pub(super) struct RewrapArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The ARN of a KMS key, instead of the key of SSE-S3
    #[arg(long, value_name = "ARN")]
    kms_key: Option<String>,
}

#[derive(Serialize)]
struct RewrapQuestion {
    kms_key: Option<String>,
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(command: EncryptionKeyCommand, environment: Environment<'_>) -> Result<(), CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (args, method, path) = match command {
        EncryptionKeyCommand::Status(args) => (args, Method::GET, "encryption-key"),
        EncryptionKeyCommand::Rotate(args) => (args, Method::POST, "encryption-key/rotate"),
        EncryptionKeyCommand::Rewrap(RewrapArgs { server, kms_key }) => {
            let client = AdminClient::new(server, environment)?;
            let question = RewrapQuestion { kms_key };
            print_job(&runtime.block_on(client.post("encryption-key/rewrap", &question))?);
            return Ok(());
        }
        EncryptionKeyCommand::Retire(args) => {
            let client = AdminClient::new(args, environment)?;
            print_job(&runtime.block_on(client.call(Method::POST, "encryption-key/retire"))?);
            return Ok(());
        }
    };
    let client = AdminClient::new(args, environment)?;
    let EncryptionKey { versions } = runtime.block_on(client.call(method, path))?;
    for Version { number, created } in versions {
        println!("version {number}  made {created}");
    }
    Ok(())
}

/// What `cairn jobs show` watches.
fn print_job(job: &JobDocument) {
    println!("{}", job.line());
}
