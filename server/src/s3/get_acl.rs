//! GetBucketAcl and GetObjectAcl.

use cairn_iam::acl::Acl;
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::ObjectOwnership;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::GetObject;

use crate::authorize::{Authorized, OnBucket, OnObject};

use super::Edge;
use super::acl::{account_number, of_bucket, of_object, owner_of};
use super::error::Failure;
use super::request::{Answer, Request};

/// Where ACLs are off, what is shown is what is so: the owner has full control.
pub(super) async fn get_bucket_acl(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let document = match bucket.ownership {
        ObjectOwnership::BucketOwnerEnforced => None,
        _ => edge.store.document(bucket, DocumentKind::Acl).await?,
    };
    let acl = of_bucket(bucket.owner, document.as_deref())?;
    Ok(Answer::document(edge.acl_document(bucket.owner, &acl)))
}

pub(super) async fn get_object_acl(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let get = GetObject { version: request.version()?, permit: authorized.permit(), ..GetObject::default() };
    let head = edge.store.head_object(authorized.bucket(), authorized.key(), get).await;
    let object = head.map_err(|error| authorized.failure(error))?.object;
    let owner = owner_of(authorized.bucket(), object.owner);
    let acl = match authorized.bucket().ownership {
        ObjectOwnership::BucketOwnerEnforced => Acl::private(account_number(owner)),
        _ => of_object(&object).map_err(|_| StorageError::corrupt("an object's ACL cannot be read"))?,
    };
    Ok(Answer::document(edge.acl_document(owner, &acl)))
}
