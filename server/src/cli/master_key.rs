//! `cairn master-key rotate`: seals under another master key what is sealed under the one that is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_crypto::secret::MasterKey;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::config::Flags;
use crate::master_key;
use crate::wiring::{self, Rotated};

use super::with_settings;

/// The master key was not changed, or not to the end.
const EXIT_FAILED: u8 = 1;

/// The new key, for who gives the master key in the environment or as a credential.
const NEW_MASTER_KEY: &str = "CAIRN_NEW_MASTER_KEY";

#[derive(Subcommand)]
pub(super) enum MasterKeyCommand {
    /// Seal everything anew under a new key, and put it into the file of the master key: exit status 1 when that is not done. If
    /// it is interrupted, the next start of the server, or this command again, finishes it
    Rotate(RotateArgs),
}

#[derive(Args)]
pub(super) struct RotateArgs {
    /// The file of the new key; by default it is CAIRN_NEW_MASTER_KEY, or else a key that is made
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run_master_key(command: MasterKeyCommand, variable: &dyn Fn(&str) -> Option<OsString>) -> ExitCode {
    let MasterKeyCommand::Rotate(args) = command;
    let new = match new_key(&args, variable) {
        Ok(new) => new,
        Err(error) => return fail(&error),
    };
    with_settings(&args.flags, |loaded| match wiring::rotate_master_key(loaded.config, new) {
        Ok(rotated) => tell(&rotated),
        Err(error) => fail(&wiring::chain(&error)),
    })
}

fn fail(error: &str) -> ExitCode {
    eprintln!("cairn: {error}");
    ExitCode::from(EXIT_FAILED)
}

fn new_key(args: &RotateArgs, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<MasterKey>, String> {
    if let Some(file) = &args.new_key_file {
        return master_key::load(file).map(Some).map_err(|error| error.to_string());
    }
    let Some(digits) = variable(NEW_MASTER_KEY).filter(|digits| !digits.is_empty()) else { return Ok(None) };
    let digits = Zeroizing::new(digits.into_encoded_bytes());
    let key = master_key::parse(&digits);
    key.map(Some).ok_or_else(|| format!("{NEW_MASTER_KEY}: the master key is 64 hexadecimal digits"))
}

fn tell(rotated: &Rotated) -> ExitCode {
    let Rotated { key_id, rows, kept, in_file } = rotated;
    println!("The master key is now {key_id}. {rows} rows were sealed anew. Temporary credentials have ended.");
    if let Some(kept) = kept {
        println!("The key before is in {}: remove it when no backup needs it.", kept.display());
    }
    if !in_file {
        println!("Give the new key to the server at its next start, and keep the one before for backups.");
    }
    ExitCode::SUCCESS
}
