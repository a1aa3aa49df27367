//! `cairn tier`: the storage tiers of a running server, and moving files to where their classes have them now.

use std::process::ExitCode;

use cairn_replication::client::Environment;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use crate::admin::jobs::JobDocument;
use crate::tiers::PlaceUsage;
use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// A tier is down, or takes no writes.
const EXIT_ILL: u8 = 1;

/// The server could not be asked, or refuses.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum TierCommand {
    /// Show the tiers, and what the data directory has of each class, with the bytes that compression saves: exit status 0 when all tiers
    /// are well, 1 when one is not, 2 when the server cannot be asked
    List(ServerArgs),
    /// Begin a job that moves all files to where the settings have their classes, and out of tiers that have no classes;
    /// `cairn jobs` shows how far it is
    Move(MoveArgs),
}

#[derive(Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only the files of this bucket
    #[arg(long)]
    bucket: Option<String>,
}

#[derive(Deserialize)]
struct Tiers {
    tiers: Vec<Tier>,
    /// Older servers do not tell it.
    #[serde(default)]
    data_directory: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    class: String,
    #[serde(flatten)]
    usage: PlaceUsage,
}

#[derive(Deserialize)]
struct Tier {
    name: String,
    classes: Vec<String>,
    down: Option<String>,
    read_only: Option<String>,
    #[serde(flatten)]
    usage: PlaceUsage,
    total_bytes: u64,
    available_bytes: u64,
}

pub(super) fn run_tier(command: TierCommand, environment: Environment<'_>) -> ExitCode {
    ask(command, environment).unwrap_or_else(|error| {
        eprintln!("cairn: {}", wiring::chain(&error));
        ExitCode::from(EXIT_UNANSWERED)
    })
}

fn ask(command: TierCommand, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        TierCommand::List(server) => {
            let client = AdminClient::new(server, environment)?;
            let Tiers { tiers, data_directory } = runtime.block_on(client.call(Method::GET, "tiers"))?;
            tiers.iter().for_each(|tier| println!("{}", tier.line()));
            data_directory.iter().for_each(|class| println!("{}", class.line()));
            let is_ill = tiers.iter().any(|tier| tier.down.is_some() || tier.read_only.is_some());
            Ok(if is_ill { ExitCode::from(EXIT_ILL) } else { ExitCode::SUCCESS })
        }
        TierCommand::Move(MoveArgs { server, bucket }) => {
            let client = AdminClient::new(server, environment)?;
            let path = bucket.map_or("tiers/move".to_owned(), |bucket| format!("tiers/move/{bucket}"));
            let job: JobDocument = runtime.block_on(client.call(Method::POST, &path))?;
            println!("{}", job.line());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Class {
    fn line(&self) -> String {
        let PlaceUsage { files, bytes, saved_bytes } = self.usage;
        format!("data directory  {}  files {files} bytes {bytes} saved {saved_bytes}", self.class)
    }
}

impl Tier {
    fn line(&self) -> String {
        let Self { name, classes, down, read_only, usage, total_bytes, available_bytes } = self;
        let PlaceUsage { files, bytes, saved_bytes } = usage;
        let state = match (down, read_only) {
            (Some(reason), _) => format!("down: {reason}"),
            (None, Some(reason)) => format!("read-only: {reason}"),
            (None, None) => "up".to_owned(),
        };
        let classes = if classes.is_empty() { "no classes".to_owned() } else { classes.join(",") };
        // Nobody knows how much space another service has.
        let space = match total_bytes {
            0 => String::new(),
            total_bytes => format!("free {available_bytes} of {total_bytes}  "),
        };
        format!("{name}  {classes}  files {files} bytes {bytes} saved {saved_bytes}  {space}{state}")
    }
}
