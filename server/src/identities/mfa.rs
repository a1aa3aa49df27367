//! MFA devices: making their seeds and verifying their codes. Each code is good once, also across restarts, because the
//! time step of the last one is kept before it is accepted.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Directory, Fault, FaultKind, Kind, MfaDevice, folded};
use zeroize::Zeroizing;

use super::{Identities, RowsError, totp};
use crate::s3::error::Failure;

/// A seed that was just made, to be shown once.
#[derive(Debug)]
pub struct NewSeed {
    /// As it is typed into a device.
    pub base32: Zeroizing<String>,
    /// For the row of the device of this name.
    pub sealed: Vec<u8>,
}

impl Identities {
    /// A seed for a device of this name.
    ///
    /// # Errors
    /// If there is no randomness, or it cannot be sealed.
    pub fn new_seed(&self, account: AccountNumber, device: &str) -> Result<NewSeed, RowsError> {
        let mut seed = Zeroizing::new(Vec::with_capacity(32));
        seed.extend_from_slice(&self.entropy.random_16());
        seed.extend_from_slice(&self.entropy.random_16());
        seed.truncate(totp::SEED_BYTES);
        let sealed = self.rows.seal(account, Kind::MfaDevice, &folded(device), &seed)?;
        Ok(NewSeed { base32: Zeroizing::new(totp::base32(&seed)), sealed })
    }

    /// The time step and drift of two codes in a row of a device.
    ///
    /// # Errors
    /// `InvalidAuthenticationCode`.
    pub fn verify_pair(
        &self,
        account: AccountNumber,
        device: &MfaDevice,
        first: &str,
        second: &str,
    ) -> Result<(u64, i64), Failure> {
        let seed = self.seed(account, device)?;
        Ok(totp::find_pair(&seed, self.now_ms(), first, second).ok_or_else(no_code)?)
    }

    /// Uses a code of a device that this user (None: the root) has.
    ///
    /// # Errors
    /// `InvalidAuthenticationCode` if it is not the device's code now, or was used before; `NoSuchEntity`.
    pub async fn use_mfa_code(
        self: &Arc<Self>,
        account: AccountNumber,
        user: Option<&str>,
        serial: &str,
        code: &str,
    ) -> Result<(), Failure> {
        let (user, serial, code) = (user.map(str::to_owned), serial.to_owned(), Zeroizing::new(code.to_owned()));
        let identities = Arc::clone(self);
        let use_code = move |directory: &mut Directory| {
            let device = directory.owned_device(&serial, user.as_deref())?.clone();
            let seed = identities.seed(account, &device)?;
            let found = totp::find(&seed, identities.now_ms(), device.drift_steps, &code);
            let (step, drift) = found.ok_or_else(no_code)?;
            directory.use_device(&serial, user.as_deref(), step, drift)?;
            Ok::<(), Failure>(())
        };
        self.change(account, use_code).await
    }

    fn seed(&self, account: AccountNumber, device: &MfaDevice) -> Result<Zeroizing<Vec<u8>>, RowsError> {
        self.rows.open(account, Kind::MfaDevice, &folded(&device.name), &device.sealed_seed)
    }
}

fn no_code() -> Fault {
    Fault::new(FaultKind::InvalidAuthenticationCode, "Authentication code for device is not valid.")
}
