//! GetObject and HeadObject: one request, with and without the bytes.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_crypto::checksum::Checksum;
use cairn_crypto::secret::DataKey;
use cairn_storage::StorageError;
use cairn_storage::object::{ObjectVersion, StorageClass};
use cairn_storage::ops::{GetObject, ObjectBody, PartChecksum, Select, VersionSelector};
use cairn_storage::replication::Replication;
use futures::Stream;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{
    CHECKSUM_MODE, CHECKSUM_TYPE, MP_PARTS_COUNT, REPLICATION_STATUS, STORAGE_CLASS, TAGGING_COUNT, http_date, quoted,
    text, value,
};
use super::request::{Answer, Query, Request};
use super::request_keys::RequestKeys;
use super::{
    Edge, attributes, checksum, conditions, encryption, lifecycle, object_lock, range, replica, version_into_headers,
};

/// Parts of an object at most.
const PART_NUMBER_MAX: u16 = 10_000;

pub(super) async fn get_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let get = selection(&authorized, &request)?;
    let keys = keys(edge, &authorized, &request)?;
    let (select, version) = (get.select, get.version);
    let read = edge.store.get_object(authorized.bucket(), authorized.key(), get).await;
    let mut read = read.map_err(|error| failure(&authorized, error, &request))?;
    let data_key = keys.open_version(authorized.bucket().id, authorized.key(), &read.object).await?;
    let part_checksum = reveal(&request, &mut read.object, &read.part_checksum, data_key.as_ref())?;
    let selected = Selected { select, range: read.range, parts_count: read.parts_count, part_checksum };
    let mut answer = describe(edge, &authorized, &read.object, &selected, &request)?;
    lifecycle_into_headers(edge, &authorized, &read.object, version, &mut answer.headers).await?;
    edge.accesses.note(authorized.bucket(), authorized.key(), &read.object);
    let body = read.body.unlocked(data_key).begun().await?;
    answer.body = s3s::Body::http_body(ObjectBytes(body));
    Ok(answer)
}

pub(super) async fn head_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    if let Some(answer) = replica::look(edge, &authorized, &request).await? {
        return Ok(answer);
    }
    let get = selection(&authorized, &request)?;
    let keys = keys(edge, &authorized, &request)?;
    let (select, version) = (get.select, get.version);
    let head = edge.store.head_object(authorized.bucket(), authorized.key(), get).await;
    let mut head = head.map_err(|error| failure(&authorized, error, &request))?;
    let secrets = wants_checksum(&request);
    let data_key = keys.check(authorized.bucket(), authorized.key(), &head.object, secrets).await?;
    let part_checksum = reveal(&request, &mut head.object, &head.part_checksum, data_key.as_ref())?;
    let selected = Selected { select, range: head.range, parts_count: head.parts_count, part_checksum };
    let mut answer = describe(edge, &authorized, &head.object, &selected, &request)?;
    lifecycle_into_headers(edge, &authorized, &head.object, version, &mut answer.headers).await?;
    Ok(answer)
}

/// Says when the object expires, which only the newest version does, and what a restore from its class has come to.
async fn lifecycle_into_headers(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    object: &ObjectVersion,
    version: VersionSelector,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    lifecycle::restore_into_headers(object, edge.store.clock().now(), headers);
    if version == VersionSelector::Newest {
        let (bucket, key) = (authorized.bucket(), authorized.key());
        edge.lifecycle.expiration_into_headers(&edge.store, bucket, key, object, headers).await?;
    }
    Ok(())
}

/// What opens the object. A request that says how to seal is refused.
fn keys(edge: &Edge, authorized: &Authorized<OnObject>, request: &Request) -> Result<RequestKeys, Failure> {
    encryption::refuse_method(&request.headers)?;
    RequestKeys::of_request(edge, authorized, request)
}

