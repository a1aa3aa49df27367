//! When tasks fall due: for each queue and bucket a lower bound of the next due time. Rebuilt from the index at start.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::Timestamp;
use crate::index::Partition;
use crate::index::family::job::Queue;

/// The schedule of every queue. Cheap to clone; clones are the same. Holds one entry for each bucket that has tasks.
#[derive(Clone, Debug, Default)]
pub struct Schedule(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bounds: Mutex<BTreeMap<(Queue, Partition), Timestamp>>,
    /// Told when a bound is added or lowered.
    changed: Notify,
}

impl Schedule {
    /// A task of this queue and partition falls due at `due`.
    pub fn add(&self, queue: Queue, partition: Partition, due: Timestamp) {
        let mut bounds = self.0.bounds.lock();
        let bound = bounds.entry((queue, partition)).or_insert(due);
        *bound = (*bound).min(due);
        drop(bounds);
        self.0.changed.notify_waiters();
    }

    /// Takes the partition whose bound is the lowest, if it is not after `now`. The caller adds the next bound when it
    /// has run what is due.
    #[must_use]
    pub fn take_due(&self, queue: Queue, now: Timestamp) -> Option<(Partition, Timestamp)> {
        let mut bounds = self.0.bounds.lock();
        let (partition, due) = lowest(&bounds, queue).filter(|(_, due)| *due <= now)?;
        bounds.remove(&(queue, partition));
        Some((partition, due))
    }

    /// When the next task of the queue may fall due.
    #[must_use]
    pub fn next_due(&self, queue: Queue) -> Option<Timestamp> {
        lowest(&self.0.bounds.lock(), queue).map(|(_, due)| due)
    }

    /// Completes when a task is added after this call, or after the future was enabled.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Makes the runners look again.
    pub fn wake(&self) {
        self.0.changed.notify_waiters();
    }
}

fn lowest(bounds: &BTreeMap<(Queue, Partition), Timestamp>, queue: Queue) -> Option<(Partition, Timestamp)> {
    let of_queue = bounds.range((queue, Partition([0; 16]))..=(queue, Partition([0xFF; 16])));
    of_queue.map(|((_, partition), due)| (*partition, *due)).min_by_key(|(_, due)| *due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_due_partition_is_taken_first_and_only_when_due() {
        let schedule = Schedule::default();
        let (one, two) = (Partition([1; 16]), Partition([2; 16]));
        schedule.add(Queue::Collect, one, Timestamp(50));
        schedule.add(Queue::Collect, two, Timestamp(20));
        schedule.add(Queue::Collect, one, Timestamp(60));
        schedule.add(Queue::ForgetUpload, one, Timestamp(1));
        assert_eq!(schedule.take_due(Queue::Collect, Timestamp(10)), None);
        assert_eq!(schedule.take_due(Queue::Collect, Timestamp(100)), Some((two, Timestamp(20))));
        assert_eq!(schedule.take_due(Queue::Collect, Timestamp(100)), Some((one, Timestamp(50))));
        assert_eq!(schedule.take_due(Queue::Collect, Timestamp(100)), None);
        assert_eq!(schedule.next_due(Queue::ForgetUpload), Some(Timestamp(1)));
    }
}
