//! Walking over all versions of a bucket, to find those about which something is due: one view a page, in the order of
//! keys and, of each key, the newest version first.
//!
//! Like a listing of versions, but it decodes only what rules decide by, and asks a pure function about each version
//! instead of returning it, so that a page holds little however many versions it passes.

use minicbor::Decode;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{BucketId, VersionId};
use crate::index::family::bucket::Versioning;
use crate::index::family::document::DocumentKind;
use crate::index::family::head::{Head, SeenHead};
use crate::index::family::version::Version;
use crate::index::key::{push_escaped, push_escaped_prefix};
use crate::index::{Cursor, Family, IndexError, KeyRange, Revision};
use crate::object::{Access, DeleteMarker, ObjectKey, Restored, StorageClass};
use crate::record::{Record, decode_as};
use crate::settings::{Retention, Tag};

use super::Store;
use super::heads::{HeadRow, Heads};
use super::seen::SeenBucket;

/// How far newer versions are counted anew: no rule keeps more.
pub const NEWER_COUNTED_MAX: u32 = 100;

/// A version, with what rules decide by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptVersion {
    /// Its id.
    pub id: VersionId,
    /// When it was created.
    pub created: Timestamp,
    /// Its place among the versions of its key.
    pub standing: Standing,
    /// What it is; None: a delete marker.
    pub object: Option<SweptObject>,
}

/// A version's place among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The newest.
    Head {
        /// There is no other. Of an object it is not known (false), unless older versions are gone through.
        alone: bool,
        /// Deleting it without naming it would end it for good.
        for_good: bool,
    },
    /// An older one.
    Older {
        /// When the version that followed it was created.
        since: Timestamp,
        /// How many older ones are newer than it; of a key that changed under the sweep, at most [`NEWER_COUNTED_MAX`] before
        /// where the page began.
        newer: u32,
    },
}

/// A version that is an object, with what rules decide by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptObject {
    /// Plaintext bytes.
    pub size_bytes: u64,
    /// The class.
    pub class: StorageClass,
    /// The tags.
    pub tags: Vec<Tag>,
    /// Until when a retention keeps it, or for ever, if it is under legal hold; None: nothing does.
    pub locked_until: Option<Timestamp>,
    /// When it came into its class.
    pub since: Timestamp,
    /// Its tier and last access, if its class has tiers.
    pub access: Option<Access>,
    /// Its newest restore.
    pub restored: Option<Restored>,
}

/// What a sweep goes through.
#[derive(Clone, Debug, Default)]
pub struct SweepScope {
    /// The first key past it; None: there is none.
    pub end: Option<Vec<u8>>,
    /// Older versions, too.
    pub older: bool,
}

/// How far a page goes at most.
#[derive(Clone, Copy, Debug)]
pub struct SweepLimits {
    /// Versions looked at.
    pub versions: u64,
    /// Versions found.
    pub found: usize,
}

/// Where a sweep is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SweepPosition {
    /// At the first key.
    #[default]
    Start,
    /// At the first key at or after this.
    From(Vec<u8>),
    /// Within a key's older versions. If the key is another one by then, those that are newer than the last one are counted
    /// anew and not asked about: however often a key is written, a sweep comes to its end.
    Within {
        /// The key.
        key: ObjectKey,
        /// The last version that was looked at.
        last: VersionId,
        /// When it was created.
        created: Timestamp,
        /// How many older versions were looked at.
        older: u32,
        /// The head's revision.
        head: Revision,
    },
}

/// A key with versions about which something is due.
#[derive(Clone, Debug)]
pub struct SweptKey<A> {
    /// The key.
    pub key: ObjectKey,
    /// Its head.
    pub head: SeenRevision,
    /// What is due, about which version, the newest first.
    pub due: Vec<(VersionId, A)>,
}

/// A key's state: any change of the key changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRevision(pub(super) Revision);

/// What one page found.
#[derive(Clone, Debug)]
pub struct SweptPage<A> {
    /// The keys about which something is due.
    pub keys: Vec<SweptKey<A>>,
    /// Versions looked at.
    pub versions: u64,
    /// Where the next page begins; None: there is none.
    pub next: Option<SweepPosition>,
}

