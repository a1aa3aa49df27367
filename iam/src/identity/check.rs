//! What is wrong with the rows of an account, for whoever verifies them without serving them: each must be a record under its own
//! name, and what refers to another must find it.

use std::collections::HashSet;

use crate::acl::AccountNumber;
use crate::policy::{Policy, PolicyKind};

use super::entity::{AccessKey, Generation, Group, ManagedPolicy, MfaDevice, OidcProvider, Role, Settings, User};
use super::record::{Kind, Record, folded};
use super::{Directory, Grants};

/// Gathers what is wrong with an account.
#[derive(Debug)]
pub struct AccountCheck {
    directory: Directory,
    has_rows: bool,
    has_generation: bool,
    findings: Vec<String>,
}

impl AccountCheck {
    /// Of an account of which nothing was seen yet.
    #[must_use]
    pub fn new(account: AccountNumber) -> Self {
        Self { directory: Directory::new(account), has_rows: false, has_generation: false, findings: Vec::new() }
    }

    /// Looks at one row.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        self.has_rows = true;
        let fault = match key.first().copied() {
            Some(kind) if kind == Kind::Generation as u8 => {
                self.has_generation = true;
                fault_of::<Generation>(key, value)
            }
            Some(kind) if kind == Kind::User as u8 => fault_of::<User>(key, value),
            Some(kind) if kind == Kind::Group as u8 => fault_of::<Group>(key, value),
            Some(kind) if kind == Kind::Role as u8 => fault_of::<Role>(key, value),
            Some(kind) if kind == Kind::Policy as u8 => fault_of::<ManagedPolicy>(key, value),
            Some(kind) if kind == Kind::AccessKey as u8 => fault_of::<AccessKey>(key, value),
            Some(kind) if kind == Kind::MfaDevice as u8 => fault_of::<MfaDevice>(key, value),
            Some(kind) if kind == Kind::OidcProvider as u8 => fault_of::<OidcProvider>(key, value),
            Some(kind) if kind == Kind::Settings as u8 => fault_of::<Settings>(key, value),
            _ => Some(format!("a row has the unknown key {}", key.escape_ascii())),
        };
        match fault {
            // It was decoded just now.
            None => drop(self.directory.load(key, value)),
            Some(fault) => self.findings.push(fault),
        }
    }

    /// Everything that was found, when all rows were looked at.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        if self.has_rows && !self.has_generation {
            self.findings.push("the row of the generation is missing, which every change guards".to_owned());
        }
        self.check_references();
        self.check_documents();
        let mut ids = HashSet::new();
        let directory = &self.directory;
        let users = directory.users.iter().map(|user| &user.id);
        let all = users.chain(directory.roles.iter().map(|role| &role.id));
        let twice: Vec<String> =
            all.filter(|id| !ids.insert(*id)).map(|id| format!("the id {id} is there twice")).collect();
        self.findings.extend(twice);
        let account = self.directory.account();
        self.findings.into_iter().map(|finding| format!("account {account}: {finding}")).collect()
    }

    fn check_references(&mut self) {
        let Self { directory, findings, .. } = self;
        let has_user = |name: &str| directory.users.get(&folded(name)).is_some_and(|user| user.name == name);
        for key in directory.keys.iter() {
            if let Some(name) = key.user.as_ref().filter(|name| !has_user(name)) {
                findings.push(format!("the access key {} is of the user {name}, who is not there", key.id));
            }
        }
        for device in directory.devices.iter() {
            let owner = device.owner.as_ref().and_then(|owner| owner.user.as_ref());
            if let Some(name) = owner.filter(|name| !has_user(name)) {
                findings.push(format!("the MFA device {} is of the user {name}, who is not there", device.name));
            }
        }
        for user in directory.users.iter() {
            for id in user.groups.iter().filter(|id| directory.groups.by_id(id).is_none()) {
                findings.push(format!("the user {} is in the group {id}, which is not there", user.name));
            }
        }
        let users = directory.users.iter().map(|user| (user.name.as_str(), &user.grants, user.boundary.as_ref()));
        let groups = directory.groups.iter().map(|group| (group.name.as_str(), &group.grants, None));
        let roles = directory.roles.iter().map(|role| (role.name.as_str(), &role.grants, role.boundary.as_ref()));
        for (name, grants, boundary) in users.chain(groups).chain(roles) {
            let arns = grants.attached.iter().chain(boundary);
            for arn in arns.filter(|arn| directory.check_managed(Some(arn)).is_err()) {
                findings.push(format!("{name} has the policy {arn}, which is not there"));
            }
        }
    }

    fn check_documents(&mut self) {
        let Self { directory, findings, .. } = self;
        let mut check = |what: String, text: &str, kind| {
            if let Err(error) = Policy::parse(text, kind) {
                findings.push(format!("{what}: {error}"));
            }
        };
        let mut inline = |of: &str, grants: &Grants| {
            for (name, text) in &grants.inline {
                check(format!("the inline policy {name} of {of}"), text, PolicyKind::Identity);
            }
        };
        directory.users.iter().for_each(|user| inline(&user.name, &user.grants));
        directory.groups.iter().for_each(|group| inline(&group.name, &group.grants));
        directory.roles.iter().for_each(|role| inline(&role.name, &role.grants));
        for role in directory.roles.iter() {
            check(format!("the trust policy of {}", role.name), &role.trust, PolicyKind::Trust);
        }
        for policy in directory.policies.iter() {
            for version in &policy.versions {
                let what = format!("version {} of the policy {}", version.number, policy.name);
                check(what, &version.document, PolicyKind::Identity);
            }
        }
        for policy in directory.policies.iter().filter(|policy| policy.default_document().is_none()) {
            findings.push(format!("the policy {} has no version {}", policy.name, policy.default_version));
        }
    }
}

