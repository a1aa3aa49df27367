//! Server-side encryption: what a request asks for, and what an answer says.
//!
//! Every new object is sealed: under the customer's key if the request brings one (`customer_key`), else as the request says
//! (`asked_encryption`), or its bucket's configuration (`bucket_encryption`), or the server's default: under the server's own
//! key, or one that the KMS issues (`kms_keys`). What is sealed is opened in `request_keys`, for an operation that was
//! authorized.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_crypto::wrap::KeyWrap;
use cairn_storage::encryption::{Encryption, EncryptionMode, Sealing, UnderKms};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use http::{HeaderMap, HeaderValue};
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, InBucket};
use crate::config::DefaultEncryption;
use crate::key_store::KeyStore;
use crate::metrics::Metrics;

use super::Edge;
use super::asked_encryption::{self, AES256, Asked, KmsMethod, Method};
use super::bucket_encryption::BucketEncryption;
use super::bucket_keys::BucketKeys;
use super::customer_key;
use super::error::Failure;
use super::headers::{
    SERVER_SIDE_ENCRYPTION, SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED, SERVER_SIDE_ENCRYPTION_CONTEXT,
    SERVER_SIDE_ENCRYPTION_KMS_KEY_ID, SSE_CUSTOMER_ALGORITHM, SSE_CUSTOMER_KEY_MD5, text, value,
};
use super::kms_keys::{KmsKeys, Wanted, own_pairs};
use super::request::Request;

/// What seals and opens.
#[derive(Clone, Debug)]
pub struct EncryptionSettings {
    /// The server's keys.
    pub key_store: Arc<KeyStore>,
    /// How new objects are sealed about which neither the request nor the bucket says anything.
    pub default: DefaultEncryption,
    /// Customers' keys are accepted on connections that are not encrypted.
    pub allow_ssec_over_http: bool,
    /// Keys that the KMS issued for buckets.
    pub bucket_keys: Arc<BucketKeys>,
    /// The ids of the KMS keys that the configuration declares, by their ARNs. Answers show these keys so.
    pub declared_keys: Arc<HashMap<String, String>>,
    /// Where calls to the KMS are counted.
    pub metrics: Arc<Metrics>,
}

impl EncryptionSettings {
    /// Has the KMS issue bucket keys anew, by the newest versions of its keys.
    pub fn forget_bucket_keys(&self) {
        self.bucket_keys.forget();
    }

    /// How answers name a KMS's key: by its ARN, as AWS does, but one that the configuration declares by its bare id. Ceph's `s3-tests`
    /// wants to find there what it sent.
    fn shown_key<'k>(&'k self, key_arn: &'k str) -> &'k str {
        self.declared_keys.get(key_arn).map_or(key_arn, String::as_str)
    }
}

/// How a new object is sealed, and whether the request said so itself.
#[derive(Debug)]
pub(super) struct OfNewVersion {
    pub(super) sealing: Option<Sealing>,
    pub(super) named: bool,
}

/// How what a request writes at `key` is to be sealed. A KMS is asked here, before anything is read or stored.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`; `AccessDenied` for a customer's key where the bucket
/// blocks them; what the KMS refuses.
pub(super) async fn of_new_version(
    edge: &Edge,
    authorized: &Authorized<impl InBucket>,
    key: &ObjectKey,
    request: &Request,
) -> Result<OfNewVersion, Failure> {
    let (settings, bucket) = (&edge.encryption, authorized.bucket());
    let of_bucket = BucketEncryption::of(&edge.store, bucket).await?;
    let asked = Asked::of(&request.headers)?;
    let customer = customer_key::of_request(settings, request)?;
    let named = asked.method.is_some() || customer.is_some();
    if let Some(customer) = customer {
        if let Some(asked) = asked.method {
            return Err(Failure::invalid_argument(
                SERVER_SIDE_ENCRYPTION.as_str(),
                asked.name(),
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            ));
        }
        // S3 user guide, "Blocking or unblocking SSE-C for a general purpose bucket": such requests get HTTP 403.
        if of_bucket.is_some_and(|of_bucket| of_bucket.blocks_customer_keys()) {
            return Err(S3ErrorCode::AccessDenied.into());
        }
        let sealing = Sealing::new(EncryptionMode::Customer, customer.into_wrap())?;
        return Ok(OfNewVersion { sealing: Some(sealing), named });
    }
    let bucket_key_by_default = of_bucket.as_ref().is_some_and(BucketEncryption::uses_bucket_keys);
    let (method, key_id) = match asked.method {
        Some(method) => (Some(method), asked.key),
        None => match of_bucket {
            Some(of_bucket) => (Some(of_bucket.method()), of_bucket.into_key()),
            None => ((settings.default != DefaultEncryption::Off).then_some(Method::Aes256), None),
        },
    };
    let sealing = match method {
        None => None,
        Some(Method::Aes256) => {
            let server_key: Arc<dyn KeyWrap> = settings.key_store.server_key();
            Some(Sealing::new(EncryptionMode::S3, server_key)?)
        }
        Some(Method::Kms(method)) => {
            let bucket_key = asked.bucket_key.unwrap_or(bucket_key_by_default) && method == KmsMethod::Once;
            let wanted = Wanted { method, key: key_id, context: asked.context, bucket_key };
            Some(KmsKeys::of(edge, authorized, request).seal(bucket, key, wanted).await?)
        }
    };
    Ok(OfNewVersion { sealing, named })
}

