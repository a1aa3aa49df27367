//! When access keys, users and roles were last used, and for which actions.
//!
//! In memory, and written to the index once a minute and at a stop: a crash forgets the last minute, which is less than the
//! hours that AWS takes to show a use. Noting one takes a lock of its own for a moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Change, Kind};
use minicbor::{Decode, Encode};
use parking_lot::{Mutex, RwLock};

use super::{Identities, Snapshot};

/// Between two times that uses are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// The format of a row.
const FORMAT: u8 = 1;

/// Actions of which the last use by one principal is kept: S3, IAM and STS have fewer.
const ACTIONS_MAX: usize = 512;

/// The longest name of an action.
const ACTION_CHARS_MAX: usize = 64;

/// The most bytes of a row.
const ROW_BYTES_MAX: usize = 16 + ACTIONS_MAX * (ACTION_CHARS_MAX + 16);

/// Uses closer together than this are one.
const RESOLUTION_MS: u64 = 1_000;

/// Rows that are written at once.
const BATCH_ROWS_MAX: usize = 100;

/// The last use of a key, a user or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// When, ms since the epoch.
    pub at_ms: u64,
    /// The service, as a signature's scope names it.
    pub service: String,
}

/// The uses of one key, user or role.
#[derive(Debug, Default)]
pub struct Uses {
    /// When each action was last asked for, by its name, `s3:GetObject`.
    actions: Mutex<BTreeMap<String, u64>>,
    is_new: AtomicBool,
}

/// A row: `format (u8) | CBOR`, times by the actions' names.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Row {
    #[n(0)]
    actions: BTreeMap<String, u64>,
}

impl Uses {
    /// Notes that an action was asked for, whether it was allowed or not.
    pub fn note(&self, action: &str, now_ms: u64) {
        let mut actions = self.actions.lock();
        let is_full = actions.len() >= ACTIONS_MAX;
        match actions.get_mut(action) {
            Some(last) if now_ms < last.saturating_add(RESOLUTION_MS) => return,
            Some(last) => *last = now_ms,
            None if is_full || action.len() > ACTION_CHARS_MAX => return,
            None => _ = actions.insert(action.to_owned(), now_ms),
        }
        self.is_new.store(true, Ordering::Relaxed);
    }

    /// The last use. None: there was none.
    pub fn last(&self) -> Option<Used> {
        let actions = self.actions.lock();
        let (action, at_ms) = actions.iter().max_by_key(|(_, at_ms)| **at_ms)?;
        let service = action.split_once(':').map_or(action.as_str(), |(service, _)| service);
        Some(Used { at_ms: *at_ms, service: service.to_owned() })
    }

    /// When each action was last asked for.
    pub fn actions(&self) -> BTreeMap<String, u64> {
        self.actions.lock().clone()
    }

    pub(super) fn from_value(value: &[u8]) -> Option<Self> {
        let (&FORMAT, cbor) = value.split_first()? else { return None };
        let row: Row = minicbor::decode(cbor).ok()?;
        Some(Self { actions: Mutex::new(row.actions), is_new: AtomicBool::new(false) })
    }

    fn to_value(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        // Writing to a Vec cannot fail.
        let _ = minicbor::encode(Row { actions: self.actions() }, &mut value);
        debug_assert!(value.len() <= ROW_BYTES_MAX);
        value
    }
}

/// The uses of everybody, by account and by the id of the key, the user or the role; the root's is `root`.
#[derive(Debug, Default)]
pub struct Usage(RwLock<HashMap<(AccountNumber, String), Arc<Uses>>>);

impl Usage {
    /// The uses of what has this id.
    pub fn of(&self, account: AccountNumber, id: &str) -> Arc<Uses> {
        let key = (account, id.to_owned());
        if let Some(uses) = self.0.read().get(&key) {
            return Arc::clone(uses);
        }
        Arc::clone(self.0.write().entry(key).or_default())
    }

    /// Takes in rows that were read. What cannot be read is forgotten: it is of use to nobody.
    pub(super) fn load(&self, account: AccountNumber, rows: Vec<(Vec<u8>, Vec<u8>)>) {
        let mut all = self.0.write();
        for (name, value) in rows {
            if let (Ok(id), Some(uses)) = (String::from_utf8(name), Uses::from_value(&value)) {
                all.entry((account, id)).or_insert_with(|| Arc::new(uses));
            }
        }
    }

    /// The rows to write by account, and to delete of those who are there no more.
    fn take_changes(&self, snapshot: &Snapshot) -> HashMap<AccountNumber, Vec<Change>> {
        let mut changes: HashMap<AccountNumber, Vec<Change>> = HashMap::new();
        self.0.write().retain(|(account, id), uses| {
            let is_there = snapshot.knows(*account, id);
            let value = is_there.then(|| uses.to_value());
            if uses.is_new.swap(false, Ordering::Relaxed) || !is_there {
                changes.entry(*account).or_default().push(Change { key: Kind::Usage.key(id), value });
            }
            is_there
        });
        changes
    }
}

impl Identities {
    /// The uses of keys, users and roles.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Writes the uses that were not written yet.
    pub async fn write_usage(&self) {
        for (account, changes) in self.usage.take_changes(&self.snapshot()) {
            for batch in changes.chunks(BATCH_ROWS_MAX) {
                if let Err(error) = self.rows.note(account, batch.to_vec()).await {
                    // They are noted again with the next use.
                    tracing::debug!(%account, %error, "the last uses of keys could not be kept");
                }
            }
        }
    }

    /// Writes uses once a minute, for ever.
    pub async fn keep_writing_usage(self: Arc<Self>) {
        loop {
            tokio::time::sleep(WRITE_INTERVAL).await;
            self.write_usage().await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_last_use_is_the_newest_of_any_action() {
        let uses = Uses::default();
        assert_eq!(uses.last(), None);
        uses.note("s3:GetObject", 5_000);
        uses.note("iam:GetUser", 9_000);
        uses.note("s3:GetObject", 7_000);
        assert_eq!(uses.last(), Some(Used { at_ms: 9_000, service: "iam".to_owned() }));
        assert_eq!(uses.actions()["s3:GetObject"], 7_000);
    }

    #[test]
    fn uses_round_trip_and_anything_else_is_forgotten() {
        let uses = Uses::default();
        for number in 0..ACTIONS_MAX + 10 {
            uses.note(&format!("s3:{number:0width$}", width = ACTION_CHARS_MAX - 3), u64::MAX);
        }
        assert_eq!(uses.actions().len(), ACTIONS_MAX);
        let value = uses.to_value();
        assert!(value.len() <= ROW_BYTES_MAX);
        assert_eq!(Uses::from_value(&value).unwrap().actions(), uses.actions());
        assert!(Uses::from_value(&value[..value.len() - 1]).is_none() && Uses::from_value(&[]).is_none());
    }
}
