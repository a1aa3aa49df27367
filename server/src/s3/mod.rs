//! The S3 operations: one file each, from headers and documents to storage's types and back.
//!
//! `s3s` calls [`Edge`] once it has verified a request's signature and put the decoding of a chunked body in front of it;
//! which operation it is, the gate decided before. All operations enter through `s3s`'s custom route rather than its trait
//! of typed operations: the typed ones refuse what S3 accepts (a `Range` that is none, lists of ETags, repeated metadata),
//! cannot answer a HEAD with 206, and cannot list keys with control characters.

pub mod acl;
pub mod attributes;
pub mod checksum;
pub mod conditions;
pub mod copy_source;
pub mod encoding;
pub mod error;
pub mod headers;
pub mod object_lock;
pub mod range;
pub mod request;
pub mod tags;
pub mod token;
pub mod xml;

mod abort_upload;
mod accelerate;
mod bucket_tagging;
mod complete_upload;
mod copy_object;
mod create_bucket;
mod create_upload;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod get_acl;
mod get_bucket_location;
mod get_bucket_versioning;
mod get_object_attributes;
mod head_bucket;
mod legal_hold;
mod list_buckets;
mod list_objects;
mod list_parts;
mod list_uploads;
mod list_versions;
mod lock_configuration;
mod object_tagging;
mod ownership_controls;
mod put_acl;
mod put_bucket_versioning;
mod put_object;
mod read_object;
mod request_payment;
mod retention;
mod upload_part;
mod upload_part_copy;

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::ObjectOwnership;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::{ReturnedVersion, Store};
use http::{Extensions, HeaderMap, HeaderValue, Method, Uri};
use s3s::route::S3Route;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::auth::Claim;
use crate::authorize::{Action, Authorizer};
use crate::config::RecreateOwn;
use crate::gate::Routed;
use crate::gate::body::Unmeasured;
use crate::gate::routes::Operation;
use crate::identities::{Accounts, Identities};

use error::Failure;
use headers::REQUEST_CHARGED;
use request::{Answer, Request, Target};
use xml::Document;

/// What the operations work with.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The objects.
    pub store: Store,
    /// Who owns them, and who may use them.
    pub identities: Arc<Identities>,
    /// The region that buckets are in.
    pub region: String,
    /// What creating a bucket that one already owns answers.
    pub recreate_own: RecreateOwn,
    /// Who owns what is written into new buckets.
    pub object_ownership: ObjectOwnership,
}

/// Marks an answer as an operation's. What comes without it is `s3s`'s own refusal.
#[derive(Clone, Copy, Debug)]
pub struct Answered;

/// An operation's failure, on its way to the gate, which writes the answer.
#[derive(Clone, Debug)]
pub struct Failed(pub Arc<Failure>);

#[async_trait]
impl S3Route for Edge {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    /// Nothing here: authorization is in `dispatch`, where the operation is known.
    async fn check_access(&self, _: &mut S3Request<s3s::Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, request: S3Request<s3s::Body>) -> S3Result<S3Response<s3s::Body>> {
        Ok(respond(self.dispatch(request).await))
    }
}

/// An operation's answer or failure on its way through `s3s` to the gate.
pub fn respond(outcome: Result<Answer, Failure>) -> S3Response<s3s::Body> {
    match outcome {
        Ok(answer) => {
            let mut response = S3Response::with_headers(answer.body, answer.headers);
            response.status = Some(answer.status);
            response.extensions.insert(Answered);
            response
        }
        Err(failure) => {
            let mut response = S3Response::with_status(s3s::Body::empty(), failure.status_code());
            response.extensions.insert(Failed(Arc::new(failure)));
            response
        }
    }
}

/// Required by `s3s` and never asked, since every request takes the route.
#[derive(Clone, Copy, Debug)]
pub struct NoTypedOperations;

impl S3 for NoTypedOperations {}

