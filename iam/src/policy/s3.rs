//! What a bucket's policy may say beyond the language: actions, resources and condition keys that S3 knows (Service
//! authorization reference, "Actions, resources, and condition keys for Amazon S3").

use super::error::Fault;
use super::statement::Statement;
use super::{Policy, PolicyError};
use crate::s3_actions::{Level, S3_ACTIONS};

/// S3's condition keys, in lower case. One that ends in `/` goes on with the name of a tag.
const CONDITION_KEYS: [&str; 48] = [
    "s3:accessgrantsinstancearn",
    "s3:accesspointnetworkorigin",
    "s3:authtype",
    "s3:buckettag/",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:delimiter",
    "s3:destinationregion",
    "s3:existingjoboperation",
    "s3:existingjobpriority",
    "s3:existingobjecttag/",
    "s3:if-match",
    "s3:if-none-match",
    "s3:inventoryaccessibleoptionalfields",
    "s3:isreplicationpauserequest",
    "s3:jobsuspendedcause",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:objectcreationoperation",
    "s3:prefix",
    "s3:requestjoboperation",
    "s3:requestjobpriority",
    "s3:requestobjecttag/",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:tlsversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
];

impl Policy {
    /// Whether S3 takes it as the policy of a bucket: each resource is the bucket, lies in it, or is `*`; actions and condition
    /// keys are S3's; and each action of a statement can be done to one of its resources.
    ///
    /// # Errors
    /// If not; the error displays as S3's message.
    pub fn check_bucket(&self, bucket: &str) -> Result<(), PolicyError> {
        let check = |statement: &Statement| check_statement(statement, bucket);
        self.0.statements.iter().try_for_each(check).map_err(|fault| PolicyError { kind: self.0.kind, fault })
    }
}

fn check_statement(statement: &Statement, bucket: &str) -> Result<(), Fault> {
    let mut levels = Vec::new();
    if let Some(resources) = &statement.resources {
        for resource in &resources.written {
            let level = level_in_bucket(resource, bucket).ok_or_else(|| Fault::Resource(resource.clone()))?;
            levels.extend(level);
            if resources.except || level.is_none() {
                levels.extend([Level::Bucket, Level::Object]);
            }
        }
    }
    let actions = &statement.actions;
    for (pattern, written) in actions.patterns.iter().zip(&actions.written) {
        let known = || S3_ACTIONS.iter().filter(|(name, _)| pattern.matches_ascii_ignoring_case(name));
        if known().next().is_none() {
            return Err(Fault::Action(written.clone()));
        }
        if !actions.except && !known().any(|(_, level)| levels.contains(level)) {
            return Err(Fault::ActionWithoutResource);
        }
    }
    let keys = statement.conditions.iter().map(|condition| &condition.key);
    match keys.filter(|key| key.lower.starts_with("s3:")).find(|key| !is_known_key(&key.lower)) {
        None => Ok(()),
        Some(unknown) => Err(Fault::ConditionKey(unknown.written.to_string())),
    }
}

/// What a resource in a bucket is; none for `*`, which is the bucket and its objects. None: it lies outside.
fn level_in_bucket(resource: &str, bucket: &str) -> Option<Option<Level>> {
    if resource == "*" {
        return Some(None);
    }
    match resource.strip_prefix("arn:aws:s3:::")?.strip_prefix(bucket)? {
        "" => Some(Some(Level::Bucket)),
        rest => rest.starts_with('/').then_some(Some(Level::Object)),
    }
}

fn is_known_key(key: &str) -> bool {
    CONDITION_KEYS.iter().any(|known| if known.ends_with('/') { key.starts_with(known) } else { key == *known })
}
