//! What RestoreObject does to an archived version (S3 API reference, RestoreObject; user guide, "Restoring an archived
//! object"). Pure: the two times that it comes to are kept in the version's record.

use cairn_storage::clock::Timestamp;
use cairn_storage::object::{ObjectVersion, RestoreStage, Restored, RetrievalTier, StorageClass};
use thiserror::Error;

use crate::calendar::Calendar;

/// How long each tier takes, in milliseconds. Those of DEEP_ARCHIVE take longer than those of GLACIER (S3 user guide, "Archive
/// retrieval options").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// `Expedited`.
    pub expedited_ms: i64,
    /// `Standard`.
    pub standard_ms: i64,
    /// `Bulk`.
    pub bulk_ms: i64,
    /// `Standard` from DEEP_ARCHIVE.
    pub deep_standard_ms: i64,
    /// `Bulk` from DEEP_ARCHIVE.
    pub deep_bulk_ms: i64,
}

impl Delays {
    fn of(self, tier: RetrievalTier, is_deep: bool) -> i64 {
        match tier {
            RetrievalTier::Expedited => self.expedited_ms,
            RetrievalTier::Standard if is_deep => self.deep_standard_ms,
            RetrievalTier::Standard => self.standard_ms,
            RetrievalTier::Bulk if is_deep => self.deep_bulk_ms,
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
    let is_deep = object.place_class() == StorageClass::DeepArchive;
    if is_deep && asked.tier == Some(RetrievalTier::Expedited) {
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
            let ready = now.plus_ms(delays.of(tier, is_deep)).min(old.ready);
            Ok(Restored { tier, ready, ..old })
        }
        _ => {
            let tier = asked.tier.unwrap_or_default();
            let ready = now.plus_ms(delays.of(tier, is_deep));
            Ok(Restored { requested: now, ready, ends: after(ready), tier })
        }
    }
}
