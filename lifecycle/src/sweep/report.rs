//! What a sweep did, and what it could not do.

use std::collections::BTreeMap;

use cairn_storage::ops::lifecycle::{Act, FailureKind};

/// Failures of which a report tells.
pub const FAILURES_MAX: usize = 10;

/// What one sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Versions looked at.
    pub versions: u64,
    /// What was done: how many versions, and their bytes.
    pub done: BTreeMap<Done, (u64, u64)>,
    /// Keys that kept changing, and wait for the next sweep.
    pub overtaken: u64,
    /// Acts that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
    /// The first of them, with the reasons.
    pub failures: Vec<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Done {
    /// An act about a version.
    Act(Act),
    /// An upload was aborted.
    Abort,
}

impl Report {
    /// How many acts failed.
    #[must_use]
    pub fn failed_count(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Whether nothing was due, or all that was due was done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.overtaken == 0
    }

    pub(super) fn count(&mut self, done: Done, bytes: u64) {
        let (count, sum) = self.done.entry(done).or_default();
        *count += 1;
        *sum += bytes;
    }

    pub(super) fn fail(&mut self, kind: FailureKind, what: impl FnOnce() -> String) {
        *self.failed.entry(kind).or_default() += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(what());
        }
    }
}
