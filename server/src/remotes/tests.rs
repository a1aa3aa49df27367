//! Which client a remote gets, what becomes of those that calls add, and whose buckets may go there.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use cairn_crypto::secret::{KEY_BYTES, MasterKey};
use cairn_storage::clock::{SystemClock, SystemEntropy};
use cairn_storage::health::Health;
use cairn_storage::index::family::identity::IdentityKind;
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::index::{Family, Partition};
use futures::FutureExt as _;

use super::*;

fn remotes(file: &str, variables: &'static [(&str, &str)]) -> Result<Remotes, RemoteError> {
    #[derive(serde::Deserialize)]
    struct File {
        remote: Vec<config::Remote>,
    }
    let declared: File = toml::from_str(file).unwrap();
    let environment = |name: &str| {
        let value = variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| *value);
        value.or((name == "AWS_EC2_METADATA_DISABLED").then_some("true")).map(OsString::from)
    };
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Remotes::new(&declared.remote, &environment, &clock, &entropy)
}

#[test]
fn a_remote_s_own_key_and_region_come_before_the_environment_s() {
    let file = "[[remote]]\nname = \"own\"\nendpoint = \"http://h:1\"\nregion = \"eu-west-3\"\n\
                access_key = \"AKIAOWN\"\nsecret_key = \"secret-secret\"\n\
                [[remote]]\nname = \"found\"\nendpoint = \"http://h:2\"\n";
    let variables = &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "eu-north-1")];
    let remotes = remotes(file, variables).unwrap();
    assert_eq!(remotes.client("own").unwrap().endpoint().region(), "eu-west-3");
    assert_eq!(remotes.client("found").unwrap().endpoint().region(), "eu-north-1");
    assert!(remotes.client("other").is_none());
    assert!(!format!("{remotes:?}").contains("secret-secret"));
}

fn given(more: &str) -> serde_json::Value {
    let text = format!(r#"{{"name":"added","endpoint":"http://h:3","region":"us-east-1"{more}}}"#);
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_remote_that_is_added_is_used_at_once_and_after_a_restart_and_its_secret_is_sealed() {
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    let master_key = || MasterKeyWrap::new(&MasterKey::from_bytes([7; KEY_BYTES]));
    let open = || async {
        let file = "[[remote]]\nname = \"own\"\nendpoint = \"http://h:1\"\nregion = \"eu-west-3\"\n\
                    access_key = \"AKIAOWN\"\nsecret_key = \"secret-secret\"\n";
        let remotes = remotes(file, &[]).unwrap();
        remotes.open(Arc::clone(&index), master_key()).await.unwrap();
        remotes
    };
    let opened = open().await;
    let key = r#","access_key":"AKIAADDED","secret_key":"secret-of-added""#;
    let about = opened.add(&given(key), false).await.unwrap();
    assert!(about.is_added && opened.client("added").is_some());
    // Once more is no change; another one must be asked for.
    opened.add(&given(key), false).await.unwrap();
    let other = given(r#","access_key":"AKIAOTHER","secret_key":"secret-of-other""#);
    assert!(matches!(opened.add(&other, false).await, Err(ChangeError::Exists(_))));
    let clashing: serde_json::Value = serde_json::from_str(r#"{"name":"own","endpoint":"http://h:9"}"#).unwrap();
    assert!(matches!(opened.add(&clashing, true).await, Err(ChangeError::Declared(_))));
    for malformed in [r#","access_key":"AKIAADDED""#, r#","colour":"red""#, r#","bandwidth_limit":5"#] {
        assert!(matches!(opened.add(&given(malformed), true).await, Err(ChangeError::Invalid(_))), "{malformed}");
    }
    opened.add(&other, true).await.unwrap();
    let opened = open().await;
    let names: Vec<String> = opened.all().into_iter().map(|about| about.name).collect();
    assert_eq!(names, ["own", "added"]);
    assert_eq!(opened.all()[1].access_key.as_deref(), Some("AKIAOTHER"));
    assert!(!format!("{opened:?}").contains("secret-of"));
    let row = cairn_storage::index::family::identity::key(IdentityKind::Remote, "added");
    let stored = index.view(Partition::SYSTEM, move |view| view.get(Family::Identity, &row)).await.unwrap().unwrap();
    assert!(!stored.value.windows(9).any(|window| window == b"secret-of"));
    opened.remove("added").await.unwrap();
    assert!(matches!(opened.remove("added").await, Err(ChangeError::Missing(_))));
    assert!(matches!(opened.remove("own").await, Err(ChangeError::Declared(_))));
    assert!(open().await.client("added").is_none());
}

#[tokio::test]
async fn a_change_of_the_remotes_ends_though_nobody_waits_for_it() {
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    let file = "[[remote]]\nname = \"own\"\nendpoint = \"http://h:1\"\naccess_key = \"AKIA\"\nsecret_key = \"secret-secret\"\n";
    let remotes = remotes(file, &[]).unwrap();
    remotes.open(index, MasterKeyWrap::new(&MasterKey::from_bytes([7; KEY_BYTES]))).await.unwrap();
    let given = given(r#","access_key":"AKIAADDED","secret_key":"secret-of-added""#);
    let until = async |is_there: bool| {
        while remotes.client("added").is_some() != is_there {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let another = remotes.0.changing.lock().await;
    assert!(remotes.add(&given, false).now_or_never().is_none());
    drop(another);
    until(true).await;
    let another = remotes.0.changing.lock().await;
    assert!(remotes.remove("added").now_or_never().is_none());
    drop(another);
    until(false).await;
}

#[test]
fn a_remote_is_for_the_first_account_or_for_those_that_it_names_and_no_tier_is_a_target() {
    let file = "[[remote]]\nname = \"own\"\nendpoint = \"http://h:1\"\naccess_key = \"AKIA\"\nsecret_key = \"secret-secret\"\n\
                [[remote]]\nname = \"given\"\nendpoint = \"http://h:2\"\naccess_key = \"AKIA\"\nsecret_key = \"secret-secret\"\n\
                accounts = [\"100000000002\"]\n";
    let remotes = remotes(file, &[]).unwrap();
    remotes.reserve([("own".to_owned(), "tier".to_owned())].into_iter());
    #[derive(serde::Deserialize)]
    struct File {
        account: Vec<config::Account>,
    }
    let account = |number: u8| {
        let canonical_id = format!("{number:064x}");
        format!(
            "[[account]]\nid = \"10000000000{number}\"\ncanonical_id = \"{canonical_id}\"\ndisplay_name = \"{number}\"\n"
        )
    };
    let declared: File = toml::from_str(&(account(1) + &account(2))).unwrap();
    let accounts = Accounts::new(&declared.account);
    let check = |name: &str, bucket: &str, owner: &str| {
        remotes.check_target(name, bucket, owner.parse().unwrap(), &accounts).err()
    };
    let (first, second) = ("100000000001", "100000000002");
    for (name, owner, fault) in [
        ("own", first, None),
        ("own", second, Some(NotATarget::Account)),
        ("given", first, Some(NotATarget::Account)),
        ("given", second, None),
    ] {
        assert_eq!(check(name, "copies", owner), fault, "{name} {owner}");
    }
    assert_eq!(check("own", "tier", first), Some(NotATarget::Tier));
    assert_eq!(check("given", "tier", second), None);
}

#[test]
fn a_remote_that_nobody_can_sign_for_is_named() {
    let error = remotes("[[remote]]\nname = \"paris\"\nendpoint = \"http://h:1\"\n", &[]).unwrap_err();
    assert!(crate::wiring::chain(&error).contains("the remote paris cannot be used: there are no credentials"));
}
