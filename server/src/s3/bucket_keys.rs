//! Bucket keys: keys that a KMS issued for many objects of one bucket, kept in memory for a period, so that neither every write
//! nor every read is a call to the KMS (S3 user guide, "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys").
//!
//! Each record has the envelope of the bucket key that it is under, so a bucket key that was forgotten is opened again by the
//! KMS. Whether the caller may use the KMS's key is asked for every request, whether the bucket key is held or not: so what is
//! held outlives neither a permission nor a key that was disabled. (On AWS it does, for some minutes.)

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use cairn_crypto::issued_key::IssuedKeyWrap;
use cairn_crypto::kms::EncryptionContext;
use cairn_storage::clock::Timestamp;
use cairn_storage::encryption::KmsContext;
use cairn_storage::id::BucketId;
use parking_lot::Mutex;

/// How long a bucket key wraps new data keys, and is held to open others. AWS says "time-limited".
const PERIOD_MS: i64 = 5 * 60 * 1_000;

/// Bucket keys that are held to wrap, at most, and to open.
const HELD_MAX: usize = 4_096;

/// A key that a KMS issued for a bucket.
#[derive(Debug)]
pub(super) struct BucketKey {
    /// Wraps under it.
    pub(super) wrap: Arc<IssuedKeyWrap>,
    /// The KMS's key that it comes from.
    pub(super) key_arn: String,
    /// What the KMS has bound it to.
    pub(super) context: EncryptionContext,
    /// In which the KMS gives it again.
    pub(super) envelope: Vec<u8>,
}

/// What a bucket key is for: objects of one bucket, under one key of the KMS, with one encryption context.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Use {
    pub(super) bucket: BucketId,
    pub(super) key_arn: String,
    pub(super) context: KmsContext,
}

/// The bucket keys of the period.
#[derive(Default)]
pub struct BucketKeys(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_use: Bounded<Use>,
    by_envelope: Bounded<Vec<u8>>,
}

impl BucketKeys {
    /// The one that wraps for this use.
    pub(super) fn for_use(&self, wanted: &Use, now: Timestamp) -> Option<Arc<BucketKey>> {
        self.0.lock().by_use.get(wanted, now)
    }

    /// The one in this envelope.
    pub(super) fn in_envelope(&self, envelope: &[u8], now: Timestamp) -> Option<Arc<BucketKey>> {
        self.0.lock().by_envelope.get(envelope, now)
    }

    /// Holds none any more.
    pub(super) fn forget(&self) {
        *self.0.lock() = Held::default();
    }

    /// Holds one that was issued for this use, or opened.
    pub(super) fn hold(&self, issued_for: Option<Use>, key: BucketKey, now: Timestamp) -> Arc<BucketKey> {
        let key = Arc::new(key);
        let mut held = self.0.lock();
        if let Some(issued_for) = issued_for {
            held.by_use.insert(issued_for, Arc::clone(&key), now);
        }
        held.by_envelope.insert(key.envelope.clone(), Arc::clone(&key), now);
        key
    }
}

impl fmt::Debug for BucketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.lock();
        write!(f, "BucketKeys({} to wrap, {} to open)", held.by_use.0.len(), held.by_envelope.0.len())
    }
}

/// Keys, each with the end of its period.
struct Bounded<Name>(HashMap<Name, (Timestamp, Arc<BucketKey>)>);

impl<Name> Default for Bounded<Name> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Name: Eq + Hash + Clone> Bounded<Name> {
    fn get<Q>(&self, name: &Q, now: Timestamp) -> Option<Arc<BucketKey>>
    where
        Name: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let (until, key) = self.0.get(name)?;
        // A clock that was set back does not prolong the period.
        let left_ms = until.0.saturating_sub(now.0);
        (0 < left_ms && left_ms <= PERIOD_MS).then(|| Arc::clone(key))
    }

    fn insert(&mut self, name: Name, key: Arc<BucketKey>, now: Timestamp) {
        if self.0.len() >= HELD_MAX && !self.0.contains_key(&name) {
            self.0.retain(|_, (until, _)| *until > now);
        }
        if self.0.len() >= HELD_MAX && !self.0.contains_key(&name) {
            let oldest = self.0.iter().min_by_key(|(_, (until, _))| *until).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(name, (now.plus_ms(PERIOD_MS), key));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::secret::DataKey;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn use_of(bucket: u8, key_arn: &str) -> Use {
        Use { bucket: BucketId::from_bytes([bucket; 16]), key_arn: key_arn.to_owned(), context: KmsContext::new() }
    }

    fn key(number: u32) -> BucketKey {
        BucketKey {
            wrap: Arc::new(IssuedKeyWrap::new(DataKey::from_bytes([1; 32]))),
            key_arn: "key".to_owned(),
            context: EncryptionContext::default(),
            envelope: number.to_be_bytes().to_vec(),
        }
    }

    #[test]
    fn a_key_is_held_for_its_use_alone_and_for_its_period() {
        let keys = BucketKeys::default();
        keys.hold(Some(use_of(1, "key")), key(1), NOW);
        let last = Timestamp(NOW.0 + PERIOD_MS - 1);
        assert_eq!(keys.for_use(&use_of(1, "key"), last).unwrap().envelope, 1_u32.to_be_bytes());
        assert!(keys.for_use(&use_of(1, "key"), Timestamp(NOW.0 + PERIOD_MS)).is_none());
        assert!(keys.for_use(&use_of(1, "key"), Timestamp(NOW.0 - 1)).is_none(), "a clock that was set back");
        assert!(keys.for_use(&use_of(2, "key"), NOW).is_none());
        assert!(keys.for_use(&use_of(1, "other"), NOW).is_none());
        let context = [("a".to_owned(), "b".to_owned())].into();
        assert!(keys.for_use(&Use { context, ..use_of(1, "key") }, NOW).is_none());
    }

    #[test]
    fn a_key_is_found_by_its_envelope_whether_it_was_issued_or_opened() {
        let keys = BucketKeys::default();
        keys.hold(Some(use_of(1, "key")), key(1), NOW);
        keys.hold(None, key(2), NOW);
        for number in [1_u32, 2] {
            assert!(keys.in_envelope(&number.to_be_bytes(), NOW).is_some());
        }
        assert!(keys.in_envelope(&3_u32.to_be_bytes(), NOW).is_none());
    }

    #[test]
    fn no_more_are_held_than_the_limit_and_the_oldest_go_first() {
        let keys = BucketKeys::default();
        let count = HELD_MAX as u32 + 10;
        for number in 0..count {
            keys.hold(None, key(number), Timestamp(NOW.0 + i64::from(number)));
        }
        let now = Timestamp(NOW.0 + i64::from(count));
        let held = (0..count).filter(|number| keys.in_envelope(&number.to_be_bytes(), now).is_some()).count();
        assert_eq!(held, HELD_MAX);
        assert!(keys.in_envelope(&9_u32.to_be_bytes(), now).is_none());
        assert!(keys.in_envelope(&(count - 1).to_be_bytes(), now).is_some());
    }
}
