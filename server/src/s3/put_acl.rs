//! PutBucketAcl and PutObjectAcl.

use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::ObjectVersion;
use cairn_storage::settings::ObjectSettings;
use http::StatusCode;
use minicbor::bytes::ByteVec;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnBucket, OnObject};
use crate::identities::Accounts;

use super::Edge;
use super::acl::{Replacement, to_store};
use super::error::Failure;
use super::request::{Answer, Request};

pub(super) async fn put_bucket_acl(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let replacement = Replacement::of(&mut request, edge.accounts()).await?;
    if !replacement.is_about(bucket.owner, edge.accounts()) {
        return Err(S3ErrorCode::AccessDenied.into());
    }
    replacement.asked.check_block(authorized.block())?;
    let acl = replacement.asked.for_bucket(bucket.owner);
    let allowed = |record: &mut BucketRecord| {
        replacement.asked.check_bucket(record)?;
        match record.ownership {
            ObjectOwnership::BucketOwnerEnforced if !replacement.asked.is_as_enforced(record.owner) => {
                Err(StorageError::AclsDisabled)
            }
            _ => Ok(()),
        }
    };
    let document = to_store(&acl, bucket.owner).map(Into::into);
    edge.store.set_document(bucket, DocumentKind::Acl, document, allowed).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn put_object_acl(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let version = request.version()?;
    let replacement = Replacement::of(&mut request, edge.accounts()).await?;
    replacement.asked.check_block(authorized.block())?;
    let change = |bucket: &BucketRecord, object: &ObjectVersion| changed(&replacement, edge.accounts(), bucket, object);
    let (bucket, key, permit) = (authorized.bucket(), authorized.key(), authorized.permit());
    let updated = edge.store.update_version(bucket, key, version, &permit, change).await;
    updated.map_err(|error| authorized.failure(error))?;
    Ok(Answer::empty(StatusCode::OK))
}

/// The settings of `object` with the ACL that is asked for.
fn changed(
    replacement: &Replacement,
    accounts: &Accounts,
    bucket: &BucketRecord,
    object: &ObjectVersion,
) -> Result<ObjectSettings, StorageError> {
    replacement.asked.check_bucket(bucket)?;
    if bucket.ownership == ObjectOwnership::BucketOwnerEnforced {
        // What is accepted is so already.
        let is_so = replacement.asked.is_as_enforced(bucket.owner);
        return if is_so { Ok(object.settings.clone()) } else { Err(StorageError::AclsDisabled) };
    }
    if !replacement.is_about(object.owner, accounts) {
        return Err(StorageError::NotPermitted);
    }
    let acl = replacement.asked.for_object(object.owner, bucket.owner);
    let acl = to_store(&acl, object.owner).map(ByteVec::from);
    Ok(ObjectSettings { acl, ..object.settings.clone() })
}
