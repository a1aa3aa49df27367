//! One request in the audit log: who did what to what, from where, what was decided, and why.
//!
//! An entry is made on the request's path and put into words elsewhere: as a line of JSON, and for `cairn why`.

use std::net::IpAddr;
use std::time::Duration;

use cairn_iam::evaluate::Decider;
use cairn_storage::clock::Timestamp;
use http::HeaderValue;
use serde::Serialize;

use crate::gate::ids::RequestId;
use crate::s3::headers;

use super::trail::{Decided, Verdict};

/// What is kept of a client's name for itself.
const USER_AGENT_CHARS_MAX: usize = 256;

/// One request that has been answered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it came.
    pub time: Timestamp,
    /// Its id.
    pub id: RequestId,
    /// What it asked for.
    pub operation: &'static str,
    /// From where.
    pub source: IpAddr,
    /// What its client calls itself.
    pub user_agent: Option<HeaderValue>,
    /// What was decided.
    pub decided: Decided,
    /// The status of its answer.
    pub status: u16,
    /// The code of its failure.
    pub error_code: Option<String>,
    /// Bytes of its body.
    pub received_bytes: u64,
    /// Bytes of its answer.
    pub sent_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// [`Entry`] as a line of the log.
#[derive(Debug, Serialize)]
pub struct Line {
    time: String,
    request_id: String,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bucket_owners: Vec<String>,
    source_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// `allowed`, `denied`, or `undecided`: refused before there was anything to decide.
    decision: &'static str,
    decisions: Vec<DecisionLine>,
    #[serde(skip_serializing_if = "is_zero")]
    further_decisions: usize,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    received_bytes: u64,
    sent_bytes: u64,
    elapsed_ms: f64,
}

/// One decision in a line.
#[derive(Debug, Serialize)]
struct DecisionLine {
    action: String,
    resource: String,
    decision: &'static str,
    /// What decided, in words.
    because: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statements: Vec<StatementLine>,
}

/// A statement that decided.
#[derive(Debug, Serialize)]
struct StatementLine {
    policy: String,
    /// Its place in the policy, from 1.
    statement: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Entry {
    /// The entry in words.
    pub fn line(&self) -> Line {
        let Decided { caller, owners, verdicts, further } = &self.decided;
        let account = caller.as_ref().and_then(|caller| caller.principal.account());
        let user_agent = self.user_agent.as_ref().map(headers::text_of);
        Line {
            time: time_text(self.time),
            request_id: self.id.request_id(),
            operation: self.operation,
            principal: self.decided.principal(),
            account: account.map(|account| account.to_string()),
            access_key: caller.as_ref().and_then(|caller| caller.access_key.clone()),
            bucket_owners: owners.iter().map(ToString::to_string).collect(),
            source_ip: self.source.to_string(),
            user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_CHARS_MAX).collect()),
            decision: self.decided.outcome(),
            decisions: verdicts.iter().map(DecisionLine::of).collect(),
            further_decisions: *further,
            status: self.status,
            error_code: self.error_code.clone(),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            // Exact below 2^53 microseconds, which is 285 years.
            elapsed_ms: self.elapsed.as_micros() as f64 / 1_000.0,
        }
    }
}

impl DecisionLine {
    fn of(verdict: &Verdict) -> Self {
        let Verdict { action, resource, decision } = verdict;
        Self {
            action: action.clone(),
            resource: resource.clone(),
            decision: if decision.is_allowed() { "allowed" } else { "denied" },
            because: verdict.because(),
            statements: decision.deciders.iter().map(StatementLine::of).collect(),
        }
    }
}

impl StatementLine {
    fn of(decider: &Decider) -> Self {
        Self {
            policy: decider.source.to_string(),
            statement: decider.statement + 1,
            sid: decider.sid().map(str::to_owned),
        }
    }
}

/// A time to the millisecond: `1994-11-06T08:49:37.123Z`.
pub(super) fn time_text(time: Timestamp) -> String {
    let mut text = headers::document_time(time);
    text.truncate("1994-11-06T08:49:37".len());
    text.push_str(&format!(".{:03}Z", time.0.rem_euclid(1_000)));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_has_no_more_than_there_is_to_say() {
        let entry = Entry {
            time: Timestamp(784_111_777_123),
            id: crate::gate::ids::RequestIds::new(std::sync::Arc::new(cairn_storage::clock::SystemEntropy)).next(),
            operation: "GetObject",
            source: "192.0.2.7".parse().unwrap(),
            user_agent: Some(HeaderValue::from_static("curl")),
            decided: Decided::default(),
            status: 403,
            error_code: Some("SignatureDoesNotMatch".to_owned()),
            received_bytes: 0,
            sent_bytes: 7,
            elapsed: Duration::from_micros(1_500),
        };
        let line = serde_json::to_value(entry.line()).unwrap();
        assert_eq!(line["time"], "1994-11-06T08:49:37.123Z");
        assert_eq!(line["decision"], "undecided");
        assert_eq!(line["elapsed_ms"], 1.5);
        assert!(line.get("principal").is_none() && line.get("further_decisions").is_none());
    }
}
