//! `cairn replicate`: how far behind a bucket's replication is, what was given up, and walks through what is there.

use std::io;
use std::process::ExitCode;

use cairn_replication::client::Environment;
use cairn_storage::index::family::walk::FindingKind;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::jobs::JobDocument;
use crate::admin::replication::{
    FailedDocument, FindingDocument, GivenUpDocument, ReportDocument, RetriedDocument, RuleDocument, StatusDocument,
};
use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// Something was given up.
const EXIT_INCOMPLETE: u8 = 1;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum ReplicateCommand {
    /// Show how far behind a bucket's rules are: exit status 1 if something was given up, 2 when the server cannot be asked
    Status(BucketArgs),
    /// List what was given up, with the reasons: exit status 1 if there is anything, 2 when the server cannot be asked
    Failed(BucketArgs),
    /// Bring what was there before the rules to their targets: starts a job and prints its id; `cairn jobs` shows it
    Backfill(WalkArgs),
    /// Bring everything to the targets once more, also what they should have: starts a job and prints its id
    Resync(WalkArgs),
    /// Compare the bucket with its targets, and with --mend have brought what is missing or differs: starts a job and prints its id
    Verify(VerifyArgs),
    /// Show what a verification has found: exit status 1 if anything is wrong or it has not ended, 2 when the server cannot be asked. What
    /// differs by right (settings that the role may not bring, or that the target keeps) is shown, and not wrong
    VerifyReport(ReportArgs),
    /// Try again what was given up: exit status 2 when the server cannot be asked
    Retry(BucketArgs),
}

#[derive(Args)]
pub(super) struct BucketArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The source bucket
    #[arg(long)]
    bucket: String,
}

#[derive(Args)]
pub(super) struct WalkArgs {
    #[command(flatten)]
    of: BucketArgs,
    /// This rule alone; by default those with ExistingObjectReplication
    #[arg(long)]
    rule: Option<String>,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    of: BucketArgs,
    /// This rule alone
    #[arg(long)]
    rule: Option<String>,
    /// Have brought what is missing or differs
    #[arg(long)]
    mend: bool,
}

#[derive(Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    of: BucketArgs,
    /// The job's id, as the verification printed it; by default the last one's
    #[arg(long)]
    job: Option<String>,
    /// Print JSON, one line for each thing that was found
    #[arg(long)]
    json: bool,
}

impl RuleDocument {
    fn line(&self) -> String {
        let Self { rule, target, pending_versions, pending_bytes, failed, running, .. } = self;
        let Self { brought, missed_threshold, bytes_per_second, .. } = self;
        let mut line = format!(
            "{rule} to {target}: {pending_versions} pending ({pending_bytes} bytes), {running} running, {failed} failed"
        );
        if let Some(oldest) = &self.oldest_pending {
            line += &format!(", oldest since {oldest}");
        }
        line += &format!("; {brought} brought");
        if let (Some(half), Some(most)) = (self.half_within_seconds, self.most_within_seconds) {
            line += &format!(" (half within {half} s, 99 % within {most} s)");
        }
        line += &format!(", {missed_threshold} later than 15 minutes, {bytes_per_second} bytes/s");
        if let Some(until) = &self.down_until {
            line += &format!("; down, asked again at {until}: {}", self.last_error.as_deref().unwrap_or_default());
        }
        line
    }
}

