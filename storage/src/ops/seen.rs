//! What a mutation of one key needs to know, read from one view: the rows it decides on and the revisions it guards.

use std::collections::HashMap;

use bytes::Bytes;

use crate::StorageError;
use crate::id::{BucketId, ContentId, VersionId};
use crate::index::family::bucket::{self, BucketRecord, BucketState};
use crate::index::family::content::{self, ContentRecord};
use crate::index::family::head::{Head, SeenHead};
use crate::index::family::version::{self, Version};
use crate::index::{Family, IndexError, KeyRange, Revision, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;

use super::planner::Planner;
use super::{Store, VersionSelector};

/// A bucket row as one view saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenBucket {
    pub(super) record: BucketRecord,
    pub(super) revision: Revision,
}

impl SeenBucket {
    pub(super) fn read(view: &dyn View) -> Result<Option<Self>, IndexError> {
        let Some(row) = view.get(Family::Bucket, bucket::KEY)? else { return Ok(None) };
        Ok(Some(Self { record: BucketRecord::from_value(&row.value)?, revision: row.revision }))
    }

    /// The bucket, if it takes mutations.
    pub(super) fn writable(seen: Option<Self>) -> Result<Self, StorageError> {
        match seen {
            None => Err(StorageError::NoSuchBucket),
            Some(seen) if seen.record.state == BucketState::Deleting => Err(StorageError::BucketBusy),
            Some(seen) => Ok(seen),
        }
    }
}

/// One key as one view saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenKey {
    pub(super) bucket: SeenBucket,
    pub(super) head: SeenHead,
    /// The `null` version, if it is not the head.
    pub(super) older_null: Option<Version>,
    /// A version that was asked for and is not the head.
    pub(super) asked: Option<Version>,
    /// The newest version below the head, if the head was asked for.
    pub(super) next: Option<Version>,
    /// The content rows of the versions above.
    pub(super) contents: HashMap<ContentId, (Revision, ContentRecord)>,
    /// The documents that the planner decides by.
    pub(super) documents: Vec<Option<Bytes>>,
}

impl SeenKey {
    /// The object that is the key's newest version.
    pub(super) fn newest_object(&self) -> Option<&ObjectVersion> {
        match &self.head.head.as_ref()?.version {
            Version::Object(object) => Some(object),
            Version::Marker(_) => None,
        }
    }

    /// The newest version id that the key has.
    pub(super) fn newest_id(&self) -> Option<VersionId> {
        self.head.head.as_ref().map(|head| head.version.id())
    }

    /// The version that `selector` names, among those that were read.
    pub(super) fn find<'a>(&'a self, head: &'a Head, selector: VersionSelector) -> Option<&'a Version> {
        match selector.resolve(head) {
            None if selector == VersionSelector::Newest => Some(&head.version),
            None => None,
            Some(id) if head.version.id() == id => Some(&head.version),
            Some(id) => self.asked.as_ref().filter(|asked| asked.id() == id),
        }
    }

    /// Reads what a mutation of `key` needs; `selector` is the version that it is about.
    pub(super) fn read(
        view: &dyn View,
        key: &ObjectKey,
        selector: VersionSelector,
        planner: &dyn Planner,
    ) -> Result<Result<Self, StorageError>, IndexError> {
        let bucket = match SeenBucket::writable(SeenBucket::read(view)?) {
            Ok(bucket) => bucket,
            Err(error) => return Ok(Err(error)),
        };
        let mut documents = Vec::new();
        for kind in planner.kinds(&bucket.record) {
            documents.push(view.get(Family::Document, &kind.key())?.map(|row| row.value));
        }
        let mut seen = Self {
            bucket,
            head: SeenHead::read(view, key)?,
            older_null: None,
            asked: None,
            next: None,
            contents: HashMap::new(),
            documents,
        };
        if let Some(head) = seen.head.head.clone() {
            seen.add_content(view, &head.version)?;
            if let Some(id) = head.older_null {
                seen.older_null = read_version(view, key, id)?;
                if seen.older_null.is_none() {
                    return Err(IndexError::Corrupt("a head names a null version that does not exist".to_owned()));
                }
            }
            match selector.resolve(&head) {
                None => {}
                Some(id) if id == head.version.id() => seen.next = newest_below_head(view, key)?,
                Some(id) => seen.asked = read_version(view, key, id)?,
            }
            for version in [seen.older_null.clone(), seen.asked.clone()].into_iter().flatten() {
                seen.add_content(view, &version)?;
            }
        }
        Ok(Ok(seen))
    }

    pub(super) fn add_content(&mut self, view: &dyn View, version: &Version) -> Result<(), IndexError> {
        let Version::Object(object) = version else { return Ok(()) };
        if let Content::File(id) | Content::Composite(id) = object.content {
            let (row, record) = content::read(view, id)?
                .ok_or_else(|| IndexError::Corrupt(format!("version's content {id} has no row")))?;
            self.contents.insert(id, (row.revision, record));
        }
        Ok(())
    }
}

/// The version that is a `version` row.
pub(super) fn read_version(view: &dyn View, key: &ObjectKey, id: VersionId) -> Result<Option<Version>, IndexError> {
    view.get(Family::Version, &version::key(key, id))?.map(|row| Version::from_value(&row.value)).transpose()
}

fn newest_below_head(view: &dyn View, key: &ObjectKey) -> Result<Option<Version>, IndexError> {
    let cursor = view.cursor(Family::Version, KeyRange::prefix(&version::key_prefix(key)))?;
    cursor.row().map(|(_, _, value)| Version::from_value(value)).transpose()
}

impl Store {
    /// Reads what a mutation of `key` needs; `selector` is the version that it is about.
    pub(super) async fn see_key(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        selector: VersionSelector,
    ) -> Result<SeenKey, StorageError> {
        let key = key.clone();
        let planner = self.planner().clone();
        self.view(bucket, move |view| SeenKey::read(view, &key, selector, planner.as_ref())).await?
    }
}
