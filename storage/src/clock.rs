//! Time and randomness, passed in so that tests decide both.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};
use rustix::time::{ClockId, clock_gettime};

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

/// Where the time comes from. The only reader of the machine's clocks.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now by the wall clock, which anybody may set: microseconds since the epoch.
    fn now_us(&self) -> i64;

    /// Microseconds since some point that stays the same while the process lives. Nobody can set it, and it goes on
    /// while the machine sleeps.
    fn elapsed_us(&self) -> i64;

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

    fn elapsed_us(&self) -> i64 {
        // The monotonic clock would stand still while the machine sleeps.
        let since_boot = clock_gettime(ClockId::Boottime);
        since_boot.tv_sec.saturating_mul(1_000_000).saturating_add(since_boot.tv_nsec / 1_000)
    }
}

/// A clock that stands still until it is told.
#[derive(Debug)]
pub struct ManualClock {
    wall_us: AtomicI64,
    elapsed_us: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { wall_us: AtomicI64::new(now.0 * 1_000), elapsed_us: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn advance_ms(&self, ms: u32) {
        self.elapsed_us.fetch_add(i64::from(ms) * 1_000, Ordering::SeqCst);
        self.jump_ms(ms.into());
    }

    /// Sets the wall clock forward, or back, while no time passes.
    pub fn jump_ms(&self, ms: i64) {
        self.wall_us.fetch_add(ms * 1_000, Ordering::SeqCst);
    }

    /// What a machine that boots again has: its elapsed time begins anew.
    pub fn reboot(&self) {
        self.elapsed_us.store(0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_us(&self) -> i64 {
        self.wall_us.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> i64 {
        self.elapsed_us.load(Ordering::SeqCst)
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
