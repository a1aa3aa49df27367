//! Taking in a body: from a stream of bytes to a content that is stored but not yet visible, with everything verified
//! that the client declared.
//!
//! Small bodies stay in memory and become an inline row of the commit; larger ones are written to a chunk file while
//! they arrive. Memory is bounded: one batch is gathered from the stream while the one before it is hashed and
//! written on the blocking pool. Whatever goes wrong before the commit, the file is removed.

mod sealed;

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::digest::Digests;
use cairn_crypto::secret::DataKey;
use futures::{Stream, StreamExt as _};

use crate::StorageError;
use crate::blob::{self, BlobDescription, BlobStore, BlobTrailer, BlobWriter, PartOf, StoredBlob};
use crate::clock::Timestamp;
use crate::encryption::{Seal, SealedContent};
use crate::id::{BucketId, ContentId, Place, UploadId};
use crate::index::family::content::{ContentKind, ContentRecord};
use crate::index::family::usage;
use crate::index::{Batch, Family};
use crate::object::{Content, Etag, ObjectAttributes, ObjectChecksum, ObjectKey, StorageClass};
use crate::record::Record;

use super::placement::Mutation;
use super::{PUT_BYTES_MAX, Store};

/// How many bytes are hashed and written in one piece of blocking work; a body holds at most two such batches.
const BATCH_BYTES: usize = 512 << 10;

/// Why a body's stream ended early; the edge knows the type.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body's bytes as they arrive.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Asked once after the stream's end for the checksum that came in the trailer; None: it did not come, or is malformed.
pub type TrailerSource = Box<dyn FnOnce() -> Option<Checksum> + Send + Sync>;

/// What the client says the body's checksum is.
pub enum DeclaredChecksum {
    /// Nothing: CRC64NVME is computed, as S3 does.
    None,
    /// Nothing, but this one is to be computed.
    Compute(ChecksumAlgorithm),
    /// This value.
    Header(Checksum),
    /// A value that comes after the body.
    Trailer(ChecksumAlgorithm, TrailerSource),
}

impl DeclaredChecksum {
    fn algorithm(&self) -> ChecksumAlgorithm {
        match self {
            Self::None => ChecksumAlgorithm::Crc64Nvme,
            Self::Compute(algorithm) | Self::Trailer(algorithm, _) => *algorithm,
            Self::Header(checksum) => checksum.algorithm(),
        }
    }
}

impl fmt::Debug for DeclaredChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.algorithm().as_str())
    }
}

/// A body, and what the client declares about it.
pub struct Body {
    /// The bytes. An `Err` means that the body failed a check of the edge's, or did not come to its end.
    pub stream: BodyStream,
    /// How many bytes there are.
    pub length: Option<u64>,
    /// `Content-MD5`.
    pub content_md5: Option<[u8; 16]>,
    /// The checksum.
    pub checksum: DeclaredChecksum,
    /// The bytes are chunks that are sealed already, and stay as they are. What is declared is about the bytes as they come.
    pub sealed: Option<SealedContent>,
}

impl Body {
    /// Whether the client declares a digest, which the bytes will be compared with.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        let checksum = matches!(self.checksum, DeclaredChecksum::Header(_) | DeclaredChecksum::Trailer(..));
        self.content_md5.is_some() || checksum
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("length", &self.length).field("checksum", &self.checksum).finish_non_exhaustive()
    }
}

/// What a file's header and trailer say the bytes are for.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    bucket: BucketId,
    key: String,
    part: Option<PartOf>,
    attributes: Vec<u8>,
    /// Where its file will lie, if it gets one.
    class: StorageClass,
}

impl Destination {
    pub(super) fn object(
        bucket: BucketId,
        key: &ObjectKey,
        attributes: &ObjectAttributes,
        class: StorageClass,
    ) -> Result<Self, StorageError> {
        let attributes = minicbor::to_vec(attributes).map_err(|_| StorageError::MetadataTooLarge)?;
        Ok(Self { bucket, key: key.as_str().to_owned(), part: None, attributes, class })
    }

