//! What a version's record says of its replication: where it is to go and how far that has come, or that it came from elsewhere.

use std::fmt;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::VersionId;
use crate::object::Etag;

/// The most targets of one version.
pub const TARGETS_MAX: usize = 16;

/// The longest version id of a foreign target that is kept. S3 lets them have 1,024 bytes; Amazon's have 32.
pub const FOREIGN_VERSION_BYTES_MAX: usize = 256;

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] #[cbor(with = "minicbor::bytes")] [u8; 8]);

        impl $name {
            /// That of this name.
            #[must_use]
            pub fn of(name: &str) -> Self {
                let digest = Checksum::of(ChecksumAlgorithm::Sha256, name.as_bytes());
                let mut id = [0; 8];
                id.copy_from_slice(&digest.as_bytes()[..8]);
                Self(id)
            }

            /// The bytes, as keys have them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 8] {
                &self.0
            }

            /// From stored bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 8]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), u64::from_be_bytes(self.0))
            }
        }
    };
}

digest_type! {
    /// A target, named by the beginning of a digest of its ARN: short enough to stand in every version.
    TargetId
}
digest_type! {
    /// A rule, named by the beginning of a digest of its `ID`.
    RuleId
}

/// How far a version has come on its way to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Progress {
    /// Something about it is still to be brought there.
    #[n(0)]
    Pending,
    /// It is there as it is here.
    #[n(1)]
    Completed,
    /// It was given up.
    #[n(2)]
    Failed,
}

/// What is known of a version at one target.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TargetStatus {
    /// The target.
    #[n(0)]
    pub target: TargetId,
    /// How far it has come.
    #[n(1)]
    pub progress: Progress,
    /// It has been there once, so that only what may change about it can be missing there.
    #[n(2)]
    #[cbor(default)]
    pub arrived: bool,
    /// Its version id there, if that is another.
    #[n(3)]
    pub foreign_version: Option<String>,
}

/// A version's replication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Replication {
    /// It is a replica: it came from another bucket.
    #[n(0)]
    #[cbor(default)]
    pub replica: bool,
    /// When its settings (tags, lock, ACL) were last changed by somebody other than a replication, here or at the place that they came
    /// from. Of two changes of the same version the later one wins everywhere.
    #[n(1)]
    pub changed: Option<Timestamp>,
    /// Where it goes, at most [`TARGETS_MAX`].
    #[n(2)]
    #[cbor(default)]
    pub targets: Vec<TargetStatus>,
}

/// What a replica has from the version that it is a copy of, where another version gets its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReplicaOf {
    /// The version's id, which places it among the others of its key.
    #[n(0)]
    pub version_id: VersionId,
    /// When it was created.
    #[n(1)]
    pub created: Timestamp,
    /// Its ETag, if that does not follow from the bytes; None: it is computed, as of every object.
    #[n(2)]
    pub etag: Option<Etag>,
    /// See [`Replication::changed`].
    #[n(3)]
    pub changed: Option<Timestamp>,
    /// What of its settings has stayed behind.
    #[n(4)]
    #[cbor(default)]
    pub left: Left,
}

/// What of a version's settings stays behind when it is brought somewhere: of these nothing is said there, so what is there stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Left {
    /// Its tags.
    #[n(0)]
    #[cbor(default)]
    pub tags: bool,
    /// Its ACL.
    #[n(1)]
    #[cbor(default)]
    pub acl: bool,
}

/// `x-amz-replication-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are S3's
pub enum ReplicationStatus {
    Pending,
    Completed,
    Failed,
    Replica,
}

impl ReplicationStatus {
    /// S3's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Replica => "REPLICA",
        }
    }
}

impl Replication {
    /// Of a version that came from elsewhere.
    #[must_use]
    pub fn of_replica(changed: Option<Timestamp>) -> Self {
        Self { replica: true, changed, targets: Vec::new() }
    }

    /// What clients are told. Of several targets the one counts that has come the least far (S3 user guide, "Getting replication
    /// status information"): FAILED if one has failed, and COMPLETED only if all have it.
    #[must_use]
    pub fn status(&self) -> Option<ReplicationStatus> {
        let any = |progress| self.targets.iter().any(|status| status.progress == progress);
        if self.replica {
            Some(ReplicationStatus::Replica)
        } else if any(Progress::Failed) {
            Some(ReplicationStatus::Failed)
        } else if any(Progress::Pending) {
            Some(ReplicationStatus::Pending)
        } else {
            any(Progress::Completed).then_some(ReplicationStatus::Completed)
        }
    }

    /// What is known of it at a target.
    #[must_use]
    pub fn at(&self, target: TargetId) -> Option<&TargetStatus> {
        self.targets.iter().find(|status| status.target == target)
    }

    /// It is still to be brought to the target. True if that is new; false, too, if it can have no more targets.
    pub fn set_pending(&mut self, target: TargetId) -> bool {
        let is_full = self.targets.len() >= TARGETS_MAX;
        match self.targets.iter_mut().find(|status| status.target == target) {
            Some(status) => std::mem::replace(&mut status.progress, Progress::Pending) != Progress::Pending,
            None if is_full => false,
            None => {
                let progress = Progress::Pending;
                self.targets.push(TargetStatus { target, progress, arrived: false, foreign_version: None });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(progress: &[Progress]) -> Replication {
        let status = |(n, progress): (usize, &Progress)| TargetStatus {
            target: TargetId::from_bytes([u8::try_from(n).unwrap(); 8]),
            progress: *progress,
            arrived: false,
            foreign_version: None,
        };
        Replication { targets: progress.iter().enumerate().map(status).collect(), ..Replication::default() }
    }

    #[test]
    fn the_target_that_has_come_the_least_far_is_what_clients_are_told() {
        use Progress::{Completed, Failed, Pending};
        for (progress, expected) in [
            (&[][..], None),
            (&[Completed, Completed], Some(ReplicationStatus::Completed)),
            (&[Completed, Pending], Some(ReplicationStatus::Pending)),
            (&[Pending, Failed, Completed], Some(ReplicationStatus::Failed)),
        ] {
            assert_eq!(of(progress).status(), expected);
        }
        let replica = Replication { replica: true, ..of(&[Pending]) };
        assert_eq!(replica.status(), Some(ReplicationStatus::Replica));
    }

    #[test]
    fn a_version_has_a_bounded_number_of_targets() {
        let mut replication = of(&[Progress::Completed; TARGETS_MAX]);
        assert!(replication.set_pending(TargetId::from_bytes([3; 8])));
        assert!(!replication.set_pending(TargetId::from_bytes([3; 8])));
        assert!(!replication.set_pending(TargetId::of("arn:aws:s3:::one-more")));
        assert_eq!(replication.targets.len(), TARGETS_MAX);
    }
}
