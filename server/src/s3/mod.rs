//! The S3 operations: one file each, from headers and documents to storage's types and back.
//!
//! `s3s` calls [`Edge`] once it has verified a request's signature and put the decoding of a chunked body in front of it;
//! which operation it is, the gate decided before. None is one of the typed operations that `s3s` has: those refuse what S3 accepts (a `Range` that is none, lists of ETags, repeated metadata),
//! cannot answer a HEAD with 206, and cannot list keys with control characters.

pub mod acl;
pub mod attributes;
pub mod bucket_keys;
pub mod checksum;
pub mod conditions;
pub mod copy_source;
pub mod encoding;
pub mod encryption;
pub mod error;
pub mod headers;
pub mod intelligent_tiering;
pub mod lifecycle;
pub mod lifecycle_configuration;
pub mod mfa;
pub mod object_lock;
pub mod post_object;
pub mod range;
pub mod replica_keys;
pub mod request;
pub mod tags;
pub mod token;
pub mod upload_part;
pub mod xml;

mod abort_upload;
mod accelerate;
mod account_access_block;
mod asked_encryption;
mod bucket_cors;
mod bucket_encryption;
mod bucket_policy;
mod bucket_replication;
mod bucket_tagging;
pub mod bucket_website;
mod complete_upload;
mod copy_object;
mod create_bucket;
mod create_upload;
mod customer_key;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod get_acl;
mod get_bucket_location;
mod get_bucket_versioning;
mod get_object_attributes;
mod head_bucket;
mod kms_keys;
mod legal_hold;
mod list_buckets;
mod list_objects;
mod list_parts;
mod list_uploads;
mod list_versions;
mod lock_configuration;
mod new_version;
mod object_tagging;
mod ownership_controls;
mod public_access_block;
mod put_acl;
mod put_bucket_versioning;
mod put_object;
mod read_object;
mod read_publicly;
pub mod replica;
mod request_keys;
mod request_payment;
mod restore_object;
mod retention;
mod update_object_encryption;
mod upload_part_copy;

use std::future::Future;
use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::{ObjectOwnership, Versioning};
use cairn_storage::index::family::upload::CreatedBy;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::{Bucket, ReturnedVersion, Store, Upload};
use http::{HeaderMap, HeaderValue};
use s3s::S3Request;

use crate::accesses::Accesses;
use crate::auth::Signer;
use crate::authorize::{Authorized, Authorizer, BucketPolicies, Facts, OnBucket, OnCopy, OnObject, OnService, Rules};
use crate::config::RecreateOwn;
use crate::gate::body::Unmeasured;
use crate::gate::routes::Operation;
use crate::gate::verifier::{self, Dispatch};
use crate::gate::{Origin, Routed};
use crate::identities::{Accounts, Identities, Snapshot};
use crate::kms::Kms;
use crate::lifecycle_sweeps::Sweeps;
use crate::remotes::Remotes;
use crate::replication::Replication;

use encryption::EncryptionSettings;
use error::Failure;
use headers::{REQUEST_CHARGED, VERSION_ID};
use lifecycle::Lifecycle;
use request::{Answer, Query, Request, Target};
use xml::Document;

/// What the operations work with.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The objects.
    pub store: Store,
    /// Who owns them, and who may use them.
    pub identities: Arc<Identities>,
    /// The KMS keys.
    pub kms: Arc<Kms>,
    /// The region that buckets are in.
    pub region: String,
    /// What creating a bucket that one already owns answers.
    pub recreate_own: RecreateOwn,
    /// Who owns what is written into new buckets.
    pub object_ownership: ObjectOwnership,
    /// New buckets block public access.
    pub block_public_access: bool,
    /// The buckets' policies.
    pub policies: Arc<BucketPolicies>,
    /// How objects are sealed.
    pub encryption: EncryptionSettings,
    /// Rules about objects' age.
    pub lifecycle: Arc<Lifecycle>,
    /// When objects in INTELLIGENT_TIERING were read.
    pub accesses: Arc<Accesses>,
    /// What carries these rules out.
    pub sweeps: Arc<Sweeps>,
    /// Other S3 services.
    pub remotes: Remotes,
    /// Buckets' replication.
    pub replication: Arc<Replication>,
}