    pub(super) fn part(
        bucket: BucketId,
        key: &ObjectKey,
        (upload, number): (UploadId, u16),
        class: StorageClass,
    ) -> Self {
        let part = Some(PartOf { upload, number });
        Self { bucket, key: key.as_str().to_owned(), part, attributes: Vec::new(), class }
    }

    fn description(&self, created: Timestamp) -> BlobDescription {
        BlobDescription { bucket: self.bucket, key: self.key.clone(), part: self.part, created }
    }

    fn trailer(&self, created: Timestamp, etag: [u8; 16], checksum: Option<Checksum>) -> BlobTrailer {
        BlobTrailer {
            created,
            attributes: self.attributes.clone(),
            etag: Etag { digest: etag, parts_count: 0 },
            checksum: checksum.map(|value| ObjectChecksum { value, composite: false }),
        }
    }
}

/// A content that is stored, or ready to be, but that no commit has made visible. Dropped without one, its file goes.
#[derive(Debug)]
pub(super) struct Ingested {
    pub(super) size_bytes: u64,
    /// The MD5 of the bytes, or a random number where the ETag must not show it.
    pub(super) etag: [u8; 16],
    pub(super) checksum: Option<Checksum>,
    stored: Stored,
}

#[derive(Debug)]
enum Stored {
    Empty,
    Inline { id: ContentId, row: Bytes },
    File(StagedFile),
}

/// A synced file without a `content` row; removed on drop unless a commit may have made it visible.
#[derive(Debug)]
pub(super) struct StagedFile {
    blob: StoredBlob,
    blobs: BlobStore,
    /// Keeps the collector away until the commit is done.
    _pin: blob::Pin,
    visible: bool,
}

impl StagedFile {
    pub(super) fn new(blob: StoredBlob, blobs: BlobStore, pin: blob::Pin) -> Self {
        Self { blob, blobs, _pin: pin, visible: false }
    }

    pub(super) fn content(&self) -> ContentId {
        self.blob.content
    }

    /// Adds the row that makes it visible.
    pub(super) fn join(&self, batch: &mut Batch) -> Result<(), StorageError> {
        let kind = ContentKind::File {
            size_bytes: self.blob.plain_length,
            stored_bytes: self.blob.stored_length,
            seal: self.blob.seal.map(|seal| *seal.as_bytes()),
        };
        let record = ContentRecord::new(kind);
        batch.put(Family::Content, self.blob.content.as_bytes().as_slice(), record.to_value()?);
        usage::count_content(batch, self.blob.content, &record, 1);
        Ok(())
    }

    /// Whether a commit may have made it visible.
    pub(super) fn set_visible(&mut self, visible: bool) {
        self.visible = visible;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.visible {
            self.blobs.discard(self.blob.content);
        }
    }
}

impl Ingested {
    /// What the version's record says of its bytes.
    pub(super) fn content(&self) -> Content {
        match &self.stored {
            Stored::Empty => Content::Empty,
            Stored::Inline { id, .. } => Content::Inline(*id),
            Stored::File(file) => Content::File(file.blob.content),
        }
    }

    /// Adds the rows that make the content visible.
    pub(super) fn join(&self, batch: &mut Batch) -> Result<(), StorageError> {
        match &self.stored {
            Stored::Empty => {}
            Stored::Inline { id, row } => batch.put(Family::Inline, id.as_bytes().as_slice(), row.clone()),
            Stored::File(file) => file.join(batch)?,
        }
        Ok(())
    }

    /// Commits the mutation that makes the content visible. False: a guard did not hold.
    pub(super) async fn commit(
        &mut self,
        store: &Store,
        bucket: BucketId,
        mutation: Mutation,
    ) -> Result<bool, StorageError> {
        // From here on the batch may commit, even if this future is dropped: then the file must stay. Should the batch
        // fail after that, the file is an orphan, which the scan finds.
        self.set_visible(true);
        let committed = store.commit(bucket.into(), mutation.batch, mutation.tasks).await;
        match committed {
            Ok(true) | Err(StorageError::OutcomeUnknown) => {}
            Ok(false) | Err(_) => self.set_visible(false),
        }
        committed
    }

    fn set_visible(&mut self, visible: bool) {
        if let Stored::File(file) = &mut self.stored {
            file.set_visible(visible);
        }
    }
}

