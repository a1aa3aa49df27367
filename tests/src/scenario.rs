//! Scenarios of real clients: Python scripts in `tests/clients`, one function each.

use std::path::Path;
use std::process::Command;

use crate::{Cairn, venv};

/// What a scenario exits with that cannot run here; the last line that it printed is the reason.
const SKIPPED: i32 = 77;

/// Runs one scenario of a script against a server. `ca_file`: over TLS, by the certificate of this authority. A scenario that fails
/// panics.
///
/// # Errors
/// Why it cannot run here.
pub fn run(script: &str, scenario: &str, cairn: &Cairn, ca_file: Option<&Path>) -> Result<(), String> {
    let environment = venv::directory()?;
    let client = cairn.client();
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = std::env::var("PATH").unwrap_or_default();
    let scheme = if ca_file.is_some() { "https" } else { "http" };
    let mut command = Command::new(environment.join("bin/python"));
    // Nothing that this machine sets for other endpoints, such as a profile or a CA, takes part.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    let output = command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
        .arg(scenario)
        .arg(format!("{scheme}://{}", client.address))
        .current_dir(scratch.path())
        .env("PATH", format!("{}:{path}", environment.join("bin").display()))
        .env("HOME", scratch.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(ca_file.map(|file| ("AWS_CA_BUNDLE", file)))
        .env("AWS_ACCESS_KEY_ID", &client.credentials.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &client.credentials.secret_key)
        .env("OTHER_ACCESS_KEY_ID", &cairn.other_client().credentials.access_key)
        .env("OTHER_SECRET_ACCESS_KEY", &cairn.other_client().credentials.secret_key)
        .env("OPS_ENDPOINT", format!("http://{}", cairn.ops_address()))
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .map_err(|error| format!("python does not run: {error}"))?;
    if output.status.code() == Some(SKIPPED) {
        let printed = String::from_utf8_lossy(&output.stdout);
        return Err(printed.lines().last().unwrap_or("no reason was given").to_owned());
    }
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {scenario} failed:\n{printed}\nserver:\n{}", cairn.log());
    Ok(())
}

/// A test for each scenario, which `run` runs: `scenarios! { run; it_copies: "aws_cli.py" "copy"; }`.
#[macro_export]
macro_rules! scenarios {
    ($run:ident; $($test:ident: $script:literal $scenario:literal;)*) => {$(
        #[test]
        fn $test() {
            if let Err(reason) = $run($script, $scenario) {
                $crate::skip!("{reason}");
            }
        }
    )*};
}
