//! When a KMS that fails is asked again. Pure.
//!
//! Closed, every attempt passes. After a few failures in a row it opens: nothing passes, but one attempt now and then, the
//! probe, whose answer closes it. The pause before a probe doubles with each that fails.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 3;

/// The pause before the first probe, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The circuit is closed.
    Closed,
    /// It is open, and this finds out whether that is still right.
    Probe,
}

/// The state of it.
#[derive(Debug)]
pub(super) struct Circuit {
    /// How long an attempt may take.
    timeout: Duration,
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    next_probe: Instant,
    /// Probes that failed.
    probes: u32,
}

impl Circuit {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, failures: 0, open: None }
    }

    /// Whether no attempt may be made now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|open| now < open.next_probe)
    }

    /// Whether an attempt may be made now.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Pass> {
        if self.is_open(now) {
            return None;
        }
        let Some(open) = &mut self.open else { return Some(Pass::Closed) };
        // Nobody else meanwhile; and if nobody waits for this one's end, the next comes when it must have ended.
        open.next_probe = now + self.timeout;
        Some(Pass::Probe)
    }

    /// It answered, whatever it said.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
        self.open = None;
    }

    /// It did not. `random` spreads the pause. Tells whether this has opened the circuit.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant, random: u32) -> bool {
        self.failures = self.failures.saturating_add(1);
        match (&mut self.open, pass) {
            (Some(open), Pass::Probe) => {
                open.probes = open.probes.saturating_add(1);
                open.next_probe = now + pause(open.probes, random);
                false
            }
            // It began before the circuit opened.
            (Some(_), Pass::Closed) => false,
            (None, _) if self.failures < FAILURES_MAX => false,
            (None, _) => {
                self.open = Some(Open { next_probe: now + pause(0, random), probes: 0 });
                true
            }
        }
    }
}

/// Between half of it and all of it.
fn pause(probes: u32, random: u32) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(probes)).min(PAUSE_MAX);
    longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(TIMEOUT);
        for number in 1..=FAILURES_MAX {
            assert_eq!(circuit.admit(now), Some(Pass::Closed));
            assert_eq!(circuit.failed(Pass::Closed, now, u32::MAX), number == FAILURES_MAX);
        }
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert_eq!(circuit.admit(now), None);
        let mut circuit2 = Circuit::new(TIMEOUT);
        for _ in 0..10 {
            assert!(!circuit2.failed(Pass::Closed, now, 0));
            circuit2.answered();
        }
        circuit.answered();
        assert_eq!(circuit.admit(now), Some(Pass::Closed));
    }

    #[test]
    fn one_probe_passes_after_a_pause_that_doubles() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        for pause_s in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(circuit.admit(now + Duration::from_millis(pause_s * 1_000 - 1)), None);
            now += Duration::from_secs(pause_s);
            assert_eq!(circuit.admit(now), Some(Pass::Probe));
            assert_eq!(circuit.admit(now), None, "one at a time");
            assert!(!circuit.failed(Pass::Probe, now, u32::MAX));
        }
    }

    #[test]
    fn a_probe_that_nobody_waited_for_does_not_keep_it_open() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let probed = now + PAUSE_MAX;
        assert_eq!(circuit.admit(probed), Some(Pass::Probe));
        assert_eq!(circuit.admit(probed + TIMEOUT), Some(Pass::Probe));
    }

    #[test]
    fn an_attempt_from_before_moves_no_probe() {
        let now = Instant::now();
        let mut circuit = opened(now);
        circuit.failed(Pass::Closed, now + PAUSE_MIN, u32::MAX);
        assert_eq!(circuit.admit(now + PAUSE_MIN), Some(Pass::Probe));
    }
}
