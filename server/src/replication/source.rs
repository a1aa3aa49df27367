//! An object's bytes at the source, opened under the role's permissions.

use std::fmt;
use std::ops::Range;

use cairn_crypto::secret::DataKey;
use cairn_replication::client::{BodyError, BodyStream};
use cairn_replication::target::{Content, PartBounds};
use cairn_storage::StorageError;
use cairn_storage::object::{Content as Stored, ObjectKey, ObjectVersion};
use cairn_storage::ops::{Bucket, GetObject, GetObjectParts, RangeRequest, Select, Store, VersionSelector};
use futures::TryStreamExt as _;

/// How many parts are read at once.
const PARTS_PAGE: usize = 1_000;

/// A version's bytes.
pub(super) struct SourceContent {
    store: Store,
    bucket: Bucket,
    key: ObjectKey,
    selector: VersionSelector,
    size_bytes: u64,
    data_key: Option<DataKey>,
    parts: Vec<PartBounds>,
}

impl SourceContent {
    /// Those of a version whose data key is opened already.
    pub(super) async fn open(
        store: &Store,
        bucket: &Bucket,
        key: &ObjectKey,
        object: &ObjectVersion,
        data_key: Option<DataKey>,
    ) -> Result<Self, StorageError> {
        let selector = VersionSelector::Id(object.version_id);
        let mut parts = Vec::new();
        let mut after = matches!(object.content, Stored::Composite(_)).then_some(0);
        while let Some(last) = after {
            let get =
                GetObjectParts { version: selector, after: last, max_parts: PARTS_PAGE, ..GetObjectParts::default() };
            let mut page = store.object_parts(bucket, key, get).await?;
            page.reveal_checksums(data_key.as_ref())?;
            let bounds = |part: &cairn_storage::ops::ObjectPart| PartBounds {
                size_bytes: part.size_bytes,
                checksum: part.checksum,
            };
            parts.extend(page.parts.iter().map(bounds));
            after = page.next;
        }
        let (store, bucket, key) = (store.clone(), bucket.clone(), key.clone());
        Ok(Self { store, bucket, key, selector, size_bytes: object.size_bytes, data_key, parts })
    }
}

impl Content for SourceContent {
    fn parts(&self) -> &[PartBounds] {
        &self.parts
    }

    fn open(&self, range: Range<u64>) -> BodyStream {
        let (store, bucket, key) = (self.store.clone(), self.bucket.clone(), self.key.clone());
        let select = match range {
            _ if range.is_empty() => return Box::pin(futures::stream::empty()),
            Range { start: 0, end } if end >= self.size_bytes => Select::Whole,
            Range { start, end } => Select::Range(RangeRequest::From { first: start, last: Some(end - 1) }),
        };
        let (version, data_key) = (self.selector, self.data_key.clone());
        let opening = async move {
            let get = GetObject { version, select, ..GetObject::default() };
            let read = store.get_object(&bucket, &key, get).await.map_err(BodyError::from)?;
            Ok::<_, BodyError>(read.body.unlocked(data_key).map_err(BodyError::from))
        };
        Box::pin(futures::stream::once(opening).try_flatten())
    }
}

impl fmt::Debug for SourceContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceContent")
            .field("key", &self.key)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}
