//! `cairn jobs`: what works in the background of a running server, and holding, ending or retrying it.

use std::process::ExitCode;

use cairn_replication::client::Environment;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use crate::admin::jobs::{JobDocument, JobsDocument, QueueDocument};
use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};

/// The server could not be asked, or refuses.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Subcommand)]
pub(super) enum JobsCommand {
    /// Show the jobs, the lifecycle sweeps, what waits in the task queues, and the tasks that were given up
    List(ServerArgs),
    /// Show one job
    Show(JobArgs),
    /// Hold a job, or a bucket's sweeps; it finishes the page at hand
    Pause(JobArgs),
    /// Let a job go on that is held
    Resume(JobArgs),
    /// End a job; what it has done stays
    Cancel(JobArgs),
    /// Let a failed job go on from where it failed, have a bucket swept now, or give a task that was given up back to its queue
    Retry(JobArgs),
}

#[derive(Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The job's id, as the list shows it
    id: String,
}

/// What a change answers: the job, or the task that is back in its queue.
#[derive(Deserialize)]
#[serde(untagged)]
enum Changed {
    Job(JobDocument),
    Task { id: String },
}

impl JobDocument {
    /// One line of the list.
    pub(super) fn line(&self) -> String {
        let place = self.bucket.as_deref().unwrap_or("(all buckets)");
        let never = "not yet";
        let mut line = format!(
            "{}  {} {place}  {}  examined {} changed {} skipped {} failed {} bytes {}  started {} updated {}",
            self.id,
            self.kind,
            self.state,
            self.examined,
            self.changed,
            self.skipped,
            self.failed,
            self.bytes,
            self.started.as_deref().unwrap_or(never),
            self.updated.as_deref().unwrap_or(never),
        );
        if let Some(error) = &self.last_error {
            line.push_str("  last error: ");
            line.push_str(error);
        }
        line
    }
}

pub(super) fn run_jobs(command: JobsCommand, environment: Environment<'_>) -> ExitCode {
    match ask(command, environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(command: JobsCommand, environment: Environment<'_>) -> Result<(), CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (JobArgs { server, id }, change) = match command {
        JobsCommand::List(server) => {
            let client = AdminClient::new(server, environment)?;
            print_all(&runtime.block_on(client.call(Method::GET, "jobs"))?);
            return Ok(());
        }
        JobsCommand::Show(JobArgs { server, id }) => {
            let client = AdminClient::new(server, environment)?;
            let job: JobDocument = runtime.block_on(client.call(Method::GET, &format!("jobs/{id}")))?;
            println!("{}", job.line());
            return Ok(());
        }
        JobsCommand::Pause(args) => (args, "pause"),
        JobsCommand::Resume(args) => (args, "resume"),
        JobsCommand::Cancel(args) => (args, "cancel"),
        JobsCommand::Retry(args) => (args, "retry"),
    };
    let client = AdminClient::new(server, environment)?;
    match runtime.block_on(client.call(Method::POST, &format!("jobs/{id}/{change}")))? {
        Changed::Job(job) => println!("{}", job.line()),
        Changed::Task { id } => println!("{id}  back in its queue"),
    }
    Ok(())
}

fn print_all(all: &JobsDocument) {
    for job in all.jobs.iter().chain(&all.sweeps) {
        println!("{}", job.line());
    }
    if all.sweeps_count > all.sweeps.len() {
        println!("buckets with sweeps in all: {}", all.sweeps_count);
    }
    let bound = if all.is_partial { "at least " } else { "" };
    for QueueDocument { queue, waiting, first_due } in &all.queues {
        let due = first_due.as_ref().map(|due| format!("  first due {due}")).unwrap_or_default();
        println!("queue {queue}  {bound}{waiting} waiting{due}");
    }
    for task in &all.dead {
        println!(
            "given up {}  {} {}  tried {} times until {}: {}",
            task.id,
            task.queue.as_deref().unwrap_or("?"),
            task.bucket.as_deref().unwrap_or("(server)"),
            task.attempts,
            task.since,
            task.last_error.as_deref().unwrap_or("?"),
        );
    }
    if all.dead_count > all.dead.len() as u64 {
        println!("given up in all: {bound}{}", all.dead_count);
    }
}
