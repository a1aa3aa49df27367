//! Cross-origin requests: which pages of other origins may use a bucket, and what browsers are told of that (Fetch standard,
//! "CORS protocol"; S3 API reference, OPTIONS object).
//!
//! A request without an `Origin` costs nothing here. CORS grants nobody anything: it says what a browser lets a page do with a
//! request that is authorized like every other.
//!
//! The origins of `cors.origins` may use everything, also where no bucket is named; a bucket's own rules come first.

pub mod configuration;

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{Bucket, BucketName, Store};
use cairn_storage::record::Record;
use http::header::{ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method, StatusCode};

use crate::kept::Kept;
use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::request::{Answer, Target};

use configuration::{AllowedMethod, Asked, Configuration, Rule};

/// Headers that a preflight can ask for. A rule can have some two thousand patterns that each is compared with.
const REQUESTED_HEADERS_MAX: usize = 100;

/// How long a browser remembers what the origins of `cors.origins` may do.
const FALLBACK_MAX_AGE_SECONDS: u32 = 3_600;

/// What the pages of those origins may read of an answer besides what every page may.
const FALLBACK_EXPOSED: [&str; 14] = [
    "Accept-Ranges",
    "Content-Range",
    "ETag",
    "x-amz-bucket-region",
    "x-amz-checksum-type",
    "x-amz-delete-marker",
    "x-amz-expiration",
    "x-amz-id-2",
    "x-amz-mp-parts-count",
    "x-amz-request-id",
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-tagging-count",
    "x-amz-version-id",
];

/// Answers preflights, and says what answers to pages of other origins have to have.
#[derive(Debug)]
pub struct Cors {
    store: Store,
    kept: Kept<Configuration>,
    fallback: Option<Configuration>,
}

/// What a bucket says.
enum Found {
    NoBucket,
    Nothing,
    Rules(Arc<Configuration>),
}

impl Cors {
    /// The answers for the buckets of a store, and for these origins everywhere.
    pub fn new(store: Store, origins: Vec<String>) -> Self {
        let rule = |origins| Rule {
            origins,
            methods: AllowedMethod::ALL.to_vec(),
            headers: vec!["*".to_owned()],
            exposed: FALLBACK_EXPOSED.map(str::to_owned).to_vec(),
            max_age_seconds: Some(FALLBACK_MAX_AGE_SECONDS),
            ..Rule::default()
        };
        let fallback = (!origins.is_empty()).then(|| Configuration { rules: vec![rule(origins)] });
        Self { store, kept: Kept::default(), fallback }
    }

    /// The answer to a preflight.
    ///
    /// # Errors
    /// `BadRequest` and `AccessForbidden`, in S3's words; the index's.
    pub async fn preflight(&self, target: &Target, headers: &HeaderMap) -> Result<Answer, Failure> {
        let Some(asked) = asked(headers, &Method::OPTIONS) else {
            return Err(bad_request("Insufficient information. Origin request header needed."));
        };
        let found = self.of_bucket(bucket_of(target)).await?;
        if let Some(allowed) = self.allow(&found, &asked) {
            let mut answer = Answer::empty(StatusCode::OK);
            answer.headers = allowed;
            return Ok(answer);
        }
        let requested = headers::text(headers, &ACCESS_CONTROL_REQUEST_METHOD);
        let method = requested.as_deref().unwrap_or(Method::OPTIONS.as_str());
        let is_object = matches!(target, Target::Object { .. });
        match found {
            Found::NoBucket => Err(forbidden("CORSResponse: Bucket not found", method, false)),
            Found::Nothing => Err(forbidden("CORSResponse: CORS is not enabled for this bucket.", method, false)),
            Found::Rules(_) if asked.method.is_none() => Err(bad_request(format!(
                "Invalid Access-Control-Request-Method: {}",
                requested.as_deref().unwrap_or("null")
            ))),
            Found::Rules(_) => Err(forbidden(NOT_ALLOWED, method, is_object)),
        }
    }

