//! GetObject and HeadObject: one view finds the version and everything needed to read it; the bytes follow as a stream.

use std::ops::Range;

use cairn_crypto::checksum::Checksum;
use cairn_crypto::seal::SealId;
use cairn_crypto::secret::DataKey;

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::{ContentId, VersionId};
use crate::index::family::content::{self, ContentKind};
use crate::index::family::head::{Head, SeenHead};
use crate::index::family::layout::{LayoutPage, LayoutPart};
use crate::index::family::version::Version;
use crate::index::{Family, IndexError, KeyRange, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;
use crate::sealed_checksum::SealedChecksum;

use super::object_body::{ObjectBody, Piece, Source};
use super::object_parts::read_part;
use super::seen::read_version;
use super::{Bucket, Permit, ReadConditions, Store};

/// Which version of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionSelector {
    /// The newest.
    #[default]
    Newest,
    /// The `null` version.
    Null,
    /// This one.
    Id(VersionId),
}

impl VersionSelector {
    /// The id of the version that is asked for by name; None: the newest, or a `null` version that does not exist.
    pub(super) fn resolve(self, head: &Head) -> Option<VersionId> {
        match self {
            Self::Newest => None,
            Self::Id(id) => Some(id),
            Self::Null if head.version.is_null() => Some(head.version.id()),
            Self::Null => head.older_null,
        }
    }
}

/// A range of bytes as a client asks for it (RFC 9110 section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// `first-` or `first-last`.
    From {
        /// The first byte.
        first: u64,
        /// The last byte, inclusive; None: the end.
        last: Option<u64>,
    },
    /// `-length`: the last bytes.
    Suffix(u64),
}

impl RangeRequest {
    /// The bytes asked for of a content of `size_bytes`.
    ///
    /// # Errors
    /// `RangeNotSatisfiable`.
    pub fn resolve(self, size_bytes: u64) -> Result<Range<u64>, StorageError> {
        let range = match self {
            Self::From { first, last } => first..last.map_or(size_bytes, |last| last.saturating_add(1).min(size_bytes)),
            Self::Suffix(length) => size_bytes.saturating_sub(length)..size_bytes,
        };
        if range.start < range.end { Ok(range) } else { Err(StorageError::RangeNotSatisfiable { size_bytes }) }
    }
}

/// What of the version to return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// All of it.
    #[default]
    Whole,
    /// A range.
    Range(RangeRequest),
    /// The part that was uploaded under this place in the finished object (1: the first).
    Part(u16),
}

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct GetObject {
    /// Which version.
    pub version: VersionSelector,
    /// Whether the caller may read it.
    pub permit: Permit,
    /// Conditions on it.
    pub conditions: ReadConditions,
    /// What of it.
    pub select: Select,
}

/// The checksum of a part that was selected, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartChecksum {
    /// If it is not sealed.
    pub clear: Option<Checksum>,
    /// If it is, with the number that the part was uploaded under.
    pub sealed: Option<(u16, SealedChecksum)>,
}

impl PartChecksum {
    /// The checksum; None also if it is sealed and the key is not at hand.
    ///
    /// # Errors
    /// `Corrupt` if it is not that part's, by this key.
    pub fn open(&self, key: Option<&DataKey>) -> Result<Option<Checksum>, StorageError> {
        match (&self.sealed, key) {
            (Some((number, sealed)), Some(key)) => sealed.open_of_part(key, *number).map(Some),
            _ => Ok(self.clear),
        }
    }
}

/// A version without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// The version.
    pub object: ObjectVersion,
    /// The bytes selected.
    pub range: Range<u64>,
    /// How many parts it has, if it was uploaded in parts.
    pub parts_count: Option<u16>,
    /// The selected part's own checksum, if it was uploaded as a part and one was selected.
    pub part_checksum: PartChecksum,
}

/// A version with its bytes.
#[derive(Debug)]
pub struct ObjectRead {
    /// The version.
    pub object: ObjectVersion,
    /// The bytes selected.
    pub range: Range<u64>,
    /// How many parts it has, if it was uploaded in parts.
    pub parts_count: Option<u16>,
    /// The selected part's own checksum, if it was uploaded as a part and one was selected.
    pub part_checksum: PartChecksum,
    /// The bytes.
    pub body: ObjectBody,
}

/// Everything one view says about a version and the bytes wanted of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) object: ObjectVersion,
    pub(super) range: Range<u64>,
    pub(super) parts_count: Option<u16>,
    pub(super) part_checksum: PartChecksum,
    pub(super) pieces: Vec<Piece>,
}

