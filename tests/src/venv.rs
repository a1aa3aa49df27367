//! The Python environment with the clients that `requirements.txt` pins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the environment: `CAIRN_VENV`, or `cairn-venv` in the user's cache. It is made if it is missing. The
/// error says why there is none.
pub fn directory() -> Result<PathBuf, String> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DIRECTORY.get_or_init(prepare).clone()
}

fn prepare() -> Result<PathBuf, String> {
    let directory = match std::env::var_os("CAIRN_VENV") {
        Some(directory) => PathBuf::from(directory),
        None => cache_dir().ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("cairn-venv"),
    };
    // `aws` comes last, so that an installation that was interrupted is taken up again.
    if directory.join("bin/aws").exists() && imports_boto3(&directory) {
        return Ok(directory);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
    run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements))?;
    Ok(directory)
}

fn imports_boto3(directory: &Path) -> bool {
    run(Command::new(directory.join("bin/python")).args(["-c", "import boto3, awscrt"])).is_ok()
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
