//! Managed policies and their versions.

use crate::identity::directory::no_policy;
use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::{
    DESCRIPTION_CHARS_MAX, MANAGED_POLICY_CHARS_MAX, NAME_CHARS_MAX, POLICIES_MAX, POLICY_VERSIONS_MAX,
};
use crate::identity::name::{arn, check_length, check_name, check_path, check_tags};
use crate::identity::{Directory, ManagedPolicy, PolicyVersion, Tag, folded};
use crate::policy::PolicyKind;

use super::{Stamp, check_document};

/// A policy to be made.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its first version.
    pub document: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Directory {
    /// Makes a managed policy.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `MalformedPolicyDocument`, `ValidationError`.
    pub fn create_policy(&mut self, new: NewPolicy, stamp: Stamp) -> Result<&ManagedPolicy, Fault> {
        check_name("policyName", &new.name, NAME_CHARS_MAX)?;
        check_path("path", &new.path)?;
        check_tags(&new.tags)?;
        check_length("description", new.description.as_deref().unwrap_or_default(), 0..=DESCRIPTION_CHARS_MAX)?;
        check_size(&new.document)?;
        let row = folded(&new.name);
        if self.policies.get(&row).is_some() {
            let message = format!("A policy called {} already exists. Duplicate names are not allowed.", new.name);
            return Err(Fault::new(FaultKind::EntityAlreadyExists, message));
        }
        if self.policies.len() >= POLICIES_MAX {
            return Err(Fault::limit("PoliciesPerAccount", POLICIES_MAX));
        }
        let policy_arn = arn(self.account(), "policy", &new.path, &new.name);
        self.policies.put(ManagedPolicy {
            name: new.name,
            path: new.path,
            id: stamp.id,
            created_ms: stamp.now_ms,
            updated_ms: stamp.now_ms,
            description: new.description,
            versions: vec![PolicyVersion { number: 1, document: new.document, created_ms: stamp.now_ms }],
            default_version: 1,
            next_version: 2,
            tags: new.tags,
        });
        self.policy(&policy_arn)
    }

    /// Adds a version, which comes into force at once if it is to be the default.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `MalformedPolicyDocument`.
    pub fn create_policy_version(
        &mut self,
        policy_arn: &str,
        document: String,
        set_as_default: bool,
        now_ms: u64,
    ) -> Result<&PolicyVersion, Fault> {
        self.policy(policy_arn)?;
        check_size(&document)?;
        let policy = self.policy_mut(policy_arn)?;
        if policy.versions.len() >= POLICY_VERSIONS_MAX {
            return Err(Fault::new(
                FaultKind::LimitExceeded,
                "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing \
                 version.",
            ));
        }
        let number = policy.next_version;
        policy.next_version += 1;
        policy.updated_ms = now_ms;
        if set_as_default {
            policy.default_version = number;
        }
        policy.versions.push(PolicyVersion { number, document, created_ms: now_ms });
        Ok(policy.versions.last().expect("a version was just pushed"))
    }

    /// Brings another version into force.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn set_default_version(&mut self, policy_arn: &str, number: u32, now_ms: u64) -> Result<(), Fault> {
        let policy = self.policy_mut(policy_arn)?;
        if policy.version(number).is_none() {
            return Err(no_version(policy_arn, number));
        }
        policy.default_version = number;
        policy.updated_ms = now_ms;
        Ok(())
    }

    /// Removes a version that is not in force.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_policy_version(&mut self, policy_arn: &str, number: u32) -> Result<(), Fault> {
        let policy = self.policy_mut(policy_arn)?;
        if policy.version(number).is_none() {
            return Err(no_version(policy_arn, number));
        }
        if policy.default_version == number {
            return Err(Fault::conflict("Cannot delete the default version of a policy."));
        }
        policy.versions.retain(|version| version.number != number);
        Ok(())
    }

    /// Removes a policy that is not in use.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_policy(&mut self, policy_arn: &str) -> Result<(), Fault> {
        let row = self.policy_row(policy_arn)?;
        if self.attachments(policy_arn) > 0 || self.bounded(policy_arn) > 0 {
            return Err(Fault::conflict("Cannot delete a policy attached to entities."));
        }
        if self.policy(policy_arn)?.versions.len() > 1 {
            return Err(Fault::conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
                 The default version is deleted with the policy.",
            ));
        }
        self.policies.remove(&row);
        Ok(())
    }

    pub(super) fn policy_mut(&mut self, policy_arn: &str) -> Result<&mut ManagedPolicy, Fault> {
        let row = self.policy_row(policy_arn)?;
        self.policies.get_mut(&row).ok_or_else(|| no_policy(policy_arn))
    }
}

fn check_size(document: &str) -> Result<(), Fault> {
    if check_document(document, PolicyKind::Identity)? > MANAGED_POLICY_CHARS_MAX {
        return Err(Fault::limit("PolicySize", MANAGED_POLICY_CHARS_MAX));
    }
    Ok(())
}

fn no_version(policy_arn: &str, number: u32) -> Fault {
    Fault::new(
        FaultKind::NoSuchEntity,
        format!("Policy {policy_arn} version v{number} does not exist or is not attachable."),
    )
}
