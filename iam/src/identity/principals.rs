//! Users and roles as principals of policies: named by ARN to people, and by what names them for ever in what is kept.

use crate::policy::PrincipalEntry;

use super::name::split_path;
use super::{Directory, Role, User};

impl Directory {
    /// How a policy that is kept names a user, a role or a session of one. None: there is none such here.
    #[must_use]
    pub fn kept_principal(&self, entry: &PrincipalEntry) -> Option<String> {
        match entry {
            PrincipalEntry::User(account, resource) if *account == self.account() => {
                let (path, name) = split_path(resource);
                let user = self.user(name).ok().filter(|user| user.path == path && user.name == name)?;
                Some(user.id.clone())
            }
            PrincipalEntry::Role(account, resource) if *account == self.account() => {
                let (path, name) = split_path(resource);
                let role = self.role(name).ok().filter(|role| role.path == path && role.name == name)?;
                Some(role.id.clone())
            }
            PrincipalEntry::RoleSession(account, name, session) if *account == self.account() => {
                let role = self.role(name).ok().filter(|role| *role.name == **name)?;
                Some(format!("{}:{session}", role.id))
            }
            PrincipalEntry::UserId(id) => self.users.by_id(id).map(|user: &User| user.id.clone()),
            PrincipalEntry::RoleId(id) => self.roles.by_id(id).map(|role: &Role| role.id.clone()),
            PrincipalEntry::RoleSessionId(id, session) => {
                self.roles.by_id(id).map(|role| format!("{}:{session}", role.id))
            }
            _ => None,
        }
    }

    /// The ARN of what a kept policy names. None: it is not here, or not any more.
    #[must_use]
    pub fn shown_principal(&self, entry: &PrincipalEntry) -> Option<String> {
        match entry {
            PrincipalEntry::UserId(id) => self.users.by_id(id).map(|user| self.user_arn(user)),
            PrincipalEntry::RoleId(id) => self.roles.by_id(id).map(|role| self.role_arn(role)),
            PrincipalEntry::RoleSessionId(id, session) => {
                let role = self.roles.by_id(id)?;
                Some(format!("arn:aws:sts::{}:assumed-role/{}/{session}", self.account(), role.name))
            }
            _ => None,
        }
    }
}
