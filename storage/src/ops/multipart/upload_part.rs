//! UploadPart and UploadPartCopy.

use std::ops::Range;

use cairn_crypto::checksum::ChecksumAlgorithm;

use crate::StorageError;
use crate::encryption::{Keys, Seal};
use crate::id::UploadId;
use crate::index::family::content::{self, ContentRecord};
use crate::index::family::part::{self, PartRecord};
use crate::index::family::upload::{self, UploadRecord};
use crate::index::{Family, IndexError, Revision, View};
use crate::object::{Content, Etag, ObjectKey, ObjectVersion};
use crate::ops::copy_object::copied_body;
use crate::ops::ingest::{Body, DeclaredChecksum, Destination, Ingested};
use crate::ops::lock;
use crate::ops::placement::Mutation;
use crate::ops::{ATTEMPTS_MAX, Bucket, CopySource, RangeRequest, Select, Store};
use crate::record::Record;
use crate::sealed_checksum::Kept;

use super::{Part, SeenUpload};

/// What a part is made of.
#[derive(Debug)]
pub struct PartCopy<'a> {
    /// The object.
    pub source: CopySource<'a>,
    /// The bytes of it; None: all.
    pub range: Option<Range<u64>>,
    /// What opens the upload's data key, if its parts are sealed.
    pub keys: &'a dyn Keys,
}

/// A part's row, and what it replaces, as one view saw them.
struct SeenPart {
    upload: SeenUpload,
    old: Option<(Revision, PartRecord)>,
    old_content: Option<(Revision, ContentRecord)>,
}

impl Store {
    /// Uploads a part, replacing one of the same number. Atomic; durable when it returns.
    ///
    /// # Errors
    /// `NoSuchUpload`, `ChecksumMismatchesUpload`, `DigestMissing` (of a part that will be locked), `SealedMalformed`, what [`Keys::open`]
    /// refuses, and what [`Store::put_object`] refuses about a body.
    pub async fn upload_part(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        number: u16,
        body: Body,
        keys: &dyn Keys,
    ) -> Result<Part, StorageError> {
        // A look before the body is read; what counts is decided again under the guards.
        let seen = self.see_upload(bucket, key, id).await?;
        seen.check_open()?;
        if lock::is_asked(&seen.record.settings) && !body.is_declared() {
            return Err(StorageError::DigestMissing);
        }
        let keep = seen.part_algorithm();
        let declared = match &body.checksum {
            DeclaredChecksum::None => None,
            DeclaredChecksum::Compute(algorithm) | DeclaredChecksum::Trailer(algorithm, _) => Some(*algorithm),
            DeclaredChecksum::Header(checksum) => Some(checksum.algorithm()),
        };
        check_algorithm(&seen, declared)?;
        let destination = Destination::part(bucket.id, key, (id, number), seen.record.storage_class);
        if let Some(sealed) = &body.sealed {
            seen.check_carried()?;
            let kept = Kept { clear: None, sealed: sealed.checksum.clone() };
            let ingested = self.ingest(body, destination, None, None).await?;
            return self.place_part(bucket, key, (id, number), ingested, kept, None).await;
        }
        let seal = seen.open(bucket, key, id, keys).await?;
        let ingested = self.ingest(body, destination, Some(keep), seal.as_ref()).await?;
        let kept = Kept { clear: ingested.checksum, sealed: None }.sealed_by(seal.as_ref(), number)?;
        self.place_part(bucket, key, (id, number), ingested, kept, seal.as_ref()).await
    }

    /// Makes a part of (a range of) an object.
    ///
    /// # Errors
    /// As [`Store::upload_part`], and as [`Store::copy_object`] for the source; `RangeNotSatisfiable` if the range is
    /// not inside the source.
    pub async fn upload_part_copy(
        &self,
        copy: PartCopy<'_>,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        number: u16,
    ) -> Result<(Part, ObjectVersion), StorageError> {
        let PartCopy { source, range, keys } = copy;
        let seen = self.see_upload(bucket, key, id).await?;
        seen.check_open()?;
        let select = range.clone().map_or(Select::Whole, |range| {
            Select::Range(RangeRequest::From { first: range.start, last: Some(range.end.saturating_sub(1)) })
        });
        let seal = seen.open(bucket, key, id, keys).await?;
        let (object, body) = self.open_copy_source(&source, select).await?;
        if range.is_some_and(|range| range.end > object.size_bytes) {
            return Err(StorageError::RangeNotSatisfiable { size_bytes: object.size_bytes });
        }
        let destination = Destination::part(bucket.id, key, (id, number), seen.record.storage_class);
        let body = copied_body(body, Some(seen.part_algorithm()));
        let ingested = self.ingest(body, destination, None, seal.as_ref()).await?;
        let kept = Kept { clear: ingested.checksum, sealed: None }.sealed_by(seal.as_ref(), number)?;
        Ok((self.place_part(bucket, key, (id, number), ingested, kept, seal.as_ref()).await?, object))
    }