/// What is computed over a body and compared in the end.
#[derive(Debug)]
struct Expectation {
    length: Option<u64>,
    content_md5: Option<[u8; 16]>,
    checksum: DeclaredChecksum,
    /// The algorithm of the checksum that is kept, if it is not the declared one's.
    keep: Option<ChecksumAlgorithm>,
    /// The ETag, if it is not the MD5.
    etag: Option<[u8; 16]>,
    /// The most bytes that there may be.
    bytes_max: u64,
}

impl Expectation {
    fn digests(&self) -> Digests {
        let needs_md5 = self.etag.is_none() || self.content_md5.is_some();
        Digests::new(needs_md5, [self.checksum.algorithm()].into_iter().chain(self.keep))
    }

    /// Ok if `got_bytes` so far may still become the declared length.
    fn check_progress(&self, got_bytes: u64) -> Result<(), StorageError> {
        match self.length {
            Some(declared_bytes) if got_bytes > declared_bytes => {
                Err(StorageError::BodyLength { declared_bytes, got_bytes })
            }
            _ if got_bytes > self.bytes_max => {
                Err(StorageError::TooLarge { size_bytes: got_bytes, max_bytes: self.bytes_max })
            }
            _ => Ok(()),
        }
    }

    /// The ETag and the checksum, if the body is what was declared.
    fn verify(self, got_bytes: u64, digests: Digests) -> Result<([u8; 16], Option<Checksum>), StorageError> {
        if let Some(declared_bytes) = self.length.filter(|declared| *declared != got_bytes) {
            return Err(StorageError::BodyLength { declared_bytes, got_bytes });
        }
        let finished = digests.finish();
        let md5 = finished.md5.unwrap_or_default();
        let computed = finished.checksums.first().copied();
        let kept = finished.checksums.last().copied();
        if self.content_md5.is_some_and(|declared| declared != md5) {
            return Err(StorageError::BadDigest { what: "Content-MD5" });
        }
        let etag = self.etag.unwrap_or(md5);
        let what = self.checksum.algorithm().as_str();
        let declared = match self.checksum {
            DeclaredChecksum::None | DeclaredChecksum::Compute(_) => return Ok((etag, kept)),
            DeclaredChecksum::Header(declared) => declared,
            DeclaredChecksum::Trailer(_, source) => source().ok_or(StorageError::BadTrailer { what })?,
        };
        if computed == Some(declared) { Ok((etag, kept)) } else { Err(StorageError::BadDigest { what }) }
    }
}

/// A body's stream, cut into batches.
struct Batches {
    stream: BodyStream,
    got_bytes: u64,
    ended: bool,
}

impl Batches {
    /// The next pieces, until they hold `enough_bytes` together or the stream ends.
    async fn gather(&mut self, enough_bytes: usize, expected: &Expectation) -> Result<Vec<Bytes>, StorageError> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while bytes < enough_bytes && !self.ended {
            match self.stream.next().await {
                None => self.ended = true,
                // A copy's body is an object of ours, whose errors are facts already.
                Some(Err(error)) => return Err(error.downcast().map_or_else(StorageError::Body, |ours| *ours)),
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    self.got_bytes += piece.len() as u64;
                    expected.check_progress(self.got_bytes)?;
                    if !piece.is_empty() {
                        pieces.push(piece);
                    }
                }
            }
        }
        Ok(pieces)
    }
}

