//! The key store: the keys that wrap data keys, kept in the index, each version sealed under the master key.
//!
//! It has one key so far, the server's own (SSE-S3). The newest version of a key wraps; all of them open what they wrapped, so
//! that a rotation changes nothing for objects that are there. Opened keys are in memory for as long as the server runs;
//! every operation takes the keyring as it is when it begins.
//!
//! It leaves to others: which request may use a key, and where envelopes are kept (ARCHITECTURE 10).

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use cairn_crypto::secret::{KEY_BYTES, StoreKey};
use cairn_crypto::store_key::{Keyring, VERSIONS_MAX, key_id};
use cairn_crypto::wrap::{KeyId, MasterKeyWrap, WrapError};
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::identity::{IdentityKind, StoreKeyRecord, StoreKeyVersion, key};
use cairn_storage::index::{Batch, Family, Index, Partition, Revision};
use cairn_storage::record::Record as _;
use parking_lot::{Mutex, RwLock};

/// The name of the key of SSE-S3. No KMS key can have it: their names have no slash.
const SERVER_KEY: &str = "aws/s3";

/// Why there is no key store.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The index's answer.
    #[error("the key store's rows: {0}")]
    Storage(#[from] StorageError),
    /// A key does not open with this master key, or cannot be sealed.
    #[error("a key of the key store: {0}")]
    Seal(#[from] WrapError),
    /// A row makes no sense.
    #[error("a row of the key store is malformed")]
    Malformed,
    /// The key has as many versions as it can.
    #[error("the key has {VERSIONS_MAX} versions, which is the most")]
    TooManyVersions,
    /// There is no such version to keep.
    #[error("the key has no version {0}")]
    NoSuchVersion(u32),
}

/// What is told of a key: never the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its versions, oldest first: number and creation time.
    pub versions: Vec<(u32, Timestamp)>,
}

/// The keys, open.
#[derive(Debug)]
pub struct KeyStore {
    index: Arc<dyn Index>,
    master_key: MasterKeyWrap,
    server_key: RwLock<Opened>,
    /// Those that somebody may still hold.
    replaced: Mutex<Vec<Replaced>>,
}

#[derive(Clone, Debug)]
struct Opened {
    revision: Revision,
    keyring: Arc<Keyring>,
    status: KeyStatus,
    /// The versions' numbers with what envelopes call them.
    ids: Vec<(u32, KeyId)>,
}

/// A keyring that others have replaced, and the version that it wraps under.
#[derive(Debug)]
struct Replaced {
    wraps_under: u32,
    keyring: Weak<Keyring>,
}

impl KeyStore {
    /// Opens the keys, and makes the server's own one if it does not exist. What was made is durable on return.
    pub async fn open(index: Arc<dyn Index>, master_key: MasterKeyWrap, now: Timestamp) -> Result<Self, KeyStoreError> {
        let (revision, record) = match load(&index).await? {
            Some(kept) => kept,
            None => {
                let first = sealed_version(&master_key, 1, now)?;
                let record = StoreKeyRecord { versions: vec![first] };
                (save(&index, None, &record).await?, record)
            }
        };
        let server_key = RwLock::new(Opened::new(revision, &record, &master_key)?);
        Ok(Self { index, master_key, server_key, replaced: Mutex::default() })
    }

    /// The keyring of SSE-S3.
    pub fn server_key(&self) -> Arc<Keyring> {
        Arc::clone(&self.server_key.read().keyring)
    }

    /// What is told of the key of SSE-S3.
    pub fn server_key_status(&self) -> KeyStatus {
        self.server_key.read().status.clone()
    }

    /// Makes a new version of the key of SSE-S3, which wraps from now on. Durable on return.
    pub async fn rotate_server_key(&self, now: Timestamp) -> Result<KeyStatus, KeyStoreError> {
        let (revision, mut record) = load(&self.index).await?.ok_or(KeyStoreError::Malformed)?;
        if record.versions.len() >= VERSIONS_MAX {
            return Err(KeyStoreError::TooManyVersions);
        }
        let number = record.versions.last().map_or(0, |version| version.number);
        let number = number.checked_add(1).ok_or(KeyStoreError::TooManyVersions)?;
        record.versions.push(sealed_version(&self.master_key, number, now)?);
        self.replace(revision, &record).await
    }

    /// Whether a version before this one may still wrap: somebody holds a keyring from before the rotation.
    pub fn is_in_use_below(&self, number: u32) -> bool {
        let mut replaced = self.replaced.lock();
        replaced.retain(|replaced| replaced.keyring.strong_count() > 0);
        replaced.iter().any(|replaced| replaced.wraps_under < number)
    }

    /// What envelopes call the versions from this one on.
    pub fn versions_from(&self, number: u32) -> HashSet<KeyId> {
        let held = self.server_key.read();
        held.ids.iter().filter(|(version, _)| *version >= number).map(|(_, id)| *id).collect()
    }

