//! Sealing and opening under keys that the KMS issues (SSE-KMS, DSSE-KMS).
//!
//! The KMS may be another machine, so it is asked before storage is, or by storage's `Keys` between its views; what wraps a
//! data key then is in memory. What is issued is bound to the object's ARN, or for a bucket key to the bucket's, besides what
//! the request gives as encryption context.

use std::sync::Arc;

use cairn_crypto::issued_key::IssuedKeyWrap;
use cairn_crypto::kms::EncryptionContext;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::encryption::{KmsContext, Sealing, UnderKms};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::Bucket;

use crate::audit::Trail;
use crate::authorize::{Authorized, Caller, arn_of_bucket, arn_of_object};
use crate::kms::{Asker, KeyRef, KeyUse, Kms, KmsError, KmsFault};
use crate::metrics::Metrics;

use super::Edge;
use super::asked_encryption::KmsMethod;
use super::bucket_keys::{BucketKey, BucketKeys, Use};
use super::error::{Failure, Refused};
use super::headers::SERVER_SIDE_ENCRYPTION_CONTEXT;
use super::request::Request;

/// What S3 adds to every encryption context (S3 user guide, "Using server-side encryption with AWS KMS keys").
const ARN: &str = "aws:s3:arn";

/// One request, as it asks the KMS.
#[derive(Clone, Debug)]
pub(super) struct KmsKeys {
    kms: Arc<Kms>,
    bucket_keys: Arc<BucketKeys>,
    metrics: Arc<Metrics>,
    caller: Arc<Caller>,
    trail: Trail,
    is_signed: bool,
    now: Timestamp,
}

/// How something new is to be sealed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Once or twice.
    pub(super) method: KmsMethod,
    /// The KMS's key, as the request or the bucket names it; None: the account's own for S3.
    pub(super) key: Option<String>,
    /// The encryption context of the request.
    pub(super) context: KmsContext,
    /// Under a bucket key.
    pub(super) bucket_key: bool,
}

impl KmsKeys {
    /// For what this request is authorized for.
    pub(super) fn of<Resource>(edge: &Edge, authorized: &Authorized<Resource>, request: &Request) -> Self {
        Self {
            kms: Arc::clone(&edge.kms),
            bucket_keys: Arc::clone(&edge.encryption.bucket_keys),
            metrics: Arc::clone(&edge.encryption.metrics),
            caller: Arc::clone(authorized.caller()),
            trail: authorized.trail().clone(),
            is_signed: request.signature.is_some_and(|signature| !signature.is_version_2),
            now: edge.store.clock().now(),
        }
    }

    /// For a role that acts by itself, without a request.
    pub(super) fn of_role(edge: &Edge, caller: &Arc<Caller>, trail: &Trail) -> Self {
        Self {
            kms: Arc::clone(&edge.kms),
            bucket_keys: Arc::clone(&edge.encryption.bucket_keys),
            metrics: Arc::clone(&edge.encryption.metrics),
            caller: Arc::clone(caller),
            trail: trail.clone(),
            is_signed: true,
            now: edge.store.clock().now(),
        }
    }

    /// Refuses whom the KMS would not know: who has no signature, or one of version 2 (S3 user guide, "Specifying server-side
    /// encryption with AWS KMS").
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub(super) fn check_signature(&self) -> Result<(), Failure> {
        if self.is_signed {
            return Ok(());
        }
        let message =
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.";
        Err(Failure::invalid_argument("Authorization", "null", message))
    }

