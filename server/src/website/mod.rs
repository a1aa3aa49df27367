//! Buckets as websites: a listener of its own, where everybody's GET and HEAD are answered with pages instead of documents (S3
//! user guide, "Hosting a static website using Amazon S3").
//!
//! A host `BUCKET.<domain>` is the bucket's; any other host is the name of its bucket, as on S3. What is read is read as by anybody
//! without a signature: the bucket's policy, ACLs and public access blocks decide, and the decisions are noted, as for every
//! request. `route` says where a request leads, and `page` what is shown when it leads nowhere.

pub mod configuration;
mod page;
mod route;

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::clock::Entropy;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::BucketName;
use http::header::{
    ALLOW, CONTENT_TYPE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
    REFERER, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use s3s::S3ErrorCode;
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::cors::Cors;
use crate::gate::answer::{self, AnswerBody, Record};
use crate::gate::body;
use crate::gate::ids::RequestIds;
use crate::gate::{Hosts, PREFLIGHT, target};
use crate::listener::ConnectionInfo;
use crate::metrics::Metrics;
use crate::proxies::Proxies;
use crate::s3::Edge;
use crate::s3::bucket_website::no_website;
use crate::s3::encoding::decode;
use crate::s3::error::{Failure, slow_down};
use crate::s3::headers::{self, WEBSITE_REDIRECT_LOCATION};
use crate::s3::request::{Answer, Target};

use configuration::Website;
use route::{Redirect, Site, Step};

const ERROR_CODE: HeaderName = HeaderName::from_static("x-amz-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-amz-error-message");

/// What of a request is about the object that it reads.
const OF_READ: [HeaderName; 5] = [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE];

/// What of a request policies can ask for.
const OF_SENDER: [HeaderName; 2] = [REFERER, USER_AGENT];

/// What the websites work with.
pub struct WebsiteParts {
    /// What is read.
    pub edge: Edge,
    /// `BUCKET.<domain>` is a bucket's website.
    pub hosts: Hosts,
    /// Whom to believe who the client is.
    pub proxies: Proxies,
    /// Which pages of other origins may read what.
    pub cors: Arc<Cors>,
    /// The places in flight, which websites and S3 share.
    pub in_flight: Arc<Semaphore>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// Keeps what was decided.
    pub audit: Arc<Audit>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Answers the requests to websites. Cheap to clone.
#[derive(Clone)]
pub struct Websites(Arc<Inner>);

struct Inner {
    parts: WebsiteParts,
    ids: RequestIds,
}

/// A failed request, and the failure of the document that was to be shown for it.
struct Unanswered {
    failure: Failure,
    key: Option<ObjectKey>,
    of_error_document: Option<(ObjectKey, Failure)>,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, key: None, of_error_document: None }
    }
}

impl Websites {
    /// Websites made of these parts.
    pub fn new(parts: WebsiteParts) -> Self {
        let ids = RequestIds::new(Arc::clone(&parts.entropy));
        Self(Arc::new(Inner { parts, ids }))
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>, connection: ConnectionInfo) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Inner { parts: WebsiteParts { edge, proxies, metrics, audit, .. }, ids } = &*self.0;
        let (mut parts, body) = request.into_parts();
        let seen = proxies.seen(connection, &mut parts.headers);
        let connection = *seen.as_ref().unwrap_or(&connection);
        let mut record = Record::begin(ids.next(), connection, edge.store.clock().now(), metrics, audit);
        record.user_agent = parts.headers.get(USER_AGENT).cloned();
        record.operation = match parts.method {
            Method::GET => "WebsiteGet",
            Method::HEAD => "WebsiteHead",
            Method::OPTIONS => PREFLIGHT,
            _ => record.operation,
        };
        // Nothing here wants a body.
        let (_, handle) = body::share(body, &parts.headers);
        let bucket = self.0.bucket(&parts.headers);
        let outcome = match seen {
            Ok(_) => self.0.respond(&parts, &bucket, &mut record).await,
            Err(failure) => Err(failure.into()),
        };
        let reusable = handle.finish().await;
        record.received_bytes = handle.received_bytes();
        let answer = outcome.unwrap_or_else(|unanswered| shown(&unanswered, &parts.method, &mut record));
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        if parts.method != Method::OPTIONS && record.permit.is_some() {
            let for_pages = Box::pin(self.0.parts.cors.of_answer(Some(&bucket), &parts.method, &parts.headers)).await;
            response.headers_mut().extend(for_pages);
        }
        answer::finish(response, record, reusable)
    }
}

impl Inner {
    fn bucket(&self, headers: &HeaderMap) -> String {
        let host = headers::text(headers, &HOST).unwrap_or_default();
        self.parts.hosts.bucket(&host).unwrap_or_else(|| target::host_name(&host))
    }

