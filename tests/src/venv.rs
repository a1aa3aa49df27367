//! The environment with the clients that `requirements.txt` and `clients/node` pin.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the environment: `CAIRN_VENV`, or `cairn-venv` in the user's cache. `deploy/setup-clients.sh` makes it
/// or brings it up to date. The error says why there is none.
pub fn directory() -> Result<PathBuf, String> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DIRECTORY.get_or_init(prepare).clone()
}

fn prepare() -> Result<PathBuf, String> {
    let directory = match std::env::var_os("CAIRN_VENV") {
        Some(directory) => PathBuf::from(directory),
        None => cache_dir().ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("cairn-venv"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/setup-clients.sh");
    run(Command::new(script).arg(&directory))?;
    // What every scenario may use. The others are looked for by the scenarios that need them.
    run(Command::new(directory.join("bin/python")).args(["-c", "import awscli, awscrt, boto3"]))?;
    Ok(directory)
}

fn cache_dir() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