impl Store {
    /// Asks `due` about the versions from `position` on.
    ///
    /// # Errors
    /// The index's.
    pub async fn sweep_page<A, F>(
        &self,
        bucket: BucketId,
        position: SweepPosition,
        scope: SweepScope,
        limits: SweepLimits,
        due: F,
    ) -> Result<SweptPage<A>, StorageError>
    where
        A: Send + 'static,
        F: FnMut(&str, &SweptVersion) -> Option<A> + Clone + Send + 'static,
    {
        let lock_time = self.lock_clock().now();
        self.view_far(bucket, move |view| {
            let Some(bucket) = SeenBucket::read(view)? else {
                return Ok(SweptPage { keys: Vec::new(), versions: 0, next: None });
            };
            let range = KeyRange { start: start_of(&position), end: scope.end.clone() };
            let mut older = Vec::new();
            push_escaped_prefix(&mut older, &range.start);
            let mut walk = Walk {
                scope: scope.clone(),
                older: view.cursor(Family::Version, KeyRange { start: older, end: None })?,
                versioning: bucket.record.versioning,
                lock_time,
                limits,
                due: due.clone(),
                page: SweptPage { keys: Vec::new(), versions: 0, next: None },
                found: 0,
                prefix: Vec::new(),
                of_key: Vec::new(),
            };
            walk.run(Heads::new(view, range)?, &position)?;
            Ok(walk.page)
        })
        .await
    }

    /// A document of the bucket with its revision, which [`Store::act_on_key`] guards.
    ///
    /// # Errors
    /// The index's.
    pub async fn document_with_revision(
        &self,
        bucket: BucketId,
        kind: DocumentKind,
    ) -> Result<Option<(bytes::Bytes, Revision)>, StorageError> {
        self.view(bucket, move |view| Ok(view.get(Family::Document, &kind.key())?.map(|row| (row.value, row.revision))))
            .await
    }
}

fn start_of(position: &SweepPosition) -> Vec<u8> {
    match position {
        SweepPosition::Start => Vec::new(),
        SweepPosition::From(start) => start.clone(),
        SweepPosition::Within { key, .. } => key.as_bytes().to_vec(),
    }
}

/// What is known of a page while its heads are gone through.
struct Walk<'v, A, F> {
    older: Box<dyn Cursor + 'v>,
    scope: SweepScope,
    versioning: Versioning,
    lock_time: Timestamp,
    limits: SweepLimits,
    due: F,
    page: SweptPage<A>,
    found: usize,
    /// Where the rows of a key's older versions begin.
    prefix: Vec<u8>,
    /// What is due about the key.
    of_key: Vec<(VersionId, A)>,
}

impl<A, F: FnMut(&str, &SweptVersion) -> Option<A>> Walk<'_, A, F> {
    fn run(&mut self, mut heads: Heads<'_>, position: &SweepPosition) -> Result<(), IndexError> {
        while let Some(row) = heads.row()? {
            if self.is_full() {
                self.page.next = Some(SweepPosition::From(row.key.as_bytes().to_vec()));
                return Ok(());
            }
            let head: SweptHead = decode_as(Head::NAME, Head::FORMAT, row.value)?;
            let full = self.key(&row, head.version, position)?;
            if !self.of_key.is_empty() {
                let due = std::mem::take(&mut self.of_key);
                self.page.keys.push(SweptKey { key: row.object_key()?, head: SeenRevision(row.revision), due });
            }
            if let Some(within) = full {
                self.page.next = Some(within);
                return Ok(());
            }
            heads.advance()?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.page.versions >= self.limits.versions || self.found >= self.limits.found
    }

    /// Asks about the versions of a key. Some: the page is full before its last one.
    fn key(
        &mut self,
        row: &HeadRow<'_>,
        head: SweptRecord,
        position: &SweepPosition,
    ) -> Result<Option<SweepPosition>, IndexError> {
        if self.scope.older || head.is_marker() {
            self.seek_older(row.key)?;
        }
        let (mut since, mut newer) = (head.created(), 0_u32);
        match position {
            SweepPosition::Within { key, last, created, older, head } if key.as_str() == row.key => {
                since = *created;
                newer = self.seek_past(*last, (*head == row.revision).then_some(*older))?;
            }
            _ => {
                let alone = (self.scope.older || head.is_marker()) && !self.is_at_older();
                let for_good = match self.versioning {
                    Versioning::Unversioned => true,
                    Versioning::Suspended => head.is_null(),
                    Versioning::Enabled => false,
                };
                self.ask(row.key, head, Standing::Head { alone, for_good });
            }
        }
        if !self.scope.older {
            return Ok(None);
        }
        while let Some((older, _, value)) = self.older.row() {
            if !older.starts_with(&self.prefix) {
                break;
            }
            let record: SweptRecord = decode_as(Version::NAME, Version::FORMAT, value)?;
            let (id, created) = (record.id(), record.created());
            self.ask(row.key, record, Standing::Older { since, newer });
            (since, newer) = (created, newer.saturating_add(1));
            self.older.advance()?;
            if self.is_full() {
                let (key, head) = (row.object_key()?, row.revision);
                return Ok(Some(SweepPosition::Within { key, last: id, created, older: newer, head }));
            }
        }
        Ok(None)
    }

    /// Moves to the key's older versions. Rows of a key without a head are passed over, not stopped at.
    fn seek_older(&mut self, key: &str) -> Result<(), IndexError> {
        if self.older.row().is_some() {
            self.prefix.clear();
            push_escaped(&mut self.prefix, key.as_bytes());
            self.older.seek(&self.prefix)?;
        }
        Ok(())
    }

    fn is_at_older(&self) -> bool {
        self.older.row().is_some_and(|(row, ..)| row.starts_with(&self.prefix))
    }

    /// Moves past the older version that was looked at last. How many there are up to it, if that is not known: some may have
    /// gone since they were counted, and a rule that keeps so many must not miscount them.
    fn seek_past(&mut self, last: VersionId, known: Option<u32>) -> Result<u32, IndexError> {
        let after_last = [self.prefix.as_slice(), &last.newest_first(), b"\0"].concat();
        let mut newer = known.unwrap_or(0);
        if known.is_none() {
            while newer < NEWER_COUNTED_MAX && self.older.row().is_some_and(|(row, ..)| row < after_last.as_slice()) {
                newer += 1;
                self.older.advance()?;
            }
        }
        self.older.seek(&after_last)?;
        Ok(newer)
    }

    fn ask(&mut self, key: &str, record: SweptRecord, standing: Standing) {
        self.page.versions += 1;
        let version = record.swept(standing, self.lock_time);
        if let Some(action) = (self.due)(key, &version) {
            self.found += 1;
            self.of_key.push((version.id, action));
        }
    }
}

