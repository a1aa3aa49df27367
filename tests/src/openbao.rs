//! A real OpenBao with a transit engine, where the environment of the test clients has one: a development server, which keeps
//! everything in memory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::venv;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The token that may do everything.
const ROOT: &str = "root-of-the-tests";

/// What a server needs that uses the engine.
const POLICY: &str = "path \"transit/encrypt/*\" { capabilities = [\"update\"] }\n\
                      path \"transit/decrypt/*\" { capabilities = [\"update\"] }\n";

/// A running server; dropping it ends it.
pub struct OpenBao {
    program: PathBuf,
    address: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl OpenBao {
    /// One with keys of these names. The error says why there is none.
    pub fn start(keys: &[&str]) -> Result<OpenBao, String> {
        let program = venv::directory()?.join("bin/bao");
        if !program.exists() {
            return Err(format!("{} is not there", program.display()));
        }
        let text = |error: std::io::Error| error.to_string();
        let directory = TempDir::with_prefix("cairn-openbao-").map_err(text)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
        let address = listener.local_addr().map_err(text)?;
        drop(listener);
        let process = Command::new(&program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .args([format!("-dev-root-token-id={ROOT}"), format!("-dev-listen-address={address}")])
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let openbao = OpenBao { program, address, process, directory };
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = openbao.run(&["status"]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        openbao.run(&["secrets", "enable", "transit"])?;
        for key in keys {
            openbao.run(&["write", "-f", &format!("transit/keys/{key}")])?;
        }
        let policy = openbao.directory.path().join("policy.hcl");
        std::fs::write(&policy, POLICY).map_err(text)?;
        openbao.run(&["policy", "write", "kms", &policy.to_string_lossy()])?;
        Ok(openbao)
    }

    /// A token that may encrypt and decrypt; `lifetime` are arguments about its end.
    pub fn token(&self, lifetime: &[&str]) -> String {
        let create = [&["token", "create", "-policy=kms", "-field=token"], lifetime].concat();
        self.run(&create).expect("a token").trim().to_owned()
    }

    /// The section of the server's configuration that names it.
    pub fn section(&self, more: &str) -> String {
        format!("\n[external_kms]\naddress = \"http://{}\"\n{more}\n", self.address)
    }

    /// What its own client says.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HOME", self.directory.path());
        command.env("BAO_ADDR", format!("http://{}", self.address)).env("BAO_TOKEN", ROOT);
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("bao {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