    /// How `key` is sealed so. Needs `kms:GenerateDataKey`.
    ///
    /// # Errors
    /// `InvalidArgument`, and what the KMS refuses.
    pub(super) async fn seal(&self, bucket: &Bucket, key: &ObjectKey, wanted: Wanted) -> Result<Sealing, Failure> {
        self.check_signature()?;
        let Wanted { method, key: named, context: own, bucket_key } = wanted;
        let named = named.as_deref().map(KeyRef::parse).transpose().map_err(KmsError::in_s3)?;
        // Who names the account's key for S3 has it made as who names none.
        let named = named.filter(|key| *key != KeyRef::for_s3());
        let name = bucket.name.as_str();
        let arn = if bucket_key { arn_of_bucket(name) } else { arn_of_object(name, key) };
        let context = with_arn(own.clone(), arn)?;
        let asked = in_kms(&context).ok_or_else(context_too_long)?;
        let issued = if bucket_key {
            self.bucket_key(bucket, named.as_ref(), own, &asked).await?
        } else {
            Arc::new(self.issue(named.as_ref(), &asked).await?)
        };
        let under =
            UnderKms { key_arn: issued.key_arn.clone(), context, bucket_key, envelope: issued.envelope.clone() };
        let wrap = Arc::<IssuedKeyWrap>::clone(&issued.wrap);
        Ok(Sealing::under_kms(method.mode(), wrap, under)?)
    }

    async fn bucket_key(
        &self,
        bucket: &Bucket,
        named: Option<&KeyRef>,
        own: KmsContext,
        asked: &EncryptionContext,
    ) -> Result<Arc<BucketKey>, Failure> {
        let for_s3 = KeyRef::for_s3();
        // Whether one is held or not, the caller must be allowed to have one made now.
        let permitted = self.kms.permit(self.asker(), named.unwrap_or(&for_s3), KeyUse::GenerateDataKey, asked);
        let key_arn = match permitted {
            Ok(key_arn) => Some(key_arn),
            // The account's key for S3 is made when it is first used.
            Err(error) if named.is_none() && error.kind() == Some(KmsFault::NotFound) => None,
            Err(error) => return Err(error.in_s3()),
        };
        let use_of = |key_arn| Use { bucket: bucket.id, key_arn, context: own.clone() };
        if let Some(held) = key_arn.and_then(|key_arn| self.bucket_keys.for_use(&use_of(key_arn), self.now)) {
            return Ok(held);
        }
        let issued = self.issue(named, asked).await?;
        // By its own word: an alias may have become another key's meanwhile.
        let issued_for = use_of(issued.key_arn.clone());
        Ok(self.bucket_keys.hold(Some(issued_for), issued, self.now))
    }

    async fn issue(&self, named: Option<&KeyRef>, context: &EncryptionContext) -> Result<BucketKey, Failure> {
        self.metrics.kms_called("GenerateDataKey");
        let issued = self.kms.generate_data_key(self.asker(), named, context).await.map_err(KmsError::in_s3)?;
        Ok(BucketKey {
            wrap: Arc::new(IssuedKeyWrap::new(issued.data_key)),
            key_arn: issued.key_arn,
            context: context.clone(),
            envelope: issued.envelope,
        })
    }

    /// What opens the data key that is under this one. Needs `kms:Decrypt`.
    ///
    /// # Errors
    /// `KeyRefused` with what the KMS, or S3, says.
    pub(super) async fn open(&self, under: &UnderKms) -> Result<Arc<IssuedKeyWrap>, StorageError> {
        self.check_signature().map_err(refused)?;
        let unusable = |what: &str| StorageError::KeyUnusable { what: what.to_owned() };
        let context = in_kms(&under.context).ok_or_else(|| unusable("its encryption context is too long"))?;
        // What the context is of is authentic, and what the record says of it beside that is not.
        if under.bucket_key != is_of_bucket(&under.context) {
            return Err(unusable("it is under a bucket key, or is not, against what the record says"));
        }
        if under.bucket_key {
            let key = KeyRef::parse(&under.key_arn).map_err(of_kms)?;
            self.kms.permit(self.asker(), &key, KeyUse::Decrypt, &context).map_err(of_kms)?;
            let held = self.bucket_keys.in_envelope(&under.envelope, self.now);
            if let Some(held) = held.filter(|held| held.key_arn == under.key_arn && held.context == context) {
                return Ok(Arc::clone(&held.wrap));
            }
        }
        self.metrics.kms_called("Decrypt");
        let opened = self.kms.decrypt(self.asker(), &under.envelope, &context).await.map_err(of_kms)?;
        if opened.key_arn != under.key_arn {
            return Err(unusable("the KMS opened it with another key than the record names"));
        }
        let wrap = Arc::new(IssuedKeyWrap::new(opened.data_key));
        if under.bucket_key {
            let opened = BucketKey {
                wrap: Arc::clone(&wrap),
                key_arn: opened.key_arn,
                context,
                envelope: under.envelope.clone(),
            };
            self.bucket_keys.hold(None, opened, self.now);
        }
        Ok(wrap)
    }

