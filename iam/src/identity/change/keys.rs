//! Access keys of users and of the account's root.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::ACCESS_KEYS_OF_USER_MAX;
use crate::identity::{AccessKey, Directory};

use super::Stamp;

impl Directory {
    /// Adds an access key of a user, or of the root (None).
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn create_access_key(
        &mut self,
        user: Option<&str>,
        sealed_secret: Vec<u8>,
        stamp: Stamp,
    ) -> Result<&AccessKey, Fault> {
        let user = self.key_owner(user)?;
        if self.keys_of(user.as_deref()).count() >= ACCESS_KEYS_OF_USER_MAX {
            return Err(Fault::limit("AccessKeysPerUser", ACCESS_KEYS_OF_USER_MAX));
        }
        let id = stamp.id.clone();
        self.keys.put(AccessKey { id: stamp.id, user, sealed_secret, is_active: true, created_ms: stamp.now_ms });
        self.keys.get(&id).ok_or_else(|| no_key(&id))
    }

    /// Lets an access key of a user, or of the root, sign requests, or not.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn update_access_key(&mut self, user: Option<&str>, id: &str, is_active: bool) -> Result<(), Fault> {
        self.key_of(user, id)?;
        self.keys.get_mut(id).ok_or_else(|| no_key(id))?.is_active = is_active;
        Ok(())
    }

    /// Removes an access key of a user, or of the root.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_access_key(&mut self, user: Option<&str>, id: &str) -> Result<(), Fault> {
        self.key_of(user, id)?;
        self.keys.remove(id);
        Ok(())
    }

    fn key_of(&self, user: Option<&str>, id: &str) -> Result<&AccessKey, Fault> {
        let user = self.key_owner(user)?;
        self.keys.get(id).filter(|key| key.user == user).ok_or_else(|| no_key(id))
    }

    /// The name as it was given to the user.
    fn key_owner(&self, user: Option<&str>) -> Result<Option<String>, Fault> {
        user.map(|name| self.user(name).map(|user| user.name.clone())).transpose()
    }
}

fn no_key(id: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("The Access Key with id {id} cannot be found."))
}