/// What is wrong with a row by itself.
fn fault_of<R: Record>(key: &[u8], value: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default());
    match R::from_value(value) {
        Err(error) => Some(format!("the row {name:?}: {error}")),
        Ok(record) if R::KIND.key(&record.row_name()) != key => {
            Some(format!("the row {name:?} holds the {} {:?}", R::KIND.noun(), record.row_name()))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{Holder, NewUser, Stamp};

    const ACCOUNT: AccountNumber = AccountNumber(42);

    fn stamp(id: &str) -> Stamp {
        Stamp { now_ms: 1, id: id.to_owned() }
    }

    /// The rows of an account with one of much.
    fn rows() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut directory = Directory::new(ACCOUNT);
        let new = NewUser { name: "Anna".to_owned(), path: "/".to_owned(), boundary: None, tags: Vec::new() };
        directory.create_user(new, stamp("AIDA1")).unwrap();
        directory.create_group("g", "/", stamp("AGPA1")).unwrap();
        directory.add_to_group("g", "anna").unwrap();
        directory.create_access_key(Some("anna"), vec![1], stamp("AKIA1")).unwrap();
        directory.create_access_key(None, vec![1], stamp("AKIA2")).unwrap();
        directory.attach(Holder::User("anna"), "arn:aws:iam::aws:policy/ReadOnlyAccess").unwrap();
        let changes = directory.take_changes().unwrap();
        changes.into_iter().map(|change| (change.key, change.value.unwrap())).collect()
    }

    fn findings(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut check = AccountCheck::new(ACCOUNT);
        rows.iter().for_each(|(key, value)| check.row(key, value));
        check.finish()
    }

    fn without(kind: Kind) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows().into_iter().filter(|(key, _)| key[0] != kind as u8).collect()
    }

    #[test]
    fn of_a_whole_account_nothing_is_found() {
        assert!(findings(&rows()).is_empty());
    }

    #[test]
    fn what_refers_to_nobody_is_found() {
        let found = findings(&without(Kind::User));
        assert_eq!(found, ["account 000000000042: the access key AKIA1 is of the user Anna, who is not there"]);
        let found = findings(&without(Kind::Group));
        assert_eq!(found, ["account 000000000042: the user Anna is in the group AGPA1, which is not there"]);
        assert_eq!(findings(&without(Kind::Generation)).len(), 1);
    }

    #[test]
    fn a_row_that_is_damaged_or_in_anothers_place_is_found() {
        for index in 0..rows().len() {
            let mut cut = rows();
            cut[index].1.pop();
            assert!(!findings(&cut).is_empty(), "{:?}", cut[index].0);
            let mut moved = rows();
            moved[index].0.push(b'x');
            assert!(!findings(&moved).is_empty(), "{:?}", moved[index].0);
        }
        assert_eq!(findings(&[rows(), vec![(vec![99], Vec::new())]].concat()).len(), 1);
    }
}
