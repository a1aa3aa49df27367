//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::GetObject;
use cairn_storage::settings::{ObjectSettings, Tag};
use http::StatusCode;

use crate::authorize::{Authorized, InDocument, OnObject};

use super::error::Failure;
use super::replica;
use super::request::{Answer, Request};
use super::{Edge, checksum, tags, version_into_headers};

pub(super) async fn get_object_tagging(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let get = GetObject { version: request.version()?, permit: authorized.permit(), ..GetObject::default() };
    let head = edge.store.head_object(authorized.bucket(), authorized.key(), get).await;
    let object = head.map_err(|error| authorized.failure(error))?.object;
    let mut answer = Answer::document(tags::into_document(&object.settings.tags));
    version_into_headers(authorized.bucket(), &object, &mut answer.headers);
    Ok(answer)
}

pub(super) async fn put_object_tagging(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    if let Some(answer) = replica::bring_settings(edge, &authorized, &mut request).await? {
        return Ok(answer);
    }
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let tags = tags::from_document(&document, tags::OBJECT_TAGS_MAX)?;
    let object = set(edge, &authorized, &request, tags).await?;
    let mut answer = Answer::empty(StatusCode::OK);
    version_into_headers(authorized.bucket(), &object, &mut answer.headers);
    Ok(answer)
}

pub(super) async fn delete_object_tagging(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let object = set(edge, &authorized, &request, Vec::new()).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    version_into_headers(authorized.bucket(), &object, &mut answer.headers);
    Ok(answer)
}

async fn set(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
    tags: Vec<Tag>,
) -> Result<ObjectVersion, Failure> {
    let (bucket, key, version) = (authorized.bucket(), authorized.key(), request.version()?);
    let permit = authorized.permit_with(InDocument { tags: Some(tags.clone()), ..InDocument::default() });
    let change = |_: &_, object: &ObjectVersion| Ok(ObjectSettings { tags: tags.clone(), ..object.settings.clone() });
    let updated = edge.store.update_version(bucket, key, version, &permit, change).await;
    updated.map_err(|error| authorized.failure(error))
}
