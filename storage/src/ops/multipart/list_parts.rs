//! ListParts.

use crate::StorageError;
use crate::id::UploadId;
use crate::index::family::part::{self, PartRecord};
use crate::index::{Family, IndexError, KeyRange, View};
use crate::object::ObjectKey;
use crate::ops::list_objects::MAX_KEYS;
use crate::ops::{Bucket, Store};
use crate::record::Record;

use super::{Part, SeenUpload, Upload};

/// One page of an upload's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsPage {
    /// The upload.
    pub upload: Upload,
    /// Parts, by number.
    pub parts: Vec<Part>,
    /// There are more: pass this as `after`.
    pub next: Option<u16>,
}

impl Store {
    /// One page of the parts of an open upload whose numbers are greater than `after`.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub async fn list_parts(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        after: u16,
        max_parts: usize,
    ) -> Result<PartsPage, StorageError> {
        let key = key.clone();
        self.view(bucket.id, move |view| page(view, &key, id, after, max_parts.min(MAX_KEYS))).await?
    }
}

fn page(
    view: &dyn View,
    key: &ObjectKey,
    id: UploadId,
    after: u16,
    max_parts: usize,
) -> Result<Result<PartsPage, StorageError>, IndexError> {
    let seen = match SeenUpload::read(view, key, id)? {
        Ok(seen) => seen,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = seen.check_open() {
        return Ok(Err(error));
    }
    let content = seen.record.content;
    let mut range = KeyRange::prefix(content.as_bytes());
    range.start = part::key(content, after.saturating_add(1)).to_vec();
    let mut parts: Vec<Part> = Vec::new();
    let mut next = None;
    let mut cursor = view.cursor(Family::Part, range)?;
    while let Some((row_key, _, value)) = cursor.row() {
        if parts.len() == max_parts {
            next = parts.last().map(|last| last.number);
            break;
        }
        let number =
            part::parse_number(row_key).ok_or_else(|| IndexError::Corrupt("a part's key is malformed".to_owned()))?;
        parts.push(Part::new(number, &PartRecord::from_value(value)?, &seen.record));
        cursor.advance()?;
    }
    Ok(Ok(PartsPage { upload: Upload::new(key.clone(), id, &seen.record), parts, next }))
}
