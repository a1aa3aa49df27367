//! Offline verification of everything in the family `identity`: what is in the partition SYSTEM, and the rows of every account,
//! also of those that the configuration knows no more. Secrets are not opened.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{AccountCheck, Kind};
use cairn_storage::StorageError;
use cairn_storage::check::Report;
use cairn_storage::index::family::identity::{IdentityKind, StoreKeyRecord};
use cairn_storage::index::rocks::RocksIndex;
use cairn_storage::index::{Family, Index, KeyRange, Partition};
use cairn_storage::record::Record as _;

use crate::kms::check::KmsCheck;

use super::rows::page;
use super::usage::Uses;

/// Kinds from here on in an account's partition are its KMS keys.
const KINDS_OF_KMS: u8 = crate::kms::record::Kind::Generation as u8;

/// Looks at all rows, and reports what is wrong.
///
/// # Errors
/// What kept the verification from being complete.
pub async fn check(index: &Arc<RocksIndex>, report: &mut Report) -> Result<(), StorageError> {
    for partition in index.partitions(Family::Identity)? {
        let findings = match partition.account_number() {
            Some(number) => of_account(index.as_ref(), AccountNumber(number)).await?,
            None if partition == Partition::SYSTEM => of_system(index.as_ref()).await?,
            None => vec![format!("the partition {} has identities, and is no account's", hex::encode(partition.0))],
        };
        findings.into_iter().for_each(|finding| report.find(finding));
    }
    Ok(())
}

async fn of_account(index: &dyn Index, account: AccountNumber) -> Result<Vec<String>, StorageError> {
    let mut check = AccountCheck::new(account);
    let mut of_uses = Vec::new();
    let mut of_keys = KmsCheck::new(account);
    for_each_row(index, Partition::account(account.0), |key, value| match key.first() {
        Some(&kind) if kind >= KINDS_OF_KMS => of_keys.row(key, value),
        Some(&kind) if kind == Kind::Usage as u8 => {
            if Uses::from_value(value).is_none() {
                of_uses
                    .push(format!("account {account}: the last uses of {} cannot be decoded", key[1..].escape_ascii()));
            }
        }
        _ => check.row(key, value),
    })
    .await?;
    Ok([check.finish(), of_uses, of_keys.finish()].concat())
}

async fn of_system(index: &dyn Index) -> Result<Vec<String>, StorageError> {
    let mut findings = Vec::new();
    for_each_row(index, Partition::SYSTEM, |key, value| {
        let is_good = match key.split_first() {
            Some((&kind, _)) if kind == IdentityKind::StoreKey as u8 => StoreKeyRecord::from_value(value).is_ok(),
            Some((&kind, b"")) if kind == IdentityKind::MasterKey as u8 => {
                value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit)
            }
            // Sealed, as the next ones.
            Some((&kind, name)) if kind == IdentityKind::Remote as u8 => !name.is_empty() && !value.is_empty(),
            // Sealed, and so whole or of no use at all, which the start finds out.
            Some((&kind, b"")) => {
                [IdentityKind::RootAccount, IdentityKind::FormerMasterKey].iter().any(|sealed| *sealed as u8 == kind)
                    && !value.is_empty()
            }
            _ => false,
        };
        if !is_good {
            findings.push(format!("the row {} of the server's own keys makes no sense", key.escape_ascii()));
        }
    })
    .await?;
    Ok(findings)
}

async fn for_each_row(
    index: &dyn Index,
    partition: Partition,
    mut look: impl FnMut(&[u8], &[u8]),
) -> Result<(), StorageError> {
    let mut from = Vec::new();
    loop {
        let rows = page(index, partition, KeyRange { start: from.clone(), end: None }).await?;
        let Some((last, ..)) = rows.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
        rows.iter().for_each(|(key, _, value)| look(key, value));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_iam::identity::{Directory, NewUser, Stamp};
    use cairn_storage::health::Health;
    use cairn_storage::index::rocks::RocksOptions;
    use cairn_storage::index::{Batch, Outcome};
    use cairn_storage::observe::Silent;

    use super::*;

    const ACCOUNT: AccountNumber = AccountNumber(42);

    async fn findings(index: &Arc<RocksIndex>) -> Vec<String> {
        let mut report = Report::default();
        check(index, &mut report).await.unwrap();
        report.findings
    }

    async fn put(index: &RocksIndex, partition: Partition, key: Vec<u8>, value: Vec<u8>) {
        let mut batch = Batch::new();
        batch.put(Family::Identity, key, value);
        assert!(matches!(index.commit(partition, batch).await, Outcome::Committed(_)));
    }

    #[tokio::test]
    async fn every_partition_with_identities_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let options = RocksOptions::new(folder.path().join("index"), folder.path().join("watermark"));
        let index = Arc::new(RocksIndex::open(&options, Health::default(), Arc::new(Silent)).unwrap());
        assert!(findings(&index).await.is_empty());
        let mut directory = Directory::new(ACCOUNT);
        let new = NewUser { name: "anna".to_owned(), path: "/".to_owned(), boundary: None, tags: Vec::new() };
        directory.create_user(new, Stamp { now_ms: 1, id: "AIDA1".to_owned() }).unwrap();
        let own = Partition::account(ACCOUNT.0);
        for change in directory.take_changes().unwrap() {
            put(&index, own, change.key, change.value.unwrap()).await;
        }
        put(&index, Partition::SYSTEM, vec![IdentityKind::MasterKey as u8], b"0123456789abcdef".to_vec()).await;
        assert_eq!(findings(&index).await, [""; 0]);
        put(&index, own, vec![KINDS_OF_KMS], b"x".to_vec()).await;
        put(&index, own, Kind::Usage.key("AIDA1"), b"x".to_vec()).await;
        put(&index, own, Kind::Role.key("reader"), b"x".to_vec()).await;
        put(&index, Partition::SYSTEM, vec![IdentityKind::StoreKey as u8], b"x".to_vec()).await;
        put(&index, Partition([7; 16]), Kind::User.key("anna"), Vec::new()).await;
        let found = findings(&index).await;
        for (finding, part) in
            found.iter().zip(["server's own keys", "\"reader\"", "AIDA1", "cannot be decoded", "is no account's"])
        {
            assert!(finding.contains(part), "{found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
    }
}
