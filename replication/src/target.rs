//! The seam between the worker, which knows what is to be brought where, and the targets, which know how.
//!
//! A target is asked to *bring its version to what the source's is*: it may be asked twice, late, and about what it has already.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_crypto::checksum::Checksum;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{ObjectKey, StorageClass};
use cairn_storage::ops::SealedObject;
use cairn_storage::ops::replication::Standing;
use cairn_storage::replication::Left;

use crate::client::BodyStream;

/// A part of an object that was uploaded in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartBounds {
    /// Its number at the target.
    pub number: u16,
    /// Bytes of what [`Content::open`] gives.
    pub size_bytes: u64,
    /// Its own checksum.
    pub checksum: Option<Checksum>,
}

/// An object's bytes at the source: opened under the role's permissions, or as they are sealed under a customer's key.
pub trait Content: Send + Sync + fmt::Debug {
    /// How they are sealed; None: they are opened. What is sealed is opened only whole, or part by part.
    fn sealed(&self) -> Option<&SealedObject>;

    /// How many they are.
    fn size_bytes(&self) -> u64;

    /// The parts that it was uploaded in, in their order; empty: it was put whole.
    fn parts(&self) -> &[PartBounds];

    /// The bytes, or a range of them. May be opened again.
    fn open(&self, range: Range<u64>) -> BodyStream;

    /// Hears that so many bytes are sent.
    fn sent(&self, _bytes: u64) {}
}

/// How a replica is to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// As the target's default says.
    Default,
    /// SSE-S3, as the source is.
    Server,
    /// Under this KMS key of the target's (`ReplicaKmsKeyID`).
    Kms(String),
}

/// What of a version may be missing at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everything.
    Version,
    /// What may change about it (tags, lock, ACL): it has been there, or came from there. If it is not there, nothing is done and the
    /// answer is [`Brought::Absent`].
    Settings,
}

/// A version, or a delete marker, on its way to a target.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The source's bucket, by its name.
    pub bucket: String,
    /// The key.
    pub key: ObjectKey,
    /// The version as it is at the source; its `replication.changed` says of when its settings are.
    pub version: Version,
    /// What may be missing.
    pub need: Need,
    /// Its id at a foreign target, if it has been there.
    pub foreign_version: Option<String>,
    /// How it stands among its key's versions, at a foreign target: it must not come above newer ones.
    pub standing: Standing,
    /// The replica's class.
    pub class: StorageClass,
    /// Owner override: the replica is to belong to this account, the owner of the target, without the source's ACL.
    pub new_owner: Option<AccountId>,
    /// What of its settings stays behind.
    pub left: Left,
    /// How the replica is to be sealed.
    pub seal: Seal,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brought {
    /// The target has it as the source does, or as somebody changed it later.
    There {
        /// Its id at a foreign target.
        foreign_version: Option<String>,
    },
    /// Settings were to be brought to a version that is not there.
    Absent,
}

/// Why it could not be brought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may go well later, this task by itself.
    #[error("{reason}")]
    Later {
        /// What happened.
        reason: String,
        /// How long the target wants to be left alone.
        after: Option<Duration>,
    },
    /// It will not go well before somebody mends something: FAILED, with the reason, until it is retried.
    #[error("{reason}")]
    Refused {
        /// What happened.
        reason: String,
    },
    /// The target does not answer: it is down, or this version does not get through to it.
    #[error("{reason}")]
    Silent {
        /// What happened.
        reason: String,
    },
    /// The target has no room: for anything, or for something so large. That is a state of the target, and no fault of the version's, which
    /// waits for as long as it takes.
    #[error("{reason}")]
    Full {
        /// What happened.
        reason: String,
    },
    /// The target as a whole does not answer (or its credentials, or its bucket, are not there): its other tasks wait as well.
    #[error("{reason}")]
    Down {
        /// What happened.
        reason: String,
    },
}

/// A bucket that replicas go to.
#[async_trait]
pub trait Target: Send + Sync + fmt::Debug {
    /// Its versions have the source's ids, so that the order of arrival does not matter. If not, the order of each key's versions is kept:
    /// one waits for older ones, and is refused where a newer one has arrived.
    fn keeps_ids(&self) -> bool;

    /// Brings the version there. `content` is an object's bytes; None for a delete marker, and where only settings are needed.
    ///
    /// # Errors
    /// See [`Failure`].
    async fn bring(&self, outgoing: &Outgoing, content: Option<Arc<dyn Content>>) -> Result<Brought, Failure>;
}
