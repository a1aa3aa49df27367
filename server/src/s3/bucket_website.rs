//! GetBucketWebsite, PutBucketWebsite and DeleteBucketWebsite.

use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::record::Record as _;
use http::StatusCode;

use crate::authorize::{Authorized, OnBucket};
use crate::website::configuration::Website;

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, checksum};

pub(super) async fn get_bucket_website(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let website = Website::of(&edge.store, authorized.bucket()).await?;
    let website = website.ok_or_else(|| no_website(authorized.bucket().name.as_str()))?;
    Ok(Answer::document(website.document()))
}

pub(super) async fn put_bucket_website(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let document = Website::parse(&document)?.to_value()?.into();
    edge.store.set_document(authorized.bucket(), DocumentKind::Website, Some(document), |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_bucket_website(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    edge.store.set_document(authorized.bucket(), DocumentKind::Website, None, |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The bucket is no website.
pub fn no_website(bucket: &str) -> Failure {
    Failure::custom(
        "NoSuchWebsiteConfiguration",
        StatusCode::NOT_FOUND,
        "The specified bucket does not have a website configuration",
    )
    .field("BucketName", bucket)
}
