//! Runs the real `cairn` binary over a data directory of its own, on free ports of the loopback interface.
//!
//! A server lives as long as its [`Cairn`] value; it is always ended by its own process id. Its output goes to a file
//! beside its data, which is printed when a start fails.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{Client, REGION};
use crate::network::Host;
use crate::sigv4::Credentials;

/// Hosts below it name a bucket.
pub const DOMAIN: &str = "s3.localhost";

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const MIB: u64 = 1024 * 1024;

/// What a test wants of its server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Contents up to this size live in the index; `None` leaves the default.
    pub inline_threshold_bytes: Option<u64>,
    /// Below this much free space, writes are refused.
    pub free_space_floor_bytes: u64,
    /// The size of the ballast file.
    pub ballast_bytes: u64,
    /// The setting `s3.domains`.
    pub domains: Vec<&'static str>,
    /// The setting `s3.signature_v2`; `None` leaves the default.
    pub signature_v2: Option<&'static str>,
    /// The setting `encryption.default`; `None` leaves the default.
    pub encryption: Option<&'static str>,
    /// The setting `s3.allow_ssec_over_http`.
    pub allow_ssec_over_http: bool,
    /// The settings `s3.tls_cert_file` and `s3.tls_key_file`.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The setting `new_buckets.object_ownership`; `None` leaves the default.
    pub object_ownership: Option<&'static str>,
    /// The setting `new_buckets.block_public_access`; `None` leaves the default, which most tests are not about.
    pub block_public_access: Option<bool>,
    /// Whether buckets are websites, at [`Cairn::website`].
    pub website: bool,
    /// The setting `sts.plain_loopback_issuers`.
    pub plain_loopback_issuers: bool,
    /// More lines for the section `[limits]`.
    pub limits: Vec<(&'static str, u64)>,
    /// The data directory, if not one of the harness's own.
    pub data_dir: Option<PathBuf>,
    /// Whether the two known accounts are configured; without them the server generates one.
    pub accounts: bool,
    /// More text at the end of the configuration.
    pub more: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            inline_threshold_bytes: None,
            free_space_floor_bytes: 64 * MIB,
            ballast_bytes: MIB,
            domains: vec![DOMAIN],
            signature_v2: None,
            encryption: None,
            allow_ssec_over_http: false,
            tls: None,
            object_ownership: None,
            block_public_access: Some(false),
            website: false,
            plain_loopback_issuers: false,
            limits: vec![],
            data_dir: None,
            accounts: true,
            more: String::new(),
        }
    }
}

/// A start that did not lead to a live server.
#[derive(Debug)]
pub struct StartError {
    /// How the process ended; `None` if it ran on without answering.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub log: String,
}

/// A running (or killed, until the next start) server.
pub struct Cairn {
    config: Config,
    directory: TempDir,
    s3: SocketAddr,
    ops: SocketAddr,
    website: SocketAddr,
    process: Option<Child>,
    environment: Vec<(&'static str, String)>,
    /// Where it runs, if not on this host.
    host: Option<Host>,
}

impl Cairn {
    /// Starts a server and waits until it is ready.
    pub fn start(config: Config) -> Cairn {
        let mut cairn = Cairn::prepare(config);
        cairn.start_again();
        cairn
    }

    /// Writes the configuration without starting the server.
    pub fn prepare(config: Config) -> Cairn {
        let directory = tempfile::Builder::new().prefix("cairn-test-").tempdir().expect("a temporary directory");
        let (s3, ops, website) = (free_address(), free_address(), free_address());
        Cairn::at(config, directory, [s3, ops, website], None)
    }

    /// Starts a server on a host of its own, at the port 9000.
    pub fn start_on(config: Config, host: Host) -> Cairn {
        let directory = tempfile::Builder::new().prefix("cairn-test-").tempdir().expect("a temporary directory");
        let addresses = [9_000, 9_001, 9_002].map(|port| SocketAddr::from((host.address, port)));
        let mut cairn = Cairn::at(config, directory, addresses, Some(host));
        cairn.start_again();
        cairn
    }

    fn at(config: Config, directory: TempDir, [s3, ops, website]: [SocketAddr; 3], host: Option<Host>) -> Cairn {
        let cairn = Cairn { config, directory, s3, ops, website, process: None, environment: vec![], host };
        fs::write(cairn.config_file(), cairn.config_text()).expect("the configuration is written");
        cairn
    }

    /// The server that the tests of one file share: it runs while any test holds it.
    pub fn shared() -> Arc<Cairn> {
        static SHARED: Mutex<Weak<Cairn>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Cairn::start(Config::default()));
        *shared = Arc::downgrade(&started);
        started
    }

