//! CompleteMultipartUpload: one commit that is a compare-and-swap of the upload row from open to completed, and makes
//! the version. No data moves and no part is rewritten.

use cairn_crypto::checksum::{Checksum, ChecksumType};
use cairn_crypto::combine;
use cairn_crypto::digest::Digests;
use cairn_crypto::secret::DataKey;

use crate::StorageError;
use crate::encryption::{Keys, Seal};
use crate::id::{ContentId, UploadId};
use crate::index::family::content::{self, ContentKind, ContentRecord};
use crate::index::family::layout::{self, LayoutPart};
use crate::index::family::part::{self, PartRecord};
use crate::index::family::upload::{self, UploadRecord, UploadState};
use crate::index::family::version::Version;
use crate::index::{Family, IndexError, KeyRange, View};
use crate::jobs::collect::CollectTask;
use crate::jobs::forget_upload::ForgetUploadTask;
use crate::object::{Content, Etag, ObjectChecksum, ObjectKey, ObjectVersion};
use crate::ops::placement::{self, Mutation};
use crate::ops::planner::Planner;
use crate::ops::put_object::NewObject;
use crate::ops::replica;
use crate::ops::seen::SeenKey;
use crate::ops::{ATTEMPTS_MAX, Bucket, Governance, OBJECT_BYTES_MAX, Store, VersionSelector, WriteConditions};
use crate::record::Record;
use crate::sealed_checksum::Kept;

use super::{PART_BYTES_MIN, SeenUpload};

/// How long a completed upload's answer is kept.
const ANSWER_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// A part that Complete names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPart {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, if named.
    pub checksum: Option<Checksum>,
}

/// What Complete asks for.
#[derive(Clone, Debug, Default)]
pub struct CompleteUpload {
    /// The parts, in ascending order.
    pub parts: Vec<NamedPart>,
    /// The object's checksum, if declared.
    pub checksum: Option<Checksum>,
    /// What it covers, if declared.
    pub checksum_type: Option<ChecksumType>,
    /// The object's size, if declared.
    pub size_bytes: Option<u64>,
    /// Conditions on what the object replaces.
    pub conditions: WriteConditions,
}

/// One uploaded part.
struct UploadedPart {
    number: u16,
    record: PartRecord,
    /// The seal id of its file.
    seal: Option<[u8; 16]>,
    /// Its checksum; None also if it is sealed and the key is not at hand.
    checksum: Option<Checksum>,
}

/// The upload, all its parts and the key as one view saw them. One view: in two, a Complete of the same upload could
/// fall between them, and its own object would fail the conditions of the second.
struct SeenParts {
    upload: SeenUpload,
    parts: Vec<UploadedPart>,
    key: SeenKey,
}

/// The finished object, before it has a version id.
struct Assembled {
    layout: Vec<LayoutPart>,
    size_bytes: u64,
    etag: Etag,
    checksum: Option<ObjectChecksum>,
}

