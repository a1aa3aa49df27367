//! All identities of one account, in memory: one state, which changes make another of.
//!
//! Cloning shares the records. A change is made on a clone, and [`Directory::take_changes`] tells the rows that it takes;
//! whoever commits them makes the clone the current state. What policies a user or a role has is put together when it is
//! first asked for and kept with the state.

use std::sync::Arc;

use crate::acl::AccountNumber;
use crate::evaluate::Attached;
use crate::policy::Policy;
use crate::principal::Principal;

use super::entity::{
    AccessKey, Generation, Grants, Group, ManagedPolicy, MfaDevice, OidcProvider, PublicAccessBlock, Role, Settings,
    User,
};
use super::fault::{Fault, FaultKind};
use super::name::{arn, resource_of, split_path};
use super::policies::{self, PrincipalPolicies};
use super::record::{Kind, Record, RecordError, folded};
use super::table::{Change, Table};

/// The identities of an account.
#[derive(Clone, Debug)]
pub struct Directory {
    account: AccountNumber,
    generation: Generation,
    /// Users by name.
    pub users: Table<User, PrincipalPolicies>,
    /// Groups by name.
    pub groups: Table<Group, Vec<Attached>>,
    /// Roles by name.
    pub roles: Table<Role, PrincipalPolicies>,
    /// Managed policies by name.
    pub policies: Table<ManagedPolicy, Policy>,
    /// Access keys by their ids.
    pub keys: Table<AccessKey>,
    /// MFA devices by name.
    pub devices: Table<MfaDevice>,
    /// OIDC providers by URL.
    pub providers: Table<OidcProvider>,
    settings: Table<Settings>,
}

impl Directory {
    /// An account without identities.
    #[must_use]
    pub fn new(account: AccountNumber) -> Self {
        Self {
            account,
            generation: Generation::default(),
            users: Table::default(),
            groups: Table::default(),
            roles: Table::default(),
            policies: Table::default(),
            keys: Table::default(),
            devices: Table::default(),
            providers: Table::default(),
            settings: Table::default(),
        }
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> AccountNumber {
        self.account
    }

    /// How often it was changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Takes in a row of the account's partition. Rows of kinds that are not part of this are left.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), RecordError> {
        match key.first().copied() {
            Some(kind) if kind == Kind::Generation as u8 => self.generation = Generation::from_value(value)?,
            Some(kind) if kind == Kind::User as u8 => self.users.load(value)?,
            Some(kind) if kind == Kind::Group as u8 => self.groups.load(value)?,
            Some(kind) if kind == Kind::Role as u8 => self.roles.load(value)?,
            Some(kind) if kind == Kind::Policy as u8 => self.policies.load(value)?,
            Some(kind) if kind == Kind::AccessKey as u8 => self.keys.load(value)?,
            Some(kind) if kind == Kind::MfaDevice as u8 => self.devices.load(value)?,
            Some(kind) if kind == Kind::OidcProvider as u8 => self.providers.load(value)?,
            Some(kind) if kind == Kind::Settings as u8 => self.settings.load(value)?,
            _ => {}
        }
        Ok(())
    }

