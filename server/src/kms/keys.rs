//! The KMS keys of one account in memory: one state, which changes make another of.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_crypto::kms::KmsKeyName;
use cairn_crypto::secret::{KEY_BYTES, StoreKey};
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Source, SourceKind};
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::Revision;
use cairn_storage::index::family::identity::StoreKeyVersion;
use cairn_storage::record::Record;

use super::ACCOUNT_BYTES_MAX;
use super::error::{KmsError, KmsFault};
use super::name::{Name, alias_arn, key_arn};
use super::record::{AliasRecord, Backing, GrantRecord, KeyRecord, KeyVersion, Kind, grant_row};

/// A row to put (Some) or to delete (None).
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key's row with its versions under the master key as it is now; None: they are.
pub(crate) fn resealed(
    account: AccountNumber,
    value: &[u8],
    master_key: &MasterKeyWrap,
) -> Result<Option<Vec<u8>>, KmsError> {
    let mut record = KeyRecord::from_value(value).map_err(StorageError::from)?;
    let Backing::Local(versions) = &mut record.backing else { return Ok(None) };
    let mut changed = false;
    for KeyVersion { key: version, .. } in versions {
        let label = label(account, &record.id, version.number);
        if let Some(sealed) = master_key.reseal_secret(&label, &version.sealed)? {
            version.sealed = sealed.into();
            changed = true;
        }
    }
    Ok(changed.then(|| record.to_value()).transpose()?)
}

/// A key, ready for use.
#[derive(Clone, Debug)]
pub struct Key {
    /// The account.
    pub account: AccountNumber,
    /// Its ARN.
    pub arn: String,
    /// What is kept of it.
    pub record: KeyRecord,
    /// Its key policy.
    pub policy: Arc<Attached>,
    /// Its grants by their ids.
    pub grants: BTreeMap<String, GrantRecord>,
    /// Its versions, open. None: it is an external one.
    pub keyring: Option<Arc<Keyring>>,
}

impl Key {
    /// Its account and id.
    pub fn name(&self) -> KmsKeyName<'_> {
        KmsKeyName { account: self.account.0, id: &self.record.id }
    }

    /// That it may be used as it is.
    ///
    /// # Errors
    /// `KMSInvalidStateException`, `DisabledException`.
    pub fn usable(&self) -> Result<(), KmsError> {
        self.not_pending()?;
        if self.record.is_enabled {
            return Ok(());
        }
        Err(KmsError::fault(KmsFault::Disabled, format!("{} is disabled.", self.arn)))
    }

    /// That it is not waiting for its deletion.
    ///
    /// # Errors
    /// `KMSInvalidStateException`.
    pub fn not_pending(&self) -> Result<(), KmsError> {
        if self.record.delete_at.is_none() {
            return Ok(());
        }
        Err(KmsError::fault(KmsFault::InvalidState, format!("{} is pending deletion.", self.arn)))
    }

    /// When it gets its next version by its period.
    pub fn next_rotation(&self) -> Option<Timestamp> {
        let (rotation, Backing::Local(versions)) = (self.record.rotation?, &self.record.backing) else { return None };
        // What was asked for in between does not count (KMS developer guide, "Perform on-demand key rotation").
        let by_period = versions.iter().skip(1).rfind(|version| !version.on_demand);
        let since = by_period.map_or(rotation.since, |version| rotation.since.max(version.key.created));
        Some(since.plus_ms(i64::from(rotation.period_days) * super::DAY_MS))
    }
}

/// The keys of an account, and the revision that a change of them guards.
#[derive(Clone, Debug)]
pub struct AccountKeys {
    /// The account.
    pub account: AccountNumber,
    /// The keys by their ids.
    pub keys: BTreeMap<String, Arc<Key>>,
    /// The aliases by their names.
    pub aliases: BTreeMap<String, AliasRecord>,
    pub(super) revision: Option<Revision>,
    pub(super) generation: u64,
    /// Bytes of all records.
    pub(super) kept_bytes: usize,
}

impl AccountKeys {
    /// An account without keys.
    pub fn new(account: AccountNumber) -> Self {
        Self { account, keys: BTreeMap::new(), aliases: BTreeMap::new(), revision: None, generation: 0, kept_bytes: 0 }
    }

    /// The key of this name.
    ///
    /// # Errors
    /// `NotFoundException`.
    pub fn find(&self, name: &Name, region: &str) -> Result<&Arc<Key>, KmsError> {
        let id = match name {
            Name::Id(id) => id,
            Name::Alias(alias) => match self.aliases.get(alias) {
                Some(record) => &record.key_id,
                None => {
                    let arn = alias_arn(region, self.account, alias);
                    return Err(KmsError::not_found(format!("Alias {arn} is not found.")));
                }
            },
        };
        self.keys.get(id).ok_or_else(|| {
            let arn = key_arn(region, self.account, id);
            KmsError::not_found(format!("Key '{arn}' does not exist"))
        })
    }

