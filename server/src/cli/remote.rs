//! `cairn remote`: the other S3 services that a running server knows, adding and removing them, and trying whether one answers.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_replication::client::Environment;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::admin::remotes::{RemoteDocument, RemotesDocument, RemovedDocument, TestedDocument};
use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// A remote is down, or did not answer as it should.
const EXIT_ILL: u8 = 1;

/// The server could not be asked, or refuses.
const EXIT_UNANSWERED: u8 = 2;

/// Where the secret of `--remote-access-key` is, unless it is in a file.
const SECRET_VARIABLE: &str = "CAIRN_REMOTE_SECRET_KEY";

#[derive(Subcommand)]
pub(super) enum RemoteCommand {
    /// Show the remotes, where they come from and who goes there: exit status 1 when one is down, 2 when the server cannot be asked
    List(ServerArgs),
    /// Add a remote, which buckets can replicate to at once
    Add(AddArgs),
    /// Remove a remote that was added and that no bucket replicates to
    Remove(RemoveArgs),
    /// Try whether a remote knows a bucket and lets it be listed: exit status 1 when not, 2 when the server cannot be asked
    Test(TestArgs),
}

#[derive(Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Its name, which stands in the ARNs of buckets there
    name: String,
    /// Where it answers: http://HOST or https://HOST
    url: String,
    /// The region that its signatures name [default: as the aws command line finds it on the server]
    #[arg(long)]
    remote_region: Option<String>,
    /// Whose requests are signed; the secret is in CAIRN_REMOTE_SECRET_KEY or a file [default: as the aws command line finds credentials on
    /// the server]
    #[arg(long)]
    remote_access_key: Option<String>,
    /// A file with the secret of --remote-access-key; `-`: the standard input
    #[arg(long, requires = "remote_access_key")]
    remote_secret_key_file: Option<PathBuf>,
    /// The profile in ~/.aws, on the server, whose credentials are used
    #[arg(long, conflicts_with = "remote_access_key")]
    profile: Option<String>,
    /// The certificates in PEM, on the server, that it is trusted by
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Bytes a second at most, both ways together
    #[arg(long)]
    bandwidth_limit: Option<u64>,
    /// An account whose buckets may replicate there; may be repeated [default: the first account alone]
    #[arg(long)]
    account: Vec<String>,
    /// Its buckets are named in the host
    #[arg(long)]
    virtual_host: bool,
    /// Also in place of one that was added under this name, as to give it another key
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Its name
    name: String,
}

#[derive(Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Its name
    name: String,
    /// A bucket there
    #[arg(long)]
    bucket: String,
}

pub(super) fn run_remote(command: RemoteCommand, environment: Environment<'_>) -> ExitCode {
    ask(command, environment).unwrap_or_else(|error| {
        eprintln!("cairn: {}", wiring::chain(&error));
        ExitCode::from(EXIT_UNANSWERED)
    })
}

fn exit(is_ill: bool) -> ExitCode {
    if is_ill { ExitCode::from(EXIT_ILL) } else { ExitCode::SUCCESS }
}

fn ask(command: RemoteCommand, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        RemoteCommand::List(server) => {
            let client = AdminClient::new(server, environment)?;
            let RemotesDocument { remotes } = runtime.block_on(client.call(Method::GET, "remotes"))?;
            remotes.iter().for_each(|remote| println!("{}", remote.line()));
            Ok(exit(remotes.iter().any(|remote| remote.down.is_some())))
        }
        RemoteCommand::Add(args) => {
            let document = args.document(environment)?;
            let client = AdminClient::new(args.server, environment)?;
            let remote: RemoteDocument = runtime.block_on(client.post("remotes", &document))?;
            println!("{}", remote.line());
            Ok(ExitCode::SUCCESS)
        }
        RemoteCommand::Remove(RemoveArgs { server, name }) => {
            let client = AdminClient::new(server, environment)?;
            let RemovedDocument { removed } =
                runtime.block_on(client.call(Method::DELETE, &format!("remotes/{name}")))?;
            println!("{removed}  removed");
            Ok(ExitCode::SUCCESS)
        }
        RemoteCommand::Test(TestArgs { server, name, bucket }) => {
            let client = AdminClient::new(server, environment)?;
            let path = format!("remotes/{name}/test");
            let tested: TestedDocument = runtime.block_on(client.post(&path, &json!({ "bucket": bucket })))?;
            println!("{}", tested.line(&name, &bucket));
            Ok(exit(!tested.lists))
        }
    }
}

