//! The admin API: what AWS has no call for, under `/-/admin/v1` of the S3 endpoint. No bucket can have the name `-`.
//!
//! One file for each resource. A call is signed with version 4, in its header, for the service [`SERVICE`]: what was signed
//! for S3 is refused here, and the other way round. Bodies and answers are JSON; an error is `{"code", "message"}`. Who may
//! call is `authorize`'s business; `cairn`'s sub-commands are the client.

mod call;
mod decisions;
mod encryption_key;
pub(crate) mod jobs;
pub mod lifecycle;
mod lock_clock;
pub(crate) mod remotes;
pub(crate) mod replication;
mod restores;
mod tiers;

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::ops::{Bucket, BucketName, ListBuckets, Store};
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use s3s::{S3ErrorCode, S3Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::Audit;
use crate::authorize::{Action, Authorizer, BucketPolicies, Facts, Rules};
use crate::gate::Origin;
use crate::gate::verifier::{self, Dispatch};
use crate::identities::Identities;
use crate::key_store::KeyStore;
use crate::kms::Kms;
use crate::lifecycle_sweeps::Sweeps;
use crate::metrics::Metrics;
use crate::remotes::Remotes;
use crate::replication::Replication;
use crate::s3::Edge;
use crate::s3::error::{Failure, of_body};
use crate::s3::lifecycle::Lifecycle;
use crate::s3::request::{Answer, Query};

pub use call::{Call, is_path, route};

/// The service in the scope of a signature.
pub const SERVICE: &str = "cairn";

/// The type of every answer's body.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The longest body of a call.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The same for one with a document of S3's in it, which JSON may make twice as long.
const BODY_WITH_DOCUMENT_BYTES_MAX: usize = (2 << 20) + BODY_BYTES_MAX;

/// A failure as the admin API shows it.
pub fn error_document(failure: &Failure) -> String {
    serde_json::json!({ "code": failure.code(), "message": failure.message() }).to_string()
}

/// What the calls work with.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The objects, and the clock of their locks.
    pub store: Store,
    /// Who may call.
    pub identities: Arc<Identities>,
    /// The buckets' policies.
    pub policies: Arc<BucketPolicies>,
    /// The server's region.
    pub region: String,
    /// What was decided about requests.
    pub audit: Arc<Audit>,
    /// The keys that objects are sealed under.
    pub key_store: Arc<KeyStore>,
    /// KMS keys.
    pub kms: Arc<Kms>,
    /// Rules about objects' age.
    pub lifecycle: Arc<Lifecycle>,
    /// What carries these rules out.
    pub sweeps: Arc<Sweeps>,
    /// Buckets' replication.
    pub replication: Arc<Replication>,
    /// Other S3 services.
    pub remotes: Remotes,
    /// What is measured.
    pub metrics: Arc<Metrics>,
}

impl Admin {
    /// Calls that work with what the operations of S3 work with.
    pub fn new(edge: &Edge, audit: &Arc<Audit>, metrics: &Arc<Metrics>) -> Self {
        Self {
            audit: Arc::clone(audit),
            metrics: Arc::clone(metrics),
            store: edge.store.clone(),
            identities: Arc::clone(&edge.identities),
            policies: Arc::clone(&edge.policies),
            region: edge.region.clone(),
            key_store: Arc::clone(&edge.encryption.key_store),
            kms: Arc::clone(&edge.kms),
            lifecycle: Arc::clone(&edge.lifecycle),
            sweeps: Arc::clone(&edge.sweeps),
            replication: Arc::clone(&edge.replication),
            remotes: edge.remotes.clone(),
        }
    }

