//! What comes with time: new versions by each key's period, and the deletion of keys that waited for it.

use std::sync::Arc;
use std::time::Duration;

use cairn_iam::acl::AccountNumber;
use cairn_storage::clock::Timestamp;

use super::Kms;
use super::error::KmsError;
use super::keys::{AccountKeys, Draft, Key};
use super::record::Backing;

/// The pause between two looks.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keys of one change: that many of the largest rows, or with all their grants to delete, fit into a commit.
const KEYS_AT_ONCE: usize = 4;

/// By what it is judged whether something is due.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// The wall clock's time.
    now: Timestamp,
    /// The time by which locks are judged: a deletion cannot be taken back, so a wall clock that jumped must not bring it about.
    lock_time: Timestamp,
}

impl Kms {
    /// Does what is due, once a minute.
    pub async fn keep_doing_what_is_due(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.do_what_is_due().await;
        }
    }

    /// Deletes the keys whose time has come, and gives new versions to those whose period is over. What fails is said, and
    /// done the next time.
    pub(super) async fn do_what_is_due(self: &Arc<Self>) {
        let times = Times { now: self.now(), lock_time: self.lock_time() };
        let accounts: Vec<Arc<AccountKeys>> = self.current.load().values().cloned().collect();
        for keys in accounts.iter().filter(|keys| keys.keys.values().any(|key| is_due(key, times))) {
            if let Err(error) = self.do_what_is_due_in(keys.account, times).await {
                tracing::error!(account = %keys.account, %error, "KMS keys were not rotated or deleted when due");
            }
        }
    }

    async fn do_what_is_due_in(self: &Arc<Self>, account: AccountNumber, times: Times) -> Result<(), KmsError> {
        loop {
            let (deleted, rotated) = self.change(account, move |draft| draft.do_what_is_due(times)).await?;
            if deleted.is_empty() && rotated.is_empty() {
                return Ok(());
            }
            for key in deleted {
                tracing::info!(key, "a KMS key was deleted, as its owner had scheduled");
            }
            for key in rotated {
                tracing::info!(key, "a KMS key has a new version by its period");
            }
        }
    }
}

fn is_due(key: &Key, times: Times) -> bool {
    is_to_be_deleted(key, times.lock_time) || is_to_be_rotated(key, times.now)
}

fn is_to_be_deleted(key: &Key, lock_time: Timestamp) -> bool {
    key.record.delete_at.is_some_and(|at| at <= lock_time)
}

/// A key that is disabled gets its version when it is enabled again (KMS developer guide, "Rotate AWS KMS keys").
fn is_to_be_rotated(key: &Key, now: Timestamp) -> bool {
    key.record.is_enabled && key.record.delete_at.is_none() && key.next_rotation().is_some_and(|at| at <= now)
}

impl Draft<'_> {
    /// Of some of the keys for which something is due. Tells which were deleted, and which rotated.
    fn do_what_is_due(&mut self, times: Times) -> Result<(Vec<String>, Vec<String>), KmsError> {
        let due = self.keys().keys.values().filter(|key| is_due(key, times));
        let due: Vec<Arc<Key>> = due.take(KEYS_AT_ONCE).cloned().collect();
        let (mut deleted, mut rotated) = (Vec::new(), Vec::new());
        for key in due {
            if is_to_be_deleted(&key, times.lock_time) {
                self.remove_key(&key.record.id)?;
                deleted.push(key.arn.clone());
            } else {
                self.rotate(&key, times.now, false)?;
                rotated.push(key.arn.clone());
            }
        }
        Ok((deleted, rotated))
    }

    /// Gives a key a new version.
    pub(crate) fn rotate(&mut self, key: &Key, now: Timestamp, on_demand: bool) -> Result<(), KmsError> {
        let mut record = key.record.clone();
        let Backing::Local(versions) = &mut record.backing else {
            return Err(KmsError::Internal("an external key is rotated where it is".to_owned()));
        };
        let number = versions.last().map_or(0, |version| version.key.number) + 1;
        versions.push(self.sealer().new_version((key.account, &record.id), number, now, on_demand)?);
        self.put_rotated(record)
    }
}
