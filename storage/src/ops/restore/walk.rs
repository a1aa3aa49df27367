//! Deciding on one page of a restore: pure, from one view.
//!
//! A key looked like the newest of its versions that were created at or before the point in time, in the order of its
//! history, which a clock that jumps cannot change. So keys whose newest version is that old are left alone after a look at
//! their head; of the others, versions are read from the newest down to the one that is wanted.
//!
//! A key whose newest version is younger than the restore itself was written meanwhile, and is left alone.

use bytes::Bytes;

use crate::StorageError;
use crate::encryption::{Encryption, EncryptionMode};
use crate::id::{ContentId, JobId, VersionId};
use crate::index::family::content::{self, ContentRecord};
use crate::index::family::restore::{RestoreCounts, RestorePosition, RestoreRecord, RestoreState};
use crate::index::family::version::{self, Version, VersionSummary};
use crate::index::{Family, IndexError, KeyRange, Revision, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::ops::VersionSelector;
use crate::ops::heads::{Heads, ListedHead};
use crate::ops::planner::Planner;
use crate::ops::seen::{SeenBucket, SeenKey};
use crate::record::Record;

use super::{RestoreLimits, SeenRecord, check_versioning};

/// What one page will do.
pub(super) struct Plan {
    pub(super) bucket: SeenBucket,
    pub(super) seen: SeenRecord,
    pub(super) changes: Vec<Planned>,
    /// What this page adds to the counts.
    pub(super) counts: RestoreCounts,
    /// Where the next page begins; None: there is none.
    pub(super) position: Option<RestorePosition>,
}

/// What one key needs.
pub(super) struct Planned {
    pub(super) key: ObjectKey,
    pub(super) seen: SeenKey,
    pub(super) change: Change,
}

pub(super) enum Change {
    /// A delete marker.
    Hide,
    /// A version like this one.
    Restore(Box<ObjectVersion>, Source),
}

/// Where the bytes of a restored version come from.
pub(super) enum Source {
    Empty,
    /// They are copied: the content and its value.
    Inline(ContentId, Bytes),
    /// They are shared: the content and its row.
    Shared(ContentId, Revision, ContentRecord),
}

/// The page of the restore `id` that is next; None: the bucket or the restore is over.
pub(super) fn plan(
    view: &dyn View,
    id: JobId,
    limits: RestoreLimits,
    planner: &dyn Planner,
) -> Result<Result<Option<Plan>, StorageError>, IndexError> {
    let wanted = |seen: &SeenRecord| seen.record.id == id && seen.record.state == RestoreState::Running;
    let (Some(bucket), Some(seen)) = (SeenBucket::read(view)?, SeenRecord::read(view)?.filter(wanted)) else {
        return Ok(Ok(None));
    };
    let bucket = match SeenBucket::writable(Some(bucket)).and_then(|bucket| check_versioning(&bucket).map(|()| bucket))
    {
        Ok(bucket) => bucket,
        Err(error) => return Ok(Err(error)),
    };
    let record = seen.record.clone();
    let heads = Heads::new(view, range(&record))?;
    let (changes, counts) = (Vec::new(), RestoreCounts::default());
    let mut walk = Walk { view, record: &record, limits, planner, heads, rows: 0, bytes: 0, changes, counts };
    match walk.run()? {
        Ok(position) => {
            let Walk { changes, counts, .. } = walk;
            Ok(Ok(Some(Plan { bucket, changes, counts, position, seen })))
        }
        Err(error) => Ok(Err(error)),
    }
}

/// The keys that are left.
fn range(record: &RestoreRecord) -> KeyRange {
    let mut range = KeyRange::prefix(record.prefix.as_bytes());
    match &record.position {
        RestorePosition::Start => {}
        RestorePosition::After(key) => range.start = [key.as_bytes(), b"\0"].concat(),
        RestorePosition::Within(key, _) => range.start = key.as_bytes().to_vec(),
    }
    range
}

struct Walk<'v> {
    view: &'v dyn View,
    record: &'v RestoreRecord,
    limits: RestoreLimits,
    planner: &'v dyn Planner,
    heads: Heads<'v>,
    rows: usize,
    bytes: usize,
    changes: Vec<Planned>,
    counts: RestoreCounts,
}

/// How a key looked then.
enum Then {
    /// As this version, which is not the newest.
    Object(Box<ObjectVersion>),
    /// It did not exist.
    Absent,
    /// The page is full: it is older than this version.
    Below(VersionId),
}

