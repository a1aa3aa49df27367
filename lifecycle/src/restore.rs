//! What RestoreObject does to an archived version (S3 API reference, RestoreObject; user guide, "Restoring an archived
//! object"). Pure: the two times that it comes to are kept in the version's record.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::{ObjectVersion, RestoreStage, Restored, RetrievalTier, StorageClass};
use thiserror::Error;

use crate::calendar::Calendar;

/// How long each tier takes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// `Expedited`.
    pub expedited_ms: i64,
    /// `Standard`.
    pub standard_ms: i64,
    /// `Bulk`.
    pub bulk_ms: i64,
}

impl Delays {
    fn of(self, tier: RetrievalTier) -> i64 {
        match tier {
            RetrievalTier::Expedited => self.expedited_ms,
            RetrievalTier::Standard => self.standard_ms,
            RetrievalTier::Bulk => self.bulk_ms,
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For how many days; None: for good, which is how an object in INTELLIGENT_TIERING comes back.
    pub days: Option<u32>,
    /// How soon; None: as soon as before, or `Standard`.
    pub tier: Option<RetrievalTier>,
}

/// Why a restore is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// One is going on, and this one would not be faster.
    #[error("Object restore is already in progress")]
    Ongoing,
    /// DEEP_ARCHIVE has no expedited retrieval.
    #[error("Retrieval option is not supported by this storage class")]
    TierOfClass,
    /// Days were given and must not be, or the other way round.
    #[error("Days are given for archive classes, and for no archive tier")]
    Days,
}

/// The restore that an archived version then has. A restore that is ready is extended, from now on; one that goes on may
/// only be sped up, and then lasts as long as it was to.
///
/// # Errors
/// [`Refused`]
pub fn decide(
    object: &ObjectVersion,
    asked: Asked,
    delays: Delays,
    calendar: Calendar,
    now: Timestamp,
) -> Result<Restored, Refused> {
    if object.place_class() == StorageClass::DeepArchive && asked.tier == Some(RetrievalTier::Expedited) {
        return Err(Refused::TierOfClass);
    }
    if asked.days.is_some() == object.access_tier().is_some() {
        return Err(Refused::Days);
    }
    let after = |time| asked.days.map_or(Timestamp(i64::MAX), |days| calendar.after(time, days));
    match (object.restore_stage(now), object.restored) {
        (Some(RestoreStage::Ready), Some(old)) => Ok(Restored { ends: after(now), ..old }),
        (Some(RestoreStage::Ongoing), Some(old)) => {
            let tier = asked.tier.filter(|tier| *tier > old.tier).ok_or(Refused::Ongoing)?;
            let ready = now.plus_ms(delays.of(tier)).min(old.ready);
            Ok(Restored { tier, ready, ..old })
        }
        _ => {
            let tier = asked.tier.unwrap_or_default();
            let ready = now.plus_ms(delays.of(tier));
            Ok(Restored { requested: now, ready, ends: after(ready), tier })
        }
    }
}
