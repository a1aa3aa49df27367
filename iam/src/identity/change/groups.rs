//! Groups and their members.

use crate::identity::fault::Fault;
use crate::identity::limits::{GROUPS_MAX, GROUPS_OF_USER_MAX, NAME_CHARS_MAX};
use crate::identity::name::{check_name, check_path};
use crate::identity::{Directory, Grants, Group, Kind, folded};

use super::{Stamp, check_free, check_room};

impl Directory {
    /// Makes a group.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `ValidationError`.
    pub fn create_group(&mut self, name: &str, path: &str, stamp: Stamp) -> Result<&Group, Fault> {
        check_name("groupName", name, NAME_CHARS_MAX)?;
        check_path("path", path)?;
        check_room(&self.groups, name, ("GroupsPerAccount", GROUPS_MAX))?;
        self.groups.put(Group {
            name: name.to_owned(),
            path: path.to_owned(),
            id: stamp.id,
            created_ms: stamp.now_ms,
            grants: Grants::default(),
        });
        self.group(name)
    }

    /// Gives a group another name or path.
    ///
    /// # Errors
    /// `NoSuchEntity`, `EntityAlreadyExists`, `ValidationError`.
    pub fn update_group(&mut self, name: &str, new_name: Option<&str>, new_path: Option<&str>) -> Result<(), Fault> {
        let mut group = self.group(name)?.clone();
        if let Some(path) = new_path {
            check_path("newPath", path)?;
            group.path = path.to_owned();
        }
        if let Some(new_name) = new_name.filter(|new_name| *new_name != group.name) {
            check_name("newGroupName", new_name, NAME_CHARS_MAX)?;
            check_free(&self.groups, &group.name, new_name)?;
            self.groups.remove(&folded(&group.name));
            group.name = new_name.to_owned();
        }
        self.groups.put(group);
        Ok(())
    }

    /// Removes a group, which must have neither members nor policies.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_group(&mut self, name: &str) -> Result<(), Fault> {
        let group = self.group(name)?;
        let first = if self.members_of(group).next().is_some() {
            "remove users from group"
        } else if !group.grants.attached.is_empty() {
            "detach all policies"
        } else if !group.grants.inline.is_empty() {
            "delete policies"
        } else {
            self.groups.remove(&folded(name));
            return Ok(());
        };
        Err(Fault::conflict(format!("Cannot delete entity, must {first} first.")))
    }

    /// Puts a user into a group; no error if it is in it.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn add_to_group(&mut self, group: &str, user: &str) -> Result<(), Fault> {
        let group = self.group(group)?.id.clone();
        let user = self.user_mut(user)?;
        if user.groups.contains(&group) {
            return Ok(());
        }
        if user.groups.len() >= GROUPS_OF_USER_MAX {
            return Err(Fault::limit("GroupsPerUser", GROUPS_OF_USER_MAX));
        }
        user.groups.push(group);
        Ok(())
    }

    /// Takes a user out of a group.
    ///
    /// # Errors
    /// `NoSuchEntity`, also if it is not in it.
    pub fn remove_from_group(&mut self, group: &str, user: &str) -> Result<(), Fault> {
        let id = self.group(group)?.id.clone();
        let members = &mut self.user_mut(user)?.groups;
        let before = members.len();
        members.retain(|member_of| *member_of != id);
        if members.len() == before { Err(Fault::absent(Kind::User, user)) } else { Ok(()) }
    }
}
