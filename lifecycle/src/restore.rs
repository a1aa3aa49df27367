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
/// only be sped up, and then lasts for the days that were asked for first (user guide, "Upgrade the speed of an in-progress
/// restore": the days must not be changed by that).
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
            // It ends as much earlier as it is ready earlier, so that it lasts for the days that were asked for.
            let earlier = old.ends.plus_ms(ready.0 - old.ready.0);
            let ends = if asked.days.is_some() { calendar.after(earlier, 0).min(old.ends) } else { old.ends };
            Ok(Restored { tier, ready, ends, ..old })
        }
        _ => {
            let tier = asked.tier.unwrap_or_default();
            let ready = now.plus_ms(delays.of(tier, is_deep));
            Ok(Restored { requested: now, ready, ends: after(ready), tier })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::id::{AccountId, VersionId};
    use cairn_storage::object::{Access, AccessTier, Content, Etag, ObjectAttributes};
    use cairn_storage::settings::ObjectSettings;

    use super::*;
    use crate::calendar::DAY_MS;

    const HOUR_MS: i64 = 3_600_000;

    const DELAYS: Delays = Delays {
        expedited_ms: 60_000,
        standard_ms: 4 * HOUR_MS,
        bulk_ms: 12 * HOUR_MS,
        deep_standard_ms: 12 * HOUR_MS,
        deep_bulk_ms: 48 * HOUR_MS,
    };

    /// Noon of day 100.
    const NOW: Timestamp = Timestamp(100 * DAY_MS + 12 * HOUR_MS);

    fn object(storage_class: StorageClass, tier: Option<AccessTier>, restored: Option<Restored>) -> ObjectVersion {
        ObjectVersion {
            version_id: VersionId::from_bytes([1; 16]),
            is_null: false,
            created: Timestamp(0),
            owner: AccountId::from_number(2).unwrap(),
            size_bytes: 1,
            etag: Etag { digest: [4; 16], parts_count: 0 },
            content: Content::Empty,
            checksum: None,
            storage_class,
            attributes: ObjectAttributes::default(),
            settings: ObjectSettings::default(),
            encryption: None,
            sealed_checksum: None,
            placed: None,
            restored,
            access: tier.map(|tier| Access { tier, last: Timestamp(0) }),
            replication: None,
        }
    }

    fn ask(object: &ObjectVersion, days: Option<u32>, tier: Option<RetrievalTier>) -> Result<Restored, Refused> {
        decide(object, Asked { days, tier }, DELAYS, Calendar::REAL, NOW)
    }

    #[test]
    fn each_tier_of_each_archive_has_its_delay_and_standard_is_the_default() {
        use RetrievalTier::{Bulk, Expedited, Standard};
        for (class, tier, after_ms) in [
            (StorageClass::Glacier, None, 4 * HOUR_MS),
            (StorageClass::Glacier, Some(Expedited), 60_000),
            (StorageClass::Glacier, Some(Standard), 4 * HOUR_MS),
            (StorageClass::Glacier, Some(Bulk), 12 * HOUR_MS),
            (StorageClass::DeepArchive, None, 12 * HOUR_MS),
            (StorageClass::DeepArchive, Some(Bulk), 48 * HOUR_MS),
        ] {
            let restored = ask(&object(class, None, None), Some(3), tier);
            let ready = NOW.plus_ms(after_ms);
            let ends = Calendar::REAL.after(ready, 3);
            let tier = tier.unwrap_or_default();
            assert_eq!(restored, Ok(Restored { requested: NOW, ready, ends, tier }), "{class:?} {tier:?}");
        }
        let deep = object(StorageClass::DeepArchive, None, None);
        assert_eq!(ask(&deep, Some(3), Some(Expedited)), Err(Refused::TierOfClass));
    }

    #[test]
    fn one_that_goes_on_can_only_be_sped_up_and_lasts_for_its_days() {
        let bulk = Restored {
            requested: NOW.plus_ms(-HOUR_MS),
            ready: NOW.plus_ms(40 * HOUR_MS),
            ends: Timestamp(105 * DAY_MS),
            tier: RetrievalTier::Bulk,
        };
        let going_on = object(StorageClass::DeepArchive, None, Some(bulk));
        for tier in [None, Some(RetrievalTier::Bulk)] {
            assert_eq!(ask(&going_on, Some(3), tier), Err(Refused::Ongoing));
        }
        let ready = NOW.plus_ms(12 * HOUR_MS);
        // 28 hours earlier, which is a midnight earlier.
        let sped_up = Restored { ready, ends: Timestamp(104 * DAY_MS), tier: RetrievalTier::Standard, ..bulk };
        assert_eq!(ask(&going_on, Some(3), Some(RetrievalTier::Standard)), Ok(sped_up));
        // What would be ready later than it will be anyway gets no slower.
        let nearly = Restored { ready: NOW.plus_ms(1), ..bulk };
        let faster =
            ask(&object(StorageClass::DeepArchive, None, Some(nearly)), Some(3), Some(RetrievalTier::Standard));
        assert_eq!(faster, Ok(Restored { tier: RetrievalTier::Standard, ..nearly }));
    }

    #[test]
    fn one_that_is_ready_ends_so_many_days_from_now_and_one_that_is_over_begins_anew() {
        let ready = Restored {
            requested: Timestamp(0),
            ready: NOW.plus_ms(-1),
            ends: Timestamp(101 * DAY_MS),
            tier: RetrievalTier::Bulk,
        };
        let extended = ask(&object(StorageClass::Glacier, None, Some(ready)), Some(9), None);
        assert_eq!(extended, Ok(Restored { ends: Timestamp(110 * DAY_MS), ..ready }));
        let over = object(StorageClass::Glacier, None, Some(Restored { ends: NOW, ..ready }));
        let again = ask(&over, Some(9), None);
        assert_eq!(again.map(|again| (again.requested, again.ready)), Ok((NOW, NOW.plus_ms(4 * HOUR_MS))));
    }

    #[test]
    fn out_of_an_archive_tier_leads_a_restore_without_days_for_good() {
        for (tier, after_ms) in [(AccessTier::Archive, 4 * HOUR_MS), (AccessTier::DeepArchive, 12 * HOUR_MS)] {
            let tiered = object(StorageClass::IntelligentTiering, Some(tier), None);
            assert_eq!(ask(&tiered, Some(3), None), Err(Refused::Days));
            let restored = ask(&tiered, None, None);
            let expected = (NOW.plus_ms(after_ms), Timestamp(i64::MAX));
            assert_eq!(restored.map(|restored| (restored.ready, restored.ends)), Ok(expected), "{tier:?}");
        }
        assert_eq!(ask(&object(StorageClass::Glacier, None, None), None, None), Err(Refused::Days));
    }
}
