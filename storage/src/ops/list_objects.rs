//! ListObjects: one view over `current`. A key that folds into a common prefix makes the cursor seek past that prefix, so
//! a listing costs as much as what it returns, however many keys lie under each prefix.

use crate::StorageError;
use crate::index::family::head;
use crate::index::{Family, IndexError, KeyRange, View};
use crate::object::{ObjectKey, ObjectSummary};

use super::{Bucket, Store};

/// Entries in one page, whatever the client asks for (S3 API reference, ListObjectsV2).
pub const MAX_KEYS: usize = 1_000;

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListObjects {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys with the same text up to and including the first delimiter after the prefix are folded into one entry.
    pub delimiter: Option<String>,
    /// Only entries after this one. If it is a common prefix, nothing under it is listed again.
    pub after: Option<String>,
    /// At most so many entries; more than 1,000 count as 1,000.
    pub max_keys: usize,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectKey, ObjectSummary),
    /// A common prefix.
    Prefix(String),
}

impl Listed {
    /// The key or the prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Object(key, _) => key.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// One page of a listing, in the byte order of keys and prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectsPage {
    /// The entries.
    pub entries: Vec<Listed>,
    /// There are more: pass this as `after`.
    pub next: Option<String>,
}

impl Store {
    /// One page of the bucket's newest versions that are objects.
    ///
    /// # Errors
    /// The index's.
    pub async fn list_objects(&self, bucket: &Bucket, list: ListObjects) -> Result<ObjectsPage, StorageError> {
        self.view(bucket.id, move |view| page(view, &list)).await
    }
}

/// The common prefix that `key` folds into, if it does.
pub(super) fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: Option<&str>) -> Option<&'k str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key[..prefix.len() + end])
}

/// Where a listing begins: past `after`, and past everything under it if it is a common prefix.
pub(super) fn start_of(prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> KeyRange {
    let mut range = KeyRange::prefix(prefix.as_bytes());
    let Some(after) = after else { return range };
    let folded = common_prefix(after, prefix, delimiter) == Some(after);
    let past = if folded { KeyRange::prefix(after.as_bytes()).end } else { Some([after.as_bytes(), b"\0"].concat()) };
    match past {
        Some(past) => range.start = range.start.max(past),
        None => range.end = Some(Vec::new()), // nothing sorts after such a prefix
    }
    range
}

fn page(view: &dyn View, list: &ListObjects) -> Result<ObjectsPage, IndexError> {
    let max_keys = list.max_keys.min(MAX_KEYS);
    let mut page = ObjectsPage::default();
    if max_keys == 0 {
        return Ok(page);
    }
    let start = start_of(&list.prefix, list.delimiter.as_deref(), list.after.as_deref());
    let mut cursor = view.cursor(Family::Current, start)?;
    while let Some((key, _, value)) = cursor.row() {
        if page.entries.len() == max_keys {
            page.next = page.entries.last().map(|last| last.name().to_owned());
            break;
        }
        let key = std::str::from_utf8(key).map_err(|_| IndexError::Corrupt("a key is not UTF-8".to_owned()))?;
        if let Some(folded) = common_prefix(key, &list.prefix, list.delimiter.as_deref()) {
            page.entries.push(Listed::Prefix(folded.to_owned()));
            match KeyRange::prefix(folded.as_bytes()).end {
                Some(past) => cursor.seek(&past)?,
                None => break,
            }
        } else {
            let key = ObjectKey::new(key).ok_or_else(|| IndexError::Corrupt("a key has no valid length".to_owned()))?;
            page.entries.push(Listed::Object(key, head::summary(value)?));
            cursor.advance()?;
        }
    }
    Ok(page)
}
