//! The earliest of many times, noted by pages that may run twice and on other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cairn_storage::clock::Timestamp;

/// `i64::MAX`: none was noted.
#[derive(Clone, Debug)]
pub(crate) struct Earliest(Arc<AtomicI64>);

impl Default for Earliest {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Earliest {
    pub(crate) fn note(&self, time: Option<Timestamp>) {
        if let Some(Timestamp(ms)) = time {
            self.0.fetch_min(ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> Option<Timestamp> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms < i64::MAX).map(Timestamp)
    }
}