    /// The aliases of a key.
    pub fn aliases_of<'k>(&'k self, key_id: &'k str) -> impl Iterator<Item = &'k AliasRecord> {
        self.aliases.values().filter(move |alias| alias.key_id == key_id)
    }
}

/// What seals and opens the versions of keys.
pub struct Sealer {
    master_key: MasterKeyWrap,
    region: String,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Bound into the seal of a version, so that versions cannot be exchanged. Ids have no blanks.
fn label(account: AccountNumber, key_id: &str, number: u32) -> String {
    format!("cairn kms key 1 {account} {key_id} {number}")
}

impl Sealer {
    pub(super) fn new(master_key: MasterKeyWrap, region: String) -> Self {
        Self { master_key, region }
    }

    /// The server's region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A new version of a key.
    pub fn new_version(
        &self,
        (account, key_id): (AccountNumber, &str),
        number: u32,
        created: Timestamp,
        on_demand: bool,
    ) -> Result<KeyVersion, KmsError> {
        let key = StoreKey::generate().map_err(WrapError::from)?;
        let sealed = self.master_key.seal_secret(&label(account, key_id, number), key.expose())?;
        Ok(KeyVersion { key: StoreKeyVersion { number, created, sealed: sealed.into() }, on_demand })
    }

    fn open(&self, account: AccountNumber, record: &KeyRecord) -> Result<Option<Arc<Keyring>>, KmsError> {
        let Backing::Local(versions) = &record.backing else { return Ok(None) };
        let malformed = || KmsError::Internal(format!("the KMS key {} of {account} is malformed", record.id));
        let open = |version: &KeyVersion| {
            let version = &version.key;
            let opened = self.master_key.open_secret(&label(account, &record.id, version.number), &version.sealed)?;
            let bytes: &[u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| malformed())?;
            Ok(StoreKey::from_bytes(*bytes))
        };
        let versions = versions.iter().map(open).collect::<Result<_, KmsError>>()?;
        Ok(Some(Arc::new(Keyring::new(versions).ok_or_else(malformed)?)))
    }

    /// A key of a record; what is the same as before is not made again.
    pub(super) fn key(&self, account: AccountNumber, record: KeyRecord, before: Option<&Key>) -> Result<Key, KmsError> {
        let arn = key_arn(&self.region, account, &record.id);
        let same_backing = before.filter(|key| key.record.backing == record.backing);
        let keyring = match same_backing {
            Some(key) => key.keyring.clone(),
            None => self.open(account, &record)?,
        };
        let policy = match before.filter(|key| key.record.policy == record.policy) {
            Some(key) => Arc::clone(&key.policy),
            None => {
                let policy = Policy::parse(&record.policy, PolicyKind::Key)
                    .map_err(|_| StorageError::corrupt("a key policy cannot be read"))?;
                let source = Source { kind: SourceKind::Resource, holder: arn.as_str().into(), name: "".into() };
                Arc::new(Attached { source, policy })
            }
        };
        let grants = before.map(|key| key.grants.clone()).unwrap_or_default();
        Ok(Key { account, arn, record, policy, grants, keyring })
    }
}

/// What a record takes; 0 if there is none.
fn bytes_of(record: Option<&impl Record>) -> Result<usize, KmsError> {
    Ok(record.map(Record::to_value).transpose()?.map_or(0, |value| value.len()))
}

/// The next state of an account's keys, in the making.
#[derive(Debug)]
pub struct Draft<'s> {
    keys: AccountKeys,
    changes: Changes,
    sealer: &'s Sealer,
}

impl<'s> Draft<'s> {
    pub(super) fn new(keys: AccountKeys, sealer: &'s Sealer) -> Self {
        Self { keys, changes: Changes::new(), sealer }
    }

    pub(super) fn into_parts(self) -> (AccountKeys, Changes) {
        (self.keys, self.changes)
    }

    /// The state as it is.
    pub fn keys(&self) -> &AccountKeys {
        &self.keys
    }

    /// Notes a row in place of one as long as that.
    fn put(&mut self, row_key: Vec<u8>, value: Vec<u8>, before_bytes: usize) {
        self.keys.kept_bytes = self.keys.kept_bytes.saturating_sub(before_bytes) + value.len();
        self.changes.insert(row_key, Some(value));
    }

