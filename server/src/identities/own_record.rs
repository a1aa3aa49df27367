//! The place of the sealed record in the index.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_storage::StorageError;
use cairn_storage::index::family::identity::{IdentityKind, key};
use cairn_storage::index::{Batch, Family, Index, Partition};

use super::own::SealedRecord;

/// There is one such account, so its record needs no name.
const NAME: &str = "";

/// The record in the `identity` family.
#[derive(Debug)]
pub struct IndexRecord(Arc<dyn Index>);

impl IndexRecord {
    /// The record in this index.
    pub fn new(index: Arc<dyn Index>) -> Self {
        Self(index)
    }
}

#[async_trait]
impl SealedRecord for IndexRecord {
    async fn load(&self) -> Result<Option<Bytes>, StorageError> {
        let key = key(IdentityKind::RootAccount, NAME);
        let row = self.0.view(Partition::SYSTEM, move |view| view.get(Family::Identity, &key)).await?;
        Ok(row.map(|row| row.value))
    }

    async fn save(&self, sealed: Vec<u8>) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        // Without a guard: one process has the data directory, and it starts once.
        batch.put(Family::Identity, key(IdentityKind::RootAccount, NAME), sealed);
        let saved = self.0.commit(Partition::SYSTEM, batch).await.revision()?;
        saved.map(|_| ()).ok_or(StorageError::OutcomeUnknown)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::health::Health;
    use cairn_storage::index::memory::MemoryIndex;

    use super::*;

    #[tokio::test]
    async fn what_was_saved_last_is_loaded() {
        let record = IndexRecord::new(Arc::new(MemoryIndex::new(Health::default())));
        assert_eq!(record.load().await.unwrap(), None);
        record.save(b"one".to_vec()).await.unwrap();
        record.save(b"two".to_vec()).await.unwrap();
        assert_eq!(record.load().await.unwrap().unwrap(), "two");
    }
}
