//! ListMultipartUploads: open uploads in the order of their keys, and of their ids (which is that of their creation)
//! under one key. Common prefixes are skipped with a seek, as in ListObjects.

use crate::StorageError;
use crate::id::UploadId;
use crate::index::family::upload::{self, UploadRecord, UploadState};
use crate::index::key::push_escaped_prefix;
use crate::index::{Family, IndexError, KeyRange, View};
use crate::ops::list_objects::{MAX_KEYS, common_prefix};
use crate::ops::{Bucket, Store};
use crate::record::Record;

use super::Upload;

/// How many completed uploads, which are kept for a day, one page passes over. A page that meets so many ends early.
const COMPLETED_ROWS_MAX: usize = 10_000;

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListUploads {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys with the same text up to the first delimiter after the prefix are folded into one entry.
    pub delimiter: Option<String>,
    /// Only uploads of keys after this one ...
    pub after_key: Option<String>,
    /// ... or of this very key, with greater ids than this.
    pub after_upload: Option<UploadId>,
    /// At most so many entries; more than 1,000 count as 1,000.
    pub max_uploads: usize,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedUpload {
    /// An upload.
    Upload(Upload),
    /// A common prefix.
    Prefix(String),
}

/// One page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    /// The entries.
    pub entries: Vec<ListedUpload>,
    /// There are more: pass these as `after_key` and `after_upload`.
    pub next: Option<(String, Option<UploadId>)>,
}

impl Store {
    /// One page of the bucket's open uploads.
    ///
    /// # Errors
    /// The index's.
    pub async fn list_uploads(&self, bucket: &Bucket, list: ListUploads) -> Result<UploadsPage, StorageError> {
        self.view(bucket.id, move |view| page(view, &list)).await
    }
}

/// The range of rows whose object keys begin with `prefix`.
fn prefix_range(prefix: &str) -> KeyRange {
    let mut escaped = Vec::new();
    push_escaped_prefix(&mut escaped, prefix.as_bytes());
    KeyRange::prefix(&escaped)
}

fn start(list: &ListUploads) -> KeyRange {
    let mut range = prefix_range(&list.prefix);
    let Some(after) = &list.after_key else { return range };
    let folded = common_prefix(after, &list.prefix, list.delimiter.as_deref()) == Some(after);
    let of_key = upload::key_prefix(after.as_bytes());
    let past = if folded {
        prefix_range(after).end
    } else if let Some(id) = list.after_upload {
        Some([of_key.as_slice(), id.as_bytes(), b"\0"].concat())
    } else {
        KeyRange::prefix(&of_key).end
    };
    match past {
        Some(past) => range.start = range.start.max(past),
        None => range.end = Some(Vec::new()), // nothing sorts after such a prefix
    }
    range
}

fn page(view: &dyn View, list: &ListUploads) -> Result<UploadsPage, IndexError> {
    let max_uploads = list.max_uploads.min(MAX_KEYS);
    let mut page = UploadsPage::default();
    if max_uploads == 0 {
        return Ok(page);
    }
    let mut cursor = view.cursor(Family::Upload, start(list))?;
    let mut completed = 0;
    while let Some((row_key, _, value)) = cursor.row() {
        let record = UploadRecord::from_value(value)?;
        if record.state != UploadState::Open {
            completed += 1;
            if completed == COMPLETED_ROWS_MAX {
                page.next = upload::parse_key(row_key).map(|(key, id)| (key.as_str().to_owned(), Some(id)));
                break;
            }
            cursor.advance()?;
            continue;
        }
        if page.entries.len() == max_uploads {
            page.next = page.entries.last().map(|last| match last {
                ListedUpload::Upload(upload) => (upload.key.as_str().to_owned(), Some(upload.id)),
                ListedUpload::Prefix(prefix) => (prefix.clone(), None),
            });
            break;
        }
        let (key, id) =
            upload::parse_key(row_key).ok_or_else(|| IndexError::Corrupt("an upload's key is malformed".to_owned()))?;
        if let Some(folded) = common_prefix(key.as_str(), &list.prefix, list.delimiter.as_deref()) {
            page.entries.push(ListedUpload::Prefix(folded.to_owned()));
            match prefix_range(folded).end {
                Some(past) => cursor.seek(&past)?,
                None => break,
            }
        } else {
            page.entries.push(ListedUpload::Upload(Upload::new(key, id, &record)));
            cursor.advance()?;
        }
    }
    Ok(page)
}
