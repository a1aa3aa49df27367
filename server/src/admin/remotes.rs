//! Other S3 services: those of the settings and those that were added here, adding and removing them, and trying whether one answers.
//! `cairn remote` reads the same documents as are written here.

use std::borrow::Cow;
use std::time::Duration;

use cairn_replication::client::Client;
use cairn_replication::remote::Remote;
use cairn_storage::StorageError;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::ops::{Bucket, BucketName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::authorize::{Authorized, OnServer};
use crate::remotes::{About, ChangeError};
use crate::replication::status;
use crate::s3::error::Failure;
use crate::s3::request::Answer;
use crate::wiring;

use super::restores::time_text;
use super::{Admin, json};

/// How many of the buckets that replicate to a remote are named.
const BUCKETS_NAMED_MAX: usize = 100;

/// How long a remote may take to answer when it is tried.
const TEST_TIMEOUT: Duration = Duration::from_secs(40);

#[derive(Serialize, Deserialize)]
pub(crate) struct RemotesDocument {
    pub(crate) remotes: Vec<RemoteDocument>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RemoteDocument {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) region: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) bandwidth_limit: Option<u64>,
    /// Whose buckets may replicate there; none: the first account's alone.
    pub(crate) accounts: Vec<String>,
    /// `config` or `call`.
    pub(crate) origin: Cow<'static, str>,
    /// Buckets that replicate there, the first of them.
    pub(crate) buckets: Vec<String>,
    /// Why it cannot be used, or why replication holds it to be down.
    pub(crate) down: Option<String>,
    /// When replication asks it again.
    pub(crate) down_until: Option<String>,
}

impl From<About> for RemoteDocument {
    fn from(about: About) -> Self {
        Self {
            name: about.name,
            endpoint: about.endpoint,
            region: about.region,
            access_key: about.access_key,
            bandwidth_limit: about.bandwidth_limit,
            accounts: about.accounts.iter().map(ToString::to_string).collect(),
            origin: if about.is_added { "call" } else { "config" }.into(),
            buckets: Vec::new(),
            down: about.fault,
            down_until: None,
        }
    }
}

/// A remote to add.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddDocument {
    /// As a `[[remote]]` of the settings.
    remote: serde_json::Value,
    /// Also in place of one that was added under its name.
    #[serde(default)]
    replace: bool,
}

/// What to try a remote with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestDocument {
    bucket: String,
}

/// What a remote answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct TestedDocument {
    /// `cairn`, or `s3` for any other server; None: it says of no such bucket.
    pub(crate) server: Option<Cow<'static, str>>,
    /// The bucket can be listed.
    pub(crate) lists: bool,
    /// What it, or the network, says against it.
    pub(crate) error: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct RemovedDocument {
    pub(crate) removed: String,
}

pub(super) async fn list_remotes(admin: &Admin, _: Authorized<OnServer>) -> Result<Answer, Failure> {
    let mut remotes: Vec<RemoteDocument> = admin.remotes.all().into_iter().map(RemoteDocument::from).collect();
    for bucket in replicating(admin).await? {
        for rule in status::of_bucket(&admin.store, &admin.replication, &bucket).await? {
            let goes_to =
                |remote: &&mut RemoteDocument| rule.target.starts_with(&format!("arn:aws:s3:{}::", remote.name));
            let Some(remote) = remotes.iter_mut().find(goes_to) else { continue };
            let name = bucket.name.as_str();
            if remote.buckets.len() < BUCKETS_NAMED_MAX && remote.buckets.last().is_none_or(|last| last != name) {
                remote.buckets.push(name.to_owned());
            }
            if let Some(until) = rule.lane.down_until {
                remote.down_until = Some(time_text(until));
                remote.down = rule.lane.last_error.or(remote.down.take());
            }
        }
    }
    json(&RemotesDocument { remotes })
}

