//! An answer on its way out: the headers that every answer has, errors as documents, and the request's line in the log
//! when the last byte has gone.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use cairn_storage::clock::Timestamp;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::admin;
use crate::audit::{Audit, Entry, Trail};
use crate::authorize::{Connection, Signature};
use crate::json_api;
use crate::listener::ConnectionInfo;
use crate::log::{self, RequestSummary};
use crate::metrics::{InFlight, Metrics};
use crate::query_api::{self, Service, faults};
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::{Query, Target};
use crate::s3::xml::{self, Document};

use super::Origin;
use super::ids::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// What a request is logged with if its client left before it was answered.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request from its head to the end of its answer. Dropping it writes its line in the log and counts it.
#[derive(Debug)]
pub struct Record {
    /// Its id.
    pub id: RequestId,
    /// What it asks for.
    pub operation: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// The S3 code of its failure.
    pub error_code: Option<String>,
    /// Bytes of its body.
    pub received_bytes: u64,
    sent_bytes: u64,
    started: Instant,
    connection: ConnectionInfo,
    time: Timestamp,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    _in_flight: InFlight,
    /// Its share of the requests in flight.
    pub permit: Option<OwnedSemaphorePermit>,
    /// What was decided about it.
    pub trail: Trail,
    /// What its client calls itself.
    pub user_agent: Option<HeaderValue>,
}

impl Record {
    /// Begins a request.
    pub fn begin(
        id: RequestId,
        connection: ConnectionInfo,
        time: Timestamp,
        metrics: &Arc<Metrics>,
        audit: &Arc<Audit>,
    ) -> Self {
        Self {
            id,
            operation: "Unrouted",
            status: CLIENT_CLOSED_REQUEST,
            error_code: None,
            received_bytes: 0,
            sent_bytes: 0,
            started: Instant::now(),
            connection,
            time,
            metrics: Arc::clone(metrics),
            audit: Arc::clone(audit),
            _in_flight: metrics.request_started(),
            permit: None,
            trail: Trail::default(),
            user_agent: None,
        }
    }

    /// How it came.
    pub fn connection(&self) -> ConnectionInfo {
        self.connection
    }

    /// Where it comes from, for who decides about it.
    pub fn origin(&self, signature: Option<Signature>) -> Origin {
        let ConnectionInfo { remote, secure, tls_version } = self.connection;
        let connection = Connection { remote: remote.ip(), secure, tls_version };
        Origin { connection, signature, trail: self.trail.clone() }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let id = self.id.request_id();
        let decided = self.trail.take();
        let summary = RequestSummary {
            id: &id,
            operation: self.operation,
            status: self.status,
            error_code: self.error_code.as_deref(),
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            elapsed: self.started.elapsed(),
            remote: self.connection.remote,
            decided: &decided,
        };
        log::request(&summary);
        if let Some(caller) = &decided.caller {
            decided.verdicts.iter().for_each(|verdict| caller.note(&verdict.action, self.time.unsigned_ms()));
        }
        self.metrics.request_finished(&summary);
        let elapsed = summary.elapsed;
        self.audit.finished(Entry {
            time: self.time,
            id: self.id,
            operation: self.operation,
            source: self.connection.remote.ip(),
            user_agent: self.user_agent.take(),
            decided,
            status: self.status,
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            elapsed,
            error_code: self.error_code.take(),
        });
    }
}

/// The body of an answer. While it lives, the request is in flight.
#[derive(Debug)]
pub struct AnswerBody {
    body: s3s::Body,
    record: Record,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            self.record.sent_bytes += data.map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How a failure is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// As S3 does it.
    Xml,
    /// As the admin API does it.
    Json,
    /// As the Query API of this service does it.
    Query(Service),
    /// As KMS does it.
    Kms,
}

/// What a failure's document says of the request.
#[derive(Debug)]
pub struct About<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its path.
    pub path: &'r str,
    /// What it names, if that could be read.
    pub target: Option<&'r Target>,
    /// Its query, if that could be read.
    pub query: Option<&'r Query>,
    /// The form that its client expects.
    pub format: ErrorFormat,
}

/// The answer for a failure.
pub fn failed(failure: &Failure, about: &About<'_>, record: &mut Record) -> Response<s3s::Body> {
    let (code, status) = match about.format {
        ErrorFormat::Query(_) => (faults::code_of(failure), faults::status_of(failure)),
        ErrorFormat::Kms => (json_api::code_of(failure), json_api::status_of(failure)),
        ErrorFormat::Xml | ErrorFormat::Json => (failure.code(), failure.status_code()),
    };
    record.error_code = Some(code.to_owned());
    if let Some(cause) = failure.cause() {
        tracing::error!(id = record.id.request_id(), operation = record.operation, cause, "a request failed");
    }
    let mut response = Response::new(s3s::Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = failure.headers().clone();
    if status == StatusCode::NOT_MODIFIED {
        return response;
    }
    let (content_type, document) = match about.format {
        ErrorFormat::Xml => (xml::CONTENT_TYPE, document(failure, about, record.id)),
        ErrorFormat::Json => (admin::JSON, admin::error_document(failure)),
        ErrorFormat::Query(service) => {
            let id = record.id;
            response.headers_mut().insert(query_api::REQUEST_ID, headers::value(&id.request_id()));
            (query_api::CONTENT_TYPE_XML, faults::error_document(service, failure, id))
        }
        ErrorFormat::Kms => {
            response.headers_mut().insert(query_api::REQUEST_ID, headers::value(&record.id.request_id()));
            (json_api::CONTENT_TYPE_JSON, json_api::error_document(failure))
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if *about.method != Method::HEAD {
        *response.body_mut() = s3s::Body::from(document);
    }
    response
}

fn document(failure: &Failure, about: &About<'_>, id: RequestId) -> String {
    let mut document = Document::without_namespace("Error");
    document.text("Code", failure.code());
    document.text("Message", failure.message());
    for (name, value) in failure.fields() {
        document.text(name, value);
    }
    match (failure.code(), about.target) {
        ("NoSuchKey" | "NoSuchVersion" | "MethodNotAllowed", Some(Target::Object { key, .. })) => {
            document.text("Key", key.as_str());
        }
        ("NoSuchUpload", _) => document.optional("UploadId", about.query.and_then(|query| query.get("uploadId"))),
        _ => {}
    }
    document.text("Resource", about.path);
    document.text("RequestId", &id.request_id());
    document.text("HostId", &id.host_id());
    document.finish()
}

/// Completes an answer with the headers that all have.
pub fn finish(response: Response<s3s::Body>, mut record: Record, reusable: bool) -> Response<AnswerBody> {
    record.status = response.status().as_u16();
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(REQUEST_ID, headers::value(&record.id.request_id()));
    parts.headers.insert(HOST_ID, headers::value(&record.id.host_id()));
    if !reusable {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Extensions are between us and `s3s`.
    parts.extensions.clear();
    Response::from_parts(parts, AnswerBody { body, record })
}
