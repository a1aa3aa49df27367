//! PutBucketRequestPayment and GetBucketRequestPayment. The authorizer holds requests to the setting.

use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::RequestPaymentConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

pub(super) async fn put_request_payment(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let requester_pays = requester_pays(&document)?;
    let change = |bucket: &mut cairn_storage::index::family::bucket::BucketRecord| {
        bucket.requester_pays = requester_pays;
        Ok(())
    };
    edge.store.update_bucket(authorized.bucket(), change).await?;
    Ok(Answer::empty(StatusCode::OK))
}

fn requester_pays(document: &[u8]) -> Result<bool, Failure> {
    let configuration: RequestPaymentConfiguration = xml::parse(document)?;
    match configuration.payer.as_str() {
        "Requester" => Ok(true),
        "BucketOwner" => Ok(false),
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}

pub(super) fn get_request_payment(authorized: &Authorized<OnBucket>) -> Answer {
    let payer = if authorized.bucket().requester_pays { "Requester" } else { "BucketOwner" };
    let mut document = Document::new("RequestPaymentConfiguration");
    document.text("Payer", payer);
    Answer::document(document)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn either_of_two_pays() {
        let read = |inner: &str| {
            let document = format!("<RequestPaymentConfiguration>{inner}</RequestPaymentConfiguration>");
            requester_pays(document.as_bytes()).map_err(|failure| failure.code().to_owned())
        };
        assert_eq!(read("<Payer>Requester</Payer>"), Ok(true));
        assert_eq!(read("<Payer>BucketOwner</Payer>"), Ok(false));
        for inner in ["", "<Payer/>", "<Payer>requester</Payer>"] {
            assert_eq!(read(inner), Err("MalformedXML".to_owned()), "{inner}");
        }
    }
}