impl Store {
    /// Completes an upload. Atomic; durable when it returns. Repeating it with the same parts gives the same answer for
    /// a day. A replica whose version is there already leaves it as it is, but for newer settings.
    ///
    /// # Errors
    /// `NoSuchUpload`, `InvalidPart`, `InvalidPartOrder`, `PartTooSmall`, `TooLarge`, `BadDigest`,
    /// `ChecksumMismatchesUpload`, `SizeMismatchesUpload`, `PreconditionFailed`, what [`Keys::open`] refuses: nothing changed.
    /// Without the key of parts whose checksums are sealed, the object gets none, unless one was chosen or is declared: then
    /// it is `KeyMissing`.
    pub async fn complete_upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        complete: CompleteUpload,
        keys: &dyn Keys,
    ) -> Result<ObjectVersion, StorageError> {
        self.health().check_writable()?;
        let named_parts = digest_of_named(&complete.parts);
        for _ in 0..ATTEMPTS_MAX {
            let mut seen = self.see_parts(bucket, key, id).await?;
            let seal = seen.open(bucket, key, id, &complete, keys).await?;
            let data_key = seal.as_ref().map(|seal| &seal.key);
            if let UploadState::Completed { mut object, named_parts: answered } = seen.upload.record.state {
                object.reveal_checksum(data_key)?;
                return if answered == named_parts { Ok(object) } else { Err(StorageError::NoSuchUpload) };
            }
            seen.reveal_checksums(data_key)?;
            let assembled = assemble(&seen, &complete, seal.as_ref())?;
            let checksum = assembled.checksum;
            let tried = self.try_complete(bucket, key, id, &complete, seen, assembled, seal.as_ref()).await?;
            if let Some(object) = tried {
                return Ok(ObjectVersion { checksum, ..object });
            }
        }
        Err(StorageError::Contention)
    }

    /// One attempt; None: a guard did not hold.
    #[allow(clippy::too_many_arguments)] // what one attempt is made of
    async fn try_complete(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        complete: &CompleteUpload,
        seen: SeenParts,
        assembled: Assembled,
        seal: Option<&Seal>,
    ) -> Result<Option<ObjectVersion>, StorageError> {
        let SeenParts { upload, key: seen_key, .. } = seen;
        complete.conditions.check(seen_key.newest_object())?;
        let composite = upload.record.content;
        let new = NewObject {
            owner: upload.record.owner,
            size_bytes: assembled.size_bytes,
            etag: assembled.etag,
            checksum: assembled.checksum,
            sealed_checksum: upload.record.sealed_checksum.clone(),
            storage_class: upload.record.storage_class,
            attributes: upload.record.attributes.clone(),
            content: Content::Composite(composite),
            settings: upload.record.settings.clone(),
            encryption: upload.record.encryption.clone(),
            acl_is_public: upload.record.acl_is_public,
            replica: upload.record.replica,
        };
        if let Some(there) = replica::found(&seen_key, &new)? {
            let object = self.bring_settings(bucket, key, there, &new).await?;
            let mutation = Mutation::new(&upload.bucket);
            return self.commit_completed(bucket, key, id, complete, upload, mutation, object).await;
        }
        let mut object = self.new_version(&seen_key, new).with_sealed_checksum(seal)?;
        let removal = self.removal(Governance::Heeded);
        let version = Version::Object(object.clone());
        let place = if upload.record.replica.is_some() { placement::place } else { placement::add };
        let mut mutation = place(key, &seen_key, version, &removal, self.planner().as_ref())?;
        object.replication.clone_from(&mutation.replication);
        layout::put(&mut mutation.batch, composite, &assembled.layout)?;
        self.commit_completed(bucket, key, id, complete, upload, mutation, object).await
    }

    /// Commits the mutation with which the upload has become `object`. None: a guard did not hold.
    #[allow(clippy::too_many_arguments)] // one commit of one upload
    async fn commit_completed(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        complete: &CompleteUpload,
        upload: SeenUpload,
        mut mutation: Mutation,
        object: ObjectVersion,
    ) -> Result<Option<ObjectVersion>, StorageError> {
        let now = self.clock().now();
        upload.guard(&mut mutation.batch, key, id);
        let composite = upload.record.content;
        let state = UploadState::Completed { object: object.clone(), named_parts: digest_of_named(&complete.parts) };
        let completed = UploadRecord { state, ..upload.record };
        mutation.batch.put(Family::Upload, upload::key(key, id), completed.to_value()?);
        mutation.tasks.push(CollectTask::Parts(composite).due_at(now));
        let forget = ForgetUploadTask { key: key.as_str().to_owned(), upload: id };
        mutation.tasks.push(forget.due_at(now.plus_ms(ANSWER_KEPT_MS)));
        let committed = self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await?;
        Ok(committed.then_some(object))
    }

    async fn see_parts(&self, bucket: &Bucket, key: &ObjectKey, id: UploadId) -> Result<SeenParts, StorageError> {
        let key = key.clone();
        let planner = self.planner().clone();
        self.view(bucket.id, move |view| read_parts(view, &key, id, planner.as_ref())).await?
    }
}

