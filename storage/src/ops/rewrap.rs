//! Finding the envelopes of data keys, and exchanging them: the data key, the content and everything else about a version or
//! an upload stay as they are, locks or not.
//!
//! A bucket is walked in two parts: its uploads, completed ones too, and then its versions, key by key. In that order
//! nothing is missed: an upload becomes a version only with the envelope that it has then, and what else copies an
//! envelope copies it within a key, under a guard of the head, which every exchange rewrites. A page that ends within a key
//! names its head, so that the next one sees whether that happened between them.

use async_trait::async_trait;
use cairn_crypto::wrap::WrapContext;
use futures::{FutureExt as _, StreamExt as _};
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::encryption::{self, Encryption};
use crate::id::{BucketId, UploadId, VersionId};
use crate::index::family::head::Head;
use crate::index::family::upload::{self, UploadRecord, UploadState};
use crate::index::family::version::{self, Version};
use crate::index::key::push_escaped;
use crate::index::{Cursor, Family, IndexError, KeyRange, Revision, View};
use crate::object::{ObjectKey, ObjectVersion};
use crate::record::{Record, decode_as};

use super::heads::Heads;
use super::placement::Mutation;
use super::seen::SeenBucket;
use super::update_version::replace;
use super::{ATTEMPTS_MAX, Store, VersionSelector};

/// Keys whose envelopes are exchanged at once: their commits share syncs.
const KEYS_AT_ONCE: usize = 32;

/// Where a walk over a bucket's envelopes is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum EnvelopePosition {
    /// At the first upload.
    #[default]
    #[n(0)]
    Start,
    /// Behind the upload of this row.
    #[n(1)]
    AfterUpload(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// At the first key at or after this one.
    #[n(2)]
    FromKey(#[n(0)] String),
    /// Within a key's older versions, behind this one.
    #[n(3)]
    Within(
        #[n(0)] String,
        #[n(1)] VersionId,
        /// The head's: if it is another one by now, the key is begun anew, because what the last page had still before it may have
        /// been copied to where it had been already. None: whatever the head is.
        #[n(2)]
        Option<Revision>,
    ),
}

impl EnvelopePosition {
    /// The same, for a walk that is to come to its end however often a key is written, and may pass something by.
    #[must_use]
    pub fn come_what_may(self) -> Self {
        match self {
            Self::Within(key, last, _) => Self::Within(key, last, None),
            other => other,
        }
    }
}

/// How far a page goes at most.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeLimits {
    /// Rows looked at.
    pub rows: usize,
    /// Envelopes found.
    pub found: usize,
}

impl Default for EnvelopeLimits {
    fn default() -> Self {
        Self { rows: 2_000, found: 500 }
    }
}

/// What has an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOf {
    /// An upload, or the version that it became.
    Upload(UploadId),
    /// A version, of so many bytes.
    Version(VersionId, u64),
}

/// What one page found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopePage {
    /// What was asked for, those of one key together.
    pub found: Vec<(ObjectKey, Vec<EnvelopeOf>)>,
    /// Sealed versions and uploads that were looked at.
    pub examined: u64,
    /// Where the next page begins; None: there is none.
    pub next: Option<EnvelopePosition>,
}

/// Exchanges envelopes.
#[async_trait]
pub trait Rewrap: Send + Sync {
    /// The same data key in another envelope, of the same context; None: it is to stay in this one.
    ///
    /// # Errors
    /// `KeyUnusable`, `KeyRefused`: this one cannot be exchanged.
    async fn rewrap(
        &self,
        encryption: &Encryption,
        context: WrapContext<'_>,
    ) -> Result<Option<Encryption>, StorageError>;
}

/// What became of the envelopes of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Exchanged, and the bytes of their versions.
    pub changed: u64,
    /// The bytes of those that are versions.
    pub bytes: u64,
    /// Not any more what they were found as.
    pub overtaken: u64,
    /// Not exchanged.
    pub failed: u64,
    /// Why the last of them was not.
    pub last_error: Option<String>,
}

