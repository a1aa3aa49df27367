//! The gate: every request to the S3 endpoint passes here first.
//!
//! In order: whom a trusted proxy says it comes from ([`proxies`]), an id, a place among the requests in flight (or 503 at once:
//! nothing waits), the bucket and key that path and host name, the answer if it is a preflight ([`cors`]), the operation on the
//! allow-list, the headers that cannot be honoured, what of the signature `s3s` does not
//! check, and a signature of version 2. Then `s3s` verifies one of version 4 and calls the operation. On the way out: errors
//! become documents, an unread body is dealt with, and the answer gets its ids, what a page of another origin needs to read it
//! and, when it has been sent, its line in the log.
//!
//! [`proxies`]: crate::proxies
//!
//! The calls of the [`admin`] API, and those of IAM, STS and KMS ([`service_apis`]), leave this way early, for an `s3s` of their
//! own that knows their service and no other.

pub mod answer;
pub mod body;
mod forms;
pub mod ids;
pub mod refused_headers;
pub mod routes;
pub mod service_apis;
pub mod target;
pub mod verifier;

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::clock::{Clock, Entropy};
use http::header::{CONTENT_TYPE, HOST, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use s3s::S3ErrorCode;
use s3s::service::S3Service;
use tokio::sync::Semaphore;

use crate::admin::{self, Admin};
use crate::audit::{Audit, Trail};
use crate::auth::{self, Claim, Scope, Secrets, session_tokens, v2};
use crate::authorize::{Connection, Signature};
use crate::config::SignatureV2;
use crate::cors::{self, Cors};
use crate::listener::ConnectionInfo;
use crate::metrics::Metrics;
use crate::proxies::Proxies;
use crate::s3::Edge;
use crate::s3::error::{Failure, slow_down};
use crate::s3::headers::{self, COPY_SOURCE, REPLICAS};
use crate::s3::replica::REPLICAS_FORM;
use crate::s3::request::{Answer, Query, Target};
use crate::sts::session::Sessions;

use answer::{About, AnswerBody, ErrorFormat, Record};
use body::Unmeasured;
use forms::FormHead;
use ids::RequestIds;
use routes::Operation;
pub use service_apis::Apis;
use service_apis::{Called, ServiceApis};
pub use target::Hosts;
use verifier::{call, verifier, verifier_config};

/// The service of S3 in the scope of a signature.
const S3_SERVICE: &str = "s3";

/// What a preflight is called in logs and metrics.
pub const PREFLIGHT: &str = "Preflight";

/// What the gate found out about a request, for the operation.
#[derive(Clone, Debug)]
pub struct Routed {
    /// What it asks for.
    pub operation: Operation,
    /// What it names.
    pub target: Target,
    /// Its query.
    pub query: Query,
}

/// Where a request comes from, for who decides about it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// How it came.
    pub connection: Connection,
    /// How it is signed; None: not at all.
    pub signature: Option<Signature>,
    /// Where the decisions about it are noted.
    pub trail: Trail,
}

/// A request that may go on.
enum Admitted {
    S3(Routed),
    Form(FormHead),
    Admin(admin::Call),
    Call(Called),
    /// A browser asks whether a page may make a request.
    Preflight(Target),
}

/// Whose a request is, by its head.
#[derive(Clone, Copy)]
enum Api {
    S3,
    Admin,
    Service(Called),
}

/// What the gate is told.
#[derive(Debug)]
pub struct GateSettings {
    /// Which hosts name a bucket.
    pub hosts: Hosts,
    /// Whom to believe who the client is.
    pub proxies: Proxies,
    /// Which pages of other origins may use what.
    pub cors: Arc<Cors>,
    /// Where signature version 2 is accepted.
    pub signature_v2: SignatureV2,
    /// Requests being worked on at the same time.
    pub requests_in_flight_max: usize,
}

/// Answers the requests to the S3 endpoint. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    edge: Edge,
    s3: S3Service,
    admin: S3Service,
    service_apis: ServiceApis,
    region: String,
    hosts: Hosts,
    proxies: Proxies,
    cors: Arc<Cors>,
    signature_v2: SignatureV2,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    in_flight: Arc<Semaphore>,
    ids: RequestIds,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
}

