//! Records round-trip, and changes keep IAM's rules.

#![allow(clippy::unwrap_used)]

use super::limits::{ACCESS_KEYS_OF_USER_MAX, ATTACHED_MAX, INLINE_BYTES_MAX, TAGS_MAX};
use super::*;
use crate::acl::AccountNumber;

const ACCOUNT: AccountNumber = AccountNumber(42);
const READ: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
const TRUST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;

fn stamp(id: &str) -> Stamp {
    Stamp { now_ms: 1_000, id: id.to_owned() }
}

fn new_user(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), path: "/".to_owned(), boundary: None, tags: Vec::new() }
}

fn with_user(name: &str) -> Directory {
    let mut directory = Directory::new(ACCOUNT);
    directory.create_user(new_user(name), stamp("AIDA1")).unwrap();
    directory
}

fn new_policy(name: &str) -> NewPolicy {
    NewPolicy {
        name: name.to_owned(),
        path: "/".to_owned(),
        document: READ.to_owned(),
        description: None,
        tags: Vec::new(),
    }
}

fn new_role(name: &str) -> NewRole {
    NewRole {
        name: name.to_owned(),
        path: "/".to_owned(),
        trust: TRUST.to_owned(),
        description: Some("reads".to_owned()),
        session_seconds_max: None,
        boundary: None,
        tags: Vec::new(),
    }
}

/// One of each, connected.
fn furnished() -> Directory {
    let mut directory = with_user("Anna");
    directory.create_group("Readers", "/a/", stamp("AGPA1")).unwrap();
    directory.add_to_group("readers", "anna").unwrap();
    directory.create_role(new_role("Job"), stamp("AROA1")).unwrap();
    let arn =
        directory.create_policy(new_policy("Read"), stamp("ANPA1")).map(|_| "arn:aws:iam::000000000042:policy/Read");
    let arn = arn.unwrap();
    directory.attach(Holder::Group("Readers"), arn).unwrap();
    directory.put_inline(Holder::User("Anna"), "own", READ.to_owned()).unwrap();
    directory.set_boundary(Holder::User("Anna"), Some(arn)).unwrap();
    directory.create_access_key(Some("Anna"), vec![1, 2, 3], stamp("AKIA1")).unwrap();
    directory.create_device("phone", "/", vec![4, 5], Vec::new(), 1_000).unwrap();
    directory.enable_device("arn:aws:iam::000000000042:mfa/phone", Some("Anna"), (7, 0), 1_000).unwrap();
    let new = NewProvider {
        url: "https://Login.example.org/x".to_owned(),
        client_ids: vec!["app".to_owned()],
        thumbprints: vec!["a".repeat(40)],
        tags: Vec::new(),
    };
    directory.create_provider(new, 1_000).unwrap();
    let login = Login { hash: "hash".to_owned(), created_ms: 1, changed_ms: 2, reset_required: true };
    directory.create_login("Anna", login).unwrap();
    directory.tag(Tagged::User("Anna"), vec![Tag { key: "team".to_owned(), value: "red".to_owned() }]).unwrap();
    directory.set_settings(Settings { alias: Some("alias".to_owned()), ..Settings::default() });
    directory
}

fn loaded(changes: &[Change]) -> Directory {
    let mut directory = Directory::new(ACCOUNT);
    for change in changes {
        directory.load(&change.key, change.value.as_ref().unwrap()).unwrap();
    }
    directory
}

#[test]
fn what_was_changed_is_read_again_from_its_rows() {
    let mut directory = furnished();
    let changes = directory.take_changes().unwrap();
    let again = loaded(&changes);
    assert_eq!(again.generation(), 1);
    assert_eq!(again.user("ANNA").unwrap(), directory.user("Anna").unwrap());
    assert_eq!(again.group("Readers").unwrap(), directory.group("Readers").unwrap());
    assert_eq!(again.role("Job").unwrap(), directory.role("Job").unwrap());
    let arn = "arn:aws:iam::000000000042:policy/Read";
    assert_eq!(again.policy(arn).unwrap(), directory.policy(arn).unwrap());
    assert_eq!(again.keys.get("AKIA1"), directory.keys.get("AKIA1"));
    let serial = "arn:aws:iam::000000000042:mfa/phone";
    assert_eq!(again.device(serial).unwrap(), directory.device(serial).unwrap());
    let provider = "arn:aws:iam::000000000042:oidc-provider/Login.example.org/x";
    assert_eq!(again.provider(provider).unwrap(), directory.provider(provider).unwrap());
    assert_eq!(again.settings(), directory.settings());
    assert!(directory.take_changes().unwrap().is_empty());
}

