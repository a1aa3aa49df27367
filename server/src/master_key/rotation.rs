//! Changing the master key: everything that it seals is sealed anew under another one, in a number of steps that follows the
//! number of secrets and not that of objects.
//!
//! ```text
//! begin    one commit: the new key's id is noted in place of the old one's, and the old key is kept, sealed under the new one
//! finish   page by page, each row under the old key is sealed under the new one; at the end the old key is forgotten
//! ```
//!
//! Invariants: before `begin`'s commit the old key opens everything; from then on the new one does, because it opens the old one.
//! So a crash loses nothing whenever it comes, and `finish` can be run again until it ends. A row that a page could not know
//! how to seal anew keeps the old key from being forgotten.
//!
//! It leaves to others: where master keys come from, and what each kind of row looks like.

use std::sync::Arc;

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use cairn_crypto::wrap::{KeyId, MasterKeyWrap, WrapError};
use cairn_iam::acl::AccountNumber;
use cairn_storage::StorageError;
use cairn_storage::index::family::identity::{IdentityKind, key};
use cairn_storage::index::{Batch, Family, Index, IndexError, KeyRange, Partition, Revision};

use crate::identities::{self, RowsError, own};
use crate::key_store::{self, KeyStoreError};
use crate::kms::record::Kind as KmsKind;
use crate::kms::{KmsError, keys};
use crate::remotes;

/// The rows are named by their kinds alone.
const NAME: &str = "";

/// What the kept key is, bound into its seal.
const SEAL_LABEL: &str = "cairn former master key 1";

/// Bytes of values after which what was sealed anew is committed.
const COMMIT_BYTES_MAX: usize = 1 << 20;

