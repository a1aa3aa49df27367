//! Identities over an index in memory: what is declared, what is kept, what a start finds.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use cairn_iam::identity::{FaultKind, Holder, NewUser, Stamp};
use cairn_storage::clock::{SystemClock, SystemEntropy};
use cairn_storage::health::Health;
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::index::{Family, KeyRange, Partition};

use super::*;

const ACCOUNT: AccountNumber = AccountNumber(100_000_000_001);
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

fn declared() -> Vec<config::Account> {
    #[derive(serde::Deserialize)]
    struct File {
        account: Vec<config::Account>,
    }
    let text = format!(
        "[[account]]\nid = \"{ACCOUNT}\"\ncanonical_id = \"a\"\ndisplay_name = \"a\"\n\
         root_key = {{ access_key = \"root-access\", secret_key = \"root-secret-key\" }}\n\
         [[account.user]]\nname = \"Anna\"\npolicies = [{ADMINISTRATOR:?}]\n\
         keys = [{{ access_key = \"anna-access\", secret_key = \"anna-secret-key\" }}]\n"
    );
    toml::from_str::<File>(&text).unwrap().account
}

async fn try_start(index: &Arc<MemoryIndex>, master_key: u8) -> Result<Arc<Identities>, StartError> {
    Identities::start(IdentityParts {
        declared: declared(),
        index: index.clone(),
        master_key: MasterKeyWrap::new(&MasterKey::from_bytes([master_key; KEY_BYTES])),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
    .await
}

async fn start(index: &Arc<MemoryIndex>) -> Arc<Identities> {
    try_start(index, 1).await.unwrap()
}

fn memory() -> Arc<MemoryIndex> {
    Arc::new(MemoryIndex::new(Health::default()))
}

/// Gives Anna a key: its id and its secret.
async fn new_key(identities: &Arc<Identities>) -> (String, SecretKey) {
    let (stamp, secret, sealed) = identities.new_access_key(ACCOUNT).unwrap();
    let id = stamp.id.clone();
    let create = move |directory: &mut Directory| {
        Ok::<_, ChangeError>(directory.create_access_key(Some("anna"), sealed.clone(), stamp.clone()).map(|_| ())?)
    };
    identities.change(ACCOUNT, create).await.unwrap();
    (id, secret)
}

#[tokio::test]
async fn a_declared_user_has_its_keys_and_policies() {
    let identities = start(&memory()).await;
    let snapshot = identities.snapshot();
    let caller = snapshot.caller("anna-access").unwrap();
    assert_eq!(caller.principal.arn().unwrap(), "arn:aws:iam::100000000001:user/Anna");
    assert_eq!(caller.policies.identity.len(), 1);
    assert_eq!(snapshot.key("anna-access").unwrap().secret.expose(), "anna-secret-key");
    assert_eq!(snapshot.caller("root-access").unwrap().principal, Principal::Root(ACCOUNT));
    assert!(snapshot.caller("nobody-access").is_none());
}

#[tokio::test]
async fn a_declared_user_is_added_once_and_then_changed_like_any_other() {
    let index = memory();
    let first = start(&index).await;
    let id = first.snapshot().directory(ACCOUNT).unwrap().user("anna").unwrap().id.clone();
    let detach =
        |directory: &mut Directory| Ok::<_, ChangeError>(directory.detach(Holder::User("anna"), ADMINISTRATOR)?);
    first.change(ACCOUNT, detach).await.unwrap();
    let second = start(&index).await.snapshot();
    assert_eq!(second.directory(ACCOUNT).unwrap().user("anna").unwrap().id, id);
    assert!(second.caller("anna-access").unwrap().policies.identity.is_empty());
}

#[tokio::test]
async fn a_renamed_user_keeps_its_keys_and_who_takes_its_name_gets_none() {
    let identities = start(&memory()).await;
    let (id, _) = new_key(&identities).await;
    let stamp = identities.stamp("AIDA");
    let rename = move |directory: &mut Directory| {
        directory.update_user("Anna", Some("Berta"), None)?;
        let new = NewUser { name: "Anna".to_owned(), path: "/".to_owned(), boundary: None, tags: Vec::new() };
        Ok::<_, ChangeError>(directory.create_user(new, stamp.clone()).map(|_| ())?)
    };
    identities.change(ACCOUNT, rename).await.unwrap();
    let snapshot = identities.snapshot();
    for key in ["anna-access", &id] {
        assert_eq!(snapshot.caller(key).unwrap().principal.user_name(), Some("Berta"), "{key}");
    }
}

#[tokio::test]
async fn a_made_key_signs_at_once_and_after_a_start_until_it_is_inactive() {
    let index = memory();
    let identities = start(&index).await;
    let (id, secret) = new_key(&identities).await;
    assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
    for identities in [&identities, &start(&index).await] {
        let snapshot = identities.snapshot();
        assert_eq!(snapshot.key(&id).unwrap().secret, secret);
        assert_eq!(snapshot.caller(&id).unwrap().principal.user_name(), Some("Anna"));
    }
    let of_change = id.clone();
    let deactivate = move |directory: &mut Directory| {
        Ok::<_, ChangeError>(directory.update_access_key(Some("anna"), &of_change, false)?)
    };
    identities.change(ACCOUNT, deactivate).await.unwrap();
    assert!(identities.snapshot().key(&id).is_none());
    assert!(start(&index).await.snapshot().caller(&id).is_none());
}

#[tokio::test]
async fn a_snapshot_stays_as_it_was() {
    let identities = start(&memory()).await;
    let before = identities.snapshot();
    let (id, _) = new_key(&identities).await;
    assert!(before.key(&id).is_none() && identities.snapshot().key(&id).is_some());
}

#[tokio::test]
async fn no_secret_is_in_a_row_in_plain() {
    let index = memory();
    let identities = start(&index).await;
    let (_, secret) = new_key(&identities).await;
    let of_view: Arc<dyn Index> = index.clone();
    let rows = of_view.view(Partition::account(ACCOUNT.0), |view| {
        let mut cursor = view.cursor(Family::Identity, KeyRange::all())?;
        let mut rows = Vec::new();
        while let Some((_, _, value)) = cursor.row() {
            rows.push(value.to_vec());
            cursor.advance()?;
        }
        Ok(rows)
    });
    let rows = rows.await.unwrap();
    assert!(rows.len() >= 3);
    for text in [secret.expose(), "anna-secret-key", "root-secret-key", "anna-access"] {
        assert!(!rows.iter().any(|row| row.windows(text.len()).any(|window| window == text.as_bytes())), "{text}");
    }
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let index = memory();
    new_key(&start(&index).await).await;
    assert!(matches!(try_start(&index, 2).await, Err(StartError::Rows(RowsError::Seal(_)))));
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let index = memory();
    let identities = start(&index).await;
    let made = (0..20).map(|number| {
        let stamp = identities.stamp("AGPA");
        identities.change(ACCOUNT, move |directory: &mut Directory| {
            let made = directory.create_group(&format!("g{number}"), "/", stamp.clone());
            Ok::<_, ChangeError>(made.map(|_| ())?)
        })
    });
    for outcome in futures::future::join_all(made).await {
        outcome.unwrap();
    }
    assert_eq!(start(&index).await.snapshot().directory(ACCOUNT).unwrap().groups.len(), 20);
}

#[tokio::test]
async fn a_change_by_another_process_is_taken_in_before_the_next() {
    let index = memory();
    let (one, other) = (start(&index).await, start(&index).await);
    let (id, _) = new_key(&one).await;
    let stamp = other.stamp("AGPA");
    let create = move |directory: &mut Directory| {
        Ok::<_, ChangeError>(directory.create_group("g", "/", stamp.clone()).map(|_| ())?)
    };
    other.change(ACCOUNT, create).await.unwrap();
    assert!(other.snapshot().key(&id).is_some());
    let found = start(&index).await.snapshot();
    assert!(found.key(&id).is_some() && found.directory(ACCOUNT).unwrap().group("g").is_ok());
}

#[tokio::test]
async fn a_change_that_was_decided_on_an_old_state_is_decided_again() {
    let index = memory();
    let (one, other) = (start(&index).await, start(&index).await);
    let runs = Arc::new(AtomicUsize::new(0));
    let create = |stamp: Stamp, runs: Arc<AtomicUsize>| {
        move |directory: &mut Directory| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ChangeError>(directory.create_group("g", "/", stamp.clone()).map(|_| ())?)
        }
    };
    one.change(ACCOUNT, create(one.stamp("AGPA"), Arc::default())).await.unwrap();
    // What the other knows has no such group, so its first decision is to make it; the guard stops that one.
    let refused = other.change(ACCOUNT, create(other.stamp("AGPA"), runs.clone())).await;
    assert!(matches!(refused, Err(ChangeError::Fault(fault)) if fault.kind == FaultKind::EntityAlreadyExists));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let id = |identities: &Identities| {
        let snapshot = identities.snapshot();
        snapshot.directory(ACCOUNT).unwrap().group("g").unwrap().id.clone()
    };
    let third = start(&index).await;
    assert_eq!(id(&one), id(&third));
    assert_eq!(id(&one), id(&other));
}

#[tokio::test]
async fn two_processes_that_change_an_account_at_once_lose_nothing() {
    let index = memory();
    let (one, other) = (start(&index).await, start(&index).await);
    let made = (0..20).map(|number| {
        let identities = if number % 2 == 0 { &one } else { &other };
        let stamp = identities.stamp("AGPA");
        identities.change(ACCOUNT, move |directory: &mut Directory| {
            let made = directory.create_group(&format!("g{number}"), "/", stamp.clone());
            Ok::<_, ChangeError>(made.map(|_| ())?)
        })
    });
    for outcome in futures::future::join_all(made).await {
        outcome.unwrap();
    }
    assert_eq!(start(&index).await.snapshot().directory(ACCOUNT).unwrap().groups.len(), 20);
}

#[tokio::test]
async fn who_signs_is_put_together_once_in_each_state() {
    let identities = start(&memory()).await;
    let signer = crate::auth::Signer { access_key: "anna-access".to_owned(), session: None };
    let before = identities.snapshot();
    let first = before.signed_by(&signer).unwrap();
    assert!(Arc::ptr_eq(&first, &before.signed_by(&signer).unwrap()));
    let detach =
        |directory: &mut Directory| Ok::<_, ChangeError>(directory.detach(Holder::User("anna"), ADMINISTRATOR)?);
    identities.change(ACCOUNT, detach).await.unwrap();
    let second = identities.snapshot().signed_by(&signer).unwrap();
    assert_eq!((first.policies.identity.len(), second.policies.identity.len()), (1, 0));
}

#[tokio::test]
async fn a_change_that_fails_changes_nothing() {
    let identities = start(&memory()).await;
    let fail = |directory: &mut Directory| {
        directory.put_inline(Holder::User("anna"), "p", "{}".to_owned())?;
        Ok::<_, ChangeError>(())
    };
    assert!(matches!(identities.change(ACCOUNT, fail).await, Err(ChangeError::Fault(_))));
    assert!(identities.snapshot().directory(ACCOUNT).unwrap().user("anna").unwrap().grants.inline.is_empty());
}