impl Store {
    /// Asks `wanted` about the bucket's envelopes from `position` on. Nothing is found in a bucket that is gone.
    ///
    /// # Errors
    /// The index's.
    pub async fn envelope_page<F>(
        &self,
        bucket: BucketId,
        position: EnvelopePosition,
        limits: EnvelopeLimits,
        wanted: F,
    ) -> Result<EnvelopePage, StorageError>
    where
        F: Fn(&Encryption) -> bool + Clone + Send + 'static,
    {
        self.view_far(bucket, move |view| {
            let mut walk = Walk { view, limits, wanted: &wanted, page: EnvelopePage::default(), rows: 0, found: 0 };
            walk.page.next = match &position {
                EnvelopePosition::Start => walk.uploads(None)?,
                EnvelopePosition::AfterUpload(row) => walk.uploads(Some(row))?,
                EnvelopePosition::FromKey(key) => walk.keys(key, None)?,
                EnvelopePosition::Within(key, last, head) => walk.keys(key, Some((*last, *head)))?,
            };
            Ok(walk.page)
        })
        .await
    }

    /// Exchanges the envelopes that a page found. Durable when it returns.
    ///
    /// # Errors
    /// Those that have nothing to do with the one envelope: some may be exchanged, and the page can be done again.
    pub async fn rewrap_page(
        &self,
        bucket: BucketId,
        page: &EnvelopePage,
        rewrap: &dyn Rewrap,
    ) -> Result<Rewrapped, StorageError> {
        self.health().check_writable()?;
        let of_keys: Vec<_> =
            page.found.iter().map(|(key, all)| self.rewrap_key(bucket, key, all, rewrap).boxed()).collect();
        let mut outcomes = futures::stream::iter(of_keys).buffer_unordered(KEYS_AT_ONCE);
        let mut done = Rewrapped::default();
        while let Some(outcome) = outcomes.next().await {
            let more = outcome?;
            done.changed += more.changed;
            done.bytes = done.bytes.saturating_add(more.bytes);
            done.overtaken += more.overtaken;
            done.failed += more.failed;
            done.last_error = more.last_error.or(done.last_error);
        }
        Ok(done)
    }

    /// One after another, because each rewrites the key's head.
    async fn rewrap_key(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        all: &[EnvelopeOf],
        rewrap: &dyn Rewrap,
    ) -> Result<Rewrapped, StorageError> {
        let mut done = Rewrapped::default();
        for of in all {
            let (outcome, bytes) = match of {
                EnvelopeOf::Upload(id) => (self.rewrap_upload(bucket, key, *id, rewrap).await, 0),
                EnvelopeOf::Version(id, bytes) => (self.rewrap_version(bucket, key, *id, rewrap).await, *bytes),
            };
            match outcome {
                Ok(true) => {
                    done.changed += 1;
                    done.bytes = done.bytes.saturating_add(bytes);
                }
                Ok(false) => done.overtaken += 1,
                Err(
                    error @ (StorageError::KeyUnusable { .. }
                    | StorageError::KeyRefused(_)
                    | StorageError::Corrupt { .. }
                    | StorageError::MetadataTooLarge),
                ) => {
                    done.failed += 1;
                    done.last_error = Some(error.to_string());
                }
                Err(StorageError::NoSuchBucket) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// False: the version is gone, or has another envelope by now.
    async fn rewrap_version(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        rewrap: &dyn Rewrap,
    ) -> Result<bool, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let selector = VersionSelector::Id(id);
            let seen = self.see_key(bucket, key, selector).await?;
            let found = seen.head.head.as_ref().and_then(|head| seen.find(head, selector));
            let Some(Version::Object(object)) = found else { return Ok(false) };
            let Some(changed) = rewrapped(object, bucket, key, rewrap).await? else { return Ok(false) };
            let mutation = replace(key, &seen, &changed)?;
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(true);
            }
        }
        Err(StorageError::Contention)
    }

