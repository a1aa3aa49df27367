//! Server-side encryption: what a request asks for, what it brings to open what is there, and what an answer says.
//!
//! Every new object is sealed: under the customer's key if the request brings one (`customer_key`), else under the server's
//! own, as the request says, or its bucket's configuration, or the server's default. A data key is opened only here, for an
//! operation that was authorized, and goes to storage for as long as the operation lasts.

use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::secret::DataKey;
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, WrapContext, WrapError};
use cairn_storage::StorageError;
use cairn_storage::encryption::{Encryption, EncryptionMode, Keys, Sealing};
use cairn_storage::id::{BucketId, UploadId};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnObject};
use crate::config::DefaultEncryption;
use crate::key_store::KeyStore;

use super::Edge;
use super::bucket_encryption::BucketEncryption;
use super::customer_key::{self, Customer};
use super::error::Failure;
use super::headers::{SERVER_SIDE_ENCRYPTION, SSE_CUSTOMER_ALGORITHM, SSE_CUSTOMER_KEY_MD5, text, value};
use super::request::Request;
use super::upload_part::of_part;

/// S3's name of the only algorithm that it has.
pub const AES256: &str = "AES256";

/// What seals and opens.
#[derive(Clone, Debug)]
pub struct EncryptionSettings {
    /// The server's keys.
    pub key_store: Arc<KeyStore>,
    /// How new objects are sealed about which neither the request nor the bucket says anything.
    pub default: DefaultEncryption,
    /// Customers' keys are accepted on connections that are not encrypted.
    pub allow_ssec_over_http: bool,
}

/// How a new object is sealed, and whether the request said so itself.
#[derive(Debug)]
pub(super) struct OfNewVersion {
    pub(super) sealing: Option<Sealing>,
    pub(super) named: bool,
}

