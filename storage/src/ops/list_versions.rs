//! ListObjectVersions: one view over `current`, `hidden` and `version`, merged in the order of keys, and of each key the
//! newest version first.
//!
//! Every key with versions has exactly one head, so the two head families together name the keys, and the rows of
//! `version` follow in the same order: the third cursor only ever stands at the next key that has more than its head. A
//! key that folds into a common prefix makes all three seek past it, so a page costs as much as what it returns.

use crate::StorageError;
use crate::id::VersionId;
use crate::index::family::version::{self, VersionSummary};
use crate::index::key::push_escaped_prefix;
use crate::index::{Cursor, Family, IndexError, KeyRange, View};
use crate::object::ObjectKey;

use super::heads::{Heads, ListedHead};
use super::list_objects::{MAX_KEYS, common_prefix, start_of};
use super::{Bucket, Store, VersionSelector};

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListVersions {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys with the same text up to and including the first delimiter after the prefix are folded into one entry.
    pub delimiter: Option<String>,
    /// Only entries after this key or common prefix.
    pub after: Option<String>,
    /// With `after`: the key's versions older than this one come first.
    pub after_version: Option<VersionSelector>,
    /// At most so many entries; more than 1,000 count as 1,000.
    pub max_keys: usize,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedVersion {
    /// A version.
    Version {
        /// Its key.
        key: ObjectKey,
        /// It is the key's newest.
        is_latest: bool,
        /// The version.
        version: VersionSummary,
    },
    /// A common prefix.
    Prefix(String),
}

/// Where a listing of versions goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionMarker {
    /// The key or common prefix of the last entry.
    pub key: String,
    /// The last entry's version; None for a common prefix.
    pub version: Option<crate::object::ReturnedVersion>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsPage {
    /// The entries.
    pub entries: Vec<ListedVersion>,
    /// There are more: pass this as `after` and `after_version`.
    pub next: Option<VersionMarker>,
}

impl Store {
    /// One page of the bucket's versions.
    ///
    /// # Errors
    /// The index's.
    pub async fn list_versions(&self, bucket: &Bucket, list: ListVersions) -> Result<VersionsPage, StorageError> {
        self.view(bucket.id, move |view| page(view, &list)).await
    }
}

/// The cursors, and the page that they fill.
struct Merge<'v> {
    heads: Heads<'v>,
    versions: Box<dyn Cursor + 'v>,
    page: VersionsPage,
    max_keys: usize,
}

fn page(view: &dyn View, list: &ListVersions) -> Result<VersionsPage, IndexError> {
    let max_keys = list.max_keys.min(MAX_KEYS);
    if max_keys == 0 {
        return Ok(VersionsPage::default());
    }
    let delimiter = list.delimiter.as_deref();
    let mut heads = start_of(&list.prefix, delimiter, list.after.as_deref());
    // The key's own older versions come first.
    let resumed = list.after.as_deref().zip(list.after_version);
    if let Some((key, _)) = resumed.filter(|(key, _)| key.as_bytes() >= list.prefix.as_bytes()) {
        heads.start = heads.start.min(key.as_bytes().to_vec());
    }
    let rows = KeyRange { start: escaped(&heads.start), end: None };
    let mut merge = Merge {
        heads: Heads::new(view, heads)?,
        versions: view.cursor(Family::Version, rows)?,
        page: VersionsPage::default(),
        max_keys,
    };
    while let Some(head) = merge.heads.head()? {
        if let Some(folded) = common_prefix(head.key.as_str(), &list.prefix, delimiter) {
            if merge.is_full() {
                break;
            }
            merge.page.entries.push(ListedVersion::Prefix(folded.to_owned()));
            if !merge.seek_past(folded)? {
                break;
            }
            continue;
        }
        let below = resumed.filter(|(key, _)| *key == head.key.as_str()).map(|(_, selector)| below(&head, selector));
        if !merge.list_key(head, below)? {
            break;
        }
    }
    Ok(merge.page)
}

/// The order below which a resumed key's versions are listed.
fn below(head: &ListedHead, marker: VersionSelector) -> VersionId {
    let nothing = VersionId::from_bytes([0; 16]);
    match marker {
        VersionSelector::Id(id) => id,
        VersionSelector::Null if head.version.is_null() => head.version.id(),
        // A null version that is gone meanwhile: what was below it cannot be told, so the listing goes on with the next key.
        VersionSelector::Null => head.older_null.unwrap_or(nothing),
        VersionSelector::Newest => nothing,
    }
}

impl Merge<'_> {
    /// Lists a key's versions and moves past them; only those below `below`, if it is there. False: the page is full.
    fn list_key(&mut self, head: ListedHead, below: Option<VersionId>) -> Result<bool, IndexError> {
        let key = head.key;
        let wanted = |version: &VersionSummary| below.is_none_or(|below| version.id() < below);
        if wanted(&head.version) && !self.push(&key, true, head.version) {
            return Ok(false);
        }
        let prefix = version::key_prefix(&key);
        if let Some(below) = below {
            self.versions.seek(&version::key(&key, below))?;
        }
        while let Some((row_key, _, value)) = self.versions.row() {
            if !row_key.starts_with(&prefix) {
                break;
            }
            let version = version::summary(value)?;
            if wanted(&version) && !self.push(&key, false, version) {
                return Ok(false);
            }
            self.versions.advance()?;
        }
        self.heads.advance()?;
        Ok(true)
    }

    /// Adds an entry. False: the page was full already, and knows now where to go on.
    fn push(&mut self, key: &ObjectKey, is_latest: bool, version: VersionSummary) -> bool {
        if self.is_full() {
            return false;
        }
        self.page.entries.push(ListedVersion::Version { key: key.clone(), is_latest, version });
        true
    }

    /// Whether the page has all its entries; there is one more, so it also notes where to go on.
    fn is_full(&mut self) -> bool {
        if self.page.entries.len() < self.max_keys {
            return false;
        }
        self.page.next = self.page.entries.last().map(|last| match last {
            ListedVersion::Prefix(prefix) => VersionMarker { key: prefix.clone(), version: None },
            ListedVersion::Version { key, version, .. } => {
                VersionMarker { key: key.as_str().to_owned(), version: Some(version.shown()) }
            }
        });
        true
    }

    /// Moves past everything under a common prefix. False: nothing sorts after it.
    fn seek_past(&mut self, prefix: &str) -> Result<bool, IndexError> {
        let Some(past) = KeyRange::prefix(prefix.as_bytes()).end else { return Ok(false) };
        self.heads.seek(&past)?;
        self.versions.seek(&escaped(&past))?;
        Ok(true)
    }
}

/// The least row key of `version` whose object key is not less than `key`.
fn escaped(key: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(key.len() + 8);
    push_escaped_prefix(&mut escaped, key);
    escaped
}