impl Walk<'_> {
    /// Fills the page; returns where the next one begins.
    fn run(&mut self) -> Result<Result<Option<RestorePosition>, StorageError>, IndexError> {
        let resumed = match &self.record.position {
            RestorePosition::Within(key, below) => Some((key.as_str(), *below)),
            _ => None,
        };
        let mut last = self.record.position.clone();
        while let Some(head) = self.heads.head()? {
            if self.is_full() {
                return Ok(Ok(Some(last)));
            }
            let below = resumed.filter(|(key, _)| *key == head.key.as_str()).map(|(_, below)| below);
            let key = head.key.as_str().to_owned();
            match self.key(head, below)? {
                Ok(None) => {}
                Ok(Some(below)) => return Ok(Ok(Some(RestorePosition::Within(key, below)))),
                Err(error) => return Ok(Err(error)),
            }
            self.counts.keys += 1;
            last = RestorePosition::After(key);
            self.heads.advance()?;
        }
        Ok(Ok(None))
    }

    fn is_full(&self) -> bool {
        self.rows >= self.limits.page_rows
            || self.changes.len() >= self.limits.page_changes
            || self.bytes >= self.limits.page_bytes
    }

    /// Decides on a key. Some: only its versions down to this one were looked at.
    fn key(
        &mut self,
        head: ListedHead,
        below: Option<VersionId>,
    ) -> Result<Result<Option<VersionId>, StorageError>, IndexError> {
        self.rows += 1;
        let created = head.version.created();
        if created > self.record.started {
            self.counts.overtaken += 1;
            return Ok(Ok(None));
        }
        if created <= self.record.as_of {
            return Ok(Ok(None));
        }
        let is_hidden = matches!(head.version, VersionSummary::Marker(_));
        let change = match self.then(&head.key, below.unwrap_or(head.version.id()))? {
            Then::Below(id) => return Ok(Ok(Some(id))),
            Then::Absent if is_hidden => return Ok(Ok(None)),
            Then::Absent => Change::Hide,
            Then::Object(object) => {
                let source = source(self.view, object.content)?;
                Change::Restore(object, source)
            }
        };
        let seen = match SeenKey::read(self.view, &head.key, VersionSelector::Newest, self.planner)? {
            Ok(seen) => seen,
            Err(error) => return Ok(Err(error)),
        };
        if let (Change::Restore(object, source), Some(newest)) = (&change, seen.newest_object())
            && looks_alike(self.view, newest, object, source)?
        {
            return Ok(Ok(None));
        }
        self.push(Planned { key: head.key, seen, change });
        Ok(Ok(None))
    }

    /// How the key looked, by its versions older than `below`.
    fn then(&mut self, key: &ObjectKey, below: VersionId) -> Result<Then, IndexError> {
        let start = [&version::key(key, below)[..], b"\0"].concat();
        let end = KeyRange::prefix(&version::key_prefix(key)).end;
        let mut cursor = self.view.cursor(Family::Version, KeyRange { start, end })?;
        while let Some((_, _, value)) = cursor.row() {
            let summary = version::summary(value)?;
            if summary.created() <= self.record.as_of {
                return Ok(match Version::from_value(value)? {
                    Version::Object(object) => Then::Object(Box::new(object)),
                    Version::Marker(_) => Then::Absent,
                });
            }
            self.rows += 1;
            if self.rows >= self.limits.page_rows {
                return Ok(Then::Below(summary.id()));
            }
            cursor.advance()?;
        }
        Ok(Then::Absent)
    }

    fn push(&mut self, planned: Planned) {
        self.bytes += planned.size_bytes();
        match &planned.change {
            Change::Hide => self.counts.hidden += 1,
            Change::Restore(object, _) => {
                self.counts.restored += 1;
                self.counts.restored_bytes += object.size_bytes;
            }
        }
        self.changes.push(planned);
    }
}

impl Planned {
    /// About as much as its rows add to a batch.
    fn size_bytes(&self) -> usize {
        let record = |version: Version| version.to_value().map_or(Version::BYTES_MAX, |value| value.len());
        let head = self.seen.head.head.as_ref().map_or(0, |head| record(head.version.clone()));
        head + match &self.change {
            Change::Hide => 0,
            Change::Restore(object, source) => {
                let inline = if let Source::Inline(_, value) = source { value.len() } else { 0 };
                record(Version::Object((**object).clone())) + inline
            }
        }
    }
}

fn source(view: &dyn View, content: Content) -> Result<Source, IndexError> {
    let missing = |id| IndexError::Corrupt(format!("version's content {id} has no row"));
    Ok(match content {
        Content::Empty => Source::Empty,
        Content::Inline(id) => {
            let row = view.get(Family::Inline, id.as_bytes())?.ok_or_else(|| missing(id))?;
            Source::Inline(id, row.value)
        }
        Content::File(id) | Content::Composite(id) => {
            let (row, record) = content::read(view, id)?.ok_or_else(|| missing(id))?;
            Source::Shared(id, row.revision, record)
        }
    })
}

/// Whether clients see the same in `newest` as in `then`: the same content, by its bytes and not by a digest that somebody
/// may have chosen, and all that is said about it but the lock.
fn looks_alike(
    view: &dyn View,
    newest: &ObjectVersion,
    then: &ObjectVersion,
    source: &Source,
) -> Result<bool, IndexError> {
    // Every field is named, so that nothing can be added to a version that would be overlooked here.
    let ObjectVersion {
        version_id: _,
        is_null: _,
        created: _,
        owner,
        size_bytes,
        etag,
        content: _,
        checksum,
        storage_class,
        attributes,
        settings,
        encryption,
        sealed_checksum,
        placed: _,
        restored: _,
        access: _,
        replication: _,
    } = then;
    let same_description = newest.size_bytes == *size_bytes
        && newest.etag == *etag
        && newest.checksum == *checksum
        && newest.sealed_checksum == *sealed_checksum
        && newest.owner == *owner
        && newest.storage_class == *storage_class
        && newest.attributes == *attributes
        && newest.settings.tags == settings.tags
        && newest.settings.acl == settings.acl
        && sealed_alike(newest.encryption.as_ref(), encryption.as_ref());
    if !same_description {
        return Ok(false);
    }
    match (newest.content, source) {
        (Content::Inline(id), Source::Inline(from, value)) => {
            let row = view.get(Family::Inline, id.as_bytes())?;
            let copied = crate::blob::inline::copy(*from, value, id);
            Ok(row.is_some_and(|row| copied.is_ok_and(|copied| copied == row.value)))
        }
        _ => Ok(newest.content == then.content),
    }
}

/// Whether answers say the same of how two versions are sealed.
fn sealed_alike(one: Option<&Encryption>, other: Option<&Encryption>) -> bool {
    fn shown(encryption: &Encryption) -> (EncryptionMode, Option<(&str, bool)>) {
        (encryption.mode, encryption.kms.as_ref().map(|kms| (kms.key_arn.as_str(), kms.bucket_key)))
    }
    one.map(shown) == other.map(shown)
}
