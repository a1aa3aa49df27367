//! The calls of IAM, STS and KMS: which requests they are, and how they get to their actions.
//!
//! A call's signature covers its body by the hash of it, which most clients do not send: it is computed here and given to
//! `s3s` as if they had. So the body is read, within bounds, before the signature is verified.
//!
//! A presigned URL is the proof of who one is for those who ask STS about it (GetCallerIdentity). Its signature covers the hash of
//! no body, where presigned URLs of S3 leave the body open, and `s3s` knows the latter only; so it is moved into the header,
//! where it covers the same. Such a URL is good for the minutes that a signature in the header is, as at AWS, whatever it says.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use s3s::S3ErrorCode;
use s3s::service::S3Service;

use crate::auth::Secrets;
use crate::json_api::{self, Document};
use crate::kms_api::{self, KmsApi};
use crate::query_api::params::FORM_BYTES_MAX;
use crate::query_api::{self, Api, Form, Params, Service};
use crate::s3::error::{Failure, of_body, too_large};
use crate::s3::headers::{self, CONTENT_SHA256, DATE};
use crate::s3::request::Query;

use super::InvalidRegion;
use super::answer::Record;
use super::verifier::{call, verifier, verifier_config};

/// The regions that clients sign for whatever the server's is: IAM has no regions, and STS's first endpoint has none. A client
/// that is told of no region at all signs for an empty one.
pub const GLOBAL_REGIONS: [&str; 2] = ["us-east-1", ""];

const FORM: &str = "application/x-www-form-urlencoded";

const CREDENTIAL: &str = "X-Amz-Credential";
const SIGNATURE: &str = "X-Amz-Signature";

/// An API that is not S3's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// A service's that speaks the Query protocol.
    Query(Service),
    /// That of KMS.
    Kms,
}

impl Called {
    /// The service in the scope of a signature.
    pub fn service(self) -> &'static str {
        match self {
            Self::Query(service) => service.name(),
            Self::Kms => json_api::SERVICE,
        }
    }

    /// The regions that are signed for beside the server's.
    pub fn or_regions(self) -> &'static [&'static str] {
        match self {
            Self::Query(_) => &GLOBAL_REGIONS,
            Self::Kms => &[],
        }
    }
}

/// The API that a request in no bucket's host is for, if it is one. A form without any signature can only be for an action of
/// STS that needs none. S3 has no POST here. A presigned URL is for STS or for S3.
pub fn of_request(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Called> {
    if uri.path() != "/" {
        return None;
    }
    if *method == Method::GET {
        let query = Query::parse(uri.query()).ok()?;
        let service = query.get(CREDENTIAL)?.split('/').nth(3)?;
        let is_sts = Service::from_scope(service) == Some(Service::Sts);
        return is_sts.then_some(Called::Query(Service::Sts));
    }
    if *method != Method::POST {
        return None;
    }
    if headers.contains_key(AUTHORIZATION) {
        let service = crate::auth::service_of(headers)?;
        let is_kms = service == json_api::SERVICE;
        return if is_kms { Some(Called::Kms) } else { Service::from_scope(&service).map(Called::Query) };
    }
    if json_api::target(headers).is_some() {
        return Some(Called::Kms);
    }
    let is_form = headers::text(headers, &CONTENT_TYPE).is_some_and(|text| {
        let media_type = text.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case(FORM)
    });
    (is_form && uri.query().is_none()).then_some(Called::Query(Service::Sts))
}

/// The APIs.
pub struct Apis {
    /// That of IAM.
    pub iam: Arc<dyn Api>,
    /// That of STS.
    pub sts: Arc<dyn Api>,
    /// That of KMS.
    pub kms: Arc<KmsApi>,
}

/// The APIs, each behind an `s3s` of its own.
pub struct ServiceApis {
    iam: Verified,
    sts: Verified,
    kms: S3Service,
}

struct Verified {
    api: Arc<dyn Api>,
    verifier: S3Service,
}

impl ServiceApis {
    /// The APIs of a server in this region.
    ///
    /// # Errors
    /// If it is no region.
    pub fn new(region: &str, apis: Apis, secrets: &Secrets) -> Result<Self, InvalidRegion> {
        let verified = |api: Arc<dyn Api>| {
            let mut config = verifier_config(region, api.service().name())?;
            // There are two, and the gate has seen to it that it is one of them.
            config.expected_region = None;
            config.allow_presigned_url = false;
            let route = query_api::Route(Arc::clone(&api));
            Ok(Verified { api, verifier: verifier(config, secrets, route) })
        };
        let mut config = verifier_config(region, json_api::SERVICE)?;
        config.allow_presigned_url = false;
        let kms = verifier(config, secrets, json_api::Route(apis.kms));
        Ok(Self { iam: verified(apis.iam)?, sts: verified(apis.sts)?, kms })
    }

    /// Reads the body of a call, has its signature verified and its action done.
    pub async fn answer<B>(
        &self,
        called: Called,
        parts: Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Response<s3s::Body>, Arc<Failure>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        match called {
            Called::Query(service) => self.answer_query(service, parts, body, record).await,
            Called::Kms => self.answer_kms(parts, body, record).await,
        }
    }

    async fn answer_kms<B>(
        &self,
        mut parts: Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Response<s3s::Body>, Arc<Failure>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        if let Some(action) = json_api::target(&parts.headers).and_then(|name| kms_api::find_action(&name)) {
            record.operation = action;
        }
        let body = read(body, json_api::BODY_BYTES_MAX).await?;
        sign(&mut parts.headers, &body)?;
        let (connection, id, trail) = (record.connection(), record.id, record.trail.clone());
        parts.extensions.insert(Document { body: body.clone(), connection, id, trail });
        call(&self.kms, Request::from_parts(parts, s3s::Body::from(body))).await
    }

    async fn answer_query<B>(
        &self,
        service: Service,
        mut parts: Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Response<s3s::Body>, Arc<Failure>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Verified { api, verifier } = match service {
            Service::Iam => &self.iam,
            Service::Sts => &self.sts,
        };
        let is_url = parts.method == Method::GET;
        let form = read(body, FORM_BYTES_MAX).await?;
        let params = match parts.uri.query().filter(|_| is_url) {
            Some(query) => Params::parse(query.as_bytes())?,
            None => Params::parse(&form)?,
        };
        if is_url {
            move_signature(&mut parts)?;
        }
        sign(&mut parts.headers, &form)?;
        if let Some(action) = params.get("Action").and_then(|name| api.action(name)) {
            record.operation = action;
        }
        parts.extensions.insert(Form {
            params,
            is_url,
            connection: record.connection(),
            id: record.id,
            trail: record.trail.clone(),
        });
        call(verifier, Request::from_parts(parts, s3s::Body::from(form))).await
    }
}

async fn read<B>(body: B, bytes_max: usize) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let collected = std::pin::pin!(Limited::new(body, bytes_max)).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large(bytes_max as u64 + 1, bytes_max as u64);
        }
        of_body(error.as_ref())
    })
}

