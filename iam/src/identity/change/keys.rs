//! Access keys of users.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::ACCESS_KEYS_OF_USER_MAX;
use crate::identity::{AccessKey, Directory};

use super::Stamp;

impl Directory {
    /// Adds an access key; `other_keys` are those that the configuration gives the user.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn create_access_key(&mut self, user: &str, sealed_secret: Vec<u8>, stamp: Stamp) -> Result<&AccessKey, Fault> {
        let user = self.user(user)?;
        if self.keys_of(user).count() >= ACCESS_KEYS_OF_USER_MAX {
            return Err(Fault::limit("AccessKeysPerUser", ACCESS_KEYS_OF_USER_MAX));
        }
        let key = AccessKey {
            id: stamp.id.clone(),
            user: user.name.clone(),
            sealed_secret,
            is_active: true,
            created_ms: stamp.now_ms,
        };
        self.keys.put(key);
        self.keys.get(&stamp.id).ok_or_else(|| no_key(&stamp.id))
    }

    /// Lets an access key sign requests, or not.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn update_access_key(&mut self, user: &str, id: &str, is_active: bool) -> Result<(), Fault> {
        self.key_of(user, id)?;
        self.keys.get_mut(id).ok_or_else(|| no_key(id))?.is_active = is_active;
        Ok(())
    }

    /// Removes an access key.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_access_key(&mut self, user: &str, id: &str) -> Result<(), Fault> {
        self.key_of(user, id)?;
        self.keys.remove(id);
        Ok(())
    }

    fn key_of(&self, user: &str, id: &str) -> Result<&AccessKey, Fault> {
        let user = self.user(user)?;
        self.keys.get(id).filter(|key| key.user == user.name).ok_or_else(|| no_key(id))
    }
}

fn no_key(id: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("The Access Key with id {id} cannot be found."))
}
