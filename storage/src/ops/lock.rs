//! What object lock allows: pure rules, which the operations ask with what they saw under their guards.
//!
//! Invariants: nobody removes a version under legal hold, or before its retention ends by lock time, unless the retention
//! is GOVERNANCE and the caller may bypass it; a COMPLIANCE retention only ever gets longer. `placement` asks
//! [`Removal::check`] wherever a version goes for good, so every caller is held to it, daemons included; and
//! [`Removal::check_mfa`] where one that was named does.

use crate::StorageError;
use crate::clock::Timestamp;
use crate::index::family::bucket::{BucketRecord, RetentionPeriod};
use crate::index::family::version::Version;
use crate::settings::{Lock, ObjectSettings, Retention, RetentionMode};

use super::Store;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const YEAR_MS: i64 = 365 * DAY_MS;

/// What a caller may do about a GOVERNANCE retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Governance {
    /// Keep to it.
    #[default]
    Heeded,
    /// Shorten it, or remove what it keeps: the caller said so and has the permission.
    Bypassed,
}

/// What a caller may do that others may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Powers {
    /// About GOVERNANCE retentions.
    pub governance: Governance,
    /// It has given a code of its MFA device.
    pub mfa: bool,
}

impl From<Governance> for Powers {
    fn from(governance: Governance) -> Self {
        Self { governance, mfa: false }
    }
}

/// By which times, and with which permission, versions are removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal {
    /// The wall clock's time, for the tasks that a removal entails.
    pub(super) now: Timestamp,
    lock_time: Timestamp,
    powers: Powers,
}

impl Removal {
    /// Ok if the bucket lets the caller remove a version that it names.
    pub(super) fn check_mfa(&self, bucket: &BucketRecord) -> Result<(), StorageError> {
        if bucket.mfa_delete && !self.powers.mfa { Err(StorageError::MfaRequired) } else { Ok(()) }
    }

    /// Ok if `gone` may go for good.
    pub(super) fn check(&self, gone: &Version) -> Result<(), StorageError> {
        // A delete marker has no lock.
        let Version::Object(object) = gone else { return Ok(()) };
        if object.settings.legal_hold == Some(true) {
            return Err(StorageError::Locked(Lock::LegalHold));
        }
        match binding(object.settings.retention, self.lock_time, self.powers.governance) {
            Some(retention) => Err(StorageError::Locked(Lock::Retention(retention))),
            None => Ok(()),
        }
    }
}

/// The retention, if it has not ended and the caller must keep to it.
fn binding(retention: Option<Retention>, lock_time: Timestamp, governance: Governance) -> Option<Retention> {
    retention
        .filter(|retention| retention.until > lock_time)
        .filter(|retention| retention.mode == RetentionMode::Compliance || governance == Governance::Heeded)
}

/// Ok if a version's retention may become `new`: as long or longer, in the same mode, or it binds the caller no more.
pub(super) fn check_change(
    old: Option<Retention>,
    new: Option<Retention>,
    lock_time: Timestamp,
    governance: Governance,
) -> Result<(), StorageError> {
    let Some(bound) = binding(old, lock_time, governance) else { return Ok(()) };
    match new {
        Some(new) if new.mode == bound.mode && new.until >= bound.until => Ok(()),
        _ => Err(StorageError::Locked(Lock::Retention(bound))),
    }
}

/// Whether a request asks for a lock, be it one that is off.
pub(super) fn is_asked(settings: &ObjectSettings) -> bool {
    settings.retention.is_some() || settings.legal_hold.is_some()
}

/// Ok if a request may ask for this retention.
pub(super) fn check_future(retention: Option<Retention>, lock_time: Timestamp) -> Result<(), StorageError> {
    match retention {
        Some(retention) if retention.until <= lock_time => Err(StorageError::RetentionInPast),
        _ => Ok(()),
    }
}

/// A new version's settings: with the bucket's default retention if they ask for none.
pub(super) fn with_default(settings: ObjectSettings, bucket: &BucketRecord, lock_time: Timestamp) -> ObjectSettings {
    let by_default = bucket.default_retention.filter(|_| bucket.object_lock).map(|default| Retention {
        mode: default.mode,
        until: lock_time.plus_ms(match default.period {
            RetentionPeriod::Days(days) => i64::from(days).saturating_mul(DAY_MS),
            RetentionPeriod::Years(years) => i64::from(years).saturating_mul(YEAR_MS),
        }),
    });
    ObjectSettings { retention: settings.retention.or(by_default), ..settings }
}

