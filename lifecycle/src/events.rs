//! What is done to a bucket by its rules or access tiers, told as it is done, for who keeps a record of it.

use std::fmt;

use cairn_storage::clock::Timestamp;
use cairn_storage::id::UploadId;
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::Bucket;
use cairn_storage::ops::lifecycle::ActDone;

/// Something that was done, and is durable.
#[derive(Clone, Copy, Debug)]
pub struct Event<'e> {
    /// When.
    pub time: Timestamp,
    /// In which bucket.
    pub bucket: &'e Bucket,
    /// The key.
    pub key: &'e ObjectKey,
    /// The id of the rule that asked for it; None: none has to, because it is about access tiers.
    pub rule: Option<&'e str>,
    /// What was done.
    pub what: What,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Something about a version.
    Act(ActDone),
    /// An upload was aborted.
    Abort(UploadId),
}

/// Who is told.
pub trait Events: Send + Sync + fmt::Debug {
    /// Something was done. A sweep does not go on before this returns, so it must not wait for anything.
    fn done(&self, event: &Event<'_>);
}