    /// A page of the account's buckets, in the order of their names, and the name after which there may be more.
    async fn buckets_after(
        &self,
        account: AccountId,
        after: Option<String>,
        max_buckets: usize,
    ) -> Result<(Vec<Bucket>, Option<String>), StorageError> {
        let page = self.store.list_buckets(account, ListBuckets { prefix: String::new(), after, max_buckets }).await?;
        let mut buckets = Vec::new();
        for name in page.buckets.iter().filter_map(|summary| BucketName::new(&summary.name)) {
            match self.store.bucket(&name).await {
                Ok(bucket) => buckets.push(bucket),
                // It has gone since it was listed.
                Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((buckets, page.next))
    }
}

impl Dispatch for Admin {
    async fn dispatch(&self, mut request: S3Request<s3s::Body>) -> Result<Answer, Failure> {
        let call: Call = request.extensions.remove().ok_or_else(|| Failure::internal("a call passed by the gate"))?;
        let signer = verifier::signer(&mut request)?;
        let Origin { connection, signature, trail } =
            request.extensions.remove().ok_or_else(|| Failure::internal("a call from nowhere"))?;
        let query = Query::default();
        let facts = Facts {
            operation: None,
            headers: &request.headers,
            query: &query,
            connection,
            signature,
            now: self.store.clock().now(),
            region: &self.region,
        };
        let identities = self.identities.snapshot();
        let rules = Rules { store: &self.store, identities: &identities, policies: &self.policies };
        let authorizer = Authorizer::new(rules, rules.caller(signer.as_ref())?, facts, trail)?;
        match call {
            Call::GetDecision(id) => decisions::get_decision(self, authorizer.account("cairn:GetDecision")?, &id).await,
            Call::GetLockClock => lock_clock::get_lock_clock(self, &authorizer.server("cairn:GetLockClock")?),
            Call::AcceptWallClock => {
                lock_clock::accept_wall_clock(self, authorizer.server("cairn:AcceptWallClock")?).await
            }
            Call::ListRestores { after } => {
                restores::list_restores(self, authorizer.account("cairn:ListRestores")?, after).await
            }
            Call::StartRestore => {
                authorizer.refuse_anonymous()?;
                let document: restores::StartDocument = read(request.input, BODY_BYTES_MAX).await?;
                let authorized = authorizer.bucket_for(Action::RestoreBucket, &document.bucket).await?;
                restores::start_restore(self, authorized, document).await
            }
            Call::GetRestore { bucket } => {
                restores::get_restore(self, authorizer.bucket_for(Action::RestoreBucket, &bucket).await?).await
            }
            Call::CancelRestore { bucket } => {
                restores::cancel_restore(self, authorizer.bucket_for(Action::RestoreBucket, &bucket).await?).await
            }
            Call::RunLifecycle { bucket } => {
                lifecycle::run_lifecycle(self, authorizer.bucket_for(Action::RunLifecycle, &bucket).await?).await
            }
            Call::PauseLifecycle { bucket, paused } => {
                let authorized = authorizer.bucket_for(Action::RunLifecycle, &bucket).await?;
                lifecycle::pause_lifecycle(self, authorized, paused).await
            }
            Call::GetReplication { bucket } => {
                let authorized = authorizer.bucket_for(Action::GetReplication, &bucket).await?;
                replication::get_replication(self, authorized).await
            }
            Call::ListFailedReplication { bucket } => {
                let authorized = authorizer.bucket_for(Action::GetReplication, &bucket).await?;
                replication::list_failed(self, authorized).await
            }
            Call::WalkReplication { bucket, kind } => {
                let authorized = authorizer.bucket_for(Action::RunReplication, &bucket).await?;
                let document: replication::WalkDocument = read(request.input, BODY_BYTES_MAX).await?;
                replication::start_walk(self, authorized, document, kind).await
            }
            Call::GetReplicationReport { bucket, job, after } => {
                let authorized = authorizer.bucket_for(Action::GetReplication, &bucket).await?;
                replication::get_report(self, authorized, job.as_deref(), after).await
            }
            Call::RetryReplication { bucket } => {
                let authorized = authorizer.bucket_for(Action::RunReplication, &bucket).await?;
                replication::retry_failed(self, authorized).await
            }
            Call::PauseAllLifecycles { paused } => {
                lifecycle::pause_all_lifecycles(self, authorizer.server("cairn:PauseAllLifecycles")?, paused).await
            }
            Call::GetLifecycle { bucket } => {
                lifecycle::get_lifecycle(self, authorizer.bucket_for(Action::PlanLifecycle, &bucket).await?).await
            }
            Call::ListLifecycles { after } => {
                lifecycle::list_lifecycles(self, authorizer.account("cairn:ListLifecycles")?, after).await
            }
            Call::PlanLifecycle => {
                authorizer.refuse_anonymous()?;
                let question: lifecycle::PlanQuestion = read(request.input, BODY_WITH_DOCUMENT_BYTES_MAX).await?;
                let authorized = authorizer.bucket_for(Action::PlanLifecycle, &question.bucket).await?;
                lifecycle::plan_lifecycle(self, authorized, question).await
            }
            Call::ListTiers => tiers::list_tiers(self, authorizer.server("cairn:ListTiers")?).await,
            Call::MoveFiles { bucket } => {
                tiers::move_files(self, authorizer.server("cairn:MoveFiles")?, bucket.as_deref()).await
            }
            Call::ListRemotes => remotes::list_remotes(self, authorizer.server("cairn:ListRemotes")?).await,
            Call::AddRemote => {
                let authorized = authorizer.server("cairn:AddRemote")?;
                remotes::add_remote(self, authorized, read(request.input, BODY_BYTES_MAX).await?).await
            }
            Call::RemoveRemote { name } => {
                remotes::remove_remote(self, authorizer.server("cairn:RemoveRemote")?, &name).await
            }
            Call::TestRemote { name } => {
                let authorized = authorizer.server("cairn:TestRemote")?;
                remotes::test_remote(self, authorized, &name, read(request.input, BODY_BYTES_MAX).await?).await
            }
            Call::ListJobs => jobs::list_jobs(self, authorizer.server("cairn:ListJobs")?).await,
            Call::GetJob(id) => jobs::get_job(self, authorizer.server("cairn:GetJob")?, &id).await,
            Call::ChangeJob { id, change } => {
                jobs::change_job(self, authorizer.server("cairn:ChangeJob")?, &id, change).await
            }
            Call::GetEncryptionKey => {
                encryption_key::get_encryption_key(self, &authorizer.server("cairn:GetEncryptionKey")?)
            }
            Call::RotateEncryptionKey => {
                encryption_key::rotate_encryption_key(self, authorizer.server("cairn:RotateEncryptionKey")?).await
            }
            Call::RewrapDataKeys => {
                let authorized = authorizer.server("cairn:RewrapDataKeys")?;
                encryption_key::rewrap(self, authorized, read(request.input, BODY_BYTES_MAX).await?).await
            }
            Call::RetireEncryptionKey => {
                encryption_key::retire_encryption_key(self, authorizer.server("cairn:RetireEncryptionKey")?).await
            }
        }
    }
}

/// The document in a call's body, which reading it to its end holds to the hash that was signed.
async fn read<T: DeserializeOwned>(mut body: s3s::Body, bytes_max: usize) -> Result<T, Failure> {
    let mut text = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| of_body(error.as_ref()))?;
        if text.len() + piece.len() > bytes_max {
            return Err(S3ErrorCode::MaxMessageLengthExceeded.into());
        }
        text.extend_from_slice(&piece);
    }
    serde_json::from_slice(&text)
        .map_err(|error| Failure::custom("MalformedJSON", StatusCode::BAD_REQUEST, format!("The body: {error}.")))
}

/// 200 with a document.
fn json(document: &impl Serialize) -> Result<Answer, Failure> {
    let text = serde_json::to_string(document).map_err(Failure::internal)?;
    let mut answer = Answer::empty(StatusCode::OK).header(CONTENT_TYPE, JSON);
    answer.body = s3s::Body::from(text);
    Ok(answer)
}
