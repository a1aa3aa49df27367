//! `cairn restores`: the restores that a running server knows of, and ending one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};
use super::restore::Restore;
use cairn_replication::client::Environment;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum RestoresCommand {
    /// Show the newest restore of each bucket
    List(ServerArgs),
    /// End a bucket's restore; what it has restored stays
    Cancel(CancelArgs),
}

#[derive(Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket
    #[arg(long)]
    bucket: String,
}

#[derive(Deserialize)]
struct Page {
    restores: Vec<Restore>,
    next: Option<String>,
}

pub(super) fn run_restores(command: RestoresCommand, environment: Environment<'_>) -> ExitCode {
    match ask(command, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(command: RestoresCommand, environment: Environment<'_>) -> Result<(), CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        RestoresCommand::List(server) => runtime.block_on(list(&AdminClient::new(server, environment)?)),
        RestoresCommand::Cancel(CancelArgs { server, bucket }) => {
            let client = AdminClient::new(server, environment)?;
            let path = format!("restores/{bucket}/cancel");
            let restore: Restore = runtime.block_on(client.call(Method::POST, &path))?;
            println!("{}", restore.line());
            Ok(())
        }
    }
}

async fn list(client: &AdminClient) -> Result<(), CallError> {
    let mut after = None;
    loop {
        let page: Page = client.page("restores", after.as_deref()).await?;
        for restore in page.restores {
            println!("{}", restore.line());
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}
