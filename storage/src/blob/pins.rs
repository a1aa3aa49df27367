//! What is in use, so that the collector leaves it alone (ARCHITECTURE 4.5).
//!
//! - A reader [enters](Pins::enter) before it looks into the index and leaves once it has [pinned](Pins::pin) the
//!   contents it found; it keeps the pins until its body ends. A writer pins its content from before the first byte
//!   until after the commit.
//! - The collector waits until every reader that entered before has left ([`Pins::quiesce`]); from then on, whoever
//!   still uses a content that the index no longer names holds a pin on it.
//!
//! Memory is in proportion to the guards that are held and the waits that go on. Needs no runtime.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::id::ContentId;

/// The register of what is in use. Cheap to clone; clones are the same register.
#[derive(Clone, Default)]
pub struct Pins(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pinned: HashMap<ContentId, usize>,
    /// Readers that entered and have not left, by the epoch in which they entered. Each wait begins a new epoch.
    entered: BTreeMap<u64, usize>,
    epoch: u64,
    /// Those who wait for all readers of an epoch and before, by ticket.
    waiting: BTreeMap<u64, (u64, Waker)>,
    next_ticket: u64,
}

impl State {
    /// Whether every reader of `epoch` and before has left.
    fn is_quiet(&self, epoch: u64) -> bool {
        self.entered.first_key_value().is_none_or(|(&oldest, _)| oldest > epoch)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let entered: usize = state.entered.values().sum();
        f.debug_struct("Pins").field("pinned", &state.pinned.len()).field("entered", &entered).finish()
    }
}

impl Pins {
    /// Announces a look into the index; hold the guard until what was found is pinned.
    pub fn enter(&self) -> Entered {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        *state.entered.entry(epoch).or_default() += 1;
        Entered { pins: self.clone(), epoch }
    }

    /// Keeps a content until the guard is dropped.
    pub fn pin(&self, content: ContentId) -> Pin {
        *self.0.lock().pinned.entry(content).or_default() += 1;
        Pin { pins: self.clone(), content }
    }

    /// Whether anybody holds a pin on the content.
    #[must_use]
    pub fn is_pinned(&self, content: ContentId) -> bool {
        self.0.lock().pinned.contains_key(&content)
    }

    /// Waits until every reader that had entered when this was called has left.
    pub fn quiesce(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        let ticket = state.next_ticket;
        state.epoch += 1;
        state.next_ticket += 1;
        drop(state);
        Quiesce { pins: self.clone(), epoch, ticket }
    }
}

/// A look into the index that goes on.
#[must_use]
pub struct Entered {
    pins: Pins,
    epoch: u64,
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("epoch", &self.epoch).finish()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut guard = self.pins.0.lock();
        let state = &mut *guard;
        let Some(count) = state.entered.get_mut(&self.epoch) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        state.entered.remove(&self.epoch);
        let quiet: Vec<Waker> = state
            .waiting
            .values()
            .filter(|(epoch, _)| state.is_quiet(*epoch))
            .map(|(_, waker)| waker.clone())
            .collect();
        drop(guard);
        quiet.into_iter().for_each(Waker::wake);
    }
}

/// A content that is in use.
#[must_use]
pub struct Pin {
    pins: Pins,
    content: ContentId,
}

impl Pin {
    /// The content.
    #[must_use]
    pub fn content(&self) -> ContentId {
        self.content
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pin").field(&self.content).finish()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.0.lock();
        if let Some(count) = state.pinned.get_mut(&self.content) {
            *count -= 1;
            if *count == 0 {
                state.pinned.remove(&self.content);
            }
        }
    }
}

struct Quiesce {
    pins: Pins,
    epoch: u64,
    ticket: u64,
}

impl Future for Quiesce {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.pins.0.lock();
        if state.is_quiet(self.epoch) {
            return Poll::Ready(());
        }
        state.waiting.insert(self.ticket, (self.epoch, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Quiesce {
    fn drop(&mut self) {
        self.pins.0.lock().waiting.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_ready(future: &mut (impl Future<Output = ()> + Unpin), wakes: &Arc<Wakes>) -> bool {
        let waker = Waker::from(wakes.clone());
        std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn content(number: u8) -> ContentId {
        ContentId::from_bytes([number; 16])
    }

    #[test]
    fn a_content_is_pinned_until_the_last_pin_is_dropped() {
        let pins = Pins::default();
        let one = pins.pin(content(1));
        let two = pins.pin(content(1));
        drop(one);
        assert!(pins.is_pinned(content(1)));
        assert!(!pins.is_pinned(content(2)));
        drop(two);
        assert!(!pins.is_pinned(content(1)));
    }

    #[test]
    fn waiting_ends_when_the_readers_of_before_have_left() {
        let pins = Pins::default();
        let before = [pins.enter(), pins.enter()];
        let wakes = Arc::new(Wakes::default());
        let mut wait = Box::pin(pins.quiesce());
        let after = pins.enter();
        assert!(!is_ready(&mut wait, &wakes));
        let [one, two] = before;
        drop(one);
        assert!(!is_ready(&mut wait, &wakes));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        drop(two);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(is_ready(&mut wait, &wakes));
        drop(after);
    }

    #[test]
    fn waiting_without_readers_is_over_at_once() {
        let wakes = Arc::new(Wakes::default());
        assert!(is_ready(&mut Box::pin(Pins::default().quiesce()), &wakes));
    }

    #[test]
    fn the_call_and_not_the_first_poll_decides_who_was_before() {
        let pins = Pins::default();
        let mut wait = Box::pin(pins.quiesce());
        let _after = pins.enter();
        assert!(is_ready(&mut wait, &Arc::new(Wakes::default())));
    }

    #[test]
    fn every_wait_ends_on_its_own_epoch() {
        let pins = Pins::default();
        let wakes = Arc::new(Wakes::default());
        let first_reader = pins.enter();
        let mut first = Box::pin(pins.quiesce());
        let second_reader = pins.enter();
        let mut second = Box::pin(pins.quiesce());
        drop(second_reader);
        assert!(!is_ready(&mut first, &wakes) && !is_ready(&mut second, &wakes));
        drop(first_reader);
        assert!(is_ready(&mut first, &wakes) && is_ready(&mut second, &wakes));
    }

    #[test]
    fn nothing_is_kept_of_what_has_ended() {
        let pins = Pins::default();
        let wakes = Arc::new(Wakes::default());
        for number in 0..100 {
            let reader = pins.enter();
            let pin = pins.pin(content(number));
            let mut wait = Box::pin(pins.quiesce());
            assert!(!is_ready(&mut wait, &wakes));
            drop((reader, pin, wait));
        }
        let state = pins.0.lock();
        assert!(state.pinned.is_empty() && state.entered.is_empty() && state.waiting.is_empty());
    }
}
