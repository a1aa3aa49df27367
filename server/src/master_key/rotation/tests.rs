//! Everything that the master key seals, over an index in memory that fails at each commit in turn.

#![allow(clippy::unwrap_used)]

use cairn_iam::identity::Directory;
use cairn_storage::clock::{SystemClock, SystemEntropy, Timestamp};
use cairn_storage::health::Health;
use cairn_storage::index::Outcome;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::lock_clock::LockClock;

use super::*;
use crate::config;
use crate::identities::own_record::IndexRecord;
use crate::identities::{ChangeError, Identities, IdentityParts};
use crate::key_store::KeyStore;
use crate::kms::{Kms, KmsParts};

const ACCOUNT: AccountNumber = AccountNumber(100_000_000_001);

const DECLARED: &str = r#"
[[kms_key]]
id = "testkey-1"

[[account]]
id = "100000000001"
canonical_id = "a1"
display_name = "owner"
root_key = { access_key = "root-access", secret_key = "root-secret-key" }

[[account.user]]
name = "anna"
"#;

#[derive(serde::Deserialize)]
struct File {
    account: Vec<config::Account>,
    kms_key: Vec<config::KmsKey>,
}

fn key_of(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; KEY_BYTES])
}

fn memory() -> Arc<MemoryIndex> {
    Arc::new(MemoryIndex::new(Health::default()))
}

/// What is left after a crash now.
fn again(index: &Arc<MemoryIndex>) -> Arc<MemoryIndex> {
    Arc::new(MemoryIndex::from_snapshot(index.snapshot(), Health::default()))
}

fn partitions() -> [Partition; 2] {
    [Partition::SYSTEM, Partition::account(ACCOUNT.0)]
}

