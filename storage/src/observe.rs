//! What storage tells about itself while it works, for metrics. Implementations must be quick: they run on hot paths.

use std::fmt;
use std::time::Duration;

use crate::index::family::walk::WalkCounts;

/// Hears of events inside storage.
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// A group of `batches` batches was written to the index and synced.
    fn commit_group(&self, batches: usize, bytes: usize, elapsed: Duration);

    /// One sync of a blob's file ("file") or of its folder ("folder").
    fn sync(&self, kind: &'static str, elapsed: Duration);

    /// A file of a class that is compressed was written: so many bytes came, and so many are stored.
    fn compressed(&self, plain_bytes: u64, stored_bytes: u64);

    /// A task of this queue ended: "done", "retry" or "dead".
    fn job(&self, queue: &'static str, result: &'static str);

    /// A walk of this kind did a page.
    fn walked(&self, kind: &'static str, counts: WalkCounts);

    /// There are so many walks of this kind in this state.
    fn walks(&self, kind: &'static str, state: &'static str, count: usize);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn commit_group(&self, _batches: usize, _bytes: usize, _elapsed: Duration) {}
    fn sync(&self, _kind: &'static str, _elapsed: Duration) {}
    fn compressed(&self, _plain_bytes: u64, _stored_bytes: u64) {}
    fn job(&self, _queue: &'static str, _result: &'static str) {}
    fn walked(&self, _kind: &'static str, _counts: WalkCounts) {}
    fn walks(&self, _kind: &'static str, _state: &'static str, _count: usize) {}
}