impl SeenParts {
    /// The upload's seal, by which checksums are sealed, if the key is at hand. It must be where a checksum has to be told or
    /// compared.
    async fn open(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
        complete: &CompleteUpload,
        keys: &dyn Keys,
    ) -> Result<Option<Seal>, StorageError> {
        if self.upload.is_carried() || self.upload.record.encryption.is_none() {
            return Ok(None);
        }
        let is_wanted = self.upload.record.checksum.is_some()
            || complete.checksum.is_some()
            || complete.parts.iter().any(|part| part.checksum.is_some());
        match self.upload.open(bucket, key, id, keys).await {
            Err(StorageError::KeyMissing) if !is_wanted => Ok(None),
            opened => opened,
        }
    }

    fn reveal_checksums(&mut self, key: Option<&DataKey>) -> Result<(), StorageError> {
        let Some(key) = key else { return Ok(()) };
        for part in &mut self.parts {
            if let Some(sealed) = &part.record.sealed_checksum {
                part.checksum = Some(sealed.open_of_part(key, part.number)?);
            }
        }
        Ok(())
    }
}

fn read_parts(
    view: &dyn View,
    key: &ObjectKey,
    id: UploadId,
    planner: &dyn Planner,
) -> Result<Result<SeenParts, StorageError>, IndexError> {
    let upload = match SeenUpload::read(view, key, id)? {
        Ok(upload) => upload,
        Err(error) => return Ok(Err(error)),
    };
    let mut parts = Vec::new();
    let mut cursor = view.cursor(Family::Part, KeyRange::prefix(upload.record.content.as_bytes()))?;
    while let Some((row_key, _, value)) = cursor.row() {
        let number =
            part::parse_number(row_key).ok_or_else(|| IndexError::Corrupt("a part's key is malformed".to_owned()))?;
        let record = PartRecord::from_value(value)?;
        let seal = match record.content {
            Content::File(content) => seal_of(view, content)?,
            _ => None,
        };
        parts.push(UploadedPart { number, checksum: record.checksum, record, seal });
        cursor.advance()?;
    }
    let replica = upload.record.replica.map(|replica| VersionSelector::Id(replica.version_id));
    let seen_key = SeenKey::read(view, key, replica.unwrap_or(VersionSelector::Newest), planner)?;
    Ok(seen_key.map(|key| SeenParts { upload, parts, key }))
}

fn seal_of(view: &dyn View, id: ContentId) -> Result<Option<[u8; 16]>, IndexError> {
    match content::read(view, id)? {
        Some((_, ContentRecord { kind: ContentKind::File { seal, .. }, .. })) => Ok(seal),
        _ => Err(IndexError::Corrupt(format!("part's content {id} has no row of a file"))),
    }
}

