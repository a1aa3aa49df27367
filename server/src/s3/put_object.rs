//! PutObject.

use cairn_storage::encryption::SealedContent;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::{Body, Bucket, PUT_BYTES_MAX, PutObject, WriteConditions};
use cairn_storage::settings::ObjectSettings;
use http::header::ETAG;
use http::{HeaderMap, StatusCode};

use crate::authorize::{Authorized, OnObject};

use super::acl::{OfNewObject, of_new_object};
use super::error::Failure;
use super::headers::{VERSION_ID, quoted};
use super::replica::{self, Arriving};
use super::request::{Answer, Request};
use super::{Edge, attributes, checksum, conditions, encryption, object_lock, replica_keys, tags, version_header};

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
    let OfNewObject { owner, acl, acl_is_public } = match &arriving {
        None => of_new_object(edge, &authorized, &request.headers)?,
        Some(arriving) => arriving.of_new_object(edge, &authorized)?,
    };
    let (attributes, settings) = match &arriving {
        None => (attributes::from_headers(&request.headers)?, settings(&request.headers)?),
        Some(arriving) => (arriving.attributes.clone(), arriving.settings.clone()),
    };
    let locked = object_lock::asks_for_lock(&settings) || authorized.bucket().default_retention.is_some();
    let envelope = arriving.as_ref().and_then(|arriving| arriving.envelope.clone());
    let sealing = match &envelope {
        Some(_) => None,
        None => encryption::of_new_version(edge, &authorized, authorized.key(), &request).await?.sealing,
    };
    if envelope.is_some() {
        replica_keys::check_stays_sealed(edge, authorized.bucket()).await?;
    }
    let answer_to = encryption::named_in(&request.headers);
    let put = PutObject {
        attributes,
        storage_class: attributes::storage_class(&request.headers)?.unwrap_or_default(),
        settings: ObjectSettings { tags: tags::from_headers(&request.headers)?, acl, ..settings },
        owner,
        sealing,
        envelope,
        conditions: WriteConditions { if_public_acls: acl_is_public, ..conditions::of_write(&request.headers) },
        body: body(request)?,
        replica: arriving.map(|arriving| arriving.of_in(authorized.bucket())),
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

/// What is asked to be kept with a new version and may change.
pub(super) fn settings(headers: &HeaderMap) -> Result<ObjectSettings, Failure> {
    Ok(ObjectSettings {
        retention: object_lock::retention_of(headers)?,
        legal_hold: object_lock::legal_hold_of(headers)?,
        ..ObjectSettings::default()
    })
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

/// A new version's id. A `null` version, as a bucket without versioning or with suspended versioning gets it, goes unnamed
/// (as Ceph's s3-tests expect it of S3: `test_versioning_bucket_atomic_upload_return_version_id`).
pub(super) fn new_version_into_headers(object: &ObjectVersion, headers: &mut HeaderMap) {
    if !object.is_null {
        headers.insert(VERSION_ID, version_header(object.shown()));
    }
}

/// The version id, which only buckets that ever had versioning show.
pub(super) fn version_into_headers(bucket: &Bucket, object: &ObjectVersion, headers: &mut HeaderMap) {
    if bucket.versioning != Versioning::Unversioned {
        headers.insert(VERSION_ID, version_header(object.shown()));
    }
}