#[test]
fn a_row_that_is_cut_or_of_another_format_is_refused() {
    for Change { key, value } in furnished().take_changes().unwrap() {
        let value = value.unwrap();
        for cut in 0..value.len() {
            assert!(Directory::new(ACCOUNT).load(&key, &value[..cut]).is_err(), "{key:?} cut at {cut}");
        }
        let mut newer = value;
        newer[0] = 2;
        let error = Directory::new(ACCOUNT).load(&key, &newer).unwrap_err();
        assert!(matches!(error, RecordError::UnknownFormat { format: 2, .. }));
    }
}

#[test]
fn the_largest_user_fits_its_row() {
    let mut directory = with_user(&"u".repeat(64));
    let user = directory.users.get_mut(&"u".repeat(64)).unwrap();
    user.path = format!("/{}/", "p".repeat(510));
    user.grants.inline.insert("n".repeat(128), " ".repeat(INLINE_BYTES_MAX));
    user.grants.attached = vec!["a".repeat(2_048); ATTACHED_MAX];
    user.groups = vec!["AGPA".repeat(5); 10];
    user.tags = vec![Tag { key: "ä".repeat(128), value: "ä".repeat(256) }; TAGS_MAX];
    user.boundary = Some("b".repeat(2_048));
    assert!(directory.take_changes().is_ok());
}

#[test]
fn a_change_writes_its_rows_and_the_generation() {
    let mut directory = with_user("anna");
    directory.take_changes().unwrap();
    directory.put_inline(Holder::User("anna"), "p", READ.to_owned()).unwrap();
    let keys: Vec<Vec<u8>> = directory.take_changes().unwrap().into_iter().map(|change| change.key).collect();
    assert_eq!(keys, [Kind::User.key("anna"), Kind::Generation.key("")]);
    directory.delete_inline(Holder::User("anna"), "p").unwrap();
    directory.delete_user("anna").unwrap();
    let changes = directory.take_changes().unwrap();
    assert_eq!(changes[0], Change { key: Kind::User.key("anna"), value: None });
}

#[test]
fn names_are_unique_without_regard_to_case() {
    let mut directory = furnished();
    let exists = |fault: Fault| fault.kind == FaultKind::EntityAlreadyExists;
    assert!(exists(directory.create_user(new_user("ANNA"), stamp("AIDA2")).map(|_| ()).unwrap_err()));
    assert!(exists(directory.create_group("READERS", "/", stamp("AGPA2")).map(|_| ()).unwrap_err()));
    assert!(exists(directory.create_role(new_role("JOB"), stamp("AROA2")).map(|_| ()).unwrap_err()));
    assert!(exists(directory.create_policy(new_policy("READ"), stamp("ANPA2")).map(|_| ()).unwrap_err()));
}

#[test]
fn a_renamed_user_keeps_keys_devices_and_groups() {
    let mut directory = furnished();
    directory.update_user("anna", Some("Berta"), Some("/b/")).unwrap();
    let user = directory.user("berta").unwrap();
    assert_eq!((user.path.as_str(), user.id.as_str()), ("/b/", "AIDA1"));
    assert_eq!((directory.keys_of(Some(&user.name)).count(), directory.devices_of(user).count()), (1, 1));
    assert_eq!(directory.groups_of(user).count(), 1);
    assert!(directory.user("anna").is_err());
    let changes = directory.take_changes().unwrap();
    assert!(
        loaded(&changes.into_iter().filter(|change| change.value.is_some()).collect::<Vec<_>>()).user("Berta").is_ok()
    );
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let mut directory = furnished();
    let arn = "arn:aws:iam::000000000042:policy/Read";
    let conflict = |result: Result<(), Fault>| result.unwrap_err().kind == FaultKind::DeleteConflict;
    assert!(conflict(directory.delete_user("Anna")));
    assert!(conflict(directory.delete_group("Readers")));
    assert!(conflict(directory.delete_policy(arn)));
    assert!(conflict(directory.delete_device("arn:aws:iam::000000000042:mfa/phone")));
    directory.remove_from_group("Readers", "Anna").unwrap();
    directory.detach(Holder::Group("Readers"), arn).unwrap();
    assert!(conflict(directory.delete_policy(arn)), "it is a boundary");
    directory.set_boundary(Holder::User("Anna"), None).unwrap();
    directory.delete_policy(arn).unwrap();
    directory.delete_group("Readers").unwrap();
    directory.delete_inline(Holder::User("Anna"), "own").unwrap();
    directory.delete_access_key(Some("Anna"), "AKIA1").unwrap();
    directory.deactivate_device("arn:aws:iam::000000000042:mfa/phone", Some("Anna")).unwrap();
    assert!(conflict(directory.delete_user("Anna")), "it has a password");
    directory.delete_login("Anna").unwrap();
    directory.delete_user("Anna").unwrap();
}

