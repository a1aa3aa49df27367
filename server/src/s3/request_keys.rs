//! What one request may open: data keys under the server's key, under the customer's that came with it, and under those that the
//! KMS lets the caller use. The one place where data keys are unwrapped.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::DataKey;
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, WrapContext, WrapError};
use cairn_storage::StorageError;
use cairn_storage::encryption::{Encryption, EncryptionMode, Keys, UnderKms};
use cairn_storage::id::{BucketId, UploadId};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;

use crate::authorize::{Authorized, OnObject};

use super::Edge;
use super::customer_key::{self, Customer};
use super::encryption::refuse_method;
use super::error::Failure;
use super::kms_keys::{KmsKeys, refused};
use super::request::Request;
use super::upload_part::of_part;

/// The keys of one request.
#[derive(Debug)]
pub(super) struct RequestKeys {
    server: Arc<Keyring>,
    customer: Option<Customer>,
    kms: KmsKeys,
    /// What is opened is added to.
    adds: bool,
}

impl RequestKeys {
    /// With the customer's key for the object that the request names.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError` about the customer's key.
    pub(super) fn of_request<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let customer = customer_key::of_request(&edge.encryption, request)?;
        Ok(Self::with(edge, authorized, request, customer))
    }

    /// As [`RequestKeys::of_request`], to seal a part of an upload.
    ///
    /// # Errors
    /// As [`RequestKeys::of_request`].
    pub(super) fn of_part<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        Ok(Self { adds: true, ..Self::of_request(edge, authorized, request)? })
    }

    /// With the customer's key for the source of a copy.
    ///
    /// # Errors
    /// As [`RequestKeys::of_request`].
    pub(super) fn of_copy_source<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let customer = customer_key::of_copy_source(&edge.encryption, request)?;
        Ok(Self::with(edge, authorized, request, customer))
    }

    fn with<Resource>(
        edge: &Edge,
        authorized: &Authorized<Resource>,
        request: &Request,
        customer: Option<Customer>,
    ) -> Self {
        let server = edge.encryption.key_store.server_key();
        Self { server, customer, kms: KmsKeys::of(edge, authorized, request), adds: false }
    }

    /// Holds the request to bringing the right key for a version of which it only wants to know. `secrets`: it wants to know
    /// something that says what the bytes are, for which it must be allowed to open them (S3 API reference, HeadObject,
    /// `x-amz-checksum-mode`).
    ///
    /// # Errors
    /// Those of [`Keys::open`].
    pub(super) async fn check(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        object: &ObjectVersion,
        secrets: bool,
    ) -> Result<(), StorageError> {
        let needs_key = match object.encryption.as_ref().map(|encryption| encryption.mode) {
            None | Some(EncryptionMode::S3) => false,
            Some(EncryptionMode::Customer) => true,
            Some(EncryptionMode::Kms | EncryptionMode::KmsDsse) => {
                self.kms.check_signature().map_err(refused)?;
                secrets
            }
        };
        if !needs_key && self.customer.is_none() {
            return Ok(());
        }
        self.open_version(bucket.id, key, object).await.map(drop)
    }

    /// The data key of a version.
    ///
    /// # Errors
    /// Those of [`Keys::open`].
    pub(super) async fn open_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        object: &ObjectVersion,
    ) -> Result<Option<DataKey>, StorageError> {
        self.open(object.encryption.as_ref(), object.wrap_context(bucket, key)).await
    }

    async fn open_under_kms(
        &self,
        encryption: &Encryption,
        context: &WrapContext<'_>,
    ) -> Result<DataKey, StorageError> {
        let unusable = |what: &str| StorageError::KeyUnusable { what: what.to_owned() };
        let under: &UnderKms = encryption.kms.as_ref().ok_or_else(|| unusable("the record names no key of a KMS"))?;
        if self.adds {
            self.kms.check_issue(under)?;
        }
        let wrap = self.kms.open(under).await?;
        let key = unwrap(wrap.as_ref(), encryption, context)?;
        // The envelope knows; what else the record says of it is not authentic.
        if key.layers() != encryption.mode.layers() {
            return Err(unusable("it seals in another number of layers than the record says"));
        }
        Ok(key)
    }
}

#[async_trait]
impl Keys for RequestKeys {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        let Some(encryption) = encryption else {
            return if self.customer.is_some() { Err(StorageError::KeyNeedless) } else { Ok(None) };
        };
        let opened = match (encryption.mode, &self.customer) {
            (EncryptionMode::S3, None) => unwrap(self.server.as_ref(), encryption, &context),
            (EncryptionMode::Customer, Some(customer)) => unwrap(customer.wrap(), encryption, &context),
            (EncryptionMode::Kms | EncryptionMode::KmsDsse, None) => self.open_under_kms(encryption, &context).await,
            (EncryptionMode::Customer, None) => Err(StorageError::KeyMissing),
            (EncryptionMode::S3 | EncryptionMode::Kms | EncryptionMode::KmsDsse, Some(_)) => {
                Err(StorageError::KeyNeedless)
            }
        };
        opened.map(Some)
    }
}

fn unwrap(wrap: &dyn KeyWrap, encryption: &Encryption, context: &WrapContext<'_>) -> Result<DataKey, StorageError> {
    wrap.unwrap(&encryption.wrapped()?, context).map_err(|error| match error {
        WrapError::WrongCustomerKey => StorageError::KeyWrong,
        error => StorageError::KeyUnusable { what: error.to_string() },
    })
}

/// Holds a request about an upload to the key that its parts are sealed under: a customer's if one comes (none need come), a
/// KMS's in any case (S3 API reference, CompleteMultipartUpload).
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`, and what is wrong with a part's key.
pub(super) async fn check_upload(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    id: UploadId,
    request: &Request,
    secrets: bool,
) -> Result<(), Failure> {
    refuse_method(&request.headers)?;
    let keys = RequestKeys::of_request(edge, authorized, request)?;
    if keys.customer.is_none() && !secrets {
        return Ok(());
    }
    let (bucket, key) = (authorized.bucket(), authorized.key());
    let upload = edge.store.upload(bucket, key, id).await?;
    let under_kms = upload.encryption.as_ref().is_some_and(|encryption| encryption.kms.is_some());
    if keys.customer.is_none() && !under_kms {
        return Ok(());
    }
    let opened = keys.open(upload.encryption.as_ref(), upload.wrap_context(bucket.id)).await;
    opened.map(drop).map_err(of_part)
}
