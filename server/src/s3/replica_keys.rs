//! Opening and sealing for a role that replicates: as the operations do it for who makes a request.

use std::sync::Arc;

use cairn_crypto::secret::DataKey;
use cairn_crypto::wrap::KeyWrap;
use cairn_replication::target::Seal;
use cairn_storage::StorageError;
use cairn_storage::encryption::{EncryptionMode, KmsContext, Sealing};
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;
use s3s::S3ErrorCode;

use crate::audit::Trail;
use crate::authorize::Caller;
use crate::config::DefaultEncryption;

use super::Edge;
use super::asked_encryption::{KmsMethod, Method};
use super::bucket_encryption::BucketEncryption;
use super::error::Failure;
use super::kms_keys::{KmsKeys, Wanted};
use super::request_keys::RequestKeys;

/// The data key of a version that the role reads. Under a KMS's key it takes `kms:Decrypt`.
///
/// # Errors
/// `KeyMissing` of a customer's key, which comes with no replication; `KeyRefused`, `KeyUnusable`.
pub async fn open(
    edge: &Edge,
    caller: &Arc<Caller>,
    trail: &Trail,
    (bucket, key): (&Bucket, &ObjectKey),
    object: &ObjectVersion,
) -> Result<Option<DataKey>, StorageError> {
    RequestKeys::of_role(edge, caller, trail).open_version(bucket.id, key, object).await
}

/// Ok if what is sealed under a customer's key may come into the bucket as it is.
///
/// # Errors
/// `AccessDenied` where the bucket blocks customers' keys (S3 user guide, "Blocking or unblocking SSE-C for a general purpose bucket": also
/// in replication), and the index's.
pub async fn check_stays_sealed(edge: &Edge, bucket: &Bucket) -> Result<(), Failure> {
    let of_bucket = BucketEncryption::of(&edge.store, bucket).await?;
    let blocks = of_bucket.is_some_and(|of_bucket| of_bucket.blocks_customer_keys());
    if blocks { Err(S3ErrorCode::AccessDenied.into()) } else { Ok(()) }
}

/// How a replica is sealed that the role writes. Under a KMS's key it takes `kms:GenerateDataKey`.
///
/// # Errors
/// What the KMS refuses, and the index's.
pub async fn seal(
    edge: &Edge,
    caller: &Arc<Caller>,
    trail: &Trail,
    (bucket, key): (&Bucket, &ObjectKey),
    seal: &Seal,
) -> Result<Option<Sealing>, Failure> {
    let settings = &edge.encryption;
    let of_bucket = BucketEncryption::of(&edge.store, bucket).await?;
    let bucket_key = of_bucket.as_ref().is_some_and(BucketEncryption::uses_bucket_keys);
    let (method, named) = match (seal, of_bucket) {
        (Seal::Kms(named), _) => (Method::Kms(KmsMethod::Once), Some(named.clone())),
        (Seal::Server, _) => (Method::Aes256, None),
        (Seal::Default, Some(of_bucket)) => (of_bucket.method(), of_bucket.into_key()),
        (Seal::Default, None) if settings.default == DefaultEncryption::Off => return Ok(None),
        (Seal::Default, None) => (Method::Aes256, None),
    };
    match method {
        Method::Aes256 => {
            let server_key: Arc<dyn KeyWrap> = settings.key_store.server_key();
            Ok(Some(Sealing::new(EncryptionMode::S3, server_key)?))
        }
        Method::Kms(method) => {
            let bucket_key = bucket_key && method == KmsMethod::Once;
            let wanted = Wanted { method, key: named, context: KmsContext::new(), bucket_key };
            KmsKeys::of_role(edge, caller, trail).seal(bucket, key, wanted).await.map(Some)
        }
    }
}
