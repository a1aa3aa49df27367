//! POST Object: PutObject for who fills in a form in a browser (S3 API reference, "POST Object").
//!
//! The form's fields become the headers that PutObject would have had, and from there on all is the same: permissions, locks,
//! encryption, checksums, versions. Of the request itself only what says nothing about the object is kept.

use std::fmt;

use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{Body, BodyStream};
use cairn_storage::settings::Tag;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH,
    IF_NONE_MATCH, LOCATION, REFERER, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::auth::Signer;
use crate::gate::routes::Operation;
use crate::gate::{Origin, refused_headers, target};
use crate::post_form::Fields;

use super::error::Failure;
use super::headers::{self, ACL, CONTENT_MD5, COPY_SOURCE, REQUEST_CHARGED, TAGGING};
use super::put_object::put;
use super::request::{Answer, Query, Request};
use super::xml::{self, Document};
use super::{Edge, checksum, tags};

/// A form whose signature and policy were verified.
pub struct Posted {
    /// The bucket that it is for, by a name that is not yet checked.
    pub bucket: String,
    /// The fields, which are as the policy wants them.
    pub fields: Fields,
    /// The file's bytes.
    pub file: BodyStream,
    /// Who signed it; None: nobody did.
    pub signer: Option<Signer>,
    /// Where it comes from.
    pub origin: Origin,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The bucket's address, as the client has it.
    pub bucket_url: String,
}

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the fields, which may hold a customer's key.
        f.debug_struct("Posted").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Fields that are headers of the same name.
const HEADER_FIELDS: [HeaderName; 7] =
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_MD5, CONTENT_TYPE, EXPIRES];

/// Headers of the request itself that count: they tell who asks, or only make it more careful.
const KEPT_HEADERS: [HeaderName; 4] = [IF_MATCH, IF_NONE_MATCH, REFERER, USER_AGENT];

/// Fields of a signature, which are not about the object. A form's signature covers no hash of the file: policies that ask for one
/// are to find none.
const OF_SIGNATURE: [&str; 6] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

const AMZ_PREFIX: &str = "x-amz-";

impl Edge {
    /// Stores the file of a form.
    ///
    /// # Errors
    /// As PutObject, and `EntityTooSmall`, `EntityTooLarge`, `MalformedPOSTRequest`, `IncorrectNumberOfFilesInPostRequest` about
    /// the file: nothing is stored.
    pub async fn post_object(&self, posted: Posted) -> Result<Answer, Failure> {
        let Posted { bucket, fields, file, signer, origin, headers, bucket_url } = posted;
        let key = key(&fields)?;
        let headers = of_fields(&fields, &headers)?;
        refused_headers::check(Operation::PostObject, &headers)?;
        let request = Request {
            path: format!("/{bucket}"),
            secure: origin.connection.secure,
            query: Query::default(),
            headers,
            body: s3s::Body::empty(),
            is_verified: true,
            trailers: None,
            signature: origin.signature,
        };
        let identities = self.identities.snapshot();
        let asked = (Operation::PostObject, &request.headers, &request.query);
        let authorizer = self.authorizer(&identities, signer.as_ref(), asked, origin)?;
        let authorized = authorizer.object(&bucket, &key).await?;
        let charged = authorizer.charged();
        let stored = Box::pin(put(self, authorized, request, None, "Post Object", |request| {
            Ok(Body {
                length: None,
                content_md5: checksum::content_md5(&request.headers)?,
                checksum: checksum::declared(&request.headers, None)?,
                stream: file,
                sealed: None,
            })
        }))
        .await?;
        let answer = answer(stored, &fields, &bucket, &key, &bucket_url);
        Ok(if charged { answer.header(REQUEST_CHARGED, HeaderValue::from_static("requester")) } else { answer })
    }
}