    /// What the answer to a request with this method and these headers has to have, whether it is a failure or not. Nothing if
    /// no page of another origin made the request, or one that may not.
    pub async fn of_answer(&self, bucket: Option<&str>, method: &Method, headers: &HeaderMap) -> HeaderMap {
        let Some(asked) = asked(headers, method) else { return HeaderMap::new() };
        match self.of_bucket(bucket).await {
            Ok(found) => self.allow(&found, &asked).unwrap_or_default(),
            Err(error) => {
                // The browser will refuse the answer to the page, which is to err on the safe side.
                tracing::warn!(%error, "a bucket's CORS configuration cannot be read");
                HeaderMap::new()
            }
        }
    }

    fn allow(&self, found: &Found, asked: &Asked) -> Option<HeaderMap> {
        let of_bucket = match found {
            Found::Rules(rules) => rules.allow(asked),
            Found::NoBucket | Found::Nothing => None,
        };
        of_bucket.or_else(|| self.fallback.as_ref()?.allow(asked))
    }

    async fn of_bucket(&self, name: Option<&str>) -> Result<Found, StorageError> {
        let Some(name) = name.and_then(BucketName::new) else { return Ok(Found::NoBucket) };
        let bucket = match self.store.bucket(&name).await {
            Ok(bucket) => bucket,
            Err(StorageError::NoSuchBucket) => return Ok(Found::NoBucket),
            Err(error) => return Err(error),
        };
        let Some(digest) = bucket.cors else { return Ok(Found::Nothing) };
        if let Some(rules) = self.kept.get(digest) {
            return Ok(Found::Rules(rules));
        }
        // What is read may be newer than the bucket that was looked up; then it is what holds.
        let Some((rules, document)) = stored(&self.store, &bucket).await? else { return Ok(Found::Nothing) };
        let rules = Arc::new(rules);
        self.kept.keep(crate::kept::digest_of(&document), document.len(), &rules);
        Ok(Found::Rules(rules))
    }
}

/// The bucket's configuration, and the document that it is stored as.
///
/// # Errors
/// The index's.
pub async fn stored(store: &Store, bucket: &Bucket) -> Result<Option<(Configuration, bytes::Bytes)>, StorageError> {
    let Some(document) = store.document(bucket, DocumentKind::Cors).await? else { return Ok(None) };
    Ok(Some((Configuration::from_value(&document)?, document)))
}

/// The name of the bucket that a request is about.
pub fn bucket_of(target: &Target) -> Option<&str> {
    match target {
        Target::Service => None,
        Target::Bucket(bucket) | Target::Object { bucket, .. } => Some(bucket),
    }
}

/// What a page of another origin asks for; None: there is none. As with S3, what a preflight would ask for decides also about a
/// request that is none; a browser lets no page set those headers.
fn asked(headers: &HeaderMap, method: &Method) -> Option<Asked> {
    let origin = headers.get(ORIGIN)?.clone();
    let requested = headers::text(headers, &ACCESS_CONTROL_REQUEST_METHOD);
    let names = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().map(headers::text_of);
    let names = names.collect::<Vec<_>>().join(",");
    let names = names.split(',').map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
    let headers: Vec<String> = names.take(REQUESTED_HEADERS_MAX + 1).collect();
    // More than any request has: nothing allows it.
    let method = AllowedMethod::named(requested.as_deref().unwrap_or(method.as_str()))
        .filter(|_| headers.len() <= REQUESTED_HEADERS_MAX);
    Some(Asked { origin, method, headers })
}

/// As S3 writes it.
const NOT_ALLOWED: &str = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, \
                           request method / Access-Control-Request-Method or Access-Control-Request-Headers are not \
                           whitelisted by the resource's CORS spec.";

fn forbidden(message: &'static str, method: &str, is_object: bool) -> Failure {
    Failure::custom("AccessForbidden", StatusCode::FORBIDDEN, message)
        .field("Method", method)
        .field("ResourceType", if is_object { "OBJECT" } else { "BUCKET" })
}

fn bad_request(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::custom("BadRequest", StatusCode::BAD_REQUEST, message)
}
