//! `cairn restore`: makes a bucket look as it did at a time. The server does it, and goes on if this command ends.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};
use cairn_replication::client::Environment;

/// It was not done, or not to its end.
const EXIT_NOT_DONE: u8 = 1;

/// The server could not be asked.
const EXIT_UNANSWERED: u8 = 2;

/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the server may be away, as for a restart, before this command gives up watching.
const ABSENCE_MAX: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The bucket, which must have versioning enabled
    #[arg(long)]
    bucket: String,
    /// The time, of RFC 3339, as in 2026-01-31T18:00:00Z; in whole seconds it includes what happened in that second
    #[arg(long, value_name = "TIME")]
    as_of: String,
    /// Only keys that begin with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only count what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Start<'a> {
    bucket: &'a str,
    as_of: &'a str,
    prefix: &'a str,
    dry_run: bool,
}

/// A restore as the server tells it.
#[derive(Deserialize)]
pub(super) struct Restore {
    bucket: String,
    id: String,
    as_of: String,
    prefix: String,
    dry_run: bool,
    state: String,
    reason: Option<String>,
    started: String,
    keys: u64,
    restored: u64,
    restored_bytes: u64,
    hidden: u64,
    overtaken: u64,
    unchanged: u64,
    removed_since: Option<u64>,
}

impl Restore {
    fn is_running(&self) -> bool {
        self.state == "running"
    }

    /// In a list.
    pub(super) fn line(&self) -> String {
        let Self { bucket, as_of, prefix, started, state, keys, restored, hidden, .. } = self;
        let kind = if self.dry_run { "dry run" } else { "restore" };
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!(
            "{bucket}  {kind} of {prefix:?} as of {as_of}, begun {started}: {keys} keys, {restored} restored, {hidden} \
             hidden, {state}{reason}"
        )
    }
}

pub(super) fn run_restore(args: RestoreArgs, environment: Environment<'_>) -> ExitCode {
    match ask(args, environment) {
        Ok(restore) => tell(&restore),
        Err(error) => {
            eprintln!("cairn: {}", wiring::chain(&error));
            ExitCode::from(EXIT_UNANSWERED)
        }
    }
}

fn ask(args: RestoreArgs, environment: Environment<'_>) -> Result<Restore, CallError> {
    let RestoreArgs { server, bucket, as_of, prefix, dry_run } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = AdminClient::new(server, environment)?;
    let start = Start { bucket: &bucket, as_of: &as_of, prefix: &prefix, dry_run };
    runtime.block_on(restore(&client, start))
}

/// A dry run first, which says how many keys there are to look at, and whether there is anything to do.
async fn restore(client: &AdminClient, start: Start<'_>) -> Result<Restore, CallError> {
    let counting = ProgressBar::new_spinner().with_style(style("{spinner} {human_pos} keys looked at {elapsed}"));
    let counted = client.post("restores", &Start { dry_run: true, ..start }).await;
    let counted = match counted {
        Ok(counted) => watch(client, counted, &counting).await?,
        // The restore itself may be running already: this command was given before, and ended.
        Err(CallError::Refused { code, .. }) if code == "OperationAborted" && !start.dry_run => {
            let running = client.post("restores", &start).await?;
            return watch(client, running, &counting).await;
        }
        Err(error) => return Err(error),
    };
    let nothing_to_do = counted.restored + counted.hidden == 0;
    if start.dry_run || counted.state != "done" || nothing_to_do {
        return Ok(counted);
    }
    let bar = ProgressBar::new(counted.keys).with_style(style("{bar:40} {human_pos}/{human_len} keys {eta}"));
    let begun: Restore = client.post("restores", &start).await?;
    eprintln!(
        "The server goes on if this command ends. To end the restore: cairn restores cancel --bucket {}",
        begun.bucket
    );
    watch(client, begun, &bar).await
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Waits for the restore's end, also over a restart of the server.
async fn watch(client: &AdminClient, mut restore: Restore, bar: &ProgressBar) -> Result<Restore, CallError> {
    let path = format!("restores/{}", restore.bucket);
    let mut last_answer = Instant::now();
    while restore.is_running() {
        bar.set_position(restore.keys);
        tokio::time::sleep(LOOK_INTERVAL).await;
        match client.call::<Restore>(Method::GET, &path).await {
            Ok(now) if now.id != restore.id => {
                return Err(CallError::Refused {
                    code: "Superseded".to_owned(),
                    message: "Another restore of the bucket has begun since this one ended.".to_owned(),
                });
            }
            Ok(now) => {
                last_answer = Instant::now();
                restore = now;
            }
            Err(CallError::Unanswered(_)) if last_answer.elapsed() < ABSENCE_MAX => {}
            Err(error) => return Err(error),
        }
    }
    bar.finish_and_clear();
    Ok(restore)
}

fn tell(restore: &Restore) -> ExitCode {
    let would = if restore.dry_run { "that would be" } else { "" };
    let counts = [
        ("keys looked at".to_owned(), restore.keys),
        (format!("keys {would} restored to the version of then"), restore.restored),
        ("bytes of those versions, which share what is stored where they can".to_owned(), restore.restored_bytes),
        (format!("keys {would} hidden by a delete marker, because they did not exist then"), restore.hidden),
        ("keys left alone, because they look as they did then".to_owned(), restore.unchanged),
        ("keys left alone, because they were written after the restore began".to_owned(), restore.overtaken),
    ];
    println!("{} as of {}", restore.bucket, restore.as_of);
    for (what, count) in counts {
        println!("{:>16}  {}", HumanCount(count).to_string(), what.replace("  ", " "));
    }
    match restore.removed_since {
        None => {}
        Some(0) => println!("Nothing that existed then was removed for good since."),
        Some(count) => println!(
            "WARNING: up to {} versions or delete markers that existed then were removed for good since, by deletion or as \
             a null version that was replaced, and cannot be brought back. Keys whose newest they were then look as they \
             did before, or are hidden.",
            HumanCount(count)
        ),
    }
    match restore.state.as_str() {
        "done" => ExitCode::SUCCESS,
        state => {
            let reason = restore.reason.as_deref().unwrap_or("what was restored stays");
            println!("The restore was not done to its end ({state}): {reason}");
            ExitCode::from(EXIT_NOT_DONE)
        }
    }
}
