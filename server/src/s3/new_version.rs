//! What a new version is made of besides its bytes: what PutObject and CreateMultipartUpload have in common.

use cairn_storage::encryption::{Envelope, Sealing};
use cairn_storage::id::AccountId;
use cairn_storage::object::{ObjectAttributes, StorageClass};
use cairn_storage::replication::ReplicaOf;
use cairn_storage::settings::ObjectSettings;
use http::HeaderMap;

use crate::authorize::{Authorized, OnObject};

use super::acl::{OfNewObject, of_new_object};
use super::error::Failure;
use super::replica::Arriving;
use super::request::Request;
use super::{Edge, attributes, encryption, object_lock, replica_keys, tags};

/// What a request says of the version that it brings, be it a replica.
#[derive(Debug)]
pub(super) struct NewVersion {
    pub(super) attributes: ObjectAttributes,
    pub(super) storage_class: StorageClass,
    pub(super) settings: ObjectSettings,
    pub(super) owner: AccountId,
    /// Its ACL grants the public something, which the bucket must not refuse when the object is placed.
    pub(super) acl_is_public: bool,
    /// How it is sealed here.
    pub(super) sealing: Option<Sealing>,
    /// How it was sealed under a customer's key before it came, and stays so.
    pub(super) envelope: Option<Envelope>,
    pub(super) replica: Option<ReplicaOf>,
}

/// Reads a request's headers, and those of a replica that it brings. A KMS is asked here, before anything is read or stored.
///
/// # Errors
/// What is malformed, what the bucket does not take, and what the KMS refuses.
pub(super) async fn new_version(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
    arriving: Option<Arriving>,
) -> Result<NewVersion, Failure> {
    let (bucket, headers) = (authorized.bucket(), &request.headers);
    let (of_object, attributes, settings, envelope, replica) = match arriving {
        None => {
            let of_object = of_new_object(edge, authorized, headers)?;
            (of_object, attributes::from_headers(headers)?, settings(headers)?, None, None)
        }
        Some(arriving) => {
            let (of_object, replica) = (arriving.of_new_object(edge, authorized)?, arriving.of_in(bucket));
            (of_object, arriving.attributes, arriving.settings, arriving.envelope, Some(replica))
        }
    };
    let sealing = if envelope.is_some() {
        replica_keys::check_stays_sealed(edge, bucket).await?;
        None
    } else {
        encryption::of_new_version(edge, authorized, authorized.key(), request).await?.sealing
    };
    let OfNewObject { owner, acl, acl_is_public } = of_object;
    Ok(NewVersion {
        attributes,
        storage_class: attributes::storage_class(headers)?.unwrap_or_default(),
        settings: ObjectSettings { tags: tags::from_headers(headers)?, acl, ..settings },
        owner,
        acl_is_public,
        sealing,
        envelope,
        replica,
    })
}

/// The lock that is asked for with a new version.
///
/// # Errors
/// `InvalidRequest`, `InvalidArgument`.
pub(super) fn settings(headers: &HeaderMap) -> Result<ObjectSettings, Failure> {
    Ok(ObjectSettings {
        retention: object_lock::retention_of(headers)?,
        legal_hold: object_lock::legal_hold_of(headers)?,
        ..ObjectSettings::default()
    })
}
