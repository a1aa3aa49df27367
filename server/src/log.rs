//! Logs: how they look, what is in them, and the one line of each request.
//!
//! Secrets never: `s3s` prints Authorization headers and customer keys at debug level, so it is off at every level; access
//! keys and query strings of requests (which may hold a signature) are in no line of ours. Logs go to standard error.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::audit::{Decided, Verdict};
use crate::config::{Log, LogFormat, LogLevel};

/// The beginning of the names of our own crates.
const OWN_TARGET: &str = "cairn";

/// Starts logging. To be called once, before anything is logged.
pub fn start(settings: &Log) {
    let human = match settings.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if human {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter(settings.level))).init();
    log_panics();
}

/// Our own crates as asked; libraries only when something is wrong.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(OWN_TARGET, level)
        .with_target("s3s", LevelFilter::OFF)
}

/// A panic is a fault of ours: its message and place go to the log, in the log's form.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("of an unknown kind");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, message, "panic");
    }));
}

/// What there is to say of one request when it has been answered.
#[derive(Debug, Clone)]
pub struct RequestSummary<'r> {
    /// The request's id, as the client got it.
    pub id: &'r str,
    /// The S3 operation, or another short fixed name.
    pub operation: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The S3 code of the error, if it is one.
    pub error_code: Option<&'r str>,
    /// Bytes of the request's body that were read.
    pub received_bytes: u64,
    /// Bytes of the answer's body that were sent.
    pub sent_bytes: u64,
    /// From the request's head to the end of the answer.
    pub elapsed: Duration,
    /// The client's address; with port 0 if that is not known.
    pub remote: SocketAddr,
    /// Who asked, and what was decided.
    pub decided: &'r Decided,
}

/// Writes the request's line. Of several decisions it has the one that the request came to; the audit log has all.
pub fn request(summary: &RequestSummary<'_>) {
    let decided = summary.decided;
    let deciding = decided.deciding();
    tracing::info!(
        id = summary.id,
        operation = summary.operation,
        status = summary.status,
        code = summary.error_code,
        received_bytes = summary.received_bytes,
        sent_bytes = summary.sent_bytes,
        elapsed_ms = milliseconds(summary.elapsed),
        remote = client(summary.remote),
        principal = decided.principal(),
        action = deciding.map(|verdict| verdict.action.as_str()),
        resource = deciding.map(|verdict| verdict.resource.as_str()),
        decision = decided.outcome(),
        because = deciding.map(Verdict::because),
        "request"
    );
}

/// Where a request came from, as far as it is known.
fn client(remote: SocketAddr) -> String {
    if remote.port() == 0 { remote.ip().to_string() } else { remote.to_string() }
}

/// Milliseconds with three decimals.
fn milliseconds(elapsed: Duration) -> f64 {
    // The cast is exact below 2^53 microseconds, which is 285 years.
    elapsed.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use cairn_iam::evaluate::{Decision, Outcome, Part};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(level)));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_is_one_line_with_its_facts() {
        let verdict = Verdict {
            action: "s3:PutObject".to_owned(),
            resource: "arn:aws:s3:::b/k".to_owned(),
            decision: Decision { outcome: Outcome::NotAllowed(Part::Identity), deciders: Vec::new() },
        };
        let decided = Decided { verdicts: vec![verdict], ..Decided::default() };
        let text = logged(LogLevel::Info, || {
            request(&RequestSummary {
                id: "R1",
                operation: "PutObject",
                status: 503,
                error_code: Some("SlowDown"),
                received_bytes: 7,
                sent_bytes: 9,
                elapsed: Duration::from_micros(1_234),
                remote: "192.0.2.1:5".parse().unwrap(),
                decided: &decided,
            });
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (name, value) in [
            ("id", serde_json::json!("R1")),
            ("operation", serde_json::json!("PutObject")),
            ("status", serde_json::json!(503)),
            ("code", serde_json::json!("SlowDown")),
            ("received_bytes", serde_json::json!(7)),
            ("sent_bytes", serde_json::json!(9)),
            ("elapsed_ms", serde_json::json!(1.234)),
            ("remote", serde_json::json!("192.0.2.1:5")),
            ("action", serde_json::json!("s3:PutObject")),
            ("resource", serde_json::json!("arn:aws:s3:::b/k")),
            ("decision", serde_json::json!("denied")),
            ("because", serde_json::json!("no identity-based policy allows s3:PutObject")),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
    }

    #[test]
    fn s3s_is_silent_even_at_trace_level() {
        let text = logged(LogLevel::Trace, || {
            tracing::error!(target: "s3s::ops", "Authorization: secret");
            tracing::error!(target: "s3s", "Authorization: secret");
        });
        assert_eq!(text, "");
    }

    #[test]
    fn libraries_speak_only_of_trouble() {
        let text = logged(LogLevel::Debug, || {
            tracing::debug!(target: "hyper", "chatter");
            tracing::warn!(target: "hyper", "trouble");
            tracing::debug!(target: "cairn_storage::ops", "ours");
        });
        assert!(!text.contains("chatter") && text.contains("trouble") && text.contains("ours"), "{text}");
    }
}