impl Dispatch for Edge {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let Routed { operation, target, query } =
            request.extensions.remove().ok_or_else(|| Failure::internal("a request passed by the gate"))?;
        let origin: Origin = request.extensions.remove().ok_or_else(|| Failure::internal("a request from nowhere"))?;
        let signer = verifier::signer(&mut request)?;
        let unmeasured = request.extensions.remove().and_then(|body: Unmeasured| body.take());
        let request = Request {
            path: request.uri.path().to_owned(),
            secure: origin.connection.secure,
            query,
            headers: request.headers,
            is_verified: unmeasured.is_none(),
            body: unmeasured.unwrap_or(request.input),
            trailers: request.trailing_headers,
            signature: origin.signature,
        };
        let identities = self.identities.snapshot();
        let asked = (operation, &request.headers, &request.query);
        let authorizer = self.authorizer(&identities, signer.as_ref(), asked, origin)?;
        let (answer, charged) = match target {
            Target::Service => {
                let authorized = authorizer.service()?;
                (self.on_service(operation, authorized, request).await, false)
            }
            Target::Bucket(name) if operation == Operation::CreateBucket => {
                let authorized = authorizer.new_bucket(&name)?;
                (create_bucket::create_bucket(self, authorized, request).await, false)
            }
            Target::Bucket(name) => {
                let authorized = authorizer.bucket(&name).await?;
                let charged = authorizer.charged();
                (self.on_bucket(operation, authorized, request).await, charged)
            }
            Target::Object { bucket, key } if operation.is_copy() => {
                let source = copy_source::parse(&request.headers)?;
                let with_tags = operation == Operation::CopyObject && tags::of_copy(&request.headers)?.is_none();
                let authorized = authorizer.copy((&bucket, &key), source, with_tags).await?;
                let charged = authorizer.charged();
                (self.on_copy(operation, authorized, request).await, charged)
            }
            Target::Object { bucket, key } => {
                let authorized = authorizer.object(&bucket, &key).await?;
                let charged = authorizer.charged();
                (self.on_object(operation, authorized, request).await, charged)
            }
        };
        let answer = answer?;
        Ok(if charged { answer.header(REQUEST_CHARGED, HeaderValue::from_static("requester")) } else { answer })
    }
}

