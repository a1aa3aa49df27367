//! What users, groups and roles are granted: attached and inline policies, and boundaries.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::{
    ATTACHED_MAX, GROUP_INLINE_CHARS_MAX, INLINE_BYTES_MAX, NAME_CHARS_MAX, ROLE_INLINE_CHARS_MAX,
    USER_INLINE_CHARS_MAX,
};
use crate::identity::name::check_name;
use crate::identity::{Directory, Grants, Kind, folded};
use crate::policy::PolicyKind;

use super::{check_document, counted_chars};

/// Whose policies these are, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'n> {
    /// A user.
    User(&'n str),
    /// A group.
    Group(&'n str),
    /// A role.
    Role(&'n str),
}

impl Holder<'_> {
    /// `user`, `group` or `role`.
    #[must_use]
    pub fn noun(self) -> &'static str {
        self.kind().noun()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(name) | Self::Group(name) | Self::Role(name) => name,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::User(_) => Kind::User,
            Self::Group(_) => Kind::Group,
            Self::Role(_) => Kind::Role,
        }
    }

    fn inline_chars_max(self) -> usize {
        match self {
            Self::User(_) => USER_INLINE_CHARS_MAX,
            Self::Group(_) => GROUP_INLINE_CHARS_MAX,
            Self::Role(_) => ROLE_INLINE_CHARS_MAX,
        }
    }
}

impl Directory {
    /// What a user, a group or a role is granted.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn grants(&self, holder: Holder<'_>) -> Result<&Grants, Fault> {
        match holder {
            Holder::User(name) => self.user(name).map(|user| &user.grants),
            Holder::Group(name) => self.group(name).map(|group| &group.grants),
            Holder::Role(name) => self.role(name).map(|role| &role.grants),
        }
    }

    fn grants_mut(&mut self, holder: Holder<'_>) -> Result<&mut Grants, Fault> {
        let row = folded(holder.name());
        let grants = match holder {
            Holder::User(_) => self.users.get_mut(&row).map(|user| &mut user.grants),
            Holder::Group(_) => self.groups.get_mut(&row).map(|group| &mut group.grants),
            Holder::Role(_) => self.roles.get_mut(&row).map(|role| &mut role.grants),
        };
        grants.ok_or_else(|| Fault::absent(holder.kind(), holder.name()))
    }

    /// Attaches a managed policy; no error if it is attached.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn attach(&mut self, holder: Holder<'_>, policy_arn: &str) -> Result<(), Fault> {
        self.check_managed(Some(policy_arn))?;
        let attached = &mut self.grants_mut(holder)?.attached;
        if attached.iter().any(|arn| arn == policy_arn) {
            return Ok(());
        }
        if attached.len() >= ATTACHED_MAX {
            let quota = match holder {
                Holder::User(_) => "PoliciesPerUser",
                Holder::Group(_) => "PoliciesPerGroup",
                Holder::Role(_) => "PoliciesPerRole",
            };
            return Err(Fault::limit(quota, ATTACHED_MAX));
        }
        attached.push(policy_arn.to_owned());
        Ok(())
    }

    /// Detaches a managed policy.
    ///
    /// # Errors
    /// `NoSuchEntity`, also if it is not attached.
    pub fn detach(&mut self, holder: Holder<'_>, policy_arn: &str) -> Result<(), Fault> {
        let attached = &mut self.grants_mut(holder)?.attached;
        let before = attached.len();
        attached.retain(|arn| arn != policy_arn);
        if attached.len() < before {
            return Ok(());
        }
        Err(Fault::new(FaultKind::NoSuchEntity, format!("Policy {policy_arn} was not found.")))
    }

    /// Puts an inline policy.
    ///
    /// # Errors
    /// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`, `ValidationError`.
    pub fn put_inline(&mut self, holder: Holder<'_>, name: &str, document: String) -> Result<(), Fault> {
        check_name("policyName", name, NAME_CHARS_MAX)?;
        self.grants(holder)?;
        check_document(&document, PolicyKind::Identity)?;
        let inline = &mut self.grants_mut(holder)?.inline;
        inline.insert(name.to_owned(), document);
        let chars: usize = inline.values().map(|document| counted_chars(document)).sum();
        let chars_max = holder.inline_chars_max();
        if chars > chars_max {
            let (noun, name) = (holder.noun(), holder.name());
            let message = format!("Maximum policy size of {chars_max} bytes exceeded for {noun} {name}");
            return Err(Fault::new(FaultKind::LimitExceeded, message));
        }
        if inline.values().map(String::len).sum::<usize>() > INLINE_BYTES_MAX {
            return Err(Fault::limit("PolicySizeWithWhiteSpace", INLINE_BYTES_MAX));
        }
        Ok(())
    }

    /// Removes an inline policy.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_inline(&mut self, holder: Holder<'_>, name: &str) -> Result<(), Fault> {
        match self.grants_mut(holder)?.inline.remove(name) {
            Some(_) => Ok(()),
            None => Err(no_inline(holder, name)),
        }
    }

    /// The document of an inline policy.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn inline(&self, holder: Holder<'_>, name: &str) -> Result<&str, Fault> {
        let document = self.grants(holder)?.inline.get(name);
        document.map(String::as_str).ok_or_else(|| no_inline(holder, name))
    }

    /// Sets, or with None removes, the boundary of a user or a role.
    ///
    /// # Errors
    /// `NoSuchEntity`, also for a boundary to remove that is not there; `InvalidInput` for a group.
    pub fn set_boundary(&mut self, holder: Holder<'_>, policy_arn: Option<&str>) -> Result<(), Fault> {
        self.check_managed(policy_arn)?;
        let boundary = match holder {
            Holder::User(name) => &mut self.user_mut(name)?.boundary,
            Holder::Role(name) => &mut self.role_mut(name)?.boundary,
            Holder::Group(_) => {
                return Err(Fault::new(FaultKind::InvalidInput, "A group has no permissions boundary."));
            }
        };
        if policy_arn.is_none() && boundary.is_none() {
            let (noun, name) = (holder.noun(), holder.name());
            let message = format!("The {noun} {name} has no permissions boundary.");
            return Err(Fault::new(FaultKind::NoSuchEntity, message));
        }
        *boundary = policy_arn.map(str::to_owned);
        Ok(())
    }
}

fn no_inline(holder: Holder<'_>, name: &str) -> Fault {
    let noun = holder.noun();
    Fault::new(FaultKind::NoSuchEntity, format!("The {noun} policy with name {name} cannot be found."))
}
