//! Login profiles: the passwords of users. Hashes come from outside.

use crate::identity::fault::{Fault, FaultKind};
use crate::identity::{Directory, Login, User};

impl Directory {
    /// The login profile of a user.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn login(&self, user: &str) -> Result<(&User, &Login), Fault> {
        let user = self.user(user)?;
        user.login.as_ref().map(|login| (user, login)).ok_or_else(|| no_login(&user.name))
    }

    /// Gives a user a password.
    ///
    /// # Errors
    /// `NoSuchEntity`, `EntityAlreadyExists`.
    pub fn create_login(&mut self, user: &str, login: Login) -> Result<(), Fault> {
        let user = self.user_mut(user)?;
        if user.login.is_some() {
            let message = format!("Login Profile for user {} already exists.", user.name);
            return Err(Fault::new(FaultKind::EntityAlreadyExists, message));
        }
        user.login = Some(login);
        Ok(())
    }

    /// Sets another password, or whether the user must choose one.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn update_login(
        &mut self,
        user: &str,
        hash: Option<String>,
        reset_required: Option<bool>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let user = self.user_mut(user)?;
        let Some(login) = user.login.as_mut() else { return Err(no_login(&user.name)) };
        if let Some(hash) = hash {
            login.hash = hash;
            login.changed_ms = now_ms;
        }
        login.reset_required = reset_required.unwrap_or(login.reset_required);
        Ok(())
    }

    /// Takes a user's password away.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_login(&mut self, user: &str) -> Result<(), Fault> {
        let user = self.user_mut(user)?;
        match user.login.take() {
            Some(_) => Ok(()),
            None => Err(no_login(&user.name)),
        }
    }
}

fn no_login(user: &str) -> Fault {
    Fault::new(FaultKind::NoSuchEntity, format!("Login Profile for User {user} cannot be found."))
}