pub(super) async fn add_remote(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    document: AddDocument,
) -> Result<Answer, Failure> {
    let added = admin.remotes.add(&document.remote, document.replace).await.map_err(failure)?;
    tracing::info!(account = %authorized.account().id, remote = added.name, "an operator added a remote");
    json(&RemoteDocument::from(added))
}

/// Removes a remote that no bucket's rules name. Rules that come at the same moment are not seen; they find that it is gone.
pub(super) async fn remove_remote(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    name: &str,
) -> Result<Answer, Failure> {
    for bucket in replicating(admin).await? {
        let rules = admin.replication.rules.of(&admin.store, &bucket).await?;
        let goes_there =
            |rule: &cairn_replication::rules::Rule| rule.destination.target.remote.as_deref() == Some(name);
        if rules.is_some_and(|rules| rules.rules.iter().any(goes_there)) {
            let message = format!("The bucket {} replicates to the remote {name}.", bucket.name.as_str());
            return Err(Failure::custom("RemoteInUse", StatusCode::CONFLICT, message));
        }
    }
    admin.remotes.remove(name).await.map_err(failure)?;
    tracing::info!(account = %authorized.account().id, remote = name, "an operator removed a remote");
    json(&RemovedDocument { removed: name.to_owned() })
}

/// Asks a remote about a bucket, and to list it.
pub(super) async fn test_remote(
    admin: &Admin,
    _: Authorized<OnServer>,
    name: &str,
    document: TestDocument,
) -> Result<Answer, Failure> {
    let client = admin.remotes.client(name).ok_or_else(|| failure(ChangeError::Missing(name.to_owned())))?;
    let tested = tokio::time::timeout(TEST_TIMEOUT, test(client, &document.bucket)).await;
    json(&tested.unwrap_or_else(|_| TestedDocument {
        server: None,
        lists: false,
        error: Some(format!("it did not answer within {} s", TEST_TIMEOUT.as_secs())),
    }))
}

async fn test(client: Client, bucket: &str) -> TestedDocument {
    let server = match Remote::discover(client.clone(), bucket).await {
        Ok(remote) => {
            if remote.is_cairn() {
                "cairn"
            } else {
                "s3"
            }
        }
        Err(failure) => return TestedDocument { server: None, lists: false, error: Some(failure.to_string()) },
    };
    let listed = client.list(bucket, "", None).await;
    let error = listed.as_ref().err().map(|error| wiring::chain(error));
    TestedDocument { server: Some(server.into()), lists: listed.is_ok(), error }
}

/// The buckets that have rules.
async fn replicating(admin: &Admin) -> Result<Vec<Bucket>, Failure> {
    let mut buckets = Vec::new();
    for (name, entry) in admin.store.all_buckets().await? {
        let Some(name) = BucketName::new(&name).filter(|_| entry.state == EntryState::Active) else { continue };
        match admin.store.bucket(&name).await {
            Ok(bucket) => buckets.extend(Some(bucket).filter(|bucket| bucket.replication.is_some())),
            // It was deleted meanwhile.
            Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(buckets)
}

fn failure(error: ChangeError) -> Failure {
    let said = |code, status| Failure::custom(code, status, format!("{}.", wiring::chain(&error)));
    match &error {
        ChangeError::Declared(_) | ChangeError::Exists(_) => said("RemoteExists", StatusCode::CONFLICT),
        ChangeError::Missing(_) => said("NoSuchRemote", StatusCode::NOT_FOUND),
        ChangeError::TooMany => said("LimitExceeded", StatusCode::BAD_REQUEST),
        ChangeError::Invalid(_) | ChangeError::Unusable(_) => said("InvalidRemote", StatusCode::BAD_REQUEST),
        ChangeError::Seal(_) => Failure::internal(error),
        ChangeError::Storage(_) => match error {
            ChangeError::Storage(error) => error.into(),
            error => Failure::internal(error),
        },
    }
}
