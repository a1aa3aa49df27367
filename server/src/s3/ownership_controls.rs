//! PutBucketOwnershipControls, GetBucketOwnershipControls and DeleteBucketOwnershipControls.

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::ObjectOwnership;
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::OwnershipControls;

use crate::authorize::{Authorized, OnBucket};

use super::acl::{account_number, of_bucket};
use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

const NAMES: [(&str, ObjectOwnership); 3] = [
    ("BucketOwnerEnforced", ObjectOwnership::BucketOwnerEnforced),
    ("BucketOwnerPreferred", ObjectOwnership::BucketOwnerPreferred),
    ("ObjectWriter", ObjectOwnership::ObjectWriter),
];

/// The setting of this name.
pub(super) fn parse(name: &str) -> Option<ObjectOwnership> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, ownership)| *ownership)
}

pub(super) async fn put_ownership_controls(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let ownership = ownership(&document)?;
    let bucket = authorized.bucket();
    let owner = bucket.owner;
    let allowed = |acl: Option<&[u8]>| {
        let acl = of_bucket(owner, acl).map_err(|_| StorageError::corrupt("a bucket's ACL cannot be read"))?;
        match ownership {
            ObjectOwnership::BucketOwnerEnforced if acl.grants_others(account_number(owner)) => {
                Err(StorageError::AclGrantsOthers)
            }
            _ => Ok(()),
        }
    };
    edge.store.set_ownership(bucket, ownership, allowed).await?;
    Ok(Answer::empty(StatusCode::OK))
}

/// The setting in a document, which has exactly one rule.
fn ownership(document: &[u8]) -> Result<ObjectOwnership, Failure> {
    let controls: OwnershipControls = xml::parse(document)?;
    match &controls.rules[..] {
        [rule] => parse(rule.object_ownership.as_str()).ok_or_else(|| S3ErrorCode::MalformedXML.into()),
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}

pub(super) fn get_ownership_controls(authorized: &Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let Some((name, _)) = NAMES.iter().find(|(_, ownership)| *ownership == bucket.ownership) else {
        let failure = Failure::new(S3ErrorCode::OwnershipControlsNotFoundError);
        return Err(failure.field("BucketName", bucket.name.as_str()));
    };
    let mut document = Document::new("OwnershipControls");
    document.element("Rule", |rule| rule.text("ObjectOwnership", name));
    Ok(Answer::document(document))
}

/// Without controls, ACLs count and objects are their writers', as with `ObjectWriter`.
pub(super) async fn delete_ownership_controls(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
) -> Result<Answer, Failure> {
    edge.store.set_ownership(authorized.bucket(), ObjectOwnership::NoControls, |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_document_has_one_rule_with_a_known_name() {
        let read = |rules: &str| ownership(format!("<OwnershipControls>{rules}</OwnershipControls>").as_bytes());
        let rule = |name: &str| format!("<Rule><ObjectOwnership>{name}</ObjectOwnership></Rule>");
        for (name, ownership) in NAMES {
            assert_eq!(read(&rule(name)).unwrap(), ownership);
        }
        for rules in ["", "<Rule/>", &rule("Nobody"), &rule(""), &rule("ObjectWriter").repeat(2)] {
            assert_eq!(read(rules).unwrap_err().code(), "MalformedXML", "{rules}");
        }
    }
}