    /// False: the upload is gone, or has other envelopes by now.
    async fn rewrap_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: UploadId,
        rewrap: &dyn Rewrap,
    ) -> Result<bool, StorageError> {
        let row_key = upload::key(key, id);
        for _ in 0..ATTEMPTS_MAX {
            let of_view = row_key.clone();
            let page = move |view: &dyn View| Ok((SeenBucket::read(view)?, view.get(Family::Upload, &of_view)?));
            let (seen_bucket, row) = self.view(bucket, page).await?;
            let (seen_bucket, Some(row)) = (SeenBucket::writable(seen_bucket)?, row) else { return Ok(false) };
            let mut record = UploadRecord::from_value(&row.value)?;
            let mut changed = false;
            if let Some(encryption) = &record.encryption {
                let context = encryption::context(bucket, key, *id.as_bytes());
                if let Some(other) = rewrap.rewrap(encryption, context).await? {
                    (record.encryption, changed) = (Some(other), true);
                }
            }
            if let UploadState::Completed { object, .. } = &mut record.state
                && let Some(other) = rewrapped(object, bucket, key, rewrap).await?
            {
                (*object, changed) = (other, true);
            }
            if !changed {
                return Ok(false);
            }
            let mut mutation = Mutation::new(&seen_bucket);
            // Stops: a part, a Complete or an Abort x the exchange, the later of which would bring back what the other
            // replaced.
            mutation.batch.guard(Family::Upload, row_key.clone(), Some(row.revision));
            mutation.batch.put(Family::Upload, row_key.clone(), record.to_value()?);
            if self.commit(bucket.into(), mutation.batch, mutation.tasks).await? {
                return Ok(true);
            }
        }
        Err(StorageError::Contention)
    }
}

async fn rewrapped(
    object: &ObjectVersion,
    bucket: BucketId,
    key: &ObjectKey,
    rewrap: &dyn Rewrap,
) -> Result<Option<ObjectVersion>, StorageError> {
    let Some(encryption) = &object.encryption else { return Ok(None) };
    let other = rewrap.rewrap(encryption, object.wrap_context(bucket, key)).await?;
    Ok(other.map(|other| ObjectVersion { encryption: Some(other), ..object.clone() }))
}

struct Walk<'v, F> {
    view: &'v dyn View,
    limits: EnvelopeLimits,
    wanted: &'v F,
    page: EnvelopePage,
    rows: usize,
    found: usize,
}

