//! GetBucketAccelerateConfiguration and PutBucketAccelerateConfiguration. There is no acceleration here: it can be
//! suspended, which it always is, and not be enabled.

use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::AccelerateConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::{self, Document};

/// As for a bucket whose acceleration was never set.
pub(super) fn get_accelerate(_: &Authorized<OnBucket>) -> Answer {
    Answer::document(Document::new("AccelerateConfiguration"))
}

pub(super) async fn put_accelerate(_: Authorized<OnBucket>, mut request: Request) -> Result<Answer, Failure> {
    let configuration: AccelerateConfiguration = xml::parse(&request.document().await?)?;
    match configuration.status.as_ref().map(|status| status.as_str()) {
        Some("Suspended") => Ok(Answer::empty(StatusCode::OK)),
        Some("Enabled") => Err(Failure::with_message(
            S3ErrorCode::NotImplemented,
            "This server has no network of edges to accelerate transfers with; only Suspended can be set.",
        )
        .status(StatusCode::NOT_IMPLEMENTED)),
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}