/// How what a request writes into the bucket is to be sealed.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`; `AccessDenied` for a customer's key where the bucket
/// blocks them; `NotImplemented` for KMS keys.
pub(super) async fn of_new_version(edge: &Edge, bucket: &Bucket, request: &Request) -> Result<OfNewVersion, Failure> {
    let settings = &edge.encryption;
    let of_bucket = BucketEncryption::of(&edge.store, bucket).await?;
    let asked = text(&request.headers, &SERVER_SIDE_ENCRYPTION);
    let customer = customer_key::of_request(settings, request)?;
    let named = asked.is_some() || customer.is_some();
    let mode: Option<(EncryptionMode, Arc<dyn KeyWrap>)> = match (customer, asked.as_deref()) {
        (Some(_), Some(asked)) => {
            return Err(Failure::invalid_argument(
                SERVER_SIDE_ENCRYPTION.as_str(),
                asked,
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            ));
        }
        // S3 user guide, "Blocking or unblocking SSE-C for a general purpose bucket": such requests get HTTP 403.
        (Some(_), None) if of_bucket.is_some_and(|of_bucket| of_bucket.blocks_customer_keys()) => {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        (Some(customer), None) => Some((EncryptionMode::Customer, customer.into_wrap())),
        (None, Some(AES256)) => Some((EncryptionMode::S3, settings.key_store.server_key())),
        (None, Some(asked)) => return Err(no_such_method(asked)),
        (None, None) if of_bucket.is_none() && settings.default == DefaultEncryption::Off => None,
        (None, None) => Some((EncryptionMode::S3, settings.key_store.server_key())),
    };
    let sealing = mode.map(|(mode, wrap)| Sealing::new(mode, wrap)).transpose()?;
    Ok(OfNewVersion { sealing, named })
}

fn no_such_method(asked: &str) -> Failure {
    match asked {
        "aws:kms" | "aws:kms:dsse" => kms_not_implemented().field("Header", SERVER_SIDE_ENCRYPTION.as_str()),
        _ => Failure::invalid_argument(
            SERVER_SIDE_ENCRYPTION.as_str(),
            asked,
            "The encryption method specified is not supported",
        ),
    }
}

/// KMS keys are not there yet.
pub(super) fn kms_not_implemented() -> Failure {
    let message = "Server side encryption with KMS keys is not implemented. AES256 is.";
    Failure::with_message(S3ErrorCode::NotImplemented, message).status(StatusCode::NOT_IMPLEMENTED)
}

/// Refuses a request that says how to seal, where nothing is sealed that is not already decided (S3 user guide, "Using
/// server-side encryption with Amazon S3 managed keys": such headers on GET and HEAD requests get HTTP 400).
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn refuse_method(headers: &HeaderMap) -> Result<(), Failure> {
    match text(headers, &SERVER_SIDE_ENCRYPTION) {
        None => Ok(()),
        Some(asked) => Err(Failure::invalid_argument(
            SERVER_SIDE_ENCRYPTION.as_str(),
            &asked,
            "x-amz-server-side-encryption header is not supported for this operation.",
        )),
    }
}

/// The keys of one request: the server's, and the customer's if one came.
#[derive(Debug)]
pub(super) struct RequestKeys {
    server: Arc<Keyring>,
    customer: Option<Customer>,
}

impl RequestKeys {
    /// With the customer's key for the object that the request names.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError` about the customer's key.
    pub(super) fn of_request(edge: &Edge, request: &Request) -> Result<Self, Failure> {
        let customer = customer_key::of_request(&edge.encryption, request)?;
        Ok(Self { server: edge.encryption.key_store.server_key(), customer })
    }

    /// With the customer's key for the source of a copy.
    ///
    /// # Errors
    /// As [`RequestKeys::of_request`].
    pub(super) fn of_copy_source(edge: &Edge, request: &Request) -> Result<Self, Failure> {
        let customer = customer_key::of_copy_source(&edge.encryption, request)?;
        Ok(Self { server: edge.encryption.key_store.server_key(), customer })
    }

    /// Holds the request to bringing the right key for a version of which it only wants to know.
    ///
    /// # Errors
    /// Those of [`Keys::open`] about a customer's key.
    pub(super) async fn check(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        object: &ObjectVersion,
    ) -> Result<(), StorageError> {
        let encryption = object.encryption.as_ref();
        let server_holds_key = encryption.is_none_or(|encryption| encryption.mode == EncryptionMode::S3);
        if server_holds_key && self.customer.is_none() {
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
}

#[async_trait]
impl Keys for RequestKeys {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        let (encryption, wrap): (_, &dyn KeyWrap) = match (encryption, &self.customer) {
            (None, None) => return Ok(None),
            (Some(encryption), customer) => match (encryption.mode, customer) {
                (EncryptionMode::S3, None) => (encryption, self.server.as_ref()),
                (EncryptionMode::Customer, Some(customer)) => (encryption, customer.wrap()),
                (EncryptionMode::Customer, None) => return Err(StorageError::KeyMissing),
                (EncryptionMode::S3 | EncryptionMode::Kms | EncryptionMode::KmsDsse, Some(_)) => {
                    return Err(StorageError::KeyNeedless);
                }
                (EncryptionMode::Kms | EncryptionMode::KmsDsse, None) => {
                    return Err(StorageError::KeyUnusable { what: "it is under a KMS key".to_owned() });
                }
            },
            (None, Some(_)) => return Err(StorageError::KeyNeedless),
        };
        let opened = wrap.unwrap(&encryption.wrapped()?, &context);
        opened.map(Some).map_err(|error| match error {
            WrapError::WrongCustomerKey => StorageError::KeyWrong,
            error => StorageError::KeyUnusable { what: error.to_string() },
        })
    }
}

/// Holds a request about an upload that brings a customer's key to the one that its parts are sealed under. None need come.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`, and what is wrong with a part's key.
pub(super) async fn check_upload(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    id: UploadId,
    request: &Request,
) -> Result<(), Failure> {
    refuse_method(&request.headers)?;
    let keys = RequestKeys::of_request(edge, request)?;
    if keys.customer.is_none() {
        return Ok(());
    }
    let (bucket, key) = (authorized.bucket(), authorized.key());
    let upload = edge.store.upload(bucket, key, id).await?;
    let opened = keys.open(upload.encryption.as_ref(), upload.wrap_context(bucket.id)).await;
    opened.map(drop).map_err(of_part)
}

/// What of a request's headers [`into_headers`] repeats, for when the request itself is gone by then.
pub(super) fn named_in(request: &HeaderMap) -> HeaderMap {
    let md5 = request.get(SSE_CUSTOMER_KEY_MD5).map(|md5| (SSE_CUSTOMER_KEY_MD5, md5.clone()));
    md5.into_iter().collect()
}

/// What an answer says of how an object, upload or part is sealed. Of a customer's key it repeats what the request said.
pub(super) fn into_headers(mode: Option<EncryptionMode>, request: &HeaderMap, headers: &mut HeaderMap) {
    match mode {
        None => {}
        Some(EncryptionMode::S3) => {
            headers.insert(SERVER_SIDE_ENCRYPTION, HeaderValue::from_static(AES256));
        }
        // None is written yet.
        Some(EncryptionMode::Kms | EncryptionMode::KmsDsse) => {}
        Some(EncryptionMode::Customer) => {
            headers.insert(SSE_CUSTOMER_ALGORITHM, HeaderValue::from_static(AES256));
            if let Some(md5) = text(request, &SSE_CUSTOMER_KEY_MD5) {
                headers.insert(SSE_CUSTOMER_KEY_MD5, value(&md5));
            }
        }
    }
}

/// As [`into_headers`] for a version.
pub(super) fn of_version_into_headers(object: &ObjectVersion, request: &HeaderMap, headers: &mut HeaderMap) {
    into_headers(object.encryption.as_ref().map(|encryption| encryption.mode), request, headers);
}
