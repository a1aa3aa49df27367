//! GetBucketCors, PutBucketCors and DeleteBucketCors.

use cairn_storage::index::family::bucket::{BucketRecord, DocumentDigest};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::record::Record as _;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnBucket};
use crate::cors::configuration::Configuration;
use crate::cors::stored;
use crate::kept::digest_of;

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, checksum};

pub(super) async fn get_bucket_cors(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let found = stored(&edge.store, bucket).await?;
    let (configuration, _) = found.ok_or_else(|| {
        Failure::with_message(S3ErrorCode::NoSuchCORSConfiguration, "The CORS configuration does not exist")
            .field("BucketName", bucket.name.as_str())
    })?;
    Ok(Answer::document(configuration.document()))
}

pub(super) async fn put_bucket_cors(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let value = Configuration::parse(&document)?.to_value()?;
    set(edge, &authorized, Some(value)).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_bucket_cors(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    set(edge, &authorized, None).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

async fn set(edge: &Edge, authorized: &Authorized<OnBucket>, value: Option<Vec<u8>>) -> Result<(), Failure> {
    let digest: Option<DocumentDigest> = value.as_deref().map(digest_of);
    let change = |bucket: &mut BucketRecord| {
        bucket.cors = digest;
        Ok(())
    };
    let document = value.map(Into::into);
    Ok(edge.store.set_document(authorized.bucket(), DocumentKind::Cors, document, change).await?)
}