    async fn respond(&self, parts: &Parts, bucket: &str, record: &mut Record) -> Result<Answer, Unanswered> {
        let permit = Arc::clone(&self.parts.in_flight).try_acquire_owned();
        record.permit = Some(permit.map_err(|_| {
            self.parts.metrics.request_refused();
            slow_down("Please reduce your request rate.")
        })?);
        target::check_host(&parts.headers)?;
        if parts.method == Method::OPTIONS {
            let target = Target::Bucket(bucket.to_owned());
            return Ok(Box::pin(self.parts.cors.preflight(&target, &parts.headers)).await?);
        }
        if ![Method::GET, Method::HEAD].contains(&parts.method) {
            let failure = Failure::new(S3ErrorCode::MethodNotAllowed).field("Method", parts.method.as_str());
            let failure =
                failure.field("ResourceType", "OBJECT").header(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            return Err(failure.into());
        }
        let host = headers::text(&parts.headers, &HOST).unwrap_or_default();
        let website = self.website(bucket).await?;
        let path = decode(parts.uri.path()).ok_or_else(|| Failure::new(S3ErrorCode::InvalidURI))?;
        let scheme = if record.connection().secure { "https" } else { "http" };
        let site = Site { website: &website, scheme, host: &host };
        let asked = path.strip_prefix('/').unwrap_or(&path);
        let key = match site.before_reading(asked, parts.uri.query()) {
            Step::Redirect(redirect) => return Ok(redirected(&redirect)),
            Step::Read(key) => target::object_key(&key)?,
        };
        let is_head = parts.method == Method::HEAD;
        let read = Read { inner: self, bucket, is_head, record: &*record };
        match read.object(&key, kept(&parts.headers, &[&OF_READ, &OF_SENDER])).await {
            Ok(answer) => Ok(redirect_of_object(&answer).unwrap_or(answer)),
            Err(failure) => read.instead(&site, asked, key, failure, kept(&parts.headers, &[&OF_SENDER])).await,
        }
    }

    async fn website(&self, bucket: &str) -> Result<Website, Failure> {
        let no_bucket = || Failure::new(S3ErrorCode::NoSuchBucket).field("BucketName", bucket);
        let name = BucketName::new(bucket).ok_or_else(no_bucket)?;
        let store = &self.parts.edge.store;
        let found = store.bucket(&name).await.map_err(|error| match Failure::from(error) {
            failure if failure.code() == "NoSuchBucket" => no_bucket(),
            failure => failure,
        })?;
        let website = Website::of(store, &found).await.map_err(Failure::from)?;
        website.ok_or_else(|| no_website(bucket))
    }
}

/// Reading for one request.
struct Read<'r> {
    inner: &'r Inner,
    bucket: &'r str,
    is_head: bool,
    record: &'r Record,
}

impl Read<'_> {
    async fn object(&self, key: &ObjectKey, headers: HeaderMap) -> Result<Answer, Failure> {
        let origin = self.record.origin(None);
        Box::pin(self.inner.parts.edge.read_publicly(self.bucket, key, headers, self.is_head, origin)).await
    }

    /// What is answered if the key cannot be read: a redirect to the folder of that name, or by a rule; the error document; or
    /// what went wrong.
    async fn instead(
        &self,
        site: &Site<'_>,
        asked: &str,
        key: ObjectKey,
        failure: Failure,
        headers: HeaderMap,
    ) -> Result<Answer, Unanswered> {
        let status = failure.status_code();
        let is_absent = matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        if is_absent
            && let Some(index) = site.index_of_folder(asked)
            && let Some(index) = ObjectKey::new(&index)
        {
            let looked = Read { is_head: true, ..*self };
            if looked.object(&index, headers.clone()).await.is_ok() {
                return Ok(redirected(&route::to_folder(asked)));
            }
        }
        if let Some(redirect) = site.after_failure(asked, status.as_u16()) {
            return Ok(redirected(&redirect));
        }
        let mut unanswered = Unanswered { failure, key: Some(key), of_error_document: None };
        // A condition or a range that does not hold is not about what is there.
        let is_about_page = status.is_client_error()
            && ![StatusCode::PRECONDITION_FAILED, StatusCode::RANGE_NOT_SATISFIABLE].contains(&status);
        if is_about_page && let Some(error_key) = site.website.error_key.as_deref().and_then(ObjectKey::new) {
            match self.object(&error_key, headers).await {
                Ok(mut answer) => {
                    answer.status = status;
                    return Ok(with_error_headers(answer, &unanswered.failure));
                }
                Err(failure) => unanswered.of_error_document = Some((error_key, failure)),
            }
        }
        Err(unanswered)
    }
}

fn kept(headers: &HeaderMap, names: &[&[HeaderName]]) -> HeaderMap {
    let names = names.iter().copied().flatten();
    let values = names.flat_map(|name| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    let mut kept = HeaderMap::new();
    values.for_each(|(name, value)| {
        kept.append(name, value);
    });
    kept
}

fn redirected(redirect: &Redirect) -> Answer {
    Answer::empty(redirect.status).header(LOCATION, headers::value(&redirect.location))
}

/// Where an object says that its readers should go.
fn redirect_of_object(answer: &Answer) -> Option<Answer> {
    let location = answer.headers.get(WEBSITE_REDIRECT_LOCATION).map(headers::text_of)?;
    Some(redirected(&route::to_location(&location)))
}

fn with_error_headers(mut answer: Answer, failure: &Failure) -> Answer {
    answer.headers.insert(ERROR_CODE, headers::value(failure.code()));
    answer.headers.insert(ERROR_MESSAGE, headers::value(failure.message()));
    answer
}

/// The page that says what went wrong.
fn shown(unanswered: &Unanswered, method: &Method, record: &mut Record) -> Answer {
    let failure = &unanswered.failure;
    record.error_code = Some(failure.code().to_owned());
    if let Some(cause) = failure.cause() {
        tracing::error!(id = record.id.request_id(), operation = record.operation, cause, "a request failed");
    }
    let mut answer = Answer::empty(failure.status_code());
    answer.headers = failure.headers().clone();
    if failure.status_code() == StatusCode::NOT_MODIFIED {
        return answer;
    }
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let mut answer = with_error_headers(answer, failure);
    if *method != Method::HEAD {
        let of_error_document = unanswered.of_error_document.as_ref().map(|(key, failure)| (key.as_str(), failure));
        let key = unanswered.key.as_ref().map(ObjectKey::as_str);
        answer.body = s3s::Body::from(page::of_failure(failure, key, of_error_document, record.id));
    }
    answer
}
