//! The key management service: KMS keys, who may use them, and their use by S3 and by the KMS API.
//!
//! A key is a key of the key store with an owner, a state, a policy and grants. All of it is in memory, in one snapshot for
//! each account that never changes, so that no request reads the index; a change is decided on a copy, committed, and put in
//! its place before it is acknowledged. The material of a key never leaves this module open.
//!
//! | file | what it has |
//! |---|---|
//! | `asker`, `permission` | who asks, and whether a key's policy, its grants and the caller's policies let it |
//! | `name` | how requests name keys |
//! | `record`, `rows` | how keys are kept |
//! | `keys` | keys in memory |
//! | `declared`, `due` | keys of the configuration; what comes with time: new versions, and deletions |
//! | `check` | their offline verification |
//! | `external` | keys whose material another KMS has |
//!
//! It leaves to others: the wire protocol and the rules of each of its actions (`kms_api`), and what S3 does with data keys.

mod asker;
pub mod check;
mod declared;
mod due;
mod error;
pub mod external;
pub mod keys;
pub mod name;
pub mod permission;
pub mod policy;
pub mod record;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_crypto::kms::{EncryptionContext, KmsBlob, external_associated_data, external_blob};
use cairn_crypto::secret::{DataKey, KEY_BYTES};
use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_iam::acl::AccountNumber;
use cairn_storage::StorageError;
use cairn_storage::clock::{Clock, Entropy, Timestamp};
use cairn_storage::index::Index;
use cairn_storage::lock_clock::LockClock;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::config;
use crate::identities::Identities;

pub use asker::Asker;
pub use error::{KmsError, KmsFault};
pub use name::KeyRef;

use external::{ExternalError, ExternalKeys};
use keys::{AccountKeys, Draft, Key, Sealer};
use name::S3_ALIAS;
use permission::{Deed, Here};
use record::{AliasRecord, Backing, KeyRecord, Rotation};

/// Keys of one account at most. AWS has 100,000.
pub const KEYS_MAX: usize = 10_000;

/// What the records of an account's keys, aliases and grants have together at most, because all of them are in memory.
pub const ACCOUNT_BYTES_MAX: usize = 64 << 20;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The period of automatic rotation if nothing is said (KMS API reference, EnableKeyRotation).
pub const ROTATION_DAYS_DEFAULT: u32 = 365;

/// How often a change is decided anew because another was faster. Changes of one process wait for one another.
const ATTEMPTS_MAX: usize = 8;

/// What KMS is made of; `wiring` puts it together.
pub struct KmsParts {
    /// Where keys are kept.
    pub index: Arc<dyn Index>,
    /// What their versions are sealed under.
    pub master_key: MasterKeyWrap,
    /// The server's region.
    pub region: String,
    /// Whose keys there can be, and whom policies can name.
    pub identities: Arc<Identities>,
    /// Keys of the configuration.
    pub declared: Vec<config::KmsKey>,
    /// Another KMS.
    pub external: Option<Arc<dyn ExternalKeys>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The time by which locks are judged, and keys deleted.
    pub lock_clock: Arc<LockClock>,
    /// Randomness for ids.
    pub entropy: Arc<dyn Entropy>,
}

/// The KMS keys of all accounts.
pub struct Kms {
    current: ArcSwap<Snapshot>,
    index: Arc<dyn Index>,
    sealer: Sealer,
    identities: Arc<Identities>,
    external: Option<Arc<dyn ExternalKeys>>,
    clock: Arc<dyn Clock>,
    lock_clock: Arc<LockClock>,
    entropy: Arc<dyn Entropy>,
    /// Held by who changes something, from deciding on the current state to replacing it.
    changing: Mutex<()>,
}

/// The keys of each account.
type Snapshot = HashMap<AccountNumber, Arc<AccountKeys>>;

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms").finish_non_exhaustive()
    }
}