/// What a sweep decodes of a [`Head`].
#[derive(Decode)]
#[cbor(map)]
struct SweptHead {
    #[n(0)]
    version: SweptRecord,
}

/// What a sweep decodes of a [`Version`].
#[derive(Decode)]
enum SweptRecord {
    #[n(0)]
    Object(#[n(0)] ObjectFields),
    #[n(1)]
    Marker(#[n(0)] DeleteMarker),
}

#[derive(Decode)]
#[cbor(map)]
struct ObjectFields {
    #[n(0)]
    version_id: VersionId,
    #[n(1)]
    is_null: bool,
    #[n(2)]
    created: Timestamp,
    #[n(4)]
    size_bytes: u64,
    #[n(8)]
    storage_class: StorageClass,
    #[n(10)]
    #[cbor(default)]
    settings: SettingsFields,
    #[n(14)]
    placed: Option<Timestamp>,
    #[n(15)]
    restored: Option<Restored>,
    #[n(17)]
    access: Option<Access>,
}

#[derive(Default, Decode)]
#[cbor(map)]
struct SettingsFields {
    #[n(0)]
    #[cbor(default)]
    tags: Vec<Tag>,
    #[n(1)]
    retention: Option<Retention>,
    #[n(2)]
    legal_hold: Option<bool>,
}

impl SweptRecord {
    fn id(&self) -> VersionId {
        match self {
            Self::Object(object) => object.version_id,
            Self::Marker(marker) => marker.version_id,
        }
    }

    fn created(&self) -> Timestamp {
        match self {
            Self::Object(object) => object.created,
            Self::Marker(marker) => marker.created,
        }
    }

    fn is_null(&self) -> bool {
        match self {
            Self::Object(object) => object.is_null,
            Self::Marker(marker) => marker.is_null,
        }
    }

    fn is_marker(&self) -> bool {
        matches!(self, Self::Marker(_))
    }

    fn swept(self, standing: Standing, lock_time: Timestamp) -> SweptVersion {
        let (id, created) = (self.id(), self.created());
        let object = match self {
            Self::Marker(_) => None,
            Self::Object(ObjectFields {
                size_bytes, storage_class: class, settings, placed, restored, access, ..
            }) => {
                let retained = settings.retention.map(|retention| retention.until).filter(|until| *until > lock_time);
                let locked_until = if settings.legal_hold == Some(true) { Some(Timestamp(i64::MAX)) } else { retained };
                let since = placed.unwrap_or(created);
                Some(SweptObject { size_bytes, class, tags: settings.tags, locked_until, since, access, restored })
            }
        };
        SweptVersion { id, created, standing, object }
    }
}

/// The revision of a key's head as a view saw it.
pub(super) fn revision_of(seen: &SeenHead) -> Option<SeenRevision> {
    seen.current.or(seen.hidden).map(SeenRevision)
}