/// The named parts as an object, if they are what was uploaded.
fn assemble(seen: &SeenParts, complete: &CompleteUpload, seal: Option<&Seal>) -> Result<Assembled, StorageError> {
    let first = complete.parts.first().ok_or(StorageError::InvalidPart { part_number: 0 })?;
    if complete.parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(StorageError::InvalidPartOrder);
    }
    let mut layout = Vec::with_capacity(complete.parts.len());
    let (mut md5s, mut checksums) =
        (Vec::with_capacity(complete.parts.len()), Vec::with_capacity(complete.parts.len()));
    let mut size_bytes: u64 = 0;
    let last = complete.parts.last().unwrap_or(first).number;
    for named in &complete.parts {
        let UploadedPart { record, seal: file_seal, checksum, .. } = find_part(&seen.parts, named)?;
        if named.number != last && record.size_bytes < PART_BYTES_MIN {
            return Err(StorageError::PartTooSmall { part_number: named.number, size_bytes: record.size_bytes });
        }
        md5s.push(record.etag);
        checksums.push(checksum.map(|checksum| (checksum, record.size_bytes)));
        let kept = Kept { clear: record.checksum, sealed: record.sealed_checksum.clone() };
        let kept = kept.sealed_by(seal, named.number)?;
        layout.push(LayoutPart {
            number: named.number,
            offset_bytes: size_bytes,
            size_bytes: record.size_bytes,
            content: record.content,
            checksum: kept.clear,
            seal: *file_seal,
            sealed_checksum: kept.sealed,
        });
        size_bytes += record.size_bytes;
    }
    if size_bytes > OBJECT_BYTES_MAX {
        return Err(StorageError::TooLarge { size_bytes, max_bytes: OBJECT_BYTES_MAX });
    }
    if let Some(declared_bytes) = complete.size_bytes.filter(|declared| *declared != size_bytes) {
        return Err(StorageError::SizeMismatchesUpload { declared_bytes, got_bytes: size_bytes });
    }
    let checksum = object_checksum(&seen.upload, checksums, complete)?;
    let parts_count = u16::try_from(layout.len()).map_err(|_| StorageError::InvalidPart { part_number: last })?;
    let etag = match seen.upload.record.replica.and_then(|replica| replica.etag) {
        None => Etag { digest: combine::multipart_etag(md5s), parts_count },
        Some(given) if given.parts_count == parts_count => given,
        Some(_) => return Err(StorageError::InvalidPart { part_number: last }),
    };
    Ok(Assembled { layout, size_bytes, etag, checksum })
}

/// The uploaded part that `named` names.
fn find_part<'p>(parts: &'p [UploadedPart], named: &NamedPart) -> Result<&'p UploadedPart, StorageError> {
    let invalid = StorageError::InvalidPart { part_number: named.number };
    let Ok(position) = parts.binary_search_by_key(&named.number, |part| part.number) else { return Err(invalid) };
    let part = &parts[position];
    let etag = Etag { digest: part.record.etag, parts_count: 0 }.to_string();
    let other_checksum = match (named.checksum, part.checksum) {
        (Some(named), Some(kept)) if named.algorithm() == kept.algorithm() => named != kept,
        _ => false,
    };
    if etag != named.etag || other_checksum { Err(invalid) } else { Ok(part) }
}

/// The object's checksum of its parts' ones, compared with what Complete declares.
fn object_checksum(
    upload: &SeenUpload,
    parts: Vec<Option<(Checksum, u64)>>,
    complete: &CompleteUpload,
) -> Result<Option<ObjectChecksum>, StorageError> {
    let algorithm = upload.part_algorithm();
    let kind = upload.record.checksum.map_or(ChecksumType::FullObject, |chosen| chosen.checksum_type());
    let what = algorithm.as_str();
    let mismatch = StorageError::ChecksumMismatchesUpload { what };
    if complete.checksum_type.is_some_and(|declared| declared != kind) {
        return Err(mismatch);
    }
    // Every part's checksum was computed when it came; without them (an older part's algorithm, a key that is not at hand)
    // there is none to tell.
    let Some(parts) = parts.into_iter().collect::<Option<Vec<(Checksum, u64)>>>() else { return Ok(None) };
    let combined = match kind {
        ChecksumType::FullObject => combine::full_object(algorithm, parts),
        ChecksumType::Composite => combine::composite(algorithm, parts.iter().map(|(checksum, _)| *checksum)),
    };
    let value = combined.map_err(|_| StorageError::ChecksumMismatchesUpload { what })?;
    match complete.checksum {
        Some(declared) if declared.algorithm() != algorithm => Err(mismatch),
        Some(declared) if declared != value => Err(StorageError::BadDigest { what }),
        _ => Ok(Some(ObjectChecksum { value, composite: kind == ChecksumType::Composite })),
    }
}

/// Identifies what a Complete named, so that a repetition is told from another request.
fn digest_of_named(parts: &[NamedPart]) -> [u8; 16] {
    let mut digests = Digests::new(true, []);
    for part in parts {
        digests.update(&part.number.to_be_bytes());
        digests.update(part.etag.as_bytes());
        digests.update(b"\n");
    }
    digests.finish().md5.unwrap_or_default()
}
