//! An object's bytes at the source: opened under the role's permissions, or as they are sealed under a customer's key.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cairn_crypto::secret::DataKey;
use cairn_replication::client::{BodyError, BodyStream};
use cairn_replication::target::{Content, PartBounds};
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::object::{Content as Stored, ObjectKey, ObjectVersion};
use cairn_storage::ops::{
    Bucket, GetObject, GetObjectParts, RangeRequest, SealedObject, SealedPart, Select, Store, VersionSelector,
};
use futures::TryStreamExt as _;
use prometheus_client::metrics::counter::Counter;

/// How many parts are read at once.
const PARTS_PAGE: usize = 1_000;

/// Counts what is sent of a version's bytes.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) content: Arc<dyn Content>,
    pub(super) sent: Counter,
}

impl Content for Counted {
    fn sealed(&self) -> Option<&SealedObject> {
        self.content.sealed()
    }

    fn size_bytes(&self) -> u64 {
        self.content.size_bytes()
    }

    fn parts(&self) -> &[PartBounds] {
        self.content.parts()
    }

    fn open(&self, range: Range<u64>) -> BodyStream {
        self.content.open(range)
    }

    fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }
}

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
                number: part.number,
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
    fn sealed(&self) -> Option<&SealedObject> {
        None
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

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

/// The bytes of a version under a customer's key, which stay sealed.
pub(super) struct SealedSource {
    store: Store,
    bucket: Bucket,
    key: ObjectKey,
    version: VersionId,
    sealed: SealedObject,
    /// Empty: it was put whole.
    parts: Vec<PartBounds>,
}

impl SealedSource {
    /// Those of a version; None: it is not sealed so.
    pub(super) async fn open(
        store: &Store,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<Self>, StorageError> {
        let Some(sealed) = store.sealed_object(bucket, key, version).await? else { return Ok(None) };
        let bounds = |part: &SealedPart| PartBounds {
            number: part.number,
            size_bytes: part.content.travelling_bytes(),
            checksum: None,
        };
        let parts = if sealed.in_parts { sealed.parts.iter().map(bounds).collect() } else { Vec::new() };
        let (store, bucket, key) = (store.clone(), bucket.clone(), key.clone());
        Ok(Some(Self { store, bucket, key, version, sealed, parts }))
    }
}

impl Content for SealedSource {
    fn sealed(&self) -> Option<&SealedObject> {
        Some(&self.sealed)
    }

    fn size_bytes(&self) -> u64 {
        self.sealed.parts.iter().map(|part| part.content.travelling_bytes()).sum()
    }

    fn parts(&self) -> &[PartBounds] {
        &self.parts
    }

    fn open(&self, range: Range<u64>) -> BodyStream {
        if range.is_empty() {
            return Box::pin(futures::stream::empty());
        }
        let mut start = 0;
        let place = self.sealed.parts.iter().position(|part| {
            let here = start == range.start && part.content.travelling_bytes() == range.end - range.start;
            start += part.content.travelling_bytes();
            here
        });
        match place {
            Some(place) => self.store.sealed_bytes(&self.bucket, &self.key, self.version, place),
            None => {
                let error = StorageError::RangeNotSatisfiable { size_bytes: self.size_bytes() };
                Box::pin(futures::stream::iter([Err(error.into())]))
            }
        }
    }
}

impl fmt::Debug for SealedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSource").field("key", &self.key).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}
