//! The command line: which command, with which settings, and how it ended.
//!
//! Exit status: 0 for success, 2 for a command line or settings that cannot be used, and otherwise what the command's own
//! documentation says.

mod admin_client;
mod check;
mod encryption_key;
mod jobs;
mod lifecycle;
mod lock_clock;
mod master_key;
mod remote;
mod replicate;
mod restore;
mod restores;
mod serve;
mod tier;
mod why;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Flags, Loaded, Sources};

use encryption_key::EncryptionKeyCommand;
use jobs::JobsCommand;
use lifecycle::LifecycleCommand;
use lock_clock::LockClockCommand;
use master_key::MasterKeyCommand;
use remote::RemoteCommand;
use replicate::ReplicateCommand;
use restore::RestoreArgs;
use restores::RestoresCommand;
use tier::TierCommand;
use why::WhyArgs;

/// The command line or the settings cannot be used.
const EXIT_USAGE: u8 = 2;

/// An S3-compatible object storage server.
#[derive(Parser)]
#[command(name = "cairn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Verify a data directory that no server is using: exit status 0 when all is well, 1 with findings, 2 when it cannot be
    /// verified
    Check(CheckArgs),
    /// Ask a running server about the time by which it judges locks
    #[command(subcommand)]
    LockClock(LockClockCommand),
    /// Make a bucket look as it did at a time, by adding versions and delete markers: exit status 0 when it is done, 1 when
    /// it was not, 2 when the server cannot be asked
    Restore(RestoreArgs),
    /// List and end restores
    #[command(subcommand)]
    Restores(RestoresCommand),
    /// Ask a running server about the key that it encrypts objects under
    #[command(subcommand)]
    EncryptionKey(EncryptionKeyCommand),
    /// Change the master key of a data directory that no server is using
    #[command(subcommand)]
    MasterKey(MasterKeyCommand),
    /// Ask a running server what it does in the background, and hold, end or retry it
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Carry out a bucket's lifecycle rules, or tell what they would do
    #[command(subcommand)]
    Lifecycle(LifecycleCommand),
    /// Ask a running server about its storage tiers, and have files moved between them
    #[command(subcommand)]
    Tier(TierCommand),
    /// Show, add, remove and try the other S3 services that buckets replicate to
    #[command(subcommand)]
    Remote(RemoteCommand),
    /// Show how far behind a bucket's replication is, try again what was given up, and compare with its targets
    #[command(subcommand)]
    Replicate(ReplicateCommand),
    /// Ask a running server what it decided about a request, and why: exit status 0 when it is known, else 2
    Why(WhyArgs),
    /// Print the version
    Version,
}

#[derive(Args)]
struct ServeArgs {
    /// Print the settings with their origins and without secrets, and stop
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    if !cpu_is_supported() {
        eprintln!(
            "cairn: this CPU lacks SSE4.2 or PCLMULQDQ (CPUs made since 2010 have them), which cairn is compiled for"
        );
        return ExitCode::from(EXIT_USAGE);
    }
    match command {
        Command::Serve(args) => with_settings(&args.flags, |loaded| {
            if args.print_config {
                print!("{}", loaded.print());
                return ExitCode::SUCCESS;
            }
            serve::run_serve(loaded)
        }),
        Command::Check(args) => with_settings(&args.flags, |loaded| check::run_check(&loaded.config)),
        Command::MasterKey(command) => master_key::run_master_key(command, &|name| std::env::var_os(name)),
        Command::LockClock(command) => lock_clock::run_lock_clock(command, &|name| std::env::var_os(name)),
        Command::Restore(args) => restore::run_restore(args, &|name| std::env::var_os(name)),
        Command::Restores(command) => restores::run_restores(command, &|name| std::env::var_os(name)),
        Command::EncryptionKey(command) => encryption_key::run_encryption_key(command, &|name| std::env::var_os(name)),
        Command::Jobs(command) => jobs::run_jobs(command, &|name| std::env::var_os(name)),
        Command::Lifecycle(command) => lifecycle::run_lifecycle(command, &|name| std::env::var_os(name)),
        Command::Tier(command) => tier::run_tier(command, &|name| std::env::var_os(name)),
        Command::Remote(command) => remote::run_remote(command, &|name| std::env::var_os(name)),
        Command::Replicate(command) => replicate::run_replicate(command, &|name| std::env::var_os(name)),
        Command::Why(args) => why::run_why(args, &|name| std::env::var_os(name)),
        Command::Version => {
            println!("cairn {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

/// Whether the CPU has the instructions that RocksDB is compiled for (`.cargo/config.toml`).
#[cfg(target_arch = "x86_64")]
fn cpu_is_supported() -> bool {
    std::arch::is_x86_feature_detected!("sse4.2") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_is_supported() -> bool {
    true
}

fn with_settings(flags: &Flags, command: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match config::load(&Sources::new(flags, &|name| std::env::var_os(name))) {
        Ok(loaded) => command(loaded),
        Err(error) => {
            eprintln!("cairn: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