    async fn place_part(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        (id, number): (UploadId, u16),
        mut ingested: Ingested,
        kept: Kept,
        seal: Option<&Seal>,
    ) -> Result<Part, StorageError> {
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.see_part(bucket, key, id, number).await?;
            seen.upload.check_open()?;
            let record = PartRecord {
                size_bytes: ingested.size_bytes,
                etag: ingested.etag,
                content: ingested.content(),
                modified: self.clock().now(),
                checksum: kept.clear,
                sealed_checksum: kept.sealed.clone(),
            };
            let mut mutation = self.part_mutation(key, id, number, &seen, &record)?;
            ingested.join(&mut mutation.batch)?;
            if ingested.commit(self, bucket.id, mutation).await? {
                let mut part = Part::new(number, &record, &seen.upload.record);
                part.reveal_checksum(seal.map(|seal| &seal.key))?;
                return Ok(part);
            }
        }
        Err(StorageError::Contention)
    }

    fn part_mutation(
        &self,
        key: &ObjectKey,
        id: UploadId,
        number: u16,
        seen: &SeenPart,
        record: &PartRecord,
    ) -> Result<Mutation, StorageError> {
        let mut mutation = Mutation::new(&seen.upload.bucket);
        seen.upload.guard(&mut mutation.batch, key, id);
        let part_key = part::key(seen.upload.record.content, number);
        // Stops: UploadPart x UploadPart of the same number, which would both free the same older part.
        mutation.batch.guard(Family::Part, part_key, seen.old.as_ref().map(|(revision, _)| *revision));
        mutation.batch.put(Family::Part, part_key, record.to_value()?);
        if let Some((_, old)) = &seen.old {
            // Rewritten so that a Complete which read the older part conflicts and reads again.
            mutation.batch.put(Family::Upload, upload::key(key, id), seen.upload.record.to_value()?);
            match (old.content, seen.old_content) {
                (Content::Inline(content), _) => {
                    mutation.batch.delete(Family::Inline, content.as_bytes().as_slice());
                }
                (Content::File(content), Some((revision, row))) => {
                    // Stops: this x the collector of the same content.
                    mutation.batch.guard(Family::Content, content.as_bytes().as_slice(), Some(revision));
                    mutation.release(old.content, row, self.clock().now())?;
                }
                _ => {}
            }
        }
        Ok(mutation)
    }

    async fn see_part(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        number: u16,
    ) -> Result<SeenPart, StorageError> {
        let key = key.clone();
        self.view(bucket.id, move |view| read_part(view, &key, id, number)).await?
    }
}

impl Part {
    /// A part as S3 shows it; its checksum only if the client chose an algorithm for the upload.
    pub(super) fn new(number: u16, record: &PartRecord, upload: &UploadRecord) -> Self {
        Self {
            number,
            size_bytes: record.size_bytes,
            etag: Etag { digest: record.etag, parts_count: 0 },
            modified: record.modified,
            checksum: record.checksum.filter(|_| upload.checksum.is_some()),
            sealed_checksum: record.sealed_checksum.clone().filter(|_| upload.checksum.is_some()),
            encryption: upload.encryption.clone(),
        }
    }
}

fn read_part(
    view: &dyn View,
    key: &ObjectKey,
    id: UploadId,
    number: u16,
) -> Result<Result<SeenPart, StorageError>, IndexError> {
    let upload = match SeenUpload::read(view, key, id)? {
        Ok(upload) => upload,
        Err(error) => return Ok(Err(error)),
    };
    let old = match view.get(Family::Part, &part::key(upload.record.content, number))? {
        None => None,
        Some(row) => Some((row.revision, PartRecord::from_value(&row.value)?)),
    };
    let old_content = match &old {
        Some((_, PartRecord { content: Content::File(content), .. })) => {
            content::read(view, *content)?.map(|(row, record)| (row.revision, record))
        }
        _ => None,
    };
    Ok(Ok(SeenPart { upload, old, old_content }))
}

/// A part may not declare another algorithm than the upload's (S3 API reference, UploadPart).
fn check_algorithm(seen: &SeenUpload, declared: Option<ChecksumAlgorithm>) -> Result<(), StorageError> {
    match (seen.record.checksum, declared) {
        (Some(_), Some(declared)) if declared != seen.part_algorithm() => {
            Err(StorageError::ChecksumMismatchesUpload { what: declared.as_str() })
        }
        _ => Ok(()),
    }
}