#[test]
fn policies_have_versions_of_which_one_is_in_force() {
    let mut directory = Directory::new(ACCOUNT);
    directory.create_policy(new_policy("p"), stamp("ANPA1")).unwrap();
    let arn = "arn:aws:iam::000000000042:policy/p";
    for number in 2..=5 {
        let made = directory.create_policy_version(arn, READ.to_owned(), number == 3, 2_000).unwrap();
        assert_eq!(made.number, number);
    }
    let full = directory.create_policy_version(arn, READ.to_owned(), false, 2_000).map(|_| ()).unwrap_err();
    assert_eq!(full.kind, FaultKind::LimitExceeded);
    assert_eq!(directory.delete_policy_version(arn, 3).unwrap_err().kind, FaultKind::DeleteConflict);
    directory.set_default_version(arn, 1, 3_000).unwrap();
    directory.delete_policy_version(arn, 5).unwrap();
    assert_eq!(directory.create_policy_version(arn, READ.to_owned(), false, 2_000).unwrap().number, 6);
    assert_eq!(directory.set_default_version(arn, 5, 3_000).unwrap_err().kind, FaultKind::NoSuchEntity);
}

#[test]
fn quotas_hold() {
    let mut directory = with_user("anna");
    for number in 0..ACCESS_KEYS_OF_USER_MAX {
        directory.create_access_key(Some("anna"), Vec::new(), stamp(&format!("AKIA{number}"))).unwrap();
    }
    let fault = directory.create_access_key(Some("anna"), Vec::new(), stamp("AKIA9")).map(|_| ()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LimitExceeded);
    let resources = format!("\"arn:aws:s3:::{}\"", "b".repeat(2_000));
    let long = READ.replace("\"*\"", &resources);
    let fault = directory.put_inline(Holder::User("anna"), "p", long).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LimitExceeded);
    // A change that fails leaves a directory to be thrown away.
    let mut directory = with_user("anna");
    let padded = READ.replace(',', &format!(",{}", " ".repeat(4_000)));
    assert!(directory.put_inline(Holder::User("anna"), "q", padded).is_ok(), "white space does not count");
    let fault = directory.put_inline(Holder::User("anna"), "r", "{}".to_owned()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::MalformedPolicyDocument);
}

#[test]
fn a_users_policies_are_its_own_its_groups_and_its_boundary() {
    let directory = furnished();
    let policies = directory.policies_of_user("anna").unwrap();
    assert_eq!(policies.identity.len(), 2);
    assert!(policies.boundary.is_some());
    assert!(directory.policies_of_role("job").unwrap().identity.is_empty());
    assert!(directory.policies_of_user("nobody").is_none());
}

#[test]
fn a_clone_shares_nothing_that_is_derived() {
    let directory = furnished();
    assert_eq!(directory.policies_of_user("anna").unwrap().identity.len(), 2);
    let mut next = directory.clone();
    next.detach(Holder::Group("Readers"), "arn:aws:iam::000000000042:policy/Read").unwrap();
    assert_eq!(next.policies_of_user("anna").unwrap().identity.len(), 1);
    assert_eq!(directory.policies_of_user("anna").unwrap().identity.len(), 2);
}

#[test]
fn a_policy_that_cannot_be_read_denies_everything() {
    let mut directory = with_user("anna");
    let user = directory.users.get_mut("anna").unwrap();
    user.grants.inline.insert("broken".to_owned(), "{}".to_owned());
    user.grants.attached.push("arn:aws:iam::000000000042:policy/gone".to_owned());
    assert_eq!(directory.policies_of_user("anna").unwrap().identity.len(), 2);
}

#[test]
fn a_code_is_good_once() {
    let mut directory = furnished();
    let serial = "arn:aws:iam::000000000042:mfa/phone";
    directory.use_device(serial, Some("Anna"), 8, 0).unwrap();
    let fault = directory.use_device(serial, Some("Anna"), 8, 0).unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidAuthenticationCode);
    assert!(directory.use_device(serial, None, 9, 0).is_err(), "it is not the root's");
}