impl Store {
    /// Reads an object or a range of it.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `IsDeleteMarker`, `PreconditionFailed`, `NotModified`, `RangeNotSatisfiable`,
    /// `NoSuchPart`. The body's stream may end with `Corrupt` or `Io`; bytes that fail their checksum are never given.
    pub async fn get_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: GetObject,
    ) -> Result<ObjectRead, StorageError> {
        let (found, body) = self.open_object(bucket, key, get).await?;
        let Found { object, range, parts_count, part_checksum, .. } = found;
        Ok(ObjectRead { object, range, parts_count, part_checksum, body })
    }

    /// What [`Store::get_object`] would return, without the bytes.
    ///
    /// # Errors
    /// As [`Store::get_object`].
    pub async fn head_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: GetObject,
    ) -> Result<ObjectHead, StorageError> {
        let found = self.find_object(bucket, key, get, false).await?;
        let Found { object, range, parts_count, part_checksum, .. } = found;
        Ok(ObjectHead { object, range, parts_count, part_checksum })
    }

    /// Finds a version and pins the files to read before anybody can have collected them.
    pub(super) async fn open_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: GetObject,
    ) -> Result<(Found, ObjectBody), StorageError> {
        let entered = self.pins().enter();
        let mut found = self.find_object(bucket, key, get, true).await?;
        let pins = found.pieces.iter().filter_map(Piece::file).map(|id| self.pins().pin(id)).collect();
        drop(entered);
        let length = found.range.end - found.range.start;
        let body = ObjectBody::new(self.blobs().clone(), std::mem::take(&mut found.pieces), length, pins);
        Ok((found, body))
    }

    async fn find_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: GetObject,
        with_pieces: bool,
    ) -> Result<Found, StorageError> {
        let key = key.clone();
        let now = self.clock().now();
        self.view(bucket.id, move |view| find(view, &key, &get, with_pieces.then_some(now))).await?
    }
}

pub(super) type FoundOrNot<T> = Result<Result<T, StorageError>, IndexError>;