impl Store {
    /// A removal at this moment.
    pub(super) fn removal(&self, powers: impl Into<Powers>) -> Removal {
        Removal { now: self.clock().now(), lock_time: self.lock_clock().now(), powers: powers.into() }
    }

    /// Ok if a new version in a bucket (with object lock or not) may be locked like this. A bucket keeps object lock for
    /// as long as it lives, so this holds for whatever is committed later.
    pub(super) fn check_asked_lock(&self, object_lock: bool, settings: &ObjectSettings) -> Result<(), StorageError> {
        if !object_lock && is_asked(settings) {
            return Err(StorageError::NoObjectLock);
        }
        check_future(settings.retention, self.lock_clock().now())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::index::family::bucket::DefaultRetention;
    use RetentionMode::{Compliance, Governance as GovernanceMode};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn retention(mode: RetentionMode, ms: i64) -> Option<Retention> {
        Some(Retention { mode, until: NOW.plus_ms(ms) })
    }

    #[test]
    fn a_retention_changes_only_as_its_mode_allows() {
        let [heeded, bypassed] = [Governance::Heeded, Governance::Bypassed];
        for (old, new, governance, allowed) in [
            (None, retention(Compliance, 10), heeded, true),
            (retention(GovernanceMode, 10), retention(GovernanceMode, 10), heeded, true),
            (retention(GovernanceMode, 10), retention(GovernanceMode, 11), heeded, true),
            (retention(GovernanceMode, 10), retention(GovernanceMode, 9), heeded, false),
            (retention(GovernanceMode, 10), retention(Compliance, 11), heeded, false),
            (retention(GovernanceMode, 10), None, heeded, false),
            (retention(GovernanceMode, 10), retention(GovernanceMode, 9), bypassed, true),
            (retention(GovernanceMode, 10), retention(Compliance, 9), bypassed, true),
            (retention(GovernanceMode, 10), None, bypassed, true),
            (retention(Compliance, 10), retention(Compliance, 11), heeded, true),
            (retention(Compliance, 10), retention(Compliance, 9), bypassed, false),
            (retention(Compliance, 10), retention(GovernanceMode, 11), bypassed, false),
            (retention(Compliance, 10), None, bypassed, false),
            (retention(Compliance, 0), None, heeded, true),
            (retention(GovernanceMode, -1), None, heeded, true),
        ] {
            let changed = check_change(old, new, NOW, governance);
            assert_eq!(changed.is_ok(), allowed, "{old:?} -> {new:?} {governance:?}");
        }
    }

    #[test]
    fn a_retention_that_has_ended_cannot_be_asked_for() {
        assert!(check_future(retention(Compliance, 1), NOW).is_ok());
        assert!(check_future(None, NOW).is_ok());
        assert!(matches!(check_future(retention(GovernanceMode, 0), NOW), Err(StorageError::RetentionInPast)));
    }

    #[test]
    fn the_default_is_for_versions_that_ask_for_no_retention() {
        let mut bucket = BucketRecord {
            name: "bucket".to_owned(),
            owner: "000000000001".parse().unwrap(),
            created: NOW,
            region: String::new(),
            state: crate::index::family::bucket::BucketState::Active,
            versioning: crate::index::family::bucket::Versioning::Enabled,
            object_lock: true,
            default_retention: None,
            ownership: Default::default(),
            requester_pays: false,
            public_access_block: None,
            policy: None,
            lifecycle: None,
            replication: None,
            mfa_delete: false,
            cors: None,
        };
        let asked = ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() };
        assert_eq!(with_default(asked.clone(), &bucket, NOW), asked);
        for (period, ms) in [(RetentionPeriod::Days(2), 2 * DAY_MS), (RetentionPeriod::Years(1), 365 * DAY_MS)] {
            bucket.default_retention = Some(DefaultRetention { mode: Compliance, period });
            let given = with_default(asked.clone(), &bucket, NOW);
            assert_eq!((given.retention, given.legal_hold), (retention(Compliance, ms), Some(true)));
            let own = ObjectSettings { retention: retention(GovernanceMode, 5), ..asked.clone() };
            assert_eq!(with_default(own.clone(), &bucket, NOW), own);
        }
    }
}