impl Store {
    /// Takes in a body, and seals it if there is a seal; nothing is visible yet. The checksum kept is `keep`'s, or else the
    /// declared one's.
    ///
    /// # Errors
    /// `Body`, `BodyLength`, `TooLarge`, `BadDigest`, `BadTrailer`, `SealedMalformed`, `DiskFull`, `ReadOnly`, `Io`: nothing is stored.
    pub(super) async fn ingest(
        &self,
        body: Body,
        destination: Destination,
        keep: Option<ChecksumAlgorithm>,
        seal: Option<&Seal>,
    ) -> Result<Ingested, StorageError> {
        if let Some(sealed) = body.sealed.clone() {
            return self.ingest_sealed(body, sealed, destination).await;
        }
        let hides_md5 = seal.is_some_and(|seal| !seal.mode.shows_md5());
        let expected = Expectation {
            length: body.length,
            content_md5: body.content_md5,
            checksum: body.checksum,
            keep,
            etag: hides_md5.then(|| self.entropy().random_16()),
            bytes_max: PUT_BYTES_MAX,
        };
        let key = seal.map(|seal| &seal.key);
        expected.check_progress(0)?;
        if let Some(length) = expected.length.filter(|length| *length > PUT_BYTES_MAX) {
            return Err(StorageError::TooLarge { size_bytes: length, max_bytes: PUT_BYTES_MAX });
        }
        let threshold_bytes = self.limits().inline_threshold_bytes;
        let declared_bytes = expected.length.unwrap_or(0);
        let place = match declared_bytes > threshold_bytes as u64 {
            true => self.blobs().place_of(destination.class),
            false => Place::default(),
        };
        self.blobs().check_space_for(place, declared_bytes)?;
        let mut batches = Batches { stream: body.stream, got_bytes: 0, ended: false };
        let first = batches.gather(threshold_bytes + 1, &expected).await?;
        let digests = expected.digests();
        if batches.ended && batches.got_bytes <= threshold_bytes as u64 {
            return self.ingest_inline(&first, digests, expected, key);
        }
        self.ingest_file(first, batches, digests, expected, destination, key.cloned()).await
    }

    fn ingest_inline(
        &self,
        pieces: &[Bytes],
        mut digests: Digests,
        expected: Expectation,
        key: Option<&DataKey>,
    ) -> Result<Ingested, StorageError> {
        pieces.iter().for_each(|piece| digests.update(piece));
        let size_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let (etag, checksum) = expected.verify(size_bytes, digests)?;
        let stored = if size_bytes == 0 {
            Stored::Empty
        } else {
            let id = self.new_content(Place::default());
            let row = match pieces {
                [whole] => blob::inline::encode(id, key, whole)?,
                pieces => blob::inline::encode(id, key, &pieces.concat())?,
            };
            Stored::Inline { id, row }
        };
        Ok(Ingested { size_bytes, etag, checksum, stored })
    }

    async fn ingest_file(
        &self,
        first: Vec<Bytes>,
        mut batches: Batches,
        digests: Digests,
        expected: Expectation,
        destination: Destination,
        key: Option<DataKey>,
    ) -> Result<Ingested, StorageError> {
        let id = self.new_content(self.blobs().place_of(destination.class));
        let pin = self.pins().pin(id);
        let blobs = self.blobs().clone();
        let offload = blobs.offload();
        let created = self.clock().now();
        let (description, class) = (destination.description(created), destination.class);
        let (length, is_sealed) = (expected.length, key.is_some());
        let mut work = offload.start(move || {
            let writer = blobs.create_blocking(id, description, class, length, key.as_ref())?;
            write_batch(writer, digests, &first)
        });
        // While one batch is hashed and written, the next one is gathered.
        while !batches.ended {
            let gathered = batches.gather(BATCH_BYTES, &expected).await;
            let (writer, digests) = work.await??;
            let pieces = gathered?;
            self.blobs().check_space_for(id.place(), 0)?;
            work = offload.start(move || write_batch(writer, digests, &pieces));
        }
        let (writer, digests) = work.await??;
        let size_bytes = batches.got_bytes;
        let (etag, checksum) = expected.verify(size_bytes, digests)?;
        let trailer = destination.trailer(created, etag, checksum.filter(|_| !is_sealed));
        let blobs = self.blobs().clone();
        // Made where the work is done: if nobody waits for it any more, its end drops the file, which removes it.
        let finish = move || writer.finish(trailer).map(|blob| StagedFile::new(blob, blobs, pin));
        let file = offload.run(finish).await?;
        Ok(Ingested { size_bytes, etag, checksum, stored: Stored::File(file) })
    }
}

fn write_batch(
    mut writer: BlobWriter,
    mut digests: Digests,
    pieces: &[Bytes],
) -> Result<(BlobWriter, Digests), StorageError> {
    pieces.iter().for_each(|piece| digests.update(piece));
    writer.append(pieces)?;
    Ok((writer, digests))
}
