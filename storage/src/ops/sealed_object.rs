//! An object under a customer's key as it lies here: what a replica that stays sealed is made of. No key is needed, and nothing is opened.

use cairn_crypto::seal::SealId;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::StorageError;
use crate::blob::{self, inline};
use crate::clock::Timestamp;
use crate::encryption::{Envelope, SealedContent};
use crate::id::VersionId;
use crate::index::View;
use crate::index::family::layout::LayoutPart;
use crate::object::{Content, ObjectKey, ObjectVersion};

use super::get_object::{FoundOrNot, find_version, piece, pieces};
use super::ingest::{BodyError, BodyStream};
use super::object_body::{Piece, Source};
use super::object_parts::read_part;
use super::transition::read_layout;
use super::{Bucket, Store, VersionSelector};

/// How such an object is sealed, and what it consists of.
#[derive(Clone, Debug)]
pub struct SealedObject {
    /// What is needed to open it with the customer's key.
    pub envelope: Envelope,
    /// Its parts, in their order; one if it was put whole.
    pub parts: Vec<SealedPart>,
    /// It was uploaded in parts.
    pub in_parts: bool,
}

/// One part of it.
#[derive(Clone, Debug)]
pub struct SealedPart {
    /// The number that it was uploaded under; 1 if the object was put whole.
    pub number: u16,
    /// How its bytes are sealed.
    pub content: SealedContent,
}

/// A part's bytes, and what the index says of them.
struct FoundPart {
    number: u16,
    /// None: there are no bytes.
    piece: Option<Piece>,
    checksum: Option<crate::sealed_checksum::SealedChecksum>,
}

/// Chunks that are at hand, pinned while they are read.
struct OpenPart {
    content: SealedContent,
    chunks: BodyStream,
}

impl Store {
    /// How a version under a customer's key is sealed; None: it is not sealed so.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `Archived`, `Corrupt`, `TierDown`, `Io`.
    pub async fn sealed_object(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionId,
    ) -> Result<Option<SealedObject>, StorageError> {
        let (of, now) = (key.clone(), self.clock().now());
        let entered = self.pins().enter();
        let found = self.view(bucket.id, move |view| find(view, &of, version, now)).await??;
        let files = found.1.iter().filter_map(|part| part.piece.as_ref().and_then(Piece::file));
        let _pins: Vec<blob::Pin> = files.map(|id| self.pins().pin(id)).collect();
        drop(entered);
        let (object, found) = found;
        let Some(envelope) = Envelope::of(bucket.id, &object) else { return Ok(None) };
        let mut parts = Vec::with_capacity(found.len());
        for part in found {
            let number = part.number;
            parts.push(SealedPart { number, content: self.open_part(part).await?.content });
        }
        Ok(Some(SealedObject { envelope, parts, in_parts: matches!(object.content, Content::Composite(_)) }))
    }

    /// The bytes of such a version's part at `place` (0: the first) as they travel, see [`SealedContent`].
    pub fn sealed_bytes(&self, bucket: &Bucket, key: &ObjectKey, version: VersionId, place: usize) -> BodyStream {
        let (store, bucket, key) = (self.clone(), bucket.clone(), key.clone());
        let opening = async move {
            let (of, now) = (key.clone(), store.clock().now());
            let entered = store.pins().enter();
            let found = store.view(bucket.id, move |view| find_part(view, &of, version, place, now)).await??;
            let pin = found.piece.as_ref().and_then(Piece::file).map(|id| store.pins().pin(id));
            drop(entered);
            let chunks = store.open_part(found).await?.chunks;
            // The pin goes when the stream does.
            Ok::<_, BodyError>(chunks.inspect(move |_| drop_with(&pin)))
        };
        Box::pin(futures::stream::once(opening).try_flatten())
    }

    async fn open_part(&self, part: FoundPart) -> Result<OpenPart, StorageError> {
        let checksum = part.checksum;
        match part.piece.map(|piece| piece.source) {
            None => {
                Ok(OpenPart { content: SealedContent::empty(checksum), chunks: Box::pin(futures::stream::empty()) })
            }
            Some(Source::Inline { id, row }) => {
                let (seal, payload) = inline::sealed(id, &row)?;
                let plain_bytes = payload.len().saturating_sub(cairn_crypto::seal::TAG_BYTES);
                let too_long = |_| StorageError::corrupt(format!("inline content {id} is too long"));
                let content = SealedContent::of_one_chunk(plain_bytes.try_into().map_err(too_long)?, seal, checksum);
                let chunks = futures::stream::iter(blob::framed(payload)).map(Ok);
                Ok(OpenPart { content, chunks: Box::pin(chunks) })
            }
            Some(Source::File { id, size_bytes, seal }) => {
                let unsealed = || StorageError::corrupt(format!("content {id} should be sealed"));
                let seal: SealId = seal.ok_or_else(unsealed)?;
                let file = self.blobs().open_sealed(id, size_bytes, seal, checksum).await?;
                let content = file.sealed.clone();
                Ok(OpenPart { content, chunks: Box::pin(file.stream().map_err(BodyError::from)) })
            }
        }
    }
}

fn drop_with(_: &Option<blob::Pin>) {}

fn find(
    view: &dyn View,
    key: &ObjectKey,
    version: VersionId,
    now: Timestamp,
) -> FoundOrNot<(ObjectVersion, Vec<FoundPart>)> {
    let object = match find_readable(view, key, version, now)? {
        Ok(object) => object,
        Err(error) => return Ok(Err(error)),
    };
    let parts = match object.content {
        Content::Composite(id) => {
            read_layout(view, id)?.parts.into_iter().map(|part| of_layout(view, part)).collect::<Result<_, _>>()?
        }
        _ => vec![whole(view, &object)?],
    };
    Ok(Ok((object, parts)))
}

fn find_part(
    view: &dyn View,
    key: &ObjectKey,
    version: VersionId,
    place: usize,
    now: Timestamp,
) -> FoundOrNot<FoundPart> {
    let object = match find_readable(view, key, version, now)? {
        Ok(object) => object,
        Err(error) => return Ok(Err(error)),
    };
    let part = match object.content {
        Content::Composite(id) => read_part(view, id, place)?.map(|part| of_layout(view, part)).transpose()?,
        _ => Some(whole(view, &object)?).filter(|_| place == 0),
    };
    Ok(part.ok_or(StorageError::NoSuchPart { parts_count: object.etag.parts_count }))
}

fn find_readable(view: &dyn View, key: &ObjectKey, version: VersionId, now: Timestamp) -> FoundOrNot<ObjectVersion> {
    let found = find_version(view, key, VersionSelector::Id(version))?;
    Ok(found.and_then(|object| if object.is_readable(now) { Ok(object) } else { Err(StorageError::archived(&object)) }))
}

fn whole(view: &dyn View, object: &ObjectVersion) -> Result<FoundPart, crate::index::IndexError> {
    let piece = pieces(view, object, &(0..object.size_bytes))?.into_iter().next();
    Ok(FoundPart { number: 1, piece, checksum: None })
}

fn of_layout(view: &dyn View, part: LayoutPart) -> Result<FoundPart, crate::index::IndexError> {
    let seal = part.seal.map(SealId::from_bytes);
    let piece = piece(view, part.content, part.size_bytes, seal, 0..part.size_bytes)?;
    Ok(FoundPart { number: part.number, piece, checksum: part.sealed_checksum })
}
