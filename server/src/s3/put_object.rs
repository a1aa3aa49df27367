//! PutObject.

use cairn_storage::encryption::SealedContent;
use cairn_storage::ops::{Body, PUT_BYTES_MAX, PutObject, WriteConditions};
use http::StatusCode;
use http::header::ETAG;

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::quoted;
use super::new_version::new_version;
use super::replica::{self, Arriving};
use super::request::{Answer, Request};
use super::{Edge, checksum, conditions, encryption, new_version_into_headers, object_lock};

pub(super) async fn put_object(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let arriving = replica::arriving(&request.headers)?;
    put(edge, authorized, request, arriving, "Put Object", body).await
}

/// Stores what a request brings, be it a replica, by the name that S3 has for it in messages. `body` is asked last for the bytes.
pub(super) async fn put(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
    arriving: Option<Arriving>,
    named: &'static str,
    body: impl FnOnce(Request) -> Result<Body, Failure>,
) -> Result<Answer, Failure> {
    let new = new_version(edge, &authorized, &request, arriving).await?;
    let locked = object_lock::asks_for_lock(&new.settings) || authorized.bucket().default_retention.is_some();
    let answer_to = encryption::named_in(&request.headers);
    let put = PutObject {
        attributes: new.attributes,
        storage_class: new.storage_class,
        settings: new.settings,
        owner: new.owner,
        sealing: new.sealing,
        envelope: new.envelope,
        conditions: WriteConditions { if_public_acls: new.acl_is_public, ..conditions::of_write(&request.headers) },
        body: body(request)?,
        replica: new.replica,
    };
    if locked && !put.body.is_declared() {
        return Err(object_lock::digest_missing(named));
    }
    let object = edge.store.put_object(authorized.bucket(), authorized.key(), put).await?;
    let mut answer = Answer::empty(StatusCode::OK).header(ETAG, quoted(&object.etag));
    if let Some(checksum) = &object.checksum {
        checksum::into_headers(checksum, object.etag.parts_count, &mut answer.headers);
    }
    new_version_into_headers(&object, &mut answer.headers);
    let (bucket, key) = (authorized.bucket(), authorized.key());
    edge.lifecycle.expiration_into_headers(&edge.store, bucket, key, &object, &mut answer.headers).await?;
    encryption::of_new_into_headers(edge, object.encryption.as_ref(), &answer_to, &mut answer.headers);
    Ok(answer)
}

/// The request's body for storage, with what the headers declare of it.
pub(super) fn body(request: Request) -> Result<Body, Failure> {
    let sealed = replica::sealed_content(&request.headers)?;
    let bytes_max = sealed.as_ref().map_or(PUT_BYTES_MAX, SealedContent::travelling_bytes);
    Ok(Body {
        length: Some(request.body_length(bytes_max)?),
        content_md5: checksum::content_md5(&request.headers)?,
        checksum: checksum::declared(&request.headers, request.trailers)?,
        stream: Box::pin(request.body),
        sealed,
    })
}
