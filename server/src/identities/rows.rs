//! Where identities are kept: rows of the family `identity`, in a partition for each account, secrets in them sealed under
//! the master key with the row's key as context.

use std::fmt;
use std::sync::Arc;

use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{AccessKey, Change, Directory, Kind, MfaDevice, Record as _, RecordError};
use cairn_storage::StorageError;
use cairn_storage::index::{Batch, Family, Index, IndexError, KeyRange, Partition, Revision};
use zeroize::Zeroizing;

use crate::kms::record::Kind as KmsKind;

/// Rows of one page of a start.
const PAGE_ROWS_MAX: usize = 1_000;

/// Bytes of values after which a page ends.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// What a sealed secret is, bound into the seal with the row's key.
const SEAL_LABEL: &str = "cairn identity 1";

/// Why identities cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The index's answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A row makes no sense.
    #[error("account {account}: {source}")]
    Record {
        /// The account.
        account: AccountNumber,
        /// What is wrong.
        source: RecordError,
    },
    /// The server has no such account.
    #[error("there is no account {0}")]
    NoAccount(AccountNumber),
    /// A secret cannot be opened with this master key, or sealed.
    #[error("a secret of the identities: {0}")]
    Seal(#[from] WrapError),
}

/// What was read of an account.
#[derive(Debug)]
pub(super) struct Loaded {
    pub directory: Directory,
    /// The revision of the generation's row, which every change guards. None: nothing was ever kept.
    pub revision: Option<Revision>,
    /// Rows of [`Kind::Usage`], without the kind.
    pub usage: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The rows of all accounts.
pub(super) struct Rows {
    index: Arc<dyn Index>,
    master_key: MasterKeyWrap,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Rows {
    pub(super) fn new(index: Arc<dyn Index>, master_key: MasterKeyWrap) -> Self {
        Self { index, master_key }
    }

    /// Everything that is kept of an account.
    pub(super) async fn load(&self, account: AccountNumber) -> Result<Loaded, RowsError> {
        let mut loaded = Loaded { directory: Directory::new(account), revision: None, usage: Vec::new() };
        // The rows of KMS keys, of which there may be many, come after those of identities.
        let mut range = KeyRange { start: Vec::new(), end: Some(KmsKind::Generation.key("")) };
        loop {
            let page = page(&*self.index, Partition::account(account.0), range.clone()).await;
            let page = page.map_err(StorageError::from)?;
            let Some((last, ..)) = page.last() else { return Ok(loaded) };
            range.start = [last.as_slice(), &[0]].concat();
            for (key, revision, value) in page {
                match key.split_first() {
                    Some((&kind, _)) if kind == Kind::Generation as u8 => loaded.revision = Some(revision),
                    Some((&kind, name)) if kind == Kind::Usage as u8 => {
                        loaded.usage.push((name.to_vec(), value));
                        continue;
                    }
                    _ => {}
                }
                loaded.directory.load(&key, &value).map_err(|source| RowsError::Record { account, source })?;
            }
        }
    }

    /// Commits changes of an account if its generation's row still has this revision. None: it has not. Otherwise the row's
    /// new revision.
    pub(super) async fn commit(
        &self,
        account: AccountNumber,
        revision: Option<Revision>,
        changes: Vec<Change>,
    ) -> Result<Option<Revision>, RowsError> {
        let mut batch = Batch::new();
        // Stops two changes that were decided on the same state: the second would undo, or contradict, the first.
        batch.guard(Family::Identity, Kind::Generation.key(""), revision);
        self.write(account, batch, changes).await
    }

    /// Writes rows that no decision depends on.
    pub(super) async fn note(&self, account: AccountNumber, rows: Vec<Change>) -> Result<(), RowsError> {
        self.write(account, Batch::new(), rows).await.map(|_| ())
    }

    async fn write(
        &self,
        account: AccountNumber,
        mut batch: Batch,
        changes: Vec<Change>,
    ) -> Result<Option<Revision>, RowsError> {
        for Change { key, value } in changes {
            match value {
                Some(value) => batch.put(Family::Identity, key, value),
                None => batch.delete(Family::Identity, key),
            }
        }
        Ok(self.index.commit(Partition::account(account.0), batch).await.revision()?)
    }

    /// A secret for the row of this kind and name.
    pub(super) fn seal(
        &self,
        account: AccountNumber,
        kind: Kind,
        row_name: &str,
        secret: &[u8],
    ) -> Result<Vec<u8>, RowsError> {
        Ok(self.master_key.seal_secret(&label(account, kind, row_name), secret)?)
    }

    /// The secret of the row of this kind and name.
    pub(super) fn open(
        &self,
        account: AccountNumber,
        kind: Kind,
        row_name: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RowsError> {
        Ok(self.master_key.open_secret(&label(account, kind, row_name), sealed)?)
    }
}

/// A row: its key, its revision and its value.
pub(crate) type Row = (Vec<u8>, Revision, Vec<u8>);

/// A page of rows of a partition, from a key on.
pub(crate) async fn page(index: &dyn Index, partition: Partition, range: KeyRange) -> Result<Vec<Row>, IndexError> {
    let page = move |view: &dyn cairn_storage::index::View| {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut cursor = view.cursor(Family::Identity, range.clone())?;
        while let Some((key, revision, value)) = cursor.row() {
            if rows.len() >= PAGE_ROWS_MAX || bytes >= PAGE_BYTES_MAX {
                break;
            }
            bytes += value.len();
            rows.push((key.to_vec(), revision, value.to_vec()));
            cursor.advance()?;
        }
        Ok(rows)
    };
    index.view(partition, page).await
}

/// A row with its secret under the master key as it is now; None: it is, or it has none.
pub(crate) fn resealed(
    account: AccountNumber,
    key: &[u8],
    value: &[u8],
    master_key: &MasterKeyWrap,
) -> Result<Option<Vec<u8>>, RowsError> {
    let malformed = |source| RowsError::Record { account, source };
    match key.first() {
        Some(&kind) if kind == Kind::AccessKey as u8 => {
            let mut record = AccessKey::from_value(value).map_err(malformed)?;
            let label = label(account, Kind::AccessKey, &record.row_name());
            let Some(sealed) = master_key.reseal_secret(&label, &record.sealed_secret)? else { return Ok(None) };
            record.sealed_secret = sealed;
            Ok(Some(record.to_value().map_err(malformed)?))
        }
        Some(&kind) if kind == Kind::MfaDevice as u8 => {
            let mut record = MfaDevice::from_value(value).map_err(malformed)?;
            let label = label(account, Kind::MfaDevice, &record.row_name());
            let Some(sealed) = master_key.reseal_secret(&label, &record.sealed_seed)? else { return Ok(None) };
            record.sealed_seed = sealed;
            Ok(Some(record.to_value().map_err(malformed)?))
        }
        _ => Ok(None),
    }
}

/// Names of rows have no blanks, so no two rows have one label.
fn label(account: AccountNumber, kind: Kind, row_name: &str) -> String {
    format!("{SEAL_LABEL} {account} {} {row_name}", kind as u8)
}