    /// Starts the process again over the same data and waits until it is ready.
    pub fn start_again(&mut self) {
        self.launch().unwrap_or_else(|error| panic!("cairn did not start: {:?}\n{}", error.status, error.log));
        let deadline = Instant::now() + START_TIMEOUT;
        while self.ops_get("/health/ready").map_or(0, |(status, _)| status) != 200 {
            assert!(Instant::now() < deadline, "cairn does not become ready:\n{}", self.log());
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sets the wall clock of the starts that follow: as many days ahead of the machine's, or behind. What it does not
    /// change is how fast time passes. The error says why it cannot be done here.
    pub fn set_wall_clock(&mut self, days_ahead: i64) -> Result<(), String> {
        self.set_wall_clock_ahead(time::Duration::days(days_ahead))
    }

    /// The same for any time.
    pub fn set_wall_clock_ahead(&mut self, ahead: time::Duration) -> Result<(), String> {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"]
            .map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"))
            .into_iter()
            .find(|library| library.exists())
            .ok_or("faketime is not installed")?;
        self.environment = vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME", format!("{:+}", ahead.whole_seconds())),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        Ok(())
    }

    /// Sets a variable of the environment of the starts that follow.
    pub fn set_environment(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Forgets what [`Cairn::set_environment`] set.
    pub fn clear_environment(&mut self) {
        self.environment.clear();
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the server is running already");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("the log file opens");
        let mut command = self.command(&["serve", "--config"]);
        if let Some(host) = &self.host {
            command = on_host(host, &command);
        }
        let child = command
            .arg(self.config_file())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file is shared"))
            .stderr(log)
            .spawn()
            .expect("the cairn binary runs");
        self.process = Some(child);
    }

    /// Starts the process and waits only until its start is over: it may be read-only, or it may have ended.
    pub fn launch(&mut self) -> Result<(), StartError> {
        self.spawn();
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                self.process = None;
                return Err(StartError { status: Some(status), log: self.log() });
            }
            if self.ops_get("/health/ready").is_ok_and(|(status, reason)| status == 200 || reason.trim() != "starting")
            {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        self.kill9();
        Err(StartError { status: None, log: self.log() })
    }

    /// A command of the binary that sees none of the caller's `CAIRN_*` variables.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.directory.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// A command that calls the server, by the server's wall clock and with the first account's root credentials in its
    /// environment. No other credentials can be found.
    pub fn calling_command(&self, arguments: &[&str]) -> Command {
        let Credentials { access_key, secret_key, .. } = self.client().credentials;
        let mut command = self.command(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.args(["--endpoint-url", &format!("http://{}", self.s3)]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HOME", self.directory.path());
        command.env("AWS_ACCESS_KEY_ID", access_key).env("AWS_SECRET_ACCESS_KEY", secret_key);
        command
    }

    /// Ends the process as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.process.take() {
            // An error says that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("the server is running");
        kill_process(pid_of(&child), Signal::TERM).expect("the process takes a signal");
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = child.try_wait().expect("the process can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("cairn does not stop:\n{}", self.log());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Stops gracefully and starts again.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// How the process ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|child| child.try_wait().expect("the process can be waited for"))
    }

    /// `cairn check` over the stopped server's data: its exit status and what it printed.
    pub fn check(&self) -> (Option<i32>, String) {
        let output = self.command(&["check", "--config"]).arg(self.config_file()).output().expect("cairn check runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    }

    /// A client of the first account's root.
    pub fn client(&self) -> Client {
        self.client_with("cairn-test-access", "cairn-test-secret-key-0000000000000001")
    }

    /// A client of another account's root.
    pub fn other_client(&self) -> Client {
        self.client_with("cairn-other-access", "cairn-other-secret-key-000000000000002")
    }

    /// A client with any credentials.
    pub fn client_with(&self, access_key: &str, secret_key: &str) -> Client {
        let credentials = Credentials { access_key: access_key.into(), secret_key: secret_key.into(), token: None };
        Client { address: self.s3, credentials }
    }

    /// The address of the operations port.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops
    }

    /// A request to the operations port: status and body. No answer is an error: a server that ends closes the connections
    /// that it has not looked at.
    pub fn ops_get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.ops, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.ops)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        match (status, answer.split_once("\r\n\r\n")) {
            (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("the server is running");
        kill_process(pid_of(child), signal).expect("the process takes a signal");
    }

    /// Where websites are answered.
    pub fn website(&self) -> SocketAddr {
        self.website
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server is running").id()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.config.data_dir.clone().unwrap_or_else(|| self.directory.path().join("data"))
    }

    /// A directory for the test's own files, removed with the server.
    pub fn scratch_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("cairn.toml")
    }

    /// What the server has printed, over all of its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The files of contents in the blob store.
    pub fn blob_files(&self) -> Vec<PathBuf> {
        ["blobs", "classes"].into_iter().flat_map(|folder| files_below(&self.data_dir().join(folder))).collect()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn config_text(&self) -> String {
        let Config { inline_threshold_bytes, free_space_floor_bytes, ballast_bytes, signature_v2, limits, .. } =
            &self.config;
        let domains = &self.config.domains;
        let mut s3 = signature_v2.map(|value| format!("signature_v2 = {value:?}\n")).unwrap_or_default();
        if let Some((certificate, key)) = &self.config.tls {
            s3.push_str(&format!("tls_cert_file = {certificate:?}\ntls_key_file = {key:?}\n"));
        }
        if self.config.allow_ssec_over_http {
            s3.push_str("allow_ssec_over_http = true\n");
        }
        let mut text = format!(
            "data_dir = {:?}\nregion = {REGION:?}\n\n[s3]\nlisten = \"{}\"\ndomains = {domains:?}\n{s3}\n[ops]\nlisten = \"{}\"\n\n[storage]\n\
             free_space_floor_bytes = {free_space_floor_bytes}\nballast_bytes = {ballast_bytes}\n",
            self.data_dir(),
            self.s3,
            self.ops
        );
        if let Some(threshold) = inline_threshold_bytes {
            text.push_str(&format!("inline_threshold_bytes = {threshold}\n"));
        }
        text.push_str("\n[new_buckets]\n");
        if let Some(ownership) = self.config.object_ownership {
            text.push_str(&format!("object_ownership = {ownership:?}\n"));
        }
        if let Some(blocks) = self.config.block_public_access {
            text.push_str(&format!("block_public_access = {blocks}\n"));
        }
        if self.config.website {
            text.push_str(&format!("\n[website]\nlisten = \"{}\"\n", self.website));
        }
        if self.config.plain_loopback_issuers {
            text.push_str("\n[sts]\nplain_loopback_issuers = true\n");
        }
        if let Some(default) = self.config.encryption {
            text.push_str(&format!("\n[encryption]\ndefault = {default:?}\n"));
        }
        text.push_str("\n[limits]\n");
        for (name, value) in limits {
            text.push_str(&format!("{name} = {value}\n"));
        }
        if self.config.accounts {
            for (number, name, client) in [(1, "test", self.client()), (2, "other", self.other_client())] {
                let Credentials { access_key, secret_key, .. } = client.credentials;
                text.push_str(&format!(
                    "\n[[account]]\nid = \"10000000000{number}\"\ncanonical_id = \"{number:064x}\"\n\
                     display_name = {name:?}\nemail = \"{name}@cairn.example\"\n\
                     root_key = {{ access_key = {access_key:?}, secret_key = {secret_key:?} }}\n"
                ));
            }
        }
        text.push_str(&self.config.more);
        text
    }
}

impl Drop for Cairn {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The same command on another host.
fn on_host(host: &Host, command: &Command) -> Command {
    let mut there = Command::new("ip");
    there.args(["netns", "exec", &host.namespace]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        there.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

/// The `cairn` binary of the profile that this program was built in: `CAIRN_BIN`, or what cargo builds (which costs
/// nothing if it is fresh).
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CAIRN_BIN") {
            return PathBuf::from(path);
        }
        let own = std::env::current_exe().expect("this program has a path");
        let mut profile_dir = own.parent().expect("it is in a directory");
        if profile_dir.ends_with("deps") {
            profile_dir = profile_dir.parent().expect("`deps` is in a profile's directory");
        }
        let target_dir = profile_dir.parent().expect("a profile's directory is in the target directory");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "build",
            "--quiet",
            "--locked",
            "--ignore-rust-version",
            "--package",
            "cairn-server",
            "--target-dir",
        ]);
        cargo.arg(target_dir).current_dir(env!("CARGO_MANIFEST_DIR"));
        // What is told to this program would make build scripts that ask for it run anew, and all that depends on them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
                cargo.env_remove(name);
            }
        }
        if profile_dir.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "the server does not build");
        profile_dir.join("cairn")
    })
}

/// All files below a directory, in order of their paths; none if it does not exist.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.path() {
                path if path.is_dir() => pending.push(path),
                path => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// A port that nobody listens on and that no other server of this process was given. It is below the range from which the
/// system takes ports for outgoing connections, so that a restarted server finds it free again.
fn free_address() -> SocketAddr {
    const FIRST: usize = 10_000;
    const COUNT: usize = 22_000;
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| {
        let mut seed = [0; 8];
        File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed)).expect("randomness");
        AtomicUsize::new(crate::Random::new(u64::from_le_bytes(seed)).below(COUNT))
    });
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