fn key(fields: &Fields) -> Result<ObjectKey, Failure> {
    let key = fields.required("key")?;
    if key.is_empty() {
        return Err(Failure::invalid_argument("key", "", "User key must have a length greater than 0."));
    }
    target::object_key(key)
}

/// The headers that PutObject would have.
fn of_fields(fields: &Fields, request: &HeaderMap) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for name in KEPT_HEADERS {
        for value in request.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    for (field, text) in fields.iter() {
        let invalid = || Failure::invalid_argument(field, text, "The value of the field cannot be a header's.");
        let name = match field {
            "acl" => ACL,
            "tagging" => {
                headers.append(TAGGING, tagging(text)?);
                continue;
            }
            field if OF_SIGNATURE.contains(&field) => continue,
            // A form copies nothing: a policy that lets copies of some objects in would take what it brings for one.
            field if field.starts_with(COPY_SOURCE.as_str()) => return Err(refused_headers::refusal(field)),
            field if field.starts_with(AMZ_PREFIX) => HeaderName::try_from(field).map_err(|_| invalid())?,
            field => match HEADER_FIELDS.iter().find(|name| **name == field) {
                Some(name) => name.clone(),
                None => continue,
            },
        };
        headers.append(name, HeaderValue::from_bytes(text.as_bytes()).map_err(|_| invalid())?);
    }
    Ok(headers)
}

/// The tags of a form, which are a document, as the header has them.
fn tagging(document: &str) -> Result<HeaderValue, Failure> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pair = |tag: Tag| format!("{}={}", encode(&tag.key), encode(&tag.value));
    let tags: Vec<String> =
        tags::from_document(document.as_bytes(), tags::OBJECT_TAGS_MAX)?.into_iter().map(pair).collect();
    Ok(headers::value(&tags.join("&")))
}

/// What the form wants to be answered with: a redirect, or a status.
fn answer(stored: Answer, fields: &Fields, bucket: &str, key: &ObjectKey, bucket_url: &str) -> Answer {
    let location = format!("{bucket_url}/{}", utf8_percent_encode(key.as_str(), UNRESERVED));
    let etag = stored.headers.get(ETAG).map(headers::text_of).unwrap_or_default();
    let mut answer = stored;
    let wanted = fields.get("success_action_redirect").or_else(|| fields.get("redirect"));
    if let Some(target) = wanted.and_then(|url| redirect(url, bucket, key, &etag)) {
        answer.status = StatusCode::SEE_OTHER;
        answer.headers.insert(LOCATION, target);
        return answer;
    }
    answer.headers.insert(LOCATION, headers::value(&location));
    answer.status = match fields.get("success_action_status") {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    };
    if answer.status == StatusCode::CREATED {
        let mut document = Document::without_namespace("PostResponse");
        document.text("Location", &location);
        document.text("Bucket", bucket);
        document.text("Key", key.as_str());
        document.text("ETag", &etag);
        answer.headers.insert(CONTENT_TYPE, xml::CONTENT_TYPE);
        answer.body = s3s::Body::from(document.finish());
    }
    answer
}

/// Where to send the browser, with what was stored in the query. None: it is no address ("if Amazon S3 cannot interpret the URL,
/// it acts as if the field is not present").
fn redirect(url: &str, bucket: &str, key: &ObjectKey, etag: &str) -> Option<HeaderValue> {
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let parsed: Uri = url.parse().ok()?;
    let is_web = matches!(parsed.scheme_str(), Some("http" | "https"));
    parsed.authority().filter(|_| is_web)?;
    // As a form's fields are encoded.
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string().replace("%20", "+");
    let separator = if parsed.query().is_some() { '&' } else { '?' };
    let (bucket, key, etag) = (encode(bucket), encode(key.as_str()), encode(etag));
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    HeaderValue::try_from(format!("{url}{separator}bucket={bucket}&key={key}&etag={etag}{fragment}")).ok()
}

/// What stays as it is in the addresses of these answers; slashes do not.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

#[cfg(test)]
mod tests;
