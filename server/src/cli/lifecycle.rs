//! `cairn lifecycle`: having a bucket's lifecycle rules carried out now, how that goes, and what they would do.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cairn_replication::client::Environment;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// Something failed, or waits for the next sweep.
const EXIT_INCOMPLETE: u8 = 1;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

/// Between two looks at how far a sweep is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the server may be away, as for a restart, before this command gives up watching.
const ABSENCE_MAX: Duration = Duration::from_secs(120);

#[derive(Subcommand)]
pub(super) enum LifecycleCommand {
    /// Have a bucket's rules carried out now, also if its sweeps are paused: exit status 1 if something of them could not be
    /// done, 2 when the server cannot be asked. The server goes on if this command ends, and after a restart
    Run(RunArgs),
    /// Tell how the sweeps of a bucket, or of all that have any, are: exit status 1 if the last one of one could not do all
    Status(StatusArgs),
    /// Let no sweep of a bucket, or of any, begin by itself, and end those under way
    Pause(WhichArgs),
    /// Let sweeps of a bucket, or of all that are not paused themselves, begin by themselves again
    Resume(WhichArgs),
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
    /// Do not wait for its end
    #[arg(long)]
    no_wait: bool,
}

#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket; by default every bucket of the account that has rules, or objects in INTELLIGENT_TIERING
    #[arg(long)]
    bucket: Option<String>,
}

#[derive(Args)]
pub(super) struct WhichArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket
    #[arg(long, required_unless_present = "all")]
    bucket: Option<String>,
    /// All buckets of the server
    #[arg(long, conflicts_with = "bucket")]
    all: bool,
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

/// A bucket's sweeps as the server tells them.
#[derive(Deserialize)]
struct Status {
    bucket: String,
    state: String,
    requested: Option<String>,
    lag_seconds: Option<u64>,
    current: Option<Sweep>,
    last: Option<Sweep>,
    early: Vec<Early>,
}

#[derive(Deserialize)]
struct Early {
    class: String,
    minimum_days: u32,
    versions: u64,
    mib_days: u64,
}

#[derive(Deserialize)]
struct Statuses {
    buckets: Vec<Status>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Sweep {
    started: String,
    ended: Option<String>,
    end: Option<String>,
    reason: Option<String>,
    versions: u64,
    done: Vec<Done>,
    overtaken: u64,
    failed: Vec<FailedSum>,
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
struct FailedSum {
    reason: String,
    count: u64,
}

impl Sweep {
    fn is_complete(&self) -> bool {
        self.end.as_deref() == Some("whole") && self.overtaken == 0 && self.failed.is_empty()
    }
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
    /// None: objects in INTELLIGENT_TIERING move without one.
    rule: Option<String>,
    action: String,
    class: Option<String>,
    to: Option<String>,
    now: u64,
    now_bytes: u64,
    later: u64,
    later_bytes: u64,
    early: u64,
    minimum_days: u32,
    examples: Vec<String>,
}

pub(super) fn run_lifecycle(command: LifecycleCommand, environment: Environment<'_>) -> ExitCode {
    let outcome = match command {
        LifecycleCommand::Run(args) => run(args, environment),
        LifecycleCommand::Status(args) => status(args, environment),
        LifecycleCommand::Pause(args) => pause(args, "pause", environment),
        LifecycleCommand::Resume(args) => pause(args, "resume", environment),
        LifecycleCommand::Plan(args) => plan(args, environment),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cairn: {}", wiring::chain(&error));
        ExitCode::from(EXIT_UNANSWERED)
    })
}

fn run(args: RunArgs, environment: Environment<'_>) -> Result<ExitCode, Failed> {
    let client = AdminClient::new(args.server, environment)?;
    let runtime = runtime()?;
    let asked: Status = runtime.block_on(client.call(Method::POST, &format!("lifecycle/{}/run", args.bucket)))?;
    if args.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let sweep = runtime.block_on(watch(&client, asked))?;
    tell(&sweep);
    Ok(if sweep.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) })
}