/// Opens everything, as a start does; the error says what does not open.
async fn start(index: &Arc<MemoryIndex>, byte: u8) -> Result<Arc<Identities>, String> {
    let dynamic: Arc<dyn Index> = index.clone();
    let kept = former(&dynamic, &MasterKeyWrap::new(&key_of(byte))).await.map_err(|error| error.to_string())?;
    let wrap = || match &kept {
        Some(kept) => MasterKeyWrap::new(&key_of(byte)).with_former(kept),
        None => MasterKeyWrap::new(&key_of(byte)),
    };
    let opened = KeyStore::open(dynamic.clone(), wrap(), Timestamp(5)).await;
    opened.map_err(|error| error.to_string())?;
    let own = own::load_or_create(None, &IndexRecord::new(dynamic.clone()), &wrap(), &SystemEntropy).await;
    own.map_err(|error| error.to_string())?;
    let File { account, mut kms_key } = toml::from_str(DECLARED).unwrap();
    kms_key[0].account = Some(account[0].id);
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let parts = IdentityParts {
        declared: account,
        index: dynamic.clone(),
        master_key: wrap(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let identities = Identities::start(parts).await.map_err(|error| crate::wiring::chain(&error))?;
    let parts = KmsParts {
        index: dynamic,
        master_key: wrap(),
        region: "eu-1".to_owned(),
        identities: identities.clone(),
        declared: kms_key,
        external: None,
        lock_clock: Arc::new(LockClock::new(clock.clone())),
        clock,
        entropy,
    };
    Kms::start(parts).await.map_err(|error| format!("{error:?}"))?;
    Ok(identities)
}

/// An index with something of each kind under the key 1, and the access key that it has.
async fn filled() -> (Arc<MemoryIndex>, String) {
    let index = memory();
    let noted = crate::identities::sealing::Sealing::new(index.clone());
    noted.note(MasterKeyWrap::new(&key_of(1)).key_id()).await.unwrap();
    let identities = start(&index, 1).await.unwrap();
    let (stamp, _, sealed) = identities.new_access_key(ACCOUNT).unwrap();
    let seed = identities.new_seed(ACCOUNT, "phone").unwrap();
    let access_key = stamp.id.clone();
    let create = move |directory: &mut Directory| {
        directory.create_access_key(Some("anna"), sealed.clone(), stamp.clone())?;
        directory.create_device("phone", "/", seed.sealed.clone(), Vec::new(), 1)?;
        Ok::<_, ChangeError>(())
    };
    identities.change(ACCOUNT, create).await.unwrap();
    (index, access_key)
}

async fn rotate(index: &Arc<MemoryIndex>, old: u8, new: u8) -> Result<usize, RotationError> {
    let index: Arc<dyn Index> = index.clone();
    begin(&index, &key_of(old), &key_of(new)).await?;
    finish(&index, &partitions(), MasterKeyWrap::new(&key_of(new))).await
}

#[tokio::test]
async fn everything_opens_under_the_new_key_and_nothing_under_the_old() {
    let (index, access_key) = filled().await;
    let secret = |identities: &Identities| {
        let snapshot = identities.snapshot();
        snapshot.key(&access_key).unwrap().secret.expose().to_owned()
    };
    let before = secret(&start(&index, 1).await.unwrap());
    // The own account, the key of SSE-S3, the access key, the device and the KMS key.
    assert_eq!(rotate(&index, 1, 2).await.unwrap(), 5);
    assert_eq!(secret(&start(&index, 2).await.unwrap()), before);
    assert!(start(&index, 1).await.is_err());
    assert_eq!(rotate(&index, 2, 3).await.unwrap(), 5, "also what no start opens was sealed anew rightly");
    start(&index, 3).await.unwrap();
}

#[tokio::test]
async fn after_a_crash_at_any_commit_one_key_opens_everything_and_the_change_can_be_finished() {
    let (filled, _) = filled().await;
    for fault in [Fault::UnknownWritten, Fault::UnknownLost, Fault::Overloaded] {
        let mut crashes = 0;
        loop {
            let index = again(&filled);
            index.fail_after(crashes, fault);
            if rotate(&index, 1, 2).await.is_ok() {
                break;
            }
            crashes += 1;
            let index = again(&index);
            let opening = [start(&again(&index), 1).await.is_ok(), start(&again(&index), 2).await.is_ok()];
            match opening {
                [true, false] => assert!(rotate(&index, 1, 2).await.unwrap() == 5),
                [false, true] => {
                    let dynamic: Arc<dyn Index> = index.clone();
                    finish(&dynamic, &partitions(), MasterKeyWrap::new(&key_of(2))).await.unwrap();
                }
                other => panic!("{other:?} after {crashes} commits, {fault:?}"),
            }
            assert!(start(&index, 2).await.is_ok() && start(&index, 1).await.is_err(), "{crashes}, {fault:?}");
        }
        // The note, the server's own rows, the account's, and forgetting the old key.
        assert_eq!(crashes, 4, "{fault:?}");
    }
}

#[tokio::test]
async fn a_second_change_waits_for_the_end_of_the_first() {
    let (filled, _) = filled().await;
    let index: Arc<dyn Index> = filled;
    begin(&index, &key_of(1), &key_of(2)).await.unwrap();
    for old in [1, 2] {
        let second = begin(&index, &key_of(old), &key_of(3)).await;
        assert!(matches!(second, Err(RotationError::Storage(StorageError::Contention))), "{second:?}");
    }
}

#[tokio::test]
async fn a_row_that_nobody_knows_how_to_seal_anew_keeps_the_old_key() {
    let (filled, _) = filled().await;
    let unknown = MasterKeyWrap::new(&key_of(1)).seal_secret("of a newer version", b"secret").unwrap();
    let mut batch = Batch::new();
    batch.put(Family::Identity, b"\xFAunknown".to_vec(), unknown);
    let outcome = filled.commit(Partition::account(ACCOUNT.0), batch).await;
    assert!(matches!(outcome, Outcome::Committed(_)));
    let result = rotate(&filled, 1, 2).await;
    assert!(matches!(result, Err(RotationError::Left { .. })), "{result:?}");
    let index: Arc<dyn Index> = filled;
    assert!(former(&index, &MasterKeyWrap::new(&key_of(2))).await.unwrap().is_some());
}
