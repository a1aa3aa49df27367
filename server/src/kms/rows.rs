//! Where KMS keys are kept: rows of the family `identity`, in a partition for each account, versions in them sealed under
//! the master key.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_storage::index::{Batch, Family, Index, KeyRange, Partition, Revision};
use cairn_storage::record::Record as _;

use crate::identities;

use super::error::KmsError;
use super::keys::{AccountKeys, Changes, Sealer};
use super::record::{AliasRecord, GenerationRecord, GrantRecord, KeyRecord, Kind};

/// Everything that is kept of an account.
pub(super) async fn load(
    index: &Arc<dyn Index>,
    account: AccountNumber,
    sealer: &Sealer,
) -> Result<AccountKeys, KmsError> {
    let mut keys = AccountKeys::new(account);
    let mut from = vec![Kind::Generation as u8];
    loop {
        let range = KeyRange { start: from, end: None };
        let rows = identities::page(index.as_ref(), Partition::account(account.0), range).await?;
        let Some((last, ..)) = rows.last() else { return Ok(keys) };
        from = [last.as_slice(), &[0]].concat();
        for (key, revision, value) in &rows {
            if key.first() != Some(&(Kind::Generation as u8)) {
                keys.kept_bytes += value.len();
            }
            take_in(&mut keys, sealer, key, *revision, value)?;
        }
    }
}

/// Rows come in the order of their kinds, so a grant's key is there.
fn take_in(
    keys: &mut AccountKeys,
    sealer: &Sealer,
    key: &[u8],
    revision: Revision,
    value: &[u8],
) -> Result<(), KmsError> {
    match key.first().copied() {
        Some(kind) if kind == Kind::Generation as u8 => {
            keys.revision = Some(revision);
            keys.generation = GenerationRecord::from_value(value)?.number;
        }
        Some(kind) if kind == Kind::Key as u8 => {
            let key = sealer.key(keys.account, KeyRecord::from_value(value)?, None)?;
            keys.keys.insert(key.record.id.clone(), Arc::new(key));
        }
        Some(kind) if kind == Kind::Alias as u8 => {
            let alias = AliasRecord::from_value(value)?;
            keys.aliases.insert(alias.name.clone(), alias);
        }
        Some(kind) if kind == Kind::Grant as u8 => {
            let grant = GrantRecord::from_value(value)?;
            if let Some(key) = keys.keys.get_mut(&grant.key_id) {
                Arc::make_mut(key).grants.insert(grant.id.clone(), grant);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Commits changes of an account's keys if they are still in the state that the changes were decided on. None: they are not.
/// Otherwise the new revision.
pub(super) async fn commit(
    index: &Arc<dyn Index>,
    keys: &AccountKeys,
    changes: Changes,
) -> Result<Option<Revision>, KmsError> {
    let mut batch = Batch::new();
    let generation = Kind::Generation.key("");
    // Stops two changes that were decided on the same state: the second would undo, or contradict, the first.
    batch.guard(Family::Identity, generation.clone(), keys.revision);
    batch.put(Family::Identity, generation, GenerationRecord { number: keys.generation }.to_value()?);
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(Family::Identity, key, value),
            None => batch.delete(Family::Identity, key),
        }
    }
    Ok(index.commit(Partition::account(keys.account.0), batch).await.revision()?)
}