/// Waits for the end of the sweep that was asked for, also over a restart of the server.
async fn watch(client: &AdminClient, asked: Status) -> Result<Sweep, CallError> {
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {human_pos} versions looked at {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let path = format!("lifecycle/{}", asked.bucket);
    let requested = asked.requested.as_deref().and_then(time);
    let mut last_answer = Instant::now();
    loop {
        match client.call::<Status>(Method::GET, &path).await {
            Ok(Status { last: Some(last), .. }) if time(&last.started) >= requested => {
                bar.finish_and_clear();
                return Ok(last);
            }
            Ok(status) => {
                last_answer = Instant::now();
                bar.set_position(status.current.map_or(0, |sweep| sweep.versions));
            }
            Err(CallError::Unanswered(_)) if last_answer.elapsed() < ABSENCE_MAX => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

fn tell(sweep: &Sweep) {
    println!("{:>12}  versions looked at", sweep.versions);
    for Done { action, class, count, bytes } in &sweep.done {
        println!("{count:>12}  {}, {bytes} bytes", described(action, class.as_deref()));
    }
    if sweep.overtaken > 0 {
        println!("{:>12}  keys that changed meanwhile, and wait for the next sweep", sweep.overtaken);
    }
    for FailedSum { reason, count } in &sweep.failed {
        println!("{count:>12}  not done: {reason}");
    }
    match sweep.end.as_deref() {
        Some("early") => println!(
            "It ended early: sweeps were paused, the rules changed, or moves took long and go on with the next one."
        ),
        Some("failed") => println!("It was cut short: {}", sweep.reason.as_deref().unwrap_or_default()),
        _ => {}
    }
    for failure in &sweep.failures {
        eprintln!("cairn: {failure}");
    }
}

fn status(args: StatusArgs, environment: Environment<'_>) -> Result<ExitCode, Failed> {
    let client = AdminClient::new(args.server, environment)?;
    let buckets = runtime()?.block_on(async {
        if let Some(bucket) = args.bucket {
            return Ok(vec![client.call::<Status>(Method::GET, &format!("lifecycle/{bucket}")).await?]);
        }
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let Statuses { buckets, next } = client.page("lifecycle", after.as_deref()).await?;
            all.extend(buckets);
            after = next;
            if after.is_none() {
                return Ok::<_, CallError>(all);
            }
        }
    })?;
    for Status { bucket, state, lag_seconds, current, last, early, .. } in &buckets {
        let lag = lag_seconds.map_or_else(String::new, |seconds| format!(", covered until {seconds} s ago"));
        println!("{bucket}: {state}{lag}");
        for (sweep, which) in [(current, "under way"), (last, "last")] {
            let Some(sweep) = sweep else { continue };
            let ended = sweep.ended.as_ref().map_or_else(String::new, |ended| format!(", ended {ended}"));
            println!("  {which}: begun {}{ended}", sweep.started);
            tell(sweep);
        }
        for Early { class, minimum_days, versions, mib_days } in early {
            println!("{versions:>12}  ever left {class} before its {minimum_days} days, {mib_days} MiB days too soon");
        }
    }
    let complete = buckets.iter().all(|bucket| bucket.last.as_ref().is_none_or(Sweep::is_complete));
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) })
}

fn pause(args: WhichArgs, does: &str, environment: Environment<'_>) -> Result<ExitCode, Failed> {
    let client = AdminClient::new(args.server, environment)?;
    let path = match args.bucket {
        Some(bucket) => format!("lifecycle/{bucket}/{does}"),
        None => format!("lifecycle/{does}"),
    };
    runtime()?.block_on(client.call::<serde::de::IgnoredAny>(Method::POST, &path))?;
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
        let from_class = line.class.as_deref().unwrap_or_default();
        let described = described(&line.action, line.to.as_deref());
        match (&line.rule, &line.class) {
            (Some(rule), Some(class)) => println!("  rule {rule}: {described} from {class}"),
            (Some(rule), None) => println!("  rule {rule}: {described}"),
            (None, _) => println!("  by access: {described}"),
        }
        println!("{:>12}  now, {} bytes", line.now, line.now_bytes);
        println!("{:>12}  within {} days after, {} bytes", line.later, plan.days, line.later_bytes);
        if line.early > 0 {
            println!("{:>12}  of both before {from_class} has had them for {} days", line.early, line.minimum_days);
        }
        println!("              such as {}", line.examples.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn described(action: &str, class: Option<&str>) -> String {
    match (action, class) {
        ("transition", Some(class)) => format!("moved to {class}"),
        ("access-tier", Some(tier)) => format!("moved to {tier} of INTELLIGENT_TIERING"),
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