/// The futures of the operations that take bodies in, or do much, are boxed: every request would else be handled in, and
/// copied as, a future with room for the largest.
impl Edge {
    /// Who decides about a request for this operation, with these headers and this query.
    fn authorizer<'r>(
        &'r self,
        identities: &'r Snapshot,
        signer: Option<&Signer>,
        (operation, headers, query): (Operation, &'r HeaderMap, &'r Query),
        Origin { connection, signature, trail }: Origin,
    ) -> Result<Authorizer<'r>, Failure> {
        let rules = Rules { store: &self.store, identities, policies: &self.policies };
        let (operation, now, region) = (Some(operation), self.store.clock().now(), self.region.as_str());
        let facts = Facts { operation, headers, query, connection, signature, now, region };
        Authorizer::new(rules, rules.caller(signer)?, facts, trail)
    }

    async fn on_service(
        &self,
        operation: Operation,
        on: Authorized<OnService>,
        request: Request,
    ) -> Result<Answer, Failure> {
        match operation {
            Operation::DeleteAccountPublicAccessBlock => {
                account_access_block::delete_account_access_block(self, on, request).await
            }
            Operation::GetAccountPublicAccessBlock => {
                account_access_block::get_account_access_block(self, &on, &request)
            }
            Operation::ListBuckets => list_buckets::list_buckets(self, on, request).await,
            Operation::PutAccountPublicAccessBlock => {
                account_access_block::put_account_access_block(self, on, request).await
            }
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_bucket(
        &self,
        operation: Operation,
        on: Authorized<OnBucket>,
        request: Request,
    ) -> Result<Answer, Failure> {
        match operation {
            Operation::DeleteBucket => delete_bucket::delete_bucket(self, on).await,
            Operation::DeleteBucketCors => bucket_cors::delete_bucket_cors(self, on).await,
            Operation::DeleteBucketEncryption => bucket_encryption::delete_bucket_encryption(self, on).await,
            Operation::DeleteBucketIntelligentTieringConfiguration => {
                intelligent_tiering::delete_configuration(self, on, request).await
            }
            Operation::DeleteBucketLifecycle => lifecycle_configuration::delete_lifecycle_configuration(self, on).await,
            Operation::DeleteBucketOwnershipControls => ownership_controls::delete_ownership_controls(self, on).await,
            Operation::DeleteBucketPolicy => bucket_policy::delete_bucket_policy(self, on).await,
            Operation::DeleteBucketReplication => bucket_replication::delete_bucket_replication(self, on).await,
            Operation::DeleteBucketTagging => bucket_tagging::delete_bucket_tagging(self, on).await,
            Operation::DeleteBucketWebsite => bucket_website::delete_bucket_website(self, on).await,
            Operation::DeleteObjects => Box::pin(delete_objects::delete_objects(self, on, request)).await,
            Operation::DeletePublicAccessBlock => public_access_block::delete_public_access_block(self, on).await,
            Operation::GetBucketAccelerateConfiguration => Ok(accelerate::get_accelerate(&on)),
            Operation::GetBucketAcl => get_acl::get_bucket_acl(self, on).await,
            Operation::GetBucketCors => bucket_cors::get_bucket_cors(self, on).await,
            Operation::GetBucketEncryption => bucket_encryption::get_bucket_encryption(self, on).await,
            Operation::GetBucketIntelligentTieringConfiguration => {
                intelligent_tiering::get_configuration(self, on, request).await
            }
            Operation::GetBucketLifecycleConfiguration => {
                lifecycle_configuration::get_lifecycle_configuration(self, on).await
            }
            Operation::GetBucketLocation => Ok(get_bucket_location::get_bucket_location(&on)),
            Operation::GetBucketOwnershipControls => ownership_controls::get_ownership_controls(&on),
            Operation::GetBucketPolicy => bucket_policy::get_bucket_policy(self, on).await,
            Operation::GetBucketPolicyStatus => bucket_policy::get_bucket_policy_status(self, on).await,
            Operation::GetBucketReplication => bucket_replication::get_bucket_replication(self, on).await,
            Operation::GetBucketRequestPayment => Ok(request_payment::get_request_payment(&on)),
            Operation::GetBucketTagging => bucket_tagging::get_bucket_tagging(self, on).await,
            Operation::GetBucketVersioning => Ok(get_bucket_versioning::get_bucket_versioning(&on)),
            Operation::GetBucketWebsite => bucket_website::get_bucket_website(self, on).await,
            Operation::GetObjectLockConfiguration => lock_configuration::get_lock_configuration(&on),
            Operation::GetPublicAccessBlock => public_access_block::get_public_access_block(&on),
            Operation::HeadBucket => Ok(head_bucket::head_bucket(&on)),
            Operation::ListBucketIntelligentTieringConfigurations => {
                intelligent_tiering::list_configurations(self, on, request).await
            }
            Operation::ListMultipartUploads => list_uploads::list_uploads(self, on, request).await,
            Operation::ListObjectVersions => list_versions::list_versions(self, on, request).await,
            Operation::ListObjects => list_objects::list_objects(self, on, request).await,
            Operation::ListObjectsV2 => list_objects::list_objects_v2(self, on, request).await,
            Operation::PutBucketAccelerateConfiguration => accelerate::put_accelerate(on, request).await,
            Operation::PutBucketAcl => put_acl::put_bucket_acl(self, on, request).await,
            Operation::PutBucketCors => bucket_cors::put_bucket_cors(self, on, request).await,
            Operation::PutBucketEncryption => bucket_encryption::put_bucket_encryption(self, on, request).await,
            Operation::PutBucketIntelligentTieringConfiguration => {
                intelligent_tiering::put_configuration(self, on, request).await
            }
            Operation::PutBucketLifecycleConfiguration => {
                lifecycle_configuration::put_lifecycle_configuration(self, on, request).await
            }
            Operation::PutBucketOwnershipControls => {
                ownership_controls::put_ownership_controls(self, on, request).await
            }
            Operation::PutBucketPolicy => bucket_policy::put_bucket_policy(self, on, request).await,
            Operation::PutBucketReplication => bucket_replication::put_bucket_replication(self, on, request).await,
            Operation::PutBucketRequestPayment => request_payment::put_request_payment(self, on, request).await,
            Operation::PutBucketTagging => bucket_tagging::put_bucket_tagging(self, on, request).await,
            Operation::PutBucketVersioning => put_bucket_versioning::put_bucket_versioning(self, on, request).await,
            Operation::PutBucketWebsite => bucket_website::put_bucket_website(self, on, request).await,
            Operation::PutObjectLockConfiguration => {
                lock_configuration::put_lock_configuration(self, on, request).await
            }
            Operation::PutPublicAccessBlock => public_access_block::put_public_access_block(self, on, request).await,
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_object(
        &self,
        operation: Operation,
        on: Authorized<OnObject>,
        request: Request,
    ) -> Result<Answer, Failure> {
        match operation {
            Operation::AbortMultipartUpload => abort_upload::abort_upload(self, on, request).await,
            Operation::CompleteMultipartUpload => Box::pin(complete_upload::complete_upload(self, on, request)).await,
            Operation::CreateMultipartUpload => create_upload::create_upload(self, on, request).await,
            Operation::DeleteObject => delete_object::delete_object(self, on, request).await,
            Operation::DeleteObjectTagging => object_tagging::delete_object_tagging(self, on, request).await,
            Operation::GetObject => read_object::get_object(self, on, request).await,
            Operation::GetObjectAcl => get_acl::get_object_acl(self, on, request).await,
            Operation::GetObjectAttributes => get_object_attributes::get_object_attributes(self, on, request).await,
            Operation::GetObjectLegalHold => legal_hold::get_legal_hold(self, on, request).await,
            Operation::GetObjectRetention => retention::get_retention(self, on, request).await,
            Operation::GetObjectTagging => object_tagging::get_object_tagging(self, on, request).await,
            Operation::HeadObject => read_object::head_object(self, on, request).await,
            Operation::ListParts => list_parts::list_parts(self, on, request).await,
            Operation::PutObject => Box::pin(put_object::put_object(self, on, request)).await,
            Operation::PutObjectAcl => put_acl::put_object_acl(self, on, request).await,
            Operation::PutObjectLegalHold => legal_hold::put_legal_hold(self, on, request).await,
            Operation::PutObjectRetention => retention::put_retention(self, on, request).await,
            Operation::PutObjectTagging => object_tagging::put_object_tagging(self, on, request).await,
            Operation::UpdateObjectEncryption => {
                Box::pin(update_object_encryption::update_object_encryption(self, on, request)).await
            }
            Operation::RestoreObject => restore_object::restore_object(self, on, request).await,
            Operation::UploadPart => Box::pin(upload_part::upload_part(self, on, request)).await,
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_copy(&self, operation: Operation, on: Authorized<OnCopy>, request: Request) -> Result<Answer, Failure> {
        match operation {
            Operation::CopyObject => Box::pin(copy_object::copy_object(self, on, request)).await,
            Operation::UploadPartCopy => Box::pin(upload_part_copy::upload_part_copy(self, on, request)).await,
            _ => Err(misrouted(operation)),
        }
    }

    fn accounts(&self) -> &Accounts {
        self.identities.accounts()
    }

    /// Writes an `Owner`, or another element that names an account.
    fn account_element(&self, name: &str, id: AccountId, document: &mut Document) {
        document.element(name, |element| self.account_texts(id, element));
    }

    /// Writes who created an upload: an account by its root, and anybody else by ARN and name (API reference, ListParts,
    /// `Initiator`).
    fn initiator_element(&self, upload: &Upload, document: &mut Document) {
        document.element("Initiator", |element| match &upload.created_by {
            None => self.account_texts(upload.initiator, element),
            Some(CreatedBy { arn, .. }) => {
                element.text("ID", arn);
                element.text("DisplayName", arn.rsplit('/').next().unwrap_or(arn));
            }
        });
    }

    fn account_texts(&self, id: AccountId, element: &mut Document) {
        let account = self.accounts().by_id(id);
        let number = id.to_string();
        // The account may have left the configuration; its number still tells whose it is.
        let canonical_id = account.map_or(number.as_str(), |account| account.canonical_id.as_str());
        let display_name = account.map_or(number.as_str(), |account| account.display_name.as_str());
        element.text("ID", canonical_id);
        element.text("DisplayName", display_name);
    }
}

/// Runs what takes several commits to its end, also when the client leaves meanwhile: a bucket that is neither there nor
/// gone would be in everybody's way until the next start.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, StorageError>> + Send + 'static,
) -> Result<Result<T, StorageError>, Failure> {
    tokio::spawn(work).await.map_err(Failure::internal)
}

fn misrouted(operation: Operation) -> Failure {
    Failure::internal(format!("{} was routed to the wrong kind of target", operation.name()))
}

/// A version id as headers and documents show it.
fn version_text(version: ReturnedVersion) -> String {
    match version {
        ReturnedVersion::Null => "null".to_owned(),
        ReturnedVersion::Id(id) => id.to_string(),
    }
}

/// A version id as a header's value.
fn version_header(version: ReturnedVersion) -> HeaderValue {
    headers::value(&version_text(version))
}

/// A new version's id. A `null` version, as a bucket without versioning or with suspended versioning gets it, goes unnamed
/// (as Ceph's s3-tests expect it of S3: `test_versioning_bucket_atomic_upload_return_version_id`).
fn new_version_into_headers(object: &ObjectVersion, headers: &mut HeaderMap) {
    if !object.is_null {
        headers.insert(VERSION_ID, version_header(object.shown()));
    }
}

/// The version id, which only buckets that ever had versioning show.
fn version_into_headers(bucket: &Bucket, object: &ObjectVersion, headers: &mut HeaderMap) {
    if bucket.versioning != Versioning::Unversioned {
        headers.insert(VERSION_ID, version_header(object.shown()));
    }
}