/// Refuses a request that says how to seal, where nothing is sealed that is not already decided (S3 user guide, "Using
/// server-side encryption with Amazon S3 managed keys": such headers on GET and HEAD requests get HTTP 400).
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn refuse_method(headers: &HeaderMap) -> Result<(), Failure> {
    let given = asked_encryption::ALL.iter().find_map(|name| Some((name, text(headers, name)?)));
    match given {
        None => Ok(()),
        Some((name, asked)) => {
            let message = format!("{name} header is not supported for this operation.");
            Err(Failure::invalid_argument(name.as_str(), &asked, message))
        }
    }
}

/// What of a request's headers [`into_headers`] repeats, for when the request itself is gone by then.
pub(super) fn named_in(request: &HeaderMap) -> HeaderMap {
    let md5 = request.get(SSE_CUSTOMER_KEY_MD5).map(|md5| (SSE_CUSTOMER_KEY_MD5, md5.clone()));
    md5.into_iter().collect()
}

/// What an answer says of how an object, upload or part is sealed. Of a customer's key it repeats what the request said.
pub(super) fn into_headers(edge: &Edge, encryption: Option<&Encryption>, request: &HeaderMap, headers: &mut HeaderMap) {
    let Some(encryption) = encryption else { return };
    let method = match encryption.mode {
        EncryptionMode::S3 => Method::Aes256,
        EncryptionMode::Kms => Method::Kms(KmsMethod::Once),
        EncryptionMode::KmsDsse => Method::Kms(KmsMethod::Twice),
        EncryptionMode::Customer => {
            headers.insert(SSE_CUSTOMER_ALGORITHM, HeaderValue::from_static(AES256));
            if let Some(md5) = text(request, &SSE_CUSTOMER_KEY_MD5) {
                headers.insert(SSE_CUSTOMER_KEY_MD5, value(&md5));
            }
            return;
        }
    };
    headers.insert(SERVER_SIDE_ENCRYPTION, HeaderValue::from_static(method.name()));
    if let Some(UnderKms { key_arn, bucket_key, .. }) = encryption.kms.as_deref() {
        headers.insert(SERVER_SIDE_ENCRYPTION_KMS_KEY_ID, value(edge.encryption.shown_key(key_arn)));
        if *bucket_key {
            headers.insert(SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED, HeaderValue::from_static("true"));
        }
    }
}

/// As [`into_headers`] for a version that is read.
pub(super) fn of_version_into_headers(
    edge: &Edge,
    object: &ObjectVersion,
    request: &HeaderMap,
    headers: &mut HeaderMap,
) {
    into_headers(edge, object.encryption.as_ref(), request, headers);
}

/// As [`into_headers`] for what was just made, whose encryption context is repeated, too.
pub(super) fn of_new_into_headers(
    edge: &Edge,
    encryption: Option<&Encryption>,
    request: &HeaderMap,
    headers: &mut HeaderMap,
) {
    into_headers(edge, encryption, request, headers);
    let own = encryption.and_then(|encryption| encryption.kms.as_ref()).map(|kms| own_pairs(&kms.context));
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        // Texts with texts as names always make JSON.
        let json = serde_json::to_vec(&own).unwrap_or_default();
        headers.insert(SERVER_SIDE_ENCRYPTION_CONTEXT, value(&STANDARD.encode(json)));
    }
}
