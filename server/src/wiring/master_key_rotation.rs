//! Changing the master key of a data directory that no server is using.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_crypto::secret::{EntropyError, MasterKey};
use cairn_crypto::wrap::{KeyId, MasterKeyWrap};
use cairn_storage::clock::SystemEntropy;
use cairn_storage::datadir::DataDir;
use cairn_storage::health::Health;
use cairn_storage::index::rocks::{RocksIndex, RocksOptions};
use cairn_storage::index::{Family, Index, IndexError};
use cairn_storage::observe::Silent;

use super::store::OpenError;
use crate::config::Config;
use crate::identities::sealing::{Sealing, SealingError};
use crate::kms::external::{BuildError, ExternalKeys, ExternalKms, Unheld};
use crate::master_key::rotation::{self, RotationError};
use crate::master_key::{self, MasterKeyError, MasterKeySource};
use crate::metrics::ExternalKmsMetrics;

/// Why the master key was not changed, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The data directory cannot be opened.
    #[error("the data directory cannot be opened")]
    Open(#[from] OpenError),
    /// There is no master key to change.
    #[error("nothing is sealed in this data directory yet: no server was ever started over it")]
    NothingSealed,
    /// There is no new key, and none can be made where the operator keeps it.
    #[error("the master key is not in a file of its own: give the new one as CAIRN_NEW_MASTER_KEY or --new-key-file")]
    NoNewKey,
    /// The new key is the old one.
    #[error("the new master key is the one that is in use")]
    SameKey,
    /// The external KMS cannot be asked.
    #[error(transparent)]
    ExternalKms(#[from] BuildError),
    /// A file of a key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The master key is another one than before.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// Sealing anew.
    #[error("the master key is not changed to the end")]
    Rotation(#[from] RotationError),
    /// No new key could be made.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The runtime cannot start.
    #[error("cannot start the threads")]
    Runtime(#[source] io::Error),
}

/// What became of it.
#[derive(Debug)]
pub struct Rotated {
    /// The master key that is.
    pub key_id: KeyId,
    /// Rows that were sealed anew.
    pub rows: usize,
    /// Where the key before is kept, if it was in a file.
    pub kept: Option<PathBuf>,
    /// The new key is in the file of the master key.
    pub in_file: bool,
}

/// Makes `new` the master key, or one that is generated if the master key is in a file; or finishes a change that was
/// interrupted, whose new key this then is.
///
/// # Errors
/// What kept it from its beginning or its end. It can be run again.
pub fn rotate_master_key(config: Config, new: Option<MasterKey>) -> Result<Rotated, RotateError> {
    // Opening would make one.
    if !config.data_dir.is_dir() {
        return Err(OpenError::Disk(io::ErrorKind::NotFound.into()).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RotateError::Runtime)?;
    let data_dir = DataDir::open(&config.data_dir, &SystemEntropy).map_err(OpenError::from)?;
    let was_clean = data_dir.was_clean();
    let options = RocksOptions::new(data_dir.index_path(), data_dir.watermark_path());
    let open = |index: Result<RocksIndex, IndexError>| index.map(Arc::new).map_err(OpenError::from);
    let index = runtime.block_on(async { open(RocksIndex::open(&options, Health::default(), Arc::new(Silent))) })?;
    let rotated = runtime.block_on(rotate(&index, config, new));
    let closed = index.close().map_err(OpenError::from);
    if closed.is_ok() && was_clean {
        data_dir.mark_clean().map_err(OpenError::from)?;
    }
    let rotated = rotated?;
    closed?;
    Ok(rotated)
}

async fn rotate(index: &Arc<RocksIndex>, mut config: Config, new: Option<MasterKey>) -> Result<Rotated, RotateError> {
    let partitions = index.partitions(Family::Identity).map_err(OpenError::from)?;
    let index: Arc<dyn Index> = index.clone();
    let noted = Sealing::new(index.clone()).noted().await?.ok_or(RotateError::NothingSealed)?;
    let external = config.take_external_kms();
    let external = external
        .map(|settings| ExternalKms::new(settings, Arc::new(SystemEntropy), ExternalKmsMetrics::default()))
        .transpose()?;
    let unheld = external.as_ref().map(Unheld);
    let external = unheld.as_ref().map(|unheld| unheld as &dyn ExternalKeys);
    let source = config.take_master_key();
    let file = source.key_file();
    let mut kept = match &file {
        Some(file) => master_key::take_next(file, &noted)?,
        None => None,
    };
    let (source, unsealed) = match source {
        // It is not sealed yet.
        MasterKeySource::Sealed { file, before, .. } if !file.exists() => {
            let unsealed = before.key_file().map(|before| before.path);
            (*before, unsealed)
        }
        source => (source, None),
    };
    let current = master_key::obtain(source, false, external).await?;
    // Of a change that was interrupted the new key may be given, where the server does not have it yet.
    let (current, new) = match new {
        Some(new) if id_of(&new).to_string() == noted && id_of(&current) != id_of(&new) => (new, None),
        new => (current, new),
    };
    Sealing::new(index.clone()).note(id_of(&current)).await?;
    let interrupted = rotation::former(&index, &MasterKeyWrap::new(&current)).await?.is_some();
    let master_key = if interrupted {
        current
    } else {
        let new = match new {
            Some(new) => new,
            None if file.is_some() => MasterKey::generate()?,
            None => return Err(RotateError::NoNewKey),
        };
        if id_of(&new) == id_of(&current) {
            return Err(RotateError::SameKey);
        }
        // First the key is safe, then it is noted, then it is where the server looks for it.
        if let Some(file) = &file {
            master_key::lay_next(file, &new, external).await?;
        }
        rotation::begin(&index, &current, &new).await?;
        if let Some(file) = &file {
            kept = master_key::take_next(file, &id_of(&new).to_string())?.or(unsealed);
        }
        new
    };
    let rows = rotation::finish(&index, &partitions, MasterKeyWrap::new(&master_key)).await?;
    Ok(Rotated { key_id: id_of(&master_key), rows, kept, in_file: file.is_some() })
}

fn id_of(key: &MasterKey) -> KeyId {
    MasterKeyWrap::new(key).key_id()
}
