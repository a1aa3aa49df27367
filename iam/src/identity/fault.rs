//! Why a change of identities is refused, in IAM's terms (IAM API reference, "Common errors" and each action's).

use super::Kind;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are IAM's
pub enum FaultKind {
    DeleteConflict,
    EntityAlreadyExists,
    EntityTemporarilyUnmodifiable,
    InvalidAuthenticationCode,
    InvalidInput,
    InvalidUserType,
    LimitExceeded,
    MalformedPolicyDocument,
    NoSuchEntity,
    PasswordPolicyViolation,
    PolicyNotAttachable,
    UnmodifiableEntity,
    ValidationError,
}

/// A change that is refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// In words, naming what the caller named.
    pub message: String,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What is named is not there.
    pub fn absent(kind: Kind, name: &str) -> Self {
        let what = kind.noun();
        Self::new(FaultKind::NoSuchEntity, format!("The {what} with name {name} cannot be found."))
    }

    /// What is to be made is there already.
    pub fn exists(kind: Kind, name: &str) -> Self {
        let what = kind.noun();
        Self::new(FaultKind::EntityAlreadyExists, format!("{what} with name {name} already exists."))
    }

    /// A value that the API does not take.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(FaultKind::ValidationError, message)
    }

    /// What is to go is still in use.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FaultKind::DeleteConflict, message)
    }

    /// A quota is used up.
    pub fn limit(what: &str, quota: usize) -> Self {
        Self::new(FaultKind::LimitExceeded, format!("Cannot exceed quota for {what}: {quota}"))
    }
}
