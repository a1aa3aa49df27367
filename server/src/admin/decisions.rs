//! What was decided about a request, and why: what `cairn why` shows.

use http::StatusCode;
use serde_json::Value;

use crate::authorize::{Authorized, OnService};
use crate::s3::error::Failure;
use crate::s3::request::Answer;

use super::{Admin, json};

/// Answers the request's line of the audit log. It is known as long as it is among the newest or in the log, to the account
/// that made it and to those whose buckets it was about.
pub(super) async fn get_decision(
    admin: &Admin,
    on: Authorized<OnService>,
    request_id: &str,
) -> Result<Answer, Failure> {
    tracing::info!(account = %on.account().id, request_id, "a decision was looked at");
    match admin.audit.find(request_id).await {
        Ok(Some(decision)) if concerns(&decision, &on.account().id.to_string()) => json(&decision),
        Ok(_) => Err(Failure::custom(
            "NoSuchDecision",
            StatusCode::NOT_FOUND,
            "No request of this id is known: it was never made, is not answered yet, or was too long ago.",
        )),
        Err(error) => Err(Failure::internal(error)),
    }
}

/// Whether a request was made by somebody of this account, or about a bucket of its. One that nobody is known to have made
/// concerns everybody.
fn concerns(decision: &Value, account: &str) -> bool {
    let owners = decision["bucket_owners"].as_array();
    let is_owner = owners.is_some_and(|owners| owners.iter().any(|owner| owner == account));
    match &decision["account"] {
        Value::Null => is_owner || owners.is_none(),
        maker => is_owner || maker == account,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_for_whom_it_concerns() {
        let [own, other] = ["000000000001", "000000000002"];
        for (decision, expected) in [
            (serde_json::json!({ "account": own }), true),
            (serde_json::json!({ "account": other }), false),
            (serde_json::json!({ "account": other, "bucket_owners": [own] }), true),
            (serde_json::json!({ "bucket_owners": [own] }), true),
            (serde_json::json!({ "bucket_owners": [other] }), false),
            (serde_json::json!({}), true),
        ] {
            assert_eq!(concerns(&decision, own), expected, "{decision}");
        }
    }
}