pub(super) fn run_replicate(command: ReplicateCommand, environment: Environment<'_>) -> ExitCode {
    let outcome = match command {
        ReplicateCommand::Status(args) => status(args, environment),
        ReplicateCommand::Failed(args) => failed(args, environment),
        ReplicateCommand::Backfill(args) => walk(args.of, "backfill", &json!({ "rule": args.rule }), environment),
        ReplicateCommand::Resync(args) => walk(args.of, "resync", &json!({ "rule": args.rule }), environment),
        ReplicateCommand::Verify(VerifyArgs { of, rule, mend }) => {
            walk(of, "verify", &json!({ "rule": rule, "mend": mend }), environment)
        }
        ReplicateCommand::VerifyReport(args) => report(args, environment),
        ReplicateCommand::Retry(args) => retry(args, environment),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cairn: {}", wiring::chain(&error));
        ExitCode::from(EXIT_UNANSWERED)
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn exit(incomplete: bool) -> ExitCode {
    if incomplete { ExitCode::from(EXIT_INCOMPLETE) } else { ExitCode::SUCCESS }
}

fn status(args: BucketArgs, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let client = AdminClient::new(args.server, environment)?;
    let status: StatusDocument =
        runtime()?.block_on(client.call(Method::GET, &format!("replication/{}", args.bucket)))?;
    for rule in &status.rules {
        println!("{}", rule.line());
    }
    Ok(exit(status.rules.iter().any(|rule| rule.failed != 0)))
}

fn failed(args: BucketArgs, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let client = AdminClient::new(args.server, environment)?;
    let path = format!("replication/{}/failed", args.bucket);
    let FailedDocument { failed, more } = runtime()?.block_on(client.call(Method::GET, &path))?;
    for GivenUpDocument { key, version, rule, target, at, attempts, reason } in &failed {
        println!("{key} {version}, {rule} to {target}, given up at {at} after {attempts} attempts: {reason}");
    }
    if more {
        println!("and more");
    }
    Ok(exit(!failed.is_empty()))
}

fn walk(of: BucketArgs, name: &str, what: &Value, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let client = AdminClient::new(of.server, environment)?;
    let path = format!("replication/{}/{name}", of.bucket);
    let job: JobDocument = runtime()?.block_on(client.post(&path, what))?;
    println!("{}", job.id);
    Ok(ExitCode::SUCCESS)
}

fn report(args: ReportArgs, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let ReportArgs { of, job: asked, json } = args;
    let client = AdminClient::new(of.server, environment)?;
    let path = format!("replication/{}/verify", of.bucket);
    let runtime = runtime()?;
    let mut asked = asked;
    let (mut after, mut is_wrong) = (0_u64, false);
    loop {
        let query = [("job", asked.clone().unwrap_or_default()), ("after", after.to_string())];
        let ReportDocument { job, findings, next, kept_max } = runtime.block_on(client.query(&path, &query))?;
        for finding in &findings {
            is_wrong |= finding.kind != FindingKind::ByRight.name();
            if json {
                println!("{}", serde_json::to_string(finding).unwrap_or_default()); // strings and a flag
            } else {
                println!("{}", finding.line());
            }
        }
        if let Some(next) = next {
            after = next;
            // Another verification may begin meanwhile.
            asked = Some(job.id);
            continue;
        }
        if job.failed > kept_max {
            eprintln!("{} of {} are kept", kept_max, job.failed);
        }
        eprintln!("{}", job.line());
        return Ok(exit(is_wrong || job.failed > kept_max || job.state != "done"));
    }
}

impl FindingDocument {
    fn line(&self) -> String {
        let Self { kind, key, version, target, detail, mended } = self;
        let mended = if *mended { "; it is brought there again" } else { "" };
        format!("{kind} at {target}: {key} {version}: {detail}{mended}")
    }
}

fn retry(args: BucketArgs, environment: Environment<'_>) -> Result<ExitCode, CallError> {
    let client = AdminClient::new(args.server, environment)?;
    let path = format!("replication/{}/retry", args.bucket);
    let runtime = runtime()?;
    let (mut again, mut gone) = (0, 0);
    loop {
        let RetriedDocument { retried, forgotten, more } = runtime.block_on(client.call(Method::POST, &path))?;
        again += retried;
        gone += forgotten;
        if !more {
            break;
        }
    }
    println!("{again} pending again, {gone} gone or at the target by now");
    Ok(ExitCode::SUCCESS)
}
