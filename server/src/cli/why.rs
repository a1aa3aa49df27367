//! `cairn why`: what a running server decided about a request, and why.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use crate::wiring;

use super::admin_client::{AdminClient, CallError, ServerArgs};
use cairn_replication::client::Environment;

/// The server could not be asked, or knows nothing of the request.
const EXIT_UNANSWERED: u8 = 2;

#[derive(Args)]
pub(super) struct WhyArgs {
    /// The id of the request, as its answer has it in the header x-amz-request-id, and its error in RequestId
    request_id: String,
    /// Print the line of the audit log
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Request {
    time: String,
    operation: String,
    principal: Option<String>,
    access_key: Option<String>,
    source_ip: String,
    decision: String,
    decisions: Vec<Decision>,
    #[serde(default)]
    further_decisions: u64,
    status: u16,
    error_code: Option<String>,
}

#[derive(Deserialize)]
struct Decision {
    action: String,
    resource: String,
    decision: String,
    because: String,
}

pub(super) fn run_why(args: WhyArgs, environment: Environment<'_>) -> ExitCode {
    let as_json = args.json;
    match ask(args, environment) {
        Ok(line) if as_json => println!("{line}"),
        Ok(line) => match serde_json::from_value(line) {
            Ok(request) => tell(&request),
            Err(error) => return failed(&error),
        },
        Err(error) => return failed(&error),
    }
    ExitCode::SUCCESS
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("cairn: {}", wiring::chain(error));
    ExitCode::from(EXIT_UNANSWERED)
}

fn ask(args: WhyArgs, environment: Environment<'_>) -> Result<serde_json::Value, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = AdminClient::new(args.server, environment)?;
    // What is no id of ours must not become another path.
    let id: String = args.request_id.chars().filter(char::is_ascii_alphanumeric).collect();
    runtime.block_on(client.call(Method::GET, &format!("decisions/{id}")))
}

fn tell(request: &Request) {
    println!("{} at {} from {}", request.operation, request.time, request.source_ip);
    let key = request.access_key.as_ref().map(|key| format!(", access key {key}")).unwrap_or_default();
    println!("by {}{key}", request.principal.as_deref().unwrap_or("somebody who was not found out"));
    let code = request.error_code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    println!("answered {}{code}; {}", request.status, request.decision);
    for decision in &request.decisions {
        println!("\n{} {} on {}", decision.decision, decision.action, decision.resource);
        println!("  {}", decision.because);
    }
    if request.further_decisions > 0 {
        println!("\nand {} more", request.further_decisions);
    }
}