    /// Whether the caller may have a key issued by the one that something is under: to add a part to it takes that, too (S3 API
    /// reference, UploadPart).
    ///
    /// # Errors
    /// `KeyRefused`.
    pub(super) fn check_issue(&self, under: &UnderKms) -> Result<(), StorageError> {
        let context = in_kms(&under.context);
        let key = KeyRef::parse(&under.key_arn).map_err(of_kms)?;
        let context = context.ok_or_else(|| refused(context_too_long()))?;
        self.kms.permit(self.asker(), &key, KeyUse::GenerateDataKey, &context).map_err(of_kms).map(drop)
    }

    /// For somebody who has signed, at no time in particular.
    #[cfg(test)]
    pub(super) fn of_caller(kms: Arc<Kms>, caller: Arc<Caller>) -> Self {
        let (bucket_keys, metrics, trail) = (Arc::default(), Arc::new(Metrics::new()), Trail::default());
        Self { kms, bucket_keys, metrics, caller, trail, is_signed: true, now: Timestamp(1) }
    }

    fn asker(&self) -> Asker<'_> {
        Asker::through_s3(&self.caller, &self.trail)
    }
}

fn of_kms(error: KmsError) -> StorageError {
    refused(error.in_s3())
}

/// A failure on its way through storage.
pub(super) fn refused(failure: Failure) -> StorageError {
    StorageError::KeyRefused(Box::new(Refused(failure)))
}

fn in_kms(context: &KmsContext) -> Option<EncryptionContext> {
    EncryptionContext::from_pairs(context.iter().map(|(name, value)| (name.clone(), value.clone()))).ok()
}

/// The context of a request with what S3 adds.
fn with_arn(mut context: KmsContext, arn: String) -> Result<KmsContext, Failure> {
    match context.get(ARN) {
        Some(given) if *given != arn => {
            let message = "The encryption context must not give another aws:s3:arn than that of the object, or of the bucket \
                           for a bucket key.";
            Err(Failure::invalid_argument(SERVER_SIDE_ENCRYPTION_CONTEXT.as_str(), given, message))
        }
        _ => {
            context.insert(ARN.to_owned(), arn);
            Ok(context)
        }
    }
}

fn context_too_long() -> Failure {
    let message = "The encryption context is too long.";
    Failure::invalid_argument(SERVER_SIDE_ENCRYPTION_CONTEXT.as_str(), "", message)
}

/// Whether a context names a bucket, and not an object in one.
fn is_of_bucket(context: &KmsContext) -> bool {
    context.get(ARN).is_some_and(|arn| !arn.contains('/'))
}

/// The pairs of a context that the request gave itself.
pub(super) fn own_pairs(context: &KmsContext) -> KmsContext {
    context.iter().filter(|(name, _)| *name != ARN).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_issued_is_bound_to_the_object_whatever_the_request_says() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let own: KmsContext = [pair("project", "x")].into();
        let with = with_arn(own.clone(), "arn:aws:s3:::b/k".to_owned()).unwrap();
        assert_eq!(with, [pair("project", "x"), pair(ARN, "arn:aws:s3:::b/k")].into());
        assert_eq!(own_pairs(&with), own);
        let same = [pair(ARN, "arn:aws:s3:::b/k")].into();
        assert!(with_arn(same, "arn:aws:s3:::b/k".to_owned()).is_ok());
        let other = [pair(ARN, "arn:aws:s3:::b/other")].into();
        assert_eq!(with_arn(other, "arn:aws:s3:::b/k".to_owned()).unwrap_err().code(), "InvalidArgument");
    }
}
