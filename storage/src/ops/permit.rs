//! Permission that depends on the version that an operation finds: its owner, its ACL, its tags.
//!
//! The caller cannot decide it beforehand, because another version may be the newest by the time the operation looks.
//! So it passes the decision along, and the operation asks it about the very version that it is about to use.

use std::fmt;
use std::sync::Arc;

use crate::StorageError;
use crate::object::ObjectVersion;

type Decide = dyn Fn(&ObjectVersion) -> bool + Send + Sync;

/// Decides whether the caller may use a version. Pure and quick: it runs inside a view.
#[derive(Clone, Default)]
pub struct Permit(Option<Arc<Decide>>);

impl Permit {
    /// Any version: the caller was permitted whatever it finds.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// The versions that `decide` lets pass.
    #[must_use]
    pub fn when(decide: impl Fn(&ObjectVersion) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    /// The versions that both let pass.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self.0, other.0) {
            (None, permit) | (permit, None) => Self(permit),
            (Some(one), Some(other)) => Self::when(move |object| one(object) && other(object)),
        }
    }

    /// Ok if the caller may use `object`.
    ///
    /// # Errors
    /// `NotPermitted`.
    pub(super) fn check(&self, object: &ObjectVersion) -> Result<(), StorageError> {
        match &self.0 {
            Some(decide) if !decide(object) => Err(StorageError::NotPermitted),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Permit::when(..)" } else { "Permit::any()" })
    }
}
