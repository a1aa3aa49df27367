//! Whose turn it is to copy a content: of those who would copy the same one at the same time one does, and the others find its copy.
//!
//! Memory is in proportion to the turns that are held or waited for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

use crate::id::ContentId;

/// The turns. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<ContentId, Taken>>>);

/// A turn that somebody has or waits for.
#[derive(Default)]
struct Taken {
    queue: Arc<Queue<()>>,
    /// How many there are of them.
    users: usize,
}

/// It is the holder's turn, until this is dropped.
pub(super) struct Turn {
    turns: Turns,
    pub(super) content: ContentId,
    held: Option<OwnedMutexGuard<()>>,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("taken", &self.0.lock().len()).finish()
    }
}

impl Turns {
    /// Waits for the turn. True: somebody else had it, so that there may be a copy now.
    pub(super) async fn take(&self, content: ContentId) -> (Turn, bool) {
        let queue = {
            let mut turns = self.0.lock();
            let taken = turns.entry(content).or_default();
            taken.users += 1;
            taken.queue.clone()
        };
        // Made before the wait, which may be given up.
        let mut turn = Turn { turns: self.clone(), content, held: None };
        let (held, waited) = match queue.clone().try_lock_owned() {
            Ok(held) => (held, false),
            Err(_) => (queue.lock_owned().await, true),
        };
        turn.held = Some(held);
        (turn, waited)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = self.turns.0.lock();
        let Some(taken) = turns.get_mut(&self.content) else { return };
        taken.users -= 1;
        if taken.users == 0 {
            turns.remove(&self.content);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_has_the_turn_and_the_next_learns_that_it_had_to_wait() {
        let turns = Turns::default();
        let (one, other) = (ContentId::from_bytes([1; 16]), ContentId::from_bytes([2; 16]));
        let (first, waited) = turns.take(one).await;
        assert!(!waited && !turns.take(other).await.1, "each content has its own");
        let mut second = Box::pin(turns.take(one));
        let third = Box::pin(turns.take(one));
        assert!(second.as_mut().now_or_never().is_none());
        // Who gives up waiting is in nobody's way.
        drop(third);
        drop(first);
        let (second, waited) = second.await;
        assert!(waited && turns.take(one).now_or_never().is_none());
        drop(second);
        assert!(!turns.take(one).await.1);
        assert_eq!(turns.0.lock().len(), 0);
    }
}