/// The region is none that a signature could name.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no region")]
pub struct InvalidRegion(String);

impl Gate {
    /// A gate before these operations and APIs, which lets in the holders of these sessions' tokens.
    ///
    /// # Errors
    /// If the operations' region is no region.
    pub fn new(
        edge: Edge,
        sessions: Sessions,
        apis: Apis,
        settings: GateSettings,
        metrics: Arc<Metrics>,
        audit: Arc<Audit>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, InvalidRegion> {
        let region = edge.region.clone();
        let secrets = Secrets { keys: edge.identities.clone(), sessions };
        let clock = Arc::clone(edge.store.clock());
        let admin = Admin::new(&edge, &audit, &metrics);
        let mut admin_config = verifier_config(&region, admin::SERVICE)?;
        // Whoever may make a call can sign it; a URL that makes one could be slipped to somebody.
        admin_config.allow_presigned_url = false;
        Ok(Self(Arc::new(Inner {
            s3: verifier(verifier_config(&region, S3_SERVICE)?, &secrets, edge.clone()),
            edge,
            admin: verifier(admin_config, &secrets, admin),
            service_apis: ServiceApis::new(&region, apis, &secrets)?,
            region,
            hosts: settings.hosts,
            proxies: settings.proxies,
            cors: settings.cors,
            signature_v2: settings.signature_v2,
            secrets,
            clock,
            in_flight: Arc::new(Semaphore::new(settings.requests_in_flight_max)),
            ids: RequestIds::new(entropy),
            metrics,
            audit,
        })))
    }

    /// The places of requests in flight.
    pub fn in_flight(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.in_flight)
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>, connection: ConnectionInfo) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let gate = &self.0;
        let (mut parts, body) = request.into_parts();
        let seen = gate.proxies.seen(connection, &mut parts.headers);
        let connection = *seen.as_ref().unwrap_or(&connection);
        let mut record = Record::begin(gate.ids.next(), connection, gate.clock.now(), &gate.metrics, &gate.audit);
        record.user_agent = parts.headers.get(USER_AGENT).cloned();
        let is_unmeasured = Unmeasured::is(&body.size_hint(), &parts.headers);
        let (shared, handle) = body::share(body, &parts.headers);
        let method = parts.method.clone();
        let path = parts.uri.path().to_owned();
        let host_bucket = gate.bucket_of_host(&parts.headers);
        let api = api_of(&parts, host_bucket.as_deref());
        let admitted = seen.and_then(|_| gate.admit(&mut parts, host_bucket.as_deref(), api, &mut record));
        let for_pages = gate.for_pages(&parts, host_bucket.as_deref(), api, &record).await;
        let routed = match &admitted {
            Ok(Admitted::S3(routed)) => Some(routed.clone()),
            Ok(Admitted::Form(head)) => Some(head.routed().clone()),
            _ => None,
        };
        let outcome = match admitted {
            Ok(Admitted::S3(routed)) => {
                let mut body = s3s::Body::http_body(shared);
                record.operation = routed.operation.name();
                if is_unmeasured && !routed.operation.takes_object() {
                    parts.extensions.insert(Unmeasured::new(std::mem::replace(&mut body, s3s::Body::empty())));
                }
                parts.extensions.insert(routed);
                call(&gate.s3, Request::from_parts(parts, body)).await
            }
            Ok(Admitted::Form(head)) => {
                record.operation = head.routed().operation.name();
                gate.post(head, parts, shared, &record).await
            }
            Ok(Admitted::Admin(admin_call)) => {
                record.operation = admin_call.name();
                parts.extensions.insert(admin_call);
                call(&gate.admin, Request::from_parts(parts, s3s::Body::http_body(shared))).await
            }
            Ok(Admitted::Preflight(target)) => {
                record.operation = PREFLIGHT;
                Box::pin(gate.cors.preflight(&target, &parts.headers))
                    .await
                    .map(Answer::into_response)
                    .map_err(Arc::new)
            }
            Ok(Admitted::Call(called)) => gate.service_apis.answer(called, parts, shared, &mut record).await,
            Err(failure) => Err(Arc::new(failure)),
        };
        let reusable = handle.finish().await;
        record.received_bytes = handle.received_bytes();
        let about = About {
            method: &method,
            path: &path,
            target: routed.as_ref().map(|routed| &routed.target),
            query: routed.as_ref().map(|routed| &routed.query),
            format: match api {
                Api::S3 => ErrorFormat::Xml,
                Api::Admin => ErrorFormat::Json,
                Api::Service(Called::Query(service)) => ErrorFormat::Query(service),
                Api::Service(Called::Kms) => ErrorFormat::Kms,
            },
        };
        let mut response = outcome.unwrap_or_else(|failure| answer::failed(&failure, &about, &mut record));
        if is_head_bucket(&method, &path, host_bucket.as_deref(), api) {
            response.headers_mut().insert(REPLICAS, HeaderValue::from_static(REPLICAS_FORM));
        }
        response.headers_mut().extend(for_pages);
        answer::finish(response, record, reusable)
    }
}

