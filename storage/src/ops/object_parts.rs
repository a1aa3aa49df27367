//! A version and its parts, in pages: what GetObjectAttributes asks for.
//!
//! Parts are numbered by their place in the object, 1 being the first, which is also how a read names them
//! ([`Select::Part`](super::Select::Part)).

use cairn_crypto::checksum::Checksum;
use cairn_crypto::secret::DataKey;

use crate::StorageError;
use crate::id::ContentId;
use crate::index::family::layout::{self, LayoutPage, LayoutPart};
use crate::index::{Family, IndexError, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;
use crate::sealed_checksum::SealedChecksum;

use super::get_object::{FoundOrNot, find_version};
use super::list_objects::MAX_KEYS;
use super::{Bucket, Permit, ReadConditions, Store, VersionSelector};

/// Which version's parts, and which of them.
#[derive(Clone, Debug, Default)]
pub struct GetObjectParts {
    /// Which version.
    pub version: VersionSelector,
    /// Whether the caller may read it.
    pub permit: Permit,
    /// Conditions on it.
    pub conditions: ReadConditions,
    /// Parts after this one; 0: from the first.
    pub after: u16,
    /// At most so many parts; 0 reads none.
    pub max_parts: usize,
}

/// One part of a finished object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPart {
    /// Its place in the object.
    pub number: u16,
    /// Plaintext bytes.
    pub size_bytes: u64,
    /// Its checksum, if it is not sealed, or was revealed.
    pub checksum: Option<Checksum>,
    /// Its checksum, sealed, with the number that the part was uploaded under.
    pub sealed_checksum: Option<(u16, SealedChecksum)>,
}

/// A version with a page of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPartsPage {
    /// The version.
    pub object: ObjectVersion,
    /// How many parts it has, if it was uploaded in parts.
    pub parts_count: Option<u16>,
    /// The page, in the object's order.
    pub parts: Vec<ObjectPart>,
    /// There are more: pass this as `after`.
    pub next: Option<u16>,
}

impl ObjectPartsPage {
    /// Opens the checksums, if they are sealed and the key is at hand.
    ///
    /// # Errors
    /// `Corrupt` if one is not this object's, by this key.
    pub fn reveal_checksums(&mut self, key: Option<&DataKey>) -> Result<(), StorageError> {
        self.object.reveal_checksum(key)?;
        let Some(key) = key else { return Ok(()) };
        for part in &mut self.parts {
            if let Some((number, sealed)) = &part.sealed_checksum {
                part.checksum = Some(sealed.open_of_part(key, *number)?);
            }
        }
        Ok(())
    }
}

impl Store {
    /// A version and a page of its parts, all of one view.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `IsDeleteMarker`, `PreconditionFailed`, `NotModified`.
    pub async fn object_parts(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        get: GetObjectParts,
    ) -> Result<ObjectPartsPage, StorageError> {
        let key = key.clone();
        self.view(bucket.id, move |view| page(view, &key, &get)).await?
    }
}

fn page(view: &dyn View, key: &ObjectKey, get: &GetObjectParts) -> FoundOrNot<ObjectPartsPage> {
    let object = match find_version(view, key, get.version)? {
        Ok(object) => object,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = get.permit.check(&object).and_then(|()| get.conditions.check(&object)) {
        return Ok(Err(error));
    }
    let Content::Composite(id) = object.content else {
        return Ok(Ok(ObjectPartsPage { object, parts_count: None, parts: Vec::new(), next: None }));
    };
    let max_parts = get.max_parts.min(MAX_KEYS);
    let parts_count = object.etag.parts_count;
    let parts = parts_after(view, id, get.after, max_parts)?;
    if parts.is_empty() && max_parts > 0 && get.after < parts_count {
        return Err(IndexError::Corrupt(format!("composite {id} has no layout after part {}", get.after)));
    }
    let next = parts.last().map(|last| last.number).filter(|last| *last < parts_count);
    Ok(Ok(ObjectPartsPage { object, parts_count: Some(parts_count), parts, next }))
}

/// At most `max_parts` parts after the part `after`. They may lie on two pages.
fn parts_after(view: &dyn View, id: ContentId, after: u16, max_parts: usize) -> Result<Vec<ObjectPart>, IndexError> {
    let mut parts = Vec::new();
    let mut number = after;
    while parts.len() < max_parts {
        let position = usize::from(number);
        let Some(page) = read_page(view, id, position)? else { break };
        let rest = page.parts.get(position % layout::PAGE_PARTS_MAX..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        for part in rest.iter().take(max_parts - parts.len()) {
            number = number.saturating_add(1);
            parts.push(ObjectPart {
                number,
                size_bytes: part.size_bytes,
                checksum: part.checksum,
                sealed_checksum: part.sealed_checksum.clone().map(|sealed| (part.number, sealed)),
            });
        }
    }
    Ok(parts)
}

/// The part at `position` (0: the first) of a composite; None past its end.
pub(super) fn read_part(view: &dyn View, id: ContentId, position: usize) -> Result<Option<LayoutPart>, IndexError> {
    let page = read_page(view, id, position)?;
    Ok(page.and_then(|page| page.parts.into_iter().nth(position % layout::PAGE_PARTS_MAX)))
}

/// The layout's page that the part at `position` would be on.
fn read_page(view: &dyn View, id: ContentId, position: usize) -> Result<Option<LayoutPage>, IndexError> {
    let Ok(number) = u16::try_from(position / layout::PAGE_PARTS_MAX) else { return Ok(None) };
    let row = view.get(Family::Layout, &layout::key(id, number))?;
    row.map(|row| LayoutPage::from_value(&row.value)).transpose()
}
