//! The newest entries, in memory, by the ids of their requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::entry::Entry;

/// Entries that are kept. One has a kilobyte or two.
pub const NEWEST_MAX: usize = 4_096;

/// The newest entries.
#[derive(Debug, Default)]
pub struct Newest(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Arc<Entry>>,
    /// The ids, the oldest first.
    order: VecDeque<String>,
}

impl Newest {
    /// Keeps an entry, and lets the oldest go if there are too many.
    pub fn keep(&self, entry: &Arc<Entry>) {
        let id = entry.id.request_id();
        let mut kept = self.0.lock();
        if kept.by_id.insert(id.clone(), Arc::clone(entry)).is_none() {
            kept.order.push_back(id);
        }
        if kept.order.len() > NEWEST_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_id.remove(&oldest);
        }
    }

    /// The entry of the request of this id.
    pub fn find(&self, request_id: &str) -> Option<Arc<Entry>> {
        self.0.lock().by_id.get(request_id).cloned()
    }
}