/// A new data key.
#[derive(Debug)]
pub struct Issued {
    /// The ARN of the KMS key.
    pub key_arn: String,
    /// The data key.
    pub data_key: DataKey,
    /// The data key, encrypted under the KMS key, for keeping.
    pub envelope: Vec<u8>,
}

/// A data key that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The ARN of the KMS key.
    pub key_arn: String,
    /// The data key.
    pub data_key: DataKey,
}

/// What S3 uses a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// To write.
    GenerateDataKey,
    /// To read.
    Decrypt,
}

/// A key that was found, and the state of its account that it was found in.
#[derive(Clone, Debug)]
pub struct Found {
    /// The account's keys.
    pub all: Arc<AccountKeys>,
    /// The key.
    pub key: Arc<Key>,
}

impl Kms {
    /// Reads what is kept, adds what is declared and not there yet, and does what is due.
    ///
    /// # Errors
    /// If it cannot be read, or a key is sealed under another master key.
    pub async fn start(parts: KmsParts) -> Result<Arc<Self>, KmsError> {
        let KmsParts { index, master_key, region, identities, declared, external, clock, lock_clock, entropy } = parts;
        let sealer = Sealer::new(master_key, region);
        let mut snapshot = Snapshot::new();
        for account in identities.accounts().iter() {
            let keys = rows::load(&index, account.number(), &sealer).await?;
            snapshot.insert(account.number(), Arc::new(keys));
        }
        let current = ArcSwap::from_pointee(snapshot);
        let changing = Mutex::new(());
        let kms = Arc::new(Self { current, index, sealer, identities, external, clock, lock_clock, entropy, changing });
        kms.declare(declared).await?;
        kms.do_what_is_due().await;
        Ok(kms)
    }

    /// A new data key under a KMS key; without one, under the key `alias/aws/s3` of the caller's account, which is made when it
    /// is first asked for.
    ///
    /// # Errors
    /// That the key is not there, not in a state to be used, or not for the caller.
    pub async fn generate_data_key(
        self: &Arc<Self>,
        who: Asker<'_>,
        key: Option<&KeyRef>,
        context: &EncryptionContext,
    ) -> Result<Issued, KmsError> {
        let own;
        let key = match key {
            Some(key) => key,
            None => {
                self.make_s3_key(who.account()?).await?;
                own = KeyRef::for_s3();
                &own
            }
        };
        let found = self.find(who, key, "kms:GenerateDataKey")?;
        let mut deed = Deed { context: Some(context), ..Deed::of("GenerateDataKey") };
        deed.request_alias(key);
        self.check(who, &found, &deed)?;
        found.key.usable()?;
        let data_key = DataKey::generate().map_err(WrapError::from)?;
        let envelope = self.encrypt(&found.key, data_key.expose(), context).await?;
        Ok(Issued { key_arn: found.key.arn.clone(), data_key, envelope })
    }

    /// The data key of an envelope that [`Kms::generate_data_key`] made with this context.
    ///
    /// # Errors
    /// That the key is not there any more, not in a state to be used, or not for the caller; that the envelope is damaged or
    /// was made with another context.
    pub async fn decrypt(
        &self,
        who: Asker<'_>,
        envelope: &[u8],
        context: &EncryptionContext,
    ) -> Result<Opened, KmsError> {
        let blob = parse_blob(envelope)?;
        let found = self.find_of_blob(who, &blob)?;
        let deed = Deed { context: Some(context), ..Deed::of("Decrypt") };
        self.check(who, &found, &deed)?;
        found.key.usable()?;
        let plaintext = self.open(&found.key, &blob, context).await?;
        let bytes: &[u8; KEY_BYTES] = plaintext.as_slice().try_into().map_err(|_| invalid_ciphertext())?;
        Ok(Opened { key_arn: found.key.arn.clone(), data_key: DataKey::from_bytes(*bytes) })
    }

