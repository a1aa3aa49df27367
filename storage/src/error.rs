//! The facts that storage reports. The edge turns each into an S3 error code with one exhaustive match.

use std::io;

use thiserror::Error;

use crate::id::AccountId;
use crate::object::ReturnedVersion;
use crate::settings::Lock;

/// Why an operation did not happen. No variant carries a secret or file contents.
#[derive(Debug, Error)]
pub enum StorageError {
    // --- what the caller asked for does not exist, or exists already
    /// No active bucket has this name (or it was deleted while the operation ran).
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// A bucket of this name exists; its owner decides which S3 code that is.
    #[error("the bucket exists already, owned by account {owner}")]
    BucketExists {
        /// The account that owns the existing bucket.
        owner: AccountId,
    },
    /// DeleteBucket found versions.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The bucket is being created or deleted at this moment.
    #[error("the bucket is being created or deleted")]
    BucketBusy,
    /// The key has no version, or its newest one is a delete marker.
    #[error("the key does not exist")]
    NoSuchKey {
        /// The newest version is a delete marker.
        delete_marker: Option<ReturnedVersion>,
    },
    /// The version does not exist.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// The named version is a delete marker, which has no content.
    #[error("the version is a delete marker")]
    IsDeleteMarker(ReturnedVersion),
    /// The caller may not use the version that was found.
    #[error("the caller may not use this version")]
    NotPermitted,
    /// The bucket's state forbids it.
    #[error("{what}")]
    InvalidBucketState {
        /// The state, for people.
        what: &'static str,
    },
    /// The bucket is being restored to a point in time, which only one request at a time can ask for.
    #[error("the bucket is being restored")]
    RestoreRunning,
    /// The bucket cannot be restored to this time.
    #[error("{what}")]
    InvalidRestoreTime {
        /// Why, for people.
        what: &'static str,
    },
    /// A lock keeps the version, or its retention, as it is.
    #[error("the version is locked: {0}")]
    Locked(Lock),
    /// The bucket wants a code of an MFA device for this.
    #[error("the bucket wants a code of an MFA device for this")]
    MfaRequired,
    /// A lock was asked for in a bucket without object lock.
    #[error("the bucket has no object lock")]
    NoObjectLock,
    /// A retention was asked for that has ended already.
    #[error("the retention has ended already")]
    RetentionInPast,
    /// The bucket's owner owns what is in it, so there are no ACLs.
    #[error("ACLs are off in this bucket")]
    AclsDisabled,
    /// The bucket blocks what would make it, or what is in it, public.
    #[error("the bucket blocks public access")]
    PublicAccessBlocked,
    /// ACLs cannot be switched off while the bucket's own one grants somebody else something.
    #[error("the bucket's ACL grants others")]
    AclGrantsOthers,
    /// No open upload has this id under this key.
    #[error("the multipart upload does not exist")]
    NoSuchUpload,

    // --- the request does not fit what is there
    /// A named part is missing, or its ETag or checksum is not the one the caller named.
    #[error("part {part_number} is missing or is not the one named")]
    InvalidPart {
        /// The first part at fault.
        part_number: u16,
    },
    /// The parts of a Complete are not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is smaller than 5 MiB.
    #[error("part {part_number} has {size_bytes} bytes, fewer than 5 MiB")]
    PartTooSmall {
        /// The part at fault.
        part_number: u16,
        /// Its size.
        size_bytes: u64,
    },
    /// The object or part would be larger than S3 allows.
    #[error("{size_bytes} bytes are more than the {max_bytes} allowed")]
    TooLarge {
        /// The size asked for.
        size_bytes: u64,
        /// The largest one allowed.
        max_bytes: u64,
    },
    /// The range does not overlap the content.
    #[error("the range does not overlap the content of {size_bytes} bytes")]
    RangeNotSatisfiable {
        /// The content's size.
        size_bytes: u64,
    },
    /// The object has fewer parts than the one asked for.
    #[error("the object has {parts_count} parts")]
    NoSuchPart {
        /// How many it has.
        parts_count: u16,
    },
    /// A precondition (If-Match, If-None-Match, If-Unmodified-Since ...) does not hold.
    #[error("the precondition {header} does not hold")]
    PreconditionFailed {
        /// The header that stated it.
        header: &'static str,
    },
    /// A conditional read found the object unchanged.
    #[error("the object was not modified")]
    NotModified {
        /// What the 304 answer describes.
        object: Box<crate::object::ObjectVersion>,
    },
    /// A copy onto itself that changes nothing.
    #[error("a copy of an object onto itself must change something")]
    CopyChangesNothing,
    /// The record describing the object would exceed its bound.
    #[error("the object's metadata is too large")]
    MetadataTooLarge,

