//! Pages of whole keys, each with all versions: for a target that gives ids of its own, the versions of a key belong together.

use std::collections::BTreeMap;

use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::ops::{Bucket, ListVersions, ListedVersion, Store, VersionSelector};
use minicbor::{Decode, Encode};

/// How many of a bucket's versions are read at once.
const READ_VERSIONS_MAX: usize = 500;

/// The most versions of a key that are held.
pub(super) const KEY_VERSIONS_MAX: usize = 20_000;

/// A place in the order of listings: of keys, and of each key the newest version first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Place {
    #[n(0)]
    pub(super) key: String,
    #[n(1)]
    pub(super) version: VersionId,
}

impl Place {
    /// Behind all versions of a key.
    pub(super) fn end_of(key: &str) -> Self {
        Self { key: key.to_owned(), version: VersionId::from_bytes([0; 16]) }
    }

    /// Whether this version is here or before.
    pub(super) fn has_passed(&self, key: &str, version: VersionId) -> bool {
        match key.as_bytes().cmp(self.key.as_bytes()) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => version >= self.version,
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// The next keys, with all versions of each, the newest first.
pub(super) struct Page<T> {
    pub(super) keys: BTreeMap<String, Vec<T>>,
    /// Behind the last of them; None: there are no more.
    pub(super) end: Option<Place>,
    /// The one key of the page has more versions than are held.
    pub(super) has_too_many: bool,
    count: usize,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), end: None, has_too_many: false, count: 0 }
    }
}

impl<T> Page<T> {
    pub(super) fn add(&mut self, key: String, version: T) {
        self.keys.entry(key).or_default().push(version);
        self.count += 1;
    }

    /// Whether there are whole keys; then the page ends behind them. There are `more` versions behind what was added.
    pub(super) fn is_enough(&mut self, more: bool) -> bool {
        if !more {
            return true;
        }
        if self.keys.len() > 1 {
            // It may go on.
            self.keys.pop_last();
        } else if self.count >= KEY_VERSIONS_MAX {
            self.has_too_many = true;
        } else {
            return false;
        }
        self.end = self.keys.last_key_value().map(|(key, _)| Place::end_of(key));
        true
    }
}

impl Page<VersionId> {
    /// The next keys of a bucket that begin with `prefix`.
    pub(super) async fn of_bucket(
        store: &Store,
        bucket: &Bucket,
        prefix: &str,
        behind: Option<&Place>,
    ) -> Result<Self, StorageError> {
        let mut page = Self::default();
        let mut behind = behind.cloned();
        loop {
            let list = ListVersions {
                prefix: prefix.to_owned(),
                after: behind.as_ref().map(|place| place.key.clone()),
                after_version: behind.as_ref().map(|place| VersionSelector::Id(place.version)),
                max_keys: READ_VERSIONS_MAX,
                ..ListVersions::default()
            };
            let listed = store.list_versions(bucket, list).await?;
            for entry in listed.entries {
                let ListedVersion::Version { key, version, .. } = entry else { continue };
                behind = Some(Place { key: key.as_str().to_owned(), version: version.id() });
                page.add(key.as_str().to_owned(), version.id());
            }
            if page.is_enough(listed.next.is_some()) {
                return Ok(page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str]) -> Page<u8> {
        let mut page = Page::default();
        keys.iter().for_each(|key| page.add((*key).to_owned(), 0));
        page
    }

    #[test]
    fn a_page_has_whole_keys() {
        let mut all = page(&["a", "b"]);
        assert!(all.is_enough(false));
        assert_eq!((all.keys.len(), all.end), (2, None));
        let mut some = page(&["a", "b", "b"]);
        assert!(some.is_enough(true));
        assert_eq!((some.keys.len(), some.end), (1, Some(Place::end_of("a"))));
        assert!(!page(&["a", "a"]).is_enough(true), "the key may go on");
        let mut long = page(&["a"].repeat(KEY_VERSIONS_MAX));
        assert!(long.is_enough(true) && long.has_too_many);
        assert_eq!(long.end, Some(Place::end_of("a")));
    }

    #[test]
    fn places_are_in_the_order_of_listings() {
        let id = |byte| VersionId::from_bytes([byte; 16]);
        let here = Place { key: "b".to_owned(), version: id(5) };
        for (key, version, passed) in
            [("a", 1, true), ("b", 6, true), ("b", 5, true), ("b", 4, false), ("b/", 9, false), ("c", 9, false)]
        {
            assert_eq!(here.has_passed(key, id(version)), passed, "{key} {version}");
        }
        assert!(Place::end_of("b").has_passed("b", id(1)));
    }
}