    /// Lets the caller use a key as if it asked for a data key or had one opened, without either: for who has the data key at
    /// hand. Tells the key's ARN.
    ///
    /// # Errors
    /// As of [`Kms::generate_data_key`] and [`Kms::decrypt`].
    pub fn permit(
        &self,
        who: Asker<'_>,
        key: &KeyRef,
        used_for: KeyUse,
        context: &EncryptionContext,
    ) -> Result<String, KmsError> {
        let action = match used_for {
            KeyUse::GenerateDataKey => "GenerateDataKey",
            KeyUse::Decrypt => "Decrypt",
        };
        let found = self.find(who, key, &format!("kms:{action}"))?;
        let mut deed = Deed { context: Some(context), ..Deed::of(action) };
        deed.request_alias(key);
        self.check(who, &found, &deed)?;
        found.key.usable()?;
        Ok(found.key.arn.clone())
    }

    /// The server's region.
    pub fn region(&self) -> &str {
        self.sealer.region()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time by which locks are judged, and keys deleted.
    pub fn lock_time(&self) -> Timestamp {
        self.lock_clock.now()
    }

    /// Whom requests come from and policies can name.
    pub fn identities(&self) -> &Arc<Identities> {
        &self.identities
    }

    /// Where and when.
    pub fn here(&self) -> Here<'_> {
        Here { region: self.region(), now: self.now() }
    }

    /// The keys of an account.
    pub fn keys_of(&self, account: AccountNumber) -> Option<Arc<AccountKeys>> {
        self.current.load().get(&account).cloned()
    }

    /// The key that a request names.
    ///
    /// # Errors
    /// `NotFoundException`; of another account `AccessDeniedException`, which does not tell whether it is there.
    pub fn find(&self, who: Asker<'_>, key: &KeyRef, action: &str) -> Result<Found, KmsError> {
        let own = who.account()?;
        if let Some(place) = key.place.as_ref().filter(|place| place.region != self.region()) {
            return Err(KmsError::not_found(format!("Invalid arn {}", place.region)));
        }
        let account = key.place.as_ref().map_or(own, |place| place.account);
        let found = match self.keys_of(account) {
            Some(all) => all.find(&key.name, self.region()).map(Arc::clone).map(|key| Found { key, all }),
            None => Err(KmsError::not_found("There is no such account")),
        };
        if account == own || found.is_ok() {
            return found;
        }
        Err(permission::denied_elsewhere(who, action))
    }

    /// The key that a blob is of.
    pub(crate) fn find_of_blob(&self, who: Asker<'_>, blob: &KmsBlob<'_>) -> Result<Found, KmsError> {
        let own = who.account()?;
        let account = AccountNumber(blob.key.account);
        let name = name::Name::Id(blob.key.id.to_owned());
        let found = match self.keys_of(account) {
            Some(all) => all.find(&name, self.region()).map(Arc::clone).map(|key| Found { key, all }),
            None => Err(KmsError::not_found("There is no such account")),
        };
        found.map_err(|error| {
            if account == own {
                return error;
            }
            permission::denied_elsewhere(who, "kms:Decrypt")
        })
    }

    /// Lets the caller do something to a key, if it may.
    pub(crate) fn check(&self, who: Asker<'_>, found: &Found, deed: &Deed<'_>) -> Result<(), KmsError> {
        permission::check(who, self.here(), (&found.all, &found.key), deed).map(|_| ())
    }

