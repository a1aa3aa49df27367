//! The account that a server without `[[account]]` keeps by itself.
//!
//! Its identity is made at the first start and stays for ever, because buckets name their owner. Its root key is the one in
//! the environment, if there is one (it is never stored); otherwise one that is generated once and kept, with the identity,
//! in one record of the index, sealed under the master key. The caller shows a generated key to the user exactly once.

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::secret::EntropyError;
use cairn_crypto::wrap::{MasterKeyWrap, WrapError};
use cairn_storage::StorageError;
use cairn_storage::clock::Entropy;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::config::{AccessKey, Account, CanonicalId, KeyPair, SecretKey};

/// What the sealed record is, bound into the seal.
const SEAL_LABEL: &str = "cairn root account 1";

/// The format of the sealed record.
const FORMAT: u8 = 1;

const DISPLAY_NAME: &str = "root";

/// Generated access keys look like Amazon's, with a beginning of their own.
const ACCESS_KEY_PREFIX: &str = "CK";
const ACCESS_KEY_RANDOM_CHARS: usize = 18;
const ACCESS_KEY_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

const ACCOUNT_IDS: u64 = 1_000_000_000_000;

/// The place of the sealed record in the index.
#[async_trait]
pub trait SealedRecord: Send + Sync {
    /// The record, if one was saved.
    async fn load(&self) -> Result<Option<Bytes>, StorageError>;
    /// Replaces the record; durable on return.
    async fn save(&self, sealed: Vec<u8>) -> Result<(), StorageError>;
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum OwnAccountError {
    /// The index's answer.
    #[error("the root account's record: {0}")]
    Storage(#[from] StorageError),
    /// The record cannot be opened with this master key, or sealed.
    #[error("the root account's record: {0}")]
    Seal(#[from] WrapError),
    /// The record was opened and makes no sense.
    #[error("the root account's record is malformed")]
    Malformed,
    /// The record was written by a newer version.
    #[error("the root account's record has format {0}, which this version does not know")]
    NewerFormat(u8),
    /// No new key could be made.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// A root key that was just generated, to be shown once.
#[derive(Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The public half.
    pub access_key: AccessKey,
    /// The secret half.
    pub secret_key: SecretKey,
}

/// The account, as if it had been configured, and, if its key was generated just now (and is already durable), that key.
pub async fn load_or_create(
    given: Option<KeyPair>,
    store: &dyn SealedRecord,
    master_key: &MasterKeyWrap,
    entropy: &dyn Entropy,
) -> Result<(Account, Option<NewKey>), OwnAccountError> {
    let stored = match store.load().await? {
        Some(sealed) => Some(Record::open(&sealed, master_key)?),
        None => None,
    };
    let is_stored = stored.is_some();
    let mut record = match stored {
        Some(record) => record,
        None => Record::new(entropy),
    };
    let generate = given.is_none() && record.root_key.is_none();
    if generate {
        record.root_key = Some(StoredKey { access_key: new_access_key(entropy), secret_key: SecretKey::generate()? });
    }
    if generate || !is_stored {
        store.save(record.seal(master_key)?).await?;
    }
    let new_key = if generate { record.root_key.as_ref().map(StoredKey::shown).transpose()? } else { None };
    let root_key =
        given.or(record.root_key.map(|key| KeyPair { access_key: key.access_key, secret_key: key.secret_key }));
    let account = Account {
        id: record.account_id.parse().map_err(|_| OwnAccountError::Malformed)?,
        canonical_id: CanonicalId::try_from(record.canonical_id).map_err(|_| OwnAccountError::Malformed)?,
        display_name: DISPLAY_NAME.to_owned(),
        email: None,
        root_key,
        administers: Vec::new(),
        users: Vec::new(),
    };
    Ok((account, new_key))
}

/// The sealed record under the master key as it is now; None: it is.
pub(crate) fn resealed(sealed: &[u8], master_key: &MasterKeyWrap) -> Result<Option<Vec<u8>>, WrapError> {
    master_key.reseal_secret(SEAL_LABEL, sealed)
}

/// What is kept, as JSON under the seal.
#[derive(Serialize, Deserialize)]
struct Record {
    format: u8,
    account_id: String,
    canonical_id: String,
    root_key: Option<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    #[serde(serialize_with = "access_key_text")]
    access_key: AccessKey,
    #[serde(serialize_with = "secret_key_text")]
    secret_key: SecretKey,
}

fn access_key_text<S: Serializer>(key: &AccessKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.as_str())
}

fn secret_key_text<S: Serializer>(key: &SecretKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}

impl StoredKey {
    fn shown(&self) -> Result<NewKey, OwnAccountError> {
        let secret_key = SecretKey::new(self.secret_key.expose().to_owned()).map_err(|_| OwnAccountError::Malformed)?;
        Ok(NewKey { access_key: self.access_key.clone(), secret_key })
    }
}

impl Record {
    fn new(entropy: &dyn Entropy) -> Self {
        let number = u128::from_be_bytes(entropy.random_16()) % u128::from(ACCOUNT_IDS);
        Self {
            format: FORMAT,
            account_id: format!("{number:012}"),
            canonical_id: hex::encode([entropy.random_16(), entropy.random_16()].concat()),
            root_key: None,
        }
    }

    fn open(sealed: &[u8], master_key: &MasterKeyWrap) -> Result<Self, OwnAccountError> {
        /// Read before the rest, which a newer format may have changed.
        #[derive(Deserialize)]
        struct Format {
            format: u8,
        }
        let json = master_key.open_secret(SEAL_LABEL, sealed)?;
        let Format { format } = serde_json::from_slice(&json).map_err(|_| OwnAccountError::Malformed)?;
        if format > FORMAT {
            return Err(OwnAccountError::NewerFormat(format));
        }
        serde_json::from_slice(&json).map_err(|_| OwnAccountError::Malformed)
    }

    fn seal(&self, master_key: &MasterKeyWrap) -> Result<Vec<u8>, OwnAccountError> {
        let json = Zeroizing::new(serde_json::to_vec(self).map_err(|_| OwnAccountError::Malformed)?);
        Ok(master_key.seal_secret(SEAL_LABEL, &json)?)
    }
}

fn new_access_key(entropy: &dyn Entropy) -> AccessKey {
    // Five bits of each byte are one character.
    let random = [entropy.random_16(), entropy.random_16()].concat();
    let chars = random.iter().take(ACCESS_KEY_RANDOM_CHARS).map(|byte| ACCESS_KEY_ALPHABET[usize::from(byte & 31)]);
    let text = ACCESS_KEY_PREFIX.chars().chain(chars.map(char::from)).collect::<String>();
    AccessKey::try_from(text).expect("twenty letters and digits are an access key")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::secret::{KEY_BYTES, MasterKey};
    use cairn_storage::clock::SystemEntropy;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Memory(Mutex<Option<Vec<u8>>>);

    #[async_trait]
    impl SealedRecord for Memory {
        async fn load(&self) -> Result<Option<Bytes>, StorageError> {
            Ok(self.0.lock().clone().map(Bytes::from))
        }

        async fn save(&self, sealed: Vec<u8>) -> Result<(), StorageError> {
            *self.0.lock() = Some(sealed);
            Ok(())
        }
    }

    fn master_key(byte: u8) -> MasterKeyWrap {
        MasterKeyWrap::new(&MasterKey::from_bytes([byte; KEY_BYTES]))
    }

    async fn start(store: &Memory, given: Option<KeyPair>) -> (Account, Option<NewKey>) {
        load_or_create(given, store, &master_key(1), &SystemEntropy).await.unwrap()
    }

    fn pair(access_key: &str) -> KeyPair {
        KeyPair {
            access_key: AccessKey::try_from(access_key.to_owned()).unwrap(),
            secret_key: SecretKey::new("a-secret-of-the-environment".to_owned()).unwrap(),
        }
    }

    fn identity(account: &Account) -> (String, &str) {
        (account.id.to_string(), account.canonical_id.as_str())
    }

    fn root_access_key(account: &Account) -> &str {
        account.root_key.as_ref().unwrap().access_key.as_str()
    }

    #[tokio::test]
    async fn a_generated_key_is_told_once_and_works_after_a_restart() {
        let store = Memory::default();
        let (first, new_key) = start(&store, None).await;
        let key = new_key.unwrap();
        assert_eq!((key.access_key.as_str().len(), key.secret_key.expose().len()), (20, 40));
        let (second, told_again) = start(&store, None).await;
        assert_eq!(told_again, None);
        assert_eq!(identity(&second), identity(&first));
        let root_key = second.root_key.unwrap();
        assert_eq!((root_key.access_key, root_key.secret_key), (key.access_key, key.secret_key));
    }

    #[tokio::test]
    async fn two_installations_have_nothing_in_common() {
        let (a, a_key) = start(&Memory::default(), None).await;
        let (b, b_key) = start(&Memory::default(), None).await;
        assert!(a.id != b.id && a.canonical_id != b.canonical_id);
        let (a_key, b_key) = (a_key.unwrap(), b_key.unwrap());
        assert!(a_key.access_key != b_key.access_key && a_key.secret_key != b_key.secret_key);
    }

    #[tokio::test]
    async fn the_key_of_the_environment_wins_and_the_account_stays() {
        let store = Memory::default();
        let (first, new_key) = start(&store, None).await;
        let generated = new_key.unwrap();
        let (second, told) = start(&store, Some(pair("given-key"))).await;
        assert_eq!(told, None);
        assert_eq!(root_access_key(&second), "given-key");
        assert_ne!(root_access_key(&first), "given-key");
        assert_eq!(root_access_key(&first), generated.access_key.as_str());
        assert_eq!(identity(&first), identity(&second));
    }

    #[tokio::test]
    async fn the_key_of_the_environment_is_not_stored() {
        let store = Memory::default();
        let (first, _) = start(&store, Some(pair("given-key"))).await;
        let (second, new_key) = start(&store, None).await;
        assert!(new_key.is_some() && root_access_key(&second) != "given-key");
        assert_eq!(identity(&first), identity(&second));
    }

    #[tokio::test]
    async fn nothing_of_the_key_is_in_the_record_in_plain() {
        let store = Memory::default();
        let (_, new_key) = start(&store, None).await;
        let key = new_key.unwrap();
        let sealed = store.0.lock().clone().unwrap();
        for text in [key.access_key.as_str(), key.secret_key.expose()] {
            assert!(!sealed.windows(text.len()).any(|window| window == text.as_bytes()));
        }
    }

    #[tokio::test]
    async fn another_master_key_is_refused_and_nothing_is_replaced() {
        let store = Memory::default();
        start(&store, None).await;
        let sealed = store.0.lock().clone();
        let result = load_or_create(None, &store, &master_key(2), &SystemEntropy).await;
        assert!(matches!(result, Err(OwnAccountError::Seal(WrapError::WrongMasterKey { .. }))));
        assert_eq!(*store.0.lock(), sealed);
    }

    #[tokio::test]
    async fn a_record_of_a_newer_format_is_refused() {
        let store = Memory::default();
        let sealed = master_key(1).seal_secret(SEAL_LABEL, br#"{"format":2,"what":"ever"}"#).unwrap();
        *store.0.lock() = Some(sealed);
        let result = load_or_create(None, &store, &master_key(1), &SystemEntropy).await;
        assert!(matches!(result, Err(OwnAccountError::NewerFormat(2))));
    }
}