/// That this server takes replicas is no secret, and no refusal keeps it: who brings them must not take it for another kind of server
/// because a key is not valid at the moment, or because of a permission.
fn is_head_bucket(method: &Method, path: &str, host_bucket: Option<&str>, api: Api) -> bool {
    *method == Method::HEAD
        && matches!(api, Api::S3)
        && matches!(target::of_path(path, host_bucket), Ok(Target::Bucket(_)))
}

impl Inner {
    fn bucket_of_host(&self, headers: &HeaderMap) -> Option<String> {
        self.hosts.bucket(&headers::text(headers, &HOST).unwrap_or_default())
    }

    /// What a page of another origin needs to read the answer. Nothing, and for nothing, if none made the request.
    async fn for_pages(&self, parts: &Parts, host_bucket: Option<&str>, api: Api, record: &Record) -> HeaderMap {
        let is_of_page = parts.headers.contains_key(ORIGIN) && parts.method != Method::OPTIONS;
        if !is_of_page || record.permit.is_none() {
            return HeaderMap::new();
        }
        let target = match api {
            Api::S3 => target::of_path(parts.uri.path(), host_bucket).ok(),
            Api::Admin | Api::Service(_) => None,
        };
        let bucket = target.as_ref().and_then(cors::bucket_of);
        Box::pin(self.cors.of_answer(bucket, &parts.method, &parts.headers)).await
    }