    /// Removes the versions of the key of SSE-S3 before this one, for good: what is wrapped under one of them never opens again.
    /// Durable on return.
    pub async fn retire_below(&self, number: u32) -> Result<KeyStatus, KeyStoreError> {
        let (revision, mut record) = load(&self.index).await?.ok_or(KeyStoreError::Malformed)?;
        let count = record.versions.len();
        record.versions.retain(|version| version.number >= number);
        if record.versions.is_empty() {
            return Err(KeyStoreError::NoSuchVersion(number));
        }
        if record.versions.len() == count {
            return Ok(self.server_key_status());
        }
        self.replace(revision, &record).await
    }

    /// Puts a record in place of the one of this revision.
    async fn replace(&self, seen: Revision, record: &StoreKeyRecord) -> Result<KeyStatus, KeyStoreError> {
        // Opened before it is kept: what does not open must not replace what does.
        let opened = Opened::new(seen, record, &self.master_key)?;
        let opened = Opened { revision: save(&self.index, Some(seen), record).await?, ..opened };
        let status = opened.status.clone();
        let mut held = self.server_key.write();
        // Of two changes the later one may come here first.
        if held.revision < opened.revision {
            let wraps_under = held.status.versions.last().map_or(0, |(number, _)| *number);
            self.replaced.lock().push(Replaced { wraps_under, keyring: Arc::downgrade(&held.keyring) });
            *held = opened;
        }
        Ok(status)
    }
}

impl Opened {
    fn new(revision: Revision, record: &StoreKeyRecord, master_key: &MasterKeyWrap) -> Result<Self, KeyStoreError> {
        let open = |version: &StoreKeyVersion| {
            let opened = master_key.open_secret(&label(version.number), &version.sealed)?;
            let bytes: &[u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| KeyStoreError::Malformed)?;
            Ok(StoreKey::from_bytes(*bytes))
        };
        let versions = record.versions.iter().map(open).collect::<Result<Vec<_>, KeyStoreError>>()?;
        let numbers = record.versions.iter().map(|version| version.number);
        let ids = numbers.zip(versions.iter().map(key_id)).collect();
        let keyring = Arc::new(Keyring::new(versions).ok_or(KeyStoreError::Malformed)?);
        let versions = record.versions.iter().map(|version| (version.number, version.created)).collect();
        Ok(Self { revision, keyring, status: KeyStatus { versions }, ids })
    }
}

/// A key's row with its versions under the master key as it is now; None: they are.
pub(crate) fn resealed(value: &[u8], master_key: &MasterKeyWrap) -> Result<Option<Vec<u8>>, KeyStoreError> {
    let mut record = StoreKeyRecord::from_value(value).map_err(StorageError::from)?;
    let mut changed = false;
    for version in &mut record.versions {
        if let Some(sealed) = master_key.reseal_secret(&label(version.number), &version.sealed)? {
            version.sealed = sealed.into();
            changed = true;
        }
    }
    Ok(changed.then(|| record.to_value()).transpose()?)
}

/// Bound into the seal of a version, so that versions cannot be exchanged.
fn label(number: u32) -> String {
    format!("cairn store key 1 {SERVER_KEY} {number}")
}

fn sealed_version(master_key: &MasterKeyWrap, number: u32, now: Timestamp) -> Result<StoreKeyVersion, KeyStoreError> {
    let key = StoreKey::generate().map_err(WrapError::from)?;
    let sealed = master_key.seal_secret(&label(number), key.expose())?;
    Ok(StoreKeyVersion { number, created: now, sealed: sealed.into() })
}

async fn load(index: &Arc<dyn Index>) -> Result<Option<(Revision, StoreKeyRecord)>, StorageError> {
    let row_key = key(IdentityKind::StoreKey, SERVER_KEY);
    let row = index.view(Partition::SYSTEM, move |view| view.get(Family::Identity, &row_key)).await?;
    Ok(row.map(|row| StoreKeyRecord::from_value(&row.value).map(|record| (row.revision, record))).transpose()?)
}

/// The record's new revision. `Contention`: another commit came first.
async fn save(
    index: &Arc<dyn Index>,
    seen: Option<Revision>,
    record: &StoreKeyRecord,
) -> Result<Revision, StorageError> {
    let row_key = key(IdentityKind::StoreKey, SERVER_KEY);
    let mut batch = Batch::new();
    // Stops: two rotations, the later of which would drop the other's version, and a rotation x a retirement.
    batch.guard(Family::Identity, row_key.clone(), seen);
    batch.put(Family::Identity, row_key, record.to_value()?);
    index.commit(Partition::SYSTEM, batch).await.revision()?.ok_or(StorageError::Contention)
}

#[cfg(test)]
mod tests;