/// `reading`: the bytes are wanted as well, now.
fn find(view: &dyn View, key: &ObjectKey, get: &GetObject, reading: Option<Timestamp>) -> FoundOrNot<Found> {
    let object = match find_version(view, key, get.version)? {
        Ok(object) => object,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = get.permit.check(&object).and_then(|()| get.conditions.check(&object)) {
        return Ok(Err(error));
    }
    if reading.is_some_and(|now| !object.is_readable(now)) {
        return Ok(Err(StorageError::archived(&object)));
    }
    let parts_count = match object.content {
        Content::Composite(_) => Some(object.etag.parts_count),
        _ => None,
    };
    let selected = match get.select {
        Select::Whole => Ok((0..object.size_bytes, PartChecksum::default())),
        Select::Range(range) => range.resolve(object.size_bytes).map(|range| (range, PartChecksum::default())),
        Select::Part(number) => select_part(view, &object, number)?,
    };
    let (range, part_checksum) = match selected {
        Ok(selected) => selected,
        Err(error) => return Ok(Err(error)),
    };
    let pieces = if reading.is_some() { pieces(view, &object, &range)? } else { Vec::new() };
    Ok(Ok(Found { object, range, parts_count, part_checksum, pieces }))
}

pub(super) fn find_version(view: &dyn View, key: &ObjectKey, selector: VersionSelector) -> FoundOrNot<ObjectVersion> {
    let missing = match selector {
        VersionSelector::Newest => StorageError::NoSuchKey { delete_marker: None },
        VersionSelector::Null | VersionSelector::Id(_) => StorageError::NoSuchVersion,
    };
    let Some(head) = SeenHead::read(view, key)?.head else { return Ok(Err(missing)) };
    let version = match selector.resolve(&head) {
        None if selector == VersionSelector::Newest => Some(head.version),
        None => None,
        Some(id) if id == head.version.id() => Some(head.version),
        Some(id) => read_version(view, key, id)?,
    };
    Ok(match (version, selector) {
        (None, _) => Err(missing),
        (Some(Version::Object(object)), _) => Ok(object),
        (Some(Version::Marker(marker)), VersionSelector::Newest) => {
            Err(StorageError::NoSuchKey { delete_marker: Some(marker.shown()) })
        }
        (Some(Version::Marker(marker)), _) => Err(StorageError::IsDeleteMarker(marker.shown())),
    })
}

/// The bytes of the object's part `number`, and that part's checksum; an object that was put whole has one part.
fn select_part(view: &dyn View, object: &ObjectVersion, number: u16) -> FoundOrNot<(Range<u64>, PartChecksum)> {
    let Content::Composite(id) = object.content else {
        let whole = 0..object.size_bytes;
        let one = number == 1;
        return Ok(one.then(|| (whole, PartChecksum::default())).ok_or(StorageError::NoSuchPart { parts_count: 1 }));
    };
    let part = match number.checked_sub(1) {
        Some(position) => read_part(view, id, position.into())?,
        None => None,
    };
    let selected = part.map(|part| {
        let sealed = part.sealed_checksum.map(|sealed| (part.number, sealed));
        (part.offset_bytes..part.offset_bytes + part.size_bytes, PartChecksum { clear: part.checksum, sealed })
    });
    Ok(selected.ok_or(StorageError::NoSuchPart { parts_count: object.etag.parts_count }))
}

pub(super) fn pieces(view: &dyn View, object: &ObjectVersion, range: &Range<u64>) -> Result<Vec<Piece>, IndexError> {
    match object.content {
        Content::Composite(id) => {
            let mut pieces = Vec::new();
            for part in parts_overlapping(view, id, range)? {
                let start = range.start.max(part.offset_bytes) - part.offset_bytes;
                let end = range.end.min(part.offset_bytes + part.size_bytes) - part.offset_bytes;
                let seal = part.seal.map(SealId::from_bytes);
                pieces.extend(piece(view, part.content, part.size_bytes, seal, start..end)?);
            }
            Ok(pieces)
        }
        Content::File(id) => {
            let (_, record) = content::read(view, id)?
                .ok_or_else(|| IndexError::Corrupt(format!("version's content {id} has no row")))?;
            let ContentKind::File { seal, .. } = record.kind else {
                return Err(IndexError::Corrupt(format!("content {id} should be a file")));
            };
            let seal = seal.map(SealId::from_bytes);
            Ok(piece(view, object.content, object.size_bytes, seal, range.clone())?.into_iter().collect())
        }
        content => Ok(piece(view, content, object.size_bytes, None, range.clone())?.into_iter().collect()),
    }
}

pub(super) fn piece(
    view: &dyn View,
    content: Content,
    size_bytes: u64,
    seal: Option<SealId>,
    range: Range<u64>,
) -> Result<Option<Piece>, IndexError> {
    let source = match content {
        Content::Empty => return Ok(None),
        Content::Inline(id) => {
            let row = view
                .get(Family::Inline, id.as_bytes())?
                .ok_or_else(|| IndexError::Corrupt(format!("inline content {id} has no row")))?;
            Source::Inline { id, row: row.value }
        }
        Content::File(id) => Source::File { id, size_bytes, seal },
        Content::Composite(id) => return Err(IndexError::Corrupt(format!("composite {id} inside a composite"))),
    };
    Ok((range.start < range.end).then_some(Piece { source, range }))
}

/// The layout's parts that hold any byte of `range`, in order.
fn parts_overlapping(view: &dyn View, id: ContentId, range: &Range<u64>) -> Result<Vec<LayoutPart>, IndexError> {
    let mut parts = Vec::new();
    let mut cursor = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
    if cursor.row().is_none() {
        return Err(IndexError::Corrupt(format!("composite {id} has no layout")));
    }
    while let Some((_, _, value)) = cursor.row() {
        let page = LayoutPage::from_value(value)?;
        let past_range = page.parts.first().is_some_and(|first| first.offset_bytes >= range.end);
        if past_range {
            break;
        }
        parts.extend(
            page.parts
                .into_iter()
                .filter(|part| part.offset_bytes < range.end && range.start < part.offset_bytes + part.size_bytes),
        );
        cursor.advance()?;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_the_standard_says() {
        let check = |range: RangeRequest, size_bytes, expected: Option<Range<u64>>| {
            assert_eq!(range.resolve(size_bytes).ok(), expected, "{range:?} of {size_bytes}");
        };
        let from = |first, last| RangeRequest::From { first, last };
        check(from(0, None), 10, Some(0..10));
        check(from(3, Some(5)), 10, Some(3..6));
        check(from(3, Some(u64::MAX)), 10, Some(3..10));
        check(from(10, None), 10, None);
        check(from(0, Some(0)), 0, None);
        check(RangeRequest::Suffix(3), 10, Some(7..10));
        check(RangeRequest::Suffix(30), 10, Some(0..10));
        check(RangeRequest::Suffix(0), 10, None);
    }
}