fn wants_checksum(request: &Request) -> bool {
    text(&request.headers, &CHECKSUM_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
}

/// Opens the checksums that are asked for, if they are sealed. Tells that of the part.
fn reveal(
    request: &Request,
    object: &mut ObjectVersion,
    of_part: &PartChecksum,
    key: Option<&DataKey>,
) -> Result<Option<Checksum>, Failure> {
    if !wants_checksum(request) {
        return Ok(None);
    }
    object.reveal_checksum(key)?;
    Ok(of_part.open(key)?)
}

/// What of the object was asked for, and what that came to.
struct Selected {
    select: Select,
    range: Range<u64>,
    parts_count: Option<u16>,
    part_checksum: Option<Checksum>,
}

fn selection(authorized: &Authorized<OnObject>, request: &Request) -> Result<GetObject, Failure> {
    if authorized.account().is_none() && OVERRIDES.iter().any(|(parameter, _)| request.query.has(parameter)) {
        return Err(Failure::invalid_request(
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    let range = text(&request.headers, &RANGE);
    let select = match (part_number(&request.query)?, range) {
        (Some(_), Some(_)) => {
            return Err(Failure::invalid_request("Cannot specify both Range header and partNumber query parameter"));
        }
        (Some(number), None) => Select::Part(number),
        (None, Some(range)) => range::parse(&range).map_or(Select::Whole, Select::Range),
        (None, None) => Select::Whole,
    };
    Ok(GetObject {
        version: request.version()?,
        permit: authorized.permit(),
        conditions: conditions::of_read(&request.headers),
        select,
    })
}

/// Reads `partNumber`.
pub(super) fn part_number(query: &Query) -> Result<Option<u16>, Failure> {
    let Some(text) = query.get("partNumber") else { return Ok(None) };
    match text.parse() {
        Ok(number @ 1..=PART_NUMBER_MAX) => Ok(Some(number)),
        _ => Err(Failure::invalid_argument(
            "partNumber",
            text,
            "Part number must be an integer between 1 and 10000, inclusive",
        )),
    }
}

fn failure(authorized: &Authorized<OnObject>, error: StorageError, request: &Request) -> Failure {
    let unsatisfiable = matches!(error, StorageError::RangeNotSatisfiable { .. });
    let failure = authorized.failure(error);
    match text(&request.headers, &RANGE) {
        Some(range) if unsatisfiable => failure.field("RangeRequested", range),
        _ => failure,
    }
}

/// The answer without its bytes.
fn describe(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    object: &ObjectVersion,
    selected: &Selected,
    request: &Request,
) -> Result<Answer, Failure> {
    let mut answer = Answer::empty(StatusCode::OK)
        .header(ACCEPT_RANGES, HeaderValue::from_static("bytes"))
        .header(CONTENT_LENGTH, HeaderValue::from(selected.range.end - selected.range.start))
        .header(ETAG, quoted(&object.etag))
        .header(LAST_MODIFIED, http_date(object.created));
    let headers = &mut answer.headers;
    attributes::into_headers(&object.attributes, headers);
    version_into_headers(authorized.bucket(), object, headers);
    encryption::of_version_into_headers(edge, object, &request.headers, headers);
    if object.storage_class != StorageClass::Standard {
        headers.insert(STORAGE_CLASS, HeaderValue::from_static(object.storage_class.name()));
    }
    if let Some(status) = object.replication.as_ref().and_then(Replication::status) {
        headers.insert(REPLICATION_STATUS, HeaderValue::from_static(status.name()));
    }
    if !object.settings.tags.is_empty() {
        headers.insert(TAGGING_COUNT, HeaderValue::from(object.settings.tags.len()));
    }
    // S3 shows locks to those who may ask for them by themselves: until there are policies, the bucket's owner.
    if authorized.is_bucket_owner() {
        object_lock::into_headers(&object.settings, headers);
    }
    if let (Select::Part(_), Some(count)) = (selected.select, selected.parts_count) {
        headers.insert(MP_PARTS_COUNT, HeaderValue::from(count));
    }
    if wants_checksum(request) {
        checksum_into_headers(object, selected, headers);
    }
    override_headers(&request.query, headers)?;
    // An empty part has no first byte that `Content-Range` could name.
    if selected.select != Select::Whole && !selected.range.is_empty() {
        let Range { start, end } = selected.range;
        headers.insert(CONTENT_RANGE, value(&format!("bytes {start}-{}/{}", end - 1, object.size_bytes)));
        answer.status = StatusCode::PARTIAL_CONTENT;
    }
    Ok(answer)
}

/// The checksum of the bytes that were selected, if there is one: a part's own, or the object's if it is whole. A range has
/// none. The type is always the object's.
fn checksum_into_headers(object: &ObjectVersion, selected: &Selected, headers: &mut HeaderMap) {
    let Some(checksum) = &object.checksum else { return };
    match selected.part_checksum {
        Some(of_part) => {
            headers.insert(checksum::header(of_part.algorithm()), value(&of_part.to_base64()));
            headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.checksum_type().as_str()));
        }
        None if selected.range == (0..object.size_bytes) => {
            checksum::into_headers(checksum, object.etag.parts_count, headers);
        }
        None => {}
    }
}

/// The parameters that replace headers of the answer. Only a signature makes them the requester's own: without one, a link
/// could make any public object into a page.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-content-type", CONTENT_TYPE),
    ("response-expires", EXPIRES),
];

fn override_headers(query: &Query, headers: &mut HeaderMap) -> Result<(), Failure> {
    for (parameter, name) in OVERRIDES {
        let Some(text) = query.non_empty(parameter) else { continue };
        let value = HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_| Failure::invalid_argument(parameter, text, "The value cannot be a header's"))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// An object's bytes as a body. An error ends the connection, so that no client takes a part for the whole.
struct ObjectBytes(ObjectBody);

impl Body for ObjectBytes {
    type Data = Bytes;
    type Error = StorageError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StorageError>>> {
        Pin::new(&mut self.0).poll_next(cx).map(|piece| {
            let piece = piece?;
            if let Err(error) = &piece {
                tracing::error!(error = error as &dyn std::error::Error, "an object could not be read to its end");
            }
            Some(piece.map(Frame::data))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.remaining_bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.remaining_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    #[test]
    fn part_numbers_are_1_to_10000() {
        assert_eq!(part_number(&query("")).unwrap(), None);
        assert_eq!(part_number(&query("partNumber=10000")).unwrap(), Some(10_000));
        for text in ["partNumber=", "partNumber=0", "partNumber=10001", "partNumber=-1", "partNumber=x"] {
            assert_eq!(part_number(&query(text)).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }

    #[test]
    fn overrides_replace_stored_headers_and_cannot_break_the_answer() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        override_headers(&query("response-content-type=image%2Fpng&response-expires=later"), &mut headers).unwrap();
        assert_eq!(headers[CONTENT_TYPE], "image/png");
        assert_eq!(headers[EXPIRES], "later");
        let broken = query("response-content-type=a%0d%0ax-evil:1");
        assert_eq!(override_headers(&broken, &mut headers).unwrap_err().code(), "InvalidArgument");
    }
}
