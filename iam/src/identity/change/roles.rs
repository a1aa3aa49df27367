//! Roles.

use crate::identity::fault::Fault;
use crate::identity::limits::{
    DESCRIPTION_CHARS_MAX, ROLES_MAX, SESSION_SECONDS_DEFAULT, SESSION_SECONDS_MAX, TRUST_POLICY_CHARS_MAX,
    USER_NAME_CHARS_MAX,
};
use crate::identity::name::{check_length, check_name, check_path, check_tags};
use crate::identity::{Directory, Grants, Kind, Role, Tag, folded};
use crate::policy::PolicyKind;

use super::{Stamp, check_document, check_room};

/// A role to be made.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Who may assume it.
    pub trust: String,
    /// What it is for.
    pub description: Option<String>,
    /// The longest session.
    pub session_seconds_max: Option<u32>,
    /// The ARN of its boundary.
    pub boundary: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl Directory {
    /// Makes a role.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `MalformedPolicyDocument`, `ValidationError`; `NoSuchEntity` for its boundary.
    pub fn create_role(&mut self, new: NewRole, stamp: Stamp) -> Result<&Role, Fault> {
        check_name("roleName", &new.name, USER_NAME_CHARS_MAX)?;
        check_path("path", &new.path)?;
        check_tags(&new.tags)?;
        check_description(new.description.as_deref())?;
        let session_seconds_max = check_session(new.session_seconds_max)?;
        check_trust(&new.trust)?;
        self.check_managed(new.boundary.as_deref())?;
        check_room(&self.roles, &new.name, ("RolesPerAccount", ROLES_MAX))?;
        self.roles.put(Role {
            name: new.name.clone(),
            path: new.path,
            id: stamp.id,
            created_ms: stamp.now_ms,
            grants: Grants::default(),
            boundary: new.boundary,
            tags: new.tags,
            trust: new.trust,
            description: new.description,
            session_seconds_max,
        });
        self.role(&new.name)
    }

    /// Changes what a role is for and how long its sessions may be.
    ///
    /// # Errors
    /// `NoSuchEntity`, `ValidationError`.
    pub fn update_role(&mut self, name: &str, description: Option<&str>, session: Option<u32>) -> Result<(), Fault> {
        check_description(description)?;
        let session = session.map(|session| check_session(Some(session))).transpose()?;
        let role = self.role_mut(name)?;
        if let Some(description) = description {
            role.description = Some(description.to_owned());
        }
        if let Some(session) = session {
            role.session_seconds_max = session;
        }
        Ok(())
    }

    /// Replaces the document that says who may assume a role.
    ///
    /// # Errors
    /// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`.
    pub fn update_trust(&mut self, name: &str, trust: String) -> Result<(), Fault> {
        self.role(name)?;
        check_trust(&trust)?;
        self.role_mut(name)?.trust = trust;
        Ok(())
    }

    /// Removes a role, which must have no policies.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_role(&mut self, name: &str) -> Result<(), Fault> {
        let grants = &self.role(name)?.grants;
        let first = if !grants.attached.is_empty() {
            "detach all policies"
        } else if !grants.inline.is_empty() {
            "delete policies"
        } else {
            self.roles.remove(&folded(name));
            return Ok(());
        };
        Err(Fault::conflict(format!("Cannot delete entity, must {first} first.")))
    }

    pub(super) fn role_mut(&mut self, name: &str) -> Result<&mut Role, Fault> {
        self.roles.get_mut(&folded(name)).ok_or_else(|| Fault::absent(Kind::Role, name))
    }
}

fn check_description(description: Option<&str>) -> Result<(), Fault> {
    check_length("description", description.unwrap_or_default(), 0..=DESCRIPTION_CHARS_MAX)
}

fn check_session(seconds: Option<u32>) -> Result<u32, Fault> {
    match seconds {
        None => Ok(SESSION_SECONDS_DEFAULT),
        Some(seconds @ SESSION_SECONDS_DEFAULT..=SESSION_SECONDS_MAX) => Ok(seconds),
        Some(seconds) => Err(Fault::validation(format!(
            "1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member \
             must have value between {SESSION_SECONDS_DEFAULT} and {SESSION_SECONDS_MAX}"
        ))),
    }
}

fn check_trust(trust: &str) -> Result<(), Fault> {
    if check_document(trust, PolicyKind::Trust)? > TRUST_POLICY_CHARS_MAX {
        return Err(Fault::limit("ACLSizePerRole", TRUST_POLICY_CHARS_MAX));
    }
    Ok(())
}
