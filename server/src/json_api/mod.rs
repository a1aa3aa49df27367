//! The AWS JSON protocol, version 1.1, which the API of KMS speaks: a JSON object in, another out.
//!
//! A call is `POST /` whose header `X-Amz-Target` names the action (`TrentService.Encrypt`), signed with version 4 in the header
//! for the service `kms`. `gate/service_apis.rs` recognises calls and reads their bodies; an `s3s` of the service's own
//! verifies the signature; the [`Route`] behind it finds the action. What the actions are and do, [`crate::kms_api`] says.

mod faults;

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::S3Request;
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::audit::Trail;
use crate::auth::Signer;
use crate::gate::ids::RequestId;
use crate::gate::verifier::{self, Dispatch};
use crate::kms_api::KmsApi;
use crate::listener::ConnectionInfo;
use crate::query_api::REQUEST_ID;
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::Answer;

pub use faults::{code_of, error_document, status_of};

/// The service in the scope of a signature.
pub const SERVICE: &str = "kms";

/// Names the action.
pub const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// How the name of an action begins in that header.
const TARGET_PREFIX: &str = "TrentService.";

/// The media type of every answer.
pub const CONTENT_TYPE_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// The largest body: a key policy of 32 KiB, escaped, with tags and a description.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// The name of the action that a request's headers name. None: it is no call of this API.
pub fn target(headers: &HeaderMap) -> Option<String> {
    Some(headers::text(headers, &TARGET)?.strip_prefix(TARGET_PREFIX)?.to_owned())
}

/// A call whose signature was verified.
pub struct Call {
    /// Who signed it.
    pub signer: Signer,
    /// What it says.
    pub input: Input,
    /// The headers.
    pub headers: HeaderMap,
    /// How it came.
    pub connection: ConnectionInfo,
    /// Where it is noted what is decided about it.
    pub trail: Trail,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// What a call says, but for what it says to be null. It may be secret, and is wiped.
pub struct Input(Map<String, Value>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

impl Input {
    /// What it says.
    pub fn get(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A body on its way from the gate through `s3s` to its action.
#[derive(Clone)]
pub struct Document {
    /// The body.
    pub body: Bytes,
    /// How it came.
    pub connection: ConnectionInfo,
    /// The request's id.
    pub id: RequestId,
    /// Where it is noted what is decided about it.
    pub trail: Trail,
}

/// Takes calls to their actions.
pub struct Route(pub Arc<KmsApi>);

impl Dispatch for Route {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let Document { body, connection, id, trail } =
            request.extensions.remove().ok_or_else(|| Failure::internal("a call passed by the gate"))?;
        let signer = verifier::signer(&mut request)?.ok_or_else(faults::missing_signature)?;
        let name = target(&request.headers).unwrap_or_default();
        let action = self.0.action(&name).ok_or_else(faults::unknown_operation)?;
        let call = Call { signer, input: parse(&body)?, headers: request.headers, connection, trail };
        let output = self.0.call(action, call).await?;
        let mut answer = Answer::empty(StatusCode::OK).header(CONTENT_TYPE, CONTENT_TYPE_JSON);
        answer.headers.insert(REQUEST_ID, headers::value(&id.request_id()));
        answer.body = match output {
            // As AWS answers actions that have nothing to say.
            Value::Null => s3s::Body::empty(),
            output => s3s::Body::from(output.to_string()),
        };
        Ok(answer)
    }
}

/// The object that a body is; none at all is an empty one.
fn parse(body: &[u8]) -> Result<Input, Failure> {
    if body.is_empty() {
        return Ok(Input(Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut input)) => {
            input.retain(|_, value| !value.is_null());
            Ok(Input(input))
        }
        _ => Err(faults::serialization()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_call_names_its_action_in_the_header() {
        let named = |value: &'static str| {
            target(&[(TARGET, HeaderValue::from_static(value))].into_iter().collect::<HeaderMap>())
        };
        assert_eq!(named("TrentService.Encrypt").as_deref(), Some("Encrypt"));
        assert_eq!(named("DynamoDB_20120810.ListTables"), None);
        assert_eq!(target(&HeaderMap::new()), None);
    }

    #[test]
    fn what_a_call_says_is_wiped() {
        let mut said = serde_json::json!({ "Plaintext": "secret", "Context": { "a": ["b", 1, null] } });
        wipe(&mut said);
        assert_eq!(said, serde_json::json!({ "Plaintext": "", "Context": { "a": ["", 1, null] } }));
    }

    #[test]
    fn a_body_is_one_object() {
        assert!(parse(b"").unwrap().get().is_empty());
        assert_eq!(parse(br#"{"a":null,"b":1}"#).unwrap().get().len(), 1);
        let deep = "[".repeat(10_000);
        for body in ["[]", "1", "{", "null", r#"{"a":1} x"#, "\u{1}", deep.as_str()] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code(), "SerializationException", "{body}");
        }
        assert_eq!(parse(b"{\"a\":\"\xff\"}").unwrap_err().code(), "SerializationException");
    }
}