/// Moves the signature of a presigned URL into the header. The rest of the query is what it covers.
fn move_signature(parts: &mut Parts) -> Result<(), Failure> {
    let query = Query::parse(parts.uri.query())?;
    // All of them are there, each once: the gate has seen to it.
    let parameter = |name| query.get(name).unwrap_or_default();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}",
        parameter(CREDENTIAL),
        parameter("X-Amz-SignedHeaders"),
        parameter(SIGNATURE),
    );
    parts.headers.insert(AUTHORIZATION, headers::value(&authorization));
    parts.headers.insert(DATE, headers::value(parameter("X-Amz-Date")));
    let is_covered = |pair: &&str| pair.split('=').next() != Some(SIGNATURE);
    let covered: Vec<&str> = parts.uri.query().unwrap_or_default().split('&').filter(is_covered).collect();
    let uri = format!("{}?{}", parts.uri.path(), covered.join("&"));
    parts.uri = uri.parse().map_err(|_| Failure::new(S3ErrorCode::InvalidURI))?;
    Ok(())
}

/// Says of a body what its signature must have covered.
fn sign(headers: &mut HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let hash = hex::encode(Checksum::of(ChecksumAlgorithm::Sha256, body).as_bytes());
    // A hash that a client has sent is what it signed, and so has to be true.
    if headers::text(headers, &CONTENT_SHA256).is_some_and(|sent| !sent.eq_ignore_ascii_case(&hash)) {
        return Err(S3ErrorCode::SignatureDoesNotMatch.into());
    }
    if headers.contains_key(AUTHORIZATION) && !headers.contains_key(CONTENT_SHA256) {
        headers.insert(CONTENT_SHA256, headers::value(&hash));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn service(method: &str, uri: &str, authorization: Option<&str>, content_type: &'static str) -> Option<Called> {
        let mut headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        }
        of_request(&Method::from_bytes(method.as_bytes()).unwrap(), &uri.parse().unwrap(), &headers)
    }

    fn signed_for(service: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential=AK/20260101/r/{service}/aws4_request, SignedHeaders=host, Signature=0")
    }

    #[test]
    fn a_call_is_known_by_the_service_that_it_is_signed_for() {
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(service("POST", "/", Some(&signed_for("iam")), form), Some(Called::Query(Service::Iam)));
        assert_eq!(service("POST", "/", Some(&signed_for("sts")), form), Some(Called::Query(Service::Sts)));
        assert_eq!(service("POST", "/", Some(&signed_for("kms")), "application/x-amz-json-1.1"), Some(Called::Kms));
        for name in ["s3", "cairn", ""] {
            assert_eq!(service("POST", "/", Some(&signed_for(name)), form), None, "{name}");
        }
        assert_eq!(service("POST", "/bucket", Some(&signed_for("iam")), form), None);
        assert_eq!(service("GET", "/", Some(&signed_for("iam")), form), None);
        assert_eq!(service("POST", "/", Some("AWS AK:x"), form), None);
    }

    #[test]
    fn a_form_without_a_signature_is_for_sts() {
        assert_eq!(service("POST", "/", None, "Application/X-WWW-Form-URLEncoded"), Some(Called::Query(Service::Sts)));
        assert_eq!(service("POST", "/", None, "multipart/form-data; boundary=x"), None);
        assert_eq!(service("POST", "/", None, "application/x-www-form-urlencoded2"), None);
        assert_eq!(service("POST", "/?delete", None, FORM), None);
    }

    #[test]
    fn a_hash_that_a_client_sends_must_be_true() {
        let with = |value: &'static str| {
            let mut headers: HeaderMap = [(AUTHORIZATION, HeaderValue::from_static("x"))].into_iter().collect();
            if !value.is_empty() {
                headers.insert(CONTENT_SHA256, HeaderValue::from_static(value));
            }
            sign(&mut headers, b"").map(|()| headers::text(&headers, &CONTENT_SHA256).unwrap())
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(with("").unwrap(), empty);
        assert_eq!(with(empty).unwrap(), empty);
        for other in ["UNSIGNED-PAYLOAD", "x", "E3B0"] {
            assert_eq!(with(other).unwrap_err().code(), "SignatureDoesNotMatch", "{other}");
        }
    }
}
