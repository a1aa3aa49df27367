//! PutPublicAccessBlock, GetPublicAccessBlock and DeletePublicAccessBlock, of a bucket. Those of the account are in
//! [`super::account_access_block`]; the documents are the same.

use cairn_storage::index::family::bucket::{BucketRecord, PublicAccessBlock};
use http::StatusCode;
use s3s::dto::PublicAccessBlockConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

pub(super) fn get_public_access_block(authorized: &Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let block = bucket.public_access_block.ok_or_else(|| not_found().field("BucketName", bucket.name.as_str()))?;
    Ok(Answer::document(into_document(block, Document::new("PublicAccessBlockConfiguration"))))
}

pub(super) async fn put_public_access_block(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    set(edge, &authorized, Some(from_document(&document)?)).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_public_access_block(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
) -> Result<Answer, Failure> {
    set(edge, &authorized, None).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

async fn set(edge: &Edge, authorized: &Authorized<OnBucket>, block: Option<PublicAccessBlock>) -> Result<(), Failure> {
    let change = |bucket: &mut BucketRecord| {
        bucket.public_access_block = block;
        Ok(())
    };
    Ok(edge.store.update_bucket(authorized.bucket(), change).await?)
}

/// Nothing is said of public access.
pub(super) fn not_found() -> Failure {
    Failure::custom(
        "NoSuchPublicAccessBlockConfiguration",
        StatusCode::NOT_FOUND,
        "The public access block configuration was not found",
    )
}

/// Reads the document; a switch that it does not name is off.
///
/// # Errors
/// `MalformedXML`.
pub(super) fn from_document(document: &[u8]) -> Result<PublicAccessBlock, Failure> {
    let configuration: PublicAccessBlockConfiguration = xml::parse(document)?;
    Ok(PublicAccessBlock {
        refuse_acls: configuration.block_public_acls.unwrap_or_default(),
        ignore_acls: configuration.ignore_public_acls.unwrap_or_default(),
        refuse_policy: configuration.block_public_policy.unwrap_or_default(),
        restrict: configuration.restrict_public_buckets.unwrap_or_default(),
    })
}

/// Writes the switches into a document.
pub(super) fn into_document(block: PublicAccessBlock, mut document: Document) -> Document {
    for (name, is_on) in [
        ("BlockPublicAcls", block.refuse_acls),
        ("IgnorePublicAcls", block.ignore_acls),
        ("BlockPublicPolicy", block.refuse_policy),
        ("RestrictPublicBuckets", block.restrict),
    ] {
        document.value(name, is_on);
    }
    document
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(inner: &str) -> Result<PublicAccessBlock, String> {
        let document = format!("<PublicAccessBlockConfiguration>{inner}</PublicAccessBlockConfiguration>");
        from_document(document.as_bytes()).map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn each_switch_is_read_by_its_name_and_is_off_otherwise() {
        let off = PublicAccessBlock::default();
        assert_eq!(read(""), Ok(off));
        for (name, block) in [
            ("BlockPublicAcls", PublicAccessBlock { refuse_acls: true, ..off }),
            ("IgnorePublicAcls", PublicAccessBlock { ignore_acls: true, ..off }),
            ("BlockPublicPolicy", PublicAccessBlock { refuse_policy: true, ..off }),
            ("RestrictPublicBuckets", PublicAccessBlock { restrict: true, ..off }),
        ] {
            assert_eq!(read(&format!("<{name}>true</{name}>")), Ok(block));
            assert_eq!(read(&format!("<{name}>false</{name}>")), Ok(off));
        }
        assert_eq!(read("<BlockPublicAcls>perhaps</BlockPublicAcls>"), Err("MalformedXML".to_owned()));
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for block in [PublicAccessBlock::ALL, PublicAccessBlock { restrict: true, ..PublicAccessBlock::default() }] {
            let shown = into_document(block, Document::new("PublicAccessBlockConfiguration")).finish();
            assert_eq!(from_document(shown.as_bytes()).unwrap(), block);
        }
    }
}