    /// The same, if there is room for it.
    fn put_bounded(&mut self, row_key: Vec<u8>, value: Vec<u8>, before_bytes: usize) -> Result<(), KmsError> {
        let grows_by = value.len().saturating_sub(before_bytes);
        if grows_by > 0 && self.keys.kept_bytes + grows_by > ACCOUNT_BYTES_MAX {
            let message = format!("Keys, aliases and grants have {ACCOUNT_BYTES_MAX} bytes at most in an account");
            return Err(KmsError::fault(KmsFault::LimitExceeded, message));
        }
        self.put(row_key, value, before_bytes);
        Ok(())
    }

    fn delete(&mut self, row_key: Vec<u8>, before_bytes: usize) {
        self.keys.kept_bytes = self.keys.kept_bytes.saturating_sub(before_bytes);
        self.changes.insert(row_key, None);
    }

    /// Puts a key in place of whatever has its id. Its grants stay.
    ///
    /// # Errors
    /// `LimitExceededException`, here and of what else is put, if the account has no room for it.
    pub fn put_key(&mut self, record: KeyRecord) -> Result<Arc<Key>, KmsError> {
        let before_bytes = bytes_of(self.keys.keys.get(&record.id).map(|key| &key.record))?;
        self.put_bounded(Kind::Key.key(&record.id), record.to_value()?, before_bytes)?;
        self.take_in(record)
    }

    /// Puts a key that has got a version: keys are rotated however many there are.
    pub(super) fn put_rotated(&mut self, record: KeyRecord) -> Result<(), KmsError> {
        let before_bytes = bytes_of(self.keys.keys.get(&record.id).map(|key| &key.record))?;
        self.put(Kind::Key.key(&record.id), record.to_value()?, before_bytes);
        self.take_in(record).map(|_| ())
    }

    fn take_in(&mut self, record: KeyRecord) -> Result<Arc<Key>, KmsError> {
        let before = self.keys.keys.get(&record.id);
        let key = Arc::new(self.sealer.key(self.keys.account, record, before.map(|key| &**key))?);
        self.keys.keys.insert(key.record.id.clone(), Arc::clone(&key));
        Ok(key)
    }

    /// Takes a key away, with its aliases and grants.
    pub fn remove_key(&mut self, id: &str) -> Result<(), KmsError> {
        let Some(key) = self.keys.keys.remove(id) else { return Ok(()) };
        self.delete(Kind::Key.key(id), bytes_of(Some(&key.record))?);
        for (grant_id, grant) in &key.grants {
            self.delete(Kind::Grant.key(&grant_row(id, grant_id)), bytes_of(Some(grant))?);
        }
        let aliases: Vec<String> = self.keys.aliases_of(id).map(|alias| alias.name.clone()).collect();
        aliases.iter().try_for_each(|name| self.remove_alias(name))
    }

    /// Puts an alias in place of whatever has its name.
    pub fn put_alias(&mut self, record: AliasRecord) -> Result<(), KmsError> {
        let before_bytes = bytes_of(self.keys.aliases.get(&record.name))?;
        self.put_bounded(Kind::Alias.key(&record.name), record.to_value()?, before_bytes)?;
        self.keys.aliases.insert(record.name.clone(), record);
        Ok(())
    }

    /// Takes an alias away.
    pub fn remove_alias(&mut self, name: &str) -> Result<(), KmsError> {
        let before = self.keys.aliases.remove(name);
        self.delete(Kind::Alias.key(name), bytes_of(before.as_ref())?);
        Ok(())
    }

    /// Gives a key a grant.
    pub fn put_grant(&mut self, record: GrantRecord) -> Result<(), KmsError> {
        let no_key = || KmsError::Internal("a grant of no key".to_owned());
        let key = self.keys.keys.get(&record.key_id).ok_or_else(no_key)?;
        let before_bytes = bytes_of(key.grants.get(&record.id))?;
        let row_key = Kind::Grant.key(&grant_row(&record.key_id, &record.id));
        self.put_bounded(row_key, record.to_value()?, before_bytes)?;
        let key = self.keys.keys.get_mut(&record.key_id).ok_or_else(no_key)?;
        Arc::make_mut(key).grants.insert(record.id.clone(), record);
        Ok(())
    }

    /// Takes a grant away.
    pub fn remove_grant(&mut self, key_id: &str, grant_id: &str) -> Result<(), KmsError> {
        let key = self.keys.keys.get_mut(key_id);
        let before = key.and_then(|key| Arc::make_mut(key).grants.remove(grant_id));
        self.delete(Kind::Grant.key(&grant_row(key_id, grant_id)), bytes_of(before.as_ref())?);
        Ok(())
    }

    /// What makes versions.
    pub fn sealer(&self) -> &'s Sealer {
        self.sealer
    }
}
