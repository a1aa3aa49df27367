//! `document`: a bucket's documents (policy, CORS, lifecycle ...): bytes that the crate owning the kind understands.
//!
//! ```text
//! key    kind (u8)
//! value  the document
//! ```

/// A kind of document. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DocumentKind {
    /// Lifecycle rules.
    Lifecycle = 1,
    /// Replication rules.
    Replication = 2,
    /// The bucket's tags.
    Tagging = 3,
    /// The bucket's ACL.
    Acl = 4,
    /// The bucket's policy. The bucket's row has its digest.
    Policy = 5,
    /// How new objects are sealed.
    Encryption = 10,
    /// Which pages of other origins may use the bucket. The bucket's row has its digest.
    Cors = 11,
    /// How the bucket is a website.
    Website = 12,
    /// Archive tiers of INTELLIGENT_TIERING.
    IntelligentTiering = 13,
    /// The bucket's newest restore to a point in time, a [`super::restore::RestoreRecord`].
    Restore = 64,
    /// What is kept of the bucket's lifecycle sweeps.
    SweepState = 65,
    /// In the system partition: from which time on files must be scanned after an unclean stop (i64, ms, big endian).
    ScanFloor = 128,
    /// In the system partition: the storage tiers, see [`crate::tiers`].
    Tiers = 130,
    /// In the system partition: the time by which locks were judged last, a [`crate::lock_clock::LockTimeRecord`].
    LockTime = 129,
    /// In the system partition: no lifecycle sweep begins by itself, if it is there.
    SweepsPaused = 132,
    /// In the system partition, followed by a job id: a walk job, a [`super::walk::WalkRecord`].
    Walk = 133,
    /// In the system partition, followed by a job id and a number: what a walk found, a [`super::walk::Finding`].
    Finding = 134,
}

impl DocumentKind {
    /// The row's key.
    #[must_use]
    pub fn key(self) -> [u8; 1] {
        [self as u8]
    }
}
