//! What is kept of a bucket's sweeps: document 65 of the bucket, `format (u8) | CBOR`. Whether they are paused, whether one
//! was asked for that has not ended, and what the last one came to that did anything.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::{AccessTier, StorageClass};
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::record::Record;
use minicbor::{Decode, Encode};

use crate::sweep::{Done, FAILURES_MAX, Report};

/// The most bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 1_500;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SweepState {
    /// No sweep begins by itself.
    #[n(0)]
    #[cbor(default)]
    pub paused: bool,
    /// One was asked for then, and none that began later has ended.
    #[n(1)]
    pub requested: Option<Timestamp>,
    /// The last one that did anything, or that was asked for.
    #[n(2)]
    pub last: Option<Summary>,
}

impl Record for SweepState {
    const NAME: &'static str = "sweep state";
    const BYTES_MAX: usize = 20 << 10;
}

impl SweepState {
    /// A sweep has ended. What was asked for while it ran is another one.
    pub fn end(&mut self, summary: &Summary) {
        self.requested = self.requested.filter(|requested| *requested > summary.started);
        self.last = Some(summary.clone());
    }
}

/// What one sweep came to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// When it began.
    #[n(0)]
    pub started: Timestamp,
    /// When it ended.
    #[n(1)]
    pub ended: Timestamp,
    /// How.
    #[n(2)]
    pub end: End,
    /// Versions looked at.
    #[n(3)]
    pub versions: u64,
    /// What was done.
    #[n(4)]
    pub done: Vec<DoneSum>,
    /// Keys that kept changing.
    #[n(5)]
    pub overtaken: u64,
    /// What failed, by kind.
    #[n(6)]
    pub failed: Vec<FailedSum>,
    /// The first failures, with the reasons.
    #[n(7)]
    pub failures: Vec<String>,
}

/// How a sweep ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum End {
    /// Everything was looked at.
    #[n(0)]
    Whole,
    /// It was paused, the rules changed, or moves were left.
    #[n(1)]
    Early,
    /// Going on made no sense.
    #[n(2)]
    Failed(#[n(0)] String),
}

/// How much was done of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DoneSum {
    /// What.
    #[n(0)]
    pub done: KeptDone,
    /// How often.
    #[n(1)]
    pub count: u64,
    /// The bytes of those versions.
    #[n(2)]
    pub bytes: u64,
}

/// [`Done`] as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(missing_docs)] // the names are `Act`'s
pub enum KeptDone {
    #[n(0)]
    Expire,
    #[n(1)]
    Remove,
    #[n(2)]
    RemoveMarker,
    #[n(3)]
    Transition(#[n(0)] StorageClass),
    #[n(4)]
    Abort,
    #[n(5)]
    Tier(#[n(0)] AccessTier),
}

impl From<Done> for KeptDone {
    fn from(done: Done) -> Self {
        match done {
            Done::Act(Act::Expire) => Self::Expire,
            Done::Act(Act::Remove) => Self::Remove,
            Done::Act(Act::RemoveMarker) => Self::RemoveMarker,
            Done::Act(Act::Transition(class)) => Self::Transition(class),
            Done::Act(Act::Tier(tier)) => Self::Tier(tier),
            Done::Abort => Self::Abort,
        }
    }
}

impl From<KeptDone> for Done {
    fn from(kept: KeptDone) -> Self {
        match kept {
            KeptDone::Expire => Self::Act(Act::Expire),
            KeptDone::Remove => Self::Act(Act::Remove),
            KeptDone::RemoveMarker => Self::Act(Act::RemoveMarker),
            KeptDone::Transition(class) => Self::Act(Act::Transition(class)),
            KeptDone::Tier(tier) => Self::Act(Act::Tier(tier)),
            KeptDone::Abort => Self::Abort,
        }
    }
}

/// How much failed of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FailedSum {
    /// Its name.
    #[n(0)]
    pub kind: String,
    /// How often.
    #[n(1)]
    pub count: u64,
}

impl Summary {
    /// Of what a sweep reports.
    #[must_use]
    pub fn new(report: Report, started: Timestamp, ended: Timestamp, end: End) -> Self {
        let done = report.done.iter();
        let done = done.map(|(done, (count, bytes))| DoneSum { done: (*done).into(), count: *count, bytes: *bytes });
        let failed = report.failed.iter();
        let failed = failed.map(|(kind, count)| FailedSum { kind: kind.name().to_owned(), count: *count });
        let end = match end {
            End::Failed(reason) => End::Failed(cut(reason)),
            end => end,
        };
        Self {
            started,
            ended,
            end,
            versions: report.versions,
            done: done.collect(),
            overtaken: report.overtaken,
            failed: failed.collect(),
            failures: report.failures.into_iter().take(FAILURES_MAX).map(cut).collect(),
        }
    }

    /// Whether there is anything to tell but how much was looked at.
    #[must_use]
    pub fn is_remarkable(&self) -> bool {
        !self.done.is_empty() || !self.failed.is_empty() || self.overtaken > 0 || matches!(self.end, End::Failed(_))
    }
}

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::ops::lifecycle::FailureKind;

    use super::*;

    #[test]
    fn the_largest_one_round_trips() {
        let big = (u64::MAX, u64::MAX);
        let acts = [Act::Expire, Act::Remove, Act::RemoveMarker].into_iter();
        let acts = acts.chain(StorageClass::ALL.map(Act::Transition)).chain(AccessTier::ALL.map(Act::Tier));
        let acts = acts.map(Done::Act).chain([Done::Abort]);
        let report = Report {
            versions: u64::MAX,
            done: acts.map(|done| (done, big)).collect(),
            overtaken: u64::MAX,
            failed: FailureKind::ALL.map(|kind| (kind, u64::MAX)).into(),
            failures: vec!["\u{20ac}".repeat(REASON_BYTES_MAX); FAILURES_MAX],
        };
        let (time, end) = (Timestamp(i64::MAX), End::Failed("x".repeat(9_999)));
        let last = Some(Summary::new(report.clone(), time, time, end));
        let state = SweepState { paused: true, requested: Some(time), last };
        let value = state.to_value().unwrap();
        assert_eq!(SweepState::from_value(&value).unwrap(), state);
        for cut in 0..value.len() {
            assert!(SweepState::from_value(&value[..cut]).is_err());
        }
        let again = state.last.unwrap().done.into_iter().map(|sum| (Done::from(sum.done), (sum.count, sum.bytes)));
        assert_eq!(again.collect::<std::collections::BTreeMap<_, _>>(), report.done);
    }
}
