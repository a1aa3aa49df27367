//! A target that has no room for what is large, though it may have some for what is small. Pure.
//!
//! Space that is missing is nobody's fault: what is held back for it waits as it is, and is never given up. One version asks again, now and
//! then; those that are smaller than the last that found no room go on meanwhile.

use cairn_storage::clock::Timestamp;
use cairn_storage::id::JobId;
use cairn_storage::ops::replication::{Position, QueuedTask};

/// What is smaller finds no room only where nothing does.
pub(super) const LARGE_BYTES_MIN: u64 = 1 << 20;

/// What is known of the room at a target, while it is too little.
#[derive(Debug)]
pub(super) struct NoRoom {
    /// What is at least so large is held back.
    from_bytes: u64,
    /// Until then; afterwards one of them asks.
    pub(super) until: Timestamp,
    /// How often they have asked in vain.
    failures: u32,
    /// What the target said last.
    pub(super) reason: String,
    /// The one that asks.
    asking: Option<JobId>,
    /// Where the first one lies that is held back.
    held: Option<Position>,
}

impl NoRoom {
    /// The target had no room for this one, the first.
    pub(super) fn new(queued: &QueuedTask, reason: String, until: Timestamp) -> Self {
        let (from_bytes, held) = (queued.task.size_bytes, Some(queued.position()));
        Self { from_bytes, until, failures: 1, reason, asking: None, held }
    }

    /// It had no room for this one either. If this one asked, the next one does at `until(failures)`; from where all are to be looked at
    /// again, if it was larger than some that are held back: those may fit.
    pub(super) fn again(
        &mut self,
        queued: &QueuedTask,
        reason: String,
        until: impl Fn(u32) -> Timestamp,
    ) -> Option<Position> {
        let (asked, size_bytes) = (self.asking == Some(queued.id), queued.task.size_bytes);
        let was_larger = asked && size_bytes > self.from_bytes;
        self.hold(queued);
        self.reason = reason;
        if asked {
            self.asking = None;
            self.failures += 1;
            self.until = until(self.failures);
            self.from_bytes = size_bytes;
        } else {
            self.from_bytes = self.from_bytes.min(size_bytes);
        }
        if was_larger { self.held.take() } else { None }
    }

    /// This one has come to another end.
    pub(super) fn ended(&mut self, id: JobId) {
        self.asking = self.asking.filter(|asking| *asking != id);
    }

    /// There was room for this one: is there for all that was held back?
    pub(super) fn is_over(&self, queued: &QueuedTask) -> bool {
        queued.task.size_bytes >= self.from_bytes
    }

    /// Whether this one waits. If not, and it is large, it asks for the others.
    pub(super) fn holds_back(&mut self, queued: &QueuedTask, now: Timestamp) -> bool {
        if queued.task.size_bytes < self.from_bytes || self.asking == Some(queued.id) {
            return false;
        }
        if self.is_due(now) {
            self.asking = Some(queued.id);
            return false;
        }
        self.hold(queued);
        true
    }

    fn hold(&mut self, queued: &QueuedTask) {
        let position = queued.position();
        self.held = Some(self.held.map_or(position, |held| held.min(position)));
    }

    /// Whether one may ask now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.asking.is_none() && now >= self.until
    }

    /// From where one is to be sought that asks now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Position> {
        if self.is_due(now) { self.held.take() } else { None }
    }

    /// From where all are to be looked at again.
    pub(super) fn take_held(&mut self) -> Option<Position> {
        self.held.take()
    }

    /// When one of those that are held back is to ask, unless one does.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.held.filter(|_| self.asking.is_none()).map(|_| self.until)
    }

    /// Whether anything is held back.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }
}
