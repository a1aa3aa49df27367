//! Virtual MFA devices. Codes are verified outside; what is kept here is who has the device, and which code was used last.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::limits::{MFA_DEVICES_MAX, MFA_DEVICES_OF_USER_MAX, NAME_CHARS_MAX};
use crate::identity::name::{check_name, check_path, check_tags, resource_of, split_path};
use crate::identity::{DeviceOwner, Directory, MfaDevice, Tag, folded};

impl Directory {
    /// The device of this serial number.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn device(&self, serial: &str) -> Result<&MfaDevice, Fault> {
        let device = resource_of(serial, self.account(), "mfa").and_then(|resource| {
            let (path, name) = split_path(resource);
            self.devices.get(&folded(name)).filter(|device| device.path == path)
        });
        device.ok_or_else(|| no_device(serial))
    }

    /// Makes a device that nobody has yet.
    ///
    /// # Errors
    /// `EntityAlreadyExists`, `LimitExceeded`, `ValidationError`.
    pub fn create_device(
        &mut self,
        name: &str,
        path: &str,
        sealed_seed: Vec<u8>,
        tags: Vec<Tag>,
        now_ms: u64,
    ) -> Result<&MfaDevice, Fault> {
        check_name("virtualMFADeviceName", name, NAME_CHARS_MAX)?;
        check_path("path", path)?;
        check_tags(&tags)?;
        let row = folded(name);
        if self.devices.get(&row).is_some() {
            let message = "MFADevice entity at the same path and name already exists.";
            return Err(Fault::new(FaultKind::EntityAlreadyExists, message));
        }
        if self.devices.len() >= MFA_DEVICES_MAX {
            return Err(Fault::limit("VirtualMFADevicesPerAccount", MFA_DEVICES_MAX));
        }
        self.devices.put(MfaDevice {
            name: name.to_owned(),
            path: path.to_owned(),
            created_ms: now_ms,
            sealed_seed,
            owner: None,
            last_step: 0,
            drift_steps: 0,
            tags,
        });
        self.devices.get(&row).ok_or_else(|| no_device(name))
    }

    /// Gives a device to a user (None: the root), whose codes were verified up to `last_step`.
    ///
    /// # Errors
    /// `NoSuchEntity`, `EntityAlreadyExists` if somebody has it, `LimitExceeded`.
    pub fn enable_device(
        &mut self,
        serial: &str,
        user: Option<&str>,
        (last_step, drift_steps): (u64, i64),
        now_ms: u64,
    ) -> Result<(), Fault> {
        let owner = user.map(|user| self.user(user)).transpose()?;
        if owner.is_some_and(|user| self.devices_of(user).count() >= MFA_DEVICES_OF_USER_MAX) {
            return Err(Fault::limit("MFADevicesPerUser", MFA_DEVICES_OF_USER_MAX));
        }
        let owner = owner.map(|user| user.name.clone());
        let device = self.device_mut(serial)?;
        if device.owner.is_some() {
            return Err(Fault::new(FaultKind::EntityAlreadyExists, "MFA Device is already in use"));
        }
        device.owner = Some(DeviceOwner { user: owner, enabled_ms: now_ms });
        (device.last_step, device.drift_steps) = (last_step, drift_steps);
        Ok(())
    }

    /// Takes a device from who has it.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn deactivate_device(&mut self, serial: &str, user: Option<&str>) -> Result<(), Fault> {
        self.owned_device(serial, user)?;
        self.device_mut(serial)?.owner = None;
        Ok(())
    }

    /// Notes the newest code that was used, so that it is good no more.
    ///
    /// # Errors
    /// `NoSuchEntity`; `InvalidAuthenticationCode` if that code, or a newer one, was used already.
    pub fn use_device(
        &mut self,
        serial: &str,
        user: Option<&str>,
        last_step: u64,
        drift_steps: i64,
    ) -> Result<(), Fault> {
        let device = self.owned_device(serial, user)?;
        if device.last_step >= last_step {
            return Err(Fault::new(FaultKind::InvalidAuthenticationCode, "The code was used already."));
        }
        let device = self.device_mut(serial)?;
        (device.last_step, device.drift_steps) = (last_step, drift_steps);
        Ok(())
    }

    /// Removes a device that nobody has.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_device(&mut self, serial: &str) -> Result<(), Fault> {
        let device = self.device(serial)?;
        if device.owner.is_some() {
            return Err(Fault::conflict("MFA VirtualDevice in use. Must deactivate first."));
        }
        let row = folded(&device.name);
        self.devices.remove(&row);
        Ok(())
    }

    /// The device, if this user (None: the root) has it.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn owned_device(&self, serial: &str, user: Option<&str>) -> Result<&MfaDevice, Fault> {
        let device = self.device(serial)?;
        let user = user.map(|user| self.user(user)).transpose()?.map(|user| user.name.as_str());
        match &device.owner {
            Some(owner) if owner.user.as_deref() == user => Ok(device),
            _ => Err(no_device(serial)),
        }
    }

    fn device_mut(&mut self, serial: &str) -> Result<&mut MfaDevice, Fault> {
        let row = folded(&self.device(serial)?.name);
        self.devices.get_mut(&row).ok_or_else(|| no_device(serial))
    }
}

fn no_device(serial: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("VirtualMFADevice with serial number {serial} doesn't exist."))
}
