//! Remotes that calls have added, where they are kept: as the JSON that they were given in, sealed under the master key, because of their
//! secret keys.
//!
//! ```text
//! family identity, partition SYSTEM
//! key    IdentityKind::Remote (u8) | name
//! value  what the master key makes of the JSON; its label has the format and the name
//! ```

use std::fmt;
use std::sync::Arc;

use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_storage::StorageError;
use cairn_storage::index::family::identity::{IdentityKind, key};
use cairn_storage::index::{Batch, Family, Index, KeyRange, Partition, View};
use zeroize::Zeroizing;

use crate::config;

/// The longest JSON of a remote.
const REMOTE_BYTES_MAX: usize = 16 << 10;

/// What the sealed record is, bound into the seal with the remote's name. The number is its format.
const SEAL_LABEL: &str = "cairn remote 1";

/// Why what is kept cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The index's answer.
    #[error("the remotes that were added: {0}")]
    Storage(#[from] StorageError),
    /// It cannot be opened with this master key.
    #[error("the remote {name}: {fault}")]
    Seal {
        /// Which one.
        name: String,
        /// Why not.
        fault: WrapError,
    },
    /// It was opened, and makes no sense.
    #[error("the record of the remote {0} is malformed")]
    Malformed(String),
}

/// A remote as it was given.
pub struct Given {
    json: Zeroizing<Vec<u8>>,
    remote: config::Remote,
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

/// Without the JSON, which has the secret.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Given").field(&self.name()).finish()
    }
}

impl Given {
    /// Reads a `[[remote]]` in JSON, and holds it to what holds for one in the settings; the error says what is wrong.
    pub fn parse(given: &serde_json::Value) -> Result<Self, String> {
        // The same fields in another order are the same.
        let json = serde_json::to_vec(given).map(Zeroizing::new).map_err(|error| error.to_string())?;
        Self::read(json)
    }

    fn read(json: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        if json.len() > REMOTE_BYTES_MAX {
            return Err(format!("a remote has at most {REMOTE_BYTES_MAX} bytes"));
        }
        let remote: config::Remote = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        remote.check().map_err(str::to_owned)?;
        Ok(Self { json, remote })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.remote.name.as_str()
    }

    /// The remote.
    #[must_use]
    pub fn remote(&self) -> &config::Remote {
        &self.remote
    }
}

/// The place of the sealed records.
pub struct Kept {
    index: Arc<dyn Index>,
    master_key: MasterKeyWrap,
}

impl Kept {
    /// Those of this index, sealed under this key.
    #[must_use]
    pub fn new(index: Arc<dyn Index>, master_key: MasterKeyWrap) -> Self {
        Self { index, master_key }
    }

    /// All of them.
    ///
    /// # Errors
    /// See [`KeptError`].
    pub async fn load(&self) -> Result<Vec<Given>, KeptError> {
        let page = |view: &dyn View| {
            let mut rows = Vec::new();
            let mut cursor = view.cursor(Family::Identity, KeyRange::prefix(&[IdentityKind::Remote as u8]))?;
            while let Some((key, _, value)) = cursor.row() {
                rows.push((String::from_utf8_lossy(&key[1..]).into_owned(), value.to_vec()));
                cursor.advance()?;
            }
            Ok(rows)
        };
        let rows = self.index.view(Partition::SYSTEM, page).await.map_err(StorageError::from)?;
        let open = |(name, value): (String, Vec<u8>)| {
            let json = self.master_key.open_secret(&label(&name), &value);
            let json = json.map_err(|fault| KeptError::Seal { name: name.clone(), fault })?;
            Given::read(json).ok().filter(|given| given.name() == name).ok_or(KeptError::Malformed(name))
        };
        rows.into_iter().map(open).collect()
    }

    /// Keeps one, in place of one of its name. Durable when it returns.
    pub(super) async fn put(&self, given: &Given) -> Result<(), super::ChangeError> {
        let sealed = self.master_key.seal_secret(&label(given.name()), &given.json)?;
        let mut batch = Batch::new();
        // No guards: one process has the data directory, and makes one change at a time.
        batch.put(Family::Identity, key(IdentityKind::Remote, given.name()), sealed);
        Ok(self.commit(batch).await?)
    }

    /// Forgets one. Durable when it returns.
    pub(super) async fn remove(&self, name: &str) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        // No guards, as above.
        batch.delete(Family::Identity, key(IdentityKind::Remote, name));
        self.commit(batch).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let committed = self.index.commit(Partition::SYSTEM, batch).await.revision()?;
        committed.map(|_| ()).ok_or(StorageError::Contention)
    }
}

fn label(name: &str) -> String {
    format!("{SEAL_LABEL} {name}")
}

/// The row under the master key as it is now; None: it is.
pub(crate) fn resealed(row_key: &[u8], value: &[u8], master_key: &MasterKeyWrap) -> Result<Option<Vec<u8>>, WrapError> {
    let name = String::from_utf8_lossy(row_key.get(1..).unwrap_or_default());
    master_key.reseal_secret(&label(&name), value)
}