/// The futures of the operations that take bodies in, or do much, are boxed: every request would else be handled in, and
/// copied as, a future with room for the largest.
impl Edge {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let routed: Routed =
            request.extensions.remove().ok_or_else(|| Failure::internal("a request passed by the gate"))?;
        let verified_by_s3s = request.credentials.as_ref().map(|credentials| credentials.access_key.as_str());
        let signer = Claim::confirm(request.extensions.remove(), verified_by_s3s)?;
        let authorizer = Authorizer::new(
            &self.store,
            &self.identities.snapshot(),
            signer.as_ref(),
            &request.headers,
            &routed.query,
        )?;
        let unmeasured = request.extensions.remove().and_then(|body: Unmeasured| body.take());
        let request = Request {
            path: request.uri.path().to_owned(),
            query: routed.query,
            headers: request.headers,
            is_verified: unmeasured.is_none(),
            body: unmeasured.unwrap_or(request.input),
            trailers: request.trailing_headers,
        };
        let answer = match routed.target {
            Target::Service => self.on_service(&authorizer, request).await,
            Target::Bucket(bucket) => self.on_bucket(routed.operation, &authorizer, &bucket, request).await,
            Target::Object { bucket, key } => {
                let target = (bucket.as_str(), &key);
                match routed.operation {
                    Operation::CopyObject | Operation::UploadPartCopy => {
                        self.on_copy(routed.operation, &authorizer, target, request).await
                    }
                    operation => self.on_object(operation, &authorizer, target, request).await,
                }
            }
        }?;
        if authorizer.charged() {
            return Ok(answer.header(REQUEST_CHARGED, HeaderValue::from_static("requester")));
        }
        Ok(answer)
    }

    async fn on_service(&self, authorizer: &Authorizer<'_>, request: Request) -> Result<Answer, Failure> {
        list_buckets::list_buckets(self, authorizer.service()?, request).await
    }

    async fn on_bucket(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        name: &str,
        request: Request,
    ) -> Result<Answer, Failure> {
        let on = |action| authorizer.bucket(action, name);
        match operation {
            Operation::CreateBucket => create_bucket::create_bucket(self, authorizer.new_bucket(name)?, request).await,
            Operation::DeleteBucket => delete_bucket::delete_bucket(self, on(Action::DeleteBucket).await?).await,
            Operation::DeleteObjects => {
                let governance = authorizer.governance(&request.headers, name).await;
                Box::pin(delete_objects::delete_objects(self, on(Action::DeleteObject).await?, governance, request))
                    .await
            }
            Operation::GetObjectLockConfiguration => {
                lock_configuration::get_lock_configuration(&on(Action::GetBucketObjectLockConfiguration).await?)
            }
            Operation::PutObjectLockConfiguration => {
                let authorized = on(Action::PutBucketObjectLockConfiguration).await?;
                lock_configuration::put_lock_configuration(self, authorized, request).await
            }
            Operation::GetBucketLocation => {
                Ok(get_bucket_location::get_bucket_location(&on(Action::GetBucketLocation).await?))
            }
            Operation::GetBucketVersioning => {
                Ok(get_bucket_versioning::get_bucket_versioning(&on(Action::GetBucketVersioning).await?))
            }
            Operation::HeadBucket => Ok(head_bucket::head_bucket(&on(Action::ListBucket).await?)),
            Operation::ListMultipartUploads => {
                list_uploads::list_uploads(self, on(Action::ListBucketMultipartUploads).await?, request).await
            }
            Operation::ListObjects => list_objects::list_objects(self, on(Action::ListBucket).await?, request).await,
            Operation::ListObjectsV2 => {
                list_objects::list_objects_v2(self, on(Action::ListBucket).await?, request).await
            }
            Operation::GetBucketAccelerateConfiguration => {
                on(Action::GetAccelerateConfiguration).await?;
                Ok(accelerate::get_accelerate())
            }
            Operation::PutBucketAccelerateConfiguration => {
                on(Action::PutAccelerateConfiguration).await?;
                accelerate::put_accelerate(request).await
            }
            Operation::GetBucketTagging => {
                bucket_tagging::get_bucket_tagging(self, on(Action::GetBucketTagging).await?).await
            }
            Operation::PutBucketTagging => {
                bucket_tagging::put_bucket_tagging(self, on(Action::PutBucketTagging).await?, request).await
            }
            Operation::DeleteBucketTagging => {
                bucket_tagging::delete_bucket_tagging(self, on(Action::PutBucketTagging).await?).await
            }
            Operation::ListObjectVersions => {
                list_versions::list_versions(self, on(Action::ListBucketVersions).await?, request).await
            }
            Operation::PutBucketVersioning => {
                let authorized = on(Action::PutBucketVersioning).await?;
                put_bucket_versioning::put_bucket_versioning(self, authorized, request).await
            }
            operation => self.on_bucket_access(operation, authorizer, name, request).await,
        }
    }

    /// What says who may use a bucket.
    async fn on_bucket_access(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        name: &str,
        request: Request,
    ) -> Result<Answer, Failure> {
        let on = |action| authorizer.bucket(action, name);
        match operation {
            Operation::DeleteBucketOwnershipControls => {
                let authorized = on(Action::PutBucketOwnershipControls).await?;
                ownership_controls::delete_ownership_controls(self, authorized).await
            }
            Operation::GetBucketAcl => get_acl::get_bucket_acl(self, on(Action::GetBucketAcl).await?).await,
            Operation::GetBucketOwnershipControls => {
                ownership_controls::get_ownership_controls(&on(Action::GetBucketOwnershipControls).await?)
            }
            Operation::GetBucketRequestPayment => {
                Ok(request_payment::get_request_payment(&on(Action::GetBucketRequestPayment).await?))
            }
            Operation::PutBucketAcl => put_acl::put_bucket_acl(self, on(Action::PutBucketAcl).await?, request).await,
            Operation::PutBucketOwnershipControls => {
                let authorized = on(Action::PutBucketOwnershipControls).await?;
                ownership_controls::put_ownership_controls(self, authorized, request).await
            }
            Operation::PutBucketRequestPayment => {
                let authorized = on(Action::PutBucketRequestPayment).await?;
                request_payment::put_request_payment(self, authorized, request).await
            }
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_object(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        (bucket, key): (&str, &ObjectKey),
        request: Request,
    ) -> Result<Answer, Failure> {
        let on = |action| authorizer.object(action, bucket, key);
        for action in object_lock::actions_of(operation, &request.headers) {
            on(action).await?;
        }
        match operation {
            Operation::CreateMultipartUpload => {
                let authorized = on(Action::PutObject).await?;
                // A stranger could not be told from another who goes on with the upload.
                authorizer
                    .refuse_anonymous("Anonymous users cannot initiate multipart uploads. Please authenticate.")?;
                create_upload::create_upload(self, authorized, request).await
            }
            Operation::DeleteObject => {
                let governance = authorizer.governance(&request.headers, bucket).await;
                let action = of_version(&request, Action::DeleteObject, Action::DeleteObjectVersion);
                delete_object::delete_object(self, on(action).await?, governance, request).await
            }
            Operation::GetObjectLegalHold
            | Operation::GetObjectRetention
            | Operation::PutObjectLegalHold
            | Operation::PutObjectRetention => self.on_lock(operation, authorizer, (bucket, key), request).await,
            Operation::GetObject => {
                let action = of_version(&request, Action::GetObject, Action::GetObjectVersion);
                read_object::get_object(self, on(action).await?, request).await
            }
            Operation::GetObjectAttributes => {
                // S3 asks for the right to read the object as well.
                on(of_version(&request, Action::GetObject, Action::GetObjectVersion)).await?;
                let action = of_version(&request, Action::GetObjectAttributes, Action::GetObjectVersionAttributes);
                let authorized = on(action).await?;
                get_object_attributes::get_object_attributes(self, authorized, request).await
            }
            Operation::HeadObject => {
                let action = of_version(&request, Action::GetObject, Action::GetObjectVersion);
                read_object::head_object(self, on(action).await?, request).await
            }
            Operation::GetObjectTagging => {
                let action = of_version(&request, Action::GetObjectTagging, Action::GetObjectVersionTagging);
                object_tagging::get_object_tagging(self, on(action).await?, request).await
            }
            Operation::PutObjectTagging => {
                let action = of_version(&request, Action::PutObjectTagging, Action::PutObjectVersionTagging);
                object_tagging::put_object_tagging(self, on(action).await?, request).await
            }
            Operation::DeleteObjectTagging => {
                let action = of_version(&request, Action::DeleteObjectTagging, Action::DeleteObjectVersionTagging);
                object_tagging::delete_object_tagging(self, on(action).await?, request).await
            }
            Operation::GetObjectAcl => {
                let action = of_version(&request, Action::GetObjectAcl, Action::GetObjectVersionAcl);
                get_acl::get_object_acl(self, on(action).await?, request).await
            }
            Operation::PutObjectAcl => {
                let action = of_version(&request, Action::PutObjectAcl, Action::PutObjectVersionAcl);
                put_acl::put_object_acl(self, on(action).await?, request).await
            }
            Operation::PutObject => Box::pin(put_object::put_object(self, on(Action::PutObject).await?, request)).await,
            operation => self.on_upload(operation, authorizer, (bucket, key), request).await,
        }
    }

    /// What goes on with a multipart upload, or ends it.
    async fn on_upload(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        (bucket, key): (&str, &ObjectKey),
        request: Request,
    ) -> Result<Answer, Failure> {
        let id = upload_part::upload_id(&request.query);
        let on = |action| authorizer.upload(action, bucket, key, id);
        match operation {
            Operation::AbortMultipartUpload => {
                abort_upload::abort_upload(self, on(Action::AbortMultipartUpload).await?, request).await
            }
            Operation::CompleteMultipartUpload => {
                Box::pin(complete_upload::complete_upload(self, on(Action::PutObject).await?, request)).await
            }
            Operation::ListParts => {
                list_parts::list_parts(self, on(Action::ListMultipartUploadParts).await?, request).await
            }
            Operation::UploadPart => {
                Box::pin(upload_part::upload_part(self, on(Action::PutObject).await?, request)).await
            }
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_lock(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        (bucket, key): (&str, &ObjectKey),
        request: Request,
    ) -> Result<Answer, Failure> {
        let on = |action| authorizer.object(action, bucket, key);
        match operation {
            Operation::GetObjectLegalHold => {
                legal_hold::get_legal_hold(self, on(Action::GetObjectLegalHold).await?, request).await
            }
            Operation::PutObjectLegalHold => {
                legal_hold::put_legal_hold(self, on(Action::PutObjectLegalHold).await?, request).await
            }
            Operation::GetObjectRetention => {
                retention::get_retention(self, on(Action::GetObjectRetention).await?, request).await
            }
            Operation::PutObjectRetention => {
                let governance = authorizer.governance(&request.headers, bucket).await;
                retention::put_retention(self, on(Action::PutObjectRetention).await?, governance, request).await
            }
            _ => Err(misrouted(operation)),
        }
    }

    async fn on_copy(
        &self,
        operation: Operation,
        authorizer: &Authorizer<'_>,
        (bucket, key): (&str, &ObjectKey),
        request: Request,
    ) -> Result<Answer, Failure> {
        for action in object_lock::actions_of(operation, &request.headers) {
            authorizer.object(action, bucket, key).await?;
        }
        let source = copy_source::parse(&request.headers)?;
        let target = match operation {
            Operation::CopyObject => authorizer.object(Action::PutObject, bucket, key).await?,
            _ => {
                let id = upload_part::upload_id(&request.query);
                authorizer.upload(Action::PutObject, bucket, key, id).await?
            }
        };
        let with_tags = operation == Operation::CopyObject && tags::of_copy(&request.headers)?.is_none();
        let authorized = authorizer.copy(target, source, with_tags).await?;
        if operation == Operation::CopyObject {
            Box::pin(copy_object::copy_object(self, authorized, request)).await
        } else {
            Box::pin(upload_part_copy::upload_part_copy(self, authorized, request)).await
        }
    }

    fn accounts(&self) -> &Accounts {
        self.identities.accounts()
    }

    /// Writes an `Owner`, or another element that names an account.
    fn account_element(&self, name: &str, id: AccountId, document: &mut Document) {
        document.element(name, |element| self.account_texts(id, element));
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

/// The action on the newest version, or on the one that the request names.
fn of_version(request: &Request, newest: Action, named: Action) -> Action {
    if request.query.get("versionId").is_some() { named } else { newest }
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