/// Why the master key was not changed, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The index's answer.
    #[error("the rows that are sealed under the master key: {0}")]
    Storage(#[from] StorageError),
    /// A row of identities.
    #[error(transparent)]
    Identities(#[from] RowsError),
    /// A row of the key store.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// A row of KMS keys.
    #[error("a KMS key cannot be sealed anew")]
    Kms(#[from] KmsError),
    /// Something does not open.
    #[error("what is sealed under the master key: {0}")]
    Seal(#[from] WrapError),
    /// The kept key makes no sense.
    #[error("the master key before this one is malformed")]
    Malformed,
    /// This version does not know how to seal a row anew.
    #[error("the row {row} is still sealed under the master key {former}")]
    Left {
        /// Its partition and key.
        row: String,
        /// The master key before this one.
        former: KeyId,
    },
}

/// Makes `new` the master key. Durable on return, whatever comes of [`finish`].
///
/// # Errors
/// The index's answer; `Contention` if the noted key is not `old`, or another change is not finished.
pub async fn begin(index: &Arc<dyn Index>, old: &MasterKey, new: &MasterKey) -> Result<(), RotationError> {
    let (noted, former) = (key(IdentityKind::MasterKey, NAME), key(IdentityKind::FormerMasterKey, NAME));
    let (old_id, new) = (MasterKeyWrap::new(old).key_id(), MasterKeyWrap::new(new));
    let Some((revision, id)) = row(index, &noted).await? else { return Err(StorageError::Contention.into()) };
    if id != old_id.to_string().as_bytes() {
        return Err(StorageError::Contention.into());
    }
    let mut batch = Batch::new();
    // Stops: change x change, of which the later would forget the key that the earlier was from.
    batch.guard(Family::Identity, noted.clone(), Some(revision));
    batch.guard(Family::Identity, former.clone(), None);
    batch.put(Family::Identity, noted, new.key_id().to_string().into_bytes());
    batch.put(Family::Identity, former, new.seal_secret(SEAL_LABEL, old.expose())?);
    commit(index, Partition::SYSTEM, batch).await
}

/// The key before `master_key`, if something may still be sealed under it.
///
/// # Errors
/// The index's answer; that it does not open.
pub async fn former(index: &Arc<dyn Index>, master_key: &MasterKeyWrap) -> Result<Option<MasterKey>, RotationError> {
    let kept = row(index, &key(IdentityKind::FormerMasterKey, NAME)).await?;
    let Some((_, sealed)) = kept else { return Ok(None) };
    let opened = master_key.open_secret(SEAL_LABEL, &sealed)?;
    let bytes: &[u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| RotationError::Malformed)?;
    Ok(Some(MasterKey::from_bytes(*bytes)))
}

/// Seals under `master_key` what is still sealed under the key before it, in these partitions, which are all that have rows of
/// the family `identity`; then forgets that key. Tells how many rows were sealed anew. Nothing else may write meanwhile.
///
/// # Errors
/// What kept it from its end. It can be run again.
pub async fn finish(
    index: &Arc<dyn Index>,
    partitions: &[Partition],
    master_key: MasterKeyWrap,
) -> Result<usize, RotationError> {
    let Some(former) = former(index, &master_key).await? else { return Ok(0) };
    let former_id = MasterKeyWrap::new(&former).key_id();
    let master_key = master_key.with_former(&former);
    let mut rows = 0;
    for partition in partitions {
        rows += reseal(index, *partition, &master_key).await?;
    }
    for partition in partitions {
        check_none_left(index, *partition, former_id).await?;
    }
    let mut batch = Batch::new();
    // No guard: nothing else writes.
    batch.delete(Family::Identity, key(IdentityKind::FormerMasterKey, NAME));
    commit(index, Partition::SYSTEM, batch).await?;
    Ok(rows)
}

async fn reseal(
    index: &Arc<dyn Index>,
    partition: Partition,
    master_key: &MasterKeyWrap,
) -> Result<usize, RotationError> {
    let (mut from, mut count) = (Vec::new(), 0);
    loop {
        let page = page(index, partition, &from).await?;
        let Some((last, ..)) = page.last() else { return Ok(count) };
        from = [last.as_slice(), &[0]].concat();
        let (mut batch, mut bytes) = (Batch::new(), 0);
        for (row_key, revision, value) in &page {
            let Some(value) = resealed(partition, row_key, value, master_key)? else { continue };
            (bytes, count) = (bytes + value.len(), count + 1);
            // Stops a change of the row that came since it was read from being undone.
            batch.guard(Family::Identity, row_key.clone(), Some(*revision));
            batch.put(Family::Identity, row_key.clone(), value);
            if bytes >= COMMIT_BYTES_MAX {
                commit(index, partition, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            commit(index, partition, batch).await?;
        }
    }
}

/// The row under `master_key`; None: it is, or nothing in it is sealed.
fn resealed(
    partition: Partition,
    row_key: &[u8],
    value: &[u8],
    master_key: &MasterKeyWrap,
) -> Result<Option<Vec<u8>>, RotationError> {
    let is_kind = |kind: u8| row_key.first() == Some(&kind);
    let Some(account) = partition.account_number().map(AccountNumber) else {
        return Ok(match () {
            () if is_kind(IdentityKind::RootAccount as u8) => own::resealed(value, master_key)?,
            () if is_kind(IdentityKind::StoreKey as u8) => key_store::resealed(value, master_key)?,
            () if is_kind(IdentityKind::Remote as u8) => remotes::kept::resealed(row_key, value, master_key)?,
            () => None,
        });
    };
    if is_kind(KmsKind::Key as u8) {
        return Ok(keys::resealed(account, value, master_key)?);
    }
    Ok(identities::resealed(account, row_key, value, master_key)?)
}

/// Every envelope has the id of its key in it.
async fn check_none_left(index: &Arc<dyn Index>, partition: Partition, former: KeyId) -> Result<(), RotationError> {
    let mut from = Vec::new();
    loop {
        let page = page(index, partition, &from).await?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for (row_key, _, value) in &page {
            if value.windows(former.as_bytes().len()).any(|window| window == former.as_bytes()) {
                let row = format!("{} {}", hex::encode(partition.0), row_key.escape_ascii());
                return Err(RotationError::Left { row, former });
            }
        }
    }
}

async fn page(index: &Arc<dyn Index>, partition: Partition, from: &[u8]) -> Result<Vec<identities::Row>, StorageError> {
    let range = KeyRange { start: from.to_vec(), end: None };
    Ok(identities::page(index.as_ref(), partition, range).await?)
}

async fn row(index: &Arc<dyn Index>, row_key: &[u8]) -> Result<Option<(Revision, Vec<u8>)>, StorageError> {
    let row_key = row_key.to_vec();
    let read = index.view(Partition::SYSTEM, move |view| view.get(Family::Identity, &row_key)).await;
    let row = read.map_err(|error: IndexError| StorageError::from(error))?;
    Ok(row.map(|row| (row.revision, row.value.to_vec())))
}

async fn commit(index: &Arc<dyn Index>, partition: Partition, batch: Batch) -> Result<(), RotationError> {
    let committed = index.commit(partition, batch).await.revision()?;
    Ok(committed.map(|_| ()).ok_or(StorageError::Contention)?)
}

#[cfg(test)]
mod tests;
