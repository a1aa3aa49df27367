//! CreateBucket.

use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership, PublicAccessBlock};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{BucketName, NewBucket};
use http::header::LOCATION;
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;
use s3s::dto::CreateBucketConfiguration;

use crate::authorize::{Authorized, OnNewBucket};
use crate::config::RecreateOwn;

use super::error::Failure;
use super::headers::{BUCKET_OBJECT_LOCK_ENABLED, OBJECT_OWNERSHIP};
use super::request::{Answer, Request};
use super::{Edge, acl, checksum, headers, ownership_controls, to_its_end, xml};

/// The region that S3 takes for granted, and that its API does not name.
const US_EAST_1: &str = "us-east-1";

const BUCKET_ARN: HeaderName = HeaderName::from_static("x-amz-bucket-arn");

pub(super) async fn create_bucket(
    edge: &Edge,
    authorized: Authorized<OnNewBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    check_location(location(&document)?.as_deref(), &edge.region)?;
    let name = authorized.name();
    let account = authorized.account().id;
    let ownership = ownership(edge, &request.headers)?;
    let of_new = edge.block_public_access.then_some(PublicAccessBlock::ALL);
    let block = of_new.unwrap_or_default().or(authorized.block());
    let acl = acl(edge, &request.headers, ownership, account, block)?;
    let new = NewBucket {
        name: name.clone(),
        owner: account,
        region: edge.region.clone(),
        object_lock: object_lock(&request.headers)?,
        ownership,
        acl: acl.clone().map(Into::into),
        public_access_block: of_new,
    };
    let store = edge.store.clone();
    match to_its_end(async move { store.create_bucket(new).await }).await? {
        Ok(_) => {}
        Err(StorageError::BucketExists { owner }) if owner == account => match edge.recreate_own {
            RecreateOwn::Ok => reset_acl(edge, name, acl).await?,
            RecreateOwn::Conflict => {
                let failure = Failure::new(S3ErrorCode::BucketAlreadyOwnedByYou);
                return Err(failure.field("BucketName", name.as_str()));
            }
        },
        Err(error) => return Err(Failure::from(error).field("BucketName", name.as_str())),
    }
    Ok(Answer::empty(StatusCode::OK)
        .header(LOCATION, headers::value(&format!("/{}", name.as_str())))
        .header(BUCKET_ARN, headers::value(&format!("arn:aws:s3:::{}", name.as_str()))))
}

/// Whether the bucket is to have object lock.
fn object_lock(headers: &HeaderMap) -> Result<bool, Failure> {
    match headers::text(headers, &BUCKET_OBJECT_LOCK_ENABLED) {
        None => Ok(false),
        Some(text) => text.to_ascii_lowercase().parse().map_err(|_| {
            let message = "The value of the object lock header must be true or false.";
            Failure::invalid_argument(BUCKET_OBJECT_LOCK_ENABLED.as_str(), &text, message)
        }),
    }
}

/// As us-east-1 does when a bucket is created again by its owner (API reference, CreateBucket: it "resets the bucket access
/// control lists").
async fn reset_acl(edge: &Edge, name: &BucketName, acl: Option<Vec<u8>>) -> Result<(), Failure> {
    let bucket = edge.store.bucket(name).await?;
    let allowed = |record: &mut BucketRecord| match record.ownership {
        ObjectOwnership::BucketOwnerEnforced if acl.is_some() => Err(StorageError::AclGrantsOthers),
        _ => Ok(()),
    };
    let document = acl.clone().map(Into::into);
    Ok(edge.store.set_document(&bucket, DocumentKind::Acl, document, allowed).await?)
}

/// Who will own what is written into the bucket.
fn ownership(edge: &Edge, headers: &HeaderMap) -> Result<ObjectOwnership, Failure> {
    let Some(name) = headers::text(headers, &OBJECT_OWNERSHIP) else { return Ok(edge.object_ownership) };
    ownership_controls::parse(&name).ok_or_else(|| {
        let message = format!("Invalid {OBJECT_OWNERSHIP} header: {name}");
        Failure::invalid_argument(OBJECT_OWNERSHIP.as_str(), &name, message)
    })
}

/// The ACL to store with the bucket.
fn acl(
    edge: &Edge,
    headers: &HeaderMap,
    ownership: ObjectOwnership,
    owner: AccountId,
    block: PublicAccessBlock,
) -> Result<Option<Vec<u8>>, Failure> {
    let Some(asked) = acl::from_headers(headers, edge.accounts())? else { return Ok(None) };
    let acl = asked.for_bucket(owner);
    if block.refuse_acls && acl.is_public() {
        return Err(Failure::custom(
            "InvalidBucketAclWithBlockPublicAccessError",
            StatusCode::BAD_REQUEST,
            "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
        ));
    }
    if ownership == ObjectOwnership::BucketOwnerEnforced {
        if acl.grants_others(acl::account_number(owner)) {
            return Err(StorageError::AclGrantsOthers.into());
        }
        return Ok(None);
    }
    Ok(acl::to_store(&acl, owner))
}

/// The location constraint in the request's document.
fn location(document: &[u8]) -> Result<Option<String>, Failure> {
    if document.is_empty() {
        return Ok(None);
    }
    let configuration: CreateBucketConfiguration = xml::parse(document)?;
    let tagged = configuration.tags.is_some_and(|tags| !tags.is_empty());
    if tagged || configuration.bucket.is_some() || configuration.location.is_some() {
        return Err(Failure::with_message(
            S3ErrorCode::NotImplemented,
            "A bucket is created without tags and is neither a directory bucket nor in a zone.",
        ));
    }
    let constraint = configuration.location_constraint.map(|constraint| constraint.as_str().to_owned());
    Ok(constraint.filter(|constraint| !constraint.is_empty()))
}

/// As at a regional endpoint of S3: every region but us-east-1 must be named, and no other can be.
fn check_location(constraint: Option<&str>, region: &str) -> Result<(), Failure> {
    let named = match constraint {
        Some("EU") => "eu-west-1",
        Some(named) => named,
        None if region == US_EAST_1 => return Ok(()),
        None => "unspecified",
    };
    if named == region {
        return Ok(());
    }
    Err(Failure::with_message(
        S3ErrorCode::IllegalLocationConstraintException,
        format!(
            "The {named} location constraint is incompatible for the region specific endpoint this request was sent to."
        ),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_constraint_must_be_the_region_and_only_us_east_1_goes_without_saying() {
        for (constraint, region, accepted) in [
            (None, "us-east-1", true),
            (Some("us-east-1"), "us-east-1", true),
            (Some("eu-central-1"), "us-east-1", false),
            (None, "eu-central-1", false),
            (Some("eu-central-1"), "eu-central-1", true),
            (Some("EU"), "eu-west-1", true),
            (Some("us-east-1"), "eu-central-1", false),
        ] {
            assert_eq!(check_location(constraint, region).is_ok(), accepted, "{constraint:?} in {region}");
        }
    }

    #[test]
    fn the_constraint_is_read_from_the_document() {
        let text = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        assert_eq!(location(text.as_bytes()).unwrap().as_deref(), Some("eu-west-1"));
        assert_eq!(location(b"").unwrap(), None);
        assert_eq!(location(b"<Nonsense/>").unwrap_err().code(), "MalformedXML");
    }
}
