//! `s3s` as what verifies signatures of version 4: how it is set up, called, and understood when it refuses. Every request that it
//! passes on goes one way, its custom route, to what [`Dispatch`] does with it.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::auth::{CLOCK_SKEW_SECONDS_MAX, Claim, Secrets, Signer};
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::Answer;

use super::InvalidRegion;

/// A signed chunk is held in memory until its signature is verified. SDKs send 64 KiB to 1 MiB.
const SIGNED_CHUNK_BYTES_MAX: usize = 1 << 20;

/// What does a request whose signature was verified.
pub trait Dispatch: Send + Sync + 'static {
    /// Authorizes it and does it.
    fn dispatch(&self, request: S3Request<s3s::Body>) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Who signed a request that `s3s` has passed on; None: nobody.
///
/// # Errors
/// If the gate did not read the same signature.
pub fn signer(request: &mut S3Request<s3s::Body>) -> Result<Option<Signer>, Failure> {
    let by_s3s = request.credentials.as_ref().map(|credentials| credentials.access_key.as_str());
    Claim::confirm(request.extensions.remove(), by_s3s)
}

struct Route<D>(D);

#[async_trait]
impl<D: Dispatch> S3Route for Route<D> {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    /// Nothing here: authorization is in [`Dispatch::dispatch`], where it is known what is asked for.
    async fn check_access(&self, _: &mut S3Request<s3s::Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, request: S3Request<s3s::Body>) -> S3Result<S3Response<s3s::Body>> {
        Ok(respond(self.0.dispatch(request).await))
    }
}

/// Required by `s3s` and never asked, since every request takes the route.
struct NoTypedOperations;

impl S3 for NoTypedOperations {}

/// Marks an answer that comes from the route. What comes without it is `s3s`'s own refusal.
#[derive(Clone, Copy)]
struct Answered;

/// A failure on its way from the route to the gate, which writes the answer.
#[derive(Clone)]
struct Failed(Arc<Failure>);

/// An answer or failure on its way through `s3s` to the gate.
fn respond(outcome: Result<Answer, Failure>) -> S3Response<s3s::Body> {
    match outcome {
        Ok(answer) => {
            let mut response = S3Response::with_headers(answer.body, answer.headers);
            response.status = Some(answer.status);
            response.extensions.insert(Answered);
            response
        }
        Err(failure) => {
            let mut response = S3Response::with_status(s3s::Body::empty(), failure.status_code());
            response.extensions.insert(Failed(Arc::new(failure)));
            response
        }
    }
}

/// How `s3s` verifies the signatures of one service.
pub(super) fn verifier_config(region: &str, service: &str) -> Result<S3Config, InvalidRegion> {
    let mut config = S3Config::default();
    config.expected_region = Some(region.parse().map_err(|_| InvalidRegion(region.to_owned()))?);
    config.sig_v4_allowed_services = vec![service.to_owned()];
    config.presigned_url_max_skew_time_secs = CLOCK_SKEW_SECONDS_MAX;
    config.aws_chunked_stream_max_chunk_size = SIGNED_CHUNK_BYTES_MAX;
    // Bodies are bounded where their length is known to the operation.
    config.custom_route_max_body_size = None;
    // Otherwise a parameter could turn a signed request into another operation.
    config.operation_id_routing = false;
    // The date is part of what is signed, whether its header is or not.
    config.unsigned_amz_header_allowlist = vec![headers::DATE.as_str().to_owned()];
    Ok(config)
}

/// An `s3s` that verifies signatures and sends every request on.
pub(super) fn verifier(config: S3Config, secrets: &Secrets, behind: impl Dispatch) -> S3Service {
    let mut builder = S3ServiceBuilder::new(NoTypedOperations);
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(secrets.clone());
    builder.set_route(Route(behind));
    builder.build()
}

/// Has the signature verified and the operation done.
pub(super) async fn call(
    service: &S3Service,
    request: Request<s3s::Body>,
) -> Result<Response<s3s::Body>, Arc<Failure>> {
    let is_head = request.method() == Method::HEAD;
    let mut response = match service.call(request).await {
        Ok(response) => response,
        Err(error) => return Err(Arc::new(Failure::internal(error))),
    };
    if let Some(Failed(failure)) = response.extensions_mut().remove() {
        return Err(failure);
    }
    if response.extensions().get::<Answered>().is_some() {
        return Ok(response);
    }
    Err(Arc::new(refused_by_s3s(response, is_head).await))
}

/// What `s3s` found wrong with the signature, from the document that it wrote. It writes none for a HEAD, whose answer
/// shows no more than the status.
async fn refused_by_s3s(response: Response<s3s::Body>, is_head: bool) -> Failure {
    let (parts, body) = response.into_parts();
    if is_head && parts.status.is_client_error() {
        let is_forbidden = parts.status == StatusCode::FORBIDDEN;
        let code = if is_forbidden { S3ErrorCode::AccessDenied } else { S3ErrorCode::InvalidRequest };
        return Failure::new(code).status(parts.status);
    }
    let document = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Failure::internal(error),
    };
    let text = String::from_utf8_lossy(&document);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        quick_xml::escape::unescape(content).ok().map(std::borrow::Cow::into_owned)
    };
    let Some(code) = element("Code") else {
        return Failure::internal(format!("s3s answered {} without a code", parts.status));
    };
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    if code == S3ErrorCode::InternalError {
        return Failure::internal(element("Message").unwrap_or_default());
    }
    match element("Message") {
        Some(message) => Failure::with_message(code, message),
        None => Failure::new(code),
    }
    .status(parts.status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn translated(status: u16, document: &'static str) -> Failure {
        let mut response = Response::new(s3s::Body::from(document.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        refused_by_s3s(response, false).await
    }

    #[tokio::test]
    async fn a_head_that_is_refused_keeps_the_status() {
        for (status, code) in [(403, "AccessDenied"), (400, "InvalidRequest"), (500, "InternalError")] {
            let mut response = Response::new(s3s::Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let failure = refused_by_s3s(response, true).await;
            assert_eq!((failure.code(), failure.status_code().as_u16()), (code, status));
        }
    }

    #[tokio::test]
    async fn a_refusal_of_the_signature_keeps_its_code_status_and_message() {
        let failure =
            translated(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>no &amp; no</Message></Error>").await;
        assert_eq!((failure.code(), failure.status_code().as_u16()), ("SignatureDoesNotMatch", 403));
        assert_eq!(failure.message(), "no & no");
        assert_eq!(failure.cause(), None);
    }

    #[tokio::test]
    async fn a_fault_of_s3s_is_logged_and_not_shown() {
        let failure = translated(500, "<Error><Code>InternalError</Code><Message>secret</Message></Error>").await;
        assert_eq!((failure.code(), failure.status_code().as_u16()), ("InternalError", 500));
        assert!(!failure.message().contains("secret"));
        assert_eq!(failure.cause(), Some("secret"));
        assert_eq!(translated(418, "").await.code(), "InternalError");
    }
}