    /// The blob of a plaintext.
    pub(crate) async fn encrypt(
        &self,
        key: &Key,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>, KmsError> {
        match (&key.record.backing, &key.keyring) {
            (Backing::External { name }, _) => {
                let associated_data = external_associated_data(key.name(), context)?;
                let made = self.external()?.encrypt(name, plaintext, &associated_data).await.map_err(of_external)?;
                Ok(external_blob(key.name(), &made)?)
            }
            (Backing::Local(_), Some(keyring)) => Ok(keyring.encrypt(key.name(), plaintext, context)?),
            (Backing::Local(_), None) => Err(KmsError::Internal("a key was not opened".to_owned())),
        }
    }

    /// The plaintext of a blob.
    pub(crate) async fn open(
        &self,
        key: &Key,
        blob: &KmsBlob<'_>,
        context: &EncryptionContext,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        match (&key.record.backing, &key.keyring, blob.external(context)) {
            (Backing::External { name }, _, Some((made, associated_data))) => {
                self.external()?.decrypt(name, made, &associated_data).await.map_err(of_external)
            }
            (Backing::Local(_), Some(keyring), None) => {
                keyring.decrypt(blob, context).map_err(|_| invalid_ciphertext())
            }
            _ => Err(invalid_ciphertext()),
        }
    }

    /// The key of this ARN, if it is here.
    pub fn key_of_arn(&self, arn: &str) -> Option<Arc<Key>> {
        let KeyRef { place: Some(place), name } = KeyRef::parse(arn).ok()? else { return None };
        let keys = self.keys_of(place.account).filter(|_| place.region == self.region())?;
        keys.find(&name, self.region()).ok().filter(|key| key.arn == arn).cloned()
    }

    /// Whether an envelope was made by the newest version of its key; None: it is damaged, or of a key that has no versions here.
    pub fn is_under_newest(&self, envelope: &[u8]) -> Option<bool> {
        let blob = parse_blob(envelope).ok()?;
        let keys = self.keys_of(AccountNumber(blob.key.account))?;
        let keyring = keys.keys.get(blob.key.id)?.keyring.as_ref()?;
        Some(blob.version()? == keyring.newest())
    }

    /// What is in an envelope of this key, in one by its newest version. Nobody but the server may ask for it, which learns
    /// nothing by it.
    ///
    /// # Errors
    /// That the key is not there, or not in a state to be used; that the envelope is not one of it with this context.
    pub async fn reencrypt(
        &self,
        arn: &str,
        envelope: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>, KmsError> {
        let key = self.key_of_arn(arn).ok_or_else(|| KmsError::not_found(format!("Key '{arn}' does not exist")))?;
        key.usable()?;
        let blob = parse_blob(envelope)?;
        if blob.key != key.name() {
            return Err(invalid_ciphertext());
        }
        let plaintext = self.open(&key, &blob, context).await?;
        self.encrypt(&key, &plaintext, context).await
    }

    fn external(&self) -> Result<&Arc<dyn ExternalKeys>, KmsError> {
        let missing = || KmsError::fault(KmsFault::KeyUnavailable, "No external KMS is configured.");
        self.external.as_ref().ok_or_else(missing)
    }

    /// Changes an account's keys and tells what `change` answered, once the change is durable and in force. `change` may run
    /// several times, each time on the state that is then current. It runs to its end even if nobody waits for it.
    ///
    /// # Errors
    /// What `change` answered; or what kept the change from being kept, and then it is not in force.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        account: AccountNumber,
        change: impl Fn(&mut Draft<'_>) -> Result<T, KmsError> + Send + Sync + 'static,
    ) -> Result<T, KmsError> {
        let kms = Arc::clone(self);
        let work = async move { kms.change_now(account, &change).await };
        tokio::spawn(work).await.map_err(|_| KmsError::from(StorageError::OutcomeUnknown))?
    }

    async fn change_now<T>(
        &self,
        account: AccountNumber,
        change: &(impl Fn(&mut Draft<'_>) -> Result<T, KmsError> + Send + Sync),
    ) -> Result<T, KmsError> {
        let _one_at_a_time = self.changing.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.current.load_full();
            let no_account = || KmsError::Internal(format!("there is no account {account}"));
            let keys = AccountKeys::clone(snapshot.get(&account).ok_or_else(no_account)?);
            let mut draft = Draft::new(keys, &self.sealer);
            let answer = change(&mut draft)?;
            let (mut next, changes) = draft.into_parts();
            if changes.is_empty() {
                return Ok(answer);
            }
            next.generation += 1;
            let committed = rows::commit(&self.index, &next, changes).await?;
            let is_done = committed.is_some();
            match committed {
                Some(revision) => next.revision = Some(revision),
                // Somebody else writes into this index: what is in memory is no longer what is kept.
                None => next = rows::load(&self.index, account, &self.sealer).await?,
            }
            let mut snapshot = Snapshot::clone(&snapshot);
            snapshot.insert(account, Arc::new(next));
            self.current.store(Arc::new(snapshot));
            if is_done {
                return Ok(answer);
            }
        }
        Err(StorageError::Overloaded.into())
    }

    /// Makes the key that is used for S3 in an account if no other is named, unless it is there.
    pub(crate) async fn make_s3_key(self: &Arc<Self>, account: AccountNumber) -> Result<(), KmsError> {
        if self.keys_of(account).is_some_and(|keys| keys.aliases.contains_key(S3_ALIAS)) {
            return Ok(());
        }
        let (id, now, policy) = (self.new_id(), self.now(), policy::of_s3_key(self.region(), account));
        self.change(account, move |draft| {
            if draft.keys().aliases.contains_key(S3_ALIAS) {
                return Ok(());
            }
            let first = draft.sealer().new_version((account, &id), 1, now, false)?;
            draft.put_key(KeyRecord {
                is_aws_managed: true,
                description: "Default key that protects my S3 objects when no other key is defined".to_owned(),
                rotation: Some(Rotation { since: now, period_days: ROTATION_DAYS_DEFAULT }),
                ..new_record(id.clone(), now, Backing::Local(vec![first]), policy.clone())
            })?;
            draft.put_alias(AliasRecord { name: S3_ALIAS.to_owned(), key_id: id.clone(), created: now, updated: now })
        })
        .await
    }

    /// A new id, as UUIDs are written.
    pub(crate) fn new_id(&self) -> String {
        uuid::Builder::from_random_bytes(self.entropy.random_16()).into_uuid().to_string()
    }
}

impl Deed<'_> {
    /// With the alias that the request names the key by (`kms:RequestAlias`).
    pub(crate) fn request_alias(&mut self, key: &KeyRef) {
        if let name::Name::Alias(alias) = &key.name {
            self.keys.one("kms:requestalias", alias.as_str());
        }
    }
}

/// A key that may be used, of which nothing more is said.
pub(crate) fn new_record(id: String, created: Timestamp, backing: Backing, policy: String) -> KeyRecord {
    KeyRecord {
        id,
        created,
        description: String::new(),
        is_enabled: true,
        delete_at: None,
        backing,
        policy,
        tags: Vec::new(),
        rotation: None,
        is_aws_managed: false,
    }
}

/// Takes a blob apart.
pub(crate) fn parse_blob(blob: &[u8]) -> Result<KmsBlob<'_>, KmsError> {
    KmsBlob::parse(blob).map_err(|_| invalid_ciphertext())
}

/// `InvalidCiphertextException`, which says no more, so that nobody learns what is wrong.
fn invalid_ciphertext() -> KmsError {
    KmsError::fault(KmsFault::InvalidCiphertext, "The ciphertext is damaged, or the encryption context is not its own.")
}

/// That it is away may be over soon, and clients try again. That it refuses is a key in the wrong state, as AWS has it for external
/// key stores (KMS developer guide, "Troubleshooting external key stores").
fn of_external(error: ExternalError) -> KmsError {
    match error {
        ExternalError::NotAuthentic => invalid_ciphertext(),
        // Both are said where they are noticed, and not for each request.
        ExternalError::Unavailable(_) => {
            let message = "The external KMS that has the key does not answer. Try again later.";
            KmsError::fault(KmsFault::DependencyTimeout, message)
        }
        ExternalError::Refused(_) => {
            KmsError::fault(KmsFault::InvalidState, "The external KMS refuses the use of the key.")
        }
    }
}
