//! Users.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::{USER_NAME_CHARS_MAX, USERS_MAX};
use crate::identity::name::{check_name, check_path, check_tags};
use crate::identity::{Directory, Grants, Kind, Tag, User, folded};

use crate::managed::ManagedPolicy;

use super::{Stamp, check_free, check_room};

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// The ARN of its boundary.
    pub boundary: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Directory {
    /// Makes a user.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `ValidationError`; `NoSuchEntity` for its boundary.
    pub fn create_user(&mut self, new: NewUser, stamp: Stamp) -> Result<&User, Fault> {
        check_name("userName", &new.name, USER_NAME_CHARS_MAX)?;
        check_path("path", &new.path)?;
        check_tags(&new.tags)?;
        self.check_managed(new.boundary.as_deref())?;
        check_room(&self.users, &new.name, ("UsersPerAccount", USERS_MAX))?;
        self.users.put(User {
            name: new.name.clone(),
            path: new.path,
            id: stamp.id,
            created_ms: stamp.now_ms,
            grants: Grants::default(),
            groups: Vec::new(),
            boundary: new.boundary,
            tags: new.tags,
            login: None,
        });
        self.user(&new.name)
    }

    /// Gives a user another name or path. Its keys and devices stay its own.
    ///
    /// # Errors
    /// `NoSuchEntity`, `EntityAlreadyExists`, `ValidationError`.
    pub fn update_user(&mut self, name: &str, new_name: Option<&str>, new_path: Option<&str>) -> Result<(), Fault> {
        let mut user = self.user(name)?.clone();
        if let Some(path) = new_path {
            check_path("newPath", path)?;
            user.path = path.to_owned();
        }
        if let Some(new_name) = new_name.filter(|new_name| *new_name != user.name) {
            check_name("newUserName", new_name, USER_NAME_CHARS_MAX)?;
            check_free(&self.users, &user.name, new_name)?;
            self.rename_in_keys_and_devices(&user, new_name);
            self.users.remove(&folded(&user.name));
            user.name = new_name.to_owned();
        }
        self.users.put(user);
        Ok(())
    }

    fn rename_in_keys_and_devices(&mut self, user: &User, new_name: &str) {
        let keys: Vec<String> = self.keys_of(Some(&user.name)).map(|key| key.id.clone()).collect();
        for id in keys {
            if let Some(key) = self.keys.get_mut(&id) {
                key.user = Some(new_name.to_owned());
            }
        }
        let devices: Vec<String> = self.devices_of(user).map(|device| folded(&device.name)).collect();
        for row in devices {
            if let Some(owner) = self.devices.get_mut(&row).and_then(|device| device.owner.as_mut()) {
                owner.user = Some(new_name.to_owned());
            }
        }
    }

    /// Removes a user, which must have nothing left.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_user(&mut self, name: &str) -> Result<(), Fault> {
        let user = self.user(name)?;
        let first = if !user.groups.is_empty() {
            "remove users from group"
        } else if !user.grants.attached.is_empty() {
            "detach all policies"
        } else if !user.grants.inline.is_empty() {
            "delete policies"
        } else if self.keys_of(Some(&user.name)).next().is_some() {
            "delete access keys"
        } else if self.devices_of(user).next().is_some() {
            "delete MFA device"
        } else if user.login.is_some() {
            "delete login profile"
        } else {
            let row = folded(name);
            self.users.remove(&row);
            return Ok(());
        };
        Err(Fault::conflict(format!("Cannot delete entity, must {first} first.")))
    }

    pub(super) fn user_mut(&mut self, name: &str) -> Result<&mut User, Fault> {
        self.users.get_mut(&folded(name)).ok_or_else(|| Fault::absent(Kind::User, name))
    }

    /// That a managed policy is there, AWS's or the account's own.
    pub(in crate::identity) fn check_managed(&self, policy_arn: Option<&str>) -> Result<(), Fault> {
        let Some(arn) = policy_arn else { return Ok(()) };
        if ManagedPolicy::by_arn(arn).is_some() {
            return Ok(());
        }
        let policy = self.policy(arn)?;
        // ARNs are compared as they are from here on.
        if self.policy_arn(policy) == arn {
            return Ok(());
        }
        Err(Fault::new(FaultKind::NoSuchEntity, format!("Policy {arn} does not exist or is not attachable.")))
    }
}
