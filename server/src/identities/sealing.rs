//! Which master key the secrets of this index are sealed under, noted before the first of them.
//!
//! So a lost master key file is missed rather than replaced, and another one is refused before anything is sealed under it
//! beside secrets that it cannot open.

use std::fmt;
use std::sync::Arc;

use cairn_crypto::wrap::KeyId;
use cairn_storage::StorageError;
use cairn_storage::index::family::identity::{IdentityKind, key};
use cairn_storage::index::{Batch, Family, Index, Outcome, Partition};

/// There is one master key, so its row needs no name.
const NAME: &str = "";

/// The master key is not the one that secrets were sealed under, or that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// Another one.
    #[error("the data directory's secrets are sealed under the master key {noted}, but the one given is {given}")]
    OtherMasterKey {
        /// The id that was noted.
        noted: String,
        /// The id of the key that is given.
        given: KeyId,
    },
    /// The index's answer.
    #[error("the master key's id: {0}")]
    Storage(#[from] StorageError),
}

/// The note of the master key.
pub struct Sealing(Arc<dyn Index>);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealing").finish()
    }
}

impl Sealing {
    /// The note in this index.
    pub fn new(index: Arc<dyn Index>) -> Self {
        Self(index)
    }

    /// Whether no secret was ever sealed. An index from before the note has at most the record of its own account.
    ///
    /// # Errors
    /// The index's answer.
    pub async fn nothing_sealed(&self) -> Result<bool, SealingError> {
        let page = |view: &dyn cairn_storage::index::View| {
            let noted = view.get(Family::Identity, &key(IdentityKind::MasterKey, NAME))?;
            let account = view.get(Family::Identity, &key(IdentityKind::RootAccount, NAME))?;
            Ok(noted.is_none() && account.is_none())
        };
        Ok(self.0.view(Partition::SYSTEM, page).await.map_err(StorageError::from)?)
    }

    /// The id of the master key, as it was noted.
    ///
    /// # Errors
    /// The index's answer.
    pub async fn noted(&self) -> Result<Option<String>, SealingError> {
        let row = key(IdentityKind::MasterKey, NAME);
        let noted = self.0.view(Partition::SYSTEM, move |view| view.get(Family::Identity, &row)).await;
        let noted = noted.map_err(StorageError::from)?;
        Ok(noted.map(|noted| String::from_utf8_lossy(&noted.value).into_owned()))
    }

    /// Notes the master key, or finds that it is the one that was noted. An index that cannot be written takes no secrets,
    /// and no note.
    ///
    /// # Errors
    /// `OtherMasterKey`; the index's answer.
    pub async fn note(&self, given: KeyId) -> Result<(), SealingError> {
        let row = key(IdentityKind::MasterKey, NAME);
        if let Some(noted) = self.noted().await? {
            return if noted == given.to_string() {
                Ok(())
            } else {
                Err(SealingError::OtherMasterKey { noted, given })
            };
        }
        let mut batch = Batch::new();
        // Without a guard: one process has the data directory, and it starts once.
        batch.put(Family::Identity, row, given.to_string().into_bytes());
        match self.0.commit(Partition::SYSTEM, batch).await {
            Outcome::Committed(_) | Outcome::Refused(_) => Ok(()),
            Outcome::Conflict | Outcome::Unknown => Err(StorageError::OutcomeUnknown.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::secret::{KEY_BYTES, MasterKey};
    use cairn_crypto::wrap::MasterKeyWrap;
    use cairn_storage::health::Health;
    use cairn_storage::index::memory::MemoryIndex;

    use super::*;

    fn key_id(byte: u8) -> KeyId {
        MasterKeyWrap::new(&MasterKey::from_bytes([byte; KEY_BYTES])).key_id()
    }

    #[tokio::test]
    async fn the_first_master_key_is_noted_and_another_is_refused() {
        let sealing = Sealing::new(Arc::new(MemoryIndex::new(Health::default())));
        assert!(sealing.nothing_sealed().await.unwrap());
        sealing.note(key_id(1)).await.unwrap();
        assert!(!sealing.nothing_sealed().await.unwrap());
        sealing.note(key_id(1)).await.unwrap();
        assert!(matches!(sealing.note(key_id(2)).await, Err(SealingError::OtherMasterKey { .. })));
    }
}
