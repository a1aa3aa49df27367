//! What roles were let do, in the audit log.
//!
//! A task is no request, nor is a comparison, and there may be millions. So an entry is made when a role may do something for a bucket and target that it could
//! not before, or cannot any more, at most once a second; and else once an hour. Each is about the object that it was decided for.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use cairn_storage::clock::{Clock, Timestamp};
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::ops::Store;
use parking_lot::Mutex;

use crate::audit::{Audit, Decided, Entry, Trail};
use crate::gate::ids::RequestIds;

/// How long after an entry there is another one though nothing has changed.
const REPEATED_MS: i64 = 60 * 60 * 1_000;

/// How long after an entry there is none, whatever changes: a policy may know keys.
const QUIET_MS: i64 = 1_000;

/// Of how many buckets and targets it is known what was decided; beyond it all is told anew.
const LANES_MAX: usize = 10_000;

/// The decisions about one operation's doings for each bucket and target.
#[derive(Debug)]
pub(super) struct Decisions {
    operation: &'static str,
    audit: Arc<Audit>,
    ids: RequestIds,
    clock: Arc<dyn Clock>,
    told: Mutex<HashMap<Lane, Told>>,
}

/// What the audit log has been told.
#[derive(Debug)]
struct Told {
    /// Whether each action was allowed when it was told last.
    verdicts: BTreeMap<String, bool>,
    at: Timestamp,
}

impl Decisions {
    pub(super) fn new(operation: &'static str, audit: Arc<Audit>, store: &Store) -> Self {
        let (clock, ids) = (store.clock().clone(), RequestIds::new(store.entropy().clone()));
        Self { operation, audit, ids, clock, told: Mutex::default() }
    }

    /// Takes in what was decided about a version, and why that failed which it was decided for, if it did.
    pub(super) fn note(&self, lane: Lane, trail: &Trail, elapsed: Duration, failure: Option<&str>) {
        let decided = trail.take();
        let now = self.clock.now();
        if !self.is_news(lane, &decided, now) {
            return;
        }
        let is_refused = decided.verdicts.iter().any(|verdict| !verdict.decision.is_allowed());
        self.audit.finished(Entry {
            time: now,
            id: self.ids.next(),
            operation: self.operation,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user_agent: None,
            decided,
            status: if is_refused && failure.is_some() { 403 } else { 200 },
            error_code: failure.and_then(|reason| reason.split_once(':')).map(|(code, _)| code.to_owned()),
            received_bytes: 0,
            sent_bytes: 0,
            elapsed,
        });
    }

    fn is_news(&self, lane: Lane, decided: &Decided, now: Timestamp) -> bool {
        if decided.verdicts.is_empty() {
            return false;
        }
        let verdicts = || decided.verdicts.iter().map(|verdict| (&verdict.action, verdict.decision.is_allowed()));
        let mut all = self.told.lock();
        if all.len() >= LANES_MAX && !all.contains_key(&lane) {
            all.clear();
        }
        let told = all.entry(lane).or_insert_with(|| Told { verdicts: BTreeMap::new(), at: Timestamp(i64::MIN) });
        let since_ms = now.0.saturating_sub(told.at.0);
        let changed = verdicts().any(|(action, allowed)| told.verdicts.get(action) != Some(&allowed));
        if since_ms < QUIET_MS || !changed && since_ms < REPEATED_MS {
            return false;
        }
        told.verdicts.extend(verdicts().map(|(action, allowed)| (action.clone(), allowed)));
        told.at = now;
        true
    }
}