    // --- the key of what is sealed
    /// It is sealed under a customer's key, and the request brought none.
    #[error("it is sealed under a key that only the customer has")]
    KeyMissing,
    /// The request brought a customer's key for what is not sealed under one.
    #[error("it is not sealed under a customer's key")]
    KeyNeedless,
    /// The customer's key is another one.
    #[error("it is sealed under another customer's key")]
    KeyWrong,
    /// Who keeps the key lets the caller not use it, or cannot: the edge knows the error's type.
    #[error("the use of the key was refused")]
    KeyRefused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is sealed, or not sealed, in a way that cannot become another without its bytes.
    #[error("the key cannot be exchanged: {what}")]
    KeyNotExchangeable {
        /// Why.
        what: &'static str,
    },
    /// The data key does not open, though the caller may use it.
    #[error("the data key cannot be opened: {what}")]
    KeyUnusable {
        /// Why, without any of the key.
        what: String,
    },

    // --- replicas
    /// A replica's id or creation time is too far ahead of the clock.
    #[error("the replica is from the future: by this server's clock it will be created in {ahead_ms} ms")]
    ReplicaFromFuture {
        /// How far ahead it is.
        ahead_ms: i64,
    },
    /// Another version has the replica's id.
    #[error("the version {version} is there already and is not the one that the replica is of")]
    ReplicaCollides {
        /// The id.
        version: crate::id::VersionId,
    },

    /// What a replica that stays sealed says of how it is sealed cannot be.
    #[error("what is said of how it is sealed is not possible: {what}")]
    SealedMalformed {
        /// What of it.
        what: &'static str,
    },

    // --- the body failed a check; nothing was stored
    /// The body's stream failed: the edge knows the error's type.
    #[error("the body could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body ended before, or went on after, its declared length.
    #[error("the body has {got_bytes} bytes, {declared_bytes} were declared")]
    BodyLength {
        /// The declared length.
        declared_bytes: u64,
        /// What came (at least, if it was too long).
        got_bytes: u64,
    },
    /// A declared digest is not that of the body.
    #[error("the body's {what} is not the one declared")]
    BadDigest {
        /// `Content-MD5` or the checksum's S3 name.
        what: &'static str,
    },
    /// What will be locked came without a digest to compare it with.
    #[error("the body of what will be locked has no declared digest")]
    DigestMissing,
    /// A checksum that was announced as a trailer did not come, or did not parse.
    #[error("the trailing checksum {what} is missing or malformed")]
    BadTrailer {
        /// The checksum's S3 name.
        what: &'static str,
    },
    /// A checksum declared for the whole multipart object or a part does not fit the upload.
    #[error("the checksum {what} does not fit the upload")]
    ChecksumMismatchesUpload {
        /// What does not fit.
        what: &'static str,
    },

    /// The size declared for the whole multipart object is not that of its parts.
    #[error("the parts have {got_bytes} bytes, {declared_bytes} were declared")]
    SizeMismatchesUpload {
        /// The declared size.
        declared_bytes: u64,
        /// The sum of the parts.
        got_bytes: u64,
    },

    // --- storage classes
    /// The version's class needs a restore before it can be read, and there is none that is ready.
    #[error("the version is archived in {}", class.name())]
    Archived {
        /// Its class.
        class: crate::object::StorageClass,
        /// Its tier, if the class has tiers.
        tier: Option<crate::object::AccessTier>,
    },
    /// A restore was asked for of a version whose class needs none.
    #[error("a version in {} cannot be restored", class.name())]
    NotArchived {
        /// Its class.
        class: crate::object::StorageClass,
    },
    /// A restore is going on, and the new one would not be faster.
    #[error("a restore is going on already")]
    RestoreOngoing,
    /// A restore says for how many days, and the version comes back for good, or the other way round.
    #[error("how long a restore lasts is said for archive classes, and for no archive tier")]
    RestoreDays,
    /// The class has no retrieval as fast as that.
    #[error("the storage class has no such retrieval")]
    TierOfClass,
    /// The tier that holds, or is to hold, the content cannot be reached.
    #[error("the storage tier {tier} is down")]
    TierDown {
        /// Its name in the configuration.
        tier: String,
    },

    // --- our side
    /// Concurrent mutations kept changing the key; the caller may try again.
    #[error("concurrent changes of the same key prevented the operation")]
    Contention,
    /// Queues are full or the engine stalls; nothing was written and the caller should back off.
    #[error("the store is overloaded")]
    Overloaded,
    /// Free space is below the floor; nothing was written.
    #[error("the disk is full: {available_bytes} bytes are free, the floor is {floor_bytes}")]
    DiskFull {
        /// What is free.
        available_bytes: u64,
        /// The floor under which writes are refused.
        floor_bytes: u64,
    },
    /// The store accepts no writes until it is restarted.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// What made it so.
        reason: String,
    },
    /// The engine failed during a commit; whether it happened is unknown.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown,
    /// Stored bytes do not have the checksum they were written with.
    #[error("stored data is corrupt: {what}")]
    Corrupt {
        /// Which structure, named by ids, never by contents.
        what: String,
    },
    /// The operating system refused something.
    #[error("input/output failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// The version cannot be read now.
    pub(crate) fn archived(object: &crate::object::ObjectVersion) -> Self {
        Self::Archived { class: object.storage_class, tier: object.access_tier() }
    }

    /// An `io::Error` with what was being done.
    pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Corruption of the named structure.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