    /// Everything that is checked before `s3s` is asked.
    fn admit(
        &self,
        parts: &mut Parts,
        host_bucket: Option<&str>,
        api: Api,
        record: &mut Record,
    ) -> Result<Admitted, Failure> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        record.permit = Some(permit.map_err(|_| {
            self.metrics.request_refused();
            slow_down("Please reduce your request rate.")
        })?);
        target::check_host(&parts.headers)?;
        let query = Query::parse(parts.uri.query())?;
        if parts.method == Method::OPTIONS {
            let is_of_s3 = matches!(api, Api::S3);
            let target = if is_of_s3 { target::of_path(parts.uri.path(), host_bucket)? } else { Target::Service };
            return Ok(Admitted::Preflight(target));
        }
        match api {
            Api::S3 => {}
            Api::Admin => return self.admit_admin(parts, &query, record).map(Admitted::Admin),
            Api::Service(called) => return self.admit_call(called, parts, &query, record).map(Admitted::Call),
        }
        if let Some(operation) = routes::of_account(&parts.method, parts.uri.path(), &parts.headers)? {
            self.claim(parts, &query, self.scope(S3_SERVICE), SignatureV2::Off, None, record)?;
            return Ok(Admitted::S3(Routed { operation, target: Target::Service, query }));
        }
        let target = target::of_path(parts.uri.path(), host_bucket)?;
        let is_copy = parts.headers.contains_key(COPY_SOURCE);
        let operation = routes::route(&parts.method, &target, &query, is_copy)?;
        if let (Operation::PostObject, Target::Bucket(bucket)) = (operation, &target) {
            return self.admit_form(parts, bucket, host_bucket.is_some(), query).map(Admitted::Form);
        }
        refuse_form(&parts.method, &parts.headers)?;
        refused_headers::check(operation, &parts.headers)?;
        let (scope, accepted) = (self.scope(S3_SERVICE), self.signature_v2);
        self.claim(parts, &query, scope, accepted, host_bucket, record)?;
        Ok(Admitted::S3(Routed { operation, target, query }))
    }

    fn admit_admin(&self, parts: &mut Parts, query: &Query, record: &Record) -> Result<admin::Call, Failure> {
        refuse_form(&parts.method, &parts.headers)?;
        let call = admin::route(&parts.method, parts.uri.path(), query)?;
        self.claim(parts, query, self.scope(admin::SERVICE), SignatureV2::Off, None, record)?;
        Ok(call)
    }

    fn admit_call(&self, called: Called, parts: &mut Parts, query: &Query, record: &Record) -> Result<Called, Failure> {
        let scope = Scope { or_regions: called.or_regions(), ..self.scope(called.service()) };
        self.claim(parts, query, scope, SignatureV2::Off, None, record)?;
        Ok(called)
    }

    fn scope<'r>(&'r self, service: &'r str) -> Scope<'r> {
        Scope { region: &self.region, or_regions: &[], service }
    }

    /// Looks for the signature, and leaves who claims to have signed in the request's extensions.
    fn claim(
        &self,
        parts: &mut Parts,
        query: &Query,
        scope: Scope<'_>,
        accepted: SignatureV2,
        host_bucket: Option<&str>,
        record: &Record,
    ) -> Result<(), Failure> {
        let found = auth::check(&parts.headers, query, scope, accepted)?;
        parts.extensions.insert(record.origin(auth::signature_of(&parts.headers, query, &found)));
        let token = session_tokens::find(&parts.headers, query, found.place())?;
        let now = self.clock.now();
        let claim = Claim::of(found, token.as_deref(), &self.secrets, now, |form| {
            self.verify_v2(form, parts, query, host_bucket)
        })?;
        if let Some(claim) = claim {
            parts.extensions.insert(claim);
        }
        auth::complete_date(&mut parts.headers);
        Ok(())
    }

    /// Verifies a signature of version 2 and takes it out of the request. The answer is its access key.
    fn verify_v2(
        &self,
        form: v2::Form,
        parts: &mut Parts,
        query: &Query,
        host_bucket: Option<&str>,
    ) -> Result<String, Failure> {
        let (method, path, headers) = (&parts.method, parts.uri.path(), &parts.headers);
        let head = v2::SignedHead { method, path, host_bucket, query, headers };
        let access_key = v2::verify(&head, form, &self.secrets, self.clock.now())?;
        v2::remove(parts)?;
        Ok(access_key)
    }
}

fn api_of(parts: &Parts, host_bucket: Option<&str>) -> Api {
    if host_bucket.is_some() {
        return Api::S3;
    }
    match service_apis::of_request(&parts.method, &parts.uri, &parts.headers) {
        Some(called) => Api::Service(called),
        None if admin::is_path(parts.uri.path()) => Api::Admin,
        None => Api::S3,
    }
}

/// Only what is posted to a bucket may be a form: in any other, `s3s` would look for a signature.
fn refuse_form(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let form = headers::text(headers, &CONTENT_TYPE)
        .is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"));
    if *method == Method::POST && form {
        return Err(Failure::with_message(S3ErrorCode::NotImplemented, "A form is posted to a bucket."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_form_is_refused_before_its_signature_is_looked_for() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("Multipart/Form-Data; boundary=x"));
        assert_eq!(refuse_form(&Method::POST, &headers).unwrap_err().code(), "NotImplemented");
        assert!(refuse_form(&Method::PUT, &headers).is_ok());
    }
}
