//! Passwords of users: what they must be like, and their hashes (argon2id with the parameters of RFC 9106's second choice,
//! which the hash names itself).

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use cairn_iam::identity::{Fault, FaultKind, PasswordPolicy};
use zeroize::Zeroizing;

use super::Identities;
use crate::s3::error::Failure;

/// What passwords must be like if the account does not say (IAM user guide, "Set an account password policy").
pub const DEFAULT_POLICY: PasswordPolicy = PasswordPolicy {
    minimum_length: 8,
    require_symbols: false,
    require_numbers: false,
    require_uppercase: false,
    require_lowercase: false,
    allow_users_to_change: true,
};

const CHARS_MAX: usize = 128;
const SYMBOLS: &str = "!@#$%^&*()_+-=[]{}|'";

/// That a password is as the policy has it.
///
/// # Errors
/// `PasswordPolicyViolation`, which does not repeat the password.
pub fn check(password: &str, policy: &PasswordPolicy) -> Result<(), Fault> {
    let chars = password.chars().count();
    let minimum = policy.minimum_length as usize;
    let wants = |is_wanted: bool, has: fn(char) -> bool| !is_wanted || password.chars().any(has);
    let fault = if chars < minimum || chars > CHARS_MAX {
        format!("Password should have a minimum length of {minimum} and at most {CHARS_MAX} characters")
    } else if !wants(policy.require_symbols, |c| SYMBOLS.contains(c)) {
        "Password should have at least one symbol".to_owned()
    } else if !wants(policy.require_numbers, |c| c.is_ascii_digit()) {
        "Password should have at least one number".to_owned()
    } else if !wants(policy.require_uppercase, |c| c.is_ascii_uppercase()) {
        "Password should have at least one uppercase letter".to_owned()
    } else if !wants(policy.require_lowercase, |c| c.is_ascii_lowercase()) {
        "Password should have at least one lowercase letter".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::new(FaultKind::PasswordPolicyViolation, fault))
}

impl Identities {
    /// A password's hash. It takes a while, on a thread that may wait.
    ///
    /// # Errors
    /// `InternalError`.
    pub async fn hash_password(&self, password: Zeroizing<String>) -> Result<String, Failure> {
        let salt = self.entropy.random_16();
        let hash = move || {
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash: PasswordHash| hash.to_string()).map_err(Failure::internal)
        };
        tokio::task::spawn_blocking(hash).await.map_err(Failure::internal)?
    }

    /// Whether a password is the one of this hash.
    ///
    /// # Errors
    /// `InternalError` if the hash is none.
    pub async fn is_password(&self, password: Zeroizing<String>, hash: String) -> Result<bool, Failure> {
        let verify = move || {
            let hash = PasswordHash::new(&hash).map_err(Failure::internal)?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        };
        tokio::task::spawn_blocking(verify).await.map_err(Failure::internal)?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_held_to_its_policy() {
        let strict = PasswordPolicy {
            minimum_length: 6,
            require_symbols: true,
            require_numbers: true,
            require_uppercase: true,
            require_lowercase: true,
            allow_users_to_change: true,
        };
        assert!(check("aB3$ef", &strict).is_ok());
        for password in ["aB3$e", "aB3eef", "aBc$ef", "ab3$ef", "AB3$EF", &"aB3$".repeat(33)] {
            let fault = check(password, &strict).unwrap_err();
            assert_eq!(fault.kind, FaultKind::PasswordPolicyViolation);
            assert!(!fault.message.contains(password));
        }
        assert!(check("12345678", &DEFAULT_POLICY).is_ok() && check("1234567", &DEFAULT_POLICY).is_err());
    }
}
