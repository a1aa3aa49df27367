//! GetBucketTagging, PutBucketTagging, DeleteBucketTagging.

use cairn_storage::StorageError;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::record::Record as _;
use cairn_storage::settings::TagSet;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, checksum, tags};

pub(super) async fn get_bucket_tagging(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let document = edge.store.document(bucket, DocumentKind::Tagging).await?;
    let document =
        document.ok_or_else(|| Failure::new(S3ErrorCode::NoSuchTagSet).field("BucketName", bucket.name.as_str()))?;
    let TagSet(tags) = TagSet::from_value(&document).map_err(StorageError::from)?;
    Ok(Answer::document(tags::into_document(&tags)))
}

pub(super) async fn put_bucket_tagging(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let tags = TagSet(tags::from_document(&document, tags::BUCKET_TAGS_MAX)?);
    let document = tags.to_value()?.into();
    edge.store.set_document(authorized.bucket(), DocumentKind::Tagging, Some(document), |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_bucket_tagging(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    edge.store.set_document(authorized.bucket(), DocumentKind::Tagging, None, |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}
