//! Offline verification of the rows of an account's KMS keys. Versions are not opened: a start does that.

use std::collections::BTreeSet;

use cairn_iam::acl::AccountNumber;
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_storage::record::Record as _;

use super::record::{AliasRecord, Backing, GenerationRecord, GrantRecord, KeyRecord, Kind, grant_row};

/// What was seen of an account.
#[derive(Debug)]
pub struct KmsCheck {
    account: AccountNumber,
    has_generation: bool,
    keys: BTreeSet<String>,
    /// What names a key, and which.
    references: Vec<(String, String)>,
    findings: Vec<String>,
}

impl KmsCheck {
    /// Before the first row.
    pub fn new(account: AccountNumber) -> Self {
        let (keys, references, findings) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { account, has_generation: false, keys, references, findings }
    }

    /// Looks at a row.
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        if let Err(what) = self.look(key, value) {
            self.findings.push(format!("account {}: the row {} {what}", self.account, key.escape_ascii()));
        }
    }

    fn look(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let undecodable = |_| "cannot be decoded";
        let expected = match key.first() {
            Some(&kind) if kind == Kind::Generation as u8 => {
                GenerationRecord::from_value(value).map_err(undecodable)?;
                self.has_generation = true;
                Kind::Generation.key("")
            }
            Some(&kind) if kind == Kind::Key as u8 => {
                let record = KeyRecord::from_value(value).map_err(undecodable)?;
                if matches!(&record.backing, Backing::Local(versions) if versions.is_empty()) {
                    return Err("is a key without a version");
                }
                Policy::parse(&record.policy, PolicyKind::Key).map_err(|_| "is a key whose policy is none")?;
                self.keys.insert(record.id.clone());
                Kind::Key.key(&record.id)
            }
            Some(&kind) if kind == Kind::Alias as u8 => {
                let record = AliasRecord::from_value(value).map_err(undecodable)?;
                self.references.push((record.name.clone(), record.key_id));
                Kind::Alias.key(&record.name)
            }
            Some(&kind) if kind == Kind::Grant as u8 => {
                let record = GrantRecord::from_value(value).map_err(undecodable)?;
                self.references.push((format!("the grant {}", record.id), record.key_id.clone()));
                Kind::Grant.key(&grant_row(&record.key_id, &record.id))
            }
            _ => return Err("has an unknown key"),
        };
        if expected == key { Ok(()) } else { Err("is not where its record belongs") }
    }

    /// What is wrong, after the last row.
    pub fn finish(mut self) -> Vec<String> {
        let account = self.account;
        for (what, key_id) in self.references.iter().filter(|(_, key_id)| !self.keys.contains(key_id)) {
            self.findings.push(format!("account {account}: {what} names the KMS key {key_id}, which is not there"));
        }
        if !self.keys.is_empty() && !self.has_generation {
            self.findings.push(format!("account {account}: there are KMS keys and no generation of them"));
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::clock::Timestamp;

    use crate::kms::{new_record, policy};

    use super::*;

    const ACCOUNT: AccountNumber = AccountNumber(42);

    fn findings(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut check = KmsCheck::new(ACCOUNT);
        rows.iter().for_each(|(key, value)| check.row(key, value));
        check.finish()
    }

    fn key(id: &str, policy: String) -> (Vec<u8>, Vec<u8>) {
        let backing = Backing::External { name: "k".to_owned() };
        (Kind::Key.key(id), new_record(id.to_owned(), Timestamp(1), backing, policy).to_value().unwrap())
    }

    fn alias(name: &str, key_id: &str) -> (Vec<u8>, Vec<u8>) {
        let (created, updated) = (Timestamp(1), Timestamp(1));
        let record = AliasRecord { name: name.to_owned(), key_id: key_id.to_owned(), created, updated };
        (Kind::Alias.key(name), record.to_value().unwrap())
    }

    #[test]
    fn whole_rows_have_no_findings_and_others_are_named() {
        let generation = (Kind::Generation.key(""), GenerationRecord { number: 1 }.to_value().unwrap());
        let good = key("k", policy::by_default(ACCOUNT));
        let whole = [generation.clone(), good.clone(), alias("alias/a", "k")];
        assert_eq!(findings(&whole), [""; 0]);
        let moved = (Kind::Key.key("l"), good.1.clone());
        let unversioned = new_record("m".to_owned(), Timestamp(1), Backing::Local(Vec::new()), "{}".to_owned());
        for (row, part) in [
            ((Kind::Key.key("k"), b"x".to_vec()), "cannot be decoded"),
            (key("k", "{}".to_owned()), "whose policy is none"),
            ((Kind::Key.key("m"), unversioned.to_value().unwrap()), "without a version"),
            (moved, "not where its record belongs"),
            (alias("alias/b", "none"), "alias/b names the KMS key none"),
            ((vec![99], Vec::new()), "unknown key"),
        ] {
            let found = findings(&[generation.clone(), row]);
            assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
        }
        assert!(findings(&[good])[0].contains("no generation"));
    }
}
