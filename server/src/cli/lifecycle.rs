//! `cairn lifecycle`: carrying a bucket's lifecycle rules out now, and telling what they would do.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_replication::client::Environment;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// Something failed, or waits for the next sweep.
const EXIT_INCOMPLETE: u8 = 1;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum LifecycleCommand {
    /// Carry a bucket's rules out now: exit status 1 if something of them could not be done, 2 when the server cannot be asked
    Run(RunArgs),
    /// Tell what a bucket's rules, or others, would do, without doing it: exit status 2 when the server cannot be asked
    Plan(PlanArgs),
}

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket
    #[arg(long)]
    bucket: String,
}

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket
    #[arg(long)]
    bucket: String,
    /// The time to plan for, in RFC 3339; by default now
    #[arg(long)]
    at: Option<String>,
    /// How many days after that time to tell about, too
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// A file with a LifecycleConfiguration in XML, to plan with in place of the bucket's own
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the configuration cannot be read")]
    Configuration(#[source] io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
}

#[derive(Deserialize)]
struct Run {
    versions: u64,
    done: Vec<Done>,
    overtaken: u64,
    failed: u64,
    failures: Vec<String>,
}

#[derive(Deserialize)]
struct Done {
    action: String,
    class: Option<String>,
    count: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Plan {
    at: String,
    days: u32,
    versions: u64,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    rule: String,
    action: String,
    class: Option<String>,
    to: Option<String>,
    now: u64,
    now_bytes: u64,
    later: u64,
    later_bytes: u64,
    examples: Vec<String>,
}

pub(super) fn run_lifecycle(command: LifecycleCommand, environment: Environment<'_>) -> ExitCode {
    let outcome = match command {
        LifecycleCommand::Run(args) => run(args, environment),
        LifecycleCommand::Plan(args) => plan(args, environment),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cairn: {}", wiring::chain(&error));
        ExitCode::from(EXIT_UNANSWERED)
    })
}

fn run(args: RunArgs, environment: Environment<'_>) -> Result<ExitCode, Failed> {
    let client = AdminClient::new(args.server, environment)?.that_walks();
    let path = format!("lifecycle/{}/run", args.bucket);
    let run: Run = runtime()?.block_on(client.call(Method::POST, &path)).map_err(Failed::Call)?;
    println!("{:>12}  versions looked at", run.versions);
    for Done { action, class, count, bytes } in &run.done {
        println!("{count:>12}  {}, {bytes} bytes", described(action, class.as_deref()));
    }
    if run.overtaken > 0 {
        println!("{:>12}  keys that changed meanwhile, and wait for the next sweep", run.overtaken);
    }
    for failure in &run.failures {
        eprintln!("cairn: {failure}");
    }
    if run.failed > 0 || run.overtaken > 0 {
        return Ok(ExitCode::from(EXIT_INCOMPLETE));
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(args: PlanArgs, environment: Environment<'_>) -> Result<ExitCode, Failed> {
    let configuration = args.config.map(std::fs::read_to_string).transpose().map_err(Failed::Configuration)?;
    let client = AdminClient::new(args.server, environment)?.that_walks();
    let question = json!({ "bucket": args.bucket, "at": args.at, "days": args.days, "configuration": configuration });
    let plan: Plan = runtime()?.block_on(client.post("lifecycle/plan", &question))?;
    println!("at {}, of {} versions:", plan.at, plan.versions);
    if plan.lines.is_empty() {
        println!("  nothing is due, nor within {} days", plan.days);
    }
    for line in plan.lines {
        let from = line.class.as_deref().map_or_else(String::new, |class| format!(" from {class}"));
        println!("  rule {}: {}{from}", line.rule, described(&line.action, line.to.as_deref()));
        println!("{:>12}  now, {} bytes", line.now, line.now_bytes);
        println!("{:>12}  within {} days after, {} bytes", line.later, plan.days, line.later_bytes);
        println!("              such as {}", line.examples.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn described(action: &str, class: Option<&str>) -> String {
    match (action, class) {
        ("transition", Some(class)) => format!("moved to {class}"),
        ("expire", _) => "expired".to_owned(),
        ("remove", _) => "noncurrent versions removed".to_owned(),
        ("remove-marker", _) => "delete markers removed".to_owned(),
        ("abort-upload", _) => "uploads aborted".to_owned(),
        (other, _) => other.to_owned(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CallError> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
