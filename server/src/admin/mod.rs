//! The admin API: what AWS has no call for, under `/-/admin/v1` of the S3 endpoint. No bucket can have the name `-`.
//!
//! One file for each resource. A call is signed with version 4, in its header, for the service [`SERVICE`]: what was signed
//! for S3 is refused here, and the other way round. Bodies and answers are JSON; an error is `{"code", "message"}`. Who may
//! call is `authorize`'s business; `cairn`'s sub-commands are the client.

mod lock_clock;

use std::sync::Arc;

use async_trait::async_trait;
use cairn_storage::ops::Store;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri};
use s3s::route::S3Route;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use serde::Serialize;

use crate::authorize::Authorizer;
use crate::identities::Identities;
use crate::s3::error::Failure;
use crate::s3::request::{Answer, Query};
use crate::s3::respond;

/// The service in the scope of a signature.
pub const SERVICE: &str = "cairn";

/// How the path of every admin call begins, of this version or another.
const ROOT: &str = "/-/admin/";

/// The version that is served.
const VERSION: &str = "v1";

/// The type of every answer's body.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /-/admin/v1/lock-clock`
    GetLockClock,
    /// `POST /-/admin/v1/lock-clock/accept`
    AcceptWallClock,
}

impl Call {
    /// Its name in the log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::GetLockClock => "GetLockClock",
            Self::AcceptWallClock => "AcceptWallClock",
        }
    }
}

/// Whether a path, in no bucket's host, is the admin API's.
pub fn is_path(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// The call that a request makes.
///
/// # Errors
/// `NoSuchCall` for a path that is none, `MethodNotAllowed`.
pub fn route(method: &Method, path: &str) -> Result<Call, Failure> {
    let segments: Vec<&str> = path.strip_prefix(ROOT).unwrap_or_default().split('/').collect();
    let (allowed, call) = match segments[..] {
        [VERSION, "lock-clock"] => ("GET", Call::GetLockClock),
        [VERSION, "lock-clock", "accept"] => ("POST", Call::AcceptWallClock),
        _ => return Err(Failure::custom("NoSuchCall", StatusCode::NOT_FOUND, "The admin API has no such call.")),
    };
    if method.as_str() == allowed {
        return Ok(call);
    }
    Err(Failure::new(S3ErrorCode::MethodNotAllowed).header(ALLOW, HeaderValue::from_static(allowed)))
}

/// A failure as the admin API shows it.
pub fn error_document(failure: &Failure) -> String {
    serde_json::json!({ "code": failure.code(), "message": failure.message() }).to_string()
}

/// What the calls work with.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The objects, and the clock of their locks.
    pub store: Store,
    /// Who may call.
    pub identities: Arc<Identities>,
}

#[async_trait]
impl S3Route for Admin {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    /// Nothing here: authorization is in `dispatch`, where the call is known.
    async fn check_access(&self, _: &mut S3Request<s3s::Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, request: S3Request<s3s::Body>) -> S3Result<S3Response<s3s::Body>> {
        Ok(respond(self.dispatch(request).await))
    }
}

impl Admin {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let call: Call = request.extensions.remove().ok_or_else(|| Failure::internal("a call passed by the gate"))?;
        let access_key = request.credentials.as_ref().map(|credentials| credentials.access_key.as_str());
        let authorizer =
            Authorizer::new(&self.store, &self.identities.snapshot(), access_key, &request.headers, &Query::default())?;
        match call {
            Call::GetLockClock => lock_clock::get_lock_clock(self, &authorizer.server()?),
            Call::AcceptWallClock => lock_clock::accept_wall_clock(self, authorizer.server()?).await,
        }
    }
}

/// 200 with a document.
fn json(document: &impl Serialize) -> Result<Answer, Failure> {
    let text = serde_json::to_string(document).map_err(Failure::internal)?;
    let mut answer = Answer::empty(StatusCode::OK).header(CONTENT_TYPE, JSON);
    answer.body = s3s::Body::from(text);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_a_call_or_none() {
        for (method, path, expected) in [
            ("GET", "/-/admin/v1/lock-clock", Ok(Call::GetLockClock)),
            ("POST", "/-/admin/v1/lock-clock/accept", Ok(Call::AcceptWallClock)),
            ("POST", "/-/admin/v1/lock-clock", Err(("MethodNotAllowed", 405))),
            ("HEAD", "/-/admin/v1/lock-clock", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/lock-clock/accept", Err(("MethodNotAllowed", 405))),
            ("GET", "/-/admin/v1/lock-clock/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v2/lock-clock", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v1/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin//v1/lock-clock", Err(("NoSuchCall", 404))),
            ("GET", "/-/admin/v1/%6cock-clock", Err(("NoSuchCall", 404))),
        ] {
            assert!(is_path(path), "{path}");
            let routed = route(&Method::from_bytes(method.as_bytes()).unwrap(), path);
            let found = routed.as_ref().map_err(|failure| (failure.code(), failure.status_code().as_u16()));
            assert_eq!(found, expected.as_ref().map_err(|error| *error), "{method} {path}");
        }
    }

    #[test]
    fn a_path_of_s3_is_not_the_admin_apis() {
        for path in ["/", "/-", "/-/", "/-/admin", "/-/administration", "/b/-/admin/v1/lock-clock", "//-/admin/v1"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
