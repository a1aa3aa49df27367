//! Whether the store may write. Shared by the index, the blob store and the edge.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::StorageError;

/// The store's ability to write: turned read-only for good by a failed sync, and temporarily refused while free space
/// is below the floor. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    read_only: OnceLock<String>,
    available_bytes: AtomicU64,
    floor_bytes: AtomicU64,
}

impl Health {
    /// Turns the store read-only until the process restarts. The first reason stays.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.0.read_only.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the store is read-only from here on; restart it after mending the cause");
        }
    }

    /// Why the store is read-only, if it is.
    #[must_use]
    pub fn read_only(&self) -> Option<&str> {
        self.0.read_only.get().map(String::as_str)
    }

    /// Records the free space, measured periodically, and the floor under which writes are refused.
    pub fn record_space(&self, available_bytes: u64, floor_bytes: u64) {
        self.0.available_bytes.store(available_bytes, Ordering::Relaxed);
        self.0.floor_bytes.store(floor_bytes, Ordering::Relaxed);
    }

    /// Free bytes as last measured.
    #[must_use]
    pub fn available_bytes(&self) -> u64 {
        self.0.available_bytes.load(Ordering::Relaxed)
    }

    /// Ok if commits may happen at all (deletes and the collector's included).
    ///
    /// # Errors
    /// `ReadOnly` after a failure.
    pub fn check_writable(&self) -> Result<(), StorageError> {
        match self.read_only() {
            Some(reason) => Err(StorageError::ReadOnly { reason: reason.to_owned() }),
            None => Ok(()),
        }
    }

    /// Ok if `bytes` more may be stored.
    ///
    /// # Errors
    /// `ReadOnly` after a failure, `DiskFull` when the free space would fall below the floor.
    pub fn check_space_for(&self, bytes: u64) -> Result<(), StorageError> {
        self.check_writable()?;
        let floor_bytes = self.0.floor_bytes.load(Ordering::Relaxed);
        let available_bytes = self.available_bytes();
        if floor_bytes > 0 && available_bytes < floor_bytes.saturating_add(bytes) {
            return Err(StorageError::DiskFull { available_bytes, floor_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stays_the_reason() {
        let health = Health::default();
        assert!(health.check_writable().is_ok());
        health.fail("fsync failed");
        health.fail("something later");
        assert_eq!(health.read_only(), Some("fsync failed"));
        assert!(health.check_writable().is_err());
    }

    #[test]
    fn writes_that_would_pass_the_floor_are_refused_until_space_returns() {
        let health = Health::default();
        health.record_space(1_000, 900);
        assert!(health.check_space_for(100).is_ok());
        assert!(matches!(health.check_space_for(101), Err(StorageError::DiskFull { .. })));
        assert!(health.check_writable().is_ok());
        health.record_space(5_000, 900);
        assert!(health.check_space_for(101).is_ok());
    }
}
