#![allow(clippy::unwrap_used)]

use cairn_crypto::secret::{DataKey, MasterKey};
use cairn_crypto::wrap::{KeyWrap as _, WrapContext};
use cairn_storage::health::Health;
use cairn_storage::index::memory::MemoryIndex;

use super::*;

const CONTEXT: WrapContext<'static> = WrapContext { partition: [1; 16], object_key: b"key", version: [2; 16] };

fn index() -> Arc<dyn Index> {
    Arc::new(MemoryIndex::new(Health::default()))
}

fn master_key(byte: u8) -> MasterKeyWrap {
    MasterKeyWrap::new(&MasterKey::from_bytes([byte; KEY_BYTES]))
}

async fn open(index: &Arc<dyn Index>) -> KeyStore {
    KeyStore::open(index.clone(), master_key(1), Timestamp(5)).await.unwrap()
}

#[tokio::test]
async fn the_key_is_made_once_and_opens_what_it_wrapped_after_a_restart() {
    let index = index();
    let wrapped = open(&index).await.server_key().wrap(&DataKey::from_bytes([9; 32]), &CONTEXT).unwrap();
    let again = open(&index).await;
    assert_eq!(again.server_key().unwrap(&wrapped, &CONTEXT).unwrap().expose(), &[9; 32]);
    assert_eq!(again.server_key_status(), KeyStatus { versions: vec![(1, Timestamp(5))] });
}

#[tokio::test]
async fn a_rotation_wraps_anew_and_opens_the_old() {
    let index = index();
    let store = open(&index).await;
    let old = store.server_key();
    let wrapped = old.wrap(&DataKey::from_bytes([9; 32]), &CONTEXT).unwrap();
    let status = store.rotate_server_key(Timestamp(6)).await.unwrap();
    assert_eq!(status.versions, [(1, Timestamp(5)), (2, Timestamp(6))]);
    for store in [store, open(&index).await] {
        let new = store.server_key();
        assert_ne!(new.newest(), old.newest());
        assert_eq!(new.unwrap(&wrapped, &CONTEXT).unwrap().expose(), &[9; 32]);
        let by_new = new.wrap(&DataKey::from_bytes([8; 32]), &CONTEXT).unwrap();
        assert!(matches!(old.unwrap(&by_new, &CONTEXT), Err(WrapError::UnknownKey(_))));
    }
}

#[tokio::test]
async fn rotations_at_once_lose_no_version() {
    let index = index();
    let store = Arc::new(open(&index).await);
    let rotate = |store: Arc<KeyStore>| async move { store.rotate_server_key(Timestamp(6)).await.is_ok() };
    let (one, two) = tokio::join!(rotate(store.clone()), rotate(store.clone()));
    let expected = 1 + usize::from(one) + usize::from(two);
    assert_eq!(store.server_key_status().versions.len(), expected);
    assert_eq!(open(&index).await.server_key_status(), store.server_key_status());
}

#[tokio::test]
async fn another_master_key_is_refused_and_replaces_nothing() {
    let index = index();
    open(&index).await;
    let other = KeyStore::open(index.clone(), master_key(2), Timestamp(6)).await;
    assert!(matches!(other, Err(KeyStoreError::Seal(WrapError::WrongMasterKey { .. }))));
    open(&index).await;
}

#[tokio::test]
async fn exchanged_versions_do_not_open() {
    let index = index();
    let store = open(&index).await;
    store.rotate_server_key(Timestamp(6)).await.unwrap();
    let (revision, mut record) = load(&index).await.unwrap().unwrap();
    record.versions.swap(0, 1);
    let (one, two) = (record.versions[0].number, record.versions[1].number);
    (record.versions[0].number, record.versions[1].number) = (two, one);
    save(&index, Some(revision), &record).await.unwrap();
    let opened = KeyStore::open(index, master_key(1), Timestamp(7)).await;
    assert!(matches!(opened, Err(KeyStoreError::Seal(WrapError::NotAuthentic))));
}

#[tokio::test]
async fn debug_shows_no_key() {
    let store = open(&index()).await;
    let shown = format!("{store:?}");
    assert!(shown.contains("redacted") && !shown.contains("StoreKey("), "{shown}");
}

#[tokio::test]
async fn retired_versions_are_gone_and_the_others_open_what_they_wrapped() {
    let index = index();
    let store = open(&index).await;
    let wrap = || store.server_key().wrap(&DataKey::from_bytes([9; 32]), &CONTEXT).unwrap();
    let first = wrap();
    store.rotate_server_key(Timestamp(6)).await.unwrap();
    let second = wrap();
    store.rotate_server_key(Timestamp(7)).await.unwrap();
    assert_eq!((store.versions_from(1).len(), store.versions_from(3).len()), (3, 1));
    assert!(matches!(store.retire_below(4).await, Err(KeyStoreError::NoSuchVersion(4))));
    for _ in 0..2 {
        let status = store.retire_below(2).await.unwrap();
        assert_eq!(status.versions, [(2, Timestamp(6)), (3, Timestamp(7))]);
    }
    for store in [&store, &open(&index).await] {
        assert!(matches!(store.server_key().unwrap(&first, &CONTEXT), Err(WrapError::UnknownKey(_))));
        assert_eq!(store.server_key().unwrap(&second, &CONTEXT).unwrap().expose(), &[9; 32]);
        assert_eq!(store.server_key_status().versions.len(), 2);
    }
    assert_eq!(store.rotate_server_key(Timestamp(8)).await.unwrap().versions.last(), Some(&(4, Timestamp(8))));
}

#[tokio::test]
async fn a_version_is_in_use_for_as_long_as_somebody_holds_what_wraps_under_it() {
    let index = index();
    let store = open(&index).await;
    let sealing = store.server_key();
    assert!(!store.is_in_use_below(2), "nothing was replaced");
    store.rotate_server_key(Timestamp(6)).await.unwrap();
    let later = store.server_key();
    assert!(store.is_in_use_below(2) && store.is_in_use_below(3));
    drop(sealing);
    assert!(!store.is_in_use_below(2));
    store.rotate_server_key(Timestamp(7)).await.unwrap();
    assert!(store.is_in_use_below(3) && !store.is_in_use_below(2));
    drop(later);
    assert!(!store.is_in_use_below(3));
}
