//! The newest entries, in memory, by the ids of their requests.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::entry::Entry;

/// Entries that are kept. One has a kilobyte or two.
pub const NEWEST_MAX: usize = 4_096;

/// The newest entries, the oldest first. They are kept for every request and looked through for few, so there is no map of
/// their ids.
#[derive(Debug, Default)]
pub struct Newest(Mutex<VecDeque<Arc<Entry>>>);

impl Newest {
    /// Keeps an entry, and lets the oldest go if there are too many.
    pub fn keep(&self, entry: Arc<Entry>) {
        let oldest = {
            let mut kept = self.0.lock();
            let oldest = if kept.len() == NEWEST_MAX { kept.pop_front() } else { None };
            kept.push_back(entry);
            oldest
        };
        // What it holds is freed without the lock.
        drop(oldest);
    }

    /// The entry of the request of this id.
    pub fn find(&self, request_id: &str) -> Option<Arc<Entry>> {
        let kept = self.0.lock();
        kept.iter().rev().find(|entry| entry.id.is(request_id)).cloned()
    }
}
