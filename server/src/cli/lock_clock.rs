//! `cairn lock-clock`: what a running server's clock of locks says, and making it believe the wall clock.

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};
use cairn_replication::client::Environment;

/// The wall clock is not believed.
const EXIT_HELD: u8 = 1;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum LockClockCommand {
    /// Show lock time and wall clock: exit status 0 when the wall clock is believed, 1 when it is not, 2 when the server
    /// cannot be asked
    Status(ServerArgs),
    /// Make the wall clock's time lock time, after looking at it: retentions that it has passed end
    Accept(ServerArgs),
}

#[derive(Deserialize)]
struct LockClock {
    lock_time: String,
    wall_time: String,
    held: bool,
}

pub(super) fn run_lock_clock(command: LockClockCommand, environment: Environment<'_>) -> ExitCode {
    match ask(command, environment) {
        Ok(status) => tell(&status),
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(command: LockClockCommand, environment: Environment<'_>) -> Result<LockClock, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (args, method, path) = match command {
        LockClockCommand::Status(args) => (args, Method::GET, "lock-clock"),
        LockClockCommand::Accept(args) => (args, Method::POST, "lock-clock/accept"),
    };
    let client = AdminClient::new(args, environment)?;
    runtime.block_on(client.call(method, path))
}

fn tell(status: &LockClock) -> ExitCode {
    println!("lock time   {}", status.lock_time);
    println!("wall clock  {}", status.wall_time);
    if !status.held {
        return ExitCode::SUCCESS;
    }
    println!(
        "\nThe wall clock is too far ahead to be believed, so retentions are judged by lock time alone.\n\
         Set the wall clock right or, if it is right, accept it: cairn lock-clock accept"
    );
    ExitCode::from(EXIT_HELD)
}
