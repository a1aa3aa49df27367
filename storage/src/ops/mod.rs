//! The object operations: one file each, one method of [`Store`] each.
//!
//! A mutation is: read a view -> decide purely -> commit a batch under guards -> on a conflict read again, a bounded
//! number of times. Preconditions are decided on the very view whose revisions the batch guards. A body is committed
//! only after its end was seen and everything that was declared about it was verified.

pub mod bucket;
pub mod conditions;
pub mod copy_object;
mod delete_bucket;
pub mod delete_object;
pub mod get_object;
mod heads;
pub mod ingest;
pub mod lifecycle;
pub mod list_objects;
pub mod list_versions;
mod lock;
pub mod multipart;
mod note_access;
mod object_body;
mod object_lock;
pub mod object_parts;
mod permit;
mod placement;
pub mod planner;
pub mod put_object;
pub mod replica;
pub mod replication;
pub mod restore;
mod restore_object;
pub mod rewrap;
pub mod sealed_object;
mod seen;
pub mod settle;
mod share;
mod store;
pub mod sweep;
mod transition;
mod turns;
mod update_bucket;
mod update_encryption;
mod update_version;

pub use crate::object::ReturnedVersion;
pub use bucket::{Bucket, BucketName, BucketSummary, BucketsPage, ListBuckets, NewBucket};
pub use conditions::{EtagCondition, ReadConditions, WriteConditions};
pub use copy_object::{Copied, CopyObject, CopySource};
pub use delete_object::DeleteOutcome;
pub use get_object::{GetObject, ObjectHead, ObjectRead, PartChecksum, RangeRequest, Select, VersionSelector};
pub use ingest::{Body, BodyError, BodyStream, DeclaredChecksum, TrailerSource};
pub use list_objects::{ListObjects, Listed, ObjectsPage};
pub use list_versions::{ListVersions, ListedVersion, VersionMarker, VersionsPage};
pub use lock::{Governance, Powers};
pub use multipart::{
    CompleteUpload, CreateUpload, ListUploads, ListedUpload, NamedPart, Part, PartCopy, PartsPage, Upload, UploadsPage,
};
pub use object_body::ObjectBody;
pub use object_parts::{GetObjectParts, ObjectPart, ObjectPartsPage};
pub use permit::Permit;
pub use put_object::PutObject;
pub use restore::NewRestore;
pub use sealed_object::{SealedObject, SealedPart};
pub use store::{Limits, Store, StoreParts};

/// The largest object that one request may carry (S3 API reference, PutObject and UploadPart).
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// The largest object (S3 user guide, "Uploading objects": 50 TiB).
pub const OBJECT_BYTES_MAX: u64 = 50 << 40;

/// How often a mutation is tried when others change the same key. Each failed try means that another one succeeded.
const ATTEMPTS_MAX: usize = 512;