impl AddArgs {
    /// What is posted. The secret comes from nowhere where others could see it.
    fn document(&self, environment: Environment<'_>) -> Result<Value, CallError> {
        let secret_key = match (&self.remote_access_key, &self.remote_secret_key_file) {
            (None, _) => None,
            (Some(_), Some(file)) => Some(secret_in(file)?),
            (Some(_), None) => {
                let secret = environment(SECRET_VARIABLE).and_then(|secret| secret.into_string().ok());
                Some(Zeroizing::new(secret.ok_or(CallError::NoRemoteSecret)?))
            }
        };
        let mut remote = json!({ "name": self.name, "endpoint": self.url });
        let given = [
            ("region", self.remote_region.as_deref().map(Value::from)),
            ("access_key", self.remote_access_key.as_deref().map(Value::from)),
            ("secret_key", secret_key.as_ref().map(|secret| Value::from(secret.as_str()))),
            ("profile", self.profile.as_deref().map(Value::from)),
            ("ca_file", self.ca_file.as_ref().map(|file| Value::from(file.to_string_lossy().as_ref()))),
            ("bandwidth_limit", self.bandwidth_limit.map(Value::from)),
            ("accounts", (!self.account.is_empty()).then(|| Value::from(self.account.clone()))),
            ("addressing", self.virtual_host.then(|| Value::from("virtual-host"))),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                remote[name] = value;
            }
        }
        Ok(json!({ "remote": remote, "replace": self.replace }))
    }
}

/// The first line of a file.
fn secret_in(file: &PathBuf) -> Result<Zeroizing<String>, CallError> {
    let mut text = Zeroizing::new(String::new());
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?.read_to_string(&mut text)?;
    }
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

impl RemoteDocument {
    fn line(&self) -> String {
        let Self { name, endpoint, region, access_key, bandwidth_limit, accounts, origin, buckets, down, down_until } =
            self;
        let mut line = format!("{name}  {endpoint}  {}  from {origin}", region.as_deref().unwrap_or("?"));
        if let Some(access_key) = access_key {
            line += &format!("  as {access_key}");
        }
        if let Some(limit) = bandwidth_limit {
            line += &format!("  at most {limit} bytes/s");
        }
        match accounts.as_slice() {
            [] => line += "  for the first account",
            accounts => line += &format!("  for {}", accounts.join(",")),
        }
        if !buckets.is_empty() {
            line += &format!("  replicated to by {}", buckets.join(","));
        }
        match (down, down_until) {
            (Some(reason), Some(until)) => line += &format!("  down, asked again at {until}: {reason}"),
            (Some(reason), None) => line += &format!("  down: {reason}"),
            (None, _) => {}
        }
        line
    }
}

impl TestedDocument {
    fn line(&self, name: &str, bucket: &str) -> String {
        let against = self.error.as_deref().unwrap_or_default();
        match self.server.as_deref() {
            None => format!("{name}: {against}"),
            Some(server) => {
                let server = if server == "cairn" { "a Cairn, which takes replicas" } else { "an S3 server" };
                match self.lists {
                    true => format!("{name}: {bucket} is at {server}, and can be listed"),
                    false => format!("{name}: {bucket} is at {server}, and cannot be listed: {against}"),
                }
            }
        }
    }
}
