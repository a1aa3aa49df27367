//! Tags.

use crate::identity::fault::Fault;
use crate::identity::name::check_tags;
use crate::identity::{Directory, Kind, Tag, folded};

/// What can have tags, by name or, where it has none of its own, by ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged<'n> {
    /// A user's name.
    User(&'n str),
    /// A role's name.
    Role(&'n str),
    /// A policy's ARN.
    Policy(&'n str),
    /// A device's serial number.
    Device(&'n str),
    /// A provider's ARN.
    Provider(&'n str),
}

impl Directory {
    /// The tags.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn tags(&self, tagged: Tagged<'_>) -> Result<&[Tag], Fault> {
        match tagged {
            Tagged::User(name) => self.user(name).map(|user| &*user.tags),
            Tagged::Role(name) => self.role(name).map(|role| &*role.tags),
            Tagged::Policy(arn) => self.policy(arn).map(|policy| &*policy.tags),
            Tagged::Device(serial) => self.device(serial).map(|device| &*device.tags),
            Tagged::Provider(arn) => self.provider(arn).map(|provider| &*provider.tags),
        }
    }

    /// Adds tags; those that are there by another value get the new one.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`, `LimitExceeded`, `ValidationError`.
    pub fn tag(&mut self, tagged: Tagged<'_>, new: Vec<Tag>) -> Result<(), Fault> {
        check_tags(&new)?;
        let tags = self.tags_mut(tagged)?;
        for tag in new {
            match tags.iter_mut().find(|known| folded(&known.key) == folded(&tag.key)) {
                Some(known) => *known = tag,
                None => tags.push(tag),
            }
        }
        check_tags(tags)
    }

    /// Removes tags; no error for those that are not there.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn untag(&mut self, tagged: Tagged<'_>, keys: &[String]) -> Result<(), Fault> {
        let keys: Vec<String> = keys.iter().map(|key| folded(key)).collect();
        self.tags_mut(tagged)?.retain(|tag| !keys.contains(&folded(&tag.key)));
        Ok(())
    }

    fn tags_mut(&mut self, tagged: Tagged<'_>) -> Result<&mut Vec<Tag>, Fault> {
        match tagged {
            Tagged::User(name) => self.user_mut(name).map(|user| &mut user.tags),
            Tagged::Role(name) => self.role_mut(name).map(|role| &mut role.tags),
            Tagged::Policy(arn) => self.policy_mut(arn).map(|policy| &mut policy.tags),
            Tagged::Device(serial) => {
                let row = folded(&self.device(serial)?.name);
                let device = self.devices.get_mut(&row);
                device.map(|device| &mut device.tags).ok_or_else(|| Fault::absent(Kind::MfaDevice, serial))
            }
            Tagged::Provider(arn) => self.provider_mut(arn).map(|provider| &mut provider.tags),
        }
    }
}