impl<F: Fn(&Encryption) -> bool> Walk<'_, F> {
    fn is_full(&self) -> bool {
        self.rows >= self.limits.rows || self.found >= self.limits.found
    }

    /// Looks at the uploads behind this row.
    fn uploads(&mut self, after: Option<&Vec<u8>>) -> Result<Option<EnvelopePosition>, IndexError> {
        let start = after.map(|row| [row.as_slice(), b"\0"].concat()).unwrap_or_default();
        let mut cursor = self.view.cursor(Family::Upload, KeyRange { start, end: None })?;
        while let Some((row, _, value)) = cursor.row() {
            let record = UploadRecord::from_value(value)?;
            let of_object = match &record.state {
                UploadState::Completed { object, .. } => object.encryption.as_ref(),
                UploadState::Open => None,
            };
            let sealed: Vec<_> = record.encryption.as_ref().into_iter().chain(of_object).collect();
            let (key, id) = upload::parse_key(row).ok_or_else(|| IndexError::Corrupt("an upload's key".to_owned()))?;
            self.look(&sealed, EnvelopeOf::Upload(id), &key);
            if self.is_full() {
                return Ok(Some(EnvelopePosition::AfterUpload(row.to_vec())));
            }
            cursor.advance()?;
        }
        Ok(Some(EnvelopePosition::FromKey(String::new())))
    }

    /// Looks at the keys from this one on; of this one, at the head and, if some were looked at, at the versions behind the
    /// last of those, unless the head is not the one of then. It may be any by now, even one of those older versions.
    fn keys(
        &mut self,
        from: &str,
        within: Option<(VersionId, Option<Revision>)>,
    ) -> Result<Option<EnvelopePosition>, IndexError> {
        let range = KeyRange { start: from.as_bytes().to_vec(), end: None };
        let mut older_start = Vec::new();
        crate::index::key::push_escaped_prefix(&mut older_start, from.as_bytes());
        let mut heads = Heads::new(self.view, range)?;
        let mut older = self.view.cursor(Family::Version, KeyRange { start: older_start, end: None })?;
        let mut prefix = Vec::new();
        while let Some(row) = heads.row()? {
            let (key, revision) = (row.object_key()?, row.revision);
            if self.is_full() {
                return Ok(Some(EnvelopePosition::FromKey(key.as_str().to_owned())));
            }
            let head: SealedHead = decode_as(Head::NAME, Head::FORMAT, row.value)?;
            self.look_at(&key, &head.version);
            prefix.clear();
            push_escaped(&mut prefix, key.as_bytes());
            let resumed = within.filter(|(_, head)| key.as_str() == from && head.is_none_or(|head| head == revision));
            if let Some(last) = self.versions(older.as_mut(), &key, &prefix, resumed.map(|(last, _)| last))? {
                return Ok(Some(EnvelopePosition::Within(key.as_str().to_owned(), last, Some(revision))));
            }
            heads.advance()?;
        }
        Ok(None)
    }

    /// Looks at a key's older versions, behind `after`. Some: the page is full behind this one.
    fn versions(
        &mut self,
        older: &mut (dyn Cursor + '_),
        key: &ObjectKey,
        prefix: &[u8],
        after: Option<VersionId>,
    ) -> Result<Option<VersionId>, IndexError> {
        match after {
            Some(last) => older.seek(&[&version::key(key, last)[..], b"\0"].concat())?,
            None => older.seek(prefix)?,
        }
        while let Some((row, _, value)) = older.row().filter(|(row, ..)| row.starts_with(prefix)) {
            let record: SealedRecord = decode_as(Version::NAME, Version::FORMAT, value)?;
            debug_assert!(row.len() > prefix.len(), "a version's row has its id");
            self.look_at(key, &record);
            older.advance()?;
            if self.is_full() {
                return Ok(Some(record.id()));
            }
        }
        Ok(None)
    }

    fn look_at(&mut self, key: &ObjectKey, record: &SealedRecord) {
        match record {
            SealedRecord::Marker(_) => self.rows += 1,
            SealedRecord::Object(object) => {
                let sealed: Vec<_> = object.encryption.iter().collect();
                self.look(&sealed, EnvelopeOf::Version(object.version_id, object.size_bytes), key);
            }
        }
    }

    fn look(&mut self, sealed: &[&Encryption], of: EnvelopeOf, key: &ObjectKey) {
        self.rows += 1;
        self.page.examined += u64::from(!sealed.is_empty());
        if !sealed.iter().any(|encryption| (self.wanted)(encryption)) {
            return;
        }
        self.found += 1;
        match self.page.found.last_mut() {
            Some((last, all)) if last == key => all.push(of),
            _ => self.page.found.push((key.clone(), vec![of])),
        }
    }
}

/// What is decoded of a [`Head`].
#[derive(Decode)]
#[cbor(map)]
struct SealedHead {
    #[n(0)]
    version: SealedRecord,
}

/// What is decoded of a [`Version`].
#[derive(Decode)]
#[allow(clippy::large_enum_variant)] // short-lived, one at a time
enum SealedRecord {
    #[n(0)]
    Object(#[n(0)] SealedFields),
    #[n(1)]
    Marker(#[n(0)] MarkerId),
}

#[derive(Decode)]
#[cbor(map)]
struct SealedFields {
    #[n(0)]
    version_id: VersionId,
    #[n(4)]
    size_bytes: u64,
    #[n(11)]
    encryption: Option<Encryption>,
}

#[derive(Decode)]
#[cbor(map)]
struct MarkerId {
    #[n(0)]
    version_id: VersionId,
}

impl SealedRecord {
    fn id(&self) -> VersionId {
        match self {
            Self::Object(object) => object.version_id,
            Self::Marker(marker) => marker.version_id,
        }
    }
}
