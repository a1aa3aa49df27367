//! Time and randomness, passed in so that tests decide both.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

impl Timestamp {
    /// Milliseconds since the epoch, zero for times before it.
    #[must_use]
    pub fn unsigned_ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// This time plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Where the time comes from. The only reader of the wall clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now, in microseconds since the epoch.
    fn now_us(&self) -> i64;

    /// Now, in milliseconds.
    fn now(&self) -> Timestamp {
        Timestamp(self.now_us() / 1_000)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0 * 1_000))
    }

    /// Moves the clock, also backwards.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync + fmt::Debug + 'static {
    /// Sixteen random bytes.
    fn random_16(&self) -> [u8; 16];
}

/// A fast generator seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn random_16(&self) -> [u8; 16] {
        rand::random()
    }
}

/// A reproducible generator for tests.
#[derive(Debug)]
pub struct SeededEntropy(parking_lot::Mutex<rand::rngs::SmallRng>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        use rand::SeedableRng as _;
        Self(parking_lot::Mutex::new(rand::rngs::SmallRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn random_16(&self) -> [u8; 16] {
        use rand::RngExt as _;
        self.0.lock().random()
    }
}