    /// The rows that were changed since the last time, the generation's among them; none if nothing was.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn take_changes(&mut self) -> Result<Vec<Change>, RecordError> {
        let mut changes = Vec::new();
        self.users.take_changes(&mut changes)?;
        self.groups.take_changes(&mut changes)?;
        self.roles.take_changes(&mut changes)?;
        self.policies.take_changes(&mut changes)?;
        self.keys.take_changes(&mut changes)?;
        self.devices.take_changes(&mut changes)?;
        self.providers.take_changes(&mut changes)?;
        self.settings.take_changes(&mut changes)?;
        if !changes.is_empty() {
            self.generation.number += 1;
            changes.push(Change { key: Kind::Generation.key(""), value: Some(self.generation.to_value()?) });
        }
        Ok(changes)
    }

    /// What is set for the account as a whole.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.get("").cloned().unwrap_or_default()
    }

    /// What the account blocks of public access. None: it says nothing of that.
    #[must_use]
    pub fn public_access_block(&self) -> Option<PublicAccessBlock> {
        self.settings.get("")?.public_access_block
    }

    /// Replaces what is set for the account as a whole.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings.put(settings);
    }

    /// The user of this name, in whatever case.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn user(&self, name: &str) -> Result<&User, Fault> {
        self.users.get(&folded(name)).ok_or_else(|| Fault::absent(Kind::User, name))
    }

    /// The group of this name.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn group(&self, name: &str) -> Result<&Group, Fault> {
        self.groups.get(&folded(name)).ok_or_else(|| Fault::absent(Kind::Group, name))
    }

    /// The role of this name.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn role(&self, name: &str) -> Result<&Role, Fault> {
        self.roles.get(&folded(name)).ok_or_else(|| Fault::absent(Kind::Role, name))
    }

    /// The account's own policy of this ARN, which must be as the policy's is.
    ///
    /// # Errors
    /// `NoSuchEntity`; `InvalidInput` if it is no policy's ARN.
    pub fn policy(&self, policy_arn: &str) -> Result<&ManagedPolicy, Fault> {
        let name = self.policy_row(policy_arn)?;
        self.policies.get(&name).ok_or_else(|| no_policy(policy_arn))
    }

    /// What a managed policy says, AWS's or the account's own. None: there is none of this ARN.
    #[must_use]
    pub fn find_managed_policy(&self, arn: &str) -> Option<Policy> {
        policies::find_managed_policy(self, arn)
    }

    /// The row's name of the account's own policy of this ARN.
    pub(super) fn policy_row(&self, policy_arn: &str) -> Result<String, Fault> {
        if !policy_arn.starts_with("arn:") {
            return Err(Fault::validation(format!("Invalid ARN: Could not be parsed! ({policy_arn})")));
        }
        let resource = resource_of(policy_arn, self.account, "policy").ok_or_else(|| no_policy(policy_arn))?;
        let (path, name) = split_path(resource);
        let name = folded(name);
        match self.policies.get(&name) {
            Some(policy) if policy.path == path => Ok(name),
            _ => Err(no_policy(policy_arn)),
        }
    }

    /// The groups that a user is in.
    pub fn groups_of<'d>(&'d self, user: &'d User) -> impl Iterator<Item = &'d Group> {
        self.groups.iter().filter(|group| user.groups.contains(&group.id))
    }

    /// The users of a group.
    pub fn members_of<'d>(&'d self, group: &'d Group) -> impl Iterator<Item = &'d User> {
        self.users.iter().filter(|user| user.groups.contains(&group.id))
    }

    /// The access keys of the user of this name, as it was given, or of the root (None).
    pub fn keys_of<'d>(&'d self, user: Option<&'d str>) -> impl Iterator<Item = &'d AccessKey> {
        self.keys.iter().filter(move |key| key.user.as_deref() == user)
    }

    /// The MFA devices that a user has enabled.
    pub fn devices_of<'d>(&'d self, user: &'d User) -> impl Iterator<Item = &'d MfaDevice> {
        self.devices
            .iter()
            .filter(|device| device.owner.as_ref().and_then(|owner| owner.user.as_deref()) == Some(user.name.as_str()))
    }

    /// The account's root.
    #[must_use]
    pub fn root(&self) -> Principal {
        Principal::Root(self.account)
    }

    /// A user as policies see it.
    #[must_use]
    pub fn principal_of(&self, user: &User) -> Principal {
        Principal::User { account: self.account, path: user.path.clone(), name: user.name.clone(), id: user.id.clone() }
    }

    /// What a user's policies are: its own, its groups', its boundary.
    #[must_use]
    pub fn policies_of_user(&self, name: &str) -> Option<&Arc<PrincipalPolicies>> {
        self.users.derived(&folded(name), |user| policies::of_user(self, user))
    }

    /// What a group's policies are.
    #[must_use]
    pub fn policies_of_group(&self, name: &str) -> Option<&Arc<Vec<Attached>>> {
        self.groups.derived(&folded(name), |group| policies::of_group(self, group))
    }

    /// The managed policy of an ARN, as it is attached to somebody. None: there is none.
    #[must_use]
    pub fn managed(&self, policy_arn: &str, holder: &str) -> Option<Attached> {
        self.check_managed(Some(policy_arn)).ok()?;
        Some(policies::managed(self, holder, policy_arn))
    }

    /// What a role's policies are.
    #[must_use]
    pub fn policies_of_role(&self, name: &str) -> Option<&Arc<PrincipalPolicies>> {
        self.roles.derived(&folded(name), |role| policies::of_role(self, role))
    }

    /// The ARN of a user.
    #[must_use]
    pub fn user_arn(&self, user: &User) -> String {
        arn(self.account, "user", &user.path, &user.name)
    }

    /// The ARN of a group.
    #[must_use]
    pub fn group_arn(&self, group: &Group) -> String {
        arn(self.account, "group", &group.path, &group.name)
    }

    /// The ARN of a role.
    #[must_use]
    pub fn role_arn(&self, role: &Role) -> String {
        arn(self.account, "role", &role.path, &role.name)
    }

    /// The ARN of a policy of the account.
    #[must_use]
    pub fn policy_arn(&self, policy: &ManagedPolicy) -> String {
        arn(self.account, "policy", &policy.path, &policy.name)
    }

    /// The ARN, which is the serial number, of a device.
    #[must_use]
    pub fn device_arn(&self, device: &MfaDevice) -> String {
        arn(self.account, "mfa", &device.path, &device.name)
    }

    /// The ARN of a provider.
    #[must_use]
    pub fn provider_arn(&self, provider: &OidcProvider) -> String {
        arn(self.account, "oidc-provider", "/", &provider.url)
    }

    /// Everybody who has policies: what, and their names.
    pub(super) fn all_grants(&self) -> impl Iterator<Item = &Grants> {
        let users = self.users.iter().map(|user| &user.grants);
        let groups = self.groups.iter().map(|group| &group.grants);
        users.chain(groups).chain(self.roles.iter().map(|role| &role.grants))
    }

    /// To how many users, groups and roles a managed policy is attached.
    #[must_use]
    pub fn attachments(&self, policy_arn: &str) -> usize {
        self.all_grants().filter(|grants| grants.attached.iter().any(|attached| attached == policy_arn)).count()
    }

    /// Of how many users and roles a managed policy is the boundary.
    #[must_use]
    pub fn bounded(&self, policy_arn: &str) -> usize {
        let users = self.users.iter().map(|user| &user.boundary);
        users.chain(self.roles.iter().map(|role| &role.boundary)).flatten().filter(|arn| *arn == policy_arn).count()
    }
}

pub(super) fn no_policy(policy_arn: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("Policy {policy_arn} does not exist or is not attachable."))
}
